/* What metrics.c and prometheus.c share. */
#ifndef GB_TELEMETRY_METRICS_INTERNAL_H
#define GB_TELEMETRY_METRICS_INTERNAL_H

#include "base/map.h"
#include "telemetry/metrics.h"

#include <pthread.h>

typedef struct gbi_metric {
    const gb_metric_def *def;
    int labels_count, series_count;
    uint64_t bounds[GB_METRIC_BOUNDS_MAX]; /* in counted units */
} gbi_metric;

/* Metrics and series are only ever added, and counted when they are whole: readers take no lock. */
struct gb_metrics {
    gb_mem *mem;
    pthread_mutex_t lock; /* among who adds */
    gb_map by_hash;       /* series, by metric and label values */
    _Atomic int metrics_count, series_count;
    uint32_t cells_used;
    int shards_count; /* the last is the shared one */
    gb_metrics_shard *shards;
    gbi_metric metrics[GB_METRICS_MAX];
    gb_series series[GB_METRICS_SERIES_MAX];
};

#endif
