/* The free cases of the conformance suite: everything that is no kernel y[i] = f(x, i). */
#include "kit_conform.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT = 4096 };

static int launch(conform *c, const char *file, const char *name, uint32_t grid, uint32_t block,
                  const gb_arg *args, int count)
{
    return kit_launch(c->queue, conform_kernel(c, file, name), grid, block, args, count);
}

/* ---- modules ---- */

static void template_instances(conform *c)
{
    double in[40], got[40];
    int n = 40;
    for (int i = 0; i < n; i++) in[i] = kit_uniform(&c->seed);
    gb_buffer *x = conform_buffer(c, in, sizeof in), *y = conform_buffer(c, NULL, sizeof in);
    gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(y), KIT_VALUE(n)};
    assert_int_equal(launch(c, "language.cu", "scaled<double, 3>", 2, 32, args, 3), 0);
    conform_read(c, y, got, sizeof got);
    for (int i = 0; i < n; i++) assert_true(got[i] == in[i] * 3);
    gb_buffer_unref(x);
    gb_buffer_unref(y);
}

static void struct_parameter(conform *c)
{
    struct {
        float gain;
        int shift[3];
        double offset;
    } s = {2.5f, {1, -2, 3}, 0.125};
    float in[64], got[64];
    int n = 64;
    for (int i = 0; i < n; i++) in[i] = (float)kit_uniform(&c->seed);
    gb_buffer *x = conform_buffer(c, in, sizeof in), *y = conform_buffer(c, NULL, sizeof in);
    gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(y), KIT_VALUE(n), KIT_VALUE(s)};
    assert_int_equal(launch(c, "language.cu", "struct_parameter", 1, 64, args, 4), 0);
    conform_read(c, y, got, sizeof got);
    for (int i = 0; i < n; i++) {
        double want = (double)in[i] * 2.5 + s.shift[i % 3] + 0.125;
        assert_true(got[i] > want - 1e-5 && got[i] < want + 1e-5);
    }
    gb_buffer_unref(x);
    gb_buffer_unref(y);
}

static void signatures(conform *c)
{
    gb_kernel *kernel = conform_kernel(c, "memory.cu", "float_atomics");
    assert_int_equal(gb_kernel_param_count(kernel), 4);
    const gb_param *params = gb_kernel_params(kernel);
    assert_string_equal(params[0].name, "x");
    assert_true(params[0].pointer && params[0].is_const && params[0].code == GB_TYPE_FLOAT);
    assert_int_equal(params[0].size, 8);
    assert_int_equal(params[0].element, 4);
    assert_true(params[2].code == GB_TYPE_DOUBLE && !params[2].is_const);
    assert_string_equal(params[3].type, "int");
    assert_int_equal(params[3].size, 4);
    gb_kernel_info info;
    gb_kernel_get_info(conform_kernel(c, "memory.cu", "transpose"), &info);
    assert_true(info.shared_bytes < 0 || info.shared_bytes >= 8 * 9 * 4);
}

static void compile_errors(conform *c)
{
    char text[TEXT], *source = conform_source("broken.cu");
    gb_module *module = NULL;
    int rc = conform_compile(c, "broken.cu", source, NULL, NULL, &module, text, sizeof text);
    assert_int_equal(rc, GB_ECOMPILE);
    if (strstr(text, "in GB_IMAGES")) { /* only what was made elsewhere runs here */
        gb_module_unref(module);
        free(source);
        skip();
    }
    assert_non_null(strstr(text, "undeclared_name"));
    assert_non_null(strstr(text, "3")); /* the line */
    assert_null(gb_module_kernel(module, "broken"));
    gb_module_unref(module);
    free(source);
}

static void equal_specs_are_one_module(conform *c)
{
    char *source = conform_source("memory.cu");
    gb_module *again = NULL, *other = NULL;
    static const char *const options[] = {"-DOTHER=1", NULL};
    assert_int_equal(conform_compile(c, "memory.cu", source, NULL, NULL, &again, NULL, 0), 0);
    assert_int_equal(conform_compile(c, "memory.cu", source, options, NULL, &other, NULL, 0), 0);
    assert_ptr_equal(again, conform_module(c, "memory.cu"));
    assert_ptr_not_equal(other, again);
    gb_module_unref(again);
    gb_module_unref(other);
    free(source);
}

/* ---- globals ---- */

static void constant_memory(conform *c)
{
    static const int fixed[4] = {2, 3, 5, 7};
    float weights[64], in[200], got[200];
    int n = 200;
    gb_buffer *global = NULL;
    gb_param type;
    for (int i = 0; i < 64; i++) weights[i] = (float)kit_uniform(&c->seed);
    for (int i = 0; i < n; i++) in[i] = (float)kit_uniform(&c->seed);
    gb_module *module = conform_module(c, "memory.cu");
    assert_int_equal(gb_module_global(module, "weights", &global, &type), 0);
    assert_int_equal(gb_buffer_bytes(global), sizeof weights);
    assert_int_equal(gb_queue_upload(c->queue, global, 0, weights, sizeof weights), 0);
    gb_buffer *x = conform_buffer(c, in, sizeof in), *y = conform_buffer(c, NULL, sizeof in);
    gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(y), KIT_VALUE(n)};
    assert_int_equal(launch(c, "memory.cu", "constant_memory", 4, 64, args, 3), 0);
    conform_read(c, y, got, sizeof got);
    for (int i = 0; i < n; i++) {
        double want = (double)in[i] * (double)weights[i % 64] + fixed[i % 4];
        assert_true(got[i] > want - 1e-5 && got[i] < want + 1e-5);
    }
    gb_buffer_unref(x);
    gb_buffer_unref(y);
}

static void device_globals(conform *c)
{
    float table[32], in[100], got[100];
    int n = 100;
    uint32_t before = 0, after = 0;
    gb_buffer *global = NULL, *visits = NULL;
    gb_module *module = conform_module(c, "memory.cu");
    for (int i = 0; i < 32; i++) table[i] = (float)i;
    for (int i = 0; i < n; i++) in[i] = (float)kit_uniform(&c->seed);
    assert_int_equal(gb_module_global(module, "table", &global, NULL), 0);
    assert_int_equal(gb_module_global(module, "visits", &visits, NULL), 0);
    assert_int_equal(gb_queue_upload(c->queue, global, 0, table, sizeof table), 0);
    conform_read(c, visits, &before, 4);
    assert_true(before >= 5);
    gb_buffer *x = conform_buffer(c, in, sizeof in), *y = conform_buffer(c, NULL, sizeof in);
    gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(y), KIT_VALUE(n)};
    assert_int_equal(launch(c, "memory.cu", "device_globals", 4, 32, args, 3), 0);
    conform_read(c, y, got, sizeof got);
    conform_read(c, visits, &after, 4);
    for (int i = 0; i < n; i++) assert_true(got[i] == in[i] + table[i % 32]);
    assert_int_equal(after - before, 100);
    gb_buffer_unref(x);
    gb_buffer_unref(y);
}

/* ---- atomics ---- */

static void atomics(conform *c)
{
    enum { N = 5000 };
    uint32_t *in = malloc(N * 4), got[14], start[14] = {0, UINT32_MAX, 0, 0, UINT32_MAX};
    uint32_t sum = 0, low = UINT32_MAX, high = 0, both = 0, all = UINT32_MAX, odd = 0;
    uint64_t wide = 0;
    int n = N;
    for (int i = 0; i < N; i++) {
        in[i] = (uint32_t)kit_random(&c->seed);
        sum += in[i];
        if (in[i] < low) low = in[i];
        if (in[i] > high) high = in[i];
        both |= in[i] & 0xff;
        all &= in[i] | 0xffff0000u;
        odd ^= in[i];
        wide += (uint64_t)in[i] << 8;
    }
    gb_buffer *x = conform_buffer(c, in, N * 4), *out = conform_buffer(c, start, sizeof start);
    gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(out), KIT_VALUE(n)};
    assert_int_equal(launch(c, "memory.cu", "atomics", (N + 127) / 128, 128, args, 3), 0);
    conform_read(c, out, got, sizeof got);
    uint64_t got_wide[2];
    memcpy(got_wide, got + 8, sizeof got_wide);
    assert_int_equal(got[0], sum);
    assert_int_equal(got[1], low);
    assert_int_equal(got[2], high);
    assert_int_equal(got[3], both);
    assert_int_equal(got[4], all);
    assert_int_equal(got[5], odd);
    assert_int_equal(got[6], 42);
    assert_int_equal(got[7], 3u * N);
    assert_true(got_wide[0] == wide);
    assert_true(got_wide[1] == (uint64_t)high << 16);
    assert_int_equal((int)got[12], -N);
    assert_int_equal(got[13], N % 7); /* atomicInc wraps after 6 */
    gb_buffer_unref(x);
    gb_buffer_unref(out);
    free(in);
}

static void float_atomics(conform *c)
{
    enum { N = 4096 };
    float *in = malloc(N * 4), got = 0, zero = 0;
    double want = 0, none = 0, wide = 0;
    int n = N;
    for (int i = 0; i < N; i++) want += (double)(in[i] = (float)kit_uniform(&c->seed));
    gb_buffer *x = conform_buffer(c, in, N * 4), *sum = conform_buffer(c, &zero, 4),
              *total = conform_buffer(c, &none, 8);
    gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(sum), KIT_BUFFER(total), KIT_VALUE(n)};
    assert_int_equal(launch(c, "memory.cu", "float_atomics", N / 128, 128, args, 4), 0);
    conform_read(c, sum, &got, 4);
    conform_read(c, total, &wide, 8);
    assert_true(got > want - 0.01 && got < want + 0.01);
    assert_true(wide > want - 1e-9 && wide < want + 1e-9);
    gb_buffer_unref(x);
    gb_buffer_unref(sum);
    gb_buffer_unref(total);
    free(in);
}

/* ---- printing and faults ---- */

static void printing(conform *c)
{
    char path[] = "/tmp/gb_print_XXXXXX", text[TEXT] = "";
    int file = mkstemp(path), from = 7;
    assert_true(file >= 0);
    unlink(path);
    fflush(stdout);
    int kept = dup(1);
    dup2(file, 1);
    gb_arg args[] = {KIT_VALUE(from)};
    int rc = launch(c, "faults.cu", "say", 2, 3, args, 1);
    int end = kit_finish(c->queue, NULL, 0);
    fflush(stdout);
    dup2(kept, 1);
    close(kept);
    assert_int_equal(rc, 0);
    assert_int_equal(end, 0);
    assert_true(pread(file, text, sizeof text - 1, 0) > 0);
    close(file);
    for (int block = 0; block < 2; block++)
        for (int t = 0; t < 3; t++) {
            char line[96];
            snprintf(line, sizeof line, "block %d thread %d says %d and 0.50 ok\n", block, t,
                     7 + t);
            if (!strstr(text, line)) fail_msg("'%s' is not in '%s'", line, text);
        }
}

/* A fault on a GPU ends its context and with it the device of this host: all that waits ends with
 * ELOST, and a new host is opened. */
static bool dies(const conform *c)
{
    return strcmp(c->backend, "cpu") != 0;
}

static void fails_with(conform *c, const char *name, uint32_t block, const gb_arg *args, int count,
                       const char *part)
{
    char text[TEXT];
    assert_int_equal(launch(c, "faults.cu", name, 1, block, args, count), 0);
    int rc = kit_finish(c->queue, text, sizeof text);
    if (rc != (dies(c) ? GB_ELOST : GB_ETRAP)) fail_msg("%s: %s", gb_err_name(rc), text);
    if (!dies(c) && !strstr(text, part)) fail_msg("'%s' is not in '%s'", part, text);
    if (!dies(c)) return;
    if (!strstr(text, name)) fail_msg("'%s' is not in '%s'", name, text);
    gb_buffer *none = NULL;
    assert_int_equal(gb_buffer_open(&none, c->device, 4, GB_BUFFER_DEVICE), GB_ELOST);
}

static void still_works(conform *c)
{
    int in[50] = {1, 2, 3}, got[50], n = 50;
    gb_buffer *data = conform_buffer(c, in, sizeof in);
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(n)};
    for (int i = 0; i < 5; i++)
        assert_int_equal(launch(c, "faults.cu", "add_one", 2, 32, args, 2), 0);
    conform_read(c, data, got, sizeof got);
    assert_int_equal(got[2], 8);
    assert_int_equal(got[49], 5);
    gb_buffer_unref(data);
}

static void asserting(conform *c)
{
    int in[8] = {0, 1, 2, 3, 4, 50, 6, 7}, limit = 10;
    gb_buffer *data = conform_buffer(c, in, sizeof in);
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(limit)};
    fails_with(c, "check", 8, args, 2, "data[threadIdx.x] < limit");
    gb_buffer_unref(data);
    if (dies(c)) conform_reopen(c);
    still_works(c);
}

static void trapping(conform *c)
{
    int when = 3;
    gb_arg args[] = {KIT_VALUE(when)};
    fails_with(c, "trap", 8, args, 1, "kernel 'trap'");
    if (dies(c)) conform_reopen(c);
    still_works(c);
}

static void wild_access(conform *c)
{
    /* the software driver's new threads put its handler of faults before that of this test */
    if (dies(c)) conform_reopen(c);
    gb_buffer *data = conform_buffer(c, NULL, 4096);
    int64_t far = -(INT64_C(1) << 40), past = 1024;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(far)};
    fails_with(c, "write_at", 1, args, 2, "kernel 'write_at'");
    args[1] = KIT_VALUE(past);
    /* a GPU's memory has no guards: just past a buffer may be another */
    if (!dies(c)) fails_with(c, "write_at", 1, args, 2, "kernel 'write_at'");
    gb_buffer_unref(data);
    if (dies(c)) conform_reopen(c);
    still_works(c);
}

/* The loop reads a flag in unified memory, so the test can end it. */
static void runaway(conform *c)
{
    char text[TEXT];
    gb_buffer *flag = NULL;
    assert_int_equal(gb_buffer_open(&flag, c->device, 4, GB_BUFFER_UNIFIED), 0);
    gb_launch shape = {.grid = {1, 1, 1}, .block = {1, 1, 1}, .bound_ns = 20000000};
    gb_arg args[] = {KIT_BUFFER(flag)};
    gb_kernel *spin = conform_kernel(c, "faults.cu", "spin");
    assert_int_equal(gb_queue_launch(c->queue, spin, &shape, args, 1), 0);
    int rc = kit_finish(c->queue, text, sizeof text);
    __atomic_store_n((int *)gb_buffer_host(flag), 1, __ATOMIC_RELEASE);
    if (rc != GB_ETIMEDOUT) fail_msg("%s: %s", gb_err_name(rc), text);
    assert_non_null(strstr(text, "spin"));
    gb_buffer_unref(flag);
    if (dies(c)) conform_reopen(c);
    still_works(c);
}

/* ---- queues, events, copies ---- */

static void asynchronous_copies(conform *c)
{
    enum { N = 1 << 20, PARTS = 8 };
    gb_buffer *pinned = NULL, *back = NULL;
    assert_int_equal(gb_buffer_open(&pinned, c->device, N * 4, GB_BUFFER_PINNED), 0);
    assert_int_equal(gb_buffer_open(&back, c->device, N * 4, GB_BUFFER_PINNED), 0);
    int *in = gb_buffer_host(pinned), *out = gb_buffer_host(back), n = N;
    for (int i = 0; i < N; i++) assert_int_equal(in[i], 0);
    for (int i = 0; i < N; i++) in[i] = (int)kit_random(&c->seed);
    gb_buffer *data = conform_buffer(c, NULL, N * 4);
    for (size_t part = 0; part < PARTS; part++) {
        size_t at = part * (N / PARTS), bytes = N / PARTS * 4;
        assert_int_equal(gb_queue_upload(c->queue, data, at * 4, in + at, bytes), 0);
    }
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(n)};
    assert_int_equal(launch(c, "faults.cu", "add_one", N / 256, 256, args, 2), 0);
    assert_int_equal(gb_queue_download(c->queue, out, data, 0, N * 4), 0);
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
    for (int i = 0; i < N; i++)
        if (out[i] != (int)((uint32_t)in[i] + 1u)) fail_msg("element %d", i);
    gb_buffer_unref(pinned);
    gb_buffer_unref(back);
    gb_buffer_unref(data);
}

static void events_between_queues(conform *c)
{
    enum { N = 1 << 18, ROUNDS = 30 };
    gb_queue *other = NULL;
    gb_event *a = NULL, *b = NULL;
    int n = N, got = 0;
    uint64_t ns = UINT64_MAX;
    assert_int_equal(gb_queue_open(&other, c->device), 0);
    assert_int_equal(gb_event_open(&a, c->device), 0);
    assert_int_equal(gb_event_open(&b, c->device), 0);
    int *zero = calloc(N, 4);
    gb_buffer *data = conform_buffer(c, zero, N * 4);
    gb_kernel *add_one = conform_kernel(c, "faults.cu", "add_one");
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(n)};
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(kit_launch(c->queue, add_one, N / 128, 128, args, 2), 0);
        assert_int_equal(gb_queue_record(c->queue, a), 0);
        assert_int_equal(gb_queue_wait_event(other, a), 0);
        assert_int_equal(kit_launch(other, add_one, N / 128, 128, args, 2), 0);
        assert_int_equal(gb_queue_record(other, b), 0);
        assert_int_equal(gb_queue_wait_event(c->queue, b), 0);
    }
    assert_int_equal(gb_queue_download(c->queue, &got, data, (N - 1) * 4, 4), 0);
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
    assert_int_equal(got, 2 * ROUNDS);
    assert_int_equal(gb_event_query(b), 1);
    assert_int_equal(gb_event_elapsed(a, b, &ns), 0);
    assert_true(ns < 10000000000u);
    gb_event_close(a);
    gb_event_close(b);
    gb_queue_close(other);
    gb_buffer_unref(data);
    free(zero);
}

static void buffers(conform *c)
{
    static const gb_buffer_kind kinds[] = {GB_BUFFER_DEVICE, GB_BUFFER_PINNED, GB_BUFFER_UNIFIED};
    static const size_t sizes[] = {0, 1, 100, 4096, 1 << 20, (5 << 20) + 3};
    for (int k = 0; k < 3; k++)
        for (int s = 0; s < 6; s++) {
            gb_buffer *buffer = NULL;
            assert_int_equal(gb_buffer_open(&buffer, c->device, sizes[s], kinds[k]), 0);
            assert_int_equal(gb_buffer_bytes(buffer), sizes[s]);
            assert_int_equal(gb_buffer_address(buffer) % 128, 0);
            assert_true((gb_buffer_host(buffer) == NULL) == (kinds[k] == GB_BUFFER_DEVICE));
            char *got = malloc(sizes[s] + 1);
            memset(got, 1, sizes[s] + 1);
            assert_int_equal(gb_queue_download(c->queue, got, buffer, 0, sizes[s]), 0);
            assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
            for (size_t i = 0; i < sizes[s]; i++) assert_int_equal(got[i], 0);
            assert_int_equal(gb_queue_upload(c->queue, buffer, 1, got, sizes[s]), GB_EINVAL);
            memset(got, 2, sizes[s]); /* dirty, for who gets this memory next */
            assert_int_equal(gb_queue_upload(c->queue, buffer, 0, got, sizes[s]), 0);
            assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
            gb_buffer_unref(buffer);
            free(got);
        }
}

static void out_of_memory(conform *c)
{
    gb_device_info before, after;
    gb_device_get_info(c->device, &before);
    gb_buffer *buffer = NULL;
    size_t asked = (size_t)before.memory_total + 1;
    assert_int_equal(gb_buffer_open(&buffer, c->device, asked, GB_BUFFER_DEVICE), GB_ENOMEM);
    assert_null(buffer);
    char number[32];
    snprintf(number, sizeof number, "%zu", asked);
    assert_non_null(strstr(gb_err_detail(), number));
    assert_non_null(strstr(gb_err_detail(), "free"));
    gb_device_get_info(c->device, &after);
    assert_true(before.memory_free == after.memory_free);
}

static void wrong_arguments(conform *c)
{
    gb_buffer *data = conform_buffer(c, NULL, 64);
    int n = 4;
    double wide = 1;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(n)};
    assert_int_equal(launch(c, "faults.cu", "add_one", 1, 4, args, 1), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "takes 2 arguments, not 1"));
    args[1] = KIT_VALUE(wide);
    assert_int_equal(launch(c, "faults.cu", "add_one", 1, 4, args, 2), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "'n'"));
    args[1] = KIT_BUFFER(data);
    assert_int_equal(launch(c, "faults.cu", "add_one", 1, 4, args, 2), GB_EINVAL);
    args[1] = KIT_VALUE(n);
    assert_int_equal(launch(c, "faults.cu", "add_one", 0, 4, args, 2), GB_EINVAL);
    assert_int_equal(launch(c, "faults.cu", "add_one", 1, 0, args, 2), GB_EINVAL);
    assert_int_equal(launch(c, "faults.cu", "add_one", 1, 4096, args, 2), GB_EINVAL);
    gb_launch shape = {.grid = {1, 1, 1}, .block = {4, 1, 1}, .shared_bytes = 1u << 30};
    gb_kernel *add_one = conform_kernel(c, "faults.cu", "add_one");
    assert_int_equal(gb_queue_launch(c->queue, add_one, &shape, args, 2), GB_EINVAL);
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
    gb_buffer_unref(data);
}

/* Needs a second device of the same backend. */
static void several_devices(conform *c)
{
    gb_device *second = NULL;
    gb_device_info info;
    for (int i = 0; i < gb_gpu_device_count(c->gpu); i++) {
        gb_device *device = gb_gpu_device(c->gpu, i);
        gb_device_get_info(device, &info);
        assert_int_equal(info.index, i);
        if (device != c->device && strcmp(info.backend, c->backend) == 0) second = device;
    }
    assert_null(gb_gpu_device(c->gpu, gb_gpu_device_count(c->gpu)));
    if (!second) skip();
    gb_queue *queue = NULL;
    gb_buffer *there = NULL;
    uint32_t in[64], got[64];
    for (int i = 0; i < 64; i++) in[i] = (uint32_t)kit_random(&c->seed);
    gb_buffer *here = conform_buffer(c, in, sizeof in);
    assert_int_equal(gb_queue_open(&queue, second), 0);
    assert_int_equal(gb_buffer_open(&there, second, sizeof in, GB_BUFFER_DEVICE), 0);
    assert_int_equal(gb_queue_copy(queue, there, 0, here, 0, sizeof in), 0);
    assert_int_equal(gb_queue_download(queue, got, there, 0, sizeof got), 0);
    assert_int_equal(kit_finish(queue, NULL, 0), 0);
    assert_memory_equal(in, got, sizeof in);
    int n = 64;
    gb_arg args[] = {KIT_BUFFER(there), KIT_VALUE(n)};
    assert_int_equal(launch(c, "faults.cu", "add_one", 1, 64, args, 2), GB_EDEVICE);
    args[0] = KIT_BUFFER(here);
    gb_kernel *add_one = conform_kernel(c, "faults.cu", "add_one");
    assert_int_equal(kit_launch(queue, add_one, 1, 64, args, 2), GB_EDEVICE);
    gb_queue_close(queue);
    gb_buffer_unref(here);
    gb_buffer_unref(there);
}

const conform_case conform_cases[] = {
    {"template_instances", template_instances},
    {"struct_parameter", struct_parameter},
    {"signatures", signatures},
    {"compile_errors", compile_errors},
    {"equal_specs_are_one_module", equal_specs_are_one_module},
    {"constant_memory", constant_memory},
    {"device_globals", device_globals},
    {"atomics", atomics},
    {"float_atomics", float_atomics},
    {"printf", printing},
    {"assert", asserting},
    {"trap", trapping},
    {"wild_access", wild_access},
    {"runaway", runaway},
    {"asynchronous_copies", asynchronous_copies},
    {"events_between_queues", events_between_queues},
    {"buffers", buffers},
    {"out_of_memory", out_of_memory},
    {"wrong_arguments", wrong_arguments},
    {"several_devices", several_devices},
    {"files", conform_files},
    {"files that are wrong", conform_files_wrong},
    {"files that change", conform_files_changing},
    {"files at once", conform_files_at_once},
    {"graphs", conform_graphs},
    {"pool_isolation", conform_pool_isolation},
    {"pool_own_memory", conform_pool_own_memory},
    {"pool_queues", conform_pool_queues},
    {"pool_unused", conform_pool_unused},
    {"pool_pressure", conform_pool_pressure},
    {"pool_quota", conform_pool_quota},
    {"pool_no_memory", conform_pool_no_memory},
    {"graph parts", conform_graph_parts},
    {"graph aliases", conform_graph_aliases},
    {"graph order", conform_graph_order},
    {"graph memory", conform_graph_memory},
    {"graph lifetimes", conform_graph_lifetimes},
    {NULL, NULL},
};
