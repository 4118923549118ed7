/* What a device keeps of memory between two buffers: blocks by kind and size class, and the counts
 * of it. The blocks are gb_buffer objects with count 0. It calls no backend; buffer.c opens, fits
 * and closes.
 *
 * Sizes (the inventory's rule 11, first row, with finer classes): 256 B to 256 MB, four classes to
 * a doubling, so that at most a fifth of a block is waste where powers of two waste up to a half.
 * What is larger, or larger than the pool, has a block of its own size that is not kept. At most
 * 100 blocks are kept of a class, and bytes_max in all.
 *
 * Trimming: of each class half of what nobody took for a whole minute is given back; under pressure
 * everything is. The time is passed in.
 *
 * Thread: any; one short lock inside.
 */
#ifndef GB_GPU_MEMPOOL_H
#define GB_GPU_MEMPOOL_H

#include "gpu/gpu.h"

#include <pthread.h>

enum {
    GBI_POOL_CLASSES = 81,
    GBI_POOL_KINDS = 3,
    GBI_POOL_BLOCKS = 100,
    GBI_POOL_SEARCH = 4, /* blocks of a class among which one of the same owner is looked for */
    GBI_POOL_NONE = -1   /* no class */
};

typedef struct gbi_shelf {
    gb_buffer *first; /* the newest: most likely in the caches */
    int count, low;   /* low: the least since it was trimmed */
} gbi_shelf;

typedef struct gbi_mempool {
    pthread_mutex_t lock; /* of all below */
    int64_t bytes_max, bytes_held;
    gb_pool_stats stats[GBI_POOL_KINDS];
    gbi_shelf shelves[GBI_POOL_KINDS][GBI_POOL_CLASSES];
} gbi_mempool;

void gbi_mempool_init(gbi_mempool *pool, int64_t bytes_max);
void gbi_mempool_fini(gbi_mempool *pool); /* nothing is in it */

/* The class of a size, or GBI_POOL_NONE; and how large its blocks are. */
int gbi_mempool_class(const gbi_mempool *pool, size_t bytes);
size_t gbi_mempool_class_bytes(int class);

/* A kept block of that class, one of the owner's own if there is one near the top; NULL: none. */
gb_buffer *gbi_mempool_take(gbi_mempool *pool, gb_buffer_kind kind, int class, uint64_t tenant,
                            uint64_t owner);
/* Keeps it; false: there is no room. */
bool gbi_mempool_put(gbi_mempool *pool, gb_buffer *buffer);

/* What is to be closed now, chained by `next`: after a minute, or everything. */
gb_buffer *gbi_mempool_trim(gbi_mempool *pool);
gb_buffer *gbi_mempool_drain(gbi_mempool *pool);

/* Counts: an open was served (hit: out of the pool) or failed; a buffer was closed. */
void gbi_mempool_opened(gbi_mempool *pool, const gb_buffer *buffer, bool hit);
void gbi_mempool_failed(gbi_mempool *pool, gb_buffer_kind kind);
void gbi_mempool_closed(gbi_mempool *pool, const gb_buffer *buffer);
int64_t gbi_mempool_held(gbi_mempool *pool, bool of_the_device); /* false: all kinds */

#endif
