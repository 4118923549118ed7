/* The world: time, randomness, and for each thread of ours a loop where it sleeps.
 *
 * Two worlds stand behind this door. sys_uv.c is the real one (libuv). sys_sim.c is a simulated
 * one: its clock moves only when told, its random numbers come from one seed, and nothing ever
 * really sleeps, so a whole silo runs inside one thread and every run of one seed is the same.
 */
#ifndef GB_SYS_SYS_H
#define GB_SYS_SYS_H

#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gb_sys gb_sys;
typedef struct gb_loop gb_loop;

#define GB_FOREVER UINT64_MAX
#define GB_MS 1000000ull     /* ns */
#define GB_SEC 1000000000ull /* ns */

typedef struct gb_sys_door {
    const char *name;
    uint64_t (*now)(gb_sys *sys);    /* any thread; never goes back */
    int64_t (*wall)(gb_sys *sys);    /* any thread; ns since 1970 UTC */
    uint64_t (*random)(gb_sys *sys); /* any thread */
    int (*loop_open)(gb_loop **out, gb_sys *sys);
    void (*loop_close)(gb_loop *loop); /* its thread, last */
    void (*loop_wait)(gb_loop *loop,
                      uint64_t timeout_ns); /* its thread: until woken, I/O or time */
    void (*loop_wake)(gb_loop *loop);       /* any thread; several wakes may be one */
    int (*loop_fd)(gb_loop *loop); /* readable when a wait would end by a wake or I/O; -1: none */
    void (*close)(gb_sys *sys);
} gb_sys_door;

struct gb_sys {
    const gb_sys_door *door;
};

struct gb_loop {
    gb_sys *sys;
    uint32_t sockets; /* open on it (net.h): who spins looks at them too, with a wait of no time */
};

/* The real world. GB_ENOMEM. */
int gb_sys_open(gb_sys **out, gb_mem *mem);

/* A simulated world that starts at time 0. */
int gb_sys_sim_open(gb_sys **out, gb_mem *mem, uint64_t seed);

static inline void gb_sys_close(gb_sys *sys)
{
    sys->door->close(sys);
}

static inline uint64_t gb_now(gb_sys *sys)
{
    return sys->door->now(sys);
}

static inline int64_t gb_wall(gb_sys *sys)
{
    return sys->door->wall(sys);
}

static inline uint64_t gb_random(gb_sys *sys)
{
    return sys->door->random(sys);
}

static inline void gb_loop_wake(gb_loop *loop)
{
    loop->sys->door->loop_wake(loop);
}

static inline void gb_loop_wait(gb_loop *loop, uint64_t timeout_ns)
{
    loop->sys->door->loop_wait(loop, timeout_ns);
}

/* ---- the simulated world only ---- */

bool gb_sys_is_sim(const gb_sys *sys);

/* Moves the clock forward to a time (never back). */
void gb_sim_advance_to(gb_sys *sys, uint64_t now);

/* Real work that runs outside (a compiler, a kernel thread) is held while it is under way, so that
 * the driver waits for it before it lets time pass. Any thread. */
void gb_sim_hold(gb_sys *sys);
void gb_sim_release(gb_sys *sys);

/* The driver's thread: waits (in real time, at most real_ms) until a loop was woken from outside or
 * no work is held. False when the time ran out first. */
bool gb_sim_wait_outside(gb_sys *sys, int real_ms);
int gb_sim_held(gb_sys *sys);

#endif
