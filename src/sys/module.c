#include "sys/module.h"

#include "base/err.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef GB_MODULE_PATH
#define GB_MODULE_PATH "../lib/gpubridge"
#endif

/* The folder of the file that this code was loaded from: the library's, or the program's. */
static int own_folder(char *out, size_t room)
{
    static const char marker = 0;
    Dl_info info;
    char path[PATH_MAX];
    if (!dladdr(&marker, &info) || !info.dli_fname || !realpath(info.dli_fname, path)) {
        ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
        if (size < 0) return -1;
        path[size] = 0;
    }
    char *slash = strrchr(path, '/');
    if (!slash) return -1;
    *slash = 0;
    return snprintf(out, room, "%s", path) < (int)room ? 0 : -1;
}

static int load(void **symbol_out, const char *path, const char *symbol)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    *symbol_out = library ? dlsym(library, symbol) : NULL;
    if (*symbol_out) return 0;
    const char *why = dlerror();
    return gb_err_set(GB_ENOTYET, "%s", why ? why : path);
}

int gb_module_find(void **symbol_out, const char *name, const char *symbol)
{
    static const char *const below[] = {"gpubridge", GB_MODULE_PATH};
    char path[2 * PATH_MAX], own[PATH_MAX];
    const char *set = secure_getenv("GB_MODULE_DIR");
    if (set && *set) {
        if (snprintf(path, sizeof path, "%s/%s.so", set, name) < (int)sizeof path &&
            access(path, F_OK) == 0)
            return load(symbol_out, path, symbol);
        return gb_err_set(GB_ENOTYET, "there is no module %s.so in GB_MODULE_DIR (%s)", name, set);
    }
    if (own_folder(own, sizeof own) < 0)
        return gb_err_set(GB_ENOTYET, "no module %s.so: where this program lies is not known",
                          name);
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
        if (snprintf(path, sizeof path, "%s/%s/%s.so", own, below[i], name) < (int)sizeof path &&
            access(path, F_OK) == 0)
            return load(symbol_out, path, symbol);
    }
    return gb_err_set(GB_ENOTYET,
                      "there is no module %s.so in %s/gpubridge or %s/%s: it was not built, or "
                      "GB_MODULE_DIR should name its folder",
                      name, own, own, GB_MODULE_PATH);
}
