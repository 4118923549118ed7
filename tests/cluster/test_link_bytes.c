/* What comes over links, byte by byte: peers that are none of ours, broken and truncated frames,
 * blocks, limits, closing inside each event, and memory that ends anywhere. */
#include "cluster/link_room.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, TURN_MS = 20, LIMIT = 8 << 20, KIND = GB_LINK_KINDS, BLOCKS = 3 };

typedef enum event { NO_EVENT, AT_READY, AT_MESSAGE, AT_DRAINED } event;

typedef struct side {
    gb_link *link;
    int ready, messages, closed, rc;
    uint32_t count;
    size_t bytes; /* of all blocks of the last message */
    bool good;    /* ... which hold what they should */
    event close_at;
    int refuse; /* a message */
} side;

typedef struct world {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_listener *listener;
    gb_greeter *greeter;
    side client, server;
    int greeted, greeted_rc, accept_rc;
} world;

static bool closes(side *s, event at)
{
    if (s->close_at != at) return false;
    gb_link_close(s->link);
    s->link = NULL;
    return true;
}

static void on_ready(void *user, const gb_hello *peer)
{
    side *s = user;
    (void)peer;
    s->ready++;
    closes(s, AT_READY);
}

static int on_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    side *s = user;
    assert_int_equal(kind, KIND);
    s->messages++;
    s->count = count;
    s->bytes = size;
    s->good = size == 0 || ((const char *)body)[0] == 'm';
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *data = blocks[i]->data;
        s->bytes += blocks[i]->bytes;
        for (size_t n = 0; n < blocks[i]->bytes; n += 4096) s->good &= data[n] == i + 1;
        if (blocks[i]->bytes) s->good &= data[blocks[i]->bytes - 1] == i + 1;
    }
    if (closes(s, AT_MESSAGE)) return 0;
    return s->refuse ? gb_err_set(s->refuse, "not wanted") : 0;
}

static void on_drained(void *user)
{
    closes(user, AT_DRAINED);
}

static void on_closed(void *user, int rc, const char *why)
{
    side *s = user;
    (void)why;
    s->closed++;
    s->rc = rc;
    s->link = NULL;
}

static const gb_link_events events = {on_ready, on_message, on_drained, on_closed, NULL};

static void on_accepted(void *user, int fd, const char *peer)
{
    gb_greeter_add(((world *)user)->greeter, fd, peer);
}

static gb_hello hello_of(uint64_t silo, uint64_t to)
{
    return (gb_hello){.role = GB_LINK_CALLS, .silo = silo, .to = to, .cluster = "one"};
}

static void on_greeted(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                       gb_pipe_end end, const char *peer)
{
    world *w = user;
    gb_hello welcome = hello_of(7, 3);
    (void)hello, (void)peer, (void)grant;
    w->greeted++;
    w->greeted_rc = rc;
    if (rc < 0) return;
    w->accept_rc = gb_link_accept(&w->server.link, &w->mem, w->loop, end, &welcome, LIMIT, &events,
                                  &w->server);
}

static void open_world(world *w)
{
    memset(w, 0, sizeof *w);
    gb_mem_init(&w->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&w->sys, &w->mem), 0);
    assert_int_equal(w->sys->door->loop_open(&w->loop, w->sys), 0);
    assert_int_equal(gb_listen(&w->listener, w->loop, "127.0.0.1:0", on_accepted, w), 0);
    gb_greeter_config config = {.mem = &w->mem,
                                .loop = w->loop,
                                .timeout_ns = 10 * GB_SEC,
                                .waiting_max = 8,
                                .greeted = on_greeted,
                                .user = w};
    assert_int_equal(gb_greeter_open(&w->greeter, &config), 0);
}

static void close_world(world *w)
{
    if (w->client.link) gb_link_close(w->client.link);
    if (w->server.link) gb_link_close(w->server.link);
    gb_greeter_close(w->greeter);
    gb_listener_close(w->listener);
    w->sys->door->loop_close(w->loop);
    gb_sys_close(w->sys);
    gb_mem_fini(&w->mem);
}

#define UNTIL(w, condition)                                                                        \
    for (int waited_ = 0; !(condition); waited_++) {                                               \
        assert_true(waited_ < PATIENCE_MS / TURN_MS);                                              \
        gb_loop_wait((w)->loop, TURN_MS *GB_MS);                                                   \
    }

static int dial(world *w, uint64_t timeout_ns)
{
    gb_hello hello = hello_of(3, 7);
    return gb_link_connect(&w->client.link, &w->mem, w->loop, gb_listener_address(w->listener),
                           NULL, &hello, NULL, LIMIT, timeout_ns, &events, &w->client);
}

/* ---- a peer that is none of ours ---- */

static int raw_socket(world *w)
{
    char host[64];
    uint16_t port;
    assert_int_equal(
        gb_address_split(gb_listener_address(w->listener), false, host, sizeof host, &port), 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void raw_send(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void raw_frame(world *w, int fd, uint8_t kind, uint8_t flags, const void *body, size_t size)
{
    gb_buf out;
    gb_buf_init(&out, &w->mem);
    assert_int_equal(gb_frame_put(&out, kind, flags, body, size), 0);
    raw_send(fd, out.data, out.size);
    gb_buf_fini(&out);
}

/* Says hello as a silo would, and is welcomed. */
static int raw_link(world *w)
{
    gb_buf body;
    gb_hello hello = hello_of(3, 7);
    int fd = raw_socket(w);
    gb_buf_init(&body, &w->mem);
    assert_int_equal(gb_hello_encode(&body, &hello), 0);
    raw_frame(w, fd, GB_HELLO, 0, body.data, body.size);
    gb_buf_fini(&body);
    UNTIL(w, w->server.link);
    return fd;
}

static void test_strangers(void **state)
{
    (void)state;
    static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    uint8_t huge[GB_FRAME_HEADER_BYTES] = {
        GB_FRAME_MAGIC, GB_FRAME_VERSION, GB_HELLO, 0, 0xff, 0xff, 0xff, 0x3f};
    struct {
        const void *bytes;
        size_t size;
        int rc;
    } cases[] = {{http, sizeof http - 1, GB_EINVAL},
                 {huge, sizeof huge, GB_EINVAL},
                 {huge, 5, GB_ELOST},
                 {"", 0, GB_ELOST}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world w;
        char told[512];
        open_world(&w);
        int fd = raw_socket(&w);
        raw_send(fd, cases[i].bytes, cases[i].size);
        if (cases[i].rc == GB_ELOST) shutdown(fd, SHUT_WR);
        UNTIL(&w, w.greeted);
        assert_int_equal(w.greeted_rc, cases[i].rc);
        if (cases[i].rc == GB_EINVAL) assert_true(recv(fd, told, sizeof told, 0) > 0);
        close(fd);
        close_world(&w);
    }
}

static void test_broken_messages(void **state)
{
    (void)state;
    enum { CHUNK = GBI_LINK_CHUNK, B = GBI_LINK_BLOCKS };
    /* number, first, count, then sizes: low and high halves */
    uint32_t none[3] = {1, 0, 0}, many[3] = {1, 0, UINT32_MAX / 2}, large[5] = {1, 0, 1, 0, 256};
    uint32_t over[6] = {1, 0, 1, LIMIT, 0}, first[5] = {1, 101, 1, 100, 0},
             cut[7] = {1, 100, 1, 100};
    uint32_t pair[7] = {1, 0, 2, GB_LINK_BYTES_MOST, 0, GB_LINK_BYTES_MOST, 0}, chunk[2] = {7, 1};
    struct {
        uint8_t kind, flags;
        const void *body;
        size_t size;
        int rc;
    } cases[] = {{GB_HELLO, 0, "x", 1, GB_EINVAL}, {KIND, B, "x", 1, GB_EINVAL},
                 {KIND, B, none, 12, GB_EINVAL},   {KIND, B, many, 12, GB_EINVAL},
                 {KIND, B, large, 20, GB_EINVAL},  {KIND, B, over, 21, GB_EINVAL},
                 {KIND, B, pair, 28, GB_EINVAL},   {KIND, B, first, 20, GB_EINVAL},
                 {KIND, B, cut, 22, GB_ELOST},     {CHUNK, 0, chunk, 8, GB_EINVAL},
                 {CHUNK, 0, chunk, 7, GB_EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world w;
        open_world(&w);
        int fd = raw_link(&w);
        raw_frame(&w, fd, cases[i].kind, cases[i].flags, cases[i].body, cases[i].size);
        shutdown(fd, SHUT_WR);
        UNTIL(&w, w.server.closed);
        assert_int_equal(w.server.rc, cases[i].rc);
        assert_int_equal(w.server.messages, 0);
        close(fd);
        close_world(&w);
    }
}

/* ---- messages with blocks ---- */

static void drop_all(gb_block **blocks)
{
    for (int i = 0; i < BLOCKS; i++) gb_block_unref(blocks[i]);
}

/* 0, or an error of any step. */
static int send_blocks(world *w, const size_t sizes[BLOCKS])
{
    gb_block *blocks[BLOCKS] = {NULL};
    int rc = 0;
    for (int i = 0; i < BLOCKS && rc == 0; i++) {
        blocks[i] = gb_block_new_raw(&w->mem, sizes[i]);
        if (!blocks[i])
            rc = GB_ENOMEM;
        else
            memset(blocks[i]->data, i + 1, sizes[i]);
    }
    gb_buf *out = rc == 0 ? gb_link_begin(w->client.link, blocks, BLOCKS) : NULL;
    if (!out) {
        drop_all(blocks);
        return GB_ENOMEM;
    }
    rc = gb_buf_put(out, "message", 7);
    if (rc < 0)
        gb_link_drop(w->client.link);
    else
        rc = gb_link_end(w->client.link, KIND, blocks, BLOCKS);
    drop_all(blocks);
    return rc;
}

static void test_blocks(void **state)
{
    (void)state;
    static const size_t sizes[][BLOCKS] = {{0, 0, 0}, {0, 1, 0}, {1, 70000, 3}, {5 << 20, 0, 17}};
    world w;
    open_world(&w);
    assert_int_equal(dial(&w, 20 * GB_SEC), 0);
    UNTIL(&w, w.client.ready);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(send_blocks(&w, sizes[i]), 0);
        UNTIL(&w, w.server.messages == i + 1);
        assert_true(w.server.good && w.server.count == BLOCKS);
        assert_int_equal(w.server.bytes, 7 + sizes[i][0] + sizes[i][1] + sizes[i][2]);
    }
    assert_int_equal(send_blocks(&w, (size_t[]){LIMIT, 0, 1}), GB_EINVAL); /* and it lives */
    assert_int_equal(send_blocks(&w, sizes[1]), 0);
    UNTIL(&w, w.server.messages == 5);
    assert_int_equal(w.client.closed + w.server.closed, 0);
    w.server.refuse = GB_EBUSY;
    assert_int_equal(send_blocks(&w, sizes[2]), 0);
    UNTIL(&w, w.server.closed && w.client.closed);
    assert_int_equal(w.server.rc, GB_EBUSY);
    close_world(&w);
}

static void test_closing_inside(void **state)
{
    (void)state;
    for (int at = AT_READY; at <= AT_DRAINED; at++) {
        world w;
        open_world(&w);
        if (at == AT_MESSAGE)
            w.server.close_at = AT_MESSAGE;
        else
            w.client.close_at = (event)at;
        assert_int_equal(dial(&w, 20 * GB_SEC), 0);
        UNTIL(&w, w.client.ready);
        if (at != AT_READY) {
            for (int i = 0; i < (at == AT_DRAINED ? GB_LINK_LARGE_MAX : 1); i++)
                assert_int_equal(send_blocks(&w, (size_t[]){5 << 20, 1 << 20, 0}), 0);
            gb_link_large(w.client.link); /* who sees that they are many hears when they are not */
            UNTIL(&w, at == AT_MESSAGE ? w.client.closed : w.server.closed);
        } else {
            UNTIL(&w, w.server.closed);
        }
        close_world(&w);
    }
}

/* ---- memory ---- */

/* The Nth allocation fails, wherever that is: both ends hear of it, or the message comes. */
static bool fails_at(int64_t n)
{
    world w;
    open_world(&w);
    atomic_store(&w.mem.fail_at, n);
    int rc = dial(&w, GB_SEC / 4);
    while (rc == 0 && !w.client.closed && !w.client.ready) gb_loop_wait(w.loop, TURN_MS * GB_MS);
    if (w.client.ready && !w.client.closed) {
        rc = send_blocks(&w, (size_t[]){5 << 20, 10, 70000});
        if (rc == 0) UNTIL(&w, w.server.messages || w.client.closed);
        if (w.server.messages) assert_true(w.server.good && w.server.bytes > 5 << 20);
    }
    bool reached = atomic_load(&w.mem.fail_at) <= 0;
    atomic_store(&w.mem.fail_at, 0);
    if (!reached) assert_int_equal(w.server.messages, 1);
    close_world(&w);
    return reached;
}

static void test_no_memory(void **state)
{
    (void)state;
    int64_t n = 1;
    while (fails_at(n)) n++;
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strangers), cmocka_unit_test(test_broken_messages),
        cmocka_unit_test(test_blocks),    cmocka_unit_test(test_closing_inside),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
