#include "cluster/view.h"

#include "base/err.h"
#include "base/hash.h"

#include <string.h>

enum { RANDOM_BITS = 24 };

uint64_t gb_view_generation_after(uint64_t generation, uint64_t random)
{
    uint64_t low = gb_hash_mix(random) & ((1u << RANDOM_BITS) - 1);
    return ((generation >> RANDOM_BITS) + 1) << RANDOM_BITS | low;
}

/* ---- rows ---- */

int gb_row_new(gb_row **out, gb_mem *mem, const gb_member *member)
{
    gb_row *row = gb_mem_alloc(mem, sizeof *row);
    if (!row) return GB_ENOMEM;
    row->refs = 1;
    row->mem = mem;
    int rc = gb_member_copy(&row->member, mem, member);
    if (rc < 0)
        gb_mem_free(mem, row, sizeof *row);
    else
        *out = row;
    return rc;
}

gb_row *gb_row_ref(gb_row *row)
{
    atomic_fetch_add_explicit(&row->refs, 1, memory_order_relaxed);
    return row;
}

void gb_row_unref(gb_row *row)
{
    if (!row || atomic_fetch_sub_explicit(&row->refs, 1, memory_order_acq_rel) != 1) return;
    gb_member_fini(&row->member, row->mem);
    gb_mem_free(row->mem, row, sizeof *row);
}

static bool same_member(const gb_member *a, const gb_member *b)
{
    if (a->id != b->id || a->epoch != b->epoch || a->generation != b->generation ||
        a->state != b->state || a->returns != b->returns || a->left != b->left ||
        a->started_ns != b->started_ns || a->alive_ns != b->alive_ns ||
        a->vote_count != b->vote_count)
        return false;
    for (uint32_t i = 0; i < a->vote_count; i++) {
        if (a->votes[i].voter != b->votes[i].voter || a->votes[i].wall_ns != b->votes[i].wall_ns)
            return false;
    }
    return strcmp(a->name, b->name) == 0 && strcmp(a->address, b->address) == 0 &&
           strcmp(a->labels, b->labels) == 0 && strcmp(a->types, b->types) == 0;
}

/* ---- views ---- */

static size_t view_bytes(uint32_t room)
{
    return sizeof(gb_view) + room * (sizeof(gb_row *) + sizeof(uint64_t));
}

static gb_view *view_new(gb_mem *mem, uint32_t count)
{
    gb_view *view = gb_mem_zalloc(mem, view_bytes(count));
    if (!view) return NULL;
    view->refs = 1;
    view->mem = mem;
    view->count = view->room = count;
    view->ids = (uint64_t *)(view->rows + count);
    return view;
}

gb_view *gb_view_ref(gb_view *view)
{
    if (view) atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    return view;
}

void gb_view_unref(gb_view *view)
{
    if (!view || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < view->count; i++) gb_row_unref(view->rows[i]);
    gb_ring_unref(view->ring);
    gb_mem_free(view->mem, view, view_bytes(view->room));
}

static bool is_active(const gb_row *row)
{
    return row->member.state == GB_SILO_ACTIVE;
}

/* Is the ring that of the active rows? Both are sorted by id. */
static bool ring_fits(const gb_view *view, const gb_ring *ring, uint32_t active)
{
    if (!ring || ring->silos != active) return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        if (is_active(view->rows[i]) && view->rows[i]->member.id != ring->ids[at++]) return false;
    }
    return true;
}

/* Counts, generation and ring, once the rows are there. */
static int complete(gb_view *view, uint64_t seed, const gb_view *from)
{
    uint32_t active = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        const gb_member *member = &view->rows[i]->member;
        view->ids[i] = member->id;
        if (member->generation > view->id.generation) view->id.generation = member->generation;
        view->id.digest += gb_hash_mix(member->id + gb_hash_mix(member->epoch * (GB_SILO_DEAD + 1) +
                                                                (uint64_t)member->state +
                                                                ((uint64_t)member->returns << 32)));
        view->live += member->state != GB_SILO_DEAD;
        active += is_active(view->rows[i]);
    }
    if (from && ring_fits(view, from->ring, active)) {
        view->ring = gb_ring_ref(from->ring);
        return 0;
    }
    uint64_t *ids = gb_mem_alloc(view->mem, active * sizeof *ids);
    if (!ids) return GB_ENOMEM;
    for (uint32_t i = 0, at = 0; i < view->count; i++) {
        if (is_active(view->rows[i])) ids[at++] = view->rows[i]->member.id;
    }
    int rc = gb_ring_new(&view->ring, view->mem, seed, ids, active, from ? from->ring : NULL);
    gb_mem_free(view->mem, ids, active * sizeof *ids);
    return rc;
}

static uint32_t find(const gb_view *view, uint64_t silo, bool *found)
{
    uint32_t low = 0, high = view ? view->count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (view->ids[middle] < silo)
            low = middle + 1;
        else
            high = middle;
    }
    *found = view && low < view->count && view->ids[low] == silo;
    return low;
}

/* A view that came out wrong goes, with what it has. */
static int finished(gb_view **out, gb_view *view, int rc)
{
    if (rc < 0)
        gb_view_unref(view);
    else
        *out = view;
    return rc;
}

int gb_view_read(gb_view **out, gb_mem *mem, uint64_t seed, const gb_table_view *table,
                 const gb_view *from)
{
    gb_view *view = view_new(mem, table->count);
    if (!view) return GB_ENOMEM;
    view->id.version = table->version;
    int rc = 0;
    for (uint32_t i = 0; i < table->count && rc == 0; i++) {
        const gb_member *member = &table->rows[i];
        bool found;
        if (i && table->rows[i - 1].id >= member->id)
            rc = gb_err_set(GB_EINVAL, "rows of the table are not sorted");
        uint32_t at = find(from, member->id, &found);
        if (rc == 0 && found && same_member(&from->rows[at]->member, member))
            view->rows[i] = gb_row_ref(from->rows[at]);
        else if (rc == 0)
            rc = gb_row_new(&view->rows[i], mem, member);
    }
    if (rc == 0) rc = complete(view, seed, from);
    return finished(out, view, rc);
}

static bool listed(const uint64_t *ids, uint32_t count, uint64_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id) return true;
    }
    return false;
}

int gb_view_write(gb_view **out, const gb_view *from, uint64_t version, gb_row *row,
                  const uint64_t *removed, uint32_t removed_count)
{
    gb_view *view = view_new(from->mem, from->count + 1);
    if (!view) return GB_ENOMEM;
    uint32_t count = 0;
    bool placed = !row;
    for (uint32_t i = 0; i < from->count; i++) {
        uint64_t id = from->rows[i]->member.id;
        if (!placed && row->member.id <= id) {
            view->rows[count++] = gb_row_ref(row);
            placed = true;
            if (row->member.id == id) continue;
        }
        if (!listed(removed, removed_count, id)) view->rows[count++] = gb_row_ref(from->rows[i]);
    }
    if (!placed) view->rows[count++] = gb_row_ref(row);
    view->count = count;
    view->id.version = version;
    return finished(out, view, complete(view, from->ring->seed, from));
}

const gb_member *gb_view_find(const gb_view *view, uint64_t silo)
{
    bool found;
    uint32_t at = find(view, silo, &found);
    return found ? &view->rows[at]->member : NULL;
}

gb_silo_state gb_view_state(const gb_view *view, uint64_t silo)
{
    const gb_member *member = gb_view_find(view, silo);
    return member ? member->state : GB_SILO_DEAD;
}
