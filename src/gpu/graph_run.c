/* Running a graph. The first time in an order its nodes are queued one by one, as launches, copies
 * and fills of their own. Where the backend replays, later runs hand over parts of it as one
 * command each; what it does not take (large copies from and to host memory, some fills) stays a
 * command of its own between them. */
#include "base/check.h"
#include "base/err.h"
#include "gpu/graph.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { REFUSALS_MAX = 2, REBUILDS_MAX = 3 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what a backend replays ---- */

void gbi_replay_unref(gbi_replay *replay)
{
    if (atomic_fetch_sub_explicit(&replay->refs, 1, memory_order_acq_rel) > 1) return;
    gb_graph *graph = replay->graph;
    if (replay->impl) graph->device->backend->graph_close(replay->impl);
    gb_mem_free(&graph->device->gpu->room, replay, replay->memory_bytes);
    gbi_graph_unref(graph);
}

static void note_refusal(gb_graph *graph, const char *why)
{
    atomic_fetch_add(&graph->fallbacks, 1);
    if (!why) return;
    pthread_mutex_lock(&graph->lock);
    snprintf(graph->why, sizeof graph->why, "%s", why);
    pthread_mutex_unlock(&graph->lock);
}

void gbi_replay_note(gbi_replay *replay, gbi_replay_fact fact, const char *why)
{
    gb_graph *graph = replay->graph;
    if (fact == GBI_REPLAY_BUILT) {
        atomic_fetch_add(&graph->built, 1);
    } else if (fact == GBI_REPLAY_RAN) {
        atomic_store(&replay->refusals, 0);
        atomic_fetch_add(&graph->replays, 1);
    } else {
        atomic_fetch_add(&replay->refusals, 1);
        note_refusal(graph, why);
    }
}

void gb_graph_get_stats(gb_graph *graph, gb_graph_stats *out)
{
    memset(out, 0, sizeof *out);
    out->nodes = graph->count;
    out->edges = atomic_load(&graph->edges);
    out->queues = atomic_load(&graph->queues);
    out->runs = atomic_load(&graph->runs);
    out->built = atomic_load(&graph->built);
    out->replays = atomic_load(&graph->replays);
    out->fallbacks = atomic_load(&graph->fallbacks);
    out->saved_ns = atomic_load(&graph->saved_ns);
    pthread_mutex_lock(&graph->lock);
    memcpy(out->why, graph->why, sizeof out->why);
    pthread_mutex_unlock(&graph->lock);
}

/* The edges within a part, into one block with the replay. */
static int open_replay(gb_graph *graph, gbi_part *part)
{
    gb_mem *mem = &graph->device->gpu->room;
    const int *list = graph->queued + part->first;
    int count = part->count, words = gbi_order_words(count), edges = 0;
    size_t bits = (size_t)count * (size_t)words;
    uint64_t *rows = gb_mem_alloc(mem, 2 * bits * sizeof *rows);
    if (!rows) return GB_ENOMEM;
    gbi_order_reduce(graph, list, count, rows, rows + bits);
    for (size_t i = 0; i < bits; i++) edges += __builtin_popcountll(rows[i]);
    size_t bytes = sizeof(gbi_replay) + (size_t)(2 * count + edges) * sizeof(int);
    gbi_replay *replay = gb_mem_zalloc(mem, bytes);
    int rc = replay ? 0 : GB_ENOMEM;
    if (replay) {
        replay->memory_bytes = bytes;
        atomic_init(&replay->refs, 1);
        replay->graph = graph;
        replay->count = count;
        replay->nodes = (int *)(replay + 1);
        replay->after_ends = replay->nodes + count;
        replay->after = replay->after_ends + count;
        memcpy(replay->nodes, list, (size_t)count * sizeof(int));
        for (int i = 0, at = 0; i < count; i++) {
            for (int k = 0; k < i; k++)
                if (gbi_order_bit(rows + (size_t)i * (size_t)words, k)) replay->after[at++] = k;
            replay->after_ends[i] = at;
        }
        atomic_fetch_add(&graph->refs, 1);
        rc = graph->device->backend->graph_open(&replay->impl, graph->device->impl, replay);
    }
    gb_mem_free(mem, rows, 2 * bits * sizeof *rows);
    if (rc < 0 && replay) gbi_replay_unref(replay);
    if (rc < 0) return rc;
    part->replay = replay;
    atomic_fetch_add(&graph->edges, edges);
    return 0;
}

/* ---- parts ---- */

void gbi_graph_drop_parts(gb_graph *graph)
{
    gb_mem *mem = &graph->device->gpu->room;
    for (int i = 0; i < graph->part_count; i++)
        if (graph->parts[i].replay) gbi_replay_unref(graph->parts[i].replay);
    gb_mem_free(mem, graph->queued, (size_t)graph->part_room * sizeof *graph->queued);
    gb_mem_free(mem, graph->parts, (size_t)graph->part_room * sizeof *graph->parts);
    graph->queued = NULL;
    graph->parts = NULL;
    graph->queued_count = graph->part_count = graph->part_room = 0;
    atomic_store(&graph->edges, 0);
}

static bool has_work(const gbi_node *own)
{
    return own->command.kind == GBI_LAUNCH || own->bytes > 0;
}

static bool is_upload(const gbi_command *command)
{
    return command->kind == GBI_COPY && !command->u.copy.from;
}

static bool is_download(const gbi_command *command)
{
    return command->kind == GBI_COPY && !command->u.copy.to;
}

/* Whether the backend replays a node; host_left: what host copies may still be part of it. */
static bool is_taken(const gb_graph *graph, const gbi_node *own, size_t *host_left)
{
    const gbi_command *command = &own->command;
    bool host = is_upload(command) || is_download(command);
    size_t room = (own->bytes + 15) & ~(size_t)15;
    if (!graph->device->backend->graph_takes(command) || (host && room > *host_left)) return false;
    if (host) *host_left -= room;
    return true;
}

static bool waits_for_any(const gb_graph *graph, int node, int from, int to)
{
    for (int k = from; k < to; k++)
        if (has_work(graph->nodes[k]) && k != node && gbi_order_waits(graph, node, k)) return true;
    return false;
}

/* A download lands when its part has ended, and an upload is read when its part begins. */
static bool needs_landed(const gb_graph *graph, int node, int first)
{
    if (!is_upload(&graph->nodes[node]->command)) return false;
    for (int k = first; k < graph->queued_count; k++)
        if (is_download(&graph->nodes[graph->queued[k]]->command) &&
            gbi_order_waits(graph, node, graph->queued[k]))
            return true;
    return false;
}

static void add_part(gb_graph *graph, int first)
{
    int count = graph->queued_count - first;
    if (count == 0) return;
    graph->parts[graph->part_count++] = (gbi_part){first, count, NULL};
}

/* What is not replayed goes first where it waits for nothing, last where nothing waits for it, and
 * else parts what is. */
static void divide(gb_graph *graph, const bool *taken)
{
    int count = graph->count, first = 0;
    for (int i = 0; i < count; i++)
        if (has_work(graph->nodes[i]) && !taken[i] && !waits_for_any(graph, i, 0, i)) {
            graph->queued[graph->queued_count++] = i;
            add_part(graph, first);
            first = graph->queued_count;
        }
    for (int i = 0; i < count; i++) {
        bool leads = !taken[i] && !waits_for_any(graph, i, 0, i);
        bool trails = !taken[i] && !waits_for_any(graph, i, i + 1, count);
        if (!has_work(graph->nodes[i]) || leads || trails) continue;
        bool cut = !taken[i] || graph->queued_count - first == GBI_ORDER_MAX;
        if (cut || needs_landed(graph, i, first)) {
            add_part(graph, first);
            first = graph->queued_count;
        }
        graph->queued[graph->queued_count++] = i;
        if (taken[i]) continue;
        add_part(graph, first);
        first = graph->queued_count;
    }
    add_part(graph, first);
    for (int i = 0; i < count; i++) {
        bool leads = !taken[i] && !waits_for_any(graph, i, 0, i);
        bool trails = !taken[i] && !waits_for_any(graph, i, i + 1, count);
        if (!has_work(graph->nodes[i]) || leads || !trails) continue;
        first = graph->queued_count;
        graph->queued[graph->queued_count++] = i;
        add_part(graph, first);
    }
}

static int make_parts(gb_graph *graph)
{
    gb_mem *mem = &graph->device->gpu->room;
    int count = graph->count;
    size_t host_left = graph->device->backend->graph_host_bytes;
    bool *taken = gb_mem_zalloc(mem, (size_t)count);
    if (!taken) return GB_ENOMEM;
    graph->part_room = count;
    graph->queued = gb_mem_alloc(mem, (size_t)count * sizeof *graph->queued);
    graph->parts = gb_mem_alloc(mem, (size_t)count * sizeof *graph->parts);
    int rc = graph->queued && graph->parts ? 0 : GB_ENOMEM;
    if (rc == 0) {
        for (int i = 0; i < count; i++)
            taken[i] = has_work(graph->nodes[i]) && is_taken(graph, graph->nodes[i], &host_left);
        divide(graph, taken);
    }
    gb_mem_free(mem, taken, (size_t)count);
    for (int i = 0; i < graph->part_count && rc == 0; i++)
        if (graph->parts[i].count > 1) rc = open_replay(graph, &graph->parts[i]);
    if (rc < 0) gbi_graph_drop_parts(graph);
    return rc;
}

/* ---- graph commands ---- */

static size_t launch_bytes(const gbi_command *command)
{
    return command->u.launch.param_count * sizeof(void *) + 15 + command->u.launch.blob_bytes;
}

/* A graph command with all that is set now. The parts borrow what the whole holds. */
static gbi_command *snapshot(gb_queue *queue, gbi_replay *replay)
{
    gb_graph *graph = replay->graph;
    size_t retained = 0, bytes = sizeof(gbi_command) * (size_t)(1 + replay->count);
    for (int i = 0; i < replay->count; i++) {
        const gbi_command *from = &graph->nodes[replay->nodes[i]]->command;
        retained += from->retained_count;
        if (from->kind == GBI_LAUNCH) bytes += launch_bytes(from) + sizeof(void *);
    }
    gbi_command *whole = gbi_command_block(queue, bytes + retained * sizeof(gb_buffer *));
    if (!whole) return NULL;
    gbi_command *parts = whole + 1;
    bytes = whole->memory_bytes;
    *whole = (gbi_command){.kind = GBI_GRAPH, .queue = queue, .memory_bytes = bytes};
    gb_list_init(&whole->link);
    gb_list_init(&whole->signals);
    whole->retained = (gb_buffer **)(parts + replay->count);
    whole->u.graph.replay = replay;
    whole->u.graph.impl = replay->impl;
    whole->u.graph.commands = parts;
    whole->u.graph.count = replay->count;
    atomic_init(&whole->u.graph.left, 0);
    char *at = (char *)(whole->retained + retained);
    for (int i = 0; i < replay->count; i++) {
        const gbi_command *from = &graph->nodes[replay->nodes[i]]->command;
        parts[i] = *from;
        parts[i].whole = whole;
        parts[i].queue = queue;
        gb_list_init(&parts[i].link);
        gb_list_init(&parts[i].signals);
        parts[i].retained = whole->retained + whole->retained_count;
        for (uint32_t k = 0; k < from->retained_count; k++)
            whole->retained[whole->retained_count++] = gb_buffer_ref(from->retained[k]);
        if (from->kind != GBI_LAUNCH) continue;
        gbi_command_copy_launch(&parts[i], from, at);
        parts[i].u.launch.queued_ns = parts[i].u.launch.started_ns = 0; /* not noted */
        at += (launch_bytes(from) + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
    }
    atomic_fetch_add_explicit(&replay->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&queue->count, 1, memory_order_relaxed);
    return whole;
}

void gbi_command_split(gbi_command *command, gb_list *out)
{
    int count = command->u.graph.count;
    gb_queue *queue = command->queue;
    atomic_store(&command->u.graph.left, count);
    gbi_queue_count(queue, count - 1); /* the whole was counted as one */
    for (int i = 0; i < count; i++) gb_list_push(out, &command->u.graph.commands[i].link);
}

void gbi_command_part_free(gbi_command *part)
{
    gbi_command *whole = part->whole;
    if (atomic_fetch_sub_explicit(&whole->u.graph.left, 1, memory_order_acq_rel) == 1)
        gbi_command_free(whole);
}

/* ---- one by one ---- */

typedef struct fastest {
    uint64_t ns[GBI_LAUNCH + 1];
    int count[GBI_LAUNCH + 1];
} fastest;

static int put(gb_queue *queue, gbi_node *own, fastest *timed)
{
    gbi_command_kind kind = own->command.kind;
    if (!has_work(own)) return 0;
    if (!timed) return gbi_queue_put(queue, &own->command);
    uint64_t start = now_ns();
    int rc = gbi_queue_put(queue, &own->command);
    uint64_t took = now_ns() - start;
    if (timed->count[kind]++ == 0 || took < timed->ns[kind]) timed->ns[kind] = took;
    return rc;
}

/* What the nodes take when nothing is in their way: the fastest of each kind stands for all of its
 * kind, for the first run of a kernel is a cold one. */
static int run_timed(gb_queue *queue, gb_graph *graph)
{
    fastest timed;
    uint64_t all = 0;
    int rc = 0;
    memset(&timed, 0, sizeof timed);
    for (int i = 0; i < graph->count && rc == 0; i++) rc = put(queue, graph->nodes[i], &timed);
    for (int i = 0; i <= GBI_LAUNCH; i++) all += timed.ns[i] * (uint64_t)timed.count[i];
    if (!graph->one_by_one_ns || all < graph->one_by_one_ns) graph->one_by_one_ns = all;
    return rc;
}

static int run_plain(gb_queue *queue, gb_graph *graph)
{
    int rc = 0;
    for (int i = 0; i < graph->count && rc == 0; i++) rc = put(queue, graph->nodes[i], NULL);
    return rc;
}

/* ---- in parts ---- */

static int run_part(gb_queue *queue, gb_graph *graph, const gbi_part *part)
{
    int rc = 0;
    if (part->replay && graph->rebuilds <= REBUILDS_MAX) {
        gbi_command *whole = snapshot(queue, part->replay);
        if (!whole) return GB_ENOMEM;
        gbi_queue_hand(queue, whole);
        return 0;
    }
    if (part->replay) note_refusal(graph, NULL); /* as before */
    for (int i = 0; i < part->count && rc == 0; i++)
        rc = put(queue, graph->nodes[graph->queued[part->first + i]], NULL);
    return rc;
}

/* What was refused again and again is built anew, for the memory that is bound now. */
static void drop_refused(gb_graph *graph)
{
    bool refused = false;
    for (int i = 0; i < graph->part_count; i++) {
        gbi_replay *replay = graph->parts[i].replay;
        refused = refused || (replay && atomic_load(&replay->refusals) >= REFUSALS_MAX);
    }
    if (!refused || graph->rebuilds > REBUILDS_MAX) return;
    graph->rebuilds++;
    if (graph->rebuilds <= REBUILDS_MAX) gbi_graph_drop_parts(graph);
}

static int run_parts(gb_queue *queue, gb_graph *graph)
{
    uint64_t start = now_ns();
    bool replays = false;
    int rc = 0;
    for (int i = 0; i < graph->part_count && rc == 0; i++) {
        replays = replays || graph->parts[i].replay;
        rc = run_part(queue, graph, &graph->parts[i]);
    }
    if (replays && rc == 0 && graph->one_by_one_ns)
        atomic_fetch_add(&graph->saved_ns,
                         (int64_t)graph->one_by_one_ns - (int64_t)(now_ns() - start));
    return rc;
}

/* 1: the nodes are to be queued as parts, which are there; 0: one by one, for the order is new; or
 * why they are though it is not. */
static int prepare(gb_graph *graph)
{
    int rc = gbi_order_update(graph);
    if (rc != 0) {
        gbi_graph_drop_parts(graph);
        graph->rebuilds = 0;
        return rc < 0 ? rc : 0;
    }
    drop_refused(graph);
    rc = graph->parts ? 0 : make_parts(graph);
    return rc < 0 ? rc : 1;
}

/* ---- queueing ---- */

static void gather(gbi_node *own)
{
    own->command.retained_count = 0;
    for (int i = 0; i < own->slots; i++)
        if (own->buffers[i]) own->command.retained[own->command.retained_count++] = own->buffers[i];
    own->gathered = true;
}

static int check_copy(const gbi_node *own, int index)
{
    const char *to = own->command.u.copy.to_address, *from = own->command.u.copy.from_address;
    if (!own->buffers[0] && !own->buffers[1])
        return gb_err_set(GB_EINVAL, "node %d copies from host to host memory", index);
    if (to < from + own->bytes && from < to + own->bytes)
        return gb_err_set(GB_EINVAL, "node %d copies between ranges that overlap", index);
    return 0;
}

int gb_queue_run(gb_queue *queue, gb_graph *graph)
{
    if (queue->device != graph->device)
        return gb_err_set(GB_EDEVICE, "the graph is of device %d and the queue of device %d",
                          graph->device->index, queue->device->index);
    for (int i = 0; i < graph->count; i++) {
        gbi_node *own = graph->nodes[i];
        if (own->missing)
            return gb_err_set(GB_EINVAL, "node %d lacks %d of what it works on", i, own->missing);
        int rc = own->command.kind == GBI_COPY ? check_copy(own, i) : 0;
        if (rc < 0) return rc;
        if (!own->gathered) gather(own);
    }
    atomic_fetch_add_explicit(&graph->runs, 1, memory_order_relaxed);
    atomic_store_explicit(&graph->queues, 1, memory_order_relaxed);
    if (!graph->device->backend->graph_open || graph->count == 0) {
        int rc = gbi_lanes_run(queue, graph);
        return rc == 0 ? run_plain(queue, graph) : rc < 0 ? rc : 0;
    }
    int ready = prepare(graph);
    if (ready < 0) note_refusal(graph, gb_err_detail());
    return ready == 1 ? run_parts(queue, graph) : run_timed(queue, graph);
}
