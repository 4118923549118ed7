/* The host: configuration, start order, shutdown order. Behind gpubridge.h; gbrun uses the rest of this page. */
#ifndef GB_HOST_HOST_H
#define GB_HOST_HOST_H

#include "base/err.h"
#include "base/log.h"
#include "grain/grain.h"
#include "lua/script.h"

#include <gpubridge.h>

struct gb_gpu;

struct gb_host {
    gb_config config;
    gb_mem mem;
    gb_log log;
    gb_sys *sys;
    struct gb_gpu *gpu;
    gb_silo *silo;
    gbl_state **states;   /* by worker; opened on the worker's own thread */
    pthread_t *threads;
    int thread_first;     /* workers from here on have threads; the others are driven */
    int thread_count;     /* threads started */
    atomic_int opened;    /* workers whose state is open, or failed */
    atomic_int open_rc;   /* the first failure */
    char open_detail[1024];
    atomic_bool stop;
    pthread_t system_thread;
    bool system_started;
    pthread_mutex_t system_lock;
    pthread_cond_t system_wake;
};

/* gb_open with the first `driven` workers left to the caller's thread (gbi_host_run). */
int gbi_host_open(gb_host **out, const gb_config *config, int driven);

/* Drives worker 0 on this thread until *stop is set. In a simulated world: drives all of it, and returns early with
 * false when nothing can ever happen again. */
bool gbi_host_run(gb_host *host, atomic_bool *stop);

/* Waits, on the thread that drives, until nothing is under way or the time is up: true when quiet. */
bool gbi_host_settle(gb_host *host, int wait_ms);

#endif
