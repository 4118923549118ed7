/* gb_metrics_text and gb_spans_take: what happened is what is told. */
#include "kit_embed.h"

#include "telemetry/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 65536 };

/* The sum over the series of a metric whose labels have this in them; -1: there is none. */
static double sum(gb_host *host, const char *name, const char *label)
{
    static char text[TEXT_BYTES];
    int size = gb_metrics_text(host, text, sizeof text);
    assert_in_range(size, 1, TEXT_BYTES - 1);
    assert_int_equal(strlen(text), size);
    double all = -1;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        size_t head = strlen(name);
        if (strncmp(line, name, head) != 0 || line[head] != '{') continue;
        char *labels = strchr(line, '}');
        assert_non_null(labels);
        *labels = 0;
        if (label && !strstr(line, label)) continue;
        all = (all < 0 ? 0 : all) + strtod(labels + 1, NULL);
    }
    return all;
}

static const char source[] = "extern \"C\" __global__ void twice(float *x, int n)\n"
                             "{\n"
                             "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                             "    if (n < 0) x[1 << 28] = 1;\n"
                             "    if (i < n) x[i] *= 2;\n"
                             "}\n";

static void test_grains(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        gb_host *host = kit_open(workers[w], GB_DELIVER_POLL);
        double raised = sum(host, "grain_turns_raised", NULL);
        assert_true(raised == 0);
        char key[16];
        for (int i = 0; i < 10; i++) {
            snprintf(key, sizeof key, "m%d", i);
            assert_int_equal(gb_call_wait(host, "Probe", key, "get", NULL, 0, NULL), 0);
        }
        assert_true(sum(host, "gpu_grains_activated", "type=\"Probe\"") == 10);
        assert_true(sum(host, "gpu_grain_active_count", "type=\"Probe\"") == 10);
        assert_true(sum(host, "gpu_grains_deactivated", "type=\"Probe\"") == 0);
        assert_true(sum(host, "gpu_grains_activated", "$") == -1);
        assert_true(sum(host, "grain_calls", NULL) >= 10);
        assert_true(sum(host, "grain_turns", NULL) >= 10);
        assert_int_equal(gb_call_wait(host, "Probe", "m0", "raise", NULL, 0, NULL), GB_ERAISED);
        assert_true(sum(host, "grain_turns_raised", NULL) == 1);
        double failed = sum(host, "grain_calls_failed", NULL);
        assert_int_equal(gb_call_wait(host, "Probe", "m0", "nope", NULL, 0, NULL), GB_ENOMETHOD);
        assert_true(sum(host, "grain_calls_failed", NULL) > failed);
        assert_true(sum(host, "gpu_memory_total", NULL) == -1); /* no device was asked for */
        gb_close(host, 100);
    }
}

static void test_devices(void **state)
{
    gb_config config;
    kit_config(&config, 1, GB_DELIVER_POLL);
    config.tenants = "acme=3MB,beta";
    gb_host *host = kit_open_config(&config);
    gb_kernels_options options;
    gb_kernels_options_init(&options, sizeof options);
    options.source = source;
    gb_kernels *kernels;
    gb_buffer *buffer;
    float x[16] = {1};
    int n = 16;
    assert_int_equal(gb_kernels_open(&kernels, host, &options), 0);
    assert_int_equal(gb_buffer_create(&buffer, host, sizeof x, -1), 0);
    assert_int_equal(gb_buffer_upload(buffer, 0, x, sizeof x), 0);
    gb_shape shape = gb_shape_threads(16);
    gb_kernel_arg args[] = {{.buffer = buffer}, {.value = &n, .bytes = sizeof n}};
    for (int i = 0; i < 5; i++) assert_int_equal(gb_launch(kernels, "twice", &shape, args, 2), 0);
    assert_int_equal(gb_buffer_download(buffer, 0, x, 32), 0);
    assert_true(sum(host, "gpu_kernels_executed", "success=\"true\"") == 5);
    assert_true(sum(host, "gpu_kernels_executed", "success=\"false\"") == 0);
    assert_true(sum(host, "gpu_bytes_transferred", "HostToDevice") == sizeof x);
    assert_true(sum(host, "gpu_bytes_transferred", "DeviceToHost") == 32);
    assert_true(sum(host, "gpu_bytes_transferred", "DeviceToDevice") == 0);
    assert_true(sum(host, "gpu_allocations_succeeded", NULL) >= 1);
    assert_true(sum(host, "gpu_modules_compiled", "success=\"true\"") == 1);
    assert_true(sum(host, "gpu_compile_time", NULL) > 0);
    assert_true(sum(host, "gpu_memory_pinned", "device=\"0\"") == 0);
    double total = sum(host, "gpu_memory_total", "device=\"0\"");
    assert_true(total > 0);
    double used = sum(host, "gpu_memory_used", "device=\"0\"");
    gb_buffer *more;
    assert_int_equal(gb_buffer_create(&more, host, 1 << 20, 0), 0);
    assert_true(sum(host, "gpu_memory_used", "device=\"0\"") >= used + (1 << 20));
    assert_true(sum(host, "gpu_memory_pool_utilization", "device=\"0\"") > 0);
    double waste = sum(host, "gpu_memory_pool_fragmentation", "device=\"0\"");
    assert_true(waste >= 0 && waste < 1);
    assert_true(sum(host, "gpu_tenant_memory_used", "tenant=\"default\"") == sizeof x + (1 << 20));
    assert_true(sum(host, "gpu_tenant_memory_used", "tenant=\"acme\"") == 0);
    assert_true(sum(host, "gpu_tenant_memory_limit", "tenant=\"acme\"") == 3 << 20);
    assert_true(sum(host, "gpu_tenant_memory_limit", NULL) == 3 << 20); /* nobody else has one */
    assert_int_equal(gb_buffer_create(&more, host, (size_t)1 << 60, 0), GB_ENOMEM);
    assert_true(sum(host, "gpu_allocation_failures", "reason=\"memory\"") == 1);
    n = -1;
    assert_int_equal(gb_launch(kernels, "twice", &shape, args, 2), GB_ETRAP);
    assert_true(sum(host, "gpu_kernels_failed", NULL) == 1);
    assert_true(sum(host, "gpu_kernels_executed", "success=\"true\"") == 5);
    options.source = "this is no C++";
    gb_kernels *none;
    assert_int_equal(gb_kernels_open(&none, host, &options), GB_ECOMPILE);
    assert_true(sum(host, "gpu_modules_compiled", "success=\"false\"") == 1);
    gb_buffer_free(more);
    gb_buffer_free(buffer);
    gb_kernels_close(kernels);
    gb_close(host, 0);
}

static void test_text(void **state)
{
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    char little[10];
    memset(little, 'x', sizeof little);
    int whole = gb_metrics_text(host, NULL, 0);
    assert_true(whole > 100);
    assert_int_equal(gb_metrics_text(host, little, sizeof little), whole);
    assert_int_equal(strlen(little), 9);
    assert_int_equal(gb_metrics_text(host, NULL, 10), GB_EINVAL);
    assert_int_equal(gb_metrics_text(NULL, little, sizeof little), GB_EINVAL);
    gb_close(host, 0);
}

static void test_off(void **state)
{
    gb_config config;
    char text[16];
    kit_config(&config, 0, GB_DELIVER_POLL);
    config.metrics = 0;
    gb_host *host = kit_open_config(&config);
    assert_int_equal(gb_metrics_text(host, text, sizeof text), GB_EDENIED);
    assert_non_null(strstr(gb_err_detail(), "config.metrics is 0"));
    gb_close(host, 0);
    config.metrics = 1;
    config.sampling_rate = 1.5;
    assert_int_equal(gb_open(&host, &config), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "config.sampling_rate is 0 to 1, not 1.5"));
    config.sampling_rate = 0;
    config.tenants = "acme=much";
    assert_int_equal(gb_open(&host, &config), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "tenant 'acme': a size"));
}

/* The latencies of kernels are told when they are noted, and not else. */
static void test_times(void **state)
{
    for (int on = 0; on < 2; on++) {
        gb_config config;
        kit_config(&config, 1, GB_DELIVER_POLL);
        config.profiling = on;
        gb_host *host = kit_open_config(&config);
        gb_kernels_options options;
        gb_kernels_options_init(&options, sizeof options);
        options.source = source;
        gb_kernels *kernels;
        float x[16] = {1};
        int n = 16;
        assert_int_equal(gb_kernels_open(&kernels, host, &options), 0);
        gb_shape shape = gb_shape_threads(16);
        gb_kernel_arg args[] = {{.host = x, .bytes = sizeof x}, {.value = &n, .bytes = sizeof n}};
        for (int i = 0; i < 7; i++)
            assert_int_equal(gb_launch(kernels, "twice", &shape, args, 2), 0);
        const char *good = "kernel=\"twice\",device=\"0\",success=\"true\"";
        double none = on ? 7 : -1;
        assert_true(sum(host, "gpu_kernel_latency_count", good) == none);
        assert_true(sum(host, "gpu_kernel_latency_bucket", "le=\"+Inf\"") == none);
        if (on) assert_true(sum(host, "gpu_kernel_latency_sum", good) > 0);
        if (on) assert_true(sum(host, "gpu_kernel_latency_count", "success=\"false\"") == 0);
        gb_kernels_close(kernels);
        gb_close(host, 0);
    }
}

/* ---- spans ---- */

typedef struct spans {
    int count, wrong;
    double rate;
} spans;

static void on_span(const char *json, void *user)
{
    spans *all = user;
    gb_trace trace = {.flags = 0};
    const char *at = strstr(json, "\"trace\":\"");
    all->count++;
    assert_non_null(at);
    for (int i = 0; i < 16; i++) {
        unsigned byte;
        assert_int_equal(sscanf(at + 9 + 2 * i, "%2x", &byte), 1);
        trace.trace[i] = (uint8_t)byte;
    }
    all->wrong += !gb_trace_wanted(&trace, all->rate);
    assert_non_null(strstr(json, "\"name\":\"Probe.get\""));
    assert_null(strstr(json, "\"parent\"")); /* each call is a trace of its own */
}

/* The part of the traces that is wanted, by their ids; nobody is held up who is not read. */
static void test_spans(void **state)
{
    static const double rates[] = {0, 0.1, 0.5, 1};
    for (int r = 0; r < 4; r++) {
        gb_config config;
        enum { CALLS = 2000 };
        kit_config(&config, 1, GB_DELIVER_POLL);
        if (r != 1) config.sampling_rate = rates[r]; /* 0.1 is the default */
        gb_host *host = kit_open_config(&config);
        spans all = {.rate = rates[r]};
        for (int i = 0; i < CALLS; i++) {
            assert_int_equal(gb_call_wait(host, "Probe", "p", "get", NULL, 0, NULL), 0);
            if (i % 100 == 99) assert_true(gb_spans_take(host, on_span, &all) >= 0);
        }
        assert_int_equal(all.wrong, 0);
        double part = (double)all.count / CALLS; /* five standard deviations */
        double off = 5 * sqrt(rates[r] * (1 - rates[r]) / CALLS);
        if (fabs(part - rates[r]) > off) fail_msg("%g of the traces, not %g", part, rates[r]);
        for (int i = 0; i < 400; i++)
            assert_int_equal(gb_call_wait(host, "Probe", "p", "get", NULL, 0, NULL), 0);
        all.count = 0;
        int told = gb_spans_take(host, on_span, &all);
        assert_int_equal(told, all.count);
        if (r == 3) assert_int_equal(told, 256);
        gb_close(host, 0);
    }
    gb_config config;
    kit_config(&config, 1, GB_DELIVER_POLL);
    config.tracing = 0;
    gb_host *host = kit_open_config(&config);
    assert_int_equal(gb_spans_take(host, on_span, NULL), GB_EDENIED);
    assert_int_equal(gb_spans_take(host, NULL, NULL), GB_EINVAL);
    gb_close(host, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grains), cmocka_unit_test(test_devices), cmocka_unit_test(test_text),
        cmocka_unit_test(test_off),    cmocka_unit_test(test_times),   cmocka_unit_test(test_spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
