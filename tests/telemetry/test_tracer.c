/* src/telemetry/tracer: who is below whom, what is dropped, and the text. */
#include "telemetry/tracer.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

typedef struct seen {
    int count;
    gb_span last;
} seen;

static void on_span(void *user, const gb_span *span)
{
    seen *s = user;
    s->count++;
    s->last = *span;
}

static gb_trace fresh(gb_tracer *tracer, uint64_t a, uint64_t b)
{
    gb_trace trace = {.flags = 0};
    memcpy(trace.trace, &a, sizeof a);
    memcpy(trace.trace + 8, &b, sizeof b);
    gb_tracer_decide(tracer, &trace);
    return trace;
}

static void test_tree(void **state)
{
    static const uint8_t none[8];
    gb_mem mem;
    gb_tracer *tracer;
    seen s = {.count = 0};
    gb_mem_init(&mem, "test", NULL, 0);
    assert_int_equal(gb_tracer_new(&tracer, &mem, 2, 1.0), 0);
    gb_trace context = fresh(tracer, 1, 2), root;
    gb_span *outer = gb_tracer_begin(tracer, 0, &context, 7, "A.go", 1000);
    assert_non_null(outer);
    root = context;
    assert_memory_equal(outer->parent, none, 8);
    assert_memory_equal(context.span, outer->context.span, 8);
    gb_span *inner = gb_tracer_begin(tracer, 1, &context, 8, "B.get", 1100); /* at another worker */
    assert_memory_equal(inner->parent, root.span, 8);
    assert_memory_equal(inner->context.trace, root.trace, 16);
    gb_tracer_end(tracer, 1, inner, 1200, GB_ETRAP);
    gb_tracer_end(tracer, 0, outer, 1500, 0);
    assert_int_equal(gb_tracer_take(tracer, on_span, &s), 2);
    assert_int_equal(s.count, 2);
    assert_string_equal(s.last.name, "B.get");
    assert_int_equal(s.last.status, GB_ETRAP);
    assert_int_equal(gb_tracer_take(tracer, on_span, &s), 0);
    gb_tracer_begin(tracer, 0, &root, 9, "left open", 0);
    gb_tracer_free(tracer);
    gb_mem_fini(&mem);
}

/* What is not sampled, not read, or has no memory leaves none, and holds nobody up. */
static void test_none(void **state)
{
    gb_mem mem;
    gb_tracer *tracer;
    seen s = {.count = 0};
    gb_mem_init(&mem, "test", NULL, 0);
    assert_int_equal(gb_tracer_new(&tracer, &mem, 1, 0.0), 0);
    gb_trace context = fresh(tracer, 3, 4);
    assert_null(gb_tracer_begin(tracer, 0, &context, 1, "x", 0));
    gb_tracer_free(tracer);
    assert_int_equal(gb_tracer_new(&tracer, &mem, 1, 1.0), 0);
    context = fresh(tracer, 3, 4);
    atomic_store(&mem.fail_at, 1);
    assert_null(gb_tracer_begin(tracer, 0, &context, 1, "x", 0));
    atomic_store(&mem.fail_at, 0);
    assert_int_equal(gb_tracer_dropped(tracer), 1);
    for (int i = 0; i < 300; i++) {
        gb_trace own = context;
        gb_span *span = gb_tracer_begin(tracer, 0, &own, 1, "x", i);
        assert_true((span != NULL) == (i < 256));
        if (span) gb_tracer_end(tracer, 0, span, i, 0);
    }
    assert_int_equal(gb_tracer_dropped(tracer), 45);
    assert_int_equal(gb_tracer_take(tracer, on_span, &s), 256);
    assert_int_equal(s.last.start_ns, 255);
    assert_non_null(gb_tracer_begin(tracer, 0, &context, 1, "x", 0)); /* again */
    gb_tracer_free(tracer);
    gb_mem_fini(&mem);
}

static void test_text(void **state)
{
    gb_mem mem;
    gb_buf text;
    gb_span span;
    gb_trace parent = {.flags = GB_TRACE_SAMPLED};
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&text, &mem);
    memset(parent.trace, 0xab, sizeof parent.trace);
    uint64_t id = 0x0807060504030201;
    gb_span_begin(&span, &parent, NULL, id, "say \"hi\"\n", 1500000000);
    gb_span_text(&span, "grain.id", "\\");
    gb_span_number(&span, "device.index", 2);
    span.end_ns = span.start_ns + 250000;
    assert_int_equal(gb_span_json(&span, &text), 0);
    assert_string_equal(
        gb_buf_text(&text),
        "{\"name\":\"say \\\"hi\\\"\\n\",\"trace\":\"abababababababababababababababab"
        "\",\"span\":\"0102030405060708\",\"start\":1.500000,\"seconds\":0.000250000"
        ",\"status\":\"OK\",\"attributes\":{\"grain.id\":\"\\\\\",\"device.index\":2"
        "}}");
    memset(parent.span, 1, sizeof parent.span);
    gb_span_begin(&span, &parent, NULL, id, "x", 0);
    span.status = GB_ELOST;
    text.size = 0;
    assert_int_equal(gb_span_json(&span, &text), 0);
    assert_non_null(strstr(gb_buf_text(&text), "\"parent\":\"0101010101010101\",\"start\":0"));
    assert_non_null(strstr(gb_buf_text(&text), "\"status\":\"ELOST\",\"attributes\":{}}"));
    gb_buf_fini(&text);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
