/* Memory of a cuda device: buffers, and what the backend keeps of it: pinned staging blocks, driver
 * events. Pinned memory is the host's and counted to the room's account; memory of the device is
 * counted by the driver. */
#include "gpu/cuda_engine.h"

#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

#include <string.h>

/* ---- buffers ---- */

typedef struct request {
    gbi_memory *out;
    size_t bytes;
    gb_buffer_kind kind;
    uint32_t epoch;
} request;

static int no_memory(gbi_cuda_device *device, const request *asked, gb_cu_result rc)
{
    size_t free_bytes = 0, total = 0;
    if (rc != GB_CU_OUT_OF_MEMORY) return gbi_cuda_failed(device, rc, "allocating a buffer");
    if (asked->kind == GB_BUFFER_PINNED)
        return gb_err_set(GB_ENOMEM, "the system has no %zu bytes of pinned memory", asked->bytes);
    device->cuda->api->cuMemGetInfo(&free_bytes, &total);
    return gb_err_set(GB_ENOMEM,
                      "device memory: %zu bytes asked, %zu of %zu bytes free on cuda device %d",
                      asked->bytes, free_bytes, total, device->ordinal);
}

static void free_memory(gbi_cuda_device *device, uint64_t address, void *host, gb_buffer_kind kind)
{
    const gb_cuda_api *api = device->cuda->api;
    gb_cu_result rc = kind == GB_BUFFER_PINNED ? api->cuMemFreeHost(host) : api->cuMemFree(address);
    if (rc != GB_CU_SUCCESS) gbi_cuda_failed(device, rc, "freeing a buffer");
}

/* Submission thread. */
static int allocate(gbi_cuda_device *device, void *arg)
{
    request *asked = arg;
    const gb_cuda_api *api = device->cuda->api;
    size_t bytes = asked->bytes ? asked->bytes : 1;
    gb_cu_memory address = 0;
    void *host = NULL;
    gb_cu_result rc;
    if (asked->kind == GB_BUFFER_PINNED)
        rc = api->cuMemHostAlloc(&host, bytes, GB_CU_HOST_PORTABLE | GB_CU_HOST_MAPPED);
    else if (asked->kind == GB_BUFFER_UNIFIED)
        rc = api->cuMemAllocManaged(&address, bytes, GB_CU_ATTACH_GLOBAL);
    else
        rc = api->cuMemAlloc(&address, bytes);
    if (rc != GB_CU_SUCCESS) return no_memory(device, asked, rc);
    if (host) {
        memset(host, 0, bytes);
        address = (gb_cu_memory)(uintptr_t)host; /* one address space (unified addressing) */
    } else {
        rc = api->cuMemsetD8Async(address, 0, bytes, device->stream);
        if (rc == GB_CU_SUCCESS) rc = api->cuStreamSynchronize(device->stream);
    }
    if (rc != GB_CU_SUCCESS) {
        /* the clearing may be under way: where that cannot be told the memory is not given back */
        if (api->cuStreamSynchronize(device->stream) == GB_CU_SUCCESS)
            free_memory(device, address, host, asked->kind);
        return gbi_cuda_failed(device, rc, "clearing a buffer");
    }
    asked->epoch = atomic_load(&device->epoch);
    if (asked->kind != GB_BUFFER_DEVICE) atomic_fetch_add(&device->mapped, 1);
    asked->out->address = address;
    asked->out->host = asked->kind == GB_BUFFER_DEVICE ? NULL : (void *)(uintptr_t)address;
    return 0;
}

/* Freed later, on the submission thread: the driver waits for the device when it frees. */
typedef struct release {
    gbi_cuda_job job;
    uint64_t address;
    void *host;
    gb_buffer_kind kind;
    bool begun;
    int64_t bytes; /* of the device */
} release;

static int run_release(gbi_cuda_device *device, void *arg)
{
    release *gone = arg;
    gone->begun = true;
    atomic_fetch_add(&device->frees_begun, 1);
    free_memory(device, gone->address, gone->host, gone->kind);
    return 0;
}

static void after_release(gbi_cuda_device *device, gbi_cuda_job *job)
{
    release *gone = GB_CONTAINER(job, release, job);
    atomic_fetch_sub(&device->freeing, gone->bytes);
    if (gone->begun) atomic_fetch_add(&device->frees_ended, 1);
    if (gone->kind != GB_BUFFER_DEVICE) atomic_fetch_sub(&device->mapped, 1);
    gb_mem_free(device->cuda->mem, gone, sizeof *gone);
}

uint32_t gbi_cuda_buffer_epoch(const gb_buffer *buffer)
{
    const release *later = buffer->memory.impl;
    return buffer->owner ? gbi_cuda_module_epoch(&buffer->owner->desc) : later->job.epoch;
}

/* The job of the free is made with the buffer, for a free cannot fail. */
int gbi_cuda_buffer_open(gbi_memory *out, void *self, size_t bytes, gb_buffer_kind kind)
{
    gbi_cuda_device *device = self;
    gb_mem *mem = device->cuda->mem;
    request asked = {out, bytes, kind, 0};
    release *later = gb_mem_zalloc(mem, sizeof *later);
    if (!later) return GB_ENOMEM;
    int64_t counted = kind == GB_BUFFER_DEVICE ? 0 : (int64_t)bytes;
    int rc = gb_mem_charge(mem, counted);
    if (rc == 0) {
        rc = gbi_cuda_call(device, allocate, &asked);
        if (rc < 0) gb_mem_discharge(mem, counted);
    }
    if (rc < 0) {
        gb_mem_free(mem, later, sizeof *later);
        return rc;
    }
    gb_list_init(&later->job.link);
    later->job.epoch = asked.epoch;
    later->kind = kind;
    later->bytes = kind == GB_BUFFER_PINNED ? 0 : (int64_t)bytes;
    later->address = out->address;
    later->host = out->host;
    later->job.run = run_release;
    later->job.after = after_release;
    later->job.arg = later;
    out->impl = later;
    return 0;
}

void gbi_cuda_buffer_close(void *self, gbi_memory *memory, size_t bytes, gb_buffer_kind kind)
{
    gbi_cuda_device *device = self;
    if (kind != GB_BUFFER_DEVICE) gb_mem_discharge(device->cuda->mem, (int64_t)bytes);
    release *gone = memory->impl;
    atomic_fetch_add(&device->freeing, gone->bytes);
    gbi_cuda_post(device, &gone->job);
}

/* ---- staging ---- */

static gbi_cuda_stage *new_stage(gbi_cuda_device *device, bool large)
{
    size_t bytes = large ? GBI_STAGE_LARGE : GBI_STAGE_SMALL;
    gb_mem *mem = device->cuda->mem;
    gbi_cuda_stage *stage = gb_mem_zalloc(mem, sizeof *stage);
    if (!stage) return NULL;
    void *host = NULL;
    bool charged = gb_mem_charge(mem, (int64_t)bytes) == 0;
    gb_cu_result rc = GB_CU_OUT_OF_MEMORY;
    if (charged) rc = device->cuda->api->cuMemHostAlloc(&host, bytes, GB_CU_HOST_PORTABLE);
    if (rc != GB_CU_SUCCESS) {
        if (charged) gb_mem_discharge(mem, (int64_t)bytes);
        gb_mem_free(mem, stage, sizeof *stage);
        gbi_cuda_failed(device, rc, "allocating pinned memory");
        return NULL;
    }
    gb_list_init(&stage->link);
    stage->host = host;
    stage->large = large;
    return stage;
}

gbi_cuda_stage *gbi_cuda_stage_take(gbi_cuda_device *device, bool large, bool grow, bool *never)
{
    int most = large ? GBI_STAGE_LARGES : GBI_STAGE_SMALLS;
    *never = false;
    pthread_mutex_lock(&device->lock);
    gb_list *node = gb_list_shift(&device->stages[large]);
    grow = grow && !node && device->stage_counts[large] < most;
    if (grow) device->stage_counts[large]++;
    pthread_mutex_unlock(&device->lock);
    if (node) return GB_CONTAINER(node, gbi_cuda_stage, link);
    if (!grow) return NULL;
    gbi_cuda_stage *stage = new_stage(device, large);
    if (stage) return stage;
    pthread_mutex_lock(&device->lock);
    *never = --device->stage_counts[large] == 0;
    pthread_mutex_unlock(&device->lock);
    return NULL;
}

void gbi_cuda_stage_give(gbi_cuda_device *device, gbi_cuda_stage *stage)
{
    pthread_mutex_lock(&device->lock);
    gb_list_push(&device->stages[stage->large], &stage->link);
    pthread_mutex_unlock(&device->lock);
}

void gbi_cuda_stage_doubt(gbi_cuda_device *device, gbi_cuda_stage *stage)
{
    pthread_mutex_lock(&device->lock);
    gb_list_push(&device->doubtful, &stage->link);
    device->stage_counts[stage->large]--;
    pthread_mutex_unlock(&device->lock);
}

/* ---- marks ---- */

gbi_cuda_mark *gbi_cuda_mark_take(gbi_cuda_device *device, bool timed, int *rc)
{
    pthread_mutex_lock(&device->lock);
    gb_list *node = gb_list_shift(&device->marks[timed]);
    pthread_mutex_unlock(&device->lock);
    gbi_cuda_mark *mark = node ? GB_CONTAINER(node, gbi_cuda_mark, link) : NULL;
    if (!mark) {
        mark = gb_mem_zalloc(device->cuda->mem, sizeof *mark);
        *rc = GB_ENOMEM;
        if (!mark) return NULL;
        unsigned int flags = timed ? GB_CU_EVENT_DEFAULT : GB_CU_EVENT_NO_TIMING;
        gb_cu_result failed = device->cuda->api->cuEventCreate(&mark->handle, flags);
        if (failed != GB_CU_SUCCESS) {
            gb_mem_free(device->cuda->mem, mark, sizeof *mark);
            *rc = gbi_cuda_failed(device, failed, "making an event");
            return NULL;
        }
        gb_list_init(&mark->link);
        mark->epoch = atomic_load(&device->epoch);
        mark->device = device;
        mark->timed = timed;
    }
    atomic_store(&mark->refs, 1);
    *rc = 0;
    return mark;
}

gbi_cuda_mark *gbi_cuda_mark_ref(gbi_cuda_mark *mark)
{
    atomic_fetch_add_explicit(&mark->refs, 1, memory_order_relaxed);
    return mark;
}

void gbi_cuda_mark_unref(gbi_cuda_mark *mark)
{
    if (!mark || atomic_fetch_sub_explicit(&mark->refs, 1, memory_order_acq_rel) > 1) return;
    gbi_cuda_device *device = mark->device;
    pthread_mutex_lock(&device->lock);
    bool good = mark->epoch == atomic_load(&device->epoch); /* else it went with its context */
    if (good) gb_list_push(&device->marks[mark->timed], &mark->link);
    pthread_mutex_unlock(&device->lock);
    if (!good) gb_mem_free(device->cuda->mem, mark, sizeof *mark);
}

static void free_stages(gbi_cuda_device *device, gb_list *list, bool through)
{
    gb_mem *mem = device->cuda->mem;
    for (gb_list *node; (node = gb_list_shift(list));) {
        gbi_cuda_stage *stage = GB_CONTAINER(node, gbi_cuda_stage, link);
        if (through) device->cuda->api->cuMemFreeHost(stage->host);
        gb_mem_discharge(mem, stage->large ? GBI_STAGE_LARGE : GBI_STAGE_SMALL);
        gb_mem_free(mem, stage, sizeof *stage);
    }
}

static void free_all(gbi_cuda_device *device, bool doubtful, bool others)
{
    free_stages(device, &device->doubtful, doubtful);
    for (int i = 0; i < 2; i++) {
        free_stages(device, &device->stages[i], others);
        device->stage_counts[i] = 0;
        for (gb_list *node; (node = gb_list_shift(&device->marks[i]));) {
            gbi_cuda_mark *mark = GB_CONTAINER(node, gbi_cuda_mark, link);
            if (others) device->cuda->api->cuEventDestroy(mark->handle);
            gb_mem_free(device->cuda->mem, mark, sizeof *mark);
        }
    }
}

/* The submission thread, at its end. What is doubtful goes with the context at the latest. */
void gbi_cuda_memory_fini(gbi_cuda_device *device)
{
    const gb_cuda_api *api = device->cuda->api;
    bool through = gb_list_empty(&device->doubtful) ||
                   api->cuStreamSynchronize(device->stream) == GB_CU_SUCCESS;
    free_all(device, through, true);
}

void gbi_cuda_memory_forget(gbi_cuda_device *device)
{
    pthread_mutex_lock(&device->lock);
    free_all(device, false, false);
    pthread_mutex_unlock(&device->lock);
}
