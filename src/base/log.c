#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const names[] = {"debug", "info", "warn", "error", "off"};

const char *gb_log_name(gb_log_level level)
{
    return names[level];
}

int gb_log_parse(const char *name)
{
    for (int i = 0; i <= GB_LOG_OFF; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

int gb_log_escape(char *out, int room, const char *text)
{
    int at = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c && at < room - 7; c++) {
        if (*c == '"' || *c == '\\') {
            out[at++] = '\\';
            out[at++] = (char)*c;
        } else if (*c == '\n') {
            out[at++] = '\\';
            out[at++] = 'n';
        } else if (*c < 0x20) {
            at += snprintf(out + at, 7, "\\u%04x", *c);
        } else {
            out[at++] = (char)*c;
        }
    }
    out[at] = 0;
    return at;
}

void gb_log_put(const gb_log *log, gb_log_level level, int64_t wall_ns, const char *fields,
                const char *format, ...)
{
    if (level < log->level) return;
    char text[2048], escaped[4096], line[8192], when[32];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_log_escape(escaped, sizeof escaped, text);
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(line, sizeof line, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"text\":\"%s\"%s%s}",
             when, (int)(wall_ns / 1000000 % 1000), names[level], escaped,
             fields && *fields ? "," : "", fields ? fields : "");
    if (log->sink)
        log->sink(log->user, level, line);
    else
        fprintf(stderr, "%s\n", line);
}
