/* Addresses, and listening for connections. */
#include "sys/net.h"
#include "sys/sys_uv.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512, ACCEPTS_PER_TURN = 64, ACCEPT_AGAIN_MS = 100 };

/* ---- addresses ---- */

int gb_address_split(const char *address, bool any, char *host, size_t room, uint16_t *port)
{
    const char *colon = strrchr(address, ':'), *end = colon, *start = address;
    if (colon && *start == '[' && colon > start && colon[-1] == ']') start++, end--;
    char *rest = NULL;
    unsigned long number = colon ? strtoul(colon + 1, &rest, 10) : 0;
    bool digits = colon && colon[1] >= '0' && colon[1] <= '9' && *rest == 0;
    if (!digits || number > 65535 || (number == 0 && !any) || end == start ||
        (start == address && memchr(start, ':', (size_t)(end - start))))
        return gb_err_set(GB_EINVAL,
                          "'%s' is no address: it must be HOST:PORT, like "
                          "127.0.0.1:7001 or [::1]:7001",
                          address);
    size_t size = (size_t)(end - start);
    if (size >= room) return gb_err_set(GB_EINVAL, "the host of '%.200s' is too long", address);
    memcpy(host, start, size);
    host[size] = 0;
    *port = (uint16_t)number;
    return 0;
}

bool gb_address_is_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
    return strcmp(host, "localhost") == 0;
}

bool gb_peer_is_loopback(int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0) return false;
    if (peer.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&peer)->sin_addr.s_addr) >> 24 == 127;
    if (peer.ss_family != AF_INET6) return false;
    const struct in6_addr *six = &((struct sockaddr_in6 *)&peer)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

void gbi_address_print(char *out, const struct sockaddr *address)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(out, GB_ADDRESS_BYTES, "[%s]:%u", host, ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(out, GB_ADDRESS_BYTES, "%s:%u", host, ntohs(four->sin_port));
    }
}

int gbi_errno_rc(int error)
{
    switch (error) {
    case EADDRINUSE:
        return GB_EBUSY;
    case EACCES:
    case EPERM:
        return GB_EDENIED;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
        return GB_ENOMEM;
    case ETIMEDOUT:
        return GB_ETIMEDOUT;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return GB_EINVAL;
    default:
        return GB_ELOST;
    }
}

gbi_uv_loop *gbi_uv_loop_of(gb_loop *loop)
{
    if (!gb_sys_is_sim(loop->sys)) return (gbi_uv_loop *)loop;
    gb_err_set(GB_ENOTYET, "a simulated world has no sockets");
    return NULL;
}

/* ---- listening ---- */

struct gb_listener {
    uv_poll_t poll;
    uv_timer_t again; /* no descriptors were left: it looks again after a while */
    gbi_uv_loop *loop;
    void (*accepted)(void *user, int fd, const char *peer);
    void *user;
    int fd, closing; /* handles that are not closed yet */
    bool closed;
    char address[GB_ADDRESS_BYTES];
};

static void accept_some(uv_poll_t *poll, int status, int events);

static void accept_again(uv_timer_t *timer)
{
    gb_listener *listener = GB_CONTAINER(timer, gb_listener, again);
    uv_poll_start(&listener->poll, UV_READABLE, accept_some);
}

static void accept_some(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    gb_listener *listener = GB_CONTAINER(poll, gb_listener, poll);
    for (int i = 0; i < ACCEPTS_PER_TURN && !listener->closed; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int fd =
            accept4(listener->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            char peer[GB_ADDRESS_BYTES];
            gbi_address_print(peer, (struct sockaddr *)&from);
            listener->accepted(listener->user, fd, peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            uv_poll_stop(poll);
            uv_timer_start(&listener->again, accept_again, ACCEPT_AGAIN_MS, 0);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

static int bind_to(const char *address, struct sockaddr_storage *bound)
{
    char host[256], service[8];
    uint16_t port;
    int rc = gb_address_split(address, true, host, sizeof host, &port), yes = 1;
    if (rc < 0) return rc;
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo *found, wish = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    rc = getaddrinfo(host, service, &wish, &found);
    if (rc != 0) return gb_err_set(GB_EINVAL, "cannot find '%s': %s", host, gai_strerror(rc));
    socklen_t size = sizeof *bound;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0 &&
                getsockname(fd, (struct sockaddr *)bound, &size) == 0;
    int error = errno;
    freeaddrinfo(found);
    if (good) return fd;
    if (fd >= 0) close(fd);
    return gb_err_set(gbi_errno_rc(error), "cannot listen on %s: %s%s", address, strerror(error),
                      error == EADDRINUSE ? " (another process listens there)" : "");
}

static void listener_closed(uv_handle_t *handle)
{
    gb_listener *listener = handle->data;
    if (--listener->closing == 0) gb_mem_free(listener->loop->mem, listener, sizeof *listener);
}

int gb_listen(gb_listener **out, gb_loop *base, const char *address,
              void (*accepted)(void *user, int fd, const char *peer), void *user)
{
    gbi_uv_loop *loop = gbi_uv_loop_of(base);
    if (!loop) return GB_ENOTYET;
    gb_listener *listener = gb_mem_zalloc(loop->mem, sizeof *listener);
    if (!listener) return GB_ENOMEM;
    struct sockaddr_storage bound;
    int fd = bind_to(address, &bound);
    int rc = fd < 0 ? fd : uv_poll_init(&loop->uv, &listener->poll, fd);
    if (fd >= 0 && rc < 0) {
        close(fd);
        rc = gb_err_set(GB_ENOMEM, "cannot listen on %s: %s", address, uv_strerror(rc));
    }
    if (rc < 0) {
        gb_mem_free(loop->mem, listener, sizeof *listener);
        return rc;
    }
    uv_timer_init(&loop->uv, &listener->again);
    listener->poll.data = listener->again.data = listener;
    listener->loop = loop;
    listener->fd = fd;
    listener->accepted = accepted;
    listener->user = user;
    listener->closing = 2;
    gbi_address_print(listener->address, (struct sockaddr *)&bound);
    uv_poll_start(&listener->poll, UV_READABLE, accept_some);
    *out = listener;
    return 0;
}

void gb_listener_close(gb_listener *listener)
{
    listener->closed = true;
    uv_close((uv_handle_t *)&listener->poll, listener_closed);
    uv_close((uv_handle_t *)&listener->again, listener_closed);
    close(listener->fd);
}

const char *gb_listener_address(const gb_listener *listener)
{
    return listener->address;
}
