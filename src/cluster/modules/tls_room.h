/* What the files of the module tls share. */
#ifndef GB_CLUSTER_MODULES_TLS_ROOM_H
#define GB_CLUSTER_MODULES_TLS_ROOM_H

#include "base/err.h"
#include "cluster/tls_door.h"

int gbm_tls_make_certs(gbi_tls_error *error, const gb_tls_certs *certs);

#endif
