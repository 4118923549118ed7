/* Helpers of the engine's tests: an image written by hand (what the compile side makes out of CUDA
 * source), and waiting for ops. */
#ifndef GB_TESTS_KIT_ENGINE_H
#define GB_TESTS_KIT_ENGINE_H

#include "gpu/gpu.h"

#include <pthread.h>

typedef struct kit_engine {
    gb_mem mem;
    gb_gpu *gpu;
    gb_device *device;
    gb_module *module; /* of the hand-written image */
    gb_queue *queue;
} kit_engine;

/* threads and devices as in gb_gpu_config; memory_bytes 0: the default. */
void kit_engine_open(kit_engine *kit, int threads, int devices, int64_t memory_bytes);
void kit_engine_close(kit_engine *kit); /* checks that all memory is back */
/* A runaway is left behind: the account must be at zero all the same. */
void kit_engine_close_lost(kit_engine *kit);

gb_kernel *kit_engine_kernel(kit_engine *kit, const char *name);
gb_module *kit_adopt(gb_device *device); /* the image once more, on another device */

/* Signals the queue and waits: rc; detail (NULL: not wanted) takes the text. */
int kit_finish(gb_queue *queue, char *detail, size_t room);

/* An op that a test waits for. */
typedef struct kit_op {
    gb_op op; /* first */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int rc, count; /* count: how often done ran */
} kit_op;
void kit_op_init(kit_op *op);
int kit_op_wait(kit_op *op);
void kit_op_fini(kit_op *op);

/* A launch in one line; args as gb_arg. */
int kit_launch(gb_queue *queue, gb_kernel *kernel, uint32_t grid, uint32_t block,
               const gb_arg *args, int count);

#define KIT_BUFFER(b) ((gb_arg){.buffer = (b)})
#define KIT_VALUE(v) ((gb_arg){.value = &(v), .size = sizeof(v)})

uint64_t kit_seed(void); /* of $GB_SEED or fresh; printed */
uint64_t kit_random(uint64_t *state);
double kit_uniform(uint64_t *state); /* -1 .. 1 */

/* Set by a test to let the kernel `gate` go on; held by a test while `endless` is not to end. */
extern _Atomic int kit_gate;
extern pthread_mutex_t kit_held;
extern _Atomic uintptr_t kit_nowhere; /* 0, unknown to the compiler */
extern _Atomic int kit_endless_runs;  /* threads inside `endless` */

#endif
