/* The language cases compile with the real NVRTC, without a toolkit's headers: with ours, passed in
 * memory. So what the cpu backend accepts in them is CUDA C++. Skipped where there is no NVRTC. */
#include "kit_compile.h"

#include "base/embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct nvrtc_program *program_t;

static struct {
    void *library;
    int (*create)(program_t *, const char *, const char *, int, const char *const *,
                  const char *const *);
    int (*compile)(program_t, int, const char *const *);
    int (*log_size)(program_t, size_t *);
    int (*log)(program_t, char *);
    int (*destroy)(program_t *);
} nvrtc;

static void *open_library(void)
{
    static const char *const names[] = {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", NULL};
    const char *named = getenv("GB_NVRTC_LIBRARY");
    void *library = named && *named ? dlopen(named, RTLD_NOW) : NULL;
    for (int i = 0; !library && names[i]; i++) library = dlopen(names[i], RTLD_NOW);
    static const char *const patterns[] = {"/usr/local/cuda*/lib/libnvrtc.so*",
                                           "/usr/local/cuda*/lib64/libnvrtc.so*", NULL};
    for (int i = 0; !library && patterns[i]; i++) {
        glob_t found;
        if (glob(patterns[i], 0, NULL, &found) == 0)
            for (size_t k = 0; !library && k < found.gl_pathc; k++)
                library = dlopen(found.gl_pathv[k], RTLD_NOW);
        globfree(&found);
    }
    return library;
}

static int setup(void **state)
{
    (void)state;
    void *library = open_library();
    if (!library) return 0;
    *(void **)&nvrtc.create = dlsym(library, "nvrtcCreateProgram");
    *(void **)&nvrtc.compile = dlsym(library, "nvrtcCompileProgram");
    *(void **)&nvrtc.log_size = dlsym(library, "nvrtcGetProgramLogSize");
    *(void **)&nvrtc.log = dlsym(library, "nvrtcGetProgramLog");
    *(void **)&nvrtc.destroy = dlsym(library, "nvrtcDestroyProgram");
    if (nvrtc.create && nvrtc.compile && nvrtc.log_size && nvrtc.log && nvrtc.destroy)
        nvrtc.library = library;
    return 0;
}

static void compile_with(const char *name, const char *text, const char *helper,
                         const char *architecture)
{
    const char *headers[64], *names[64];
    int count = 0;
    for (const gb_embedded *row = gb_embedded_headers; row->name && count < 63; row++) {
        if (strncmp(row->name, "all.", 4) != 0) continue;
        headers[count] = row->bytes;
        names[count++] = row->name + 4;
    }
    headers[count] = helper;
    names[count++] = "check.cuh";
    program_t program;
    assert_int_equal(nvrtc.create(&program, text, name, count, headers, names), 0);
    char option[64];
    snprintf(option, sizeof option, "--gpu-architecture=%s", architecture);
    const char *options[] = {option, "-std=c++17", "-default-device"};
    int rc = nvrtc.compile(program, 2, options);
    size_t size = 0;
    nvrtc.log_size(program, &size);
    char *log = calloc(1, size + 1);
    nvrtc.log(program, log);
    if (rc) print_error("%s for %s:\n%s\n", name, architecture, log);
    free(log);
    nvrtc.destroy(&program);
    assert_int_equal(rc, 0);
}

static void cases(void **state)
{
    (void)state;
    static const char *const architectures[] = {"compute_75", "compute_80", "sm_90", NULL};
    char path[512], folder[400];
    int count = 0;
    if (!nvrtc.library) skip();
    snprintf(folder, sizeof folder, "%s/tests/gpu/cases", GB_SOURCE_DIR);
    snprintf(path, sizeof path, "%s/check.cuh", folder);
    char *helper = kit_read_file(path);
    assert_non_null(helper);
    DIR *dir = opendir(folder);
    for (struct dirent *row = readdir(dir); row; row = readdir(dir)) {
        size_t size = strlen(row->d_name);
        if (size < 4 || strcmp(row->d_name + size - 3, ".cu") != 0) continue;
        snprintf(path, sizeof path, "%s/%.80s", folder, row->d_name);
        char *text = kit_read_file(path);
        for (int i = 0; architectures[i]; i++)
            compile_with(row->d_name, text, helper, architectures[i]);
        free(text);
        count++;
    }
    closedir(dir);
    free(helper);
    assert_true(count >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cases)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
