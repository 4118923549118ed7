/* bench_join GBRUN NAME URL: how long does a silo take to join a cluster of three that is there,
 * from the start of its process to "ready"? The median of 11. */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { THERE = 3, JOINS = 11 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Starts a silo and waits until it says that it serves. */
static pid_t start(char *gbrun, char *url, int number, double *ms)
{
    int ends[2];
    char name[16], line[64];
    if (pipe(ends) != 0) exit(1);
    snprintf(name, sizeof name, "silo%d", number);
    char *argv[] = {gbrun,    "silo", "--cluster", url, "--app", "bench/lua/app",
                    "--name", name,   "--workers", "1", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    pid_t pid;
    double from = now_ms();
    if (posix_spawn(&pid, gbrun, &actions, NULL, argv, environ) != 0) exit(1);
    close(ends[1]);
    if (read(ends[0], line, sizeof line) <= 0) {
        fprintf(stderr, "a silo did not join\n");
        exit(1);
    }
    *ms = now_ms() - from;
    close(ends[0]);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    pid_t there[THERE];
    double took[JOINS], ignored;
    if (argc != 4) return 2;
    for (int i = 0; i < THERE; i++) there[i] = start(argv[1], argv[3], i, &ignored);
    for (int i = 0; i < JOINS; i++) stop(start(argv[1], argv[3], THERE + i, &took[i]));
    for (int i = 0; i < THERE; i++) stop(there[i]);
    qsort(took, JOINS, sizeof *took, ascending);
    printf("R join_%s_ms %.1f\n", argv[2], took[JOINS / 2]);
    return 0;
}
