/* The ring: which of some silos owns a hash. Each silo stands at 64 places that follow from its id
 * and the cluster's seed (consistent hashing: Karger et al. 1997), and owns the hashes from the
 * place before its own (exclusive) to its own (inclusive). A change of one silo moves only what
 * that silo gains or loses, and all that know the same silos agree.
 *
 * A ring is immutable and counted; any thread may read it. Errors: GB_ENOMEM.
 */
#ifndef GB_CLUSTER_RING_H
#define GB_CLUSTER_RING_H

#include "base/mem.h"

#include <stdbool.h>

enum { GB_RING_PLACES = 64 };

typedef struct gb_ring_place {
    uint64_t hash;
    uint64_t silo;
} gb_ring_place;

typedef struct gb_ring {
    _Atomic uint32_t refs;
    uint32_t count; /* places */
    uint32_t silos;
    uint64_t seed;
    gb_mem *mem;
    uint64_t *ids;          /* of the silos, sorted */
    gb_ring_place places[]; /* sorted by hash */
} gb_ring;

/* A ring of these silos (distinct ids, any order). With a ring to start from (the same seed) only
 * the silos that differ cost more than a copy. */
int gb_ring_new(gb_ring **out, gb_mem *mem, uint64_t seed, const uint64_t *silos, uint32_t count,
                const gb_ring *from);
gb_ring *gb_ring_ref(gb_ring *ring);
void gb_ring_unref(gb_ring *ring); /* NULL is nothing */

/* The silo that owns a hash; 0: the ring is empty. */
uint64_t gb_ring_owner(const gb_ring *ring, uint64_t hash);

/* Hashes from first to last, both included; first > last goes round through 0. */
typedef struct gb_arc {
    uint64_t first, last;
} gb_arc;

static inline bool gb_arc_holds(gb_arc arc, uint64_t hash)
{
    return hash - arc.first <= arc.last - arc.first;
}

/* The arcs that a silo owns in `now` and did not own in `before`, as few as possible: *out is an
 * array of *count for the caller to free (count * sizeof **out), NULL for none. */
int gb_ring_gained(gb_arc **out, uint32_t *count, gb_mem *mem, const gb_ring *before,
                   const gb_ring *now, uint64_t silo);

/* The part (0 .. 1) of all hashes that a silo owns. */
double gb_ring_share(const gb_ring *ring, uint64_t silo);

#endif
