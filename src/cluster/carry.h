/* Calls between silos: the door of grain/far.h, with links to other silos behind it.
 *
 * A call to a grain that is not here goes this way. Its home worker asks where the grain is
 * (`find`); when it is nowhere a silo is chosen (`choose`), and that silo claims it before it is
 * activated. The answer comes back over the same link. A silo that is asked for a grain that is
 * elsewhere says where; who asked goes there, so often at most as GB_HOPS_MAX. Clients are not sent
 * about: their calls are passed on.
 *
 * Each worker has links of its own to the silos it calls, one for each of the first GB_CARRY_LANES
 * workers there, made when they are first needed: a call then wakes two threads and no more.
 *
 * What a caller is told. ELOST: the link broke after the call had left, it may have run. A call
 * that has not left waits for another way, until its deadline.
 *
 * Threads: functions say. The questions of the config are asked on worker threads, and must not
 * block. Memory: closes after gb_silo_stop, which reads the last mail, and before gb_silo_close.
 */
#ifndef GB_CLUSTER_CARRY_H
#define GB_CLUSTER_CARRY_H

#include "cluster/link.h"
#include "cluster/table.h"
#include "grain/far.h"

enum { GB_CARRY_LANES = 4 };

typedef struct gb_carry gb_carry;

typedef struct gb_carry_config {
    gb_mem *mem;
    gb_silo *silo;
    const char *cluster;
    gb_tls *tls;             /* NULL: none */
    const gb_secret *secret; /* what its links prove; NULL: nothing */
    gb_guard *guard;         /* whose grants may end; NULL: none */
    size_t bytes_max;        /* of one message */
    uint64_t connect_ns, retry_ns;
    uint64_t quiet_ns; /* a link that owes answers and is silent for so long: is the process behind
                          it alive? 0: who is dead is said by gb_carry_dead */
    uint32_t attempts_max; /* links that fail one after the other: then calls fail; 0: no bound */
    void *user;
    uint64_t (*self)(void *user); /* 0: not a member (any more) */
    bool (*serves)(void *user);   /* may clients come in now? */
    /* What came from there made no sense, or half of it did not come, and the link was closed. Any
     * worker; NULL: to nobody. */
    void (*refused)(void *user, const char *peer, const char *why);
    /* Somebody (silo 0: a client, of whom the grant tells more) has been slow for some seconds;
     * then, on: he is so no more. Likewise. */
    void (*slow)(void *user, uint64_t silo, const char *peer, const gb_grant *grant, bool on,
                 const char *what);
    /* gb_carry_answered follows, once: rc 0 and the silo that hosts it (find: 0 for none). */
    void (*find)(void *user, uint64_t token, const char *id, uint32_t size, uint64_t deadline);
    void (*claim)(void *user, uint64_t token, const char *id, uint32_t size, uint64_t deadline);
    void (*release)(void *user, const char *id, uint32_t size);
    int (*choose)(void *user, const gb_type *type, gb_key key, uint64_t *silo);
    /* false: it is dead, or unknown */
    bool (*address)(void *user, uint64_t silo, char out[GB_MEMBER_ADDRESS_BYTES]);
} gb_carry_config;

/* Before the worker threads start. */
int gb_carry_open(gb_carry **out, const gb_carry_config *config);
void gb_carry_close(gb_carry *carry);
gb_far *gb_carry_far(gb_carry *carry);

/* On a worker's thread, before it ends: closes its links; calls that are out are answered. */
void gb_carry_stop(gb_carry *carry, gb_worker *worker);

/* ---- any thread ---- */

void gb_carry_answered(gb_carry *carry, uint64_t token, int rc, uint64_t silo);

/* A link for calls was greeted: takes end over. */
void gb_carry_accept(gb_carry *carry, const gb_hello *hello, const gb_grant *grant,
                     gb_pipe_end end);

/* What clients were granted is looked at again: links of those whose token is no more are closed.
 */
void gb_carry_review(gb_carry *carry);

/* It is dead: links to it are closed. */
void gb_carry_dead(gb_carry *carry, uint64_t silo);

/* Another silo hosts it, or (id NULL) this silo is a member no more: what is active here ends,
 * without its hooks, links to it close, and questions that are out are asked anew. */
void gb_carry_drop(gb_carry *carry, const char *id, uint32_t size);

typedef struct gb_carry_stats {
    int64_t links, sent, served, moved, lost, retried; /* links: now */
} gb_carry_stats;
void gb_carry_get_stats(gb_carry *carry, gb_carry_stats *out);

#endif
