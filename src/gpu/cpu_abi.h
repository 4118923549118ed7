/* What an image of the cpu backend looks like from the engine, and what a kernel can ask of the
 * engine. Included by the engine (C11) and by the generated code (C++17), so: plain structs,
 * fixed-width types, no headers but stdint. A change of anything here is a new GB_CPU_ABI, which is
 * part of the cache key.
 *
 * An image is a shared object with one exported symbol, `gb_cpu_image`. The engine calls `run` of a
 * kernel with a range of blocks. Kernels without barriers run every thread of a block in a loop
 * inside `run` (so that it vectorises). Kernels with barriers (flag GB_CPU_SYNC) have `run` NULL
 * and `thread`, which runs ONE thread; the engine starts each thread of a block as a fiber and
 * switches between fibers inside the services below. Where the source allows it they also have
 * `loops`, which needs no fibers. All threads of one block run on one OS thread,
 * so __shared__ variables are thread_local of the image. threadIdx is thread_local too and shared
 * by the fibers: the image's wrapper around every service that may switch saves it before and
 * restores it after (the engine never touches it).
 */
#ifndef GB_GPU_CPU_ABI_H
#define GB_GPU_CPU_ABI_H

#include <stdint.h>

#define GB_CPU_ABI 3

typedef struct {
    uint32_t x, y, z;
} gb_cpu_dim;

/* Services of the engine. `self` is the engine's block state; all but print and trap are only
 * called by GB_CPU_SYNC kernels, from the fiber of the calling thread. Warps are 32 consecutive
 * threads of the block in linear order. */
typedef struct gb_cpu_services {
    void *self;
    void (*barrier)(void *self); /* __syncthreads; threads that returned count as arrived */
    int (*barrier_count)(
        void *self, int predicate); /* __syncthreads_count: how many predicates were non-zero */
    int (*barrier_and)(void *self, int predicate);
    int (*barrier_or)(void *self, int predicate);
    void (*warp_barrier)(void *self, uint32_t mask); /* __syncwarp */
    /* All threads of mask exchange 64 bits: returns the value that thread `source_lane` of this
     * warp gave, or this thread's own when that lane is outside the warp, not in mask, or has
     * returned. */
    uint64_t (*warp_exchange)(void *self, uint32_t mask, uint64_t value, uint32_t source_lane);
    uint32_t (*warp_ballot)(void *self, uint32_t mask, int predicate); /* __ballot_sync */
    uint32_t (*warp_match)(void *self, uint32_t mask, uint64_t value); /* __match_any_sync */
    uint32_t (*warp_active)(void *self);         /* __activemask: lanes that have not returned */
    void (*print)(void *self, const char *text); /* one finished piece of printf output */
    void (*trap)(void *self, const char *text)
        __attribute__((noreturn)); /* assert, __trap; ends the launch */
} gb_cpu_services;

typedef struct gb_cpu_range {
    gb_cpu_dim grid, block;
    uint64_t first, count; /* linear block numbers: x fastest */
    void *const *params;   /* one pointer per parameter */
    unsigned char
        *shared; /* dynamic shared memory, aligned to 128, shared_bytes long; cleared by nobody */
    uint32_t shared_bytes;
    const gb_cpu_services *services;
    uint64_t *progress; /* run stores the linear number of the block it is in, for messages */
    const volatile int32_t *stop; /* non-zero: run returns before its next block */
    /* For kernels with GB_CPU_PIECES, where count is 1: of the block only the threads whose x is
     * x_first .. x_first + x_count - 1; x_count 0: all. */
    uint32_t x_first, x_count;
} gb_cpu_range;

enum {
    GB_CPU_SYNC = 1,
    GB_CPU_PIECES = 2 /* run takes pieces of blocks; not with GB_CPU_SYNC */
};

typedef struct gb_cpu_param {
    const char *name, *type; /* see gb_param in gpu.h */
    int32_t code, lanes, pointer, is_const;
    uint32_t size, element;
} gb_cpu_param;

typedef struct gb_cpu_kernel {
    const char *name;
    uint32_t flags;
    int32_t param_count;
    const gb_cpu_param *params;
    uint32_t static_shared_bytes; /* for reports */
    /* Runs blocks first .. first + count - 1, all threads. NULL when GB_CPU_SYNC. */
    void (*run)(const gb_cpu_range *range);
    /* GB_CPU_SYNC: begin_block once per block on the OS thread (sets blockIdx, gridDim, blockDim,
     * shared, services), then thread(range, index) once on each fiber; index is linear (x fastest)
     * and thread sets threadIdx from it. */
    void (*begin_block)(const gb_cpu_range *range, uint64_t block);
    void (*thread)(const gb_cpu_range *range, uint32_t index);
    /* Where threadIdx of the calling OS thread is now, for trap messages (valid in both modes). */
    void (*where)(gb_cpu_dim *block, gb_cpu_dim *thread);
    /* GB_CPU_SYNC: runs blocks first .. first + count - 1 without fibers, as loops over the threads
     * between barriers; 0: it did nothing, what threads keep over a barrier is too large here.
     * NULL: only fibers will do. */
    int (*loops)(const gb_cpu_range *range);
} gb_cpu_kernel;

typedef struct gb_cpu_global {
    const char *name;
    void *address;
    uint64_t bytes;
    gb_cpu_param type;
} gb_cpu_global;

typedef struct gb_cpu_field {
    const char *name, *type;
    int32_t code, lanes;
    uint32_t offset, count;
} gb_cpu_field;
typedef struct gb_cpu_struct {
    const char *name;
    uint32_t size, align;
    int32_t field_count;
    const gb_cpu_field *fields;
} gb_cpu_struct;

typedef struct gb_cpu_image {
    uint32_t abi; /* GB_CPU_ABI */
    int32_t kernel_count, global_count, struct_count;
    const gb_cpu_kernel *kernels;
    const gb_cpu_global *globals;
    const gb_cpu_struct *structs;
} gb_cpu_image;

#endif
