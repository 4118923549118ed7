#include "capacity/record.h"

enum { QUEUE_WEIGHT = 2, QUEUE_PENALTY_MAX = 20 };

gb_capacity gb_capacity_none(int64_t now_ns)
{
    return (gb_capacity){.updated_ns = now_ns};
}

/* A record from the future (a clock that differs) is fresh. */
bool gb_capacity_stale(const gb_capacity *capacity, int64_t now_ns)
{
    return capacity->updated_ns < now_ns - GB_CAPACITY_STALE_NS;
}

bool gb_capacity_expired(const gb_capacity *capacity, int64_t now_ns)
{
    return capacity->updated_ns < now_ns - GB_CAPACITY_EXPIRED_NS;
}

bool gb_capacity_has(const gb_capacity *capacity)
{
    return capacity->devices_count > 0 && capacity->available_mb > 0;
}

bool gb_capacity_fits(const gb_capacity *capacity, int64_t minimum_mb)
{
    return capacity->devices_count > 0 && capacity->largest_mb >= minimum_mb;
}

/* The part that is available, 0 .. 1, whatever numbers came over the wire. */
static double available_part(const gb_capacity *capacity)
{
    if (capacity->total_mb <= 0 || capacity->available_mb <= 0) return 0;
    if (capacity->available_mb >= capacity->total_mb) return 1;
    return (double)capacity->available_mb / (double)capacity->total_mb;
}

double gb_capacity_used_percent(const gb_capacity *capacity)
{
    return capacity->total_mb > 0 ? 100 - 100 * available_part(capacity) : 0;
}

double gb_capacity_score(const gb_capacity *capacity, int64_t now_ns)
{
    if (capacity->devices_count <= 0 || gb_capacity_stale(capacity, now_ns)) return 0;
    double penalty = capacity->queue_depth > 0 ? (double)capacity->queue_depth * QUEUE_WEIGHT : 0;
    if (penalty > QUEUE_PENALTY_MAX) penalty = QUEUE_PENALTY_MAX;
    double score = 100 * available_part(capacity) - penalty;
    return score > 0 ? score : 0;
}
