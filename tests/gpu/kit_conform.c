#include "kit_conform.h"

#include "base/err.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const files[CONFORM_FILES] = {"language.cu", "memory.cu", "warp.cu", "faults.cu",
                                                 "broken.cu"};

void conform_open(conform *c, const char *backend)
{
    *c = (conform){.backend = backend, .seed = kit_seed()};
    gb_mem_init(&c->mem, backend, NULL, 0);
    gb_gpu_config config = {.mem = &c->mem, .cpu_devices = 2};
    if (getenv("GB_CONFORM_DRIVER_POOL")) config.memory_pool_bytes = GB_POOL_DRIVER;
    if (gb_gpu_open(&c->gpu, &config) < 0) abort();
    for (int i = 0; i < gb_gpu_device_count(c->gpu) && !c->device; i++) {
        gb_device_info info;
        gb_device_get_info(gb_gpu_device(c->gpu, i), &info);
        if (strcmp(info.backend, backend) == 0) c->device = gb_gpu_device(c->gpu, i);
    }
    if (c->device && gb_queue_open(&c->queue, c->device) < 0) abort();
}

void conform_close(conform *c)
{
    for (int i = 0; i < CONFORM_FILES; i++) gb_module_unref(c->modules[i]);
    gb_queue_close(c->queue);
    gb_gpu_close(c->gpu);
    gb_mem_fini(&c->mem);
}

void conform_reopen(conform *c)
{
    uint64_t seed = c->seed;
    const char *backend = c->backend;
    conform_close(c);
    conform_open(c, backend);
    c->seed = seed;
    assert_non_null(c->device);
}

char *conform_source(const char *file)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/gpu/conformance/%s", GB_SOURCE_DIR, file);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    char *text = calloc(1, 65536);
    size_t size = fread(text, 1, 65535, in);
    fclose(in);
    assert_true(size > 0);
    return text;
}

int conform_compile(conform *c, const char *name, const char *source, const char *const *options,
                    const char *const *instances, gb_module **out, char *text, size_t room)
{
    gb_module_spec spec = {.name = name,
                           .source = source,
                           .source_bytes = strlen(source),
                           .options = options,
                           .instances = instances};
    kit_op op;
    kit_op_init(&op);
    int rc = gb_module_open(out, c->device, &spec, &op.op);
    if (rc == GB_OP_PENDING) rc = kit_op_wait(&op);
    if (text) snprintf(text, room, "%s", op.op.detail ? op.op.detail : "");
    kit_op_fini(&op);
    return rc < 0 ? rc : 0;
}

gb_module *conform_module(conform *c, const char *file)
{
    for (int i = 0; i < CONFORM_FILES; i++) {
        if (strcmp(files[i], file) != 0) continue;
        if (c->modules[i]) return c->modules[i];
        static const char *const instances[] = {"scaled<double, 3>", NULL};
        char text[4096], *source = conform_source(file);
        gb_module *module = NULL;
        int rc = conform_compile(c, file, source, NULL, i == 0 ? instances : NULL, &module, text,
                                 sizeof text);
        free(source);
        if (rc < 0) {
            gb_module_unref(module);
            fail_msg("%s: %s: %s", file, gb_err_name(rc), text);
        }
        c->modules[i] = module;
        return module;
    }
    fail_msg("no such file: %s", file);
    return NULL;
}

gb_kernel *conform_kernel(conform *c, const char *file, const char *name)
{
    gb_kernel *kernel = gb_module_kernel(conform_module(c, file), name);
    if (!kernel) fail_msg("%s", gb_err_detail());
    return kernel;
}

gb_buffer *conform_buffer(conform *c, const void *bytes, size_t size)
{
    gb_buffer *buffer = NULL;
    assert_int_equal(gb_buffer_open(&buffer, c->device, size, GB_BUFFER_DEVICE), 0);
    unsigned char poison = 0xee;
    int rc = bytes ? gb_queue_upload(c->queue, buffer, 0, bytes, size)
                   : gb_queue_fill(c->queue, buffer, 0, &poison, 1, size);
    assert_int_equal(rc, 0);
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
    return buffer;
}

void conform_read(conform *c, gb_buffer *buffer, void *out, size_t size)
{
    char text[1024];
    memset(out, 0xdd, size);
    assert_int_equal(gb_queue_download(c->queue, out, buffer, 0, size), 0);
    int rc = kit_finish(c->queue, text, sizeof text);
    if (rc < 0) fail_msg("%s: %s", gb_err_name(rc), text);
}

/* ---- map cases ---- */

static size_t size_of(conform_type type)
{
    return type == CONFORM_DOUBLE ? 8 : 4;
}

static double read_value(const void *values, conform_type type, int i)
{
    if (type == CONFORM_FLOAT) return ((const float *)values)[i];
    if (type == CONFORM_DOUBLE) return ((const double *)values)[i];
    return ((const uint32_t *)values)[i];
}

static void make_input(conform *c, const conform_map *map, void *raw, double *values)
{
    for (int i = 0; i < map->n; i++) {
        double v = kit_uniform(&c->seed) * 2;
        if (map->type == CONFORM_FLOAT) ((float *)raw)[i] = (float)v;
        if (map->type == CONFORM_DOUBLE) ((double *)raw)[i] = v;
        if (map->type == CONFORM_UINT) ((uint32_t *)raw)[i] = (uint32_t)kit_random(&c->seed);
        values[i] = read_value(raw, map->type, i);
    }
}

static void check_output(const conform_map *map, const void *got, const double *values)
{
    for (int i = 0; i < map->n; i++) {
        double is = read_value(got, map->type, i), want = map->want(values, i, map->n);
        if (map->type == CONFORM_UINT) want = (uint32_t)(int64_t)want; /* sums wrap */
        if (fabs(is - want) <= map->tolerance * (1 + fabs(want))) continue;
        fail_msg("%s: y[%d] is %.9g, not %.9g", map->name, i, is, want);
    }
}

void conform_run_map(conform *c, const conform_map *map)
{
    gb_kernel *kernel = conform_kernel(c, map->file, map->name);
    size_t bytes = (size_t)map->n * size_of(map->type);
    void *raw = malloc(bytes);
    double *values = malloc((size_t)map->n * sizeof *values);
    for (int round = 0; round < 3; round++) { /* the later ones may run on this thread */
        make_input(c, map, raw, values);
        gb_buffer *x = conform_buffer(c, raw, bytes), *y = conform_buffer(c, NULL, bytes);
        int n = map->n;
        gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(y), KIT_VALUE(n)};
        gb_launch launch = {
            .grid = map->grid, .block = map->block, .shared_bytes = map->shared_bytes};
        int rc = gb_queue_launch(c->queue, kernel, &launch, args, 3);
        if (rc < 0) fail_msg("%s: %s", map->name, gb_err_detail());
        conform_read(c, y, raw, bytes);
        check_output(map, raw, values);
        gb_buffer_unref(x);
        gb_buffer_unref(y);
    }
    free(raw);
    free(values);
}
