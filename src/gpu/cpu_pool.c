#include "gpu/cpu_pool_watch.h"

#include "base/check.h"
#include "base/cond.h"
#include "base/err.h"
#include "gpu/gpu.h"
#include "sys/cores.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum {
    /* What waking costs on a virtual machine: 20 to 60 us each, and now and then some milliseconds,
     * where the system puts two of our threads on one core. */
    SPIN_MAX_NS = 200000,
    SPIN_MIN_NS = 2000,
    TURN_NS = 1000000, /* after that a thread looks whether another job waits */
    HELP_NS = 10000,   /* and one from outside whether there is anything else */
    LOCK_SPINS = 100,
    WAKES = 2, /* threads that one wakes */
    SHARES = 2 /* of what is left: parts for each thread, of which a chunk is one at most */
};

uint64_t gbi_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* All threads come to a job, and leave it, at one time, and hold the lock for less than it takes to
 * sleep and be woken: so who finds it taken spins first. */
static void take_lock(gbi_pool *pool)
{
    for (int i = 0; i < LOCK_SPINS; i++) {
        if (pthread_mutex_trylock(&pool->lock) == 0) return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
}

int gbi_pool_open(gbi_pool **out, gb_mem *mem, int threads)
{
    gbi_pool *pool = gb_mem_zalloc_lines(mem, sizeof *pool);
    if (!pool) return GB_ENOMEM;
    pool->mem = mem;
    pool->wanted = threads > 0 ? threads : gb_cores();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    gb_cond_init(&pool->watch_work);
    gb_list_init(&pool->open);
    gb_list_init(&pool->running);
    gb_list_init(&pool->threads);
    gb_list_init(&pool->strays);
    gb_list_init(&pool->guests);
    *out = pool;
    return 0;
}

bool gbi_pool_busy(const gbi_pool *pool)
{
    return atomic_load_explicit(&((gbi_pool *)pool)->active, memory_order_relaxed) > 0;
}

int gbi_pool_threads(const gbi_pool *pool)
{
    return pool->wanted;
}

int gbi_pool_lost(gbi_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    int lost = pool->lost;
    pthread_mutex_unlock(&pool->lock);
    return lost;
}

/* ---- working; "locked" functions hold pool->lock and come back with it ---- */

/* Urgent jobs stand before all others: the first that is not, or the end of the list. */
static gb_list *first_common(gbi_pool *pool)
{
    gb_list *at = pool->open.next;
    while (at != &pool->open && GB_CONTAINER(at, gbi_pool_job, link)->urgent) at = at->next;
    return at;
}

/* The first open job moves to the back of its kind, so that jobs share the threads. */
static gbi_pool_job *next_job_locked(gbi_pool *pool)
{
    if (gb_list_empty(&pool->open)) return NULL;
    gb_list *node = pool->open.next;
    gbi_pool_job *job = GB_CONTAINER(node, gbi_pool_job, link);
    gb_list_unlink(node);
    gb_list_push(job->urgent ? first_common(pool) : &pool->open, node); /* before it */
    return job;
}

static void list_locked(gbi_pool *pool, gbi_pool_job *job)
{
    job->listed = true;
    gb_list_push(job->urgent ? first_common(pool) : &pool->open, &job->link);
    atomic_fetch_add(&pool->open_count, 1);
}

/* All its blocks are handed out, or all its seats. */
static void unlist_locked(gbi_pool *pool, gbi_pool_job *job)
{
    if (!job->listed) return;
    job->listed = false;
    gb_list_unlink(&job->link);
    gb_list_push(&pool->running, &job->link);
    atomic_fetch_sub(&pool->open_count, 1);
}

/* The last worker of a job without blocks left ends it. */
static void end_job_locked(gbi_pool *pool, gbi_pool_job *job)
{
    if (job->listed || job->workers > 0 || job->has_ended) return;
    job->has_ended = true;
    gb_list_unlink(&job->link);
    bool timed_out = job->timed_out;
    job->strays++; /* as long as ended runs */
    pool->attended -= job->attended;
    pthread_mutex_unlock(&pool->lock);
    job->ended(job, timed_out);
    pthread_mutex_lock(&pool->lock);
    bool free_now = --job->strays == 0;
    pthread_mutex_unlock(&pool->lock);
    if (free_now) job->released(job);
    atomic_fetch_sub(&pool->active, 1);
    pthread_mutex_lock(&pool->lock);
}

/* Chunks are shorter towards the end, so that all threads come to it together. 0: none is left. */
static uint64_t take_chunk(gbi_pool_job *job, uint64_t *first)
{
    uint64_t next = atomic_load_explicit(&job->next, memory_order_relaxed), count;
    do {
        if (next >= job->total) return 0;
        count = (job->total - next) / job->shares;
        if (count > job->chunk) count = job->chunk;
        if (count == 0) count = 1;
    } while (!atomic_compare_exchange_weak_explicit(&job->next, &next, next + count,
                                                    memory_order_relaxed, memory_order_relaxed));
    *first = next;
    return count;
}

/* False: there was none. */
static bool run_chunk(gbi_pool_job *job, gbi_runner *runner)
{
    uint64_t first, count;
    if (atomic_load_explicit(&job->stop, memory_order_relaxed))
        atomic_store_explicit(&job->next, job->total, memory_order_relaxed);
    count = take_chunk(job, &first);
    if (count) job->run(job, runner, first, count);
    return count > 0;
}

/* One chunk after the other; no longer than a turn where other jobs wait, or who calls only helps.
 */
static void run_chunks(gbi_pool *pool, gbi_pool_job *job, gbi_runner *runner, bool helps)
{
    uint64_t start = gbi_now_ns(), now = start, turn = helps ? HELP_NS : TURN_NS;
    while (run_chunk(job, runner)) {
        now = gbi_now_ns();
        if (now - start > turn &&
            (helps || atomic_load_explicit(&pool->open_count, memory_order_relaxed) > 0))
            break;
    }
    atomic_fetch_add_explicit(&job->spent_ns, now - start, memory_order_relaxed);
}

static bool has_blocks(gbi_pool_job *job)
{
    return atomic_load_explicit(&job->next, memory_order_relaxed) < job->total;
}

static void leave_locked(gbi_pool *pool, gbi_pool_job *job)
{
    job->workers--;
    if (!has_blocks(job) || atomic_load_explicit(&job->stop, memory_order_relaxed))
        unlist_locked(pool, job);
    else if (!job->listed && job->seats > 0) {
        gb_list_unlink(&job->link);
        list_locked(pool, job);
    }
    end_job_locked(pool, job);
}

static void work_locked(pool_thread *thread, gbi_pool_job *job)
{
    gbi_pool *pool = thread->pool;
    thread->job = job;
    job->workers++;
    if (--job->seats == 0) unlist_locked(pool, job);
    pthread_mutex_unlock(&pool->lock);
    run_chunks(pool, job, thread->runner, false);
    take_lock(pool);
    thread->job = NULL;
    if (thread->stray) { /* the job ended without us; whoever comes out last lets it go */
        bool last = --job->strays == 0 && !pool->closing;
        pthread_mutex_unlock(&pool->lock);
        if (last) job->released(job);
        pthread_mutex_lock(&pool->lock);
        return;
    }
    job->seats++;
    pool->leaving++;
    leave_locked(pool, job);
    pool->leaving--;
}

/* Spins without the lock until a job is open or the time is over; the time follows what paid. */
static bool spin(pool_thread *thread, uint64_t now)
{
    gbi_pool *pool = thread->pool;
    uint64_t until = now + thread->spin_ns;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&pool->open_count, memory_order_relaxed) > 0) {
                uint64_t longer = thread->spin_ns * 2;
                thread->spin_ns = longer < SPIN_MAX_NS ? longer : SPIN_MAX_NS;
                return true;
            }
            relax();
        }
    } while (gbi_now_ns() < until);
    uint64_t shorter = thread->spin_ns / 2;
    thread->spin_ns = shorter > SPIN_MIN_NS ? shorter : SPIN_MIN_NS;
    return false;
}

/* True: a job may be open. While somebody outside works at a job, one thread has no core: if it
 * spun, it would do so on the core of one that works, and hold up the whole job. */
static bool spin_locked(pool_thread *thread, uint64_t *idle)
{
    gbi_pool *pool = thread->pool;
    if (pool->attended > 0 && pool->sleepers == 0) {
        *idle = gbi_now_ns();
        return false;
    }
    pool->spinners++;
    pthread_mutex_unlock(&pool->lock);
    *idle = gbi_now_ns();
    bool found = spin(thread, *idle);
    take_lock(pool);
    pool->spinners--;
    return found || !gb_list_empty(&pool->open);
}

static uint64_t chunks_left(gbi_pool_job *job)
{
    uint64_t next = atomic_load_explicit(&job->next, memory_order_relaxed);
    return next < job->total ? (job->total - next + job->chunk - 1) / job->chunk : 0;
}

/* How many sleeping threads the open jobs are worth. Those that spin, are about to leave a job, or
 * are on their way, find one each. */
static int wanted_locked(gbi_pool *pool)
{
    int coming = pool->spinners + pool->leaving + pool->woken;
    int asleep = pool->sleepers - pool->woken, wanted = 0;
    for (gb_list *at = pool->open.next; at != &pool->open && wanted < coming + asleep;
         at = at->next) {
        gbi_pool_job *job = GB_CONTAINER(at, gbi_pool_job, link);
        uint64_t chunks = chunks_left(job);
        wanted += chunks < (uint64_t)job->seats ? (int)chunks : job->seats;
    }
    wanted -= coming;
    if (wanted <= 0) return 0;
    return wanted < asleep ? wanted : asleep;
}

/* Wakes threads that the open jobs are worth, at most so many. To wake one takes 10 us and more on
 * a virtual machine, so those who wake wake others in their turn, if there is still work for them;
 * and the caller's core is about to be free and is not yet: the system would put two of our threads
 * on another one, and leave them there. */
static int wake_locked(gbi_pool *pool, int most)
{
    int wake = wanted_locked(pool);
    if (wake > most) wake = most;
    pool->woken += wake;
    return wake;
}

/* Without the lock, or those who wake would sleep again until it is free. */
static void signal_work(gbi_pool *pool, int wake)
{
    while (wake-- > 0) pthread_cond_signal(&pool->work);
}

static void idle_locked(pool_thread *thread)
{
    gbi_pool *pool = thread->pool;
    uint64_t idle;
    if (spin_locked(thread, &idle) || pool->closing) return;
    pool->sleepers++;
    pthread_cond_wait(&pool->work, &pool->lock);
    int wake = wake_locked(pool, WAKES); /* as one of those who come */
    pool->sleepers--;
    if (pool->woken > 0) pool->woken--;
    /* Would a full spin have caught the job? Then spinning pays after all. */
    if (pool->added_ns - idle < SPIN_MAX_NS) thread->spin_ns = SPIN_MAX_NS;
    if (wake == 0) return;
    pthread_mutex_unlock(&pool->lock);
    signal_work(pool, wake);
    take_lock(pool);
}

static void *thread_main(void *arg)
{
    pool_thread *thread = arg;
    gbi_pool *pool = thread->pool;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        gbi_pool_job *job = next_job_locked(pool);
        if (job)
            work_locked(thread, job);
        else if (pool->closing)
            break;
        else
            idle_locked(thread);
        if (thread->stray) break;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* ---- threads ---- */

/* Signals of the process are other threads' business; faults of kernels are ours. */
static int start(pthread_t *id, void *(*main)(void *), void *arg)
{
    sigset_t others, old;
    sigfillset(&others);
    sigdelset(&others, SIGSEGV);
    sigdelset(&others, SIGBUS);
    sigdelset(&others, SIGFPE);
    sigdelset(&others, SIGILL);
    pthread_sigmask(SIG_SETMASK, &others, &old);
    int failed = pthread_create(id, NULL, main, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed ? gb_err_set(GB_ENOMEM, "no kernel thread could be started") : 0;
}

static int add_thread_locked(gbi_pool *pool)
{
    pool_thread *thread = gb_mem_zalloc(pool->mem, sizeof *thread);
    if (!thread) return GB_ENOMEM;
    int rc = gbi_runner_open(&thread->runner, pool->mem);
    if (rc == 0) {
        thread->pool = pool;
        thread->spin_ns = SPIN_MAX_NS;
        rc = start(&thread->id, thread_main, thread);
        if (rc < 0) gbi_runner_close(thread->runner);
    }
    if (rc < 0) {
        gb_mem_free(pool->mem, thread, sizeof *thread);
        return rc;
    }
    gb_list_push(&pool->threads, &thread->link);
    pool->thread_count++;
    return 0;
}

bool gbi_pool_give_up_locked(gbi_pool *pool, gbi_pool_job *job)
{
    bool listed = job->listed;
    for (gb_list *at = pool->threads.next, *next; at != &pool->threads; at = next) {
        next = at->next;
        pool_thread *thread = GB_CONTAINER(at, pool_thread, link);
        if (thread->job != job) continue;
        thread->stray = true;
        gb_list_unlink(&thread->link);
        gb_list_push(&pool->strays, &thread->link);
        pool->thread_count--;
        pool->lost++;
        job->strays++;
        job->given_up++;
        job->workers--;
        add_thread_locked(pool); /* without memory for it the pool is one smaller */
    }
    unlist_locked(pool, job);
    if (job->workers > 0) return listed;
    end_job_locked(pool, job);
    return true;
}

/* ---- the outside ---- */

static int start_all_locked(gbi_pool *pool)
{
    int rc = 0;
    while (rc == 0 && pool->thread_count < pool->wanted) rc = add_thread_locked(pool);
    if (pool->thread_count > 0) rc = 0; /* fewer threads are slower, not wrong */
    if (rc == 0 && !pool->watching) {
        rc = start(&pool->watch, gbi_pool_watch, pool);
        pool->watching = rc == 0;
    }
    return rc;
}

int gbi_pool_add(gbi_pool *pool, gbi_pool_job *job)
{
    GB_CHECK(job->total > 0 && job->chunk > 0);
    take_lock(pool);
    if (pool->thread_count < pool->wanted || !pool->watching) {
        int rc = start_all_locked(pool);
        if (rc < 0) {
            pthread_mutex_unlock(&pool->lock);
            return rc;
        }
    }
    job->seats = job->attended && pool->wanted > 1 ? pool->wanted - 1 : pool->wanted;
    job->shares = SHARES * (uint64_t)pool->wanted;
    pool->added_ns = gbi_now_ns();
    pool->attended += job->attended;
    atomic_fetch_add(&pool->active, 1);
    list_locked(pool, job);
    int wake = wake_locked(pool, job->attended ? 1 : WAKES);
    bool watch = atomic_exchange(&pool->watch_state, GBI_WATCH_HEARD) == GBI_WATCH_SLEEPS;
    pthread_mutex_unlock(&pool->lock);
    signal_work(pool, wake);
    if (watch) pthread_cond_signal(&pool->watch_work);
    return 0;
}

/* One with blocks left; else *found tells whether there is one at all. */
static gbi_pool_job *attended_locked(gb_list *jobs, int *found)
{
    pthread_t self = pthread_self();
    for (gb_list *at = jobs->next; at != jobs; at = at->next) {
        gbi_pool_job *job = GB_CONTAINER(at, gbi_pool_job, link);
        if (!job->attended || !pthread_equal(job->attendant, self)) continue;
        if (has_blocks(job)) return job;
        *found = GB_HELP_SOON;
    }
    return NULL;
}

int gbi_pool_help(gbi_pool *pool, gbi_runner *guest)
{
    int found = GB_HELP_NONE;
    take_lock(pool);
    gbi_pool_job *job = attended_locked(&pool->open, &found);
    if (!job) job = attended_locked(&pool->running, &found);
    if (job) {
        job->workers++;
        pthread_mutex_unlock(&pool->lock);
        run_chunks(pool, job, guest, true);
        take_lock(pool);
        leave_locked(pool, job);
        found = GB_HELP_DONE;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

static void join_all(gbi_pool *pool)
{
    for (gb_list *node; (node = gb_list_shift(&pool->threads));) {
        pool_thread *thread = GB_CONTAINER(node, pool_thread, link);
        pthread_join(thread->id, NULL);
        gbi_runner_close(thread->runner);
        gb_mem_free(pool->mem, thread, sizeof *thread);
    }
}

int gbi_pool_stop(gbi_pool *pool)
{
    int lost = 0;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    /* A stray that is out of its job ends soon. One that comes out later finds `closing`. */
    for (gb_list *at = pool->strays.next, *next; at != &pool->strays; at = next) {
        next = at->next;
        pool_thread *thread = GB_CONTAINER(at, pool_thread, link);
        lost += thread->job != NULL;
        if (thread->job) continue;
        gb_list_unlink(at);
        gb_list_push(&pool->threads, at);
    }
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->watch_work);
    pthread_mutex_unlock(&pool->lock);
    if (pool->watching) pthread_join(pool->watch, NULL);
    join_all(pool); /* nobody else touches the list any more */
    return lost;
}

void gbi_pool_close(gbi_pool *pool)
{
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->watch_work);
    gb_mem_free_lines(pool->mem, pool, sizeof *pool);
}
