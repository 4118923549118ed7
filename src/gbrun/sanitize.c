/* Kernels under ASan and UBSan need the compiler's runtime in the process before anything else:
 * gbrun starts itself anew with it preloaded (decision 26). */
#include "gbrun/gbrun.h"

#include "gpu/cpu_tool.h"
#include "gpu/image_cache.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK "GB_SANITIZE_STARTED" /* set in the second start, so that there is no third */

static int fail(const char *text, const char *more)
{
    fprintf(stderr, "gbrun: --sanitize: %s%s\n", text, more);
    return GBRUN_FAILED;
}

/* The path of a library that the compiler comes with. */
static bool ask(gbrun_options *options, const char *compiler, const char *library, char *out,
                size_t room)
{
    gb_buf text;
    char question[80];
    gb_buf_init(&text, &options->mem);
    snprintf(question, sizeof question, "-print-file-name=%s", library);
    const char *argv[] = {compiler, question, NULL};
    int rc = gbi_tool_run(argv, &text, 30000);
    snprintf(out, room, "%.*s", (int)strcspn(gb_buf_text(&text), "\n"), gb_buf_text(&text));
    gb_buf_fini(&text);
    return rc == 0 && out[0] == '/' && access(out, R_OK) == 0;
}

/* The shared runtime of the compiler that kernels are compiled with: of g++ two libraries. */
static int find_runtime(gbrun_options *options, char *out, size_t room, char *compiler,
                        size_t compiler_room)
{
    static const char *const clang[] = {"libclang_rt.asan-x86_64.so", "libclang_rt.asan-aarch64.so",
                                        "libclang_rt.asan.so", NULL};
    char folder[GB_IMAGE_PATH_MAX];
    gbi_tool tool;
    int rc = gb_image_cache_folder(options->config.cache_dir, folder);
    if (rc == 0) rc = gbi_tool_find(&tool, &options->mem, options->config.compiler, folder);
    if (rc < 0) return rc;
    snprintf(compiler, compiler_room, "%s", tool.path);
    for (const char *const *name = clang; tool.clang && *name; name++)
        if (ask(options, tool.path, *name, out, room)) return 0;
    if (!tool.clang && ask(options, tool.path, "libasan.so", out, room)) {
        size_t size = strlen(out);
        out[size] = ':';
        if (ask(options, tool.path, "libubsan.so", out + size + 1, room - size - 1)) return 0;
    }
    return gb_err_set(
        GB_ENOENT,
        "the runtime is missing: %s has no shared AddressSanitizer library; install it (for "
        "clang: the package libclang-rt-dev or compiler-rt of its version; for g++: libasan and "
        "libubsan)",
        tool.path);
}

/* A variable that the user has set stays in front. */
static void add_options(const char *name, const char *ours)
{
    char text[1024];
    const char *users = getenv(name);
    snprintf(text, sizeof text, "%s%s%s", ours, users ? ":" : "", users ? users : "");
    setenv(name, text, 1);
}

/* Reports name source lines only with a symbolizer, which often bears the version of its compiler
 * in its name. */
static void find_symbolizer(const char *compiler)
{
    char real[GB_IMAGE_PATH_MAX], path[GB_IMAGE_PATH_MAX + 32];
    if (getenv("ASAN_SYMBOLIZER_PATH") || !realpath(compiler, real)) return;
    char *slash = strrchr(real, '/');
    if (slash) *slash = 0;
    snprintf(path, sizeof path, "%s/llvm-symbolizer", real);
    if (access(path, X_OK) == 0) setenv("ASAN_SYMBOLIZER_PATH", path, 1);
}

int gbrun_sanitize(gbrun_options *options)
{
    char compiler[GB_IMAGE_PATH_MAX], runtime[GB_IMAGE_PATH_MAX * 2];
    char preload[GB_IMAGE_PATH_MAX * 3];
    if (!options->config.sanitize || dlsym(RTLD_DEFAULT, "__asan_init")) return 0;
    if (getenv(MARK)) return fail("the sanitizer's runtime was preloaded, but is not there", "");
    if (find_runtime(options, runtime, sizeof runtime, compiler, sizeof compiler) < 0)
        return fail(gb_err_detail(), "");
    const char *before = getenv("LD_PRELOAD");
    snprintf(preload, sizeof preload, "%s%s%s", runtime, before && *before ? ":" : "",
             before ? before : "");
    setenv("LD_PRELOAD", preload, 1);
    setenv(MARK, "1", 1);
    /* LuaJIT's memory is not malloc's: leaks cannot be told from what it holds */
    add_options("ASAN_OPTIONS", "detect_leaks=0:symbolize=1");
    add_options("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1");
    find_symbolizer(compiler);
    fflush(NULL);
    execv("/proc/self/exe", options->argv_all);
    return fail("it cannot be started anew: ", strerror(errno));
}
