/* gb_value from inside: a row of values as the bytes that also travel between workers, with the
 * blocks of its arrays beside them (lua/value.c writes and reads the same from a Lua stack). One
 * thread at a time. Holds the host's memory account by a reference of the host. */
#ifndef GB_HOST_VALUE_H
#define GB_HOST_VALUE_H

#include "base/block.h"
#include "base/buf.h"
#include "host/public.h"

#include <stdbool.h>

enum {
    GBI_TAG_INT64 = 40001,  /* an integer */
    GBI_TAG_UINT64 = 40002, /* an integer */
    GBI_TAG_REF = 40003,    /* [type name, key] */
    GBI_TAG_ARRAY = 40004,  /* [index of the block, wire name of the type, offset, count] */
    GBI_TAG_BUFFER = 40005, /* [index of the block, wire name of the type] */
    GBI_DEPTH_MAX = 100,
    GBI_NODES_MAX = 1000000,
    GBI_KEY_MAX = 1024
};

typedef struct gbi_frame {
    size_t at; /* of the placeholder of its header */
    uint64_t items;
    bool table;
} gbi_frame;

typedef struct gbi_text { /* a copy of a string, ended by NUL */
    struct gbi_text *next;
    size_t bytes;
    char text[];
} gbi_text;

struct gb_value {
    gb_host *host;
    gb_buf bytes;
    gb_block **blocks;
    uint32_t block_count;
    int count;      /* values at the top */
    uint32_t nodes; /* values at all levels, for the bound */
    uint32_t depth; /* open lists and tables */
    gbi_frame *frames;
    uint32_t frame_room;
    int rc;          /* the first failure of a put */
    char *why;       /* its text */
    gbi_text *texts; /* strings that were asked for as texts */
};

gb_value *gbi_value_new(gb_host *host); /* NULL: GB_ENOMEM */

/* Is it complete, and did every put succeed? 0, or its failure as the thread's detail. */
int gbi_value_check(const gb_value *value);

/* A value of results: copies the bytes (checked: they are ours), takes the blocks over. NULL: out
 * of memory, and the blocks are still the caller's. */
gb_value *gbi_value_results(gb_host *host, const gb_buf *bytes, gb_block **blocks,
                            uint32_t block_count);

/* The same value on blocks of the host's own account, so that it outlives the states. 0, GB_ENOMEM.
 */
int gbi_value_keep(gb_value *value);

/* nil, message, code with one of our codes: that code with borrowed texts (traceback may be NULL);
 * else 0. */
int gbi_value_failure(const gb_value *value, const char **message, const char **traceback);

/* The bytes of one element of an array type, or 0. */
size_t gbi_type_bytes(const char *type);

#endif
