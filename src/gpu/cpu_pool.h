/* The kernel threads of the cpu backend: one pool per host. Work comes as jobs of many blocks,
 * which threads take in chunks; several jobs are worked at in turn. Threads start with the first
 * job, spin for a moment when there is nothing to do (as long as that pays), then sleep.
 *
 * A watch thread ends what runs past its time: it asks the job to stop at the next block, and the
 * threads that are in one to leave it (cpu_trap.h). One that cannot be made to leave is given up in
 * the end (it keeps the job alive) and another takes its place. The watch also looks after guests:
 * runners of threads that are not the pool's.
 *
 * A thread outside may attend a job: it comes to work at it, chunk by chunk, whenever it has
 * nothing else to do. Its core is taken either way, so such a job has a seat less for threads of
 * the pool.
 */
#ifndef GB_GPU_CPU_POOL_H
#define GB_GPU_CPU_POOL_H

#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gbi_pool gbi_pool;
typedef struct gbi_runner gbi_runner; /* cpu_run.h */

/* What all threads write, at each chunk or as they come and go, has lines of its own. */
typedef struct gbi_pool_job {
    _Alignas(64) uint64_t total; /* blocks */
    uint64_t chunk;              /* blocks taken at once, at least 1; fewer near the end */
    uint64_t until_ns;           /* by then it has to end (gbi_now_ns); 0: any time */
    uint64_t shares;             /* the pool's: a chunk is at most such a part of what is left */
    bool urgent;                 /* threads take its blocks before those of other jobs */
    bool attended;               /* by this thread, which calls gbi_pool_help */
    _Atomic int32_t stop;        /* set: no further blocks */
    pthread_t attendant;
    /* A thread works on blocks first .. first + count - 1. */
    void (*run)(struct gbi_pool_job *job, gbi_runner *runner, uint64_t first, uint64_t count);
    /* All blocks are done, or given up (timed_out): once, on a pool thread, the watch, or in
     * gbi_pool_help. */
    void (*ended)(struct gbi_pool_job *job, bool timed_out);
    /* Nothing touches the job any more: once, after ended. */
    void (*released)(struct gbi_pool_job *job);
    /* Optional: the watch asks every few ms whether it shall stop. */
    bool (*cancelled)(struct gbi_pool_job *job);
    _Alignas(64) _Atomic uint64_t next; /* the pool's */
    _Atomic uint64_t spent_ns; /* by all threads; whole when ended runs, unless it timed out */
    /* the pool's */
    _Alignas(64) gb_list link;
    int workers, strays;
    int seats;    /* free ones, for threads of the pool */
    int given_up; /* threads that did not come out of it; fixed when ended runs */
    bool listed, timed_out, has_ended;
} gbi_pool_job;

/* No thread is started yet. threads 0: one per core. */
int gbi_pool_open(gbi_pool **out, gb_mem *mem, int threads);

/* Ends the threads; no job may be open. Returns the number of threads that were given up and are
 * still inside a job: the pool's memory then stays (gbi_pool_close must not be called), and such a
 * thread, should it ever come out, ends without touching anything. */
int gbi_pool_stop(gbi_pool *pool);
void gbi_pool_close(gbi_pool *pool);

/* Never blocks (the first call starts threads): 0 or GB_ENOMEM. Any thread. */
int gbi_pool_add(gbi_pool *pool, gbi_pool_job *job);

/* A chunk of a job that the calling thread attends, or as many short ones as end soon: GB_HELP_...,
 * where SOON is that its chunks are all handed out. The job may end here: see ended. */
int gbi_pool_help(gbi_pool *pool, gbi_runner *guest);

/* A runner for threads that are not the pool's; to be closed before the pool is. Any thread. */
int gbi_pool_guest_open(gbi_pool *pool, gbi_runner **out);
void gbi_pool_guest_close(gbi_pool *pool, gbi_runner *guest); /* NULL is allowed */

/* After a guest was given a limit: the watch must not sleep. Costs a load, but for once in a while.
 * Only guests of a pool that has had a job are watched. */
void gbi_pool_guest_runs(gbi_pool *pool);

bool gbi_pool_busy(const gbi_pool *pool);
int gbi_pool_threads(const gbi_pool *pool);
int gbi_pool_lost(gbi_pool *pool); /* threads given up so far */

uint64_t gbi_now_ns(void);

#endif
