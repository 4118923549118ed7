/* The front's own structures: what gpu.c, buffer.c, module.c, queue.c and event.c share. Backends
 * use the few functions at the end and no field of anything but gb_gpu.config and gb_gpu.room. */
#ifndef GB_GPU_FRONT_H
#define GB_GPU_FRONT_H

#include "gpu/backend.h"
#include "gpu/mempool.h"
#include "gpu/profile.h"
#include "gpu/tenants.h"

#include <pthread.h>

enum { GBI_BACKENDS_MAX = 4 };

/* A few threads for what blocks: compiling, loading and unloading modules. */
typedef struct gbi_job {
    gb_list link;
    void (*run)(struct gbi_job *job); /* the job may free itself */
} gbi_job;

typedef struct gbi_jobs {
    pthread_mutex_t lock;
    pthread_cond_t more;
    gb_list waiting;
    pthread_t *threads;
    int thread_count, thread_room, idle_count;
    bool closing;
} gbi_jobs;

struct gb_gpu {
    gb_gpu_config config; /* the strings are ours */
    gb_mem room;          /* everything of this room; its parent is config.mem */
    pthread_mutex_t lock; /* devices are found under it; modules are looked up under it */
    bool probed;
    int backend_count, device_count;
    struct {
        const gb_backend *table;
        void *self;
    } backends[GBI_BACKENDS_MAX];
    gb_device *devices;
    gbi_tenants tenants;
    gb_ledger *ledger;        /* made with the devices */
    pthread_mutex_t pressure; /* held by who gives all pools back to open a buffer */
    atomic_bool pressed;      /* somebody is out of memory: what is given back is kept by no pool */
    _Atomic uint64_t maintained_ns; /* 0: not yet */
    gbi_jobs jobs, files;
    gbi_profile profile;
    pthread_mutex_t idle_lock;
    pthread_cond_t idle;
    _Atomic int64_t commands; /* submitted and not freed */
    _Atomic int64_t queues, buffers, modules, events;
};

/* See gb_device_counts, in this order. */
typedef enum {
    GBI_COUNT_LAUNCHES,
    GBI_COUNT_LAUNCHES_FAILED,
    GBI_COUNT_UP,
    GBI_COUNT_DOWN,
    GBI_COUNT_ACROSS,
    GBI_COUNT_BUFFERS,
    GBI_COUNT_BUFFERS_FAILED,
    GBI_COUNT_MODULES,
    GBI_COUNT_MODULES_FAILED,
    GBI_COUNT_MODULE_NS,
    GBI_COUNT_FILES,
    GBI_COUNT_FILES_DIRECT,
    GBI_COUNTS
} gbi_count;

/* Several rows of counts, so that workers that launch at once do not meet; each takes two lines. */
enum { GBI_COUNT_ROWS = 8, GBI_COUNT_ROOM = 16 };

struct gb_device {
    gb_gpu *gpu;
    const gb_backend *backend;
    void *impl;
    int index;
    _Atomic int32_t depth; /* commands submitted and not ended */
    _Atomic int32_t claims;
    gb_device_info limits; /* read once; memory_free is not kept up */
    _Atomic uint64_t counts[GBI_COUNT_ROWS][GBI_COUNT_ROOM];
    gb_list modules; /* under gpu->lock */
    gbi_mempool pool;
};

struct gb_buffer {
    _Atomic int32_t count;
    gb_device *device;
    size_t bytes;
    gb_buffer_kind kind;
    gbi_memory memory;
    size_t block_bytes;               /* of its memory; bytes unless it came out of a class */
    gb_reservation reserved;          /* its bytes in the ledger; 0: none */
    gb_buffer *next;                  /* while the pool keeps it */
    uint64_t last_tenant, last_owner; /* who had its bytes last */
    int8_t class;                     /* of the pool, or GBI_POOL_NONE */
    bool wrapped;                     /* the memory is somebody else's */
    gb_buffer_release *release;
    void *release_user;
    gb_module *owner; /* a global: references are counted on the module */
};

struct gb_kernel {
    gb_module *module;
    const gbi_kernel_desc *desc;
    uint32_t blob_bytes;              /* room for all parameters, each aligned to 16 */
    _Atomic(gbi_profile_row *) times; /* NULL: not looked for yet */
};

typedef enum { GBI_MODULE_COMPILING, GBI_MODULE_READY, GBI_MODULE_FAILED } gbi_module_state;

struct gb_module {
    _Atomic int32_t count;
    gb_device *device;
    gb_list link; /* in device->modules until it failed or its count fell to 0 */
    bool linked;
    uint64_t hash;
    gb_module_spec spec; /* points into one allocation */
    size_t spec_bytes;
    _Atomic int state;
    int rc;       /* of a failure */
    char *detail; /* malloc'd, of a failure */
    gbi_job job;
    gb_list waiters; /* under gpu->lock until done */
    gbi_module_desc desc;
    gb_kernel *kernels;
    gb_buffer *globals;
};

enum { GBI_SIDES = 3 };

struct gb_queue {
    _Atomic int32_t count; /* the handle and every pending command */
    gb_device *device;
    void *impl;
    _Atomic int32_t depth; /* commands submitted and not ended; 0: the owner may run inline */
    pthread_mutex_t lock;  /* signals, rc and detail while anything is pending */
    gb_list signals;       /* pending signal commands, oldest first */
    _Atomic int32_t rc;    /* first error since the last signal */
    char *detail;          /* malloc'd */
    _Atomic uint64_t patience_ns;
    bool attended; /* by this thread, which calls gb_gpu_help */
    pthread_t attendant;
    gb_queue *leader;           /* of a side: whose signals, rc and detail count; one reference */
    gb_queue *sides[GBI_SIDES]; /* for graphs, opened when they are needed: graph_lanes.c */
    gb_list spare;              /* freed command blocks of the common size */
    int spare_count;
};

struct gb_event {
    _Atomic int32_t count;
    gb_device *device;
    void *impl;
    _Atomic uint64_t recorded; /* newest generation that was enqueued */
};

int gbi_jobs_open(gbi_jobs *jobs, gb_mem *mem);
/* Runs what waits, then joins. */
void gbi_jobs_close(gbi_jobs *jobs, gb_mem *mem);
bool gbi_jobs_busy(gbi_jobs *jobs); /* one waits or runs */
/* 0 or GB_ENOMEM when not one thread could be started. */
int gbi_jobs_add(gbi_jobs *jobs, gb_mem *mem, gbi_job *job);

void gbi_event_unref(gb_event *event);

/* A module from a description that a backend made already; it is closed with the module. */
int gbi_module_adopt(gb_module **out, gb_device *device, const char *name,
                     const gbi_module_desc *desc);

/* ---- queue.c and queue_put.c, for graphs: the same checks and the same way in ---- */

/* Room for one parameter in a launch's blob. */
#define GBI_PARAM_ROOM(param) (((param)->size + 15u) & ~15u)

int gbi_check_range(const gb_device *device, const gb_buffer *buffer, size_t offset, size_t bytes,
                    bool other_device);
int gbi_check_launch(const gb_kernel *kernel, const gb_launch *launch);
int gbi_param_set(const gb_kernel *kernel, int index, const gb_arg *arg, void *to);
/* A launch without its parameters. */
void gbi_command_launch(gbi_command *out, gb_kernel *kernel, const gb_launch *launch);
/* Memory of a command; freed by gbi_command_free. */
gbi_command *gbi_command_block(gb_queue *queue, size_t bytes);
/* Parameters of a launch, into memory behind its permanent copy. */
void gbi_command_copy_launch(gbi_command *command, const gbi_command *from, void *at);
/* A permanent GBI_RECORD or GBI_WAIT; its generation is set before it is handed over. */
gbi_command *gbi_command_event(gb_queue *queue, gbi_command_kind kind, gb_event *event);
/* A permanent command becomes the backend's. */
void gbi_queue_hand(gb_queue *queue, gbi_command *kept);
void gbi_queue_count(gb_queue *queue, int commands); /* more of them are under way */
/* Runs the command now, or hands a permanent copy to the backend. */
int gbi_queue_put(gb_queue *queue, gbi_command *command);

/* What a pool may keep, by the setting. */
int64_t gbi_pool_bytes(int64_t setting, int64_t memory_total);
/* Closes what the pool of a device keeps: how many blocks. */
int gbi_device_drop_idle(gb_device *device);
void gbi_device_trim(gb_device *device);

/* by: what counts (a queue, a buffer), any address. */
static inline void gbi_device_count(gb_device *device, const void *by, gbi_count which, uint64_t n)
{
    uint32_t row = (uint32_t)(((uintptr_t)by >> 4) * 2654435761u) >> 29;
    atomic_fetch_add_explicit(&device->counts[row][which], n, memory_order_relaxed);
}

static inline gb_event *gbi_event_ref(gb_event *event)
{
    atomic_fetch_add_explicit(&event->count, 1, memory_order_relaxed);
    return event;
}

#endif
