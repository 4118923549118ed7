/* Fibers alone: barriers, votes, warps with masks, returning threads, deadlock. */
#include "kit_engine.h"

#include "gpu/cpu_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

typedef struct block {
    gbi_fibers fibers;
    gbi_trap trap;
    gb_mem mem;
    uint32_t count, values[GBI_FIBERS_MAX];
    uint64_t results[GBI_FIBERS_MAX];
    int errors, deadlocks;
    void (*body)(struct block *block, uint32_t index);
} block;

static void leaving(void *arg)
{
    gbi_fibers_before_jump(&((block *)arg)->fibers);
}

static void on_deadlock(gbi_fibers *fibers)
{
    block *self = (block *)fibers;
    self->deadlocks++;
    gbi_trap_raise(&self->trap);
}

static void entry(void *arg, uint32_t index)
{
    block *self = arg;
    self->body(self, index);
}

static void run_all(void *arg)
{
    block *self = arg;
    gbi_fibers_run(&self->fibers, self->count, entry, self);
}

static void open_block(block *self)
{
    memset(self, 0, sizeof *self);
    gb_mem_init(&self->mem, "fibers", NULL, 0);
    self->fibers.mem = &self->mem;
    self->fibers.on_deadlock = on_deadlock;
    self->trap.leaving = leaving;
    self->trap.arg = self;
}

static bool run(block *self, uint32_t count, void (*body)(block *, uint32_t))
{
    self->count = count;
    self->body = body;
    self->errors = 0;
    assert_int_equal(gbi_fibers_reserve(&self->fibers, count), 0);
    bool ok = gbi_trap_run(&self->trap, run_all, self);
    if (!ok) gbi_fibers_reset(&self->fibers);
    return ok;
}

static void close_block(block *self)
{
    gbi_fibers_fini(&self->fibers);
    gb_mem_fini(&self->mem);
}

/* ---- barriers ---- */

static void shift(block *self, uint32_t index)
{
    for (uint32_t round = 0; round < 20; round++) {
        self->values[index] = index + round;
        gbi_fiber_barrier(&self->fibers);
        uint32_t next = (index + 1) % self->count;
        if (self->values[next] != next + round) self->errors++;
        gbi_fiber_barrier(&self->fibers);
    }
}

static void barriers(void **state)
{
    static const uint32_t counts[] = {1, 2, 31, 32, 33, 256, 1000, 1024, 7};
    block self;
    open_block(&self);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (int again = 0; again < 3; again++) {
            assert_true(run(&self, counts[i], shift));
            assert_int_equal(self.errors, 0);
        }
    close_block(&self);
}

/* Thread i leaves after i rounds: who has returned counts as arrived. */
static void leave_early(block *self, uint32_t index)
{
    for (uint32_t round = 0; round < index; round++) {
        int live = gbi_fiber_barrier_count(&self->fibers, 1);
        if (live != (int)(self->count - 1 - round)) self->errors++;
        self->values[index]++;
    }
}

static void returned_threads_count_as_arrived(void **state)
{
    block self;
    open_block(&self);
    assert_true(run(&self, 100, leave_early));
    assert_int_equal(self.errors, 0);
    for (uint32_t i = 0; i < 100; i++) assert_int_equal(self.values[i], i);
    close_block(&self);
}

static void votes_body(block *self, uint32_t index)
{
    for (int round = 0; round < 40; round++) {
        int want = (int)(self->count + 2) / 3;
        if (gbi_fiber_barrier_count(&self->fibers, index % 3 == 0) != want) self->errors++;
        if (gbi_fiber_barrier_and(&self->fibers, 5) != 1) self->errors++;
        if (gbi_fiber_barrier_and(&self->fibers, index != 4) != 0) self->errors++;
        if (gbi_fiber_barrier_or(&self->fibers, 0) != 0) self->errors++;
        if (gbi_fiber_barrier_or(&self->fibers, index == self->count - 1) != 1) self->errors++;
    }
}

static void votes(void **state)
{
    block self;
    open_block(&self);
    assert_true(run(&self, 200, votes_body));
    assert_int_equal(self.errors, 0);
    close_block(&self);
}

/* ---- warps ---- */

static void butterfly(block *self, uint32_t index)
{
    uint32_t lane = index % 32;
    uint64_t sum = index;
    for (uint32_t step = 16; step; step /= 2)
        sum += gbi_fiber_warp_exchange(&self->fibers, UINT32_MAX, sum, lane ^ step);
    self->results[index] = sum;
    gbi_fiber_barrier(&self->fibers);
    uint32_t odd = gbi_fiber_warp_ballot(&self->fibers, UINT32_MAX, index & 1);
    if (odd != 0xaaaaaaaau) self->errors++;
    uint32_t equal = gbi_fiber_warp_match(&self->fibers, UINT32_MAX, lane / 8);
    if (equal != 0xffu << lane / 8 * 8) self->errors++;
}

static void warp_operations(void **state)
{
    block self;
    open_block(&self);
    assert_true(run(&self, 256, butterfly));
    assert_int_equal(self.errors, 0);
    for (uint32_t i = 0; i < 256; i++) {
        uint64_t first = i / 32 * 32, want = first * 32 + 31 * 16;
        assert_int_equal(self.results[i], want);
    }
    close_block(&self);
}

/* The halves of a warp go different ways, at different pace; the last warp is partial. */
static void diverge(block *self, uint32_t index)
{
    uint32_t lane = index % 32;
    uint32_t mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    int rounds = lane < 16 ? 3 : 50;
    for (int i = 0; i < rounds; i++) {
        uint32_t source = lane / 16 * 16 + (lane + 1) % 16;
        uint64_t got =
            gbi_fiber_warp_exchange(&self->fibers, mask, index * 100u + (unsigned)i, source);
        uint32_t from = index - lane + source;
        if (from >= self->count) from = index; /* no such thread: its own value */
        if (got != from * 100u + (unsigned)i) self->errors++;
        gbi_fiber_warp_barrier(&self->fibers, mask);
    }
    gbi_fiber_barrier(&self->fibers);
    if (lane >= 16) return;
    /* the upper half is gone: asking it gives one's own; the full mask means who is left */
    uint32_t left =
        self->count - (index - lane) >= 16 ? 0xffffu : (1u << (self->count - (index - lane))) - 1;
    gbi_fiber_warp_barrier(&self->fibers, 0xffff);
    if (gbi_fiber_warp_ballot(&self->fibers, UINT32_MAX, 1) != left) self->errors++;
    uint64_t got = gbi_fiber_warp_exchange(&self->fibers, UINT32_MAX, index, lane + 16);
    if (got != index) self->errors++;
    if (gbi_fiber_warp_active(&self->fibers) != left) self->errors++;
    gbi_fiber_warp_barrier(&self->fibers, 0xffff);
}

static void diverged_warps(void **state)
{
    block self;
    open_block(&self);
    for (uint32_t count = 64; count <= 90; count += 13) {
        assert_true(run(&self, count, diverge));
        assert_int_equal(self.errors, 0);
    }
    close_block(&self);
}

/* ---- deadlock ---- */

static void half_waits(block *self, uint32_t index)
{
    if (index % 2)
        gbi_fiber_barrier(&self->fibers);
    else
        gbi_fiber_warp_barrier(&self->fibers, UINT32_MAX);
}

static void last_leaves(block *self, uint32_t index)
{
    if (index == 0) gbi_fiber_warp_barrier(&self->fibers, 0x80000001u);
    if (index == 31) gbi_fiber_warp_barrier(&self->fibers, 0x80000000u);
    if (index == 1) gbi_fiber_barrier(&self->fibers);
    if (index == 31) gbi_fiber_barrier(&self->fibers);
}

static void deadlocks_are_found(void **state)
{
    block self;
    open_block(&self);
    for (int i = 0; i < 3; i++) {
        assert_false(run(&self, 64, half_waits));
        assert_int_equal(self.deadlocks, 2 * i + 1);
        assert_false(run(&self, 32, last_leaves));
        assert_int_equal(self.deadlocks, 2 * i + 2);
        assert_true(run(&self, 64, shift));
        assert_int_equal(self.errors, 0);
    }
    close_block(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barriers),       cmocka_unit_test(returned_threads_count_as_arrived),
        cmocka_unit_test(votes),          cmocka_unit_test(warp_operations),
        cmocka_unit_test(diverged_warps), cmocka_unit_test(deadlocks_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
