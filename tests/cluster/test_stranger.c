/* What strangers send to real silos: names that nobody has are answered, and not kept. */
#include "base/err.h"
#include "cluster/call_frame.h"
#include "cluster/link.h"
#include "host/host.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { PATIENCE_MS = 60000, TURN_MS = 50, LIMIT = 1 << 20, AT_ONCE = 500, MANY = 100000 };

typedef struct world {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_host *bare, *full; /* a silo without an app, and one with */
    gb_link *link;
    int ready, closed;
    long sent, answered;
    int rc; /* of the last answer */
    char message[300];
} world;

static void on_ready(void *user, const gb_hello *peer)
{
    (void)peer;
    ((world *)user)->ready++;
}

static int on_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    world *w = user;
    gb_answer_frame f;
    (void)blocks, (void)count;
    assert_int_equal(kind, GB_FRAME_ANSWER);
    assert_int_equal(gb_answer_frame_decode(&f, body, size), 0);
    w->answered++;
    w->rc = f.rc;
    snprintf(w->message, sizeof w->message, "%.*s", (int)f.message_size,
             f.message ? f.message : "");
    return 0;
}

static void on_closed(void *user, int rc, const char *why)
{
    world *w = user;
    (void)rc, (void)why;
    w->closed++;
    w->link = NULL;
}

static const gb_link_events events = {on_ready, on_message, NULL, on_closed, NULL};

static gb_host *open_silo(const char *name, const char *app)
{
    gb_host *host;
    gb_config config;
    gb_config_init(&config, sizeof config);
    config.workers = 2;
    config.log_level = 3;
    config.cluster = "memory:strangers";
    config.silo_name = name;
    config.app_dir = app;
    if (gb_open(&host, &config) < 0 || gb_join(host, PATIENCE_MS) < 0)
        fail_msg("%s", gb_err_detail());
    return host;
}

#define UNTIL(w, condition)                                                                        \
    for (uint64_t start_ = gb_now((w)->sys); !(condition);) {                                      \
        assert_true(gb_now((w)->sys) - start_ < PATIENCE_MS * GB_MS);                              \
        gb_loop_wait((w)->loop, TURN_MS *GB_MS);                                                   \
    }

static void open_world(world *w)
{
    gb_hello hello = {.role = GB_LINK_CALLS, .cluster = "gpubridge"};
    *w = (world){0};
    gb_mem_init(&w->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&w->sys, &w->mem), 0);
    assert_int_equal(w->sys->door->loop_open(&w->loop, w->sys), 0);
    w->full = open_silo("full", GB_SOURCE_DIR "/tests/cluster/app");
    w->bare = open_silo("bare", NULL);
    assert_int_equal(gb_link_connect(&w->link, &w->mem, w->loop, gb_address(w->bare), NULL, &hello,
                                     NULL, LIMIT, 20 * GB_SEC, &events, w),
                     0);
    UNTIL(w, w->ready);
}

static void close_world(world *w)
{
    if (w->link) gb_link_close(w->link);
    gb_close(w->bare, 10000);
    gb_close(w->full, 10000);
    w->sys->door->loop_close(w->loop);
    gb_sys_close(w->sys);
    gb_mem_fini(&w->mem);
}

static void send_call(world *w, const char *type, const char *method, bool oneway)
{
    gb_call_frame f = {.number = (uint64_t)++w->sent,
                       .oneway = oneway,
                       .type = type,
                       .type_size = (uint32_t)strlen(type),
                       .method = method,
                       .method_size = (uint32_t)strlen(method),
                       .key = gb_key_number(1),
                       .left_ns = 60 * GB_SEC};
    gb_buf *out = gb_link_begin(w->link, NULL, 0);
    assert_non_null(out);
    assert_int_equal(gb_call_frame_encode(out, &f), 0);
    assert_int_equal(gb_link_end(w->link, GB_FRAME_CALL, NULL, 0), 0);
}

static void call(world *w, const char *type, const char *method)
{
    send_call(w, type, method, false);
    UNTIL(w, w->answered == w->sent);
}

/* So many calls with names of their own, and so many tells. */
static void flood(world *w, seed *s, const char *type, int count)
{
    for (int i = 0; i < count; i++) {
        char name[40];
        snprintf(name, sizeof name, "m%016llx", (unsigned long long)seed_wide(s));
        send_call(w, type, name, i % 8 == 0);
        if (w->sent % AT_ONCE == 0) UNTIL(w, w->answered == w->sent);
    }
    UNTIL(w, w->answered == w->sent);
}

/* The type is the other silo's: the names go through one silo and end at the other. */
static void test_method_names(void **state)
{
    (void)state;
    world w;
    seed s = seed_start("strangers");
    open_world(&w);
    call(&w, "Any", "ad");
    assert_int_equal(w.rc, GB_ENOMETHOD);
    assert_non_null(strstr(w.message, "unknown method 'ad'; did you mean 'add'?"));
    call(&w, "Any", "where"); /* nobody has called it yet: it is found */
    assert_int_equal(w.rc, 0);
    uint32_t full = w.full->silo->sym_count, bare = w.bare->silo->sym_count;
    flood(&w, &s, "Any", MANY);
    assert_int_equal(w.full->silo->sym_count, full);
    assert_int_equal(w.bare->silo->sym_count, bare);
    call(&w, "Any", "where");
    assert_int_equal(w.rc, 0);
    assert_int_equal(w.closed, 0);
    close_world(&w);
}

static void test_type_names(void **state)
{
    (void)state;
    world w;
    seed s = seed_start("strangers");
    open_world(&w);
    uint32_t types = gb_type_count(w.bare->silo), names = w.bare->silo->sym_count;
    for (int i = 0; i < 10000; i++) {
        char name[40];
        snprintf(name, sizeof name, "T%016llx", (unsigned long long)seed_wide(&s));
        send_call(&w, name, "where", false);
        if (w.sent % AT_ONCE == 0) UNTIL(&w, w.answered == w.sent);
    }
    UNTIL(&w, w.answered == w.sent);
    assert_int_equal(w.rc, GB_ENOTYPE);
    assert_int_equal(gb_type_count(w.bare->silo), types);
    assert_int_equal(w.bare->silo->sym_count, names);
    close_world(&w);
}

/* A client that is none of ours sends what ours refuse by themselves. */
static void test_private(void **state)
{
    (void)state;
    static const char *const names[] = {"_gb_deliver", "_x", "on_activate", "on_", NULL};
    world w;
    open_world(&w);
    for (int i = 0; names[i]; i++) {
        call(&w, "Any", names[i]);
        assert_int_equal(w.rc, GB_ENOMETHOD);
        assert_non_null(strstr(w.message, "is private"));
    }
    close_world(&w);
}

/* Without a token who is on this machine operates, and runs no code of its own; nor does who only
 * says that it is a silo. */
static void test_no_code(void **state)
{
    (void)state;
    gb_hello silo = {.role = GB_LINK_CALLS, .silo = 99, .cluster = "gpubridge"};
    world w;
    open_world(&w);
    for (int as_silo = 0; as_silo < 2; as_silo++) {
        call(&w, "$cluster", "status");
        assert_int_equal(w.rc, 0);
        call(&w, "$silo", "a_method_that_nobody_allowed");
        assert_int_equal(w.rc, GB_EDENIED);
        assert_non_null(strstr(w.message, "only for the token of an operator"));
        call(&w, "$worker0", "reload");
        assert_int_equal(w.rc, GB_ENOTYPE);
        gb_link_close(w.link);
        w.ready = 0;
        assert_int_equal(gb_link_connect(&w.link, &w.mem, w.loop, gb_address(w.bare), NULL, &silo,
                                         NULL, LIMIT, 20 * GB_SEC, &events, &w),
                         0);
        UNTIL(&w, w.ready);
    }
    close_world(&w);
}

/* Messages of subscriptions that are none, and a question after calls, which only silos ask. */
static void test_house(void **state)
{
    (void)state;
    static const char *const methods[][2] = {{"$topics", "_spread"}, {"$inbox", "_hand"}};
    world w;
    open_world(&w);
    for (int i = 0; i < 2; i++) {
        call(&w, methods[i][0], methods[i][1]);
        assert_int_equal(w.rc, GB_ENOMETHOD);
        assert_non_null(strstr(w.message, "is private"));
    }
    call(&w, "$silo", "_hand");
    assert_true(w.rc < 0);
    call(&w, "$topics", "listen"); /* to nobody */
    assert_int_equal(w.rc, 0); /* nil, message, EINVAL */
    gb_ask_frame f = {.number = 1, .question = {.silo = 1, .stage = 2}};
    gb_buf *out = gb_link_begin(w.link, NULL, 0);
    assert_int_equal(gb_ask_frame_encode(out, &f), 0);
    assert_int_equal(gb_link_end(w.link, GB_FRAME_ASK, NULL, 0), 0);
    UNTIL(&w, w.closed);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_method_names),
        cmocka_unit_test(test_type_names),
        cmocka_unit_test(test_private),
        cmocka_unit_test(test_no_code),
        cmocka_unit_test(test_house),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
