#include "gpu/nvrtc.h"

#include "base/embed.h"
#include "base/err.h"
#include "gpu/cpu_options.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct nvrtc_program *program; /* nvrtcProgram */

/* The functions, with the prototypes of nvrtc.h: name, result type, parameters. */
#define NVRTC_TABLE(ROW)                                                                           \
    ROW(nvrtcVersion, int, (int *major, int *minor))                                               \
    ROW(nvrtcGetErrorString, const char *, (int rc))                                               \
    ROW(nvrtcGetNumSupportedArchs, int, (int *count))                                              \
    ROW(nvrtcGetSupportedArchs, int, (int *archs))                                                 \
    ROW(nvrtcCreateProgram, int,                                                                   \
        (program * out, const char *source, const char *name, int count, const char *const *texts, \
         const char *const *names))                                                                \
    ROW(nvrtcDestroyProgram, int, (program * gone))                                                \
    ROW(nvrtcAddNameExpression, int, (program of, const char *name))                               \
    ROW(nvrtcCompileProgram, int, (program of, int count, const char *const *options))             \
    ROW(nvrtcGetProgramLogSize, int, (program of, size_t * size))                                  \
    ROW(nvrtcGetProgramLog, int, (program of, char *log))                                          \
    ROW(nvrtcGetPTXSize, int, (program of, size_t * size))                                         \
    ROW(nvrtcGetPTX, int, (program of, char *ptx))                                                 \
    ROW(nvrtcGetCUBINSize, int, (program of, size_t * size))                                       \
    ROW(nvrtcGetCUBIN, int, (program of, char *cubin))

enum { HEADERS_MAX = 64, OPTIONS_MAX = 64, ARCHS_MAX = 64, PATH_BYTES = 4096 };

struct gb_nvrtc {
    void *library;
    char path[PATH_BYTES], version[32];
#define MEMBER(name, type, parameters) type(*name) parameters;
    NVRTC_TABLE(MEMBER)
#undef MEMBER
};

/* ---- loading ---- */

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define FUNCTION(name, type, parameters) {#name, offsetof(gb_nvrtc, name)},
    NVRTC_TABLE(FUNCTION)
#undef FUNCTION
};

static bool load_from(gb_nvrtc *nvrtc, const char *path)
{
    nvrtc->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!nvrtc->library) return false;
    snprintf(nvrtc->path, sizeof nvrtc->path, "%s", path);
    return true;
}

static bool load_globbed(gb_nvrtc *nvrtc, const char *pattern)
{
    glob_t found = {0};
    bool loaded = false;
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = found.gl_pathc; i-- > 0 && !loaded;)
            loaded = load_from(nvrtc, found.gl_pathv[i]);
    globfree(&found);
    return loaded;
}

static int load(gb_nvrtc *nvrtc)
{
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", NULL};
    static const char *const patterns[] = {"/usr/local/cuda*/lib*/libnvrtc.so*",
                                           "/usr/local/cuda*/targets/*/lib/libnvrtc.so*",
                                           "/opt/cuda/lib*/libnvrtc.so*", NULL};
    const char *asked = getenv("GB_NVRTC_LIBRARY");
    if (asked && *asked) {
        if (load_from(nvrtc, asked)) return 0;
        return gb_err_set(GB_ENOENT, "NVRTC: $GB_NVRTC_LIBRARY: %s", dlerror());
    }
    for (int i = 0; names[i]; i++)
        if (load_from(nvrtc, names[i])) return 0;
    for (int i = 0; patterns[i]; i++)
        if (load_globbed(nvrtc, patterns[i])) return 0;
    return gb_err_set(
        GB_ENOENT,
        "NVRTC is not there: neither in the loader's path nor in a toolkit's folder; name "
        "libnvrtc.so in GB_NVRTC_LIBRARY");
}

int gb_nvrtc_open(gb_nvrtc **out)
{
    gb_nvrtc *nvrtc = calloc(1, sizeof *nvrtc);
    if (!nvrtc) return gb_err_set(GB_ENOMEM, "out of memory: NVRTC");
    int rc = load(nvrtc);
    for (size_t i = 0; rc == 0 && i < sizeof functions / sizeof *functions; i++) {
        void *symbol = dlsym(nvrtc->library, functions[i].name);
        if (!symbol) rc = gb_err_set(GB_ENOENT, "%s has no %s", nvrtc->path, functions[i].name);
        memcpy((char *)nvrtc + functions[i].offset, &symbol, sizeof symbol);
    }
    int major = 0, minor = 0;
    if (rc == 0 && nvrtc->nvrtcVersion(&major, &minor) != 0)
        rc = gb_err_set(GB_ENOENT, "%s does not work", nvrtc->path);
    if (rc < 0) {
        gb_nvrtc_close(nvrtc);
        return rc;
    }
    snprintf(nvrtc->version, sizeof nvrtc->version, "%d.%d", major, minor);
    *out = nvrtc;
    return 0;
}

void gb_nvrtc_close(gb_nvrtc *nvrtc)
{
    free(nvrtc); /* the library stays: what its own C++ runtime holds would be lost with it */
}

const char *gb_nvrtc_version(const gb_nvrtc *nvrtc)
{
    return nvrtc->version;
}

const char *gb_nvrtc_path(const gb_nvrtc *nvrtc)
{
    return nvrtc->path;
}

int gb_nvrtc_archs(const gb_nvrtc *nvrtc, int *out, int room)
{
    int archs[ARCHS_MAX], count = 0;
    if (nvrtc->nvrtcGetNumSupportedArchs(&count) != 0 || count > ARCHS_MAX) return 0;
    if (nvrtc->nvrtcGetSupportedArchs(archs) != 0) return 0;
    if (count > room) count = room;
    memcpy(out, archs, (size_t)count * sizeof *out);
    return count;
}

/* ---- compiling ---- */

typedef struct work {
    gb_nvrtc *nvrtc;
    program program;
    const char *options[OPTIONS_MAX];
    int option_count;
    char arch[64], includes[16][PATH_BYTES];
    bool cubin;
} work;

static int check_arch(work *w, const char *arch)
{
    int archs[ARCHS_MAX], count = gb_nvrtc_archs(w->nvrtc, archs, ARCHS_MAX);
    char *end;
    w->cubin = strncmp(arch, "sm_", 3) == 0;
    const char *digits = w->cubin ? arch + 3 : strncmp(arch, "compute_", 8) == 0 ? arch + 8 : "";
    long number = strtol(digits, &end, 10);
    for (int i = 0; i < count && end != digits; i++)
        if (archs[i] == number) {
            snprintf(w->arch, sizeof w->arch, "--gpu-architecture=%s", arch);
            return 0;
        }
    char list[512] = "";
    for (int i = 0; i < count; i++) {
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, " sm_%d", archs[i]);
    }
    return gb_err_set(GB_EINVAL, "NVRTC %s does not compile for '%s'; it has%s", w->nvrtc->version,
                      arch, list);
}

static void add_options(work *w, const gb_module_spec *spec)
{
    w->options[w->option_count++] = w->arch;
    w->options[w->option_count++] = gbi_options_standard(spec);
    w->options[w->option_count++] =
        "--ptxas-options=-v"; /* registers and memory of each kernel, in the log */
    for (int i = 0; spec->options && spec->options[i] && w->option_count < OPTIONS_MAX - 20; i++)
        if (!strstr(spec->options[i], "-std=")) w->options[w->option_count++] = spec->options[i];
    for (int i = 0; spec->includes && spec->includes[i] && i < 16; i++) {
        snprintf(w->includes[i], PATH_BYTES, "--include-path=%s", spec->includes[i]);
        w->options[w->option_count++] = w->includes[i];
    }
}

static int create(work *w, const gb_module_spec *spec)
{
    const char *names[HEADERS_MAX], *texts[HEADERS_MAX];
    int count = 0;
    for (const gb_embedded *file = gb_embedded_headers; file->name && count < HEADERS_MAX; file++) {
        if (strncmp(file->name, "all.", 4) != 0) continue;
        names[count] = file->name + 4;
        texts[count++] = file->bytes;
    }
    int rc = w->nvrtc->nvrtcCreateProgram(
        &w->program, spec->source, spec->name ? spec->name : "kernel.cu", count, texts, names);
    for (int i = 0; rc == 0 && spec->instances && spec->instances[i]; i++)
        rc = w->nvrtc->nvrtcAddNameExpression(w->program, spec->instances[i]);
    return rc == 0 ? 0 : gb_err_set(GB_ECOMPILE, "NVRTC: %s", w->nvrtc->nvrtcGetErrorString(rc));
}

/* What a pair of size and get functions has, behind what is in the buffer. */
static int take(work *w, gb_buf *out, int (*size_of)(program, size_t *),
                int (*get)(program, char *))
{
    size_t size = 0;
    if (size_of(w->program, &size) != 0 || size == 0) return 0;
    if (gb_buf_reserve(out, size) < 0) return GB_ENOMEM;
    if (get(w->program, (char *)out->data + out->size) == 0) out->size += size;
    return 0;
}

int gb_nvrtc_compile(gb_nvrtc *nvrtc, const gb_module_spec *spec, const char *arch,
                     gb_nvrtc_result *result)
{
    work *w = calloc(1, sizeof *w);
    if (!w) return gb_err_set(GB_ENOMEM, "out of memory: NVRTC");
    w->nvrtc = nvrtc;
    result->log.size = result->image.size = 0;
    int rc = gbi_options_check(spec);
    if (rc == 0) rc = check_arch(w, arch);
    if (rc == 0) rc = create(w, spec);
    if (rc == 0) {
        add_options(w, spec);
        int failed = nvrtc->nvrtcCompileProgram(w->program, w->option_count, w->options);
        rc = take(w, &result->log, nvrtc->nvrtcGetProgramLogSize, nvrtc->nvrtcGetProgramLog);
        if (result->log.size && result->log.data[result->log.size - 1] == 0) result->log.size--;
        if (failed)
            rc = gb_err_set(GB_ECOMPILE, "%s",
                            result->log.size ? gb_buf_text(&result->log)
                                             : nvrtc->nvrtcGetErrorString(failed));
        else if (rc == 0)
            rc = w->cubin ? take(w, &result->image, nvrtc->nvrtcGetCUBINSize, nvrtc->nvrtcGetCUBIN)
                          : take(w, &result->image, nvrtc->nvrtcGetPTXSize, nvrtc->nvrtcGetPTX);
    }
    if (w->program) nvrtc->nvrtcDestroyProgram(&w->program);
    free(w);
    return rc;
}
