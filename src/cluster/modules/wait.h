/* What modules share: waiting for a descriptor until a deadline, and taking "host:port" apart. */
#ifndef GB_CLUSTER_MODULES_WAIT_H
#define GB_CLUSTER_MODULES_WAIT_H

#include "cluster/provider.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GB_HOST_BYTES = 256, GB_ADDRESSES_BYTES = 512 };

/* Milliseconds until then, at least 0, at most a day. */
static inline int gbm_left_ms(uint64_t deadline_ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    if (now >= deadline_ns) return 0;
    uint64_t ms = (deadline_ns - now + 999999) / 1000000;
    return ms > 86400000 ? 86400000 : (int)ms;
}

/* True when one of the events is there; false: too late. */
static inline bool gbm_wait(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd one = {.fd = fd, .events = events};
        int ms = gbm_left_ms(deadline_ns), n = poll(&one, 1, ms);
        if (n > 0) return true;
        if ((n == 0 && ms == 0) || (n < 0 && errno != EINTR)) return false;
    }
}

/* The value of a name in a query ("a=b&c=d"), or "" when it is not there. False: it is too long. */
static inline bool gbm_option(const char *query, const char *name, char *out, size_t room)
{
    size_t size = strlen(name);
    *out = 0;
    while (*query) {
        size_t one = strcspn(query, "&");
        if (one > size && strncmp(query, name, size) == 0 && query[size] == '=')
            return snprintf(out, room, "%.*s", (int)(one - size - 1), query + size + 1) < (int)room;
        query += one + (query[one] == '&');
    }
    return true;
}

/* The next "host", "host:port" or "[v6]:port" of a list with commas: the rest of the list, or NULL
 * when it is none or too long. */
static inline const char *gbm_next_host(const char *list, char host[GB_HOST_BYTES], int *port,
                                        int port_default)
{
    size_t whole = strcspn(list, ","), size = whole;
    const char *name = list, *digits = NULL;
    if (list[0] == '[') {
        const char *close = memchr(list, ']', whole);
        if (!close) return NULL;
        name = list + 1;
        size = (size_t)(close - name);
        if (close + 1 < list + whole) {
            if (close[1] != ':') return NULL;
            digits = close + 2;
        }
    } else {
        const char *colon = memchr(list, ':', whole);
        if (colon) {
            size = (size_t)(colon - name);
            digits = colon + 1;
        }
    }
    *port = port_default;
    if (digits) {
        char *end = NULL;
        long value = strtol(digits, &end, 10);
        if (end != list + whole || *digits < '0' || *digits > '9' || value < 1 || value > 65535)
            return NULL;
        *port = (int)value;
    }
    if (!size || size >= GB_HOST_BYTES) return NULL;
    memcpy(host, name, size);
    host[size] = 0;
    return list + whole + (list[whole] == ',');
}

#endif
