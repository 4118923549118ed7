/* gbrun kernel --arch: compiles by NVRTC, which needs no GPU, and prints what each kernel takes. */
#include "gbrun/gbrun.h"

#include "gpu/cuda_compile.h"

#include <stdlib.h>
#include <string.h>

enum { ARCHS_MAX = 64, NAME_BYTES = 512 };

/* "sm_90" of those that this NVRTC has. */
static int check_arch(const gb_nvrtc_api *nvrtc, const char *arch)
{
    int archs[ARCHS_MAX], count = gbi_nvrtc_archs(nvrtc, archs, ARCHS_MAX);
    char list[ARCHS_MAX * 8] = "", one[16];
    for (int i = 0; i < count; i++) {
        snprintf(one, sizeof one, "sm_%d", archs[i]);
        if (strcmp(one, arch) == 0) return 0;
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, " %s", one);
    }
    fprintf(stderr, "gbrun: --arch %s: NVRTC %d.%d (%s) compiles for%s\n", arch,
            nvrtc->version / 1000, nvrtc->version % 1000 / 10, nvrtc->path, list);
    return GBRUN_FAILED;
}

/* ---- signatures ---- */

static void print_signature(const gbi_cuda_names *names, int id, const gbi_cuda_row *rows,
                            int count)
{
    const gbi_cuda_name *kernel = &names->at[id];
    char type[sizeof rows->type];
    int at = 0;
    printf("%s(", kernel->shown);
    for (int i = 0; i < count; i++) {
        const gbi_cuda_row *row = &rows[i];
        if (row->kind != GBI_ROW_PARAM || row->id != id) continue;
        gbi_cuda_row_type(row, type);
        printf("%s%s%s %s%s", at ? ", " : "", row->is_const ? "const " : "", type,
               row->pointer ? "*" : "", at < kernel->part_count ? kernel->parts[at] : "");
        at++;
    }
    printf(")\n");
}

/* ---- what ptxas says ---- */

/* The number in front of a text, as in "16 bytes smem"; 0: it is not said. */
static long number_before(const char *line, const char *text)
{
    const char *at = strstr(line, text);
    if (!at) return 0;
    while (at > line && at[-1] == ' ') at--;
    while (at > line && at[-1] >= '0' && at[-1] <= '9') at--;
    return strtol(at, NULL, 10);
}

/* The lines about one kernel begin with "Compiling entry function 'NAME'". */
static void print_use(const char *log, const char *lowered)
{
    char start[NAME_BYTES];
    snprintf(start, sizeof start, "Compiling entry function '%s'", lowered);
    const char *at = strstr(log, start);
    long stack = 0, stores = 0, loads = 0;
    if (at) at = strchr(at, '\n');
    for (; at && *at; at = strchr(at + 1, '\n')) {
        char line[1024];
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
        if (strstr(line, "Compiling entry function")) break;
        if (strstr(line, "stack frame")) {
            stack = number_before(line, "bytes stack frame");
            stores = number_before(line, "bytes spill stores");
            loads = number_before(line, "bytes spill loads");
        } else if (strstr(line, "Used ")) {
            printf("  registers: %ld; shared memory: %ld bytes; spills: %ld bytes stored, %ld "
                   "loaded; stack: %ld bytes; barriers: %s\n",
                   number_before(line, "registers"), number_before(line, "bytes smem"), stores,
                   loads, stack, number_before(line, "barriers") ? "yes" : "no");
            return;
        }
    }
    printf("  registers: unknown; shared memory: unknown\n"); /* another ptxas */
}

/* Warnings: what is not ptxas's own account. */
static void print_rest(const char *log)
{
    for (const char *at = log; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        int size = (int)strcspn(at, "\n");
        if (strncmp(at, "ptxas info", 10) == 0 || memmem(at, (size_t)size, "stack frame", 11))
            continue;
        fprintf(stderr, "%.*s\n", size, at);
    }
}

static int print_image(gbrun_options *options, gbi_cuda_image *image)
{
    gb_buf bytes;
    gb_buf_init(&bytes, &options->mem);
    int count = gbi_cuda_rows(image->bytes.data, image->bytes.size, &bytes), kernels = 0;
    const char *log = gb_buf_text(&image->log);
    for (int i = 0; count >= 0 && i < image->names.count; i++) {
        const gbi_cuda_name *name = &image->names.at[i];
        if (name->kind != GBI_NAME_KERNEL || name->dropped) continue;
        print_signature(&image->names, i, (const gbi_cuda_row *)bytes.data, count);
        print_use(log, *name->lowered ? name->lowered : name->shown);
        kernels++;
    }
    if (count >= 0 && kernels == 0)
        printf("no kernels (templates need --instance 'name<types>')\n");
    gb_buf_fini(&bytes);
    if (count < 0) fprintf(stderr, "gbrun: %s\n", gb_err_detail());
    if (count >= 0) print_rest(log);
    return count < 0 ? GBRUN_FAILED : 0;
}

int gbrun_kernel_gpu(gbrun_options *options, const gb_module_spec *spec, const char *arch)
{
    gb_nvrtc_api nvrtc;
    gbi_cuda_image image;
    if (gbi_nvrtc_load(&nvrtc) < 0) {
        fprintf(stderr, "gbrun: --arch %s: %s\n", arch, gb_err_detail());
        return GBRUN_FAILED;
    }
    int code = check_arch(&nvrtc, arch);
    if (code == 0) {
        gbi_cuda_image_init(&image, &options->mem);
        image.verbose = true;
        int rc = gbi_cuda_compile(&image, &nvrtc, options->config.cache_dir, spec, arch);
        if (rc < 0) {
            fprintf(stderr, "%s%s\n", rc == GB_ECOMPILE ? "" : "gbrun: ", gb_err_detail());
            code = GBRUN_FAILED;
        } else {
            printf("%s by NVRTC %d.%d: %zu bytes of machine code\n", arch, nvrtc.version / 1000,
                   nvrtc.version % 1000 / 10, image.bytes.size);
            code = print_image(options, &image);
        }
        gbi_cuda_image_fini(&image);
    }
    gbi_nvrtc_unload(&nvrtc);
    return code;
}
