/* Large messages over real sockets: small ones between their chunks, turns, order, what is refused
 * and skipped, what a peer may promise, halves that end, and a reader that is slow. */
#include "cluster/link_room.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { PATIENCE_MS = 60000, TURN_MS = 20, MIB = 1 << 20, KIND = GB_LINK_KINDS, SEEN_MAX = 256 };

typedef struct side {
    gb_link *link;
    int ready, closed, rc, refused, refused_rc, drained;
    int count, seen[SEEN_MAX]; /* the first byte of each message that came */
    char why[256];
    int64_t bytes_at_refusal; /* of the account */
    gb_mem *mem;
} side;

typedef struct world {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_listener *listener;
    gb_greeter *greeter;
    side client, server;
    size_t server_max;
} world;

static int on_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    side *s = user;
    uint8_t name = ((const uint8_t *)body)[0];
    assert_true(kind == KIND && size == 1 && s->count < SEEN_MAX);
    for (uint32_t i = 0; i < count; i++)
        for (size_t at = 0; at < blocks[i]->bytes; at += 4093)
            assert_int_equal(((uint8_t *)blocks[i]->data)[at], (uint8_t)(name + i + at / MIB));
    s->seen[s->count++] = name;
    return 0;
}

static void on_ready(void *user, const gb_hello *peer)
{
    (void)peer;
    ((side *)user)->ready++;
}

static void on_drained(void *user)
{
    ((side *)user)->drained++;
}

static void on_closed(void *user, int rc, const char *why)
{
    side *s = user;
    s->closed++;
    s->rc = rc;
    s->link = NULL;
    snprintf(s->why, sizeof s->why, "%s", why);
}

static int on_refused(void *user, int rc, uint8_t kind, const void *body, size_t size)
{
    side *s = user;
    assert_true(kind == KIND && size == 1 && body);
    s->refused++;
    s->refused_rc = rc;
    s->bytes_at_refusal = atomic_load(&s->mem->bytes);
    snprintf(s->why, sizeof s->why, "%s", gb_err_detail());
    return 0;
}

static const gb_link_events events = {on_ready, on_message, on_drained, on_closed, on_refused};

#define UNTIL(w, condition)                                                                        \
    for (uint64_t start_ = gb_now((w)->sys); !(condition);) {                                      \
        assert_true(gb_now((w)->sys) - start_ < PATIENCE_MS * GB_MS);                              \
        gb_loop_wait((w)->loop, TURN_MS *GB_MS);                                                   \
    }

static gb_hello hello_of(uint64_t silo, uint64_t to)
{
    return (gb_hello){.role = GB_LINK_CALLS, .silo = silo, .to = to, .cluster = "one"};
}

static void on_accepted(void *user, int fd, const char *peer)
{
    gb_greeter_add(((world *)user)->greeter, fd, peer);
}

static void on_greeted(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                       gb_pipe_end end, const char *peer)
{
    world *w = user;
    gb_hello welcome = hello_of(7, 3);
    (void)hello, (void)peer, (void)grant;
    assert_int_equal(rc, 0);
    assert_int_equal(gb_link_accept(&w->server.link, &w->mem, w->loop, end, &welcome, w->server_max,
                                    &events, &w->server),
                     0);
}

static void open_world(world *w, size_t client_max, size_t server_max)
{
    *w = (world){.server_max = server_max, .client.mem = &w->mem, .server.mem = &w->mem};
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
    gb_hello hello = hello_of(3, 7);
    assert_int_equal(gb_link_connect(&w->client.link, &w->mem, w->loop,
                                     gb_listener_address(w->listener), NULL, &hello, NULL,
                                     client_max, 20 * GB_SEC, &events, &w->client),
                     0);
    UNTIL(w, w->client.ready);
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

/* A message of one name, with so many bytes in two blocks. */
static int send(world *w, uint8_t name, size_t bytes, uint64_t order)
{
    gb_block *blocks[2] = {NULL};
    uint32_t count = bytes ? 2 : 0;
    for (uint32_t i = 0; i < count; i++) {
        blocks[i] = gb_block_new_raw(&w->mem, i ? bytes - bytes / 3 : bytes / 3);
        for (size_t at = 0; at < blocks[i]->bytes; at++)
            ((uint8_t *)blocks[i]->data)[at] = (uint8_t)(name + i + at / MIB);
    }
    gb_buf *out = gb_link_begin(w->client.link, blocks, count);
    assert_non_null(out);
    assert_int_equal(gb_buf_put(out, &name, 1), 0);
    int rc = gb_link_end_ordered(w->client.link, KIND, blocks, count, order);
    for (uint32_t i = 0; i < count; i++) gb_block_unref(blocks[i]);
    return rc;
}

static int place_of(const side *s, int name)
{
    for (int i = 0; i < s->count; i++)
        if (s->seen[i] == name) return i;
    return -1;
}

/* ---- turns ---- */

static void test_small_ones_between(void **unused)
{
    enum { LARGE = 128 * MIB, SOME = 16 * MIB };
    world w;
    open_world(&w, 256 * MIB, 256 * MIB);
    assert_int_equal(send(&w, 'L', LARGE, 0), 0);
    for (int i = 0; i < 5; i++) {
        uint64_t before = gb_link_received(w.server.link);
        UNTIL(&w, gb_link_received(w.server.link) > before);
        before = gb_link_received(w.server.link);
        assert_int_equal(send(&w, (uint8_t)('a' + i), i % 2 ? 1000 : 0, 0), 0);
        UNTIL(&w, w.server.count == i + 1);
        assert_int_equal(w.server.seen[i], 'a' + i);                  /* not the large one */
        assert_true(gb_link_received(w.server.link) - before < SOME); /* what the system holds */
    }
    UNTIL(&w, w.server.count == 6);
    assert_int_equal(w.server.seen[5], 'L');
    close_world(&w);
}

static void test_turns(void **unused)
{
    world w;
    open_world(&w, 256 * MIB, 256 * MIB);
    static const size_t sizes[] = {64 * MIB, MIB, 2 * MIB, GB_LINK_LARGE_BYTES + 1, MIB, 5 * MIB};
    for (int i = 0; i < 6; i++) assert_int_equal(send(&w, (uint8_t)i, sizes[i], 0), 0);
    assert_int_equal(gb_link_large(w.client.link), 6);
    assert_true(gb_link_queued(w.client.link) < MIB);
    UNTIL(&w, w.server.count == 6);
    assert_int_equal(w.server.seen[5], 0); /* the largest is the last */
    assert_int_equal(w.server.seen[0], 3);
    assert_int_equal(w.client.drained, 1);
    close_world(&w);
}

/* What a link holds of half messages is no more than its limit: two of these do not go together. */
static void test_limit_of_turns(void **unused)
{
    world w;
    open_world(&w, 10 * MIB, 10 * MIB);
    for (int i = 0; i < 4; i++) assert_int_equal(send(&w, (uint8_t)i, 6 * MIB, 0), 0);
    UNTIL(&w, w.server.count == 4);
    for (int i = 0; i < 4; i++) assert_int_equal(w.server.seen[i], i);
    assert_int_equal(w.server.refused, 0);
    close_world(&w);
}

static void test_order(void **unused)
{
    world w;
    open_world(&w, 256 * MIB, 256 * MIB);
    assert_int_equal(send(&w, 1, 16 * MIB, 5), 0);
    assert_true(gb_link_orders(w.client.link, 5) && !gb_link_orders(w.client.link, 6));
    assert_int_equal(send(&w, 2, 0, 5), 0);
    assert_int_equal(send(&w, 3, 100, 5), 0);
    assert_int_equal(send(&w, 4, 8 * MIB, 5), 0);
    assert_int_equal(send(&w, 5, 0, 6), 0);
    assert_int_equal(send(&w, 6, 0, 5), 0);
    UNTIL(&w, w.server.count == 6);
    static const int wanted[] = {5, 1, 2, 3, 4, 6};
    for (int i = 0; i < 6; i++) assert_int_equal(w.server.seen[i], wanted[i]);
    assert_false(gb_link_orders(w.client.link, 5));
    close_world(&w);
}

/* ---- refused ---- */

static void test_oversize(void **unused)
{
    world w;
    open_world(&w, 16 * MIB, 2 * MIB);
    assert_int_equal(send(&w, 1, 17 * MIB, 0), GB_EINVAL); /* here already */
    assert_non_null(strstr(gb_err_detail(), "a message of 17825"));
    assert_non_null(strstr(gb_err_detail(), "the limit between silos is 16777216 (max_message)"));
    assert_int_equal(send(&w, 2, 9 * MIB, 0), 0); /* there: skipped, and told */
    assert_int_equal(send(&w, 3, MIB, 0), 0);
    int64_t before = atomic_load(&w.mem.bytes);
    UNTIL(&w, w.server.refused == 1);
    assert_int_equal(w.server.refused_rc, GB_EINVAL);
    assert_non_null(strstr(w.server.why, "2097152 (max_message)"));
    assert_true(w.server.bytes_at_refusal < before + 3 * MIB);
    UNTIL(&w, w.server.count == 1);
    assert_int_equal(w.server.seen[0], 3);
    assert_int_equal(send(&w, 4, 100, 0), 0);
    UNTIL(&w, w.server.count == 2);
    assert_int_equal(w.client.closed + w.server.closed, 0);
    close_world(&w);
}

/* Several links share room for halves; what does not fit is skipped, and fits later. */
static void test_shared_room(void **unused)
{
    world w;
    gb_link_room room = {.bytes_max = 8 * MIB};
    open_world(&w, 64 * MIB, 64 * MIB);
    gb_link_share(w.server.link, &room, 20 * GB_SEC);
    atomic_store(&room.bytes, 5 * MIB); /* another link's */
    assert_int_equal(send(&w, 1, 2 * MIB, 0), 0);
    assert_int_equal(send(&w, 2, 4 * MIB, 0), 0);
    UNTIL(&w, w.server.count == 1 && w.server.refused == 1);
    assert_int_equal(w.server.refused_rc, GB_EBUSY);
    atomic_store(&room.bytes, 0);
    assert_int_equal(send(&w, 3, 4 * MIB, 0), 0);
    UNTIL(&w, w.server.count == 2);
    assert_int_equal(send(&w, 4, 30 * MIB, 0), 0); /* alone it may always come */
    UNTIL(&w, w.server.count == 3);
    assert_int_equal(place_of(&w.server, 2), -1);
    assert_int_equal(atomic_load(&room.bytes), 0);
    close_world(&w);
}

/* ---- a peer that means no good ---- */

static void put_begin(world *w, uint32_t number, uint32_t first, uint64_t bytes)
{
    uint8_t body[GBI_LINK_BEGIN_BYTES + 8 + 1] = {0};
    uint32_t head[3] = {number, first, 1};
    gb_pipe *pipe = w->client.link->pipe;
    memcpy(body, head, sizeof head);
    memcpy(body + sizeof head, &bytes, sizeof bytes);
    assert_int_equal(gb_frame_put(gb_pipe_out(pipe), KIND, GBI_LINK_BLOCKS, body, sizeof body), 0);
    gb_pipe_put(pipe);
}

static void put_chunk(world *w, uint32_t number, uint32_t bytes, uint32_t sent)
{
    uint32_t head[2] = {number, bytes};
    gb_pipe *pipe = w->client.link->pipe;
    assert_int_equal(gb_frame_put(gb_pipe_out(pipe), GBI_LINK_CHUNK, 0, head, sizeof head), 0);
    for (uint32_t i = 0; i < sent; i++) gb_buf_put(gb_pipe_out(pipe), "x", 1);
    gb_pipe_put(pipe);
}

static void test_promises(void **unused)
{
    enum { MANY = 0, TWICE, NONE_DUE, TOO_MUCH, CASES };
    for (int i = 0; i < CASES; i++) {
        world w;
        open_world(&w, 64 * MIB, 64 * MIB);
        int64_t before = atomic_load(&w.mem.bytes);
        if (i == MANY)
            for (uint32_t n = 0; n <= GB_LINK_LARGE_MAX; n++) put_begin(&w, n, 0, 1 * MIB);
        if (i != MANY) put_begin(&w, 1, 0, 1 * MIB);
        if (i == TWICE) put_begin(&w, 1, 0, 1 * MIB);
        if (i == NONE_DUE) put_chunk(&w, 2, 5, 5);
        if (i == TOO_MUCH) put_chunk(&w, 1, MIB + 1, 1);
        UNTIL(&w, w.server.closed);
        assert_int_equal(w.server.rc, GB_EINVAL);
        UNTIL(&w, w.client.closed);
        assert_true(atomic_load(&w.mem.bytes) <= before); /* halves are gone with the link */
        close_world(&w);
    }
}

/* It promises more than the limit in several messages: the last ones are refused. */
static void test_sum_of_promises(void **unused)
{
    world w;
    open_world(&w, 64 * MIB, 64 * MIB);
    for (uint32_t n = 1; n <= 3; n++) put_begin(&w, n, 0, 30 * MIB);
    UNTIL(&w, w.server.refused == 1);
    assert_int_equal(w.server.refused_rc, GB_EBUSY);
    put_chunk(&w, 3, 1000, 1000); /* skipped */
    assert_int_equal(send(&w, 9, 0, 0), 0);
    UNTIL(&w, w.server.count == 1);
    close_world(&w);
}

static void test_half_that_stands_still(void **unused)
{
    world w;
    gb_link_room room = {.bytes_max = 64 * MIB};
    open_world(&w, 64 * MIB, 64 * MIB);
    gb_link_share(w.server.link, &room, 20 * GB_MS);
    put_begin(&w, 1, 0, 30 * MIB);
    put_chunk(&w, 1, 1000, 1000);
    UNTIL(&w, w.server.closed);
    assert_int_equal(w.server.rc, GB_ETIMEDOUT);
    assert_int_equal(atomic_load(&room.bytes), 0);
    close_world(&w);
}

/* ---- back-pressure ---- */

/* The reader stands still: the sender is told to wait, holds little, and loses nothing. */
static void test_slow_reader(void **unused)
{
    enum { MESSAGES = 200 };
    world w;
    open_world(&w, 64 * MIB, 64 * MIB);
    gb_link_pause(w.server.link, true);
    int sent = 0, still = 0;
    int64_t most = 0;
    for (int last = -1; still < 10; still = sent == last ? still + 1 : 0, last = sent) {
        while (sent < MESSAGES && gb_link_queued(w.client.link) <= GB_SOCKET_HIGH &&
               gb_link_large(w.client.link) < GB_LINK_LARGE_MAX) {
            assert_int_equal(send(&w, (uint8_t)sent, sent % 3 ? MIB : 1000, 0), 0);
            sent++;
        }
        gb_loop_wait(w.loop, GB_MS);
        if (atomic_load(&w.mem.bytes) > most) most = atomic_load(&w.mem.bytes);
    }
    assert_true(sent < MESSAGES / 2 && w.server.count == 0); /* it waits */
    assert_true(most < 16 * MIB);
    int drained = w.client.drained;
    gb_link_pause(w.server.link, false);
    UNTIL(&w, w.client.drained > drained);
    while (sent < MESSAGES) {
        if (gb_link_large(w.client.link) < GB_LINK_LARGE_MAX)
            assert_int_equal(send(&w, (uint8_t)sent, sent % 3 ? MIB : 1000, 0), 0), sent++;
        else
            gb_loop_wait(w.loop, GB_MS);
    }
    UNTIL(&w, w.server.count == MESSAGES);
    for (int i = 0; i < MESSAGES; i++) assert_true(place_of(&w.server, i) >= 0);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_ones_between),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_limit_of_turns),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_oversize),
        cmocka_unit_test(test_shared_room),
        cmocka_unit_test(test_promises),
        cmocka_unit_test(test_sum_of_promises),
        cmocka_unit_test(test_half_that_stands_still),
        cmocka_unit_test(test_slow_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
