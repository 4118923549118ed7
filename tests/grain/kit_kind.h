/* A kind in C, for tests of the room grain: grains hold one number, and a turn runs a small program
 * that came as its arguments. The kit also is the referee: it counts answers, watches that no two
 * activations of one id and no two turns of one non-reentrant activation exist at once, and hashes
 * what happened. With real threads (kit.threads) counts are atomic and nothing is hashed. */
#ifndef GB_TESTS_KIT_KIND_H
#define GB_TESTS_KIT_KIND_H

#include "grain/grain.h"
#include "grain/kind.h"

enum { KIT_WORDS = 640, KIT_SLOTS = 4, KIT_TYPES = 16, KIT_KEYS = 64, KIT_PARKED = 64 };

/* A program: words of operations and their arguments. */
typedef struct kit_prog {
    int count;
    int64_t word[KIT_WORDS];
} kit_prog;

typedef struct kit_to { /* the target of a call in a program */
    int type;
    int64_t key;
    int64_t timeout_ns; /* -1: none */
    int priority;
} kit_to;

void kit_add(kit_prog *prog, int64_t n);   /* adds to the grain's number; the result is the sum */
void kit_get(kit_prog *prog);              /* the result is the grain's number */
void kit_fail(kit_prog *prog, int64_t rc); /* the turn fails: "boom" */
void kit_call(kit_prog *prog, kit_to to, const kit_prog *inner); /* awaited; adds to the result */
void kit_tell(kit_prog *prog, kit_to to, const kit_prog *inner); /* waits while there is no room */
void kit_async(kit_prog *prog, int slot, kit_to to, const kit_prog *inner);
void kit_await(kit_prog *prog, int slot);
void kit_cancel(kit_prog *prog, int slot);
void kit_must(kit_prog *prog);              /* fails when the last call failed, with its code */
void kit_park(kit_prog *prog, int name);    /* until kit_wake */
void kit_sleep(kit_prog *prog, int64_t ns); /* parked for so long */
void kit_yield(kit_prog *prog);             /* parks and is woken at once */
void kit_stop(kit_prog *prog);              /* asks its activation to end */
void kit_note(kit_prog *prog, int64_t n);   /* into kit.notes */
void kit_seen(kit_prog *prog);              /* notes whether its caller is gone: 1 or 0 */
void kit_spawn(kit_prog *prog, const kit_prog *inner); /* detached */
void kit_timer(kit_prog *prog, int64_t after_ns, int64_t every_ns, const kit_prog *tick);
void kit_timer_stop(kit_prog *prog); /* the last timer that this grain started */

typedef enum { KIT_LOAD_READY, KIT_LOAD_PENDING, KIT_LOAD_FAILS } kit_load;

typedef struct kit_type {
    kit_prog activate, deactivate; /* hooks; count 0: none */
    kit_load load;
    atomic_int open_fails; /* so many of the next instances fail to open */
    int loads;
    gb_worker *loading[8]; /* PENDING: where */
    int loading_count;
} kit_type;

typedef struct kit_turn kit_turn;

typedef struct kit {
    gb_mem mem;
    gb_sys *sys;
    gb_silo *silo;
    const gb_sym *run; /* the method */
    gb_log log;
    bool threads, slow; /* slow: no short way for local calls */
    gb_type *types[KIT_TYPES];
    kit_type conf[KIT_TYPES];
    atomic_int live[KIT_TYPES][KIT_KEYS]; /* instances of small keys */
    _Atomic int64_t instances, turns, asked, answered, bodies, tells;
    atomic_int wrong; /* broken rules, printed when found */
    uint64_t trace;
    int64_t notes[256];
    int note_count;
    kit_turn *parked[KIT_PARKED];
} kit;

/* A call from outside of any grain. */
typedef struct kit_ask {
    kit *kit;
    gb_call *call; /* while it is under way */
    int sent;      /* what gb_call_send said */
    int done;      /* how often */
    int rc;
    int64_t value;
    uint64_t at; /* when it was answered */
    char message[200];
} kit_ask;

extern const gb_kind kit_kind;

/* A simulated silo, or with threads a real one. */
void kit_open(kit *kit, int workers, uint64_t seed);
void kit_open_real(kit *kit, int workers);
/* May fail, and kit_close follows all the same: for tests of memory. The kit is zero but for mem.
 */
int kit_open_on(kit *kit, int workers, uint64_t seed);
void kit_close(kit *kit); /* all counts must be at zero */

void kit_options(gb_type_options *options);
/* Defines type number `index` with a name of its own; options NULL: the defaults. */
gb_type *kit_define(kit *kit, int index, const gb_type_options *options);

int kit_ask_at(kit *kit, kit_ask *ask, int worker, kit_to to, const kit_prog *prog);
int kit_tell_at(kit *kit, kit_ask *ask, int worker, kit_to to, const kit_prog *prog);
bool kit_wake(kit *kit, int name);                   /* false: nobody is parked there */
gb_act *kit_find(kit *kit, int type, int64_t key);   /* on any worker; not a forwarding entry */
int64_t kit_number(kit *kit, int type, int64_t key); /* the number of a grain; -1: not active */

/* The rules that hold after every pass; prints and counts what is broken. */
void kit_check(kit *kit);
int64_t kit_calls(const kit *kit); /* under way: made and not freed */

/* gb_silo_pass with kit_check after each, until nothing is left to do at this time. */
void kit_settle(kit *kit);

#endif
