/* One suite for all backends: every case against every backend. A backend that is not there shows
 * its cases as skipped, so the count of tests is the same everywhere. */
#include "kit_conform.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A new backend adds its name here. */
static const char *const backends[] = {"cpu", "cuda"};

enum { BACKENDS = sizeof backends / sizeof backends[0], TESTS_MAX = 256 };

static conform contexts[BACKENDS];

typedef struct state {
    conform *context;
    const conform_map *map;
    const conform_case *one;
} state;

static void run(void **argument)
{
    state *self = *argument;
    if (!self->context->device) skip();
    if (self->map)
        conform_run_map(self->context, self->map);
    else
        self->one->run(self->context);
}

static void open_context(conform *c, const char *backend)
{
    c->backend = backend;
    gb_mem_init(&c->mem, backend, NULL, 0);
    gb_gpu_config config = {.mem = &c->mem, .cpu_devices = 2};
    if (gb_gpu_open(&c->gpu, &config) < 0) abort();
    for (int i = 0; i < gb_gpu_device_count(c->gpu) && !c->device; i++) {
        gb_device_info info;
        gb_device_get_info(gb_gpu_device(c->gpu, i), &info);
        if (strcmp(info.backend, backend) == 0) c->device = gb_gpu_device(c->gpu, i);
    }
    printf("conformance %s: %s\n", backend, c->device ? "runs" : "not run, no such device");
    if (c->device && gb_queue_open(&c->queue, c->device) < 0) abort();
    c->seed = kit_seed();
}

static void close_context(conform *c)
{
    for (int i = 0; i < CONFORM_FILES; i++) gb_module_unref(c->modules[i]);
    gb_queue_close(c->queue);
    gb_gpu_close(c->gpu);
    gb_mem_fini(&c->mem);
}

static int add(struct CMUnitTest *tests, state *states, int count, conform *c)
{
    for (const conform_map *map = conform_maps; map->name; map++, count++)
        states[count] = (state){c, map, NULL};
    for (const conform_case *one = conform_cases; one->name; one++, count++)
        states[count] = (state){c, NULL, one};
    return count;
}

int main(void)
{
    static struct CMUnitTest tests[TESTS_MAX];
    static state states[TESTS_MAX];
    static char names[TESTS_MAX][64];
    int count = 0;
    for (int i = 0; i < BACKENDS; i++) {
        open_context(&contexts[i], backends[i]);
        count = add(tests, states, count, &contexts[i]);
    }
    for (int i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "%s.%s", states[i].context->backend,
                 states[i].map ? states[i].map->name : states[i].one->name);
        tests[i] = (struct CMUnitTest){names[i], run, NULL, NULL, &states[i]};
    }
    int failed = _cmocka_run_group_tests("conformance", tests, (size_t)count, NULL, NULL);
    for (int i = 0; i < BACKENDS; i++) close_context(&contexts[i]);
    return failed;
}
