/* gpubridge: a host for grains (virtual actors) written in Lua, for engines and programs in C and
 * C++.
 *
 *     gb_config config;
 *     gb_config_init(&config, sizeof config);
 *     config.workers = 0;                      // this thread drives, with gb_poll
 *     config.app_dir = "game/grains";
 *     gb_host *host;
 *     int rc = gb_open(&host, &config);
 *     if (rc < 0) fprintf(stderr, "%s: %s\n", gb_err_name(rc), gb_err_detail());
 *
 *     gb_value *args = gb_value_new(host);
 *     gb_put_int(args, 5);
 *     rc = gb_call(host, "Npc", "orc-17", "think", args, 250, on_result, user);
 *     if (rc < 0) gb_value_free(args);         // it did not start: args are still ours
 *     while (running) gb_poll(host, 2000, 0);  // on_result runs in here, exactly once
 *     gb_close(host, 1000);
 *
 * Errors. Functions that can fail return 0 or a count, or a negative GB_E... code; gb_err_detail()
 * is the text, for the calling thread, until its next failure. A function that takes a callback and
 * returns an error never calls it; when it returns no error the callback runs exactly once. A NULL
 * that is not allowed is GB_EINVAL and the text names it.
 *
 * Threads. A host has worker threads of its own (config.workers > 0), or none, and then gb_poll
 * drives it. Functions may be called from any thread, also from callbacks, unless they say
 * otherwise; one gb_value, one gb_ref and one gb_kernels is used by one thread at a time. Functions
 * that block say so; they are refused (GB_EBUSY) inside callbacks and on the host's own threads.
 * Callbacks run on a worker's thread (GB_DELIVER_WORKER), or only inside gb_poll
 * (GB_DELIVER_POLL; with workers = 0 always); after gb_close has begun, on the thread that closes.
 * A callback must not block and must not leave by longjmp or a C++ exception. Several hosts in one
 * process work and know nothing of each other: one may be used inside another's callbacks.
 *
 * Ownership. What a function gives through a pointer to a pointer is the caller's to close; what it
 * returns is borrowed unless it says otherwise. Texts and bytes are copied unless a function says
 * that it takes them. Values, references, buffers and kernels may be freed after gb_close; until
 * then they keep a small rest of the host alive.
 */
#ifndef GPUBRIDGE_H
#define GPUBRIDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GB_API __attribute__((visibility("default")))

/* ---- errors ---- */

#ifndef GB_ERRORS_DEFINED
enum {
    GB_ERAISED = -1,    /* the method raised an error */
    GB_ETIMEDOUT = -2,  /* the deadline passed */
    GB_ECANCELED = -3,  /* cancelled */
    GB_EDEADLOCK = -4,  /* the call would wait for itself */
    GB_EBUSY = -5,      /* full */
    GB_ENOTYPE = -6,    /* no such grain type */
    GB_ENOMETHOD = -7,  /* no such method */
    GB_EINVAL = -8,     /* invalid argument */
    GB_ENOENT = -9,     /* not found */
    GB_ENOMEM = -10,    /* out of memory */
    GB_EQUOTA = -11,    /* over the quota */
    GB_EDENIED = -12,   /* not allowed */
    GB_ECONFLICT = -13, /* changed by someone else */
    GB_ECLOSED = -14,   /* closed */
    GB_ELOST = -15,     /* connection or device lost: the call may have run */
    GB_ESTUCK = -16,    /* the worker is stuck in a turn */
    GB_ECOMPILE = -17,  /* the kernel source does not compile */
    GB_ENOGPU = -18,    /* no GPU */
    GB_EDEVICE = -19,   /* wrong device */
    GB_ETRAP = -20,     /* the kernel trapped */
    GB_ENOTYET = -21    /* not in this version yet */
};

/* Constant texts, never NULL: "ETIMEDOUT", and its meaning in a few words; "OK" for 0 or more. */
GB_API const char *gb_err_name(int rc);
GB_API const char *gb_err_text(int rc);

/* What the calling thread's last failure was, in full; "" when there was none. Borrowed until its
 * next failure. Never NULL. */
GB_API const char *gb_err_detail(void);
#endif

/* Keeps a text as the calling thread's gb_err_detail and returns rc: for functions of gb_export. */
GB_API int gb_fail(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A caller's bug that cannot be answered with a code (gb_close inside a callback) stops the
 * process: the hook hears the text first, on the thread of the bug, and must not return. One for
 * the process; NULL: print and abort. The old one. Any thread. */
typedef void gb_panic_fn(const char *text);
GB_API gb_panic_fn *gb_panic_hook(gb_panic_fn *hook);

/* ---- the host ---- */

typedef struct gb_host gb_host;

typedef enum { GB_DELIVER_WORKER, GB_DELIVER_POLL } gb_deliver;

typedef struct gb_config {
    size_t size;            /* set by gb_config_init: the caller's sizeof */
    int workers;            /* worker threads; 0: gb_poll drives one worker; -1: one per core. The
                             * cores are those that the process may run on */
    gb_deliver deliver;     /* where callbacks run */
    const char *app_dir;    /* folder of grain modules; NULL: none */
    const char *script_dir; /* where require and kernel files are looked for too; NULL: none */
    const char *cache_dir;  /* compiled kernels; NULL: the user's cache folder */
    const char *compiler;   /* C++ compiler for kernels on the CPU; NULL: clang++, else g++ */
    int kernel_threads;     /* of the cpu device; 0: one per core */
    int cpu_devices;        /* the CPU as several devices; 0: one */
    double spin_us;         /* an idle worker spins so long before it sleeps; < 0: 50 */
    double call_timeout_ms; /* of calls that name none; 0: 30000 */
    double stuck_ms;        /* a turn that runs longer is reported; 0: 5000 */
    int64_t lua_bytes_max;  /* memory of each worker's Lua state; 0: no cap */
    int log_level;          /* 0 debug, 1 info, 2 warn, 3 error, 4 off; -1: the default, 1 */
    void (*log)(void *user, int level, const char *line); /* NULL: standard error. Any thread */
    void *log_user;
    int sanitize; /* kernels on the CPU under ASan and UBSan (the process needs their runtime) */
    int virtual_time; /* a simulated world, for tests: its time moves only inside gb_poll, when
                         nothing is left to do and wait_us is not 0 */
    uint64_t seed;    /* of a simulated world */
    /* Where the host's own memory comes from, arrays too; NULL: malloc. block NULL: a new block;
     * size_new 0: a free, whose result is not looked at; else a resize, which may move it. size_old
     * is the size that it was asked for with. Blocks are aligned to 16 bytes. NULL: there is no
     * more, and what asked for it fails with GB_ENOMEM. Any thread, several at once, until gb_close
     * has returned and the last value and handle is freed; it must not call back into a host.
     * Not from it: Lua's heap (LuaJIT does not survive a refusal; lua_bytes_max bounds it), memory
     * of the cpu device, stacks of threads, texts of errors, and what libraries take. */
    void *(*alloc)(void *user, void *block, size_t size_old, size_t size_new);
    void *alloc_user;
    const char *lua_config; /* what Lua sees as gb.config: a Lua table's text; NULL: { app = {} } */
    void (*exit)(void *user, int code); /* os.exit in Lua, on a worker's thread; NULL: as in Lua */
    void *exit_user;
    /* Nobody else in this process uses its GPUs: one that was lost (a kernel trapped, the hardware
     * failed) is reset when nothing of it is under way, and serves again; what was made on it
     * before stays lost (GB_ELOST). 0: it stays lost, for others may use the same context. */
    int owns_devices;
    int max_devices;        /* so many GPUs are used, the first ones; 0: all */
    int max_kernels;        /* launches from Lua under way at once, more wait; 0: any number */
    double kernel_bound_ms; /* a kernel that runs longer is a runaway; 0: 5 min */
    /* Files into device memory: pinned memory of one load or save (0: 16 MB); staged_files: never
     * by GPUDirect Storage; direct_folder: by it only for files below (NULL: all). */
    int64_t file_bytes_max;
    int staged_files;
    const char *direct_folder;
    int64_t cpu_bytes_max; /* device memory of each cpu device; 0: half of the machine's, shared */
    /* A place in a cluster. cluster is the URL of its membership table (redis://, postgres://,
     * etcd://, sqlite:FILE, memory:NAME); NULL: this silo is alone. It joins with gb_join. */
    const char *cluster;
    const char *cluster_name; /* several may share one table; NULL: "gpubridge" */
    const char *silo_name;    /* unique in the cluster; NULL: made of the address */
    const char *listen;       /* HOST:PORT, port 0: any free one; NULL: 127.0.0.1:0 */
    const char *advertise;    /* how others reach it; NULL: as it listens */
    const char *labels;       /* "zone=a,role=gpu"; NULL: none */
    /* TLS between silos and clients (PEM files; `gbrun certs DIR` makes some for development): with
     * tls_ca nothing but TLS is accepted, from who has a certificate that this CA has signed, or a
     * token. A client with a token needs tls_ca alone. */
    const char *tls_ca, *tls_cert, *tls_key;
    int cluster_open; /* may listen on more than the loopback, or show a token there, without TLS */
    /* Addresses of silos, "HOST:PORT,HOST:PORT": this host is their client, hosts no grains that
     * others could call, and calls to types that it does not define go to them. NULL: it is none.
     */
    const char *connect;
    int64_t memory_pool_bytes; /* memory of freed buffers that each device may keep for the next
                                  ones; 0: 1 GB, at most a quarter of the device; -1: none; -2: on
                                  GPUs the driver's own pool keeps it */
    int pretend_gpus; /* cpu devices count as GPUs where grains are placed: for tests and examples
                         on machines without one */
    int prefer_gpu;   /* 0: launches, buffers and batches that name no device, of grains that were
                         not placed on one, are the CPU's although there is a GPU */
    /* What silos and clients prove to each other; none of it is ever sent, or written to a log.
     * cluster_key (the key itself) or cluster_key_file: this silo has links only with silos that
     * have the same one. tokens: a silo's file of the tokens of clients (`gbrun token` makes them);
     * with it a client needs one, or a certificate. token_file: a client's own. Files are for
     * their owner's eyes alone (mode 0600). NULL: none. */
    const char *cluster_key, *cluster_key_file, *tokens, *token_file;
    int metrics;          /* 0: gb_metrics_text is refused, and nothing is kept for it */
    int tracing;          /* calls and launches of sampled traces leave spans: gb_spans_take */
    double sampling_rate; /* 0 .. 1: the part of new traces that is sampled; a call that belongs to
                             a trace goes by what was decided where that began */
    int profiling;        /* what launches take is noted, by kernel */
    int64_t message_bytes_max; /* of the strings of one message, and between silos of all of it,
                                  with its arrays; 0: 64 MB; at most 1025 MB */
    const char *tenants; /* "acme=2GB,beta": whom grains may name as their tenant, and how much
                            device and page-locked memory each may have of all devices together (no
                            size: any). NULL: they may name anybody, and nobody has a cap */
} gb_config;

/* Defaults: workers -1, prefer_gpu 1, metrics 1, tracing 1, sampling_rate 0.1, everything else none
 * or the default. */
GB_API void gb_config_init(gb_config *config, size_t size);

/* Of a host with config.cluster and workers > 0: loads the modules of the app folder, joins, and
 * waits until this silo serves: others then place grains here. Blocks; opens the devices.
 * GB_ETIMEDOUT: not within the time, the detail says what keeps the table away (it goes on trying
 * until gb_close); GB_EDENIED: the table refuses us, or its silos have another cluster_key;
 * GB_ECLOSED: another silo has its name; or what a module says that cannot be
 * loaded. gb_close leaves. See docs/cluster.md. */
GB_API int gb_join(gb_host *host, int timeout_ms);

/* What others connect to, "127.0.0.1:7001" (config.advertise, if there is one), from gb_open on;
 * "" without config.cluster. Valid until gb_close. */
GB_API const char *gb_address(gb_host *host);

/* Starts a host: workers run when this returns. GB_EINVAL names the field; GB_ENOMEM: nothing is
 * left behind. *out is set on success alone. The configuration is copied, its texts are not: they
 * stay the caller's, and as they are until gb_close has returned. */
GB_API int gb_open(gb_host **out, const gb_config *config);

/* New calls are refused (GB_ECLOSED) from here on. Runs what is queued and deactivation hooks, for
 * at most drain_ms; then everything is gone. Callbacks that are still owed run, on this thread or a
 * worker's, before it returns: with their answer, or with GB_ECLOSED. Threads that block in
 * gb_call_wait or a launch are let go; nobody may begin to use the host once this returns. A check
 * fails inside a callback of this host. NULL is allowed. */
GB_API void gb_close(gb_host *host, int drain_ms);

/* Drives a host without workers, and delivers callbacks of GB_DELIVER_POLL: works for at most
 * work_us (and at least one step: a turn, a message or a callback is never cut short), and when
 * there was nothing to do waits for at most wait_us for something. How many callbacks ran.
 * GB_EBUSY: another thread polls, or this is a callback of the same host. */
GB_API int gb_poll(gb_host *host, int64_t work_us, int64_t wait_us);

/* A descriptor for poll, epoll or select that is readable when gb_poll has something to do; -1:
 * gb_poll has nothing to do with this configuration. Timers do not make it readable: wait at most
 * gb_poll_timeout. Do not read it. Call it on the thread that polls; costs gb_poll a system call.
 */
GB_API int gb_poll_fd(gb_host *host);

/* Milliseconds until gb_poll must be called though gb_poll_fd is not readable; -1: no such time. On
 * the thread that polls. */
GB_API int gb_poll_timeout(gb_host *host);

/* Hot reload: reads changed files again while grains live on. module: a module as Lua names it
 * ("npc", "npc.lua"), a file of kernels as gb.kernels was given it ("kernels/sort.cu"), or NULL for
 * all that is loaded. Every worker first loads the modules aside and compiles the kernels; only
 * when all of them could, all switch, each between two turns; else nothing has changed and the
 * detail is the error at the user's line (GB_ERAISED) or the compiler's (GB_ECOMPILE). The number
 * of modules and opened kernel files, or negative.
 *
 * Instances keep self.state and their fields. One takes its new methods when its next turn begins
 * and no other turn of it is under way; on_reload(previous class) runs first in that turn. A turn
 * that waits goes on in its old version, but for kernels, which are new at once. Variables of a
 * module begin anew. What other modules took from one stays the old: NULL loads them all. Options
 * of gb.grain cannot change. Types of the main script are not loaded anew.
 *
 * Blocks for as long as modules and compilers take; drives the host like gb_call_wait. GB_EBUSY
 * inside callbacks, on the host's threads, and while another reload is under way. GB_ENOENT: no
 * such module is loaded. */
GB_API int gb_reload(gb_host *host, const char *module);

/* What the host has counted since it was opened, in the text format of Prometheus (0.0.4): calls,
 * turns and activations, launches, copies, allocations and compilations, memory of devices that
 * were used. Reading adds up what workers and devices count for themselves. Writes what fits into
 * room bytes, with a NUL (room 0: nothing, out may be NULL); returns the bytes of the whole text
 * without it. Numbers may change between two calls: give some room more. With config.profiling the
 * latencies of kernels are among them. GB_EDENIED: config.metrics is 0. GB_ENOMEM, GB_ECLOSED. */
GB_API int gb_metrics_text(gb_host *host, char *out, size_t room);

/* The spans that have ended since the last time, each told once: one JSON object, borrowed for the
 * call, with name ("Counter.add", "gpu.kernel.execute"), trace, span and parent (hex digits, as in
 * W3C trace contexts; no parent: a root), start (seconds since 1970), seconds, status ("OK" or a
 * code) and attributes. How many. A worker keeps 256 until they are taken, and makes no more then.
 * Any thread; each must not take spans itself. GB_EDENIED: config.tracing is 0. GB_ENOMEM,
 * GB_ECLOSED. */
typedef void gb_span_fn(const char *json, void *user);
GB_API int gb_spans_take(gb_host *host, gb_span_fn *each, void *user);

/* ---- values: arguments and results ----
 * What Lua takes and gives: nil, booleans, numbers, 64-bit integers, strings of any bytes, lists,
 * tables, arrays, references. A gb_value is a row of them: all arguments of a call, or all results.
 *
 * Writing appends. A failure (GB_EINVAL, GB_ENOMEM) stays with the value: later puts answer it
 * again, and so does the call it is given to; so a program may put everything and look once.
 * Bounds: 1,000,000 values, 64 MiB of bytes (arrays beside it), 100 levels. */
typedef struct gb_value gb_value;

/* An empty one, the caller's to gb_value_free. NULL: out of memory, or host is NULL. */
GB_API gb_value *gb_value_new(gb_host *host);
GB_API void gb_value_free(gb_value *value); /* NULL is allowed; never a borrowed one */

/* A copy that may be kept and written to (a result is borrowed: it ends with its callback). Arrays
 * are copied too. NULL: out of memory. */
GB_API gb_value *gb_value_copy(const gb_value *value);

/* Forgets everything put so far, a failure too. */
GB_API void gb_value_clear(gb_value *value);

GB_API int gb_put_nil(gb_value *value);
GB_API int gb_put_bool(gb_value *value, int truth);
GB_API int gb_put_int(gb_value *value, int64_t number); /* a Lua number: GB_EINVAL from 2^53 on */
GB_API int gb_put_number(gb_value *value, double number);
GB_API int gb_put_int64(gb_value *value, int64_t number); /* int64 cdata in Lua */
GB_API int gb_put_uint64(gb_value *value, uint64_t number);
GB_API int gb_put_text(gb_value *value, const char *text); /* ended by NUL */
GB_API int gb_put_bytes(gb_value *value, const void *bytes, size_t size);

/* What is put until gb_put_end is inside. A list's items follow one another; in a table keys
 * (texts, numbers or booleans) and values alternate: gb_put_table(v);  gb_put_text(v, "hp");
 * gb_put_int(v, 12);  gb_put_end(v);               */
GB_API int gb_put_list(gb_value *value);
GB_API int gb_put_table(gb_value *value);
GB_API int gb_put_end(gb_value *value);

/* A reference to a grain. */
GB_API int gb_put_ref(gb_value *value, const char *type, const char *key);
GB_API int gb_put_ref_int(gb_value *value, const char *type, int64_t key);

/* An array: a copy of count elements. Types: "float" "double" "int8" .. "int64" "uint8" ..
 * "uint64", vectors "float2" "float4" "int4" ...; GB_EINVAL: unknown. */
GB_API int gb_put_array(gb_value *value, const char *type, const void *data, int64_t count);

/* An array that stands on the program's own memory, without a copy; data is aligned as the type
 * asks, at least to 16 bytes for vectors. The grain reads and writes that memory until nobody holds
 * it any more: then release runs once, on any thread (never when this fails). That is when the call
 * has ended and Lua has collected the array; array:free() in the method makes it at once. To know
 * the memory unused at the end of the call, copy (gb_put_array), or let the method free it. */
GB_API int gb_array_wrap(gb_value *value, const char *type, void *data, int64_t count,
                         void (*release)(void *user, void *data), void *user);

/* ---- reading values ----
 * An item is a place in a value; it and what it points at are good until the value is freed,
 * cleared or put to. Reading an item as what it is not is GB_EINVAL and the text says what it is.
 */
typedef enum {
    GB_ITEM_NONE, /* there is nothing at that place */
    GB_ITEM_NIL,
    GB_ITEM_BOOL,
    GB_ITEM_NUMBER,
    GB_ITEM_INT64,
    GB_ITEM_UINT64,
    GB_ITEM_STRING,
    GB_ITEM_LIST,  /* a table with items 1 .. n and nothing else */
    GB_ITEM_TABLE, /* any other table; the empty one too */
    GB_ITEM_ARRAY,
    GB_ITEM_REF,
    GB_ITEM_BUFFER /* a device buffer: not readable in C yet */
} gb_item_type;

typedef struct gb_item {
    gb_item_type type;
    const gb_value *value; /* private */
    size_t at;             /* private */
} gb_item;

GB_API const char *gb_item_type_name(gb_item_type type); /* "number"; never NULL */

GB_API int gb_value_count(const gb_value *value);         /* 0 for NULL */
GB_API gb_item gb_value_at(const gb_value *value, int i); /* 0 is the first; else GB_ITEM_NONE */

/* 0 with *out set, or GB_EINVAL with *out untouched. */
GB_API int gb_as_bool(gb_item item, int *out);      /* booleans only */
GB_API int gb_as_int(gb_item item, int64_t *out);   /* any whole number that fits */
GB_API int gb_as_uint(gb_item item, uint64_t *out); /* any whole number that fits */
GB_API int gb_as_number(gb_item item, double *out); /* any number; 64-bit ones are rounded */
GB_API int gb_as_text(gb_item item,
                      const char **out); /* a string without zero bytes, ended by NUL */
GB_API int gb_as_bytes(gb_item item, const void **out, size_t *size); /* any string */
GB_API int gb_as_array(gb_item item, const char **type, const void **data, int64_t *count);
GB_API int gb_as_ref(gb_item item, const char **type, const char **key); /* "7" for the integer 7 */

/* Items of a list, pairs of a table, elements of an array, bytes of a string; 0 for all else. */
GB_API int64_t gb_item_count(gb_item item);
GB_API gb_item gb_item_at(gb_item list, int64_t i);            /* 0 is the first */
GB_API gb_item gb_item_field(gb_item table, const char *name); /* GB_ITEM_NONE: no such field */

/* Walks a list or table: gb_walk_init, then gb_walk_next until it returns 0. 1: *key and *item are
 * set (either may be NULL; the key of a list's items is GB_ITEM_NONE). */
typedef struct gb_walk {
    const gb_value *value; /* private, all */
    size_t at;
    int64_t left;
    int pairs;
} gb_walk;
GB_API int gb_walk_init(gb_walk *walk, gb_item container);
GB_API int gb_walk_next(gb_walk *walk, gb_item *key, gb_item *item);

/* ---- calls ---- */

/* The end of a call. rc 0: result holds the method's results (one `true` when it returned nothing),
 * borrowed until this returns. rc < 0: result is NULL and message (never NULL, borrowed) says why;
 * gb_err_detail() then has the Lua traceback too, where there is one. A method that returns
 * nil, message, code counts as failed when code is one of GB_E... ("ENOENT"); with a code of its
 * own the three are results as they are, with rc 0. */
typedef void gb_result_fn(gb_host *host, int rc, const gb_value *result, const char *message,
                          void *user);

/* Calls a method of a grain. key: a text of 1 to 1024 bytes; "7" is the integer 7. args: NULL for
 * none; taken over when the call starts (0 or more), and still the caller's after an error.
 * timeout_ms: 0 is the host's default, -1 none; time runs from here on.
 *
 * Positive: the call's number, for gb_cancel; fn runs once. Negative: fn never runs. GB_EINVAL: a
 * NULL or empty name, values that failed or are not complete. GB_ENOMETHOD: a private name (_ or
 * on_). GB_EBUSY: 32,768 calls of this host wait for their answers. GB_ESTUCK: the grain's worker
 * is stuck in a turn. GB_ECLOSED. Everything else comes through fn: GB_ENOTYPE, GB_ENOMETHOD,
 * GB_ETIMEDOUT, GB_ERAISED, ... Calls of one thread to one grain arrive in their order. */
GB_API int gb_call(gb_host *host, const char *type, const char *key, const char *method,
                   gb_value *args, int64_t timeout_ms, gb_result_fn *fn, void *user);

/* One way: fn runs when the call is queued at the grain (rc 0, result NULL) or refused (GB_EBUSY:
 * its mailbox stayed full until the timeout). fn NULL: refusals are logged. Else as gb_call. */
GB_API int gb_tell(gb_host *host, const char *type, const char *key, const char *method,
                   gb_value *args, int64_t timeout_ms, gb_result_fn *fn, void *user);

/* The same, and blocks until the answer: 0 with the results, the caller's to gb_value_free (out may
 * be NULL), or a negative code with gb_err_detail(). args are freed in every case. With workers = 0
 * it drives the host like gb_poll, so other callbacks may run inside. Refused (GB_EBUSY) inside
 * callbacks and on the host's threads. GB_ESTUCK: a second after the timeout the worker has not
 * said that the call is late; it is busy or stuck. */
GB_API int gb_call_wait(gb_host *host, const char *type, const char *key, const char *method,
                        gb_value *args, int64_t timeout_ms, gb_value **out);

/* The caller no longer wants the answer: fn runs with GB_ECANCELED, or with the answer where that
 * is quicker. The method runs on and can see it (gb.cancelled()); one that still waits in its
 * grain's mailbox never does. GB_ENOENT: no such call, or it was answered. Numbers come again after
 * 2^31 calls. */
GB_API int gb_cancel(gb_host *host, int call);

/* ---- references: type and key, looked at once ----
 * Cheaper than naming the grain in every call. No I/O, and no check that the type is there: a call
 * answers GB_ENOTYPE. gb_ref_open: GB_EINVAL, GB_ENOMEM, GB_ECLOSED; the rest as gb_call, gb_tell
 * and gb_call_wait. */
typedef struct gb_ref gb_ref;
GB_API int gb_ref_open(gb_ref **out, gb_host *host, const char *type, const char *key);
GB_API int gb_ref_open_int(gb_ref **out, gb_host *host, const char *type, int64_t key);
GB_API int gb_ref_call(gb_ref *ref, const char *method, gb_value *args, int64_t timeout_ms,
                       gb_result_fn *fn, void *user);
GB_API int gb_ref_tell(gb_ref *ref, const char *method, gb_value *args, int64_t timeout_ms,
                       gb_result_fn *fn, void *user);
GB_API int gb_ref_call_wait(gb_ref *ref, const char *method, gb_value *args, int64_t timeout_ms,
                            gb_value **out);
GB_API void gb_ref_close(gb_ref *ref); /* calls that it made go on; NULL is allowed */

/* ---- functions of the program, for Lua ----
 * Lua calls them as gb.host.name(...). fn runs on the thread of the worker that calls, inside the
 * turn: it must be quick and must not block. args are borrowed; results (empty at first) are put
 * to. 0: Lua gets the results (true when there are none). Negative: Lua gets nil, message, code;
 * the message is what gb_fail kept, or the code's meaning. Wrong values among the results raise. */
typedef int gb_export_fn(gb_host *host, const gb_value *args, gb_value *results, void *user);

/* At any time before gb_close; Lua looks names up when it calls. name: letters, digits and _.
 * GB_ECONFLICT: that name is taken. */
GB_API int gb_export(gb_host *host, const char *name, gb_export_fn *fn, void *user);

/* ---- kernels without grains: CUDA C++ on the host's devices ---- */

typedef struct gb_kernels gb_kernels;
typedef struct gb_host_buffer gb_buffer; /* memory of one device */

typedef struct gb_kernels_options {
    size_t size;                 /* set by gb_kernels_options_init */
    const char *file;            /* a path; or */
    const char *source;          /* the text itself, and */
    const char *name;            /* what messages call it; NULL: "kernels" */
    const char *const *flags;    /* NULL-ended: -DX -UX -std=c++NN -use_fast_math ...; NULL: none */
    const char *const *includes; /* NULL-ended folders for #include "..."; NULL: none */
    const char *const *instances; /* NULL-ended template instances, "sum<float,256>"; NULL: none */
    int device;                   /* -1: the host's: the first GPU, else the CPU */
} gb_kernels_options;
GB_API void gb_kernels_options_init(gb_kernels_options *options, size_t size);

/* Compiles, or finds in the cache, and loads. Blocks. GB_ECOMPILE: the detail is the compiler's own
 * text. GB_ENOENT: no such file. GB_EDEVICE: no such device. */
GB_API int gb_kernels_open(gb_kernels **out, gb_host *host, const gb_kernels_options *options);

/* The same without blocking: fn gets the kernels (the program's to close), or rc < 0 and NULL with
 * the message (never NULL, borrowed). The options are read before this returns. */
typedef void gb_kernels_fn(gb_host *host, int rc, gb_kernels *kernels, const char *message,
                           void *user);
GB_API int gb_kernels_start(gb_host *host, const gb_kernels_options *options, gb_kernels_fn *fn,
                            void *user);
GB_API void gb_kernels_close(gb_kernels *kernels); /* launches that run go on; NULL is allowed */

typedef struct gb_shape {
    uint32_t grid[3], block[3]; /* blocks, and threads of a block */
    uint32_t shared_bytes;      /* dynamic shared memory */
} gb_shape;

/* n threads in blocks of 256. */
GB_API gb_shape gb_shape_threads(uint32_t n);

/* One argument: a device buffer from an offset on; or host memory for a pointer (uploaded, and
 * downloaded after unless the parameter is const); or bytes by value (exactly the parameter's). */
typedef struct gb_kernel_arg {
    gb_buffer *buffer;
    size_t offset;
    void *host;
    const void *value;
    size_t bytes; /* of host or value */
} gb_kernel_arg;

/* Runs a kernel and waits for it. Blocks. GB_ENOENT names the nearest kernel; GB_EINVAL the
 * argument or limit; GB_EDEVICE: a buffer of another device; GB_ETRAP: it trapped. */
GB_API int gb_launch(gb_kernels *kernels, const char *kernel, const gb_shape *shape,
                     const gb_kernel_arg *args, int arg_count);

/* The same without blocking. Memory of arguments given as host must stay until fn has run; a buffer
 * may be freed at once, and values are copied now. fn gets 0, or a negative code with its message
 * (never NULL, borrowed). Launches of one gb_kernels run one after the other. */
typedef void gb_done_fn(gb_host *host, int rc, const char *message, void *user);
GB_API int gb_launch_start(gb_kernels *kernels, const char *kernel, const gb_shape *shape,
                           const gb_kernel_arg *args, int arg_count, gb_done_fn *fn, void *user);

/* ---- device buffers ---- */

/* Zeroed memory of a device (-1: the host's). GB_ENOMEM, GB_EDEVICE. May block. */
GB_API int gb_buffer_create(gb_buffer **out, gb_host *host, size_t bytes, int device);

/* A buffer on memory of the program, without a copy: address is as kernels of the device see it; on
 * a cpu device a pointer of this process, aligned to 16 bytes. Kernels, uploads and downloads work
 * on that memory in place. It is the program's, and must stay as it is until release has run:
 * exactly once, on any thread, when gb_buffer_free was called (or gb_close) and the last launch
 * with it has ended. release may be NULL; it must be short and not call into the host. It never
 * runs when this fails, nor while a kernel that nothing can end holds the memory.
 * GB_EINVAL: 0 bytes, no address, not aligned. GB_EDEVICE: no such device; so answers a launch on
 * another device than the buffer's. GB_ENOTYET: device memory on a cuda device. */
typedef void gb_release_fn(void *user, uint64_t address);
GB_API int gb_buffer_wrap(gb_buffer **out, gb_host *host, uint64_t address, size_t bytes,
                          int device, gb_release_fn *release, void *user);

/* Launches with it that still run keep its memory until they end. Never blocks. NULL is allowed. */
GB_API void gb_buffer_free(gb_buffer *buffer);
GB_API size_t gb_buffer_size(const gb_buffer *buffer); /* bytes; 0 for NULL */

/* Copies bytes between data and the buffer from offset (bytes) on, and waits. Block. GB_EINVAL:
 * they do not fit. GB_EBUSY inside callbacks and on the host's threads. GB_ECLOSED. */
GB_API int gb_buffer_upload(gb_buffer *buffer, size_t offset, const void *data, size_t bytes);
GB_API int gb_buffer_download(gb_buffer *buffer, size_t offset, void *data, size_t bytes);

/* Memory and semaphores that another API (Vulkan, Direct3D 12) shares by a file descriptor, which
 * would be the host's after success. GB_ENOTYET always: on a cuda device they need the driver's
 * external memory, which this version does not call; on a cpu device no other API shares memory, so
 * map the descriptor (mmap) and give the address to gb_buffer_wrap. GB_EDEVICE: no such device. */
typedef struct gb_semaphore gb_semaphore;
GB_API int gb_buffer_import_fd(gb_buffer **out, gb_host *host, int fd, size_t bytes, int device);
GB_API int gb_semaphore_import_fd(gb_semaphore **out, gb_host *host, int fd, int device);

#ifdef __cplusplus
}
#endif

#endif
