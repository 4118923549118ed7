#include "cluster/resolve.h"

#include "base/cond.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { ADDRESSES_MAX = 8, STACK_BYTES = 256 * 1024, LIST_BYTES = ADDRESSES_MAX * INET6_ADDRSTRLEN };

/* Held by the one who waits and by the thread; malloc, because the thread may outlive everything.
 */
typedef struct question {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    int holders;
    bool is_answered;
    int code; /* of getaddrinfo */
    char list[LIST_BYTES];
    char host[];
} question;

static void let_go(question *q)
{
    pthread_mutex_lock(&q->lock);
    int left = --q->holders;
    pthread_mutex_unlock(&q->lock);
    if (left) return;
    pthread_cond_destroy(&q->answered);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static int look_up(const char *host, char list[LIST_BYTES])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int code = getaddrinfo(host, NULL, &hints, &found), count = 0;
    size_t used = 0;
    list[0] = 0;
    if (code != 0) return code;
    for (struct addrinfo *a = found; a && count < ADDRESSES_MAX; a = a->ai_next) {
        char text[INET6_ADDRSTRLEN + 1];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        int size = snprintf(list + used, LIST_BYTES - used, "%s%s", count ? "," : "", text);
        if (size < 0 || (size_t)size >= LIST_BYTES - used) {
            list[used] = 0;
            break;
        }
        used += (size_t)size;
        count++;
    }
    freeaddrinfo(found);
    return count ? 0 : EAI_NONAME;
}

static void *answer(void *arg)
{
    question *q = arg;
    char list[LIST_BYTES];
    int code = look_up(q->host, list);
    pthread_mutex_lock(&q->lock);
    q->code = code;
    memcpy(q->list, list, sizeof list);
    q->is_answered = true;
    pthread_cond_signal(&q->answered);
    pthread_mutex_unlock(&q->lock);
    let_go(q);
    return NULL;
}

static question *ask(const char *host)
{
    question *q = calloc(1, sizeof *q + strlen(host) + 1);
    if (!q) return NULL;
    memcpy(q->host, host, strlen(host) + 1);
    q->holders = 2;
    pthread_mutex_init(&q->lock, NULL);
    gb_cond_init(&q->answered);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_t thread;
    int rc = pthread_create(&thread, &attr, answer, q);
    pthread_attr_destroy(&attr);
    if (rc == 0) return q;
    q->holders = 1;
    let_go(q);
    return NULL;
}

static bool is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

int gbi_resolve(char *out, size_t room, const char *host, uint64_t deadline_ns)
{
    if (is_numeric(host)) return snprintf(out, room, "%s", host) < (int)room ? 0 : GB_EINVAL;
    question *q = ask(host);
    if (!q) return gb_err_set(GB_ENOMEM, "no thread to look up %s", host);
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    int late = 0, rc = 0;
    pthread_mutex_lock(&q->lock);
    while (!q->is_answered && !late) late = pthread_cond_timedwait(&q->answered, &q->lock, &until);
    if (!q->is_answered)
        rc = gb_err_set(GB_ETIMEDOUT, "the address of %s was not found in time", host);
    else if (q->code != 0)
        rc = gb_err_set(GB_ELOST, "no address of %s: %s", host, gai_strerror(q->code));
    else if (snprintf(out, room, "%s", q->list) >= (int)room)
        rc = gb_err_set(GB_EINVAL, "too many addresses of %s", host);
    pthread_mutex_unlock(&q->lock);
    let_go(q);
    return rc;
}
