/* src/telemetry/span: what a span keeps, the bound of the ring, and a reader beside the writer. */
#include "telemetry/span.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "panic.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

static gb_trace root(void)
{
    gb_trace t;
    gb_trace_start(&t, (const uint64_t[3]){1, 2, 3}, true);
    return t;
}

static void test_span(void **unused)
{
    gb_span parent, span;
    gb_trace own = root();
    static const uint8_t none[8];
    gb_span_begin(&parent, NULL, &own, 0, "turn", 100);
    assert_memory_equal(parent.parent, none, 8);
    assert_memory_equal(&parent.context, &own, sizeof own);
    gb_span_begin(&span, &parent.context, NULL, 77, "gpu.kernel.execute", 150);
    assert_memory_equal(span.context.trace, own.trace, 16);
    assert_memory_equal(span.parent, own.span, 8);
    assert_memory_not_equal(span.context.span, own.span, 8);
    assert_string_equal(span.name, "gpu.kernel.execute");
    gb_span_text(&span, "kernel.name", "saxpy");
    gb_span_number(&span, "device.index", 2);
    assert_int_equal(span.attributes_count, 2);
    assert_string_equal(span.attributes[0].key, "kernel.name");
    assert_true(span.attributes[0].is_text);
    assert_string_equal(span.attributes[0].text, "saxpy");
    assert_false(span.attributes[1].is_text);
    assert_true(span.attributes[1].number == 2);
    for (int i = 0; i < 10; i++) gb_span_number(&span, "more", i);
    assert_int_equal(span.attributes_count, GB_SPAN_ATTRIBUTES_MAX);
    gb_span_begin(&span, &parent.context, NULL, 0, "x", 0); /* a random 0 is still an id */
    assert_memory_not_equal(span.context.span, none, 8);
    expect_assert_failure(gb_span_begin(&span, NULL, NULL, 1, "x", 0));
}

static void test_long_texts(void **unused)
{
    gb_trace own = root();
    gb_span span;
    char longer[300];
    memset(longer, 'n', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    memcpy(longer + GB_SPAN_NAME_BYTES - 2, "\xe2\x82\xac", 3); /* a sequence over the cut */
    gb_span_begin(&span, NULL, &own, 0, longer, 0);
    assert_int_equal(strlen(span.name), GB_SPAN_NAME_BYTES - 2);
    gb_span_text(&span, longer, longer);
    assert_int_equal(strlen(span.attributes[0].key), GB_SPAN_KEY_BYTES - 1);
    assert_int_equal(strlen(span.attributes[0].text), GB_SPAN_TEXT_BYTES - 1);
}

static void test_bound(void **unused)
{
    gb_mem mem;
    gb_span_ring ring;
    gb_span span, out[8];
    gb_trace own = root();
    gb_mem_init(&mem, "test", NULL, 0);
    gb_span_ring_init(&ring, &mem, 4);
    assert_int_equal(mem.bytes, 0); /* nothing until the first */
    assert_int_equal(gb_span_ring_take(&ring, out, 8), 0);
    gb_span_begin(&span, NULL, &own, 0, "s", 0);
    atomic_store(&mem.fail_at, 1);
    assert_int_equal(gb_span_ring_put(&ring, &span, 1, 0), GB_ENOMEM);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++)
            assert_int_equal(gb_span_ring_put(&ring, &span, 10 * round + i, GB_EBUSY), 0);
        assert_int_equal(gb_span_ring_put(&ring, &span, 99, 0), GB_EBUSY);
        assert_int_equal(gb_span_ring_take(&ring, out, 3), 3);
        for (int i = 0; i < 3; i++) assert_int_equal(out[i].end_ns, 10 * round + i);
        assert_int_equal(gb_span_ring_take(&ring, out, 8), 1);
        assert_int_equal(out[0].end_ns, 10 * round + 3);
        assert_int_equal(out[0].status, GB_EBUSY);
    }
    assert_int_equal(gb_span_ring_dropped(&ring), 6);
    assert_int_equal(mem.bytes, 4 * sizeof(gb_span));
    gb_span_ring_fini(&ring);
    gb_mem_fini(&mem);
    expect_assert_failure(gb_span_ring_init(&ring, &mem, 3));
}

enum { SPANS = 20000 };

static void *write_spans(void *arg)
{
    gb_span_ring *ring = arg;
    gb_trace own = root();
    for (int i = 0; i < SPANS; i++) {
        gb_span span;
        gb_span_begin(&span, NULL, &own, 0, "s", i);
        gb_span_number(&span, "i", i);
        while (gb_span_ring_put(ring, &span, i, -i) < 0) sched_yield();
    }
    return NULL;
}

static void test_threads(void **unused)
{
    gb_mem mem;
    gb_span_ring ring;
    pthread_t writer;
    gb_span out[16];
    int seen = 0;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_span_ring_init(&ring, &mem, 64);
    assert_int_equal(pthread_create(&writer, NULL, write_spans, &ring), 0);
    while (seen < SPANS) {
        uint32_t count = gb_span_ring_take(&ring, out, 16);
        if (count == 0) sched_yield();
        for (uint32_t i = 0; i < count; i++, seen++) {
            assert_int_equal(out[i].start_ns, seen);
            assert_int_equal(out[i].status, -seen);
            assert_true(out[i].attributes[0].number == seen);
        }
    }
    pthread_join(writer, NULL);
    gb_span_ring_fini(&ring);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_span),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_threads),
    };
    panic_expected();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
