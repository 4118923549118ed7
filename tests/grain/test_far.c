/* src/grain/far.h: two silos in one world, and a door between them that is a list of calls. A grain
 * lives on the silo that the door names for its key. */
#include "grain/far.h"
#include "kit_kind.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { SILOS = 2, HELD = 256 };

typedef struct town town;

typedef struct door {
    gb_far far;
    town *town;
    int index;
    int asked, ended;
    int here[KIT_KEYS]; /* that place said yes to, less those that ended */
    gb_call *held[HELD];
    gb_worker *holder[HELD];
    int count;
    bool late; /* also what is to be here is said later */
} door;

struct town {
    kit kit[SILOS];
    door door[SILOS];
    int owner[KIT_KEYS]; /* -1: refused */
};

static int known(gb_far *far, gb_worker *worker, gb_call *call)
{
    (void)far, (void)worker, (void)call;
    return GB_OP_READY;
}

static int place(gb_far *far, gb_worker *worker, gb_call *call)
{
    door *d = GB_CONTAINER(far, door, far);
    int owner = d->town->owner[call->key.number];
    d->asked++;
    if (owner < 0) return gb_err_set(GB_EBUSY, "nobody wants it");
    if (owner == d->index && !d->late && !atomic_load(&call->type->foreign)) {
        d->here[call->key.number]++;
        return GB_OP_READY;
    }
    assert_true(d->count < HELD);
    d->held[d->count] = call;
    d->holder[d->count++] = worker;
    return GB_OP_PENDING;
}

static void ended(gb_far *far, gb_worker *worker, gb_type *type, gb_key key)
{
    (void)worker, (void)type;
    door *d = GB_CONTAINER(far, door, far);
    d->ended++;
    d->here[key.number]--;
}

static void open_town(town *t, int workers, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < SILOS; i++) {
        kit_open(&t->kit[i], workers, seed + (uint64_t)i);
        t->door[i] =
            (door){.far = {.known = known, .place = place, .ended = ended}, .town = t, .index = i};
        gb_silo_set_far(t->kit[i].silo, &t->door[i].far, 7);
    }
    for (int key = 0; key < KIT_KEYS; key++) t->owner[key] = key % SILOS;
}

static void close_town(town *t)
{
    for (int i = 0; i < SILOS; i++) {
        assert_int_equal(t->kit[i].wrong, 0);
        assert_int_equal(kit_calls(&t->kit[i]), 0);
        kit_close(&t->kit[i]);
        assert_int_equal(t->kit[i].wrong, 0);
    }
}

/* The far end of a call: its answer goes back to the call that was held. */
static void answered(gb_call *remote)
{
    gb_call *call = remote->user;
    if (remote->rc < 0)
        gb_call_fail(call, remote->rc, "%s", remote->message ? remote->message : "");
    call->bytes.size = 0;
    if (remote->body && remote->rc >= 0) assert_true(remote->type->kind->pack(remote) >= 0);
    assert_int_equal(gb_buf_put(&call->bytes, remote->bytes.data, remote->bytes.size), 0);
    gb_far_answer(call);
}

static void carry(kit *to, gb_call *call)
{
    gb_call *remote = gb_call_new(to->silo->workers[0]);
    assert_non_null(remote);
    remote->type = gb_type_find(to->silo, call->type->name->text);
    remote->method = gb_sym_get(to->silo, call->method->text, call->method->size);
    assert_int_equal(gb_call_set_key(remote, call->key), 0);
    assert_int_equal(gb_buf_put(&remote->bytes, call->bytes.data, call->bytes.size), 0);
    remote->deadline = call->deadline;
    remote->flags = call->flags & GB_CALL_ONEWAY;
    remote->way = GB_WAY_AFAR;
    remote->done = answered;
    remote->user = call;
    int rc = gb_call_send(remote);
    if (rc == GB_OP_READY) gb_far_answer(call);
    if (rc >= 0) return;
    gb_call_fail(call, rc, "%s", gb_err_detail());
    gb_call_drop(remote);
    gb_far_answer(call);
}

/* Lets what was held go where it belongs, until nothing is held and nothing runs. */
static void settle(town *t)
{
    for (int quiet = 0; quiet < 2; quiet++) { /* an answer may come back once more */
        for (int i = 0; i < SILOS; i++) kit_settle(&t->kit[i]);
        for (int i = 0; i < SILOS; i++) {
            door *d = &t->door[i];
            for (int n = 0; n < d->count; n++) {
                gb_call *call = d->held[n];
                int owner = t->owner[call->key.number];
                quiet = -1;
                if (owner == i) {
                    d->here[call->key.number]++;
                    gb_far_here(d->holder[n], call);
                } else {
                    carry(&t->kit[owner], call);
                }
            }
            d->count = 0;
        }
    }
}

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
            open_town(&t, 3, 7);
            gb_type_options options;
            kit_options(&options);
            options.placement = (gb_placement)placement;
            for (int i = 0; i < SILOS; i++) {
                assert_non_null(kit_define(&t.kit[i], 0, &options));
                t.door[i].late = late;
            }
            kit_prog one = adds(1);
            for (int i = 0; i < 40; i++) /* from all workers of both, ten keys */
                assert_int_equal(kit_ask_at(&t.kit[i % 2], &ask[i], i % 3, to(i % 10), &one),
                                 GB_OP_PENDING);
            settle(&t);
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
            settle(&t);
            assert_int_equal(t.door[0].asked, asked); /* it lives here: nobody is asked again */
            assert_int_equal(ask[0].value, 5);
            for (int i = 0; i < SILOS; i++) {
                gb_silo_advance(t.kit[i].silo, options.idle_ns * 3);
                assert_int_equal(t.kit[i].instances, 0);
                for (int key = 0; key < 10; key++) {
                    int times = t.door[i].here[key]; /* several calls may be told "here" */
                    assert_true(key % 2 == i ? times >= 0 : times == 0);
                }
                assert_int_equal(t.door[i].ended, 5);
            }
            close_town(&t);
        }
}

static void test_failures_travel(void **state)
{
    town t;
    kit_ask ask;
    open_town(&t, 2, 3);
    for (int i = 0; i < SILOS; i++) kit_define(&t.kit[i], 0, NULL);
    kit_prog bad = {0}, one = adds(1), park = {0};
    kit_fail(&bad, GB_EINVAL);
    kit_park(&park, 1);
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, to(1), &bad), GB_OP_PENDING);
    settle(&t);
    assert_int_equal(ask.rc, GB_EINVAL);
    assert_string_equal(ask.message, "boom");
    t.owner[5] = -1;
    int rc = kit_ask_at(&t.kit[0], &ask, 0, to(5), &one);
    settle(&t);
    assert_true(rc == GB_EBUSY || (ask.done == 1 && ask.rc == GB_EBUSY));
    assert_string_equal(ask.message, "nobody wants it");
    /* one-way: true once it is queued there */
    assert_int_equal(kit_tell_at(&t.kit[0], &ask, 0, to(3), &one), GB_OP_PENDING);
    settle(&t);
    assert_int_equal(ask.done, 1);
    assert_int_equal(kit_number(&t.kit[1], 0, 3), 1);
    /* a deadline frees the caller while the callee is still at it */
    kit_to late = to(1);
    late.timeout_ns = (int64_t)GB_SEC;
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, late, &park), GB_OP_PENDING);
    settle(&t);
    gb_silo_advance(t.kit[0].silo, 2 * GB_SEC);
    assert_int_equal(ask.done, 1);
    assert_int_equal(ask.rc, GB_ETIMEDOUT);
    assert_true(kit_wake(&t.kit[1], 1));
    settle(&t);
    assert_int_equal(ask.done, 1);
    close_town(&t);
}

static void test_instance_fails(void **state)
{
    town t;
    kit_ask ask;
    open_town(&t, 2, 5);
    kit_define(&t.kit[0], 0, NULL);
    kit_prog one = adds(1);
    t.kit[0].conf[0].open_fails = 1;
    int rc = kit_ask_at(&t.kit[0], &ask, 0, to(0), &one);
    settle(&t);
    assert_true(rc < 0 || ask.rc < 0);
    assert_int_equal(t.door[0].ended, 1);
    assert_int_equal(t.door[0].here[0], 0);
    close_town(&t);
}

static void test_foreign(void **state)
{
    town t;
    kit_ask ask;
    gb_type *type, *again;
    open_town(&t, 2, 9);
    kit_define(&t.kit[1], 0, NULL);
    assert_int_equal(gb_type_foreign(&type, t.kit[0].silo, "T0"), 0);
    assert_int_equal(gb_type_foreign(&again, t.kit[0].silo, "T0"), 0);
    assert_ptr_equal(type, again);
    t.kit[0].types[0] = type;
    kit_prog one = adds(1);
    for (int worker = 0; worker < 2; worker++) {
        assert_int_equal(kit_ask_at(&t.kit[0], &ask, worker, to(1), &one), GB_OP_PENDING);
        settle(&t);
        assert_int_equal(ask.rc, 0);
        assert_int_equal(ask.value, worker + 1);
    }
    /* the door was wrong: nobody hosts it here */
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, to(0), &one), GB_OP_PENDING);
    settle(&t);
    assert_int_equal(ask.rc, GB_ENOTYPE);
    assert_non_null(strstr(ask.message, "'T0'"));
    /* a module comes that defines it */
    assert_non_null(kit_define(&t.kit[0], 0, NULL));
    assert_ptr_equal(t.kit[0].types[0], type);
    assert_int_equal(kit_ask_at(&t.kit[0], &ask, 0, to(0), &one), GB_OP_PENDING);
    settle(&t);
    assert_int_equal(ask.rc, 0);
    assert_int_equal(kit_number(&t.kit[0], 0, 0), 1);
    assert_int_equal(gb_type_foreign(&again, t.kit[0].silo, "T0"), 0);
    assert_ptr_equal(type, again);
    assert_false(atomic_load(&type->foreign));
    close_town(&t);
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
