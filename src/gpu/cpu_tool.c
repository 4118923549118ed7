#include "gpu/cpu_tool.h"

#include "base/err.h"
#include "gpu/image_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OUTPUT_MAX = 256 * 1024, CLANG_NEWEST = 40, CLANG_OLDEST = 7 };

/* ---- running ---- */

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Only these reach the compiler: others (CPATH, CCC_OVERRIDE_OPTIONS, LD_PRELOAD) would change what
 * it makes without changing the key. */
static int small_environment(char **out, int room)
{
    static const char *const names[] = {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", NULL};
    int count = 0;
    for (int i = 0; names[i] && count < room - 2; i++) {
        const char *value = getenv(names[i]);
        size_t size = value ? strlen(names[i]) + strlen(value) + 2 : 0;
        char *text = value ? malloc(size) : NULL;
        if (!text) continue;
        snprintf(text, size, "%s=%s", names[i], value);
        out[count++] = text;
    }
    out[count++] = strdup("LC_ALL=C");
    out[count] = NULL;
    return count;
}

static int spawn(pid_t *pid, const char *const *argv, int output)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char *environment[8];
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0); /* so that its children die with it */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    int count = small_environment(environment, 8);
    int error = posix_spawn(pid, argv[0], &actions, &attributes, (char *const *)argv, environment);
    for (int i = 0; i < count; i++) free(environment[i]);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Until end of file: the compiler and its children have all closed their side. */
static bool drain(int fd, gb_buf *out, int64_t deadline_ms)
{
    char bytes[4096];
    size_t from = out->size;
    for (;;) {
        struct pollfd wait = {fd, POLLIN, 0};
        int64_t left = deadline_ms - now_ms();
        if (left <= 0) return false;
        int ready = poll(&wait, 1, (int)left);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return false;
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return true;
        if (out->size - from < OUTPUT_MAX) gb_buf_put(out, bytes, (size_t)n);
    }
}

int gbi_tool_run(const char *const *argv, gb_buf *out, int timeout_ms)
{
    int ends[2], status = 0;
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) < 0) return gb_err_set(GB_ECOMPILE, "pipe: %s", strerror(errno));
    int error = spawn(&pid, argv, ends[1]);
    close(ends[1]);
    if (error) {
        close(ends[0]);
        return gb_err_set(GB_ECOMPILE, "the compiler %s cannot be started: %s", argv[0],
                          strerror(error));
    }
    bool ended = drain(ends[0], out, now_ms() + timeout_ms);
    close(ends[0]);
    if (!ended && kill(-pid, SIGKILL) < 0) kill(pid, SIGKILL);
    pid_t got;
    do {
        got = waitpid(pid, &status, 0);
    } while (got < 0 && errno == EINTR);
    if (!ended)
        return gb_err_set(GB_ECOMPILE, "the compiler %s did not end within %d s and was killed",
                          argv[0], timeout_ms / 1000);
    if (got < 0) return 0; /* the embedder ignores SIGCHLD: the output file tells */
    if (WIFSIGNALED(status))
        return gb_err_set(GB_ECOMPILE, "the compiler %s was killed by signal %d", argv[0],
                          WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* ---- finding ---- */

static bool in_path(char *out, const char *name)
{
    const char *path = getenv("PATH");
    if (strchr(name, '/')) {
        snprintf(out, 4096, "%s", name);
        return access(out, X_OK) == 0;
    }
    for (const char *at = path ? path : "/usr/local/bin:/usr/bin:/bin"; *at;) {
        size_t size = strcspn(at, ":");
        snprintf(out, 4096, "%.*s/%s", (int)(size < 3800 ? size : 3800), at, name);
        if (size && access(out, X_OK) == 0) return true;
        at += size + (at[size] == ':');
    }
    return false;
}

static int choose(char *out, const char *configured)
{
    const char *wanted = configured && *configured ? configured : getenv("GB_CXX");
    char name[32];
    if (wanted && *wanted) {
        if (in_path(out, wanted)) return 0;
        return gb_err_set(GB_ECOMPILE,
                          "the C++ compiler '%s' (from %s) is not there or cannot be run", wanted,
                          configured && *configured ? "the configuration" : "$GB_CXX");
    }
    if (in_path(out, "clang++")) return 0;
    for (int n = CLANG_NEWEST; n >= CLANG_OLDEST; n--) {
        snprintf(name, sizeof name, "clang++-%d", n);
        if (in_path(out, name)) return 0;
    }
    if (in_path(out, "g++")) return 0;
    return gb_err_set(GB_ECOMPILE,
                      "no C++ compiler for the cpu backend: neither clang++ nor g++ is "
                      "in $PATH; install clang (for example: apt install clang), or "
                      "name one in $GB_CXX");
}

int gbi_tool_find(gbi_tool *tool, gb_mem *mem, const char *configured, const char *folder)
{
    struct stat st;
    char identity[4096 + 128], real[4096];
    gb_buf text, note;
    int rc = choose(tool->path, configured);
    if (rc < 0) return rc;
    if (stat(tool->path, &st) < 0)
        return gb_err_set(GB_ECOMPILE, "the compiler %s: %s", tool->path, strerror(errno));
    const char *target = realpath(tool->path, real) ? real : tool->path;
    int size = snprintf(identity, sizeof identity, "%s %lld %lld.%09ld", target,
                        (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    gb_image_key key = gb_image_key_of(identity, (size_t)size);
    gb_buf_init(&text, mem);
    gb_buf_init(&note, mem);
    rc = gb_image_cache_load(folder, key, "tool", &text, &note);
    if (rc < 0) {
        const char *argv[] = {tool->path, "--version", NULL};
        text.size = 0;
        rc = gbi_tool_run(argv, &text, 30000);
        if (rc > 0)
            rc = gb_err_set(GB_ECOMPILE, "%s --version fails: it is no C++ compiler", tool->path);
        if (rc == 0) gb_image_cache_store(folder, key, "tool", text.data, text.size, "", 0);
    }
    if (rc == 0) {
        const char *line = gb_buf_text(&text);
        tool->clang = strstr(line, "clang") != NULL;
        snprintf(tool->version, sizeof tool->version, "%.*s", (int)strcspn(line, "\n"), line);
    }
    gb_buf_fini(&text);
    gb_buf_fini(&note);
    return rc;
}
