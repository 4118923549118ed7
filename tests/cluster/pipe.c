/* Pipes over real sockets, with TLS and without; ends that should be refused; a pipe that goes on
 * on another loop. */
#include "cluster/pipe.h"

#include "base/err.h"
#include "folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATIENCE_MS = 60000, TURN_MS = 50, LARGE = 8 << 20, HELLO = 5 };

static gb_mem mem;
static gb_sys *sys;
static gb_loop *loop, *second;
static char folder[256], other[300];

typedef struct end {
    gb_pipe *pipe;
    gb_buf came;
    int opened, closed, rc;
    char why[1024];
    size_t most; /* so many bytes are asked for at most; 0: any number */
    bool close_on_bytes;
} end;

static void on_opened(void *user)
{
    ((end *)user)->opened++;
}

static int on_room(void *user, uint8_t **at, size_t *room)
{
    end *e = user;
    if (gb_buf_reserve(&e->came, 65536) < 0) return GB_ENOMEM;
    *at = e->came.data + e->came.size;
    *room = e->most ? e->most - e->came.size : e->came.room - e->came.size;
    if (e->most && !*room) *room = 1;
    return 0;
}

static void on_came(void *user, size_t bytes)
{
    end *e = user;
    assert_true(e->opened || e->most != 1);
    e->came.size += bytes;
    if (!e->close_on_bytes) return;
    gb_pipe_close(e->pipe);
    e->pipe = NULL;
}

static void on_closed(void *user, int rc, const char *why)
{
    end *e = user;
    e->closed++;
    e->rc = rc;
    e->pipe = NULL;
    snprintf(e->why, sizeof e->why, "%s", why);
}

static const gb_socket_events events = {on_opened, on_room, on_came, NULL, NULL, on_closed};

typedef struct meeting {
    end client, server;
    gb_tls *server_tls;
    gb_listener *listener;
} meeting;

static void on_accepted(void *user, int fd, const char *peer)
{
    meeting *m = user;
    (void)peer;
    assert_int_equal(
        gb_pipe_accept(&m->server.pipe, &mem, loop, fd, m->server_tls, &events, &m->server), 0);
}

/* Both ends of a connection; NULL: that end speaks plain. */
static void meet_at(meeting *m, const char *address, gb_tls *client, gb_tls *server)
{
    *m = (meeting){.server_tls = server};
    gb_buf_init(&m->client.came, &mem);
    gb_buf_init(&m->server.came, &mem);
    assert_int_equal(gb_listen(&m->listener, loop, address, on_accepted, m), 0);
    assert_int_equal(gb_pipe_connect(&m->client.pipe, &mem, loop, gb_listener_address(m->listener),
                                     client, 10 * GB_SEC, &events, &m->client),
                     0);
}

static void meet(meeting *m, gb_tls *client, gb_tls *server)
{
    meet_at(m, "127.0.0.1:0", client, server);
}

static void part(meeting *m)
{
    if (m->client.pipe) gb_pipe_close(m->client.pipe);
    if (m->server.pipe) gb_pipe_close(m->server.pipe);
    gb_listener_close(m->listener);
    gb_buf_fini(&m->client.came);
    gb_buf_fini(&m->server.came);
}

#define UNTIL(condition)                                                                           \
    for (uint64_t start_ = gb_now(sys); !(condition);) {                                           \
        assert_true(gb_now(sys) - start_ < PATIENCE_MS * GB_MS);                                   \
        gb_loop_wait(loop, TURN_MS *GB_MS);                                                        \
        gb_loop_wait(second, 0);                                                                   \
    }

static gb_tls *open_from(const char *from, const char *who)
{
    char ca[300], cert[300], key[300];
    gb_tls *tls = NULL;
    snprintf(ca, sizeof ca, "%s/ca.crt", from);
    snprintf(cert, sizeof cert, "%s/%s.crt", from, who);
    snprintf(key, sizeof key, "%s/%s.key", from, who);
    gb_tls_config config = {&mem, ca, *who ? cert : NULL, *who ? key : NULL};
    assert_int_equal(gb_tls_open(&tls, &config), 0);
    return tls;
}

static gb_tls *open_as(const char *who)
{
    return open_from(folder, who);
}

static void say(gb_pipe *pipe, const char *text)
{
    assert_int_equal(gb_buf_put(gb_pipe_out(pipe), text, strlen(text)), 0);
    gb_pipe_put(pipe);
}

/* Small and large, both ways, and a block; the first words are written before it is open. */
static void exchange(gb_tls *client, gb_tls *server)
{
    meeting m;
    meet(&m, client, server);
    if (client) say(m.client.pipe, "early"); /* a socket takes nothing before it is connected */
    UNTIL(m.client.opened && m.server.pipe);
    if (!client) say(m.client.pipe, "early");
    UNTIL(m.server.came.size == HELLO);
    gb_block *block = gb_block_new(&mem, LARGE);
    for (int i = 0; i < LARGE; i++) ((uint8_t *)block->data)[i] = (uint8_t)(i * 13 >> 4);
    say(m.client.pipe, "before");
    assert_int_equal(gb_pipe_put_block(m.client.pipe, block, 7, LARGE - 7), 0);
    say(m.client.pipe, "behind");
    say(m.server.pipe, "answer");
    UNTIL(m.client.came.size == 6 && m.server.came.size == HELLO + 6 + LARGE - 7 + 6);
    assert_memory_equal(m.client.came.data, "answer", 6);
    assert_memory_equal(m.server.came.data, "earlybefore", 11);
    assert_memory_equal(m.server.came.data + 11, (uint8_t *)block->data + 7, LARGE - 7);
    assert_memory_equal(m.server.came.data + m.server.came.size - 6, "behind", 6);
    assert_true(gb_pipe_queued(m.client.pipe) == 0);
    gb_block_unref(block);
    gb_tls_peer peer;
    assert_true(gb_pipe_who(m.server.pipe, &peer) == (server != NULL));
    assert_string_equal(peer.role, server ? "silo" : "");
    gb_pipe_close(m.client.pipe);
    m.client.pipe = NULL;
    UNTIL(m.server.closed);
    assert_int_equal(m.server.rc, 0);
    assert_int_equal(m.client.closed, 0);
    part(&m);
}

static void test_plain(void **state)
{
    (void)state;
    exchange(NULL, NULL);
}

static void test_tls(void **state)
{
    (void)state;
    gb_tls *silo = open_as("silo");
    exchange(silo, silo);
    gb_tls_close(silo);
}

static void test_refused(void **state)
{
    (void)state;
    gb_tls *silo = open_as("silo"), *stranger = open_from(other, "silo");
    meeting m;
    meet(&m, NULL, silo); /* it does not speak TLS */
    UNTIL(m.client.opened);
    say(m.client.pipe, "\xb6 what a frame begins with");
    UNTIL(m.server.closed && m.client.closed);
    assert_int_equal(m.server.rc, GB_EDENIED);
    assert_string_equal(m.server.why, "the other end does not speak TLS");
    assert_int_equal(m.server.came.size, 0);
    assert_int_equal(m.client.came.size, 0);
    part(&m);
    meet(&m, stranger, silo);
    say(m.client.pipe, "let me in");
    UNTIL(m.server.closed && m.client.closed);
    assert_int_equal(m.client.rc, GB_EDENIED);
    assert_int_equal(m.server.rc, GB_EDENIED); /* and it is told why */
    assert_non_null(strstr(m.server.why, "unknown ca"));
    assert_int_equal(m.server.came.size, 0);
    part(&m);
    meet_at(&m, "127.0.0.2:0", silo, silo); /* the certificate is not of that address */
    UNTIL(m.server.closed && m.client.closed);
    assert_int_equal(m.client.rc, GB_EDENIED);
    assert_int_equal(m.client.opened + m.server.opened, 0);
    part(&m);
    gb_tls_close(silo);
    gb_tls_close(stranger);
}

/* As links do: a greeting on the loop that listens, the rest on another. */
static void test_goes_on_elsewhere(void **state)
{
    (void)state;
    gb_tls *silo = open_as("silo"), *client = open_as("client");
    meeting m;
    end later = {0};
    gb_buf_init(&later.came, &mem);
    meet(&m, client, silo);
    m.server.most = HELLO;
    say(m.client.pipe, "hello");
    UNTIL(m.server.came.size == HELLO);
    gb_pipe_end moved = gb_pipe_take(m.server.pipe);
    m.server.pipe = NULL;
    assert_non_null(moved.session);
    assert_int_equal(gb_pipe_open(&later.pipe, &mem, second, moved, &events, &later), 0);
    say(m.client.pipe, "and more");
    say(later.pipe, "welcome");
    UNTIL(later.came.size == 8 && m.client.came.size == 7);
    gb_tls_peer peer;
    assert_true(gb_pipe_who(later.pipe, &peer));
    assert_string_equal(peer.role, "client");
    assert_int_equal(later.opened, 0);
    gb_pipe_close(later.pipe);
    UNTIL(m.client.closed);
    assert_int_equal(m.client.rc, 0);
    gb_buf_fini(&later.came);
    part(&m);
    gb_tls_close(silo);
    gb_tls_close(client);
}

/* What was written just before the end still arrives. */
static void last_words(gb_tls *tls)
{
    meeting m;
    meet(&m, tls, tls);
    UNTIL(m.client.opened && m.server.pipe);
    say(m.client.pipe, "last words");
    gb_pipe_close(m.client.pipe);
    m.client.pipe = NULL;
    UNTIL(m.server.closed);
    assert_int_equal(m.server.rc, 0);
    assert_int_equal(m.server.came.size, 10);
    part(&m);
}

static void test_last_words(void **state)
{
    (void)state;
    gb_tls *silo = open_as("silo");
    last_words(NULL);
    last_words(silo);
    gb_tls_close(silo);
}

static void test_closed_inside(void **state)
{
    (void)state;
    gb_tls *silo = open_as("silo");
    meeting m;
    meet(&m, silo, silo);
    m.server.close_on_bytes = true;
    say(m.client.pipe, "enough");
    UNTIL(m.client.closed && !m.server.pipe && m.server.came.size);
    assert_int_equal(m.server.closed, 0);
    part(&m);
    gb_tls_close(silo);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),         cmocka_unit_test(test_tls),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_goes_on_elsewhere),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_closed_inside),
    };
    if (gb_sys_open(&sys, &mem) < 0 || sys->door->loop_open(&loop, sys) < 0 ||
        sys->door->loop_open(&second, sys) < 0)
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    sys->door->loop_close(loop);
    sys->door->loop_close(second);
    gb_sys_close(sys);
    return rc;
}

int main(void)
{
    setenv("GB_MODULE_DIR", GB_MODULES_AT, 1);
    gb_mem_init(&mem, "test", NULL, 0);
    if (!folder_make(folder, "pipe")) return 1;
    snprintf(other, sizeof other, "%s/other", folder);
    gb_tls_certs certs = {.folder = folder, .days = 2}, strange = {.folder = other, .days = 2};
    int rc = gb_tls_make_certs(&certs);
    if (rc >= 0) rc = gb_tls_make_certs(&strange);
    if (rc < 0) printf("# %s\n", gb_err_detail());
    rc = rc < 0 ? 1 : run();
    gb_mem_fini(&mem);
    return rc;
}
