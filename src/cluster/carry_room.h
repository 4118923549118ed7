/* What the files of calls between silos share: carry.c (the door), carry_out.c (calls that leave),
 * carry_in.c (calls that came), carry_bytes.c (large ones). */
#ifndef GB_CLUSTER_CARRY_ROOM_H
#define GB_CLUSTER_CARRY_ROOM_H

#include "base/map.h"
#include "cluster/call_frame.h"
#include "cluster/carry.h"
#include "cluster/directory.h"

/* The answer "it is elsewhere": results hold the silo (8 bytes) and whether it was chosen just now
 * (1 byte). It never reaches a caller. */
enum { GBI_MOVED = -99, GBI_MOVED_BYTES = 9 };

typedef struct gbi_lane gbi_lane;
typedef struct gbi_ask gbi_ask;
typedef struct gbi_carrier gbi_carrier;

/* A call that the door has taken. It is in one list at a time. */
typedef struct gbi_pend {
    gb_list link; /* of its question, of its lane (waiting or sent), or of those for later */
    gb_call *call;
    gbi_lane *lane; /* when sent */
    bool chosen;    /* the silo that it goes to was chosen for it */
    bool beside;    /* its arguments are in its last block */
    uint8_t hops;
    uint32_t index, generation; /* its number */
} gbi_pend;

/* Who is asked where a grain is: one question for all calls to it. */
struct gbi_ask {
    gb_list calls;
    uint32_t index;
    uint16_t generation; /* an answer to an older question at this index is none */
    bool claim;          /* else find */
    uint32_t size;
    char id[];
};

/* How long something has been slow. */
typedef struct gbi_slow {
    uint64_t since; /* 0: it is not */
    bool said;
} gbi_slow;

struct gbi_lane {
    struct gbi_peer *peer;
    gb_link *link;   /* NULL: none */
    gb_list waiting; /* for the link */
    gb_list large;   /* ... for others that are large */
    gb_list sent;
    uint32_t index, failures; /* in a row */
    gbi_slow slow;            /* calls wait because it takes none */
    /* carry_watch.c */
    gb_link *probe; /* NULL: none */
    uint64_t received, silent_since;
    char address[GB_MEMBER_ADDRESS_BYTES];
};

typedef struct gbi_peer {
    uint64_t silo;
    gbi_carrier *carrier;
    uint32_t workers;      /* 0: not known yet */
    uint64_t denied_until; /* it has refused us: calls fail at once meanwhile */
    char denied[200];      /* ... with that */
    gbi_lane lanes[GB_CARRY_LANES];
} gbi_peer;

/* A link over which calls come. */
typedef struct gbi_inlet {
    gb_list link, served;
    gbi_carrier *carrier;
    gb_link *wire;
    uint64_t silo; /* 0: a client */
    size_t held;   /* bytes of the calls that are served for it */
    gbi_slow slow; /* it is not heard */
    gb_grant grant;
    char peer[GB_ADDRESS_BYTES];
} gbi_inlet;

/* One worker's part. */
struct gbi_carrier {
    gb_carry *carry;
    gb_worker *worker;
    gb_map asks_by_id, peers_by_silo;
    gbi_ask **asks; /* by index; free ones are NULL */
    uint32_t ask_room, ask_free;
    uint16_t asked; /* counts questions */
    gbi_peer **peers;
    uint32_t peer_count, peer_room;
    gbi_pend **pends;
    uint32_t pend_room, pend_used;
    gb_list pend_free;
    gb_list later; /* calls that wait for another way */
    gb_timer again, watch, slow;
    gb_list inlets;
    gb_list served_free;
    bool stopped;
    gb_node again_node; /* there was no memory for an answer of the directory */
    atomic_bool again_told;
    gb_dir_cache cache; /* where grains were last seen */
    struct {
        _Atomic int64_t links, sent, served, moved, lost, retried;
    } stats;
};

struct gb_carry {
    gb_far far;
    gb_link_room room; /* of what comes to all workers */
    gb_carry_config config;
    int count;
    gbi_carrier *carriers;
};

/* ---- carry.c ---- */

static inline gbi_carrier *gbi_carrier_of(gb_carry *carry, gb_worker *worker)
{
    return &carry->carriers[worker->index];
}

static inline void gbi_count(_Atomic int64_t *counter, int64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* It begins again from nothing: where is its grain? */
void gbi_pend_place(gbi_carrier *c, gbi_pend *pend);
void gbi_pend_fail(gbi_carrier *c, gbi_pend *pend, int rc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
gbi_pend *gbi_pend_new(gbi_carrier *c, gb_call *call);
gbi_pend *gbi_pend_at(gbi_carrier *c, uint64_t number);
gb_call *gbi_pend_free(gbi_carrier *c, gbi_pend *pend); /* gives the call back */

/* As gbi_pend_free for a call that is served here, with its arguments where they were. NULL: there
 * was no memory, and it has failed. */
gb_call *gbi_pend_back(gbi_carrier *c, gbi_pend *pend);

/* ---- carry_bytes.c ---- */

/* Many bytes of a call (arguments, results) become its last block, which travels without a copy.
 * 1: they did; 0: they are few; GB_ENOMEM. */
int gbi_call_beside(gb_call *call);
int gbi_call_inside(gb_call *call); /* and back: 0 or GB_ENOMEM */

/* Blocks that came become the call's (set to NULL), in place of what it has. */
int gbi_call_take(gb_call *call, gb_block **blocks, uint32_t count);

uint64_t gbi_call_order(const gb_call *call); /* calls to one grain keep theirs */

/* May the call leave now? No: others that are large are before it. */
bool gbi_lane_takes(const gbi_lane *lane, const gb_call *call);

/* ---- carry_out.c ---- */

/* The call goes to a silo, or its caller is told that it is there. */
void gbi_pend_go(gbi_carrier *c, gbi_pend *pend, uint64_t silo, bool chosen);
void gbi_pend_ask(gbi_carrier *c, gb_call *call, const gb_question *question);
void gbi_pend_later(gbi_carrier *c, gbi_pend *pend);
void gbi_later_fire(gb_timer *timer);
void gbi_peer_end(gbi_carrier *c, uint64_t silo);
void gbi_out_stop(gbi_carrier *c);

void gbi_lane_lost(gbi_carrier *c, gbi_lane *lane, int rc, const char *why); /* closes its link */
void gbi_lane_hello(gbi_carrier *c, const gbi_lane *lane, gb_link_role role, gb_hello *out);

/* ---- carry_watch.c ---- */

void gbi_watch_begin(gbi_carrier *c); /* a call has left */
void gbi_watch_fire(gb_timer *timer);
void gbi_watch_end(gbi_lane *lane); /* its link is gone */

/* ---- carry_slow.c ---- */

/* Call it when it may have changed who waits for whom. */
void gbi_slow_inlet(gbi_inlet *inlet);
void gbi_slow_lane(gbi_lane *lane);
void gbi_slow_fire(gb_timer *timer);

/* ---- carry_in.c ---- */

/* Does it not read its answers? */
bool gbi_inlet_full(const gbi_inlet *inlet);

void gbi_inlet_open(gbi_carrier *c, const gb_hello *hello, const gb_grant *grant, gb_pipe_end end);
void gbi_in_review(gbi_carrier *c);
void gbi_in_stop(gbi_carrier *c);
void gbi_served_close(gbi_carrier *c);

#endif
