#include "base/map.h"

#include "base/check.h"
#include "base/err.h"

#include <string.h>

void gb_map_init(gb_map *map, gb_mem *mem)
{
    memset(map, 0, sizeof *map);
    map->mem = mem;
}

void gb_map_fini(gb_map *map)
{
    for (int i = 0; i < GB_MAP_SEGMENTS; i++)
        gb_mem_free(map->mem, map->segments[i].entries,
                    map->segments[i].room * sizeof(gb_map_entry));
    memset(map->segments, 0, sizeof map->segments);
    map->count = 0;
}

static void place(gb_map_entry *entries, uint32_t room, gb_map_entry entry)
{
    uint32_t at = entry.tag & (room - 1);
    while (entries[at].value != GB_MAP_NONE) at = (at + 1) & (room - 1);
    entries[at] = entry;
}

static int grow(gb_map *map, uint64_t segment)
{
    uint32_t old_room = map->segments[segment].room, room = old_room ? old_room * 2 : 4;
    gb_map_entry *old = map->segments[segment].entries;
    gb_map_entry *entries = gb_mem_alloc(map->mem, room * sizeof *entries);
    if (!entries) return GB_ENOMEM;
    memset(entries, 0xff, room * sizeof *entries);
    for (uint32_t i = 0; i < old_room; i++)
        if (old[i].value != GB_MAP_NONE) place(entries, room, old[i]);
    gb_mem_free(map->mem, old, old_room * sizeof *old);
    map->segments[segment].entries = entries;
    map->segments[segment].room = room;
    return 0;
}

int gb_map_add(gb_map *map, uint64_t hash, uint32_t value)
{
    GB_CHECK(value != GB_MAP_NONE);
    uint64_t segment = hash >> 54;
    if (map->segments[segment].used * 4 >= map->segments[segment].room * 3) {
        int rc = grow(map, segment);
        if (rc < 0) return rc;
    }
    place(map->segments[segment].entries, map->segments[segment].room,
          (gb_map_entry){(uint32_t)hash, value});
    map->segments[segment].used++;
    map->count++;
    return 0;
}

void gb_map_remove(gb_map *map, uint64_t hash, uint32_t value)
{
    uint64_t segment = hash >> 54;
    gb_map_entry *entries = map->segments[segment].entries;
    GB_CHECK(entries);
    uint32_t mask = map->segments[segment].room - 1, at = (uint32_t)hash & mask;
    while (entries[at].value != value || entries[at].tag != (uint32_t)hash) {
        GB_CHECK(entries[at].value != GB_MAP_NONE);
        at = (at + 1) & mask;
    }
    /* Close the gap: move back every later entry of the run whose home does not lie behind the gap.
     */
    for (uint32_t next = (at + 1) & mask; entries[next].value != GB_MAP_NONE;
         next = (next + 1) & mask) {
        uint32_t home = entries[next].tag & mask;
        if (((next - home) & mask) >= ((next - at) & mask)) {
            entries[at] = entries[next];
            at = next;
        }
    }
    entries[at].value = GB_MAP_NONE;
    map->segments[segment].used--;
    map->count--;
}
