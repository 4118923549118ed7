/* src/cluster/carry.c over a silo of C grains: what becomes of a call when there is no memory for
 * the word that would end its waiting. Calls over links: tests/cluster. */
#include "cluster/carry.h"
#include "kit_kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

enum { SELF = 7, RETRY_MS = 200 };

typedef struct place {
    kit kit;
    gb_carry *carry;
    int asked, claimed, silent; /* silent: so many answers find no memory */
} place;

static uint64_t on_self(void *user)
{
    (void)user;
    return SELF;
}

static bool on_serves(void *user)
{
    (void)user;
    return true;
}

static void answer(place *p, uint64_t token, uint64_t silo)
{
    if (p->silent > 0) {
        p->silent--;
        atomic_store(&p->kit.mem.fail_at, 1);
    }
    gb_carry_answered(p->carry, token, 0, silo);
    atomic_store(&p->kit.mem.fail_at, 0);
}

static void on_find(void *user, uint64_t token, const char *id, uint32_t size, uint64_t deadline)
{
    (void)id, (void)size, (void)deadline;
    ((place *)user)->asked++;
    answer(user, token, 0);
}

static void on_claim(void *user, uint64_t token, const char *id, uint32_t size, uint64_t deadline)
{
    (void)id, (void)size, (void)deadline;
    ((place *)user)->claimed++;
    answer(user, token, SELF);
}

static void on_release(void *user, const char *id, uint32_t size)
{
    (void)user, (void)id, (void)size;
}

static int on_choose(void *user, const gb_type *type, gb_key key, uint64_t *silo)
{
    (void)user, (void)type, (void)key;
    *silo = SELF;
    return 0;
}

static bool on_address(void *user, uint64_t silo, char out[GB_MEMBER_ADDRESS_BYTES])
{
    (void)user, (void)silo, (void)out;
    return false;
}

static void open_place(place *p)
{
    memset(p, 0, sizeof *p);
    kit_open(&p->kit, 1, 5);
    assert_non_null(kit_define(&p->kit, 0, NULL));
    gb_carry_config config = {.mem = &p->kit.mem,
                              .silo = p->kit.silo,
                              .cluster = "one",
                              .bytes_max = 1 << 20,
                              .connect_ns = GB_SEC,
                              .retry_ns = RETRY_MS * GB_MS,
                              .user = p,
                              .self = on_self,
                              .serves = on_serves,
                              .find = on_find,
                              .claim = on_claim,
                              .release = on_release,
                              .choose = on_choose,
                              .address = on_address};
    assert_int_equal(gb_carry_open(&p->carry, &config), 0);
    gb_silo_set_far(p->kit.silo, gb_carry_far(p->carry), 7);
}

static void close_place(place *p)
{
    for (int i = 0; i < p->kit.silo->worker_count; i++)
        gb_carry_stop(p->carry, p->kit.silo->workers[i]);
    p->kit.silo->far = NULL;
    gb_carry_close(p->carry);
    kit_close(&p->kit);
}

/* An answer that was lost is asked for again, after the time for a retry and not at the deadline of
 * the calls. */
static void test_lost_answers(void **unused)
{
    for (int silent = 0; silent < 4; silent++) {
        place p;
        kit_ask ask[3];
        kit_prog one = {0};
        kit_add(&one, 1);
        open_place(&p);
        p.silent = silent;
        kit_to to = {0, 3, -1, 0};
        to.timeout_ns = (int64_t)(100 * GB_SEC);
        for (int i = 0; i < 3; i++)
            assert_int_equal(kit_ask_at(&p.kit, &ask[i], 0, to, &one), GB_OP_PENDING);
        kit_settle(&p.kit);
        for (int i = 0; i < silent; i++) {
            assert_int_equal(ask[0].done, 0);
            gb_silo_advance(p.kit.silo, RETRY_MS * GB_MS);
        }
        kit_settle(&p.kit);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(ask[i].done, 1);
            assert_int_equal(ask[i].rc, 0);
        }
        assert_int_equal(kit_number(&p.kit, 0, 3), 3);
        assert_int_equal(p.asked, silent + 1);
        assert_int_equal(p.claimed, 1);
        close_place(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lost_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
