/* The capacity record: what a silo tells others about its devices, and the score that compares
 * records. Pure functions; the time is passed in. Rules of the inventory (P01 .. P06): a record is
 * stale after 2 minutes and scores 0 then; entries over 5 minutes old are removed by who keeps
 * them. Which silo is chosen is decided elsewhere.
 */
#ifndef GB_CAPACITY_RECORD_H
#define GB_CAPACITY_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#define GB_CAPACITY_STALE_NS (120 * (int64_t)1000000000)
#define GB_CAPACITY_EXPIRED_NS (300 * (int64_t)1000000000)

enum { GB_CAPACITY_BACKEND_BYTES = 16 };

typedef struct gb_capacity {
    int32_t devices_count; /* GPUs */
    int32_t queue_depth;   /* launches that wait, over all devices */
    int64_t total_mb, available_mb;
    int64_t largest_mb; /* the most that one device has available: two halves make no whole */
    char backend[GB_CAPACITY_BACKEND_BYTES]; /* "cuda"; "" with no GPU */
    int64_t updated_ns;
} gb_capacity;

/* A silo without a GPU. */
gb_capacity gb_capacity_none(int64_t now_ns);

bool gb_capacity_stale(const gb_capacity *capacity, int64_t now_ns);   /* older than 2 minutes */
bool gb_capacity_expired(const gb_capacity *capacity, int64_t now_ns); /* older than 5 minutes */

/* A GPU is there and some of its memory. */
bool gb_capacity_has(const gb_capacity *capacity);

/* One device alone has that much available. */
bool gb_capacity_fits(const gb_capacity *capacity, int64_t minimum_mb);

double gb_capacity_used_percent(const gb_capacity *capacity); /* 0 without memory */

/* 0 .. 100: available / total * 100 - min(queue * 2, 20); 0 without a GPU or when stale. */
double gb_capacity_score(const gb_capacity *capacity, int64_t now_ns);

#endif
