/* gbrun doctor, version: what this build and this machine have. */
#include "gbrun/gbrun.h"

#include "gbrun/build.h"
#include "gpu/cpu_tool.h"
#include "gpu/cuda_compile.h"
#include "gpu/gpu.h"
#include "gpu/image_cache.h"
#include "sys/cores.h"

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
    gb_cuda_api driver;
    char text[64] = "no CUDA driver here";
    (void)options;
    if (gbi_cuda_load(&driver) >= 0) {
        snprintf(text, sizeof text, "driver for CUDA %d.%d", driver.version / 1000,
                 driver.version % 1000 / 10);
        gbi_cuda_unload(&driver);
    }
    printf("gpubridge %s (commit %s)\nbackends: cpu, cuda (%s)\n", GB_BUILD_VERSION, gbrun_commit(),
           text);
    return 0;
}

/* ---- devices ---- */

int gbrun_open_devices(gbrun_options *options, gb_gpu **out)
{
    const gb_config *config = &options->config;
    gb_gpu_config gpu = {.mem = &options->mem,
                         .cache_dir = config->cache_dir,
                         .compiler = config->compiler,
                         .threads = config->kernel_threads,
                         .cpu_devices = config->cpu_devices,
                         .devices_max = config->max_devices};
    return gb_gpu_open(out, &gpu);
}

static void print_device(gb_gpu *gpu, int index, const char *before)
{
    gb_device_info info;
    gb_device_figures now;
    gb_device_get_info(gb_gpu_device(gpu, index), &info);
    gb_device_get_figures(gb_gpu_device(gpu, index), &now);
    printf("%s%d  %-5s %s (%s), %d %s, %.1f GiB, %.1f GiB free", before, index, info.backend,
           info.name, info.arch, info.units,
           strcmp(info.backend, "cpu") == 0 ? "cores" : "multiprocessors",
           (double)info.memory_total / (1 << 30), (double)info.memory_free / (1 << 30));
    if (now.memory_used >= 0) printf(", %.1f GiB used", (double)now.memory_used / (1 << 30));
    if (now.utilization >= 0) printf(", %d %% busy", now.utilization);
    if (now.temperature >= 0) printf(", %d C", now.temperature);
    if (now.power_mw >= 0) printf(", %.0f W", now.power_mw / 1000.0);
    printf("\n");
}

/* ---- doctor ---- */

static void row(const char *name, const char *text)
{
    printf("%-14s %s\n", name, text);
}

/* Why something is not there, without its name in front. */
static void missing(const char *name)
{
    const char *why = gb_err_detail();
    size_t size = strlen(name);
    row(name, strncmp(why, name, size) == 0 && why[size] == ':' ? why + size + 2 : why);
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
    snprintf(text, sizeof text, "%d", gb_cores());
    row("cores", text);
    snprintf(text, sizeof text, "%.1f GiB",
             (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30));
    row("memory", text);
    row("LuaJIT", LUAJIT_VERSION);
    const char *(*uv_version)(void) =
        (const char *(*)(void))dlsym(RTLD_DEFAULT, "uv_version_string");
    row("libuv", uv_version ? uv_version() : "built in");
}

static bool can_write(const char *folder)
{
    char path[GB_IMAGE_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/doctor.XXXXXX", folder);
    int file = mkstemp(path);
    if (file < 0) return false;
    close(file);
    unlink(path);
    return true;
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
    if (can_write(folder)) return true;
    remedy("no file can be written there: name a folder of your own with --cache DIR");
    return false;
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

/* True: there are some for CPUs. */
static bool show_images(void)
{
    char folder[GB_IMAGE_PATH_MAX], text[GB_IMAGE_PATH_MAX + 96];
    int cpu = 0, gpu = 0, rc = gb_image_made_folder(false, folder);
    if (rc == 0) return false; /* not a thing that every machine has */
    if (rc < 0) {
        row("images", gb_err_detail());
        remedy("GB_IMAGES names a folder of images that were made elsewhere: unset it, or make it "
               "your own, mode 0700");
        return false;
    }
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *end = strrchr(entry->d_name, '.');
        cpu += end && strcmp(end, ".cpu") == 0;
        gpu += end && strcmp(end, ".cuda") == 0;
    }
    if (dir) closedir(dir);
    snprintf(text, sizeof text, "%s (made elsewhere: %d for CPUs, %d for GPUs)", folder, cpu, gpu);
    row("images", text);
    return cpu > 0;
}

/* A library that is not what it should be, because a variable names it. */
static bool remedy_variable(const char *name, const char *library)
{
    char text[160];
    const char *set = getenv(name);
    if (!set || !*set) return false;
    snprintf(text, sizeof text, "%s names this file: unset it, or name %s", name, library);
    remedy(text);
    return true;
}

static void version_row(const char *name, const char *what, int version, const char *path)
{
    char text[GB_CUDA_PATH_MAX + 64];
    snprintf(text, sizeof text, "%s%d.%d (%s)", what, version / 1000, version % 1000 / 10, path);
    row(name, text);
}

/* True: the driver is there and works. */
static bool show_driver(void)
{
    gb_cuda_api driver;
    const char *why = NULL;
    char text[512];
    if (gbi_cuda_load(&driver) < 0) {
        row("CUDA driver", gb_err_detail());
        if (!remedy_variable("GB_CUDA_LIBRARY", "the driver's libcuda.so.1"))
            remedy("kernels run on the CPU; for an NVIDIA GPU install its driver (libcuda.so.1, "
                   "525.60 "
                   "or newer), in a container with --gpus all");
        return false;
    }
    version_row("CUDA driver", "for CUDA ", driver.version, driver.path);
    gb_cu_result rc = driver.cuInit(0);
    if (rc != GB_CU_SUCCESS) {
        if (driver.cuGetErrorString(rc, &why) != GB_CU_SUCCESS || !why) why = "?";
        snprintf(text, sizeof text,
                 "it does not start: error %u, %s: see nvidia-smi; in a "
                 "container give it the GPUs (--gpus all)",
                 rc, why);
        remedy(text);
    }
    gbi_cuda_unload(&driver);
    return rc == GB_CU_SUCCESS;
}

static void show_nvml(bool driver)
{
    gb_nvml_api nvml;
    char text[512], version[96] = "?";
    if (gbi_nvml_load(&nvml) < 0) {
        missing("NVML");
        if (!remedy_variable("GB_NVML_LIBRARY", "the driver's libnvidia-ml.so.1"))
            remedy(driver ? "temperature, power and use of GPUs are not shown: install "
                            "libnvidia-ml.so.1, which comes with the driver"
                          : "it comes with the driver; nothing is missing without a GPU");
        return;
    }
    gb_nvml_rc rc = nvml.nvmlInit_v2();
    if (rc != GB_NVML_SUCCESS) {
        row("NVML", nvml.path);
        snprintf(text, sizeof text,
                 "it does not start: error %u, %s: see nvidia-smi; the figures "
                 "of GPUs are not shown",
                 rc, nvml.nvmlErrorString(rc));
        remedy(text);
    } else {
        if (nvml.nvmlSystemGetDriverVersion)
            nvml.nvmlSystemGetDriverVersion(version, sizeof version);
        snprintf(text, sizeof text, "driver %s (%.380s)", version, nvml.path);
        row("NVML", text);
        nvml.nvmlShutdown();
    }
    gbi_nvml_unload(&nvml);
}

/* The oldest architecture that it compiles for, as 75; 0: there is no NVRTC. */
static int show_nvrtc(void)
{
    gb_nvrtc_api nvrtc;
    int archs[64];
    char text[128];
    if (gbi_nvrtc_load(&nvrtc) < 0) {
        missing("NVRTC");
        if (!remedy_variable("GB_NVRTC_LIBRARY", "libnvrtc.so of a toolkit"))
            remedy("to compile for NVIDIA GPUs: install the CUDA toolkit or the wheel "
                   "nvidia-cuda-nvrtc, or name libnvrtc.so in GB_NVRTC_LIBRARY");
        return 0;
    }
    version_row("NVRTC", "", nvrtc.version, nvrtc.path);
    int count = gbi_nvrtc_archs(&nvrtc, archs, 64);
    if (count > 0) {
        snprintf(text, sizeof text, "sm_%d to sm_%d", archs[0], archs[count - 1]);
        row("", text);
    }
    gbi_nvrtc_unload(&nvrtc);
    return count > 0 ? archs[0] : 0;
}

/* How many GPUs kernels can be compiled for; negative: there is no device at all. */
static int show_devices(gbrun_options *options, bool driver, int arch_oldest)
{
    char text[256];
    int good = 0;
    gb_gpu *gpu;
    int rc = gbrun_open_devices(options, &gpu), count = rc < 0 ? rc : gb_gpu_device_count(gpu);
    bool gpus = false, software = false;
    if (count < 0) row("devices", gb_err_detail());
    for (int i = 0; i < count; i++) {
        gb_device_info info;
        gb_device_get_info(gb_gpu_device(gpu, i), &info);
        gpus |= strcmp(info.backend, "cuda") == 0;
        software |= strcmp(info.backend, "software") == 0;
        print_device(gpu, i, i ? "               " : "devices        ");
        int arch = strncmp(info.arch, "sm_", 3) == 0 ? (int)strtol(info.arch + 3, NULL, 10) : 0;
        good += strcmp(info.backend, "cuda") == 0 && arch_oldest && arch >= arch_oldest;
        if (!arch || !arch_oldest || arch >= arch_oldest) continue;
        snprintf(
            text, sizeof text,
            "this NVRTC compiles for sm_%d and later, not for device %d (%s): install an older "
            "one",
            arch_oldest, i, info.arch);
        remedy(text);
    }
    if (software)
        remedy("software devices are of a driver for tests and no GPUs: unset GB_CUDA_LIBRARY");
    else if (driver && !gpus)
        remedy("the CUDA driver shows no device: see nvidia-smi, and CUDA_VISIBLE_DEVICES");
    if (rc >= 0) gb_gpu_close(gpu);
    return count > 0 ? good : -1;
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
    bool compiler = cache && show_compiler(options, folder), images = show_images();
    bool usable = cache && (compiler || images);
    bool driver = show_driver();
    show_nvml(driver);
    int arch = show_nvrtc(), gpus = show_devices(options, driver, arch);
    usable &= gpus >= 0;
    show_busted();
    char text[128] = "kernels cannot run here: see the remedies above";
    if (usable)
        snprintf(text, sizeof text, "usable: kernels run here%s",
                 compiler ? "" : " that have an image in GB_IMAGES");
    size_t size = strlen(text);
    if (usable && gpus > 0)
        snprintf(text + size, sizeof text - size, ", on %d GPU%s too", gpus, gpus > 1 ? "s" : "");
    row("verdict", text);
    return usable ? 0 : GBRUN_FAILED;
}
