/* src/telemetry/trace: traceparent as the standard has it, there and back, and sampling. */
#include "telemetry/trace.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static int parse(gb_trace *out, const char *text)
{
    return gb_trace_parse(out, text, strlen(text));
}

static void test_parse(void **unused)
{
    gb_trace t;
    char out[GB_TRACEPARENT_BYTES + 1];
    static const char example[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_int_equal(parse(&t, example), 0);
    assert_int_equal(t.trace[0], 0x4b);
    assert_int_equal(t.trace[15], 0x36);
    assert_int_equal(t.span[0], 0x00);
    assert_int_equal(t.span[7], 0xb7);
    assert_int_equal(t.flags, GB_TRACE_SAMPLED);
    gb_trace_print(&t, out);
    assert_string_equal(out, example);
    assert_int_equal(parse(&t, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), 0);
    assert_int_equal(t.flags, 0);
    /* Later versions: the same front, perhaps more behind; unknown flags are not passed on. */
    assert_int_equal(parse(&t, "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"), 0);
    assert_int_equal(t.flags, GB_TRACE_SAMPLED);
    assert_int_equal(parse(&t, "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"), 0);
}

static void test_refused(void **unused)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", /* version 00 has no more */
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0F-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gb_trace t, before;
        memset(&t, 0x5a, sizeof t);
        before = t;
        size_t size = strlen(bad[i]);
        char *copy = malloc(size + 1); /* no NUL behind: a read too far is seen */
        memcpy(copy, bad[i], size);
        if (gb_trace_parse(&t, copy, size) != GB_EINVAL) fail_msg("accepted: %s", bad[i]);
        assert_memory_equal(&t, &before, sizeof t);
        free(copy);
    }
}

static void test_round_trip_and_sampling(void **unused)
{
    seed s = seed_start("telemetry.trace");
    enum { TRACES = 20000 };
    int wanted = 0;
    for (int i = 0; i < TRACES; i++) {
        uint64_t random[3] = {seed_next(&s), seed_next(&s), seed_next(&s)};
        if (i == 0) memset(random, 0, sizeof random); /* even then the ids are valid */
        gb_trace a, b;
        char text[GB_TRACEPARENT_BYTES + 1];
        gb_trace_start(&a, random, i % 2);
        gb_trace_print(&a, text);
        assert_int_equal(parse(&b, text), 0);
        assert_memory_equal(&a, &b, sizeof a);
        assert_int_equal(a.flags, i % 2);
        wanted += gb_trace_wanted(&a, 0.1);
        assert_true(gb_trace_wanted(&a, 1));
        assert_false(gb_trace_wanted(&a, 0));
        if (gb_trace_wanted(&a, 0.1)) assert_true(gb_trace_wanted(&a, 0.2));
    }
    assert_in_range(wanted, TRACES / 10 - 400, TRACES / 10 + 400); /* 9 standard deviations */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_round_trip_and_sampling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
