/* Sockets over libuv's polling: the calls that read and write are made here, so that all that was
 * written in one turn of the loop leaves at once. */
#include "sys/net.h"
#include "sys/out.h"
#include "sys/sys_uv.h"

#include "base/check.h"
#include "base/err.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READS_PER_TURN = 16, WRITES_PER_TURN = 4 };
enum {
    UNSENT_BYTES = 1 << 19, /* the system holds no more before what is put next */
    KEEPALIVE_S = 30,
    TICKS = 8 /* of a bounded time: while the loop stands still no more than one passes, or who has
                 answered meanwhile would be late */
};

/* The loop's eye on one descriptor. It outlives its socket until the loop has let go of it, so who
 * ran an event looks at `socket` again: NULL, it was closed meanwhile. */
typedef struct watch {
    uv_poll_t poll;
    gb_socket *socket;
    gb_mem *mem;
} watch;

/* Looking for a peer, likewise. */
typedef struct search {
    uv_getaddrinfo_t lookup;
    uv_timer_t timer;
    gb_socket *socket;
    gb_mem *mem;
    struct addrinfo *found, *next;
    uint64_t timeout_ms;
    int ticks;
    bool looking, timer_closed;
    char service[8], host[256];
} search;

/* A moment by which something must have happened, likewise. */
typedef struct bound {
    uv_timer_t timer;
    gb_socket *socket;
    gb_mem *mem;
    int ticks;
} bound;

struct gb_socket {
    gb_list dirty; /* in loop->dirty: it has bytes to write, and may be able to */
    gbi_uv_loop *loop;
    const gb_socket_events *events;
    void *user;
    watch *watch;   /* NULL: not connected */
    search *search; /* while connecting */
    bound *bound;   /* NULL: none */
    int fd;
    bool paused, blocked, high;
    gbi_out out;
    char peer[GB_ADDRESS_BYTES];
};

static void watch_closed(uv_handle_t *handle)
{
    watch *w = handle->data;
    gb_mem_free(w->mem, w, sizeof *w);
}

static void watch_end(gb_socket *socket)
{
    watch *w = socket->watch;
    if (!w) return;
    w->socket = NULL;
    socket->watch = NULL;
    uv_close((uv_handle_t *)&w->poll, watch_closed);
    if (socket->fd >= 0) close(socket->fd);
}

static void search_free(search *s)
{
    if (s->looking || !s->timer_closed) return;
    if (s->found) uv_freeaddrinfo(s->found);
    gb_mem_free(s->mem, s, sizeof *s);
}

static void search_timer_closed(uv_handle_t *handle)
{
    search *s = GB_CONTAINER(handle, search, timer);
    s->timer_closed = true;
    search_free(s);
}

static void search_end(gb_socket *socket)
{
    search *s = socket->search;
    if (!s) return;
    socket->search = NULL;
    s->socket = NULL;
    if (s->looking) uv_cancel((uv_req_t *)&s->lookup);
    uv_close((uv_handle_t *)&s->timer, search_timer_closed);
}

static void bound_closed(uv_handle_t *handle)
{
    bound *b = GB_CONTAINER(handle, bound, timer);
    gb_mem_free(b->mem, b, sizeof *b);
}

static void bound_end(gb_socket *socket)
{
    if (socket->bound) uv_close((uv_handle_t *)&socket->bound->timer, bound_closed);
    socket->bound = NULL;
}

static void socket_free(gb_socket *socket)
{
    gb_mem *mem = socket->loop->mem;
    socket->loop->loop.sockets--;
    gb_list_unlink(&socket->dirty);
    search_end(socket);
    bound_end(socket);
    watch_end(socket);
    gbi_out_fini(&socket->out);
    gb_mem_free(mem, socket, sizeof *socket);
}

static void socket_fail(gb_socket *socket, int rc, const char *why)
{
    const gb_socket_events *events = socket->events;
    void *user = socket->user;
    socket_free(socket);
    events->closed(user, rc, why);
}

static void tick_for(gbi_uv_loop *loop, uv_timer_t *timer, uv_timer_cb late, uint64_t timeout_ms)
{
    uv_timer_init(&loop->uv, timer);
    uv_update_time(&loop->uv);
    uv_timer_start(timer, late, timeout_ms / TICKS + 1, timeout_ms / TICKS + 1);
}

static void bound_late(uv_timer_t *timer)
{
    bound *b = GB_CONTAINER(timer, bound, timer);
    gb_socket *socket = b->socket;
    if (++b->ticks < TICKS) return;
    char why[GB_ADDRESS_BYTES + 32];
    snprintf(why, sizeof why, "no answer from %s in time", socket->peer);
    socket_fail(socket, GB_ETIMEDOUT, why);
}

int gb_socket_bound(gb_socket *socket, uint64_t timeout_ns)
{
    bound_end(socket);
    if (!timeout_ns) return 0;
    bound *b = gb_mem_zalloc(socket->loop->mem, sizeof *b);
    if (!b) return GB_ENOMEM;
    b->socket = socket;
    b->mem = socket->loop->mem;
    tick_for(socket->loop, &b->timer, bound_late, timeout_ns / GB_MS);
    socket->bound = b;
    return 0;
}

/* ---- writing ---- */

gb_buf *gb_socket_out(gb_socket *socket)
{
    return &socket->out.last;
}

static void counted(gb_socket *socket)
{
    if (socket->out.queued > GB_SOCKET_HIGH) socket->high = true;
}

static void put(gb_socket *socket)
{
    counted(socket);
    if (!socket->watch || socket->search || socket->blocked) return;
    if (socket->out.queued == 0 && !socket->events->leaving) return;
    gb_list_unlink(&socket->dirty);
    gb_list_push(&socket->loop->dirty, &socket->dirty);
}

void gb_socket_put(gb_socket *socket)
{
    gbi_out_count(&socket->out);
    put(socket);
}

int gb_socket_put_block(gb_socket *socket, gb_block *block, size_t offset, size_t bytes)
{
    if (bytes == 0) return 0;
    int rc = gbi_out_block(&socket->out, block, offset, bytes);
    if (rc == 0) put(socket);
    return rc;
}

size_t gb_socket_queued(const gb_socket *socket)
{
    return socket->out.queued;
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void poll_for(gb_socket *socket)
{
    int events = (socket->paused ? 0 : UV_READABLE) | (socket->blocked ? UV_WRITABLE : 0);
    if (events)
        uv_poll_start(&socket->watch->poll, events, on_ready);
    else
        uv_poll_stop(&socket->watch->poll);
}

/* Is there more than what was put? False: the socket may be gone. */
static bool leave(gb_socket *socket)
{
    if (!socket->events->leaving) return false;
    watch *w = socket->watch;
    bool more = socket->events->leaving(socket->user);
    if (!w->socket) return false;
    gb_list_unlink(&socket->dirty); /* what it has put leaves now */
    gbi_out_count(&socket->out);
    counted(socket);
    return more;
}

static void flush(gb_socket *socket)
{
    watch *w = socket->watch;
    bool more = false;
    for (int i = 0; i < WRITES_PER_TURN; i++) {
        more = leave(socket);
        if (!w->socket) return;
        int error = gbi_out_write(&socket->out, socket->fd);
        if (error) return socket_fail(socket, GB_ELOST, strerror(error));
        if (!more || socket->out.queued > 0) break; /* who always has more lets others go on */
    }
    bool was_blocked = socket->blocked;
    socket->blocked = more || socket->out.queued > 0;
    if (socket->blocked != was_blocked) poll_for(socket);
    if (socket->high && socket->out.queued < GB_SOCKET_LOW) {
        socket->high = false;
        if (socket->events->drained) socket->events->drained(socket->user);
    }
}

void gbi_uv_flush(gbi_uv_loop *loop)
{
    gb_list round, *link; /* what is put meanwhile waits for the next one */
    gb_list_init(&round);
    while ((link = gb_list_shift(&loop->dirty))) gb_list_push(&round, link);
    while ((link = gb_list_shift(&round))) flush(GB_CONTAINER(link, gb_socket, dirty));
}

/* ---- reading ---- */

static void read_some(watch *w)
{
    for (int i = 0; i < READS_PER_TURN && w->socket && !w->socket->paused; i++) {
        gb_socket *socket = w->socket;
        uint8_t *at;
        size_t room;
        int rc = socket->events->room(socket->user, &at, &room);
        if (!w->socket) return;
        if (rc < 0) {
            socket_fail(socket, rc, gb_err_detail());
            return;
        }
        ssize_t bytes = recv(socket->fd, at, room, MSG_DONTWAIT);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (bytes <= 0) {
            int error = bytes < 0 ? errno : 0;
            socket_fail(socket, error ? GB_ELOST : 0, error ? strerror(error) : "the peer closed");
            return;
        }
        socket->events->came(socket->user, (size_t)bytes);
        if ((size_t)bytes < room) return;
    }
}

static void connected(watch *w);

static void on_ready(uv_poll_t *poll, int status, int events)
{
    watch *w = GB_CONTAINER(poll, watch, poll);
    if (w->socket->search) {
        connected(w);
        return;
    }
    if (status < 0) events = UV_READABLE; /* the read says what it is */
    if (events & UV_WRITABLE) flush(w->socket);
    if (events & UV_READABLE && w->socket) read_some(w);
}

void gb_socket_pause(gb_socket *socket, bool pause)
{
    if (socket->paused == pause) return;
    socket->paused = pause;
    if (socket->watch && !socket->search) poll_for(socket);
}

void gb_socket_unheard(gb_socket *socket, uint64_t timeout_ns)
{
    unsigned ms = (unsigned)(timeout_ns / GB_MS); /* without it, it is only slower to end */
    setsockopt(socket->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

/* ---- opening and closing ---- */

static int set_options(int fd)
{
    int yes = 1, idle = KEEPALIVE_S, unsent = UNSENT_BYTES;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent); /* better, not needed */
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0 &&
                   setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes) == 0 &&
                   setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) == 0
               ? 0
               : -errno;
}

/* Takes fd over, also when it fails. */
static int watch_begin(gb_socket *socket, int fd)
{
    watch *w = gb_mem_zalloc(socket->loop->mem, sizeof *w);
    int rc = w ? set_options(fd) : -ENOMEM;
    if (rc == 0) rc = uv_poll_init(&socket->loop->uv, &w->poll, fd);
    if (rc < 0) {
        gb_mem_free(socket->loop->mem, w, w ? sizeof *w : 0);
        close(fd);
        return gb_err_set(gbi_errno_rc(-rc), "no socket: %s", strerror(-rc));
    }
    w->poll.data = w;
    w->socket = socket;
    w->mem = socket->loop->mem;
    socket->watch = w;
    socket->fd = fd;
    return 0;
}

static gb_socket *socket_new(gbi_uv_loop *loop, const gb_socket_events *events, void *user)
{
    gb_socket *socket = gb_mem_zalloc(loop->mem, sizeof *socket);
    if (!socket) return NULL;
    gb_list_init(&socket->dirty);
    gbi_out_init(&socket->out, loop->mem);
    socket->loop = loop;
    socket->events = events;
    socket->user = user;
    loop->loop.sockets++;
    return socket;
}

static void name_peer(gb_socket *socket)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (getpeername(socket->fd, (struct sockaddr *)&peer, &size) == 0)
        gbi_address_print(socket->peer, (struct sockaddr *)&peer);
}

int gb_socket_open(gb_socket **out, gb_loop *base, int fd, const gb_socket_events *events,
                   void *user)
{
    gbi_uv_loop *loop = gbi_uv_loop_of(base);
    gb_socket *socket = loop ? socket_new(loop, events, user) : NULL;
    if (!socket) {
        close(fd);
        return loop ? GB_ENOMEM : GB_ENOTYET;
    }
    int rc = watch_begin(socket, fd);
    if (rc < 0) {
        socket_free(socket);
        return rc;
    }
    name_peer(socket);
    poll_for(socket);
    *out = socket;
    return 0;
}

void gb_socket_close(gb_socket *socket)
{
    if (socket->watch && !socket->search) gbi_out_write(&socket->out, socket->fd);
    socket_free(socket);
}

int gb_socket_take(gb_socket *socket)
{
    GB_CHECK(socket->watch && !socket->search && socket->out.queued == 0);
    int fd = socket->fd;
    socket->fd = -1;
    socket_free(socket);
    return fd;
}

const char *gb_socket_peer(const gb_socket *socket)
{
    return socket->peer;
}

/* ---- connecting ---- */

static int socket_new_fd(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Tries the addresses that were found, one after the other. */
static void connect_next(gb_socket *socket, int error)
{
    search *s = socket->search;
    watch_end(socket);
    while (s->next) {
        const struct addrinfo *to = s->next;
        s->next = to->ai_next;
        int fd = socket_new_fd(to->ai_family);
        if (fd < 0) {
            error = errno;
            continue;
        }
        if (connect(fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS) {
            error = errno;
            close(fd);
            continue;
        }
        if (watch_begin(socket, fd) < 0) {
            error = ENOMEM;
            continue;
        }
        uv_poll_start(&socket->watch->poll, UV_WRITABLE, on_ready);
        return;
    }
    char why[400];
    snprintf(why, sizeof why, "no connection to %s:%s: %s", s->host, s->service, strerror(error));
    socket_fail(socket, gbi_errno_rc(error), why);
}

static void connected(watch *w)
{
    gb_socket *socket = w->socket;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
    if (error) {
        connect_next(socket, error);
        return;
    }
    search_end(socket);
    name_peer(socket);
    poll_for(socket);
    gb_socket_put(socket);
    if (socket->events->opened) socket->events->opened(socket->user);
}

static void found(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list)
{
    search *s = GB_CONTAINER(lookup, search, lookup);
    s->looking = false;
    s->found = s->next = list;
    if (!s->socket) {
        search_free(s);
    } else if (status < 0) {
        char why[400];
        snprintf(why, sizeof why, "cannot find '%s': %s", s->host, uv_strerror(status));
        socket_fail(s->socket, GB_ELOST, why);
    } else {
        connect_next(s->socket, ECONNREFUSED);
    }
}

static void search_late(uv_timer_t *timer)
{
    search *s = GB_CONTAINER(timer, search, timer);
    char why[400];
    if (++s->ticks < TICKS) return;
    snprintf(why, sizeof why, "no connection to %s:%s within %.1f s", s->host, s->service,
             (double)s->timeout_ms / 1000);
    socket_fail(s->socket, GB_ETIMEDOUT, why);
}

int gb_socket_connect(gb_socket **out, gb_loop *base, const char *address, uint64_t timeout_ns,
                      const gb_socket_events *events, void *user)
{
    gbi_uv_loop *loop = gbi_uv_loop_of(base);
    if (!loop) return GB_ENOTYET;
    search *s = gb_mem_zalloc(loop->mem, sizeof *s);
    if (!s) return GB_ENOMEM;
    uint16_t port;
    int rc = gb_address_split(address, false, s->host, sizeof s->host, &port);
    gb_socket *socket = rc < 0 ? NULL : socket_new(loop, events, user);
    if (!socket) {
        gb_mem_free(loop->mem, s, sizeof *s);
        return rc < 0 ? rc : GB_ENOMEM;
    }
    snprintf(s->service, sizeof s->service, "%u", port);
    s->mem = loop->mem;
    s->socket = socket;
    s->timeout_ms = timeout_ns / GB_MS;
    socket->search = s;
    tick_for(loop, &s->timer, search_late, s->timeout_ms);
    struct addrinfo wish = {.ai_socktype = SOCK_STREAM};
    rc = uv_getaddrinfo(&loop->uv, &s->lookup, found, s->host, s->service, &wish);
    s->looking = rc == 0;
    if (rc < 0) {
        socket_free(socket);
        return gb_err_set(GB_ENOMEM, "cannot look for '%s': %s", address, uv_strerror(rc));
    }
    *out = socket;
    return 0;
}
