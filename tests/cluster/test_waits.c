/* src/cluster/waits: circles of calls over silos, chased by messages. */
#include "cluster/waits.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Silos 1 .. 5 with one grain each. The turn at silo i was made by a call and waits for
 * waits_for[i]'s grain: the call i waits for is numbered i. 0: it runs. */
typedef struct scene {
    uint64_t waits_for[6];
    uint64_t self;
} scene;

static gb_waits_edge next(void *user, uint64_t from, uint64_t target, uint64_t asker_silo,
                          uint64_t asker)
{
    scene *t = user;
    assert_true(target == from); /* call i comes from silo i */
    if (t->self == asker_silo && t->self == asker) return (gb_waits_edge){.kind = GB_WAITS_ASKER};
    if (!t->waits_for[t->self]) return (gb_waits_edge){.kind = GB_WAITS_NOTHING};
    return (gb_waits_edge){GB_WAITS_AWAY, t->waits_for[t->self], t->self};
}

/* Is the call of silo `asker` found to wait for itself? */
static bool chase(scene *t, uint64_t asker)
{
    uint64_t from = asker, at = t->waits_for[asker];
    gb_message message = gb_waits_begin(asker, asker, asker), out;
    for (int steps = 0; steps < 100; steps++) {
        uint64_t to;
        t->self = at;
        if (!gb_waits_message(at, from, &message, next, t, &out, &to)) return false;
        if (out.kind == GB_MSG_WAIT_ROUND) {
            assert_true(out.call == asker && to == asker);
            return true;
        }
        assert_int_equal(out.hops, message.hops + 1);
        message = out;
        from = at;
        at = to;
    }
    fail();
    return false;
}

static void test_circles(void **unused)
{
    scene pair = {.waits_for = {0, 2, 1}};
    assert_true(chase(&pair, 1) && chase(&pair, 2));
    scene ring = {.waits_for = {0, 2, 3, 4, 5, 1}};
    for (uint64_t i = 1; i <= 5; i++) assert_true(chase(&ring, i));
    scene line = {.waits_for = {0, 2, 3, 4, 5, 0}};
    for (uint64_t i = 1; i <= 4; i++) assert_false(chase(&line, i));
    /* Who waits for a circle is not in it, and his question ends at the bound. */
    scene tail = {.waits_for = {0, 2, 3, 2}};
    assert_false(chase(&tail, 1));
    assert_true(chase(&tail, 2));
}

static void test_random(void **unused)
{
    seed s = seed_start("waits");
    for (int round = 0; round < 2000; round++) {
        scene t = {0};
        for (uint64_t i = 1; i <= 5; i++) {
            do t.waits_for[i] = seed_below(&s, 6);
            while (t.waits_for[i] == i);
        }
        uint64_t asker = 1 + seed_below(&s, 5);
        if (!t.waits_for[asker]) continue;
        bool circle = false;
        uint64_t at = asker;
        for (int i = 0; i < 6 && at && !circle; i++) {
            at = t.waits_for[at];
            circle = at == asker;
        }
        assert_int_equal(chase(&t, asker), circle);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_circles),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
