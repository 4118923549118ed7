/* What a language implements to run grains. All functions run on the worker's thread and never
 * block.
 *
 * The body of a turn is the kind's own (a coroutine with its arguments on it, a C function with its
 * state). Between workers and in queues a call carries bytes (and blocks) instead: unpack makes the
 * body from them, pack makes bytes of the outcome. A local call may be given a ready body
 * (gb_call_begin_at) and answered from one, without bytes.
 */
#ifndef GB_GRAIN_KIND_H
#define GB_GRAIN_KIND_H

#include "grain/grain.h"

enum { GB_RUN_DONE = 0, GB_RUN_PARKED = 1 };

struct gb_kind {
    const char *name;

    /* Makes the type usable on this worker. GB_OP_READY: it is; GB_OP_PENDING: gb_type_loaded will
     * be called. */
    int (*load)(gb_worker *worker, gb_type *type);

    /* Makes the instance of a new activation (its hooks run later, as turns). */
    int (*open)(gb_worker *worker, gb_act *act);

    /* Forgets the instance. The activation has no turns any more. */
    void (*close)(gb_worker *worker, gb_act *act);

    /* Makes the body of a turn from call->method and call->bytes (or of a hook: GB_CALL_HOOK, bytes
     * empty). Takes bytes and blocks over. Errors: GB_ENOMETHOD, GB_EINVAL, GB_ENOMEM, with
     * gb_call_fail's message. */
    int (*unpack)(gb_call *call);

    /* Runs it until it waits (GB_RUN_PARKED, after gb_turn_park), or ends (GB_RUN_DONE or negative;
     * rc and message are set by the kind with gb_call_fail; a hook that fails may leave results in
     * call->bytes, for those who wait for the activation, where rc does not say enough). Called
     * again after gb_turn_wake. */
    int (*run)(gb_call *call);

    /* Writes the results of an ended turn into call->bytes and call->blocks, for another worker. */
    int (*pack)(gb_call *call);

    /* Drops the body of a turn: ended, or to be forgotten while parked. Calls that the turn made
     * may be answered later: their done must then not touch it. call->act may be NULL. */
    void (*drop)(gb_call *call);
};

#endif
