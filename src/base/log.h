/* Log lines of the host itself: one line of JSON each, to a sink that the host sets (standard error
 * by default). Any thread; a line is written whole. The time is passed in (base has no clock).
 */
#ifndef GB_BASE_LOG_H
#define GB_BASE_LOG_H

#include <stdint.h>

typedef enum { GB_LOG_DEBUG, GB_LOG_INFO, GB_LOG_WARN, GB_LOG_ERROR, GB_LOG_OFF } gb_log_level;

typedef void gb_log_fn(void *user, gb_log_level level, const char *line);

typedef struct gb_log {
    gb_log_level level; /* lines below are dropped */
    gb_log_fn *sink;    /* NULL: standard error */
    void *user;
} gb_log;

/* The level of a name in lower case ("warn"), or -1. */
int gb_log_parse(const char *name);

/* fields: the inside of a JSON object (without braces, already escaped, at most 3900 bytes), or
 * NULL. */
void gb_log_put(const gb_log *log, gb_log_level level, int64_t wall_ns, const char *fields,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Writes text as a JSON string without its quotes; returns the bytes written, at most room - 1.
 * Bytes that are not UTF-8 become U+FFFD. */
int gb_log_escape(char *out, int room, const char *text);

#endif
