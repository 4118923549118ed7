/* A client of a cluster: calls of types that this process does not define go to one of several
 * silos, the gateways, and on from there. It is no member and hosts nothing for others.
 *
 * Threads, memory: as cluster.h. When the link to a gateway cannot be made, or breaks, calls that
 * have not left go to the next one.
 */
#ifndef GB_CLUSTER_CLIENT_H
#define GB_CLUSTER_CLIENT_H

#include "cluster/carry.h"

typedef struct gb_client gb_client;

typedef struct gb_client_config {
    gb_mem *mem;
    gb_silo *silo;
    const char *gateways; /* "HOST:PORT,HOST:PORT" */
    const char *cluster;
    gb_tls_config tls;      /* ca_file NULL: none */
    const char *token_file; /* NULL: none */
    bool open;              /* a token may go without TLS to more than the loopback */
    size_t bytes_max;       /* of one message; 0: 64 MiB */
} gb_client_config;

/* Before the worker threads start. GB_EINVAL: an address that is none. GB_EDENIED: a token without
 * TLS, or one that others may read. */
int gb_client_open(gb_client **out, const gb_client_config *config);
void gb_client_stop_worker(gb_client *client, gb_worker *worker);
void gb_client_close(gb_client *client);

#endif
