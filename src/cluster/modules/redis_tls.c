#include "cluster/modules/redis_tls.h"

#include "cluster/modules/wait.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { FILE_BYTES = 512 };

struct gbm_redis_tls {
    SSL_CTX *context;
    SSL *ssl; /* NULL: not connected */
};

static const char *last_word(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return reason ? reason : "OpenSSL does not say why";
}

/* OpenSSL would ask on the terminal. */
static int no_passphrase(char *out, int room, int writing, void *user)
{
    (void)out, (void)room, (void)writing, (void)user;
    return -1;
}

static int load(gbm_redis_tls *tls, const gb_provider_host *host, const char *query)
{
    char ca[FILE_BYTES], cert[FILE_BYTES], key[FILE_BYTES];
    if (!gbm_option(query, "cacert", ca, sizeof ca) ||
        !gbm_option(query, "cert", cert, sizeof cert) || !gbm_option(query, "key", key, sizeof key))
        return host->error(GB_EINVAL, "a file's name that is too long");
    tls->context = SSL_CTX_new(TLS_client_method());
    if (!tls->context) return host->error(GB_ENOMEM, "no TLS: %s", last_word());
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_default_passwd_cb(tls->context, no_passphrase);
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(tls->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int fine = *ca ? SSL_CTX_load_verify_locations(tls->context, ca, NULL)
                   : SSL_CTX_set_default_verify_paths(tls->context);
    if (fine != 1) return host->error(GB_EINVAL, "no certificate of a CA in %s", ca);
    if (!*cert) return 0;
    if (SSL_CTX_use_certificate_chain_file(tls->context, cert) != 1)
        return host->error(GB_EINVAL, "no certificate in %s: %s", cert, last_word());
    if (SSL_CTX_use_PrivateKey_file(tls->context, key, SSL_FILETYPE_PEM) != 1)
        return host->error(GB_EINVAL, "no key for %s in %s: %s", cert, key, last_word());
    return 0;
}

int gbm_redis_tls_open(gbm_redis_tls **out, const gb_provider_host *host, const char *query)
{
    gbm_redis_tls *tls = calloc(1, sizeof *tls);
    if (!tls) return host->error(GB_ENOMEM, "no memory for TLS");
    int rc = load(tls, host, query);
    if (rc < 0)
        gbm_redis_tls_close(tls);
    else
        *out = tls;
    return rc;
}

void gbm_redis_tls_close(gbm_redis_tls *tls)
{
    gbm_redis_tls_end(tls);
    SSL_CTX_free(tls->context);
    free(tls);
}

void gbm_redis_tls_end(gbm_redis_tls *tls)
{
    SSL_free(tls->ssl);
    tls->ssl = NULL;
}

/* What a call that did not go through waits for; 0: it is lost. */
static short wish(gbm_redis_tls *tls, int result)
{
    int code = SSL_get_error(tls->ssl, result);
    return code == SSL_ERROR_WANT_READ ? POLLIN : code == SSL_ERROR_WANT_WRITE ? POLLOUT : 0;
}

static bool set_host(SSL *ssl, const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

int gbm_redis_tls_begin(gbm_redis_tls *tls, int fd, const char *name, uint64_t deadline_ns,
                        char *why, size_t room)
{
    ERR_clear_error();
    tls->ssl = SSL_new(tls->context);
    if (!tls->ssl || !set_host(tls->ssl, name) || !SSL_set_fd(tls->ssl, fd)) {
        snprintf(why, room, "no memory for TLS");
        return GB_ENOMEM;
    }
    for (;;) {
        int result = SSL_connect(tls->ssl);
        if (result == 1) return 0;
        short events = wish(tls, result);
        if (!events) break;
        if (gbm_wait(fd, events, deadline_ns)) continue;
        snprintf(why, room, "no TLS handshake in time");
        return GB_ETIMEDOUT;
    }
    long verdict = SSL_get_verify_result(tls->ssl);
    if (verdict != X509_V_OK) {
        ERR_clear_error();
        snprintf(why, room, "its certificate is refused: %s",
                 X509_verify_cert_error_string(verdict));
        return GB_EDENIED;
    }
    snprintf(why, room, "no TLS: %s", last_word());
    return GB_ELOST;
}

ssize_t gbm_redis_tls_move(gbm_redis_tls *tls, void *bytes, size_t size, bool is_out, short *events,
                           char *why, size_t room)
{
    size_t moved = 0;
    ERR_clear_error();
    int result = is_out ? SSL_write_ex(tls->ssl, bytes, size, &moved)
                        : SSL_read_ex(tls->ssl, bytes, size, &moved);
    if (result == 1) return (ssize_t)moved;
    *events = wish(tls, result);
    if (*events) return 0;
    snprintf(why, room, "the TLS connection ended: %s", last_word());
    return -1;
}
