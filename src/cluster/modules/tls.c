/* TLS by OpenSSL, over buffers in memory. */
#include "cluster/modules/tls_room.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WHY_BYTES = 512, SUBJECT_BYTES = 160, RECORD_ALERT = 21, RECORD_HANDSHAKE = 22 };

typedef struct context {
    gbi_tls_error *error;
    SSL_CTX *ssl;
    int64_t expires_s;
} context;

typedef struct session {
    context *of;
    SSL *ssl;
    BIO *in, *out; /* the ssl's */
    bool is_first; /* nothing came yet */
    bool has_ended;
    char why[WHY_BYTES]; /* what is wrong with the other end's certificate */
} session;

/* OpenSSL's last word, and its queue empty. */
static const char *last_word(char out[WHY_BYTES])
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(out, WHY_BYTES, "%s", reason ? reason : "OpenSSL does not say why");
    ERR_clear_error();
    return out;
}

static void print_name(char out[SUBJECT_BYTES], const X509_NAME *name)
{
    char *text = X509_NAME_oneline(name, NULL, 0);
    snprintf(out, SUBJECT_BYTES, "%s", text ? text : "without a name");
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    OPENSSL_free(text);
}

static void print_time(char out[32], const ASN1_TIME *time)
{
    struct tm t;
    if (!ASN1_TIME_to_tm(time, &t) || !strftime(out, 32, "%Y-%m-%d %H:%M UTC", &t))
        snprintf(out, 32, "an unknown day");
}

/* What X509 says of a certificate: whose it is, who signed it, and how long it holds. */
static void explain(char out[WHY_BYTES], X509 *cert, int code)
{
    char subject[SUBJECT_BYTES] = "unknown", issuer[SUBJECT_BYTES] = "unknown";
    char from[32] = "", until[32] = "";
    if (cert) {
        print_name(subject, X509_get_subject_name(cert));
        print_name(issuer, X509_get_issuer_name(cert));
        print_time(from, X509_get0_notBefore(cert));
        print_time(until, X509_get0_notAfter(cert));
    }
    snprintf(out, WHY_BYTES, "%s (%s, signed by %s, valid from %s until %s)",
             X509_verify_cert_error_string(code), subject, issuer, from, until);
}

static int on_verify(int fine, X509_STORE_CTX *store)
{
    if (fine) return fine;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    session *s = ssl ? SSL_get_app_data(ssl) : NULL;
    if (s && !s->why[0])
        explain(s->why, X509_STORE_CTX_get_current_cert(store), X509_STORE_CTX_get_error(store));
    return fine;
}

/* ---- contexts ---- */

/* OpenSSL would ask on the terminal. */
static int no_passphrase(char *out, int room, int writing, void *user)
{
    (void)out;
    (void)room;
    (void)writing;
    (void)user;
    return -1;
}

static int check_file(context *c, const char *what, const char *path)
{
    if (access(path, R_OK) == 0) return 0;
    return c->error(GB_ENOENT, "the %s %s cannot be read", what, path);
}

static int check_own(context *c, const char *path)
{
    char why[WHY_BYTES];
    X509 *cert = SSL_CTX_get0_certificate(c->ssl);
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    struct tm t;
    int rc = 0;
    if (!cert || !check ||
        !X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(c->ssl), cert, NULL)) {
        rc = c->error(GB_ENOMEM, "no memory for a certificate");
    } else {
        STACK_OF(X509) *chain = NULL;
        SSL_CTX_get0_chain_certs(c->ssl, &chain);
        X509_STORE_CTX_set0_untrusted(check, chain);
        if (X509_verify_cert(check) != 1) {
            explain(why, cert, X509_STORE_CTX_get_error(check));
            rc = c->error(GB_EINVAL, "our certificate %s: %s", path, why);
        }
    }
    if (rc >= 0 && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &t)) c->expires_s = timegm(&t);
    X509_STORE_CTX_free(check);
    return rc;
}

static int load_own(context *c, const gb_tls_config *config)
{
    char why[WHY_BYTES];
    if (!config->cert_file) return 0;
    if (!config->key_file)
        return c->error(GB_EINVAL, "the certificate %s comes without a key", config->cert_file);
    int rc = check_file(c, "certificate", config->cert_file);
    if (rc >= 0) rc = check_file(c, "key", config->key_file);
    if (rc < 0) return rc;
    if (SSL_CTX_use_certificate_chain_file(c->ssl, config->cert_file) != 1)
        return c->error(GB_EINVAL, "no certificate in %s: %s", config->cert_file, last_word(why));
    if (SSL_CTX_use_PrivateKey_file(c->ssl, config->key_file, SSL_FILETYPE_PEM) != 1)
        return c->error(GB_EINVAL, "no key for %s in %s (without a passphrase): %s",
                        config->cert_file, config->key_file, last_word(why));
    return check_own(c, config->cert_file);
}

static int load(context *c, const gb_tls_config *config)
{
    char why[WHY_BYTES];
    if (!config->ca_file) return c->error(GB_EINVAL, "TLS without the certificate of a CA");
    int rc = check_file(c, "CA's certificate", config->ca_file);
    if (rc < 0) return rc;
    c->ssl = SSL_CTX_new(TLS_method());
    if (!c->ssl || !SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION))
        return c->error(GB_ENOMEM, "no TLS: %s", last_word(why));
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(c->ssl, 0);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_default_passwd_cb(c->ssl, no_passphrase);
    if (SSL_CTX_load_verify_locations(c->ssl, config->ca_file, NULL) != 1)
        return c->error(GB_EINVAL, "no certificate of a CA in %s: %s", config->ca_file,
                        last_word(why));
    return load_own(c, config);
}

static void tls_close(void *tls)
{
    context *c = tls;
    SSL_CTX_free(c->ssl);
    free(c);
}

static int tls_open(void **out, gbi_tls_error *error, const gb_tls_config *config)
{
    context *c = calloc(1, sizeof *c);
    if (!c) return error(GB_ENOMEM, "no memory for TLS");
    c->error = error;
    int rc = load(c, config);
    ERR_clear_error();
    if (rc < 0) {
        tls_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

static int64_t tls_expires_s(const void *tls)
{
    return ((const context *)tls)->expires_s;
}

/* ---- sessions ---- */

static void session_close(void *state)
{
    session *s = state;
    SSL_free(s->ssl); /* its buffers too */
    free(s);
}

static bool set_host(SSL *ssl, const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static int session_open(void **out, void *tls, gb_tls_side side, const char *host)
{
    context *c = tls;
    session *s = calloc(1, sizeof *s);
    if (!s) return c->error(GB_ENOMEM, "no memory for a TLS session");
    s->of = c;
    s->is_first = true;
    s->ssl = SSL_new(c->ssl);
    s->in = BIO_new(BIO_s_mem());
    s->out = BIO_new(BIO_s_mem());
    if (!s->ssl || !s->in || !s->out || (host && !set_host(s->ssl, host))) {
        BIO_free(s->in);
        BIO_free(s->out);
        SSL_free(s->ssl);
        free(s);
        ERR_clear_error();
        return c->error(GB_ENOMEM, "no memory for a TLS session");
    }
    BIO_set_mem_eof_return(s->in, -1); /* empty is not the end */
    SSL_set_bio(s->ssl, s->in, s->out);
    SSL_set_app_data(s->ssl, s);
    int verify = SSL_VERIFY_PEER;
    if (side == GB_TLS_ACCEPTS) verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_verify(s->ssl, verify, on_verify);
    if (side == GB_TLS_CONNECTS)
        SSL_set_connect_state(s->ssl);
    else
        SSL_set_accept_state(s->ssl);
    *out = s;
    return 0;
}

static int session_take(void *state, const void *bytes, size_t size)
{
    session *s = state;
    uint8_t record = size ? *(const uint8_t *)bytes : RECORD_HANDSHAKE;
    if (s->is_first && record != RECORD_HANDSHAKE && record != RECORD_ALERT) {
        s->has_ended = true;
        return s->of->error(GB_EDENIED, "the other end does not speak TLS");
    }
    s->is_first = s->is_first && !size;
    if (size > INT_MAX) return s->of->error(GB_EINVAL, "too many bytes at once");
    if (!size || BIO_write(s->in, bytes, (int)size) == (int)size) return 0;
    return s->of->error(GB_ENOMEM, "no memory for bytes of TLS");
}

/* Why the session ended, as an error of ours. */
static int broken(session *s)
{
    char word[WHY_BYTES];
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);
    bool is_up = SSL_is_init_finished(s->ssl);
    s->has_ended = true;
    last_word(word);
    if (s->why[0])
        return s->of->error(GB_EDENIED, "the other end's certificate is refused: %s", s->why);
    if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return s->of->error(GB_EDENIED, "the other end shows no certificate");
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
        return s->of->error(GB_EDENIED, "the other end refuses us: %s", word);
    return s->of->error(is_up ? GB_ELOST : GB_EDENIED, "%s: %s",
                        is_up ? "damaged bytes of TLS" : "no TLS handshake", word);
}

static int64_t session_read(void *state, void *at, size_t room)
{
    session *s = state;
    size_t came = 0;
    if (s->has_ended) return s->of->error(GB_ECLOSED, "the TLS session is over");
    ERR_clear_error();
    int fine = room > 0 ? SSL_read_ex(s->ssl, at, room, &came) : SSL_do_handshake(s->ssl) == 1;
    if (fine) return (int64_t)came;
    int code = SSL_get_error(s->ssl, fine);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) return 0;
    if (code != SSL_ERROR_ZERO_RETURN) return broken(s);
    s->has_ended = true;
    return s->of->error(GB_ECLOSED, "the other end said goodbye");
}

static bool session_is_up(const void *state)
{
    return SSL_is_init_finished(((const session *)state)->ssl) == 1;
}

static void print_part(char out[GB_TLS_NAME_BYTES], X509 *cert, int part)
{
    char text[GB_TLS_NAME_BYTES];
    int size = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), part, text, sizeof text);
    bool is_text = size > 0 && (size_t)size == strnlen(text, sizeof text);
    snprintf(out, GB_TLS_NAME_BYTES, "%s", is_text ? text : "");
}

static void session_get_peer(const void *state, gb_tls_peer *out)
{
    *out = (gb_tls_peer){0};
    X509 *cert = SSL_get0_peer_certificate(((const session *)state)->ssl);
    if (!cert) return;
    print_part(out->name, cert, NID_commonName);
    print_part(out->role, cert, NID_organizationalUnitName);
}

static int session_write(void *state, const void *bytes, size_t size)
{
    session *s = state;
    size_t written = 0;
    if (s->has_ended) return s->of->error(GB_ECLOSED, "the TLS session is over");
    if (!SSL_is_init_finished(s->ssl)) return s->of->error(GB_EBUSY, "the TLS handshake goes on");
    if (!size) return 0;
    ERR_clear_error();
    if (SSL_write_ex(s->ssl, bytes, size, &written) && written == size) return 0;
    return broken(s);
}

static void session_finish(void *state)
{
    session *s = state;
    if (!s->has_ended && SSL_is_init_finished(s->ssl)) SSL_shutdown(s->ssl);
    ERR_clear_error();
}

static size_t session_pending(void *state, const void **bytes)
{
    char *data = NULL;
    long size = BIO_get_mem_data(((session *)state)->out, &data);
    *bytes = data;
    return size > 0 ? (size_t)size : 0;
}

static void session_sent(void *state)
{
    (void)BIO_reset(((session *)state)->out);
}

static int session_bind(void *state, uint8_t out[GB_MAC_BYTES])
{
    static const char label[] = "EXPORTER-gpubridge-link";
    session *s = state;
    if (SSL_export_keying_material(s->ssl, out, GB_MAC_BYTES, label, sizeof label - 1, NULL, 0,
                                   0) == 1)
        return 0;
    return broken(s);
}

static bool mac(uint8_t out[GB_MAC_BYTES], const void *key, size_t key_size, const void *bytes,
                size_t size)
{
    return key_size <= INT_MAX && HMAC(EVP_sha256(), key, (int)key_size, bytes, size, out, NULL);
}

static const gbi_tls_door door = {
    .abi = GB_TLS_ABI,
    .open = tls_open,
    .close = tls_close,
    .expires_s = tls_expires_s,
    .session_open = session_open,
    .session_close = session_close,
    .take = session_take,
    .read = session_read,
    .is_up = session_is_up,
    .get_peer = session_get_peer,
    .write = session_write,
    .finish = session_finish,
    .pending = session_pending,
    .sent = session_sent,
    .bind = session_bind,
    .mac = mac,
    .make_certs = gbm_tls_make_certs,
};

GB_EXPORTED const gbi_tls_door *gb_tls_module(void);
const gbi_tls_door *gb_tls_module(void)
{
    return &door;
}
