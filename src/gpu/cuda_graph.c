/* Graphs of the cuda backend: explicit nodes and edges, no capture. A graph command that comes to
 * the head of its queue and whose graph is not there yet waits for the submission thread, which
 * makes and instantiates it (that may block) without the queue's lock. From then on the owner sets
 * what differs from the last replay and launches it itself.
 *
 * Copies from and to host memory go through one pinned block per replay: filled before the launch,
 * taken out when the replay has ended. Whatever the driver refuses - a node, the whole, an update,
 * a launch - is noted, and the command becomes its parts.
 *
 * An executable graph is not to be used by two threads at once: `lock`, inside the queue's.
 */
#include "gpu/cuda_engine.h"

#include "base/err.h"
#include "gpu/front.h"

#include <stdio.h>
#include <string.h>

typedef enum { GRAPH_NEW, GRAPH_BUILT, GRAPH_REFUSED } graph_state;

/* What a node of the executable graph has now. */
typedef struct node {
    gb_cu_node handle;
    gb_cu_memory to, from; /* copies and fills */
    size_t staged_at;      /* host copies: where in the block */
    unsigned char *params; /* launches: all values, in the order and room of the command's */
} node;

typedef struct gbi_cuda_graph {
    gbi_cuda_job close;
    gbi_cuda_device *device;
    const gbi_replay *replay; /* until the close */
    pthread_mutex_t lock;
    graph_state state;
    char why[200]; /* it is refused */
    int count;
    node *nodes;
    unsigned char *params;
    size_t params_bytes, staged_bytes;
    gb_cu_graph graph; /* its nodes name those of exec */
    gb_cu_exec exec;
} gbi_cuda_graph;

static gb_cu_memory address_of(const void *pointer)
{
    return (gb_cu_memory)(uintptr_t)pointer;
}

static bool is_upload(const gbi_command *command)
{
    return command->kind == GBI_COPY && !command->u.copy.from;
}

static bool is_download(const gbi_command *command)
{
    return command->kind == GBI_COPY && !command->u.copy.to;
}

/* ---- life ---- */

static int run_close(gbi_cuda_device *device, void *arg)
{
    gbi_cuda_graph *graph = arg;
    const gb_cuda_api *api = device->cuda->api;
    gb_cu_result rc = graph->exec ? api->cuGraphExecDestroy(graph->exec) : GB_CU_SUCCESS;
    if (rc != GB_CU_SUCCESS) gbi_cuda_failed(device, rc, "closing a graph");
    rc = graph->graph ? api->cuGraphDestroy(graph->graph) : GB_CU_SUCCESS;
    if (rc != GB_CU_SUCCESS) gbi_cuda_failed(device, rc, "closing a graph");
    return 0;
}

static void after_close(gbi_cuda_device *device, gbi_cuda_job *job)
{
    gbi_cuda_graph *graph = GB_CONTAINER(job, gbi_cuda_graph, close);
    gb_mem *mem = device->cuda->mem;
    pthread_mutex_destroy(&graph->lock);
    gb_mem_free(mem, graph->params, graph->params_bytes);
    gb_mem_free(mem, graph->nodes, (size_t)graph->count * sizeof *graph->nodes);
    gb_mem_free(mem, graph, sizeof *graph);
}

static bool has_rows(const gb_cuda_api *api)
{
    return api->cuGraphCreate && api->cuGraphDestroy && api->cuGraphAddKernelNode &&
           api->cuGraphAddMemcpyNode && api->cuGraphAddMemsetNode && api->cuGraphInstantiate &&
           api->cuGraphExecKernelNodeSetParams && api->cuGraphExecMemcpyNodeSetParams &&
           api->cuGraphExecMemsetNodeSetParams && api->cuGraphLaunch && api->cuGraphExecDestroy;
}

int gbi_cuda_graph_open(void **out, void *self, const gbi_replay *replay)
{
    gbi_cuda_device *device = self;
    gb_mem *mem = device->cuda->mem;
    if (!has_rows(device->cuda->api))
        return gb_err_set(GB_ENOTYET, "the driver has not all functions of graphs");
    gbi_cuda_graph *graph = gb_mem_zalloc(mem, sizeof *graph);
    if (!graph) return GB_ENOMEM;
    graph->nodes = gb_mem_zalloc(mem, (size_t)replay->count * sizeof *graph->nodes);
    if (!graph->nodes) {
        gb_mem_free(mem, graph, sizeof *graph);
        return GB_ENOMEM;
    }
    graph->count = replay->count;
    graph->replay = replay;
    graph->device = device;
    pthread_mutex_init(&graph->lock, NULL);
    gb_list_init(&graph->close.link);
    graph->close.epoch = atomic_load(&device->epoch);
    graph->close.run = run_close;
    graph->close.after = after_close;
    graph->close.arg = graph;
    *out = graph;
    return 0;
}

void gbi_cuda_graph_close(void *self)
{
    gbi_cuda_graph *graph = self;
    gbi_cuda_post(graph->device, &graph->close);
}

/* Fills of a pattern that the driver has no node for stay commands of their own. */
bool gbi_cuda_graph_takes(const gbi_command *command)
{
    if (command->kind != GBI_FILL) return true;
    return gbi_cuda_fill_unit(command->u.fill.pattern, command->u.fill.pattern_bytes) > 0;
}

/* ---- what the driver is told ---- */

static gb_cu_kernel_node kernel_node(const gbi_command *command)
{
    const gbi_cuda_kernel *kernel = command->u.launch.impl;
    const gb_dim grid = command->u.launch.grid, block = command->u.launch.block;
    return (gb_cu_kernel_node){.func = kernel->function,
                               .gridDimX = grid.x,
                               .gridDimY = grid.y,
                               .gridDimZ = grid.z,
                               .blockDimX = block.x,
                               .blockDimY = block.y,
                               .blockDimZ = block.z,
                               .sharedMemBytes = command->u.launch.shared_bytes,
                               .kernelParams = command->u.launch.params};
}

/* Where a copy goes to and comes from; the host's side is the block. */
static void ends_of(const gbi_command *command, const node *own, const gbi_cuda_stage *stage,
                    gb_cu_memory *to, gb_cu_memory *from)
{
    *to = address_of(command->u.copy.to_address);
    *from = address_of(command->u.copy.from_address);
    if (is_upload(command)) *from = address_of(stage->host + own->staged_at);
    if (is_download(command)) *to = address_of(stage->host + own->staged_at);
}

/* How the driver is to see one end: the block and pinned buffers are the host's. */
static gb_cu_memory_type type_of(const gb_buffer *buffer)
{
    if (!buffer || buffer->kind == GB_BUFFER_PINNED) return GB_CU_MEMORY_HOST;
    return buffer->kind == GB_BUFFER_UNIFIED ? GB_CU_MEMORY_UNIFIED : GB_CU_MEMORY_DEVICE;
}

static gb_cu_copy_node copy_node(const gbi_command *command, gb_cu_memory to, gb_cu_memory from)
{
    size_t bytes = command->u.copy.bytes;
    return (gb_cu_copy_node){.srcMemoryType = type_of(command->u.copy.from),
                             .srcHost = (const void *)(uintptr_t)from,
                             .srcDevice = from,
                             .srcPitch = bytes,
                             .srcHeight = 1,
                             .dstMemoryType = type_of(command->u.copy.to),
                             .dstHost = (void *)(uintptr_t)to,
                             .dstDevice = to,
                             .dstPitch = bytes,
                             .dstHeight = 1,
                             .WidthInBytes = bytes,
                             .Height = 1,
                             .Depth = 1};
}

static gb_cu_fill_node fill_node(const gbi_command *command)
{
    const unsigned char *pattern = command->u.fill.pattern;
    size_t bytes = command->u.fill.pattern_bytes, unit = gbi_cuda_fill_unit(pattern, bytes);
    gb_cu_fill_node out = {.dst = address_of(command->u.fill.to_address),
                           .elementSize = (unsigned)unit,
                           .width = bytes * command->u.fill.count / unit,
                           .height = 1};
    memcpy(&out.value, pattern, unit); /* little-endian */
    return out;
}

/* ---- building: the submission thread ---- */

static gb_cu_result add_node(gbi_cuda_graph *graph, const gbi_command *command, int index,
                             const gbi_cuda_stage *stage, const gb_cu_node *after, size_t count)
{
    gbi_cuda_device *device = graph->device;
    const gb_cuda_api *api = device->cuda->api;
    node *own = &graph->nodes[index];
    if (command->kind == GBI_LAUNCH) {
        gbi_cuda_kernel *kernel = command->u.launch.impl;
        gb_cu_kernel_node params = kernel_node(command);
        gb_cu_result rc = gbi_cuda_allow_shared(device, kernel, params.sharedMemBytes);
        if (rc != GB_CU_SUCCESS) return rc;
        return api->cuGraphAddKernelNode(&own->handle, graph->graph, after, count, &params);
    }
    if (command->kind == GBI_COPY) {
        ends_of(command, own, stage, &own->to, &own->from);
        gb_cu_copy_node params = copy_node(command, own->to, own->from);
        return api->cuGraphAddMemcpyNode(&own->handle, graph->graph, after, count, &params,
                                         device->context);
    }
    gb_cu_fill_node params = fill_node(command);
    own->to = params.dst;
    return api->cuGraphAddMemsetNode(&own->handle, graph->graph, after, count, &params,
                                     device->context);
}

static gb_cu_result add_nodes(gbi_cuda_graph *graph, const gbi_command *whole,
                              const gbi_cuda_stage *stage, gb_cu_node *after)
{
    const gbi_replay *replay = graph->replay;
    gb_cu_result rc = GB_CU_SUCCESS;
    for (int i = 0, at = 0; i < graph->count && rc == GB_CU_SUCCESS; i++) {
        size_t count = 0;
        while (at < replay->after_ends[i])
            after[count++] = graph->nodes[replay->after[at++]].handle;
        rc = add_node(graph, &whole->u.graph.commands[i], i, stage, after, count);
    }
    return rc;
}

/* Room for what is set of the nodes, and where host copies are staged. */
static int lay_out(gbi_cuda_graph *graph, const gbi_command *whole)
{
    size_t bytes = 0, staged = 0;
    for (int i = 0; i < graph->count; i++) {
        const gbi_command *command = &whole->u.graph.commands[i];
        if (command->kind == GBI_LAUNCH) bytes += command->u.launch.blob_bytes;
        graph->nodes[i].staged_at = staged;
        if (is_upload(command) || is_download(command))
            staged += (command->u.copy.bytes + 15) & ~(size_t)15;
    }
    graph->staged_bytes = staged;
    if (bytes == 0 || graph->params) return 0;
    graph->params = gb_mem_alloc(graph->device->cuda->mem, bytes);
    if (!graph->params) return GB_ENOMEM;
    graph->params_bytes = bytes;
    unsigned char *at = graph->params;
    for (int i = 0; i < graph->count; i++) {
        const gbi_command *command = &whole->u.graph.commands[i];
        if (command->kind != GBI_LAUNCH || !command->u.launch.param_count) continue;
        graph->nodes[i].params = at;
        memcpy(at, command->u.launch.params[0], command->u.launch.blob_bytes);
        at += command->u.launch.blob_bytes;
    }
    return 0;
}

static int instantiate(gbi_cuda_graph *graph, const gbi_command *whole, const gbi_cuda_stage *stage)
{
    gbi_cuda_device *device = graph->device;
    const gb_cuda_api *api = device->cuda->api;
    size_t room = (size_t)graph->count * sizeof(gb_cu_node);
    gb_cu_node *after = gb_mem_alloc(device->cuda->mem, room);
    if (!after) return GB_ENOMEM;
    graph->close.epoch = atomic_load(&device->epoch);
    gb_cu_result rc = api->cuGraphCreate(&graph->graph, 0);
    if (rc != GB_CU_SUCCESS) graph->graph = NULL;
    if (rc == GB_CU_SUCCESS) rc = add_nodes(graph, whole, stage, after);
    if (rc == GB_CU_SUCCESS) rc = api->cuGraphInstantiate(&graph->exec, graph->graph, 0);
    if (rc != GB_CU_SUCCESS) graph->exec = NULL;
    gb_mem_free(device->cuda->mem, after, room);
    return rc == GB_CU_SUCCESS ? 0 : gbi_cuda_failed(device, rc, "building a graph");
}

/* Under the graph's lock. The block is given back at once; the first replay most likely gets the
 * same. */
static int build(gbi_cuda_graph *graph, const gbi_command *whole)
{
    bool never = false;
    gbi_cuda_stage *stage = NULL;
    int rc = lay_out(graph, whole);
    if (rc < 0) return rc;
    if (graph->staged_bytes) {
        stage = gbi_cuda_stage_take(graph->device, false, true, &never);
        if (!stage) return never ? GB_ENOMEM : GB_EBUSY;
    }
    rc = instantiate(graph, whole, stage);
    if (stage) gbi_cuda_stage_give(graph->device, stage);
    return rc;
}

bool gbi_cuda_graph_build(gbi_command *whole)
{
    gbi_cuda_graph *graph = whole->u.graph.impl;
    if (atomic_load(&graph->device->lost)) return true; /* issuing it says so */
    pthread_mutex_lock(&graph->lock);
    int rc = graph->state == GRAPH_NEW ? build(graph, whole) : 0;
    if (rc < 0 && rc != GB_EBUSY) snprintf(graph->why, sizeof graph->why, "%s", gb_err_detail());
    bool built = rc == 0 && graph->state == GRAPH_NEW;
    if (built) graph->state = GRAPH_BUILT;
    if (rc < 0 && rc != GB_EBUSY) graph->state = GRAPH_REFUSED;
    pthread_mutex_unlock(&graph->lock);
    if (built) gbi_replay_note(whole->u.graph.replay, GBI_REPLAY_BUILT, NULL);
    return rc != GB_EBUSY;
}

bool gbi_cuda_graph_is_new(gbi_command *whole)
{
    gbi_cuda_graph *graph = whole->u.graph.impl;
    pthread_mutex_lock(&graph->lock);
    bool is_new = graph->state == GRAPH_NEW;
    pthread_mutex_unlock(&graph->lock);
    return is_new;
}

/* ---- replays: under the queue's lock and the graph's ---- */

static gb_cu_result set_launch(gbi_cuda_graph *graph, const gbi_command *command, node *own)
{
    uint32_t bytes = command->u.launch.blob_bytes;
    if (!own->params || memcmp(own->params, command->u.launch.params[0], bytes) == 0)
        return GB_CU_SUCCESS;
    gb_cu_kernel_node params = kernel_node(command);
    gb_cu_result rc =
        graph->device->cuda->api->cuGraphExecKernelNodeSetParams(graph->exec, own->handle, &params);
    if (rc == GB_CU_SUCCESS) memcpy(own->params, command->u.launch.params[0], bytes);
    return rc;
}

static gb_cu_result set_copy(gbi_cuda_graph *graph, const gbi_command *command, node *own,
                             const gbi_cuda_stage *stage)
{
    gb_cu_memory to, from;
    ends_of(command, own, stage, &to, &from);
    if (to == own->to && from == own->from) return GB_CU_SUCCESS;
    gb_cu_copy_node params = copy_node(command, to, from);
    gb_cu_result rc = graph->device->cuda->api->cuGraphExecMemcpyNodeSetParams(
        graph->exec, own->handle, &params, graph->device->context);
    if (rc == GB_CU_SUCCESS) own->to = to, own->from = from;
    return rc;
}

static gb_cu_result set_fill(gbi_cuda_graph *graph, const gbi_command *command, node *own)
{
    gb_cu_fill_node params = fill_node(command);
    if (params.dst == own->to) return GB_CU_SUCCESS;
    gb_cu_result rc = graph->device->cuda->api->cuGraphExecMemsetNodeSetParams(
        graph->exec, own->handle, &params, graph->device->context);
    if (rc == GB_CU_SUCCESS) own->to = params.dst;
    return rc;
}

static gb_cu_result set_all(gbi_cuda_graph *graph, const gbi_command *whole,
                            const gbi_cuda_stage *stage)
{
    gb_cu_result rc = GB_CU_SUCCESS;
    for (int i = 0; i < graph->count && rc == GB_CU_SUCCESS; i++) {
        const gbi_command *command = &whole->u.graph.commands[i];
        node *own = &graph->nodes[i];
        if (command->kind == GBI_LAUNCH)
            rc = set_launch(graph, command, own);
        else if (command->kind == GBI_COPY)
            rc = set_copy(graph, command, own, stage);
        else
            rc = set_fill(graph, command, own);
        if (rc == GB_CU_SUCCESS && is_upload(command))
            memcpy(stage->host + own->staged_at, command->u.copy.from_address,
                   command->u.copy.bytes);
    }
    return rc;
}

/* What the step holds until the replay has ended: the block, and from where to where downloads
 * write. */
static void fill_step(gbi_cuda_step *step, const gbi_command *whole, gbi_cuda_stage *stage)
{
    char *first = NULL, *end = NULL;
    step->stage = stage;
    for (int i = 0; i < whole->u.graph.count; i++) {
        const gbi_command *command = &whole->u.graph.commands[i];
        if (command->kind == GBI_LAUNCH)
            step->bound_ns = step->bound_ns + command->u.launch.bound_ns < step->bound_ns
                                 ? UINT64_MAX
                                 : step->bound_ns + command->u.launch.bound_ns;
        if (!is_download(command)) continue;
        char *to = command->u.copy.to_address;
        if (!first || to < first) first = to;
        if (!end || to + command->u.copy.bytes > end) end = to + command->u.copy.bytes;
    }
    step->host = first;
    step->bytes = (size_t)(end - first);
}

static int replay(gbi_cuda_graph *graph, gbi_cuda_queue *queue, gbi_command *whole,
                  gbi_cuda_step *step, bool here)
{
    gbi_cuda_device *device = graph->device;
    const char *what = "updating a graph";
    bool never = false;
    gbi_cuda_stage *stage = NULL;
    if (graph->staged_bytes) stage = gbi_cuda_stage_take(device, false, !here, &never);
    if (graph->staged_bytes && !stage && !never) return GBI_HOLD;
    gb_cu_result rc = never ? GB_CU_OUT_OF_MEMORY : set_all(graph, whole, stage);
    if (rc == GB_CU_SUCCESS) {
        what = "launching a graph";
        rc = device->cuda->api->cuGraphLaunch(graph->exec, queue->stream);
    }
    if (rc == GB_CU_SUCCESS) {
        fill_step(step, whole, stage);
        gbi_replay_note(whole->u.graph.replay, GBI_REPLAY_RAN, NULL);
        return GBI_ISSUED;
    }
    if (stage) gbi_cuda_stage_give(device, stage);
    int code = gbi_cuda_failed(device, rc, what);
    if (atomic_load(&device->lost)) return code;
    gbi_replay_note(whole->u.graph.replay, GBI_REPLAY_REFUSED, gb_err_detail());
    return GBI_SPLIT;
}

int gbi_cuda_graph_issue(gbi_cuda_queue *queue, gbi_command *whole, gbi_cuda_step *step, bool here)
{
    gbi_cuda_graph *graph = whole->u.graph.impl;
    if (!here)
        pthread_mutex_lock(&graph->lock);
    else if (pthread_mutex_trylock(&graph->lock) != 0)
        return GBI_HOLD; /* it is being built, for another queue */
    int answer = GBI_HOLD;
    bool gone = graph->state == GRAPH_BUILT &&
                graph->close.epoch != atomic_load(&graph->device->epoch); /* with its context */
    if (gone || graph->state == GRAPH_REFUSED) {
        gbi_replay_note(whole->u.graph.replay, GBI_REPLAY_REFUSED,
                        gone ? "the device was reset since the graph was built" : graph->why);
        answer = GBI_SPLIT;
    } else if (graph->state == GRAPH_BUILT) {
        answer = replay(graph, queue, whole, step, here);
    }
    pthread_mutex_unlock(&graph->lock);
    return answer;
}

void gbi_cuda_graph_land(const gbi_command *whole, const gbi_cuda_stage *stage)
{
    const gbi_cuda_graph *graph = whole->u.graph.impl;
    for (int i = 0; i < whole->u.graph.count; i++) {
        const gbi_command *command = &whole->u.graph.commands[i];
        if (!is_download(command)) continue;
        memcpy(command->u.copy.to_address, stage->host + graph->nodes[i].staged_at,
               command->u.copy.bytes);
    }
}
