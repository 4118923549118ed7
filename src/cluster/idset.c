/* Sets of nodes by grain id, for many entries without long pauses (base/map.h). */
#include "cluster/directory_room.h"

#include <string.h>

void gbi_ids_init(gb_id_set *set, gb_mem *mem, uint32_t node_bytes)
{
    *set = (gb_id_set){.mem = mem, .node_bytes = node_bytes};
    gb_map_init(&set->map, mem);
}

static void free_node(gb_id_set *set, gb_id_node *node)
{
    gb_mem_free(set->mem, node, set->node_bytes + node->size);
}

void gbi_ids_fini(gb_id_set *set)
{
    for (uint32_t i = 0; i < set->used; i++) {
        if (set->slots[i]) free_node(set, set->slots[i]);
    }
    if (set->slots) gb_mem_free(set->mem, set->slots, set->room * sizeof *set->slots);
    if (set->free) gb_mem_free(set->mem, set->free, set->room * sizeof *set->free);
    gb_map_fini(&set->map);
}

void *gbi_ids_at(const gb_id_set *set, uint32_t slot)
{
    return set->slots[slot];
}

void *gbi_ids_find(const gb_id_set *set, uint64_t hash, const void *id, uint32_t size)
{
    uint32_t cursor = 0, slot;
    while ((slot = gb_map_next(&set->map, hash, &cursor)) != GB_MAP_NONE) {
        gb_id_node *node = set->slots[slot];
        if (node->hash == hash && node->size == size && memcmp(node->id, id, size) == 0)
            return node;
    }
    return NULL;
}

static int grow(gb_id_set *set)
{
    uint32_t room = set->room ? set->room * 2 : 16;
    gb_id_node **slots = gb_mem_alloc(set->mem, room * sizeof *slots);
    uint32_t *unused = gb_mem_alloc(set->mem, room * sizeof *unused);
    if (!slots || !unused) {
        if (slots) gb_mem_free(set->mem, slots, room * sizeof *slots);
        if (unused) gb_mem_free(set->mem, unused, room * sizeof *unused);
        return -1;
    }
    if (set->room) {
        memcpy(slots, set->slots, set->used * sizeof *slots);
        gb_mem_free(set->mem, set->slots, set->room * sizeof *slots);
        gb_mem_free(set->mem, set->free, set->room * sizeof *unused);
    }
    set->slots = slots;
    set->free = unused; /* it was empty: that is why the set grows */
    set->room = room;
    return 0;
}

void *gbi_ids_add(gb_id_set *set, uint64_t hash, const void *id, uint32_t size)
{
    if (!set->free_count && set->used == set->room && grow(set) < 0) return NULL;
    gb_id_node *node = gb_mem_zalloc(set->mem, set->node_bytes + size);
    if (!node) return NULL;
    uint32_t slot = set->free_count ? set->free[set->free_count - 1] : set->used;
    if (gb_map_add(&set->map, hash, slot) < 0) {
        gb_mem_free(set->mem, node, set->node_bytes + size);
        return NULL;
    }
    if (set->free_count)
        set->free_count--;
    else
        set->used++;
    node->hash = hash;
    node->slot = slot;
    node->size = size;
    node->id = (char *)node + set->node_bytes;
    memcpy(node->id, id, size);
    set->slots[slot] = node;
    set->count++;
    return node;
}

void gbi_ids_remove(gb_id_set *set, void *which)
{
    gb_id_node *node = which;
    gb_map_remove(&set->map, node->hash, node->slot);
    set->slots[node->slot] = NULL;
    set->free[set->free_count++] = node->slot;
    set->count--;
    free_node(set, node);
}
