/* The cpu backend's table, its devices and what they say of themselves. */
#include "base/err.h"
#include "gpu/cpu_engine.h"
#include "gpu/cpu_options.h"
#include "gpu/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICES_MAX = 64 };

static int open_cpu(void **out, gb_gpu *gpu)
{
    gbi_cpu *cpu = gb_mem_zalloc(&gpu->room, sizeof *cpu);
    if (!cpu) return GB_ENOMEM;
    cpu->gpu = gpu;
    cpu->mem = &gpu->room;
    int rc = gbi_pool_open(&cpu->pool, cpu->mem, gpu->config.threads);
    if (rc < 0) {
        gb_mem_free(cpu->mem, cpu, sizeof *cpu);
        return rc;
    }
    *out = cpu;
    return 0;
}

static int stop_cpu(void *self)
{
    gbi_cpu *cpu = self;
    int lost = gbi_pool_stop(cpu->pool);
    if (lost > 0) return lost;
    for (int i = 0; i < GBI_SPARE_RUNNERS; i++) {
        gbi_pool_guest_close(cpu->pool, atomic_load(&cpu->spare[i]));
        atomic_store(&cpu->spare[i], NULL);
    }
    gbi_pool_close(cpu->pool);
    cpu->pool = NULL;
    return 0;
}

static void close_cpu(void *self)
{
    gbi_cpu *cpu = self;
    if (cpu->pool) return; /* a runaway may still come back to it */
    gb_mem_free(cpu->mem, cpu, sizeof *cpu);
}

static bool busy(void *self)
{
    return gbi_pool_busy(((gbi_cpu *)self)->pool);
}

static int help(void *self)
{
    return gbi_cpu_help(self);
}

/* ---- devices ---- */

static int device_count(void *self)
{
    gbi_cpu *cpu = self;
    const char *set = getenv("GB_CPU_DEVICES");
    int count = cpu->gpu->config.cpu_devices;
    if (count <= 0 && set) count = (int)strtol(set, NULL, 10);
    if (count <= 0) count = 1;
    cpu->device_count = count < DEVICES_MAX ? count : DEVICES_MAX;
    return cpu->device_count;
}

static void read_name(char *out, size_t room)
{
    snprintf(out, room, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) return;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10) != 0) continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, room, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(file);
}

static int device_open(void **out, void *self, int index, gb_device *front)
{
    gbi_cpu *cpu = self;
    gbi_cpu_device *device = gb_mem_zalloc(cpu->mem, sizeof *device);
    if (!device) return GB_ENOMEM;
    device->cpu = cpu;
    device->index = index;
    device->memory_total = cpu->gpu->config.cpu_memory_bytes;
    if (device->memory_total <= 0) {
        int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
        device->memory_total = machine / 2 / cpu->device_count;
    }
    read_name(device->name, sizeof device->name);
    *out = device;
    return 0;
}

static void device_close(void *self)
{
    gbi_cpu_device *device = self;
    gbi_cpu *cpu = device->cpu;
    /* a runaway's buffers are given back to it */
    if (cpu->pool && gbi_pool_lost(cpu->pool) > 0) return;
    gb_mem_free(cpu->mem, device, sizeof *device);
}

static const char *arch(void)
{
    int level = gbi_cpu_level();
#if defined(__aarch64__)
    return "aarch64";
#endif
    return level ? gbi_cpu_level_name(level) : "unknown";
}

static void device_info(void *self, gb_device_info *out)
{
    gbi_cpu_device *device = self;
    snprintf(out->name, sizeof out->name, "%s", device->name);
    snprintf(out->arch, sizeof out->arch, "%s", arch());
    out->memory_total = device->memory_total;
    int64_t used = atomic_load_explicit(&device->memory_used, memory_order_relaxed);
    out->memory_free = used < device->memory_total ? device->memory_total - used : 0;
    out->threads_per_block_max = GBI_FIBERS_MAX;
    out->shared_bytes_max = GBI_SHARED_MAX - 4096;
    out->units = gbi_pool_threads(device->cpu->pool);
    out->warp = GBI_WARP;
}

const gb_backend gbi_cpu_backend = {
    .name = "cpu",
    .open = open_cpu,
    .stop = stop_cpu,
    .close = close_cpu,
    .busy = busy,
    .help = help,
    .device_count = device_count,
    .device_open = device_open,
    .device_close = device_close,
    .device_info = device_info,
    .buffer_open = gbi_cpu_buffer_open,
    .buffer_wrap = gbi_cpu_buffer_wrap,
    .buffer_close = gbi_cpu_buffer_close,
    .buffer_idle = gbi_cpu_buffer_idle,
    .buffer_wake = gbi_cpu_buffer_wake,
    .buffer_fit = gbi_cpu_buffer_fit,
    .module_open = gbi_cpu_module_open,
    .module_close = gbi_cpu_module_close,
    .queue_open = gbi_cpu_queue_open,
    .queue_close = gbi_cpu_queue_close,
    .now = gbi_cpu_now,
    .submit = gbi_cpu_submit,
    .event_open = gbi_cpu_event_open,
    .event_close = gbi_cpu_event_close,
    .event_query = gbi_cpu_event_query,
    .event_elapsed = gbi_cpu_event_elapsed,
    .cost_ns = gbi_cpu_cost_ns,
};
