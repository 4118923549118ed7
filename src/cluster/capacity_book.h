/* What all silos have told about their capacity, as one silo knows it. Records older than 5 minutes
 * are gone, older than 2 minutes are stale and chosen by nobody. Times are this silo's monotonic
 * clock: a record that comes over a link tells its age.
 *
 * One thread. Errors: GB_ENOMEM, GB_ENOENT.
 */
#ifndef GB_CLUSTER_CAPACITY_BOOK_H
#define GB_CLUSTER_CAPACITY_BOOK_H

#include "capacity/record.h"
#include "cluster/view.h"

#define GB_CAPACITY_PERIOD_NS (30 * (uint64_t)1000000000) /* how often a silo tells its own */

typedef struct gb_book_entry {
    uint64_t silo;
    gb_row *row; /* in the view, or NULL */
    gb_capacity capacity;
    uint64_t activations; /* on that silo */
    bool told;            /* it told its capacity, and that is not gone yet */
    uint32_t placed;      /* chosen here since it told */
    int64_t placed_mb;
} gb_book_entry;

typedef struct gb_book {
    gb_mem *mem;
    gb_view *view; /* or NULL */
    uint32_t count, room;
    gb_book_entry *entries; /* sorted by silo */
    uint64_t changes;       /* of which silos there are: see place.h */
} gb_book;

void gb_book_init(gb_book *book, gb_mem *mem);
void gb_book_fini(gb_book *book);

/* Entries follow the view: its active silos are there, told or not; dead ones go. */
int gb_book_view(gb_book *book, gb_view *view);

/* Is `now` so much other than what was told that the others should not wait for the next time, or
 * has that time come? */
bool gb_capacity_is_news(const gb_capacity *told, uint64_t told_activations, const gb_capacity *now,
                         uint64_t activations);

/* Registers or updates; a silo that is in no view yet is kept too. capacity->updated_ns is on this
 * silo's clock. */
int gb_book_put(gb_book *book, uint64_t silo, const gb_capacity *capacity, uint64_t activations);

/* GB_ENOENT: unknown, or gone. A stale record is answered (gb_capacity_stale). */
int gb_book_get(const gb_book *book, uint64_t silo, int64_t now, gb_capacity *out);

/* The silo with the highest score, of equal ones the one with the shortest queue, of those where
 * one device has that much free; stale ones never. GB_ENOENT: none. */
int gb_book_best(const gb_book *book, int64_t minimum_mb, int64_t now, uint64_t *silo);

typedef struct gb_book_stats {
    uint32_t silos;     /* that told, or are active */
    uint32_t gpu_silos; /* with a fresh record of a GPU */
    uint32_t stale;
    int64_t total_mb, available_mb, largest_mb;
    double queue_depth; /* the mean of GPU silos */
} gb_book_stats;
void gb_book_get_stats(const gb_book *book, int64_t now, gb_book_stats *out);

/* Forgets what is gone. Every minute or so. */
void gb_book_expire(gb_book *book, int64_t now);

#endif
