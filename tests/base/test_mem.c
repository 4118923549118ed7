/* src/base/mem: counts, parents, caps, failing on request, and that an account ends at zero. */
#include "base/mem.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "panic.h"

#include <pthread.h>
#include <string.h>

static void test_counts(void **unused)
{
    gb_mem parent, mem;
    gb_mem_init(&parent, "parent", NULL, 0);
    gb_mem_init(&mem, "child", &parent, 0);
    uint8_t *a = gb_mem_alloc(&mem, 100), *b = gb_mem_zalloc(&mem, 50);
    assert_non_null(a);
    for (int i = 0; i < 50; i++) assert_int_equal(b[i], 0);
    assert_int_equal(mem.bytes, 150);
    assert_int_equal(mem.blocks, 2);
    assert_int_equal(parent.bytes, 150);
    memset(a, 7, 100);
    a = gb_mem_realloc(&mem, a, 100, 1000);
    for (int i = 0; i < 100; i++) assert_int_equal(a[i], 7);
    assert_int_equal(mem.bytes, 1050);
    a = gb_mem_realloc(&mem, a, 1000, 10);
    assert_int_equal(parent.bytes, 60);
    assert_int_equal(mem.blocks, 2);
    gb_mem_free(&mem, a, 10);
    gb_mem_free(&mem, b, 50);
    gb_mem_free(&mem, NULL, 50); /* nothing */
    char *text = gb_mem_strdup(&mem, "grain");
    assert_string_equal(text, "grain");
    assert_int_equal(mem.bytes, 6);
    gb_mem_strfree(&mem, text);
    gb_mem_strfree(&mem, NULL);
    void *first = gb_mem_realloc(&mem, NULL, 0, 8); /* as alloc */
    assert_int_equal(mem.blocks, 1);
    gb_mem_free(&mem, first, 8);
    void *nothing = gb_mem_alloc(&mem, 0); /* a block of no bytes is a block */
    assert_non_null(nothing);
    gb_mem_free(&mem, nothing, 0);
    gb_mem_fini(&mem);
    gb_mem_fini(&parent);
}

static void test_caps(void **unused)
{
    gb_mem parent, mem, sister;
    gb_mem_init(&parent, "tenant", NULL, 1000);
    gb_mem_init(&mem, "grain", &parent, 600);
    gb_mem_init(&sister, "sister", &parent, 0);
    void *a = gb_mem_alloc(&mem, 600); /* exactly the cap */
    assert_non_null(a);
    assert_null(gb_mem_alloc(&mem, 1));
    assert_non_null(strstr(gb_err_detail(), "cap of 'grain' (600 bytes)"));
    assert_null(gb_mem_alloc(&sister, 401));
    assert_non_null(strstr(gb_err_detail(), "cap of 'tenant'"));
    assert_int_equal(mem.bytes, 600); /* a refusal leaves nothing counted */
    assert_int_equal(sister.bytes, 0);
    assert_int_equal(parent.bytes, 600);
    assert_null(gb_mem_realloc(&mem, a, 600, 601));
    assert_int_equal(mem.bytes, 600);
    void *b = gb_mem_alloc(&sister, 400);
    assert_non_null(b);
    assert_int_equal(gb_mem_charge(&sister, 1), GB_ENOMEM);
    gb_mem_free(&sister, b, 400);
    assert_int_equal(gb_mem_charge(&sister, 400), 0);
    assert_int_equal(parent.bytes, 1000);
    gb_mem_discharge(&sister, 400);
    assert_null(gb_mem_alloc(&mem, SIZE_MAX));
    assert_null(gb_mem_realloc(&mem, a, 600, SIZE_MAX));
    assert_int_equal(parent.bytes, 600);
    gb_mem_free(&mem, a, 600);
    gb_mem_fini(&sister);
    gb_mem_fini(&mem);
    gb_mem_fini(&parent);
}

static void test_fail_at(void **unused)
{
    gb_mem mem;
    gb_mem_init(&mem, "test", NULL, 0);
    atomic_store(&mem.fail_at, 3);
    void *a = gb_mem_alloc(&mem, 10), *b = gb_mem_alloc(&mem, 10);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(gb_mem_alloc(&mem, 10));
    assert_non_null(strstr(gb_err_detail(), "'test' failed on request"));
    void *c = gb_mem_alloc(&mem, 10); /* once only */
    assert_non_null(c);
    atomic_store(&mem.fail_at, 1);
    assert_null(gb_mem_realloc(&mem, c, 10, 20));
    atomic_store(&mem.fail_at, 1);
    assert_null(gb_mem_strdup(&mem, "x"));
    assert_int_equal(mem.bytes, 30);
    assert_int_equal(mem.blocks, 3);
    gb_mem_free(&mem, a, 10);
    gb_mem_free(&mem, b, 10);
    gb_mem_free(&mem, c, 10);
    gb_mem_fini(&mem);
}

static void test_grow(void **unused)
{
    gb_mem mem;
    gb_mem_init(&mem, "grow", NULL, 0);
    uint32_t room = 0, *at = NULL;
    for (uint32_t i = 0; i < 100; i++) {
        if (i == room) {
            atomic_store(&mem.fail_at, 1);
            assert_null(gb_mem_grow(&mem, at, &room, 6, sizeof *at));
            assert_int_equal(room, i);
            at = gb_mem_grow(&mem, at, &room, 6, sizeof *at);
            assert_non_null(at);
            assert_int_equal(room, i ? 2 * i : 6);
        }
        at[i] = i;
    }
    for (uint32_t i = 0; i < 100; i++) assert_int_equal(at[i], i);
    gb_mem_free(&mem, at, room * sizeof *at);
    gb_mem_fini(&mem);
}

static void test_leak_is_a_panic(void **unused)
{
    gb_mem mem;
    gb_mem_init(&mem, "leaky", NULL, 0);
    void *a = gb_mem_alloc(&mem, 1);
    expect_assert_failure(gb_mem_fini(&mem));
    gb_mem_free(&mem, a, 1);
    void *b = gb_mem_alloc(&mem, 0);
    expect_assert_failure(gb_mem_fini(&mem)); /* no bytes, but a block */
    gb_mem_free(&mem, b, 0);
    gb_mem_fini(&mem);
}

static void *churn(void *arg)
{
    gb_mem *mem = arg;
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)(i % 100);
        void *block = gb_mem_alloc(mem, size);
        if (block) gb_mem_free(mem, block, size);
    }
    return NULL;
}

static void test_threads(void **unused)
{
    gb_mem parent, mem;
    gb_mem_init(&parent, "parent", NULL, 150); /* some are refused: that must add up too */
    gb_mem_init(&mem, "child", &parent, 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, churn, &mem), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    gb_mem_fini(&mem);
    gb_mem_fini(&parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),  cmocka_unit_test(test_caps),
        cmocka_unit_test(test_fail_at), cmocka_unit_test(test_leak_is_a_panic),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_grow),
    };
    panic_expected();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
