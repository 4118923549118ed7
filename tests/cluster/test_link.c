/* Links over real sockets: the greeting, who is refused, and who is silent. */
#include "kit_link.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void say(gb_link *link, const char *text)
{
    gb_buf *out = gb_link_begin(link, NULL, 0);
    assert_non_null(out);
    assert_int_equal(gb_buf_put(out, text, strlen(text)), 0);
    assert_int_equal(gb_link_end(link, KIT_LINK_KIND, NULL, 0), 0);
}

static void test_greeting(void **state)
{
    (void)state;
    kit_link w;
    kit_link_open(&w, 2);
    assert_int_equal(kit_link_dial(&w, "one", 20 * GB_SEC), 0);
    KIT_LINK_UNTIL(&w, w.client.ready);
    assert_true(w.client.peer.silo == 7);
    say(w.client.link, "there");
    say(w.server.link, "and back");
    KIT_LINK_UNTIL(&w, w.client.messages == 1 && w.server.messages == 1);
    assert_string_equal(w.server.last, "there");
    assert_string_equal(w.client.last, "and back");
    kit_link_close(&w);
}

static void test_refused(void **state)
{
    (void)state;
    kit_link w;
    kit_link_open(&w, 2);
    assert_int_equal(kit_link_dial(&w, "two", 20 * GB_SEC), 0);
    KIT_LINK_UNTIL(&w, w.client.closed);
    assert_int_equal(w.client.rc, GB_EDENIED);
    assert_non_null(strstr(w.client.why, "another cluster"));
    assert_int_equal(w.client.ready, 0);
    kit_link_close(&w);
}

/* As of a process that was stopped: the kernel takes the connection, and nobody answers. */
static void test_silent_peer(void **state)
{
    (void)state;
    kit_link w;
    kit_link_open(&w, 2);
    w.is_silent = true;
    assert_int_equal(kit_link_dial(&w, "one", 30 * GB_MS), 0);
    KIT_LINK_UNTIL(&w, w.client.closed);
    assert_int_equal(w.client.rc, GB_ETIMEDOUT);
    kit_link_close(&w);
}

/* Once welcomed, a link may be silent for as long as it likes. */
static void test_quiet_link(void **state)
{
    (void)state;
    kit_link w, other;
    kit_link_open(&w, 2);
    kit_link_open(&other, 2);
    while (!w.client.ready) { /* on a busy machine the welcome may be late */
        w.client.closed = 0;
        assert_int_equal(kit_link_dial(&w, "one", GB_SEC), 0);
        KIT_LINK_UNTIL(&w, w.client.ready || w.client.closed);
    }
    other.is_silent = true; /* a bound that is set later runs out while the link stays */
    assert_int_equal(kit_link_dial(&other, "one", GB_SEC), 0);
    KIT_LINK_UNTIL(&other, other.client.closed);
    gb_loop_wait(w.loop, 0);
    assert_int_equal(w.client.closed, 0);
    say(w.client.link, "still here");
    KIT_LINK_UNTIL(&w, w.server.messages == 1);
    kit_link_close(&other);
    kit_link_close(&w);
}

/* Connections that say nothing make room for newer ones, and each is told why it goes. */
static void test_flood(void **state)
{
    (void)state;
    enum { MANY = 6, ROOM = 2 };
    kit_link w;
    int far[MANY];
    char told[256];
    kit_link_open(&w, ROOM);
    for (int i = 0; i < MANY; i++) far[i] = kit_link_socket(&w);
    KIT_LINK_UNTIL(&w, w.greeted == MANY - ROOM);
    assert_int_equal(w.greeted_rc, GB_EBUSY);
    for (int i = 0; i < MANY - ROOM; i++) assert_true(recv(far[i], told, sizeof told, 0) > 0);
    for (int i = 0; i < MANY; i++) close(far[i]);
    KIT_LINK_UNTIL(&w, w.greeted == MANY);
    assert_int_equal(w.greeted_rc, GB_ELOST);
    kit_link_close(&w);
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
