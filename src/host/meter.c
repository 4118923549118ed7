#include "host/meter.h"

#include "base/err.h"
#include "gpu/gpu.h"
#include "host/embed.h"
#include "telemetry/catalog.h"
#include "telemetry/tracer.h"

#include <stdio.h>
#include <string.h>

struct gbi_meter {
    gb_host *host;
    pthread_mutex_t lock;
    gb_metrics *metrics; /* NULL: nobody has asked yet */
    int rc;              /* of this reading */
};

int gbi_meter_open(gbi_meter **out, gb_host *host)
{
    gbi_meter *meter = gb_mem_zalloc(&host->mem, sizeof *meter);
    if (!meter) return GB_ENOMEM;
    meter->host = host;
    pthread_mutex_init(&meter->lock, NULL);
    *out = meter;
    return 0;
}

void gbi_meter_close(gbi_meter *meter)
{
    if (!meter) return;
    if (meter->metrics) gb_metrics_free(meter->metrics);
    pthread_mutex_destroy(&meter->lock);
    gb_mem_free(&meter->host->mem, meter, sizeof *meter);
}

/* Counters are told as they stand: the sources count since the host was opened. */
static void tell(gbi_meter *meter, gb_catalog metric, const char *const *labels, int64_t value)
{
    const gb_series *series = gb_metrics_series(meter->metrics, (int)metric, labels);
    if (!series) meter->rc = GB_ENOMEM;
    gb_series_set(gb_metrics_shard_of(meter->metrics, -1), series, value);
}

static void tell_one(gbi_meter *meter, gb_catalog metric, const char *label, int64_t value)
{
    const char *labels[] = {label};
    tell(meter, metric, labels, value);
}

/* Of one value with success = "true" and one with "false". */
static void tell_both(gbi_meter *meter, gb_catalog metric, const char *first, const char *second,
                      uint64_t good, uint64_t bad)
{
    const char *labels[3] = {first, second, second ? "true" : NULL};
    const char **success = second ? &labels[2] : &labels[1];
    *success = "true";
    tell(meter, metric, labels, (int64_t)good);
    *success = "false";
    tell(meter, metric, labels, (int64_t)bad);
}

/* ---- sources ---- */

static void read_workers(gbi_meter *meter)
{
    gb_silo *silo = meter->host->silo;
    for (int i = 0; i < silo->worker_count; i++) {
        gb_worker *worker = silo->workers[i];
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        tell_one(meter, GB_METRIC_GRAIN_CALLS, name, atomic_load(&worker->calls_made));
        tell_one(meter, GB_METRIC_GRAIN_CALLS_FAILED, name, atomic_load(&worker->calls_failed));
        tell_one(meter, GB_METRIC_GRAIN_TURNS, name, (int64_t)atomic_load(&worker->turns));
        tell_one(meter, GB_METRIC_GRAIN_TURNS_RAISED, name, atomic_load(&worker->turns_raised));
    }
}

static void read_types(gbi_meter *meter)
{
    gb_silo *silo = meter->host->silo;
    for (uint32_t i = 0; i < gb_type_count(silo); i++) {
        gb_type *type = gb_type_at(silo, i);
        if (type->name->text[0] == '$') continue; /* the house's own */
        int64_t ever = 0, now = 0;
        for (int k = 0; k < silo->worker_count; k++) {
            now += atomic_load(&type->local[k].count); /* before ever, so that now <= ever */
            ever += (int64_t)atomic_load(&type->local[k].activated);
        }
        tell_one(meter, GB_METRIC_GRAINS_ACTIVATED, type->name->text, ever);
        tell_one(meter, GB_METRIC_GRAINS_DEACTIVATED, type->name->text, ever - now);
        tell_one(meter, GB_METRIC_GRAIN_ACTIVE_COUNT, type->name->text, now);
    }
}

/* What nobody says is no series: a device without a sensor is not at 0 degrees. */
static void read_figures(gbi_meter *meter, gb_device *device, const char *name)
{
    gb_device_figures now;
    gb_device_get_figures(device, &now);
    if (now.utilization >= 0) tell_one(meter, GB_METRIC_UTILIZATION, name, now.utilization);
    if (now.temperature >= 0) tell_one(meter, GB_METRIC_TEMPERATURE, name, now.temperature);
    if (now.power_mw >= 0) tell_one(meter, GB_METRIC_POWER_USAGE, name, now.power_mw);
}

static void read_device(gbi_meter *meter, gb_device *device, gb_device_counts *all)
{
    gb_device_info info;
    gb_device_counts n;
    char name[16];
    gb_device_get_info(device, &info);
    gb_device_get_counts(device, &n);
    snprintf(name, sizeof name, "%d", info.index);
    tell_both(meter, GB_METRIC_KERNELS_EXECUTED, "all", name, n.launches, n.launches_failed);
    const char *kernel[] = {"all", name};
    tell(meter, GB_METRIC_KERNELS_FAILED, kernel, (int64_t)n.launches_failed);
    tell_one(meter, GB_METRIC_ALLOCATIONS_SUCCEEDED, name, (int64_t)n.buffers);
    const char *why[] = {name, "memory"};
    tell(meter, GB_METRIC_ALLOCATION_FAILURES, why, (int64_t)n.buffers_failed);
    tell_both(meter, GB_METRIC_MODULES_COMPILED, name, NULL, n.modules, n.modules_failed);
    tell_one(meter, GB_METRIC_COMPILE_TIME, name, (int64_t)n.module_ns);
    tell_one(meter, GB_METRIC_MEMORY_TOTAL, name, (int64_t)info.memory_total);
    tell_one(meter, GB_METRIC_MEMORY_USED, name, (int64_t)(info.memory_total - info.memory_free));
    tell_one(meter, GB_METRIC_QUEUE_DEPTH, name, gb_device_queue_depth(device));
    gb_pool_stats pool;
    gb_device_pool_stats(device, GB_BUFFER_PINNED, &pool);
    tell_one(meter, GB_METRIC_MEMORY_PINNED, name, pool.bytes_asked);
    gb_device_pool_stats(device, GB_POOL_ALL, &pool);
    tell_one(meter, GB_METRIC_POOL_UTILIZATION, name, (int64_t)(pool.utilization * 1e6));
    tell_one(meter, GB_METRIC_POOL_FRAGMENTATION, name, (int64_t)(pool.fragmentation * 1e6));
    read_figures(meter, device, name);
    all->bytes_up += n.bytes_up;
    all->bytes_down += n.bytes_down;
    all->bytes_across += n.bytes_across;
}

static void put_times(gbi_meter *meter, const char *const *labels, const gb_hist *hist)
{
    const gb_series *series = gb_metrics_series(meter->metrics, GB_METRIC_KERNEL_LATENCY, labels);
    uint64_t under[GB_METRIC_BOUNDS_MAX];
    if (!series) {
        meter->rc = GB_ENOMEM;
        return;
    }
    for (int i = 0; i < series->bounds_count; i++)
        under[i] = gb_hist_count_under(hist, series->bounds[i]);
    gb_series_put(meter->metrics, series, under, hist->count, hist->sum);
}

static void read_times(void *user, const gb_kernel_times *times)
{
    char device[16];
    snprintf(device, sizeof device, "%d", times->device);
    const char *labels[] = {times->kernel, device, "true"};
    put_times(user, labels, times->ran);
    labels[2] = "false";
    put_times(user, labels, times->failed);
}

/* Together they are all that is in use or reserved. */
static void read_tenants(gbi_meter *meter, gb_gpu *gpu)
{
    int count = gb_gpu_tenant_count(gpu);
    for (int i = 0; i <= count; i++) {
        gb_tenant_memory now;
        gb_gpu_tenant_memory(gpu, (uint64_t)i, &now);
        tell_one(meter, GB_METRIC_TENANT_MEMORY, now.name, now.bytes);
        if (now.bytes_max) tell_one(meter, GB_METRIC_TENANT_MEMORY_MAX, now.name, now.bytes_max);
    }
}

/* Devices that nobody has used yet are not opened for this. */
static void read_devices(gbi_meter *meter)
{
    gb_device_counts all = {0};
    gb_gpu *gpu = meter->host->gpu;
    int count = gb_gpu_devices_open(gpu);
    for (int i = 0; i < count; i++) read_device(meter, gb_gpu_device(gpu, i), &all);
    if (count == 0) return;
    read_tenants(meter, gpu);
    tell_one(meter, GB_METRIC_BYTES_TRANSFERRED, gb_catalog_direction(GB_TRANSFER_HOST_TO_DEVICE),
             (int64_t)all.bytes_up);
    tell_one(meter, GB_METRIC_BYTES_TRANSFERRED, gb_catalog_direction(GB_TRANSFER_DEVICE_TO_HOST),
             (int64_t)all.bytes_down);
    tell_one(meter, GB_METRIC_BYTES_TRANSFERRED, gb_catalog_direction(GB_TRANSFER_DEVICE_TO_DEVICE),
             (int64_t)all.bytes_across);
    gb_gpu_each_times(gpu, read_times, meter);
}

/* ---- reading ---- */

static int make(gbi_meter *meter)
{
    int rc = gb_metrics_new(&meter->metrics, &meter->host->mem, 0);
    if (rc == 0) rc = gb_catalog_register(meter->metrics);
    if (rc < 0 && meter->metrics) {
        gb_metrics_free(meter->metrics);
        meter->metrics = NULL;
    }
    return rc;
}

int gbi_meter_text(gbi_meter *meter, gb_buf *out)
{
    pthread_mutex_lock(&meter->lock);
    int rc = meter->metrics ? 0 : make(meter);
    if (rc == 0) {
        meter->rc = 0;
        read_workers(meter);
        read_types(meter);
        read_devices(meter);
        rc = meter->rc < 0 ? meter->rc : gb_metrics_prometheus(meter->metrics, out);
    }
    pthread_mutex_unlock(&meter->lock);
    return rc;
}

int gb_metrics_text(gb_host *host, char *out, size_t room)
{
    if (room && !out) return gb_err_set(GB_EINVAL, "gb_metrics_text: out is NULL");
    int rc = gbi_enter(host, "gb_metrics_text");
    if (rc < 0) return rc;
    if (!host->config.metrics) {
        gbi_leave(host);
        return gb_err_set(GB_EDENIED, "gb_metrics_text: config.metrics is 0, so nothing is told "
                                      "(gbrun: the setting metrics, GB_METRICS, --metrics)");
    }
    gb_buf text;
    gb_buf_init(&text, &host->mem);
    rc = gbi_meter_text(host->meter, &text);
    if (rc == 0) rc = (int)text.size;
    if (rc >= 0 && room) {
        size_t size = text.size < room ? text.size : room - 1;
        if (size) memcpy(out, text.data, size);
        out[size] = 0;
    }
    gb_buf_fini(&text);
    gbi_leave(host);
    return rc;
}

/* ---- spans ---- */

typedef struct telling {
    gb_buf text;
    gb_span_fn *each;
    void *user;
    int rc;
} telling;

static void tell_span(void *user, const gb_span *span)
{
    telling *t = user;
    t->text.size = 0;
    int rc = gb_span_json(span, &t->text);
    if (rc == 0)
        t->each(gb_buf_text(&t->text), t->user);
    else
        t->rc = rc;
}

int gb_spans_take(gb_host *host, gb_span_fn *each, void *user)
{
    if (!each) return gb_err_set(GB_EINVAL, "gb_spans_take: each is NULL");
    int rc = gbi_enter(host, "gb_spans_take");
    if (rc < 0) return rc;
    if (host->tracer) {
        telling t = {.each = each, .user = user};
        gb_buf_init(&t.text, &host->mem);
        rc = gb_tracer_take(host->tracer, tell_span, &t);
        if (t.rc < 0) rc = t.rc;
        gb_buf_fini(&t.text);
    } else {
        rc = gb_err_set(GB_EDENIED, "gb_spans_take: config.tracing is 0 (gbrun: the setting "
                                    "tracing, GB_TRACING, --tracing)");
    }
    gbi_leave(host);
    return rc;
}
