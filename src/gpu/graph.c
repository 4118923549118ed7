/* Graphs: commands kept ready, and what is set of them from run to run. */
#include "gpu/graph.h"
#include "base/check.h"
#include "base/err.h"

#include <string.h>

typedef gbi_node node;

int gb_graph_open(gb_graph **out, gb_device *device)
{
    gb_graph *graph = gb_mem_zalloc(&device->gpu->room, sizeof *graph);
    if (!graph) return GB_ENOMEM;
    graph->device = device;
    atomic_init(&graph->refs, 1);
    pthread_mutex_init(&graph->lock, NULL);
    *out = graph;
    return 0;
}

void gb_graph_close(gb_graph *graph)
{
    if (!graph) return;
    gbi_graph_drop_parts(graph);
    gbi_graph_unref(graph);
}

void gbi_graph_unref(gb_graph *graph)
{
    if (atomic_fetch_sub_explicit(&graph->refs, 1, memory_order_acq_rel) > 1) return;
    gb_mem *mem = &graph->device->gpu->room;
    gbi_order_fini(graph);
    gbi_lanes_fini(graph);
    pthread_mutex_destroy(&graph->lock);
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
    size_t accesses = ((size_t)count + 1) * sizeof(gbi_access);
    size_t pointers = 2 * (size_t)count * sizeof(gb_buffer *);
    size_t bytes = sizeof(node) + accesses + pointers + extra + (size_t)count;
    node *own = gb_mem_zalloc(mem, bytes);
    if (!own) return NULL;
    own->memory_bytes = bytes;
    own->missing = own->slots = own->access_count = count;
    own->accesses = (gbi_access *)(own + 1);
    own->buffers = (gb_buffer **)(own->accesses + count + 1);
    own->command.retained = own->buffers + count;
    own->set = (bool *)own + bytes - count;
    graph->nodes[graph->count++] = own;
    return own;
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
    gb_buffer **retained = own->buffers + count;
    own->command.retained = retained;
    if (kernel->module->desc.global_count > 0) /* they may share its variables */
        own->accesses[own->access_count++] = gbi_access_of_module(kernel->module, true);
    void **table = (void **)(retained + count);
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

static void put_buffer(gb_graph *graph, node *own, int at, gb_buffer *buffer, gbi_access access)
{
    if (!own->set[at]) own->missing--;
    own->set[at] = true;
    own->gathered = own->gathered && own->buffers[at] == buffer;
    own->buffers[at] = buffer;
    gbi_access *old = &own->accesses[at];
    if (old->from == access.from && old->to == access.to && old->write == access.write) return;
    *old = access;
    own->moved = graph->moved = true;
}

/* What a launch may touch through one parameter. */
static gbi_access access_of(const gb_param *param, const gb_arg *arg)
{
    uint64_t address;
    bool write = !param->is_const;
    if (arg->buffer) return gbi_access_of_buffer(arg->buffer, 0, arg->buffer->bytes, write);
    if (!param->pointer || param->size != sizeof address) return (gbi_access){0, 0, false};
    memcpy(&address, arg->value, sizeof address);
    if (!arg->span) return (gbi_access){0, UINT64_MAX, write};
    return (gbi_access){address, address + arg->span, write};
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
    const gb_param *what = &gb_kernel_params(own->command.u.launch.kernel)[param];
    put_buffer(graph, own, param, arg->buffer, access_of(what, arg));
    return 0;
}

static gbi_access access_of_place(const gb_place *place, size_t bytes, bool write)
{
    if (place->buffer) return gbi_access_of_buffer(place->buffer, place->offset, bytes, write);
    uint64_t address = (uint64_t)(uintptr_t)place->host;
    return (gbi_access){address, address + bytes, write};
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
    put_buffer(graph, own, 0, to->buffer, access_of_place(to, own->bytes, true));
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
    put_buffer(graph, own, 1, from->buffer, access_of_place(from, own->bytes, false));
    return 0;
}
