#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FIELDS_BYTES_MAX = 3900 };

static const char *const names[] = {"debug", "info", "warn", "error", "off"};

int gb_log_parse(const char *name)
{
    for (int i = 0; i <= GB_LOG_OFF; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

/* The bytes of the UTF-8 sequence that starts here (RFC 3629, table 3-7 of Unicode), or 0. */
static int utf8_bytes(const unsigned char *c)
{
    if (c[0] < 0x80) return 1;
    int size = c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
    if (c[0] < 0xc2 || c[0] > 0xf4) return 0;
    for (int i = 1; i < size; i++)
        if ((c[i] & 0xc0) != 0x80) return 0; /* the final NUL too */
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f)) return 0;
    if ((c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f)) return 0;
    return size;
}

int gb_log_escape(char *out, int room, const char *text)
{
    int at = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c && at < room - 7;) {
        int size = utf8_bytes(c);
        if (*c == '"' || *c == '\\') {
            out[at++] = '\\';
            out[at++] = (char)*c;
        } else if (*c == '\n') {
            out[at++] = '\\';
            out[at++] = 'n';
        } else if (*c < 0x20) {
            at += snprintf(out + at, 7, "\\u%04x", *c);
        } else if (size == 0) { /* not text: a JSON line must stay readable */
            at += snprintf(out + at, 7, "\\ufffd");
        } else {
            memcpy(out + at, c, (size_t)size);
            at += size;
        }
        c += size ? size : 1;
    }
    out[at] = 0;
    return at;
}

void gb_log_put(const gb_log *log, gb_log_level level, int64_t wall_ns, const char *fields,
                const char *format, ...)
{
    if (level < log->level) return;
    char text[2048], escaped[4096], line[4096 + FIELDS_BYTES_MAX + 128], when[32];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_log_escape(escaped, sizeof escaped, text);
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    const char *more = fields ? fields : "";
    if (strlen(more) > FIELDS_BYTES_MAX) more = "\"fields\":\"too long\""; /* cut JSON is none */
    snprintf(line, sizeof line, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"text\":\"%s\"%s%s}",
             when, (int)(wall_ns / 1000000 % 1000), names[level], escaped, *more ? "," : "", more);
    if (log->sink)
        log->sink(log->user, level, line);
    else
        fprintf(stderr, "%s\n", line);
}
