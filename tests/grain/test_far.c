/* src/grain/far.h: calls between two silos. */
#include "grain/far.h"
#include "kit_town.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static kit_to to(int64_t key)
{
    return (kit_to){0, key, -1, 0};
}

static kit_prog adds(int64_t n)
{
    kit_prog prog = {0};
    kit_add(&prog, n);
    return prog;
}

static void test_each_lives_once(void **state)
{
    for (int late = 0; late < 2; late++)
        for (int placement = GB_PLACE_RANDOM; placement <= GB_PLACE_LEAST; placement++) {
            town t;
            kit_ask ask[40];
            town_open(&t, 2, 3, 7);
            gb_type_options options;
            kit_options(&options);
            options.placement = (gb_placement)placement;
            for (int i = 0; i < 2; i++) {
                assert_non_null(kit_define(&t.kit[i], 0, &options));
                t.door[i].late = late;
            }
            kit_prog one = adds(1);
            for (int i = 0; i < 40; i++) /* from all workers of both, ten keys */
                assert_int_equal(kit_ask_at(&t.kit[i % 2], &ask[i], i % 3, to(i % 10), &one),
                                 GB_OP_PENDING);
            town_settle(&t);
            for (int i = 0; i < 40; i++) {
                assert_int_equal(ask[i].done, 1);
                assert_int_equal(ask[i].rc, 0);
            }
            for (int key = 0; key < 10; key++) {
                assert_int_equal(kit_number(&t.kit[key % 2], 0, key), 4);
                assert_null(kit_find(&t.kit[1 - key % 2], 0, key));
            }
            int asked = t.door[0].asked;
            assert_int_equal(kit_ask_at(&t.kit[0], &ask[0], 0, to(0), &one), GB_OP_PENDING);
            town_settle(&t);
            assert_int_equal(t.door[0].asked, asked); /* it lives here: nobody is asked again */
            assert_int_equal(ask[0].value, 5);
            for (int i = 0; i < 2; i++) {
                gb_silo_advance(t.kit[i].silo, options.idle_ns * 3);
                assert_int_equal(t.kit[i].instances, 0);
                for (int key = 0; key < 10; key++) {
                    int times = t.door[i].here[key]; /* several calls may be told "here" */
                    assert_true(key % 2 == i ? times >= 0 : times == 0);
                }
                assert_int_equal(t.door[i].ended, 5);
            }
            town_close(&t);
        }
}

static void test_failures_travel(void **state)
{
    town t;
    kit_ask ask;
    town_open(&t, 2, 2, 3);
    for (int i = 0; i < 2; i++) kit_define(&t.kit[i], 0, NULL);
    kit_prog bad = {0}, one = adds(1), park = {0};
    kit_fail(&bad, GB_EINVAL);
    kit_park(&park, 1);
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, to(1), &bad), GB_OP_PENDING);
    town_settle(&t);
    assert_int_equal(ask.rc, GB_EINVAL);
    assert_string_equal(ask.message, "boom");
    t.owner[5] = -1;
    int rc = kit_ask_at(&t.kit[0], &ask, 0, to(5), &one);
    town_settle(&t);
    assert_true(rc == GB_EBUSY || (ask.done == 1 && ask.rc == GB_EBUSY));
    assert_string_equal(ask.message, "nobody wants it");
    /* one-way: true once it is queued there */
    assert_int_equal(kit_tell_at(&t.kit[0], &ask, 0, to(3), &one), GB_OP_PENDING);
    town_settle(&t);
    assert_int_equal(ask.done, 1);
    assert_int_equal(kit_number(&t.kit[1], 0, 3), 1);
    /* a deadline frees the caller while the callee is still at it */
    kit_to late = to(1);
    late.timeout_ns = (int64_t)GB_SEC;
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, late, &park), GB_OP_PENDING);
    town_settle(&t);
    gb_silo_advance(t.kit[0].silo, 2 * GB_SEC);
    assert_int_equal(ask.done, 1);
    assert_int_equal(ask.rc, GB_ETIMEDOUT);
    assert_true(kit_wake(&t.kit[1], 1));
    town_settle(&t);
    assert_int_equal(ask.done, 1);
    town_close(&t);
}

static void test_instance_fails(void **state)
{
    town t;
    kit_ask ask;
    town_open(&t, 2, 2, 5);
    kit_define(&t.kit[0], 0, NULL);
    kit_prog one = adds(1);
    t.kit[0].conf[0].open_fails = 1;
    int rc = kit_ask_at(&t.kit[0], &ask, 0, to(0), &one);
    town_settle(&t);
    assert_true(rc < 0 || ask.rc < 0);
    assert_int_equal(t.door[0].ended, 1);
    assert_int_equal(t.door[0].here[0], 0);
    town_close(&t);
}

static void test_foreign(void **state)
{
    town t;
    kit_ask ask;
    gb_type *type, *again;
    town_open(&t, 2, 2, 9);
    kit_define(&t.kit[1], 0, NULL);
    assert_int_equal(gb_type_foreign(&type, t.kit[0].silo, "T0"), 0);
    assert_int_equal(gb_type_foreign(&again, t.kit[0].silo, "T0"), 0);
    assert_ptr_equal(type, again);
    t.kit[0].types[0] = type;
    kit_prog one = adds(1);
    for (int worker = 0; worker < 2; worker++) {
        assert_int_equal(kit_ask_at(&t.kit[0], &ask, worker, to(1), &one), GB_OP_PENDING);
        town_settle(&t);
        assert_int_equal(ask.rc, 0);
        assert_int_equal(ask.value, worker + 1);
    }
    /* the door was wrong: nobody hosts it here */
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, to(0), &one), GB_OP_PENDING);
    town_settle(&t);
    assert_int_equal(ask.rc, GB_ENOTYPE);
    assert_non_null(strstr(ask.message, "'T0'"));
    /* a module comes that defines it */
    assert_non_null(kit_define(&t.kit[0], 0, NULL));
    assert_ptr_equal(t.kit[0].types[0], type);
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, to(0), &one), GB_OP_PENDING);
    town_settle(&t);
    assert_int_equal(ask.rc, 0);
    assert_int_equal(kit_number(&t.kit[0], 0, 0), 1);
    assert_int_equal(gb_type_foreign(&again, t.kit[0].silo, "T0"), 0);
    assert_ptr_equal(type, again);
    assert_false(atomic_load(&type->foreign));
    town_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_lives_once),
        cmocka_unit_test(test_failures_travel),
        cmocka_unit_test(test_instance_fails),
        cmocka_unit_test(test_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
