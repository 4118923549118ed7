/* test_lua_lib [NAME...]: the specs of gb.lib, spec_lib_NAME.lua beside this file; none named: all.
 * ctest runs each in a program of its own: every kernel that a process has compiled stays loaded,
 * and hundreds are more than the sanitizers bear. */
#include "kit_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"vector", "sort", "matrix", "graph", "image"};

enum { NAMES = sizeof names / sizeof *names };

static void test_spec(void **name)
{
    char path[64];
    snprintf(path, sizeof path, "spec_lib_%s.lua", (const char *)*name);
    kit_run_spec(path, NULL);
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return true;
    return argc == 1;
}

int main(int argc, char **argv)
{
    int failed = 0, ran = 0;
    for (int i = 0; i < NAMES; i++) {
        if (!wanted(names[i], argc, argv)) continue;
        const struct CMUnitTest tests[] = {
            {names[i], test_spec, NULL, NULL, (void *)(uintptr_t)names[i]}};
        failed += cmocka_run_group_tests_name(names[i], tests, NULL, NULL) != 0;
        ran++;
    }
    if (argc > 1 && ran != argc - 1) {
        fprintf(stderr, "usage: %s [vector] [sort] [matrix] [graph] [image]\n", argv[0]);
        return 2;
    }
    return failed;
}
