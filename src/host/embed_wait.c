/* A thread of the program that blocks until an answer. It holds nothing of the host but the rest
 * that handles hold, so that gb_close need not wait for it. */
#include "host/embed.h"

#include "base/cond.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GRACE_MS = 1000, SLICE_NS = 1000000 };

struct gbi_waiter {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int refs; /* who waits, and who ends it */
    bool done;
    int rc;
    gb_value *value;
    char *detail;
};

static gbi_waiter *waiter_new(void)
{
    gbi_waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter) return NULL;
    pthread_mutex_init(&waiter->lock, NULL);
    gb_cond_init(&waiter->ended);
    waiter->refs = 2;
    return waiter;
}

/* With the lock held; lets it go. */
static void waiter_unref(gbi_waiter *waiter)
{
    bool last = --waiter->refs == 0;
    pthread_mutex_unlock(&waiter->lock);
    if (!last) return;
    gb_value_free(waiter->value);
    free(waiter->detail);
    pthread_cond_destroy(&waiter->ended);
    pthread_mutex_destroy(&waiter->lock);
    free(waiter);
}

void gbi_waiter_end(gbi_waiter *waiter, int rc, gb_value *value, const char *detail)
{
    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->rc = rc;
    waiter->value = value;
    waiter->detail = detail ? strdup(detail) : NULL;
    pthread_cond_signal(&waiter->ended);
    waiter_unref(waiter);
}

static uint64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * GB_SEC + (uint64_t)t.tv_nsec;
}

/* Until it is done or a time has come: done? */
static bool wait_until(gbi_waiter *waiter, uint64_t until)
{
    struct timespec at = {(time_t)(until / GB_SEC), (long)(until % GB_SEC)};
    int rc = until == 0; /* only looks */
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->done && rc == 0)
        rc = until == GB_FOREVER ? pthread_cond_wait(&waiter->ended, &waiter->lock)
                                 : pthread_cond_timedwait(&waiter->ended, &waiter->lock, &at);
    bool done = waiter->done;
    pthread_mutex_unlock(&waiter->lock);
    return done;
}

/* Nobody may drive a host without workers at this moment: then this thread does. */
static void drive_until(gb_host *host, gbi_waiter *waiter, uint64_t until)
{
    for (bool late = false; !late && !wait_until(waiter, 0);) {
        late = real_now() >= until; /* once more: this thread may have stood still until then */
        if (gbi_drive_begin(host) < 0) {
            if (wait_until(waiter, real_now() + SLICE_NS)) return;
            continue;
        }
        gbi_drive(host, SLICE_NS, SLICE_NS);
        gbi_drive_end(host);
    }
}

static int take_answer(gbi_waiter *waiter, gb_value **out)
{
    pthread_mutex_lock(&waiter->lock);
    int rc = waiter->done ? waiter->rc : GB_ESTUCK;
    if (!waiter->done)
        gb_err_set(rc, "no answer in time, and its worker does not say so: it is busy or stuck");
    else if (rc < 0)
        gb_err_set(rc, "%s", waiter->detail ? waiter->detail : gb_err_text(rc));
    if (rc >= 0 && out) {
        *out = waiter->value;
        waiter->value = NULL;
    }
    waiter_unref(waiter);
    return rc < 0 ? rc : 0;
}

/* Inside of gbi_enter, which it leaves. spec->args is NULL once they are taken. */
int gbi_call_wait(gb_host *host, gbi_spec *spec, gb_value **out)
{
    int rc = gbi_may_block(host, "gb_call_wait");
    gbi_waiter *waiter = rc < 0 ? NULL : waiter_new();
    if (rc >= 0 && !waiter) rc = gb_err_set(GB_ENOMEM, "out of memory: a call");
    uint64_t timeout_ns =
        spec->timeout_ms ? (uint64_t)spec->timeout_ms * GB_MS : host->silo->config.call_timeout_ns;
    bool forever = spec->timeout_ms < 0 || spec->timeout_ms > INT64_MAX / (int64_t)GB_MS / 2;
    bool drives = host->thread_first > 0;
    if (rc >= 0) {
        spec->waiter = waiter;
        rc = gbi_request_start(host, spec);
        if (rc < 0) {
            waiter->refs = 1;
            pthread_mutex_lock(&waiter->lock);
            waiter_unref(waiter);
        }
    }
    if (rc < 0) {
        gbi_leave(host);
        return rc;
    }
    spec->args = NULL;
    if (out) *out = NULL;
    gbi_host_ref(host);
    gbi_leave(host);
    uint64_t until = forever ? GB_FOREVER : real_now() + timeout_ns + GRACE_MS * GB_MS;
    if (drives)
        drive_until(host, waiter, host->config.virtual_time ? GB_FOREVER : until);
    else
        wait_until(waiter, until);
    rc = take_answer(waiter, out);
    gbi_host_unref(host);
    return rc;
}
