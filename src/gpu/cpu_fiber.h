/* The threads of one block as fibers on one OS thread: stacks, switching, barriers and warps.
 *
 * A fiber waits by marking itself and switching straight to the next fiber of the ring that can
 * run; there is no scheduler in between. When none can, the block is deadlocked: on_deadlock.
 * One OS thread at a time; fibers never change threads. Every completed barrier asks the trap
 * whether the block is to end.
 */
#ifndef GB_GPU_CPU_FIBER_H
#define GB_GPU_CPU_FIBER_H

#include "base/mem.h"
#include "gpu/cpu_trap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GBI_FIBERS_MAX = 1024,
    GBI_WARP = 32,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GBI_FIBER_STACK = 256 << 10, /* their frames are larger */
#else
    GBI_FIBER_STACK = 64 << 10, /* of one fiber; a page without access lies below it */
#endif
    GBI_FIBER_GROUP = 32 /* stacks that are mapped together */
};

/* The assembly knows the offsets of sp, next and wait (checked in cpu_fiber.c). */
typedef struct gbi_fiber {
    void *sp;
    struct gbi_fiber *next, *prev; /* the ring of fibers that have not returned */
    uint32_t wait;                 /* equal to the block's generation: it cannot run yet */
    uint32_t index;
} gbi_fiber;

typedef enum { GBI_WARP_SYNC, GBI_WARP_EXCHANGE, GBI_WARP_BALLOT, GBI_WARP_MATCH } gbi_warp_kind;

typedef struct gbi_warp {
    uint32_t live;    /* lanes that have not returned */
    uint32_t waiting; /* lanes that stand in a warp operation */
    uint32_t mask[GBI_WARP], source[GBI_WARP];
    uint8_t kind[GBI_WARP];
    uint64_t value[GBI_WARP], result[GBI_WARP];
} gbi_warp;

typedef struct gbi_fibers {
    gbi_fiber *current;  /* offsets 0, 8, 12, 16: the assembly knows them */
    uint32_t generation; /* of the block's barrier; never 0 */
    uint32_t arrived;
    uint32_t live;         /* fibers that have not returned */
    uint32_t voted, votes; /* at the barrier now: how many gave a predicate, how many non-zero */
    struct {
        uint32_t voted, votes;
    } outcome[2]; /* of the last two generations */
    void *main_sp;
    void (*entry)(void *arg, uint32_t index);
    void *arg;
    void (*on_deadlock)(struct gbi_fibers *fibers); /* must not return */
    gbi_trap *trap;                                 /* asked now and then; NULL: none */
    gb_mem *mem;
    uint32_t count; /* of the block that runs */
    uint32_t ready; /* fibers with a stack */
    gbi_fiber *all; /* GBI_FIBERS_MAX */
    gbi_warp *warps;
    char *groups[GBI_FIBERS_MAX / GBI_FIBER_GROUP];
    struct gbi_fiber_check *checks; /* sanitizer builds: one per fiber and one for the OS thread */
} gbi_fibers;

/* All zero but mem, on_deadlock and trap, which the caller sets, is a valid start. */
void gbi_fibers_fini(gbi_fibers *fibers);

/* Makes stacks for that many fibers: 0 or GB_ENOMEM. */
int gbi_fibers_reserve(gbi_fibers *fibers, uint32_t count);

/* Runs entry(arg, 0 .. count - 1), each on its fiber, until all have returned. */
void gbi_fibers_run(gbi_fibers *fibers, uint32_t count, void (*entry)(void *arg, uint32_t index),
                    void *arg);

/* After a jump out of gbi_fibers_run: the fibers start afresh. before_jump: on the fiber, right
 * before such a jump (sanitizers want to know). */
void gbi_fibers_before_jump(gbi_fibers *fibers);
void gbi_fibers_reset(gbi_fibers *fibers);

/* Is the address in the page below a stack: an overflow. */
bool gbi_fibers_is_guard(const gbi_fibers *fibers, const void *address);

/* "12 threads wait at __syncthreads, 20 in a warp operation" for the message. */
void gbi_fibers_explain(const gbi_fibers *fibers, char *out, size_t room);

/* The services of cpu_abi.h; self is the gbi_fibers. */
void gbi_fiber_barrier(void *self);
int gbi_fiber_barrier_count(void *self, int predicate);
int gbi_fiber_barrier_and(void *self, int predicate);
int gbi_fiber_barrier_or(void *self, int predicate);
void gbi_fiber_warp_barrier(void *self, uint32_t mask);
uint64_t gbi_fiber_warp_exchange(void *self, uint32_t mask, uint64_t value, uint32_t source_lane);
uint32_t gbi_fiber_warp_ballot(void *self, uint32_t mask, int predicate);
uint32_t gbi_fiber_warp_match(void *self, uint32_t mask, uint64_t value);
uint32_t gbi_fiber_warp_active(void *self);

/* cpu_fiber_x86_64.S, or cpu_fiber_other.c: saves the callee-saved registers on this stack, its
 * address in *save, and goes on where `to` was saved. A fresh stack is made by gbi_fiber_fresh. */
void gbi_fiber_switch(void **save, void *to);
void *gbi_fiber_fresh(void *top, gbi_fibers *fibers);

/* The slow ways of the barrier: waits until the generation changes (current->wait is set), and
 * starts the next generation. */
void gbi_fiber_wait(gbi_fibers *fibers);
void gbi_fiber_release(gbi_fibers *fibers);

/* Called by the first frame of a fiber. */
void gbi_fiber_main(gbi_fibers *fibers);

#endif
