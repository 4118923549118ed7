/* Spans of sampled traces, from the workers that make them to whoever reads them.
 *
 * Whether a trace is sampled is decided once, by its id, where it begins; the decision travels in
 * its flags. A worker holds open spans in its own hands; finished ones wait in a ring per worker.
 * Nobody waits for a reader: when a ring is full, spans of that worker are not made and counted as
 * dropped.
 *
 * Threads: begin and end belong to their worker; taking and the counts to any thread, taking one
 * after the other. Memory is taken with the first span of a worker.
 */
#ifndef GB_TELEMETRY_TRACER_H
#define GB_TELEMETRY_TRACER_H

#include "base/buf.h"
#include "telemetry/span.h"

typedef struct gb_tracer gb_tracer;

/* rate: of new traces, 0 .. 1. 0 or GB_ENOMEM. */
int gb_tracer_new(gb_tracer **out, gb_mem *mem, int workers, double rate);
void gb_tracer_free(
    gb_tracer *tracer); /* NULL is allowed; spans that wait, or are open, are gone */

/* A new trace: flags of a context whose id is set. */
void gb_tracer_decide(const gb_tracer *tracer, gb_trace *context);

/* May a span of this context begin at this worker: before its name is made up. A no for lack of
 * room counts as dropped. */
bool gb_tracer_wants(gb_tracer *tracer, int worker, const gb_trace *context);

/* An open span below the one that the context names (none: a root), which becomes the one that it
 * names. NULL: it is not wanted, or there is no memory; the context stays. */
gb_span *gb_tracer_begin(gb_tracer *tracer, int worker, gb_trace *context, uint64_t random,
                         const char *name, int64_t now_ns);
void gb_tracer_end(gb_tracer *tracer, int worker, gb_span *span, int64_t now_ns, int status);

/* Calls with each finished span, oldest first of each worker, and forgets it: how many. Whatever
 * each does with the tracer but take is fine. */
int gb_tracer_take(gb_tracer *tracer, void (*each)(void *user, const gb_span *span), void *user);

uint64_t gb_tracer_dropped(const gb_tracer *tracer);

/* Appends the span as one JSON object without an end of line. GB_ENOMEM. */
int gb_span_json(const gb_span *span, gb_buf *out);

#endif
