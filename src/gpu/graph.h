/* Graphs, inside: graph.c records and sets, graph_order.c finds what has to wait for what,
 * graph_run.c queues the nodes: one by one, or in parts that a backend replays; graph_lanes.c on
 * several queues.
 *
 * A graph belongs to one thread at a time. Commands that replay a part of it hold the part (a
 * gbi_replay), which holds the graph: so kernels stay loaded until the last replay has ended, also
 * when the graph was closed or its parts were replaced meanwhile.
 */
#ifndef GB_GPU_GRAPH_H
#define GB_GPU_GRAPH_H

#include "gpu/front.h"

/* Bytes that a node works on; modules with variables count as one byte each. */
typedef struct gbi_access {
    uint64_t from, to;
    bool write;
} gbi_access;

typedef struct gbi_node {
    gbi_command command;
    size_t memory_bytes;
    size_t bytes;        /* copies and fills */
    int slots, missing;  /* what must be set before a run: of all, and still */
    bool gathered;       /* retained is up to date */
    bool moved;          /* accesses changed since the order was found */
    bool *set;           /* by parameter; copies and fills: to, from */
    gb_buffer **buffers; /* the same */
    int access_count;
    gbi_access *accesses; /* the same, then the module's */
} gbi_node;

/* Of the order in which the nodes are queued. */
typedef struct gbi_part {
    int first, count;
    gbi_replay *replay; /* NULL: one by one */
} gbi_part;

struct gb_graph {
    _Atomic int32_t refs;
    gb_device *device;
    gbi_node **nodes;
    int count, room;

    /* graph_order.c */
    bool moved;     /* some node was */
    int ordered;    /* how many nodes the rows are for */
    int words;      /* of a row; 0: too many nodes, each waits for all before it */
    uint64_t *rows; /* bit k of row i: they work on the same bytes, and one writes */

    /* graph_lanes.c */
    gb_event **events; /* opened as they are needed */
    int event_count;

    /* graph_run.c */
    int rebuilds;
    int *queued; /* node numbers; those without work are left out */
    gbi_part *parts;
    int queued_count, part_count, part_room;
    uint64_t one_by_one_ns; /* what queueing the nodes took at best; 0: unknown */
    _Atomic int edges, queues;
    _Atomic uint64_t runs, built, replays, fallbacks;
    _Atomic int64_t saved_ns;
    pthread_mutex_t lock; /* of why */
    char why[256];
};

/* ---- graph.c ---- */

void gbi_graph_unref(gb_graph *graph);

/* ---- graph_order.c ---- */

enum { GBI_ORDER_MAX = 512 }; /* nodes that are told apart: rows of 32 KiB */

gbi_access gbi_access_of_module(const gb_module *module, bool write);
gbi_access gbi_access_of_buffer(const gb_buffer *buffer, size_t offset, size_t bytes, bool write);
/* 1: who waits for whom is not what it was, 0: it is; GB_ENOMEM. */
int gbi_order_update(gb_graph *graph);
void gbi_order_fini(gb_graph *graph);
bool gbi_order_waits(const gb_graph *graph, int node, int before);
/* Rows of `count` bits for nodes in the order of a list: direct[i] what i has to wait for and
 * nothing else of it waits for already, reach[i] all that is before i. Both are cleared here. */
void gbi_order_reduce(const gb_graph *graph, const int *list, int count, uint64_t *direct,
                      uint64_t *reach);
static inline int gbi_order_words(int count)
{
    return (count + 63) / 64;
}
static inline bool gbi_order_bit(const uint64_t *row, int at)
{
    return row[at / 64] >> (at % 64) & 1;
}

/* ---- graph_lanes.c ---- */

/* 1: queued, on several queues; 0: that is not worth it; or negative: nothing is queued, or the
 * first nodes. */
int gbi_lanes_run(gb_queue *queue, gb_graph *graph);
void gbi_lanes_fini(gb_graph *graph);

/* ---- graph_run.c ---- */

void gbi_graph_drop_parts(gb_graph *graph);
void gbi_replay_unref(gbi_replay *replay);
void gbi_command_part_free(gbi_command *part);

#endif
