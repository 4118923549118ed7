/* Membership of one silo: who is in the cluster, who is dead, and may this silo serve. A pure state
 * machine: no I/O, no clock, no threads. Each function is a step: it takes one event and appends to
 * a list what is to be done; whoever runs the machine does that and brings the results back as
 * further events.
 *
 * The rules (docs/design/cluster.md says why):
 * - The table decides. A view is taken over when it is newer than the one before and lacks nothing
 *   that was alive in it; else the table lost rows, and who knows of it writes them again under a
 *   higher generation. Who was seen dead stays dead, also when the table forgets it.
 * - Each silo probes its next three in the ring of ids each second, past those that do not answer.
 *   A miss is followed by a second probe at once, a second miss by a third and by indirect ones. A
 *   silo that then still is silent gets a vote; min(2, others) votes that are seen within the
 *   expiry make it dead. A silo that hears from nobody does not vote.
 * - Ages are measured by this silo's own monotonic clock, from when it saw a vote or a sign of
 *   life. Wall clocks decide nothing; one that is far from this silo's is a line of the log.
 * - A silo that reads itself dead stops serving at once. It may start again as a new one, unless a
 *   newer silo has taken its name.
 * - A silo that slept, or that a peer calls dead, does not serve until it has read the table.
 * - While the table is out of reach nobody is removed, and serving goes on.
 *
 * Threads: one at a time. Memory: the machine's account; an action's pointers are valid until the
 * list is cleared. Errors: GB_ENOMEM from open alone; a step that finds no memory does less, and
 * tries again at its next tick.
 */
#ifndef GB_CLUSTER_MEMBER_H
#define GB_CLUSTER_MEMBER_H

#include "cluster/message.h"

/* Times and counts, all settable; gb_member_rules_init sets the defaults. */
typedef struct gb_member_rules {
    uint64_t probe_period_ns;  /* 1 s */
    uint64_t probe_timeout_ns; /* 500 ms; an indirect one has twice that */
    uint32_t probe_targets;    /* 3 */
    uint32_t probe_through;    /* 2: silos that are asked to probe for us */
    uint32_t suspects_max;     /* 8: how many silent silos are probed past */
    uint32_t votes;            /* 2, or fewer when fewer others are there */
    uint64_t vote_expiry_ns;   /* 20 s */
    uint64_t read_period_ns;   /* 60 s */
    uint64_t read_soon_ns;     /* 5 s: while somebody is suspected, or this silo joins */
    uint64_t read_retry_ns;    /* 1 s: after a failure */
    uint64_t hint_spread_ns;   /* 100 ms: a read on a hint waits a random part of it */
    uint64_t touch_period_ns;  /* 10 s; at least 60 ms for each silo of the cluster */
    uint64_t gone_ns;          /* 30 s without a touch, silent, and nobody else can vote: dead */
    uint64_t dead_keep_ns;     /* 10 min: dead rows are removed then */
    uint64_t sleep_ns;     /* 1.5 s between two steps: it slept; others need longer to find out */
    uint64_t join_wait_ns; /* 2 s: then more than half of the silos must have answered */
    uint64_t heal_wait_ns; /* 5 s: then others' lost rows are written too */
    uint64_t stop_wait_ns; /* 5 s for the table to hear that this silo stops */
    uint64_t clock_off_ns; /* 60 s: a wall clock that is further off than that is said */
} gb_member_rules;

void gb_member_rules_init(gb_member_rules *rules);

typedef struct gb_membership_config {
    gb_mem *mem;
    const char *name, *address; /* copied, as all texts */
    const char *labels, *types; /* as in gb_member */
    uint64_t ring_seed;         /* of the cluster: the same in all silos */
    uint64_t seed;              /* of this silo's random choices and ids: never the same twice */
    uint64_t epoch_min;         /* of an earlier life in this process, or 0 */
    gb_member_rules rules;
} gb_membership_config;

typedef enum gb_member_action_kind {
    GB_DO_READ,     /* gb_table_read, then gb_membership_read or _failed */
    GB_DO_WRITE,    /* gb_table_write of row at version, then gb_membership_written or _failed */
    GB_DO_REMOVE,   /* gb_table_remove of ids at version, likewise */
    GB_DO_TOUCH,    /* gb_table_touch of this silo, then gb_membership_touched */
    GB_DO_SEND,     /* message to silo; losing it is no error */
    GB_DO_SEND_ALL, /* message to every silo of the view that is not dead, but this one */
    GB_DO_VIEW,     /* a new view: gb_membership_view */
    GB_DO_LINK,     /* keep a link to silo (its row is in the view); these are missing when
                       there is no memory: the view tells too */
    GB_DO_UNLINK,   /* ... no longer */
    GB_DO_SERVE,    /* run turns: it was joining, or paused */
    GB_DO_PAUSE,    /* no turn begins until the next SERVE */
    GB_DO_ENDED,    /* this life is over: end all activations, without saving. why says more */
    GB_DO_LOG
} gb_member_action_kind;

typedef enum gb_member_why {
    GB_WHY_STOPPED,   /* as asked */
    GB_WHY_DEAD,      /* dead in the table: open a new machine, with epoch_min from this one */
    GB_WHY_NAME_TAKEN /* another silo has this name now: do not start again */
} gb_member_why;

enum { GB_MEMBER_LOG_BYTES = 256 };

typedef struct gb_member_action {
    gb_member_action_kind kind;
    gb_member_why why;
    uint64_t silo;
    uint64_t version; /* WRITE, REMOVE */
    int64_t wall_ns;  /* TOUCH */
    gb_row *row;      /* WRITE; take a reference to keep it */
    uint64_t *ids;    /* REMOVE */
    uint32_t id_count;
    gb_view *view;      /* what message.rows are in */
    gb_message message; /* SEND, SEND_ALL */
    int level;          /* LOG: gb_log_level */
    char text[GB_MEMBER_LOG_BYTES];
} gb_member_action;

typedef struct gb_member_actions {
    gb_member_action *items;
    uint32_t count, room;
    gb_mem *mem;
} gb_member_actions;

void gb_member_actions_init(gb_member_actions *actions, gb_mem *mem);
void gb_member_actions_clear(gb_member_actions *actions);
void gb_member_actions_fini(gb_member_actions *actions);

typedef struct gb_membership gb_membership;

/* now: monotonic; wall: the wall clock, which is shown, and compared with others' to be shown. */
typedef struct gb_times {
    uint64_t now;
    int64_t wall;
} gb_times;

int gb_membership_open(gb_membership **out, const gb_membership_config *config);
void gb_membership_close(gb_membership *m);

/* ---- events ---- */

void gb_membership_start(gb_membership *m, gb_times at, gb_member_actions *out);

/* Time passes. To be called when gb_membership_next says so, or earlier. */
void gb_membership_tick(gb_membership *m, gb_times at, gb_member_actions *out);

/* Results of table actions; one is under way at a time. view is borrowed. */
void gb_membership_read(gb_membership *m, const gb_table_view *view, gb_times at,
                        gb_member_actions *out);
void gb_membership_written(gb_membership *m, uint64_t version, gb_times at, gb_member_actions *out);
void gb_membership_failed(gb_membership *m, int rc, gb_times at, gb_member_actions *out);
void gb_membership_touched(gb_membership *m, int rc, gb_times at, gb_member_actions *out);

/* A message of membership's kinds came from a silo; other kinds: only its view counts. True: the
 * sender is dead here and was told so, what it says is of no interest. */
bool gb_membership_message(gb_membership *m, uint64_t from, const gb_message *message, gb_times at,
                           gb_member_actions *out);

/* A connection to it was refused or broke. */
void gb_membership_unreachable(gb_membership *m, uint64_t silo, gb_times at,
                               gb_member_actions *out);

/* Asked to leave: the state becomes draining, and no new activation comes here. When all are gone
 * (or at once, without a drain) stop: it ends with GB_DO_ENDED, also when the table is silent. Who
 * is draining may change his mind: undrain makes him active again. */
void gb_membership_drain(gb_membership *m, gb_times at, gb_member_actions *out);
void gb_membership_undrain(gb_membership *m, gb_times at, gb_member_actions *out);
void gb_membership_stop(gb_membership *m, gb_times at, gb_member_actions *out);

/* ---- what is ---- */

uint64_t gb_membership_id(const gb_membership *m);
uint64_t gb_membership_epoch(const gb_membership *m); /* 0: not known yet */
gb_silo_state gb_membership_state(const gb_membership *m);
gb_view *gb_membership_view(const gb_membership *m); /* borrowed; NULL: none yet */
bool gb_membership_serves(const gb_membership *m);

/* When the next tick is due at the latest. */
uint64_t gb_membership_next(const gb_membership *m);

/* Turns may begin until then. A worker looks at this before a turn: after a sleep it is over before
 * the thread that runs the machine has noticed. */
uint64_t gb_membership_serve_until(const gb_membership *m);

#endif
