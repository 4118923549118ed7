/* Queues of the cuda backend: a stream each. The owner issues; what it cannot issue without waiting
 * stands in `waiting`, and everything behind it too, until the submission thread has caught up. */
#include "gpu/cuda_engine.h"

#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

static int run_close(gbi_cuda_device *device, void *arg)
{
    gbi_cuda_queue *queue = arg;
    const gb_cuda_api *api = device->cuda->api;
    gb_cu_result rc = api->cuStreamDestroy(queue->stream); /* callbacks come all the same */
    if (rc != GB_CU_SUCCESS) gbi_cuda_failed(device, rc, "closing a stream");
    return 0;
}

static void after_close(gbi_cuda_device *device, gbi_cuda_job *job)
{
    gbi_cuda_queue *queue = GB_CONTAINER(job, gbi_cuda_queue, close);
    gbi_cuda_mark_unref(queue->mark);
    pthread_mutex_destroy(&queue->lock);
    gb_mem_free(device->cuda->mem, queue, sizeof *queue);
}

/* The numbers of priorities are the driver's; it makes a stream of the common one where it has no
 * others. */
static gb_cu_result make_stream(gbi_cuda_device *device, bool urgent, gb_cu_stream *out)
{
    const gb_cuda_api *api = device->cuda->api;
    int least = 0, greatest = 0;
    if (urgent && api->cuCtxGetStreamPriorityRange && api->cuStreamCreateWithPriority &&
        api->cuCtxGetStreamPriorityRange(&least, &greatest) == GB_CU_SUCCESS)
        return api->cuStreamCreateWithPriority(out, GB_CU_STREAM_NON_BLOCKING, greatest);
    return api->cuStreamCreate(out, GB_CU_STREAM_NON_BLOCKING);
}

static int open_queue(void **out, gbi_cuda_device *device, gb_queue *front, bool urgent)
{
    int rc = gbi_cuda_watch_start(device->cuda);
    if (rc < 0) return rc;
    gbi_cuda_queue *queue = gb_mem_zalloc(device->cuda->mem, sizeof *queue);
    if (!queue) return GB_ENOMEM;
    queue->mark = gbi_cuda_mark_take(device, false, &rc);
    gb_cu_result failed = GB_CU_SUCCESS;
    if (queue->mark) failed = make_stream(device, urgent, &queue->stream);
    if (!queue->mark || failed != GB_CU_SUCCESS) {
        gbi_cuda_mark_unref(queue->mark);
        gb_mem_free(device->cuda->mem, queue, sizeof *queue);
        return failed == GB_CU_SUCCESS ? rc : gbi_cuda_failed(device, failed, "making a stream");
    }
    atomic_init(&queue->refs, 1);
    queue->device = device;
    queue->front = front;
    pthread_mutex_init(&queue->lock, NULL);
    gb_list_init(&queue->pending);
    gb_list_init(&queue->waiting);
    gb_list_init(&queue->deferred);
    gb_list_init(&queue->busy);
    gb_list_init(&queue->close.link);
    queue->close.epoch = atomic_load(&device->epoch);
    queue->close.run = run_close;
    queue->close.after = after_close;
    queue->close.arg = queue;
    *out = queue;
    return 0;
}

int gbi_cuda_queue_open(void **out, void *self, gb_queue *front, bool urgent)
{
    gbi_cuda_device *device = self;
    int rc = gbi_cuda_enter(device);
    if (rc < 0) return rc;
    rc = open_queue(out, device, front, urgent);
    gbi_cuda_leave(device);
    return rc;
}

void gbi_cuda_queue_ref(gbi_cuda_queue *queue)
{
    atomic_fetch_add_explicit(&queue->refs, 1, memory_order_relaxed);
}

void gbi_cuda_queue_unref(gbi_cuda_queue *queue)
{
    if (atomic_fetch_sub_explicit(&queue->refs, 1, memory_order_acq_rel) > 1) return;
    gbi_cuda_post(queue->device, &queue->close);
}

void gbi_cuda_queue_close(void *self)
{
    gbi_cuda_queue_unref(self);
}

/* ---- commands ---- */

gbi_cuda_mark *gbi_cuda_record(gbi_cuda_queue *queue, bool timed, int *rc)
{
    gbi_cuda_mark *mark = gbi_cuda_mark_take(queue->device, timed, rc);
    if (!mark) return NULL;
    gb_cu_result failed = queue->device->cuda->api->cuEventRecord(mark->handle, queue->stream);
    if (failed == GB_CU_SUCCESS) return mark;
    *rc = gbi_cuda_failed(queue->device, failed, "recording an event");
    gbi_cuda_mark_unref(mark);
    return NULL;
}

/* The first waiting command becomes its parts. */
static void split_first(gbi_cuda_queue *queue)
{
    gb_list parts;
    gb_list_init(&parts);
    gbi_command_split(GB_CONTAINER(gb_list_shift(&queue->waiting), gbi_command, link), &parts);
    for (gb_list *node; (node = gb_list_shift(&queue->waiting));) gb_list_push(&parts, node);
    for (gb_list *node; (node = gb_list_shift(&parts));) gb_list_push(&queue->waiting, node);
}

/* Under the queue's lock. */
static void issue_all(gbi_cuda_queue *queue, bool here)
{
    while (!gb_list_empty(&queue->waiting)) {
        gbi_command *command = GB_CONTAINER(queue->waiting.next, gbi_command, link);
        gbi_issue answer = gbi_cuda_issue(queue, command, here);
        if (answer == GBI_HOLD) break;
        if (answer == GBI_SPLIT) {
            split_first(queue);
            continue;
        }
        gb_list_unlink(&command->link); /* unlocked it may be freed */
        queue->progress = 0;
    }
    if (!gb_list_empty(&queue->pending)) gbi_cuda_watch_queue(queue);
}

bool gbi_cuda_submit(void *self, gbi_command *command)
{
    gbi_cuda_queue *queue = self;
    pthread_mutex_lock(&queue->lock);
    bool idle =
        gb_list_empty(&queue->pending) && gb_list_empty(&queue->waiting) && queue->finishing == 0;
    if (idle && command->kind == GBI_SIGNAL) {
        pthread_mutex_unlock(&queue->lock);
        return false;
    }
    if (idle) queue->failed = gbi_command_check(command) == 1; /* all errors are the front's now */
    bool first = gb_list_empty(&queue->waiting);
    gb_list_push(&queue->waiting, &command->link);
    if (first) issue_all(queue, true);
    if (!gb_list_empty(&queue->waiting)) gbi_cuda_defer(queue);
    pthread_mutex_unlock(&queue->lock);
    return true;
}

/* A graph command at the head whose graph is still to be built. */
static gbi_command *to_build(gbi_cuda_queue *queue)
{
    if (gb_list_empty(&queue->waiting)) return NULL;
    gbi_command *command = GB_CONTAINER(queue->waiting.next, gbi_command, link);
    bool is_new = command->kind == GBI_GRAPH && gbi_cuda_graph_is_new(command);
    return is_new ? command : NULL;
}

bool gbi_cuda_queue_pump(gbi_cuda_queue *queue)
{
    for (;;) {
        pthread_mutex_lock(&queue->lock);
        issue_all(queue, false);
        bool empty = gb_list_empty(&queue->waiting);
        gbi_command *command = to_build(queue);
        if (empty) queue->is_deferred = false;
        pthread_mutex_unlock(&queue->lock);
        /* only this thread takes what waits */
        if (!command || !gbi_cuda_graph_build(command)) return empty;
    }
}

/* ---- events ---- */

int gbi_cuda_event_open(void **out, void *self)
{
    gb_mem *mem = ((gbi_cuda_device *)self)->cuda->mem;
    gbi_cuda_event *event = gb_mem_zalloc(mem, sizeof *event);
    if (!event) return GB_ENOMEM;
    event->mem = mem;
    pthread_mutex_init(&event->lock, NULL);
    *out = event;
    return 0;
}

void gbi_cuda_event_close(void *self)
{
    gbi_cuda_event *event = self;
    gbi_cuda_mark_unref(event->mark);
    pthread_mutex_destroy(&event->lock);
    gb_mem_free(event->mem, event, sizeof *event);
}

void gbi_cuda_event_finish(gbi_cuda_event *event, uint64_t generation, bool good)
{
    pthread_mutex_lock(&event->lock);
    if (good && generation > event->good) event->good = generation;
    if (generation > atomic_load_explicit(&event->finished, memory_order_relaxed))
        atomic_store_explicit(&event->finished, generation, memory_order_release);
    pthread_mutex_unlock(&event->lock);
}

/* The driver is asked: who waited for it on another queue may come before the watcher has seen it.
 * What else the driver says is the watcher's business. */
uint64_t gbi_cuda_event_query(void *self)
{
    gbi_cuda_event *event = self;
    pthread_mutex_lock(&event->lock);
    uint64_t finished = atomic_load(&event->finished), issued = event->issued;
    gbi_cuda_mark *mark = issued > finished && event->mark ? gbi_cuda_mark_ref(event->mark) : NULL;
    pthread_mutex_unlock(&event->lock);
    if (!mark) return finished;
    gbi_cuda_device *device = mark->device;
    bool there = false;
    if (gbi_cuda_enter(device) == 0) {
        there = mark->epoch == atomic_load(&device->epoch) &&
                device->cuda->api->cuEventQuery(mark->handle) == GB_CU_SUCCESS;
        gbi_cuda_leave(device);
    }
    gbi_cuda_mark_unref(mark);
    if (!there) return finished;
    gbi_cuda_event_finish(event, issued, true);
    return issued;
}

static gbi_cuda_mark *newest(gbi_cuda_event *event)
{
    pthread_mutex_lock(&event->lock);
    gbi_cuda_mark *mark = event->mark ? gbi_cuda_mark_ref(event->mark) : NULL;
    pthread_mutex_unlock(&event->lock);
    return mark;
}

static int time_between(const gbi_cuda_mark *from, const gbi_cuda_mark *to, uint64_t *out_ns)
{
    gbi_cuda_device *device = from->device;
    float ms = 0;
    uint32_t epoch = atomic_load(&device->epoch);
    if (from->epoch != epoch || to->epoch != epoch) return gbi_cuda_stale(device);
    gb_cu_result rc = device->cuda->api->cuEventElapsedTime(&ms, from->handle, to->handle);
    if (rc != GB_CU_SUCCESS) return gbi_cuda_failed(device, rc, "taking a time");
    *out_ns = ms > 0 ? (uint64_t)((double)ms * 1e6) : 0;
    return 0;
}

int gbi_cuda_event_elapsed(void *start, void *end, uint64_t *out_ns)
{
    gbi_cuda_mark *from = newest(start), *to = newest(end);
    int rc = 0;
    if (!from || !to || from->device != to->device)
        rc = gb_err_set(GB_EDEVICE, "the events were recorded on different devices, or failed");
    if (rc == 0) rc = gbi_cuda_enter(from->device);
    if (rc == 0) {
        rc = time_between(from, to, out_ns);
        gbi_cuda_leave(from->device);
    }
    gbi_cuda_mark_unref(from);
    gbi_cuda_mark_unref(to);
    return rc;
}
