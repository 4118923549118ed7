#include "chaos_room.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LAST = 40 };

double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What was said last, for whoever looks for the cause of a failure. */
static char last[LAST][LINE_BYTES + 32];
static unsigned last_count;

static void keep_line(const line *got)
{
    snprintf(last[last_count++ % LAST], sizeof last[0], "%.3f %s %s", got->at, got->from->name,
             got->text);
}

void need(bool fine, const char *what)
{
    if (fine) return;
    for (unsigned i = 0; i < LAST; i++)
        if (last[(last_count + i) % LAST][0])
            fprintf(stderr, "| %s\n", last[(last_count + i) % LAST]);
    fprintf(stderr, "FAILED: %s\n", what);
    exit(1); /* what was started ends with its parent */
}

void proc_start(proc *p, const char *name, const char *const *args)
{
    int ends[2];
    need(p->pid == 0 && pipe2(ends, O_CLOEXEC) == 0, "a pipe");
    snprintf(p->name, sizeof p->name, "%s", name);
    pid_t parent = getpid();
    p->pid = fork();
    need(p->pid >= 0, "fork");
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(126);
        if (p->space && setns(p->space, CLONE_NEWNET) != 0) _exit(126);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        setenv("CHAOS_NAME", name, 1);
        signal(SIGPIPE, SIG_DFL);
        execvp(args[0], (char *const *)(uintptr_t)args);
        _exit(127);
    }
    close(ends[1]);
    p->fd = ends[0];
    p->have = 0;
    p->mark[0] = 0;
}

static int reap(proc *p)
{
    int status = 0;
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) continue;
    close(p->fd);
    p->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void proc_end(proc *p, int signal)
{
    kill(p->pid, signal);
    reap(p);
}

/* A line that is all there, or the rest when no more comes. */
static bool cut(proc *p, bool over, char out[LINE_BYTES])
{
    char *end = memchr(p->bytes, '\n', p->have);
    if (!end && !(over && p->have) && p->have < sizeof p->bytes) return false;
    size_t size = end ? (size_t)(end - p->bytes) : p->have, used = end ? size + 1 : size;
    size_t kept = size < LINE_BYTES - 1 ? size : LINE_BYTES - 1;
    memcpy(out, p->bytes, kept);
    out[kept] = 0;
    p->have -= used;
    memmove(p->bytes, p->bytes + used, p->have);
    return true;
}

static void judge(const proc *p, const char *text)
{
    static const char *const bad[] = {"Sanitizer",
                                      "runtime error:",
                                      "panic",
                                      "LEAK",
                                      "stack "
                                      "traceback",
                                      "backwards "};
    if (getenv("CHAOS_SHOW")) fprintf(stderr, "%.3f %s: %s\n", now_s(), p->name, text);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!strstr(text, bad[i])) continue;
        fprintf(stderr, "%s says: %s\n", p->name, text);
        if (strstr(text, "Sanitizer")) { /* with all that it has to say */
            char rest[4096];
            ssize_t size;
            fwrite(p->bytes, 1, p->have, stderr);
            while ((size = read(p->fd, rest, sizeof rest)) > 0)
                fwrite(rest, 1, (size_t)size, stderr);
        }
        need(false, "no process breaks");
    }
}

static proc *proc_at(town *t, int i)
{
    return i < SILOS ? &t->silos[i] : &t->clients[i - SILOS];
}

/* False: it has closed its outputs, and all is read. */
static bool read_some(proc *p)
{
    ssize_t size = read(p->fd, p->bytes + p->have, sizeof p->bytes - p->have);
    if (size > 0) p->have += (size_t)size;
    return size > 0 || (size < 0 && errno == EINTR);
}

static const char *const sayings[SAYINGS] = {
    "declared dead: it joins again",     "the table has lost rows",
    "the table is whole again",          "does not read its answers:",
    "asks for more than is worked off:", "is heard again",
    "more times somebody was slow",      "more connections were refused",
    "does not take its calls:",          "takes calls again"};

static void note_clock(proc *p, const char *text)
{
    int silo;
    char way[8];
    const char *at = strstr(text, "the clock of silo 's");
    if (!at ||
        sscanf(at, "the clock of silo 's%d' (epoch %*u) is %*u to %*u s %7s", &silo, way) != 2)
        return;
    need(silo >= 0 && silo < SILOS, text);
    p->clocks[silo] = strcmp(way, "ahead") == 0 ? 1 : -1;
}

static line line_of(proc *p, bool over)
{
    line got = {.from = p, .at = now_s()};
    if (!cut(p, over, got.text)) return (line){0};
    if (!got.text[0]) snprintf(got.text, sizeof got.text, " ");
    judge(p, got.text);
    if (strncmp(got.text, "ready ", 6) == 0 || strncmp(got.text, "end ", 4) == 0)
        snprintf(p->mark, sizeof p->mark, "%s", got.text);
    for (int i = 0; i < SAYINGS; i++) p->said[i] += strstr(got.text, sayings[i]) != NULL;
    note_clock(p, got.text);
    keep_line(&got);
    return got;
}

static void note_home(town *t, const line *got)
{
    int key, from, to;
    for (int i = 0; i < CLIENTS; i++)
        if (got->from == &t->clients[i] &&
            (sscanf(got->text, "moved %d s%d s%d", &key, &from, &to) == 3 ||
             sscanf(got->text, "moved %d - s%d", &key, &to) == 2))
            t->homes[i][key - 1] = to;
}

/* Who is here is not to end by itself, but for clients that have said so. */
static bool ended(proc *p)
{
    if (strncmp(p->mark, "end ", 4) == 0) return true;
    while (line_of(p, true).from) continue;
    fprintf(stderr, "%s ended by itself: %d\n", p->name, reap(p));
    need(false, "no process breaks");
    return true;
}

line next_line(town *t, double until)
{
    bool over[SILOS + CLIENTS] = {false};
    for (;;) {
        struct pollfd fds[SILOS + CLIENTS];
        for (int i = 0; i < SILOS + CLIENTS; i++) {
            proc *p = proc_at(t, i);
            fds[i] = (struct pollfd){p->pid && !over[i] ? p->fd : -1, POLLIN, 0};
            if (!p->pid) continue;
            line got = line_of(p, over[i]);
            if (got.from) note_home(t, &got);
            if (got.from) return got;
        }
        double left = until - now_s();
        if (left <= 0) return (line){0};
        if (poll(fds, SILOS + CLIENTS, (int)(left * 1000) + 1) <= 0) continue;
        for (int i = 0; i < SILOS + CLIENTS; i++)
            if (fds[i].revents && !read_some(proc_at(t, i))) over[i] = ended(proc_at(t, i));
    }
}

line find_line(town *t, const proc *p, const char *text, double seconds)
{
    double until = now_s() + seconds * t->patience;
    for (;;) {
        line got = next_line(t, until);
        if (!got.text[0] || (got.from == p && strstr(got.text, text))) return got;
    }
}

line wait_line(town *t, const proc *p, const char *text, double seconds)
{
    line got = find_line(t, p, text, seconds);
    if (!got.text[0]) fprintf(stderr, "%s did not say '%s'\n", p->name, text);
    need(got.text[0], "in time");
    return got;
}

void wait_said(town *t, const proc *p, int what, int before)
{
    double until = now_s() + 60 * t->patience;
    while (p->said[what] == before) {
        bool came = next_line(t, until).text[0] != 0;
        if (!came) fprintf(stderr, "%s did not say '%s'\n", p->name, sayings[what]);
        need(came, "in time");
    }
}

void wait_mark(town *t, proc *p, double seconds)
{
    double until = now_s() + seconds * t->patience;
    while (!p->mark[0])
        if (!next_line(t, until).text[0]) {
            fprintf(stderr, "%s is not ready\n", p->name);
            need(false, "in time");
        }
}

int proc_wait(town *t, proc *p, double seconds)
{
    double until = now_s() + seconds * t->patience;
    for (;;) {
        struct pollfd fd = {p->fd, POLLIN, 0};
        need(now_s() < until, "a process ends in time");
        if (poll(&fd, 1, 50) <= 0) continue;
        bool over = !read_some(p);
        while (line_of(p, over).from) continue;
        if (!over) continue;
        return reap(p);
    }
}
