/* Rows of the membership table under the key of a cluster: only silos that have it can write rows
 * that others believe. Without a key rows are as they are. Pure functions, any thread.
 * Errors: GB_EDENIED: of another key, or one has a key and the other none; the detail says which.
 */
#ifndef GB_CLUSTER_TABLE_SEAL_H
#define GB_CLUSTER_TABLE_SEAL_H

#include "base/buf.h"
#include "cluster/secret.h"

typedef struct gb_seal {
    const gb_secret *key; /* NULL: none */
    const char *cluster;
} gb_seal;

/* Appends the row, sealed. */
int gb_seal_put(const gb_seal *seal, gb_buf *out, const void *row, size_t size);

/* The row inside; *row and *row_size are set for one of another key too. */
int gb_seal_open(const gb_seal *seal, gb_mem *mem, const void *bytes, size_t size, const void **row,
                 size_t *row_size);

#endif
