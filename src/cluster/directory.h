/* The directory: where each grain is active. Every silo keeps the part of it that the ring gives to
 * it, and tells the others' parts what it hosts itself. A pure state machine, as member.h: each
 * function is a step that appends to a list what is to be done.
 *
 * The rules (docs/design/cluster.md says why):
 * - Who wants to activate a grain claims it from its owner, and begins when the answer names it.
 *   The owner answers the first who claims; all others learn who that is. One owner per view and
 *   grain, one answer per owner: within one view at most one activation.
 * - The truth about activations is with their hosts. Who gains an arc of the ring asks every silo
 *   that is not dead what it hosts there, and gives nothing of the arc away before all have
 *   answered under a view that is no older. What is known already is found meanwhile.
 *   A silo that appears without having been joining is asked for all, for the same reason.
 * - A claim's answer that is of an older view than its host's is thrown away and claimed again, so
 *   after its answer to such a question a host gets nothing that the new owner does not know.
 * - An owner that is asked under a newer view than its own answers "later", as does one that does
 *   not own the grain.
 * - Activations of a silo are numbered. A release takes back only what is no younger than its
 *   number, so a late or doubled one takes nothing from a new activation. An entry for a silo that
 *   does not host the grain is harmless: it claims again when a call comes.
 * - Two hosts of one grain (after a table was lost): the one registered under the newer view stays,
 *   with equal views the one of the smaller silo; the other is told to end.
 *
 * Threads: one at a time. Errors: GB_ENOMEM; a step that finds no memory answers what it must with
 * GB_ENOMEM and keeps what it had.
 */
#ifndef GB_CLUSTER_DIRECTORY_H
#define GB_CLUSTER_DIRECTORY_H

#include "cluster/message.h"

typedef struct gb_directory_rules {
    uint64_t answer_wait_ns; /* 500 ms: then a question is asked again */
    uint64_t later_min_ns;   /* 10 ms, doubled to answer_wait: after "later" */
    uint64_t sync_wait_ns; /* 500 ms, doubled to 4 s: a silo that has not answered is asked again */
    uint64_t blind_ns;     /* 5 min; at most half of gb_member_rules.dead_keep_ns: who skipped
                              views for longer asks all for everything */
    uint32_t questions_max; /* 65,536 at a time; more are refused (GB_EBUSY) */
} gb_directory_rules;

void gb_directory_rules_init(gb_directory_rules *rules);

typedef struct gb_directory_config {
    gb_mem *mem;
    uint64_t silo;      /* this one */
    uint64_t hash_seed; /* of the cluster: the same in all silos, a secret of them */
    gb_directory_rules rules;
} gb_directory_config;

typedef enum gb_directory_action_kind {
    GB_DIR_SEND,   /* message to silo; losing it is no error */
    GB_DIR_ANSWER, /* of gb_directory_find or _claim: token, rc, silo */
    GB_DIR_DROP    /* end the activation of id: silo hosts it; calls that wait go there */
} gb_directory_action_kind;

typedef struct gb_directory_action {
    gb_directory_action_kind kind;
    uint64_t silo;
    uint64_t token;
    int rc;
    uint32_t id_size;
    void *id; /* of DROP and of the message: the list's */
    gb_message message;
} gb_directory_action;

typedef struct gb_directory_actions {
    gb_directory_action *items;
    uint32_t count, room;
    gb_mem *mem;
} gb_directory_actions;

void gb_directory_actions_init(gb_directory_actions *actions, gb_mem *mem);
void gb_directory_actions_clear(gb_directory_actions *actions);
void gb_directory_actions_fini(gb_directory_actions *actions);

typedef struct gb_directory gb_directory;

int gb_directory_open(gb_directory **out, const gb_directory_config *config);
void gb_directory_close(gb_directory *d); /* answers nothing any more */

/* Of a grain's id, as the ring and caches use it. */
uint64_t gb_directory_hash(uint64_t hash_seed, const void *id, uint32_t size);

/* ---- events ---- */

/* The silo took over a view. */
void gb_directory_view(gb_directory *d, gb_view *view, uint64_t now, gb_directory_actions *out);

/* A message of the directory's kinds from a silo that is not dead. */
void gb_directory_message(gb_directory *d, uint64_t from, const gb_message *message, uint64_t now,
                          gb_directory_actions *out);

/* Where is it active? 0, and ANSWER comes once, in this step or later: rc 0 and silo (0: nowhere),
 * or GB_ETIMEDOUT at the deadline. Or it is refused and no answer comes: GB_EBUSY (too many
 * questions), GB_ENOMEM. It also says to the owner that it is not active here: not
 * to be asked while it is, or while a claim of it is under way. */
int gb_directory_find(gb_directory *d, uint64_t token, const void *id, uint32_t size,
                      uint64_t deadline, uint64_t now, gb_directory_actions *out);

/* This silo wants to host it. 0, and ANSWER comes once: rc 0 and silo. When that is this silo the
 * grain is to be activated here, now, and is held until it is released; else another has it.
 * GB_EDENIED: this silo is not active in the owner's view. Or it is refused and no answer comes:
 * GB_ECONFLICT (it is held or claimed already), GB_EBUSY, GB_ENOMEM. */
int gb_directory_claim(gb_directory *d, uint64_t token, const void *id, uint32_t size,
                       uint64_t deadline, uint64_t now, gb_directory_actions *out);

/* A held activation has ended, its state is saved: others may have it. */
void gb_directory_release(gb_directory *d, const void *id, uint32_t size, uint64_t now,
                          gb_directory_actions *out);

void gb_directory_tick(gb_directory *d, uint64_t now, gb_directory_actions *out);
uint64_t gb_directory_next(const gb_directory *d); /* when a tick is due; UINT64_MAX: none */

/* ---- what is ---- */

/* Held here; *view (or NULL): what it is registered under. */
bool gb_directory_holds(const gb_directory *d, const void *id, uint32_t size, gb_view_id *view);

typedef struct gb_directory_stats {
    uint64_t entries;                                /* of this part */
    uint64_t held;                                   /* activations here */
    uint64_t questions;                              /* under way */
    bool syncing;                                    /* an arc is not known wholly yet */
    uint64_t syncs, claims, refused, later, dropped; /* so far */
} gb_directory_stats;
void gb_directory_get_stats(const gb_directory *d, gb_directory_stats *out);

/* ---- the cache of who calls ---- */

/* Where grains were last seen, by hash: fixed memory, one thread. A wrong or old line costs a
 * forward, never a wrong answer, so hashes that meet are no harm. */
typedef struct gb_dir_cache {
    gb_mem *mem;
    uint32_t mask;
    struct gb_dir_cache_line {
        uint64_t hash, silo;
    } * lines;
} gb_dir_cache;

int gb_dir_cache_init(gb_dir_cache *cache, gb_mem *mem, uint32_t lines); /* a power of two */
void gb_dir_cache_fini(gb_dir_cache *cache);
void gb_dir_cache_put(gb_dir_cache *cache, uint64_t hash, uint64_t silo); /* 0: forget */

/* 0: unknown, or the silo is dead in the view (NULL: who asks sees to that). */
uint64_t gb_dir_cache_get(const gb_dir_cache *cache, uint64_t hash, const gb_view *view);

/* A call that comes to a silo without the activation goes on to where it is, so often at most. */
enum { GB_HOPS_MAX = 4 };

#endif
