#include "gpu/gpu.h"

#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

#include <stdlib.h>
#include <string.h>

/* The cpu comes last: device numbers of GPUs do not move when it is split. */
static const gb_backend *const tables[] = {&gbi_cuda_backend, &gbi_cpu_backend};

enum { TABLES = sizeof tables / sizeof tables[0], POOL_PART = 4 /* of a device */ };

static const int64_t POOL_BYTES = (int64_t)1 << 30;
static const uint64_t maintain_ns = 60000000000u;

static void free_gpu(gb_gpu *gpu, gb_mem *mem)
{
    if (gpu->config.cache_dir) gb_mem_strfree(&gpu->room, (char *)gpu->config.cache_dir);
    if (gpu->config.compiler) gb_mem_strfree(&gpu->room, (char *)gpu->config.compiler);
    pthread_mutex_destroy(&gpu->lock);
    pthread_mutex_destroy(&gpu->idle_lock);
    pthread_mutex_destroy(&gpu->pressure);
    pthread_cond_destroy(&gpu->idle);
    gbi_profile_fini(&gpu->profile);
    gbi_tenants_fini(&gpu->tenants);
    gb_mem_fini(&gpu->room);
    gb_mem_free(mem, gpu, sizeof *gpu);
}

int gb_gpu_open(gb_gpu **out, const gb_gpu_config *config)
{
    GB_CHECK(config && config->mem);
    gb_gpu *gpu = gb_mem_zalloc(config->mem, sizeof *gpu);
    if (!gpu) return GB_ENOMEM;
    gb_mem_init(&gpu->room, "gpu", config->mem, 0);
    gpu->config = *config;
    pthread_mutex_init(&gpu->lock, NULL);
    pthread_mutex_init(&gpu->idle_lock, NULL);
    pthread_mutex_init(&gpu->pressure, NULL);
    pthread_cond_init(&gpu->idle, NULL);
    gbi_profile_init(&gpu->profile, &gpu->room, config->profiling);
    gpu->config.cache_dir = config->cache_dir ? gb_mem_strdup(&gpu->room, config->cache_dir) : NULL;
    gpu->config.compiler = config->compiler ? gb_mem_strdup(&gpu->room, config->compiler) : NULL;
    gpu->config.tenants = NULL;
    int rc = gbi_tenants_init(&gpu->tenants, &gpu->room, config->tenants);
    if (rc == 0 &&
        ((config->cache_dir && !gpu->config.cache_dir) ||
         (config->compiler && !gpu->config.compiler) || gbi_jobs_open(&gpu->jobs, &gpu->room) < 0))
        rc = GB_ENOMEM;
    if (rc == 0 && gbi_jobs_open(&gpu->files, &gpu->room) < 0) {
        gbi_jobs_close(&gpu->jobs, &gpu->room);
        rc = GB_ENOMEM;
    }
    if (rc < 0) {
        free_gpu(gpu, config->mem);
        return rc;
    }
    if (!gpu->config.bound_ns) gpu->config.bound_ns = 300000000000u;
    for (int i = 0; i < TABLES; i++) {
        void *self = NULL;
        rc = tables[i]->open(&self, gpu);
        if (rc == GB_ENOGPU) continue;
        if (rc < 0) {
            gb_gpu_close(gpu);
            return rc;
        }
        gpu->backends[gpu->backend_count].table = tables[i];
        gpu->backends[gpu->backend_count++].self = self;
    }
    *out = gpu;
    return 0;
}

/* Every launch ends, or passes its bound and is ended by its backend, so this wait is finite. */
static void wait_for_commands(gb_gpu *gpu)
{
    pthread_mutex_lock(&gpu->idle_lock);
    while (atomic_load(&gpu->commands) > 0) pthread_cond_wait(&gpu->idle, &gpu->idle_lock);
    pthread_mutex_unlock(&gpu->idle_lock);
}

void gb_gpu_close(gb_gpu *gpu)
{
    if (!gpu) return;
    gbi_jobs_close(&gpu->files, &gpu->room); /* they use queues */
    wait_for_commands(gpu);
    int lost = 0;
    for (int i = 0; i < gpu->backend_count; i++)
        lost += gpu->backends[i].table->stop(gpu->backends[i].self);
    gbi_jobs_close(&gpu->jobs, &gpu->room);
    GB_CHECK(atomic_load(&gpu->queues) == 0 || lost > 0);
    for (int i = 0; i < gpu->device_count; i++) {
        gbi_device_drop_idle(&gpu->devices[i]);
        gpu->devices[i].backend->device_close(gpu->devices[i].impl);
        gbi_mempool_fini(&gpu->devices[i].pool);
    }
    for (int i = 0; i < gpu->backend_count; i++)
        gpu->backends[i].table->close(gpu->backends[i].self);
    if (lost == 0) {
        GB_CHECK(atomic_load(&gpu->buffers) == 0);
        GB_CHECK(atomic_load(&gpu->modules) == 0);
        GB_CHECK(atomic_load(&gpu->events) == 0);
    }
    gb_mem *mem = gpu->config.mem;
    if (lost == 0) gb_ledger_free(gpu->ledger);
    if (gpu->devices)
        gb_mem_free(&gpu->room, gpu->devices, (size_t)gpu->device_count * sizeof gpu->devices[0]);
    if (lost == 0) {
        free_gpu(gpu, mem);
        return;
    }
    /* A launch that nothing can end still uses its buffers, its module and its thread's stack. They
     * stay for ever; the account, which may end now, is relieved of them. */
    gb_mem_discharge(mem, atomic_load(&gpu->room.bytes));
    gpu->room.parent = NULL;
    gb_mem_discharge(mem, (int64_t)sizeof *gpu);
    atomic_fetch_sub(&mem->blocks, 1);
}

void gb_gpu_maintain(gb_gpu *gpu, uint64_t now_ns)
{
    uint64_t last = atomic_load(&gpu->maintained_ns);
    if (last && now_ns - last < maintain_ns) return;
    if (!atomic_compare_exchange_strong(&gpu->maintained_ns, &last, now_ns) || !last) return;
    pthread_mutex_lock(&gpu->lock);
    int count = gpu->device_count; /* 0 until the first use of a device */
    pthread_mutex_unlock(&gpu->lock);
    for (int i = 0; i < count; i++) gbi_device_trim(&gpu->devices[i]);
}

bool gb_gpu_busy(gb_gpu *gpu)
{
    for (int i = 0; i < gpu->backend_count; i++) {
        const gb_backend *table = gpu->backends[i].table;
        if (table->busy && table->busy(gpu->backends[i].self)) return true;
    }
    return false;
}

int gb_gpu_help(gb_gpu *gpu)
{
    int did = GB_HELP_NONE;
    for (int i = 0; i < gpu->backend_count && did == GB_HELP_NONE; i++) {
        const gb_backend *table = gpu->backends[i].table;
        if (table->help) did = table->help(gpu->backends[i].self);
    }
    return did;
}

bool gb_gpu_compiling(gb_gpu *gpu)
{
    return gbi_jobs_busy(&gpu->jobs);
}

/* ---- devices ---- */

int64_t gbi_pool_bytes(int64_t setting, int64_t memory_total)
{
    if (setting == GB_POOL_OFF) return 0;
    if (setting > 0) return setting;
    int64_t part = memory_total / POOL_PART;
    return part < POOL_BYTES ? part : POOL_BYTES;
}

static int open_devices(gb_gpu *gpu, const int *counts, int total)
{
    int index = 0;
    for (int b = 0; b < gpu->backend_count; b++) {
        for (int i = 0; i < counts[b]; i++, index++) {
            gb_device *device = &gpu->devices[index];
            device->gpu = gpu;
            device->backend = gpu->backends[b].table;
            device->index = index;
            gb_list_init(&device->modules);
            int rc = device->backend->device_open(&device->impl, gpu->backends[b].self, i, device);
            if (rc < 0) {
                while (index-- > 0)
                    gpu->devices[index].backend->device_close(gpu->devices[index].impl);
                return rc;
            }
            gb_device_get_info(device, &device->limits);
            gbi_mempool_init(&device->pool, gbi_pool_bytes(gpu->config.memory_pool_bytes,
                                                           device->limits.memory_total));
        }
    }
    GB_CHECK(index == total);
    return 0;
}

static int open_ledger(gb_gpu *gpu, int total)
{
    gb_ledger_device devices[GB_LEDGER_DEVICES_MAX];
    for (int i = 0; i < total; i++) {
        const gb_device *device = &gpu->devices[i];
        devices[i] = (gb_ledger_device){.bytes_total = device->limits.memory_total,
                                        .gpu = strcmp(device->limits.backend, "cuda") == 0};
    }
    devices[total] = (gb_ledger_device){.bytes_total = INT64_MAX};
    int rc = gb_ledger_new(&gpu->ledger, &gpu->room, devices, total + 1);
    if (rc < 0 || (rc = gbi_tenants_cap(&gpu->tenants, gpu->ledger)) == 0) return rc;
    gb_ledger_free(gpu->ledger);
    gpu->ledger = NULL;
    return rc;
}

static int probe(gb_gpu *gpu)
{
    int counts[GBI_BACKENDS_MAX] = {0}, total = 0;
    for (int b = 0; b < gpu->backend_count; b++) {
        int count = gpu->backends[b].table->device_count(gpu->backends[b].self);
        if (count == GB_ENOMEM) return count;
        counts[b] = count > 0 ? count : 0; /* a driver that fails leaves its devices out */
        total += counts[b];
    }
    if (total == 0) return gb_err_set(GB_ENOGPU, "no device: not even the cpu backend opened");
    GB_CHECK(total < GB_LEDGER_DEVICES_MAX);
    gpu->devices = gb_mem_zalloc(&gpu->room, (size_t)total * sizeof gpu->devices[0]);
    if (!gpu->devices) return GB_ENOMEM;
    int rc = open_devices(gpu, counts, total);
    if (rc == 0 && (rc = open_ledger(gpu, total)) < 0)
        for (int i = 0; i < total; i++) gpu->devices[i].backend->device_close(gpu->devices[i].impl);
    if (rc < 0) {
        gb_mem_free(&gpu->room, gpu->devices, (size_t)total * sizeof gpu->devices[0]);
        gpu->devices = NULL;
        return rc;
    }
    gpu->device_count = total;
    gpu->probed = true;
    return 0;
}

int gb_gpu_device_count(gb_gpu *gpu)
{
    pthread_mutex_lock(&gpu->lock);
    int rc = gpu->probed ? 0 : probe(gpu);
    int count = gpu->device_count;
    pthread_mutex_unlock(&gpu->lock);
    return rc < 0 ? rc : count;
}

int gb_gpu_devices_open(gb_gpu *gpu)
{
    pthread_mutex_lock(&gpu->lock);
    int count = gpu->device_count;
    pthread_mutex_unlock(&gpu->lock);
    return count;
}

gb_device *gb_gpu_device(gb_gpu *gpu, int index)
{
    int count = gb_gpu_device_count(gpu);
    if (count < 0) return NULL;
    if (index >= 0 && index < count) return &gpu->devices[index];
    gb_err_set(GB_EDEVICE, "no device %d: there %s %d (0 .. %d)", index, count == 1 ? "is" : "are",
               count, count - 1);
    return NULL;
}

/* cpu devices stand behind all others, so the first is one only where there is nothing else. */
int gb_gpu_home(gb_gpu *gpu)
{
    int count = gb_gpu_device_count(gpu), index = 0;
    while (gpu->config.prefer_cpu && index < count - 1 &&
           strcmp(gpu->devices[index].backend->name, "cpu") != 0)
        index++;
    return index;
}

gb_ledger *gb_gpu_ledger(gb_gpu *gpu)
{
    return gb_gpu_device_count(gpu) < 0 ? NULL : gpu->ledger;
}

/* What is kept for the next buffer is free; what is reserved without a buffer on it is not. */
void gb_device_get_info(gb_device *device, gb_device_info *out)
{
    memset(out, 0, sizeof *out);
    out->backend = device->backend->name;
    out->index = device->index;
    out->numa_node = -1;
    device->backend->device_info(device->impl, out);
    if (!device->gpu->ledger) return;
    int64_t left = gb_ledger_left(device->gpu->ledger, device->index);
    if (out->lost == GB_LOST_NOT) out->memory_free += gbi_mempool_held(&device->pool, true);
    if (left < out->memory_free) out->memory_free = left;
}

void gb_device_get_counts(gb_device *device, gb_device_counts *out)
{
    uint64_t n[GBI_COUNTS] = {0};
    for (int row = 0; row < GBI_COUNT_ROWS; row++)
        for (int i = 0; i < GBI_COUNTS; i++)
            n[i] += atomic_load_explicit(&device->counts[row][i], memory_order_relaxed);
    *out = (gb_device_counts){
        .launches = n[GBI_COUNT_LAUNCHES],
        .launches_failed = n[GBI_COUNT_LAUNCHES_FAILED],
        .bytes_up = n[GBI_COUNT_UP],
        .bytes_down = n[GBI_COUNT_DOWN],
        .bytes_across = n[GBI_COUNT_ACROSS],
        .buffers = n[GBI_COUNT_BUFFERS],
        .buffers_failed = n[GBI_COUNT_BUFFERS_FAILED],
        .modules = n[GBI_COUNT_MODULES],
        .modules_failed = n[GBI_COUNT_MODULES_FAILED],
        .module_ns = n[GBI_COUNT_MODULE_NS],
        .files = n[GBI_COUNT_FILES],
        .files_direct = n[GBI_COUNT_FILES_DIRECT],
    };
}

void gb_device_get_figures(gb_device *device, gb_device_figures *out)
{
    *out = (gb_device_figures){-1, -1, -1, -1};
    if (device->backend->device_figures) device->backend->device_figures(device->impl, out);
}

uint32_t gb_device_epoch(gb_device *device)
{
    bool lost;
    return device->backend->device_epoch ? device->backend->device_epoch(device->impl, &lost) : 0;
}

bool gb_device_lost(gb_device *device)
{
    bool lost = false;
    if (device->backend->device_epoch) device->backend->device_epoch(device->impl, &lost);
    return lost;
}

int gb_device_index(const gb_device *device)
{
    return device->index;
}

int gb_device_claim(gb_device *device, int more)
{
    return atomic_fetch_add(&device->claims, more) + more;
}

int gb_device_queue_depth(gb_device *device)
{
    return atomic_load_explicit(&device->depth, memory_order_relaxed);
}
