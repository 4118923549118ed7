/* Calls from C, from inside. A call of the program is a request: made on any thread, posted to a
 * worker, there it is a gb_call; its end is an owed callback, run on the worker or in gb_poll.
 *
 * Order. A request goes straight to the worker of its key when its type is known here (the table of
 * types) and nothing is on the way through worker 0; else through worker 0, which finds the type
 * (loading the app may wait) and keeps the order. So calls of one thread to one grain stay in
 * order.
 *
 * Life. The cells bound the requests under way and give each a number. A cell belongs to its
 * request from the post until its callback has begun; only the worker that the request was posted
 * to ends it, so that worker may follow a cell's pointer, and nobody else does.
 */
#ifndef GB_HOST_EMBED_H
#define GB_HOST_EMBED_H

#include "host/host.h"
#include "host/value.h"

enum { GBI_CELLS = 32768, GBI_TYPE_CACHE = 256, GBI_SYM_CACHE = 64, GBI_NAME_MAX = 255 };

typedef struct gbi_request gbi_request;
typedef struct gbi_waiter gbi_waiter;

/* Free: 0. Else the request's number and where it is; answered: GBI_OWED, which matches none. */
typedef struct gbi_cell {
    _Atomic uint64_t tag;
    gbi_request *request;
} gbi_cell;

#define GBI_OWED UINT64_MAX

typedef struct gbi_export {
    struct gbi_export *next;
    gb_export_fn *fn;
    void *user;
    int index;
    char name[];
} gbi_export;

typedef struct gbi_embed {
    gb_mailbox deliveries; /* GB_DELIVER_POLL with workers: owed callbacks, for gb_poll */
    gb_host *host;
    gb_loop *loop; /* where gb_poll waits for them, or NULL: callbacks run where they come up */
    gbi_cell *cells;
    atomic_uint numbers;                      /* the next request's */
    atomic_uint spread;                       /* the next worker for a stateless type */
    _Alignas(64) atomic_int passing;          /* requests on their way through worker 0 */
    _Atomic(gb_type *) types[GBI_TYPE_CACHE]; /* by hash of the name */
    const gb_sym **syms;                 /* GBI_SYM_CACHE for each worker, touched by it alone */
    gbi_request *finding, **finding_end; /* worker 0: they wait for their types */
    bool find_runs;                      /* worker 0 */
    atomic_bool fd_wanted;
    int delivered; /* callbacks run; the driver's */
    unsigned polls;
    atomic_int ops;       /* of devices, for C, that have not ended */
    pthread_mutex_t lock; /* what is below */
    gbi_export *exports;
    int export_count;
    gb_list buffers, kernels; /* opened and not closed; under host->handles_lock */
} gbi_embed;

int gbi_embed_open(gb_host *host);         /* after the silo; its workers do not run yet */
void gbi_embed_begin_close(gb_host *host); /* no new calls; nobody drives but this thread */
void gbi_embed_deliver(gb_host *host, uint64_t until); /* the driver: what is owed */
bool gbi_embed_quiet(gb_host *host);                   /* is no request under way? any thread */
void gbi_embed_abandon(gb_host *host); /* the silo is not ended but kept: all get GB_ECLOSED */
void gbi_embed_close(gb_host *host);   /* all callbacks have run */

/* An owed callback: runs node->run(node, host) where this host's callbacks run. Any thread. */
void gbi_embed_owe(gb_host *host, gb_node *node);

/* A callback that is no request has run: gb_poll counts it. */
void gbi_count_delivery(gb_host *host);

/* A public function begins: 0, or GB_EINVAL (host is NULL) or GB_ECLOSED. It ends: leave. */
int gbi_enter(gb_host *host, const char *what);
void gbi_leave(gb_host *host);

/* Is this a worker's thread, or a callback of this host? GB_EBUSY with a text then, else 0. */
int gbi_may_block(gb_host *host, const char *what);

/* One thread drives: 0, GB_EBUSY, GB_ECLOSED. */
int gbi_drive_begin(gb_host *host);
void gbi_drive_end(gb_host *host);
void gbi_drive(gb_host *host, uint64_t work_ns, uint64_t wait_ns); /* the driver */

/* ---- requests (embed_call.c) ---- */

typedef struct gbi_target {
    const char *type_name;
    gb_type *type; /* or NULL: by name */
    gb_key key;
} gbi_target;

typedef struct gbi_spec {
    gbi_target to;
    const char *method;
    gb_value *args;
    int64_t timeout_ms;
    bool tell;
    gb_result_fn *fn;
    void *user;
    gbi_waiter *waiter; /* instead of fn */
} gbi_spec;

/* Its number, or negative. Inside of gbi_enter. */
int gbi_request_start(gb_host *host, const gbi_spec *spec);
void gbi_request_close(gbi_request *request); /* no worker will end it any more: GB_ECLOSED */
int gbi_call_wait(gb_host *host, gbi_spec *spec, gb_value **out);
gb_type *gbi_type_known(gb_host *host, const char *name); /* or NULL */

/* Names and keys: 0, or GB_EINVAL and friends. */
int gbi_check_type(const char *type);
int gbi_check_key(const char *text, size_t size, gb_key *out);
int gbi_check_key_int(int64_t key);

/* The end of a blocking call, on any thread. value is taken. */
void gbi_waiter_end(gbi_waiter *waiter, int rc, gb_value *value, const char *detail);

/* ---- exports, for the Lua room (embed_export.c) ---- */
void gbi_exports_init(gb_host *host, gbl_exports *out);
/* As gb_export, before workers run; of any name. */
int gbi_export_add(gb_host *host, const char *name, gb_export_fn *fn, void *user);

void gbi_exports_free(gb_host *host);

/* ---- devices (embed_kernel.c, embed_buffer.c): let go of what the program left open ---- */
void gbi_kernels_close_all(gb_host *host);
void gbi_buffers_close_all(gb_host *host);

#endif
