/* The door to other silos, opened by a higher floor. Without it a silo is alone: every grain that
 * has no activation yet gets one here.
 *
 * With it, the worker that would make an activation asks first. Types that the main script pins to
 * a worker, and stateless ones, are never asked about: they are this silo's own.
 *
 * A type that only others host is foreign here: it has a name and no kind; its calls go from the
 * worker that makes them straight through this door.
 *
 * Threads: place and ended run on the worker they are given, inside of its passes, and never block.
 */
#ifndef GB_GRAIN_FAR_H
#define GB_GRAIN_FAR_H

#include "grain/grain.h"

typedef struct gb_far gb_far;
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

/* May its blocks leave the process? 0, or GB_EDEVICE: one holds what only means something here. */
int gb_call_may_leave(const gb_call *call);

#endif
