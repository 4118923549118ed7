#include "gpu/image_cache.h"
#include "kit_compile.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

static kit_compile kit;
static const char source[] = "__device__ int total;\n"
                             "__global__ void add(int n) { total += n; }\n";

static int setup(void **state)
{
    (void)state;
    kit_compile_open(&kit);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kit_compile_close(&kit);
    return 0;
}

static gb_cpu_object *compile(const gb_module_spec *spec)
{
    gb_cpu_object *object;
    free(kit.detail);
    int rc = gb_cpu_compile(&kit.config, spec, &object, &kit.detail);
    if (rc < 0) print_error("%s\n", kit.detail);
    assert_int_equal(rc, 0);
    return object;
}

static bool was_cached(const gb_module_spec *spec)
{
    gb_cpu_object *object = compile(spec);
    bool cached = gb_cpu_object_cached(object);
    gb_cpu_object_close(object);
    return cached;
}

static gb_module_spec spec_of(const char *text)
{
    return (gb_module_spec){.name = "cache.cu", .source = text, .source_bytes = strlen(text)};
}

/* The one entry with this ending; the path is kept until the next call. */
static const char *entry(const char *ending)
{
    static char path[1024];
    DIR *dir = opendir(kit.folder);
    path[0] = 0;
    for (struct dirent *row = readdir(dir); row; row = readdir(dir)) {
        size_t size = strlen(row->d_name), tail = strlen(ending);
        if (size > tail && strcmp(row->d_name + size - tail, ending) == 0)
            snprintf(path, sizeof path, "%s/%s", kit.folder, row->d_name);
    }
    closedir(dir);
    assert_true(path[0]);
    return path;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void hit(void **state)
{
    (void)state;
    gb_module_spec spec = spec_of(source);
    double start = now_ms();
    assert_false(was_cached(&spec));
    double miss = now_ms() - start, best = 1e9;
    for (int i = 0; i < 5; i++) {
        start = now_ms();
        assert_true(was_cached(&spec));
        double ms = now_ms() - start;
        if (ms < best) best = ms;
    }
    print_message("a hit takes %.2f ms, a miss %.0f ms\n", best, miss);
    assert_true(best < miss / 4);
}

static void objects_are_apart(void **state)
{
    (void)state;
    gb_module_spec spec = spec_of(source);
    gb_cpu_object *one = compile(&spec), *two = compile(&spec);
    int n = 5;
    KIT_RUN(&kit, kit_kernel(one, "add"), KIT_SHAPE(1, 1, 0), &n);
    assert_int_equal(*(int *)kit_global(one, "total")->address, 5);
    assert_int_equal(*(int *)kit_global(two, "total")->address, 0);
    gb_cpu_object_close(one);
    gb_cpu_object *three = compile(&spec);
    assert_int_equal(*(int *)kit_global(three, "total")->address, 0);
    gb_cpu_object_close(two);
    gb_cpu_object_close(three);
}

static void key_covers(void **state)
{
    (void)state;
    gb_module_spec spec = spec_of("template <typename T> __global__ void k(T *p) {}\n");
    assert_false(was_cached(&spec));
    static const char *const options[] = {"-DX", NULL}, *const instances[] = {"k<int>", NULL};
    spec.options = options;
    assert_false(was_cached(&spec));
    spec.instances = instances;
    assert_false(was_cached(&spec));
    spec.name = "other.cu";
    assert_false(was_cached(&spec));
    assert_true(was_cached(&spec));
}

static void write_text(const char *path, const char *text)
{
    assert_int_equal(gb_image_file_write(path, text, strlen(text)), 0);
}

static void includes(void **state)
{
    (void)state;
    char folder[300], header[320], inner[320];
    snprintf(folder, sizeof folder, "%s/include", kit.folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(header, sizeof header, "%s/a.cuh", folder);
    snprintf(inner, sizeof inner, "%s/b.cuh", folder);
    write_text(header, "#include \"b.cuh\"\n");
    write_text(inner, "#define VALUE 1\n");
    const char *const folders[] = {folder, NULL};
    gb_module_spec spec =
        spec_of("#include \"a.cuh\"\n__device__ int v = VALUE;\n__global__ void k() {}\n");
    spec.includes = folders;
    assert_false(was_cached(&spec));
    assert_true(was_cached(&spec));
    write_text(inner, "#define VALUE 2\n");
    gb_cpu_object *object = compile(&spec);
    assert_false(gb_cpu_object_cached(object));
    assert_int_equal(*(int *)kit_global(object, "v")->address, 2);
    gb_cpu_object_close(object);
    /* by a macro: cannot be told by reading, so it is never cached */
    spec = spec_of("#define H \"a.cuh\"\n#include H\n__device__ int v = VALUE;\n");
    spec.includes = folders;
    assert_false(was_cached(&spec));
    assert_false(was_cached(&spec));
    /* out of the folder */
    spec = spec_of("#include \"../secret.h\"\n");
    spec.includes = folders;
    char outside[320];
    snprintf(outside, sizeof outside, "%s/secret.h", kit.folder);
    write_text(outside, "secret text;\n");
    gb_cpu_object *none;
    free(kit.detail);
    assert_int_equal(gb_cpu_compile(&kit.config, &spec, &none, &kit.detail), GB_ECOMPILE);
    assert_non_null(strstr(kit.detail, "leaves the named folders"));
    assert_null(strstr(kit.detail, "secret text"));
    unlink(outside);
}

static void damage(const char *path, int kind)
{
    FILE *file = fopen(path, "r+b");
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    if (kind == 0) assert_int_equal(ftruncate(fileno(file), size / 2), 0);
    if (kind == 1) assert_int_equal(ftruncate(fileno(file), 10), 0);
    if (kind == 2) assert_int_equal(ftruncate(fileno(file), 0), 0);
    if (kind == 3) { /* one bit in the middle */
        fseek(file, size / 2, SEEK_SET);
        int c = fgetc(file);
        fseek(file, size / 2, SEEK_SET);
        fputc(c ^ 1, file);
    }
    if (kind == 4) { /* bytes behind */
        fseek(file, 0, SEEK_END);
        fputc('x', file);
    }
    fclose(file);
    if (kind == 5) assert_int_equal(chmod(path, 0666), 0);
}

static void damaged(void **state)
{
    (void)state;
    gb_module_spec spec = spec_of(source);
    for (int kind = 0; kind < 6; kind++) {
        (void)was_cached(&spec);
        assert_true(was_cached(&spec));
        damage(entry(".cpu"), kind);
        gb_cpu_object *object = compile(&spec);
        assert_false(gb_cpu_object_cached(object));
        assert_non_null(
            strstr(gb_cpu_object_log(object), "warning: compiled again: the cache entry"));
        gb_cpu_object_close(object);
        assert_true(was_cached(&spec));
    }
    /* another module's entry under this name */
    gb_module_spec other = spec_of("__global__ void other() {}\n");
    char first[1024];
    snprintf(first, sizeof first, "%s", entry(".cpu"));
    char moved[1100];
    snprintf(moved, sizeof moved, "%s.kept", first);
    assert_int_equal(rename(first, moved), 0);
    assert_false(was_cached(&other));
    assert_int_equal(rename(entry(".cpu"), first), 0);
    unlink(moved);
    gb_cpu_object *object = compile(&spec);
    assert_false(gb_cpu_object_cached(object));
    kit_kernel(object, "add");
    gb_cpu_object_close(object);
}

static void folder_rules(void **state)
{
    (void)state;
    char path[GB_IMAGE_PATH_MAX], folder[300];
    struct stat st;
    snprintf(folder, sizeof folder, "%s/deep/er", kit.folder);
    assert_int_equal(gb_image_cache_folder(folder, path), 0);
    assert_string_equal(path, folder);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(chmod(folder, 0720), 0);
    assert_int_equal(gb_image_cache_folder(folder, path), GB_EDENIED);
    assert_non_null(strstr(gb_err_detail(), "can be written by others"));
    assert_int_equal(chmod(folder, 0777), 0);
    gb_cpu_compile_config config = kit.config;
    config.cache_dir = folder;
    gb_module_spec spec = spec_of(source);
    gb_cpu_object *object;
    free(kit.detail);
    assert_int_equal(gb_cpu_compile(&config, &spec, &object, &kit.detail), GB_EDENIED);
    assert_non_null(strstr(kit.detail, "chmod 700"));
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(gb_image_cache_folder(folder, path), 0);
    if (geteuid() == 0) { /* only root can give a folder away */
        assert_int_equal(chown(folder, 65534, 65534), 0);
        assert_int_equal(gb_image_cache_folder(folder, path), GB_EDENIED);
        assert_non_null(strstr(gb_err_detail(), "belongs to user 65534"));
    }
    rmdir(folder);
    char *home = strdup(getenv("HOME") ? getenv("HOME") : ""), *xdg = getenv("XDG_CACHE_HOME");
    xdg = xdg ? strdup(xdg) : NULL;
    setenv("XDG_CACHE_HOME", kit.folder, 1);
    assert_int_equal(gb_image_cache_folder(NULL, path), 0);
    assert_non_null(strstr(path, "/gpubridge"));
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_int_equal(gb_image_cache_folder(NULL, path), GB_ENOENT);
    assert_non_null(strstr(gb_err_detail(), "$HOME"));
    setenv("HOME", home, 1);
    if (xdg) setenv("XDG_CACHE_HOME", xdg, 1);
    free(home);
    free(xdg);
}

static void *compile_many(void *argument)
{
    gb_module_spec spec = spec_of("__global__ void shared_by_threads(int *p) { p[0] = 1; }\n");
    for (int i = 0; i < 4; i++) {
        gb_cpu_object *object;
        if (gb_cpu_compile(&kit.config, &spec, &object, NULL) < 0) return "failed";
        gb_cpu_object_close(object);
    }
    return NULL;
}

static void many_at_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    pid_t child = fork(); /* another process on the same folder */
    if (child == 0) _exit(compile_many(NULL) != NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compile_many, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    DIR *dir = opendir(kit.folder);
    for (struct dirent *row = readdir(dir); row; row = readdir(dir)) {
        assert_true(strncmp(row->d_name, "work-", 5) != 0);
        assert_true(strncmp(row->d_name, "fresh-", 6) != 0);
    }
    closedir(dir);
}

static void compilers(void **state)
{
    (void)state;
    gb_cpu_compile_config config = kit.config;
    gb_module_spec spec = spec_of("__global__ void with_compiler(int *p) { p[0] = 3; }\n");
    gb_cpu_object *object;
    config.compiler = "no-such-compiler++";
    free(kit.detail);
    assert_int_equal(gb_cpu_compile(&config, &spec, &object, &kit.detail), GB_ECOMPILE);
    assert_non_null(strstr(kit.detail, "'no-such-compiler++' (from the configuration)"));
    config.compiler = "/bin/false";
    free(kit.detail);
    assert_int_equal(gb_cpu_compile(&config, &spec, &object, &kit.detail), GB_ECOMPILE);
    assert_non_null(strstr(kit.detail, "is no C++ compiler"));
    char *path = strdup(getenv("PATH"));
    char *cxx = getenv("GB_CXX") ? strdup(getenv("GB_CXX")) : NULL;
    unsetenv("GB_CXX");
    setenv("PATH", "/nowhere", 1);
    config.compiler = NULL;
    free(kit.detail);
    int rc = gb_cpu_compile(&config, &spec, &object, &kit.detail);
    setenv("PATH", path, 1);
    if (cxx) setenv("GB_CXX", cxx, 1);
    free(cxx);
    free(path);
    assert_int_equal(rc, GB_ECOMPILE);
    assert_non_null(strstr(kit.detail, "apt install clang"));
    config.compiler = "g++";
    free(kit.detail);
    rc = gb_cpu_compile(&config, &spec, &object, &kit.detail);
    if (rc < 0 && strstr(kit.detail, "is not there")) skip();
    assert_int_equal(rc, 0);
    assert_false(gb_cpu_object_cached(object));
    assert_non_null(strstr(gb_cpu_object_log(object), "do not vectorise"));
    int v = 0, *p = &v;
    KIT_RUN(&kit, kit_kernel(object, "with_compiler"), KIT_SHAPE(1, 1, 0), &p);
    assert_int_equal(v, 3);
    gb_cpu_object_close(object);
}

static void trimmed(void **state)
{
    (void)state;
    char path[400], work[400];
    gb_image_key key = gb_image_key_of("old", 3), young = gb_image_key_of("young", 5);
    char *big = calloc(1, 100000);
    char folder[300], got[GB_IMAGE_PATH_MAX];
    snprintf(folder, sizeof folder, "%s/trim", kit.folder);
    assert_int_equal(gb_image_cache_folder(folder, got), 0);
    assert_int_equal(gb_image_cache_store(folder, key, "x", big, 100000, "n", 1), 0);
    assert_int_equal(gb_image_cache_store(folder, young, "x", big, 100000, "n", 1), 0);
    snprintf(path, sizeof path, "%s/%016llx%016llx.x", folder, (unsigned long long)key.high,
             (unsigned long long)key.low);
    struct utimbuf past = {time(NULL) - 7200, time(NULL) - 7200};
    assert_int_equal(utime(path, &past), 0);
    snprintf(work, sizeof work, "%s/work-crashed", folder);
    assert_int_equal(mkdir(work, 0700), 0);
    assert_int_equal(utime(work, &past), 0);
    gb_image_cache_trim(folder, 150000);
    gb_buf payload, note;
    gb_buf_init(&payload, &kit.mem);
    gb_buf_init(&note, &kit.mem);
    assert_int_equal(gb_image_cache_load(folder, key, "x", &payload, &note), GB_ENOENT);
    assert_int_equal(gb_image_cache_load(folder, young, "x", &payload, &note), 0);
    assert_int_equal(payload.size, 100000);
    assert_int_equal(note.size, 1);
    assert_int_equal(access(work, F_OK), -1);
    gb_buf_fini(&payload);
    gb_buf_fini(&note);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hit, setup, teardown),
        cmocka_unit_test_setup_teardown(objects_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(key_covers, setup, teardown),
        cmocka_unit_test_setup_teardown(includes, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(folder_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(compilers, setup, teardown),
        cmocka_unit_test_setup_teardown(trimmed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
