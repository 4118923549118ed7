#include "telemetry/tracer.h"

#include "base/err.h"
#include "base/log.h"

#include <pthread.h>
#include <string.h>

enum { WAITING_MAX = 256, OPEN_MAX = 1024, TAKE = 16 };

/* An open span, or a spare one. */
typedef struct open_span {
    gb_span span; /* first */
    struct open_span *next, *made_before;
} open_span;

/* On lines of its own: a worker whose ring is full counts with every turn of a sampled trace. */
typedef struct own {
    _Alignas(64) gb_span_ring ring;
    open_span *spare, *made;
    int made_count;
    _Atomic uint64_t dropped;
} own;

struct gb_tracer {
    gb_mem *mem;
    double rate;
    int workers;
    pthread_mutex_t lock; /* of taking */
    own *of;
};

int gb_tracer_new(gb_tracer **out, gb_mem *mem, int workers, double rate)
{
    gb_tracer *tracer = gb_mem_zalloc(mem, sizeof *tracer);
    if (!tracer) return GB_ENOMEM;
    tracer->of = gb_mem_zalloc_lines(mem, (size_t)workers * sizeof *tracer->of);
    if (!tracer->of) {
        gb_mem_free(mem, tracer, sizeof *tracer);
        return GB_ENOMEM;
    }
    tracer->mem = mem;
    tracer->rate = rate;
    tracer->workers = workers;
    pthread_mutex_init(&tracer->lock, NULL);
    for (int i = 0; i < workers; i++) gb_span_ring_init(&tracer->of[i].ring, mem, WAITING_MAX);
    *out = tracer;
    return 0;
}

void gb_tracer_free(gb_tracer *tracer)
{
    if (!tracer) return;
    gb_mem *mem = tracer->mem;
    for (int i = 0; i < tracer->workers; i++) {
        gb_span_ring_fini(&tracer->of[i].ring);
        for (open_span *at = tracer->of[i].made, *before; at; at = before) {
            before = at->made_before;
            gb_mem_free(mem, at, sizeof *at);
        }
    }
    pthread_mutex_destroy(&tracer->lock);
    gb_mem_free_lines(mem, tracer->of, (size_t)tracer->workers * sizeof *tracer->of);
    gb_mem_free(mem, tracer, sizeof *tracer);
}

void gb_tracer_decide(const gb_tracer *tracer, gb_trace *context)
{
    context->flags = gb_trace_wanted(context, tracer->rate) ? GB_TRACE_SAMPLED : 0;
}

static bool is_full(const gb_span_ring *ring)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    return head - atomic_load_explicit(&ring->tail, memory_order_relaxed) == ring->room;
}

static open_span *take_open(gb_tracer *tracer, own *of)
{
    open_span *open = of->spare;
    if (open) {
        of->spare = open->next;
        return open;
    }
    if (of->made_count == OPEN_MAX || !(open = gb_mem_alloc(tracer->mem, sizeof *open)))
        return NULL;
    open->made_before = of->made;
    of->made = open;
    of->made_count++;
    return open;
}

static void count_dropped(own *of) /* one writer */
{
    uint64_t dropped = atomic_load_explicit(&of->dropped, memory_order_relaxed);
    atomic_store_explicit(&of->dropped, dropped + 1, memory_order_relaxed);
}

bool gb_tracer_wants(gb_tracer *tracer, int worker, const gb_trace *context)
{
    if (!(context->flags & GB_TRACE_SAMPLED)) return false;
    own *of = &tracer->of[worker];
    if (!is_full(&of->ring)) return true;
    count_dropped(of);
    return false;
}

gb_span *gb_tracer_begin(gb_tracer *tracer, int worker, gb_trace *context, uint64_t random,
                         const char *name, int64_t now_ns)
{
    if (!gb_tracer_wants(tracer, worker, context)) return NULL;
    own *of = &tracer->of[worker];
    open_span *open = take_open(tracer, of);
    if (!open) {
        count_dropped(of);
        return NULL;
    }
    gb_span_begin(&open->span, context, NULL, random, name, now_ns);
    *context = open->span.context;
    return &open->span;
}

void gb_tracer_end(gb_tracer *tracer, int worker, gb_span *span, int64_t now_ns, int status)
{
    own *of = &tracer->of[worker];
    open_span *open = (open_span *)span;
    gb_span_ring_put(&of->ring, span, now_ns, status); /* the ring counts what it refuses */
    open->next = of->spare;
    of->spare = open;
}

int gb_tracer_take(gb_tracer *tracer, void (*each)(void *user, const gb_span *span), void *user)
{
    gb_span spans[TAKE];
    int count = 0;
    pthread_mutex_lock(&tracer->lock);
    for (int i = 0; i < tracer->workers; i++) {
        /* what stands there now: a worker that is quicker than each would keep us for ever */
        uint32_t left = WAITING_MAX, got;
        while (left && (got = gb_span_ring_take(&tracer->of[i].ring, spans,
                                                left < TAKE ? left : TAKE)) > 0) {
            for (uint32_t k = 0; k < got; k++) each(user, &spans[k]);
            count += (int)got;
            left -= got;
        }
    }
    pthread_mutex_unlock(&tracer->lock);
    return count;
}

uint64_t gb_tracer_dropped(const gb_tracer *tracer)
{
    uint64_t dropped = 0;
    for (int i = 0; i < tracer->workers; i++)
        dropped += gb_span_ring_dropped(&tracer->of[i].ring) +
                   atomic_load_explicit(&tracer->of[i].dropped, memory_order_relaxed);
    return dropped;
}

/* ---- as text ---- */

static int put_hex(gb_buf *out, const char *name, const uint8_t *bytes, int count)
{
    int rc = gb_buf_printf(out, ",\"%s\":\"", name);
    for (int i = 0; i < count && rc >= 0; i++) rc = gb_buf_printf(out, "%02x", bytes[i]);
    return rc < 0 ? rc : gb_buf_printf(out, "\"");
}

static int put_attribute(gb_buf *out, const gb_span_attribute *attribute, bool first)
{
    char key[GB_SPAN_KEY_BYTES * 6], text[GB_SPAN_TEXT_BYTES * 6];
    gb_log_escape(key, sizeof key, attribute->key);
    int rc = gb_buf_printf(out, "%s\"%s\":", first ? "" : ",", key);
    if (rc < 0) return rc;
    if (!attribute->is_text) return gb_buf_printf(out, "%.17g", attribute->number);
    gb_log_escape(text, sizeof text, attribute->text);
    return gb_buf_printf(out, "\"%s\"", text);
}

int gb_span_json(const gb_span *span, gb_buf *out)
{
    static const uint8_t none[8];
    char name[GB_SPAN_NAME_BYTES * 6];
    gb_log_escape(name, sizeof name, span->name);
    int rc = gb_buf_printf(out, "{\"name\":\"%s\"", name);
    if (rc >= 0) rc = put_hex(out, "trace", span->context.trace, 16);
    if (rc >= 0) rc = put_hex(out, "span", span->context.span, 8);
    if (rc >= 0 && memcmp(span->parent, none, sizeof none) != 0)
        rc = put_hex(out, "parent", span->parent, 8);
    if (rc >= 0)
        rc = gb_buf_printf(
            out, ",\"start\":%.6f,\"seconds\":%.9f,\"status\":\"%s\",\"attributes\":{",
            (double)span->start_ns / 1e9, (double)(span->end_ns - span->start_ns) / 1e9,
            span->status < 0 ? gb_err_name(span->status) : "OK");
    for (int i = 0; i < span->attributes_count && rc >= 0; i++)
        rc = put_attribute(out, &span->attributes[i], i == 0);
    if (rc >= 0) rc = gb_buf_printf(out, "}}");
    return rc < 0 ? GB_ENOMEM : 0;
}
