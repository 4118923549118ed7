/* The text format 0.0.4 of Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/
 */
#include "base/err.h"
#include "telemetry/metrics.h"
#include "telemetry/metrics_internal.h"

#include <stdio.h>

enum { NAME_BYTES_MAX = 128 };

static void plain_name(char *out, const char *name)
{
    size_t at = 0;
    for (; name[at] && at < NAME_BYTES_MAX - 1; at++) {
        char c = name[at];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
        out[at] = letter || (at > 0 && c >= '0' && c <= '9') ? c : '_';
    }
    out[at] = 0;
}

/* Label values are quoted, help texts are not. */
static int put_escaped(gb_buf *out, const char *text, bool quoted)
{
    int rc = 0;
    for (; *text && rc == 0; text++) {
        if (*text == '\n')
            rc = gb_buf_put(out, "\\n", 2);
        else if (*text == '\\' || (quoted && *text == '"'))
            rc = gb_buf_printf(out, "\\%c", *text);
        else
            rc = gb_buf_put(out, text, 1);
    }
    return rc;
}

static int put_head(gb_buf *out, const gb_metric_def *def, const char *name)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    int rc = gb_buf_printf(out, "# HELP %s ", name);
    if (rc == 0) rc = put_escaped(out, def->help, false);
    if (rc == 0 && def->unit[0]) rc = gb_buf_printf(out, " (%s)", def->unit);
    if (rc == 0) rc = gb_buf_printf(out, "\n# TYPE %s %s\n", name, types[def->kind]);
    return rc;
}

/* name suffix {label="value",...,le="bound"} and a blank. */
static int put_series(gb_buf *out, const gbi_metric *metric, const gb_series *series,
                      const char *name, const char *suffix, const char *bound)
{
    int rc = gb_buf_printf(out, "%s%s", name, suffix);
    const char *before = "{";
    for (int i = 0; i < metric->labels_count && rc == 0; i++, before = ",") {
        rc = gb_buf_printf(out, "%s%s=\"", before, metric->def->labels[i]);
        if (rc == 0) rc = put_escaped(out, series->values[i], true);
        if (rc == 0) rc = gb_buf_put(out, "\"", 1);
    }
    if (rc == 0 && bound) {
        rc = gb_buf_printf(out, "%sle=\"%s\"", before, bound);
        before = ",";
    }
    if (rc == 0 && before[0] == ',') rc = gb_buf_put(out, "}", 1);
    return rc < 0 ? rc : gb_buf_put(out, " ", 1);
}

static int put_value(gb_buf *out, int64_t value, double scale)
{
    if (scale == 0 || scale == 1) return gb_buf_printf(out, "%lld\n", (long long)value);
    return gb_buf_printf(out, "%.15g\n", (double)value * scale);
}

static int put_histogram(const gb_metrics *metrics, gb_buf *out, const gbi_metric *metric,
                         const gb_series *series, const char *name)
{
    gb_series_histogram h;
    char bound[32];
    uint64_t under = 0;
    int rc = 0;
    gb_series_read(metrics, series, &h);
    for (int i = 0; i < h.buckets_count && rc == 0; i++) {
        under += h.buckets[i];
        if (i < metric->def->bounds_count)
            snprintf(bound, sizeof bound, "%.10g", metric->def->bounds[i]);
        else
            snprintf(bound, sizeof bound, "+Inf");
        rc = put_series(out, metric, series, name, "_bucket", bound);
        if (rc == 0) rc = put_value(out, (int64_t)under, 1);
    }
    if (rc == 0) rc = put_series(out, metric, series, name, "_sum", NULL);
    if (rc == 0) rc = put_value(out, (int64_t)h.sum, metric->def->scale);
    if (rc == 0) rc = put_series(out, metric, series, name, "_count", NULL);
    return rc < 0 ? rc : put_value(out, (int64_t)h.count, 1);
}

static int put_metric(const gb_metrics *metrics, gb_buf *out, int number, const char *as)
{
    const gbi_metric *metric = &metrics->metrics[number];
    int count = atomic_load_explicit(&metrics->series_count, memory_order_acquire), rc = 0;
    bool head = false;
    char name[NAME_BYTES_MAX];
    plain_name(name, as);
    for (int i = 0; i < count && rc == 0; i++) {
        const gb_series *series = &metrics->series[i];
        if (series->metric != number) continue;
        if (!head) rc = put_head(out, metric->def, name);
        head = true;
        if (rc < 0) break;
        if (metric->def->kind == GB_METRIC_HISTOGRAM) {
            rc = put_histogram(metrics, out, metric, series, name);
        } else {
            rc = put_series(out, metric, series, name, "", NULL);
            if (rc == 0) rc = put_value(out, gb_series_value(metrics, series), metric->def->scale);
        }
    }
    return rc;
}

int gb_metrics_prometheus(const gb_metrics *metrics, gb_buf *out)
{
    int count = atomic_load_explicit(&metrics->metrics_count, memory_order_acquire), rc = 0;
    for (int i = 0; i < count && rc == 0; i++) {
        const gb_metric_def *def = metrics->metrics[i].def;
        rc = put_metric(metrics, out, i, def->name);
        if (rc == 0 && def->alias) rc = put_metric(metrics, out, i, def->alias);
    }
    return rc;
}
