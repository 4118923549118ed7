/* A hash map from a 64-bit hash to a 32-bit value, for tables that reach millions of entries
 * without a long pause: the top bits of the hash choose one of 1,024 small open-addressing tables,
 * and each grows alone (4 Ki entries are moved in about 20 us). The caller compares keys: a lookup
 * walks every value stored under an equal hash. One thread.
 */
#ifndef GB_BASE_MAP_H
#define GB_BASE_MAP_H

#include "base/mem.h"

enum { GB_MAP_SEGMENTS = 1024 };

typedef struct gb_map_entry {
    uint32_t tag;   /* 32 bits of the hash; slot choice uses its low bits */
    uint32_t value; /* GB_MAP_NONE: free */
} gb_map_entry;

#define GB_MAP_NONE UINT32_MAX

typedef struct gb_map {
    gb_mem *mem;
    uint64_t count;
    struct {
        gb_map_entry *entries;
        uint32_t room; /* a power of two, or 0 */
        uint32_t used;
    } segments[GB_MAP_SEGMENTS];
} gb_map;

void gb_map_init(gb_map *map, gb_mem *mem);
void gb_map_fini(gb_map *map);

/* Adds a value (never GB_MAP_NONE) under a hash, also when one is there already: 0 or GB_ENOMEM. */
int gb_map_add(gb_map *map, uint64_t hash, uint32_t value);

/* Removes that value under that hash; a check fails when it is not there. */
void gb_map_remove(gb_map *map, uint64_t hash, uint32_t value);

/* Walks the values under a hash: start with *cursor = 0; GB_MAP_NONE ends the walk. */
static inline uint32_t gb_map_next(const gb_map *map, uint64_t hash, uint32_t *cursor)
{
    const gb_map_entry *entries = map->segments[hash >> 54].entries;
    uint32_t mask = map->segments[hash >> 54].room - 1, tag = (uint32_t)hash;
    if (!entries) return GB_MAP_NONE;
    for (;;) {
        const gb_map_entry *entry = &entries[(tag + *cursor) & mask];
        ++*cursor;
        if (entry->value == GB_MAP_NONE) return GB_MAP_NONE;
        if (entry->tag == tag) return entry->value;
    }
}

#endif
