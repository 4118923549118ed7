/* The simulated world: one clock that moves when told, one seed. */
#include "sys/sys.h"

#include "base/check.h"
#include "base/cond.h"
#include "base/err.h"
#include "base/hash.h"

#include <pthread.h>
#include <time.h>

typedef struct sim_sys {
    gb_sys sys;
    gb_mem *mem;
    _Atomic uint64_t now;
    _Atomic uint64_t random; /* SplitMix64 */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int held;   /* under lock: real work outside */
    bool woken; /* under lock: a loop was woken since the last look */
} sim_sys;

static uint64_t sim_now(gb_sys *sys)
{
    return atomic_load_explicit(&((sim_sys *)sys)->now, memory_order_relaxed);
}

static int64_t sim_wall(gb_sys *sys)
{
    return (int64_t)(sim_now(sys) + 1767225600ull * GB_SEC); /* starts at 2026-01-01T00:00:00Z */
}

static uint64_t sim_random(gb_sys *sys)
{
    uint64_t step = 0x9e3779b97f4a7c15u;
    return gb_hash_mix(atomic_fetch_add(&((sim_sys *)sys)->random, step) + step);
}

static int loop_open(gb_loop **out, gb_sys *sys)
{
    gb_loop *loop = gb_mem_zalloc(((sim_sys *)sys)->mem, sizeof *loop);
    if (!loop) return GB_ENOMEM;
    loop->sys = sys;
    *out = loop;
    return 0;
}

static void loop_close(gb_loop *loop)
{
    gb_mem_free(((sim_sys *)loop->sys)->mem, loop, sizeof *loop);
}

static void loop_wait(gb_loop *loop, uint64_t timeout_ns)
{
    (void)loop; /* whoever drives the simulation decides when time passes */
    (void)timeout_ns;
}

static void loop_wake(gb_loop *loop)
{
    sim_sys *world = (sim_sys *)loop->sys;
    pthread_mutex_lock(&world->lock);
    world->woken = true;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

static int loop_fd(gb_loop *loop)
{
    (void)loop;
    return -1;
}

static void sim_close(gb_sys *sys)
{
    sim_sys *world = (sim_sys *)sys;
    GB_CHECK(world->held == 0);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->lock);
    gb_mem_free(world->mem, world, sizeof *world);
}

static const gb_sys_door door = {
    .name = "sim",
    .now = sim_now,
    .wall = sim_wall,
    .random = sim_random,
    .loop_open = loop_open,
    .loop_close = loop_close,
    .loop_wait = loop_wait,
    .loop_wake = loop_wake,
    .loop_fd = loop_fd,
    .close = sim_close,
};

int gb_sys_sim_open(gb_sys **out, gb_mem *mem, uint64_t seed)
{
    sim_sys *world = gb_mem_zalloc(mem, sizeof *world);
    if (!world) return GB_ENOMEM;
    world->sys.door = &door;
    world->mem = mem;
    atomic_init(&world->random, seed);
    pthread_mutex_init(&world->lock, NULL);
    gb_cond_init(&world->changed);
    *out = &world->sys;
    return 0;
}

bool gb_sys_is_sim(const gb_sys *sys)
{
    return sys->door == &door;
}

void gb_sim_advance_to(gb_sys *sys, uint64_t now)
{
    GB_CHECK(gb_sys_is_sim(sys));
    if (now > sim_now(sys)) atomic_store(&((sim_sys *)sys)->now, now);
}

void gb_sim_hold(gb_sys *sys)
{
    sim_sys *world = (sim_sys *)sys;
    if (!gb_sys_is_sim(sys)) return;
    pthread_mutex_lock(&world->lock);
    world->held++;
    pthread_mutex_unlock(&world->lock);
}

void gb_sim_release(gb_sys *sys)
{
    sim_sys *world = (sim_sys *)sys;
    if (!gb_sys_is_sim(sys)) return;
    pthread_mutex_lock(&world->lock);
    GB_CHECK(world->held > 0);
    world->held--;
    world->woken = true; /* each end of work outside is news, not only the last */
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

int gb_sim_held(gb_sys *sys)
{
    sim_sys *world = (sim_sys *)sys;
    pthread_mutex_lock(&world->lock);
    int held = world->held;
    pthread_mutex_unlock(&world->lock);
    return held;
}

bool gb_sim_wait_outside(gb_sys *sys, int real_ms)
{
    sim_sys *world = (sim_sys *)sys;
    struct timespec until = gb_cond_end((uint64_t)real_ms * GB_MS);
    pthread_mutex_lock(&world->lock);
    int rc = 0;
    while (!world->woken && world->held > 0 && rc == 0)
        rc = pthread_cond_timedwait(&world->changed, &world->lock, &until);
    bool ended = world->woken || world->held == 0;
    world->woken = false;
    pthread_mutex_unlock(&world->lock);
    return ended;
}
