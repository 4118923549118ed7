/* Inside of the directory machine: what its files share. */
#ifndef GB_CLUSTER_DIRECTORY_ROOM_H
#define GB_CLUSTER_DIRECTORY_ROOM_H

#include "base/heap.h"
#include "base/map.h"
#include "cluster/directory.h"

enum { GB_DEFERRED_MAX = 4096, GB_ROUNDS_MAX = 4 };

/* Nodes by the id of a grain. */
typedef struct gb_id_node {
    uint64_t hash;
    uint32_t slot;
    uint32_t size;
    void *id;
} gb_id_node;

typedef struct gb_id_set {
    gb_mem *mem;
    gb_map map; /* hash to slot */
    gb_id_node **slots;
    uint32_t used, room, count, node_bytes;
    uint32_t *free;
    uint32_t free_count;
} gb_id_set;

/* This silo's part: who hosts it. */
typedef struct gb_entry {
    gb_id_node node;
    uint64_t silo, act;
    gb_view_id view;
} gb_entry;

/* Hosted here, or to be. */
typedef struct gb_held {
    gb_id_node node;
    uint64_t act;
    gb_view_id view;
    bool claiming;
} gb_held;

typedef struct gb_question {
    gb_heap_node node;    /* by when it is to be looked at */
    gb_message_kind kind; /* FIND or CLAIM */
    uint64_t seq, token, act, hash, deadline, later_ns;
    uint64_t asked; /* the silo; 0: none now */
    uint32_t slot;
    uint32_t size;
    void *id;
} gb_question;

/* Arcs that this silo gained, until all have told what they host there. */
typedef struct gb_round {
    uint64_t seq;
    gb_arc *arcs;
    uint32_t arc_count;
    struct gb_round_silo {
        uint64_t silo, batch;
        uint32_t next;
    } * waiting;
    uint32_t waiting_count, waiting_room;
    uint64_t ask_at, wait_ns; /* again, and how long after that */
} gb_round;

/* A question of what is hosted here that came under a view which this silo has not yet. */
typedef struct gb_deferred {
    uint64_t from, seq;
    gb_view_id view;
    gb_arc *arcs;
    uint32_t arc_count;
} gb_deferred;

struct gb_directory {
    gb_mem *mem;
    gb_directory_config config;
    uint64_t silo;
    gb_view *view;
    uint64_t view_at; /* when it was taken over */
    gb_id_set part, held;
    gb_map seqs; /* mix of seq to slot of question */
    gb_question **questions;
    uint32_t question_count, question_room, question_used;
    gb_heap timers;
    gb_round rounds[GB_ROUNDS_MAX];
    uint32_t round_count;
    bool blind; /* no memory for a round: all is pending until there is */
    uint64_t again_at;
    gb_deferred *deferred;
    uint32_t deferred_count, deferred_room;
    uint64_t seq, acts, batches;
    gb_directory_stats stats;
};

/* idset.c */
void gbi_ids_init(gb_id_set *set, gb_mem *mem, uint32_t node_bytes);
void gbi_ids_fini(gb_id_set *set);
void *gbi_ids_find(const gb_id_set *set, uint64_t hash, const void *id, uint32_t size);
void *gbi_ids_add(gb_id_set *set, uint64_t hash, const void *id, uint32_t size); /* zeroed */
void gbi_ids_remove(gb_id_set *set, void *node);
void *gbi_ids_at(const gb_id_set *set, uint32_t slot); /* NULL: free; slots are 0 .. used - 1 */

/* directory.c */
gb_directory_action *gbi_dir_do(gb_directory *d, gb_directory_actions *out,
                                gb_directory_action_kind kind, const void *id, uint32_t size);
gb_message *gbi_dir_send(gb_directory *d, gb_directory_actions *out, uint64_t silo,
                         gb_message_kind kind, const void *id, uint32_t size);

/* directory_ask.c: what this silo wants to know */
int gbi_dir_ask(gb_directory *d, gb_message_kind kind, uint64_t token, const void *id,
                uint32_t size, uint64_t act, uint64_t deadline, uint64_t now,
                gb_directory_actions *out);
void gbi_dir_answered(gb_directory *d, uint64_t from, const gb_message *message, uint64_t now,
                      gb_directory_actions *out);
void gbi_dir_ask_again(gb_directory *d, uint64_t now, gb_directory_actions *out);
void gbi_dir_asks_moved(gb_directory *d, uint64_t now, gb_directory_actions *out);
void gbi_dir_asks_close(gb_directory *d);

/* directory_part.c: what others want to know */
gb_find_status gbi_dir_serve(gb_directory *d, uint64_t from, gb_message_kind kind, gb_view_id view,
                             const void *id, uint32_t size, uint64_t hash, uint64_t act,
                             uint64_t *silo);
void gbi_dir_forget(gb_directory *d, uint64_t from, const void *id, uint32_t size, uint64_t act);

/* directory_sync.c: arcs that come and go */
bool gbi_dir_pending(const gb_directory *d, uint64_t hash);
void gbi_dir_moved(gb_directory *d, gb_view *old, uint64_t old_at, uint64_t now,
                   gb_directory_actions *out);
void gbi_dir_sync_asked(gb_directory *d, uint64_t from, const gb_message *message,
                        gb_directory_actions *out);
void gbi_dir_sync_told(gb_directory *d, uint64_t from, const gb_message *message,
                       gb_directory_actions *out);
void gbi_dir_sync_again(gb_directory *d, uint64_t now, gb_directory_actions *out);
void gbi_dir_sync_close(gb_directory *d);

#endif
