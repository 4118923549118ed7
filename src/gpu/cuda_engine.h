/* The cuda backend's own structures, shared by the cuda_*.c files but cuda_api.c.
 *
 * Threads. A queue's owner issues its commands to the driver itself. Two kinds of threads help:
 * - one watcher for all devices: finds what has ended, by asking for the oldest mark of each busy
 *   queue while that pays, then asleep until a host callback or 100 ms (the driver calls no
 *   callbacks after an error); it alone ends and frees commands;
 * - one submission thread per device: allocations, frees, and commands that their owner could not
 *   issue without waiting (large host copies, and what stands behind them in the queue).
 *
 * A device that is lost is given nothing new, and whoever waits for it is told at once. What it was
 * given before stays pending, and what that uses stays in place, until the driver has shown that it
 * is through with it: its mark is reached, or its context is broken (`dead`) and runs nothing any
 * more. Until then the submission thread gives nothing back, for a driver may wait for the device
 * when it frees. What is not through when the host closes is `stuck`, and is left as it is.
 *
 * Where the host owns the devices (gb_gpu_config), the submission thread resets a lost one as soon
 * as the driver is through with it and none of its memory is mapped for the host: cuda_recover.c.
 * Whatever was made before belongs to an older `epoch` and is refused with ELOST for ever. `steps`
 * holds a reset off: raise it, then look at `lost`, then at the epoch.
 *
 * Locks, outer first: a queue's; then one of the device's or the watcher's. No driver call that can
 * wait is made under them.
 */
#ifndef GB_GPU_CUDA_ENGINE_H
#define GB_GPU_CUDA_ENGINE_H

#include "gpu/backend.h"
#include "gpu/cuda_api.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    GBI_STAGE_SMALL = 64 << 10, /* host copies up to this are staged by the owner */
    GBI_STAGE_LARGE = 1 << 20,  /* a piece of a larger one */
    GBI_STAGE_SMALLS = 32,      /* blocks of each size per device, allocated when first needed */
    GBI_STAGE_LARGES = 8,
    GBI_CUDA_DEVICES_MAX = 64
};

typedef struct gbi_cuda gbi_cuda;
typedef struct gbi_cufile gbi_cufile;
typedef struct gbi_cuda_device gbi_cuda_device;
typedef struct gbi_cuda_queue gbi_cuda_queue;

/* A driver event that was recorded once: what is before it in its stream has ended when it has. */
typedef struct gbi_cuda_mark {
    gb_list link; /* among the spare ones */
    _Atomic int32_t refs;
    uint32_t epoch;
    gbi_cuda_device *device;
    gb_cu_event handle;
    bool timed;
} gbi_cuda_mark;

typedef struct gbi_cuda_stage {
    gb_list link;
    unsigned char *host; /* pinned */
    bool large;
} gbi_cuda_stage;

/* A blocking call on a submission thread. */
typedef struct gbi_cuda_job {
    gb_list link;
    uint32_t epoch; /* of what is given back */
    int (*run)(gbi_cuda_device *device, void *arg);
    void *arg;
    void (*after)(gbi_cuda_device *device, struct gbi_cuda_job *job); /* NULL: somebody waits */
    int rc;
    bool done;
    char text[256];
} gbi_cuda_job;

struct gbi_cuda_device {
    gbi_cuda *cuda;
    int ordinal;
    gb_cu_device handle;
    gb_cu_context context; /* retained by the submission thread at its start */
    gb_nvml_device nvml;   /* NULL: no figures */
    gb_device_info facts;
    gb_device *front;
    bool driver_pool; /* device memory comes out of it, and is not kept by the front */
    gb_cu_pool pool;
    int shared_plain; /* dynamic shared memory that needs no attribute */
    bool software;
    _Atomic bool ready;          /* the context is there */
    _Atomic bool lost;           /* nothing new is given to the driver */
    _Atomic int blame;           /* gb_lost, while it is lost */
    uint64_t peers;              /* devices it can reach, by their place */
    _Atomic uint64_t peers_open; /* those it was asked to open, whatever came of it */
    _Atomic bool dead;           /* lost, and the driver does nothing of it any more */
    _Atomic bool resetting;
    _Atomic bool stuck;                       /* lost, and never seen to end; set at the close */
    _Atomic int64_t steps, callbacks;         /* which the driver may still work on, or is asked */
    _Atomic int64_t mapped;                   /* buffers that the host sees */
    _Atomic uint32_t epoch;                   /* how often it was reset */
    uint64_t retry_ns;                        /* the submission thread's: no reset before */
    _Atomic int64_t freeing;                  /* bytes of closed buffers, not given back yet */
    _Atomic int64_t frees_begun, frees_ended; /* calls */
    pthread_mutex_t lock;                     /* of all below */
    char lost_text[256];
    pthread_cond_t wake, finished;
    pthread_t thread;
    bool started, stopping, joined;
    gb_list jobs, returns; /* somebody waits for the first; the others give something back */
    gb_list deferred;      /* queues whose head could not be issued by their owner */
    bool pump;             /* something ended since the deferred queues were tried last */
    gb_list marks[2];      /* spare; [1]: timed */
    gb_list stages[2];
    int stage_counts[2];
    gb_list doubtful;    /* blocks that a copy may still write: not used again */
    gb_cu_stream stream; /* the submission thread's own: clears new memory */
    gb_cu_event probe;   /* never recorded: asking for it tells whether the context is broken */
};

/* The watcher. */
typedef struct gbi_cuda_watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool started, stopping, called;
    uint64_t stop_ns; /* when it was told to stop, or something ended last since then */
    gb_list busy;     /* queues with something pending */
} gbi_cuda_watch;

struct gbi_cuda {
    gb_gpu *gpu;
    gb_mem *mem;
    gb_cuda_api *api;    /* NULL until the devices were counted, or without a driver */
    gb_nvml_api *nvml;   /* NULL: not there */
    gbi_cufile *files;   /* under lock; looked for by the first file */
    gb_nvrtc_api *nvrtc; /* under lock; loaded by the first compilation */
    pthread_mutex_t lock;
    int device_count, stuck; /* devices with something that never ended */
    gbi_cuda_device *devices[GBI_CUDA_DEVICES_MAX];
    gbi_cuda_watch watch;
};

/* What was issued and has not been seen to end: a command, or a piece of one. */
typedef struct gbi_cuda_step {
    gb_list link;
    gbi_command *command;   /* NULL: not the last piece */
    gbi_cuda_mark *mark;    /* may be NULL: a later one stands for it */
    gbi_cuda_stage *stage;  /* given back at the end */
    gbi_cuda_device *other; /* of a copy between devices: its step too */
    void *host;             /* a download: stage is copied to here at the end */
    size_t bytes;
    uint64_t bound_ns, since_ns; /* of a launch; since it is the oldest */
    int rc;                      /* of the issuing */
    bool refused;                /* nothing of it was handed to the driver */
    bool ended;                  /* cancelled or lost: ended, but not to be freed yet */
    char *text;                  /* malloc'd */
} gbi_cuda_step;

struct gbi_cuda_queue {
    _Atomic int32_t refs;
    gbi_cuda_device *device;
    gb_queue *front;
    gb_cu_stream stream;
    gbi_cuda_mark *mark;   /* the watcher's own, for when no pending step has one */
    gbi_cuda_step reserve; /* for a command that ends because there is no memory for another */
    pthread_mutex_t lock;  /* of all below */
    gb_list pending;       /* steps */
    gb_list waiting;       /* commands, by their link */
    gb_list deferred;      /* link in device->deferred */
    bool is_deferred;
    size_t progress; /* bytes issued of the first waiting command */
    int downloads;   /* steps with a host address that is not written yet */
    int signals;     /* pending ones */
    int finishing;   /* steps that the watcher took and has not ended yet */
    bool failed;     /* until a signal: copies, fills and launches are not issued */
    bool armed;      /* a host callback stands behind all that is pending */
    gb_list busy;    /* link in watch.busy, under its lock */
    bool is_busy;
    gbi_cuda_job close;
};

typedef struct gbi_cuda_event {
    pthread_mutex_t lock;
    gb_mem *mem;
    gbi_cuda_mark *mark; /* of the newest issued recording */
    uint64_t issued;
    _Atomic uint64_t finished;
    uint64_t good; /* the newest that did not end because its device was lost */
} gbi_cuda_event;

typedef struct gbi_cuda_kernel {
    gb_cu_function function;
    uint32_t epoch;
    _Atomic uint32_t shared_limit; /* dynamic shared memory allowed so far */
} gbi_cuda_kernel;

/* ---- cuda_backend.c ---- */

/* Turns a driver's answer into ours, with a text that names what was tried. A sticky one takes the
 * device out: GB_ELOST. */
int gbi_cuda_failed(gbi_cuda_device *device, gb_cu_result rc, const char *what);
int gbi_cuda_lost(gbi_cuda_device *device); /* GB_ELOST with the text, for this thread */
void gbi_cuda_lose(gbi_cuda_device *device, gb_lost why, const char *text);
/* The watcher could not learn whether something has ended: the device is lost; when it was lost
 * before and this answer is one of a broken context, it is dead. */
void gbi_cuda_doubt(gbi_cuda_device *device, gb_cu_result rc, const char *what);
/* Makes the device's context current; the first call waits for the driver. 0: until
 * gbi_cuda_leave it is not reset. */
int gbi_cuda_enter(gbi_cuda_device *device);
bool gbi_cuda_hold(gbi_cuda_device *device); /* the second half only; false: it is lost */
void gbi_cuda_leave(gbi_cuda_device *device);
int gbi_cuda_current(gbi_cuda_device *device); /* the first half only, for whoever holds it */
/* GB_ELOST: something was made before the device was reset. */
int gbi_cuda_stale(gbi_cuda_device *device);

/* ---- cuda_file.c ---- */

int gbi_cuda_buffer_file(void *device, const gb_buffer *buffer, size_t offset,
                         const gbi_file *file);
void gbi_cuda_files_close(gbi_cuda *cuda);

/* ---- cuda_nvml.c: what needs no context; any thread ---- */

void gbi_cuda_nvml_open(gbi_cuda *cuda); /* leaves cuda->nvml NULL where it is not there */
void gbi_cuda_nvml_close(gbi_cuda *cuda);
void gbi_cuda_nvml_find(gbi_cuda_device *device); /* leaves device->nvml NULL where it is unknown */
bool gbi_cuda_nvml_memory(gbi_cuda_device *device, gb_nvml_memory *out); /* false: unknown */
void gbi_cuda_figures(void *device, gb_device_figures *out);

/* ---- cuda_submit.c: the submission thread ---- */

int gbi_cuda_call(gbi_cuda_device *device, int (*run)(gbi_cuda_device *device, void *arg),
                  void *arg);
/* For what gives something back: nobody waits, it cannot fail, and it is run on a lost device too
 * once that is settled (not at all on a stuck one). job->after runs on the submission thread in any
 * case. The thread has been started before. */
void gbi_cuda_post(gbi_cuda_device *device, gbi_cuda_job *job);
void gbi_cuda_defer(gbi_cuda_queue *queue); /* under the queue's lock */
void gbi_cuda_pump(gbi_cuda_device *device);
void gbi_cuda_submit_stop(gbi_cuda_device *device);
/* The driver is through with all that it was given; of use on a lost device only. Any thread. */
bool gbi_cuda_settled(gbi_cuda_device *device);

int gbi_cuda_retain(gbi_cuda_device *device); /* on that thread */

/* ---- cuda_recover.c: on the submission thread, without locks ---- */

bool gbi_cuda_may_recover(gbi_cuda_device *device);
void gbi_cuda_recover(gbi_cuda_device *device);

/* ---- cuda_peer.c: devices and their surroundings ---- */

void gbi_cuda_peers_find(gbi_cuda *cuda); /* once all devices are there */
/* Opens the other's memory to a device, once: copies between them then go straight. May take the
 * driver's time; the context of the first is current. Where it cannot be, the driver copies through
 * the host. True: nothing is left to try. here: the caller cannot wait, and nothing is tried. */
bool gbi_cuda_peer_open(gbi_cuda_device *device, gbi_cuda_device *other, bool here);
void gbi_cuda_peers_forget(gbi_cuda_device *device); /* its context is a new one */
/* NUMA node and cores near a PCI device, as the files under root/id say. */
void gbi_cuda_near(const char *root, const char *id, gb_device_info *facts);

/* ---- cuda_block.c ---- */

int gbi_cuda_buffer_open(gbi_memory *out, void *device, size_t bytes, gb_buffer_kind kind);
void gbi_cuda_buffer_close(void *device, gbi_memory *memory, size_t bytes, gb_buffer_kind kind);
bool gbi_cuda_buffer_idle(void *device, gbi_memory *memory, size_t bytes, gb_buffer_kind kind);
int gbi_cuda_buffer_wake(void *device, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind,
                         size_t bytes);
void gbi_cuda_buffer_fit(void *device, gbi_memory *memory, size_t block_bytes, size_t bytes);
bool gbi_cuda_buffer_pooled(void *device, gb_buffer_kind kind);
uint32_t gbi_cuda_buffer_epoch(const gb_buffer *buffer);
bool gbi_cuda_buffer_lost(void *device, const gb_buffer *buffer);
gb_cu_result gbi_cuda_pool_open(gbi_cuda_device *device); /* as gbi_cuda_retain */
/* What is issued on the queue from here on finds the buffer cleared. Under the queue's lock, held,
 * context current; for every command that names a buffer. */
gb_cu_result gbi_cuda_wait_clean(gbi_cuda_queue *queue, const gb_buffer *buffer);
/* The same for who uses no stream. Blocks; context current, held. */
gb_cu_result gbi_cuda_await_clean(gbi_cuda_device *device, const gb_buffer *buffer);

/* ---- cuda_memory.c ---- */

/* NULL: none is free now; *never: none can be had at all. grow: the submission thread, which may
 * allocate until the device has its share. */
gbi_cuda_stage *gbi_cuda_stage_take(gbi_cuda_device *device, bool large, bool grow, bool *never);
void gbi_cuda_stage_give(gbi_cuda_device *device, gbi_cuda_stage *stage);
void gbi_cuda_stage_doubt(gbi_cuda_device *device, gbi_cuda_stage *stage);
gbi_cuda_mark *gbi_cuda_mark_take(gbi_cuda_device *device, bool timed, int *rc);
gbi_cuda_mark *gbi_cuda_mark_ref(gbi_cuda_mark *mark);
void gbi_cuda_mark_unref(gbi_cuda_mark *mark); /* NULL is allowed */
void gbi_cuda_memory_fini(gbi_cuda_device *device);
void gbi_cuda_memory_forget(gbi_cuda_device *device); /* the same after a reset */

/* ---- cuda_queue.c and cuda_event.c ---- */

int gbi_cuda_queue_open(void **out, void *device, gb_queue *queue, bool urgent);
void gbi_cuda_queue_close(void *queue);
bool gbi_cuda_submit(void *queue, gbi_command *command);
void gbi_cuda_queue_ref(gbi_cuda_queue *queue);
void gbi_cuda_queue_unref(gbi_cuda_queue *queue);
/* Submission thread: issues waiting commands until one cannot be; true when none is left. */
bool gbi_cuda_queue_pump(gbi_cuda_queue *queue);
/* A mark behind all that was issued, under the queue's lock. NULL on failure. */
gbi_cuda_mark *gbi_cuda_record(gbi_cuda_queue *queue, bool timed, int *rc);

int gbi_cuda_event_open(void **out, void *device);
void gbi_cuda_event_close(void *event);
uint64_t gbi_cuda_event_query(void *event);
int gbi_cuda_event_elapsed(void *start, void *end, uint64_t *out_ns);
void gbi_cuda_event_finish(gbi_cuda_event *event, uint64_t generation, bool good);

/* ---- cuda_issue.c ---- */

/* SPLIT: a graph command that is not replayed; nothing happened to it. */
typedef enum { GBI_ISSUED, GBI_HOLD, GBI_SPLIT } gbi_issue;
/* Under the queue's lock, context current. On GBI_ISSUED a step for the command is pending.
 * here: the owner's thread, which copies at most GBI_STAGE_SMALL bytes itself. */
gbi_issue gbi_cuda_issue(gbi_cuda_queue *queue, gbi_command *command, bool here);
/* A run of one value of 1, 2 or 4 bytes: what the driver fills itself. 0: the pattern is none. */
size_t gbi_cuda_fill_unit(const unsigned char *pattern, size_t bytes);
/* More dynamic shared memory than every device has is given to a kernel that asks for it. */
gb_cu_result gbi_cuda_allow_shared(gbi_cuda_device *device, gbi_cuda_kernel *kernel,
                                   uint32_t bytes);

/* ---- cuda_graph.c ---- */

int gbi_cuda_graph_open(void **out, void *device, const gbi_replay *replay);
void gbi_cuda_graph_close(void *graph);
bool gbi_cuda_graph_takes(const gbi_command *command);
bool gbi_cuda_graph_is_new(gbi_command *whole);
/* Submission thread, without the queue's lock; the command stays where it is meanwhile. False: not
 * now, for want of a staging block. */
bool gbi_cuda_graph_build(gbi_command *whole);
/* As gbi_cuda_issue; negative: the device is lost. */
int gbi_cuda_graph_issue(gbi_cuda_queue *queue, gbi_command *whole, gbi_cuda_step *step, bool here);
/* A replay has ended: what it downloads goes from the block to its places. */
void gbi_cuda_graph_land(const gbi_command *whole, const gbi_cuda_stage *stage);

/* ---- cuda_watch.c ---- */

int gbi_cuda_watch_start(gbi_cuda *cuda); /* does nothing when it runs */
/* Under the queue's lock: something is pending. (Outside of it that might have ended already, and
 * the watcher with it.) */
void gbi_cuda_watch_queue(gbi_cuda_queue *queue);
void gbi_cuda_watch_wake(gbi_cuda *cuda);
/* Until the driver is through with all; on lost devices not for ever. */
void gbi_cuda_watch_stop(gbi_cuda *cuda);

/* ---- cuda_module.c ---- */

int gbi_cuda_module_open(gbi_module_desc *out, void *device, const gb_module_spec *spec,
                         char **detail);
void gbi_cuda_module_close(void *device, gbi_module_desc *desc);
bool gbi_cuda_module_stale(void *device, const gbi_module_desc *desc);
uint32_t gbi_cuda_module_epoch(const gbi_module_desc *desc);

#endif
