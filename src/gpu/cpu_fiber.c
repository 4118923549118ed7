#include "gpu/cpu_fiber.h"

#include "base/check.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

/* ---- sanitizers want to be told of every switch ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHECKED 1
#else
#define CHECKED 0
#endif

struct gbi_fiber_check {
    void *fake; /* ASan's shadow of the stack */
    const void
        *bottom; /* the OS thread's, learned when it is left: it may be another one each time */
    size_t bytes;
    void *tsan;
};

enum { PAGE = 4096, STRIDE = GBI_FIBER_STACK + PAGE, OS_THREAD = GBI_FIBERS_MAX };

static char *stack_of(const gbi_fibers *fibers, uint32_t index)
{
    return fibers->groups[index / GBI_FIBER_GROUP] + (size_t)(index % GBI_FIBER_GROUP) * STRIDE +
           PAGE;
}

/* Stacks lie whole pages apart, so their busy ends would fall into the same few cache sets: each
 * top is moved down by another number of lines. 27 and 64 have no common factor, so all sets come
 * in turn, and neighbours lie far apart (measured: 13 and 27 are best, 21 costs a third). */
static char *top_of(const gbi_fibers *fibers, uint32_t index)
{
    return stack_of(fibers, index) + GBI_FIBER_STACK - (index * 27 % 64) * 64;
}

#if CHECKED
static void before_switch(gbi_fibers *fibers, uint32_t from, uint32_t to)
{
    struct gbi_fiber_check *checks = fibers->checks;
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom = to == OS_THREAD ? checks[to].bottom : stack_of(fibers, to);
    size_t bytes = to == OS_THREAD ? checks[to].bytes : GBI_FIBER_STACK;
    if (from == OS_THREAD) checks[from].bottom = NULL;
    __sanitizer_start_switch_fiber(&checks[from].fake, bottom, bytes);
#else
    (void)from;
    if (from == OS_THREAD) checks[OS_THREAD].tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(checks[to].tsan, 0);
#endif
}

static void after_switch(gbi_fibers *fibers, uint32_t self)
{
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(fibers->checks[self].fake, &bottom, &bytes);
    struct gbi_fiber_check *os = &fibers->checks[OS_THREAD];
    if (!os->bottom && self != OS_THREAD) {
        os->bottom = bottom;
        os->bytes = bytes;
    }
#else
    (void)fibers;
    (void)self;
#endif
}

static void drop_checks(gbi_fibers *fibers)
{
#if defined(__SANITIZE_THREAD__)
    for (uint32_t i = 0; fibers->checks && i < fibers->ready; i++)
        if (fibers->checks[i].tsan) __tsan_destroy_fiber(fibers->checks[i].tsan);
#endif
    gb_mem_free(fibers->mem, fibers->checks, (GBI_FIBERS_MAX + 1) * sizeof fibers->checks[0]);
    fibers->checks = NULL;
}
#endif

void gbi_fibers_before_jump(gbi_fibers *fibers)
{
#if CHECKED
    if (fibers->current) before_switch(fibers, fibers->current->index, OS_THREAD);
#else
    (void)fibers;
#endif
}

/* ---- stacks ---- */

/* A fiber touches one or two pages of its stack; that much is counted, not what is reserved. */
enum { COUNTED = 2 * PAGE };

static int map_group(gbi_fibers *fibers, uint32_t group)
{
    int rc = gb_mem_charge(fibers->mem, (int64_t)GBI_FIBER_GROUP * COUNTED);
    if (rc < 0) return rc;
    size_t bytes = (size_t)GBI_FIBER_GROUP * STRIDE;
    char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        gb_mem_discharge(fibers->mem, (int64_t)GBI_FIBER_GROUP * COUNTED);
        return gb_err_set(GB_ENOMEM, "no memory for the stacks of %d kernel threads",
                          GBI_FIBER_GROUP);
    }
    /* A refusal (too many mappings) costs the guard, not the launch. */
    for (int i = 0; i < GBI_FIBER_GROUP; i++)
        if (mprotect(base + (size_t)i * STRIDE, PAGE, PROT_NONE) != 0) break;
    fibers->groups[group] = base;
    return 0;
}

static int make_tables(gbi_fibers *fibers)
{
    gb_mem *mem = fibers->mem;
    size_t warps = GBI_FIBERS_MAX / GBI_WARP;
    if (!fibers->all) fibers->all = gb_mem_zalloc(mem, GBI_FIBERS_MAX * sizeof(gbi_fiber));
    if (!fibers->warps) fibers->warps = gb_mem_zalloc(mem, warps * sizeof(gbi_warp));
    if (!fibers->all || !fibers->warps) return GB_ENOMEM;
#if CHECKED
    if (!fibers->checks)
        fibers->checks = gb_mem_zalloc(mem, (GBI_FIBERS_MAX + 1) * sizeof fibers->checks[0]);
    if (!fibers->checks) return GB_ENOMEM;
#endif
    return 0;
}

int gbi_fibers_reserve(gbi_fibers *fibers, uint32_t count)
{
    if (count <= fibers->ready) return 0;
    GB_CHECK(count <= GBI_FIBERS_MAX);
    int rc = make_tables(fibers);
    while (rc == 0 && fibers->ready < count) {
        uint32_t group = fibers->ready / GBI_FIBER_GROUP;
        if ((rc = map_group(fibers, group)) < 0) break;
        for (uint32_t i = 0; i < GBI_FIBER_GROUP; i++) {
            gbi_fiber *fiber = &fibers->all[fibers->ready];
            fiber->index = fibers->ready;
            fiber->sp = gbi_fiber_fresh(top_of(fibers, fiber->index), fibers);
#if defined(__SANITIZE_THREAD__)
            fibers->checks[fiber->index].tsan = __tsan_create_fiber(0);
#endif
            fibers->ready++;
        }
    }
    return rc;
}

void gbi_fibers_fini(gbi_fibers *fibers)
{
    gb_mem *mem = fibers->mem;
#if CHECKED
    drop_checks(fibers);
#endif
    for (uint32_t group = 0; group < fibers->ready / GBI_FIBER_GROUP; group++) {
        munmap(fibers->groups[group], (size_t)GBI_FIBER_GROUP * STRIDE);
        gb_mem_discharge(mem, (int64_t)GBI_FIBER_GROUP * COUNTED);
    }
    gb_mem_free(mem, fibers->all, GBI_FIBERS_MAX * sizeof(gbi_fiber));
    gb_mem_free(mem, fibers->warps, GBI_FIBERS_MAX / GBI_WARP * sizeof(gbi_warp));
    fibers->all = NULL;
    fibers->warps = NULL;
    fibers->ready = 0;
}

void gbi_fibers_reset(gbi_fibers *fibers)
{
#if CHECKED
    after_switch(fibers, OS_THREAD);
#endif
    fibers->current = NULL;
    for (uint32_t i = 0; i < fibers->ready; i++) {
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(stack_of(fibers, i), GBI_FIBER_STACK);
#endif
        fibers->all[i].sp = gbi_fiber_fresh(top_of(fibers, i), fibers);
    }
}

bool gbi_fibers_is_guard(const gbi_fibers *fibers, const void *address)
{
    for (uint32_t group = 0; group < fibers->ready / GBI_FIBER_GROUP; group++) {
        size_t at = (size_t)((const char *)address - fibers->groups[group]);
        if (at < (size_t)GBI_FIBER_GROUP * STRIDE) return at % STRIDE < PAGE;
    }
    return false;
}

/* ---- switching ---- */

static inline void switch_to(gbi_fibers *fibers, gbi_fiber *from, gbi_fiber *to)
{
    fibers->current = to;
    __builtin_prefetch(to->next->sp);
#if CHECKED
    before_switch(fibers, from->index, to->index);
#endif
    gbi_fiber_switch(&from->sp, to->sp);
#if CHECKED
    after_switch(fibers, from->index);
#endif
}

/* The caller has set current->wait to the generation. Comes back when that has changed. */
void gbi_fiber_wait(gbi_fibers *fibers)
{
    gbi_fiber *self = fibers->current, *next = self->next;
    while (__builtin_expect(next->wait == fibers->generation, 0)) {
        if (next == self) fibers->on_deadlock(fibers);
        next = next->next;
    }
    switch_to(fibers, self, next);
}

static inline void look_at_trap(gbi_fibers *fibers)
{
    if (fibers->trap) gbi_trap_check(fibers->trap);
}

void gbi_fiber_release(gbi_fibers *fibers)
{
    uint32_t done = fibers->generation;
    fibers->outcome[done & 1].voted = fibers->voted;
    fibers->outcome[done & 1].votes = fibers->votes;
    fibers->arrived = fibers->voted = fibers->votes = 0;
    /* by 2 over the wrap: 0 is never a generation and neighbours keep different parities */
    fibers->generation = done + 1 ? done + 1 : 2;
    look_at_trap(fibers);
}

/* ---- warps ---- */

static bool same_operation(const gbi_warp *warp, uint32_t group, uint32_t mask, uint8_t kind)
{
    for (uint32_t rest = group; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        if (warp->mask[lane] != mask || warp->kind[lane] != kind) return false;
    }
    return true;
}

static uint64_t outcome_of(const gbi_warp *warp, uint32_t group, int lane, uint32_t ballot)
{
    uint32_t source = warp->source[lane], equal = 0;
    switch ((gbi_warp_kind)warp->kind[lane]) {
    case GBI_WARP_EXCHANGE:
        return source < GBI_WARP && (group >> source & 1) ? warp->value[source] : warp->value[lane];
    case GBI_WARP_BALLOT:
        return ballot;
    case GBI_WARP_MATCH:
        for (uint32_t rest = group; rest; rest &= rest - 1) {
            int other = __builtin_ctz(rest);
            if (warp->value[other] == warp->value[lane]) equal |= 1u << other;
        }
        return equal;
    case GBI_WARP_SYNC:
        break;
    }
    return 0;
}

/* If all lanes of mask that live have come to the same operation, gives each its result and lets it
 * run. */
static bool try_complete(gbi_fibers *fibers, uint32_t warp_index, uint32_t mask, uint8_t kind)
{
    gbi_warp *warp = &fibers->warps[warp_index];
    uint32_t group = mask & warp->live, ballot = 0;
    if ((warp->waiting & group) != group || !same_operation(warp, group, mask, kind)) return false;
    if (kind == GBI_WARP_BALLOT)
        for (uint32_t rest = group; rest; rest &= rest - 1)
            if (warp->value[__builtin_ctz(rest)]) ballot |= 1u << __builtin_ctz(rest);
    for (uint32_t rest = group; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        warp->result[lane] = outcome_of(warp, group, lane, ballot);
        fibers->all[warp_index * GBI_WARP + (uint32_t)lane].wait = 0;
    }
    warp->waiting &= ~group;
    look_at_trap(fibers);
    return true;
}

/* A lane that is missing runs next, if it can: so a warp stays together, and nobody looks through a
 * block full of threads that wait at the barrier. */
static void wait_in_warp(gbi_fibers *fibers, uint32_t mask)
{
    gbi_fiber *self = fibers->current;
    const gbi_warp *warp = &fibers->warps[self->index / GBI_WARP];
    uint32_t missing = mask & warp->live & ~warp->waiting, lane = self->index % GBI_WARP;
    self->wait = fibers->generation;
    for (uint32_t rest = missing; rest; rest &= rest - 1) {
        gbi_fiber *next = self - lane + __builtin_ctz(rest);
        if (next->wait == fibers->generation) continue;
        switch_to(fibers, self, next);
        return;
    }
    gbi_fiber_wait(fibers);
}

static uint64_t warp_operation(gbi_fibers *fibers, gbi_warp_kind kind, uint32_t mask,
                               uint64_t value, uint32_t source)
{
    uint32_t index = fibers->current->index, lane = index % GBI_WARP;
    gbi_warp *warp = &fibers->warps[index / GBI_WARP];
    mask |= 1u << lane; /* a lane outside its own mask is undefined in CUDA; it counts as in */
    warp->mask[lane] = mask;
    warp->kind[lane] = (uint8_t)kind;
    warp->value[lane] = value;
    warp->source[lane] = source;
    warp->waiting |= 1u << lane;
    if (!try_complete(fibers, index / GBI_WARP, mask, (uint8_t)kind)) wait_in_warp(fibers, mask);
    return warp->result[lane];
}

void gbi_fiber_warp_barrier(void *self, uint32_t mask)
{
    warp_operation(self, GBI_WARP_SYNC, mask, 0, 0);
}

uint64_t gbi_fiber_warp_exchange(void *self, uint32_t mask, uint64_t value, uint32_t source_lane)
{
    return warp_operation(self, GBI_WARP_EXCHANGE, mask, value, source_lane);
}

uint32_t gbi_fiber_warp_ballot(void *self, uint32_t mask, int predicate)
{
    return (uint32_t)warp_operation(self, GBI_WARP_BALLOT, mask, predicate != 0, 0);
}

uint32_t gbi_fiber_warp_match(void *self, uint32_t mask, uint64_t value)
{
    return (uint32_t)warp_operation(self, GBI_WARP_MATCH, mask, value, 0);
}

uint32_t gbi_fiber_warp_active(void *self)
{
    gbi_fibers *fibers = self;
    return fibers->warps[fibers->current->index / GBI_WARP].live;
}

/* ---- barriers ---- */

#if defined(__x86_64__) && !defined(GBI_FIBER_UCONTEXT) && !CHECKED
#define OFFSET(type, member, is)                                                                   \
    _Static_assert(offsetof(type, member) == (is), "the assembly knows another place")
OFFSET(gbi_fibers, current, 0);
OFFSET(gbi_fibers, generation, 8);
OFFSET(gbi_fibers, arrived, 12);
OFFSET(gbi_fibers, live, 16);
OFFSET(gbi_fiber, sp, 0);
OFFSET(gbi_fiber, next, 8);
OFFSET(gbi_fiber, wait, 24);
#else
void gbi_fiber_barrier(void *self)
{
    gbi_fibers *fibers = self;
    if (fibers->arrived + 1 == fibers->live) {
        gbi_fiber_release(fibers);
        return;
    }
    fibers->arrived++;
    fibers->current->wait = fibers->generation;
    gbi_fiber_wait(fibers);
}
#endif

/* The generation whose outcome is meant; valid until two barriers later, when this fiber has long
 * read it. */
static uint32_t vote(gbi_fibers *fibers, int predicate)
{
    uint32_t generation = fibers->generation;
    fibers->voted++;
    fibers->votes += predicate != 0;
    gbi_fiber_barrier(fibers);
    return generation & 1;
}

int gbi_fiber_barrier_count(void *self, int predicate)
{
    gbi_fibers *fibers = self;
    uint32_t slot = vote(fibers, predicate);
    return (int)fibers->outcome[slot].votes;
}

int gbi_fiber_barrier_and(void *self, int predicate)
{
    gbi_fibers *fibers = self;
    uint32_t slot = vote(fibers, predicate);
    return fibers->outcome[slot].votes == fibers->outcome[slot].voted;
}

int gbi_fiber_barrier_or(void *self, int predicate)
{
    gbi_fibers *fibers = self;
    uint32_t slot = vote(fibers, predicate);
    return fibers->outcome[slot].votes != 0;
}

/* ---- a block ---- */

/* A fiber that returned leaves the ring; whoever waited for it may go on. */
static void leave(gbi_fibers *fibers, gbi_fiber *self)
{
    uint32_t warp_index = self->index / GBI_WARP;
    gbi_warp *warp = &fibers->warps[warp_index];
    warp->live &= ~(1u << self->index % GBI_WARP);
    self->prev->next = self->next;
    self->next->prev = self->prev;
    fibers->live--;
    for (uint32_t rest = warp->waiting; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        if (!(warp->waiting >> lane & 1)) continue;
        try_complete(fibers, warp_index, warp->mask[lane], warp->kind[lane]);
    }
    if (fibers->live > 0 && fibers->arrived == fibers->live) gbi_fiber_release(fibers);
}

void gbi_fiber_main(gbi_fibers *fibers)
{
#if CHECKED
    after_switch(fibers, fibers->current->index);
#endif
    for (;;) {
        gbi_fiber *self = fibers->current, *next;
        fibers->entry(fibers->arg, self->index);
        leave(fibers, self);
        if (fibers->live == 0) {
#if CHECKED
            before_switch(fibers, self->index, OS_THREAD);
#endif
            gbi_fiber_switch(&self->sp, fibers->main_sp);
#if CHECKED
            after_switch(fibers, self->index);
#endif
            continue;
        }
        for (next = self->next; next->wait == fibers->generation; next = next->next)
            if (next->next == self->next) fibers->on_deadlock(fibers);
        switch_to(fibers, self, next);
    }
}

void gbi_fibers_run(gbi_fibers *fibers, uint32_t count, void (*entry)(void *arg, uint32_t index),
                    void *arg)
{
    gbi_fiber *all = fibers->all;
    fibers->entry = entry;
    fibers->arg = arg;
    fibers->generation = 1;
    fibers->arrived = fibers->voted = fibers->votes = 0;
    fibers->live = fibers->count = count;
    for (uint32_t i = 0; i < count; i++) {
        all[i].next = &all[i + 1 < count ? i + 1 : 0];
        all[i].prev = &all[i ? i - 1 : count - 1];
        all[i].wait = 0;
    }
    for (uint32_t i = 0; i < count; i += GBI_WARP) {
        gbi_warp *warp = &fibers->warps[i / GBI_WARP];
        warp->waiting = 0;
        warp->live = count - i >= GBI_WARP ? UINT32_MAX : (1u << (count - i)) - 1;
    }
    fibers->current = &all[0];
#if CHECKED
    before_switch(fibers, OS_THREAD, 0);
#endif
    gbi_fiber_switch(&fibers->main_sp, all[0].sp);
#if CHECKED
    after_switch(fibers, OS_THREAD);
#endif
    fibers->current = NULL;
}

void gbi_fibers_explain(const gbi_fibers *fibers, char *out, size_t room)
{
    uint32_t warps = 0;
    for (uint32_t i = 0; i * GBI_WARP < fibers->count; i++)
        if (fibers->warps[i].live)
            warps += (uint32_t)__builtin_popcount(fibers->warps[i].waiting & fibers->warps[i].live);
    snprintf(out, room,
             "deadlock: %u threads wait at __syncthreads and %u in warp operations whose mask "
             "names threads that do not come",
             fibers->arrived, warps);
}
