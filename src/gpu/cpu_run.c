#include "gpu/cpu_run.h"

#include "base/err.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, PRINT_BYTES = 1 << 20, SHARED_ALIGN = 128 };

/* ---- services that are not the fibers' ---- */

static gbi_runner *runner_of(void *self)
{
    return (gbi_runner *)self; /* the fibers are its first member */
}

static void print(void *self, const char *text)
{
    gbi_runner *runner = runner_of(self);
    gb_buf_put(&runner->print, text, strlen(text)); /* without memory the text is lost */
    if (runner->print.size > PRINT_BYTES) gbi_print_flush(&runner->print, false);
    gbi_trap_check(&runner->trap);
}

static void leaving(void *arg)
{
    gbi_fibers_before_jump(&((gbi_runner *)arg)->fibers);
}

/* the attribute, not _Noreturn: clang makes it part of the pointer's type */
static void trap(void *self, const char *text) __attribute__((noreturn));

static void trap(void *self, const char *text)
{
    gbi_runner *runner = runner_of(self);
    snprintf(runner->trap_text, sizeof runner->trap_text, "%s", text);
    gbi_trap_raise(&runner->trap);
}

static void on_deadlock(gbi_fibers *fibers)
{
    gbi_runner *runner = runner_of(fibers);
    gbi_fibers_explain(fibers, runner->trap_text, sizeof runner->trap_text);
    gbi_trap_raise(&runner->trap);
}

void gbi_print_flush(gb_buf *buffer, bool all)
{
    size_t size = buffer->size;
    while (!all && size > 0 && buffer->data[size - 1] != '\n') size--;
    if (size == 0) return;
    fwrite(buffer->data, 1, size, stdout);
    fflush(stdout);
    memmove(buffer->data, buffer->data + size, buffer->size - size);
    buffer->size -= size;
}

/* ---- life ---- */

int gbi_runner_open(gbi_runner **out, gb_mem *mem)
{
    gbi_runner *runner = gb_mem_zalloc(mem, sizeof *runner);
    if (!runner) return GB_ENOMEM;
    runner->mem = runner->fibers.mem = mem;
    runner->fibers.on_deadlock = on_deadlock;
    runner->fibers.trap = &runner->trap;
    runner->trap.leaving = leaving;
    runner->trap.arg = runner;
    const char *fibers = getenv("GB_CPU_FIBERS");
    runner->fibers_only = fibers && *fibers && strcmp(fibers, "0") != 0;
    gb_buf_init(&runner->print, mem);
    runner->services = (gb_cpu_services){
        .self = runner,
        .barrier = gbi_fiber_barrier,
        .barrier_count = gbi_fiber_barrier_count,
        .barrier_and = gbi_fiber_barrier_and,
        .barrier_or = gbi_fiber_barrier_or,
        .warp_barrier = gbi_fiber_warp_barrier,
        .warp_exchange = gbi_fiber_warp_exchange,
        .warp_ballot = gbi_fiber_warp_ballot,
        .warp_match = gbi_fiber_warp_match,
        .warp_active = gbi_fiber_warp_active,
        .print = print,
        .trap = trap,
    };
    *out = runner;
    return 0;
}

void gbi_runner_close(gbi_runner *runner)
{
    if (!runner) return;
    gbi_fibers_fini(&runner->fibers);
    if (runner->shared) {
        munmap(runner->shared, GBI_SHARED_MAX + PAGE);
        gb_mem_discharge(runner->mem, GBI_SHARED_MAX);
    }
    gb_buf_fini(&runner->print);
    gb_mem_free(runner->mem, runner, sizeof *runner);
}

static int map_shared(gbi_runner *runner)
{
    int rc = gb_mem_charge(runner->mem, GBI_SHARED_MAX);
    if (rc < 0) return rc;
    char *base = mmap(NULL, GBI_SHARED_MAX + PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        gb_mem_discharge(runner->mem, GBI_SHARED_MAX);
        return gb_err_set(GB_ENOMEM, "no memory for the shared memory of a block");
    }
    mprotect(base + GBI_SHARED_MAX, PAGE, PROT_NONE);
    runner->shared = (unsigned char *)base;
    return 0;
}

/* ---- running ---- */

static void run_thread(void *arg, uint32_t index)
{
    gbi_runner *runner = arg;
    runner->kernel->thread(&runner->range, index);
}

static void run_loops(void *arg)
{
    gbi_runner *runner = arg;
    runner->ran_loops = runner->kernel->loops(&runner->range) != 0;
}

static void run_block(void *arg)
{
    gbi_runner *runner = arg;
    const gb_cpu_range *range = &runner->range;
    runner->kernel->begin_block(range, runner->progress);
    gbi_fibers_run(&runner->fibers, range->block.x * range->block.y * range->block.z, run_thread,
                   runner);
}

/* Those of one block together. */
static void run_pieces(gbi_runner *runner)
{
    gb_cpu_range *range = &runner->range;
    uint64_t next = range->first, end = next + range->count;
    uint32_t wide = range->block.x, pieces = gbi_pieces(wide, runner->piece);
    range->count = 1;
    while (next < end && !__atomic_load_n(range->stop, __ATOMIC_RELAXED)) {
        uint32_t at = (uint32_t)(next % pieces);
        uint64_t count = end - next < pieces - at ? end - next : pieces - at;
        range->first = next / pieces;
        range->x_first = at * runner->piece;
        uint64_t threads = count * runner->piece, rest = wide - range->x_first;
        range->x_count = (uint32_t)(rest < threads ? rest : threads);
        runner->kernel->run(range);
        next += count;
    }
}

static void run_blocks(void *arg)
{
    gbi_runner *runner = arg;
    const gb_cpu_range *range = &runner->range;
    if (runner->piece) {
        run_pieces(runner);
        return;
    }
    if (!(runner->kernel->flags & GB_CPU_SYNC)) {
        runner->kernel->run(range);
        return;
    }
    for (uint64_t i = 0; i < range->count && !__atomic_load_n(range->stop, __ATOMIC_RELAXED); i++) {
        runner->progress = range->first + i;
        run_block(runner);
    }
}

/* Stacks for the threads of a block. */
static int reserve(gbi_runner *runner)
{
    const gb_cpu_dim *block = &runner->range.block;
    return gbi_fibers_reserve(&runner->fibers, block->x * block->y * block->z);
}

static void run_singly(void *arg)
{
    gbi_runner *runner = arg;
    const gb_cpu_range *range = &runner->range;
    uint32_t threads = range->block.x * range->block.y * range->block.z;
    runner->kernel->begin_block(range, runner->progress);
    for (uint32_t i = 0; i < threads; i++) runner->kernel->thread(range, i);
}

/* A loop over threads that became vectors does not tell which thread failed. The block runs once
 * more, one thread at a time (as fibers, when it has barriers), until it fails again: what it
 * writes meanwhile does not matter, the launch has failed. If it does not fail again, the first
 * report stands. */
static void find_thread(gbi_runner *runner)
{
    const gb_cpu_kernel *kernel = runner->kernel;
    bool sync = kernel->flags & GB_CPU_SYNC;
    if ((sync && !runner->ran_loops) || !kernel->begin_block || !kernel->thread) return;
    if (sync && reserve(runner) < 0) return;
    int signal = runner->trap.signal, code = runner->trap.code;
    void *address = runner->trap.address;
    size_t printed = runner->print.size;
    char text[GBI_TRAP_TEXT];
    memcpy(text, runner->trap_text, sizeof text);
    if (gbi_trap_run(&runner->trap, sync ? run_block : run_singly, runner) ||
        runner->trap.stopped) {
        runner->trap.signal = signal;
        runner->trap.code = code;
        runner->trap.address = address;
        memcpy(runner->trap_text, text, sizeof text);
    }
    if (runner->fibers.current) gbi_fibers_reset(&runner->fibers);
    if (runner->print.size > printed) runner->print.size = printed;
}

/* "kernel 'scale' trapped: invalid memory access (address 0x7f..) in block (3,0,0), thread (7,0,0)"
 */
static void explain(gbi_runner *runner, char *text, size_t room)
{
    gb_cpu_dim block = {0, 0, 0}, thread = {0, 0, 0};
    char what[GBI_TRAP_TEXT + 64];
    if (runner->kernel->where) runner->kernel->where(&block, &thread);
    if (runner->trap.signal == 0)
        snprintf(what, sizeof what, "%s", runner->trap_text);
    else if (gbi_fibers_is_guard(&runner->fibers, runner->trap.address))
        snprintf(what, sizeof what, "the thread's stack of %d KB is full", GBI_FIBER_STACK >> 10);
    else if (runner->trap.code == SI_KERNEL) /* no address of this machine's format */
        snprintf(what, sizeof what, "%s (address unknown)", gbi_trap_text(&runner->trap));
    else
        snprintf(what, sizeof what, "%s (address 0x%llx)", gbi_trap_text(&runner->trap),
                 (unsigned long long)(uintptr_t)runner->trap.address);
    snprintf(text, room, "kernel '%s' trapped: %s in block (%u,%u,%u), thread (%u,%u,%u)",
             runner->kernel->name, what, block.x, block.y, block.z, thread.x, thread.y, thread.z);
}

static int prepare(gbi_runner *runner, const gbi_run *run)
{
    gbi_trap_prepare();
    return run->shared_bytes && !runner->shared ? map_shared(runner) : 0;
}

static int failed(gbi_runner *runner, char *text, size_t room)
{
    if (runner->fibers.current) gbi_fibers_reset(&runner->fibers);
    if (runner->trap.stopped) return GB_ETIMEDOUT;
    find_thread(runner);
    explain(runner, text, room);
    return GB_ETRAP;
}

static int no_memory(const gbi_runner *runner, int rc, char *text, size_t room)
{
    snprintf(text, room, "kernel '%s': %s", runner->kernel->name, gb_err_detail());
    return rc;
}

int gbi_runner_run(gbi_runner *runner, const gbi_run *run, uint64_t first, uint64_t count,
                   char *text, size_t text_room)
{
    runner->kernel = run->kernel;
    runner->piece = run->piece;
    int rc = prepare(runner, run);
    if (rc < 0) return no_memory(runner, rc, text, text_room);
    size_t shared = ((size_t)run->shared_bytes + SHARED_ALIGN - 1) & ~(size_t)(SHARED_ALIGN - 1);
    runner->range = (gb_cpu_range){
        .grid = run->grid,
        .block = run->block,
        .first = first,
        .count = count,
        .params = run->params,
        .shared = shared ? runner->shared + GBI_SHARED_MAX - shared : NULL,
        .shared_bytes = run->shared_bytes,
        .services = &runner->services,
        .progress = &runner->progress,
        .stop = (const volatile int32_t *)run->stop,
    };
    runner->trap_text[0] = 0;
    runner->trap.home = (const void *)(run->kernel->run ? (uintptr_t)run->kernel->run
                                                        : (uintptr_t)run->kernel->thread);
    runner->ran_loops = run->kernel->loops && !runner->fibers_only;
    if (runner->ran_loops && !gbi_trap_run(&runner->trap, run_loops, runner))
        return failed(runner, text, text_room);
    if (runner->ran_loops) return 0;
    if (run->kernel->flags & GB_CPU_SYNC) rc = reserve(runner);
    if (rc < 0) return no_memory(runner, rc, text, text_room);
    return gbi_trap_run(&runner->trap, run_blocks, runner) ? 0 : failed(runner, text, text_room);
}
