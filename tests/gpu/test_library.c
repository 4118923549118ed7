/* Every kernel of kernels/ compiles with the real NVRTC, from the headers in the library, for
 * several architectures; and the table below names every kernel there is. Skipped where there is no
 * NVRTC. That they compute the right thing is the matter of tests/lua/spec_lib_*.lua. */
#include "base/embed.h"
#include "base/err.h"
#include "base/mem.h"
#include "gpu/cuda_compile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { INSTANCES_MAX = 24 };

typedef struct {
    const char *header;
    const char *instances[INSTANCES_MAX];
} unit;

#define NUMBERS(name) "gb::" name "<float>", "gb::" name "<double>", "gb::" name "<int>"

static const unit units[] = {
    {"reduce",
     {NUMBERS("sum_tiles"), NUMBERS("dot_tiles"), NUMBERS("absolute_tiles"), NUMBERS("min_tiles"),
      NUMBERS("max_tiles"), NUMBERS("find_first"), "gb::sum_tiles<unsigned char>",
      "gb::sum_tiles<unsigned long long>"}},
    {"vector",
     {NUMBERS("add"), NUMBERS("subtract"), NUMBERS("scale"), NUMBERS("saxpy"), NUMBERS("copy"),
      "gb::multiply<float>", "gb::divide<float>", "gb::minimum<float>", "gb::maximum<short>",
      "gb::count_up<int>"}},
    {"scan",
     {"gb::scan_fold<gb::op_sum,float,double>", "gb::scan_tiles<gb::op_sum,float,double>",
      "gb::scan_fold<gb::op_max,int,int>", "gb::scan_tiles<gb::op_max,int,int>",
      "gb::scan_tiles<gb::op_sum,long long,long long>"}},
    {"sort",
     {NUMBERS("sort_count"), NUMBERS("sort_keys"), "gb::sort_pairs<float,int>",
      "gb::sort_pairs<unsigned long long,double>", "gb::sort_keys<signed char>",
      "gb::sort_places<int>"}},
    {"select",
     {"gb::select_value<float,gb::keep_element<float>,gb::test_less<float> >",
      "gb::select_value<int,gb::keep_place<int>,gb::test_not_equal<int> >",
      "gb::select_flags<double,gb::keep_element<double>,unsigned char>",
      "gb::select_move<float>"}},
    {"histogram",
     {"gb::histogram_tiles<float,float>", "gb::histogram_tiles<int,double>",
      "gb::histogram_sum<int>"}},
    {"matrix",
     {NUMBERS("matrix_product"), NUMBERS("matrix_transpose"), NUMBERS("matrix_vector")}},
    {"lu",
     {"gb::lu_panel<float>", "gb::lu_panel<double>", "gb::lu_rows<float>", "gb::lu_update<float>",
      "gb::lu_update<double>", "gb::lu_solve<double>", "gb::matrix_identity<float>"}},
    {"graph",
     {"gb::graph_check<int>", "gb::graph_check_sorted<int>", "gb::graph_check_weights<float>",
      "gb::bfs_step<int>", "gb::sssp_relax<float>", "gb::sssp_split<float>",
      "gb::graph_sources<int>", "gb::graph_rows<int>", "gb::pagerank_share<double>",
      "gb::pagerank_gather<double>", "gb::components_link<int>", "gb::components_root<int>",
      "gb::triangles_count<long long>"}},
    {"random",
     {"gb::random_uniform<float>", "gb::random_uniform<double>", "gb::random_normal<float>",
      "gb::random_normal<double>", "gb::random_whole<int>", "gb::random_whole<unsigned int>"}},
    {"image",
     {"gb::image_gray<float>", "gb::image_gray<unsigned char>", "gb::image_resize<float>",
      "gb::image_resize<unsigned char>", "gb::image_convolve<float>",
      "gb::image_sobel<unsigned char>", "gb::image_equalize<unsigned char>"}},
    {"batch",
     {"gb::batch_product<float>", "gb::batch_solve<float>", "gb::batch_solve<double>",
      "gb::batch_identity<double>"}},
};
enum { UNITS = sizeof units / sizeof *units };

static const unit *unit_of(const char *header, size_t size)
{
    for (int i = 0; i < UNITS; i++)
        if (strlen(units[i].header) == size && memcmp(units[i].header, header, size) == 0)
            return &units[i];
    return NULL;
}

static bool has_instance(const unit *of, const char *name, size_t size)
{
    for (int i = 0; of && i < INSTANCES_MAX && of->instances[i]; i++) {
        const char *bare = of->instances[i] + strlen("gb::");
        if (strncmp(bare, name, size) == 0 && bare[size] == '<') return true;
    }
    return false;
}

static void test_the_table_names_all(void **state)
{
    (void)state;
    static const char mark[] = "__global__ void ";
    int kernels = 0;
    for (const gb_embedded *file = gb_embedded_headers; file->name; file++) {
        if (strncmp(file->name, "all.gb/", 7) != 0) continue;
        const char *header = file->name + 7, *dot = strchr(header, '.');
        const unit *of = unit_of(header, (size_t)(dot - header));
        for (const char *at = strstr(file->bytes, mark); at; at = strstr(at, mark)) {
            at += sizeof mark - 1;
            size_t size = strcspn(at, "(");
            if (size == 4 && memcmp(at, "name", 4) == 0) continue; /* in a macro */
            kernels++;
            if (!has_instance(of, at, size))
                fail_msg("%s: %.*s has no instance in this test", header, (int)size, at);
        }
    }
    assert_true(kernels > 15);
}

static void compile(const gb_nvrtc_api *nvrtc, const unit *of, const char *arch, gb_mem *mem)
{
    char source[128];
    int size = snprintf(source, sizeof source, "#include \"gb/%s.cuh\"\n", of->header);
    const char *instances[INSTANCES_MAX + 1] = {NULL};
    memcpy(instances, of->instances, sizeof of->instances);
    gb_module_spec spec = {.name = of->header,
                           .source = source,
                           .source_bytes = (size_t)size,
                           .instances = instances};
    gbi_cuda_image image;
    gbi_cuda_image_init(&image, mem);
    image.verbose = true; /* not from the cache */
    int rc = gbi_cuda_compile(&image, nvrtc, GB_BINARY_DIR "/cache", &spec, arch);
    if (rc < 0) print_error("%s for %s: %s\n", of->header, arch, gb_err_detail());
    bool made = image.bytes.size > 0;
    gbi_cuda_image_fini(&image);
    assert_int_equal(rc, 0);
    assert_true(made);
}

static void test_nvrtc_compiles_all(void **state)
{
    (void)state;
    static const char *const archs[] = {"sm_80", "sm_90", NULL};
    gb_nvrtc_api nvrtc;
    if (gbi_nvrtc_load(&nvrtc) < 0) skip();
    int known[64], count = gbi_nvrtc_archs(&nvrtc, known, 64);
    char oldest[32];
    assert_true(count > 0);
    snprintf(oldest, sizeof oldest, "sm_%d", known[0] + 1); /* it has none: PTX */
    gb_mem mem;
    gb_mem_init(&mem, "library", NULL, 0);
    for (int i = 0; i < UNITS; i++) {
        compile(&nvrtc, &units[i], oldest, &mem);
        for (int k = 0; archs[k]; k++) compile(&nvrtc, &units[i], archs[k], &mem);
    }
    gb_mem_fini(&mem);
    gbi_nvrtc_unload(&nvrtc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_names_all),
        cmocka_unit_test(test_nvrtc_compiles_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
