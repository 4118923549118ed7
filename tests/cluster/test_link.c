/* Links over real sockets: the greeting, who is refused, and who is silent. */
#include "cluster/link.h"

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

enum { PATIENCE_MS = 20000, TURN_MS = 50, LIMIT = 1 << 20, KIND = GB_LINK_KINDS };

typedef struct side {
    gb_link *link;
    gb_hello peer;
    int ready, messages, closed, rc;
    char why[512], last[64];
} side;

typedef struct world {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_listener *listener;
    gb_greeter *greeter;
    gb_hello welcome;
    side client, server;
    int greeted, greeted_rc, held;
    bool is_silent;
} world;

static void on_ready(void *user, const gb_hello *peer)
{
    side *s = user;
    s->ready++;
    s->peer = *peer;
}

static int on_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    side *s = user;
    assert_int_equal(kind, KIND);
    assert_true(size < sizeof s->last && count == 0 && !blocks);
    memcpy(s->last, body, size);
    s->last[size] = 0;
    s->messages++;
    return 0;
}

static void on_closed(void *user, int rc, const char *why)
{
    side *s = user;
    s->closed++;
    s->rc = rc;
    s->link = NULL;
    snprintf(s->why, sizeof s->why, "%s", why);
}

static const gb_link_events events = {on_ready, on_message, NULL, on_closed, NULL};

static void on_accepted(void *user, int fd, const char *peer)
{
    world *w = user;
    if (w->is_silent)
        w->held = fd;
    else
        gb_greeter_add(w->greeter, fd, peer);
}

static void on_greeted(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                       gb_pipe_end end, const char *peer)
{
    world *w = user;
    (void)peer, (void)grant;
    w->greeted++;
    w->greeted_rc = rc;
    if (rc < 0) return;
    if (strcmp(hello->cluster, w->welcome.cluster) != 0) {
        gb_link_refuse(end, &w->mem, GB_EDENIED, "another cluster");
        return;
    }
    assert_int_equal(gb_link_accept(&w->server.link, &w->mem, w->loop, end, &w->welcome, LIMIT,
                                    &events, &w->server),
                     0);
}

static void open_world(world *w)
{
    *w = (world){.held = -1};
    gb_mem_init(&w->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&w->sys, &w->mem), 0);
    assert_int_equal(w->sys->door->loop_open(&w->loop, w->sys), 0);
    assert_int_equal(gb_listen(&w->listener, w->loop, "127.0.0.1:0", on_accepted, w), 0);
    gb_greeter_config config = {.mem = &w->mem,
                                .loop = w->loop,
                                .timeout_ns = 10 * GB_SEC,
                                .waiting_max = 2,
                                .greeted = on_greeted,
                                .user = w};
    assert_int_equal(gb_greeter_open(&w->greeter, &config), 0);
    w->welcome = (gb_hello){.role = GB_LINK_CALLS, .silo = 7, .cluster = "one"};
}

static void close_world(world *w)
{
    if (w->client.link) gb_link_close(w->client.link);
    if (w->server.link) gb_link_close(w->server.link);
    if (w->held >= 0) close(w->held);
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

static void dial(world *w, const char *cluster, uint64_t timeout_ns)
{
    gb_hello hello = {.role = GB_LINK_CALLS, .silo = 3, .to = 7};
    snprintf(hello.cluster, sizeof hello.cluster, "%s", cluster);
    assert_int_equal(gb_link_connect(&w->client.link, &w->mem, w->loop,
                                     gb_listener_address(w->listener), NULL, &hello, NULL, LIMIT,
                                     timeout_ns, &events, &w->client),
                     0);
}

static void say(gb_link *link, const char *text)
{
    gb_buf *out = gb_link_begin(link, NULL, 0);
    assert_non_null(out);
    assert_int_equal(gb_buf_put(out, text, strlen(text)), 0);
    assert_int_equal(gb_link_end(link, KIND, NULL, 0), 0);
}

static void test_greeting(void **state)
{
    (void)state;
    world w;
    open_world(&w);
    dial(&w, "one", 20 * GB_SEC);
    UNTIL(&w, w.client.ready);
    assert_true(w.client.peer.silo == 7);
    say(w.client.link, "there");
    say(w.server.link, "and back");
    UNTIL(&w, w.client.messages == 1 && w.server.messages == 1);
    assert_string_equal(w.server.last, "there");
    assert_string_equal(w.client.last, "and back");
    close_world(&w);
}

static void test_refused(void **state)
{
    (void)state;
    world w;
    open_world(&w);
    dial(&w, "two", 20 * GB_SEC);
    UNTIL(&w, w.client.closed);
    assert_int_equal(w.client.rc, GB_EDENIED);
    assert_non_null(strstr(w.client.why, "another cluster"));
    assert_int_equal(w.client.ready, 0);
    close_world(&w);
}

/* As of a process that was stopped: the kernel takes the connection, and nobody answers. */
static void test_silent_peer(void **state)
{
    (void)state;
    world w;
    open_world(&w);
    w.is_silent = true;
    dial(&w, "one", 30 * GB_MS);
    UNTIL(&w, w.client.closed);
    assert_int_equal(w.client.rc, GB_ETIMEDOUT);
    close_world(&w);
}

/* Once welcomed, a link may be silent for as long as it likes. */
static void test_quiet_link(void **state)
{
    (void)state;
    world w, other;
    open_world(&w);
    open_world(&other);
    dial(&w, "one", GB_SEC);
    UNTIL(&w, w.client.ready);
    other.is_silent = true; /* a bound that is set later runs out while the link stays */
    dial(&other, "one", GB_SEC);
    UNTIL(&other, other.client.closed);
    gb_loop_wait(w.loop, 0);
    assert_int_equal(w.client.closed, 0);
    say(w.client.link, "still here");
    UNTIL(&w, w.server.messages == 1);
    close_world(&other);
    close_world(&w);
}

/* Connections that say nothing make room for newer ones, and each is told why it goes. */
static void test_flood(void **state)
{
    (void)state;
    enum { MANY = 6, ROOM = 2 };
    world w;
    int far[MANY];
    char host[64], told[256];
    uint16_t port;
    open_world(&w);
    assert_int_equal(
        gb_address_split(gb_listener_address(w.listener), false, host, sizeof host, &port), 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < MANY; i++) {
        far[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(far[i], (struct sockaddr *)&at, sizeof at), 0);
    }
    UNTIL(&w, w.greeted == MANY - ROOM);
    assert_int_equal(w.greeted_rc, GB_EBUSY);
    for (int i = 0; i < MANY - ROOM; i++) assert_true(recv(far[i], told, sizeof told, 0) > 0);
    for (int i = 0; i < MANY; i++) close(far[i]);
    UNTIL(&w, w.greeted == MANY);
    assert_int_equal(w.greeted_rc, GB_ELOST);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_silent_peer), cmocka_unit_test(test_quiet_link),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
