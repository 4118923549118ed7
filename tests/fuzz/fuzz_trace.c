/* Any bytes as a traceparent: what is accepted has valid ids, and printed and read again it is the
 * same; the text of version 00 comes back letter by letter but for unknown flags. */
#include "fuzz.h"

#include "base/check.h"
#include "telemetry/trace.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t zeros[16];
    gb_trace trace, again;
    char text[GB_TRACEPARENT_BYTES + 1];
    if (gb_trace_parse(&trace, (const char *)data, size) < 0) return 0;
    GB_CHECK(size >= GB_TRACEPARENT_BYTES);
    GB_CHECK(memcmp(trace.trace, zeros, sizeof trace.trace) != 0);
    GB_CHECK(memcmp(trace.span, zeros, sizeof trace.span) != 0);
    gb_trace_print(&trace, text);
    GB_CHECK(strlen(text) == GB_TRACEPARENT_BYTES);
    GB_CHECK(memcmp(text + 2, data + 2, GB_TRACEPARENT_BYTES - 4) == 0);
    GB_CHECK(gb_trace_parse(&again, text, GB_TRACEPARENT_BYTES) == 0);
    GB_CHECK(memcmp(&trace, &again, sizeof trace) == 0);
    return 0;
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    gb_trace trace;
    char text[GB_TRACEPARENT_BYTES + 1];
    uint64_t random[3] = {seed_next(s), seed_next(s), seed_next(s)};
    gb_trace_start(&trace, random, random[0] & 1);
    if (seed_below(s, 8) == 0) memset(trace.span, 0, sizeof trace.span); /* not valid */
    if (seed_below(s, 8) == 0) memset(trace.trace, 0, sizeof trace.trace);
    gb_trace_print(&trace, text);
    if (seed_below(s, 2)) text[1] = '1'; /* a later version, perhaps with more behind */
    size_t more = seed_below(s, 4);
    if (room < GB_TRACEPARENT_BYTES + more) return 0;
    memcpy(out, text, GB_TRACEPARENT_BYTES);
    memset(out + GB_TRACEPARENT_BYTES, '-', more);
    return GB_TRACEPARENT_BYTES + more;
}
