/* Running a launch or a large copy: here, or as a job of the pool. Also what kernels cost. */
#include "base/err.h"
#include "gpu/cpu_engine.h"
#include "gpu/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_NS = 30000,
    PIECE_NS = 1000,    /* of a block, at least */
    PIECE_THREADS = 64, /* a piece is a multiple of that, which is one round of the widest loops */
    PIECE_LEAST = 4,    /* or of that where threads are so long that rounds do not matter */
    ATTEND_NS = 50000,  /* the longest chunk that a thread with other things to do works at */
    HOLD_NS = 10000000, /* a thread that helps is never held less than that */
    TEXT_BYTES = 1024
};

/* ---- runners for calling threads ---- */

gbi_runner *gbi_cpu_take_runner(gbi_cpu *cpu)
{
    for (int i = 0; i < GBI_SPARE_RUNNERS; i++) {
        if (!atomic_load_explicit(&cpu->spare[i], memory_order_relaxed)) continue;
        gbi_runner *runner = atomic_exchange_explicit(&cpu->spare[i], NULL, memory_order_acq_rel);
        if (runner) return runner;
    }
    gbi_runner *runner = NULL;
    return gbi_pool_guest_open(cpu->pool, &runner) < 0 ? NULL : runner;
}

void gbi_cpu_give_runner(gbi_cpu *cpu, gbi_runner *runner)
{
    for (int i = 0; i < GBI_SPARE_RUNNERS; i++) {
        gbi_runner *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&cpu->spare[i], &none, runner,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return;
    }
    gbi_pool_guest_close(cpu->pool, runner);
}

/* ---- what a launch costs ---- */

static uint64_t threads_of(const gbi_command *command)
{
    const gb_dim *grid = &command->u.launch.grid, *block = &command->u.launch.block;
    return (uint64_t)grid->x * grid->y * grid->z * block->x * block->y * block->z;
}

static int bucket_of(uint64_t threads)
{
    int bucket = 63 - __builtin_clzll(threads);
    return bucket < GBI_COST_BUCKETS ? bucket : GBI_COST_BUCKETS - 1;
}

/* A larger measurement counts at once, a smaller one by half: the first run is a cold one. On a
 * calling thread one long run is mostly that thread's having lost its core, so there it takes two
 * to send a tiny kernel to the pool. */
static void learn(gbi_cpu_kernel *kernel, uint64_t threads, uint64_t ns, bool here)
{
    _Atomic uint32_t *cost = &kernel->cost_ns[bucket_of(threads)];
    uint32_t now = ns < UINT32_MAX ? (uint32_t)ns + 1 : UINT32_MAX;
    uint32_t old = atomic_load_explicit(cost, memory_order_relaxed);
    if (here && old && now / 16 > old) now = old * 16;
    if (old && now < old) now = old - (old - now) / 2;
    if (now != old) atomic_store_explicit(cost, now, memory_order_relaxed);
}

/* 0: unknown. A size that was never run is judged by its neighbours: as much as a larger one that
 * is small, or in proportion to one up to 8 times smaller. */
static uint64_t predict(const gbi_cpu_kernel *kernel, uint64_t threads)
{
    int bucket = bucket_of(threads);
    for (int i = bucket; i < GBI_COST_BUCKETS && i < bucket + 8; i++) {
        uint64_t cost = atomic_load_explicit(&kernel->cost_ns[i], memory_order_relaxed);
        if (cost && (i == bucket || cost < GBI_INLINE_NS)) return cost;
    }
    for (int i = bucket - 1; i >= 0 && i >= bucket - 3; i--) {
        uint64_t cost = atomic_load_explicit(&kernel->cost_ns[i], memory_order_relaxed);
        if (cost) return cost << (bucket - i);
    }
    return 0;
}

uint64_t gbi_cpu_cost_ns(const gbi_command *launch)
{
    return predict(launch->u.launch.impl, threads_of(launch));
}

bool gbi_cpu_is_small(const gbi_command *command)
{
    uint64_t cost = gbi_cpu_cost_ns(command);
    return cost && cost < GBI_INLINE_NS;
}

/* ---- here ---- */

static gb_cpu_dim dim(gb_dim from)
{
    return (gb_cpu_dim){from.x, from.y, from.z};
}

static gbi_run run_of(const gbi_command *command, const _Atomic int32_t *stop)
{
    return (gbi_run){
        .kernel = ((const gbi_cpu_kernel *)command->u.launch.impl)->image,
        .grid = dim(command->u.launch.grid),
        .block = dim(command->u.launch.block),
        .shared_bytes = command->u.launch.shared_bytes,
        .params = command->u.launch.params,
        .stop = stop,
    };
}

static uint64_t blocks_of(const gbi_command *command)
{
    const gb_dim *grid = &command->u.launch.grid;
    return (uint64_t)grid->x * grid->y * grid->z;
}

static uint64_t time_after(uint64_t start_ns, uint64_t ns)
{
    return ns && ns < UINT64_MAX - start_ns ? start_ns + ns : 0;
}

/* In text. */
static void runaway(char *text, size_t room, const gbi_command *command, const char *more)
{
    snprintf(text, room, "kernel '%s' is a runaway: it ran past its bound of %.3g s%s",
             command->u.launch.kernel->desc->name, (double)command->u.launch.bound_ns / 1e9, more);
}

/* Of a launch that was ended on its caller's thread. The next one goes to the pool. */
static void overstayed(const gbi_command *command, uint64_t ns, char *text, size_t room)
{
    learn(command->u.launch.impl, threads_of(command), ns, false);
    if (ns >= command->u.launch.bound_ns)
        runaway(text, room, command, "");
    else
        snprintf(text, room, "kernel '%s' was ended after %.3g s, at the deadline of its caller",
                 command->u.launch.kernel->desc->name, (double)ns / 1e9);
}

int gbi_cpu_launch_here(gbi_cpu *cpu, gbi_command *command, char **text)
{
    _Atomic int32_t never = 0;
    char message[TEXT_BYTES];
    gbi_run run = run_of(command, &never);
    gbi_runner *runner = gbi_cpu_take_runner(cpu);
    if (!runner) {
        *text = strdup(gb_err_detail());
        return GB_ENOMEM;
    }
    uint64_t bound = command->u.launch.bound_ns;
    uint64_t patience = atomic_load_explicit(&command->queue->patience_ns, memory_order_relaxed);
    uint64_t start = gbi_now_ns();
    gbi_trap_limit(&runner->trap,
                   time_after(start, patience && patience < bound ? patience : bound));
    gbi_pool_guest_runs(cpu->pool);
    int rc = gbi_runner_run(runner, &run, 0, blocks_of(command), message, sizeof message);
    gbi_trap_unlimit(&runner->trap);
    uint64_t ns = gbi_now_ns() - start;
    if (rc == GB_ETIMEDOUT)
        overstayed(command, ns, message, sizeof message);
    else
        learn(command->u.launch.impl, threads_of(command), ns, true);
    if (runner->print.size) gbi_print_flush(&runner->print, true);
    gbi_cpu_give_runner(cpu, runner);
    if (rc < 0) *text = strdup(message);
    return rc;
}

/* ---- on the pool ---- */

typedef struct pool_work {
    gbi_pool_job job;
    gbi_cpu_queue *queue;
    gbi_command *command;
    gbi_run run;
    pthread_mutex_t lock; /* of what follows */
    int rc;
    char *text;
    gb_buf print;
    uint64_t patience_end_ns; /* of the caller, who may help; 0: none */
    _Atomic int32_t cancelled;
} pool_work;

static int start_work(gbi_cpu_queue *queue, gbi_command *command, pool_work *work)
{
    gbi_cpu *cpu = queue->device->cpu;
    work->queue = queue;
    work->command = command;
    work->job.urgent = queue->urgent;
    pthread_mutex_init(&work->lock, NULL);
    gb_buf_init(&work->print, cpu->mem);
    int rc = gbi_pool_add(cpu->pool, &work->job);
    if (rc < 0) {
        pthread_mutex_destroy(&work->lock);
        gb_mem_free_lines(cpu->mem, work, sizeof *work);
    }
    return rc;
}

static void released(gbi_pool_job *job)
{
    pool_work *work = GB_CONTAINER(job, pool_work, job);
    gbi_cpu *cpu = work->queue->device->cpu;
    gb_buf_fini(&work->print);
    free(work->text);
    pthread_mutex_destroy(&work->lock);
    gbi_command *command = work->command;
    gb_mem_free_lines(cpu->mem, work, sizeof *work);
    gbi_command_free(command);
}

static void take_failure(pool_work *work, int rc, const char *text)
{
    pthread_mutex_lock(&work->lock);
    if (work->rc == 0) {
        work->rc = rc;
        work->text = strdup(text);
    }
    pthread_mutex_unlock(&work->lock);
    atomic_store_explicit(&work->job.stop, 1, memory_order_relaxed);
}

static void take_print(pool_work *work, gb_buf *print)
{
    pthread_mutex_lock(&work->lock);
    gb_buf_put(&work->print, print->data, print->size);
    if (work->print.size > GBI_SHARED_MAX) gbi_print_flush(&work->print, false);
    pthread_mutex_unlock(&work->lock);
    print->size = 0;
}

/* A caller that helps is held no longer than it would be by a launch on its own thread. */
static uint64_t limit_of(const pool_work *work, uint64_t start)
{
    uint64_t limit = work->job.until_ns, patience = work->patience_end_ns;
    if (patience && patience < start + HOLD_NS) patience = start + HOLD_NS;
    return patience && (!limit || patience < limit) ? patience : limit;
}

static void run_launch(gbi_pool_job *job, gbi_runner *runner, uint64_t first, uint64_t count)
{
    pool_work *work = GB_CONTAINER(job, pool_work, job);
    char text[TEXT_BYTES];
    bool helps = job->attended && pthread_equal(job->attendant, pthread_self());
    uint64_t start = helps ? gbi_now_ns() : 0,
             until = helps ? limit_of(work, start) : job->until_ns;
    gbi_trap_limit(&runner->trap, until);
    int rc = gbi_runner_run(runner, &work->run, first, count, text, sizeof text);
    gbi_trap_unlimit(&runner->trap);
    if (rc == GB_ETIMEDOUT && until != job->until_ns)
        overstayed(work->command, gbi_now_ns() - start, text, sizeof text);
    else if (rc == GB_ETIMEDOUT)
        rc = 0; /* the watch tells */
    if (rc < 0) take_failure(work, rc, text);
    if (runner->print.size) take_print(work, &runner->print);
}

static bool launch_cancelled(gbi_pool_job *job)
{
    pool_work *work = GB_CONTAINER(job, pool_work, job);
    if (gbi_command_check(work->command) != GB_ECANCELED) return false;
    atomic_store(&work->cancelled, 1);
    return true;
}

/* A launch that traps or is cancelled says nothing about what a whole one takes: with its short
 * time the next one, which may never end, would run on its caller's thread and hold it. */
static void launch_ended(gbi_pool_job *job, bool timed_out)
{
    pool_work *work = GB_CONTAINER(job, pool_work, job);
    gbi_command *command = work->command;
    char text[TEXT_BYTES];
    text[0] = 0;
    pthread_mutex_lock(&work->lock);
    int rc = work->rc;
    if (work->text) snprintf(text, sizeof text, "%s", work->text);
    gbi_print_flush(&work->print, true);
    pthread_mutex_unlock(&work->lock);
    if (timed_out && rc == 0) {
        rc = GB_ETIMEDOUT;
        runaway(text, sizeof text, command,
                job->given_up ? " and did not stop: its thread and buffers are given up" : "");
    } else if (rc == 0 && atomic_load(&work->cancelled)) {
        rc = GB_ECANCELED;
        snprintf(text, sizeof text, "kernel '%s' was cancelled", work->run.kernel->name);
    }
    if (timed_out || rc == 0)
        learn(command->u.launch.impl, threads_of(command),
              timed_out ? command->u.launch.bound_ns : atomic_load(&job->spent_ns), false);
    if (!timed_out) gbi_command_let_go(command);
    gbi_cpu_queue_advance(work->queue, command, rc, text);
}

/* Few long blocks would not end together on all threads: they are cut. A kernel without barriers
 * cannot tell, and what it might keep for a block it could not share. 0: whole blocks. */
static uint32_t piece_of(const gbi_command *command, uint64_t blocks, uint64_t cost,
                         uint64_t threads)
{
    const gb_cpu_kernel *image = ((const gbi_cpu_kernel *)command->u.launch.impl)->image;
    uint32_t wide = command->u.launch.block.x, unit = PIECE_THREADS;
    if (!(image->flags & GB_CPU_PIECES) || command->u.launch.shared_bytes) return 0;
    uint64_t block = cost / blocks, pieces = block / PIECE_NS;
    while (unit > PIECE_LEAST && block * unit / wide >= 2 * PIECE_NS) unit /= 2;
    if (pieces > wide / unit) pieces = wide / unit;
    if (pieces < 2 || blocks >= threads * 16) return 0;
    return gbi_pieces(gbi_pieces(wide, (uint32_t)pieces), unit) * unit;
}

/* How the work is cut: chunks long enough to be worth a turn, short enough that threads end
 * together. */
static void cut(pool_work *work, uint64_t cost, uint64_t threads)
{
    uint64_t blocks = blocks_of(work->command);
    work->run.piece = piece_of(work->command, blocks, cost, threads);
    uint64_t total = blocks * gbi_pieces(work->command->u.launch.block.x, work->run.piece);
    uint64_t chunk = total / (threads * 16);
    if (cost) {
        uint64_t most = total / (threads * 4);
        chunk = (uint64_t)((double)CHUNK_NS * (double)total / (double)cost);
        if (chunk > most) chunk = most;
    }
    work->job.total = total;
    work->job.chunk = chunk ? chunk : 1;
}

/* The thread that starts the launch works at it as well, if it says that it will have nothing else
 * to do, and no chunk is known to hold it for long. */
static void attend(pool_work *work, uint64_t cost, uint64_t now)
{
    const gb_queue *front = work->command->queue;
    pthread_t self = pthread_self();
    if (!front->attended || !pthread_equal(front->attendant, self)) return;
    if (!cost || cost / work->job.total * work->job.chunk > ATTEND_NS) return;
    work->job.attended = true;
    work->job.attendant = self;
    work->patience_end_ns =
        time_after(now, atomic_load_explicit(&front->patience_ns, memory_order_relaxed));
}

int gbi_cpu_help(gbi_cpu *cpu)
{
    if (!gbi_pool_busy(cpu->pool)) return GB_HELP_NONE;
    gbi_runner *runner = gbi_cpu_take_runner(cpu);
    if (!runner) return GB_HELP_NONE;
    int did = gbi_pool_help(cpu->pool, runner);
    gbi_cpu_give_runner(cpu, runner);
    return did;
}

int gbi_cpu_launch_start(gbi_cpu_queue *queue, gbi_command *command)
{
    gbi_cpu *cpu = queue->device->cpu;
    pool_work *work = gb_mem_zalloc_lines(cpu->mem, sizeof *work);
    if (!work) return GB_ENOMEM;
    uint64_t now = gbi_now_ns();
    gbi_trap_install();
    uint64_t cost = predict(command->u.launch.impl, threads_of(command));
    work->command = command;
    work->run = run_of(command, &work->job.stop);
    cut(work, cost, (uint64_t)gbi_pool_threads(cpu->pool));
    attend(work, cost, now);
    work->job.until_ns = time_after(now, command->u.launch.bound_ns);
    work->job.run = run_launch;
    work->job.ended = launch_ended;
    work->job.released = released;
    work->job.cancelled = launch_cancelled;
    return start_work(queue, command, work);
}

/* ---- copies and fills ---- */

size_t gbi_cpu_move_bytes(const gbi_command *command)
{
    if (command->kind == GBI_COPY) return command->u.copy.bytes;
    return command->u.fill.pattern_bytes * command->u.fill.count;
}

static void fill(const gbi_command *command, size_t first, size_t bytes)
{
    size_t pattern = command->u.fill.pattern_bytes;
    char *to = (char *)command->u.fill.to_address + first;
    if (pattern == 1) {
        memset(to, command->u.fill.pattern[0], bytes);
        return;
    }
    size_t done = bytes < pattern ? bytes : pattern; /* chunks begin at whole patterns */
    memcpy(to, command->u.fill.pattern, done);
    while (done < bytes) {
        size_t more = done < bytes - done ? done : bytes - done;
        memcpy(to + done, to, more);
        done += more;
    }
}

static void move(const gbi_command *command, size_t first, size_t bytes)
{
    if (command->kind == GBI_FILL)
        fill(command, first, bytes);
    else
        memcpy((char *)command->u.copy.to_address + first,
               (const char *)command->u.copy.from_address + first, bytes);
}

void gbi_cpu_move_here(const gbi_command *command)
{
    move(command, 0, gbi_cpu_move_bytes(command));
}

static size_t piece_bytes(const gbi_command *command)
{
    if (command->kind == GBI_COPY) return GBI_COPY_CHUNK;
    return GBI_COPY_CHUNK / command->u.fill.pattern_bytes * command->u.fill.pattern_bytes;
}

static void run_move(gbi_pool_job *job, gbi_runner *runner, uint64_t first, uint64_t count)
{
    const gbi_command *command = GB_CONTAINER(job, pool_work, job)->command;
    size_t piece = piece_bytes(command), total = gbi_cpu_move_bytes(command);
    size_t from = first * piece, bytes = count * piece;
    move(command, from, bytes < total - from ? bytes : total - from);
}

static void move_ended(gbi_pool_job *job, bool timed_out)
{
    pool_work *work = GB_CONTAINER(job, pool_work, job);
    if (!timed_out) gbi_command_let_go(work->command);
    gbi_cpu_queue_advance(work->queue, work->command, 0, NULL);
}

int gbi_cpu_move_start(gbi_cpu_queue *queue, gbi_command *command)
{
    pool_work *work = gb_mem_zalloc_lines(queue->device->cpu->mem, sizeof *work);
    if (!work) return GB_ENOMEM;
    size_t piece = piece_bytes(command);
    work->job.total = (gbi_cpu_move_bytes(command) + piece - 1) / piece;
    work->job.chunk = 1;
    work->job.run = run_move;
    work->job.ended = move_ended;
    work->job.released = released;
    return start_work(queue, command, work);
}
