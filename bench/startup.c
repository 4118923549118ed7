/* bench_startup GBRUN SCRIPT: from starting the program to the script's first line on standard
 * output (median of 21), and what an idle silo holds and uses: resident memory, and the share of
 * one core over five seconds. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { STARTS = 21, IDLE_SECONDS = 5 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Starts it with an argument for the script and waits for its first line. */
static pid_t start(char *gbrun, char *script, char *argument, double *seconds)
{
    int ends[2];
    if (pipe(ends) != 0) exit(1);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    char *argv[] = {gbrun, script, argument, NULL};
    pid_t pid;
    double from = now();
    if (posix_spawn(&pid, gbrun, &actions, NULL, argv, environ) != 0) {
        fprintf(stderr, "cannot start %s\n", gbrun);
        exit(1);
    }
    close(ends[1]);
    char line[64];
    if (read(ends[0], line, sizeof line) <= 0) {
        fprintf(stderr, "%s printed nothing\n", script);
        exit(1);
    }
    *seconds = now() - from;
    close(ends[0]);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static double cpu_seconds(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    text[size] = 0;
    char *at = strrchr(text, ')');
    unsigned long user = 0, system = 0;
    if (at) sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double resident_mb(pid_t pid)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_startup GBRUN SCRIPT\n");
        return 2;
    }
    double times[STARTS];
    for (int i = 0; i < STARTS; i++) {
        pid_t pid = start(argv[1], argv[2], "once", &times[i]);
        waitpid(pid, NULL, 0);
    }
    qsort(times, STARTS, sizeof times[0], ascending);
    printf("R first_message_ms %.2f\n", times[STARTS / 2] * 1e3);
    double seconds;
    pid_t pid = start(argv[1], argv[2], "stay", &seconds);
    double before = cpu_seconds(pid);
    struct timespec wait = {IDLE_SECONDS, 0};
    nanosleep(&wait, NULL);
    printf("R idle_cpu_percent %.3f\n", (cpu_seconds(pid) - before) / IDLE_SECONDS * 100);
    printf("R idle_memory_mb %.2f\n", resident_mb(pid));
    waitpid(pid, NULL, 0);
    return 0;
}
