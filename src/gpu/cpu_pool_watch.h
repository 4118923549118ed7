/* Inside the kernel pool: what its threads and its watch share. The watch is one thread, which
 * looks every few milliseconds at all jobs and guests while there are any (cpu_pool.h), and sleeps
 * else.
 *
 * Functions in "_locked" are called with the pool's lock held, and come back with it.
 */
#ifndef GB_GPU_CPU_POOL_WATCH_H
#define GB_GPU_CPU_POOL_WATCH_H

#include "gpu/cpu_pool.h"
#include "gpu/cpu_run.h"

#include <stdatomic.h>

typedef struct pool_thread {
    gb_list link;
    gbi_pool *pool;
    pthread_t id;
    gbi_pool_job *job;
    gbi_runner *runner;
    uint64_t spin_ns;
    bool stray; /* given up; when it comes out of its job it ends */
} pool_thread;

struct gbi_pool {
    gb_mem *mem;
    int wanted; /* threads */
    pthread_mutex_t lock;
    pthread_cond_t work, watch_work;
    gb_list open;    /* jobs with blocks to hand out */
    gb_list running; /* jobs whose blocks are all handed out */
    gb_list threads; /* live ones */
    gb_list strays;  /* given up */
    gb_list guests;
    int thread_count, spinners, sleepers, lost;
    int attended;               /* jobs that a thread outside works at as well */
    int leaving;                /* threads about to come out of a job */
    uint64_t added_ns;          /* when the newest job came */
    bool wake_last;             /* the first that wakes wakes one more */
    _Atomic int32_t open_count; /* jobs in `open`: what spinning threads look at */
    _Atomic int32_t active;     /* jobs not ended */
    _Atomic int32_t watch_state;
    bool closing, watching;
    pthread_t watch;
};

/* What the watch does: a guest ran since it looked last; it looks; it sleeps until it is woken. */
enum { GBI_WATCH_HEARD, GBI_WATCH_LOOKS, GBI_WATCH_SLEEPS };

void *gbi_pool_watch(void *pool); /* the thread */

/* The job goes on without the threads that are in it, and others take their place. A caller that
 * helps is not given up: the job ends when it comes out. True when the lists of jobs have changed.
 */
bool gbi_pool_give_up_locked(gbi_pool *pool, gbi_pool_job *job);

#endif
