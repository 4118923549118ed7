#include "cluster/capacity_book.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

void gb_book_init(gb_book *book, gb_mem *mem)
{
    *book = (gb_book){.mem = mem};
}

void gb_book_fini(gb_book *book)
{
    for (uint32_t i = 0; i < book->count; i++) gb_row_unref(book->entries[i].row);
    if (book->entries) gb_mem_free(book->mem, book->entries, book->room * sizeof *book->entries);
    gb_view_unref(book->view);
    *book = (gb_book){.mem = book->mem};
}

static uint32_t find(const gb_book *book, uint64_t silo, bool *found)
{
    uint32_t low = 0, high = book->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (book->entries[middle].silo < silo)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < book->count && book->entries[low].silo == silo;
    return low;
}

static gb_book_entry *entry_of(gb_book *book, uint64_t silo)
{
    bool found;
    uint32_t at = find(book, silo, &found);
    if (found) return &book->entries[at];
    if (book->count == book->room) {
        gb_book_entry *entries =
            gb_mem_grow(book->mem, book->entries, &book->room, 16, sizeof *entries);
        if (!entries) return NULL;
        book->entries = entries;
    }
    memmove(&book->entries[at + 1], &book->entries[at], (book->count - at) * sizeof *book->entries);
    book->entries[at] = (gb_book_entry){.silo = silo};
    book->count++;
    book->changes++;
    return &book->entries[at];
}

static void remove_at(gb_book *book, uint32_t at)
{
    gb_row_unref(book->entries[at].row);
    memmove(&book->entries[at], &book->entries[at + 1],
            (book->count - at - 1) * sizeof *book->entries);
    book->count--;
    book->changes++;
}

int gb_book_view(gb_book *book, gb_view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        gb_row *row = view->rows[i];
        if (row->member.state != GB_SILO_ACTIVE) continue;
        gb_book_entry *entry = entry_of(book, row->member.id);
        if (!entry) return GB_ENOMEM;
        if (entry->row == row) continue;
        gb_row_unref(entry->row);
        entry->row = gb_row_ref(row);
        book->changes++;
    }
    for (uint32_t i = book->count; i-- > 0;) {
        gb_book_entry *entry = &book->entries[i];
        const gb_member *row = gb_view_find(view, entry->silo);
        bool known = row || (book->view && gb_view_find(book->view, entry->silo));
        if (known && (!row || row->state != GB_SILO_ACTIVE)) remove_at(book, i);
    }
    gb_view_ref(view);
    gb_view_unref(book->view);
    book->view = view;
    return 0;
}

bool gb_capacity_is_news(const gb_capacity *told, uint64_t told_activations, const gb_capacity *now,
                         uint64_t activations)
{
    int64_t count = (int64_t)activations, told_count = (int64_t)told_activations;
    return now->devices_count != told->devices_count || now->total_mb != told->total_mb ||
           now->updated_ns - told->updated_ns >= (int64_t)GB_CAPACITY_PERIOD_NS ||
           llabs(now->available_mb - told->available_mb) > told->total_mb / 16 ||
           abs(now->queue_depth - told->queue_depth) > 8 + told->queue_depth / 4 ||
           !activations != !told_activations || llabs(count - told_count) > 4 + told_count / 8;
}

int gb_book_put(gb_book *book, uint64_t silo, const gb_capacity *capacity, uint64_t activations)
{
    gb_book_entry *entry = entry_of(book, silo);
    if (!entry) return GB_ENOMEM;
    if (entry->told && entry->capacity.updated_ns > capacity->updated_ns) return 0; /* older */
    entry->capacity = *capacity;
    entry->activations = activations;
    entry->told = true;
    entry->placed = 0;
    entry->placed_mb = 0;
    return 0;
}

static bool known(const gb_book_entry *entry, int64_t now)
{
    return entry->told && !gb_capacity_expired(&entry->capacity, now);
}

int gb_book_get(const gb_book *book, uint64_t silo, int64_t now, gb_capacity *out)
{
    bool found;
    uint32_t at = find(book, silo, &found);
    if (!found || !known(&book->entries[at], now))
        return gb_err_set(GB_ENOENT, "that silo has not told its capacity in five minutes");
    *out = book->entries[at].capacity;
    return 0;
}

static bool usable(const gb_book_entry *entry, int64_t now)
{
    return entry->told && !gb_capacity_stale(&entry->capacity, now) &&
           gb_capacity_has(&entry->capacity);
}

int gb_book_best(const gb_book *book, int64_t minimum_mb, int64_t now, uint64_t *silo)
{
    const gb_book_entry *best = NULL;
    double best_score = 0;
    for (uint32_t i = 0; i < book->count; i++) {
        const gb_book_entry *entry = &book->entries[i];
        if (!usable(entry, now) || !gb_capacity_fits(&entry->capacity, minimum_mb)) continue;
        double score = gb_capacity_score(&entry->capacity, now);
        if (best && (score < best_score || (score == best_score && entry->capacity.queue_depth >=
                                                                       best->capacity.queue_depth)))
            continue;
        best = entry;
        best_score = score;
    }
    if (!best)
        return gb_err_set(GB_ENOENT, "no silo has %lld MB free on one GPU", (long long)minimum_mb);
    *silo = best->silo;
    return 0;
}

void gb_book_get_stats(const gb_book *book, int64_t now, gb_book_stats *out)
{
    double queue = 0;
    *out = (gb_book_stats){0};
    for (uint32_t i = 0; i < book->count; i++) {
        const gb_book_entry *entry = &book->entries[i];
        bool told = known(entry, now);
        out->silos += told || entry->row;
        if (!told) continue;
        if (gb_capacity_stale(&entry->capacity, now)) {
            out->stale++;
            continue;
        }
        if (entry->capacity.devices_count <= 0) continue;
        out->gpu_silos++;
        out->total_mb += entry->capacity.total_mb;
        out->available_mb += entry->capacity.available_mb;
        if (entry->capacity.largest_mb > out->largest_mb)
            out->largest_mb = entry->capacity.largest_mb;
        queue += entry->capacity.queue_depth;
    }
    if (out->gpu_silos) out->queue_depth = queue / out->gpu_silos;
}

void gb_book_expire(gb_book *book, int64_t now)
{
    for (uint32_t i = book->count; i-- > 0;) {
        gb_book_entry *entry = &book->entries[i];
        if (!entry->told || known(entry, now)) continue;
        entry->told = false;
        if (!entry->row) remove_at(book, i);
    }
}
