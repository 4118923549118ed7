/* Finding the libraries and filling the tables of cuda_api.h. */
#include "gpu/cuda_api.h"

#include "base/err.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { REQUIRED, OPTIONAL } need;

typedef struct row {
    const char *name;
    need need;
    int level;
    size_t offset;
} row;

#define CUDA_ROW(name, need, level, type, parameters)                                              \
    {#name, need, level, offsetof(gb_cuda_api, name)},
#define NVRTC_ROW(name, need, level, type, parameters)                                             \
    {#name, need, level, offsetof(gb_nvrtc_api, name)},
#define NVML_ROW(name, need, level, type, parameters)                                              \
    {#name, need, level, offsetof(gb_nvml_api, name)},

static const row cuda_roots[] = {GB_CUDA_ROOTS(CUDA_ROW)};
static const row cuda_rows[] = {GB_CUDA_TABLE(CUDA_ROW)};
static const row nvrtc_rows[] = {GB_NVRTC_TABLE(NVRTC_ROW)};
static const row nvml_rows[] = {GB_NVML_TABLE(NVML_ROW)};

#define COUNT(rows) (int)(sizeof(rows) / sizeof((rows)[0]))

/* What dlopen found; the path is as it was asked for. RTLD_NODELETE: threads of a driver outlive
 * its last user. */
static void *open_library(const char *path, char *out)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library) snprintf(out, GB_CUDA_PATH_MAX, "%s", path);
    return library;
}

static void close_library(void **library)
{
    if (*library) dlclose(*library);
    *library = NULL;
}

/* By dlsym. The first required row that is missing is the answer; NULL: all are there. */
static const char *find_by_name(void *api, void *library, const row *rows, int count)
{
    for (int i = 0; i < count; i++) {
        void *symbol = dlsym(library, rows[i].name);
        if (!symbol && rows[i].need == REQUIRED) return rows[i].name;
        memcpy((char *)api + rows[i].offset, &symbol, sizeof symbol);
    }
    return NULL;
}

/* A variable that names a library; NULL when it is not set or empty. */
static const char *named_by(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value ? value : NULL;
}

/* ---- the driver ---- */

static int find_functions(gb_cuda_api *api)
{
    for (int i = 0; i < COUNT(cuda_rows); i++) {
        const row *at = &cuda_rows[i];
        void *symbol = NULL;
        gb_cu_query_result status = GB_CU_QUERY_FOUND;
        gb_cu_result rc = GB_CU_NOT_FOUND;
        if (at->level <= api->version)
            rc = api->cuGetProcAddress_v2(at->name, &symbol, at->level, 0, &status);
        if (rc != GB_CU_SUCCESS || status != GB_CU_QUERY_FOUND) symbol = NULL;
        if (!symbol && at->need == REQUIRED)
            return gb_err_set(GB_ENOGPU, "the CUDA driver %s has no %s", api->path, at->name);
        memcpy((char *)api + at->offset, &symbol, sizeof symbol);
    }
    return 0;
}

static int too_old(const gb_cuda_api *api)
{
    return gb_err_set(GB_ENOGPU,
                      "the CUDA driver %s is for CUDA %d.%d; the oldest that works is for %d.%d "
                      "(driver 525.60 or newer is to be installed)",
                      api->path, api->version / 1000, api->version % 1000 / 10,
                      GB_CUDA_VERSION_MIN / 1000, GB_CUDA_VERSION_MIN % 1000 / 10);
}

static int check_version(gb_cuda_api *api)
{
    const char *missing = find_by_name(api, api->library, cuda_roots, 1);
    if (missing) return gb_err_set(GB_ENOGPU, "%s is no CUDA driver: no %s", api->path, missing);
    gb_cu_result rc = api->cuDriverGetVersion(&api->version);
    if (rc != GB_CU_SUCCESS)
        return gb_err_set(GB_ENOGPU, "the CUDA driver %s does not tell its version (error %u)",
                          api->path, rc);
    if (api->version < GB_CUDA_VERSION_MIN) return too_old(api);
    missing = find_by_name(api, api->library, cuda_roots, COUNT(cuda_roots));
    if (missing) return gb_err_set(GB_ENOGPU, "the CUDA driver %s has no %s", api->path, missing);
    return 0;
}

int gbi_cuda_load(gb_cuda_api *out)
{
    memset(out, 0, sizeof *out);
    const char *named = named_by("GB_CUDA_LIBRARY");
    out->library = open_library(named ? named : "libcuda.so.1", out->path);
    if (!out->library && named)
        return gb_err_set(GB_ENOGPU, "no CUDA driver: GB_CUDA_LIBRARY: %s", dlerror());
    if (!out->library) return gb_err_set(GB_ENOGPU, "no CUDA driver: %s", dlerror());
    int rc = check_version(out);
    if (rc == 0) rc = find_functions(out);
    if (rc < 0) gbi_cuda_unload(out);
    return rc;
}

void gbi_cuda_unload(gb_cuda_api *api)
{
    close_library(&api->library);
}

/* ---- the compiler ---- */

/* The matches of a pattern, the last of the alphabet first: newer versions before older ones. */
static void *open_globbed(const char *pattern, char *path)
{
    glob_t found = {0};
    void *library = NULL;
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = found.gl_pathc; i-- > 0 && !library;) {
            const char *file = strrchr(found.gl_pathv[i], '/');
            if (strstr(file, ".alt.")) continue; /* the slower twin of every toolkit */
            library = open_library(found.gl_pathv[i], path);
        }
    globfree(&found);
    return library;
}

/* Python's wheels put it in site-packages/nvidia/{cuda_nvrtc,cu13}/lib. */
static void *open_wheel(char *path)
{
    static const char *const roots[] = {"VIRTUAL_ENV", "CONDA_PREFIX", "HOME", NULL};
    static const char *const below[] = {"", "", "/.local", NULL};
    static const char *const fixed[] = {"/usr/local", "/usr", NULL};
    char pattern[GB_CUDA_PATH_MAX];
    void *library = NULL;
    for (int i = 0; roots[i] && !library; i++) {
        const char *root = named_by(roots[i]);
        if (!root) continue;
        snprintf(pattern, sizeof pattern, "%s%s/lib/python3*/site-packages/nvidia/*/lib/%s", root,
                 below[i], "libnvrtc.so.*");
        library = open_globbed(pattern, path);
    }
    for (int i = 0; fixed[i] && !library; i++) {
        snprintf(pattern, sizeof pattern, "%s/lib/python3*/*-packages/nvidia/*/lib/%s", fixed[i],
                 "libnvrtc.so.*");
        library = open_globbed(pattern, path);
    }
    return library;
}

static void *open_nvrtc(char *path)
{
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", NULL};
    static const char *const patterns[] = {
        "/usr/local/cuda/lib*/libnvrtc.so*", "/usr/local/cuda*/lib*/libnvrtc.so*",
        "/usr/local/cuda*/targets/*/lib/libnvrtc.so*", "/opt/cuda/lib*/libnvrtc.so*", NULL};
    void *library = NULL;
    for (int i = 0; names[i] && !library; i++) library = open_library(names[i], path);
    for (int i = 0; patterns[i] && !library; i++) library = open_globbed(patterns[i], path);
    return library ? library : open_wheel(path);
}

int gbi_nvrtc_load(gb_nvrtc_api *out)
{
    memset(out, 0, sizeof *out);
    const char *named = named_by("GB_NVRTC_LIBRARY");
    out->library = named ? open_library(named, out->path) : open_nvrtc(out->path);
    if (!out->library && named)
        return gb_err_set(GB_ENOENT, "NVRTC: GB_NVRTC_LIBRARY: %s", dlerror());
    if (!out->library)
        return gb_err_set(GB_ENOENT, "NVRTC is not there: neither in the loader's path nor in the "
                                     "folders of toolkits and Python's nvidia wheels; name "
                                     "libnvrtc.so in GB_NVRTC_LIBRARY");
    const char *missing = find_by_name(out, out->library, nvrtc_rows, COUNT(nvrtc_rows));
    int major = 0, minor = 0, rc = 0;
    if (missing)
        rc = gb_err_set(GB_ENOENT, "NVRTC: %s has no %s", out->path, missing);
    else if (out->nvrtcVersion(&major, &minor) != GB_NVRTC_SUCCESS)
        rc = gb_err_set(GB_ENOENT, "NVRTC: %s does not tell its version", out->path);
    out->version = major * 1000 + minor * 10;
    if (rc < 0) gbi_nvrtc_unload(out);
    return rc;
}

void gbi_nvrtc_unload(gb_nvrtc_api *api)
{
    close_library(&api->library);
}

/* ---- the management library ---- */

int gbi_nvml_load(gb_nvml_api *out)
{
    memset(out, 0, sizeof *out);
    const char *named = named_by("GB_NVML_LIBRARY");
    out->library = open_library(named ? named : "libnvidia-ml.so.1", out->path);
    if (!out->library) return gb_err_set(GB_ENOENT, "NVML: %s", dlerror());
    const char *missing = find_by_name(out, out->library, nvml_rows, COUNT(nvml_rows));
    if (!missing) return 0;
    gbi_nvml_unload(out);
    return gb_err_set(GB_ENOENT, "NVML: %s has no %s", out->path, missing);
}

void gbi_nvml_unload(gb_nvml_api *api)
{
    close_library(&api->library);
}
