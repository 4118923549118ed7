/* TLS under the connection to Redis (redis_tls.c; redis_no_tls.c where OpenSSL was missing). One
 * thread. */
#ifndef GB_CLUSTER_MODULES_REDIS_TLS_H
#define GB_CLUSTER_MODULES_REDIS_TLS_H

#include "cluster/provider.h"

#include <sys/types.h>

typedef struct gbm_redis_tls gbm_redis_tls;

/* query: cacert=FILE&cert=FILE&key=FILE. */
int gbm_redis_tls_open(gbm_redis_tls **out, const gb_provider_host *host, const char *query);
void gbm_redis_tls_close(gbm_redis_tls *tls);

/* The handshake, over a descriptor that is connected and does not block. Negative: *why. */
int gbm_redis_tls_begin(gbm_redis_tls *tls, int fd, const char *name, uint64_t deadline_ns,
                        char *why, size_t room);
void gbm_redis_tls_end(gbm_redis_tls *tls); /* no connection any more */

/* How many bytes moved; 0: wait for *events; negative: it is lost, *why. */
ssize_t gbm_redis_tls_move(gbm_redis_tls *tls, void *bytes, size_t size, bool is_out, short *events,
                           char *why, size_t room);

#endif
