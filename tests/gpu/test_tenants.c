/* src/gpu/tenants: names, the setting, caps that reach the ledger, and all of it without memory. */
#include "gpu/tenants.h"

#include "base/err.h"
#include "gpu/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

typedef struct world {
    gb_mem mem;
    gb_gpu *gpu;
} world;

static int open_with(world *w, const char *list)
{
    gb_gpu_config config = {
        .mem = &w->mem, .threads = 1, .cpu_memory_bytes = 64 << 20, .tenants = list};
    gb_mem_init(&w->mem, "test", NULL, 0);
    return gb_gpu_open(&w->gpu, &config);
}

static void close_world(world *w)
{
    gb_gpu_close(w->gpu);
    gb_mem_fini(&w->mem);
}

static void expect(int rc, int want, const char *text)
{
    assert_int_equal(rc, want);
    if (!strstr(gb_err_detail(), text)) fail_msg("'%s' is not in '%s'", text, gb_err_detail());
}

static void any_name_is_one_without_the_setting(void **unused)
{
    world w;
    uint64_t a = 0, b = 0, again = 0;
    gb_tenant_memory now;
    char longest[GB_TENANT_NAME_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[GB_TENANT_NAME_MAX + 1] = 0;
    assert_int_equal(open_with(&w, NULL), 0);
    assert_int_equal(gb_gpu_tenant_count(w.gpu), 0);
    expect(gb_gpu_tenant(w.gpu, longest, &a), GB_EINVAL, "has at most 64");
    assert_int_equal(gb_gpu_tenant(w.gpu, longest + 1, &a), 0);
    assert_int_equal(gb_gpu_tenant(w.gpu, "b-2", &b), 0);
    assert_int_equal(gb_gpu_tenant(w.gpu, longest + 1, &again), 0);
    assert_true(a == 1 && b == 2 && again == 1);
    expect(gb_gpu_tenant(w.gpu, "", &a), GB_EINVAL, "not ''");
    expect(gb_gpu_tenant(w.gpu, "7up", &a), GB_EINVAL, "begins with a letter");
    expect(gb_gpu_tenant(w.gpu, "a,b", &a), GB_EINVAL, "not 'a,b'");
    expect(gb_gpu_tenant(w.gpu, "default", &a), GB_EINVAL, "no tenant can be called 'default'");
    gb_gpu_tenant_memory(w.gpu, b, &now);
    assert_string_equal(now.name, "b-2");
    assert_true(now.bytes == 0 && now.bytes_max == 0);
    for (int i = 2; i < GB_TENANTS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(gb_gpu_tenant(w.gpu, name, &a), 0);
    }
    expect(gb_gpu_tenant(w.gpu, "more", &a), GB_EQUOTA, "tenant 'more': there are 1000 already");
    assert_int_equal(gb_gpu_tenant(w.gpu, "b-2", &b), 0);
    assert_int_equal(gb_gpu_devices_open(w.gpu), 0); /* no device was touched for it */
    close_world(&w);
}

static void the_setting_names_all(void **unused)
{
    world w;
    uint64_t acme = 0, beta = 0, none = 0;
    gb_tenant_memory now;
    gb_buffer *held, *more = NULL;
    assert_int_equal(open_with(&w, "acme=1MB, beta"), 0);
    assert_int_equal(gb_gpu_tenant(w.gpu, "acme", &acme), 0);
    assert_int_equal(gb_gpu_tenant(w.gpu, "beta", &beta), 0);
    expect(gb_gpu_tenant(w.gpu, "acne", &none), GB_ENOENT, "names no 'acne'; did you mean 'acme'?");
    expect(gb_gpu_tenant(w.gpu, "quite-another", &none), GB_ENOENT, "names no 'quite-another'");
    assert_int_equal(gb_gpu_tenant_count(w.gpu), 2);
    gb_buffer_spec spec = {.bytes = 700000, .tenant = acme, .owner = 1};
    gb_device *device = gb_gpu_device(w.gpu, 0);
    assert_int_equal(gb_buffer_rent(&held, device, &spec), 0);
    expect(gb_buffer_rent(&more, device, &spec), GB_ENOMEM, "device memory of tenant 'acme'");
    gb_gpu_tenant_memory(w.gpu, acme, &now);
    assert_string_equal(now.name, "acme");
    assert_true(now.bytes == 700000 && now.bytes_max == 1 << 20);
    spec.tenant = beta;
    assert_int_equal(gb_buffer_rent(&more, device, &spec), 0);
    gb_gpu_tenant_memory(w.gpu, 0, &now);
    assert_string_equal(now.name, "default");
    assert_int_equal(now.bytes, 0);
    gb_buffer_unref(held);
    gb_buffer_unref(more);
    gb_gpu_tenant_memory(w.gpu, acme, &now);
    assert_int_equal(now.bytes, 0);
    close_world(&w);
}

static void what_is_no_setting(void **unused)
{
    static const struct {
        const char *list, *why;
    } bad[] = {
        {"", "not ''"},
        {"acme=", "tenant 'acme': a size"},
        {"acme=0", "not '0'"},
        {"acme=5XB", "(bytes, or \"512MB\") is wanted, not '5XB'"},
        {"acme=1MB,", "not ''"},
        {"acme,beta,acme=1", "tenant 'acme' is named twice"},
        {"default=1GB", "can be called 'default'"},
        {"a b=1", "not 'a b'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        world w;
        expect(gb_tenants_check(bad[i].list), GB_EINVAL, bad[i].why);
        expect(open_with(&w, bad[i].list), GB_EINVAL, bad[i].why);
        gb_mem_fini(&w.mem);
    }
    assert_int_equal(gb_tenants_check("acme=2GB, b,c=100"), 0);
}

static void without_memory(void **unused)
{
    gbi_tenants tenants;
    gb_mem mem;
    int rc = GB_ENOMEM, at;
    gb_mem_init(&mem, "test", NULL, 0);
    for (at = 1; rc == GB_ENOMEM; at++) { /* the setting: each allocation of it in turn */
        atomic_store(&mem.fail_at, at);
        rc = gbi_tenants_init(&tenants, &mem, "a=1MB,b");
        atomic_store(&mem.fail_at, 0);
        gbi_tenants_fini(&tenants);
    }
    assert_int_equal(rc, 0);
    assert_true(at > 3);
    gb_mem_fini(&mem);
    world w;
    uint64_t a = 0;
    assert_int_equal(open_with(&w, NULL), 0);
    atomic_store(&w.gpu->room.fail_at, 1);
    assert_int_equal(gb_gpu_tenant(w.gpu, "a", &a), GB_ENOMEM);
    assert_int_equal(gb_gpu_tenant_count(w.gpu), 0);
    for (at = 1, rc = GB_ENOMEM; rc == GB_ENOMEM; at++) { /* the ledger with its caps */
        close_world(&w);
        assert_int_equal(open_with(&w, "a=1MB,b,c=1,d=1,e=1,f=1"), 0);
        atomic_store(&w.gpu->room.fail_at, at);
        rc = gb_gpu_device_count(w.gpu);
        atomic_store(&w.gpu->room.fail_at, 0);
    }
    assert_int_equal(rc, 1);
    assert_true(at > 3);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_name_is_one_without_the_setting),
        cmocka_unit_test(the_setting_names_all),
        cmocka_unit_test(what_is_no_setting),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
