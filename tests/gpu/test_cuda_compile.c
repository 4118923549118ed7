/* Sources through the real NVRTC, as the cuda backend compiles them: signatures, messages, the
 * image cache. No GPU is needed: what is shown is that images are made and say what they hold, not
 * that they run. Skipped where there is no NVRTC. */
#include "gpu/cuda_compile.h"
#include "kit_compile.h"

#include "base/err.h"
#include "folder.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    gb_nvrtc_api nvrtc;
    gb_mem mem;
    gbi_cuda_image image;
    char folder[FOLDER_BYTES];
    bool there;
} kit;

static int setup(void **state)
{
    (void)state;
    kit.there = gbi_nvrtc_load(&kit.nvrtc) == 0;
    if (!kit.there) print_message("not run: %s\n", gb_err_detail());
    gb_mem_init(&kit.mem, "test", NULL, 0);
    return folder_make(kit.folder, "cuda") ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(kit.folder);
    return 0;
}

static gb_module_spec spec_of(const char *source)
{
    return (gb_module_spec){.name = "t.cu", .source = source, .source_bytes = strlen(source)};
}

static int compile(const gb_module_spec *spec, const char *arch)
{
    gbi_cuda_image_init(&kit.image, &kit.mem);
    return gbi_cuda_compile(&kit.image, &kit.nvrtc, kit.folder, spec, arch);
}

static void done(void)
{
    gbi_cuda_image_fini(&kit.image);
}

static const gbi_cuda_name *name(const char *shown)
{
    for (int i = 0; i < kit.image.names.count; i++)
        if (!kit.image.names.at[i].dropped && strcmp(kit.image.names.at[i].shown, shown) == 0)
            return &kit.image.names.at[i];
    return NULL;
}

/* The row of a kernel's parameter, a global (index 0) or a struct's field. */
static gbi_cuda_row row(const char *shown, int kind, int index)
{
    gb_buf rows;
    gbi_cuda_row found = {.kind = -1};
    const gbi_cuda_name *of = name(shown);
    assert_non_null(of);
    gb_buf_init(&rows, &kit.mem);
    int count = gbi_cuda_rows(kit.image.bytes.data, kit.image.bytes.size, &rows);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        const gbi_cuda_row *at = (const gbi_cuda_row *)rows.data + i;
        if (at->kind == kind && at->sub == index && &kit.image.names.at[at->id] == of) found = *at;
    }
    gb_buf_fini(&rows);
    assert_int_equal(found.kind, kind);
    return found;
}

static void check_type(const gbi_cuda_row *is, const char *type, int code, int lanes, bool pointer,
                       bool is_const, unsigned size, unsigned element)
{
    char text[sizeof is->type];
    gbi_cuda_row_type(is, text);
    assert_string_equal(text, type);
    assert_int_equal(is->code, code);
    assert_int_equal(is->lanes, lanes);
    assert_int_equal(is->pointer, pointer);
    assert_int_equal(is->is_const, is_const);
    assert_int_equal(is->size, size);
    assert_int_equal(is->element, element);
}

static const char many[] =
    "#include <stdint.h>\n"
    "#include <stddef.h>\n"
    "#define ARGS float *a, int n\n"
    "typedef const double *input;\n"
    "struct Body { float x; double m[3]; int *p; };\n"
    "static_assert(offsetof(Body, m) == 8, \"\");\n"
    "__constant__ float table[16];\n"
    "namespace ns { __device__ Body one; enum Kind { A, B };\n"
    "namespace { __global__ void hidden(Body *b, Kind k) { b[0].x = k; } }\n"
    "__global__ void k(const float *__restrict__ x, float4 *y, Body b, unsigned char c)\n"
    "{ y[c].x = x[0] + b.x + table[2] + one.x; } }\n"
    "extern \"C\" __global__ void plain(ARGS) { a[n] = 1; }\n"
    "__global__ void ov(int *p, input q) { *p = (int)*q; }\n"
    "__global__ void ov(float *p) { *p = 1; }\n"
    "template <typename T, int N> __global__ void scaled(T *p, uint64_t n) { *p = N; }\n"
    "#define MADE(name) extern \"C\" __global__ void made_##name(double *q, int n)\n"
    "MADE(one) { q[n] = 1; }\n"
    "#if defined(NOT_DEFINED)\n"
    "__global__ void absent(int *p) { *p = 1; }\n"
    "#else\n"
    "__global__ void present(int *p = nullptr) { asm(\"\"); *p = 1; }\n"
    "#endif\n";

static void signatures(void **state)
{
    (void)state;
    static const char *const instances[] = {"scaled<double, 3>", NULL};
    static const char *const archs[] = {"sm_90", "sm_91"}; /* a cubin, PTX */
    if (!kit.there) skip();
    gb_module_spec spec = spec_of(many);
    spec.instances = instances;
    for (int i = 0; i < 2; i++) {
        int rc = compile(&spec, archs[i]);
        if (rc < 0) fail_msg("%s", gb_err_detail());
        gbi_cuda_row r = row("ns::k", GBI_ROW_PARAM, 0);
        check_type(&r, "float", GB_TYPE_FLOAT, 1, true, true, 8, 4);
        r = row("ns::k", GBI_ROW_PARAM, 1);
        check_type(&r, "float4", GB_TYPE_FLOAT, 4, true, false, 8, 16);
        r = row("ns::k", GBI_ROW_PARAM, 2);
        check_type(&r, "Body", GB_TYPE_STRUCT, 1, false, false, 40, 0);
        r = row("ns::k", GBI_ROW_PARAM, 3);
        check_type(&r, "unsigned char", GB_TYPE_UINT8, 1, false, false, 1, 0);
        r = row("ns::hidden", GBI_ROW_PARAM, 1);
        check_type(&r, "ns::Kind", GB_TYPE_INT32, 1, false, false, 4, 0);
        r = row("plain", GBI_ROW_PARAM, 1);
        check_type(&r, "int", GB_TYPE_INT32, 1, false, false, 4, 0);
        r = row("table", GBI_ROW_GLOBAL, 0);
        check_type(&r, "float", GB_TYPE_FLOAT, 1, false, false, 4, 0);
        assert_int_equal(r.count, 16);
        r = row("scaled<double, 3>", GBI_ROW_PARAM, 0);
        check_type(&r, "double", GB_TYPE_DOUBLE, 1, true, false, 8, 8);
        r = row("Body", GBI_ROW_FIELD, 1);
        check_type(&r, "double", GB_TYPE_DOUBLE, 1, false, false, 8, 0);
        assert_int_equal(r.offset, 8);
        assert_int_equal(r.count, 3);
        assert_string_equal(name("ns::k")->parts[1], "y");
        assert_string_equal(name("plain")->parts[0], "arg1"); /* the macro hid the names */
        assert_string_equal(name("plain")->lowered, "plain");
        assert_string_equal(name("ns::k")->lowered, "_ZN2ns1kEPKfP6float44Bodyh");
        r = row("made_one", GBI_ROW_PARAM, 0); /* seen in the image only */
        check_type(&r, "double", GB_TYPE_DOUBLE, 1, true, false, 8, 8);
        assert_string_equal(name("made_one")->parts[1], "arg2");
        assert_null(name("absent"));
        assert_non_null(name("present"));
        done();
    }
}

static void messages(void **state)
{
    (void)state;
    if (!kit.there) skip();
    gb_module_spec spec = spec_of("__global__ void k(float *x)\n{\n    x[0] = missing;\n}\n");
    assert_int_equal(compile(&spec, "sm_90"), GB_ECOMPILE);
    const char *log = gb_buf_text(&kit.image.log);
    assert_non_null(strstr(log, "t.cu:3: error: identifier \"missing\" is undefined"));
    assert_non_null(strstr(log, "    x[0] = missing;"));
    assert_null(strstr(log, "gpubridge"));
    done();
    static const char *const instances[] = {"none<int>", NULL};
    spec = spec_of("__global__ void k(float *x) { x[0] = 1; }\n");
    spec.instances = instances;
    assert_int_equal(compile(&spec, "sm_90"), GB_ECOMPILE);
    assert_non_null(strstr(gb_err_detail(), "the instance 'none<int>' names no template kernel"));
    done();
    spec.instances = NULL;
    assert_int_equal(compile(&spec, "sm_30"), GB_ECOMPILE);
    assert_non_null(strstr(gb_err_detail(), "does not compile for sm_30"));
    done();
    static const char *const options[] = {"-Xptxas=-O0", NULL};
    spec.options = options;
    assert_int_equal(compile(&spec, "sm_90"), GB_EINVAL);
    done();
}

static bool cached(const gb_module_spec *spec, const char *arch)
{
    int rc = compile(spec, arch);
    if (rc < 0) fail_msg("%s", gb_err_detail());
    bool is = kit.image.cached;
    assert_non_null(name("k"));
    assert_string_equal(name("k")->parts[0], "x");
    gbi_cuda_row r = row("k", GBI_ROW_PARAM, 0);
    assert_int_equal(r.code, GB_TYPE_FLOAT);
    done();
    return is;
}

static void cache(void **state)
{
    (void)state;
    if (!kit.there) skip();
    static const char *const options[] = {"-DX=1", NULL};
    gb_module_spec spec = spec_of("__global__ void k(float *x) { x[1] = 2; }\n");
    assert_false(cached(&spec, "sm_90"));
    assert_true(cached(&spec, "sm_90"));
    assert_false(cached(&spec, "sm_80")); /* another architecture */
    assert_false(cached(&spec, "sm_91")); /* PTX */
    assert_true(cached(&spec, "sm_91"));
    spec.options = options;
    assert_false(cached(&spec, "sm_90"));
    assert_true(cached(&spec, "sm_90"));
    spec = spec_of("__global__ void k(float *x) { x[1] = 3; }\n");
    assert_false(cached(&spec, "sm_90"));
}

/* ---- every source of the tree for every architecture; long: only as `test_gpu_cuda_compile all`
 * ---- */

static int compile_file(const char *folder, const char *file, const int *archs, int count)
{
    char path[512], arch[32], include[400];
    snprintf(path, sizeof path, "%s/%s/%s", GB_SOURCE_DIR, folder, file);
    snprintf(include, sizeof include, "%s/%s", GB_SOURCE_DIR, folder);
    char *text = kit_read_file(path);
    assert_non_null(text);
    const char *const includes[] = {include, NULL};
    gb_module_spec spec = {.name = file, .source = text, .source_bytes = strlen(text)};
    spec.includes = includes;
    for (int i = 0; i < count; i++) {
        snprintf(arch, sizeof arch, "sm_%d", archs[i]);
        int rc = compile(&spec, arch);
        if (rc < 0) fail_msg("%s for %s: %s", path, arch, gb_err_detail());
        assert_true(memcmp(kit.image.bytes.data, "\177ELF", 4) == 0);
        gb_buf rows;
        gb_buf_init(&rows, &kit.mem);
        int found = gbi_cuda_rows(kit.image.bytes.data, kit.image.bytes.size, &rows);
        if (found < 2) fail_msg("%s for %s: %d rows", path, arch, found);
        gb_buf_fini(&rows);
        done();
    }
    free(text);
    return 1;
}

static int compile_folder(const char *folder, const int *archs, int count)
{
    char path[512];
    int files = 0;
    snprintf(path, sizeof path, "%s/%s", GB_SOURCE_DIR, folder);
    DIR *dir = opendir(path);
    for (struct dirent *at = readdir(dir); at; at = readdir(dir)) {
        size_t size = strlen(at->d_name);
        bool source = size > 3 && strcmp(at->d_name + size - 3, ".cu") == 0;
        if (source && strcmp(at->d_name, "broken.cu") != 0)
            files += compile_file(folder, at->d_name, archs, count);
    }
    closedir(dir);
    return files;
}

/* One bit of every file in the folder. */
static void damage_all(void)
{
    char path[FOLDER_BYTES + 300];
    DIR *dir = opendir(kit.folder);
    for (struct dirent *at = readdir(dir); at; at = readdir(dir)) {
        snprintf(path, sizeof path, "%s/%s", kit.folder, at->d_name);
        FILE *file = at->d_name[0] == '.' ? NULL : fopen(path, "r+b");
        if (!file) continue;
        fseek(file, -100, SEEK_END);
        int byte = fgetc(file);
        fseek(file, -100, SEEK_END);
        fputc(byte ^ 1, file);
        fclose(file);
    }
    closedir(dir);
}

/* Images made here serve a machine without NVRTC: the architecture's own, else PTX of one before;
 * names and folders of the source do not matter, its text does. */
static void made_elsewhere(void **state)
{
    (void)state;
    if (!kit.there) skip();
    gb_module_spec spec = spec_of("extern \"C\" __global__ void f(float *x) { x[0] = 9; }\n");
    assert_int_equal(setenv("GB_IMAGES_MAKE", kit.folder, 1), 0);
    assert_int_equal(gbi_cuda_images_make(&kit.mem, kit.folder, &spec), 0);
    unsetenv("GB_IMAGES_MAKE");
    assert_int_equal(gbi_cuda_images_make(&kit.mem, kit.folder, &spec), 0); /* nothing to do */

    static const struct {
        const char *arch;
        int rc;
        bool ptx;
    } rows[] = {{"sm_80", 0, false},
                {"sm_90", 0, false},
                {"sm_86", 0, true},
                {"sm_120", 0, true},
                {"sm_75", GB_ENOENT, false}};
    setenv("GB_IMAGES", kit.folder, 1);
    spec.name = "elsewhere/other.cu";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gbi_cuda_image_init(&kit.image, &kit.mem);
        int rc = gbi_cuda_compile(&kit.image, NULL, kit.folder, &spec, rows[i].arch);
        assert_int_equal(rc, rows[i].rc);
        if (rc == 0) {
            assert_true(kit.image.cached);
            assert_non_null(name("f"));
            assert_int_equal(strstr((char *)kit.image.bytes.data, ".target") != NULL, rows[i].ptx);
        } else {
            assert_non_null(strstr(gb_err_detail(), "no image of this source for sm_75"));
        }
        done();
    }
    damage_all();
    gbi_cuda_image_init(&kit.image, &kit.mem);
    assert_int_equal(gbi_cuda_compile(&kit.image, &kit.nvrtc, kit.folder, &spec, "sm_90"),
                     GB_ECOMPILE);
    assert_non_null(strstr(gb_err_detail(), "an image of GB_IMAGES is refused: "));
    assert_non_null(strstr(gb_err_detail(), "is corrupt (checksum)"));
    done();
    spec = spec_of("extern \"C\" __global__ void f(float *x) { x[0] = 8; }\n");
    gbi_cuda_image_init(&kit.image, &kit.mem);
    assert_int_equal(gbi_cuda_compile(&kit.image, NULL, kit.folder, &spec, "sm_90"), GB_ENOENT);
    done();
    unsetenv("GB_IMAGES");
}

static void every_source(void **state)
{
    (void)state;
    int archs[64], files = 0;
    if (!kit.there) skip();
    int count = gbi_nvrtc_archs(&kit.nvrtc, archs, 64);
    static const char *const folders[] = {"tests/gpu/conformance", "tests/gpu/cases",
                                          "examples/kernels", "examples/starter/kernels"};
    for (int i = 0; i < 4; i++) files += compile_folder(folders[i], archs, count);
    print_message("%d sources for %d architectures\n", files, count);
    assert_true(files >= 10 && count >= 3);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest long_tests[] = {cmocka_unit_test(every_source)};
    if (argc > 1 && strcmp(argv[1], "all") == 0)
        return cmocka_run_group_tests(long_tests, setup, teardown);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures),
        cmocka_unit_test(messages),
        cmocka_unit_test(cache),
        cmocka_unit_test(made_elsewhere),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
