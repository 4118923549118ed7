/* The door between the front of this room (gpu.c, buffer.c, module.c, queue.c, event.c) and a
 * backend: one table of functions per backend, all over opaque pointers that the backend makes.
 *
 * The front checks arguments, counts references, keeps buffers and modules alive while a command
 * uses them, and keeps the first error of a queue. A backend moves bytes and runs kernels.
 *
 * The life of a command. The front fills a gbi_command on its stack. If the table has `now`, it may
 * run the command at once on the calling thread. Otherwise the front makes it permanent and hands
 * it to `submit`; from then on it belongs to the backend, which must, on any of its threads and in
 * the order of submission within a queue, call gbi_command_end exactly once when it has ended and
 * gbi_command_free once when nothing touches its parameters or buffers any more.
 */
#ifndef GB_GPU_BACKEND_H
#define GB_GPU_BACKEND_H

#include "base/list.h"
#include "gpu/gpu.h"

typedef enum {
    GBI_COPY, /* upload, download, and copies between buffers */
    GBI_FILL,
    GBI_GRAPH, /* several of the others at once */
    GBI_LAUNCH,
    GBI_RECORD,
    GBI_WAIT,
    GBI_SIGNAL
} gbi_command_kind;

enum { GBI_PATTERN_MAX = 64 };

typedef struct gbi_replay gbi_replay;

typedef struct gbi_command {
    gb_list link;    /* the backend's while it owns the command */
    gb_list signals; /* the front's: pending signals of the queue */
    gb_queue *queue;
    gbi_command_kind kind;
    uint32_t retained_count;
    gb_buffer **retained; /* one reference each */
    gb_module *module;    /* one reference; launches only */
    struct gbi_command
        *whole;          /* the graph command that this is a part of: it holds the references */
    size_t memory_bytes; /* of this allocation */
    union {
        struct {
            gb_buffer *to, *from; /* NULL: host memory */
            void *to_address;     /* as the backend sees it, offset included */
            const void *from_address;
            size_t bytes;
        } copy;
        struct {
            void *to_address;
            size_t pattern_bytes, count;
            unsigned char pattern[GBI_PATTERN_MAX];
        } fill;
        struct {
            gb_kernel *kernel;
            void *impl; /* of the kernel */
            gb_dim grid, block;
            uint32_t shared_bytes;
            uint64_t bound_ns;
            uint64_t queued_ns, started_ns; /* profile.h; 0: not noted */
            void **params;                  /* one pointer per parameter */
            uint32_t param_count, blob_bytes;
        } launch;
        struct {
            gb_event *event; /* one reference */
            void *impl;
            uint64_t generation; /* which recording of the event is meant */
        } event;
        struct {
            gbi_replay *replay;           /* one reference */
            void *impl;                   /* what graph_open made of it */
            struct gbi_command *commands; /* copies, fills and launches, in order */
            int count;
            _Atomic int32_t left; /* parts not freed yet, once it is split */
        } graph;
        gb_op *op;
    } u;
} gbi_command;

/* Called by a backend. end: rc 0 or a negative GB_E with text (borrowed; NULL: the code's own
 * text). It takes the error into the queue, or finishes the op of a signal (op->done runs inside:
 * hold no lock). The command itself stays readable until free. */
void gbi_command_end(gbi_command *command, int rc, const char *text);
void gbi_command_free(gbi_command *command);

/* Before end, where nothing touches its buffers any more: who waits for the end then finds them let
 * go. Optional: free does it too. */
void gbi_command_let_go(gbi_command *command);

/* Before it starts a command a backend asks: 0 to run it, 1 when it must be ended with rc 0 without
 * running (an earlier command since the last signal failed), GB_ECANCELED when its signal's op was
 * cancelled. Also asked now and then while a launch runs. Any thread. */
int gbi_command_check(gbi_command *command);

/* A launch starts now; for what is told of times. */
void gbi_profile_start(gbi_command *launch);
static inline void gbi_profile_started(gbi_command *launch)
{
    if (__builtin_expect(launch->u.launch.queued_ns != 0, 0)) gbi_profile_start(launch);
}

/* What the commands of a graph are, for as long as it is used: which they are and what each of them
 * needs to have ended before. Addresses and values of parameters come with every graph command. */
struct gbi_replay {
    _Atomic int32_t refs; /* the graph's and the commands' */
    gb_graph *graph;      /* one reference, which keeps the modules */
    void *impl;           /* the backend's */
    int count;
    int *after_ends; /* of command i: after[after_ends[i - 1] .. after_ends[i]) */
    int *after;
    int *nodes;               /* by number, of the front's graph */
    _Atomic int32_t refusals; /* one after the other */
    size_t memory_bytes;
};

typedef enum { GBI_REPLAY_BUILT, GBI_REPLAY_RAN, GBI_REPLAY_REFUSED } gbi_replay_fact;

/* Called by a backend, any thread: it made what it replays, replayed it, or could not (why) and
 * splits the command. */
void gbi_replay_note(gbi_replay *replay, gbi_replay_fact fact, const char *why);
/* A graph command that will not be replayed becomes its parts: commands like others, pushed to a
 * list in their order. The whole is freed with the last of them. */
void gbi_command_split(gbi_command *command, gb_list *out);

/* ---- what a module is made of; everything lives until module_close ---- */

typedef struct gbi_kernel_desc {
    const char *name;
    int param_count;
    const gb_param *params;
    gb_kernel_info info;
    void *impl;
} gbi_kernel_desc;

typedef struct gbi_global_desc {
    const char *name;
    uint64_t address;
    size_t bytes;
    gb_param type;
} gbi_global_desc;

typedef struct gbi_module_desc {
    void *impl;
    int kernel_count, struct_count, global_count;
    const gbi_kernel_desc *kernels;
    const gb_struct_type *structs;
    const gbi_global_desc *globals;
    const char *log;
} gbi_module_desc;

typedef struct gbi_memory {
    void *impl; /* the backend's handle */
    uint64_t address;
    void *host; /* NULL for device memory */
} gbi_memory;

/* Bytes of an open file, for buffer_file. */
typedef struct gbi_file {
    int fd; /* without the page cache */
    bool write;
    uint64_t offset;
    size_t bytes;
    atomic_int *cancelled; /* looked at now and then */
} gbi_file;

/* The table. "any": any thread, at any time, several at once. "owner": the thread that uses the
 * queue. Nothing here blocks unless it says so. Optional members are marked and may be NULL. */
typedef struct gb_backend {
    const char *name;

    /* Cheap: no driver, no threads. GB_ENOGPU: the backend is not there and is left out (the detail
     * says why). One call, under the room's lock. */
    int (*open)(void **out, gb_gpu *gpu);
    /* The closing thread, once, after every command has ended: ends the backend's threads; may
     * block for them. No command is freed after it. Returns the number of launches that nothing
     * could end: the front then leaves the room's memory in place. */
    int (*stop)(void *self);
    /* After stop and after every device_close. */
    void (*close)(void *self);
    /* Optional; any. Is a pool of this backend taking the machine's cores now. */
    bool (*busy)(void *self);
    /* Optional; any. See gb_gpu_help. */
    int (*help)(void *self);
    /* How many devices; under the room's lock, once. May block (driver start). */
    int (*device_count)(void *self);
    int (*device_open)(void **out, void *self, int index, gb_device *device);
    void (*device_close)(void *device);
    /* any; fills everything but index and backend. */
    void (*device_info)(void *device, gb_device_info *out);
    /* Optional; any. The epoch, and is it lost now: see gb_device_epoch. */
    uint32_t (*device_epoch)(void *device, bool *lost);
    /* Optional; any. Fills what it knows; the rest is -1 already. */
    void (*device_figures)(void *device, gb_device_figures *out);

    /* any; may block. GB_ENOMEM with asked and free in the detail. Zeroed, aligned to 128. */
    int (*buffer_open)(gbi_memory *out, void *device, size_t bytes, gb_buffer_kind kind);
    /* Optional; any. Can there be such memory of the program on this device: 0 or GB_EINVAL. */
    int (*buffer_wrap)(gbi_memory *out, void *device, uint64_t address, size_t bytes);
    /* All three or none; any. What the front keeps between two buffers is a block, of the bytes
     * that it was opened with. idle: nothing uses it; false: it is of no use any more. wake: the
     * first `clear` bytes (0, or those of the buffer that it will be, or all) are zero before any
     * command that uses it; GB_ELOST: of no use any more; the block is idle after a failure. fit: a
     * block in use holds a buffer of that many bytes from now on, which keeps its first `clear`
     * bytes. */
    bool (*buffer_idle)(void *device, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind);
    int (*buffer_wake)(void *device, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind,
                       size_t clear);
    void (*buffer_fit)(void *device, gbi_memory *memory, size_t block_bytes, size_t bytes);
    /* Optional; any. The driver keeps freed memory of this kind itself. */
    bool (*buffer_pooled)(void *device, gb_buffer_kind kind);
    /* Optional; a thread that may block. Moves bytes between a file and a buffer of the device
     * without host memory: 0, or negative, and then the caller takes another way (but for ELOST and
     * ECANCELED). No command on those bytes is under way. */
    int (*buffer_file)(void *device, const gb_buffer *buffer, size_t offset, const gbi_file *file);
    /* Optional; any. Was its device lost or reset since. NULL: never. */
    bool (*buffer_lost)(void *device, const gb_buffer *buffer);
    /* any, also a thread that ends a command. Never for wrapped memory. bytes: of the block. */
    void (*buffer_close)(void *device, gbi_memory *memory, size_t bytes, gb_buffer_kind kind);

    /* A thread of the compile pool; blocks. The failure's text is malloc'd into *detail. */
    int (*module_open)(gbi_module_desc *out, void *device, const gb_module_spec *spec,
                       char **detail);
    /* A thread of the compile pool; blocks. */
    void (*module_close)(void *device, gbi_module_desc *desc);
    /* Optional; any. It works no more (its device was reset) and is to be opened anew. */
    bool (*module_stale)(void *device, const gbi_module_desc *desc);

    /* owner; may allocate. Commands submitted before close still run; the front keeps the queue
     * until the last of them is freed and calls queue_close then, from any thread. */
    int (*queue_open)(void **out, void *device, gb_queue *queue, bool urgent);
    void (*queue_close)(void *queue);
    /* Optional; owner, only while nothing of this queue is pending. Runs a command that is short on
     * the calling thread: true when it ran (rc and *text, malloc'd, say how), false: submit it. */
    bool (*now)(void *queue, gbi_command *command, int *rc, char **text);
    /* owner. true: the command is the backend's from here on; errors come out of gbi_command_end.
     * false: only for a signal, when all before it has ended already: the front finishes it. (A
     * signal is never ended on the owner's thread: op->done must not run inside gb_queue_signal.)
     */
    bool (*submit)(void *queue, gbi_command *command);

    /* any. An event is finished for a generation when the record command of it has ended. */
    int (*event_open)(void **out, void *device);
    void (*event_close)(void *event);
    /* The newest finished generation, 0 when none. */
    uint64_t (*event_query)(void *event);
    int (*event_elapsed)(void *start, void *end, uint64_t *out_ns);

    /* Optional: what a launch took when it ran last, 0 when unknown; any. The front runs stages
     * that take long on several queues. */
    uint64_t (*cost_ns)(const gbi_command *launch);

    /* Optional: graphs (plans). NULL: the front queues their commands one by one, and no command
     * is a GBI_GRAPH. */
    size_t graph_host_bytes;                         /* from and to host memory, of one graph */
    bool (*graph_takes)(const gbi_command *command); /* any; may it be part of one */
    int (*graph_open)(void **out, void *device, const gbi_replay *replay); /* owner; no driver */
    void (*graph_close)(void *graph); /* any; no command of it is left */
} gb_backend;

extern const gb_backend gbi_cuda_backend, gbi_cpu_backend;

#endif
