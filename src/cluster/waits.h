/* Calls that wait for each other across silos. A call that is queued behind a turn which itself is
 * parked on a call to another silo may close a circle. Who finds such a call sends a question after
 * it (gb_waits_begin); each silo passes the question on along what its turns wait for, and where it
 * comes back to the turn that made the first call, that call waits for itself (edge chasing: Chandy
 * and Misra 1982).
 *
 * The machine keeps nothing: the edges are the caller's, who answers gb_waits_next for one call.
 * Questions are few (only behind parked turns), are sent again every second while a call waits, and
 * may be lost.
 */
#ifndef GB_CLUSTER_WAITS_H
#define GB_CLUSTER_WAITS_H

#include "cluster/message.h"

enum { GB_WAITS_HOPS_MAX = 64 };

typedef enum gb_waits_next_kind {
    GB_WAITS_NOTHING, /* the call runs, is done, or its turn is not parked: no circle here */
    GB_WAITS_AWAY,    /* its turn is parked on `call`, which went to `silo` */
    GB_WAITS_ASKER    /* its turn is the one that made the asker's call */
} gb_waits_next_kind;

typedef struct gb_waits_edge {
    gb_waits_next_kind kind;
    uint64_t silo, call;
} gb_waits_edge;

/* What does `target`, a call that came to this silo from silo `from`, wait for? asker_silo and
 * asker name the call whose turn would close the circle. Edges within the silo are followed by who
 * answers. */
typedef gb_waits_edge gb_waits_next_fn(void *user, uint64_t from, uint64_t target,
                                       uint64_t asker_silo, uint64_t asker);

/* The message that asks after `target` (sent to `silo` as a call) for the call `asker` of this
 * silo. */
gb_message gb_waits_begin(uint64_t self, uint64_t asker, uint64_t target);

/* A WAIT came: what to send on, to *silo. True: *out is to be sent (WAIT further, or WAIT_ROUND
 * back to the asker); false: nothing. */
bool gb_waits_message(uint64_t self, uint64_t from, const gb_message *message,
                      gb_waits_next_fn *next, void *user, gb_message *out, uint64_t *silo);

#endif
