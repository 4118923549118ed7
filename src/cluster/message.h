/* What silos say to each other about membership, the directory and capacity: one closed list
 * of kinds, each a CBOR list [kind, the three numbers of a view, fields...]. It is the payload of
 * a frame whose kind the links choose.
 *
 * Every message tells the view of who sends it; who hears of a newer one reads the table. Who sent
 * it is known from the link and stands in no message.
 *
 * Pure functions, any thread. Decoding trusts nothing (GB_EINVAL with a detail): counts are bounded
 * by the bytes that are there, ids and rows by the limits below. What a message owns is freed by
 * gb_message_fini; one that was built by hand over borrowed memory needs none.
 */
#ifndef GB_CLUSTER_MESSAGE_H
#define GB_CLUSTER_MESSAGE_H

#include "capacity/record.h"
#include "cluster/view.h"

enum {
    GB_GRAIN_ID_BYTES = 1280,   /* type and key of a grain, as bytes; at most */
    GB_MESSAGE_ARCS_MAX = 1024, /* of one question; more: ask for the whole ring */
    GB_SYNC_ITEMS_MAX = 512     /* in one part of an answer */
};

typedef enum gb_message_kind {
    /* membership */
    GB_MSG_PROBE = 1,  /* seq; capacity of the sender or none */
    GB_MSG_PROBE_ACK,  /* seq; capacity or none */
    GB_MSG_PROBE_FOR,  /* seq, silo: probe it for me */
    GB_MSG_PROBE_TOLD, /* seq, silo, status: 0, or it did not answer */
    GB_MSG_CHANGE,     /* from: the view before; row or removed ids: the one write since */
    GB_MSG_VIEW_ASK,
    GB_MSG_VIEW,  /* all rows of the sender's view */
    GB_MSG_FENCE, /* you are dead in my view */
    /* the directory */
    GB_MSG_FIND,     /* seq, id, act: where is it; I do not host it, as of my activation `act` */
    GB_MSG_CLAIM,    /* seq, id, act: I want to host it */
    GB_MSG_ANSWER,   /* seq, status, silo: who hosts it, or 0 */
    GB_MSG_RELEASE,  /* id, act: I host it no longer */
    GB_MSG_SYNC_ASK, /* seq, arcs: tell me what you host there */
    GB_MSG_SYNC,     /* seq, act: a number of this answer; part, last, items */
    GB_MSG_DROP,     /* id, act, silo: it is hosted there; end yours */
    /* capacity */
    GB_MSG_CAPACITY, /* capacity: the sender's */
    GB_MSG_KINDS
} gb_message_kind;

const char *gb_message_kind_name(gb_message_kind kind);

/* Answers of the directory. */
typedef enum gb_find_status {
    GB_FIND_HERE,   /* silo hosts it; 0: nobody does */
    GB_FIND_LATER,  /* ask again: not owned by me, or not all is known yet */
    GB_FIND_REFUSED /* a claim of a silo that is not active */
} gb_find_status;

/* One activation, as its host tells it. */
typedef struct gb_sync_item {
    uint64_t act;
    gb_view_id view; /* that it was registered under */
    const void *id;
    uint32_t id_size;
} gb_sync_item;

typedef struct gb_message {
    gb_message_kind kind;
    gb_view_id view; /* of the sender */
    uint64_t seq;    /* chosen by who asks, echoed by who answers */
    uint64_t silo;
    uint64_t act; /* counts the activations of one silo */
    uint32_t status;
    const void *id; /* of a grain */
    uint32_t id_size;
    bool has_capacity;
    uint64_t activations; /* ... and how many grains are active there */
    gb_capacity capacity; /* updated_ns: its age in ns; the receiver takes it from its own clock */
    gb_view_id from;      /* CHANGE */
    const gb_member *row; /* CHANGE, or NULL */
    const uint64_t *ids;  /* CHANGE: removed */
    uint32_t count;       /* of ids, rows, arcs or items */
    gb_row *const *rows;  /* VIEW */
    const gb_arc *arcs;   /* SYNC_ASK */
    uint32_t part;        /* SYNC: 0, 1, ... */
    bool last;            /* SYNC */
    const gb_sync_item *items;
    /* of a decoded message: see gb_message_fini */
    gb_mem *mem;
    void *owned;
    size_t owned_size;
    gb_row *owned_row;
} gb_message;

int gb_message_encode(gb_buf *out, const gb_message *message);

/* Texts and ids are borrowed from the bytes; arrays and rows are owned. */
int gb_message_decode(gb_message *out, gb_mem *mem, const void *bytes, size_t size);
void gb_message_fini(gb_message *message);

#endif
