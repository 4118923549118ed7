/* src/sys/net.h: real sockets on this machine. */
#include "sys/net.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, TURN_MS = 50, ENDS = 4 };

typedef struct world {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_listener *listener;
    struct end *fresh; /* what is accepted next becomes this one */
    int accepted;
} world;

/* Longer than a name may be, so that nobody is asked for it. */
#define NO_HOST "a-name-that-is-longer-than-sixty-three-characters-and-therefore-no-name"

/* One end of a connection. */
typedef struct end {
    world *w;
    gb_socket *socket;
    uint8_t *bytes; /* what came */
    size_t size, room;
    int opened, drained, closed, rc;
    char why[256];
    bool echo, close_on_bytes, close_on_open, close_on_room;
} end;

static void on_opened(void *user)
{
    end *e = user;
    e->opened++;
    if (!e->close_on_open) return;
    gb_socket_close(e->socket);
    e->socket = NULL;
}

static int on_room(void *user, uint8_t **at, size_t *room)
{
    end *e = user;
    if (e->close_on_room) return gb_err_set(GB_ENOMEM, "no room");
    if (e->room - e->size < 65536) {
        e->room = 2 * e->room + 65536;
        e->bytes = realloc(e->bytes, e->room);
    }
    *at = e->bytes + e->size;
    *room = e->room - e->size;
    return 0;
}

static void on_came(void *user, size_t bytes)
{
    end *e = user;
    if (e->echo) {
        assert_int_equal(gb_buf_put(gb_socket_out(e->socket), e->bytes + e->size, bytes), 0);
        gb_socket_put(e->socket);
    }
    e->size += bytes;
    if (!e->close_on_bytes) return;
    gb_socket_close(e->socket);
    e->socket = NULL;
}

static void on_drained(void *user)
{
    ((end *)user)->drained++;
}

static void on_closed(void *user, int rc, const char *why)
{
    end *e = user;
    e->closed++;
    e->rc = rc;
    e->socket = NULL;
    snprintf(e->why, sizeof e->why, "%s", why ? why : "");
}

static const gb_socket_events events = {on_opened, on_room, on_came, NULL, on_drained, on_closed};

static void on_accepted(void *user, int fd, const char *peer)
{
    world *w = user;
    w->accepted++;
    assert_true(strncmp(peer, "127.0.0.1:", 10) == 0 || strncmp(peer, "[::1]:", 6) == 0);
    end *e = w->fresh;
    if (!e) {
        close(fd);
        return;
    }
    w->fresh = NULL;
    e->w = w;
    assert_int_equal(gb_socket_open(&e->socket, w->loop, fd, &events, e), 0);
    assert_string_equal(gb_socket_peer(e->socket), peer);
}

static void open_world(world *w, const char *address)
{
    *w = (world){0};
    gb_mem_init(&w->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&w->sys, &w->mem), 0);
    assert_int_equal(w->sys->door->loop_open(&w->loop, w->sys), 0);
    assert_int_equal(gb_listen(&w->listener, w->loop, address, on_accepted, w), 0);
}

static void close_world(world *w)
{
    if (w->listener) gb_listener_close(w->listener);
    assert_int_equal(w->loop->sockets, 0);
    w->sys->door->loop_close(w->loop);
    gb_sys_close(w->sys);
    assert_int_equal(atomic_load(&w->mem.bytes), 0);
}

/* Runs the loop until a condition holds, at most PATIENCE_MS. */
#define UNTIL(w, condition)                                                                        \
    do {                                                                                           \
        uint64_t start_ = gb_now((w)->sys);                                                        \
        while (!(condition) && gb_now((w)->sys) - start_ < PATIENCE_MS * GB_MS)                    \
            gb_loop_wait((w)->loop, TURN_MS *GB_MS);                                               \
        assert_true(condition);                                                                    \
    } while (0)

static void say(end *e, const void *bytes, size_t size)
{
    assert_int_equal(gb_buf_put(gb_socket_out(e->socket), bytes, size), 0);
    gb_socket_put(e->socket);
}

static void drop(end *e)
{
    if (e->socket) gb_socket_close(e->socket);
    e->socket = NULL;
    free(e->bytes);
    e->bytes = NULL;
}

static void pair(world *w, end *client, end *server)
{
    *client = (end){.w = w};
    *server = (end){.w = w};
    w->fresh = server;
    assert_int_equal(gb_socket_connect(&client->socket, w->loop, gb_listener_address(w->listener),
                                       10 * GB_SEC, &events, client),
                     0);
    UNTIL(w, client->opened == 1 && server->socket);
}

static void test_echo(void **state)
{
    static const char *const addresses[] = {"127.0.0.1:0", "[::1]:0", "localhost:0"};
    for (int i = 0; i < 3; i++) {
        world w;
        end client, server;
        open_world(&w, addresses[i]);
        pair(&w, &client, &server);
        server.echo = true;
        say(&client, "hello", 5);
        say(&client, " there", 6); /* two writes of one turn are one */
        UNTIL(&w, client.size == 11);
        assert_memory_equal(client.bytes, "hello there", 11);
        gb_socket_close(client.socket);
        client.socket = NULL;
        UNTIL(&w, server.closed == 1);
        assert_int_equal(server.rc, 0);
        drop(&client);
        drop(&server);
        close_world(&w);
    }
}

/* What is written before anything is connected goes out too; blocks keep their place between bytes,
 * and are held until they are written. */
static void test_blocks(void **state)
{
    world w;
    end client = {.w = &w}, server = {0};
    open_world(&w, "127.0.0.1:0");
    w.fresh = &server;
    assert_int_equal(gb_socket_connect(&client.socket, w.loop, gb_listener_address(w.listener),
                                       10 * GB_SEC, &events, &client),
                     0);
    enum { MANY = 40, BYTES = 300000 };
    size_t all = 0;
    for (int i = 0; i < MANY; i++) {
        char mark = (char)('A' + i % 26);
        gb_block *block = gb_block_new(&w.mem, BYTES);
        memset(block->data, 'a' + i % 26, BYTES);
        say(&client, &mark, 1);
        assert_int_equal(gb_socket_put_block(client.socket, block, 7, BYTES - 7), 0);
        gb_block_unref(block);
        all += 1 + BYTES - 7;
    }
    assert_int_equal(gb_socket_queued(client.socket), all);
    UNTIL(&w, server.size == all);
    for (int i = 0, at = 0; i < MANY; i++, at += 1 + BYTES - 7) {
        assert_int_equal(server.bytes[at], 'A' + i % 26);
        assert_int_equal(server.bytes[at + 1], 'a' + i % 26);
        assert_int_equal(server.bytes[at + BYTES - 7], 'a' + i % 26);
    }
    assert_int_equal(gb_socket_queued(client.socket), 0);
    assert_int_equal(client.drained, 1);
    drop(&client);
    drop(&server);
    close_world(&w);
}

/* A reader that pauses holds the writer back; nothing is lost. */
static void test_slow_reader(void **state)
{
    world w;
    end client, server;
    open_world(&w, "127.0.0.1:0");
    pair(&w, &client, &server);
    gb_socket_pause(server.socket, true);
    enum { CHUNK = 1 << 20, CHUNKS = 32 };
    char *chunk = malloc(CHUNK);
    for (int i = 0; i < CHUNKS; i++) {
        memset(chunk, i, CHUNK);
        say(&client, chunk, CHUNK);
        gb_loop_wait(w.loop, 0);
    }
    for (int i = 0; i < 20; i++) gb_loop_wait(w.loop, GB_MS);
    assert_int_equal(server.size, 0);
    assert_true(gb_socket_queued(client.socket) > GB_SOCKET_HIGH);
    assert_int_equal(client.drained, 0);
    gb_socket_pause(server.socket, false);
    UNTIL(&w, server.size == (size_t)CHUNK * CHUNKS);
    for (int i = 0; i < CHUNKS; i++) {
        assert_int_equal(server.bytes[(size_t)i * CHUNK], i);
        assert_int_equal(server.bytes[(size_t)i * CHUNK + CHUNK - 1], i);
    }
    UNTIL(&w, client.drained == 1);
    free(chunk);
    drop(&client);
    drop(&server);
    close_world(&w);
}

static void test_close_inside(void **state)
{
    world w;
    end client, server;
    open_world(&w, "127.0.0.1:0");
    pair(&w, &client, &server);
    server.close_on_bytes = true;
    say(&client, "x", 1);
    UNTIL(&w, client.closed == 1);
    drop(&client);
    drop(&server);
    pair(&w, &client, &server);
    server.close_on_room = true; /* closes with its error */
    say(&client, "x", 1);
    UNTIL(&w, client.closed == 1 && server.closed == 1);
    assert_int_equal(server.rc, GB_ENOMEM);
    assert_string_equal(server.why, "no room");
    drop(&client);
    drop(&server);
    client = (end){.w = &w, .close_on_open = true};
    server = (end){.w = &w};
    w.fresh = &server;
    assert_int_equal(gb_socket_connect(&client.socket, w.loop, gb_listener_address(w.listener),
                                       10 * GB_SEC, &events, &client),
                     0);
    UNTIL(&w, client.opened == 1 && server.closed == 1);
    assert_int_equal(client.closed, 0);
    drop(&client);
    drop(&server);
    close_world(&w);
}

/* A peer that does nothing in time: the socket closes; one that did is left alone. */
static void test_bound(void **state)
{
    world w;
    end client, server;
    open_world(&w, "127.0.0.1:0");
    pair(&w, &client, &server);
    assert_int_equal(gb_socket_bound(client.socket, 3600 * GB_SEC), 0);
    assert_int_equal(gb_socket_bound(client.socket, 10 * GB_MS), 0); /* the last one counts */
    assert_int_equal(gb_socket_bound(server.socket, GB_MS), 0);
    assert_int_equal(gb_socket_bound(server.socket, 0), 0);
    UNTIL(&w, client.closed == 1 && server.closed == 1);
    assert_int_equal(client.rc, GB_ETIMEDOUT);
    assert_int_equal(server.rc, 0); /* the peer closed: no time ran out here */
    drop(&client);
    drop(&server);
    pair(&w, &client, &server);
    assert_int_equal(gb_socket_bound(client.socket, GB_MS), 0);
    drop(&client); /* closed before */
    drop(&server);
    close_world(&w);
}

/* Closed at every moment of connecting. */
static void test_close_early(void **state)
{
    world w;
    open_world(&w, "127.0.0.1:0");
    for (int turns = 0; turns < 6; turns++) {
        end client = {.w = &w};
        assert_int_equal(gb_socket_connect(&client.socket, w.loop, gb_listener_address(w.listener),
                                           10 * GB_SEC, &events, &client),
                         0);
        for (int i = 0; i < turns; i++) gb_loop_wait(w.loop, 0);
        drop(&client);
    }
    close_world(&w);
}

static void test_bad_luck(void **state)
{
    world w;
    open_world(&w, "127.0.0.1:0");
    char taken[GB_ADDRESS_BYTES];
    snprintf(taken, sizeof taken, "%s", gb_listener_address(w.listener));
    gb_listener *second;
    assert_int_equal(gb_listen(&second, w.loop, taken, on_accepted, &w), GB_EBUSY);
    assert_non_null(strstr(gb_err_detail(), "another process listens there"));
    assert_non_null(strstr(gb_err_detail(), taken));
    assert_int_equal(gb_listen(&second, w.loop, "192.0.2.1:7000", on_accepted, &w), GB_EINVAL);
    gb_listener_close(w.listener);
    w.listener = NULL;
    gb_loop_wait(w.loop, 0);
    end client = {.w = &w};
    assert_int_equal(
        gb_socket_connect(&client.socket, w.loop, taken, 10 * GB_SEC, &events, &client), 0);
    UNTIL(&w, client.closed == 1); /* nobody is there any more */
    assert_int_equal(client.rc, GB_ELOST);
    assert_non_null(strstr(client.why, "Connection refused"));
    client = (end){.w = &w};
    assert_int_equal(
        gb_socket_connect(&client.socket, w.loop, NO_HOST ":7001", 10 * GB_SEC, &events, &client),
        0);
    UNTIL(&w, client.closed == 1);
    assert_non_null(strstr(client.why, NO_HOST));
    close_world(&w);
}

/* A listener whose queue is full does not answer: the connection is given up in time. */
/* A loop that stood still for longer than the time: who answered meanwhile is not late. */
static void test_stall(void **state)
{
    world w;
    end client;
    open_world(&w, "127.0.0.1:0");
    client = (end){.w = &w};
    assert_int_equal(gb_socket_connect(&client.socket, w.loop, gb_listener_address(w.listener),
                                       50 * GB_MS, &events, &client),
                     0);
    assert_int_equal(gb_socket_bound(client.socket, 3600 * GB_SEC), 0);
    for (uint64_t until = gb_now(w.sys) + 60 * GB_MS; gb_now(w.sys) < until;) continue;
    UNTIL(&w, client.opened || client.closed);
    assert_int_equal(client.closed, 0);
    drop(&client);
    close_world(&w);
}

static void test_late(void **state)
{
    world w;
    open_world(&w, "127.0.0.1:0");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char host[64], address[GB_ADDRESS_BYTES];
    uint16_t port = 0;
    assert_true(fd >= 0 && listen(fd, 0) == 0); /* any free port; nobody accepts */
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    memcpy(&port, (char *)&at + 2, 2);
    snprintf(address, sizeof address, "127.0.0.1:%d", (port >> 8) | ((port & 255) << 8));
    assert_int_equal(gb_address_split(address, false, host, sizeof host, &port), 0);
    end clients[8];
    int late = 0;
    for (int i = 0; i < 8; i++) {
        clients[i] = (end){.w = &w};
        assert_int_equal(gb_socket_connect(&clients[i].socket, w.loop, address, 200 * GB_MS,
                                           &events, &clients[i]),
                         0);
    }
    for (int i = 0; i < 8; i++) UNTIL(&w, clients[i].opened || clients[i].closed);
    for (int i = 0; i < 8; i++) {
        if (clients[i].closed) {
            assert_int_equal(clients[i].rc, GB_ETIMEDOUT);
            late++;
        }
        drop(&clients[i]);
    }
    assert_in_range(late, 1, 8);
    close(fd);
    close_world(&w);
}

static void test_addresses(void **state)
{
    char host[32];
    uint16_t port;
    assert_int_equal(gb_address_split("node-a:7001", false, host, sizeof host, &port), 0);
    assert_string_equal(host, "node-a");
    assert_int_equal(port, 7001);
    assert_int_equal(gb_address_split("[fe80::1]:80", false, host, sizeof host, &port), 0);
    assert_string_equal(host, "fe80::1");
    static const char *const bad[] = {
        "",       ":",     "a",     "a:",      ":80",
        "a:b",    "a:1b",  "a:-1",  "a:65536", "a:0",
        "::1:80", "[]:80", "a: 80", "[::1]80", "a:99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(gb_address_split(bad[i], false, host, sizeof host, &port), GB_EINVAL);
        if (*bad[i]) assert_non_null(strstr(gb_err_detail(), bad[i]));
    }
    assert_int_equal(gb_address_split("a:0", true, host, sizeof host, &port), 0);
    assert_int_equal(gb_address_split("a.very.long.name.of.a.host.that.is.none:1", false, host,
                                      sizeof host, &port),
                     GB_EINVAL);
    assert_true(gb_address_is_loopback("127.0.0.1"));
    assert_true(gb_address_is_loopback("127.8.9.1"));
    assert_true(gb_address_is_loopback("::1"));
    assert_true(gb_address_is_loopback("localhost"));
    assert_false(gb_address_is_loopback("0.0.0.0"));
    assert_false(gb_address_is_loopback("128.0.0.1"));
    assert_false(gb_address_is_loopback("127.example.org"));
}

/* Every allocation fails in turn. */
static void test_memory(void **state)
{
    for (int64_t nth = 1;; nth++) {
        world w;
        end client = {.w = &w}, server = {0};
        open_world(&w, "127.0.0.1:0");
        w.fresh = NULL;
        gb_block *block = gb_block_new(&w.mem, 1000);
        atomic_store(&w.mem.fail_at, nth);
        gb_listener *other = NULL;
        int rc = gb_listen(&other, w.loop, "127.0.0.1:0", on_accepted, &w);
        if (rc == 0)
            rc = gb_socket_connect(&client.socket, w.loop, gb_listener_address(w.listener),
                                   10 * GB_SEC, &events, &client);
        if (rc == 0) {
            rc = gb_buf_put(gb_socket_out(client.socket), "x", 1);
            if (rc == 0) rc = gb_socket_put_block(client.socket, block, 0, 1000);
            UNTIL(&w, client.opened || client.closed);
        }
        if (client.closed) rc = client.rc;
        bool failed = atomic_load(&w.mem.fail_at) <= 0;
        assert_true(rc == 0 || (failed && rc == GB_ENOMEM));
        atomic_store(&w.mem.fail_at, 0);
        if (other) gb_listener_close(other);
        gb_block_unref(block);
        drop(&client);
        drop(&server);
        close_world(&w);
        if (!failed) {
            assert_true(nth > 4);
            return;
        }
    }
}

static void test_simulated(void **state)
{
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_listener *listener;
    gb_socket *socket;
    gb_mem_init(&mem, "test", NULL, 0);
    assert_int_equal(gb_sys_sim_open(&sys, &mem, 1), 0);
    assert_int_equal(sys->door->loop_open(&loop, sys), 0);
    assert_int_equal(gb_listen(&listener, loop, "127.0.0.1:0", on_accepted, NULL), GB_ENOTYET);
    assert_int_equal(gb_socket_connect(&socket, loop, "127.0.0.1:1", GB_SEC, &events, NULL),
                     GB_ENOTYET);
    sys->door->loop_close(loop);
    gb_sys_close(sys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_slow_reader), cmocka_unit_test(test_close_inside),
        cmocka_unit_test(test_bound),       cmocka_unit_test(test_close_early),
        cmocka_unit_test(test_bad_luck),    cmocka_unit_test(test_late),
        cmocka_unit_test(test_addresses),   cmocka_unit_test(test_memory),
        cmocka_unit_test(test_simulated),   cmocka_unit_test(test_stall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
