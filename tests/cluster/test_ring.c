/* src/cluster/ring: owners, arcs that are gained, balance, and rings made from rings. */
#include "cluster/ring.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static gb_mem mem;

static gb_ring *ring_of(const uint64_t *ids, uint32_t count, const gb_ring *from)
{
    gb_ring *ring;
    assert_int_equal(gb_ring_new(&ring, &mem, 42, ids, count, from), 0);
    return ring;
}

static void test_empty(void **unused)
{
    gb_ring *ring = ring_of(NULL, 0, NULL);
    assert_int_equal(gb_ring_owner(ring, 17), 0);
    assert_int_equal(gb_ring_owner(NULL, 17), 0);
    gb_ring_unref(ring);
    uint64_t one = 7;
    ring = ring_of(&one, 1, NULL);
    assert_int_equal(gb_ring_owner(ring, 0), 7);
    assert_int_equal(gb_ring_owner(ring, UINT64_MAX), 7);
    gb_ring_unref(ring);
}

/* A ring made from another is the ring made from nothing. */
static void test_from(void **unused)
{
    seed s = seed_start("ring");
    uint64_t ids[40];
    gb_ring *from = NULL;
    for (int round = 0; round < 200; round++) {
        uint32_t count = (uint32_t)seed_below(&s, 40);
        for (uint32_t i = 0; i < count; i++) ids[i] = 1 + 60 * i + seed_below(&s, 3);
        gb_ring *ring = ring_of(ids, count, from), *plain = ring_of(ids, count, NULL);
        assert_int_equal(ring->count, count * GB_RING_PLACES);
        for (uint32_t i = 0; i < ring->count; i++) {
            assert_true(ring->places[i].hash == plain->places[i].hash);
            assert_true(ring->places[i].silo == plain->places[i].silo);
        }
        gb_ring_unref(plain);
        gb_ring_unref(from);
        from = ring;
    }
    gb_ring_unref(from);
}

/* Arcs hold exactly the hashes that changed hands. */
static void test_gained(void **unused)
{
    seed s = seed_start("gained");
    uint64_t ids[12];
    gb_ring *before = ring_of(NULL, 0, NULL);
    for (int round = 0; round < 100; round++) {
        uint32_t count = 1 + (uint32_t)seed_below(&s, 11), arc_count;
        for (uint32_t i = 0; i < count; i++) ids[i] = 1 + 3 * i + seed_below(&s, 3);
        gb_ring *now = ring_of(ids, count, NULL);
        uint64_t silo = ids[seed_below(&s, count)];
        gb_arc *arcs;
        assert_int_equal(gb_ring_gained(&arcs, &arc_count, &mem, before, now, silo), 0);
        for (int probe = 0; probe < 2000; probe++) {
            uint64_t hash = seed_next(&s);
            if (probe < 500 && now->count) hash = now->places[probe % now->count].hash;
            if (probe % 3 == 0) hash++;
            bool inside = false;
            for (uint32_t i = 0; i < arc_count; i++) inside |= gb_arc_holds(arcs[i], hash);
            assert_int_equal(inside, gb_ring_owner(now, hash) == silo &&
                                         gb_ring_owner(before, hash) != silo);
        }
        if (arcs) gb_mem_free(&mem, arcs, arc_count * sizeof *arcs);
        gb_ring_unref(before);
        before = now;
    }
    gb_ring_unref(before);
}

static void test_balance(void **unused)
{
    enum { SILOS = 1000 };
    uint64_t ids[SILOS];
    double sum = 0, most = 0;
    for (uint32_t i = 0; i < SILOS; i++) ids[i] = i * 0x9e3779b97f4a7c15u + 1;
    gb_ring *ring = ring_of(ids, SILOS, NULL);
    for (uint32_t i = 0; i < SILOS; i += 10) {
        double share = gb_ring_share(ring, ids[i]);
        sum += share;
        if (share > most) most = share;
    }
    print_message("a silo of 1000 owns at most %.2f times its part\n", most * SILOS);
    assert_true(most * SILOS < 1.7 && sum > 0.09 && sum < 0.11);
    gb_ring_unref(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_from),
        cmocka_unit_test(test_gained),
        cmocka_unit_test(test_balance),
    };
    gb_mem_init(&mem, "test", NULL, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gb_mem_fini(&mem);
    return failed;
}
