/* Images of the cpu backend that were made elsewhere: found by the text of the source where there
 * is no compiler, the best level of this processor first; what is damaged is refused. */
#include "kit_compile.h"

#include "base/err.h"
#include "gpu/cpu_options.h"
#include "gpu/image_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { LEVELS = 3, OLDEST = 2 };

static const char source[] = "extern \"C\" __global__ void times(float *x, float by, int n)\n"
                             "{\n"
                             "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                             "    if (i < n) x[i] *= by;\n"
                             "}\n";

static kit_compile kit;
static char images[300];

static gb_module_spec spec_of(const char *name, const char *text)
{
    return (gb_module_spec){.name = name, .source = text, .source_bytes = strlen(text)};
}

/* The files of the folder, at most LEVELS; how many. */
static int list(char paths[LEVELS][600])
{
    int count = 0;
    DIR *dir = opendir(images);
    assert_non_null(dir);
    for (struct dirent *at; (at = readdir(dir));) {
        const char *end = strrchr(at->d_name, '.');
        if (at->d_name[0] == '.') continue;
        assert_string_equal(end, ".cpu");
        assert_true(count < LEVELS);
        snprintf(paths[count++], 600, "%s/%s", images, at->d_name);
    }
    closedir(dir);
    return count;
}

static void remove_all(void)
{
    char paths[LEVELS][600];
    for (int i = list(paths); i-- > 0;) unlink(paths[i]);
}

static void make(void)
{
    char paths[LEVELS][600];
    gb_module_spec spec = spec_of("here.cu", source);
    remove_all();
    assert_int_equal(setenv("GB_IMAGES_MAKE", images, 1), 0);
    int rc = gb_cpu_images_make(&kit.config, &spec);
    if (rc < 0) fail_msg("%s", gb_err_detail());
    assert_int_equal(gb_cpu_images_make(&kit.config, &spec), 0); /* they are there already */
    unsetenv("GB_IMAGES_MAKE");
    assert_int_equal(gb_cpu_images_make(&kit.config, &spec), 0); /* nothing to do */
    assert_int_equal(list(paths), LEVELS);
}

/* As on a machine without a compiler. NULL, with the text in kit.detail. */
static gb_cpu_object *find(const char *name, const char *text)
{
    gb_module_spec spec = spec_of(name, text);
    gb_cpu_compile_config config = kit.config;
    gb_cpu_object *object = NULL;
    config.compiler = "/nowhere/clang++";
    free(kit.detail);
    kit.detail = NULL;
    setenv("GB_IMAGES", images, 1);
    int rc = gb_cpu_compile(&config, &spec, &object, &kit.detail);
    unsetenv("GB_IMAGES");
    assert_int_equal(rc, object ? 0 : GB_ECOMPILE);
    return object;
}

static void refused(const char *text)
{
    assert_null(find("here.cu", source));
    if (!strstr(kit.detail, text)) fail_msg("'%s' is not in: %s", text, kit.detail);
}

static void age_all(char paths[LEVELS][600], int count)
{
    struct timespec times[2] = {{1, 0}, {0, UTIME_OMIT}};
    for (int i = 0; i < count; i++) assert_int_equal(utimensat(AT_FDCWD, paths[i], times, 0), 0);
}

/* The image that was read since age_all. */
static int used(char paths[LEVELS][600], int count)
{
    int found = -1;
    for (int i = 0; i < count; i++) {
        struct stat st;
        assert_int_equal(stat(paths[i], &st), 0);
        if (st.st_atime == 1) continue;
        assert_int_equal(found, -1);
        found = i;
    }
    assert_true(found >= 0);
    return found;
}

static void run(gb_cpu_object *object)
{
    float x[100], by = 3;
    int n = 100;
    float *address = x;
    for (int i = 0; i < n; i++) x[i] = (float)i;
    assert_non_null(object);
    assert_true(gb_cpu_object_cached(object));
    KIT_RUN(&kit, kit_kernel(object, "times"), KIT_SHAPE(2, 64, 0), &address, &by, &n);
    for (int i = 0; i < n; i++) assert_true(x[i] == 3 * (float)i);
    gb_cpu_object_close(object);
}

/* Each level of this processor serves, the best one first. */
static void levels(void **state)
{
    char paths[LEVELS][600];
    int count, served = 0, own = gbi_cpu_level();
    if (own < OLDEST) skip();
    make();
    for (; (count = list(paths)) > 0; served++) {
        age_all(paths, count);
        gb_cpu_object *object = find("elsewhere/other.cu", source);
        if (!object) break;
        run(object);
        assert_int_equal(unlink(paths[used(paths, count)]), 0);
    }
    assert_int_equal(served, own - OLDEST + 1);
    assert_int_equal(list(paths), GBI_CPU_LEVELS - 1 - own); /* which it could not run */
    char text[64];
    snprintf(text, sizeof text, "no image of this source for %s in GB_IMAGES",
             gbi_cpu_level_name(own));
    refused(text);
    refused("the C++ compiler '/nowhere/clang++'"); /* what is to be mended comes first */
}

static void another_source(void **state)
{
    make();
    assert_null(find("here.cu", "extern \"C\" __global__ void times(float *x) { *x = 1; }\n"));
    assert_non_null(strstr(kit.detail, "no image of this source"));
}

/* The image that is used: its path. */
static void best(char out[600])
{
    char paths[LEVELS][600];
    make();
    int count = list(paths);
    age_all(paths, count);
    run(find("here.cu", source));
    snprintf(out, 600, "%s", paths[used(paths, count)]);
}

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, at, at < 0 ? SEEK_END : SEEK_SET);
    int byte = fgetc(file);
    fseek(file, at, at < 0 ? SEEK_END : SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
}

static void damaged(void **state)
{
    char path[600], paths[LEVELS][600];
    struct stat st;
    if (gbi_cpu_level() < OLDEST) skip();
    best(path);
    flip(path, -100);
    refused("an image of GB_IMAGES is refused: ");
    refused("is corrupt (checksum)");
    flip(path, -100);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    refused("is truncated");
    assert_int_equal(truncate(path, 10), 0);
    refused("is truncated");
    best(path);
    for (int i = list(paths); i-- > 0;) /* another one under its name */
        if (strcmp(paths[i], path) != 0) assert_int_equal(rename(paths[i], path), 0);
    refused("is not what its name says");
    best(path);
    assert_int_equal(chmod(path, 0666), 0);
    refused("is another user's or open to others");
    assert_int_equal(chmod(path, 0600), 0);
    run(find("here.cu", source));
}

/* In order but no code. */
static void foreign(void **state)
{
    char path[600];
    gb_image_key key;
    if (gbi_cpu_level() < OLDEST) skip();
    best(path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 8, SEEK_SET), 0); /* behind the magic */
    assert_int_equal(fread(&key, sizeof key, 1, file), 1);
    fclose(file);
    assert_int_equal(gb_image_cache_store(images, key, "cpu", "junk", 4, "", 0), 0);
    refused("an image of GB_IMAGES is refused: the image does not load");
}

static void folder(void **state)
{
    gb_module_spec spec = spec_of("here.cu", source);
    gb_cpu_compile_config config = kit.config;
    gb_cpu_object *object = NULL;
    config.compiler = "/nowhere/clang++";
    make();
    assert_int_equal(chmod(images, 0777), 0);
    setenv("GB_IMAGES", images, 1);
    assert_int_equal(gb_cpu_compile(&config, &spec, &object, NULL), GB_EDENIED);
    assert_non_null(strstr(gb_err_detail(), "can be written by others"));
    assert_int_equal(chmod(images, 0700), 0);
    config.sanitize = true; /* such kernels are never taken from elsewhere */
    assert_int_equal(gb_cpu_compile(&config, &spec, &object, NULL), GB_ECOMPILE);
    assert_null(strstr(gb_err_detail(), "GB_IMAGES"));
    unsetenv("GB_IMAGES");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),  cmocka_unit_test(another_source), cmocka_unit_test(damaged),
        cmocka_unit_test(foreign), cmocka_unit_test(folder),
    };
    kit_compile_open(&kit);
    snprintf(images, sizeof images, "%s/images", kit.folder);
    if (mkdir(images, 0700) != 0) return 3;
    int failed = cmocka_run_group_tests_name("images", tests, NULL, NULL);
    remove_all();
    rmdir(images);
    kit_compile_close(&kit);
    return failed;
}
