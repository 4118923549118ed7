#include "telemetry/span.h"

#include "base/check.h"
#include "base/err.h"

#include <string.h>

/* As much of the text as fits, never half a UTF-8 sequence. */
static void copy_text(char *out, size_t room, const char *text)
{
    size_t size = strnlen(text, room);
    if (size == room) {
        size = room - 1;
        while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80) size--;
    }
    memcpy(out, text, size);
    out[size] = 0;
}

void gb_span_begin(gb_span *span, const gb_trace *parent, const gb_trace *own, uint64_t span_random,
                   const char *name, int64_t start_ns)
{
    GB_CHECK(!parent != !own);
    span->context = parent ? *parent : *own;
    memset(span->parent, 0, sizeof span->parent);
    if (parent) {
        memcpy(span->parent, parent->span, sizeof span->parent);
        if (span_random == 0) span_random = 1; /* an id of zeros is none */
        memcpy(span->context.span, &span_random, sizeof span->context.span);
    }
    copy_text(span->name, sizeof span->name, name);
    span->start_ns = start_ns;
    span->end_ns = start_ns;
    span->status = 0;
    span->attributes_count = 0;
}

static gb_span_attribute *add_attribute(gb_span *span, const char *key)
{
    if (span->attributes_count == GB_SPAN_ATTRIBUTES_MAX) return NULL;
    gb_span_attribute *attribute = &span->attributes[span->attributes_count++];
    copy_text(attribute->key, sizeof attribute->key, key);
    return attribute;
}

void gb_span_text(gb_span *span, const char *key, const char *text)
{
    gb_span_attribute *attribute = add_attribute(span, key);
    if (!attribute) return;
    attribute->is_text = true;
    copy_text(attribute->text, sizeof attribute->text, text);
}

void gb_span_number(gb_span *span, const char *key, double number)
{
    gb_span_attribute *attribute = add_attribute(span, key);
    if (!attribute) return;
    attribute->is_text = false;
    attribute->number = number;
}

void gb_span_ring_init(gb_span_ring *ring, gb_mem *mem, uint32_t room)
{
    GB_CHECK(room > 0 && (room & (room - 1)) == 0);
    memset(ring, 0, sizeof *ring);
    ring->mem = mem;
    ring->room = room;
}

void gb_span_ring_fini(gb_span_ring *ring)
{
    gb_span *spans = atomic_load(&ring->spans);
    gb_mem_free(ring->mem, spans, ring->room * sizeof *spans);
    atomic_store(&ring->spans, NULL);
    atomic_store(&ring->head, 0);
    atomic_store(&ring->tail, 0);
}

static int dropped(gb_span_ring *ring, int rc)
{
    atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
    return rc;
}

int gb_span_ring_put(gb_span_ring *ring, gb_span *span, int64_t end_ns, int status)
{
    span->end_ns = end_ns;
    span->status = status;
    gb_span *spans = atomic_load_explicit(&ring->spans, memory_order_relaxed);
    if (!spans) {
        spans = gb_mem_alloc(ring->mem, ring->room * sizeof *spans);
        if (!spans) return dropped(ring, GB_ENOMEM);
        atomic_store_explicit(&ring->spans, spans, memory_order_release);
    }
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (head - tail == ring->room)
        return dropped(ring, gb_err_set(GB_EBUSY, "%u spans wait for an exporter", ring->room));
    spans[head & (ring->room - 1)] = *span;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return 0;
}

uint32_t gb_span_ring_take(gb_span_ring *ring, gb_span *out, uint32_t max)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed), count = head - tail;
    if (count > max) count = max;
    if (count == 0) return 0;
    const gb_span *spans = atomic_load_explicit(&ring->spans, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) out[i] = spans[(tail + i) & (ring->room - 1)];
    atomic_store_explicit(&ring->tail, tail + count, memory_order_release);
    return count;
}

uint64_t gb_span_ring_dropped(const gb_span_ring *ring)
{
    return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}
