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

/* Threads that spin look at the first line; the next ones are written by every thread that comes to
 * a job or leaves it, all at one time; the rest is for other times. */
struct gbi_pool {
    _Atomic int32_t open_count; /* jobs in `open` */
    _Atomic int32_t active;     /* jobs not ended */
    gb_mem *mem;
    int wanted; /* threads */
    bool closing, watching;
    pthread_t watch;
    _Alignas(64) pthread_mutex_t lock;
    int thread_count, spinners, sleepers, lost;
    int woken;         /* of the sleepers: those on their way */
    int attended;      /* jobs that a thread outside works at as well */
    int leaving;       /* threads about to come out of a job */
    gb_list open;      /* jobs with blocks to hand out */
    gb_list running;   /* jobs whose blocks are all handed out */
    uint64_t added_ns; /* when the newest job came */
    _Atomic int32_t watch_state;
    gb_list threads; /* live ones */
    gb_list strays;  /* given up */
    gb_list guests;
    pthread_cond_t work, watch_work;
};

/* What the watch does: a guest ran since it looked last; it looks; it sleeps until it is woken. */
enum { GBI_WATCH_HEARD, GBI_WATCH_LOOKS, GBI_WATCH_SLEEPS };

void *gbi_pool_watch(void *pool); /* the thread */

/* The job goes on without the threads that are in it, and others take their place. A caller that
 * helps is not given up: the job ends when it comes out. True when the lists of jobs have changed.
 */
bool gbi_pool_give_up_locked(gbi_pool *pool, gbi_pool_job *job);

#endif
