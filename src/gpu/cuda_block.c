/* Memory of buffers on a cuda device. Pinned memory is the host's and counted to the room's
 * account; memory of the device is counted by the driver.
 *
 * New memory and memory that changes hands is cleared by the device, on the submission thread's
 * stream, and nobody waits: `clean` is a mark behind the clearing, and whatever uses the block
 * first on another stream waits for it there (gbi_cuda_wait_clean), or on none, as cuFile does,
 * before it (gbi_cuda_await_clean). What the host sees is clear at once.
 */
#include "gpu/cuda_engine.h"

#include "base/err.h"
#include "gpu/front.h"

#include <stdio.h>
#include <string.h>

typedef struct block {
    gbi_cuda_job job; /* gives it back, on the submission thread: the driver waits there */
    uint64_t address;
    void *host;
    gb_buffer_kind kind;
    int64_t bytes; /* of the device */
    bool begun, idle;
    bool clearing;                  /* and nobody has seen the end of it */
    bool pooled;                    /* of the driver's pool */
    _Atomic(gbi_cuda_mark *) clean; /* changed under the device's lock */
} block;

typedef struct request {
    block *to;
    size_t bytes;
} request;

static int no_memory(gbi_cuda_device *device, const request *asked, gb_cu_result rc)
{
    size_t free_bytes = 0, total = 0;
    if (rc != GB_CU_OUT_OF_MEMORY) return gbi_cuda_failed(device, rc, "allocating a buffer");
    if (asked->to->kind == GB_BUFFER_PINNED)
        return gb_err_set(GB_ENOMEM, "the system has no %zu bytes of pinned memory", asked->bytes);
    device->cuda->api->cuMemGetInfo(&free_bytes, &total);
    return gb_err_set(GB_ENOMEM,
                      "device memory: %zu bytes asked, %zu of %zu bytes free on cuda device %d",
                      asked->bytes, free_bytes, total, device->ordinal);
}

/* Nothing uses it but perhaps its clearing, which nobody waited for. */
static void free_memory(gbi_cuda_device *device, const block *gone)
{
    const gb_cuda_api *api = device->cuda->api;
    bool pending = gone->clearing || atomic_load(&gone->clean);
    for (int i = 0; pending && !gone->pooled && i < 2; i++) /* what fails once may not again */
        pending = api->cuStreamSynchronize(device->stream) != GB_CU_SUCCESS;
    gb_cu_result rc = gone->pooled ? api->cuMemFreeAsync(gone->address, device->stream)
                      : gone->kind == GB_BUFFER_PINNED ? api->cuMemFreeHost(gone->host)
                                                       : api->cuMemFree(gone->address);
    if (rc != GB_CU_SUCCESS) gbi_cuda_failed(device, rc, "freeing a buffer");
}

static void set_clean(gbi_cuda_device *device, block *of, gbi_cuda_mark *mark)
{
    pthread_mutex_lock(&device->lock);
    gbi_cuda_mark *old = atomic_exchange(&of->clean, mark);
    pthread_mutex_unlock(&device->lock);
    gbi_cuda_mark_unref(old);
}

/* Context current, held. */
static int clear_async(gbi_cuda_device *device, block *to, size_t bytes)
{
    const gb_cuda_api *api = device->cuda->api;
    int rc;
    gbi_cuda_mark *mark = gbi_cuda_mark_take(device, false, &rc);
    if (!mark) return rc;
    gb_cu_result failed = api->cuMemsetD8Async(to->address, 0, bytes, device->stream);
    if (failed == GB_CU_SUCCESS) failed = api->cuEventRecord(mark->handle, device->stream);
    if (failed == GB_CU_SUCCESS) {
        set_clean(device, to, mark);
        return 0;
    }
    to->clearing = true;
    gbi_cuda_mark_unref(mark);
    return gbi_cuda_failed(device, failed, "clearing a buffer");
}

/* For what the host sees. Submission thread. */
static int clear_now(gbi_cuda_device *device, void *arg)
{
    request *asked = arg;
    const gb_cuda_api *api = device->cuda->api;
    gb_cu_result rc = api->cuMemsetD8Async(asked->to->address, 0, asked->bytes, device->stream);
    asked->to->clearing = rc == GB_CU_SUCCESS;
    if (rc == GB_CU_SUCCESS) rc = api->cuStreamSynchronize(device->stream);
    if (rc == GB_CU_SUCCESS) asked->to->clearing = false;
    return rc == GB_CU_SUCCESS ? 0 : gbi_cuda_failed(device, rc, "clearing a buffer");
}

static int clear(gbi_cuda_device *device, const request *asked)
{
    block *to = asked->to;
    if (to->kind == GB_BUFFER_DEVICE) return clear_async(device, to, asked->bytes);
    if (to->kind == GB_BUFFER_UNIFIED) return clear_now(device, (void *)asked);
    memset(to->host, 0, asked->bytes);
    return 0;
}

static gb_cu_result allocate(gbi_cuda_device *device, block *to, size_t bytes)
{
    const gb_cuda_api *api = device->cuda->api;
    gb_cu_memory address = 0;
    gb_cu_result rc;
    if (to->pooled)
        rc = api->cuMemAllocAsync(&address, bytes, device->stream);
    else if (to->kind == GB_BUFFER_PINNED)
        rc = api->cuMemHostAlloc(&to->host, bytes, GB_CU_HOST_PORTABLE | GB_CU_HOST_MAPPED);
    else if (to->kind == GB_BUFFER_UNIFIED)
        rc = api->cuMemAllocManaged(&address, bytes, GB_CU_ATTACH_GLOBAL);
    else
        rc = api->cuMemAlloc(&address, bytes);
    /* one address space (unified addressing) */
    to->address = to->kind == GB_BUFFER_PINNED ? (uint64_t)(uintptr_t)to->host : address;
    return rc;
}

/* ---- the driver's own pool ---- */

bool gbi_cuda_buffer_pooled(void *self, gb_buffer_kind kind)
{
    gbi_cuda_device *device = self;
    return kind == GB_BUFFER_DEVICE && device->driver_pool;
}

/* Submission thread, with the context: the pool keeps as much as ours would. */
gb_cu_result gbi_cuda_pool_open(gbi_cuda_device *device)
{
    const gb_cuda_api *api = device->cuda->api;
    uint64_t keep = (uint64_t)gbi_pool_bytes(0, device->facts.memory_total);
    if (!device->driver_pool) return GB_CU_SUCCESS;
    gb_cu_result rc = api->cuDeviceGetDefaultMemPool(&device->pool, device->handle);
    if (rc != GB_CU_SUCCESS) return rc;
    return api->cuMemPoolSetAttribute(device->pool, GB_CU_POOL_RELEASE_THRESHOLD, &keep);
}

/* Submission thread: what was to be freed before has been. */
static int trim_pool(gbi_cuda_device *device, void *arg)
{
    const gb_cuda_api *api = device->cuda->api;
    gb_cu_result rc = api->cuStreamSynchronize(device->stream);
    if (rc == GB_CU_SUCCESS) rc = api->cuMemPoolTrimTo(device->pool, 0);
    return rc == GB_CU_SUCCESS ? 0 : gbi_cuda_failed(device, rc, "trimming the driver's pool");
}

/* ---- opening and closing ---- */

/* Submission thread; the driver's pool takes it on any thread. */
static int open_block(gbi_cuda_device *device, void *arg)
{
    request *asked = arg;
    block *to = asked->to;
    request whole = {to, asked->bytes ? asked->bytes : 1};
    gb_cu_result failed = allocate(device, to, whole.bytes);
    if (failed == GB_CU_OUT_OF_MEMORY && to->pooled && gbi_cuda_call(device, trim_pool, NULL) == 0)
        failed = allocate(device, to, whole.bytes);
    if (failed != GB_CU_SUCCESS) return no_memory(device, asked, failed);
    int rc = clear(device, &whole);
    if (rc < 0) {
        char text[256];
        snprintf(text, sizeof text, "%s", gb_err_detail());
        /* the clearing may be under way: where that cannot be told the memory is not given back */
        if (device->cuda->api->cuStreamSynchronize(device->stream) == GB_CU_SUCCESS)
            free_memory(device, to);
        return gb_err_set(rc, "%s", text);
    }
    to->job.epoch = atomic_load(&device->epoch);
    if (to->kind != GB_BUFFER_DEVICE) atomic_fetch_add(&device->mapped, 1);
    return 0;
}

static int run_release(gbi_cuda_device *device, void *arg)
{
    block *gone = arg;
    gone->begun = true;
    atomic_fetch_add(&device->frees_begun, 1);
    free_memory(device, gone);
    return 0;
}

static void after_release(gbi_cuda_device *device, gbi_cuda_job *job)
{
    block *gone = GB_CONTAINER(job, block, job);
    gbi_cuda_mark_unref(atomic_load(&gone->clean));
    atomic_fetch_sub(&device->freeing, gone->bytes);
    if (gone->begun) atomic_fetch_add(&device->frees_ended, 1);
    if (gone->kind != GB_BUFFER_DEVICE && !gone->idle) atomic_fetch_sub(&device->mapped, 1);
    gb_mem_free(device->cuda->mem, gone, sizeof *gone);
}

uint32_t gbi_cuda_buffer_epoch(const gb_buffer *buffer)
{
    const block *own = buffer->memory.impl;
    return buffer->owner ? gbi_cuda_module_epoch(&buffer->owner->desc) : own->job.epoch;
}

bool gbi_cuda_buffer_lost(void *self, const gb_buffer *buffer)
{
    gbi_cuda_device *device = self;
    return atomic_load(&device->lost) ||
           (!buffer->wrapped && gbi_cuda_buffer_epoch(buffer) != atomic_load(&device->epoch));
}

static int open_pooled(gbi_cuda_device *device, request *asked)
{
    int rc = gbi_cuda_enter(device);
    if (rc < 0) return rc;
    rc = open_block(device, asked);
    gbi_cuda_leave(device);
    return rc;
}

/* The job of the free is made with the block, for a free cannot fail. */
int gbi_cuda_buffer_open(gbi_memory *out, void *self, size_t bytes, gb_buffer_kind kind)
{
    gbi_cuda_device *device = self;
    gb_mem *mem = device->cuda->mem;
    block *made = gb_mem_zalloc(mem, sizeof *made);
    if (!made) return GB_ENOMEM;
    int64_t counted = kind == GB_BUFFER_DEVICE ? 0 : (int64_t)bytes;
    request asked = {made, bytes};
    made->kind = kind;
    made->pooled = gbi_cuda_buffer_pooled(device, kind);
    int rc = gb_mem_charge(mem, counted);
    if (rc == 0) {
        rc = made->pooled ? open_pooled(device, &asked) : gbi_cuda_call(device, open_block, &asked);
        if (rc < 0) gb_mem_discharge(mem, counted);
    }
    if (rc < 0) {
        gb_mem_free(mem, made, sizeof *made);
        return rc;
    }
    gb_list_init(&made->job.link);
    made->bytes = kind == GB_BUFFER_PINNED ? 0 : (int64_t)bytes;
    made->job.run = run_release;
    made->job.after = after_release;
    made->job.arg = made;
    out->address = made->address;
    out->host = kind == GB_BUFFER_DEVICE ? NULL : (void *)(uintptr_t)made->address;
    out->impl = made;
    return 0;
}

void gbi_cuda_buffer_close(void *self, gbi_memory *memory, size_t bytes, gb_buffer_kind kind)
{
    gbi_cuda_device *device = self;
    if (kind != GB_BUFFER_DEVICE) gb_mem_discharge(device->cuda->mem, (int64_t)bytes);
    block *gone = memory->impl;
    atomic_fetch_add(&device->freeing, gone->bytes);
    gbi_cuda_post(device, &gone->job);
}

/* What nobody uses holds no reset off. */
bool gbi_cuda_buffer_idle(void *self, gbi_memory *memory, size_t bytes, gb_buffer_kind kind)
{
    gbi_cuda_device *device = self;
    block *kept = memory->impl;
    if (atomic_load(&device->lost) || kept->job.epoch != atomic_load(&device->epoch)) return false;
    kept->idle = true;
    if (kind != GB_BUFFER_DEVICE) atomic_fetch_sub(&device->mapped, 1);
    return true;
}

/* Held: neither a reset nor a close comes in between. */
static int wake(gbi_cuda_device *device, block *kept, size_t bytes)
{
    request asked = {kept, bytes};
    if (kept->job.epoch != atomic_load(&device->epoch)) return gbi_cuda_stale(device);
    if (bytes == 0) return 0;
    return kept->kind == GB_BUFFER_UNIFIED ? gbi_cuda_call(device, clear_now, &asked)
                                           : clear(device, &asked);
}

int gbi_cuda_buffer_wake(void *self, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind,
                         size_t bytes)
{
    gbi_cuda_device *device = self;
    block *kept = memory->impl;
    bool driver = bytes > 0 && kind != GB_BUFFER_PINNED;
    if (!gbi_cuda_hold(device)) return gbi_cuda_lost(device);
    int rc = driver ? gbi_cuda_current(device) : 0;
    if (rc == 0) rc = wake(device, kept, bytes);
    if (rc == 0) {
        kept->idle = false;
        if (kind != GB_BUFFER_DEVICE) atomic_fetch_add(&device->mapped, 1);
    }
    gbi_cuda_leave(device);
    return rc;
}

void gbi_cuda_buffer_fit(void *self, gbi_memory *memory, size_t block_bytes, size_t bytes)
{
    /* it begins where its block does */
}

/* ---- what uses a block waits until it is clear ---- */

static gbi_cuda_mark *clean_mark(const gb_buffer *buffer)
{
    if (buffer->owner || buffer->wrapped) return NULL;
    block *own = buffer->memory.impl;
    if (!atomic_load_explicit(&own->clean, memory_order_acquire)) return NULL;
    gbi_cuda_device *home = buffer->device->impl;
    pthread_mutex_lock(&home->lock);
    gbi_cuda_mark *mark = atomic_load(&own->clean);
    if (mark) gbi_cuda_mark_ref(mark);
    pthread_mutex_unlock(&home->lock);
    return mark;
}

static void forget_clean(const gb_buffer *buffer, gbi_cuda_mark *mark)
{
    block *own = buffer->memory.impl;
    gbi_cuda_device *home = buffer->device->impl;
    pthread_mutex_lock(&home->lock);
    bool same = atomic_compare_exchange_strong(&own->clean, &mark, NULL);
    pthread_mutex_unlock(&home->lock);
    if (same) gbi_cuda_mark_unref(mark);
}

gb_cu_result gbi_cuda_await_clean(gbi_cuda_device *device, const gb_buffer *buffer)
{
    gbi_cuda_mark *mark = clean_mark(buffer);
    if (!mark) return GB_CU_SUCCESS;
    gb_cu_result rc = device->cuda->api->cuStreamSynchronize(device->stream);
    if (rc == GB_CU_SUCCESS) forget_clean(buffer, mark);
    gbi_cuda_mark_unref(mark);
    return rc;
}

gb_cu_result gbi_cuda_wait_clean(gbi_cuda_queue *queue, const gb_buffer *buffer)
{
    const gb_cuda_api *api = queue->device->cuda->api;
    gbi_cuda_mark *mark = clean_mark(buffer);
    if (!mark) return GB_CU_SUCCESS;
    gb_cu_result rc = api->cuEventQuery(mark->handle);
    if (rc == GB_CU_SUCCESS)
        forget_clean(buffer, mark);
    else
        rc = api->cuStreamWaitEvent(queue->stream, mark->handle, 0);
    gbi_cuda_mark_unref(mark);
    return rc;
}
