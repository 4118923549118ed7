/* Grains: ids, activations, turns, calls, mailboxes, workers. Knows no language and no network.
 *
 * A silo runs N workers, one thread each. A worker owns a shard of the activations, a run queue,
 * timers and a mailbox; nothing of it is touched by another thread but the mailbox. A grain lives
 * on one worker, so its turns never meet.
 *
 * One object moves: the call. It is made by whoever asks (its origin worker), travels to the worker
 * of its target, is a turn while it runs there, and comes back with its result; its origin frees
 * it. A call within one worker never leaves it. What a call carries and how a turn runs is the
 * language's business: kind.h.
 *
 * Threads. Unless said otherwise a function runs on the thread of the worker it is given (or that
 * owns the object). Memory. Calls and activations belong to their worker; types, symbols and the
 * silo live until gb_silo_close. Errors. Negative GB_E...; a call's own failure is call->rc with
 * its text in call->message.
 */
#ifndef GB_GRAIN_GRAIN_H
#define GB_GRAIN_GRAIN_H

#if __has_include("base/block.h")
#include "base/block.h"
#else
typedef struct gb_block gb_block;
void gb_block_unref(gb_block *block);
#endif
#include "base/buf.h"
#include "base/hist.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "sys/mailbox.h"
#include "sys/op.h"
#include "sys/timer.h"
#include "telemetry/trace.h"

#include <pthread.h>

typedef struct gb_silo gb_silo;
typedef struct gb_worker gb_worker;
typedef struct gb_type gb_type;
typedef struct gb_act gb_act;
typedef struct gb_call gb_call;
typedef struct gb_kind gb_kind;

enum { GB_WORKERS_MAX = 256, GB_TYPES_MAX = 4096, GB_ACTS_PER_CHUNK = 1024 };

/* ---- names and keys ---- */

/* An interned name (a method, a topic): one per silo, alive until it closes; equal names are one
 * pointer. Names that other processes send are not kept until something here has them, or whoever
 * connects could fill the memory: until then a call has its own copy (gb_call_set_method). */
#define GB_SYM_LOOSE UINT32_MAX
typedef struct gb_sym {
    uint32_t id; /* 0, 1, 2, ... in order of first use; GB_SYM_LOOSE: a call's own copy */
    uint32_t size;
    char text[];
} gb_sym;

/* Any thread. NULL: out of memory. */
const gb_sym *gb_sym_get(gb_silo *silo, const char *text, size_t size);
const gb_sym *gb_sym_find(gb_silo *silo, const char *text, size_t size); /* NULL: not kept */

/* A grain's key: an integer, or bytes. Texts that are integers in their canonical form ("7", "-12")
 * are the integer, so that 7 and "7" are one grain. */
typedef struct gb_key {
    const char *text; /* NULL: an integer. Borrowed */
    uint32_t size;
    int64_t number;
} gb_key;

gb_key gb_key_number(int64_t number);
gb_key gb_key_text(const char *text, size_t size); /* canonicalises; borrows */
bool gb_key_equal(gb_key a, gb_key b);

/* The same in all silos that have one hash_seed, whatever else is there. */
uint64_t gb_key_hash(const gb_type *type, gb_key key);

/* Which of so many workers of a silo is the home of a grain, by its hash. */
static inline uint32_t gb_hash_worker(uint64_t hash, uint32_t workers)
{
    return (uint32_t)((hash >> 10) % workers);
}

/* "Counter/basket-7" into out (always ended by NUL): the length it would have. */
int gb_key_print(char *out, size_t room, const gb_type *type, gb_key key);

/* ---- types ---- */

typedef enum {
    GB_PLACE_RANDOM,   /* any worker: by the hash of the id */
    GB_PLACE_HASH,     /* by the hash of the id */
    GB_PLACE_LOCAL,    /* the worker that calls first */
    GB_PLACE_LEAST,    /* the worker with the fewest activations */
    GB_PLACE_STATELESS /* the caller's worker; as many activations as are needed at once, up to a
                          bound */
} gb_placement;

/* On which silo of a cluster a grain is activated (cluster/place.h); nothing to one that is alone.
 */
typedef enum {
    GB_SITE_PLACEMENT, /* as its placement says */
    GB_SITE_GPU,       /* the most free memory, then the shortest queue */
    GB_SITE_AFFINE,    /* GPU silos, by the key */
    GB_SITE_BALANCED,  /* of two GPU silos the one with less to do */
    GB_SITE_NAMED      /* the key is the name of the silo */
} gb_site_rule;

typedef struct gb_site {
    gb_site_rule rule;
    bool prefer_local, demand_gpu; /* of rules with GPUs */
    int64_t minimum_mb;            /* ... on one device */
    const gb_sym *labels;          /* "role=gpu,zone=a": silos with all of them; NULL: all silos */
} gb_site;

typedef enum { GB_REENTRANT_NO, GB_REENTRANT_YES, GB_REENTRANT_CHAIN } gb_reentrancy;

typedef struct gb_type_options {
    gb_placement placement;
    gb_site site;
    gb_reentrancy reentrant;
    bool keep_alive;
    uint64_t idle_ns;       /* deactivate after so long without a turn */
    uint32_t queue_max;     /* calls waiting for one activation */
    uint32_t stateless_max; /* activations of one key on one worker */
} gb_type_options;

void gb_type_options_init(gb_type_options *options); /* random, no, 10 min, 1024, 16 */

struct gb_type {
    const gb_sym *name;
    const gb_kind *kind; /* NULL as long as it is foreign (far.h) */
    atomic_bool foreign;
    gb_type_options options;
    uint32_t id;
    uint64_t salt; /* of the hashes of its keys: its name's */
    int pinned;   /* hosted by this worker only; -1: by all */
    char *module; /* where it is defined, for messages and for loading on other workers; "" for the
                     main script */
    gb_silo *silo;
    struct gb_type_local {                 /* one per worker, touched by it alone */
        uint8_t state;                     /* GB_TYPE_... */
        bool has_activate, has_deactivate; /* hooks, set by the kind */
        _Atomic uint32_t count;            /* activations; read by any */
        _Atomic uint64_t activated;        /* ever; read by any */
        void *body;                        /* the kind's */
        gb_call *waiting, **waiting_end;   /* calls that came before it was loaded */
        gb_call *loader;                   /* the turn that loads it, if the kind names one: what */
        uint32_t loader_serial;            /* that turn waits for, those calls wait for */
        uint64_t calls;                    /* turns of calls that have ended */
        int64_t queued;                    /* calls in queues of activations */
        gb_hist *pace;                     /* ns from the coming of timed calls to their ends */
        gb_list idle;                      /* activations, the longest unused first */
        gb_timer idle_timer;
        gb_type *type;
        gb_worker *worker;
        char apart[64]; /* no cache line of two workers */
    } * local;
};

enum { GB_TYPE_UNLOADED, GB_TYPE_LOADING, GB_TYPE_LOADED };

/* Any thread. Defines a type, or finds the one that the same module defined before (on another
 * worker, or an older version: options are then the new ones, but for placement and site, which
 * stay). GB_ECONFLICT: two modules define one name; the detail names both. GB_EINVAL: a bound of 0.
 */
int gb_type_define(gb_type **out, gb_silo *silo, const char *name, const char *module,
                   const gb_kind *kind, int pinned, const gb_type_options *options);
gb_type *gb_type_find(gb_silo *silo, const char *name); /* any thread; NULL: unknown */
gb_type *gb_type_at(gb_silo *silo, uint32_t id);        /* any thread; NULL: none */
uint32_t gb_type_count(gb_silo *silo);                  /* any thread */
int64_t gb_type_activations(gb_type *type);             /* any thread: on all workers, about */

/* The kind says so when a load that it began (or any load) has made the type usable on this worker,
 * or failed. */
void gb_type_loaded(gb_worker *worker, gb_type *type, int rc, const char *message);

/* ---- activations ---- */

enum { GB_ACT_FREE, GB_ACT_STARTING, GB_ACT_ACTIVE, GB_ACT_STOPPING, GB_ACT_FORWARD };

/* Why an activation ends: passed to on_deactivate as text. */
typedef enum {
    GB_END_IDLE,
    GB_END_ASKED,
    GB_END_SHUTDOWN,
    GB_END_FAILED,
    GB_END_DEVICE /* what it works with is lost: its next activation finds another one */
} gb_end;
const char *gb_end_name(gb_end end);

#define GB_ACT_KEY_NUMBER UINT16_MAX

/* Two cache lines, and an array of them begins at one: an activation of a million touches no third.
 * In the first is what tells whether a call can begin. */
struct gb_act {
    gb_type *type;
    union {
        int64_t number;
        char *text; /* owned */
    } key;
    uint32_t slot, generation;
    uint32_t queued;             /* calls in queue that were admitted; FREE: the next free slot */
    uint32_t running;            /* turns that hold it (a non-reentrant activation: at most 1) */
    gb_call *queue, *queue_last; /* admitted: by priority, then in order */
    gb_call *turns;    /* all turns of it, running or parked, detached ones (spawned) too */
    uint16_t key_size; /* GB_ACT_KEY_NUMBER: the key is a number */
    uint8_t state;
    uint8_t end;     /* gb_end, when wants_end or STOPPING */
    uint8_t forward; /* FORWARD: the worker */
    uint8_t timed;   /* calls since slow_us began */
    bool root;       /* gb_worker_root; the watch reads it, so it shares no byte */
    bool wants_end : 1;
    bool bare : 1; /* only a place in the map: it never began, or is closed */

    gb_list idle;                     /* in its type's list of unused ones */
    uint64_t last;                    /* when its last turn ended */
    uint64_t calls;                   /* turns of calls that have ended */
    uint32_t slow_us, slow_before_us; /* the slowest of the timed calls: see gb_act_slow_ns */
    gb_call *room, *room_last;        /* behind the bound: they wait for room */
    struct gb_act_timer *timers;
};
_Static_assert(sizeof(gb_act) == 128, "two cache lines");

/* The activation behind a slot if it is still that generation, else NULL. */
static inline gb_act *gb_act_at(gb_worker *worker, uint32_t slot, uint32_t generation);

gb_act *gb_act_find(gb_worker *worker, gb_type *type, gb_key key);

/* The same, and makes it where a call from here would make it here and at once. NULL: it would not
 * (another worker's, a type that is not loaded, no memory): send the call, which finds out. */
gb_act *gb_act_make(gb_worker *worker, gb_type *type, gb_key key);
gb_key gb_act_key(const gb_act *act);
gb_worker *gb_worker_of_key(gb_type *type, gb_key key); /* by pin or hash; any thread */

/* Ends it after its running turn: on_deactivate, then it is gone. Detached turns of it are killed
 * (GB_ECANCELED), calls that wait are served by a new activation. Does nothing to a root. */
void gb_act_stop(gb_worker *worker, gb_act *act, gb_end end);

/* The slowest of its last 100 to 200 timed calls: the first ones of an activation are timed, but
 * for its very first, and then one in 16. 0: none yet. */
static inline uint64_t gb_act_slow_ns(const gb_act *act)
{
    uint32_t us = act->slow_us > act->slow_before_us ? act->slow_us : act->slow_before_us;
    return (uint64_t)us * 1000;
}

/* Calls fn for every activation of a type (all types: NULL) on this worker; fn must not activate or
 * end any. */
void gb_act_each(gb_worker *worker, gb_type *type, void (*fn)(gb_act *act, void *user), void *user);

/* The same for GB_ACTS_PER_CHUNK places of the worker's, from the chunk on that is given: who looks
 * at all activations goes on to the next one in a later turn. False: there is no such chunk. */
bool gb_act_each_of(gb_worker *worker, uint32_t chunk, void (*fn)(gb_act *act, void *user),
                    void *user);

/* ---- calls ---- */

/* What a call is; fixed once it is sent. */
enum {
    GB_CALL_ONEWAY =
        1,            /* a tell: answered when it is queued (or refused), its result goes nowhere */
    GB_CALL_HOOK = 2, /* on_activate, on_deactivate */
    GB_CALL_DETACHED = 4, /* a spawned turn: it shares its activation with other turns */
    GB_CALL_TICK = 8      /* a timer's: does not keep the activation alive */
};

/* How it goes to and comes from other silos (far.h); belongs to the worker that it is at. */
enum {
    GB_WAY_AFAR = 1,   /* its bytes came from another process: trust nothing */
    GB_WAY_PLACED = 2, /* it was decided that its grain is to be here */
    GB_WAY_DOOR_1 = 4, /* two of the door's own; they change nothing here */
    GB_WAY_DOOR_2 = 8
};

/* Where it is; belongs to the worker that it is at. */
enum {
    GB_AT_TURN = 1,   /* it has begun */
    GB_AT_PARKED = 2, /* a turn that waits */
    GB_AT_QUEUED = 4, /* in the queue of its activation */
    GB_AT_ROOM = 8,   /* waits for room in that queue */
    GB_AT_READY = 16, /* in the run queue */
    GB_AT_DOOR = 32,  /* the door to other silos has it (far.h) */
    GB_AT_TYPE = 64   /* waits until its type is loaded */
};

/* What travels along a chain of calls. */
typedef struct gb_context {
    gb_trace trace;       /* its id is zero: none yet. The span that calls; zero: none does */
    struct gb_block *bag; /* the user's values, encoded; counted, or NULL */
} gb_context;

struct gb_call { /* whole cache lines: neighbours in memory may be at different workers */
    _Alignas(64) gb_node node; /* between workers */
    gb_call *next;             /* in a queue */
    gb_worker *origin;
    _Atomic(gb_worker *) at; /* who may touch it now */
    gb_type *type;
    const gb_sym *method;
    gb_act *act;                     /* at: the target, once found */
    gb_call *turn_next, **turn_back; /* in act->turns */
    gb_key key;                      /* of the target: set with gb_call_set_key */
    uint64_t deadline;               /* ns on the silo's clock; GB_FOREVER: none */
    uint64_t came;                   /* to its activation; about, when it is not timed */
    uint8_t flags, state;
    bool watched; /* as a turn: someone waits for it (wait.c) */
    bool look;    /* as a turn: to be looked at once it has parked */
    bool timed;
    bool answered, away; /* origin: done has run; sent to another worker and not back */
    bool own_method;     /* method is a loose copy of its own */
    uint32_t serial;     /* changes when the object is freed */
    int rc;
    int8_t priority;
    uint8_t hops;           /* between workers, on the way to its activation */
    uint8_t way;            /* GB_WAY_...; as hops, it goes with the call */
    uint8_t turned;         /* away, by activations that ended before it could begin */
    atomic_uchar cancelled; /* written at origin: the caller is gone; read by the turn */
    gb_call *
        caller; /* the turn that made it, or NULL; looked at only while it is parked on this call */
    uint32_t caller_serial;
    uint32_t waits_serial;
    gb_call *waits;    /* as a turn: the call it is parked on, or NULL */
    void *body;        /* the kind's: what runs */
    char *message;     /* for rc < 0: text (malloc), or NULL */
    gb_buf bytes;      /* arguments, later results, when they must travel or wait */
    gb_block **blocks; /* arrays beside the bytes */
    uint32_t block_count;
    gb_context context;
    gb_timer timer; /* the deadline: origin; of a one-way call that waits for room: at */
    /* origin: exactly once, with the answer in rc and message, and in body (a local turn that
     * ended) or in bytes and blocks. The call is valid inside (an abandoned one is shown as a copy
     * without results). Never runs inside gb_call_send or gb_turn_park. It may send, abandon and
     * stop whatever it wants. */
    void (*done)(gb_call *call);
    void *user;
    char key_text[40];
    uint32_t index; /* among the calls of its origin */
    uint32_t named; /* the kind's: one more than the bytes that say who calls; 0: it must look */
    uint32_t door;  /* the door's own, while it has it */
};

/* A call of this worker with everything zero, or NULL (out of memory, or too many under way). */
gb_call *gb_call_new(gb_worker *worker);

/* Frees one that was never sent. */
void gb_call_drop(gb_call *call);

/* Copies the key. GB_ENOMEM. */
int gb_call_set_key(gb_call *call, gb_key key);

/* A method's name that came from elsewhere: the interned one, or a loose copy. GB_ENOMEM. */
int gb_call_set_method(gb_call *call, const char *text, size_t size);

/* Sends it. Set before: type, key, done, method, bytes and deadline (0 has passed); flags, caller,
 * priority, context as wanted. GB_OP_PENDING: done will run once, later. GB_OP_READY (one-way
 * only): it is queued, done never runs and the call is gone. Negative: refused (the detail says
 * why), done never runs and the call is still the sender's. A one-way call whose deadline has
 * passed is refused at once (GB_EBUSY) when the mailbox is full. */
int gb_call_send(gb_call *call);

/* The sender no longer waits: done runs now with rc; what the turn does is of no interest any more.
 * What waits in a queue of this worker never runs; a one-way call on its way may still run. Nothing
 * when it was answered before. */
void gb_call_abandon(gb_call *call, int rc, const char *message);

/* Keeps a message with the call (truncated when memory is short). */
void gb_call_fail(gb_call *call, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Can a call to this activation begin at once? (then gb_call_begin_at skips the queue) */
static inline bool gb_act_idle(const gb_act *act)
{
    return act->state == GB_ACT_ACTIVE && act->running == 0 && !act->queue && !act->wants_end;
}

/* The short way for a local call whose body is made: the activation was found idle. Arms the
 * deadline at origin. */
void gb_call_begin_at(gb_call *call, gb_act *act);

/* A detached turn on an activation: body is made. */
void gb_call_spawn(gb_call *call, gb_act *act);

/* An activation that belongs to no key: it holds turns of scripts and of the host, and never ends.
 */
int gb_worker_root(gb_worker *worker, gb_type *type, gb_act **out);

/* ---- turns (the kind calls these) ---- */

/* Is the turn that a worker remembers still parked there? Where it is comes first: once it has gone
 * home another worker may end it, free it and use its object again. */
static inline bool gb_turn_parked(const gb_worker *worker, const gb_call *turn, uint32_t serial)
{
    return atomic_load_explicit(&turn->at, memory_order_acquire) == worker &&
           turn->serial == serial && (turn->state & GB_AT_PARKED);
}

/* The running turn says that it will wait. It goes on when someone calls gb_turn_wake. `waits`
 * names the call it waits for, if it is one: a wait that closes a circle is found (the awaited call
 * is answered with GB_EDEADLOCK, after the kind's run has returned). */
void gb_turn_park(gb_call *turn, gb_call *waits);
void gb_turn_wake(gb_call *turn);

/* ---- workers ---- */

struct gb_worker {
    gb_silo *silo;
    int index;
    gb_loop *loop;
    gb_mem mem;
    uint64_t now;                 /* the silo's clock as of this pass */
    gb_call *next_call;           /* runs before the queue: hands a call to its target */
    gb_call *run_head, **run_end; /* ready turns */
    uint32_t handoffs;
    uint32_t timed_in; /* so many calls on, one is timed (room.h) */
    uint64_t timed_draw;
    gb_call *current; /* the turn that runs */
    gb_call *sending; /* inside gb_call_send: not answered yet */
    int sent;         /* ... and what it returns once that is known */
    gb_call *free_calls;
    void **call_slabs;
    uint32_t call_slab_count, call_slab_room;
    _Atomic int64_t calls_made, calls_freed; /* written here, read by any */
    _Atomic int64_t calls_idle;   /* under way, but no work (gb_silo_quiet); written here */
    _Atomic int64_t calls_failed; /* answered with an error of the house */
    _Atomic int64_t turns_raised; /* written by the kind */
    gb_act **chunks;
    uint32_t chunk_count, chunk_room, free_slot;
    gb_map acts;
    gb_timers timers;
    uint64_t timer_ids;
    void *body;             /* the language's state on this worker */
    uint64_t spin_ns;       /* adapts between none and the configured most */
    _Atomic uint64_t turns; /* written here, read by any */
    bool strict; /* looks at the clock after every turn: who drives it by hand has little time */
    _Alignas(64) atomic_bool stuck; /* read by all who send to it, so on a line of its own */
    /* for the stuck-turn watch: written by the worker, read by the system thread */
    _Alignas(64) _Atomic uint64_t beat; /* changes with every turn; 0 while none runs */
    _Atomic(const gb_sym *) beat_method;
    _Atomic(gb_act *) beat_act;
    _Atomic(gb_act *) looked_at; /* by the watch just now: it must not go */
    _Atomic int64_t act_count;   /* written here, read by placement */
    gb_mailbox mailbox;
};

/* Counts for who reads them now and then: a plain addition by the one thread that writes. */
static inline void gb_count_up(_Atomic int64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Any thread: runs node->run(node, worker) on the worker. */
static inline void gb_worker_post(gb_worker *worker, gb_node *node)
{
    gb_mailbox_push(&worker->mailbox, node);
}

/* One pass: mail, timers, ready turns (at most budget_ns of them). True when anything was done. */
bool gb_worker_pass(gb_worker *worker, uint64_t budget_ns);

/* When the next timer is due: GB_FOREVER when there is none. */
uint64_t gb_worker_next(gb_worker *worker);

/* In a turn: works at what the host's help finds until done(user), as long as there is nothing else
 * to do here, for a millisecond at most: is it done. */
bool gb_worker_help(gb_worker *worker, bool (*done)(void *user), void *user);

/* Helps, spins, then sleeps until there is something to do, at most until a time. */
void gb_worker_wait(gb_worker *worker, uint64_t until);

/* Runs passes and waits until *stop is set. Who sets it wakes worker->loop after that. */
void gb_worker_loop(gb_worker *worker, atomic_bool *stop);

static inline gb_act *gb_act_at(gb_worker *worker, uint32_t slot, uint32_t generation)
{
    if (__builtin_expect(slot >= worker->chunk_count * GB_ACTS_PER_CHUNK, 0)) return NULL;
    gb_act *act = &worker->chunks[slot / GB_ACTS_PER_CHUNK][slot % GB_ACTS_PER_CHUNK];
    return act->generation == generation && act->state != GB_ACT_FREE ? act : NULL;
}

/* ---- the silo ---- */

typedef struct gb_silo_config {
    gb_mem *mem;
    gb_sys *sys;
    const gb_log *log;
    int workers;      /* 1 .. GB_WORKERS_MAX */
    uint64_t spin_ns; /* a worker with nothing to do spins at most so long before it sleeps */
    uint64_t call_timeout_ns; /* of calls that name none; 0: 30 s */
    uint64_t stuck_ns;        /* a turn that runs longer is reported; 0: 5 s */
    bool (*busy)(void *user); /* other threads of ours need the cores: no spinning now; or NULL */
    /* A worker with nothing to do works for a moment at what its turns wait for: 1, it did; 0:
     * there is nothing; 2: nothing, but what they wait for is about to end. Or NULL. */
    int (*help)(void *user);
    void *busy_user;
} gb_silo_config;

struct gb_silo {
    gb_silo_config config;
    gb_mem *mem;
    gb_sys *sys;
    gb_worker **workers;
    int worker_count;
    uint64_t hash_seed;
    pthread_mutex_t lock;       /* symbols */
    pthread_mutex_t types_lock; /* definitions of types */
    _Atomic(gb_type *) types[GB_TYPES_MAX];
    _Atomic uint32_t type_count;
    gb_map sym_map;
    gb_sym **syms;
    uint32_t sym_count, sym_room;
    const gb_sym *sym_activate, *sym_deactivate;
    struct gb_far *far;           /* far.h; NULL: alone */
    _Atomic uint64_t turns_until; /* far.h */
    atomic_bool closing;          /* no new calls */
    atomic_bool ended;            /* gb_silo_stop */
};

int gb_silo_open(gb_silo **out, const gb_silo_config *config);

/* One pass over all workers from one thread, in an order drawn from the world's randomness. For
 * simulated worlds and for silos that are driven by hand. True when anything was done. */
bool gb_silo_pass(gb_silo *silo);

/* A simulated silo: runs until nothing is left to do at this time and no outside work is held. */
void gb_silo_settle(gb_silo *silo);

/* A simulated silo: lets time pass, stopping at each timer. */
void gb_silo_advance(gb_silo *silo, uint64_t ns);

/* Is nothing under way (no call, no turn)? Any thread, while workers run. True means that there was
 * an instant during the call at which nothing was. */
bool gb_silo_quiet(gb_silo *silo);

/* After the worker threads have stopped, and before the language closes its states: answers all
 * calls that are under way (done, GB_ECLOSED), drops the bodies of turns and closes all instances,
 * without hooks. A worker whose body is NULL has no language any more: nothing of it is told. */
void gb_silo_stop(gb_silo *silo);

/* gb_silo_stop, if that has not been; then frees everything. */
void gb_silo_close(gb_silo *silo);

/* Starts ending every activation on this worker (with hooks); true when none is left. */
bool gb_worker_drain(gb_worker *worker);

/* The stuck-turn watch, called every so often by the system thread: logs and marks workers that are
 * in one turn for too long. */
typedef struct gb_watch {
    struct {
        uint64_t beat, since;
        bool told;
    } seen[GB_WORKERS_MAX];
} gb_watch;
void gb_watch_look(gb_watch *watch, gb_silo *silo);

/* ---- timers of activations ---- */

typedef struct gb_act_timer gb_act_timer;

/* Ticks are one-way calls of a method with the same argument bytes each time; a tick that is still
 * waiting or running swallows the next ones. every_ns 0: once. The id names it for
 * gb_act_timer_stop. A tick is no use: it does not keep its activation alive. GB_ENOMEM;
 * GB_ECLOSED: the activation is ending. */
int gb_act_timer_start(gb_worker *worker, gb_act *act, const gb_sym *method, uint64_t after_ns,
                       uint64_t every_ns, const gb_buf *args, uint64_t *out_id);
bool gb_act_timer_stop(gb_worker *worker, gb_act *act, uint64_t id);
void gbi_act_timers_end(gb_worker *worker, gb_act *act);

#endif
