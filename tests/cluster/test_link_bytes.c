/* What comes over links, byte by byte: peers that are none of ours, broken and truncated frames,
 * blocks, limits, closing inside each event, and memory that ends anywhere. */
#include "kit_link.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCKS = 3, WAITING = 8 };

/* ---- a peer that is none of ours ---- */

static void raw_send(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void raw_frame(kit_link *w, int fd, uint8_t kind, uint8_t flags, const void *body,
                      size_t size)
{
    gb_buf out;
    gb_buf_init(&out, &w->mem);
    assert_int_equal(gb_frame_put(&out, kind, flags, body, size), 0);
    raw_send(fd, out.data, out.size);
    gb_buf_fini(&out);
}

/* Says hello as a silo would, and is welcomed. */
static int raw_link(kit_link *w)
{
    gb_buf body;
    gb_hello hello = {.role = GB_LINK_CALLS, .silo = 3, .to = 7, .cluster = "one"};
    int fd = kit_link_socket(w);
    gb_buf_init(&body, &w->mem);
    assert_int_equal(gb_hello_encode(&body, &hello), 0);
    raw_frame(w, fd, GB_HELLO, 0, body.data, body.size);
    gb_buf_fini(&body);
    KIT_LINK_UNTIL(w, w->server.link);
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
        kit_link w;
        char told[512];
        kit_link_open(&w, WAITING);
        int fd = kit_link_socket(&w);
        raw_send(fd, cases[i].bytes, cases[i].size);
        if (cases[i].rc == GB_ELOST) shutdown(fd, SHUT_WR);
        KIT_LINK_UNTIL(&w, w.greeted);
        assert_int_equal(w.greeted_rc, cases[i].rc);
        if (cases[i].rc == GB_EINVAL) assert_true(recv(fd, told, sizeof told, 0) > 0);
        close(fd);
        kit_link_close(&w);
    }
}

static void test_broken_messages(void **state)
{
    (void)state;
    enum { CHUNK = GBI_LINK_CHUNK, B = GBI_LINK_BLOCKS };
    /* number, first, count, then sizes: low and high halves */
    uint32_t none[3] = {1, 0, 0}, many[3] = {1, 0, UINT32_MAX / 2}, large[5] = {1, 0, 1, 0, 256};
    uint32_t over[6] = {1, 0, 1, KIT_LINK_LIMIT, 0}, first[5] = {1, 101, 1, 100, 0},
             cut[7] = {1, 100, 1, 100};
    uint32_t pair[7] = {1, 0, 2, GB_LINK_BYTES_MOST, 0, GB_LINK_BYTES_MOST, 0}, chunk[2] = {7, 1};
    struct {
        uint8_t kind, flags;
        const void *body;
        size_t size;
        int rc;
    } cases[] = {{GB_HELLO, 0, "x", 1, GB_EINVAL},         {KIT_LINK_KIND, B, "x", 1, GB_EINVAL},
                 {KIT_LINK_KIND, B, none, 12, GB_EINVAL},  {KIT_LINK_KIND, B, many, 12, GB_EINVAL},
                 {KIT_LINK_KIND, B, large, 20, GB_EINVAL}, {KIT_LINK_KIND, B, over, 21, GB_EINVAL},
                 {KIT_LINK_KIND, B, pair, 28, GB_EINVAL},  {KIT_LINK_KIND, B, first, 20, GB_EINVAL},
                 {KIT_LINK_KIND, B, cut, 22, GB_EINVAL},    {CHUNK, 0, chunk, 8, GB_EINVAL},
                 {CHUNK, 0, chunk, 7, GB_EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit_link w;
        kit_link_open(&w, WAITING);
        int fd = raw_link(&w);
        raw_frame(&w, fd, cases[i].kind, cases[i].flags, cases[i].body, cases[i].size);
        shutdown(fd, SHUT_WR);
        KIT_LINK_UNTIL(&w, w.server.closed);
        assert_int_equal(w.server.rc, cases[i].rc);
        assert_int_equal(w.server.messages, 0);
        close(fd);
        kit_link_close(&w);
    }
}

/* ---- messages with blocks ---- */

static void drop_all(gb_block **blocks)
{
    for (int i = 0; i < BLOCKS; i++) gb_block_unref(blocks[i]);
}

/* 0, or an error of any step. */
static int send_blocks(kit_link *w, const size_t sizes[BLOCKS])
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
        rc = gb_link_end(w->client.link, KIT_LINK_KIND, blocks, BLOCKS);
    drop_all(blocks);
    return rc;
}

static void test_blocks(void **state)
{
    (void)state;
    static const size_t sizes[][BLOCKS] = {{0, 0, 0}, {0, 1, 0}, {1, 70000, 3}, {5 << 20, 0, 17}};
    kit_link w;
    kit_link_open(&w, WAITING);
    assert_int_equal(kit_link_dial(&w, "one", 20 * GB_SEC), 0);
    KIT_LINK_UNTIL(&w, w.client.ready);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(send_blocks(&w, sizes[i]), 0);
        KIT_LINK_UNTIL(&w, w.server.messages == i + 1);
        assert_true(w.server.good && w.server.count == BLOCKS);
        assert_int_equal(w.server.bytes, 7 + sizes[i][0] + sizes[i][1] + sizes[i][2]);
    }
    assert_int_equal(send_blocks(&w, (size_t[]){KIT_LINK_LIMIT, 0, 1}),
                     GB_EINVAL); /* and it lives */
    assert_int_equal(send_blocks(&w, sizes[1]), 0);
    KIT_LINK_UNTIL(&w, w.server.messages == 5);
    assert_int_equal(w.client.closed + w.server.closed, 0);
    w.server.refuse = GB_EBUSY;
    assert_int_equal(send_blocks(&w, sizes[2]), 0);
    KIT_LINK_UNTIL(&w, w.server.closed && w.client.closed);
    assert_int_equal(w.server.rc, GB_EBUSY);
    kit_link_close(&w);
}

static void test_closing_inside(void **state)
{
    (void)state;
    for (int at = KIT_AT_READY; at <= KIT_AT_DRAINED; at++) {
        kit_link w;
        kit_link_open(&w, WAITING);
        if (at == KIT_AT_MESSAGE)
            w.server.close_at = KIT_AT_MESSAGE;
        else
            w.client.close_at = (kit_event)at;
        assert_int_equal(kit_link_dial(&w, "one", 20 * GB_SEC), 0);
        KIT_LINK_UNTIL(&w, w.client.ready);
        if (at != KIT_AT_READY) {
            for (int i = 0; i < (at == KIT_AT_DRAINED ? GB_LINK_LARGE_MAX : 1); i++)
                assert_int_equal(send_blocks(&w, (size_t[]){5 << 20, 1 << 20, 0}), 0);
            gb_link_large(w.client.link); /* who sees that they are many hears when they are not */
            KIT_LINK_UNTIL(&w, at == KIT_AT_MESSAGE ? w.client.closed : w.server.closed);
        } else {
            KIT_LINK_UNTIL(&w, w.server.closed);
        }
        kit_link_close(&w);
    }
}

/* ---- memory ---- */

/* The Nth allocation fails, wherever that is: both ends hear of it, or the message comes. */
static bool fails_at(int64_t n)
{
    kit_link w;
    kit_link_open(&w, WAITING);
    atomic_store(&w.mem.fail_at, n);
    int rc = kit_link_dial(&w, "one", GB_SEC / 4);
    while (rc == 0 && !w.client.closed && !w.client.ready) gb_loop_wait(w.loop, 20 * GB_MS);
    if (w.client.ready && !w.client.closed) {
        rc = send_blocks(&w, (size_t[]){5 << 20, 10, 70000});
        if (rc == 0) KIT_LINK_UNTIL(&w, w.server.messages || w.client.closed);
        if (w.server.messages) assert_true(w.server.good && w.server.bytes > 5 << 20);
    }
    bool reached = atomic_load(&w.mem.fail_at) <= 0;
    atomic_store(&w.mem.fail_at, 0);
    bool late = !reached && w.client.closed && w.client.rc == GB_ETIMEDOUT; /* a busy machine */
    if (!reached && !late) assert_int_equal(w.server.messages, 1);
    kit_link_close(&w);
    return reached || late;
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
