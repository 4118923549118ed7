/* Handing commands to the driver, under the lock of their queue. What goes wrong here ends the
 * command in its turn: the step carries the error. GBI_HOLD is for what will come by itself: a
 * block that is in use, an event that is still to be recorded. */
#include "gpu/cuda_engine.h"

#include "base/err.h"
#include "gpu/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct issue {
    gbi_cuda_queue *queue;
    gbi_cuda_device *device;
    const gb_cuda_api *api;
    gbi_command *command;
    gbi_cuda_step *step;
    bool here;
} issue;

static gbi_cuda_step *new_step(issue *is)
{
    gbi_cuda_step *step = gb_mem_zalloc(is->device->cuda->mem, sizeof *step);
    if (!step) return NULL;
    gb_list_init(&step->link);
    atomic_fetch_add(&is->device->steps, 1);
    return step;
}

static gbi_cuda_step *take_reserve(issue *is)
{
    gbi_cuda_step *step = &is->queue->reserve;
    memset(step, 0, sizeof *step);
    gb_list_init(&step->link);
    atomic_fetch_add(&is->device->steps, 1);
    return step;
}

/* The other device of a copy is held too while that is under way. */
static void hold_other(issue *is)
{
    if (is->command->kind != GBI_COPY) return;
    const gb_buffer *ends[] = {is->command->u.copy.to, is->command->u.copy.from};
    for (int i = 0; i < 2; i++) {
        gbi_cuda_device *home = ends[i] ? ends[i]->device->impl : is->device;
        if (home != is->device) is->step->other = home;
    }
    if (is->step->other) atomic_fetch_add(&is->step->other->steps, 1);
}

static void drop_step(issue *is, gbi_cuda_step *step)
{
    if (step->other) gbi_cuda_leave(step->other);
    gb_mem_free(is->device->cuda->mem, step, sizeof *step);
    atomic_fetch_sub(&is->device->steps, 1);
}

/* Nothing is pending that would give memory back. */
static bool is_idle(const gbi_cuda_queue *queue)
{
    return gb_list_empty(&queue->pending) && queue->finishing == 0;
}

static void push(issue *is, gbi_cuda_step *step)
{
    gb_list_push(&is->queue->pending, &step->link);
    if (step->host) is->queue->downloads++;
    is->queue->armed = false;
}

static gbi_issue fail(issue *is, int rc)
{
    is->step->rc = rc;
    is->step->text = strdup(gb_err_detail());
    is->queue->failed = true;
    return GBI_ISSUED;
}

static gbi_issue ended(issue *is, gb_cu_result rc, const char *what)
{
    return rc == GB_CU_SUCCESS ? GBI_ISSUED : fail(is, gbi_cuda_failed(is->device, rc, what));
}

static int no_stage(const issue *is)
{
    return atomic_load(&is->device->lost) ? gbi_cuda_lost(is->device) : GB_ENOMEM;
}

/* ---- copies ---- */

static gb_cu_memory address_of(const void *pointer)
{
    return (gb_cu_memory)(uintptr_t)pointer;
}

/* Whether a download that has not arrived writes what this upload reads. */
static bool is_on_its_way(const gbi_cuda_queue *queue, const gbi_command *upload)
{
    const char *from = upload->u.copy.from_address, *end = from + upload->u.copy.bytes;
    if (queue->downloads == 0) return false;
    if (queue->finishing > 0) return true; /* one may be under way that is in no list */
    for (gb_list *at = queue->pending.next; at != &queue->pending; at = at->next) {
        const gbi_cuda_step *step = GB_CONTAINER(at, gbi_cuda_step, link);
        const char *host = step->host;
        if (host && host < end && from < host + step->bytes) return true;
    }
    return false;
}

/* The next piece, at most one staging block, into step. GBI_HOLD: nothing happened. */
static gbi_issue stage_piece(issue *is, gbi_cuda_step *step, bool large)
{
    bool never, upload = is->command->u.copy.from == NULL;
    size_t at = is->queue->progress, left = is->command->u.copy.bytes - at;
    size_t room = large ? GBI_STAGE_LARGE : GBI_STAGE_SMALL;
    if (upload && is_on_its_way(is->queue, is->command)) return GBI_HOLD;
    gbi_cuda_stage *stage = gbi_cuda_stage_take(is->device, large, !is->here, &never);
    if (!stage && never) {
        gbi_issue answer = fail(is, no_stage(is));
        is->queue->progress = is->command->u.copy.bytes;
        return answer;
    }
    if (!stage) return GBI_HOLD;
    char *to = (char *)is->command->u.copy.to_address + at;
    const char *from = (const char *)is->command->u.copy.from_address + at;
    gb_cu_result rc;
    step->stage = stage;
    step->bytes = left < room ? left : room;
    if (upload) {
        memcpy(stage->host, from, step->bytes);
        rc = is->api->cuMemcpyAsync(address_of(to), address_of(stage->host), step->bytes,
                                    is->queue->stream);
    } else {
        rc = is->api->cuMemcpyAsync(address_of(stage->host), address_of(from), step->bytes,
                                    is->queue->stream);
        step->host = rc == GB_CU_SUCCESS ? to : NULL;
    }
    is->queue->progress = rc == GB_CU_SUCCESS ? at + step->bytes : is->command->u.copy.bytes;
    return ended(is, rc, upload ? "an upload" : "a download");
}

/* Pieces but the last are steps of their own, with marks, so that their blocks come back. */
static gbi_issue host_copy(issue *is)
{
    size_t bytes = is->command->u.copy.bytes;
    if (bytes <= GBI_STAGE_SMALL) return stage_piece(is, is->step, false);
    if (is->here) return GBI_HOLD;
    while (bytes - is->queue->progress > GBI_STAGE_LARGE) {
        int rc = 0;
        gbi_cuda_step *piece = new_step(is);
        if (!piece) return is_idle(is->queue) ? fail(is, GB_ENOMEM) : GBI_HOLD;
        gbi_issue answer = stage_piece(is, piece, true);
        if (answer == GBI_ISSUED && is->step->rc == 0)
            piece->mark = gbi_cuda_record(is->queue, false, &rc);
        if (piece->stage)
            push(is, piece);
        else
            drop_step(is, piece);
        if (answer == GBI_HOLD || is->step->rc < 0) return answer;
    }
    return stage_piece(is, is->step, true);
}

static gbi_issue copy(issue *is)
{
    if (!is->command->u.copy.from || !is->command->u.copy.to) return host_copy(is);
    if (is->step->other && !gbi_cuda_peer_open(is->device, is->step->other, is->here))
        return GBI_HOLD;
    gb_cu_result rc = is->api->cuMemcpyAsync(address_of(is->command->u.copy.to_address),
                                             address_of(is->command->u.copy.from_address),
                                             is->command->u.copy.bytes, is->queue->stream);
    return ended(is, rc, "a copy");
}

/* ---- fills ---- */

size_t gbi_cuda_fill_unit(const unsigned char *pattern, size_t bytes)
{
    for (size_t unit = 1; unit <= 4; unit *= 2) {
        if (bytes % unit) continue;
        bool same = true;
        for (size_t i = unit; i < bytes && same; i++) same = pattern[i] == pattern[i - unit];
        if (same) return unit;
    }
    return 0;
}

/* The pattern, as often as it fits a staging block, then what is there already, doubled. */
static gbi_issue fill_by_copies(issue *is, gb_cu_memory to, size_t total)
{
    bool never;
    const size_t unit = is->command->u.fill.pattern_bytes;
    gbi_cuda_stage *stage = gbi_cuda_stage_take(is->device, false, !is->here, &never);
    if (!stage) return never ? fail(is, no_stage(is)) : GBI_HOLD;
    size_t done = GBI_STAGE_SMALL / unit * unit;
    if (done > total) done = total;
    for (size_t i = 0; i < done; i += unit)
        memcpy(stage->host + i, is->command->u.fill.pattern, unit);
    is->step->stage = stage;
    gb_cu_result rc = is->api->cuMemcpyAsync(to, address_of(stage->host), done, is->queue->stream);
    while (rc == GB_CU_SUCCESS && done < total) {
        size_t more = done < total - done ? done : total - done;
        rc = is->api->cuMemcpyAsync(to + done, to, more, is->queue->stream);
        done += more;
    }
    return ended(is, rc, "a fill");
}

static gbi_issue fill(issue *is)
{
    const unsigned char *pattern = is->command->u.fill.pattern;
    size_t bytes = is->command->u.fill.pattern_bytes, total = bytes * is->command->u.fill.count;
    gb_cu_memory to = address_of(is->command->u.fill.to_address);
    size_t unit = gbi_cuda_fill_unit(pattern, bytes);
    uint16_t two;
    uint32_t four;
    memcpy(&two, pattern, unit > 1 ? 2 : 0);
    memcpy(&four, pattern, unit > 2 ? 4 : 0);
    gb_cu_result rc;
    if (unit == 1)
        rc = is->api->cuMemsetD8Async(to, pattern[0], total, is->queue->stream);
    else if (unit == 2 && to % 2 == 0)
        rc = is->api->cuMemsetD16Async(to, two, total / 2, is->queue->stream);
    else if (unit == 4 && to % 4 == 0)
        rc = is->api->cuMemsetD32Async(to, four, total / 4, is->queue->stream);
    else
        return fill_by_copies(is, to, total);
    return ended(is, rc, "a fill");
}

/* ---- launches ---- */

gb_cu_result gbi_cuda_allow_shared(gbi_cuda_device *device, gbi_cuda_kernel *kernel, uint32_t bytes)
{
    if (bytes <= (uint32_t)device->shared_plain) return GB_CU_SUCCESS;
    if (bytes <= atomic_load_explicit(&kernel->shared_limit, memory_order_relaxed))
        return GB_CU_SUCCESS;
    gb_cu_result rc =
        device->cuda->api->cuFuncSetAttribute(kernel->function, GB_CU_FUNC_DYNAMIC_MAX, (int)bytes);
    if (rc == GB_CU_SUCCESS)
        atomic_store_explicit(&kernel->shared_limit, bytes, memory_order_relaxed);
    return rc;
}

static gbi_issue launch(issue *is)
{
    gbi_cuda_kernel *kernel = is->command->u.launch.impl;
    const gb_dim grid = is->command->u.launch.grid, block = is->command->u.launch.block;
    uint32_t shared = is->command->u.launch.shared_bytes;
    gbi_profile_started(is->command);
    gb_cu_result rc = gbi_cuda_allow_shared(is->device, kernel, shared);
    if (rc == GB_CU_SUCCESS)
        rc = is->api->cuLaunchKernel(kernel->function, grid.x, grid.y, grid.z, block.x, block.y,
                                     block.z, shared, is->queue->stream,
                                     is->command->u.launch.params, NULL);
    is->step->bound_ns = is->command->u.launch.bound_ns;
    if (rc == GB_CU_SUCCESS) return GBI_ISSUED;
    char text[512];
    int code = gbi_cuda_failed(is->device, rc, "a launch");
    snprintf(text, sizeof text, "%s", gb_err_detail());
    gb_err_set(code, "kernel '%s': %s", gb_kernel_name(is->command->u.launch.kernel), text);
    return fail(is, code);
}

/* ---- graphs ---- */

static gbi_issue graph(issue *is)
{
    const gbi_command *commands = is->command->u.graph.commands;
    for (int i = 0; i < is->command->u.graph.count; i++)
        if (commands[i].kind == GBI_COPY && !commands[i].u.copy.from &&
            is_on_its_way(is->queue, &commands[i]))
            return GBI_HOLD;
    int answer = gbi_cuda_graph_issue(is->queue, is->command, is->step, is->here);
    return answer < 0 ? fail(is, answer) : (gbi_issue)answer;
}

/* ---- order ---- */

static gbi_issue record(issue *is)
{
    int rc;
    gbi_cuda_event *event = is->command->u.event.impl;
    is->step->mark = gbi_cuda_record(is->queue, true, &rc);
    if (!is->step->mark) return fail(is, rc);
    pthread_mutex_lock(&event->lock);
    gbi_cuda_mark *gone = NULL;
    if (is->command->u.event.generation > event->issued) {
        gone = event->mark;
        event->mark = gbi_cuda_mark_ref(is->step->mark);
        event->issued = is->command->u.event.generation;
    }
    pthread_mutex_unlock(&event->lock);
    gbi_cuda_mark_unref(gone);
    return GBI_ISSUED;
}

/* The driver waits for the newest recording. When that is not the one that is meant - not issued
 * yet, or already replaced - this queue is held until the watcher has seen the right one end. */
static gbi_issue wait_event(issue *is)
{
    gbi_cuda_event *event = is->command->u.event.impl;
    uint64_t meant = is->command->u.event.generation;
    pthread_mutex_lock(&event->lock);
    bool finished = atomic_load(&event->finished) >= meant, good = event->good >= meant;
    gbi_cuda_mark *mark =
        !finished && event->issued == meant && event->mark ? gbi_cuda_mark_ref(event->mark) : NULL;
    pthread_mutex_unlock(&event->lock);
    if (finished && good) return GBI_ISSUED;
    if (finished) return fail(is, gb_err_set(GB_ELOST, "the device of an awaited event is lost"));
    if (!mark) return GBI_HOLD;
    gbi_cuda_device *from = mark->device;
    if (from != is->device && !gbi_cuda_hold(from)) {
        gbi_cuda_mark_unref(mark);
        return GBI_HOLD; /* its recording ends soon, for the device is lost */
    }
    gb_cu_result rc = is->api->cuStreamWaitEvent(is->queue->stream, mark->handle, 0);
    if (from != is->device) gbi_cuda_leave(from);
    gbi_cuda_mark_unref(mark);
    return ended(is, rc, "waiting for an event");
}

/* Without a mark the watcher's own stands for it. */
static gbi_issue signal(issue *is)
{
    int rc;
    is->step->mark = gbi_cuda_record(is->queue, false, &rc);
    if (!is->step->mark && rc != GB_ENOMEM) fail(is, rc);
    is->queue->failed = false; /* it takes the error */
    is->queue->signals++;
    return GBI_ISSUED;
}

/* Whether its device can be used, and all that it names was made since that was reset last. */
static int check_epochs(const issue *is)
{
    if (atomic_load(&is->device->lost)) return gbi_cuda_lost(is->device);
    uint32_t epoch = atomic_load(&is->device->epoch);
    if (is->queue->close.epoch != epoch) return gbi_cuda_stale(is->device);
    for (uint32_t i = 0; i < is->command->retained_count; i++) {
        const gb_buffer *buffer = is->command->retained[i];
        gbi_cuda_device *home = buffer->device->impl;
        if (atomic_load(&home->lost)) return gbi_cuda_lost(home);
        if (gbi_cuda_buffer_epoch(buffer) != atomic_load(&home->epoch)) return gbi_cuda_stale(home);
    }
    bool graph = is->command->kind == GBI_GRAPH;
    const gbi_command *commands = graph ? is->command->u.graph.commands : is->command;
    for (int i = 0; i < (graph ? is->command->u.graph.count : 1); i++) {
        const gbi_cuda_kernel *kernel = commands[i].u.launch.impl;
        if (commands[i].kind == GBI_LAUNCH && kernel->epoch != epoch)
            return gbi_cuda_stale(is->device);
    }
    return 0;
}

static int wait_clean(const issue *is)
{
    for (uint32_t i = 0; i < is->command->retained_count; i++) {
        const gb_buffer *buffer = is->command->retained[i];
        gb_cu_result rc = gbi_cuda_wait_clean(is->queue, buffer);
        if (rc != GB_CU_SUCCESS)
            return gbi_cuda_failed(buffer->device->impl, rc, "waiting for a buffer to be cleared");
    }
    return 0;
}

/* 0 to hand it to the driver, 1 when it is not to run, or the error that it ends with. */
static int check(issue *is)
{
    int rc = check_epochs(is);
    if (rc == 0) rc = gbi_cuda_current(is->device);
    if (rc < 0) return rc;
    if (is->command->kind > GBI_LAUNCH && is->command->kind != GBI_WAIT) return 0;
    if (is->command->kind != GBI_WAIT && is->queue->failed) return 1;
    /* the front's oldest signal is behind this command only while none is pending here */
    if (is->queue->signals == 0 && gbi_command_check(is->command) == GB_ECANCELED)
        return gb_err_set(GB_ECANCELED, "%s", gb_err_text(GB_ECANCELED));
    return wait_clean(is);
}

static gbi_issue hand_over(issue *is)
{
    switch (is->command->kind) {
    case GBI_COPY:
        return copy(is);
    case GBI_FILL:
        return fill(is);
    case GBI_GRAPH:
        return graph(is);
    case GBI_LAUNCH:
        return launch(is);
    case GBI_RECORD:
        return record(is);
    case GBI_WAIT:
        return wait_event(is);
    case GBI_SIGNAL:
        return signal(is);
    }
    return GBI_ISSUED;
}

gbi_issue gbi_cuda_issue(gbi_cuda_queue *queue, gbi_command *command, bool here)
{
    issue is = {queue, queue->device, queue->device->cuda->api, command, NULL, here};
    is.step = new_step(&is);
    bool poor = !is.step;
    if (poor && !is_idle(queue)) return GBI_HOLD;
    if (poor) is.step = take_reserve(&is);
    hold_other(&is);
    int rc = poor ? GB_ENOMEM : check(&is);
    is.step->refused = rc != 0;
    if (rc < 0) {
        fail(&is, rc);
        if (command->kind == GBI_SIGNAL) queue->failed = false, queue->signals++;
    } else if (rc == 0) {
        gbi_issue answer = hand_over(&is);
        if (answer != GBI_ISSUED) {
            drop_step(&is, is.step);
            return answer;
        }
    }
    is.step->command = command;
    push(&is, is.step);
    return GBI_ISSUED;
}
