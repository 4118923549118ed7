/* The door to other silos, opened by a higher floor. Without it a silo is alone: every grain that
 * has no activation yet gets one here.
 *
 * With it, the worker that would make an activation asks first. Types that the main script pins to
 * a worker, and stateless ones, are never asked about: they are this silo's own.
 *
 * A type that only others host is foreign here: it has a name and no kind; its calls go from the
 * worker that makes them straight through this door.
 *
 * Threads: they run on the worker they are given, inside of its passes, and never block; self: any.
 */
#ifndef GB_GRAIN_FAR_H
#define GB_GRAIN_FAR_H

#include "grain/grain.h"

typedef struct gb_far gb_far;

/* A question after calls that wait for each other (wait.c), on its way between silos: numbers and
 * nothing else, of which who gets them trusts none. */
typedef struct gb_question {
    uint64_t silo; /* of the suspect, the call that may wait for itself; 0: there is no door */
    uint32_t worker, index, serial; /* ... its origin, and which call of it */
    uint32_t stage, round, steps;
    uint64_t seen, seen_before; /* digests of what waits for what: of this round, of the last one */
    uint64_t queued_call;       /* a digest of the one that stands in a queue */
    uint32_t queued;            /* how many do */
    bool chain, travelled;
} gb_question;

struct gb_far {
    /* Asked on the worker that makes the call, first of all: is it known to be elsewhere?
     * GB_OP_PENDING: yes, the call is the door's, as below. GB_OP_READY: not known. */
    int (*known)(gb_far *far, gb_worker *worker, gb_call *call);
    /* Where is call->key to be activated? There is no activation here, and call->bytes hold its
     * arguments. GB_OP_READY: here. GB_OP_PENDING: the call is the door's; it ends with gb_far_here
     * or gb_far_answer, after this has returned. Negative: refused, the detail says why. */
    int (*place)(gb_far *far, gb_worker *worker, gb_call *call);
    /* An activation that place allowed has ended, or could not be made. Calls that waited for it
     * come to place next. */
    void (*ended)(gb_far *far, gb_worker *worker, gb_type *type, gb_key key);
    /* A question that came to a call which the door has. It goes where the call went, and comes to
     * gb_far_asked there, behind the call; it is dropped when the call has not left. */
    void (*ask)(gb_far *far, gb_worker *worker, gb_call *call, const gb_question *question);
    uint64_t (*self)(gb_far *far); /* this silo among others; 0: it is not one of them now */
    bool any_type; /* a type that nobody here knows may be there: a client cannot tell */
};

/* Before any call is made. Silos that share a seed agree on the hashes of keys, and thereby on
 * which of equally many workers a grain lives. */
void gb_silo_set_far(gb_silo *silo, gb_far *far, uint64_t hash_seed);

/* Any thread. No turn begins at or after this time of the silo's clock (GB_FOREVER: as ever). */
void gb_silo_set_turns_until(gb_silo *silo, uint64_t until);

/* Any thread. Defines a foreign type, or finds the type of that name. A module may define it here
 * later: then it is foreign no more. */
int gb_type_foreign(gb_type **out, gb_silo *silo, const char *name);

/* The call is to be served here after all: its activation is made, or found. */
void gb_far_here(gb_worker *worker, gb_call *call);

/* It is not known any more where the call is to go: it begins its way anew, from this worker. */
void gb_far_again(gb_worker *worker, gb_call *call);

/* The call has its answer, rc with its message, or bytes and blocks: it goes home. */
void gb_far_answer(gb_call *call);

/* A question came after a call that this worker made for another silo and that is not answered. */
void gb_far_asked(gb_worker *worker, gb_call *call, const gb_question *question);

/* May its blocks leave the process? 0, or GB_EDEVICE: one holds what only means something here. */
int gb_call_may_leave(const gb_call *call);

#endif
