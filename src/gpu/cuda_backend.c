/* The cuda backend's table, its devices, and how the driver's answers become ours. */
#include "gpu/cuda_engine.h"

#include "base/cond.h"
#include "base/err.h"
#include "gpu/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FREE_TRIES = 1000 };

/* ---- errors ---- */

/* After one of these the context answers nothing else, but for a device that is unavailable. */
static bool sticky(gb_cu_result rc)
{
    static const gb_cu_result list[] = {GB_CU_DEINITIALIZED,
                                        GB_CU_ECC,
                                        GB_CU_NVLINK,
                                        GB_CU_ILLEGAL_ADDRESS,
                                        GB_CU_LAUNCH_TIMEOUT,
                                        GB_CU_CONTEXT_DESTROYED,
                                        GB_CU_ASSERT,
                                        GB_CU_HARDWARE_STACK,
                                        GB_CU_ILLEGAL_INSTRUCTION,
                                        GB_CU_MISALIGNED,
                                        GB_CU_INVALID_SPACE,
                                        GB_CU_INVALID_PC,
                                        GB_CU_LAUNCH_FAILED,
                                        GB_CU_DEVICE_UNAVAILABLE,
                                        GB_CU_UNKNOWN};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (list[i] == rc) return true;
    return false;
}

/* The context is broken: it runs nothing any more. One whose device is busy may well go on. */
static bool broken(gb_cu_result rc)
{
    return sticky(rc) && rc != GB_CU_DEVICE_UNAVAILABLE;
}

static void describe(const gb_cuda_api *api, gb_cu_result rc, char *out, size_t room)
{
    const char *name = NULL, *text = NULL;
    api->cuGetErrorName(rc, &name);
    api->cuGetErrorString(rc, &text);
    snprintf(out, room, "%s (%s)", text ? text : "unknown error", name ? name : "?");
}

/* Whose fault a sticky error is: what a kernel did, one that ran too long, or the device. */
static gb_lost blame_of(gb_cu_result rc)
{
    switch (rc) {
    case GB_CU_ILLEGAL_ADDRESS:
    case GB_CU_ASSERT:
    case GB_CU_HARDWARE_STACK:
    case GB_CU_ILLEGAL_INSTRUCTION:
    case GB_CU_MISALIGNED:
    case GB_CU_INVALID_SPACE:
    case GB_CU_INVALID_PC:
    case GB_CU_LAUNCH_FAILED:
        return GB_LOST_KERNEL;
    case GB_CU_LAUNCH_TIMEOUT:
        return GB_LOST_BOUND;
    default:
        return GB_LOST_DEVICE;
    }
}

void gbi_cuda_lose(gbi_cuda_device *device, gb_lost why, const char *text)
{
    pthread_mutex_lock(&device->lock);
    bool first = !atomic_load(&device->lost);
    if (first) snprintf(device->lost_text, sizeof device->lost_text, "%s", text);
    if (first) atomic_store(&device->blame, why);
    atomic_store(&device->lost, true); /* whoever sees it finds the blame */
    device->pump = true;
    pthread_cond_signal(&device->wake);
    pthread_mutex_unlock(&device->lock);
    if (first) gbi_cuda_watch_wake(device->cuda);
}

static int lost(gbi_cuda_device *device, const char *more, long long number)
{
    char text[sizeof device->lost_text];
    pthread_mutex_lock(&device->lock);
    memcpy(text, device->lost_text, sizeof text);
    pthread_mutex_unlock(&device->lock);
    return more ? gb_err_set(GB_ELOST, "%s; %lld %s", text, number, more)
                : gb_err_set(GB_ELOST, "%s", text);
}

int gbi_cuda_lost(gbi_cuda_device *device)
{
    int64_t mapped = atomic_load(&device->mapped);
    bool waits = mapped > 0 && device->cuda->gpu->config.owns_devices;
    return lost(device,
                waits ? "pinned or unified buffers have to be freed before it is reset" : NULL,
                mapped);
}

void gbi_cuda_doubt(gbi_cuda_device *device, gb_cu_result rc, const char *what)
{
    if (atomic_load(&device->lost)) {
        if (!broken(rc)) return;
        atomic_store(&device->dead, true);
        gbi_cuda_pump(device); /* what waited for this can be given back */
        return;
    }
    gbi_cuda_failed(device, rc, what);
    gbi_cuda_lose(device, GB_LOST_DEVICE, gb_err_detail());
}

int gbi_cuda_failed(gbi_cuda_device *device, gb_cu_result rc, const char *what)
{
    char text[160], whole[sizeof device->lost_text];
    describe(device->cuda->api, rc, text, sizeof text);
    snprintf(whole, sizeof whole, "cuda device %d: %.40s: %s", device->ordinal, what, text);
    if (sticky(rc)) {
        gbi_cuda_lose(device, blame_of(rc), whole);
        return gbi_cuda_lost(device);
    }
    if (rc == GB_CU_OUT_OF_MEMORY) return gb_err_set(GB_ENOMEM, "%s", whole);
    return gb_err_set(rc == GB_CU_INVALID_VALUE ? GB_EINVAL : GB_EDEVICE, "%s", whole);
}

int gbi_cuda_stale(gbi_cuda_device *device)
{
    lost(device, NULL, 0);
    return gb_err_set(GB_ELOST, "%s; it was reset since then: open anew what was made before",
                      gb_err_detail());
}

bool gbi_cuda_hold(gbi_cuda_device *device)
{
    atomic_fetch_add(&device->steps, 1);
    if (!atomic_load(&device->lost)) return true;
    gbi_cuda_leave(device);
    return false;
}

void gbi_cuda_leave(gbi_cuda_device *device)
{
    if (atomic_fetch_sub(&device->steps, 1) > 1 || !atomic_load(&device->lost)) return;
    gbi_cuda_pump(device);             /* this may have been what its returns were held for, */
    gbi_cuda_watch_wake(device->cuda); /* or all but callbacks, which may never come */
}

int gbi_cuda_current(gbi_cuda_device *device)
{
    gb_cu_result rc = device->cuda->api->cuCtxSetCurrent(device->context);
    return rc == GB_CU_SUCCESS ? 0 : gbi_cuda_failed(device, rc, "entering the context");
}

int gbi_cuda_enter(gbi_cuda_device *device)
{
    if (!gbi_cuda_hold(device)) return gbi_cuda_lost(device);
    int rc = 0;
    if (!atomic_load_explicit(&device->ready, memory_order_acquire))
        rc = gbi_cuda_call(device, NULL, NULL); /* that thread retains the context */
    if (rc == 0) rc = gbi_cuda_current(device);
    if (rc < 0) gbi_cuda_leave(device);
    return rc;
}

/* ---- the backend ---- */

static int open_cuda(void **out, gb_gpu *gpu)
{
    gbi_cuda *cuda = gb_mem_zalloc(&gpu->room, sizeof *cuda);
    if (!cuda) return GB_ENOMEM;
    cuda->gpu = gpu;
    cuda->mem = &gpu->room;
    pthread_mutex_init(&cuda->lock, NULL);
    pthread_mutex_init(&cuda->watch.lock, NULL);
    gb_cond_init(&cuda->watch.wake);
    gb_list_init(&cuda->watch.busy);
    *out = cuda;
    return 0;
}

static int stop_cuda(void *self)
{
    gbi_cuda *cuda = self;
    gbi_cuda_watch_stop(cuda);
    for (int i = 0; i < cuda->device_count; i++) {
        gbi_cuda_device *device = cuda->devices[i];
        if (!device || gbi_cuda_settled(device)) continue;
        atomic_store(&device->stuck, true);
        cuda->stuck++;
    }
    return cuda->stuck;
}

static void close_cuda(void *self)
{
    gbi_cuda *cuda = self;
    if (cuda->stuck) return;
    gbi_cuda_nvml_close(cuda);
    gbi_cuda_files_close(cuda);
    if (cuda->nvrtc) {
        gbi_nvrtc_unload(cuda->nvrtc);
        gb_mem_free(cuda->mem, cuda->nvrtc, sizeof *cuda->nvrtc);
    }
    if (cuda->api) {
        gbi_cuda_unload(cuda->api);
        gb_mem_free(cuda->mem, cuda->api, sizeof *cuda->api);
    }
    pthread_mutex_destroy(&cuda->lock);
    pthread_mutex_destroy(&cuda->watch.lock);
    pthread_cond_destroy(&cuda->watch.wake);
    gb_mem_free(cuda->mem, cuda, sizeof *cuda);
}

/* ---- devices ---- */

static int count_devices(gbi_cuda *cuda)
{
    char text[160];
    int count = 0;
    gb_cu_result rc = cuda->api->cuInit(0);
    if (rc == GB_CU_SUCCESS) rc = cuda->api->cuDeviceGetCount(&count);
    if (rc != GB_CU_SUCCESS) {
        describe(cuda->api, rc, text, sizeof text);
        return gb_err_set(GB_ENOGPU, "the CUDA driver %s does not start: %s", cuda->api->path,
                          text);
    }
    if (count == 0) return gb_err_set(GB_ENOGPU, "the CUDA driver sees no device");
    int most = cuda->gpu->config.devices_max;
    if (most <= 0 || most > GBI_CUDA_DEVICES_MAX) most = GBI_CUDA_DEVICES_MAX;
    return count < most ? count : most;
}

/* Keeps the first failure. */
static int attribute(gbi_cuda_device *device, gb_cu_device_attribute which, gb_cu_result *failed)
{
    int value = 0;
    gb_cu_result rc = device->cuda->api->cuDeviceGetAttribute(&value, which, device->handle);
    if (rc != GB_CU_SUCCESS && *failed == GB_CU_SUCCESS) *failed = rc;
    return rc == GB_CU_SUCCESS ? value : 0;
}

/* The driver's own pool was asked for. */
static void choose_pool(gbi_cuda_device *device)
{
    const gb_cuda_api *api = device->cuda->api;
    gb_cu_result rc = GB_CU_SUCCESS;
    device->driver_pool = api->cuDeviceGetDefaultMemPool && api->cuMemPoolSetAttribute &&
                          api->cuMemPoolTrimTo && api->cuMemAllocAsync && api->cuMemFreeAsync &&
                          attribute(device, GB_CU_DEVICE_POOLS, &rc) == 1;
    const gb_log *log = device->cuda->gpu->config.log;
    if (!device->driver_pool && log)
        gb_log_put(log, GB_LOG_WARN, 0, NULL,
                   "cuda device %d: its driver has no memory pool; the host keeps freed memory",
                   device->ordinal);
}

static int read_facts(gbi_cuda_device *device)
{
    const gb_cuda_api *api = device->cuda->api;
    gb_device_info *facts = &device->facts;
    size_t bytes = 0;
    gb_cu_result rc = api->cuDeviceGet(&device->handle, device->ordinal);
    if (rc == GB_CU_SUCCESS)
        rc = api->cuDeviceGetName(facts->name, sizeof facts->name, device->handle);
    if (rc == GB_CU_SUCCESS) rc = api->cuDeviceTotalMem(&bytes, device->handle);
    device->software = strncasecmp(facts->name, "software", 8) == 0;
    int major = attribute(device, GB_CU_DEVICE_MAJOR, &rc);
    snprintf(facts->arch, sizeof facts->arch, "sm_%d%d", major,
             attribute(device, GB_CU_DEVICE_MINOR, &rc));
    facts->memory_total = facts->memory_free = (int64_t)bytes;
    facts->threads_per_block_max = attribute(device, GB_CU_DEVICE_THREADS_MAX, &rc);
    facts->units = attribute(device, GB_CU_DEVICE_UNITS, &rc);
    facts->warp = attribute(device, GB_CU_DEVICE_WARP, &rc);
    device->shared_plain = attribute(device, GB_CU_DEVICE_SHARED_MAX, &rc);
    facts->shared_bytes_max = attribute(device, GB_CU_DEVICE_SHARED_OPTIN, &rc);
    if (rc != GB_CU_SUCCESS) return gbi_cuda_failed(device, rc, "reading what it is");
    if (facts->shared_bytes_max < device->shared_plain)
        facts->shared_bytes_max = device->shared_plain;
    if (device->cuda->gpu->config.memory_pool_bytes == GB_POOL_DRIVER) choose_pool(device);
    gbi_cuda_nvml_find(device);
    char id[32] = "";
    if (api->cuDeviceGetPCIBusId &&
        api->cuDeviceGetPCIBusId(id, sizeof id, device->handle) != GB_CU_SUCCESS)
        id[0] = 0;
    gbi_cuda_near("/sys/bus/pci/devices", id, facts);
    return 0;
}

static void free_device(gbi_cuda_device *device)
{
    pthread_mutex_destroy(&device->lock);
    pthread_cond_destroy(&device->wake);
    pthread_cond_destroy(&device->finished);
    gb_mem_free(device->cuda->mem, device, sizeof *device);
}

/* A device that does not say what it is is left out. */
static int add_device(gbi_cuda *cuda, int ordinal)
{
    gbi_cuda_device *device = gb_mem_zalloc(cuda->mem, sizeof *device);
    if (!device) return GB_ENOMEM;
    device->cuda = cuda;
    device->ordinal = ordinal;
    pthread_mutex_init(&device->lock, NULL);
    gb_cond_init(&device->wake);
    pthread_cond_init(&device->finished, NULL);
    gb_list *lists[] = {&device->jobs,      &device->returns,  &device->deferred,
                        &device->marks[0],  &device->marks[1], &device->stages[0],
                        &device->stages[1], &device->doubtful};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) gb_list_init(lists[i]);
    if (read_facts(device) < 0) {
        free_device(device);
        return 0;
    }
    cuda->devices[cuda->device_count++] = device;
    return 0;
}

static int device_count(void *self)
{
    gbi_cuda *cuda = self;
    cuda->api = gb_mem_zalloc(cuda->mem, sizeof *cuda->api);
    if (!cuda->api) return GB_ENOMEM;
    int rc = gbi_cuda_load(cuda->api);
    if (rc == 0) rc = count_devices(cuda);
    if (rc < 0) {
        gbi_cuda_unload(cuda->api);
        gb_mem_free(cuda->mem, cuda->api, sizeof *cuda->api);
        cuda->api = NULL;
        return rc;
    }
    gbi_cuda_nvml_open(cuda);
    for (int i = 0, count = rc; i < count; i++) {
        rc = add_device(cuda, i);
        if (rc < 0) break; /* no memory: those that were found stay */
    }
    gbi_cuda_peers_find(cuda);
    return cuda->device_count;
}

/* Made when they were counted. */
static int device_open(void **out, void *self, int index, gb_device *front)
{
    gbi_cuda_device *device = ((gbi_cuda *)self)->devices[index];
    device->front = front;
    *out = device;
    return 0;
}

static void device_close(void *self)
{
    gbi_cuda_device *device = self;
    gbi_cuda *cuda = device->cuda;
    gbi_cuda_submit_stop(device);
    for (int i = 0; i < cuda->device_count; i++)
        if (cuda->devices[i] == device) cuda->devices[i] = NULL;
    if (!atomic_load(&device->stuck)) free_device(device); /* else its callback may still come */
}

/* Free memory by the management library, which needs no context; else by the driver. */
static int64_t driver_free(gbi_cuda_device *device)
{
    gb_nvml_memory memory;
    if (gbi_cuda_nvml_memory(device, &memory)) return (int64_t)memory.free;
    size_t free_bytes = 0, total = 0;
    if (!atomic_load(&device->ready) || gbi_cuda_enter(device) < 0)
        return device->facts.memory_free;
    gb_cu_result rc = device->cuda->api->cuMemGetInfo(&free_bytes, &total);
    gbi_cuda_leave(device);
    return rc == GB_CU_SUCCESS ? (int64_t)free_bytes : device->facts.memory_free;
}

/* Buffers that are closed count as free: the submission thread gives them back soon. Read again
 * when it just did that. */
static int64_t memory_free(gbi_cuda_device *device)
{
    int64_t bytes = 0;
    for (int i = 0; i < FREE_TRIES; i++) {
        int64_t begun = atomic_load(&device->frees_begun);
        if (begun != atomic_load(&device->frees_ended)) continue;
        bytes = atomic_load(&device->freeing) + driver_free(device);
        if (begun == atomic_load(&device->frees_begun)) return bytes;
    }
    return bytes ? bytes : driver_free(device);
}

static void device_info(void *self, gb_device_info *out)
{
    gbi_cuda_device *device = self;
    int index = out->index;
    const char *backend = out->backend;
    *out = device->facts;
    out->index = index;
    out->backend = device->software ? "software" : backend;
    out->peers = device->peers;
    bool lost = atomic_load(&device->lost);
    out->blame = (gb_lost)atomic_load(&device->blame);
    out->lost = lost ? out->blame : GB_LOST_NOT;
    out->memory_free = atomic_load(&device->lost) ? 0 : memory_free(device);
}

static uint32_t device_epoch(void *self, bool *lost)
{
    gbi_cuda_device *device = self;
    *lost = atomic_load(&device->lost);
    return atomic_load(&device->epoch);
}

const gb_backend gbi_cuda_backend = {
    .name = "cuda",
    .open = open_cuda,
    .stop = stop_cuda,
    .close = close_cuda,
    .device_count = device_count,
    .device_open = device_open,
    .device_close = device_close,
    .device_info = device_info,
    .device_epoch = device_epoch,
    .device_figures = gbi_cuda_figures,
    .buffer_open = gbi_cuda_buffer_open,
    .buffer_close = gbi_cuda_buffer_close,
    .buffer_idle = gbi_cuda_buffer_idle,
    .buffer_wake = gbi_cuda_buffer_wake,
    .buffer_fit = gbi_cuda_buffer_fit,
    .buffer_pooled = gbi_cuda_buffer_pooled,
    .buffer_lost = gbi_cuda_buffer_lost,
    .buffer_file = gbi_cuda_buffer_file,
    .module_open = gbi_cuda_module_open,
    .module_close = gbi_cuda_module_close,
    .module_stale = gbi_cuda_module_stale,
    .queue_open = gbi_cuda_queue_open,
    .queue_close = gbi_cuda_queue_close,
    .submit = gbi_cuda_submit,
    .event_open = gbi_cuda_event_open,
    .event_close = gbi_cuda_event_close,
    .event_query = gbi_cuda_event_query,
    .event_elapsed = gbi_cuda_event_elapsed,
    .graph_host_bytes = GBI_STAGE_SMALL,
    .graph_takes = gbi_cuda_graph_takes,
    .graph_open = gbi_cuda_graph_open,
    .graph_close = gbi_cuda_graph_close,
};
