/* The kernel pool of the cpu backend: whose work goes first, how it is cut, and who helps. */
#include "gpu/cpu_pool_watch.h"
#include "gpu/gpu.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

typedef struct world {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool started, open;
    int released;
    char order[16];
} world;

typedef struct job {
    gbi_pool_job job; /* first */
    world *world;
    char name;
} job;

static void run(gbi_pool_job *self, gbi_runner *runner, uint64_t first, uint64_t count)
{
    job *own = (job *)self;
    world *w = own->world;
    pthread_mutex_lock(&w->lock);
    w->started = true;
    pthread_cond_broadcast(&w->moved);
    while (own->name == '-' && !w->open) pthread_cond_wait(&w->moved, &w->lock);
    strncat(w->order, &own->name, 1);
    pthread_mutex_unlock(&w->lock);
}

static void ended(gbi_pool_job *self, bool timed_out)
{
}

static void released(gbi_pool_job *self)
{
    world *w = ((job *)self)->world;
    pthread_mutex_lock(&w->lock);
    w->released++;
    pthread_cond_broadcast(&w->moved);
    pthread_mutex_unlock(&w->lock);
}

/* One thread, which is held by a first job while the others come. */
static void urgent_first(void **state)
{
    static const char names[] = "-abUcVd";
    enum { JOBS = sizeof names - 1 };
    gb_mem mem;
    gbi_pool *pool;
    job jobs[JOBS];
    world w = {.started = false};
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.moved, NULL);
    gb_mem_init(&mem, "pool", NULL, 0);
    assert_int_equal(gbi_pool_open(&pool, &mem, 1), 0);
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (job){.world = &w, .name = names[i]};
        jobs[i].job.total = jobs[i].job.chunk = 1;
        jobs[i].job.urgent = names[i] == 'U' || names[i] == 'V';
        jobs[i].job.run = run;
        jobs[i].job.ended = ended;
        jobs[i].job.released = released;
        assert_int_equal(gbi_pool_add(pool, &jobs[i].job), 0);
        pthread_mutex_lock(&w.lock);
        while (!w.started) pthread_cond_wait(&w.moved, &w.lock);
        pthread_mutex_unlock(&w.lock);
    }
    pthread_mutex_lock(&w.lock);
    w.open = true;
    pthread_cond_broadcast(&w.moved);
    while (w.released < JOBS) pthread_cond_wait(&w.moved, &w.lock);
    pthread_mutex_unlock(&w.lock);
    assert_string_equal(w.order, "-UVabcd");
    assert_int_equal(gbi_pool_stop(pool), 0);
    gbi_pool_close(pool);
    gb_mem_fini(&mem);
}

/* ---- who attends a job ---- */

typedef struct shared_job {
    gbi_pool_job job; /* first */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    pthread_t caller;
    gbi_pool *stuck; /* the caller's block lasts until a thread of it was given up; or NULL */
    bool open, timed_out, released;
    int here, there; /* blocks that the caller ran, that the pool began */
} shared_job;

static void run_shared(gbi_pool_job *self, gbi_runner *runner, uint64_t first, uint64_t count)
{
    shared_job *own = (shared_job *)self;
    bool here = pthread_equal(pthread_self(), own->caller);
    pthread_mutex_lock(&own->lock);
    *(here ? &own->here : &own->there) += (int)count;
    pthread_cond_broadcast(&own->moved);
    while (!here && !own->open) pthread_cond_wait(&own->moved, &own->lock);
    pthread_mutex_unlock(&own->lock);
    while (here && own->stuck && gbi_pool_lost(own->stuck) == 0) sched_yield();
}

static void shared_ended(gbi_pool_job *self, bool timed_out)
{
    ((shared_job *)self)->timed_out = timed_out;
}

static void shared_released(gbi_pool_job *self)
{
    shared_job *own = (shared_job *)self;
    pthread_mutex_lock(&own->lock);
    own->released = true;
    pthread_cond_broadcast(&own->moved);
    pthread_mutex_unlock(&own->lock);
}

static void await_release(shared_job *own)
{
    pthread_mutex_lock(&own->lock);
    own->open = true;
    pthread_cond_broadcast(&own->moved);
    while (!own->released) pthread_cond_wait(&own->moved, &own->lock);
    pthread_mutex_unlock(&own->lock);
}

static void *help_from_elsewhere(void *pool)
{
    return (void *)(intptr_t)gbi_pool_help(pool, NULL);
}

/* Three threads, one seat of which is kept for the caller: as two are held, the rest is its own. */
static void a_caller_helps(void **state)
{
    gb_mem mem;
    gbi_pool *pool;
    gb_mem_init(&mem, "pool", NULL, 0);
    assert_int_equal(gbi_pool_open(&pool, &mem, 3), 0);
    assert_int_equal(gbi_pool_help(pool, NULL), GB_HELP_NONE);
    shared_job own = {.job = {.total = 5,
                              .chunk = 1,
                              .attended = true,
                              .attendant = pthread_self(),
                              .run = run_shared,
                              .ended = shared_ended,
                              .released = shared_released},
                      .caller = pthread_self()};
    pthread_mutex_init(&own.lock, NULL);
    pthread_cond_init(&own.moved, NULL);
    assert_int_equal(gbi_pool_add(pool, &own.job), 0);
    pthread_mutex_lock(&own.lock);
    while (own.there < 2) pthread_cond_wait(&own.moved, &own.lock);
    pthread_mutex_unlock(&own.lock);
    pthread_t other;
    void *did;
    assert_int_equal(pthread_create(&other, NULL, help_from_elsewhere, pool), 0);
    pthread_join(other, &did);
    assert_int_equal((intptr_t)did, GB_HELP_NONE);
    int did_here = GB_HELP_DONE; /* it takes more than one where they are short */
    for (int i = 0; i < 4 && did_here == GB_HELP_DONE; i++) did_here = gbi_pool_help(pool, NULL);
    assert_int_equal(did_here, GB_HELP_SOON);
    assert_int_equal(own.here, 3);
    await_release(&own);
    assert_int_equal(own.there, 2);
    assert_int_equal(gbi_pool_help(pool, NULL), GB_HELP_NONE);
    assert_int_equal(gbi_pool_stop(pool), 0);
    gbi_pool_close(pool);
    gb_mem_fini(&mem);
}

/* Both hang past the bound: the pool's thread is given up, the caller is not; and the pool serves
 * others meanwhile. */
static void a_caller_that_helps_is_not_given_up(void **state)
{
    gb_mem mem;
    gbi_pool *pool;
    gb_mem_init(&mem, "pool", NULL, 0);
    assert_int_equal(gbi_pool_open(&pool, &mem, 2), 0);
    shared_job own = {.job = {.total = 9,
                              .chunk = 1,
                              .until_ns = gbi_now_ns() + 2000000000, /* by then both are in it */
                              .attended = true,
                              .attendant = pthread_self(),
                              .run = run_shared,
                              .ended = shared_ended,
                              .released = shared_released},
                      .caller = pthread_self(),
                      .stuck = pool};
    pthread_mutex_init(&own.lock, NULL);
    pthread_cond_init(&own.moved, NULL);
    assert_int_equal(gbi_pool_add(pool, &own.job), 0);
    pthread_mutex_lock(&own.lock);
    while (own.there < 1) pthread_cond_wait(&own.moved, &own.lock);
    pthread_mutex_unlock(&own.lock);
    assert_int_equal(gbi_pool_help(pool, NULL), GB_HELP_DONE); /* comes back, and ends the job */
    assert_true(own.timed_out);
    assert_int_equal(own.here, 1);
    assert_int_equal(own.there, 1);
    assert_false(gbi_pool_busy(pool));
    await_release(&own);
    assert_int_equal(gbi_pool_stop(pool), 0);
    gbi_pool_close(pool);
    gb_mem_fini(&mem);
}

/* ---- how a job is cut ---- */

enum { CUT_TOTAL = 100, CUT_MOST = 10 };

typedef struct cut_job {
    shared_job shared;          /* first */
    uint64_t counts[CUT_TOTAL]; /* by the chunk's first block */
} cut_job;

static void run_cut(gbi_pool_job *self, gbi_runner *runner, uint64_t first, uint64_t count)
{
    ((cut_job *)self)->counts[first] += count; /* nobody else has this one */
}

/* Every block once, and single ones at the end. */
static void chunks_become_shorter(void **state)
{
    gb_mem mem;
    gbi_pool *pool;
    gb_mem_init(&mem, "pool", NULL, 0);
    assert_int_equal(gbi_pool_open(&pool, &mem, 2), 0);
    cut_job own = {.shared.job = {.total = CUT_TOTAL,
                                  .chunk = CUT_MOST,
                                  .run = run_cut,
                                  .ended = shared_ended,
                                  .released = shared_released}};
    pthread_mutex_init(&own.shared.lock, NULL);
    pthread_cond_init(&own.shared.moved, NULL);
    assert_int_equal(gbi_pool_add(pool, &own.shared.job), 0);
    await_release(&own.shared);
    uint64_t at = 0, last = CUT_MOST, chunks = 0;
    for (; at < CUT_TOTAL; at += last, chunks++) {
        assert_in_range(own.counts[at], 1, last);
        last = own.counts[at];
    }
    assert_int_equal(at, CUT_TOTAL);
    assert_int_equal(own.counts[0], CUT_MOST);
    assert_int_equal(last, 1);
    assert_in_range(chunks, CUT_TOTAL / CUT_MOST + 1, CUT_TOTAL / 3);
    assert_int_equal(gbi_pool_stop(pool), 0);
    gbi_pool_close(pool);
    gb_mem_fini(&mem);
}

/* ---- who is woken ---- */

enum { MEET_S = 30 }; /* so long the first waits for the last */

typedef struct meeting {
    world world; /* first */
    gbi_pool *pool;
    int wanted, there, missed;
} meeting;

typedef struct meeting_job {
    job job;                   /* first */
    struct meeting_job *after; /* so many, which are added as it ends */
    int after_count;
} meeting_job;

static meeting *meeting_of(gbi_pool_job *self)
{
    return (meeting *)((job *)self)->world;
}

/* The others sleep. */
static void run_until_others_sleep(gbi_pool_job *self, gbi_runner *runner, uint64_t first,
                                   uint64_t count)
{
    gbi_pool *pool = meeting_of(self)->pool;
    for (bool asleep = false; !asleep; sched_yield()) {
        pthread_mutex_lock(&pool->lock);
        asleep = pool->sleepers == pool->thread_count - 1;
        pthread_mutex_unlock(&pool->lock);
    }
}

static void run_until_all_came(gbi_pool_job *self, gbi_runner *runner, uint64_t first,
                               uint64_t count)
{
    meeting *m = meeting_of(self);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += MEET_S;
    pthread_mutex_lock(&m->world.lock);
    m->there++;
    pthread_cond_broadcast(&m->world.moved);
    int rc = 0;
    while (m->there < m->wanted && rc == 0)
        rc = pthread_cond_timedwait(&m->world.moved, &m->world.lock, &until);
    m->missed += m->there < m->wanted;
    pthread_mutex_unlock(&m->world.lock);
}

static void add_those_after(gbi_pool_job *self, bool timed_out)
{
    meeting_job *own = (meeting_job *)self;
    for (int i = 0; i < own->after_count; i++)
        if (gbi_pool_add(meeting_of(self)->pool, &own->after[i].job.job) < 0) abort();
}

/* As a job ends, whose thread is the only one awake, so many jobs of so many blocks come, which all
 * wait for each other. */
static void meet(int threads, int count, int blocks)
{
    gb_mem mem;
    meeting m = {.wanted = count * blocks};
    meeting_job jobs[4] = {{.after = jobs + 1, .after_count = count}};
    gb_mem_init(&mem, "pool", NULL, 0);
    pthread_mutex_init(&m.world.lock, NULL);
    pthread_cond_init(&m.world.moved, NULL);
    assert_int_equal(gbi_pool_open(&m.pool, &mem, threads), 0);
    for (int i = 0; i <= count; i++) {
        jobs[i].job.world = &m.world;
        jobs[i].job.job.chunk = 1;
        jobs[i].job.job.total = i ? (uint64_t)blocks : 1;
        jobs[i].job.job.run = i ? run_until_all_came : run_until_others_sleep;
        jobs[i].job.job.ended = add_those_after;
        jobs[i].job.job.released = released;
    }
    assert_int_equal(gbi_pool_add(m.pool, &jobs[0].job.job), 0);
    pthread_mutex_lock(&m.world.lock);
    while (m.world.released < 1 + count) pthread_cond_wait(&m.world.moved, &m.world.lock);
    pthread_mutex_unlock(&m.world.lock);
    assert_int_equal(m.missed, 0);
    assert_int_equal(gbi_pool_stop(m.pool), 0);
    gbi_pool_close(m.pool);
    gb_mem_fini(&mem);
}

/* The thread that leaves the first takes one; so others have to be woken for the rest. */
static void each_job_finds_a_thread(void **state)
{
    meet(3, 2, 1);
    meet(3, 3, 1);
}

/* Who adds a job wakes some threads, and these the rest. */
static void who_is_woken_wakes_others(void **state)
{
    meet(8, 1, 8);
    meet(9, 1, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(urgent_first),
                                       cmocka_unit_test(chunks_become_shorter),
                                       cmocka_unit_test(each_job_finds_a_thread),
                                       cmocka_unit_test(who_is_woken_wakes_others),
                                       cmocka_unit_test(a_caller_helps),
                                       cmocka_unit_test(a_caller_that_helps_is_not_given_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
