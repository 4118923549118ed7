#include "cluster/pipe.h"

#include "base/check.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 65536, SLICE_BYTES = 256 << 10 };

struct gb_pipe {
    gb_mem *mem;
    gb_socket *socket;
    gb_tls_session *session; /* NULL: without TLS */
    const gb_socket_events *events;
    void *user;
    bool up;       /* bytes may flow */
    bool *gone;    /* inside an event: set when it was freed */
    gb_buf plain;  /* with TLS: what is to be written, as the user gave it */
    uint8_t *came; /* with TLS: room for what comes */
};

void gb_pipe_end_close(gb_pipe_end *end)
{
    if (end->session) gb_tls_session_close(end->session);
    if (end->fd >= 0) close(end->fd);
    *end = (gb_pipe_end){.fd = -1};
}

void gb_pipe_end_say(gb_pipe_end *end, gb_mem *mem, const void *bytes, size_t size)
{
    gb_buf out;
    gb_buf_init(&out, mem);
    int rc = end->session ? gb_tls_write(end->session, bytes, size) : 0;
    if (rc == 0) rc = end->session ? gb_tls_out(end->session, &out) : gb_buf_put(&out, bytes, size);
    ssize_t sent = rc == 0 ? send(end->fd, out.data, out.size, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    (void)sent;
    gb_buf_fini(&out);
}

static void pipe_free(gb_pipe *pipe)
{
    if (pipe->gone) *pipe->gone = true;
    if (pipe->session) gb_tls_session_close(pipe->session);
    gb_buf_fini(&pipe->plain);
    gb_mem_free(pipe->mem, pipe->came, pipe->came ? READ_BYTES : 0);
    gb_mem_free(pipe->mem, pipe, sizeof *pipe);
}

static void pipe_fail(gb_pipe *pipe, int rc, const char *why)
{
    const gb_socket_events *events = pipe->events;
    void *user = pipe->user;
    char text[512];
    snprintf(text, sizeof text, "%s", why);
    if (pipe->socket) gb_socket_close(pipe->socket);
    pipe_free(pipe);
    events->closed(user, rc, text);
}

/* ---- TLS ---- */

/* What the session wants to send goes to the socket. */
static int send_out(gb_pipe *pipe)
{
    int rc = gb_tls_out(pipe->session, gb_socket_out(pipe->socket));
    gb_socket_put(pipe->socket);
    return rc;
}

/* In slices, so that a large one is not in memory three times. */
static int write_plain(gb_pipe *pipe)
{
    gb_buf *plain = &pipe->plain;
    int rc = 0;
    for (size_t at = 0; at < plain->size && rc == 0; at += SLICE_BYTES) {
        size_t slice = plain->size - at < SLICE_BYTES ? plain->size - at : SLICE_BYTES;
        rc = gb_tls_write(pipe->session, plain->data + at, slice);
        if (rc == 0) rc = send_out(pipe);
    }
    plain->size = 0;
    return rc;
}

/* Runs one event of the user's. False: the pipe is gone. */
#define TELL(pipe, call)                                                                           \
    do {                                                                                           \
        bool gone_ = false, *outer_ = (pipe)->gone;                                                \
        (pipe)->gone = &gone_;                                                                     \
        call;                                                                                      \
        if (gone_) {                                                                               \
            if (outer_) *outer_ = true;                                                            \
            return false;                                                                          \
        }                                                                                          \
        (pipe)->gone = outer_;                                                                     \
    } while (0)

static bool came_up(gb_pipe *pipe)
{
    pipe->up = true;
    if (pipe->events->opened) TELL(pipe, pipe->events->opened(pipe->user));
    int rc = pipe->session ? write_plain(pipe) : 0;
    if (rc == 0) return true;
    pipe_fail(pipe, rc, gb_err_detail());
    return false;
}

/* Plain bytes go to the user, as many as there are. False: the pipe is gone. */
static bool read_plain(gb_pipe *pipe)
{
    for (;;) {
        uint8_t *at, none;
        size_t room = 0;
        int rc = 0;
        if (pipe->up) TELL(pipe, rc = pipe->events->room(pipe->user, &at, &room));
        int64_t bytes = rc < 0 ? rc : gb_tls_read(pipe->session, room ? at : &none, room);
        if (rc >= 0) { /* the handshake may want to say something, or the last word */
            int sent = send_out(pipe);
            if (bytes >= 0 && sent < 0) bytes = sent;
        }
        if (bytes < 0) {
            bool over = bytes == GB_ECLOSED;
            pipe_fail(pipe, over ? 0 : (int)bytes, over ? "the peer closed" : gb_err_detail());
            return false;
        }
        if (!pipe->up && gb_tls_is_up(pipe->session)) {
            if (!came_up(pipe)) return false;
            continue;
        }
        if (bytes == 0) return true;
        TELL(pipe, pipe->events->came(pipe->user, (size_t)bytes));
    }
}

/* ---- events of the socket ---- */

static bool begin(gb_pipe *pipe)
{
    return pipe->session ? read_plain(pipe) : came_up(pipe);
}

static void on_opened(void *user)
{
    begin(user);
}

static int on_room(void *user, uint8_t **at, size_t *room)
{
    gb_pipe *pipe = user;
    if (!pipe->session) return pipe->events->room(pipe->user, at, room);
    *at = pipe->came;
    *room = READ_BYTES;
    return 0;
}

static void on_came(void *user, size_t bytes)
{
    gb_pipe *pipe = user;
    if (!pipe->session) {
        pipe->events->came(pipe->user, bytes);
        return;
    }
    int rc = gb_tls_take(pipe->session, pipe->came, bytes);
    if (rc < 0)
        pipe_fail(pipe, rc, gb_err_detail());
    else
        read_plain(pipe);
}

/* All that was put in one turn of the loop is encrypted at once. */
static bool on_leaving(void *user)
{
    gb_pipe *pipe = user;
    bool more = false;
    if (pipe->up && pipe->events->leaving) TELL(pipe, more = pipe->events->leaving(pipe->user));
    int rc = pipe->session && pipe->up ? write_plain(pipe) : 0;
    if (rc < 0) pipe_fail(pipe, rc, gb_err_detail());
    return rc == 0 && more;
}

static void on_drained(void *user)
{
    gb_pipe *pipe = user;
    if (pipe->events->drained) pipe->events->drained(pipe->user);
}

static void on_closed(void *user, int rc, const char *why)
{
    gb_pipe *pipe = user;
    pipe->socket = NULL;
    pipe_fail(pipe, rc, why);
}

static const gb_socket_events socket_events = {on_opened,  on_room,    on_came,
                                               on_leaving, on_drained, on_closed};

/* ---- opening and closing ---- */

static gb_pipe *pipe_new(gb_mem *mem, gb_tls_session *session, const gb_socket_events *events,
                         void *user)
{
    gb_pipe *pipe = gb_mem_zalloc(mem, sizeof *pipe);
    if (!pipe) return NULL;
    pipe->mem = mem;
    pipe->events = events;
    pipe->user = user;
    gb_buf_init(&pipe->plain, mem);
    if (session && !(pipe->came = gb_mem_alloc(mem, READ_BYTES))) {
        pipe_free(pipe);
        return NULL;
    }
    pipe->session = session; /* last: it is the caller's until here */
    return pipe;
}

int gb_pipe_open(gb_pipe **out, gb_mem *mem, gb_loop *loop, gb_pipe_end end,
                 const gb_socket_events *events, void *user)
{
    gb_pipe *pipe = pipe_new(mem, end.session, events, user);
    if (!pipe) {
        gb_pipe_end_close(&end);
        return GB_ENOMEM;
    }
    pipe->up = true;
    int rc = gb_socket_open(&pipe->socket, loop, end.fd, &socket_events, pipe);
    if (rc < 0) {
        pipe_free(pipe);
        return rc;
    }
    *out = pipe;
    return 0;
}

int gb_pipe_accept(gb_pipe **out, gb_mem *mem, gb_loop *loop, int fd, gb_tls *tls,
                   const gb_socket_events *events, void *user)
{
    gb_pipe_end end = {.fd = fd};
    int rc = tls ? gb_tls_session_open(&end.session, tls, GB_TLS_ACCEPTS_CLIENTS, NULL) : 0;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    rc = gb_pipe_open(out, mem, loop, end, events, user);
    if (rc == 0 && tls) (*out)->up = false;
    return rc;
}

int gb_pipe_connect(gb_pipe **out, gb_mem *mem, gb_loop *loop, const char *address, gb_tls *tls,
                    uint64_t timeout_ns, const gb_socket_events *events, void *user)
{
    gb_tls_session *session = NULL;
    char host[256];
    uint16_t port;
    int rc = gb_address_split(address, false, host, sizeof host, &port);
    if (rc == 0 && tls) rc = gb_tls_session_open(&session, tls, GB_TLS_CONNECTS, host);
    if (rc < 0) return rc;
    gb_pipe *pipe = pipe_new(mem, session, events, user);
    if (!pipe) {
        if (session) gb_tls_session_close(session);
        return GB_ENOMEM;
    }
    rc = gb_socket_connect(&pipe->socket, loop, address, timeout_ns, &socket_events, pipe);
    if (rc < 0) {
        pipe_free(pipe);
        return rc;
    }
    *out = pipe;
    return 0;
}

gb_pipe_end gb_pipe_take(gb_pipe *pipe)
{
    gb_pipe_end end = {.session = pipe->session};
    pipe->session = NULL;
    end.fd = gb_socket_take(pipe->socket);
    pipe_free(pipe);
    return end;
}

int gb_pipe_bound(gb_pipe *pipe, uint64_t timeout_ns)
{
    return gb_socket_bound(pipe->socket, timeout_ns);
}

const char *gb_pipe_peer(const gb_pipe *pipe)
{
    return gb_socket_peer(pipe->socket);
}

void gb_pipe_unheard(gb_pipe *pipe, uint64_t timeout_ns)
{
    gb_socket_unheard(pipe->socket, timeout_ns);
}

void gb_pipe_pause(gb_pipe *pipe, bool pause)
{
    if (pipe->socket) gb_socket_pause(pipe->socket, pause);
}

void gb_pipe_close(gb_pipe *pipe)
{
    if (pipe->session && pipe->up) {
        write_plain(pipe);
        gb_tls_finish(pipe->session);
        send_out(pipe);
    }
    gb_socket_close(pipe->socket);
    pipe_free(pipe);
}

/* ---- writing ---- */

gb_buf *gb_pipe_out(gb_pipe *pipe)
{
    return pipe->session ? &pipe->plain : gb_socket_out(pipe->socket);
}

void gb_pipe_put(gb_pipe *pipe)
{
    if (!pipe->session || pipe->up) gb_socket_put(pipe->socket);
}

int gb_pipe_put_block(gb_pipe *pipe, gb_block *block, size_t offset, size_t bytes)
{
    if (!pipe->session) return gb_socket_put_block(pipe->socket, block, offset, bytes);
    int rc = gb_buf_put(&pipe->plain, (const uint8_t *)block->data + offset, bytes);
    if (rc == 0) gb_pipe_put(pipe);
    return rc;
}

size_t gb_pipe_queued(const gb_pipe *pipe)
{
    return gb_socket_queued(pipe->socket) + pipe->plain.size;
}

int gb_pipe_bind(const gb_pipe *pipe, uint8_t out[GB_MAC_BYTES])
{
    memset(out, 0, GB_MAC_BYTES);
    return pipe->session ? gb_tls_bind(pipe->session, out) : 0;
}

bool gb_pipe_who(const gb_pipe *pipe, gb_tls_peer *out)
{
    memset(out, 0, sizeof *out);
    if (!pipe->session) return false;
    gb_tls_get_peer(pipe->session, out);
    return true;
}
