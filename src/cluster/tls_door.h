/* What the module tls (OpenSSL) does for tls.c: the same calls, with states of the module's own. It
 * calls back through `error` alone, as providers of tables do. */
#ifndef GB_CLUSTER_TLS_DOOR_H
#define GB_CLUSTER_TLS_DOOR_H

#include "cluster/tls.h"

enum { GB_TLS_ABI = 2 };

typedef int gbi_tls_error(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));

typedef struct gbi_tls_door {
    uint32_t abi;
    int (*open)(void **out, gbi_tls_error *error, const gb_tls_config *config);
    void (*close)(void *tls);
    int64_t (*expires_s)(const void *tls);
    int (*session_open)(void **out, void *tls, gb_tls_side side, const char *host);
    void (*session_close)(void *session);
    int (*take)(void *session, const void *bytes, size_t size);
    int64_t (*read)(void *session, void *at, size_t room);
    bool (*is_up)(const void *session);
    void (*get_peer)(const void *session, gb_tls_peer *out);
    int (*write)(void *session, const void *bytes, size_t size);
    void (*finish)(void *session);
    size_t (*pending)(void *session, const void **bytes); /* what is to be sent */
    void (*sent)(void *session);                          /* all of that */
    int (*bind)(void *session, uint8_t out[GB_MAC_BYTES]);
    gb_mac *mac;
    int (*make_certs)(gbi_tls_error *error, const gb_tls_certs *certs);
} gbi_tls_door;

typedef const gbi_tls_door *gb_tls_module_fn(void);

#endif
