/* A cluster of silos in one process, in virtual time, from one seed: the real state machines of
 * src/cluster over a simulated network, a simulated membership table, simulated clocks and grains
 * that count. Every step is an event of one queue; two runs of one seed are the same.
 */
#ifndef GB_TESTS_CLUSTER_WORLD_H
#define GB_TESTS_CLUSTER_WORLD_H

#include "base/buf.h"
#include "base/map.h"
#include "cluster/directory.h"
#include "cluster/member.h"
#include "seed.h"

#include <stdbool.h>

#define MS ((uint64_t)1000000)
#define SEC ((uint64_t)1000000000)

enum {
    GRAIN_BYTES = 8,
    TWINS = 4,      /* slots for silos with somebody else's name */
    HOLDERS_MAX = 8 /* of one grain that are looked at */
};

/* Faults, and what else must have happened: each is counted, none may stay zero. */
#define COUNTS(X)                                                                                  \
    X(CRASH, "fault crash")                                                                        \
    X(MASS_CRASH, "fault crash of many")                                                           \
    X(SLEEP, "fault sleep")                                                                        \
    X(FREEZE, "fault sleep until dead")                                                            \
    X(RESTART, "restart under a new epoch")                                                        \
    X(PARTITION, "fault partition")                                                                \
    X(ONE_WAY, "fault one-way partition")                                                          \
    X(PAIR, "fault pair cut")                                                                      \
    X(LOSS, "fault loss")                                                                          \
    X(LOST, "message lost")                                                                        \
    X(DELAY, "fault delay")                                                                        \
    X(DUPLICATE, "fault duplication")                                                              \
    X(DOUBLED, "message doubled")                                                                  \
    X(REFUSED, "connection refused")                                                               \
    X(TABLE_SLOW, "fault table slow")                                                              \
    X(TABLE_DOWN, "fault table down")                                                              \
    X(TABLE_PART, "fault table down for some")                                                     \
    X(TABLE_UNSURE, "table write in doubt")                                                        \
    X(TABLE_CONFLICT, "table write conflict")                                                      \
    X(TABLE_WIPE, "fault table wiped")                                                             \
    X(TABLE_RESTORE, "fault table restored")                                                       \
    X(MEMORY, "fault out of memory")                                                               \
    X(REFUSALS, "allocation refused")                                                              \
    X(CLOCK, "fault clock jump")                                                                   \
    X(DRAIN, "fault drain")                                                                        \
    X(UNDRAIN, "drain taken back")                                                                 \
    X(STOP, "fault stop without drain")                                                            \
    X(TWIN, "fault two silos with one name")                                                       \
    X(NEW_JOINING, "state new to joining")                                                         \
    X(JOINING_ACTIVE, "state joining to active")                                                   \
    X(JOINING_STOPPING, "state joining to stopping")                                               \
    X(JOINING_DEAD, "state joining to dead")                                                       \
    X(ACTIVE_DRAINING, "state active to draining")                                                 \
    X(ACTIVE_STOPPING, "state active to stopping")                                                 \
    X(ACTIVE_DEAD, "state active to dead")                                                         \
    X(DRAINING_ACTIVE, "state draining to active")                                                 \
    X(DRAINING_STOPPING, "state draining to stopping")                                             \
    X(DRAINING_DEAD, "state draining to dead")                                                     \
    X(STOPPING_DEAD, "state stopping to dead")                                                     \
    X(LEFT, "left in order")                                                                       \
    X(REMOVED, "state dead to removed")                                                            \
    X(HEALED, "row written again after a loss")                                                    \
    X(ENDED_STOPPED, "ended as asked")                                                             \
    X(ENDED_DEAD, "ended dead")                                                                    \
    X(ENDED_NAME, "ended for its name")                                                            \
    X(PAUSED, "serving paused")                                                                    \
    X(RESUMED, "serving resumed")                                                                  \
    X(FENCED, "fence sent")                                                                        \
    X(INDIRECT, "indirect probe")                                                                  \
    X(VIEW_ASKED, "view asked of a peer")                                                          \
    X(SYNC, "directory asked all for an arc")                                                      \
    X(LATER, "directory said later")                                                               \
    X(TAKEN, "claim lost to another")                                                              \
    X(DROPPED, "second activation ended")                                                          \
    X(FORWARDED, "call forwarded")                                                                 \
    X(CALL_OK, "call ok")                                                                          \
    X(CALL_TIMEOUT, "call timed out")                                                              \
    X(CALL_LOST, "call lost with its silo")                                                        \
    X(CALL_FAILED, "call refused")                                                                 \
    X(ETAG, "stale activation found by its etag")                                                  \
    X(IDLE, "activation ended idle")                                                               \
    X(OVERLAP, "grain active twice, in views apart")                                               \
    X(CLOCK_SAID, "a clock said to be off")

enum {
#define COUNT_NAME(name, text) N_##name,
    COUNTS(COUNT_NAME)
#undef COUNT_NAME
        COUNTS_ALL
};

/* Bugs that a test plants, one for each check at least: which of them finds which bug is in
 * sim_cluster.c, and in docs/design/cluster.md for people. */
typedef enum planted {
    PLANTED_NOTHING,
    /* the directory */
    PLANTED_ALL_YES,    /* an owner grants a claimed grain to the next who claims it */
    PLANTED_SYNC_EMPTY, /* hosts do not tell what they host */
    PLANTED_OLD_GRANT,  /* answers of old views count */
    PLANTED_EARLY,      /* who drains releases before its turns have ended */
    PLANTED_LATER,      /* an owner answers "later" for ever */
    /* the table and the rows in it */
    PLANTED_NO_RETURN, /* a return from draining is not counted */
    PLANTED_EPOCH,     /* a restarted silo takes its former epoch */
    PLANTED_ONE_VOTE,  /* one vote suffices */
    PLANTED_REMOVE,    /* a removal takes a row of a live silo too */
    /* what a silo makes of them */
    PLANTED_RUMOUR,   /* one is taken for dead whom the table has alive */
    PLANTED_HIDDEN,   /* a silo does not see that it is dead */
    PLANTED_SLEEPER,  /* turns begin although serving is paused */
    PLANTED_UNFENCED, /* what the dead say counts */
    PLANTED_BLOCKED,  /* a table that is out of reach holds up the silo that asks */
    PLANTED_DEAF,     /* one silo reads an old table for ever */
    PLANTED_LAZY,     /* probes are twenty seconds apart */
    PLANTED_LATE,     /* signs of life are ten minutes old when they are written */
    /* calls, state, bytes */
    PLANTED_DEADLINE, /* a call has no deadline */
    PLANTED_NO_ETAG,  /* the store does not look at etags */
    PLANTED_TOLD,     /* a caller is answered before the write, which is not done */
    PLANTED_TORN,     /* the last byte of messages is missing */
    /* the simulator's own */
    PLANTED_TWICE_ENDED, /* an activation ends twice */
    PLANTED_NO_DRAIN,    /* a fault is counted and does not happen */
    PLANTED_CHANCE       /* a choice that does not come from the seed */
} planted;

typedef enum event_kind {
    EVENT_WAKE,     /* a silo's timers */
    EVENT_NET,      /* a packet arrives */
    EVENT_TABLE,    /* a table operation ends */
    EVENT_STORE,    /* an activation was read */
    EVENT_TURN,     /* a turn ends */
    EVENT_CALL_END, /* a call's deadline */
    EVENT_START,    /* a silo starts */
    EVENT_CLIENT,
    EVENT_FAULT,
    EVENT_HEAL, /* a fault ends */
    EVENT_REFUSED,
    EVENT_DRAINED,
    EVENT_MIND /* who drains changes its mind, or the other way round */
} event_kind;

typedef struct blob {
    uint32_t refs, size;
    uint8_t bytes[];
} blob;

typedef struct event {
    uint64_t at, seq;
    event_kind kind;
    uint32_t slot, life;
    uint64_t a, b; /* the kind's */
    void *ptr;
} event;

/* A call on its way, or at its origin. */
typedef struct call {
    uint64_t id;
    uint32_t grain, origin, origin_life, hops;
    uint64_t deadline;
    uint64_t target; /* silo it was sent to */
    struct call *next;
} call;

typedef struct reply {
    uint64_t id;
    uint32_t grain;
    int rc;
    uint64_t value, host;
} reply;

typedef enum act_state { ACT_NONE, ACT_CLAIMING, ACT_LOADING, ACT_ACTIVE } act_state;

typedef struct act {
    act_state state;
    bool busy;
    uint64_t etag, value, serial; /* serial: of this activation, against late events */
    uint64_t used;
    call *queue, **queue_end;
} act;

/* A question to the directory. */
typedef struct asking {
    uint64_t token;
    uint32_t grain;
    call *waiting; /* FIND: the call that waits; NULL: a claim */
    struct asking *next;
} asking;

typedef struct pending {
    uint64_t id, target;
    uint32_t grain;
    struct pending *next;
} pending; /* calls of this origin that have not ended */

typedef struct slot {
    uint32_t index, life;
    bool up, wants_up; /* wants_up: it restarts by itself */
    char name[16], address[24];
    uint64_t epoch;
    uint64_t asleep_until;
    uint64_t slept_from, slept_until; /* by a fault, the last time */
    uint64_t read_began; /* of the last read that came through; a write finds the same version */
    uint64_t served_at;  /* told to serve */
    bool fenced;         /* since then */
    int64_t wall_offset;
    uint64_t wall_since; /* it is so */
    gb_membership *member;
    gb_directory *directory;
    gb_dir_cache cache;
    gb_view *view;
    act *acts; /* one per grain */
    uint64_t tokens, woken_at;
    asking *askings;
    pending *calls;
    bool draining, stalled, one_shot; /* one_shot: its life is the last here */
    uint64_t drain_until;
    uint32_t minds; /* how often it still changes its mind */
    uint32_t held;
} slot;

typedef struct grain {
    uint64_t etag, value; /* in the store */
    uint64_t acked;       /* the highest value that a caller was told */
    struct holder {
        uint32_t slot, life;
        gb_view_id view;
        uint64_t since;
    } holders[HOLDERS_MAX];
    uint32_t holder_count;
    uint64_t twice_since;
} grain;

typedef struct sim_table {
    uint64_t version;
    gb_row **rows; /* sorted by id */
    uint32_t count, room;
    uint64_t saved_version;
    gb_row **saved;
    uint32_t saved_count;
    uint64_t slow_until, down_until, lost_at;
} sim_table;

typedef struct world {
    gb_mem mem, machine_mem; /* machine_mem: of the state machines, sometimes empty */
    uint64_t memory_until;
    seed random, client_random, fault_random;
    uint64_t number, now, seq, until, faults_until;
    uint64_t trace, steps;
    planted plant;
    bool quiet, verbose, table_loss, in_directory, reached;
    uint64_t fault_mask, fault_gap_ns, call_gap_ns, dead_keep_ns;
    uint32_t reach_ok, watched;
    event *heap;
    uint32_t heap_count, heap_room;
    uint32_t silos, slot_count, grain_count;
    slot *slots;
    grain *grains;
    gb_map ids; /* mix of silo id to place in lives */
    struct world_life {
        uint64_t id, died_at; /* its process stopped; 0: not */
        uint64_t touched_at;  /* its last sign of life in the table */
        uint32_t slot, life;
        bool declared; /* dead, in the table */
    } * lives;
    uint32_t life_count, life_room;
    uint8_t *blocked; /* slot_count * slot_count: from, to */
    uint8_t *table_blocked;
    uint64_t loss_until, delay_until, duplicate_until;
    sim_table table;
    gb_member_actions actions;
    gb_directory_actions dir_actions;
    gb_buf scratch;
    uint64_t calls, calls_open, askings;
    uint64_t counts[COUNTS_ALL];
    uint64_t messages[GB_MSG_KINDS], bytes[GB_MSG_KINDS];
    uint64_t table_reads, table_writes, table_touches, table_bytes;
    uint64_t agreed_at, detect_max_ns, detect_sum_ns, detect_count;
    char broken[400]; /* the first rule that was broken */
} world;

typedef struct world_config {
    uint64_t seed;
    uint32_t silos, grains;
    uint64_t duration_ns;
    bool faults, table_loss, verbose;
    uint32_t watched;      /* a grain and one: what happens to it is printed */
    uint64_t fault_gap_ns; /* between two faults; 0: by chance */
    uint64_t fault_mask;   /* of N_...; 0: all */
    uint64_t call_gap_ns;  /* between two calls of clients */
    planted plant;
} world_config;

/* cluster_world.c */
const char *count_text(int which);
void world_open(world *w, const world_config *config);
void world_advance(world *w, uint64_t until);
void world_run(world *w); /* to the end, and the last checks */
void world_close(world *w);
void world_push(world *w, uint64_t at, event_kind kind, uint32_t index, uint64_t a, uint64_t b,
                void *ptr);
void world_awake(world *w, slot *s); /* before its sleep is over */
void world_broken(world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_watch(world *w, uint32_t index, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void world_note(world *w, uint64_t what); /* into the trace */
uint64_t world_below(world *w, uint64_t bound);
bool world_chance(world *w, uint32_t of_1000);

/* cluster_net.c */
void net_send(world *w, slot *from, uint64_t to, const gb_message *message);
void net_send_all(world *w, slot *from, const gb_message *message);
void net_call(world *w, slot *from, uint64_t to, call *moved);
void net_reply(world *w, slot *from, uint32_t to, uint32_t to_life, const reply *what);
void net_arrived(world *w, const event *e);
void net_free(event *e);
struct world_life *net_life_of(world *w, uint64_t silo);
slot *net_slot_of(world *w, uint64_t silo); /* NULL: no process with that id is up */

/* cluster_table.c */
void table_op(world *w, slot *s, const gb_member_action *action);
void table_done(world *w, const event *e);
void table_free(event *e);
void table_put(world *w, const gb_member *member);
void table_save(world *w);
void table_wipe(world *w);
void table_restore(world *w);
void table_close(world *w);

/* cluster_silo.c */
void silo_start(world *w, uint32_t index);
void silo_start_all(world *w); /* as if they had run for long */
void silo_kill(world *w, uint32_t index);
void silo_wake(world *w, const event *e);
void silo_message(world *w, slot *s, uint64_t from, const gb_message *message);
void silo_refused(world *w, slot *s, uint64_t silo);
void silo_drain(world *w, slot *s, bool gently);
void silo_change_mind(world *w, slot *s);
void silo_stop(world *w, slot *s);
void silo_after(world *w, slot *s); /* does what the membership asked for */
void silo_after_directory(world *w, slot *s);
gb_times silo_times(const world *w, const slot *s);

/* cluster_grain.c */
void grain_client(world *w);
void grain_call_from(world *w, slot *s, uint32_t grain, uint64_t deadline);
void grain_arrived(world *w, slot *s, call *c);
void grain_replied(world *w, slot *s, const reply *r);
void grain_answer(world *w, slot *s, uint64_t token, int rc, uint64_t silo);
void grain_loaded(world *w, slot *s, uint32_t index, uint64_t serial);
void grain_turned(world *w, slot *s, uint32_t index, uint64_t serial, call *c);
void grain_late(world *w, slot *s, uint64_t id);
void grain_dropped(world *w, slot *s, uint32_t index, uint64_t silo);
void grain_unlinked(world *w, slot *s, uint64_t silo);
void grain_resume(world *w, slot *s);
void grain_idle(world *w, slot *s);
void grain_release_all(world *w, slot *s);          /* a bug: what is active goes on */
bool grain_end_all(world *w, slot *s, bool gently); /* true: none is left */
void grain_forget(world *w, slot *s);
void grain_id(uint32_t index, uint8_t out[GRAIN_BYTES]);
uint32_t grain_index(const void *id);
uint64_t grain_hash(uint32_t index);

/* cluster_fault.c */
void fault_begin(world *w);
void fault_end(world *w, const event *e);
void fault_end_all(world *w);

/* cluster_check.c */
void check_held(world *w, slot *s, uint32_t index, gb_view_id view);
void check_released(world *w, slot *s, uint32_t index);
void check_view(world *w, slot *s);
void check_row(world *w, slot *writer, const gb_member *before, const gb_member *row, bool way);
void check_removed(world *w, const gb_member *row);
void check_read(world *w, slot *s, uint32_t life, bool dead);
void check_turn(world *w, slot *s);
void check_paused(world *w, slot *s);
void check_fenced(world *w, slot *s, bool sender_dead, bool fenced);
void check_clock(world *w, const slot *s, const char *said); /* a line of its log */
void check_twice(world *w);
bool check_agreed(world *w);
void check_end(world *w);
void check_dump(world *w); /* for people */

#endif
