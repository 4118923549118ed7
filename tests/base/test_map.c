/* src/base/map: against a plain model with colliding hashes, and a million entries. */
#include "base/map.h"

#include "base/err.h"
#include "base/hash.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "panic.h"

#include <stdlib.h>
#include <time.h>

static int found(const gb_map *map, uint64_t hash, uint32_t value)
{
    int times = 0;
    uint32_t cursor = 0, at;
    while ((at = gb_map_next(map, hash, &cursor)) != GB_MAP_NONE) times += at == value;
    return times;
}

static void test_against_model(void **unused)
{
    seed s = seed_start("base.map model");
    enum { VALUES = 600 };
    gb_mem mem;
    gb_map *map = malloc(sizeof *map);
    uint64_t hashes[VALUES];
    int held[VALUES] = {0};
    uint64_t count = 0;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_map_init(map, &mem);
    /* Three segments, tags that differ in few bits or not at all: long runs and many removals from
     * inside them. */
    for (int i = 0; i < VALUES; i++)
        hashes[i] = seed_below(&s, 3) << 54 | (seed_below(&s, 4) ? seed_below(&s, 40) : UINT32_MAX);
    for (int step = 0; step < 200000; step++) {
        uint32_t value = (uint32_t)seed_below(&s, VALUES);
        if (held[value]) {
            gb_map_remove(map, hashes[value], value);
            count--;
        } else {
            assert_int_equal(gb_map_add(map, hashes[value], value), 0);
            count++;
        }
        held[value] = !held[value];
        assert_true(map->count == count);
        if (step % 500 == 0)
            for (uint32_t v = 0; v < VALUES; v++)
                assert_int_equal(found(map, hashes[v], v), held[v]);
        uint32_t probe = (uint32_t)seed_below(&s, VALUES);
        assert_int_equal(found(map, hashes[probe], probe), held[probe]);
    }
    gb_map_fini(map);
    free(map);
    gb_mem_fini(&mem);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void test_million(void **unused)
{
    enum { MANY = 1000000 };
    gb_mem mem;
    gb_map *map = malloc(sizeof *map);
    gb_mem_init(&mem, "test", NULL, 0);
    gb_map_init(map, &mem);
    double longest = 0, start = now_us(), before = start;
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(gb_map_add(map, gb_hash_mix(i + 1), i), 0);
        double now = now_us();
        if (now - before > longest) longest = now - before;
        before = now;
    }
    printf("# base.map: %d entries in %.0f ms, longest insertion %.0f us, %.1f bytes each\n", MANY,
           (before - start) / 1e3, longest, (double)atomic_load(&mem.bytes) / MANY);
    assert_true(map->count == MANY);
    assert_true(atomic_load(&mem.bytes) < 24 * (int64_t)MANY);
    for (uint32_t i = 0; i < MANY; i++) assert_int_equal(found(map, gb_hash_mix(i + 1), i), 1);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(found(map, gb_hash_mix(i + 1 + MANY), i), 0);
    for (uint32_t i = 0; i < MANY; i++) gb_map_remove(map, gb_hash_mix(i + 1), i);
    assert_true(map->count == 0);
    gb_map_fini(map);
    free(map);
    gb_mem_fini(&mem);
}

static void test_misuse_and_no_memory(void **unused)
{
    gb_mem mem;
    gb_map *map = malloc(sizeof *map);
    uint32_t cursor = 0;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_map_init(map, &mem);
    assert_int_equal(gb_map_next(map, 5, &cursor), GB_MAP_NONE);
    expect_assert_failure(gb_map_remove(map, 5, 1));
    expect_assert_failure(gb_map_add(map, 5, GB_MAP_NONE));
    atomic_store(&mem.fail_at, 1);
    assert_int_equal(gb_map_add(map, 5, 1), GB_ENOMEM);
    assert_true(map->count == 0);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(gb_map_add(map, 5, i), 0);
    atomic_store(&mem.fail_at, 1); /* the fourth must grow */
    assert_int_equal(gb_map_add(map, 5, 3), GB_ENOMEM);
    assert_true(map->count == 3);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(found(map, 5, i), 1);
    expect_assert_failure(gb_map_remove(map, 5, 3));
    gb_map_fini(map);
    free(map);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_million),
        cmocka_unit_test(test_misuse_and_no_memory),
    };
    panic_expected();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
