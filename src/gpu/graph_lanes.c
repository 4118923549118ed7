/* Running a graph on several queues: on backends that run commands themselves and can tell what a
 * launch takes. Only stages that take long are worth it: handing one to another queue and waiting
 * for it there costs some microseconds. A lane is the queue that was asked, or a side of it: a side
 * has its errors and its cancellation from that one, which waits for all sides in the end.
 */
#include "base/check.h"
#include "base/err.h"
#include "gpu/graph.h"

#include <string.h>

enum { WORTH_NS = 200000 };

typedef struct lanes {
    gb_graph *graph;
    gb_queue *queues[GBI_SIDES + 1];
    gbi_command *ends[GBI_SIDES + 1][2]; /* of a side: recorded there, awaited on the first */
    uint64_t taken_ns[GBI_SIDES + 1];
    int tails[GBI_SIDES + 1]; /* the node that is last on each; -1: none */
    int used, words, next_event;
    uint64_t *direct; /* rows, see gbi_order_reduce */
    int *lane_of, *list, *event_of;
} lanes;

static bool is_long(const gb_graph *graph, int node)
{
    const gbi_command *command = &graph->nodes[node]->command;
    return command->kind == GBI_LAUNCH && graph->device->backend->cost_ns(command) >= WORTH_NS;
}

static const uint64_t *row_of(const lanes *l, const uint64_t *rows, int node)
{
    return rows + (size_t)node * (size_t)l->words;
}

/* Two long launches that do not wait for one another. */
static bool is_wide(const lanes *l, const uint64_t *reach)
{
    for (int i = 0; i < l->graph->count; i++)
        for (int k = 0; k < i && is_long(l->graph, i); k++)
            if (is_long(l->graph, k) && !gbi_order_bit(row_of(l, reach, i), k)) return true;
    return false;
}

/* Behind what it waits for, where nothing else got in between. Else a short one goes where that is,
 * and a long one, or one that waits for nothing, where no long launch is in its way: on a lane of
 * its own, or the one that has least to do. */
static int choose(const lanes *l, int node)
{
    int least = 0;
    const uint64_t *row = row_of(l, l->direct, node);
    for (int i = 0; i < l->used; i++) {
        if (l->tails[i] >= 0 && gbi_order_bit(row, l->tails[i])) return i;
        if (l->taken_ns[i] < l->taken_ns[least]) least = i;
    }
    for (int k = node - 1; k >= 0 && !is_long(l->graph, node); k--)
        if (gbi_order_bit(row, k)) return l->lane_of[k];
    if (l->taken_ns[least] < WORTH_NS || l->used > GBI_SIDES) return least;
    return l->used;
}

static void assign(lanes *l)
{
    for (int i = 0; i <= GBI_SIDES; i++) l->tails[i] = -1;
    l->used = 1;
    for (int i = 0; i < l->graph->count; i++) {
        const gbi_command *command = &l->graph->nodes[i]->command;
        int lane = choose(l, i);
        if (lane == l->used) l->used++;
        l->lane_of[i] = lane;
        l->tails[lane] = i;
        if (command->kind == GBI_LAUNCH)
            l->taken_ns[lane] += l->graph->device->backend->cost_ns(command);
    }
}

/* ---- what is needed before anything is queued ---- */

static int open_side(gb_queue *queue, int index)
{
    gb_queue *side;
    if (queue->sides[index]) return 0;
    int rc = gb_queue_open(&side, queue->device);
    if (rc < 0) return rc;
    atomic_fetch_add_explicit(&queue->count, 1, memory_order_relaxed);
    side->leader = queue;
    queue->sides[index] = side;
    return 0;
}

/* An event of the graph's own; each run records it anew. */
static int next_event(lanes *l, gb_event **out)
{
    gb_graph *graph = l->graph;
    gb_mem *mem = &graph->device->gpu->room;
    if (l->next_event == graph->event_count) {
        int room = graph->event_count ? 2 * graph->event_count : 8;
        gb_event **events = gb_mem_zalloc(mem, (size_t)room * sizeof *events);
        if (!events) return GB_ENOMEM;
        if (graph->event_count)
            memcpy(events, graph->events, (size_t)graph->event_count * sizeof *events);
        gb_mem_free(mem, graph->events, (size_t)graph->event_count * sizeof *events);
        graph->events = events;
        graph->event_count = room;
    }
    gb_event **own = &graph->events[l->next_event];
    int rc = *own ? 0 : gb_event_open(own, graph->device);
    if (rc < 0) return rc;
    l->next_event++;
    *out = *own;
    return 0;
}

/* What joins a side is made first, so that nothing can keep the first lane from waiting for it. */
static int prepare(lanes *l, gb_queue *queue)
{
    l->queues[0] = queue;
    for (int i = 1; i < l->used; i++) {
        gb_event *event;
        int rc = open_side(queue, i - 1);
        if (rc == 0) rc = next_event(l, &event);
        if (rc < 0) return rc;
        l->queues[i] = queue->sides[i - 1];
        l->ends[i][0] = gbi_command_event(l->queues[i], GBI_RECORD, event);
        l->ends[i][1] = gbi_command_event(queue, GBI_WAIT, event);
        if (!l->ends[i][0] || !l->ends[i][1]) return GB_ENOMEM;
    }
    return 0;
}

static void drop(lanes *l)
{
    for (int i = 1; i <= GBI_SIDES; i++)
        for (int k = 0; k < 2; k++)
            if (l->ends[i][k]) gbi_command_free(l->ends[i][k]);
}

/* ---- queueing ---- */

static void end_sides(lanes *l)
{
    for (int i = 1; i < l->used; i++) {
        gb_event *event = l->ends[i][0]->u.event.event;
        uint64_t generation = atomic_fetch_add(&event->recorded, 1) + 1;
        for (int k = 0; k < 2; k++) {
            l->ends[i][k]->u.event.generation = generation;
            gbi_queue_hand(l->queues[k == 0 ? i : 0], l->ends[i][k]);
            l->ends[i][k] = NULL;
        }
    }
}

static int start_sides(lanes *l)
{
    gb_event *start;
    int rc = next_event(l, &start);
    if (rc == 0) rc = gb_queue_record(l->queues[0], start);
    for (int i = 1; i < l->used && rc == 0; i++) rc = gb_queue_wait_event(l->queues[i], start);
    return rc;
}

/* Whether a node of another lane waits for this one. */
static bool is_awaited(const lanes *l, int node)
{
    for (int i = node + 1; i < l->graph->count; i++)
        if (l->lane_of[i] != l->lane_of[node] && gbi_order_bit(row_of(l, l->direct, i), node))
            return true;
    return false;
}

static int put(lanes *l, int node)
{
    gbi_node *own = l->graph->nodes[node];
    gb_queue *queue = l->queues[l->lane_of[node]];
    int rc = 0;
    for (int k = 0; k < node && rc == 0; k++)
        if (l->lane_of[k] != l->lane_of[node] && gbi_order_bit(row_of(l, l->direct, node), k))
            rc = gb_queue_wait_event(queue, l->graph->events[l->event_of[k]]);
    if (rc == 0 && (own->command.kind == GBI_LAUNCH || own->bytes > 0))
        rc = gbi_queue_put(queue, &own->command);
    if (rc < 0 || !is_awaited(l, node)) return rc;
    gb_event *event;
    l->event_of[node] = l->next_event;
    rc = next_event(l, &event);
    return rc < 0 ? rc : gb_queue_record(queue, event);
}

static int run(lanes *l, gb_queue *queue)
{
    int rc = prepare(l, queue);
    if (rc < 0) {
        drop(l);
        return rc;
    }
    rc = start_sides(l);
    for (int i = 0; i < l->graph->count && rc == 0; i++) rc = put(l, i);
    end_sides(l);
    atomic_store_explicit(&l->graph->queues, l->used, memory_order_relaxed);
    return rc;
}

int gbi_lanes_run(gb_queue *queue, gb_graph *graph)
{
    int count = graph->count, longs = 0;
    if (!graph->device->backend->cost_ns || count > GBI_ORDER_MAX || queue->leader) return 0;
    for (int i = 0; i < count && longs < 2; i++) longs += is_long(graph, i);
    if (longs < 2) return 0;
    gb_mem *mem = &graph->device->gpu->room;
    int rc = gbi_order_update(graph);
    if (rc < 0) return rc;
    lanes l = {.graph = graph, .words = gbi_order_words(count)};
    size_t bits = (size_t)count * (size_t)l.words;
    size_t bytes = 2 * bits * sizeof(uint64_t) + 3 * (size_t)count * sizeof(int);
    l.direct = gb_mem_alloc(mem, bytes);
    if (!l.direct) return GB_ENOMEM;
    l.list = (int *)(l.direct + 2 * bits);
    l.lane_of = l.list + count;
    l.event_of = l.lane_of + count;
    for (int i = 0; i < count; i++) l.list[i] = i;
    gbi_order_reduce(graph, l.list, count, l.direct, l.direct + bits);
    bool wide = is_wide(&l, l.direct + bits);
    if (wide) assign(&l);
    if (wide && l.used > 1) rc = run(&l, queue);
    gb_mem_free(mem, l.direct, bytes);
    return rc < 0 ? rc : wide && l.used > 1;
}

void gbi_lanes_fini(gb_graph *graph)
{
    gb_mem *mem = &graph->device->gpu->room;
    for (int i = 0; i < graph->event_count; i++)
        if (graph->events[i]) gb_event_close(graph->events[i]);
    gb_mem_free(mem, graph->events, (size_t)graph->event_count * sizeof *graph->events);
}
