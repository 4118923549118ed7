/* gbrun kernel FILE.cu: compiles for the CPU, or for a GPU (kernel_gpu.c), and prints what the
 * kernels are. */
#include "gbrun/gbrun.h"

#include "gpu/gpu.h"
#include "gpu/image_cache.h"

#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = GBRUN_GIVEN_MAX + 1 };

typedef struct unit {
    gb_module_spec spec;
    gb_buf source;
    char folder[4096];
    const char *options[LIST_MAX], *includes[LIST_MAX], *instances[LIST_MAX];
} unit;

/* ---- what is compiled ---- */

static int read_unit(gbrun_options *options, unit *u)
{
    int option_count = 0, include_count = 0, instance_count = 0;
    gb_buf_init(&u->source, &options->mem);
    if (gb_image_file_read(options->file, &u->source) < 0) {
        fprintf(stderr, "gbrun: cannot open %s: %s\n", options->file,
                strerror(errno ? errno : ENOENT));
        return GBRUN_FAILED;
    }
    for (int i = 0; i < options->given_count; i++) {
        const char *flag = options->given[i].flag, *value = options->given[i].value;
        if (strcmp(flag, "-I") == 0)
            u->includes[include_count++] = value + 2;
        else if (strcmp(flag, "--instance") == 0)
            u->instances[instance_count++] = value;
        else if (flag[1] != '-')
            u->options[option_count++] = value;
    }
    snprintf(u->folder, sizeof u->folder, "%s", options->file);
    char *dir = dirname(u->folder);
    memmove(u->folder, dir, strlen(dir) + 1);
    u->includes[include_count] = u->folder;
    u->spec = (gb_module_spec){.name = options->file,
                               .source = gb_buf_text(&u->source),
                               .source_bytes = u->source.size,
                               .options = u->options,
                               .includes = u->includes,
                               .instances = u->instances};
    return 0;
}

/* ---- the CPU ---- */

typedef struct waiting {
    gb_op op;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    int rc;
} waiting;

static void compiled(gb_op *op, int rc)
{
    waiting *w = (waiting *)op;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    w->rc = rc;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void print_param(const gb_param *param)
{
    printf("%s%s %s%s", param->is_const ? "const " : "", param->type, param->pointer ? "*" : "",
           param->name);
}

static void print_kernel(const gb_kernel *kernel)
{
    gb_kernel_info info;
    gb_kernel_get_info(kernel, &info);
    printf("%s(", gb_kernel_name(kernel));
    for (int i = 0; i < gb_kernel_param_count(kernel); i++) {
        if (i) printf(", ");
        print_param(&gb_kernel_params(kernel)[i]);
    }
    printf(")\n  registers: %s", info.registers < 0 ? "unknown on the cpu" : "");
    if (info.registers >= 0) printf("%d", info.registers);
    printf("; shared memory: %s", info.shared_bytes < 0 ? "unknown on the cpu" : "");
    if (info.shared_bytes >= 0) printf("%d bytes", info.shared_bytes);
    printf("; barriers: %s\n", info.barriers ? "yes" : "no");
}

/* A kernel of a namespace is found by the last part of its name too: that is shown once. */
static bool is_short(const gb_module *module, int at)
{
    const char *name = gb_kernel_name(gb_module_kernel_at(module, at));
    size_t size = strlen(name);
    for (int i = 0; i < gb_module_kernel_count(module); i++) {
        const char *other = gb_kernel_name(gb_module_kernel_at(module, i));
        size_t more = strlen(other);
        if (more > size + 2 && strcmp(other + more - size, name) == 0 &&
            memcmp(other + more - size - 2, "::", 2) == 0)
            return true;
    }
    return false;
}

static void print_module(const gb_module *module)
{
    const char *log = gb_module_log(module);
    for (int i = 0; i < gb_module_kernel_count(module); i++)
        if (!is_short(module, i)) print_kernel(gb_module_kernel_at(module, i));
    if (gb_module_kernel_count(module) == 0)
        printf("no kernels (templates need --instance 'name<types>')\n");
    if (*log) fputs(log, stderr);
}

static int compile_cpu(gbrun_options *options, unit *u, gb_gpu *gpu)
{
    waiting w = {.done = false};
    gb_module *module = NULL;
    gb_device *device =
        gb_gpu_device(gpu, gb_gpu_device_count(gpu) - 1); /* the last one is a CPU */
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.changed, NULL);
    gb_op_init(&w.op, compiled);
    int rc = gb_module_open(&module, device, &u->spec, &w.op);
    if (rc == GB_OP_PENDING) {
        pthread_mutex_lock(&w.lock);
        while (!w.done) pthread_cond_wait(&w.changed, &w.lock);
        pthread_mutex_unlock(&w.lock);
        rc = w.rc;
    }
    if (rc < 0)
        fprintf(stderr, "%s%s\n", rc == GB_ECOMPILE ? "" : "gbrun: ",
                w.op.detail        ? w.op.detail
                : *gb_err_detail() ? gb_err_detail()
                                   : gb_err_text(rc));
    else
        print_module(module);
    gb_module_unref(module);
    gb_op_fini(&w.op);
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.lock);
    return rc < 0 ? GBRUN_FAILED : 0;
}

int gbrun_kernel(gbrun_options *options)
{
    const char *arch = gbrun_given(options, "--arch");
    bool cpu = !arch || gbrun_given(options, "--cpu");
    gb_gpu_config config = {.mem = &options->mem,
                            .cache_dir = options->config.cache_dir,
                            .compiler = options->config.compiler,
                            .sanitize = options->config.sanitize != 0};
    gb_gpu *gpu = NULL;
    unit *u = calloc(1, sizeof *u);
    int code = u ? read_unit(options, u) : GBRUN_FAILED;
    if (code == 0 && cpu && gb_gpu_open(&gpu, &config) < 0) {
        fprintf(stderr, "gbrun: %s\n", gb_err_detail());
        code = GBRUN_FAILED;
    }
    if (code == 0 && cpu) code = compile_cpu(options, u, gpu);
    if (code == 0 && arch) code = gbrun_kernel_gpu(options, &u->spec, arch);
    if (gpu) gb_gpu_close(gpu);
    if (u) gb_buf_fini(&u->source);
    free(u);
    return code;
}
