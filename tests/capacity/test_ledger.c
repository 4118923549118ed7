/* src/capacity/ledger: all or nothing, caps, one release, and that the sums of devices and tenants
 * are always those of the owners: against a plain model, by threads, and with failing memory. */
#include "capacity/ledger.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "panic.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum { DEVICES = 3, TENANTS = 4, OWNERS = 10 };

static const gb_ledger_device devices[DEVICES] = {
    {1000, 8, true},
    {2000, 0, true},
    {500, 4, false},
};

typedef struct {
    gb_mem mem;
    gb_ledger *ledger;
} world;

static _Thread_local bool capped; /* the last claim was refused by the tenant's cap */

static int setup(void **state)
{
    world *w = calloc(1, sizeof *w);
    gb_mem_init(&w->mem, "test", NULL, 0);
    *state = w;
    return gb_ledger_new(&w->ledger, &w->mem, devices, DEVICES);
}

static int teardown(void **state)
{
    world *w = *state;
    gb_ledger_free(w->ledger);
    gb_mem_fini(&w->mem);
    free(w);
    return 0;
}

static int reserve(world *w, uint64_t tenant, uint64_t owner, int device, int64_t bytes,
                   int64_t launches, gb_reservation *out)
{
    gb_ledger_claim claim = {tenant, owner, device, bytes, launches, &capped};
    capped = false;
    return gb_ledger_reserve(w->ledger, &claim, out);
}

/* The sums of the rows are those of devices, tenants and owners, and within every bound. */
static void check_sums(world *w)
{
    enum { ROWS = DEVICES * TENANTS * OWNERS };
    gb_ledger_claim rows[ROWS];
    gb_ledger_device_sum on[DEVICES];
    gb_ledger_sum of[TENANTS] = {{0, 0}}, per[DEVICES] = {{0, 0}};
    int64_t count = gb_ledger_rows(w->ledger, rows, ROWS);
    assert_in_range(count, 0, ROWS);
    for (int64_t i = 0; i < count; i++) {
        assert_true(rows[i].bytes >= 0 && rows[i].launches >= 0);
        per[rows[i].device].bytes += rows[i].bytes;
        per[rows[i].device].launches += rows[i].launches;
        of[rows[i].tenant].bytes += rows[i].bytes;
        of[rows[i].tenant].launches += rows[i].launches;
    }
    assert_int_equal(gb_ledger_devices(w->ledger, on, DEVICES), DEVICES);
    for (int i = 0; i < DEVICES; i++) {
        assert_int_equal(on[i].reserved.bytes, per[i].bytes);
        assert_int_equal(on[i].reserved.launches, per[i].launches);
        assert_true(per[i].bytes <= devices[i].bytes_total);
        assert_true(!devices[i].launches_max || per[i].launches <= devices[i].launches_max);
    }
    for (uint64_t t = 0; t < TENANTS; t++) {
        gb_ledger_sum sum = gb_ledger_tenant(w->ledger, t);
        assert_int_equal(sum.bytes, of[t].bytes);
        assert_int_equal(sum.launches, of[t].launches);
    }
}

static void test_bounds(void **state)
{
    world *w = *state;
    gb_reservation a, b, c, d, none;
    assert_int_equal(reserve(w, 1, 7, 0, 600, 2, &a), 0);
    assert_int_equal(reserve(w, 1, 7, 0, 401, 0, &none), GB_ENOMEM);
    assert_non_null(strstr(gb_err_detail(), "401 bytes asked, 400 of 1000 bytes free"));
    assert_int_equal(reserve(w, 1, 7, 0, 400, 7, &none), GB_EBUSY); /* the bytes would fit */
    assert_int_equal(gb_ledger_owner(w->ledger, 1, 7).bytes, 600);  /* nothing was taken */
    assert_int_equal(reserve(w, 1, 7, 0, 400, 6, &b), 0);           /* exactly full */
    assert_int_equal(reserve(w, 1, 7, 0, 0, 0, &c), 0);      /* nothing at all fits a full device */
    assert_int_equal(reserve(w, 1, 7, 1, 100, 1000, &d), 0); /* a queue without a bound */
    gb_ledger_sum sum = gb_ledger_owner(w->ledger, 1, 7);
    assert_int_equal(sum.bytes, 1100);
    assert_int_equal(sum.launches, 1008);
    assert_int_equal(gb_ledger_owner(w->ledger, 2, 7).bytes, 0); /* the same id of another tenant */
    check_sums(w);
    expect_assert_failure(gb_ledger_free(w->ledger)); /* something is reserved */
    gb_ledger_release(w->ledger, a);
    gb_ledger_release(w->ledger, b);
    gb_ledger_release(w->ledger, c);
    gb_ledger_release(w->ledger, d);
    check_sums(w);
    assert_int_equal(gb_ledger_rows(w->ledger, NULL, 0), 0);
}

static void test_tenant_caps(void **state)
{
    world *w = *state;
    gb_reservation a, b, none;
    assert_int_equal(gb_ledger_cap(w->ledger, 3, "acme", 700, 3), 0);
    assert_int_equal(reserve(w, 3, 1, 0, 500, 1, &a), 0);
    assert_int_equal(reserve(w, 3, 2, 1, 201, 0, &none), GB_ENOMEM); /* over all devices */
    assert_string_equal(gb_err_detail(), "device memory of tenant 'acme': 201 bytes wanted, and "
                                         "500 of the 700 that it may have are in use");
    assert_true(capped);
    assert_int_equal(reserve(w, 3, 2, 0, 501, 0, &none), GB_ENOMEM); /* the device has not either */
    assert_true(capped);
    assert_int_equal(reserve(w, 4, 2, 0, 501, 0, &none), GB_ENOMEM);
    assert_false(capped);
    assert_int_equal(reserve(w, 3, 2, 1, 200, 3, &none), GB_EQUOTA);
    assert_int_equal(reserve(w, 3, 2, 1, 200, 2, &b), 0);
    assert_int_equal(gb_ledger_tenant(w->ledger, 3).bytes, 700);
    check_sums(w);
    assert_int_equal(gb_ledger_cap(w->ledger, 3, "acme", 100, 1), 0); /* lower than what stands */
    assert_int_equal(reserve(w, 3, 2, 1, 1, 0, &none), GB_ENOMEM);
    gb_ledger_release(w->ledger, a);
    gb_ledger_release(w->ledger, b);
    assert_int_equal(gb_ledger_cap(w->ledger, 3, "acme", 0, 0), 0);
    assert_int_equal(reserve(w, 3, 2, 1, 1500, 50, &a), 0); /* no cap again */
    gb_ledger_release(w->ledger, a);
}

static int split(world *w, gb_reservation from, uint64_t tenant, uint64_t owner, int64_t bytes,
                 gb_reservation *out)
{
    gb_ledger_claim claim = {tenant, owner, 0, bytes, 0, NULL};
    return gb_ledger_split(w->ledger, from, &claim, out);
}

/* What is taken out of a reservation was never free, and needs no room in the cap. */
static void test_split(void **state)
{
    world *w = *state;
    gb_reservation whole, part, rest, none;
    assert_int_equal(gb_ledger_cap(w->ledger, 3, "acme", 1000, 0), 0);
    assert_int_equal(reserve(w, 3, 1, 0, 1000, 0, &whole), 0);
    assert_int_equal(split(w, whole, 3, 2, 1001, &none), GB_ENOMEM);
    assert_non_null(strstr(gb_err_detail(), "1001 bytes wanted of a reservation that has 1000"));
    assert_int_equal(split(w, whole, 3, 2, 600, &part), 0);
    check_sums(w);
    assert_int_equal(gb_ledger_owner(w->ledger, 3, 1).bytes, 400);
    assert_int_equal(gb_ledger_owner(w->ledger, 3, 2).bytes, 600);
    assert_int_equal(reserve(w, 3, 4, 0, 1, 0, &none), GB_ENOMEM);
    gb_ledger_release(w->ledger, part);
    assert_int_equal(split(w, whole, 3, 1, 401, &none), GB_ENOMEM); /* it went to everybody */
    assert_int_equal(split(w, whole, 3, 1, 400, &rest), 0);
    gb_ledger_release(w->ledger, whole);
    assert_int_equal(gb_ledger_tenant(w->ledger, 3).bytes, 400);
    expect_assert_failure(split(w, whole, 3, 1, 0, &none)); /* it is released */
    expect_assert_failure(split(w, rest, 1, 1, 0, &none));  /* of another tenant */
    gb_ledger_release(w->ledger, rest);
    check_sums(w);
}

static void test_resize(void **state)
{
    world *w = *state;
    gb_reservation a, none;
    assert_int_equal(reserve(w, 0, 0, 1, 1500, 0, &a), 0);
    gb_ledger_resize(w->ledger, 1, 1000); /* others took some: what stands, stands */
    assert_int_equal(reserve(w, 0, 0, 1, 1, 0, &none), GB_ENOMEM);
    assert_non_null(strstr(gb_err_detail(), "0 of 1000 bytes free"));
    gb_ledger_resize(w->ledger, 1, 1501);
    assert_int_equal(reserve(w, 0, 0, 1, 2, 0, &none), GB_ENOMEM);
    gb_ledger_release(w->ledger, a);
    gb_ledger_resize(w->ledger, 1, devices[1].bytes_total);
}

static void test_misuse(void **state)
{
    world *w = *state;
    gb_reservation a, b, none;
    assert_int_equal(reserve(w, 0, 0, 0, 10, 0, &a), 0);
    gb_ledger_release(w->ledger, a);
    expect_assert_failure(gb_ledger_release(w->ledger, a)); /* twice */
    assert_int_equal(reserve(w, 0, 0, 0, 10, 0, &b), 0);    /* takes the slot again */
    assert_true(a != b && b != 0);
    expect_assert_failure(gb_ledger_release(w->ledger, a));
    expect_assert_failure(gb_ledger_release(w->ledger, 0));
    expect_assert_failure(gb_ledger_release(w->ledger, b + 1));
    expect_assert_failure(gb_ledger_release(w->ledger, b + 100000000));
    expect_assert_failure(reserve(w, 0, 0, DEVICES, 1, 0, &none));
    expect_assert_failure(reserve(w, 0, 0, 0, -1, 0, &none));
    assert_int_equal(gb_ledger_owner(w->ledger, 0, 0).bytes, 10); /* the rest still works */
    gb_ledger_release(w->ledger, b);
}

static void test_random(void **state)
{
    world *w = *state;
    seed s = seed_start("capacity.ledger");
    enum { HELD = 40 };
    gb_reservation held[HELD] = {0};
    int taken = 0, refused = 0;
    assert_int_equal(gb_ledger_cap(w->ledger, 2, "beta", 900, 5), 0);
    for (int step = 0; step < 50000; step++) {
        gb_reservation *one = &held[seed_below(&s, HELD)];
        if (*one) {
            gb_ledger_release(w->ledger, *one);
            *one = 0;
        } else if (reserve(w, seed_below(&s, TENANTS), seed_below(&s, OWNERS),
                           (int)seed_below(&s, DEVICES), (int64_t)seed_below(&s, 300),
                           (int64_t)seed_below(&s, 3), one) == 0) {
            taken++;
        } else {
            refused++;
            assert_true(*one == 0);
        }
        if (step % 10 == 0) check_sums(w);
        assert_true(gb_ledger_tenant(w->ledger, 2).bytes <= 900);
        assert_true(gb_ledger_tenant(w->ledger, 2).launches <= 5);
    }
    assert_true(taken > 1000 && refused > 1000); /* both happen */
    for (int i = 0; i < HELD; i++)
        if (held[i]) gb_ledger_release(w->ledger, held[i]);
}

static void test_many_owners(void **state)
{
    world *w = *state;
    enum { MANY = 20000 };
    gb_reservation *held = calloc(MANY, sizeof *held);
    int64_t bytes = 0;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < MANY; i++)
            assert_int_equal(reserve(w, i % TENANTS, i, 1, i < 1000, 1, &held[i]), 0);
        assert_int_equal(gb_ledger_rows(w->ledger, NULL, 0), MANY);
        for (uint64_t i = 0; i < MANY; i += 7)
            assert_int_equal(gb_ledger_owner(w->ledger, i % TENANTS, i).launches, 1);
        for (uint64_t i = 0; i < MANY; i++) gb_ledger_release(w->ledger, held[(i * 7919) % MANY]);
        assert_int_equal(gb_ledger_rows(w->ledger, NULL, 0), 0);
        assert_true(round == 0 || bytes == atomic_load(&w->mem.bytes)); /* slots are used again */
        bytes = atomic_load(&w->mem.bytes);
    }
    free(held);
}

static void test_no_memory(void **state)
{
    world *w = *state;
    gb_reservation held;
    int rc = GB_ENOMEM, nth;
    for (nth = 1; rc < 0; nth++) { /* every allocation of a first reservation fails in turn */
        atomic_store(&w->mem.fail_at, nth);
        rc = reserve(w, 1, 1, 0, 10, 1, &held);
        assert_true(rc == 0 || rc == GB_ENOMEM);
        atomic_store(&w->mem.fail_at, 0);
        assert_int_equal(gb_ledger_rows(w->ledger, NULL, 0), rc == 0);
        if (rc == 0) gb_ledger_release(w->ledger, held);
        gb_ledger_free(w->ledger); /* checks that no row stayed behind */
        assert_int_equal(gb_ledger_new(&w->ledger, &w->mem, devices, DEVICES), 0);
    }
    assert_in_range(nth, 6, 20);
    gb_ledger *other = NULL;
    for (nth = 1; nth <= 2; nth++) {
        atomic_store(&w->mem.fail_at, nth);
        assert_int_equal(gb_ledger_new(&other, &w->mem, devices, DEVICES), GB_ENOMEM);
    }
}

/* ---- threads ---- */

enum { THREADS = 4, TIMES = 20000 };

typedef struct {
    world *w;
    uint64_t number, random;
    atomic_bool *stop;
} thread;

static void *churn(void *arg)
{
    thread *t = arg;
    seed s = {t->random};
    gb_reservation held[4] = {0};
    for (int i = 0; i < TIMES; i++) {
        gb_reservation *one = &held[seed_below(&s, 4)];
        if (*one) {
            gb_ledger_release(t->w->ledger, *one);
            *one = 0;
        } else if (reserve(t->w, t->number, seed_below(&s, OWNERS), (int)seed_below(&s, DEVICES),
                           (int64_t)seed_below(&s, 400), (int64_t)seed_below(&s, 3), one) < 0) {
            *one = 0;
        }
    }
    for (int i = 0; i < 4; i++)
        if (held[i]) gb_ledger_release(t->w->ledger, held[i]);
    return NULL;
}

/* Each snapshot of the rows is one moment: never over a device's bounds. */
static void *watch(void *arg)
{
    thread *t = arg;
    enum { ROWS = DEVICES * TENANTS * OWNERS };
    gb_ledger_claim *rows = calloc(ROWS, sizeof *rows);
    while (!atomic_load(t->stop)) {
        gb_ledger_sum per[DEVICES] = {{0, 0}};
        int64_t count = gb_ledger_rows(t->w->ledger, rows, ROWS);
        for (int64_t i = 0; i < count; i++) {
            per[rows[i].device].bytes += rows[i].bytes;
            per[rows[i].device].launches += rows[i].launches;
        }
        for (int i = 0; i < DEVICES; i++)
            if (per[i].bytes > devices[i].bytes_total ||
                (devices[i].launches_max && per[i].launches > devices[i].launches_max))
                abort();
        sched_yield();
    }
    free(rows);
    return NULL;
}

static void test_threads(void **state)
{
    world *w = *state;
    seed s = seed_start("capacity.ledger threads");
    atomic_bool stop = false;
    thread threads[THREADS + 1];
    pthread_t ids[THREADS + 1];
    for (uint64_t i = 0; i <= THREADS; i++) {
        threads[i] = (thread){w, i, seed_next(&s), &stop};
        assert_int_equal(pthread_create(&ids[i], NULL, i < THREADS ? churn : watch, &threads[i]),
                         0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(ids[i], NULL);
    atomic_store(&stop, true);
    pthread_join(ids[THREADS], NULL);
    check_sums(w);
    assert_int_equal(gb_ledger_rows(w->ledger, NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tenant_caps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resize, setup, teardown),
        cmocka_unit_test_setup_teardown(test_misuse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_owners, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    panic_expected();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
