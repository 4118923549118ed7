#include "telemetry/metrics.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "telemetry/metrics_internal.h"

#include <math.h>
#include <string.h>

enum {
    /* A line of the cache before and behind, so that two shards never share one. */
    PAD_CELLS = 8,
    SHARD_CELLS = PAD_CELLS + GB_METRICS_CELLS_MAX + PAD_CELLS,
    SHARD_BYTES = SHARD_CELLS * (int)sizeof(uint64_t)
};

int gb_metrics_new(gb_metrics **out, gb_mem *mem, int workers)
{
    GB_CHECK(workers >= 0);
    gb_metrics *metrics = gb_mem_zalloc(mem, sizeof *metrics);
    if (!metrics) return GB_ENOMEM;
    metrics->mem = mem;
    gb_map_init(&metrics->by_hash, mem);
    int shards = workers + 1;
    metrics->shards = gb_mem_zalloc(mem, (size_t)shards * sizeof *metrics->shards);
    metrics->shards_count = metrics->shards ? shards : 0;
    bool whole = metrics->shards != NULL;
    for (int i = 0; i < metrics->shards_count; i++) {
        _Atomic uint64_t *cells = gb_mem_zalloc(mem, SHARD_BYTES);
        metrics->shards[i].cells = cells ? cells + PAD_CELLS : NULL;
        metrics->shards[i].shared = i == workers;
        whole = whole && cells;
    }
    pthread_mutex_init(&metrics->lock, NULL);
    if (!whole) {
        gb_metrics_free(metrics);
        return GB_ENOMEM;
    }
    *out = metrics;
    return 0;
}

static void free_values(gb_metrics *metrics, gb_series *series)
{
    for (int i = 0; i < GB_METRIC_LABELS_MAX; i++)
        gb_mem_strfree(metrics->mem, (char *)series->values[i]);
}

void gb_metrics_free(gb_metrics *metrics)
{
    if (!metrics) return;
    gb_mem *mem = metrics->mem;
    for (int i = 0; i < atomic_load(&metrics->series_count); i++)
        free_values(metrics, &metrics->series[i]);
    for (int i = 0; i < metrics->shards_count; i++)
        if (metrics->shards[i].cells)
            gb_mem_free(mem, metrics->shards[i].cells - PAD_CELLS, SHARD_BYTES);
    gb_mem_free(mem, metrics->shards, (size_t)metrics->shards_count * sizeof *metrics->shards);
    gb_map_fini(&metrics->by_hash);
    pthread_mutex_destroy(&metrics->lock);
    gb_mem_free(mem, metrics, sizeof *metrics);
}

gb_metrics_shard *gb_metrics_shard_of(gb_metrics *metrics, int worker)
{
    GB_CHECK(worker >= -1 && worker < metrics->shards_count - 1);
    return &metrics->shards[worker < 0 ? metrics->shards_count - 1 : worker];
}

/* ---- registering ---- */

int gb_metrics_find(const gb_metrics *metrics, const char *name)
{
    int count = atomic_load_explicit(&metrics->metrics_count, memory_order_acquire);
    for (int i = 0; i < count; i++)
        if (strcmp(metrics->metrics[i].def->name, name) == 0) return i;
    return gb_err_set(GB_ENOENT, "no metric named '%s'", name);
}

static int fill_metric(gbi_metric *metric, const gb_metric_def *def)
{
    double scale = def->scale != 0 ? def->scale : 1;
    if (def->bounds_count < 0 || def->bounds_count > GB_METRIC_BOUNDS_MAX)
        return gb_err_set(GB_EINVAL, "metric '%s': %d bounds, at most %d", def->name,
                          def->bounds_count, GB_METRIC_BOUNDS_MAX);
    if ((def->kind == GB_METRIC_HISTOGRAM) != (def->bounds_count > 0))
        return gb_err_set(GB_EINVAL, "metric '%s': histograms, and only they, have bounds",
                          def->name);
    *metric = (gbi_metric){.def = def};
    for (int i = 0; i < def->bounds_count; i++) {
        metric->bounds[i] = (uint64_t)llround(def->bounds[i] / scale);
        if (i > 0 && metric->bounds[i] <= metric->bounds[i - 1])
            return gb_err_set(GB_EINVAL, "metric '%s': bound %d does not rise", def->name, i + 1);
    }
    while (metric->labels_count < GB_METRIC_LABELS_MAX && def->labels[metric->labels_count])
        metric->labels_count++;
    return 0;
}

static int add_metric(gb_metrics *metrics, const gb_metric_def *def)
{
    int found = gb_metrics_find(metrics, def->name);
    if (found >= 0) {
        if (metrics->metrics[found].def == def) return found;
        return gb_err_set(GB_ECONFLICT, "a metric named '%s' exists", def->name);
    }
    int count = atomic_load_explicit(&metrics->metrics_count, memory_order_relaxed);
    if (count == GB_METRICS_MAX)
        return gb_err_set(GB_EBUSY, "metric '%s': there are %d already", def->name, count);
    int rc = fill_metric(&metrics->metrics[count], def);
    if (rc < 0) return rc;
    atomic_store_explicit(&metrics->metrics_count, count + 1, memory_order_release);
    return count;
}

int gb_metrics_register(gb_metrics *metrics, const gb_metric_def *def)
{
    pthread_mutex_lock(&metrics->lock);
    int rc = add_metric(metrics, def);
    pthread_mutex_unlock(&metrics->lock);
    return rc;
}

/* ---- series ---- */

static uint64_t series_hash(int metric, const char *const *values, int count)
{
    uint64_t hash = (uint64_t)metric;
    for (int i = 0; i < count; i++) hash = gb_hash_bytes(values[i], strlen(values[i]), hash);
    return gb_hash_mix(hash + 1);
}

static const gb_series *find_series(const gb_metrics *metrics, int metric, uint64_t hash,
                                    const char *const *values)
{
    uint32_t cursor = 0, at;
    int labels = metrics->metrics[metric].labels_count;
    while ((at = gb_map_next(&metrics->by_hash, hash, &cursor)) != GB_MAP_NONE) {
        const gb_series *series = &metrics->series[at];
        bool same = series->metric == metric;
        for (int i = 0; same && i < labels; i++) same = strcmp(series->values[i], values[i]) == 0;
        if (same) return series;
    }
    return NULL;
}

static const gb_series *add_series(gb_metrics *metrics, int metric, uint64_t hash,
                                   const char *const *values)
{
    gbi_metric *of = &metrics->metrics[metric];
    int count = atomic_load_explicit(&metrics->series_count, memory_order_relaxed);
    int bounds = of->def->bounds_count;
    uint32_t cells = bounds ? (uint32_t)bounds + 2 : 1;
    if (count == GB_METRICS_SERIES_MAX || metrics->cells_used + cells > GB_METRICS_CELLS_MAX) {
        gb_err_set(GB_EBUSY, "metric '%s': no room for one more series", of->def->name);
        return NULL;
    }
    gb_series *series = &metrics->series[count];
    *series = (gb_series){.cell = metrics->cells_used,
                          .metric = (uint16_t)metric,
                          .bounds_count = (uint16_t)bounds,
                          .bounds = of->bounds};
    bool whole = true;
    for (int i = 0; i < of->labels_count; i++) {
        series->values[i] = gb_mem_strdup(metrics->mem, values[i]);
        whole = whole && series->values[i];
    }
    if (!whole || gb_map_add(&metrics->by_hash, hash, (uint32_t)count) < 0) {
        free_values(metrics, series);
        return NULL;
    }
    metrics->cells_used += cells;
    of->series_count++;
    atomic_store_explicit(&metrics->series_count, count + 1, memory_order_release);
    return series;
}

const gb_series *gb_metrics_series(gb_metrics *metrics, int metric, const char *const *values)
{
    static const char *const others[GB_METRIC_LABELS_MAX] = {"other", "other", "other", "other"};
    GB_CHECK(metric >= 0 && metric < atomic_load(&metrics->metrics_count));
    pthread_mutex_lock(&metrics->lock);
    int labels = metrics->metrics[metric].labels_count;
    GB_CHECK(labels == 0 || values);
    uint64_t hash = series_hash(metric, values, labels);
    const gb_series *series = find_series(metrics, metric, hash, values);
    if (!series && metrics->metrics[metric].series_count >= GB_METRIC_SERIES_MAX - 1) {
        values = others; /* a label that never ends must not eat the registry */
        hash = series_hash(metric, values, labels);
        series = find_series(metrics, metric, hash, values);
    }
    if (!series) series = add_series(metrics, metric, hash, values);
    pthread_mutex_unlock(&metrics->lock);
    return series;
}

/* ---- reading ---- */

static uint64_t merged(const gb_metrics *metrics, uint32_t cell)
{
    uint64_t sum = 0;
    for (int i = 0; i < metrics->shards_count; i++)
        sum += atomic_load_explicit(&metrics->shards[i].cells[cell], memory_order_relaxed);
    return sum;
}

void gb_series_put(gb_metrics *metrics, const gb_series *series, const uint64_t *under,
                   uint64_t count, uint64_t sum)
{
    if (!series) return;
    _Atomic uint64_t *cells = gb_metrics_shard_of(metrics, -1)->cells + series->cell;
    uint64_t before = 0;
    for (uint32_t i = 0; i <= series->bounds_count; i++) {
        uint64_t now = i < series->bounds_count ? under[i] : count;
        atomic_store_explicit(&cells[i], now - before, memory_order_relaxed);
        before = now;
    }
    atomic_store_explicit(&cells[series->bounds_count + 1u], sum, memory_order_relaxed);
}

int64_t gb_series_value(const gb_metrics *metrics, const gb_series *series)
{
    return series ? (int64_t)merged(metrics, series->cell) : 0;
}

void gb_series_read(const gb_metrics *metrics, const gb_series *series, gb_series_histogram *out)
{
    *out = (gb_series_histogram){.count = 0};
    if (!series) return;
    out->buckets_count = series->bounds_count + 1;
    for (int i = 0; i < out->buckets_count; i++) {
        out->buckets[i] = merged(metrics, series->cell + (uint32_t)i);
        out->count += out->buckets[i]; /* so that the buckets always add up to it */
    }
    out->sum = merged(metrics, series->cell + (uint32_t)out->buckets_count);
}
