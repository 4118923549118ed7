/* Devices as the Lua room uses them: what gpu.c (devices, buffers, queues), launch.c (kernels and
 * launches) and job.c (operations under way) share. One set per state, on its worker's thread.
 */
#ifndef GB_LUA_DEVICE_H
#define GB_LUA_DEVICE_H

#include "lua/array.h"
#include "telemetry/span.h"

enum {
    GBL_LANES = 32,          /* queues per device that grains share */
    GBL_ARGS_MAX = 64,       /* parameters of one kernel */
    GBL_VALUES_BYTES = 4096, /* all parameters of a kernel together: CUDA's own bound */
    GBL_ERROR_VALUES = 3,    /* what gbl_push_error pushes */
};

/* The queue of one grain, as long as something of it is under way; then another grain may have it.
 */
typedef struct gbl_lane {
    gb_queue *queue; /* NULL: it went with its device, and no other could be opened */
    uint32_t epoch;  /* of the device when it was opened */
    uint64_t owner;  /* slot and generation of the activation */
    uint32_t jobs;
} gbl_lane;

/* Launches by time, in slots of so many seconds. */
enum { GBL_TALLY_SLOT_S = 5, GBL_TALLY_SLOTS = 64 };

typedef struct gbl_tally {
    uint64_t slot; /* the newest, since the clock began */
    uint32_t counts[GBL_TALLY_SLOTS];
} gbl_tally;

typedef struct gbl_device {
    gb_device *device;
    int threads_max, shared_max; /* of one block */
    bool is_cpu;
    bool in_place; /* its kernels can work on host memory */
    bool avoid;    /* it fails too often: work that names no device goes elsewhere */
    int lane_count;
    gbl_lane lanes[GBL_LANES];
    gbl_tally tally; /* launches of this worker */
} gbl_device;

typedef struct gbl_job gbl_job;

/* Counted: by the state and by every job under way. */
typedef struct gbl_devices {
    uint32_t refs;
    int count;
    int home; /* the device of what names none */
    gb_mem *mem;
    gb_gpu *gpu;
    gbl_job *free, *stranded;
    uint32_t free_count;
    struct gbl_state *state;
    bool closed;    /* the state is: nobody is told of what ends */
    bool alert;     /* Lua is asked before each launch, and told of the end of each */
    int force;      /* the device of the next launch that names none; -1: no such wish */
    size_t lacking; /* bytes for whose lack the last launch was not made; 0: it was */
    int lacking_device;
    bool lacking_capped; /* it was the tenant's cap */
    uint32_t launches;   /* under way */
    gbl_tally *kernels;  /* launches of grains, by kernel number */
    uint32_t kernel_room;
    gbl_device at[];
} gbl_devices;

/* One operation under way: keeps alive what it uses. */
struct gbl_job {
    gbl_devices *room;
    gbl_job *next;
    gbl_device *device;
    gbl_lane *lane; /* NULL: a queue of the user's */
    gb_queue *queue;
    gb_module *module;
    uint32_t kernel; /* the number of a grain's launch on no queue of its own; else 0 */
    bool launch, report;
    gb_span *span; /* of a launch, or NULL */
    int rc;        /* something failed while commands were being queued */
    char *message;
    int block_count, buffer_count;
    gb_block *blocks[GBL_ARGS_MAX];
    gb_buffer *buffers[GBL_ARGS_MAX];
};

typedef struct gbl_queue {
    gb_queue *queue; /* NULL: closed */
    gbl_device *device;
} gbl_queue;

/* ---- job.c ---- */

gbl_devices *gbl_devices_new(lua_State *L); /* NULL: out of memory */
void gbl_devices_unref(gbl_devices *room);

/* A job on the queue of the running grain, or on a queue of the user's (not NULL). GB_ENOMEM;
 * GB_ELOST. */
int gbl_job_new(gbl_job **out, lua_State *L, gbl_devices *room, gbl_device *device,
                gb_queue *queue);
/* How long its launches may hold this thread: limit_ns (0: any time), and to the turn's deadline at
 * most, which is so from the start. */
void gbl_job_set_patience(gbl_job *job, uint64_t limit_ns);
void gbl_job_free(gbl_job *job); /* nothing was queued, or all of it has ended */
void gbl_job_keep_block(gbl_job *job, gb_block *block);    /* takes a reference of its own */
void gbl_job_keep_buffer(gbl_job *job, gb_buffer *buffer); /* takes a reference of its own */
/* A device buffer that stands for a host array, as long as the job; all of it is to be written
 * before anything reads it. */
int gbl_job_temp(gbl_job *job, size_t bytes, gb_buffer **out);
int gbl_job_lane(const gbl_job *job); /* which of the device's lanes it has; -1: none of them */

/* Notes a failure of a command: later ones are pointless, but what was queued must end first. */
void gbl_job_fail(gbl_job *job, int rc);

/* Works at what was queued as long as this worker has nothing else to do, for a moment at most:
 * where it has ended then, nobody waits for it, which is most of what a short launch costs. */
void gbl_job_help(gbl_job *job);

/* Ends a C function: waits until all that was queued has ended. The job is gone afterwards. Errors
 * come as nil, message, code. */
int gbl_job_finish(lua_State *L, gbl_job *job, bool future); /* future: gives one instead */
/* The results when all of it has ended by now, a future when it has not. */
int gbl_job_start(lua_State *L, gbl_job *job);

/* ---- fault.c: what lua/gb/faults.lua decides on ---- */

/* A job has ended; said to Lua when it failed, and always while there is an alert. */
void gbl_fault_ended(const gbl_job *job, int rc, const char *message);
void gbl_tally_add(gbl_tally *tally, uint64_t now_ns);
/* Something could not be made on a device. */
void gbl_fault_failed(lua_State *L, gbl_devices *room, const gbl_device *device, int rc);
/* Room for the counts of a kernel number: 0 or GB_ENOMEM. */
int gbl_fault_number(gbl_devices *room, uint32_t number);
void gbl_open_fault(lua_State *L);
void gbl_open_devices(lua_State *L); /* devices.c */

/* ---- gpu.c ---- */

gbl_devices *gbl_devices_of(lua_State *L);
/* Where a launch from here runs: never on a lost GPU while there is another one. */
gbl_device *gbl_device_here(lua_State *L, gbl_devices *room);
int gbl_device_home(lua_State *L, gbl_devices *room); /* where it would, were all in order */
gbl_queue *gbl_queue_at(lua_State *L, int index);     /* NULL: no queue */

/* Raises at a level of the Lua stack: 1 is who called the C function. */
int gbl_raise_at(lua_State *L, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Pushes a buffer handle that takes over one reference of buffer (and of module unless NULL). */
void gbl_buffer_push_new(lua_State *L, gb_buffer *buffer, gb_module *module, int64_t count,
                         uint32_t type, uint32_t flags);
/* A buffer that was not rented: what gbl_push_error pushes, and whether it is the tenant's cap. */
int gbl_push_unrented(lua_State *L, int rc, bool capped);

/* ---- memory.c ---- */

/* Bytes of a device that are kept for whoever holds the handle. */
typedef struct gbl_reservation {
    gb_ledger *ledger;
    int device;
    gb_reservation id; /* 0: ended */
} gbl_reservation;

gbl_reservation *gbl_reservation_at(lua_State *L, int index); /* NULL: none */

/* The buffer of a page-locked array on the device of another one, and where the array begins in it;
 * NULL: it is no such array. */
gb_buffer *gbl_pinned_of(const gbl_array *array, const gb_buffer *with, size_t *offset);

/* Adds pool to the table on top: how the device's memory pool does. */
void gbl_put_pool(lua_State *L, gb_device *device);

/* ---- kernels (kernel.c), their arguments (args.c) and launches (launch.c) ---- */

/* A kernel on one device: the signature ready for the walk. */
typedef struct gbl_bound {
    gb_module *module; /* a reference, or NULL: not loaded there */
    gb_kernel *kernel;
    const gb_param *params;
    int count;
    uint32_t expect[GBL_ARGS_MAX]; /* the array type a pointer or struct parameter takes; 0: any */
} gbl_bound;

typedef struct gbl_kernel {
    gbl_devices *room;
    uint32_t number; /* kernels of one name and source have one */
    int device_count;
    gbl_bound at[]; /* by device */
} gbl_kernel;

/* One argument after the checks. */
typedef struct gbl_use {
    gbl_array *array;
    gbl_buffer *buffer;
    bool written;
} gbl_use;

typedef struct gbl_walk {
    lua_State *L;
    int level; /* of the user's line */
    int first; /* stack index of the first argument */
    const gbl_bound *bound;
    gbl_use uses[GBL_ARGS_MAX];
    gb_arg args[GBL_ARGS_MAX];
    size_t values_size;
    _Alignas(16) char values[GBL_VALUES_BYTES];
} gbl_walk;

enum { GBL_FIRST_ARGUMENT = 3 /* launch(kernel, shape, arguments...) */ };

/* The shape at index 2, checked against a device; raises. False: there is nothing to run. */
bool gbl_check_shape(gbl_walk *w, const gbl_device *device, gb_launch *out);

/* Where a launch (shape at 2, arguments behind) is to run, were all in order. *fixed: its queue or
 * a buffer says so. */
int gbl_launch_where(lua_State *L, gbl_devices *room, bool *fixed);

/* The kernel at index 1; raises when there is none. */
gbl_kernel *gbl_check_kernel(lua_State *L);

/* Walks the arguments of a launch against w->bound; raises at w->level. Takes nothing. */
void gbl_check_arguments(gbl_walk *w);

/* One of them: a scalar's or aggregate's bytes go to `to` (as many as the parameter's), a pointer's
 * array or buffer to w->uses[at]. */
void gbl_check_argument(gbl_walk *w, int at, void *to);

int gbl_refuse(const gbl_walk *w, int at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The userdata at an index if its metatable is the registry's of that name. */
void *gbl_userdata_at(lua_State *L, int index, const char *key);

/* Each adds to the native table on top; called by gbl_open_gpu. */
void gbl_open_args(lua_State *L);
void gbl_open_kernel(lua_State *L);
void gbl_open_launch(lua_State *L);
void gbl_open_plan(lua_State *L);
void gbl_open_memory(lua_State *L);
void gbl_open_resident(lua_State *L);
void gbl_open_storage(lua_State *L);

#endif
