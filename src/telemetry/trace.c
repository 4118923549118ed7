#include "telemetry/trace.h"

#include "base/err.h"

#include <string.h>

enum {
    AT_TRACE = 3,
    AT_SPAN = 36,
    AT_FLAGS = 53,
    FLAGS_KNOWN = GB_TRACE_SAMPLED /* what version 00 defines; the rest is not passed on */
};

static void fill(uint8_t *out, uint64_t random)
{
    memcpy(out, &random, sizeof random);
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) any |= bytes[i];
    return any == 0;
}

void gb_trace_start(gb_trace *out, const uint64_t random[3], bool sampled)
{
    fill(out->trace, random[0]);
    fill(out->trace + 8, random[1]);
    fill(out->span, random[2]);
    if (all_zero(out->trace, sizeof out->trace)) out->trace[15] = 1;
    if (all_zero(out->span, sizeof out->span)) out->span[7] = 1;
    out->flags = sampled ? GB_TRACE_SAMPLED : 0;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

static bool read_hex(uint8_t *out, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int gb_trace_parse(gb_trace *out, const char *text, size_t size)
{
    gb_trace trace;
    uint8_t version;
    bool good = size >= GB_TRACEPARENT_BYTES && read_hex(&version, 1, text) && version != 0xff &&
                text[AT_TRACE - 1] == '-' && text[AT_SPAN - 1] == '-' && text[AT_FLAGS - 1] == '-';
    /* Version 00 ends here; a later one may go on behind a dash. */
    good = good &&
           (size == GB_TRACEPARENT_BYTES || (version > 0 && text[GB_TRACEPARENT_BYTES] == '-'));
    good = good && read_hex(trace.trace, sizeof trace.trace, text + AT_TRACE) &&
           read_hex(trace.span, sizeof trace.span, text + AT_SPAN) &&
           read_hex(&trace.flags, 1, text + AT_FLAGS) &&
           !all_zero(trace.trace, sizeof trace.trace) && !all_zero(trace.span, sizeof trace.span);
    if (!good)
        return gb_err_set(GB_EINVAL, "not a traceparent: %.*s", size < 80 ? (int)size : 80, text);
    trace.flags &= FLAGS_KNOWN;
    *out = trace;
    return 0;
}

static char *put_hex(char *out, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    return out;
}

void gb_trace_print(const gb_trace *trace, char out[GB_TRACEPARENT_BYTES + 1])
{
    memcpy(out, "00-", 3);
    char *at = put_hex(out + AT_TRACE, trace->trace, sizeof trace->trace);
    *at++ = '-';
    at = put_hex(at, trace->span, sizeof trace->span);
    *at++ = '-';
    at = put_hex(at, &trace->flags, 1);
    *at = 0;
}

bool gb_trace_wanted(const gb_trace *trace, double rate)
{
    uint64_t low = 0;
    for (int i = 8; i < 16; i++) low = low << 8 | trace->trace[i];
    if (rate >= 1) return true;
    return rate > 0 && low >> 1 < (uint64_t)(rate * 9223372036854775808.0);
}
