/* What a cuda device keeps of memory for itself: pinned staging blocks and driver events. Pinned
 * memory is the host's and counted to the room's account. Buffers: cuda_block.c. */
#include "gpu/cuda_engine.h"

#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

#include <string.h>

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
    /* first: the next replay of a graph finds the block that it was set to */
    gb_list_push(device->stages[stage->large].next, &stage->link);
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
