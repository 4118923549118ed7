/* Finished spans wait here for an exporter: a bounded ring per worker. Times are passed in.
 *
 * Threads: one writer (the worker) and one reader (the exporter) per ring; neither waits for the
 * other. A full ring refuses the span and counts it: nothing is overwritten under the reader. The
 * memory is taken with the first span, so a silo that does not trace has none.
 */
#ifndef GB_TELEMETRY_SPAN_H
#define GB_TELEMETRY_SPAN_H

#include "base/mem.h"
#include "telemetry/trace.h"

enum {
    GB_SPAN_NAME_BYTES = 64, /* with the NUL; longer names are cut */
    GB_SPAN_ATTRIBUTES_MAX = 6,
    GB_SPAN_KEY_BYTES = 24,
    GB_SPAN_TEXT_BYTES = 40
};

typedef struct gb_span_attribute {
    char key[GB_SPAN_KEY_BYTES];
    bool is_text;
    union {
        double number;
        char text[GB_SPAN_TEXT_BYTES];
    };
} gb_span_attribute;

typedef struct gb_span {
    gb_trace context;  /* the trace, and the id of this span */
    uint8_t parent[8]; /* all zero: a root */
    char name[GB_SPAN_NAME_BYTES];
    int64_t start_ns, end_ns; /* wall clock */
    int status;               /* 0, or a GB_E... */
    int attributes_count;
    gb_span_attribute attributes[GB_SPAN_ATTRIBUTES_MAX];
} gb_span;

/* Begins a span in the caller's hands: a child of parent, or the root of a trace of its own when
 * parent is NULL (then context must come from gb_trace_start). span_random makes its id. */
void gb_span_begin(gb_span *span, const gb_trace *parent, const gb_trace *own, uint64_t span_random,
                   const char *name, int64_t start_ns);

/* More than ATTRIBUTES_MAX are dropped; long keys and texts are cut. */
void gb_span_text(gb_span *span, const char *key, const char *text);
void gb_span_number(gb_span *span, const char *key, double number);

typedef struct gb_span_ring {
    gb_mem *mem;
    uint32_t room; /* a power of two */
    _Atomic(gb_span *) spans;
    _Atomic uint32_t head, tail; /* written, read: they only grow */
    _Atomic uint64_t dropped;
} gb_span_ring;

void gb_span_ring_init(gb_span_ring *ring, gb_mem *mem, uint32_t room);
void gb_span_ring_fini(gb_span_ring *ring); /* spans that still wait are gone */

/* Writer: ends the span and copies it in: 0, GB_EBUSY when the ring is full, or GB_ENOMEM. Either
 * failure counts as dropped; the caller goes on. */
int gb_span_ring_put(gb_span_ring *ring, gb_span *span, int64_t end_ns, int status);

/* Reader: moves up to max spans out, oldest first: their count. */
uint32_t gb_span_ring_take(gb_span_ring *ring, gb_span *out, uint32_t max);

uint64_t gb_span_ring_dropped(const gb_span_ring *ring); /* so far; any thread */

#endif
