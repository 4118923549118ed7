#include "gpu/mempool.h"

#include "base/check.h"
#include "gpu/front.h"

#include <string.h>

enum { FIRST_SHIFT = 8, STEPS_SHIFT = 2 }; /* 256 bytes; four classes to a doubling */

void gbi_mempool_init(gbi_mempool *pool, int64_t bytes_max)
{
    pthread_mutex_init(&pool->lock, NULL);
    pool->bytes_max = bytes_max;
}

void gbi_mempool_fini(gbi_mempool *pool)
{
    GB_CHECK(pool->bytes_held == 0);
    pthread_mutex_destroy(&pool->lock);
}

size_t gbi_mempool_class_bytes(int class)
{
    if (class == 0) return (size_t)1 << FIRST_SHIFT;
    int octave = (class - 1) >> STEPS_SHIFT, step = ((class - 1) & ((1 << STEPS_SHIFT) - 1)) + 1;
    size_t base = (size_t)1 << (FIRST_SHIFT + octave);
    return base + (base >> STEPS_SHIFT) * (size_t)step;
}

int gbi_mempool_class(const gbi_mempool *pool, size_t bytes)
{
    int class = 0;
    if (bytes > (size_t)1 << FIRST_SHIFT) {
        int log = 63 - __builtin_clzll(bytes - 1);
        size_t step = (size_t)1 << (log - STEPS_SHIFT);
        size_t over = (bytes - ((size_t)1 << log) + step - 1) / step;
        class = ((log - FIRST_SHIFT) << STEPS_SHIFT) + (int)over;
    }
    if (class >= GBI_POOL_CLASSES) return GBI_POOL_NONE;
    return (int64_t)gbi_mempool_class_bytes(class) <= pool->bytes_max ? class : GBI_POOL_NONE;
}

gb_buffer *gbi_mempool_take(gbi_mempool *pool, gb_buffer_kind kind, int class, uint64_t tenant,
                            uint64_t owner)
{
    gbi_shelf *shelf = &pool->shelves[kind][class];
    pthread_mutex_lock(&pool->lock);
    gb_buffer **at = &shelf->first;
    for (int i = 0; i < GBI_POOL_SEARCH && *at; i++, at = &(*at)->next)
        if ((*at)->last_owner == owner && (*at)->last_tenant == tenant) break;
    if (!*at || (*at)->last_owner != owner || (*at)->last_tenant != tenant) at = &shelf->first;
    gb_buffer *buffer = *at;
    if (buffer) {
        *at = buffer->next;
        if (--shelf->count < shelf->low) shelf->low = shelf->count;
        pool->bytes_held -= (int64_t)buffer->block_bytes;
        pool->stats[kind].bytes_held -= (int64_t)buffer->block_bytes;
    }
    pthread_mutex_unlock(&pool->lock);
    return buffer;
}

bool gbi_mempool_put(gbi_mempool *pool, gb_buffer *buffer)
{
    gbi_shelf *shelf = &pool->shelves[buffer->kind][buffer->class];
    int64_t bytes = (int64_t)buffer->block_bytes;
    pthread_mutex_lock(&pool->lock);
    bool room = shelf->count < GBI_POOL_BLOCKS && bytes <= pool->bytes_max - pool->bytes_held;
    if (room) {
        buffer->next = shelf->first;
        shelf->first = buffer;
        shelf->count++;
        pool->bytes_held += bytes;
        pool->stats[buffer->kind].bytes_held += bytes;
    }
    pthread_mutex_unlock(&pool->lock);
    return room;
}

/* Under the lock: the `count` oldest blocks of a shelf go to the front of the chain. */
static gb_buffer *cut(gbi_mempool *pool, gb_buffer_kind kind, int class, int count,
                      gb_buffer *chain)
{
    gbi_shelf *shelf = &pool->shelves[kind][class];
    gb_buffer **at = &shelf->first;
    for (int i = count; i < shelf->count; i++) at = &(*at)->next;
    gb_buffer *gone = *at;
    *at = NULL;
    shelf->count -= count;
    while (gone) {
        gb_buffer *next = gone->next;
        pool->bytes_held -= (int64_t)gone->block_bytes;
        pool->stats[kind].bytes_held -= (int64_t)gone->block_bytes;
        pool->stats[kind].trimmed++;
        gone->next = chain;
        chain = gone;
        gone = next;
    }
    return chain;
}

static gb_buffer *cut_all(gbi_mempool *pool, bool idle_only)
{
    gb_buffer *chain = NULL;
    pthread_mutex_lock(&pool->lock);
    for (int kind = 0; kind < GBI_POOL_KINDS; kind++)
        for (int class = 0; class < GBI_POOL_CLASSES; class ++) {
            gbi_shelf *shelf = &pool->shelves[kind][class];
            int count = idle_only ? (shelf->low + 1) / 2 : shelf->count;
            if (count > 0) chain = cut(pool, (gb_buffer_kind)kind, class, count, chain);
            shelf->low = shelf->count;
        }
    pthread_mutex_unlock(&pool->lock);
    return chain;
}

gb_buffer *gbi_mempool_trim(gbi_mempool *pool)
{
    return cut_all(pool, true);
}

gb_buffer *gbi_mempool_drain(gbi_mempool *pool)
{
    return cut_all(pool, false);
}

/* ---- counts ---- */

void gbi_mempool_opened(gbi_mempool *pool, const gb_buffer *buffer, bool hit)
{
    gb_pool_stats *stats = &pool->stats[buffer->kind];
    pthread_mutex_lock(&pool->lock);
    if (hit)
        stats->hits++;
    else
        stats->misses++;
    stats->bytes_in_use += (int64_t)buffer->block_bytes;
    stats->bytes_asked += (int64_t)buffer->bytes;
    pthread_mutex_unlock(&pool->lock);
}

void gbi_mempool_failed(gbi_mempool *pool, gb_buffer_kind kind)
{
    pthread_mutex_lock(&pool->lock);
    pool->stats[kind].failures++;
    pthread_mutex_unlock(&pool->lock);
}

void gbi_mempool_closed(gbi_mempool *pool, const gb_buffer *buffer)
{
    gb_pool_stats *stats = &pool->stats[buffer->kind];
    pthread_mutex_lock(&pool->lock);
    stats->bytes_in_use -= (int64_t)buffer->block_bytes;
    stats->bytes_asked -= (int64_t)buffer->bytes;
    pthread_mutex_unlock(&pool->lock);
}

int64_t gbi_mempool_held(gbi_mempool *pool, bool of_the_device)
{
    pthread_mutex_lock(&pool->lock);
    int64_t bytes = pool->bytes_held;
    if (of_the_device) bytes -= pool->stats[GB_BUFFER_PINNED].bytes_held;
    pthread_mutex_unlock(&pool->lock);
    return bytes;
}

void gb_device_pool_stats(gb_device *device, int kind, gb_pool_stats *out)
{
    gbi_mempool *pool = &device->pool;
    GB_CHECK(kind >= GB_POOL_ALL && kind < GBI_POOL_KINDS);
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < GBI_POOL_KINDS; i++) {
        const gb_pool_stats *one = &pool->stats[i];
        if (kind != GB_POOL_ALL && i != kind) continue;
        out->hits += one->hits;
        out->misses += one->misses;
        out->failures += one->failures;
        out->trimmed += one->trimmed;
        out->bytes_in_use += one->bytes_in_use;
        out->bytes_asked += one->bytes_asked;
        out->bytes_held += one->bytes_held;
    }
    out->bytes_max = pool->bytes_max;
    pthread_mutex_unlock(&pool->lock);
    int64_t opens = out->hits + out->misses, all = out->bytes_in_use + out->bytes_held;
    out->hit_rate = opens > 0 ? (double)out->hits / (double)opens : 0;
    out->utilization = all > 0 ? (double)out->bytes_in_use / (double)all : 0;
    out->fragmentation =
        out->bytes_in_use > 0 ? 1 - (double)out->bytes_asked / (double)out->bytes_in_use : 0;
}
