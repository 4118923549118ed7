/* TLS of links: two ends in memory, and every end that should be refused. */
#include "cluster/tls.h"

#include "base/err.h"
#include "folder.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS_MAX = 64, LARGE = 1 << 20 };

static gb_mem mem;
static char folder[256], other[300];

static const char *file(const char *in, const char *name)
{
    static char paths[64][400];
    static int next;
    char *path = paths[next++ % 64];
    snprintf(path, 400, "%s/%s", in, name);
    return path;
}

static gb_tls *open_as(const char *in, const char *who)
{
    char cert[32], key[32];
    gb_tls *tls = NULL;
    snprintf(cert, sizeof cert, "%s.crt", who);
    snprintf(key, sizeof key, "%s.key", who);
    gb_tls_config config = {&mem, file(in, "ca.crt"), *who ? file(in, cert) : NULL,
                            *who ? file(in, key) : NULL};
    int rc = gb_tls_open(&tls, &config);
    if (rc < 0) fail_msg("%s: %s", gb_err_name(rc), gb_err_detail());
    return tls;
}

/* One end of a link in memory. */
typedef struct end {
    gb_tls_session *session;
    gb_buf plain, sent; /* what came, and what is on its way to the other end */
    int rc;             /* of its end */
    char why[1024];
} end;

static void end_open(end *e, gb_tls *tls, gb_tls_side side, const char *host)
{
    *e = (end){0};
    gb_buf_init(&e->plain, &mem);
    gb_buf_init(&e->sent, &mem);
    assert_int_equal(gb_tls_session_open(&e->session, tls, side, host), 0);
}

static void end_close(end *e)
{
    gb_tls_session_close(e->session);
    gb_buf_fini(&e->plain);
    gb_buf_fini(&e->sent);
}

static void end_failed(end *e, int rc)
{
    e->rc = rc;
    snprintf(e->why, sizeof e->why, "%s", gb_err_detail());
}

/* Gives it bytes, reads all that is plain, and takes what is to be sent. True: something happened.
 */
static bool end_step(end *e, const void *bytes, size_t size)
{
    size_t before = e->sent.size, had = e->plain.size;
    int64_t n = 1;
    if (!e->rc) {
        int rc = gb_tls_take(e->session, bytes, size);
        if (rc < 0) end_failed(e, rc);
    }
    while (!e->rc && n > 0) {
        uint8_t room[5000];
        n = gb_tls_read(e->session, room, sizeof room);
        if (n < 0) end_failed(e, (int)n);
        if (n > 0) assert_int_equal(gb_buf_put(&e->plain, room, (size_t)n), 0);
    }
    assert_int_equal(gb_tls_out(e->session, &e->sent), 0);
    return e->sent.size != before || e->plain.size != had;
}

static bool pass(end *from, end *to)
{
    gb_buf sent = from->sent;
    gb_buf_init(&from->sent, &mem);
    bool moved = end_step(to, sent.data, sent.size);
    gb_buf_fini(&sent);
    return moved;
}

/* Until nothing moves any more. */
static void talk(end *a, end *b)
{
    end_step(a, NULL, 0);
    int rounds = 0;
    for (; rounds < ROUNDS_MAX; rounds++) {
        bool moved = pass(a, b);
        if (!(pass(b, a) || moved || a->sent.size || b->sent.size)) break;
    }
    assert_true(rounds < ROUNDS_MAX);
}

static void test_both_ways(void **state)
{
    (void)state;
    gb_tls *silo = open_as(folder, "silo");
    end a, b;
    gb_tls_peer peer;
    assert_true(gb_tls_expires_s(silo) > 1700000000);
    end_open(&a, silo, GB_TLS_CONNECTS, "127.0.0.1");
    end_open(&b, silo, GB_TLS_ACCEPTS, NULL);
    assert_int_equal(gb_tls_write(a.session, "x", 1), GB_EBUSY);
    talk(&a, &b);
    assert_true(gb_tls_is_up(a.session) && gb_tls_is_up(b.session));
    gb_tls_get_peer(b.session, &peer);
    assert_string_equal(peer.role, "silo");
    uint8_t *large = gb_mem_alloc(&mem, LARGE);
    for (int i = 0; i < LARGE; i++) large[i] = (uint8_t)(i * 7 >> 3);
    assert_int_equal(gb_tls_write(a.session, large, LARGE), 0);
    assert_int_equal(gb_tls_write(b.session, "short", 5), 0);
    talk(&a, &b);
    assert_true(b.plain.size == LARGE && memcmp(b.plain.data, large, LARGE) == 0);
    assert_true(a.plain.size == 5 && memcmp(a.plain.data, "short", 5) == 0);
    gb_mem_free(&mem, large, LARGE);
    gb_tls_finish(a.session);
    talk(&a, &b);
    assert_int_equal(b.rc, GB_ECLOSED);
    end_close(&a);
    end_close(&b);
    gb_tls_close(silo);
}

/* A handshake of these two. The server's error, or the client's, or 0. */
static int meet(gb_tls *client, gb_tls *server, gb_tls_side side, const char *host, end *a, end *b)
{
    end_open(a, client, GB_TLS_CONNECTS, host);
    end_open(b, server, side, NULL);
    talk(a, b);
    if (b->rc) printf("# server: %s\n", b->why);
    if (a->rc) printf("# client: %s\n", a->why);
    return b->rc ? b->rc : a->rc;
}

static void test_roles(void **state)
{
    (void)state;
    gb_tls *silo = open_as(folder, "silo"), *client = open_as(folder, "client");
    gb_tls *none = open_as(folder, "");
    gb_tls_peer peer;
    end a, b;
    assert_int_equal(meet(client, silo, GB_TLS_ACCEPTS, "localhost", &a, &b), 0);
    gb_tls_get_peer(b.session, &peer);
    assert_string_equal(peer.role, "client");
    assert_string_equal(peer.name, "client");
    end_close(&a), end_close(&b);
    assert_int_equal(meet(none, silo, GB_TLS_ACCEPTS_CLIENTS, "::1", &a, &b), 0);
    gb_tls_get_peer(b.session, &peer);
    assert_string_equal(peer.name, "");
    end_close(&a), end_close(&b);
    assert_int_equal(meet(none, silo, GB_TLS_ACCEPTS, NULL, &a, &b), GB_EDENIED);
    assert_non_null(strstr(b.why, "no certificate"));
    assert_int_equal(a.rc, GB_EDENIED); /* it is told */
    assert_non_null(strstr(a.why, "refuses us"));
    end_close(&a), end_close(&b);
    /* a client's certificate is no server's */
    assert_int_equal(meet(silo, client, GB_TLS_ACCEPTS, NULL, &a, &b), GB_EDENIED);
    end_close(&a), end_close(&b);
    gb_tls_close(silo);
    gb_tls_close(client);
    gb_tls_close(none);
}

static void test_wrong_ca_and_host(void **state)
{
    (void)state;
    gb_tls *silo = open_as(folder, "silo"), *stranger = open_as(other, "silo");
    end a, b;
    assert_int_equal(meet(stranger, silo, GB_TLS_ACCEPTS, NULL, &a, &b), GB_EDENIED);
    assert_non_null(strstr(a.why, "CN=silo")); /* whose it was */
    assert_false(gb_tls_is_up(b.session));
    end_close(&a), end_close(&b);
    assert_int_equal(meet(silo, silo, GB_TLS_ACCEPTS, "node-9", &a, &b), GB_EDENIED);
    assert_int_equal(a.rc, GB_EDENIED);
    assert_non_null(strstr(a.why, "ostname"));
    end_close(&a), end_close(&b);
    assert_int_equal(meet(silo, silo, GB_TLS_ACCEPTS, "10.1.2.3", &a, &b), GB_EDENIED);
    end_close(&a), end_close(&b);
    assert_int_equal(meet(silo, silo, GB_TLS_ACCEPTS, "node-1", &a, &b), 0);
    end_close(&a), end_close(&b);
    gb_tls_close(silo);
    gb_tls_close(stranger);
}

/* The silo's certificate once more, with other days. */
static void sign_again(const char *name, long from_s, long until_s)
{
    FILE *in = fopen(file(folder, "silo.crt"), "rb"), *keys = fopen(file(folder, "ca.key"), "rb");
    X509 *cert = PEM_read_X509(in, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_PrivateKey(keys, NULL, NULL, NULL);
    fclose(in);
    fclose(keys);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), from_s));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), until_s));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *out = fopen(file(folder, name), "wb");
    assert_int_equal(PEM_write_X509(out, cert), 1);
    fclose(out);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* A client of OpenSSL's own that shows a certificate of these days: what the server says. */
static void show_days(const char *cert, int wanted, const char *word)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_use_certificate_file(ctx, file(folder, cert), SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, file(folder, "silo.key"), SSL_FILETYPE_PEM),
                     1);
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    gb_tls *silo = open_as(folder, "silo");
    end b;
    end_open(&b, silo, GB_TLS_ACCEPTS, NULL);
    for (int i = 0; i < 4; i++) {
        char *bytes = NULL;
        SSL_do_handshake(ssl);
        long size = BIO_get_mem_data(out, &bytes);
        end_step(&b, bytes, (size_t)size);
        (void)BIO_reset(out);
        if (b.sent.size) BIO_write(in, b.sent.data, (int)b.sent.size);
        b.sent.size = 0;
    }
    if (b.rc) printf("# %s\n", b.why);
    assert_int_equal(b.rc, wanted);
    if (wanted) assert_non_null(strstr(b.why, word));
    end_close(&b);
    gb_tls_close(silo);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static int open_rc(const char *ca, const char *cert, const char *key)
{
    gb_tls *tls = NULL;
    gb_tls_config config = {&mem, ca, cert, key};
    int rc = gb_tls_open(&tls, &config);
    if (rc < 0) printf("# %s\n", gb_err_detail());
    if (rc >= 0) gb_tls_close(tls);
    return rc;
}

static void test_days(void **state)
{
    (void)state;
    const char *ca = file(folder, "ca.crt"), *key = file(folder, "silo.key");
    sign_again("old.crt", -7200, -3600);
    sign_again("early.crt", 3600, 7200);
    sign_again("good.crt", -60, 3600);
    show_days("old.crt", GB_EDENIED, "expired");
    show_days("early.crt", GB_EDENIED, "not yet valid");
    show_days("good.crt", 0, NULL);
    assert_int_equal(open_rc(ca, file(folder, "old.crt"), key), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "expired"));
    assert_int_equal(open_rc(ca, file(folder, "good.crt"), key), 0);
}

static void test_files(void **state)
{
    (void)state;
    const char *ca = file(folder, "ca.crt"), *cert = file(folder, "silo.crt");
    const char *key = file(folder, "silo.key");
    assert_int_equal(open_rc(NULL, cert, key), GB_EINVAL);
    assert_int_equal(open_rc("nowhere.crt", cert, key), GB_ENOENT);
    assert_int_equal(open_rc(key, cert, key), GB_EINVAL); /* no certificate in it */
    assert_int_equal(open_rc(ca, "nowhere.crt", key), GB_ENOENT);
    assert_int_equal(open_rc(ca, cert, NULL), GB_EINVAL);
    assert_int_equal(open_rc(ca, cert, file(folder, "client.key")), GB_EINVAL);
    assert_int_equal(open_rc(ca, key, key), GB_EINVAL);
    assert_int_equal(open_rc(file(other, "ca.crt"), cert, key), GB_EINVAL);
    struct stat st;
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    gb_tls_certs again = {.folder = folder, .days = 1};
    assert_int_equal(gb_tls_make_certs(&again), GB_EBUSY);
    const char *bad[] = {"a,b"};
    gb_tls_certs strange = {.folder = file(folder, "x"), .hosts = bad, .host_count = 1, .days = 1};
    assert_int_equal(gb_tls_make_certs(&strange), GB_EINVAL);
    assert_int_equal(stat(file(folder, "x"), &st), -1);
}

/* Nothing but TLS is taken; damaged bytes end the session and nothing else. */
static void test_strangers(void **state)
{
    (void)state;
    static const char *const words[] = {
        "\xb6\x01\x01 a frame without TLS", "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\xff\xff and then nothing of it", "\x15\x03\x03\x00\x02\x02\x28"};
    gb_tls *silo = open_as(folder, "silo");
    end a, b;
    for (int i = 0; i < 4; i++) {
        end_open(&b, silo, GB_TLS_ACCEPTS, NULL);
        end_step(&b, words[i], i == 3 ? 7 : strlen(words[i]));
        if (b.rc) printf("# %s\n", b.why);
        assert_int_equal(b.rc, GB_EDENIED);
        assert_true(gb_tls_read(b.session, &(char){0}, 1) == GB_ECLOSED);
        assert_int_equal(gb_tls_write(b.session, "x", 1), GB_ECLOSED);
        end_close(&b);
    }
    seed random = seed_start("strangers");
    for (int round = 0; round < 60; round++) {
        end_open(&a, silo, GB_TLS_CONNECTS, NULL);
        end_open(&b, silo, GB_TLS_ACCEPTS, NULL);
        end_step(&a, NULL, 0);
        uint64_t when = seed_below(&random, 4);
        for (uint64_t i = 0; i < 6; i++) {
            end *from = i % 2 ? &b : &a;
            if (i == when && from->sent.size)
                from->sent.data[seed_below(&random, from->sent.size)] ^=
                    1 + seed_below(&random, 255);
            pass(from, i % 2 ? &a : &b);
        }
        assert_true(a.rc <= 0 && b.rc <= 0);
        end_close(&a), end_close(&b);
    }
    gb_tls_close(silo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_wrong_ca_and_host),
        cmocka_unit_test(test_days),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_strangers),
    };
    const char *hosts[] = {"node-1"};
    setenv("GB_MODULE_DIR", GB_MODULES_AT, 1);
    gb_mem_init(&mem, "test", NULL, 0);
    if (!folder_make(folder, "tls")) return 1;
    snprintf(other, sizeof other, "%s/other", folder);
    gb_tls_certs here = {.folder = folder, .hosts = hosts, .host_count = 1, .days = 2};
    gb_tls_certs there = {.folder = other, .days = 2};
    int rc = 1;
    if (gb_tls_make_certs(&here) < 0 || gb_tls_make_certs(&there) < 0)
        printf("# %s\n", gb_err_detail());
    else
        rc = cmocka_run_group_tests(tests, NULL, NULL);
    gb_mem_fini(&mem);
    return rc;
}
