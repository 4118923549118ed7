#include "kit_engine.h"

#include "base/err.h"
#include "gpu/cpu_engine.h"
#include "gpu/front.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the image: C written as the compile side would write C++ ---- */

_Atomic int kit_gate;
_Atomic uintptr_t kit_nowhere; /* 0, as far as the compiler does not know */
_Atomic int kit_endless_runs;
pthread_mutex_t kit_held = PTHREAD_MUTEX_INITIALIZER;

static _Thread_local gb_cpu_dim thread_index, block_index;
static _Thread_local const gb_cpu_range *now;
static _Thread_local float shared_floats[1024];
static int global_numbers[4] = {1, 2, 3, 4};

#define PARAM(type, index) (*(type *)range->params[index])

static void place(const gb_cpu_range *range, uint64_t block)
{
    now = range;
    block_index.x = (uint32_t)(block % range->grid.x);
    block_index.y = (uint32_t)(block / range->grid.x % range->grid.y);
    block_index.z = (uint32_t)(block / range->grid.x / range->grid.y);
    *range->progress = block;
}

static void where(gb_cpu_dim *block, gb_cpu_dim *thread)
{
    *block = block_index;
    *thread = thread_index;
}

typedef void body(const gb_cpu_range *range, uint32_t thread);

static inline void each(const gb_cpu_range *range, body *one)
{
    for (uint64_t i = 0; i < range->count && !__atomic_load_n(range->stop, __ATOMIC_RELAXED); i++) {
        place(range, range->first + i);
        for (uint32_t t = 0; t < range->block.x; t++) {
            thread_index.x = t;
            one(range, t);
        }
    }
}

static uint32_t linear(const gb_cpu_range *range, uint32_t thread)
{
    return block_index.x * range->block.x + thread;
}

/* void saxpy(float a, const float *x, float *y, int n) */
static void saxpy_body(const gb_cpu_range *range, uint32_t thread)
{
    uint32_t i = linear(range, thread);
    if (i < (uint32_t)PARAM(int, 3))
        PARAM(float *, 2)[i] += PARAM(float, 0) * PARAM(const float *, 1)[i];
}

static void saxpy_run(const gb_cpu_range *range)
{
    each(range, saxpy_body);
}

/* void poke(int *data, long index, int value): writes where it is told */
__attribute__((no_sanitize("thread"))) /* TSan has no shadow for wild addresses */
static void
poke_body(const gb_cpu_range *range, uint32_t thread)
{
    if (thread == range->block.x - 1)
        ((volatile int *)PARAM(int *, 0))[PARAM(int64_t, 1)] = PARAM(int, 2);
}

static void poke_run(const gb_cpu_range *range)
{
    each(range, poke_body);
}

static void poke_thread(const gb_cpu_range *range, uint32_t thread)
{
    *(volatile uint32_t *)&thread_index.x = thread;
    poke_body(range, thread);
}

/* void divide(int *data, int by) */
static void divide_body(const gb_cpu_range *range, uint32_t thread)
{
    volatile int *data = PARAM(int *, 0);
    volatile int by = PARAM(int, 1);
#if defined(__SANITIZE_ADDRESS__) && defined(__x86_64__) /* UBSan would be first */
    int quotient = data[thread];
    __asm__ volatile("cltd; idivl %1" : "+a"(quotient) : "r"(by) : "edx");
    data[thread] = quotient;
#else
    data[thread] = data[thread] / by;
#endif
}

static void divide_run(const gb_cpu_range *range)
{
    each(range, divide_body);
}

/* void assert_below(int *data, int limit): the trap service */
static void assert_body(const gb_cpu_range *range, uint32_t thread)
{
    if (PARAM(int *, 0)[thread] >= PARAM(int, 1))
        range->services->trap(range->services->self, "data.cu:7: assertion 'd < limit' failed");
}

static void assert_run(const gb_cpu_range *range)
{
    each(range, assert_body);
}

/* void gate(int *data): waits until the test lets it go, then adds 1 */
static void gate_body(const gb_cpu_range *range, uint32_t thread)
{
    while (!kit_gate) sched_yield();
    PARAM(int *, 0)[linear(range, thread)] += 1;
}

static void gate_run(const gb_cpu_range *range)
{
    each(range, gate_body);
}

/* void endless(int *data): waits in a library, where it cannot be left */
static void endless_run(const gb_cpu_range *range)
{
    place(range, range->first);
    kit_endless_runs++;
    pthread_mutex_lock(&kit_held);
    pthread_mutex_unlock(&kit_held);
    kit_endless_runs--;
}

/* void spin(unsigned *data, unsigned by): adds to data[0] for ever, and so past the largest
 * number, unless by is 0. Not under TSan, as no compiled kernel is: most of its time would be
 * spent in there. */
__attribute__((no_sanitize("thread"))) static void spin_body(const gb_cpu_range *range,
                                                             uint32_t thread)
{
    unsigned by = PARAM(unsigned, 1);
    volatile unsigned *data = PARAM(unsigned *, 0);
    do data[0] += by;
    while (by);
}

static void spin_run(const gb_cpu_range *range)
{
    each(range, spin_body);
}

/* void slow(int *data): every block takes 200 us and counts itself in data[0] */
static void slow_body(const gb_cpu_range *range, uint32_t thread)
{
    uint64_t until = gbi_now_ns() + 200000;
    while (gbi_now_ns() < until)
        ;
    __atomic_fetch_add(PARAM(int *, 0), 1, __ATOMIC_RELAXED);
}

static void slow_run(const gb_cpu_range *range)
{
    each(range, slow_body);
}

/* void say(int from): every thread prints two pieces */
static void say_body(const gb_cpu_range *range, uint32_t thread)
{
    char text[64];
    snprintf(text, sizeof text, "thread %u ", linear(range, thread));
    range->services->print(range->services->self, text);
    snprintf(text, sizeof text, "says %d\n", PARAM(int, 0) + (int)thread);
    range->services->print(range->services->self, text);
}

static void say_run(const gb_cpu_range *range)
{
    each(range, say_body);
}

/* ---- kernels with barriers ---- */

static void begin_block(const gb_cpu_range *range, uint64_t block)
{
    place(range, block);
}

static void barrier(const gb_cpu_range *range)
{
    gb_cpu_dim mine = thread_index;
    range->services->barrier(range->services->self);
    thread_index = mine;
}

/* void reverse(float *data): each block turns its part around, `rounds` times */
static void reverse_thread(const gb_cpu_range *range, uint32_t thread)
{
    thread_index.x = thread;
    float *data = PARAM(float *, 0) + block_index.x * range->block.x;
    for (int round = PARAM(int, 1); round > 0; round--) {
        shared_floats[thread] = data[thread];
        barrier(range);
        data[thread] = shared_floats[range->block.x - 1 - thread];
        barrier(range);
    }
}

/* void sync_fault(int *data): one thread faults while the others wait at the barrier */
__attribute__((no_sanitize("thread"))) static void sync_fault_thread(const gb_cpu_range *range,
                                                                     uint32_t thread)
{
    thread_index.x = thread;
    barrier(range);
    if (thread == 5) *(volatile int *)(uintptr_t)(kit_nowhere + 8) = 1;
    barrier(range);
}

/* void stuck(): half of the threads wait for a warp, the others at the barrier */
static void stuck_thread(const gb_cpu_range *range, uint32_t thread)
{
    thread_index.x = thread;
    if (thread % 2)
        barrier(range);
    else
        range->services->warp_barrier(range->services->self, UINT32_MAX);
}

static int deep(volatile char *above, int depth)
{
    volatile char frame[512];
    frame[0] = above[0];
    return depth == 0 ? frame[0] : deep(frame, depth - 1) + 1;
}

/* void overflow(int *data, int depth) */
static void overflow_thread(const gb_cpu_range *range, uint32_t thread)
{
    thread_index.x = thread;
    volatile char top[1] = {0};
    barrier(range);
    if (thread == 3) PARAM(int *, 0)[0] = deep(top, PARAM(int, 1));
    barrier(range);
}

enum { P = GB_TYPE_FLOAT, I = GB_TYPE_INT32, L = GB_TYPE_INT64 };
static const gb_cpu_param saxpy_params[] = {{"a", "float", P, 1, 0, 0, 4, 0},
                                            {"x", "float", P, 1, 1, 1, 8, 4},
                                            {"y", "float", P, 1, 1, 0, 8, 4},
                                            {"n", "int", I, 1, 0, 0, 4, 0}};
static const gb_cpu_param poke_params[] = {{"data", "int", I, 1, 1, 0, 8, 4},
                                           {"index", "long", L, 1, 0, 0, 8, 0},
                                           {"value", "int", I, 1, 0, 0, 4, 0}};
static const gb_cpu_param int_params[] = {{"data", "int", I, 1, 1, 0, 8, 4},
                                          {"by", "int", I, 1, 0, 0, 4, 0}};
static const gb_cpu_param float_params[] = {{"data", "float", P, 1, 1, 0, 8, 4},
                                            {"rounds", "int", I, 1, 0, 0, 4, 0}};
static const gb_cpu_param one_int[] = {{"from", "int", I, 1, 0, 0, 4, 0}};

#define PLAIN(name, count, params)                                                                 \
    {                                                                                              \
        name##_text, 0, count, params, 0, name##_run, NULL, NULL, where, NULL                      \
    }
#define SYNC(name, count, params)                                                                  \
    {                                                                                              \
        name##_text, GB_CPU_SYNC, count, params, 4096, NULL, begin_block, name##_thread, where,    \
            NULL                                                                                   \
    }
#define NAMED(name) static const char name##_text[] = #name
NAMED(saxpy);
NAMED(poke);
NAMED(divide);
NAMED(assert);
NAMED(gate);
NAMED(endless);
NAMED(spin);
NAMED(slow);
NAMED(say);
NAMED(reverse);
NAMED(sync_fault);
NAMED(stuck);
NAMED(overflow);

static const gb_cpu_kernel kernels[] = {
    PLAIN(saxpy, 4, saxpy_params),
    {poke_text, 0, 3, poke_params, 0, poke_run, begin_block, poke_thread, where, NULL},
    PLAIN(divide, 2, int_params),
    PLAIN(assert, 2, int_params),
    PLAIN(gate, 1, int_params),
    PLAIN(endless, 1, int_params),
    PLAIN(spin, 2, int_params),
    PLAIN(slow, 1, int_params),
    PLAIN(say, 1, one_int),
    SYNC(reverse, 2, float_params),
    SYNC(sync_fault, 1, int_params),
    SYNC(stuck, 0, NULL),
    SYNC(overflow, 2, int_params),
};
static const gb_cpu_global globals[] = {
    {"numbers", global_numbers, sizeof global_numbers, {"numbers", "int", I, 1, 0, 0, 4, 4}},
};
static const gb_cpu_image image = {.abi = GB_CPU_ABI,
                                   .kernel_count = sizeof kernels / sizeof kernels[0],
                                   .global_count = 1,
                                   .kernels = kernels,
                                   .globals = globals};

/* ---- the kit ---- */

gb_module *kit_adopt(gb_device *device)
{
    gbi_module_desc desc;
    gb_module *module = NULL;
    gbi_cpu *cpu = ((gbi_cpu_device *)device->impl)->cpu;
    assert_int_equal(gbi_cpu_module_wrap(&desc, cpu, &image), 0);
    assert_int_equal(gbi_module_adopt(&module, device, "hand", &desc), 0);
    return module;
}

void kit_engine_open(kit_engine *kit, int threads, int devices, int64_t memory_bytes)
{
    memset(kit, 0, sizeof *kit);
    kit_gate = 0;
    gb_mem_init(&kit->mem, "test", NULL, 0);
    gb_gpu_config config = {.mem = &kit->mem,
                            .threads = threads,
                            .cpu_devices = devices,
                            .cpu_memory_bytes = memory_bytes};
    assert_int_equal(gb_gpu_open(&kit->gpu, &config), 0);
    kit->device = gb_gpu_device(kit->gpu, 0);
    assert_non_null(kit->device);
    kit->module = kit_adopt(kit->device);
    assert_int_equal(gb_queue_open(&kit->queue, kit->device), 0);
}

void kit_engine_close(kit_engine *kit)
{
    gb_queue_close(kit->queue);
    gb_module_unref(kit->module);
    gb_gpu_close(kit->gpu);
    gb_mem_fini(&kit->mem);
}

void kit_engine_close_lost(kit_engine *kit)
{
    gb_queue_close(kit->queue);
    gb_module_unref(kit->module);
    gb_gpu_close(kit->gpu);
    gb_mem_fini(&kit->mem);
}

gb_kernel *kit_engine_kernel(kit_engine *kit, const char *name)
{
    gb_kernel *kernel = gb_module_kernel(kit->module, name);
    assert_non_null(kernel);
    return kernel;
}

static void op_done(gb_op *op, int rc)
{
    kit_op *self = (kit_op *)op;
    pthread_mutex_lock(&self->lock);
    self->rc = rc;
    self->count++;
    pthread_cond_signal(&self->ended);
    pthread_mutex_unlock(&self->lock);
}

void kit_op_init(kit_op *op)
{
    gb_op_init(&op->op, op_done);
    pthread_mutex_init(&op->lock, NULL);
    pthread_cond_init(&op->ended, NULL);
    op->rc = op->count = 0;
}

int kit_op_wait(kit_op *op)
{
    pthread_mutex_lock(&op->lock);
    while (op->count == 0) pthread_cond_wait(&op->ended, &op->lock);
    int rc = op->rc;
    assert_int_equal(op->count, 1);
    pthread_mutex_unlock(&op->lock);
    return rc;
}

void kit_op_fini(kit_op *op)
{
    pthread_mutex_destroy(&op->lock);
    pthread_cond_destroy(&op->ended);
    gb_op_fini(&op->op);
}

int kit_finish(gb_queue *queue, char *detail, size_t room)
{
    kit_op op;
    kit_op_init(&op);
    int rc = gb_queue_signal(queue, &op.op);
    if (rc == GB_OP_PENDING) rc = kit_op_wait(&op);
    if (rc > 0) rc = 0;
    if (detail) snprintf(detail, room, "%s", op.op.detail ? op.op.detail : "");
    kit_op_fini(&op);
    return rc;
}

int kit_launch(gb_queue *queue, gb_kernel *kernel, uint32_t grid, uint32_t block,
               const gb_arg *args, int count)
{
    gb_launch launch = {.grid = {grid, 1, 1}, .block = {block, 1, 1}};
    return gb_queue_launch(queue, kernel, &launch, args, count);
}

uint64_t kit_seed(void)
{
    const char *set = getenv("GB_SEED");
    uint64_t seed = set ? strtoull(set, NULL, 0) : gbi_now_ns();
    print_message("GB_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* SplitMix64 (Steele et al. 2014). */
uint64_t kit_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double kit_uniform(uint64_t *state)
{
    return (double)(int64_t)kit_random(state) / 9223372036854775808.0;
}
