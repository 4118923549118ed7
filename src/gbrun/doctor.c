/* gbrun doctor, devices, version: what this build and this machine have. */
#include "gbrun/gbrun.h"

#include "gbrun/build.h"
#include "gpu/cpu_tool.h"
#include "gpu/gpu.h"
#include "gpu/image_cache.h"
#include "gpu/nvrtc.h"

#include <dirent.h>
#include <dlfcn.h>
#include <luajit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *gbrun_commit(void)
{
    return GB_BUILD_COMMIT;
}

int gbrun_version(gbrun_options *options)
{
    (void)options;
    printf("gpubridge %s (commit %s)\nbackends: cpu\n", GB_BUILD_VERSION, gbrun_commit());
    return 0;
}

/* ---- devices ---- */

static int open_devices(gbrun_options *options, gb_gpu **out)
{
    const gb_config *config = &options->config;
    gb_gpu_config gpu = {.mem = &options->mem,
                         .cache_dir = config->cache_dir,
                         .compiler = config->compiler,
                         .threads = config->kernel_threads,
                         .cpu_devices = config->cpu_devices};
    return gb_gpu_open(out, &gpu);
}

static void print_device(gb_gpu *gpu, int index, const char *before)
{
    gb_device_info info;
    gb_device_get_info(gb_gpu_device(gpu, index), &info);
    printf("%s%d  %-5s %s (%s), %d %s, %.1f GiB, %.1f GiB free\n", before, index, info.backend,
           info.name, info.arch, info.units,
           strcmp(info.backend, "cpu") == 0 ? "cores" : "multiprocessors",
           (double)info.memory_total / (1 << 30), (double)info.memory_free / (1 << 30));
}

int gbrun_devices(gbrun_options *options)
{
    gb_gpu *gpu;
    int rc = open_devices(options, &gpu);
    if (rc < 0) {
        fprintf(stderr, "gbrun: %s (%s)\n", gb_err_detail(), gb_err_name(rc));
        return GBRUN_FAILED;
    }
    for (int i = 0; i < gb_gpu_device_count(gpu); i++) print_device(gpu, i, "");
    gb_gpu_close(gpu);
    return 0;
}

/* ---- doctor ---- */

static void row(const char *name, const char *text)
{
    printf("%-14s %s\n", name, text);
}

static void remedy(const char *text)
{
    printf("%-14s -> %s\n", "", text);
}

static void show_machine(void)
{
    char text[256];
    snprintf(text, sizeof text, "%s (commit %s)", GB_BUILD_VERSION, gbrun_commit());
    row("gpubridge", text);
    snprintf(text, sizeof text, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    row("cores", text);
    snprintf(text, sizeof text, "%.1f GiB",
             (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30));
    row("memory", text);
    row("LuaJIT", LUAJIT_VERSION);
    const char *(*uv_version)(void) =
        (const char *(*)(void))dlsym(RTLD_DEFAULT, "uv_version_string");
    row("libuv", uv_version ? uv_version() : "built in");
}

static bool show_cache(gbrun_options *options, char *folder)
{
    char text[GB_IMAGE_PATH_MAX + 128];
    if (gb_image_cache_folder(options->config.cache_dir, folder) < 0) {
        row("cache", gb_err_detail());
        remedy("name a folder of your own with --cache DIR or GB_CACHE_DIR, mode 0700");
        return false;
    }
    struct stat st = {0};
    int64_t bytes = 0;
    int files = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat one;
        if (fstatat(dirfd(dir), entry->d_name, &one, 0) != 0 || !S_ISREG(one.st_mode)) continue;
        bytes += one.st_size;
        files++;
    }
    if (dir) closedir(dir);
    stat(folder, &st);
    snprintf(text, sizeof text, "%s (owner %s, mode %04o, %d files, %.1f MiB)", folder,
             st.st_uid == geteuid() ? "you" : "another user", (unsigned)st.st_mode & 07777, files,
             (double)bytes / (1 << 20));
    row("cache", text);
    return true;
}

static bool show_compiler(gbrun_options *options, const char *folder)
{
    gbi_tool tool;
    char text[sizeof tool.path + sizeof tool.version + 8];
    if (gbi_tool_find(&tool, &options->mem, options->config.compiler, folder) < 0) {
        row("C++ compiler", "none");
        remedy(gb_err_detail());
        return false;
    }
    snprintf(text, sizeof text, "%s (%s)", tool.path, tool.version);
    row("C++ compiler", text);
    if (!tool.clang)
        remedy(
            "g++ is correct but slower: it does not vectorise loops over threads; install clang");
    return true;
}

static void show_driver(void)
{
    char text[128];
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    int (*version)(int *) = driver ? (int (*)(int *))dlsym(driver, "cuDriverGetVersion") : NULL;
    int number = 0;
    if (version && version(&number) == 0) {
        snprintf(text, sizeof text, "CUDA %d.%d", number / 1000, number % 1000 / 10);
        row("CUDA driver", text);
    } else {
        row("CUDA driver", "not found: kernels run on the CPU");
        remedy("on a machine with an NVIDIA GPU: install its driver (libcuda.so.1)");
    }
    if (driver) dlclose(driver);
    void *nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    row("NVML", nvml ? "found" : "not found");
    if (nvml) dlclose(nvml);
}

static void show_nvrtc(void)
{
    char text[5000];
    gb_nvrtc *nvrtc;
    if (gb_nvrtc_open(&nvrtc) < 0) {
        row("NVRTC", "not found");
        remedy("to compile for NVIDIA GPUs: install the CUDA toolkit, or name libnvrtc.so in "
               "GB_NVRTC_LIBRARY");
        return;
    }
    snprintf(text, sizeof text, "%s (%s)", gb_nvrtc_version(nvrtc), gb_nvrtc_path(nvrtc));
    row("NVRTC", text);
    gb_nvrtc_close(nvrtc);
}

static void show_devices(gbrun_options *options)
{
    gb_gpu *gpu;
    if (open_devices(options, &gpu) < 0) {
        row("devices", gb_err_detail());
        return;
    }
    for (int i = 0; i < gb_gpu_device_count(gpu); i++)
        print_device(gpu, i, i ? "               " : "devices        ");
    gb_gpu_close(gpu);
}

static void show_busted(void)
{
    static const char *const roots[] = {"/usr/share/lua/5.1", "/usr/local/share/lua/5.1", NULL};
    char path[256];
    for (int i = 0; roots[i]; i++) {
        snprintf(path, sizeof path, "%s/busted/core.lua", roots[i]);
        if (access(path, R_OK) != 0) continue;
        row("busted", roots[i]);
        return;
    }
    row("busted", "not found");
    remedy("gbrun test needs it: apt install lua-busted, or luarocks --lua-version 5.1 install "
           "busted");
}

int gbrun_doctor(gbrun_options *options)
{
    char folder[GB_IMAGE_PATH_MAX];
    show_machine();
    bool cache = show_cache(options, folder);
    bool usable = cache && show_compiler(options, folder);
    show_driver();
    show_nvrtc();
    show_devices(options);
    show_busted();
    row("verdict",
        usable ? "usable: kernels run here" : "kernels cannot run here: see the remedies above");
    return usable ? 0 : GBRUN_FAILED;
}
