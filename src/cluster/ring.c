#include "cluster/ring.h"

#include "base/err.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t golden = 0x9e3779b97f4a7c15u;

static int compare_places(const void *a, const void *b)
{
    const gb_ring_place *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->silo < y->silo ? -1 : x->silo > y->silo;
}

static int compare_ids(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static bool has(const uint64_t *sorted, uint32_t count, uint64_t id)
{
    return count && bsearch(&id, sorted, count, sizeof id, compare_ids);
}

static size_t ring_bytes(uint32_t silos)
{
    return sizeof(gb_ring) + silos * (GB_RING_PLACES * sizeof(gb_ring_place) + sizeof(uint64_t));
}

/* The places of the silos that `from` lacks, sorted, behind the room for the rest. */
static gb_ring_place *new_places(gb_ring *ring, const gb_ring *from, uint32_t fresh)
{
    gb_ring_place *first = ring->places + ring->count - fresh * GB_RING_PLACES, *at = first;
    for (uint32_t i = 0; i < ring->silos; i++) {
        if (from && has(from->ids, from->silos, ring->ids[i])) continue;
        uint64_t start = gb_hash_mix(ring->ids[i] ^ ring->seed);
        for (uint64_t place = 1; place <= GB_RING_PLACES; place++)
            *at++ = (gb_ring_place){gb_hash_mix(start + place * golden), ring->ids[i]};
    }
    if (at > first) qsort(first, (size_t)(at - first), sizeof *first, compare_places);
    return first;
}

/* Which silos of `from` the ring lacks: mostly none or one. */
typedef struct gone {
    uint32_t count;
    uint64_t first;
} gone;

static gone find_gone(const gb_ring *ring, const gb_ring *from)
{
    gone none = {0, 0};
    for (uint32_t i = 0; from && i < from->silos; i++) {
        if (has(ring->ids, ring->silos, from->ids[i])) continue;
        if (none.count++ == 0) none.first = from->ids[i];
    }
    return none;
}

static void merge(gb_ring *ring, const gb_ring *from, const gb_ring_place *added)
{
    gb_ring_place *out = ring->places;
    const gb_ring_place *end = ring->places + ring->count;
    gone lost = find_gone(ring, from);
    for (uint32_t i = 0; from && i < from->count; i++) {
        const gb_ring_place *old = &from->places[i];
        if (lost.count && old->silo == lost.first) continue;
        if (lost.count > 1 && !has(ring->ids, ring->silos, old->silo)) continue;
        while (added < end && compare_places(added, old) < 0) *out++ = *added++;
        *out++ = *old;
    }
    memmove(out, added, (size_t)(end - added) * sizeof *out);
}

int gb_ring_new(gb_ring **out, gb_mem *mem, uint64_t seed, const uint64_t *silos, uint32_t count,
                const gb_ring *from)
{
    gb_ring *ring = gb_mem_alloc(mem, ring_bytes(count));
    if (!ring) return GB_ENOMEM;
    *ring = (gb_ring){1, count * GB_RING_PLACES, count, seed, mem, NULL};
    ring->ids = (uint64_t *)(ring->places + ring->count);
    if (count) memcpy(ring->ids, silos, count * sizeof *silos);
    bool sorted = true;
    for (uint32_t i = 1; i < count && sorted; i++) sorted = ring->ids[i - 1] < ring->ids[i];
    if (!sorted) qsort(ring->ids, count, sizeof *silos, compare_ids);
    if (from && from->seed != seed) from = NULL;
    uint32_t fresh = 0;
    for (uint32_t i = 0; i < count; i++)
        fresh += !from || !has(from->ids, from->silos, ring->ids[i]);
    merge(ring, from, new_places(ring, from, fresh));
    *out = ring;
    return 0;
}

gb_ring *gb_ring_ref(gb_ring *ring)
{
    if (ring) atomic_fetch_add_explicit(&ring->refs, 1, memory_order_relaxed);
    return ring;
}

void gb_ring_unref(gb_ring *ring)
{
    if (ring && atomic_fetch_sub_explicit(&ring->refs, 1, memory_order_acq_rel) == 1)
        gb_mem_free(ring->mem, ring, ring_bytes(ring->silos));
}

/* The first place at or behind a hash; count: none before the ring's end. */
static uint32_t place_from(const gb_ring *ring, uint64_t hash)
{
    uint32_t low = 0, high = ring->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ring->places[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t gb_ring_owner(const gb_ring *ring, uint64_t hash)
{
    if (!ring || ring->count == 0) return 0;
    uint32_t place = place_from(ring, hash);
    return ring->places[place < ring->count ? place : 0].silo;
}

typedef struct arcs {
    gb_mem *mem;
    gb_arc *items;
    uint32_t count, room;
} arcs;

static int add_arc(arcs *list, uint64_t after, uint64_t last)
{
    if (list->count && list->items[list->count - 1].last == after) {
        list->items[list->count - 1].last = last;
        return 0;
    }
    if (list->count == list->room) {
        gb_arc *items = gb_mem_grow(list->mem, list->items, &list->room, 16, sizeof *items);
        if (!items) return GB_ENOMEM;
        list->items = items;
    }
    list->items[list->count++] = (gb_arc){after + 1, last};
    return 0;
}

/* Of the hashes behind `after` up to `last`: those that were not the silo's before. */
static int add_gained(arcs *list, const gb_ring *before, uint64_t after, uint64_t last,
                      uint64_t silo)
{
    if (before->count == 0) return add_arc(list, after, last);
    uint32_t place = place_from(before, after + 1);
    for (uint32_t walked = 0; walked <= before->count; walked++, place++) {
        if (place == before->count) place = 0;
        const gb_ring_place *at = &before->places[place];
        bool inside = at->hash - after - 1 < last - after - 1;
        uint64_t until = inside ? at->hash : last;
        int rc = at->silo == silo ? 0 : add_arc(list, after, until);
        if (rc < 0 || !inside) return rc;
        after = until;
    }
    return 0;
}

int gb_ring_gained(gb_arc **out, uint32_t *count, gb_mem *mem, const gb_ring *before,
                   const gb_ring *now, uint64_t silo)
{
    arcs list = {mem, NULL, 0, 0};
    int rc = 0;
    for (uint32_t i = 0; i < now->count && rc == 0; i++) {
        if (now->places[i].silo != silo) continue;
        uint64_t after = now->places[i ? i - 1 : now->count - 1].hash;
        if (after == now->places[i].hash && now->count > 1) continue;
        rc = add_gained(&list, before, after, now->places[i].hash, silo);
    }
    *out = NULL;
    *count = list.count;
    if (rc == 0 && list.count) {
        *out = gb_mem_realloc(mem, list.items, list.room * sizeof *list.items,
                              list.count * sizeof *list.items);
        if (*out) return 0;
        rc = GB_ENOMEM;
    }
    if (list.items) gb_mem_free(mem, list.items, list.room * sizeof *list.items);
    return rc;
}

double gb_ring_share(const gb_ring *ring, uint64_t silo)
{
    double part = 0;
    if (ring->silos == 1 && ring->ids[0] == silo) return 1;
    for (uint32_t i = 0; i < ring->count; i++) {
        if (ring->places[i].silo != silo) continue;
        uint64_t after = ring->places[i ? i - 1 : ring->count - 1].hash;
        part += (double)(ring->places[i].hash - after);
    }
    return part / 18446744073709551616.0;
}
