/* config.alloc: every block goes back with its size, and any allocation may fail. */
#include "kit_embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A block remembers its size in front of it, so that a free with another one shows. */
enum { HEAD = 16 };

typedef struct heap {
    atomic_long blocks, bytes, calls, wrong;
    atomic_long fail_at; /* the nth from now answers NULL; 0: none */
} heap;

static void *heap_alloc(void *user, void *block, size_t size_old, size_t size_new)
{
    heap *h = user;
    char *head = block ? (char *)block - HEAD : NULL;
    if (head && *(size_t *)head != size_old) atomic_fetch_add(&h->wrong, 1);
    if (!head && size_old != 0) atomic_fetch_add(&h->wrong, 1);
    if (size_new == 0) {
        atomic_fetch_sub(&h->blocks, 1);
        atomic_fetch_sub(&h->bytes, (long)size_old);
        if (head) memset(head, 0xdd, HEAD + size_old);
        free(head);
        return NULL;
    }
    atomic_fetch_add(&h->calls, 1);
    if (atomic_load(&h->fail_at) > 0 && atomic_fetch_sub(&h->fail_at, 1) == 1) return NULL;
    char *moved = realloc(head, HEAD + size_new);
    if (!moved) return NULL;
    *(size_t *)moved = size_new;
    if (!head) {
        atomic_fetch_add(&h->blocks, 1);
        memset(moved + HEAD, 0xcc, size_new);
    }
    atomic_fetch_add(&h->bytes, (long)size_new - (long)size_old);
    return moved + HEAD;
}

static void config_of(gb_config *config, heap *h, int workers)
{
    kit_config(config, workers, GB_DELIVER_POLL);
    config->log_level = 4;
    config->alloc = heap_alloc;
    config->alloc_user = h;
}

static void nothing_left(heap *h)
{
    assert_int_equal(atomic_load(&h->wrong), 0);
    assert_int_equal(atomic_load(&h->blocks), 0);
    assert_int_equal(atomic_load(&h->bytes), 0);
}

static const char source[] =
    "extern \"C\" __global__ void twice(float *x, int n)\n"
    "{\n"
    "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    if (i < n) x[i] *= 2;\n"
    "}\n";

/* Calls with values of each kind; the first failure. */
static int use_grains(gb_host *host)
{
    float numbers[4] = {1, 2, 3, 4};
    gb_value *args = gb_value_new(host), *out = NULL;
    if (!args) return GB_ENOMEM;
    gb_put_table(args);
    gb_put_text(args, "hp");
    gb_put_int(args, 12);
    gb_put_end(args);
    gb_put_array(args, "float", numbers, 4);
    gb_array_wrap(args, "float", numbers, 4, NULL, NULL);
    int rc = gb_call_wait(host, "Probe", "m", "echo", args, 60000, &out);
    if (rc < 0) return rc;
    gb_value *copy = gb_value_copy(out);
    gb_value_free(out);
    if (!copy) return GB_ENOMEM;
    gb_value_free(copy);
    gb_ref *ref;
    if ((rc = gb_ref_open(&ref, host, "Probe", "n")) < 0) return rc;
    rc = gb_ref_call_wait(ref, "add", NULL, 5000, NULL);
    gb_ref_close(ref);
    return rc;
}

static int use_kernels(gb_host *host)
{
    gb_kernels_options options;
    gb_kernels_options_init(&options, sizeof options);
    options.source = source;
    gb_kernels *kernels = NULL;
    gb_buffer *buffer = NULL;
    float x[8] = {1};
    int n = 8, rc = gb_kernels_open(&kernels, host, &options);
    if (rc >= 0) rc = gb_buffer_create(&buffer, host, sizeof x, -1);
    if (rc >= 0) rc = gb_buffer_upload(buffer, 0, x, sizeof x);
    gb_shape shape = gb_shape_threads(8);
    gb_kernel_arg args[] = {{.buffer = buffer}, {.value = &n, .bytes = sizeof n}};
    if (rc >= 0) rc = gb_launch(kernels, "twice", &shape, args, 2);
    args[0] = (gb_kernel_arg){.host = x, .bytes = sizeof x};
    if (rc >= 0) rc = gb_launch(kernels, "twice", &shape, args, 2);
    gb_kernels_close(kernels);
    gb_buffer_free(buffer);
    return rc;
}

static void test_counts(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        heap h = {0};
        gb_config config;
        config_of(&config, &h, workers[w]);
        gb_host *host = kit_open_config(&config);
        assert_true(atomic_load(&h.bytes) > 0);
        gb_value *args = gb_value_new(host), *out = NULL;
        enum { N = 1 << 20 };
        float *big = calloc(N, sizeof *big);
        long before = atomic_load(&h.bytes);
        gb_put_array(args, "float", big, N); /* so large that it would come from mmap */
        assert_true(atomic_load(&h.bytes) >= before + (long)(N * sizeof *big));
        free(big);
        assert_int_equal(gb_call_wait(host, "Probe", "big", "sum", args, 0, &out), 0);
        assert_int_equal(use_grains(host), 0);
        assert_int_equal(use_kernels(host), 0);
        gb_close(host, 100);
        assert_true(atomic_load(&h.blocks) > 0); /* the value still holds a rest of the host */
        gb_value_free(out);
        nothing_left(&h);
        assert_true(atomic_load(&h.calls) > 20);
    }
}

/* Every allocation of gb_open fails in turn. */
static void test_open_fails(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        long nth = 1;
        for (;; nth++) {
            heap h = {.fail_at = nth};
            gb_config config;
            gb_host *host = NULL;
            config_of(&config, &h, workers[w]);
            int rc = gb_open(&host, &config);
            bool failed = atomic_load(&h.fail_at) == 0;
            if (rc == 0) gb_close(host, 0);
            nothing_left(&h);
            if (!failed) break;
            if (rc != 0 && rc != GB_ENOMEM)
                fail_msg("allocation %ld: %s: %s", nth, gb_err_name(rc), gb_err_detail());
            if (rc == 0) fail_msg("allocation %ld failed, and gb_open did not say so", nth);
        }
        assert_true(nth > 20);
    }
}

/* Every allocation of a use fails in turn, each in a new host; the next use of it works. */
static void walk(int workers, int (*use)(gb_host *host))
{
    for (long nth = 1;; nth++) {
        heap h = {0};
        gb_config config;
        config_of(&config, &h, workers);
        gb_host *host = kit_open_config(&config);
        atomic_store(&h.fail_at, nth);
        int rc = use(host);
        bool failed = atomic_exchange(&h.fail_at, 0) == 0;
        if (rc < 0 && rc != GB_ENOMEM && !strstr(gb_err_detail(), "out of memory"))
            fail_msg("allocation %ld: %s: %s", nth, gb_err_name(rc), gb_err_detail());
        rc = use(host);
        if (rc < 0)
            fail_msg("after allocation %ld: %s: %s", nth, gb_err_name(rc), gb_err_detail());
        gb_close(host, 100);
        nothing_left(&h);
        if (!failed) {
            assert_true(nth > 8);
            return;
        }
    }
}

static void test_grains_fail(void **state)
{
    walk(0, use_grains);
    walk(1, use_grains);
}

static void test_kernels_fail(void **state)
{
    walk(1, use_kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_open_fails),
        cmocka_unit_test(test_grains_fail),
        cmocka_unit_test(test_kernels_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
