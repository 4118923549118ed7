/* gpubridge: a host for grains (virtual actors) written in Lua, for engines and programs in C and C++.
 *
 *     gb_config config;
 *     gb_config_init(&config, sizeof config);
 *     config.app_dir = "game/grains";
 *     gb_host *host;
 *     int rc = gb_open(&host, &config);
 *     if (rc < 0) fprintf(stderr, "%s: %s\n", gb_err_name(rc), gb_err_detail());
 *
 * Errors. Functions that can fail return 0 or a count, or a negative GB_E... code; gb_err_detail() is the text, for the
 * calling thread, until its next failure. A function that takes a callback and returns an error never calls it.
 *
 * Threads. A host has worker threads of its own (config.workers > 0), or none, and then gb_poll drives it. Functions
 * may be called from any thread unless they say otherwise; gb_poll from one thread at a time. Callbacks run on a
 * worker's thread, or only inside gb_poll with GB_DELIVER_POLL. Several hosts in one process work.
 *
 * Ownership. What a function gives through a pointer to a pointer is the caller's to close; what it returns is
 * borrowed. Arguments are copied unless a function says that it takes them.
 */
#ifndef GPUBRIDGE_H
#define GPUBRIDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define GB_API
#else
#define GB_API __attribute__((visibility("default")))
#endif

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

GB_API const char *gb_err_name(int rc);   /* "ETIMEDOUT"; "OK" for 0 or more */
GB_API const char *gb_err_text(int rc);   /* its meaning in a few words */
GB_API const char *gb_err_detail(void);   /* the calling thread's last failure; borrowed */
#endif

/* ---- the host ---- */

typedef struct gb_host gb_host;

typedef enum { GB_DELIVER_WORKER, GB_DELIVER_POLL } gb_deliver;

typedef struct gb_config {
    size_t size;             /* set by gb_config_init: the caller's sizeof */
    int workers;             /* worker threads; 0: gb_poll drives one worker; -1: one per core */
    gb_deliver deliver;      /* where callbacks run */
    const char *app_dir;     /* folder of grain modules; NULL: none */
    const char *script_dir;  /* where require and kernel files are looked for too; NULL: none */
    const char *cache_dir;   /* compiled kernels; NULL: the user's cache folder */
    const char *compiler;    /* C++ compiler for kernels on the CPU; NULL: clang++, else g++ */
    int kernel_threads;      /* of the cpu device; 0: one per core */
    int cpu_devices;         /* the CPU as several devices; 0: one */
    double spin_us;          /* a worker with nothing to do spins so long before it sleeps; < 0: the default, 50 */
    double call_timeout_ms;  /* of calls that name none; 0: 30000 */
    double stuck_ms;         /* a turn that runs longer is reported; 0: 5000 */
    int64_t lua_bytes_max;   /* memory of each worker's Lua state; 0: no cap */
    int log_level;           /* 0 debug, 1 info, 2 warn, 3 error, 4 off; -1: the default, 1 */
    void (*log)(void *user, int level, const char *line); /* NULL: standard error. Any thread */
    void *log_user;
    int sanitize;            /* kernels on the CPU under ASan and UBSan (the process needs their runtime) */
    int virtual_time;        /* a simulated world: time moves only when nothing is left to do (tests) */
    uint64_t seed;           /* of a simulated world */
    const char *lua_config;  /* what Lua sees as gb.config: the text of a Lua table; NULL: { app = {} } */
    void (*exit)(void *user, int code); /* os.exit in Lua, on a worker's thread; NULL: the process ends there */
    void *exit_user;
} gb_config;

/* Defaults: workers -1, everything else none or the default. */
GB_API void gb_config_init(gb_config *config, size_t size);

/* Starts a host: workers run when this returns. GB_EINVAL names the field. */
GB_API int gb_open(gb_host **out, const gb_config *config);

/* Runs deactivation hooks and what is queued, for at most drain_ms; then everything is gone. Callbacks that are
 * still owed run with GB_ECLOSED before it returns. */
GB_API void gb_close(gb_host *host, int drain_ms);

/* Drives a host without workers, and delivers callbacks of GB_DELIVER_POLL: works for at most work_us, and when there
 * is nothing to do waits for at most wait_us. How many callbacks ran. One thread at a time. */
GB_API int gb_poll(gb_host *host, int64_t work_us, int64_t wait_us);

/* A descriptor that is readable when gb_poll has something to do before its next timer; -1: none. */
GB_API int gb_poll_fd(gb_host *host);

#ifdef __cplusplus
}
#endif

#endif
