/* The first words of links when there is something to prove: who does not know the secret, comes
 * with a token, or stands in the middle. Real sockets, real TLS. */
#include "handshake_kit.h"

#include "folder.h"

static char folder[256];

const char *kit_folder(void)
{
    return folder;
}

/* Both ends end as they should. */
static void refused(world *w, uint64_t silo, const gb_secret *secret, const char *here,
                    const char *there)
{
    w->greeted = 0;
    dial(w, silo, secret);
    UNTIL(w, w->client.closed && w->greeted);
    assert_int_equal(w->client.ready, 0);
    assert_int_equal(w->client.rc, GB_EDENIED);
    if (!strstr(w->client.why, here)) fail_msg("'%s', not '%s'", w->client.why, here);
    if (!there) return;
    assert_int_equal(w->greeted_rc, GB_EDENIED);
    if (!strstr(w->greeted_why, there)) fail_msg("'%s', not '%s'", w->greeted_why, there);
}

static void welcomed(world *w, uint64_t silo, const gb_secret *secret)
{
    dial(w, silo, secret);
    UNTIL(w, w->client.ready);
    assert_int_equal(w->greeted_rc, 0);
}

/* ---- secrets ---- */

static void test_secrets(void **state)
{
    (void)state;
    gb_secret a = secret_of(KEY, ""), b = secret_of(KEY "?", "");
    uint8_t nonce[GB_MAC_BYTES], bound[GB_MAC_BYTES] = {0}, talk[GB_MAC_BYTES], other[GB_MAC_BYTES];
    uint8_t proof[GB_MAC_BYTES], answer[GB_MAC_BYTES];
    assert_int_equal(gb_nonce(nonce), 0);
    gb_mac *mac = a.verifier.mac;
    assert_int_equal(gb_talk(talk, mac, "hello", 5, nonce, bound), 0);
    assert_int_equal(gb_secret_prove(proof, &a, talk), 0);
    assert_int_equal(gb_secret_judge(&a.verifier, talk, proof), 0);
    assert_int_equal(gb_secret_judge(&b.verifier, talk, proof), GB_EDENIED);
    assert_int_equal(gb_talk(other, mac, "hellO", 5, nonce, bound), 0);
    assert_int_equal(gb_secret_judge(&a.verifier, other, proof), GB_EDENIED);
    bound[31] ^= 1;
    assert_int_equal(gb_talk(other, mac, "hello", 5, nonce, bound), 0);
    assert_int_equal(gb_secret_judge(&a.verifier, other, proof), GB_EDENIED);
    nonce[0] ^= 1;
    bound[31] ^= 1;
    assert_int_equal(gb_talk(other, mac, "hello", 5, nonce, bound), 0);
    assert_int_equal(gb_secret_judge(&a.verifier, other, proof), GB_EDENIED);
    for (int i = 0; i < 8 * GB_MAC_BYTES; i++) {
        proof[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(gb_secret_judge(&a.verifier, talk, proof), GB_EDENIED);
        proof[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(gb_secret_answer(answer, &a.verifier, talk), 0);
    assert_int_equal(gb_secret_judge(&a.verifier, talk, answer), GB_EDENIED); /* no echo */
    assert_int_equal(gb_secret_judge(&a.verifier, talk, a.verifier.stored), GB_EDENIED);
    assert_int_equal(gb_secret_judge(&a.verifier, talk, a.verifier.server), GB_EDENIED);
}

/* ---- who may come ---- */

static void test_key(void **state)
{
    (void)state;
    gb_secret key = secret_of(KEY, ""), other = secret_of(KEY "!", "");
    for (int tls = 0; tls < 2; tls++) {
        world w;
        open_world(&w, &(wish){.key = KEY, .tls = tls});
        welcomed(&w, 3, &key);
        assert_true(w.grant.proves);
        refused(&w, 3, &other, "it refuses us: the silo that connects has another key",
                "has another key than this cluster (cluster_key)");
        refused(&w, 3, NULL, "it refuses us: this cluster has a key",
                "that silo has none (cluster_key)");
        if (!tls) welcomed(&w, 0, NULL); /* a client needs no key */
        close_world(&w);
    }
}

static void test_one_sided_key(void **state)
{
    (void)state;
    world w;
    gb_secret key = secret_of(KEY, "");
    write_file("tokens", "");
    open_world(&w, &(wish){.tokens = path_of("tokens")});
    refused(&w, 3, &key, "that silo has a key, and this cluster has none (cluster_key)",
            "that silo has a key, and this cluster has none");
    close_world(&w);
    open_world(&w, &(wish){0}); /* one that welcomes everybody */
    refused(&w, 3, &key, "it does not prove that it knows the key of this cluster (cluster_key)",
            NULL);
    key = secret_of(KEY, "ann");
    refused(&w, 0, &key, "it does not prove that it knows the token 'ann' (token_file)", NULL);
    close_world(&w);
}

static gb_secret add_token(const char *name, const char *role, int64_t until_s)
{
    char text[GB_TOKEN_TEXT_BYTES], line[GB_TOKEN_LINE_BYTES];
    assert_int_equal(gb_token_make(text, line, name, role, until_s), 0);
    FILE *file = fopen(path_of("tokens"), "a");
    assert_non_null(file);
    fprintf(file, "%s\n", line);
    assert_int_equal(fclose(file), 0);
    return secret_of(strchr(text, ':') + 1, name);
}

static void test_tokens(void **state)
{
    (void)state;
    world w;
    write_file("tokens", "# ours\n\n");
    gb_secret ann = add_token("ann", "viewer", 0), bob = add_token("bob", "operator", 0);
    gb_secret old = add_token("old", "client", 1000), carl = ann;
    open_world(&w, &(wish){.tokens = path_of("tokens")});
    welcomed(&w, 0, &ann);
    assert_int_equal(w.grant.rights, GB_MAY_LOOK);
    welcomed(&w, 0, &bob);
    assert_int_equal(w.grant.rights, GB_MAY_ALL);
    refused(&w, 0, NULL, "this silo wants a token (token_file)", "wants a token");
    refused(&w, 0, &old, "the token 'old' is over", "the token 'old' is over");
    snprintf(carl.name, sizeof carl.name, "carl");
    refused(&w, 0, &carl, "the token 'carl' is not known here", "'carl' is not known here");
    memcpy(carl.name, "bob", 4); /* another one's secret */
    refused(&w, 0, &carl, "the token 'bob' is not known here, or its secret is another", "'bob'");
    refused(&w, 3, &ann, "that silo has a key", "that silo has a key"); /* a token is no key */
    close_world(&w);
}

/* ---- the file of tokens ---- */

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_broken_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"# nothing\n\n   \nann client never " HEX " " HEX "\n", NULL},
        {"ann client never " HEX " " HEX " # with more", NULL},
        {"ann client never " HEX, ":1: a token's line is"},
        {"\nann client never " HEX " " HEX " x", ":2: a token's line is"},
        {"a:b client never " HEX " " HEX, ":1: its name is none"},
        {"ann silo never " HEX " " HEX, ":1: its role is not"},
        {"ann client tomorrow " HEX " " HEX, ":1: its end is not"},
        {"ann client 2027-01-31 " HEX " " HEX, ":1: its end is not"},
        {"ann client never " HEX "0 " HEX, ":1: its last two fields"},
        {"ann client never " HEX " X" HEX, ":1: its last two fields"},
        {"ann client never " HEX " " HEX "\nann viewer never " HEX " " HEX,
         "two tokens have the name 'ann'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gb_mem mem;
        gb_tokens tokens;
        gb_mem_init(&mem, "test", NULL, 0);
        write_file("tokens", cases[i].text);
        int rc = gb_tokens_read(&tokens, &mem, path_of("tokens"));
        assert_int_equal(rc, cases[i].why ? GB_EINVAL : 0);
        if (cases[i].why && !strstr(gb_err_detail(), cases[i].why)) fail_msg("%s", gb_err_detail());
        if (rc == 0) assert_int_equal(tokens.count, 1);
        gb_tokens_fini(&tokens, &mem);
        gb_mem_fini(&mem);
    }
}

/* What was granted ends with the line of the token, its role, or its time. */
static void test_review(void **state)
{
    (void)state;
    enum { SOON = 2000000000 };
    world w;
    int64_t now = (SOON - 10) * (int64_t)1000000000, then = (SOON + 1) * (int64_t)1000000000;
    write_file("tokens", "");
    gb_secret ann = add_token("ann", "client", SOON);
    open_world(&w, &(wish){.tokens = path_of("tokens")});
    assert_int_equal(gb_guard_tick(w.guard, now), 0);
    welcomed(&w, 0, &ann);
    assert_int_equal(gb_guard_holds(w.guard, &w.grant, now), 0);
    assert_int_equal(gb_guard_holds(w.guard, &w.grant, then), GB_EDENIED);
    assert_int_equal(gb_guard_tick(w.guard, then), 1);
    assert_int_equal(gb_guard_tick(w.guard, then), 0);
    assert_int_equal(gb_guard_tick(w.guard, now), 0); /* the clock was set back */
    write_file("tokens", "no token at all\n");
    assert_int_equal(gb_guard_tick(w.guard, now), GB_EINVAL);
    assert_int_equal(gb_guard_tick(w.guard, now), 0); /* it was told */
    assert_int_equal(gb_guard_holds(w.guard, &w.grant, now), 0);
    write_file("tokens", "");
    add_token("ann", "client", SOON); /* another secret */
    assert_int_equal(gb_guard_tick(w.guard, now), 1);
    assert_int_equal(gb_guard_holds(w.guard, &w.grant, now), GB_EDENIED);
    refused(&w, 0, &ann, "the token 'ann' is not known here, or its secret is another", "'ann'");
    assert_int_equal(remove(path_of("tokens")), 0);
    assert_int_equal(gb_guard_tick(w.guard, now), GB_ENOENT);
    assert_int_equal(gb_guard_tick(w.guard, now), 0);
    close_world(&w);
}

/* ---- certificates ---- */

static gb_grant judge(gb_guard *guard, const char *role, bool is_near, int wanted)
{
    gb_grant grant;
    gb_hello hello = hello_of(0);
    gb_tls_peer cert = {.name = "x"};
    snprintf(cert.role, sizeof cert.role, "%s", role);
    assert_int_equal(gb_guard_judge(guard, &grant, &hello, &cert, is_near), wanted);
    return grant;
}

static void test_roles_of_certificates(void **state)
{
    (void)state;
    gb_mem mem;
    gb_guard *open, *strict;
    gb_mem_init(&mem, "test", NULL, 0);
    write_file("tokens", "");
    gb_guard_config config = {.mem = &mem, .tokens_file = path_of("tokens")};
    assert_int_equal(gb_guard_open(&strict, &config), 0);
    config.tokens_file = NULL;
    assert_int_equal(gb_guard_open(&open, &config), 0);
    assert_int_equal(judge(open, "client", false, 0).rights, GB_MAY_LOOK | GB_MAY_CALL);
    assert_int_equal(judge(open, "client", true, 0).rights, GB_MAY_ALL & ~GB_MAY_RUN);
    assert_int_equal(judge(strict, "client", true, 0).rights, GB_MAY_LOOK | GB_MAY_CALL);
    assert_int_equal(judge(strict, "viewer", true, 0).rights, GB_MAY_LOOK);
    assert_int_equal(judge(strict, "operator", false, 0).rights, GB_MAY_ALL);
    assert_int_equal(judge(strict, "silo", false, 0).rights, GB_MAY_ALL);
    judge(strict, "king", true, GB_EDENIED);
    gb_grant near = judge(open, "client", true, 0);
    assert_int_equal(gb_grant_check(&near, GB_MAY_OPERATE), 0);
    assert_int_equal(gb_grant_check(&near, GB_MAY_RUN), GB_EDENIED);
    gb_guard_close(open);
    gb_guard_close(strict);
    gb_mem_fini(&mem);
}

/* ---- in the middle ---- */

/* It has a certificate of the CA and passes on what it hears: plain bytes between two sessions. */
typedef struct half {
    struct middle *m;
    int at;
} half;

typedef struct middle {
    world *w;
    half halves[2];
    gb_tls *tls;
    gb_listener *listener;
    gb_pipe *pipe[2]; /* to who connected, to the silo */
    uint8_t bytes[4096];
} middle;

static int middle_room(void *user, uint8_t **at, size_t *room)
{
    *at = ((half *)user)->m->bytes;
    *room = sizeof((half *)user)->m->bytes;
    return 0;
}

static void middle_came(void *user, size_t bytes)
{
    half *h = user;
    gb_pipe *other = h->m->pipe[!h->at];
    if (!other) return;
    assert_int_equal(gb_buf_put(gb_pipe_out(other), h->m->bytes, bytes), 0);
    gb_pipe_put(other);
}

static void middle_closed(void *user, int rc, const char *why)
{
    half *h = user;
    (void)rc, (void)why;
    h->m->pipe[h->at] = NULL;
    if (h->m->pipe[!h->at]) gb_pipe_close(h->m->pipe[!h->at]);
    h->m->pipe[!h->at] = NULL;
}

static void middle_opened(void *user)
{
    (void)user;
}

static const gb_socket_events middle_events = {middle_opened, middle_room, middle_came,
                                               NULL,          NULL,        middle_closed};

static void middle_accepted(void *user, int fd, const char *peer)
{
    middle *m = user;
    (void)peer;
    m->halves[0] = (half){m, 0};
    m->halves[1] = (half){m, 1};
    assert_int_equal(gb_pipe_connect(&m->pipe[1], &m->w->mem, m->w->loop,
                                     gb_listener_address(m->w->listener), m->tls, 20 * GB_SEC,
                                     &middle_events, &m->halves[1]),
                     0);
    assert_int_equal(gb_pipe_accept(&m->pipe[0], &m->w->mem, m->w->loop, fd, m->tls, &middle_events,
                                    &m->halves[0]),
                     0);
}

/* Each end has a good TLS session, and both know the key; it is not the same session. */
static void test_in_the_middle(void **state)
{
    (void)state;
    gb_secret key = secret_of(KEY, "");
    for (int tls = 0; tls < 2; tls++) {
        world w;
        open_world(&w, &(wish){.key = KEY, .tls = tls});
        middle m = {.w = &w, .tls = w.tls};
        assert_int_equal(gb_listen(&m.listener, w.loop, "127.0.0.1:0", middle_accepted, &m), 0);
        dial_at(&w, gb_listener_address(m.listener), w.tls, 3, &key);
        UNTIL(&w, w.client.closed || w.client.ready);
        assert_int_equal(w.client.ready, !tls); /* without TLS it cannot be seen */
        if (tls) {
            assert_int_equal(w.greeted_rc, GB_EDENIED);
            assert_int_equal(w.client.rc, GB_EDENIED);
        }
        if (w.client.link) gb_link_close(w.client.link);
        w.client.link = NULL;
        for (int i = 0; i < 2; i++)
            if (m.pipe[i]) gb_pipe_close(m.pipe[i]);
        gb_listener_close(m.listener);
        close_world(&w);
    }
}

/* ---- memory ---- */

/* The Nth allocation fails: both ends hear of it, or it works. */
static bool fails_at(int64_t n)
{
    world w;
    gb_secret key = secret_of(KEY, "");
    gb_hello hello = hello_of(3);
    open_world(&w, &(wish){.key = KEY});
    atomic_store(&w.mem.fail_at, n);
    int rc = gb_link_connect(&w.client.link, &w.mem, w.loop, gb_listener_address(w.listener), NULL,
                             &hello, &key, LIMIT, GB_SEC / 4, &kit_events, &w.client);
    while (rc == 0 && !w.client.closed && !w.client.ready) gb_loop_wait(w.loop, TURN_MS * GB_MS);
    bool reached = atomic_load(&w.mem.fail_at) <= 0;
    atomic_store(&w.mem.fail_at, 0);
    bool late = !reached && w.client.closed && w.client.rc == GB_ETIMEDOUT; /* a busy machine */
    if (!reached && !late) assert_int_equal(w.client.ready, 1);
    close_world(&w);
    return reached || late;
}

static void test_no_memory(void **state)
{
    (void)state;
    int64_t n = 1;
    while (fails_at(n)) n++;
    assert_true(n > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_one_sided_key),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_review),
        cmocka_unit_test(test_roles_of_certificates),
        cmocka_unit_test(test_in_the_middle),
        cmocka_unit_test(test_no_memory),
    };
    gb_mem mem;
    setenv("GB_MODULE_DIR", GB_MODULES_AT, 1);
    gb_mem_init(&mem, "test", NULL, 0);
    if (!folder_make(folder, "handshake")) return 1;
    gb_tls_certs certs = {.folder = folder, .days = 2};
    int rc = gb_tls_make_certs(&certs);
    rc = rc < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL) + handshake_bytes();
    gb_mem_fini(&mem);
    return rc;
}
