/* Devices, seen by the rest of the house. Seven nouns: device, buffer, queue, module, kernel,
 * event, graph. Behind it stands one table per backend: backend.h.
 *
 * Threads. Every function may be called from any thread unless it says otherwise; one queue is used
 * by one thread at a time. A function marked "blocks" may wait for the device, the disk or a
 * compiler and never runs on a worker: the functions that take a gb_op run that work on a thread of
 * this room and call op->done there, on a thread of this room. done must be short and must not call
 * back into this room, but may post elsewhere.
 *
 * Errors. Negative GB_E...; the text is in gb_err_detail() of the calling thread, or in op->detail.
 */
#ifndef GB_GPU_GPU_H
#define GB_GPU_GPU_H

#include "base/hist.h"
#include "base/log.h"
#include "base/mem.h"
#include "capacity/ledger.h"
#include "sys/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gb_gpu gb_gpu;       /* all devices of one host */
typedef struct gb_device gb_device; /* lives as long as its gb_gpu */
typedef struct gb_buffer gb_buffer; /* counted */
typedef struct gb_queue gb_queue;   /* an in-order command queue */
typedef struct gb_module
    gb_module; /* counted: one source with its options, compiled once per device */
typedef struct gb_kernel gb_kernel; /* lives as long as its module */
typedef struct gb_event gb_event;

/* ---- the room ---- */

typedef struct gb_gpu_config {
    gb_mem *mem; /* everything this room allocates is counted here */
    const gb_log *log;
    const char
        *cache_dir; /* compiled images; NULL: $XDG_CACHE_HOME/gpubridge or ~/.cache/gpubridge */
    const char
        *compiler; /* the C++ compiler of the cpu backend; NULL: $GB_CXX, else clang++, else g++ */
    int threads;   /* kernel threads of the cpu backend; 0: one per core */
    int cpu_devices; /* the cpu backend shows this many devices; 0: $GB_CPU_DEVICES, else 1 */
    int64_t
        cpu_memory_bytes; /* of each cpu device; 0: half of the machine's memory, split evenly */
    int devices_max;      /* so many GPUs are used, the first ones; 0: all */
    int64_t memory_pool_bytes; /* what each device may keep of freed memory, or GB_POOL_...; 0: 1
                                  GB, at most a quarter of the device */
    int64_t storage_bytes;     /* pinned memory of one load or save of a file; 0: 16 MB */
    bool storage_staged;       /* files always through pinned memory, never by cuFile */
    const char *storage_mount; /* cuFile only for files below it; NULL: for all. Not copied */
    uint64_t bound_ns;         /* a launch that runs longer is a runaway; 0: 5 min */
    bool owns_devices; /* nobody else in this process uses the GPUs: a lost one is reset as soon as
                          nothing of it is under way and no pinned or unified buffer of it is open;
                          what was made on it before stays lost (GB_ELOST). Else it stays lost. */
    const char *tenants; /* "acme=2GB,beta": who there is, and caps of memory over all devices;
                            NULL: any name, none has a cap. Not kept */
    bool prefer_cpu;     /* gb_gpu_home is a cpu device, also where there is a GPU */
    bool profiling;      /* notes what launches take, see gb_gpu_each_times */
    bool sanitize;       /* cpu kernels under ASan and UBSan (the process must be preloaded with the
                            runtime) */
} gb_gpu_config;

enum {
    GB_POOL_OFF = -1,   /* nothing is kept */
    GB_POOL_DRIVER = -2 /* on GPUs the driver's own pool (stream-ordered), where it has one; a
                           device without keeps memory as by default, which is logged */
};

/* Nothing heavy happens here: no compiler, driver or thread is touched before its first use. */
int gb_gpu_open(gb_gpu **out, const gb_gpu_config *config);

/* Blocks until running work has ended or its bound has passed. Buffers, queues and modules must be
 * gone. */
void gb_gpu_close(gb_gpu *gpu);

/* Time passes: gives back half of the memory that was kept and not used for a whole minute. Whoever
 * has a slow timer calls it now and then, with any clock that does not go back. Blocks as closing
 * buffers does. */
void gb_gpu_maintain(gb_gpu *gpu, uint64_t now_ns);

/* Is the kernel pool of the cpu backend at work: a thread that only spins should give its core up.
 * Cheap; any thread. */
bool gb_gpu_busy(gb_gpu *gpu);

/* Works for some tens of microseconds at what the calling thread launched on queues that it
 * attends. What it works at is ended as launches on the calling thread are. */
enum {
    GB_HELP_NONE, /* there is nothing */
    GB_HELP_DONE, /* it did: call again */
    GB_HELP_SOON  /* nothing, but such a launch is about to end */
};
int gb_gpu_help(gb_gpu *gpu);

/* Is something being compiled, or loaded after that? Any thread. */
bool gb_gpu_compiling(gb_gpu *gpu);

/* ---- devices ---- */

/* Why a device is lost: the driver's error was one of a kernel, a launch passed its bound, or
 * neither, which leaves the device. */
typedef enum { GB_LOST_NOT, GB_LOST_KERNEL, GB_LOST_BOUND, GB_LOST_DEVICE } gb_lost;

typedef struct gb_device_info {
    const char *backend; /* "cpu", "cuda" */
    int index;           /* in gb_gpu_device order; cpu devices come last */
    char name[128];
    char arch[64];                     /* "x86-64-v4", "sm_90" */
    int64_t memory_total, memory_free; /* bytes; free: neither in use nor reserved */
    int threads_per_block_max;
    int shared_bytes_max; /* dynamic shared memory of one block */
    int units;            /* cores or multiprocessors */
    int warp;             /* threads in a warp: 32 */
    gb_lost lost;         /* it cannot be used now; whose fault that is */
    gb_lost blame;        /* the same of the last time that it was lost */
    int numa_node;        /* of the machine it hangs on; -1: nobody says */
    char cpus[64];        /* the cores near to it, "0-15,32-47"; "" where nobody says */
    uint64_t peers;       /* one bit per device: whose memory it can reach without the host */
} gb_device_info;

int gb_gpu_device_count(gb_gpu *gpu);
int gb_gpu_devices_open(gb_gpu *gpu); /* the same, but 0 while nothing has asked for one yet */
gb_device *gb_gpu_device(gb_gpu *gpu,
                         int index); /* NULL when out of range: GB_EDEVICE is the detail */
int gb_gpu_home(gb_gpu *gpu);        /* the index of the device of whatever names none */
void gb_device_get_info(gb_device *device, gb_device_info *out);

/* What the machine says of a device at this moment (NVML); -1 where nobody says it: on cpu devices,
 * without NVML, or where it does not answer. It may take the driver a millisecond, so no launch and
 * no choice of a device asks for it. */
typedef struct gb_device_figures {
    int64_t memory_used; /* bytes, by all programs */
    int utilization;     /* percent of the last moments in which a kernel ran */
    int temperature;     /* degrees Celsius */
    int power_mw;        /* milliwatts */
} gb_device_figures;

void gb_device_get_figures(gb_device *device, gb_device_figures *out);

/* A lost device takes nothing (GB_ELOST), until it is reset where the room owns the devices. The
 * epoch counts the resets: what was made on the device in an earlier one is lost for ever and is to
 * be made anew; read it before you make. Both are cheap; any thread. */
bool gb_device_lost(gb_device *device);
uint32_t gb_device_epoch(gb_device *device);

int gb_device_index(const gb_device *device);
int gb_device_queue_depth(gb_device *device); /* commands not finished yet */
/* A number that whoever places work on devices keeps there, for all threads: adds to it and gives
 * the sum. */
int gb_device_claim(gb_device *device, int more);

/* What happened on a device since it was opened. Any thread; numbers of one moment, about. */
typedef struct gb_device_counts {
    uint64_t launches, launches_failed; /* that ended; none that an earlier failure kept away */
    uint64_t bytes_up, bytes_down, bytes_across; /* host to device, back, between buffers */
    uint64_t buffers, buffers_failed;            /* opened; wrapped memory is not counted */
    uint64_t modules, modules_failed, module_ns; /* compiled or found in the cache, and the time */
    uint64_t files, files_direct; /* loaded or saved; those of them that missed host memory */
} gb_device_counts;
void gb_device_get_counts(gb_device *device, gb_device_counts *out);

/* The ledger of all devices, numbered as they are, and of the host's pinned memory, which comes
 * behind them and has no bound there (the account has): every buffer stands in it, under its owner,
 * and whoever needs memory later reserves it there (gb_ledger_reserve; buffers but pinned ones are
 * then opened out of the reservation). NULL: no device was found, the detail says why. Borrowed.
 * What is reserved is released before the room closes. */
gb_ledger *gb_gpu_ledger(gb_gpu *gpu);

/* ---- tenants: whom memory is counted to, beside the owner. No function opens a device. ---- */

enum { GB_TENANTS_MAX = 1000, GB_TENANT_NAME_MAX = 64 };
/* The name of number 0: the host itself, and whoever names no tenant. */
#define GB_TENANT_NONE "default"

/* Is that a name, is that a list for config.tenants: 0 or GB_EINVAL. */
int gb_tenant_check(const char *name);
int gb_tenants_check(const char *list);

/* The number of a tenant, for claims and specs: 1 and on, for good. GB_EINVAL: no name. GB_ENOENT:
 * config.tenants has others. Without that setting a name gets the next number: GB_EQUOTA (there
 * are GB_TENANTS_MAX), GB_ENOMEM. */
int gb_gpu_tenant(gb_gpu *gpu, const char *name, uint64_t *out);

typedef struct gb_tenant_memory {
    const char *name;         /* borrowed from the room */
    int64_t bytes, bytes_max; /* in use and reserved, of all devices and pinned; the cap, 0: none */
} gb_tenant_memory;

int gb_gpu_tenant_count(gb_gpu *gpu); /* without number 0: the highest number */
void gb_gpu_tenant_memory(gb_gpu *gpu, uint64_t tenant, gb_tenant_memory *out);

/* ---- buffers ---- */

typedef enum { GB_BUFFER_DEVICE, GB_BUFFER_PINNED, GB_BUFFER_UNIFIED } gb_buffer_kind;

typedef struct gb_buffer_spec {
    size_t bytes;
    gb_buffer_kind kind;
    uint64_t tenant, owner;     /* whom it is counted to; owners are ids that the caller chooses */
    gb_reservation reservation; /* of that tenant and device, to take its bytes out of; 0: none */
    bool raw; /* the caller overwrites all of it before anything reads it: the owner's own old bytes
                 may be in it (and nobody else's ever) */
    bool *capped; /* NULL, or set when the GB_ENOMEM is the tenant's cap */
} gb_buffer_spec;

/* Bytes are zero, unless raw. GB_ENOMEM names what was asked and what is free, or the
 * tenant and its cap. Count 1 for the caller. Memory comes out of the device's pool where that has
 * some of the size; where the device has none, all pools give back what they keep and it is tried
 * again. Commands on any queue find the bytes as they should be; the host does in what it can see.
 */
int gb_buffer_rent(gb_buffer **out, gb_device *device, const gb_buffer_spec *spec);
/* The same for tenant 0, owner 0: the host itself. */
int gb_buffer_open(gb_buffer **out, gb_device *device, size_t bytes, gb_buffer_kind kind);
gb_buffer *gb_buffer_ref(gb_buffer *buffer);
void gb_buffer_unref(
    gb_buffer *buffer); /* freed when the last holder and the last command using it are gone */
/* A buffer on memory of somebody else, at an address as kernels of this device see it (the cpu
 * backend: of this process). Not copied, not cleared, not counted. release (NULL: nothing to do)
 * runs once, on any thread, when the last holder and the last command using it are gone; it must be
 * short and not call back into this room. When this fails it never runs. GB_EINVAL: no such memory
 * can be there. GB_ENOTYET: this backend cannot. */
typedef void gb_buffer_release(void *user, uint64_t address);
int gb_buffer_borrow(gb_buffer **out, gb_device *device, uint64_t address, size_t bytes,
                     gb_buffer_release *release, void *user);

/* How a device's pool does; since it was opened, or now. */
typedef struct gb_pool_stats {
    int64_t hits, misses; /* buffers opened with kept memory, and with new */
    int64_t failures;     /* buffers that could not be opened */
    int64_t trimmed;      /* blocks given back for lack of use or of memory */
    int64_t bytes_in_use; /* of the blocks of open buffers */
    int64_t bytes_asked;  /* of those buffers: the rest is waste in blocks */
    int64_t bytes_held;   /* kept for later */
    int64_t bytes_max;    /* what may be kept, of all kinds together */
    double hit_rate, utilization,
        fragmentation; /* 0 .. 1: hits of opens, use of all, waste of use */
} gb_pool_stats;

enum { GB_POOL_ALL = -1 };
/* kind: a gb_buffer_kind or GB_POOL_ALL. Any thread. */
void gb_device_pool_stats(gb_device *device, int kind, gb_pool_stats *out);
/* Handles and commands that hold it now: at 1 nothing but the caller's own. */
int32_t gb_buffer_holders(const gb_buffer *buffer);
/* Its device was lost, or reset since: nothing can be done with it any more. */
bool gb_buffer_lost(const gb_buffer *buffer);

size_t gb_buffer_bytes(const gb_buffer *buffer);
gb_device *gb_buffer_device(const gb_buffer *buffer);
gb_buffer_kind gb_buffer_get_kind(const gb_buffer *buffer);
void *gb_buffer_host(gb_buffer *buffer); /* pinned and unified: the host address; device: NULL */
uint64_t gb_buffer_address(const gb_buffer *buffer); /* as kernels see it */

/* ---- files ----
 * Both run on a thread of the room, which calls op->done: GB_OP_PENDING, or an error. They are in
 * no order with queues: commands on those bytes that were queued before must have ended. What a
 * range of a buffer may be is as for copies; file_offset is in bytes. op->cancelled is looked at
 * now and then. rc of the op, beside what copies give: GB_ENOENT, GB_EDENIED, GB_EQUOTA (the disk
 * is full), GB_ENOMEM (no pinned memory), GB_EDEVICE (the system's own text), GB_EINVAL (no regular
 * file; load: it is too short), load: GB_ECONFLICT (it changed meanwhile). After a failed load the
 * bytes of the range are undefined; a failed save leaves what was at the path before. */
int gb_buffer_load(gb_buffer *to, size_t offset, size_t bytes, const char *path,
                   uint64_t file_offset, gb_op *op);
/* The file holds these bytes and no others. Folders above it are made. */
int gb_buffer_save(gb_buffer *from, size_t offset, size_t bytes, const char *path, gb_op *op);

/* ---- modules and kernels ---- */

typedef struct gb_module_spec {
    const char *name;   /* for messages: a path or a short name */
    const char *source; /* CUDA C++ */
    size_t source_bytes;
    const char *const *options;  /* NULL-ended allow-list: -DX -UX -std=c++NN -use_fast_math
                                    -maxrregcount=N; NULL: none */
    const char *const *includes; /* NULL-ended list of folders for #include "..."; NULL: none */
    const char *const
        *instances; /* NULL-ended list of template instances, "sum<float,256>"; NULL: none */
} gb_module_spec;

/* Compiles (or finds in the cache) for one device and loads it. Never blocks; op->done runs when
 * the module can be used or has failed. *out is set at once and has count 1 for the caller in both
 * cases (unref it also on failure); GB_ECOMPILE: op->detail holds the compiler's own lines with the
 * source line under each. Modules of equal spec on one device are the same object. The spec is
 * copied. Always GB_OP_PENDING (or an error), also when it is compiled already: done runs on a
 * thread of the room. */
int gb_module_open(gb_module **out, gb_device *device, const gb_module_spec *spec, gb_op *op);
gb_module *gb_module_ref(gb_module *module);
void gb_module_unref(gb_module *module);
gb_device *gb_module_device(const gb_module *module);

typedef enum {
    GB_TYPE_STRUCT,
    GB_TYPE_BOOL,
    GB_TYPE_INT8,
    GB_TYPE_UINT8,
    GB_TYPE_INT16,
    GB_TYPE_UINT16,
    GB_TYPE_INT32,
    GB_TYPE_UINT32,
    GB_TYPE_INT64,
    GB_TYPE_UINT64,
    GB_TYPE_FLOAT,
    GB_TYPE_DOUBLE
} gb_type_code;

/* One kernel parameter, or the value of one global. For a pointer the type fields describe what it
 * points at. */
typedef struct gb_param {
    const char *name;
    const char *type; /* "float", "int", "unsigned char", "float4", "Body": as the compiler sees it,
                         no const, no * */
    gb_type_code code; /* of one lane */
    uint16_t lanes;    /* 1 .. 4 for vectors; 1 for scalars and structs */
    bool pointer, is_const;
    uint32_t size;    /* bytes of the parameter itself (8 for a pointer) */
    uint32_t element; /* bytes of what a pointer points at; 0 for void* and for non-pointers */
} gb_param;

typedef struct gb_struct_field {
    const char *name, *type;
    gb_type_code code;
    uint16_t lanes;
    uint32_t offset, count; /* count > 1: an array member */
} gb_struct_field;

/* A plain struct of the source that a kernel or global mentions: what K.types shows. */
typedef struct gb_struct_type {
    const char *name;
    uint32_t size, align;
    int field_count;
    const gb_struct_field *fields;
} gb_struct_type;

int gb_module_kernel_count(const gb_module *module);
gb_kernel *gb_module_kernel_at(const gb_module *module, int index);
gb_kernel *gb_module_kernel(const gb_module *module,
                            const char *name); /* NULL: GB_ENOENT, the detail names the nearest */
int gb_module_struct_count(const gb_module *module);
const gb_struct_type *gb_module_struct_at(const gb_module *module, int index);
const char *gb_module_log(const gb_module *module); /* warnings; "" when none */
bool gb_module_lost(gb_module *module);             /* of an earlier epoch: open it anew */

const char *gb_kernel_name(const gb_kernel *kernel);
int gb_kernel_param_count(const gb_kernel *kernel);
const gb_param *gb_kernel_params(const gb_kernel *kernel);

/* What the compiler says of it; -1 where unknown. */
typedef struct gb_kernel_info {
    int registers, shared_bytes, spill_bytes, threads_max;
    bool barriers;
} gb_kernel_info;
void gb_kernel_get_info(const gb_kernel *kernel, gb_kernel_info *out);

/* A __device__ or __constant__ variable as a buffer (borrowed from the module): GB_ENOENT names the
 * nearest. */
int gb_module_global(gb_module *module, const char *name, gb_buffer **out, gb_param *type);

/* ---- queues: commands run in order; each call only enqueues ----
 * Buffers named by a command stay alive until it ends. `host` memory is read or written while the
 * command runs: it must stay until a later gb_queue_signal has finished. */

int gb_queue_open(gb_queue **out, gb_device *device);
/* urgent: what this queue holds goes first. On cuda a stream of the highest priority, whose blocks
 * are started before those of other streams (where the driver has priorities); on the cpu backend
 * its work is taken by kernel threads before all other work. Nothing that runs is interrupted. */
int gb_queue_open_urgent(gb_queue **out, gb_device *device, bool urgent);
void gb_queue_close(gb_queue *queue); /* what is queued still runs; nobody waits here */

/* How long each launch of this queue may hold the calling thread from now on, if that is less than
 * its bound; 0: its bound (at first). Costs a store. */
void gb_queue_set_patience(gb_queue *queue, uint64_t ns);

/* The calling thread will call gb_gpu_help when it has nothing else to do: what it launches on this
 * queue keeps a place for it. Before the first launch. */
void gb_queue_attend(gb_queue *queue);

bool gb_queue_is_idle(const gb_queue *queue); /* everything has ended */

int gb_queue_upload(gb_queue *queue, gb_buffer *to, size_t offset, const void *host, size_t bytes);
int gb_queue_download(gb_queue *queue, void *host, gb_buffer *from, size_t offset, size_t bytes);
int gb_queue_copy(gb_queue *queue, gb_buffer *to, size_t to_offset, gb_buffer *from,
                  size_t from_offset, size_t bytes);
int gb_queue_fill(gb_queue *queue, gb_buffer *to, size_t offset, const void *pattern,
                  size_t pattern_bytes, size_t count);

typedef struct gb_dim {
    uint32_t x, y, z;
} gb_dim;

/* The cpu backend runs a launch on the calling thread, inside gb_queue_launch, when the queue is
 * idle and the kernel was measured at under 20 us for that size; any first run goes to the kernel
 * pool. A launch past its bound is ended where it is (GB_ETIMEDOUT), on the pool and on the calling
 * thread, here also when the caller's patience is over; what it wrote until then stays written. A
 * thread that cannot be made to leave its block (it waits in a library's code) is given up after
 * half a second and replaced, and keeps its buffers and module until it comes out. gb_gpu_close
 * does not wait for it: then its stack, buffers, module and the room's own memory are leaked, and
 * the account is relieved of them. A calling thread is never given up; nor is one that helps.
 */
typedef struct gb_launch {
    gb_dim grid, block;
    uint32_t shared_bytes; /* dynamic shared memory */
    uint64_t bound_ns;     /* a longer run is a runaway; 0: the room's */
} gb_launch;

/* One argument: a buffer (kernel sees its address + offset), or size bytes by value (size must be
 * the parameter's). */
typedef struct gb_arg {
    gb_buffer *buffer; /* NULL: by value */
    size_t offset;
    const void *value; /* copied now */
    uint32_t size;
    size_t span; /* of an address by value, for graphs: the bytes from there on that the kernel
                    works on; 0: unknown */
} gb_arg;

/* GB_EINVAL: wrong count, size or shape (names the parameter or the limit). GB_EDEVICE: a buffer of
 * another device. */
int gb_queue_launch(gb_queue *queue, gb_kernel *kernel, const gb_launch *launch, const gb_arg *args,
                    int arg_count);

int gb_queue_record(gb_queue *queue,
                    gb_event *event); /* the event is finished when all before it is */
int gb_queue_wait_event(gb_queue *queue, gb_event *event); /* later commands wait for it */

/* Finishes when all before it has. When that is so already: GB_OP_READY at once, or the negative rc
 * at once (done does not run; op->detail is set). Else GB_OP_PENDING. rc is the first
 * error of the commands since the last signal (GB_ETRAP: op->detail names kernel, block and
 * thread). The only way errors of commands come out: copies and launches that follow a failed one
 * are not run until a signal has taken its error. Setting op->cancelled stops what is before it in
 * the queue: rc is GB_ECANCELED then, unless everything had ended. */
int gb_queue_signal(gb_queue *queue, gb_op *op);

/* ---- what launches take, by device and the name of the kernel; with config.profiling alone ----
 */

typedef struct gb_kernel_times {
    const char *kernel;
    int device;
    const gb_hist *ran, *failed;   /* ns from the start, or what is as near to it, to the end */
    uint64_t wait_ns, wait_ns_max; /* in the queue before, of both together */
} gb_kernel_times;

/* Each row, under its lock: be short, and copy what is to stay. On the cpu backend a start is when
 * the first block runs. On cuda it is when the launch was given to the driver, so what runs before
 * it on the stream counts with it; kernels of a replayed graph are not told. Any thread. Returns
 * whether the room notes times at all. */
bool gb_gpu_each_times(gb_gpu *gpu, void (*each)(void *user, const gb_kernel_times *times),
                       void *user);

/* ---- graphs: commands recorded once and queued many times ----
 * Nodes are numbered from 0 as they are added and take effect in that order. What changes between
 * two runs is set anew: parameters, and where a copy goes. A graph is used by one thread at a time;
 * it borrows the buffers that were set (commands that were queued hold their own references) and
 * keeps the modules of its kernels. */

typedef struct gb_graph gb_graph;

int gb_graph_open(gb_graph **out, gb_device *device);
void gb_graph_close(gb_graph *graph); /* what was queued still runs */
int gb_graph_node_count(const gb_graph *graph);

/* Each gives the node's number, or GB_EINVAL, GB_EDEVICE, GB_ENOMEM. */
int gb_graph_add_launch(gb_graph *graph, gb_kernel *kernel, const gb_launch *launch);
int gb_graph_add_copy(gb_graph *graph, size_t bytes);
int gb_graph_add_fill(gb_graph *graph, const void *pattern, size_t pattern_bytes, size_t count);

/* One parameter of a launch: checked as gb_queue_launch does, the value is copied. */
int gb_graph_set_param(gb_graph *graph, int node, int param, const gb_arg *arg);

/* Memory of a copy or fill: a buffer from an offset on, or host memory that stays until the run has
 * ended. */
typedef struct gb_place {
    gb_buffer *buffer; /* NULL: host memory */
    size_t offset;
    void *host;
} gb_place;
int gb_graph_set_to(gb_graph *graph, int node, const gb_place *to);     /* copies and fills */
int gb_graph_set_from(gb_graph *graph, int node, const gb_place *from); /* copies */

/* Queues all nodes. GB_EINVAL: something was never set; GB_EDEVICE: the queue is another device's.
 * An error part of the way leaves the first nodes queued.
 *
 * A node waits for those before it that work on the same bytes (a kernel: on the whole of a buffer;
 * through a pointer to const it only reads) and, as kernels of a module may share its variables,
 * for those of a module that has any. Others may run at the same time: on devices that replay
 * graphs (cuda) always, on the cpu those that were seen to take 200 us or more. What kernels reach
 * in other ways (an address in a number or a struct) is not seen.
 *
 * Where a device replays graphs the first run queues the nodes one by one and later ones are handed
 * over as one; what the driver refuses is queued one by one, and counted. */
int gb_queue_run(gb_queue *queue, gb_graph *graph);

typedef struct gb_graph_stats {
    int nodes, edges; /* edges: of the order, when it is known */
    int queues;       /* on which the last run was */
    uint64_t runs;
    uint64_t built;     /* graphs of the driver made */
    uint64_t replays;   /* handed to the driver as one */
    uint64_t fallbacks; /* that were to be, but were queued one by one */
    int64_t saved_ns;   /* of the calling threads' time: see docs/plans.md */
    char why[256];      /* the last fallback's reason */
} gb_graph_stats;

void gb_graph_get_stats(gb_graph *graph, gb_graph_stats *out);

/* ---- events ---- */

int gb_event_open(gb_event **out, gb_device *device);
void gb_event_close(gb_event *event);
/* 1 finished, 0 not yet (also when it was never recorded), or negative. A new gb_queue_record
 * starts it anew; gb_queue_wait_event waits for the last recording before it (GB_EINVAL: none). */
int gb_event_query(gb_event *event);
/* GB_EINVAL unless both are finished. */
int gb_event_elapsed(gb_event *start, gb_event *end, uint64_t *out_ns);

#endif
