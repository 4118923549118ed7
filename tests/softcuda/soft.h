/* The software driver: CUDA's driver, NVRTC and NVML as src/gpu/cuda_api.h lists them, over the
 * compiler and the runner of the cpu backend. For tests only: it keeps every promise of the real
 * ones and none more.
 *
 * Unkind on purpose: device memory cannot be touched by host code, new memory holds a pattern,
 * pageable memory is read when the copy runs and not when it is asked for, every stream has a
 * thread of its own that dawdles by a seed, handles are numbers and never used twice, and a kernel
 * that traps breaks its context until that is reset. A broken context runs nothing any more by the
 * time that it says so.
 *
 * Environment, read when the library is loaded:
 *   GB_SOFTCUDA_DEVICES=2       how many devices (0: cuInit finds none)
 *   GB_SOFTCUDA_MEMORY=1G       memory of each
 *   GB_SOFTCUDA_VERSION=12040   what cuDriverGetVersion says; newer rows are not found
 *   GB_SOFTCUDA_ARCH=90         compute capability of the devices: 9.0
 *   GB_SOFTCUDA_MISSING=A,B     rows that this driver does not have
 *   GB_SOFTCUDA_SEED=N          of delays and orders (printed when a test asks)
 *   GB_SOFTCUDA_DELAY_US=200    the longest delay before a command; 0: none
 *   GB_SOFTCUDA_FAIL=ROW@N=CODE,...   the Nth call of a row fails with that code ("_v2" may follow
 *                               the name; N "*": every call); the row "execute" is a command of a
 *                               stream that fails while it runs: with a code that breaks its
 *                               context
 *   GB_SOFTCUDA_LEAKS=1         at the end of the process: prints what was not freed and what was
 *                               misused, and then ends the process with 86 (leaks) or 87 (misuse)
 *   GB_SOFTCUDA_KEYS=0          no memory protection keys: device memory opens for everybody while
 *                               any kernel runs
 *   GB_SOFTCUDA_PEERS=0         no device reaches another one's memory: copies still work, as with
 *                               a real driver, which takes them through the host
 *   GB_SOFTCUDA_CACHE=DIR       of compiled images; else as the cpu backend
 *
 * Threads: any. One lock, soft.lock, guards everything but what commands do while they run.
 */
#ifndef GB_TESTS_SOFT_H
#define GB_TESTS_SOFT_H

#include "base/list.h"
#include "base/mem.h"
#include "gpu/cpu_compile.h"
#include "gpu/cpu_run.h"
#include "gpu/cuda_api.h"

#include <pthread.h>
#include <stdbool.h>

/* ---- rows ---- */

enum {
#define SOFT_ROW(name, need, level, type, parameters) ROW_##name,
    GB_CUDA_ROOTS(SOFT_ROW) GB_CUDA_TABLE(SOFT_ROW) GB_NVRTC_TABLE(SOFT_ROW) GB_NVML_TABLE(SOFT_ROW)
#undef SOFT_ROW
        ROW_execute,
    SOFT_ROWS
};

#define SOFT_PROTOTYPE(name, need, level, type, parameters) type soft_##name parameters;
GB_CUDA_ROOTS(SOFT_PROTOTYPE)
GB_CUDA_TABLE(SOFT_PROTOTYPE)
#undef SOFT_PROTOTYPE

#define SOFT_EXPORT __attribute__((visibility("default")))
#define SOFT_EXPORTED(name, need, level, type, parameters) SOFT_EXPORT type name parameters;
GB_CUDA_ROOTS(SOFT_EXPORTED)
GB_NVRTC_TABLE(SOFT_EXPORTED)
GB_NVML_TABLE(SOFT_EXPORTED)
#undef SOFT_EXPORTED

/* For tests that load the library into their own process. */
SOFT_EXPORT void softcuda_fail(const char *text); /* as GB_SOFTCUDA_FAIL; counts begin anew */
SOFT_EXPORT int softcuda_leaks(void);             /* objects not freed now */
SOFT_EXPORT int softcuda_misuses(void);           /* so far */
SOFT_EXPORT unsigned softcuda_calls(const char *row);

enum {
    SOFT_NOT_PERMITTED = 800,
    SOFT_PEER_UNSUPPORTED = 217,
    SOFT_DEVICES_MAX = 8,
    SOFT_PATTERN = 0xa5
};

/* ---- objects behind handles ---- */

typedef enum {
    SOFT_NONE,
    SOFT_CONTEXT,
    SOFT_MEMORY,
    SOFT_MODULE,
    SOFT_FUNCTION,
    SOFT_STREAM,
    SOFT_EVENT,
    SOFT_GRAPH,
    SOFT_NODE,
    SOFT_EXEC,
    SOFT_PROGRAM,
    SOFT_KINDS
} soft_kind;

/* First member of each. A handle is the object's number, which is not used again. */
typedef struct soft_object {
    gb_list link; /* of the context */
    soft_kind kind;
    uint32_t number;
    int refs;   /* the handle's and those of commands */
    bool live;  /* the handle is valid */
    bool freed; /* its owner tried to free it, which an error prevented: no leak */
    struct soft_context *context;
    void (*destroy)(struct soft_object *object); /* when refs are 0; the lock is held */
} soft_object;

typedef struct soft_context {
    soft_object object;
    int device;
    gb_cu_result error; /* sticky */
    gb_list objects;
    uint32_t peers;       /* devices, one bit each */
    int threads;          /* of its streams, also of destroyed ones */
    int running;          /* commands that touch memory now */
    _Atomic int32_t stop; /* kernels end at their next block */
    struct soft_stream *null_stream;
} soft_context;

typedef struct soft_device {
    soft_context *primary; /* NULL: inactive */
    int retained;
    size_t total, used;
    int key; /* protection key; -1: none */
} soft_device;

typedef enum { SOFT_DEVICE_MEMORY, SOFT_PINNED, SOFT_MANAGED } soft_memory_kind;

typedef struct soft_memory {
    soft_object object;
    soft_memory_kind kind;
    uint64_t address, mapped; /* of the first byte; of its pages */
    size_t bytes, mapped_bytes;
    int device;
    bool there;           /* its stream has come to its allocation */
    bool pooled, leaving; /* of the pool; its free was asked for */
} soft_memory;

typedef struct soft_module {
    soft_object object;
    struct soft_image *image;
    gb_list functions;
} soft_module;

typedef struct soft_function {
    soft_object object;
    gb_list link; /* of the module */
    soft_module *module;
    const gb_cpu_kernel *kernel;
    uint32_t dynamic_max;
} soft_function;

typedef struct soft_event {
    soft_object object;
    bool timed;
    uint64_t recorded, finished; /* generations */
    uint64_t at_ns;
} soft_event;

typedef struct soft_graph {
    soft_object object;
    gb_list nodes;
    int count;
} soft_graph;

/* ---- commands ---- */

typedef enum {
    SOFT_COPY,
    SOFT_FILL,
    SOFT_LAUNCH,
    SOFT_CALL,
    SOFT_RECORD,
    SOFT_WAIT,
    SOFT_BEGIN, /* stream-ordered memory is there, */
    SOFT_END,   /* and gone */
    SOFT_REPLAY
} soft_command_kind;

typedef struct soft_command {
    gb_list link;
    soft_command_kind kind;
    soft_object *held; /* one reference: function, event, exec or memory */
    union {
        struct {
            uint64_t to, from;
            size_t bytes;
        } copy;
        struct {
            uint64_t to;
            size_t pitch, width, height; /* in elements; pitch in bytes */
            unsigned value, element;
        } fill;
        struct {
            gb_cpu_dim grid, block;
            uint32_t shared_bytes;
            unsigned char *blob; /* malloc'd values of the parameters */
            void **params;
        } launch;
        struct {
            gb_cu_host_function function;
            void *data;
        } call;
        uint64_t generation;
    } u;
} soft_command;

typedef struct soft_stream {
    soft_object object;
    gb_list commands; /* the first is being run */
    uint64_t random;
    bool hurry; /* of a higher priority */
    gbi_runner *runner;
} soft_stream;

/* One node of a graph, and what it waits for. */
typedef struct soft_step {
    uint32_t node;           /* the number of the node's handle */
    soft_command command;    /* link is not used */
    int after_count, *after; /* indices, malloc'd */
    int mappings[2];         /* what kinds of memory a copy or fill was made for */
} soft_step;

typedef struct soft_node {
    soft_object object;
    gb_list in_graph;
    soft_graph *graph;
    int index;
    soft_step step;
} soft_node;

typedef struct soft_exec {
    soft_object object;
    int count;
    soft_step *steps;
    struct soft_exec *origin; /* of a launched copy */
    uint64_t ticket, done;    /* launches of one exec run one after the other */
} soft_exec;

/* ---- soft_state.c ---- */

typedef struct soft_state {
    pthread_mutex_t lock;
    pthread_cond_t moved; /* something of a stream has ended */
    bool initialised, leaks, keys, peers;
    int device_count, version, arch, misuses, delay_us;
    uint64_t seed;
    unsigned calls[SOFT_ROWS];
    soft_device devices[SOFT_DEVICES_MAX];
    gb_mem mem;
} soft_state;

extern soft_state soft;
extern const char *const soft_names[SOFT_ROWS];

/* At the beginning of an entry point: counts the call, takes the lock, and answers what fails it
 * before it begins (an injected error, no cuInit, inside a callback). Always holds the lock. */
gb_cu_result soft_enter(int row);
/* The same about a context that need not be current. */
gb_cu_result soft_enter_about(int row, const void *context);
/* The same, and a usable context must be current. */
gb_cu_result soft_enter_context(int row, soft_context **out);
gb_cu_result soft_leave(gb_cu_result rc); /* gives up the lock */
/* Without the lock and all checks: what was injected for this call of a row, or 0. */
gb_cu_result soft_injected(int row);
bool soft_is_sticky(gb_cu_result rc);
bool soft_is_missing(const char *name);

soft_context *soft_current(void);
void soft_set_current(soft_context *context);
void soft_set_in_callback(bool inside);

/* A misuse is printed and counted. Under the lock. Returns rc. */
gb_cu_result soft_misuse(int row, gb_cu_result rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Under the lock: objects. The new one has one reference, which is the handle's. */
void *soft_new(size_t bytes, soft_kind kind, soft_context *context,
               void (*destroy)(soft_object *object));
void *soft_handle(const soft_object *object);
/* The live object, or NULL: a misuse of the row was reported. */
void soft_note_lost(soft_context *context); /* it is released: what it still has is lost */
void *soft_find(int row, const void *handle, soft_kind kind);
soft_object *soft_peek(const void *handle, soft_kind kind); /* without a report */
void soft_hold(soft_object *object);
void soft_drop(soft_object *object);
void soft_retire(soft_object *object); /* the handle ends */
/* An error prevents the freeing that was asked for: not the caller's leak. */
void soft_given_up(const void *handle, soft_kind kind);

uint64_t soft_random(uint64_t *state);

/* ---- soft_memory.c ---- */

/* The live block that has all of [address, address + bytes). */
soft_memory *soft_memory_at(uint64_t address, size_t bytes);
bool soft_in_arena(uint64_t address);
/* Where the driver itself reads or writes it. */
void *soft_alias(uint64_t address);
/* there: at once; else nobody reaches it until soft_memory_appear. */
gb_cu_result soft_memory_make(soft_memory **out, soft_context *context, size_t bytes,
                              soft_memory_kind kind, bool there);
void soft_memory_appear(soft_memory *memory);
void soft_memory_retire(soft_memory *memory);
int soft_memory_open_kernels(soft_context *context); /* around a kernel: on its thread */
void soft_memory_close_kernels(int token);

/* ---- soft_pool.c ---- */

void soft_pool_run(const soft_command *command);

/* ---- soft_stream.c ---- */

/* Moves what the command holds, also on failure. */
gb_cu_result soft_submit(int row, soft_context *context, gb_cu_stream stream,
                         soft_command *command);
void soft_command_fini(soft_command *command); /* under the lock */
void soft_streams_end(soft_context *context);  /* under the lock, which is given up meanwhile */
void soft_break(soft_context *context, gb_cu_result error);
/* Until none of its commands is under way; under the lock, which is given up meanwhile. */
void soft_stand_still(soft_context *context);

/* ---- soft_run.c ---- */

/* Without the lock. The error of the context, or 0. */
gb_cu_result soft_run(soft_stream *stream, soft_command *command);
/* Fills a launch from the driver's parameters: checks shape and count. Under the lock. */
gb_cu_result soft_launch_of(int row, soft_command *out, soft_context *context,
                            const gb_cu_kernel_node *params);
gb_cu_result soft_copy_of(int row, soft_command *out, soft_context *context, uint64_t to,
                          uint64_t from, size_t bytes);
gb_cu_result soft_fill_of(int row, soft_command *out, soft_context *context,
                          const gb_cu_fill_node *params);

/* ---- soft_module.c ---- */

void soft_module_retire(soft_module *module);
/* The module variable that has all of it. */
bool soft_is_global(soft_context *context, uint64_t address, size_t bytes);
size_t soft_param_align(const soft_function *function, const gb_cpu_param *param);

/* ---- soft_graph.c ---- */

gb_cu_result soft_replay(soft_stream *stream, soft_exec *exec);

/* ---- soft_nvrtc.c ---- */

/* What is loaded from a container (malloc'd but for the code). */
typedef struct soft_image {
    gb_cpu_object *code;
    char *names;      /* "lowered expression\n" for each name expression */
    bool plain_names; /* the source has extern "C" */
} soft_image;

/* Without the lock. The driver's code; *text (malloc'd) takes the compiler's lines. */
gb_cu_result soft_image_load(soft_image *out, const void *bytes, char **text);

#endif
