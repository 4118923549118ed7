/* Graphs: commands kept ready. A run hands each to the queue as a launch, copy or fill of its own,
 * so what holds for those holds here: order, inline runs, errors, what is kept alive. */
#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

#include <string.h>

typedef struct node {
    gbi_command command;
    size_t memory_bytes;
    size_t bytes;        /* copies and fills */
    int missing;         /* what must be set before a run */
    bool gathered;       /* retained is up to date */
    bool *set;           /* by parameter; copies and fills: to, from */
    gb_buffer **buffers; /* the same */
} node;

struct gb_graph {
    gb_device *device;
    node **nodes;
    int count, room;
};

int gb_graph_open(gb_graph **out, gb_device *device)
{
    gb_graph *graph = gb_mem_zalloc(&device->gpu->room, sizeof *graph);
    if (!graph) return GB_ENOMEM;
    graph->device = device;
    *out = graph;
    return 0;
}

void gb_graph_close(gb_graph *graph)
{
    if (!graph) return;
    gb_mem *mem = &graph->device->gpu->room;
    for (int i = 0; i < graph->count; i++) {
        node *own = graph->nodes[i];
        if (own->command.module) gb_module_unref(own->command.module);
        gb_mem_free(mem, own, own->memory_bytes);
    }
    gb_mem_free(mem, graph->nodes, (size_t)graph->room * sizeof(node *));
    gb_mem_free(mem, graph, sizeof *graph);
}

int gb_graph_node_count(const gb_graph *graph)
{
    return graph->count;
}

/* ---- nodes ---- */

/* A node that `count` things must be set for, with room for the parameters of a launch. */
static node *add_node(gb_graph *graph, int count, size_t extra)
{
    gb_mem *mem = &graph->device->gpu->room;
    if (graph->count == graph->room) {
        int room = graph->room ? 2 * graph->room : 16;
        node **nodes = gb_mem_alloc(mem, (size_t)room * sizeof(node *));
        if (!nodes) return NULL;
        if (graph->count) memcpy(nodes, graph->nodes, (size_t)graph->count * sizeof(node *));
        gb_mem_free(mem, graph->nodes, (size_t)graph->room * sizeof(node *));
        graph->nodes = nodes;
        graph->room = room;
    }
    size_t pointers = 2 * (size_t)count * sizeof(gb_buffer *);
    size_t bytes = sizeof(node) + pointers + extra + (size_t)count;
    node *own = gb_mem_zalloc(mem, bytes);
    if (!own) return NULL;
    own->memory_bytes = bytes;
    own->missing = count;
    own->buffers = (gb_buffer **)(own + 1);
    own->set = (bool *)own + bytes - count;
    graph->nodes[graph->count++] = own;
    return own;
}

static gb_buffer **retained_of(node *own, int count)
{
    return own->buffers + count;
}

int gb_graph_add_launch(gb_graph *graph, gb_kernel *kernel, const gb_launch *launch)
{
    if (kernel->module->device != graph->device)
        return gb_err_set(GB_EDEVICE,
                          "kernel '%s' is loaded on device %d, the graph is of device %d",
                          kernel->desc->name, kernel->module->device->index, graph->device->index);
    int rc = gbi_check_launch(kernel, launch);
    if (rc < 0) return rc;
    int count = kernel->desc->param_count;
    size_t params = (size_t)count * sizeof(void *);
    node *own = add_node(graph, count, params + 15 + kernel->blob_bytes);
    if (!own) return GB_ENOMEM;
    gbi_command_launch(&own->command, kernel, launch);
    gb_module_ref(kernel->module);
    own->command.retained = retained_of(own, count);
    void **table = (void **)(own->command.retained + count);
    char *blob = (char *)(((uintptr_t)(table + count) + 15) & ~(uintptr_t)15);
    for (int i = 0; i < count; i++) {
        table[i] = blob;
        blob += GBI_PARAM_ROOM(&kernel->desc->params[i]);
    }
    own->command.u.launch.params = table;
    return graph->count - 1;
}

int gb_graph_add_copy(gb_graph *graph, size_t bytes)
{
    node *own = add_node(graph, 2, 0);
    if (!own) return GB_ENOMEM;
    own->bytes = bytes;
    own->command.kind = GBI_COPY;
    own->command.retained = retained_of(own, 2);
    own->command.u.copy.bytes = bytes;
    return graph->count - 1;
}

int gb_graph_add_fill(gb_graph *graph, const void *pattern, size_t pattern_bytes, size_t count)
{
    if (pattern_bytes == 0 || pattern_bytes > GBI_PATTERN_MAX || count > SIZE_MAX / pattern_bytes)
        return gb_err_set(GB_EINVAL, "a fill pattern has 1 .. %d bytes, not %zu", GBI_PATTERN_MAX,
                          pattern_bytes);
    node *own = add_node(graph, 1, 0);
    if (!own) return GB_ENOMEM;
    own->bytes = pattern_bytes * count;
    own->command.kind = GBI_FILL;
    own->command.retained = retained_of(own, 1);
    own->command.u.fill.pattern_bytes = pattern_bytes;
    own->command.u.fill.count = count;
    memcpy(own->command.u.fill.pattern, pattern, pattern_bytes);
    return graph->count - 1;
}

/* ---- what changes from run to run ---- */

static node *node_at(const gb_graph *graph, int index)
{
    if (index >= 0 && index < graph->count) return graph->nodes[index];
    gb_err_set(GB_EINVAL, "the graph has no node %d: valid 0 .. %d", index, graph->count - 1);
    return NULL;
}

static void put_buffer(node *own, int at, gb_buffer *buffer)
{
    if (!own->set[at]) own->missing--;
    own->set[at] = true;
    own->gathered = own->gathered && own->buffers[at] == buffer;
    own->buffers[at] = buffer;
}

int gb_graph_set_param(gb_graph *graph, int index, int param, const gb_arg *arg)
{
    node *own = node_at(graph, index);
    if (!own) return GB_EINVAL;
    if (own->command.kind != GBI_LAUNCH || param < 0 ||
        param >= (int)own->command.u.launch.param_count)
        return gb_err_set(GB_EINVAL, "node %d has no parameter %d", index, param);
    int rc = gbi_param_set(own->command.u.launch.kernel, param, arg,
                           own->command.u.launch.params[param]);
    if (rc < 0) return rc;
    put_buffer(own, param, arg->buffer);
    return 0;
}

/* The address of a copy's or fill's memory, checked; NULL with the detail set. */
static void *address_of(const gb_graph *graph, const node *own, const gb_place *place, int *rc)
{
    if (!place->buffer) {
        *rc = place->host || own->bytes == 0 ? 0 : gb_err_set(GB_EINVAL, "host memory is NULL");
        return place->host;
    }
    *rc = gbi_check_range(graph->device, place->buffer, place->offset, own->bytes, false);
    return (void *)(uintptr_t)(place->buffer->memory.address + place->offset);
}

int gb_graph_set_to(gb_graph *graph, int index, const gb_place *to)
{
    int rc;
    node *own = node_at(graph, index);
    if (!own) return GB_EINVAL;
    if (own->command.kind == GBI_LAUNCH || (own->command.kind == GBI_FILL && !to->buffer))
        return gb_err_set(GB_EINVAL, "node %d does not write there", index);
    void *address = address_of(graph, own, to, &rc);
    if (rc < 0) return rc;
    if (own->command.kind == GBI_FILL) {
        own->command.u.fill.to_address = address;
    } else {
        own->command.u.copy.to = to->buffer;
        own->command.u.copy.to_address = address;
    }
    put_buffer(own, 0, to->buffer);
    return 0;
}

int gb_graph_set_from(gb_graph *graph, int index, const gb_place *from)
{
    int rc;
    node *own = node_at(graph, index);
    if (!own) return GB_EINVAL;
    if (own->command.kind != GBI_COPY)
        return gb_err_set(GB_EINVAL, "node %d reads no memory", index);
    void *address = address_of(graph, own, from, &rc);
    if (rc < 0) return rc;
    own->command.u.copy.from = from->buffer;
    own->command.u.copy.from_address = address;
    put_buffer(own, 1, from->buffer);
    return 0;
}

/* ---- running ---- */

static void gather(node *own)
{
    int count = own->command.kind == GBI_LAUNCH ? (int)own->command.u.launch.param_count
                : own->command.kind == GBI_COPY ? 2
                                                : 1;
    own->command.retained_count = 0;
    for (int i = 0; i < count; i++)
        if (own->buffers[i]) own->command.retained[own->command.retained_count++] = own->buffers[i];
    own->gathered = true;
}

static int check_copy(const node *own, int index)
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
        node *own = graph->nodes[i];
        if (own->missing)
            return gb_err_set(GB_EINVAL, "node %d lacks %d of what it works on", i, own->missing);
        int rc = own->command.kind == GBI_COPY ? check_copy(own, i) : 0;
        if (rc < 0) return rc;
        if (!own->gathered) gather(own);
    }
    for (int i = 0; i < graph->count; i++) {
        node *own = graph->nodes[i];
        if (own->command.kind != GBI_LAUNCH && own->bytes == 0) continue;
        int rc = gbi_queue_put(queue, &own->command);
        if (rc < 0) return rc;
    }
    return 0;
}
