/* The floor for calls between processes: an epoll echo of frames (a length, then bytes) with one
 * thread on either side. echo serve: prints its port, then echoes until its peer is gone. echo call
 * PORT: 64 bytes, one in flight; then 1 MiB, 8 in flight. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SMALL = 64, SMALL_CALLS = 20000, LARGE = 1 << 20, LARGE_CALLS = 2000, IN_FLIGHT = 8 };
enum { ROOM = (IN_FLIGHT + 1) * (LARGE + 4) };

static uint8_t in[ROOM], out[ROOM];
static size_t have, taken, put, sent;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void need(int good, const char *what)
{
    if (good) return;
    perror(what);
    exit(1);
}

static void flush(int fd)
{
    while (sent < put) {
        ssize_t n = send(fd, out + sent, put - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) return;
        need(n > 0, "send");
        sent += (size_t)n;
    }
    put = sent = 0;
}

static void append(const void *bytes, size_t size)
{
    if (put + size > ROOM) {
        memmove(out, out + sent, put - sent);
        put -= sent;
        sent = 0;
    }
    memcpy(out + put, bytes, size);
    put += size;
}

static void send_frame(const uint8_t *bytes, uint32_t size)
{
    append(&size, sizeof size);
    append(bytes, size);
}

/* The next frame that is there; NULL: none. */
static const uint8_t *next_frame(uint32_t *size)
{
    if (have - taken < sizeof *size) return NULL;
    memcpy(size, in + taken, sizeof *size);
    if (have - taken < sizeof *size + *size) return NULL;
    const uint8_t *frame = in + taken + sizeof *size;
    taken += sizeof *size + *size;
    return frame;
}

/* Waits for bytes, writes what can be written. 0: the peer is gone. */
static int turn(int poll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | (sent < put ? EPOLLOUT : 0)};
    static uint32_t events;
    if (events != event.events) epoll_ctl(poll, EPOLL_CTL_MOD, fd, &event);
    events = event.events;
    while (epoll_wait(poll, &event, 1, -1) < 0) need(errno == EINTR, "epoll_wait");
    if (taken > 0) {
        memmove(in, in + taken, have - taken);
        have -= taken;
        taken = 0;
    }
    ssize_t n = recv(fd, in + have, ROOM - have, MSG_DONTWAIT);
    if (n == 0) return 0;
    need(n > 0 || errno == EAGAIN, "recv");
    if (n > 0) have += (size_t)n;
    flush(fd);
    return 1;
}

static int poll_on(int fd)
{
    int poll = epoll_create1(0), yes = 1;
    struct epoll_event event = {.events = EPOLLIN};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    need(poll >= 0 && epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll");
    return poll;
}

static int serve(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int door = socket(AF_INET, SOCK_STREAM, 0);
    need(bind(door, (struct sockaddr *)&at, size) == 0 && listen(door, 1) == 0 &&
             getsockname(door, (struct sockaddr *)&at, &size) == 0,
         "listen");
    printf("ready %d\n", ntohs(at.sin_port));
    fflush(stdout);
    alarm(120);
    int fd = accept(door, NULL, NULL), poll = poll_on(fd);
    while (turn(poll, fd)) {
        uint32_t bytes;
        const uint8_t *frame;
        while ((frame = next_frame(&bytes))) send_frame(frame, bytes);
        flush(fd);
    }
    return 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void one_in_flight(int poll, int fd)
{
    static double took[SMALL_CALLS];
    static uint8_t body[SMALL];
    for (int i = 0; i < SMALL_CALLS; i++) {
        uint32_t size;
        double from = now();
        send_frame(body, SMALL);
        flush(fd);
        while (!next_frame(&size)) need(turn(poll, fd), "the peer is gone");
        took[i] = now() - from;
    }
    qsort(took, SMALL_CALLS, sizeof *took, by_size);
    printf("R remote_echo_us %.3f\n", took[SMALL_CALLS / 2] * 1e6);
}

static void large(int poll, int fd)
{
    static uint8_t body[LARGE];
    double from = now();
    for (int asked = 0, got = 0; got < LARGE_CALLS;) {
        uint32_t size;
        for (; asked < LARGE_CALLS && asked - got < IN_FLIGHT; asked++) send_frame(body, LARGE);
        flush(fd);
        need(turn(poll, fd), "the peer is gone");
        while (next_frame(&size)) got++;
    }
    printf("R remote_echo_mib %.0f\n", LARGE_CALLS / (now() - from));
}

int main(int count, char **args)
{
    if (count < 3) return serve();
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtol(args[2], NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    need(connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    int poll = poll_on(fd);
    one_in_flight(poll, fd);
    large(poll, fd);
    return 0;
}
