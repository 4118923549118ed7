/* src/sys/timer: random use against a plain model that looks at every timer. */
#include "sys/timer.h"

#include "base/err.h"
#include "seed.h"
#include "sys/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

enum { TIMERS = 300, STEPS = 20000 };

typedef struct one {
    gb_timer timer;
    uint64_t when; /* 0: not armed, as the model has it */
    uint64_t fired_at;
    struct world *world;
} one;

typedef struct world {
    gb_mem mem;
    gb_timers timers;
    uint64_t now, last; /* last: when the one before was due */
    seed s;
    one all[TIMERS];
    bool ordered;
} world;

static void arm(world *w, one *o, uint64_t when)
{
    o->when = when ? when : 1;
    assert_int_equal(gb_timer_add(&w->timers, &o->timer, w->now, o->when), 0);
}

static uint64_t some_time(world *w)
{
    switch (seed_below(&w->s, 6)) {
    case 0: /* the past, and now */
        return w->now - seed_below(&w->s, w->now < 1000 ? 1 : 1000);
    case 1:
        return w->now + seed_below(&w->s, 200 * GB_MS);
    case 2:
        return w->now + seed_below(&w->s, 70 * GB_SEC);
    case 3:
        return w->now + seed_below(&w->s, 1000 * GB_SEC);
    case 4: /* the very edges of slots */
        return (((w->now >> GB_TIMER_SHIFT) + seed_below(&w->s, GB_TIMER_SLOTS + 3))
                << GB_TIMER_SHIFT) -
               seed_below(&w->s, 2);
    default:
        return w->now + 30 * GB_SEC;
    }
}

static void fire(gb_timer *timer)
{
    one *o = GB_CONTAINER(timer, one, timer);
    world *w = o->world;
    assert_false(gb_timer_armed(timer));
    assert_true(o->when != 0);
    assert_true(o->when <= w->now);
    if (o->when < w->last) w->ordered = false;
    w->last = o->when;
    o->when = 0;
    if (seed_below(&w->s, 4) == 0) { /* what it may do inside */
        one *other = &w->all[seed_below(&w->s, TIMERS)];
        gb_timer_stop(&w->timers, &other->timer);
        other->when = 0;
        if (other != o && seed_below(&w->s, 2)) arm(w, other, w->now + 1 + some_time(w) % GB_SEC);
    }
}

static void check(world *w)
{
    uint64_t next = GB_FOREVER;
    for (int i = 0; i < TIMERS; i++) {
        one *o = &w->all[i];
        assert_int_equal(gb_timer_armed(&o->timer), o->when != 0);
        if (o->when && o->when < next) next = o->when;
        assert_true(o->when == 0 || o->when > w->now);
    }
    uint64_t said = gb_timers_next(&w->timers);
    assert_true(said <= next);
    if (next == GB_FOREVER) assert_true(said == GB_FOREVER);
    if (next != GB_FOREVER) assert_true(said > w->now || next <= w->now);
    assert_true(gb_timers_soon(&w->timers) >= said);
}

static uint64_t some_step(world *w)
{
    switch (seed_below(&w->s, 5)) {
    case 0:
        return 1 + seed_below(&w->s, 1000);
    case 1:
        return seed_below(&w->s, 70 * GB_MS);
    case 2:
        return seed_below(&w->s, 3 * GB_SEC);
    case 3: /* minutes at once: every slot goes by */
        return seed_below(&w->s, 40) ? 0 : seed_below(&w->s, 600 * GB_SEC);
    default: { /* to the next one exactly */
        uint64_t next = gb_timers_next(&w->timers);
        return next == GB_FOREVER || next < w->now ? 0 : next - w->now;
    }
    }
}

static void test_model(void **unused)
{
    world *w = calloc(1, sizeof *w);
    w->s = seed_start("sys.timer model");
    gb_mem_init(&w->mem, "test", NULL, 0);
    w->now = seed_below(&w->s, 2) ? 0 : seed_wide(&w->s) >> 2;
    gb_timers_init(&w->timers, &w->mem, w->now);
    for (int i = 0; i < TIMERS; i++) {
        w->all[i].world = w;
        gb_timer_init(&w->all[i].timer, fire);
    }
    for (int step = 0; step < STEPS; step++) {
        one *o = &w->all[seed_below(&w->s, TIMERS)];
        if (o->when) {
            gb_timer_stop(&w->timers, &o->timer);
            gb_timer_stop(&w->timers, &o->timer); /* twice does nothing */
            o->when = 0;
        } else {
            arm(w, o, some_time(w));
        }
        w->now += some_step(w);
        w->last = 0;
        w->ordered = true;
        while (gb_timers_run(&w->timers, w->now, 1 + (int)seed_below(&w->s, 20)) > 0) continue;
        assert_true(w->ordered);
        check(w);
    }
    for (int i = 0; i < TIMERS; i++) gb_timer_stop(&w->timers, &w->all[i].timer);
    gb_timers_fini(&w->timers);
    gb_mem_fini(&w->mem);
    free(w);
}

static int fired;

static void count(gb_timer *timer)
{
    (void)timer;
    fired++;
}

/* At most so many at once, and the rest are not lost. */
static void test_bound(void **unused)
{
    gb_mem mem;
    gb_timers *timers = calloc(1, sizeof *timers);
    gb_timer some[100];
    gb_mem_init(&mem, "test", NULL, 0);
    gb_timers_init(timers, &mem, 0);
    for (int i = 0; i < 100; i++) {
        gb_timer_init(&some[i], count);
        assert_int_equal(gb_timer_add(timers, &some[i], 0, GB_SEC), 0);
    }
    assert_int_equal(gb_timers_run(timers, GB_SEC - 1, 1000), 0);
    assert_int_equal(gb_timers_run(timers, GB_SEC, 30), 30);
    assert_true(gb_timers_next(timers) == GB_SEC);
    assert_int_equal(gb_timers_run(timers, GB_SEC, 1000), 70);
    assert_int_equal(fired, 100);
    gb_timers_fini(timers);
    gb_mem_fini(&mem);
    free(timers);
}

/* Without memory for the heap a timer of a slot waits, but is not forgotten. */
static void test_no_memory(void **unused)
{
    gb_mem mem;
    gb_timers *timers = calloc(1, sizeof *timers);
    gb_timer some[2];
    fired = 0;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_timers_init(timers, &mem, 0);
    for (int i = 0; i < 2; i++) gb_timer_init(&some[i], count);
    assert_int_equal(gb_timer_add(timers, &some[0], 0, GB_SEC), 0); /* no memory needed */
    atomic_store(&mem.fail_at, 1);
    assert_int_equal(gb_timer_add(timers, &some[1], 0, 1), GB_ENOMEM);
    assert_false(gb_timer_armed(&some[1]));
    atomic_store(&mem.fail_at, 1);
    assert_int_equal(gb_timers_run(timers, 2 * GB_SEC, 10), 0);
    assert_true(gb_timers_next(timers) <= 2 * GB_SEC);
    assert_int_equal(gb_timers_run(timers, 2 * GB_SEC, 10), 1);
    assert_int_equal(fired, 1);
    gb_timers_fini(timers);
    gb_mem_fini(&mem);
    free(timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
