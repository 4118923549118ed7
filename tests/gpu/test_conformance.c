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

/* A new backend adds its name here. "software" is the cuda backend over the software driver: it
 * runs when GB_CUDA_LIBRARY and GB_NVRTC_LIBRARY name that. */
static const char *const backends[] = {"cpu", "cuda", "software"};

enum { BACKENDS = sizeof backends / sizeof backends[0], TESTS_MAX = 512 };

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

/* $GB_CONFORM_ONLY: the cases whose names begin so. */
static bool wanted(const char *name)
{
    const char *only = getenv("GB_CONFORM_ONLY");
    return !only || strncmp(name, only, strlen(only)) == 0;
}

static int add(struct CMUnitTest *tests, state *states, int count, conform *c)
{
    for (const conform_map *map = conform_maps; map->name; map++)
        if (wanted(map->name)) states[count++] = (state){c, map, NULL};
    for (const conform_case *one = conform_cases; one->name; one++)
        if (wanted(one->name)) states[count++] = (state){c, NULL, one};
    return count;
}

int main(void)
{
    static struct CMUnitTest tests[TESTS_MAX];
    static state states[TESTS_MAX];
    static char names[TESTS_MAX][64];
    int count = 0;
    for (int i = 0; i < BACKENDS; i++) {
        conform_open(&contexts[i], backends[i]);
        printf("conformance %s: %s\n", backends[i],
               contexts[i].device ? "runs" : "not run, no such device");
        count = add(tests, states, count, &contexts[i]);
    }
    for (int i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "%s.%s", states[i].context->backend,
                 states[i].map ? states[i].map->name : states[i].one->name);
        tests[i] = (struct CMUnitTest){names[i], run, NULL, NULL, &states[i]};
    }
    int failed = _cmocka_run_group_tests("conformance", tests, (size_t)count, NULL, NULL);
    /* a failed case leaves open what it had */
    for (int i = 0; i < BACKENDS && failed == 0; i++) conform_close(&contexts[i]);
    return failed;
}
