/* Inside of the membership machine: what its files share. */
#ifndef GB_CLUSTER_MEMBER_ROOM_H
#define GB_CLUSTER_MEMBER_ROOM_H

#include "base/err.h"
#include "cluster/member.h"

enum { GB_RELAYS_MAX = 64, GB_EARLY_MAX = 8, GB_VOTES_SEEN = GB_MEMBER_VOTES_MAX };

typedef enum gb_table_op {
    GB_OP_NONE,
    GB_OP_READ,
    GB_OP_WRITE,
    GB_OP_REMOVE,
    GB_OP_TOUCH
} gb_op_kind;

/* A silo that is probed. */
typedef struct gb_target {
    uint64_t silo;
    uint64_t first_seq; /* of the round: answers to older ones count for nothing */
    uint64_t until;     /* the next probe, or the end of the wait for an answer */
    uint8_t phase;      /* 0: between rounds; 1, 2: direct probes; 3: indirect ones too */
    uint8_t asked;      /* in phase 3: helpers that have not answered */
    bool suspect;       /* silent in its last round */
    bool answered;      /* ever */
} gb_target;

/* What this silo has seen of a row, by its own clock. */
typedef struct gb_seen {
    uint64_t silo;
    int64_t alive_ns;              /* the sign of life that is in the table */
    uint64_t alive_at;             /* first seen at this read */
    uint64_t dead_at;              /* first seen dead; 0: not dead */
    uint64_t vote_said, dead_said; /* when the log was told of it; 0: never */
    bool clock_said;
    uint32_t vote_count;
    struct {
        gb_vote vote;
        uint64_t at; /* 0: was there when this silo came; long ago */
    } votes[GB_VOTES_SEEN];
} gb_seen;

/* A silo that this one saw dead. */
typedef struct gb_grave {
    uint64_t silo, at;
} gb_grave;

/* A probe on behalf of another silo. */
typedef struct gb_relay {
    uint64_t asker, asker_seq, silo, seq, until;
} gb_relay;

/* A change that came before the one that it follows. */
typedef struct gb_early {
    gb_view_id from, to;
    gb_row *row;
    uint64_t *ids;
    uint32_t count;
} gb_early;

struct gb_membership {
    gb_mem *mem;
    gb_membership_config config; /* its texts are `self`'s */
    gb_member self;              /* name, address, labels, types, epoch */
    uint64_t random;
    uint64_t id;
    gb_silo_state want; /* what the own row is to become */
    bool started, ended, serving;
    bool shown;     /* this step has said that there is a new view */
    bool must_read; /* slept or fenced: no serving before a read that began after must_since */
    uint64_t must_since;
    gb_times at;        /* of this step */
    uint64_t last_step; /* 0: none yet */
    uint64_t started_at, stop_at;

    gb_view *table;          /* the newest contents known, also when not taken over */
    gb_view *view;           /* taken over */
    const gb_view *own_view; /* table, and the own row in it: looked at in each step */
    const gb_member *own;
    gb_seen *seen; /* of table's rows, same order */
    uint32_t seen_count;
    gb_grave *graves; /* outlive the rows that a table loses */
    uint32_t grave_count, grave_room;
    uint64_t confirmed;   /* when the read or write that gave the view began */
    uint64_t looked;      /* when the read that gave the signs of life in `seen` began */
    int64_t looked_wall;  /* ... by the wall clock */
    gb_view_id looked_id; /* ... what was read */
    uint64_t regress_at;  /* since when table is not what view demands; 0: it is */

    gb_op_kind op;
    gb_times op_began;
    gb_view_id op_floor; /* known when it began */
    gb_row *op_row;
    uint64_t *op_ids;
    uint32_t op_id_count;
    uint64_t read_at;  /* the next read is due */
    uint64_t write_at; /* no write before: back-off */
    uint64_t touch_at;
    uint32_t conflicts, failures; /* in a row */
    gb_view_id hint;              /* the newest view that somebody told of */
    uint64_t hint_from;
    uint64_t hint_at; /* when the table is read for it, if it is not here by then */
    gb_early early[GB_EARLY_MAX];
    uint32_t early_count;

    gb_target *targets;
    uint32_t target_count, target_room;
    uint32_t suspects; /* of them */
    bool retarget;     /* who is suspected has changed */
    bool named;        /* older silos of this name are all dead in table */
    struct gb_order {
        uint64_t hash, silo;
    } * order; /* who is alive, in the order of probing */
    uint32_t order_count;
    uint64_t order_digest; /* of its silos */
    uint64_t seq;
    uint64_t last_ack; /* when any probe was answered */
    gb_relay relays[GB_RELAYS_MAX];
    uint32_t relay_count;
};

/* member_hear.c: what others tell of the table */
void gbi_member_heard_change(gb_membership *m, const gb_message *message, gb_member_actions *out);
void gbi_member_heard_view(gb_membership *m, const gb_message *message, gb_member_actions *out);
void gbi_member_hint(gb_membership *m, uint64_t from, gb_view_id view);
void gbi_member_tell_view(gb_membership *m, uint64_t to, gb_member_actions *out);
void gbi_member_hear_close(gb_membership *m);

/* member_clock.c: before what was seen is replaced by what this read shows */
void gbi_member_clocks(gb_membership *m, const gb_view *table, gb_member_actions *out);

/* member_grave.c */
void gbi_member_bury(gb_membership *m, uint64_t silo);
bool gbi_member_buried(const gb_membership *m, uint64_t silo);
const gb_member *gbi_member_risen(const gb_membership *m, const gb_view *table); /* or NULL */
void gbi_member_graves_close(gb_membership *m);

/* member_actions.c */
bool gbi_member_room(gb_member_actions *out, uint32_t more);

/* member.c */
uint64_t gbi_member_random(gb_membership *m);
gb_member_action *gbi_member_do(gb_membership *m, gb_member_actions *out,
                                gb_member_action_kind kind);
void gbi_member_log(gb_membership *m, gb_member_actions *out, int level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
gb_message *gbi_member_send(gb_membership *m, gb_member_actions *out, uint64_t silo,
                            gb_message_kind kind);
gb_view_id gbi_member_known(const gb_membership *m);
const gb_member *gbi_member_own(const gb_membership *m, const gb_view *view);
void gbi_member_end(gb_membership *m, gb_member_why why, gb_member_actions *out);
void gbi_member_read_by(gb_membership *m, uint64_t at); /* a read is due then, or earlier */
void gbi_member_table(gb_membership *m, gb_view *table, bool read, gb_member_actions *out);

/* member_probe.c */
void gbi_member_order(gb_membership *m);   /* the view's silos changed */
void gbi_member_targets(gb_membership *m); /* ... or who is suspected */
void gbi_member_probe(gb_membership *m, gb_member_actions *out);
void gbi_member_probe_rest(gb_membership *m, uint64_t gap, bool slept);
void gbi_member_probe_message(gb_membership *m, uint64_t from, const gb_message *message,
                              gb_member_actions *out);
void gbi_member_probe_refused(gb_membership *m, uint64_t silo, gb_member_actions *out);
bool gbi_member_suspects(const gb_membership *m, uint64_t silo);
bool gbi_member_reached(const gb_membership *m, uint32_t *answered, uint32_t *count);
uint64_t gbi_member_probe_next(const gb_membership *m);

/* member_plan.c */
void gbi_member_plan(gb_membership *m, gb_member_actions *out);
bool gbi_member_votes(const gb_member *row); /* may its silo? NULL: no */
bool gbi_member_covers(const gb_membership *m, const gb_view *table);
uint64_t gbi_member_plan_next(const gb_membership *m);

#endif
