/* Graphs: nodes with dependencies, copied when they are made executable and again when they are
 * launched, and run in any order that the dependencies allow. */
#include "soft.h"

#include <stdlib.h>
#include <string.h>

/* ---- steps ---- */

static void step_fini(soft_step *step)
{
    soft_command_fini(&step->command);
    free(step->after);
    step->after = NULL;
}

static bool copy_launch(soft_command *to, const soft_command *from)
{
    const gb_cpu_kernel *kernel = ((const soft_function *)from->held)->kernel;
    size_t room = 0;
    for (int i = 0; i < kernel->param_count; i++) room += (kernel->params[i].size + 15) & ~15u;
    unsigned char *blob = aligned_alloc(16, room ? room : 16);
    void **params = calloc((size_t)kernel->param_count + 1, sizeof *params);
    to->u.launch.blob = blob;
    to->u.launch.params = params;
    if (!blob || !params) return false;
    memcpy(blob, from->u.launch.blob, room);
    for (int i = 0; i < kernel->param_count; i++)
        params[i] = blob + ((unsigned char *)from->u.launch.params[i] - from->u.launch.blob);
    return true;
}

static bool step_copy(soft_step *to, const soft_step *from)
{
    *to = *from;
    if (to->command.held) soft_hold(to->command.held);
    to->after = malloc(((size_t)from->after_count + 1) * sizeof *to->after);
    bool all = to->after != NULL;
    if (all && from->after_count)
        memcpy(to->after, from->after, (size_t)from->after_count * sizeof *to->after);
    if (to->command.kind == SOFT_LAUNCH) all = copy_launch(&to->command, &from->command) && all;
    if (!all) step_fini(to);
    return all;
}

/* ---- graphs ---- */

static void destroy_node(soft_object *object)
{
    soft_node *node = (soft_node *)object;
    gb_list_unlink(&node->in_graph);
    step_fini(&node->step);
}

static void destroy_graph(soft_object *object)
{
    soft_graph *graph = (soft_graph *)object;
    for (gb_list *at; (at = gb_list_shift(&graph->nodes));)
        soft_retire(&GB_CONTAINER(at, soft_node, in_graph)->object);
}

gb_cu_result soft_cuGraphCreate(gb_cu_graph *out, unsigned int flags)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuGraphCreate, &context);
    if (rc == 0 && flags != 0) rc = GB_CU_INVALID_VALUE;
    if (rc) return soft_leave(rc);
    soft_graph *graph = soft_new(sizeof *graph, SOFT_GRAPH, context, destroy_graph);
    if (!graph) return soft_leave(GB_CU_OUT_OF_MEMORY);
    gb_list_init(&graph->nodes);
    *out = soft_handle(&graph->object);
    return soft_leave(0);
}

static gb_cu_result destroy(int row, const void *handle, soft_kind kind)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(row, &context);
    if (rc) {
        soft_given_up(handle, kind);
        return soft_leave(rc);
    }
    soft_object *object = soft_find(row, handle, kind);
    if (object) soft_retire(object);
    return soft_leave(object ? GB_CU_SUCCESS : GB_CU_INVALID_HANDLE);
}

gb_cu_result soft_cuGraphDestroy(gb_cu_graph handle)
{
    return destroy(ROW_cuGraphDestroy, handle, SOFT_GRAPH);
}

gb_cu_result soft_cuGraphExecDestroy(gb_cu_exec handle)
{
    return destroy(ROW_cuGraphExecDestroy, handle, SOFT_EXEC);
}

/* What kind of memory it is: no update changes that. */
static int mapping_of(uint64_t address)
{
    const soft_memory *memory = soft_in_arena(address) ? soft_memory_at(address, 1) : NULL;
    return memory ? 1 + (int)memory->kind + SOFT_DEVICES_MAX * memory->device : 0;
}

/* Takes the command. */
static gb_cu_result add_node(int row, gb_cu_node *out, gb_cu_graph handle, const gb_cu_node *after,
                             size_t count, soft_command *command)
{
    soft_graph *graph = soft_find(row, handle, SOFT_GRAPH);
    gb_cu_result rc = graph ? GB_CU_SUCCESS : GB_CU_INVALID_HANDLE;
    int *indices = calloc(count + 1, sizeof *indices);
    for (size_t i = 0; i < count && rc == 0 && indices; i++) {
        const soft_node *other = soft_find(row, after[i], SOFT_NODE);
        if (!other || other->graph != graph)
            rc = GB_CU_INVALID_VALUE;
        else
            indices[i] = other->index;
    }
    soft_node *node = rc || !indices
                          ? NULL
                          : soft_new(sizeof *node, SOFT_NODE, graph->object.context, destroy_node);
    if (rc == 0 && !node) rc = GB_CU_OUT_OF_MEMORY;
    if (rc) {
        free(indices);
        soft_command_fini(command);
        return rc;
    }
    node->graph = graph;
    node->index = graph->count++;
    node->step =
        (soft_step){.node = node->object.number, .command = *command, .after_count = (int)count};
    node->step.after = indices;
    if (command->kind == SOFT_COPY) {
        node->step.mappings[0] = mapping_of(command->u.copy.to);
        node->step.mappings[1] = mapping_of(command->u.copy.from);
    } else if (command->kind == SOFT_FILL) {
        node->step.mappings[0] = mapping_of(command->u.fill.to);
    }
    gb_list_push(&graph->nodes, &node->in_graph);
    *out = soft_handle(&node->object);
    return 0;
}

/* ---- commands of nodes ---- */

static gb_cu_result launch_node(int row, soft_command *out, soft_context *context,
                                const gb_cu_kernel_node *params)
{
    if (params->kern) return GB_CU_NOT_SUPPORTED;
    return soft_launch_of(row, out, context, params);
}

static gb_cu_result end_of(gb_cu_memory_type type, const void *host, gb_cu_memory device, size_t x,
                           uint64_t *out)
{
    if (type != GB_CU_MEMORY_HOST && type != GB_CU_MEMORY_DEVICE && type != GB_CU_MEMORY_UNIFIED)
        return GB_CU_INVALID_VALUE;
    *out = (type == GB_CU_MEMORY_HOST ? (uint64_t)(uintptr_t)host : device) + x;
    bool host_is_device = type == GB_CU_MEMORY_HOST && soft_in_arena(*out) &&
                          soft_memory_at(*out, 1) &&
                          soft_memory_at(*out, 1)->kind == SOFT_DEVICE_MEMORY;
    return host_is_device ? GB_CU_INVALID_VALUE : GB_CU_SUCCESS;
}

/* One row: the only shape that is used. */
static gb_cu_result copy_node(int row, soft_command *out, soft_context *context,
                              const gb_cu_copy_node *p)
{
    uint64_t to, from;
    if (p->Height != 1 || p->Depth != 1 || p->srcY || p->srcZ || p->dstY || p->dstZ ||
        p->reserved0 || p->reserved1 || p->srcLOD || p->dstLOD)
        return GB_CU_INVALID_VALUE;
    gb_cu_result rc = end_of(p->srcMemoryType, p->srcHost, p->srcDevice, p->srcXInBytes, &from);
    if (rc == 0) rc = end_of(p->dstMemoryType, p->dstHost, p->dstDevice, p->dstXInBytes, &to);
    return rc ? rc : soft_copy_of(row, out, context, to, from, p->WidthInBytes);
}

/* Begins an entry point: the command of a node. given: the context that it is told, of copies and
 * fills. */
static gb_cu_result enter_node(int row, soft_command_kind kind, const void *params,
                               const gb_cu_context *given, soft_command *out)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(row, &context);
    if (rc == 0 && given && !soft_find(row, *given, SOFT_CONTEXT)) rc = GB_CU_INVALID_CONTEXT;
    if (rc) return rc;
    if (kind == SOFT_LAUNCH) return launch_node(row, out, context, params);
    if (kind == SOFT_COPY) return copy_node(row, out, context, params);
    return soft_fill_of(row, out, context, params);
}

gb_cu_result soft_cuGraphAddKernelNode(gb_cu_node *out, gb_cu_graph graph, const gb_cu_node *after,
                                       size_t count, const gb_cu_kernel_node *params)
{
    soft_command command;
    const int row = ROW_cuGraphAddKernelNode;
    gb_cu_result rc = enter_node(row, SOFT_LAUNCH, params, NULL, &command);
    return soft_leave(rc ? rc : add_node(row, out, graph, after, count, &command));
}

gb_cu_result soft_cuGraphAddMemcpyNode(gb_cu_node *out, gb_cu_graph graph, const gb_cu_node *after,
                                       size_t count, const gb_cu_copy_node *params,
                                       gb_cu_context context)
{
    soft_command command;
    const int row = ROW_cuGraphAddMemcpyNode;
    gb_cu_result rc = enter_node(row, SOFT_COPY, params, &context, &command);
    return soft_leave(rc ? rc : add_node(row, out, graph, after, count, &command));
}

gb_cu_result soft_cuGraphAddMemsetNode(gb_cu_node *out, gb_cu_graph graph, const gb_cu_node *after,
                                       size_t count, const gb_cu_fill_node *params,
                                       gb_cu_context context)
{
    soft_command command;
    const int row = ROW_cuGraphAddMemsetNode;
    gb_cu_result rc = enter_node(row, SOFT_FILL, params, &context, &command);
    return soft_leave(rc ? rc : add_node(row, out, graph, after, count, &command));
}

/* ---- executable graphs ---- */

static void destroy_exec(soft_object *object)
{
    soft_exec *exec = (soft_exec *)object;
    for (int i = 0; i < exec->count; i++) step_fini(&exec->steps[i]);
    free(exec->steps);
    if (exec->origin) soft_drop(&exec->origin->object);
}

static soft_exec *new_exec(soft_context *context, int room)
{
    soft_exec *exec = soft_new(sizeof *exec, SOFT_EXEC, context, destroy_exec);
    if (!exec) return NULL;
    exec->steps = calloc((size_t)room + 1, sizeof *exec->steps);
    if (exec->steps) return exec;
    soft_retire(&exec->object);
    return NULL;
}

gb_cu_result soft_cuGraphInstantiate(gb_cu_exec *out, gb_cu_graph handle, unsigned long long flags)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuGraphInstantiate, &context);
    if (rc == 0 && flags != 0) rc = GB_CU_INVALID_VALUE;
    if (rc) return soft_leave(rc);
    soft_graph *graph = soft_find(ROW_cuGraphInstantiate, handle, SOFT_GRAPH);
    if (!graph) return soft_leave(GB_CU_INVALID_HANDLE);
    soft_exec *exec = new_exec(context, graph->count);
    bool all = exec != NULL;
    for (gb_list *at = graph->nodes.next; at != &graph->nodes && all; at = at->next) {
        all = step_copy(&exec->steps[exec->count], &GB_CONTAINER(at, soft_node, in_graph)->step);
        if (all) exec->count++;
    }
    if (exec && !all) soft_retire(&exec->object);
    if (!all) return soft_leave(GB_CU_OUT_OF_MEMORY);
    *out = soft_handle(&exec->object);
    return soft_leave(0);
}

static bool same_mappings(const soft_step *step, const soft_command *now)
{
    if (now->kind == SOFT_FILL)
        return step->mappings[0] == mapping_of(now->u.fill.to) && now->u.fill.width > 0 &&
               now->u.fill.height == 1;
    if (now->kind != SOFT_COPY) return true;
    return step->mappings[0] == mapping_of(now->u.copy.to) &&
           step->mappings[1] == mapping_of(now->u.copy.from) && now->u.copy.bytes > 0;
}

/* Takes the command. The kind of a node does not change, nor what kind of memory it works on. */
static gb_cu_result set_step(int row, gb_cu_exec handle, gb_cu_node node, soft_command *command)
{
    soft_exec *exec = soft_find(row, handle, SOFT_EXEC);
    const soft_object *which = exec ? soft_find(row, node, SOFT_NODE) : NULL;
    for (int i = 0; which && i < exec->count; i++) {
        soft_step *step = &exec->steps[i];
        if (step->node != which->number || step->command.kind != command->kind ||
            !same_mappings(step, command))
            continue;
        soft_command_fini(&step->command);
        step->command = *command;
        return 0;
    }
    soft_command_fini(command);
    return exec ? GB_CU_INVALID_VALUE : GB_CU_INVALID_HANDLE;
}

gb_cu_result soft_cuGraphExecKernelNodeSetParams(gb_cu_exec exec, gb_cu_node node,
                                                 const gb_cu_kernel_node *params)
{
    soft_command command;
    const int row = ROW_cuGraphExecKernelNodeSetParams;
    gb_cu_result rc = enter_node(row, SOFT_LAUNCH, params, NULL, &command);
    return soft_leave(rc ? rc : set_step(row, exec, node, &command));
}

gb_cu_result soft_cuGraphExecMemcpyNodeSetParams(gb_cu_exec exec, gb_cu_node node,
                                                 const gb_cu_copy_node *params,
                                                 gb_cu_context context)
{
    soft_command command;
    const int row = ROW_cuGraphExecMemcpyNodeSetParams;
    gb_cu_result rc = enter_node(row, SOFT_COPY, params, &context, &command);
    return soft_leave(rc ? rc : set_step(row, exec, node, &command));
}

gb_cu_result soft_cuGraphExecMemsetNodeSetParams(gb_cu_exec exec, gb_cu_node node,
                                                 const gb_cu_fill_node *params,
                                                 gb_cu_context context)
{
    soft_command command;
    const int row = ROW_cuGraphExecMemsetNodeSetParams;
    gb_cu_result rc = enter_node(row, SOFT_FILL, params, &context, &command);
    return soft_leave(rc ? rc : set_step(row, exec, node, &command));
}

/* A copy of what is set now: later changes are for later launches. */
static soft_exec *copy_exec(soft_exec *exec)
{
    soft_exec *copy = new_exec(NULL, exec->count);
    bool all = copy != NULL;
    while (all && copy->count < exec->count) {
        all = step_copy(&copy->steps[copy->count], &exec->steps[copy->count]);
        if (all) copy->count++;
    }
    if (!copy) return NULL;
    copy->object.live = false; /* nobody has its handle */
    if (!all) {
        soft_drop(&copy->object);
        return NULL;
    }
    copy->origin = exec;
    soft_hold(&exec->object);
    copy->ticket = ++exec->ticket;
    return copy;
}

gb_cu_result soft_cuGraphLaunch(gb_cu_exec handle, gb_cu_stream stream)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuGraphLaunch, &context);
    if (rc) return soft_leave(rc);
    soft_exec *exec = soft_find(ROW_cuGraphLaunch, handle, SOFT_EXEC);
    if (!exec) return soft_leave(GB_CU_INVALID_HANDLE);
    soft_exec *copy = copy_exec(exec);
    if (!copy) return soft_leave(GB_CU_OUT_OF_MEMORY);
    soft_command command = {.kind = SOFT_REPLAY, .held = &copy->object};
    rc = soft_submit(ROW_cuGraphLaunch, context, stream, &command);
    if (rc) exec->ticket--;
    return soft_leave(rc);
}

/* ---- running ---- */

static bool can_run(const soft_step *step, const bool *ran)
{
    for (int i = 0; i < step->after_count; i++)
        if (!ran[step->after[i]]) return false;
    return true;
}

static int pick(soft_stream *stream, const soft_exec *exec, const bool *ran)
{
    int found = -1, seen = 0;
    for (int i = 0; i < exec->count; i++) {
        if (ran[i] || !can_run(&exec->steps[i], ran)) continue;
        if (soft_random(&stream->random) % (uint64_t)++seen == 0) found = i;
    }
    return found;
}

gb_cu_result soft_replay(soft_stream *stream, soft_exec *exec)
{
    gb_cu_result rc = 0;
    const soft_context *context = stream->object.context;
    pthread_mutex_lock(&soft.lock);
    while (exec->origin->done + 1 < exec->ticket && !context->error)
        pthread_cond_wait(&soft.moved, &soft.lock);
    pthread_mutex_unlock(&soft.lock);
    bool *ran = calloc((size_t)exec->count + 1, sizeof *ran);
    if (!ran) return GB_CU_OUT_OF_MEMORY;
    for (int at; rc == 0 && (at = pick(stream, exec, ran)) >= 0;) {
        rc = soft_run(stream, &exec->steps[at].command);
        ran[at] = true;
    }
    free(ran);
    pthread_mutex_lock(&soft.lock);
    exec->origin->done = exec->ticket;
    pthread_cond_broadcast(&soft.moved);
    pthread_mutex_unlock(&soft.lock);
    return rc;
}
