/* src/base/heap: against sorting and a plain model, with removals from the middle. */
#include "base/heap.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "panic.h"

#include <stdlib.h>

enum { NODES = 2000 };

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_sorts(void **unused)
{
    seed s = seed_start("base.heap sorting");
    gb_mem mem;
    gb_heap heap;
    gb_heap_node *nodes = calloc(NODES, sizeof *nodes);
    uint64_t *keys = calloc(NODES, sizeof *keys);
    gb_mem_init(&mem, "test", NULL, 0);
    gb_heap_init(&heap, &mem);
    assert_null(gb_heap_top(&heap));
    for (int i = 0; i < NODES; i++) {
        keys[i] = nodes[i].key = seed_below(&s, 2) ? seed_next(&s) : seed_below(&s, 50);
        assert_int_equal(gb_heap_push(&heap, &nodes[i]), 0);
    }
    qsort(keys, NODES, sizeof *keys, by_key);
    for (int i = 0; i < NODES; i++) {
        gb_heap_node *top = gb_heap_top(&heap);
        assert_true(top->key == keys[i]);
        gb_heap_remove(&heap, top);
        assert_int_equal(top->place, 0);
    }
    assert_null(gb_heap_top(&heap));
    gb_heap_fini(&heap);
    gb_mem_fini(&mem);
    free(nodes);
    free(keys);
}

static void test_random_removal(void **unused)
{
    seed s = seed_start("base.heap removal");
    enum { FEW = 64 };
    gb_mem mem;
    gb_heap heap;
    gb_heap_node nodes[FEW] = {{0}};
    gb_mem_init(&mem, "test", NULL, 0);
    gb_heap_init(&heap, &mem);
    for (int step = 0; step < 100000; step++) {
        gb_heap_node *node = &nodes[seed_below(&s, FEW)];
        if (node->place) {
            gb_heap_remove(&heap, node);
        } else {
            node->key = seed_below(&s, 1000);
            assert_int_equal(gb_heap_push(&heap, node), 0);
        }
        uint64_t least = UINT64_MAX;
        uint32_t count = 0;
        for (int i = 0; i < FEW; i++) {
            if (!nodes[i].place) continue;
            count++;
            assert_ptr_equal(heap.nodes[nodes[i].place - 1], &nodes[i]);
            if (nodes[i].key < least) least = nodes[i].key;
        }
        assert_int_equal(heap.count, count);
        if (count) assert_true(gb_heap_top(&heap)->key == least);
    }
    while (gb_heap_top(&heap)) gb_heap_remove(&heap, gb_heap_top(&heap));
    gb_heap_fini(&heap);
    gb_mem_fini(&mem);
}

static void test_misuse_and_no_memory(void **unused)
{
    gb_mem mem;
    gb_heap heap;
    gb_heap_node a = {.key = 1}, b = {.key = 2};
    gb_mem_init(&mem, "test", NULL, 0);
    gb_heap_init(&heap, &mem);
    atomic_store(&mem.fail_at, 1);
    assert_int_equal(gb_heap_push(&heap, &a), GB_ENOMEM);
    assert_int_equal(a.place, 0);
    assert_int_equal(gb_heap_push(&heap, &a), 0);
    expect_assert_failure(gb_heap_push(&heap, &a));
    expect_assert_failure(gb_heap_remove(&heap, &b));
    expect_assert_failure(gb_heap_fini(&heap));
    gb_heap_remove(&heap, &a);
    gb_heap_fini(&heap);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorts),
        cmocka_unit_test(test_random_removal),
        cmocka_unit_test(test_misuse_and_no_memory),
    };
    panic_expected();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
