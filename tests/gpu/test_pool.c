/* The kernel pool of the cpu backend: whose work goes first. */
#include "gpu/cpu_pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(urgent_first)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
