/* TLS of the cluster's links: bytes in, bytes out, no sockets and no clock of its own. Whoever
 * holds the socket hands over what came (gb_tls_take), reads the plain bytes until there are none
 * (gb_tls_read), and after every call sends what gb_tls_out gives.
 *
 * Only TLS 1.3. Certificates are believed when the CA of the configuration signed them, no other; a
 * name inside tells who it is (CN) and what it may be (OU: "silo" or "client"). OpenSSL is a
 * module: nothing of it is loaded before the first gb_tls_open or gb_tls_mac.
 *
 * Threads. A gb_tls may be used by sessions of any thread and is closed after them; a session has
 * one thread at a time.
 * Errors. GB_EDENIED: a certificate that is expired, of another CA, of another name, or missing, or
 * an end that does not speak TLS; the detail says which, whose and until when. GB_ENOENT,
 * GB_EINVAL: files. GB_ENOTYET: the module is not there. GB_ELOST: damaged bytes. After an error of
 * a session only gb_tls_out (it may hold a last word to the other end) and the close are left.
 */
#ifndef GB_CLUSTER_TLS_H
#define GB_CLUSTER_TLS_H

#include "base/buf.h"

#include <stdbool.h>

typedef struct gb_tls gb_tls;
typedef struct gb_tls_session gb_tls_session;

typedef struct gb_tls_config {
    gb_mem *mem;
    const char *ca_file;   /* PEM: the only ones that are believed */
    const char *cert_file; /* PEM, ours; NULL: a client that shows none */
    const char *key_file;  /* PEM, without a passphrase */
} gb_tls_config;

enum { GB_TLS_NAME_BYTES = 64, GB_MAC_BYTES = 32 };

typedef struct gb_tls_peer {
    char name[GB_TLS_NAME_BYTES]; /* "": it showed no certificate */
    char role[GB_TLS_NAME_BYTES]; /* "silo", "client", or what else the CA has signed */
} gb_tls_peer;

/* Reads the files. Our own certificate must be signed by the CA, fit the key and be valid now. */
int gb_tls_open(gb_tls **out, const gb_tls_config *config);
void gb_tls_close(gb_tls *tls);

/* When our certificate ends, seconds since 1970 UTC; 0: we have none. */
int64_t gb_tls_expires_s(const gb_tls *tls);

typedef enum gb_tls_side {
    GB_TLS_CONNECTS,
    GB_TLS_ACCEPTS,        /* the other end must show a certificate */
    GB_TLS_ACCEPTS_CLIENTS /* it may show one: whoever has none proves itself in another way */
} gb_tls_side;

/* host: the name or address that the other end's certificate must have; NULL: any of the CA's. */
int gb_tls_session_open(gb_tls_session **out, gb_tls *tls, gb_tls_side side, const char *host);
void gb_tls_session_close(gb_tls_session *session);

/* Bytes that came from the other end. */
int gb_tls_take(gb_tls_session *session, const void *bytes, size_t size);

/* Plain bytes: how many, 0: none now, GB_ECLOSED: the other end said goodbye. Makes the handshake
 * go on, so it is also called first; with no room it does only that. */
int64_t gb_tls_read(gb_tls_session *session, void *at, size_t room);

/* Is the handshake over? */
bool gb_tls_is_up(const gb_tls_session *session);

/* Who it is: once it is up. */
void gb_tls_get_peer(const gb_tls_session *session, gb_tls_peer *out);

/* Plain bytes to the other end, all of them. GB_EBUSY: it is not up yet. */
int gb_tls_write(gb_tls_session *session, const void *bytes, size_t size);

/* Says goodbye. */
void gb_tls_finish(gb_tls_session *session);

/* Appends what is to be sent. */
int gb_tls_out(gb_tls_session *session, gb_buf *out);

/* Bytes that both ends of this session have, and no other session has. Once it is up. */
int gb_tls_bind(gb_tls_session *session, uint8_t out[GB_MAC_BYTES]);

/* ---- MACs: HMAC with SHA-256 ---- */

/* false: out of memory. Any thread. */
typedef bool gb_mac(uint8_t out[GB_MAC_BYTES], const void *key, size_t key_size, const void *bytes,
                    size_t size);

int gb_tls_mac(gb_mac **out);

/* ---- certificates for development ---- */

typedef struct gb_tls_certs {
    const char *folder;       /* is made if it is not there */
    const char *const *hosts; /* names and addresses of silos, beside localhost, 127.0.0.1, ::1 */
    uint32_t host_count;
    uint32_t days;
} gb_tls_certs;

/* Writes ca.crt, ca.key, silo.crt, silo.key, client.crt, client.key; keys are for the owner's eyes.
 * GB_EBUSY: one of them is there already, nothing was written. */
int gb_tls_make_certs(const gb_tls_certs *certs);

#endif
