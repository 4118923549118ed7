/* The cpu backend's own structures, shared by cpu_backend.c, cpu_memory.c, cpu_module.c,
 * cpu_queue.c and cpu_launch.c. */
#ifndef GB_GPU_CPU_ENGINE_H
#define GB_GPU_CPU_ENGINE_H

#include "gpu/backend.h"
#include "gpu/cpu_abi.h"
#include "gpu/cpu_pool.h"
#include "gpu/cpu_run.h"

#include <pthread.h>

enum {
    GBI_SPARE_RUNNERS = 16,
    GBI_COST_BUCKETS = 48,
    GBI_INLINE_NS = 20000,       /* what may run on a calling thread, at most */
    GBI_INLINE_BYTES = 64 << 10, /* a copy of that size on a calling thread */
    GBI_COPY_CHUNK = 512 << 10   /* of a copy on the pool */
};

typedef struct gbi_cpu {
    gb_gpu *gpu;
    gb_mem *mem;
    gbi_pool *pool;
    int device_count;
    _Atomic(gbi_runner *) spare[GBI_SPARE_RUNNERS]; /* for runs on calling threads */
    _Atomic int32_t mappings;                       /* with guard pages */
} gbi_cpu;

typedef struct gbi_cpu_device {
    gbi_cpu *cpu;
    int index; /* among the cpu devices */
    char name[128];
    int64_t memory_total;
    _Atomic int64_t memory_used;
} gbi_cpu_device;

typedef struct gbi_cpu_kernel {
    const gb_cpu_kernel *image;
    /* What a run took, in ns of one thread, by the logarithm of the number of threads; 0: unknown.
     * Writers race; the loser's measurement is lost. */
    _Atomic uint32_t cost_ns[GBI_COST_BUCKETS];
} gbi_cpu_kernel;

typedef struct gbi_cpu_queue {
    gbi_cpu_device *device;
    gb_queue *front;
    pthread_mutex_t lock;
    gb_list commands;  /* not started */
    bool urgent;       /* its jobs go before others */
    bool active;       /* somebody works at the queue, or a job or event will */
    gb_list waiting;   /* link in the waiters of an event */
    uint64_t awaited;  /* its generation */
    gbi_command *held; /* the wait command */
    gbi_pool_job wake; /* goes on with the queue on a pool thread */
} gbi_cpu_queue;

typedef struct gbi_cpu_event {
    pthread_mutex_t lock;
    gb_mem *mem;
    _Atomic uint64_t finished; /* newest generation */
    uint64_t at_ns;            /* when */
    gb_list waiters;           /* queues */
} gbi_cpu_event;

/* ---- cpu_memory.c: the table's buffer functions ---- */
int gbi_cpu_buffer_open(gbi_memory *out, void *device, size_t bytes, gb_buffer_kind kind);
int gbi_cpu_buffer_wrap(gbi_memory *out, void *device, uint64_t address, size_t bytes);
void gbi_cpu_buffer_close(void *device, gbi_memory *memory, size_t bytes, gb_buffer_kind kind);
bool gbi_cpu_buffer_idle(void *device, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind);
int gbi_cpu_buffer_wake(void *device, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind,
                        size_t clear);
void gbi_cpu_buffer_fit(void *device, gbi_memory *memory, size_t block_bytes, size_t bytes);

/* ---- cpu_module.c ---- */
int gbi_cpu_module_open(gbi_module_desc *out, void *device, const gb_module_spec *spec,
                        char **detail);
void gbi_cpu_module_close(void *device, gbi_module_desc *desc);
/* Wraps an image that stays with its owner; module_close as usual. For tests of the engine. */
int gbi_cpu_module_wrap(gbi_module_desc *out, gbi_cpu *cpu, const gb_cpu_image *image);

/* ---- cpu_queue.c ---- */
int gbi_cpu_queue_open(void **out, void *device, gb_queue *queue, bool urgent);
void gbi_cpu_queue_close(void *queue);
bool gbi_cpu_now(void *queue, gbi_command *command, int *rc, char **text);
bool gbi_cpu_submit(void *queue, gbi_command *command);
int gbi_cpu_event_open(void **out, void *device);
void gbi_cpu_event_close(void *event);
uint64_t gbi_cpu_event_query(void *event);
int gbi_cpu_event_elapsed(void *start, void *end, uint64_t *out_ns);

/* Ends `done` (NULL: none) with rc and text, goes on with the queue on this thread until it is
 * empty or a command takes longer, and frees `done` last. Pool threads only, or the owner in
 * submit and help. */
void gbi_cpu_queue_advance(gbi_cpu_queue *queue, gbi_command *done, int rc, const char *text);

/* ---- cpu_launch.c ---- */

/* A runner for the calling thread, NULL when there is no memory. */
gbi_runner *gbi_cpu_take_runner(gbi_cpu *cpu);
void gbi_cpu_give_runner(gbi_cpu *cpu, gbi_runner *runner);

/* Is the launch known to take less than GBI_INLINE_NS. */
uint64_t gbi_cpu_cost_ns(const gbi_command *launch);
bool gbi_cpu_is_small(const gbi_command *command);

/* On this thread, to its end. text: malloc'd on failure. */
int gbi_cpu_launch_here(gbi_cpu *cpu, gbi_command *command, char **text);

/* For a thread that attends queues and has nothing to do: what gbi_pool_help did. */
int gbi_cpu_help(gbi_cpu *cpu);

/* On the pool; the queue advances when it ends. 0, or GB_ENOMEM: nothing happened. */
int gbi_cpu_launch_start(gbi_cpu_queue *queue, gbi_command *command);

/* Copies and fills: at once, or in chunks on the pool. */
size_t gbi_cpu_move_bytes(const gbi_command *command);
void gbi_cpu_move_here(const gbi_command *command);
int gbi_cpu_move_start(gbi_cpu_queue *queue, gbi_command *command);

#endif
