/* src/cluster/member_clock: whose wall clock is said to be off, and when nothing is said. */
#include "kit_member.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define SEC ((int64_t)1000000000)

static const int64_t noon = 1700000000 * SEC;

/* Rows 7 ('b') and 8 ('c') of silos whose clocks are so far off. */
static void start(kit_member *t, int64_t b, int64_t c)
{
    kit_member_begin(t);
    t->at.wall = noon;
    kit_member_row(t, 7, "b", 3, GB_SILO_ACTIVE)->alive_ns = noon + b;
    kit_member_row(t, 8, "c", 1, GB_SILO_ACTIVE)->alive_ns = noon + c;
    kit_member_join(t);
}

/* The next read, `after` by the wall clock; what it says of clocks. */
static uint32_t read_after(kit_member *t, int64_t after, char text[GB_MEMBER_LOG_BYTES])
{
    uint32_t count = 0;
    t->at.wall += after;
    kit_member_touched(t);
    kit_member_clear(t);
    kit_member_reread(t);
    for (uint32_t i = 0; i < t->out.count; i++) {
        const gb_member_action *action = &t->out.items[i];
        if (action->kind != GB_DO_LOG || !strstr(action->text, "clock")) continue;
        if (count++ == 0) memcpy(text, action->text, GB_MEMBER_LOG_BYTES);
    }
    return count;
}

static void lives(kit_member *t, uint32_t index, int64_t off)
{
    t->rows[index].alive_ns = t->at.wall + off;
}

static void test_off(void **unused)
{
    kit_member t;
    char text[GB_MEMBER_LOG_BYTES];
    start(&t, 3600 * SEC, -7200 * SEC);
    /* It has shown nothing new yet: its sign of life is of any time. */
    assert_int_equal(read_after(&t, 60 * SEC, text), 0);
    lives(&t, 0, 3600 * SEC);
    assert_int_equal(read_after(&t, 40 * SEC, text), 1);
    assert_string_equal(text, "the clock of silo 'b' (epoch 3) is 3560 to 3600 s ahead of this "
                              "one's: set the wrong one right (NTP); who is a member does not go "
                              "by it");
    lives(&t, 0, 3600 * SEC); /* once for each life */
    lives(&t, 1, -7200 * SEC);
    assert_int_equal(read_after(&t, 0, text), 1);
    assert_non_null(strstr(text, "silo 'c' (epoch 1) is 7200 to 7200 s behind this one's"));
    kit_member_end(&t);
}

/* Who has shown no sign of life for long is not one whose clock is behind; nor who shows one again,
 * as long as it may have been written at any time since the last look. */
static void test_silent(void **unused)
{
    kit_member t;
    char text[GB_MEMBER_LOG_BYTES];
    start(&t, 0, -50 * SEC);
    for (int i = 0; i < 5; i++) assert_int_equal(read_after(&t, 3000 * SEC, text), 0);
    t.rows[0].alive_ns += 16000 * SEC;
    assert_int_equal(read_after(&t, 3000 * SEC, text), 0);
    t.rows[0].alive_ns -= 6000 * SEC; /* a vote has taken the last one away */
    assert_int_equal(read_after(&t, 60 * SEC, text), 0);
    kit_member_end(&t);
}

/* Who writes a row, of whatever silo, may write signs of life that are old. */
static void test_written(void **unused)
{
    kit_member t;
    char text[GB_MEMBER_LOG_BYTES];
    start(&t, -7200 * SEC, 0);
    read_after(&t, 0, text);
    for (int i = 0; i < 2; i++) {
        kit_member_row(&t, 7, "b", 3, GB_SILO_ACTIVE)->alive_ns = t.at.wall - (3600 - i) * SEC;
        assert_int_equal(read_after(&t, 60 * SEC, text), 0);
    }
    lives(&t, 0, -3600 * SEC);
    assert_int_equal(read_after(&t, 60 * SEC, text), 1);
    kit_member_end(&t);
}

/* This silo's own clock is set: what was written before was right by it then. */
static void test_own(void **unused)
{
    kit_member t;
    char text[GB_MEMBER_LOG_BYTES];
    for (int64_t step = -3600; step <= 3600; step += 7200) {
        start(&t, 0, 0);
        read_after(&t, 0, text);
        t.rows[0].alive_ns = t.at.wall + 1;
        assert_int_equal(read_after(&t, step * SEC, text), 0);
        t.at.wall += 60 * SEC;
        lives(&t, 0, -step * SEC); /* who is not set with it is off now */
        assert_int_equal(read_after(&t, 0, text), 1);
        assert_non_null(strstr(text, step > 0 ? "'b' (epoch 3) is 3540 to 3600 s behind"
                                              : "'b' (epoch 3) is 3600 to 3660 s ahead of"));
        kit_member_end(&t);
    }
}

/* Who is wrong himself finds all others wrong: a few lines, and how many more. A table may hold any
 * time. */
static void test_all(void **unused)
{
    kit_member t;
    char text[GB_MEMBER_LOG_BYTES], name[2] = "d";
    start(&t, 0, 0);
    for (uint64_t id = 9; id < 13; id++, name[0]++) kit_member_row(&t, id, name, 1, GB_SILO_ACTIVE);
    for (uint32_t i = 0; i < t.count; i++) t.rows[i].alive_ns = INT64_MIN;
    assert_int_equal(read_after(&t, SEC, text), 0);
    for (uint32_t i = 0; i < t.count; i++) t.rows[i].alive_ns = i % 2 ? INT64_MAX : INT64_MIN + 2;
    assert_int_equal(read_after(&t, SEC, text), 4);
    assert_non_null(strstr(kit_member_find(&t, GB_DO_LOG)->text, "the clock of silo 'b'"));
    assert_int_equal(read_after(&t, SEC, text), 0);
    kit_member_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_off), cmocka_unit_test(test_silent),
                                       cmocka_unit_test(test_written), cmocka_unit_test(test_own),
                                       cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
