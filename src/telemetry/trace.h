/* The trace context that travels with a call: W3C Trace Context, level 1
 * (https://www.w3.org/TR/trace-context/), header traceparent. Ids are bytes in the order in which
 * they are printed. Random bits are passed in (no random source here). Pure functions; any thread.
 */
#ifndef GB_TELEMETRY_TRACE_H
#define GB_TELEMETRY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GB_TRACEPARENT_BYTES = 55, GB_TRACE_SAMPLED = 1 };

typedef struct gb_trace {
    uint8_t trace[16]; /* never all zero in a valid context */
    uint8_t span[8];   /* the span that calls: the parent of what follows; never all zero */
    uint8_t flags;
} gb_trace;

/* A context of its own from 192 random bits. */
void gb_trace_start(gb_trace *out, const uint64_t random[3], bool sampled);

/* Reads "00-<32 hex>-<16 hex>-<2 hex>" or a later version of it: 0, or GB_EINVAL and *out is
 * untouched. Upper-case digits and ids of zeros are invalid, as the standard says. */
int gb_trace_parse(gb_trace *out, const char *text, size_t size);

/* Writes version 00 and a NUL. */
void gb_trace_print(const gb_trace *trace, char out[GB_TRACEPARENT_BYTES + 1]);

/* Whether a new trace of this id is sampled at a rate of 0 .. 1: the same answer on every silo
 * (the lower 63 bits of the id against the rate, as OpenTelemetry's TraceIdRatioBased). */
bool gb_trace_wanted(const gb_trace *trace, double rate);

#endif
