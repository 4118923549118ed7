/* Certificates for development: a CA of one's own, a silo's and a client's. */
#include "cluster/modules/tls_room.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, SAN_BYTES = 4096, SERIAL_BYTES = 16, DAY_S = 24 * 60 * 60 };

typedef struct identity {
    const char *file; /* FOLDER/file.crt and .key */
    const char *name, *role, *usage, *extended, *constraints;
    bool has_hosts;
} identity;

static const identity ca = {.file = "ca",
                            .name = "gpubridge development CA",
                            .role = "ca",
                            .usage = "critical,keyCertSign,cRLSign",
                            .constraints = "critical,CA:TRUE,pathlen:0"};
static const identity silo = {.file = "silo",
                              .name = "silo",
                              .role = "silo",
                              .usage = "critical,digitalSignature",
                              .extended = "serverAuth,clientAuth",
                              .constraints = "critical,CA:FALSE",
                              .has_hosts = true};
static const identity client = {.file = "client",
                                .name = "client",
                                .role = "client",
                                .usage = "critical,digitalSignature",
                                .extended = "clientAuth",
                                .constraints = "critical,CA:FALSE"};
static const identity *const all[] = {&ca, &silo, &client};
enum { IDENTITIES = sizeof all / sizeof all[0] };

typedef struct making {
    gbi_tls_error *error;
    const gb_tls_certs *wish;
    char hosts[SAN_BYTES]; /* a subjectAltName */
    EVP_PKEY *ca_key;
    X509 *ca_cert;
} making;

static int path_of(const making *m, char out[PATH_BYTES], const char *file, const char *end)
{
    if (snprintf(out, PATH_BYTES, "%s/%s.%s", m->wish->folder, file, end) < PATH_BYTES) return 0;
    return m->error(GB_EINVAL, "the name of the folder is too long");
}

/* ---- what is asked for ---- */

static int add_host(making *m, const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    bool is_ip = inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
    size_t used = strlen(m->hosts);
    for (const char *c = host; *c && !is_ip; c++) {
        bool fine = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    (*c >= '0' && *c <= '9') || *c == '.' || *c == '-' || *c == '*';
        if (!fine) return m->error(GB_EINVAL, "'%s' is no name of a host and no address", host);
    }
    if (!*host) return m->error(GB_EINVAL, "an empty name of a host");
    if (snprintf(m->hosts + used, SAN_BYTES - used, "%s%s:%s", used ? "," : "",
                 is_ip ? "IP" : "DNS", host) >= (int)(SAN_BYTES - used))
        return m->error(GB_EINVAL, "too many hosts");
    return 0;
}

static int check_wish(making *m)
{
    static const char *const here[] = {"localhost", "127.0.0.1", "::1"};
    char path[PATH_BYTES];
    int rc = 0;
    if (m->wish->days < 1 || m->wish->days > 36500)
        return m->error(GB_EINVAL, "certificates for %u days: it is 1 to 36500",
                        (unsigned)m->wish->days);
    for (int i = 0; i < 3 && rc >= 0; i++) rc = add_host(m, here[i]);
    for (uint32_t i = 0; i < m->wish->host_count && rc >= 0; i++)
        rc = add_host(m, m->wish->hosts[i]);
    for (int i = 0; i < 2 * IDENTITIES && rc >= 0; i++) {
        rc = path_of(m, path, all[i / 2]->file, i % 2 ? "key" : "crt");
        if (rc >= 0 && access(path, F_OK) == 0)
            rc = m->error(GB_EBUSY, "%s is there already; nothing was written", path);
    }
    return rc;
}

/* ---- making ---- */

static bool add_extension(X509 *cert, X509 *issuer, int kind, const char *text)
{
    X509V3_CTX with;
    X509V3_set_ctx_nodb(&with);
    X509V3_set_ctx(&with, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *made = text ? X509V3_EXT_conf_nid(NULL, &with, kind, text) : NULL;
    bool fine = !text || (made && X509_add_ext(cert, made, -1));
    X509_EXTENSION_free(made);
    return fine;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
    bytes[0] = (bytes[0] & 0x7f) | 1; /* positive, and never empty */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool fine = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    return fine;
}

static bool set_name(X509 *cert, const identity *who)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"gpubridge",
                                      -1, -1, 0) &&
           X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_UTF8, (const unsigned char *)who->role,
                                      -1, -1, 0) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)who->name,
                                      -1, -1, 0);
}

/* Signed by the CA, or by itself when there is none yet. Valid from a day ago: clocks differ. */
static X509 *make_cert(const making *m, const identity *who, EVP_PKEY *key)
{
    X509 *cert = X509_new(), *issuer = m->ca_cert ? m->ca_cert : cert;
    bool fine =
        cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S) &&
        X509_time_adj_ex(X509_getm_notAfter(cert), (int)m->wish->days, 0, NULL) &&
        X509_set_pubkey(cert, key) && set_name(cert, who) &&
        X509_set_issuer_name(cert, X509_get_subject_name(issuer)) &&
        add_extension(cert, issuer, NID_basic_constraints, who->constraints) &&
        add_extension(cert, issuer, NID_key_usage, who->usage) &&
        add_extension(cert, issuer, NID_ext_key_usage, who->extended) &&
        add_extension(cert, issuer, NID_subject_key_identifier, "hash") &&
        add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always") &&
        add_extension(cert, issuer, NID_subject_alt_name, who->has_hosts ? m->hosts : NULL) &&
        X509_sign(cert, m->ca_key ? m->ca_key : key, EVP_sha256());
    if (fine) return cert;
    X509_free(cert);
    return NULL;
}

static int write_file(const making *m, const identity *who, X509 *cert, EVP_PKEY *key)
{
    char path[PATH_BYTES];
    int rc = path_of(m, path, who->file, cert ? "crt" : "key");
    if (rc < 0) return rc;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, cert ? 0644 : 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    bool fine = file && (cert ? PEM_write_X509(file, cert)
                              : PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
    int code = errno;
    if (file) fine = fclose(file) == 0 && fine;
    return fine ? 0 : m->error(GB_EINVAL, "%s cannot be written: %s", path, strerror(code));
}

static int make(making *m, const identity *who)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key ? make_cert(m, who, key) : NULL;
    int rc = cert ? 0 : m->error(GB_ENOMEM, "OpenSSL makes no certificate");
    if (rc >= 0) rc = write_file(m, who, NULL, key);
    if (rc >= 0) rc = write_file(m, who, cert, NULL);
    if (rc >= 0 && who == &ca) {
        m->ca_key = key;
        m->ca_cert = cert;
        return 0;
    }
    EVP_PKEY_free(key);
    X509_free(cert);
    return rc;
}

int gbm_tls_make_certs(gbi_tls_error *error, const gb_tls_certs *certs)
{
    making m = {.error = error, .wish = certs};
    int rc = check_wish(&m);
    if (rc >= 0 && mkdir(certs->folder, 0700) != 0 && errno != EEXIST)
        rc = error(GB_EINVAL, "%s cannot be made: %s", certs->folder, strerror(errno));
    for (int i = 0; i < IDENTITIES && rc >= 0; i++) rc = make(&m, all[i]);
    EVP_PKEY_free(m.ca_key);
    X509_free(m.ca_cert);
    ERR_clear_error();
    return rc < 0 ? rc : 0;
}
