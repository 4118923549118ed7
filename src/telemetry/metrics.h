/* Counters, gauges and histograms: one shard per worker, merged when they are read.
 *
 * A metric is registered once, by name. A series is a metric with a value for each of its labels
 * (kernel="saxpy", device="0"); who counts keeps the series, so that a count is one addition in the
 * caller's own shard. No clock here: durations come in as numbers.
 *
 * Threads: registering and interning series take a lock among themselves and may run on any thread.
 * Counting takes none: a worker writes to its own shard only; every other thread writes to the
 * shared one. Reading takes no lock either and never stops a writer; what it sees is at most the
 * values in flight behind. All memory is taken when the registry is made and when series are.
 */
#ifndef GB_TELEMETRY_METRICS_H
#define GB_TELEMETRY_METRICS_H

#include "base/buf.h"

#include <stdbool.h>

enum {
    GB_METRICS_MAX = 256,         /* metrics in a registry */
    GB_METRICS_SERIES_MAX = 2048, /* series in a registry */
    GB_METRICS_CELLS_MAX = 8192,  /* numbers in a shard: 1 a counter or gauge, n + 2 a histogram */
    GB_METRIC_SERIES_MAX = 256,   /* series of one metric; the last is "other" in every label */
    GB_METRIC_LABELS_MAX = 4,
    GB_METRIC_BOUNDS_MAX = 16
};

typedef enum { GB_METRIC_COUNTER, GB_METRIC_GAUGE, GB_METRIC_HISTOGRAM } gb_metric_kind;

/* What is registered; borrowed until the registry is freed. */
typedef struct gb_metric_def {
    const char *name; /* "gpu.kernel.latency" */
    gb_metric_kind kind;
    const char *unit; /* "ms": told in the help line, "" for plain numbers */
    const char *help;
    const char *labels[GB_METRIC_LABELS_MAX]; /* names, NULL behind the last */
    double scale; /* one counted unit in units: 1e-6 when nanoseconds are told as ms; 0 means 1 */
    const double *bounds; /* histograms: rising upper edges, in units */
    int bounds_count;
    const char *alias; /* a second name that tells the same, or NULL */
} gb_metric_def;

typedef struct gb_metrics gb_metrics;

/* One thread's numbers. */
typedef struct gb_metrics_shard {
    _Atomic uint64_t *cells;
    bool shared; /* many writers: additions are atomic */
} gb_metrics_shard;

/* Opaque but for the inline functions. */
typedef struct gb_series {
    uint32_t cell;
    uint16_t metric, bounds_count;
    const uint64_t *bounds; /* in counted units */
    const char *values[GB_METRIC_LABELS_MAX];
} gb_series;

/* A registry with a shard for each of the workers (0 is allowed) and the shared one. 0 or
 * GB_ENOMEM. Free it when nobody counts any more. */
int gb_metrics_new(gb_metrics **out, gb_mem *mem, int workers);
void gb_metrics_free(gb_metrics *metrics);

/* The shard of a worker, or with -1 the shared one. Lives as long as the registry. */
gb_metrics_shard *gb_metrics_shard_of(gb_metrics *metrics, int worker);

/* The metric's number, also when that definition was registered before. GB_ECONFLICT: the name is
 * taken by a different one; GB_EBUSY: full; GB_EINVAL: bounds that do not rise, or too many. */
int gb_metrics_register(gb_metrics *metrics, const gb_metric_def *def);

/* The number of a name, or GB_ENOENT. */
int gb_metrics_find(const gb_metrics *metrics, const char *name);

/* The series of these label values (one for each label; copied), made when it is new. Beyond
 * METRIC_SERIES_MAX combinations it is the series "other". NULL (and a detail) when the registry is
 * full or out of memory: counting to NULL does nothing. */
const gb_series *gb_metrics_series(gb_metrics *metrics, int metric, const char *const *values);

/* ---- counting ---- */

static inline void gbi_cell_add(gb_metrics_shard *shard, uint32_t cell, uint64_t n)
{
    _Atomic uint64_t *at = &shard->cells[cell];
    if (shard->shared)
        atomic_fetch_add_explicit(at, n, memory_order_relaxed);
    else /* one writer: no locked instruction */
        atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n,
                              memory_order_relaxed);
}

/* Counters and gauges; a gauge may go down: (uint64_t)-1. */
static inline void gb_series_add(gb_metrics_shard *shard, const gb_series *series, uint64_t n)
{
    if (series) gbi_cell_add(shard, series->cell, n);
}

/* Gauges. What is read is the sum over the shards: each worker sets its own part. */
static inline void gb_series_set(gb_metrics_shard *shard, const gb_series *series, int64_t value)
{
    if (series)
        atomic_store_explicit(&shard->cells[series->cell], (uint64_t)value, memory_order_relaxed);
}

/* Histograms: one value, in counted units. */
static inline void gb_series_observe(gb_metrics_shard *shard, const gb_series *series,
                                     uint64_t value)
{
    if (!series) return;
    uint32_t bucket = 0;
    while (bucket < series->bounds_count && value > series->bounds[bucket]) bucket++;
    gbi_cell_add(shard, series->cell + bucket, 1);
    gbi_cell_add(shard, series->cell + series->bounds_count + 1u, value);
}

/* Histograms that are kept elsewhere, as they stand: how many values are at or under each bound,
 * how many there are, and their sum. In the shared shard alone. */
void gb_series_put(gb_metrics *metrics, const gb_series *series, const uint64_t *under,
                   uint64_t count, uint64_t sum);

/* ---- reading ---- */

/* The sum over the shards of a counter or gauge, in counted units. */
int64_t gb_series_value(const gb_metrics *metrics, const gb_series *series);

/* The buckets (bounds_count + 1 of them, not cumulative), and the sum of the values. */
typedef struct gb_series_histogram {
    uint64_t count, sum, buckets[GB_METRIC_BOUNDS_MAX + 1];
    int buckets_count;
} gb_series_histogram;

void gb_series_read(const gb_metrics *metrics, const gb_series *series, gb_series_histogram *out);

/* Appends every series in the Prometheus text format (version 0.0.4): dots in names become
 * underscores. Metrics without a series are left out. 0 or GB_ENOMEM. */
int gb_metrics_prometheus(const gb_metrics *metrics, gb_buf *out);

#endif
