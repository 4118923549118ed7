#include "kit_case.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

void kit_case_use_softcuda(void)
{
    setenv("GB_CUDA_LIBRARY", GB_SOFTCUDA, 1);
    setenv("GB_NVRTC_LIBRARY", GB_SOFTCUDA, 1);
    setenv("GB_NVML_LIBRARY", GB_SOFTCUDA, 1);
    setenv("GB_SOFTCUDA_LEAKS", "1", 1);
    setenv("GB_SOFTCUDA_CACHE", GB_BINARY_DIR "/softcuda-cache", 1);
}

/* Until the process has closed its output, which its end does. */
static void read_all(int from, kit_outcome *out)
{
    size_t size = 0;
    struct pollfd wait = {.fd = from, .events = POLLIN};
    for (;;) {
        int ready = poll(&wait, 1, KIT_CASE_MS);
        if (ready < 0 && errno == EINTR) continue;
        out->hung = ready == 0;
        if (ready <= 0) break;
        char piece[4096];
        ssize_t got = read(from, piece, sizeof piece);
        if (got <= 0) break;
        size_t room = sizeof out->output - 1 - size;
        size_t take = (size_t)got < room ? (size_t)got : room;
        memcpy(out->output + size, piece, take);
        size += take;
    }
    out->output[size] = 0;
}

void kit_case_run(const char *name, kit_outcome *out)
{
    int ends[2];
    pid_t child;
    char *argv[] = {(char *)name, NULL};
    posix_spawn_file_actions_t actions;
    memset(out, 0, sizeof *out);
    assert_int_equal(pipe(ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    read_all(ends[0], out);
    close(ends[0]);
    if (out->hung) kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &out->status, 0), child);
}

const char *kit_case_verdict(const kit_outcome *out)
{
    if (out->hung) return "it hangs";
    if (WIFSIGNALED(out->status)) return "it crashes";
    switch (WEXITSTATUS(out->status)) {
    case 0:
        return NULL;
    case 4:
        return "a wrong result or an error without a text";
    case 86:
        return "something is left in the driver";
    case 87:
        return "the driver is misused";
    default:
        return "it ends badly";
    }
}
