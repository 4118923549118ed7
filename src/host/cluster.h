/* The host's place in a cluster: a member, a client, or neither. */
#ifndef GB_HOST_CLUSTER_H
#define GB_HOST_CLUSTER_H

#include "host/host.h"

/* Takes the port, before any worker runs. GB_EINVAL: settings that contradict each other. */
int gbi_cluster_open(gb_host *host);

/* The end, in this order; each does nothing in a host that is alone. */
void gbi_cluster_drain(gb_host *host);
void gbi_cluster_leave(gb_host *host);                          /* workers run */
void gbi_cluster_stop_worker(gb_host *host, gb_worker *worker); /* on its thread */
void gbi_cluster_close(gb_host *host);                          /* after gb_silo_stop */

#endif
