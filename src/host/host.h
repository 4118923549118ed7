/* The host: configuration, start order, shutdown order. Behind gpubridge.h; gbrun uses the rest of
 * this page. */
#ifndef GB_HOST_HOST_H
#define GB_HOST_HOST_H

#include "base/log.h"
#include "grain/grain.h"
#include "host/public.h"
#include "lua/script.h"

struct gb_gpu;

struct gb_host {
    atomic_uint refs;         /* the open host, and every value and handle of the program */
    atomic_bool closing;      /* gb_close has begun: no new calls */
    atomic_uint inside;       /* threads in public functions */
    _Atomic uintptr_t driver; /* the thread that polls or closes; 0: none */
    struct gbi_embed *embed;
    struct gbi_meter *meter;
    pthread_mutex_t handles_lock; /* lists of what the program holds of devices */
    gb_config config;
    gb_mem mem;
    gb_log log;
    gb_sys *sys;
    struct gb_gpu *gpu;
    struct gbl_keep *keep;
    struct gb_tracer *tracer;    /* NULL: tracing is off */
    struct gb_cluster *cluster;  /* a member, or */
    struct gb_client *client;    /* a client, or neither */
    struct gbi_operate *operate; /* of a member */
    gb_silo *silo;
    gbl_state **states; /* by worker; opened on the worker's own thread */
    pthread_t *threads;
    int thread_first;   /* workers from here on have threads; the others are driven */
    int thread_count;   /* threads started */
    atomic_int opened;  /* workers whose state is open, or failed */
    atomic_int open_rc; /* the first failure */
    char open_detail[1024];
    atomic_bool stop;
    pthread_t system_thread;
    bool system_started;
    pthread_mutex_t system_lock;
    pthread_cond_t system_wake;
};

/* gb_open with the first `driven` workers left to the caller's thread (gbi_host_run). */
int gbi_host_open(gb_host **out, const gb_config *config, int driven);

/* Drives worker 0 on this thread until *stop is set. In a simulated world: drives all of it, and
 * returns early with false when nothing can ever happen again. */
bool gbi_host_run(gb_host *host, atomic_bool *stop);

/* Waits, on the thread that drives, until nothing is under way or the time is up: true when quiet.
 */
bool gbi_host_settle(gb_host *host, int wait_ms);

/* A simulated world in which nothing is left at this time: time moves. False: nothing will ever be.
 */
bool gbi_host_move_time(gb_host *host);

/* The memory of the host outlives gb_close while handles of the program hold it. */
void gbi_host_ref(gb_host *host);
void gbi_host_unref(gb_host *host);

#endif
