#include "cluster/table_seal.h"

#include "base/err.h"

#include <string.h>

/* No row begins with this byte: they are maps in CBOR. */
enum { MARK = 'K', HEAD = 1 + GB_MAC_BYTES };

static int seal_mac(const gb_seal *seal, gb_mem *mem, const void *row, size_t size,
                    uint8_t out[GB_MAC_BYTES])
{
    gb_buf all;
    gb_buf_init(&all, mem);
    int rc = gb_buf_put(&all, "row of ", 7);
    if (rc == 0) rc = gb_buf_put(&all, seal->cluster, strlen(seal->cluster) + 1);
    if (rc == 0) rc = gb_buf_put(&all, row, size);
    if (rc == 0 &&
        !seal->key->verifier.mac(out, seal->key->client, GB_MAC_BYTES, all.data, all.size))
        rc = gb_err_set(GB_ENOMEM, "no memory for a MAC");
    gb_buf_fini(&all);
    return rc;
}

int gb_seal_put(const gb_seal *seal, gb_buf *out, const void *row, size_t size)
{
    uint8_t head[HEAD] = {MARK};
    if (!seal->key) return gb_buf_put(out, row, size);
    int rc = seal_mac(seal, out->mem, row, size, head + 1);
    if (rc == 0) rc = gb_buf_put(out, head, sizeof head);
    return rc < 0 ? rc : gb_buf_put(out, row, size);
}

int gb_seal_open(const gb_seal *seal, gb_mem *mem, const void *bytes, size_t size, const void **row,
                 size_t *row_size)
{
    const uint8_t *at = bytes;
    uint8_t wanted[GB_MAC_BYTES];
    bool sealed = size > HEAD && at[0] == MARK;
    *row = sealed ? at + HEAD : at;
    *row_size = sealed ? size - HEAD : size;
    if (!seal->key && !sealed) return 0;
    if (!seal->key)
        return gb_err_set(GB_EDENIED, "the silo that wrote it has a key, and this one has none "
                                      "(cluster_key)");
    if (!sealed)
        return gb_err_set(GB_EDENIED, "the silo that wrote it has no key, and this one has one "
                                      "(cluster_key)");
    int rc = seal_mac(seal, mem, *row, *row_size, wanted);
    if (rc < 0 || gb_same_bytes(wanted, at + 1, sizeof wanted)) return rc;
    return gb_err_set(GB_EDENIED, "the silo that wrote it has another key (cluster_key)");
}
