#include "gpu/cpu_pool_watch.h"

#include "base/cond.h"

enum {
    TICK_NS = 3000000,    /* while there is work */
    GRACE_NS = 500000000, /* from the request to stop until a thread is given up */
    IDLE_TICKS = 30
};

/* ---- guests ---- */

int gbi_pool_guest_open(gbi_pool *pool, gbi_runner **out)
{
    int rc = gbi_runner_open(out, pool->mem);
    if (rc < 0) return rc;
    pthread_mutex_lock(&pool->lock);
    gb_list_push(&pool->guests, &(*out)->guest);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

void gbi_pool_guest_close(gbi_pool *pool, gbi_runner *guest)
{
    if (!guest) return;
    pthread_mutex_lock(&pool->lock);
    gb_list_unlink(&guest->guest);
    pthread_mutex_unlock(&pool->lock);
    gbi_runner_close(guest);
}

void gbi_pool_guest_runs(gbi_pool *pool)
{
    atomic_signal_fence(memory_order_seq_cst); /* the limit was stored before */
    if (atomic_load_explicit(&pool->watch_state, memory_order_relaxed) == GBI_WATCH_HEARD) return;
    if (atomic_exchange(&pool->watch_state, GBI_WATCH_HEARD) != GBI_WATCH_SLEEPS) return;
    pthread_mutex_lock(&pool->lock); /* it may be on its way to sleep */
    pthread_cond_signal(&pool->watch_work);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- the thread ---- */

/* True when the lists changed under it (it let the lock go). */
static bool look_at_locked(gbi_pool *pool, gbi_pool_job *job, uint64_t now)
{
    if (job->cancelled && !atomic_load(&job->stop) && job->cancelled(job))
        atomic_store(&job->stop, 1);
    if (!job->until_ns || now < job->until_ns) return false;
    job->timed_out = true;
    atomic_store(&job->stop, 1);
    for (gb_list *at = pool->threads.next; at != &pool->threads; at = at->next) {
        pool_thread *thread = GB_CONTAINER(at, pool_thread, link);
        if (thread->job == job) gbi_trap_stop(&thread->runner->trap, job->until_ns);
    }
    if (now < job->until_ns + GRACE_NS) return false;
    return gbi_pool_give_up_locked(pool, job);
}

/* True when one runs now. */
static bool look_at_guests_locked(gbi_pool *pool, uint64_t now)
{
    bool any = false;
    for (gb_list *at = pool->guests.next; at != &pool->guests; at = at->next) {
        gbi_trap *trap = &GB_CONTAINER(at, gbi_runner, guest)->trap;
        uint64_t until = atomic_load_explicit(&trap->until_ns, memory_order_acquire);
        any = any || until;
        if (until && now >= until) gbi_trap_stop(trap, until);
    }
    return any;
}

static bool look_through_locked(gbi_pool *pool, gb_list *jobs, uint64_t now)
{
    for (gb_list *at = jobs->next; at != jobs; at = at->next)
        if (look_at_locked(pool, GB_CONTAINER(at, gbi_pool_job, link), now)) return true;
    return false;
}

static void nap_locked(gbi_pool *pool)
{
    struct timespec at = gb_cond_end(TICK_NS);
    pthread_cond_timedwait(&pool->watch_work, &pool->lock, &at);
}

/* Who makes the state HEARD finds it changed, or is seen to run after the nap: a guest's limit,
 * which stands before it looks at the state, is visible everywhere by then. So no guest has to pay
 * for a barrier. */
static void sleep_locked(gbi_pool *pool)
{
    atomic_store(&pool->watch_state, GBI_WATCH_SLEEPS);
    nap_locked(pool);
    if (look_at_guests_locked(pool, gbi_now_ns())) return;
    while (!pool->closing && atomic_load(&pool->watch_state) == GBI_WATCH_SLEEPS)
        pthread_cond_wait(&pool->watch_work, &pool->lock);
}

void *gbi_pool_watch(void *arg)
{
    gbi_pool *pool = arg;
    int idle = 0;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        bool heard = atomic_exchange(&pool->watch_state, GBI_WATCH_LOOKS) == GBI_WATCH_HEARD;
        uint64_t now = gbi_now_ns();
        bool work = look_at_guests_locked(pool, now) || heard || !gb_list_empty(&pool->open) ||
                    !gb_list_empty(&pool->running);
        idle = work ? 0 : idle + 1;
        if (idle > IDLE_TICKS) {
            sleep_locked(pool);
            idle = 0;
            continue;
        }
        while (look_through_locked(pool, &pool->open, now) ||
               look_through_locked(pool, &pool->running, now))
            ;
        if (!pool->closing) nap_locked(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}
