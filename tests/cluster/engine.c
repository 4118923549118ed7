#include "engine.h"

#include "folder.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a server prints, read to the end by a thread of its own so that the server never waits. */
typedef struct server_log {
    pthread_mutex_t lock;
    pthread_cond_t more;
    pthread_t thread;
    int fd;
    bool is_ready, is_over;
    const char *ready;
    size_t used;
    char text[16384]; /* the last of it */
} server_log;

static void need(bool fine, const char *what)
{
    if (fine) return;
    perror(what);
    abort();
}

/* Not one of those that the system gives to whoever connects: it may give it away before the server
 * has it, or while it is started again; to its own clients, too, who then reach themselves. */
int engine_port(void)
{
    enum { FIRST = 10000, COUNT = 20000, OWN = 20 };
    static int used;
    bool is_free = false;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int tries = 0; !is_free && tries < COUNT; tries++) {
        at.sin_port = htons((uint16_t)(FIRST + (getpid() * OWN + used++) % COUNT));
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        is_free = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
    }
    need(is_free, "a free port");
    return ntohs(at.sin_port);
}

const char *engine_host(const engine *e)
{
    return e->host ? e->host : "127.0.0.1";
}

/* Of a user namespace: it has no other users. */
static bool is_alone(void)
{
    unsigned long here, there, count = 0;
    FILE *file = fopen("/proc/self/uid_map", "rb");
    if (!file) return false;
    bool found = fscanf(file, "%lu %lu %lu", &here, &there, &count) == 3;
    fclose(file);
    return found && count == 1;
}

/* PostgreSQL refuses to run as root. */
static const struct passwd *user(void)
{
    if (geteuid() != 0 || is_alone()) return NULL;
    const struct passwd *who = getpwnam("postgres");
    return who ? who : getpwnam("nobody");
}

void engine_folder(engine *e)
{
    if (e->folder[0]) return;
    need(folder_make(e->folder, e->name), "a folder");
    const struct passwd *who = user();
    if (who) need(chown(e->folder, who->pw_uid, who->pw_gid) == 0, "chown");
}

void engine_remove_folder(engine *e)
{
    if (e->folder[0]) folder_remove(e->folder);
    e->folder[0] = 0;
}

static pid_t spawn(engine *e, const char *const *args, int out)
{
    const struct passwd *who = user();
    uid_t uid = who ? who->pw_uid : geteuid();
    gid_t gid = who ? who->pw_gid : getegid();
    pid_t parent = getpid(), pid = fork();
    need(pid >= 0, "fork");
    if (pid) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);
    if (who && (setgid(gid) != 0 || setuid(uid) != 0)) _exit(126);
    if (who) prctl(PR_SET_PDEATHSIG, SIGKILL); /* another user takes it away */
    if (chdir(e->folder) != 0) _exit(126);
    dup2(out, 1);
    dup2(out, 2);
    setenv("LC_ALL", "C", 1);
    execvp(args[0], (char *const *)(uintptr_t)args);
    _exit(127);
}

static void *drain(void *arg)
{
    server_log *log = arg;
    char piece[1024];
    ssize_t size;
    while ((size = read(log->fd, piece, sizeof piece)) > 0) {
        pthread_mutex_lock(&log->lock);
        if (log->used + (size_t)size >= sizeof log->text) {
            memmove(log->text, log->text + sizeof log->text / 2, sizeof log->text / 2);
            log->used = log->used > sizeof log->text / 2 ? log->used - sizeof log->text / 2 : 0;
        }
        memcpy(log->text + log->used, piece, (size_t)size);
        log->used += (size_t)size;
        log->text[log->used] = 0;
        if (strstr(log->text, log->ready)) log->is_ready = true;
        pthread_cond_signal(&log->more);
        pthread_mutex_unlock(&log->lock);
    }
    pthread_mutex_lock(&log->lock);
    log->is_over = true;
    pthread_cond_signal(&log->more);
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

static void end_log(engine *e)
{
    if (!e->log) return;
    pthread_join(e->log->thread, NULL);
    close(e->log->fd);
    pthread_mutex_destroy(&e->log->lock);
    pthread_cond_destroy(&e->log->more);
    free(e->log);
    e->log = NULL;
}

void engine_launch(engine *e, const char *const *args, const char *ready)
{
    int ends[2];
    need(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    server_log *log = calloc(1, sizeof *log);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->more, NULL);
    log->fd = ends[0];
    log->ready = ready;
    e->log = log;
    e->pid = spawn(e, args, ends[1]);
    close(ends[1]);
    need(pthread_create(&log->thread, NULL, drain, log) == 0, "thread");
    pthread_mutex_lock(&log->lock);
    while (!log->is_ready && !log->is_over) pthread_cond_wait(&log->more, &log->lock);
    bool is_ready = log->is_ready;
    pthread_mutex_unlock(&log->lock);
    if (is_ready) return;
    fprintf(stderr, "%s does not start:\n%s\n", e->name, log->text);
    abort();
}

int engine_run(engine *e, const char *const *args)
{
    int status = 0;
    pid_t pid = spawn(e, args, 2);
    while (waitpid(pid, &status, 0) < 0) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void engine_kill(engine *e, int signal)
{
    if (!e->pid) return;
    int status = 0;
    kill(e->pid, signal);
    kill(e->pid, SIGCONT);
    while (waitpid(e->pid, &status, 0) < 0) continue;
    e->pid = 0;
    end_log(e);
}

/* ---- the one without an engine ---- */

static bool memory_start(engine *e)
{
    snprintf(e->url, sizeof e->url, "memory:tests");
    return true;
}

const engine engine_memory = {.name = "memory", .start = memory_start};
