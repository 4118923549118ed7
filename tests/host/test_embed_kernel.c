/* Kernels and buffers from C. */
#include "kit_embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <string.h>

static const char source[] =
    "extern \"C\" __global__ void saxpy(float a, const float *x, float *y, int n)\n"
    "{\n"
    "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    if (i < n) y[i] = a * x[i] + y[i];\n"
    "}\n";

enum { N = 1000 };

static gb_kernels *open_kernels(gb_host *host)
{
    gb_kernels_options options;
    gb_kernels_options_init(&options, sizeof options);
    options.source = source;
    options.name = "saxpy";
    gb_kernels *kernels = NULL;
    int rc = gb_kernels_open(&kernels, host, &options);
    if (rc < 0) fail_msg("%s: %s", gb_err_name(rc), gb_err_detail());
    return kernels;
}

static void test_launch(void **state)
{
    gb_host *host = kit_open(1, GB_DELIVER_POLL);
    gb_kernels *kernels = open_kernels(host);
    float x[N], y[N], a = 2;
    for (int i = 0; i < N; i++) x[i] = (float)i, y[i] = 1;
    int n = N;
    gb_shape shape = gb_shape_threads(N);
    gb_kernel_arg args[] = {{.value = &a, .bytes = sizeof a},
                            {.host = x, .bytes = sizeof x},
                            {.host = y, .bytes = sizeof y},
                            {.value = &n, .bytes = sizeof n}};
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), 0);
    for (int i = 0; i < N; i++) assert_true(y[i] == 2 * (float)i + 1);

    gb_buffer *buffer;
    assert_int_equal(gb_buffer_create(&buffer, host, sizeof y, -1), 0);
    assert_int_equal(gb_buffer_size(buffer), sizeof y);
    assert_int_equal(gb_buffer_upload(buffer, 0, y, sizeof y), 0);
    args[2] = (gb_kernel_arg){.buffer = buffer};
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), 0);
    assert_int_equal(gb_buffer_download(buffer, 0, y, sizeof y), 0);
    for (int i = 0; i < N; i++) assert_true(y[i] == 4 * (float)i + 1);
    assert_int_equal(gb_buffer_upload(buffer, 1, y, sizeof y), GB_EINVAL);
    assert_int_equal(gb_buffer_download(buffer, sizeof y + 1, y, 0), GB_EINVAL);

    assert_int_equal(gb_launch(kernels, "saxpi", &shape, args, 4), GB_ENOENT);
    assert_non_null(strstr(gb_err_detail(), "saxpy"));
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 3), GB_EINVAL);
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, -1), GB_EINVAL);
    assert_int_equal(gb_launch(kernels, NULL, &shape, args, 4), GB_EINVAL);
    assert_int_equal(gb_launch(NULL, "saxpy", &shape, args, 4), GB_EINVAL);
    gb_kernel_arg wrong = args[0];
    args[0] = args[1]; /* a pointer where a value is */
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "'a'"));
    args[0] = wrong;
    args[0].bytes = 8;
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), GB_EINVAL);
    args[0] = (gb_kernel_arg){0};
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), GB_EINVAL);
    gb_close(host, 100); /* the handles may come later */
    assert_int_equal(gb_buffer_upload(buffer, 0, y, sizeof y), GB_ECLOSED);
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), GB_ECLOSED);
    gb_buffer_free(buffer);
    gb_kernels_close(kernels);
}

typedef struct outcome {
    int runs, rc;
    gb_kernels *kernels;
    char text[4096];
} outcome;

static void on_kernels(gb_host *host, int rc, gb_kernels *kernels, const char *message, void *user)
{
    outcome *out = user;
    out->runs++;
    out->rc = rc;
    out->kernels = kernels;
    strncpy(out->text, message, sizeof out->text - 1);
}

static void on_done(gb_host *host, int rc, const char *message, void *user)
{
    outcome *out = user;
    float none = 0;
    gb_kernel_arg arg = {.host = &none, .bytes = sizeof none};
    gb_shape shape = gb_shape_threads(1);
    out->runs++;
    out->rc = rc;
    if (out->kernels) assert_int_equal(gb_launch(out->kernels, "saxpy", &shape, &arg, 1), GB_EBUSY);
}

static void test_callbacks(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        gb_host *host = kit_open(workers[w], GB_DELIVER_POLL);
        gb_kernels_options options;
        gb_kernels_options_init(&options, sizeof options);
        options.source = source;
        outcome opened = {0}, done = {0};
        assert_int_equal(gb_kernels_start(host, &options, on_kernels, &opened), 0);
        while (!opened.runs) assert_true(gb_poll(host, 1000, 10000) >= 0);
        assert_int_equal(opened.rc, 0);
        float x[N] = {0}, y[N] = {0}, a = 2;
        int n = N;
        for (int i = 0; i < N; i++) x[i] = 1;
        gb_shape shape = gb_shape_threads(N);
        gb_kernel_arg args[] = {{.value = &a, .bytes = sizeof a},
                                {.host = x, .bytes = sizeof x},
                                {.host = y, .bytes = sizeof y},
                                {.value = &n, .bytes = sizeof n}};
        done.kernels = opened.kernels;
        assert_int_equal(gb_launch_start(opened.kernels, "saxpy", &shape, args, 4, on_done, &done),
                         0);
        while (!done.runs) assert_true(gb_poll(host, 1000, 10000) >= 0);
        assert_int_equal(done.rc, 0);
        for (int i = 0; i < N; i++) assert_true(y[i] == 2);
        /* one is owed when the host closes */
        assert_int_equal(gb_launch_start(opened.kernels, "saxpy", &shape, args, 4, on_done, &done),
                         0);
        gb_kernels_close(opened.kernels);
        done.kernels = NULL;
        outcome late = {0};
        options.source = "this is no C++";
        options.name = "broken.cu";
        assert_int_equal(gb_kernels_start(host, &options, on_kernels, &late), 0);
        gb_close(host, 0);
        assert_int_equal(late.runs, 1);
        assert_int_equal(late.rc, GB_ECOMPILE);
        assert_non_null(strstr(late.text, "broken.cu"));
    }
}

/* ---- memory of the program ---- */

typedef struct owner {
    atomic_int released;
    uint64_t address;
} owner;

static void on_release(void *user, uint64_t address)
{
    owner *own = user;
    own->address = address;
    atomic_fetch_add(&own->released, 1);
}

static uint64_t address_of(void *memory)
{
    return (uint64_t)(uintptr_t)memory;
}

static void test_wrap(void **state)
{
    gb_host *host = kit_open(1, GB_DELIVER_POLL);
    gb_kernels *kernels = open_kernels(host);
    _Alignas(16) float x[N], y[N];
    float a = 2, back[N];
    int n = N;
    for (int i = 0; i < N; i++) x[i] = (float)i, y[i] = 1;
    owner own = {0}, other = {0};
    gb_buffer *bx, *by;
    assert_int_equal(gb_buffer_wrap(&bx, host, address_of(x), sizeof x, -1, NULL, NULL), 0);
    assert_int_equal(gb_buffer_wrap(&by, host, address_of(y), sizeof y, 0, on_release, &own), 0);
    assert_int_equal(gb_buffer_size(by), sizeof y);
    gb_shape shape = gb_shape_threads(N);
    gb_kernel_arg args[] = {{.value = &a, .bytes = sizeof a},
                            {.buffer = bx},
                            {.buffer = by},
                            {.value = &n, .bytes = sizeof n}};
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), 0);
    for (int i = 0; i < N; i++) assert_true(y[i] == 2 * (float)i + 1); /* in place */
    assert_int_equal(gb_buffer_upload(by, 0, x, sizeof x), 0);
    assert_memory_equal(x, y, sizeof x);
    assert_int_equal(gb_buffer_download(by, 0, back, sizeof back), 0);
    assert_memory_equal(back, y, sizeof y);
    assert_int_equal(gb_buffer_upload(by, 4, x, sizeof x), GB_EINVAL);
    assert_int_equal(atomic_load(&own.released), 0);
    gb_buffer_free(by);
    while (!atomic_load(&own.released)) sched_yield(); /* the launch is put away, maybe */
    assert_int_equal(atomic_load(&own.released), 1);
    assert_true(own.address == address_of(y));
    gb_buffer_free(bx);
    /* what is left open is let go by gb_close, once */
    assert_int_equal(gb_buffer_wrap(&by, host, address_of(y), sizeof y, 0, on_release, &other), 0);
    gb_kernels_close(kernels);
    gb_close(host, 0);
    assert_int_equal(atomic_load(&other.released), 1);
    gb_buffer_free(by);
    assert_int_equal(atomic_load(&other.released), 1);
}

static void wait_done(gb_host *host, int rc, const char *message, void *user)
{
    outcome *out = user;
    out->runs++;
    out->rc = rc;
}

static const char slow_source[] =
    "extern \"C\" __global__ void wait_for(volatile int *flag, int *out)\n"
    "{\n"
    "    while (*flag == 0) {}\n"
    "    *out = 7;\n"
    "}\n";

/* Freed while a launch runs with it: the memory is the launch's until it has ended. */
static void test_wrap_under_launch(void **state)
{
    gb_host *host = kit_open(1, GB_DELIVER_POLL);
    gb_kernels_options options;
    gb_kernels_options_init(&options, sizeof options);
    options.source = slow_source;
    gb_kernels *kernels = NULL;
    assert_int_equal(gb_kernels_open(&kernels, host, &options), 0);
    _Alignas(16) volatile int flag[4] = {0};
    _Alignas(16) int result[4] = {0};
    owner own = {0};
    gb_buffer *bf, *br;
    uint64_t at = (uint64_t)(uintptr_t)flag;
    assert_int_equal(gb_buffer_wrap(&bf, host, at, sizeof flag, -1, NULL, NULL), 0);
    at = address_of(result);
    assert_int_equal(gb_buffer_wrap(&br, host, at, sizeof result, -1, on_release, &own), 0);
    gb_kernel_arg args[] = {{.buffer = bf}, {.buffer = br}};
    gb_shape shape = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    outcome done = {0};
    assert_int_equal(gb_launch_start(kernels, "wait_for", &shape, args, 2, wait_done, &done), 0);
    gb_buffer_free(br);
    assert_int_equal(atomic_load(&own.released), 0); /* the launch has it still */
    flag[0] = 1;
    while (!done.runs) assert_true(gb_poll(host, 1000, 10000) >= 0);
    assert_int_equal(done.rc, 0);
    assert_int_equal(result[0], 7);
    gb_kernels_close(kernels);
    gb_buffer_free(bf);
    gb_close(host, 0);
    assert_int_equal(atomic_load(&own.released), 1);
}

static void test_wrap_refusals(void **state)
{
    gb_config config;
    kit_config(&config, 0, GB_DELIVER_POLL);
    config.cpu_devices = 2;
    gb_host *host = kit_open_config(&config);
    _Alignas(16) float x[64] = {0};
    owner own = {0};
    gb_buffer *buffer = NULL;
    uint64_t at = address_of(x);
    assert_int_equal(gb_buffer_wrap(NULL, host, at, 64, -1, on_release, &own), GB_EINVAL);
    assert_int_equal(gb_buffer_wrap(&buffer, NULL, at, 64, -1, on_release, &own), GB_EINVAL);
    assert_int_equal(gb_buffer_wrap(&buffer, host, 0, 64, -1, on_release, &own), GB_EINVAL);
    assert_int_equal(gb_buffer_wrap(&buffer, host, at, 0, -1, on_release, &own), GB_EINVAL);
    assert_int_equal(gb_buffer_wrap(&buffer, host, at, SIZE_MAX, -1, on_release, &own), GB_EINVAL);
    assert_int_equal(gb_buffer_wrap(&buffer, host, at + 4, 64, -1, on_release, &own), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "aligned"));
    assert_int_equal(gb_buffer_wrap(&buffer, host, at, 64, 99, on_release, &own), GB_EDEVICE);
    /* on the second device; kernels are on the first */
    int last = 0;
    while (gb_buffer_wrap(&buffer, host, at, sizeof x, last + 1, on_release, &own) == 0) {
        gb_buffer_free(buffer);
        last++;
    }
    assert_true(last >= 1);
    assert_int_equal(gb_buffer_wrap(&buffer, host, at, sizeof x, last, on_release, &own), 0);
    gb_kernels_options options;
    gb_kernels_options_init(&options, sizeof options);
    options.source = source;
    options.device = last - 1;
    gb_kernels *kernels;
    assert_int_equal(gb_kernels_open(&kernels, host, &options), 0);
    float a = 1;
    int n = 64;
    gb_kernel_arg args[] = {{.value = &a, .bytes = sizeof a},
                            {.buffer = buffer},
                            {.buffer = buffer},
                            {.value = &n, .bytes = sizeof n}};
    gb_shape shape = gb_shape_threads(64);
    assert_int_equal(gb_launch(kernels, "saxpy", &shape, args, 4), GB_EDEVICE);
    gb_kernels_close(kernels);
    gb_buffer_free(buffer);
    gb_close(host, 0);
    assert_int_equal(atomic_load(&own.released), last + 1);
}

static void test_refusals(void **state)
{
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    gb_kernels_options options;
    gb_kernels_options_init(&options, sizeof options);
    gb_kernels *kernels;
    gb_buffer *buffer;
    gb_semaphore *semaphore;
    assert_int_equal(gb_kernels_open(&kernels, host, &options), GB_EINVAL); /* no source */
    options.file = "no/such/file.cu";
    assert_int_equal(gb_kernels_open(&kernels, host, &options), GB_ENOENT);
    options.source = source;
    assert_int_equal(gb_kernels_open(&kernels, host, &options), GB_EINVAL); /* both */
    options.file = NULL;
    options.device = 99;
    assert_int_equal(gb_kernels_open(&kernels, host, &options), GB_EDEVICE);
    assert_int_equal(gb_kernels_open(NULL, host, &options), GB_EINVAL);
    assert_int_equal(gb_kernels_open(&kernels, NULL, &options), GB_EINVAL);
    assert_int_equal(gb_kernels_open(&kernels, host, NULL), GB_EINVAL);
    options.size = 0;
    assert_int_equal(gb_kernels_open(&kernels, host, &options), GB_EINVAL);
    gb_kernels_options_init(&options, sizeof options);
    options.source = "this is no C++";
    assert_int_equal(gb_kernels_open(&kernels, host, &options), GB_ECOMPILE);
    assert_int_equal(gb_buffer_create(&buffer, host, 0, -1), GB_EINVAL);
    assert_int_equal(gb_buffer_create(&buffer, host, 16, 99), GB_EDEVICE);
    assert_int_equal(gb_buffer_create(&buffer, host, (size_t)1 << 62, -1), GB_ENOMEM);
    assert_int_equal(gb_buffer_import_fd(&buffer, host, 1, 16, -1), GB_ENOTYET);
    assert_non_null(strstr(gb_err_detail(), "gb_buffer_wrap"));
    assert_int_equal(gb_buffer_import_fd(&buffer, host, 1, 16, 99), GB_EDEVICE);
    assert_int_equal(gb_semaphore_import_fd(&semaphore, host, 1, -1), GB_ENOTYET);
    assert_int_equal(gb_semaphore_import_fd(&semaphore, NULL, 1, -1), GB_EINVAL);
    gb_kernels_close(NULL);
    gb_buffer_free(NULL);
    gb_close(host, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_wrap_under_launch),
        cmocka_unit_test(test_wrap_refusals),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
