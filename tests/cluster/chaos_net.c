#include "chaos_net.h"

#include "chaos_room.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 24 };

static const char *ip_program(void)
{
    static const char *const paths[] = {"/sbin/ip", "/usr/sbin/ip", "/bin/ip", "/usr/bin/ip"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], X_OK) == 0) return paths[i];
    return NULL;
}

static bool put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t size = write(fd, text, strlen(text));
    return close(fd) == 0 && size == (ssize_t)strlen(text);
}

/* Runs `ip` with these words in a namespace; -1: this one. */
__attribute__((format(printf, 2, 3))) static bool ip(int space, const char *format, ...)
{
    char text[256], *at = text;
    char *words[WORDS_MAX] = {(char *)(uintptr_t)ip_program()};
    int count = 1, status = 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (; count < WORDS_MAX - 1 && *at; count++) {
        words[count] = at;
        at += strcspn(at, " ");
        if (*at) *at++ = 0;
    }
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        if (space >= 0 && setns(space, CLONE_NEWNET) != 0) _exit(126);
        execv(words[0], words);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A namespace for this process: as root, or as the root of a user namespace. */
static bool leave_the_world(void)
{
    char map[64];
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) == 0) return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) != 0) return false;
    snprintf(map, sizeof map, "0 %u 1", (unsigned)user);
    if (!put("/proc/self/uid_map", map) || !put("/proc/self/setgroups", "deny")) return false;
    snprintf(map, sizeof map, "0 %u 1", (unsigned)group);
    return put("/proc/self/gid_map", map);
}

/* The local table is looked at first of all, where rules could not block what is for the router. */
static bool open_router(void)
{
    return ip(-1, "link set lo up") && ip(-1, "addr add " NET_ROUTER "/32 dev lo") &&
           put("/proc/sys/net/ipv4/ip_forward", "1") &&
           put("/proc/sys/net/ipv4/conf/all/rp_filter", "0") &&
           put("/proc/sys/net/ipv4/conf/default/rp_filter", "0") &&
           ip(-1, "rule add pref 200 table local") && ip(-1, "rule del pref 0");
}

static bool open_place(net *n, int i)
{
    int router = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    bool fine = router >= 0 && unshare(CLONE_NEWNET) == 0;
    n->spaces[i] = fine ? open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC) : -1;
    fine = fine && n->spaces[i] >= 0 && setns(router, CLONE_NEWNET) == 0;
    if (router >= 0) close(router);
    int to = fine ? n->spaces[i] : -1;
    return fine &&
           ip(-1, "link add v%d type veth peer name eth0 netns /proc/%d/fd/%d", i, (int)getpid(),
              to) &&
           ip(-1, "addr add 10.77.%d.1/30 dev v%d", i, i) && ip(-1, "link set v%d up", i) &&
           ip(to, "link set lo up") && ip(to, "addr add 10.77.%d.2/30 dev eth0", i) &&
           ip(to, "link set eth0 up") && ip(to, "route add default via 10.77.%d.1", i);
}

bool net_disk(const char *folder)
{
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=16m") == 0;
}

bool net_open(net *n, int count)
{
    need(count <= NET_PLACES_MAX, "places");
    if (!ip_program()) {
        printf("no partitions: there is no ip (package iproute2)\n");
        return false;
    }
    bool fine = leave_the_world() && open_router();
    for (n->count = 0; fine && n->count < count; n->count++) fine = open_place(n, n->count);
    if (!fine) printf("no partitions: this machine lets us make no network: %s\n", strerror(errno));
    return fine;
}

void net_address(char out[32], int place, int port)
{
    snprintf(out, 32, "10.77.%d.2:%d", place, port);
}

/* ---- what breaks ---- */

__attribute__((format(printf, 2, 3))) static void lose(net *n, const char *format, ...)
{
    char what[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    need(n->count && ip(-1, "rule add pref 100 %s blackhole", what), "a way is blocked");
    n->rules++;
}

void net_block(net *n, int from, int to)
{
    lose(n, "iif v%d to 10.77.%d.2", from, to);
}

void net_mute(net *n, int place)
{
    lose(n, "iif v%d", place);
}

void net_deafen(net *n, int place)
{
    lose(n, "to 10.77.%d.2", place);
}

void net_unplug(net *n, int place)
{
    need(n->count && ip(-1, "link set v%d down", place), "a cable is pulled");
}

void net_heal(net *n)
{
    for (; n->rules > 0; n->rules--) need(ip(-1, "rule del pref 100"), "a way is free again");
    for (int i = 0; i < n->count; i++) need(ip(-1, "link set v%d up", i), "a cable is plugged in");
}
