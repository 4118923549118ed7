#include "capacity/record.h"

#include <stdio.h>
#include <string.h>

enum { MB = 1 << 20, QUEUE_WEIGHT = 2, QUEUE_PENALTY_MAX = 20 };

gb_capacity gb_capacity_none(int64_t now_ns)
{
    return (gb_capacity){.updated_ns = now_ns};
}

gb_capacity gb_capacity_of(gb_ledger *ledger, const char *backend, int64_t now_ns)
{
    gb_ledger_device_sum devices[GB_LEDGER_DEVICES_MAX];
    gb_capacity capacity = gb_capacity_none(now_ns);
    int64_t total = 0, available = 0, largest = 0, queue = 0;
    int count = gb_ledger_devices(ledger, devices, GB_LEDGER_DEVICES_MAX);
    for (int i = 0; i < count; i++) {
        if (!devices[i].device.gpu) continue;
        int64_t left = devices[i].device.bytes_total - devices[i].reserved.bytes;
        if (left < 0) left = 0;
        capacity.devices_count++;
        total += devices[i].device.bytes_total;
        available += left;
        if (left > largest) largest = left;
        queue += devices[i].reserved.launches;
    }
    capacity.total_mb = total / MB;
    capacity.available_mb = available / MB;
    capacity.largest_mb = largest / MB;
    capacity.queue_depth = queue > INT32_MAX ? INT32_MAX : (int32_t)queue;
    if (capacity.devices_count > 0)
        snprintf(capacity.backend, sizeof capacity.backend, "%s", backend);
    return capacity;
}

gb_capacity gb_capacity_update(const gb_capacity *capacity, int64_t available_mb,
                               int64_t largest_mb, int32_t queue_depth, int64_t now_ns)
{
    gb_capacity next = *capacity;
    next.available_mb = available_mb;
    next.largest_mb = largest_mb;
    next.queue_depth = queue_depth;
    next.updated_ns = now_ns;
    return next;
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

void gb_capacity_text(const gb_capacity *capacity, char out[GB_CAPACITY_TEXT_BYTES])
{
    if (capacity->devices_count <= 0) {
        snprintf(out, GB_CAPACITY_TEXT_BYTES, "no GPU");
        return;
    }
    snprintf(out, GB_CAPACITY_TEXT_BYTES,
             "%d GPU%s (%.*s), %lld of %lld MB available, %lld on one device, %d launches wait",
             capacity->devices_count, capacity->devices_count == 1 ? "" : "s",
             GB_CAPACITY_BACKEND_BYTES - 1, capacity->backend, (long long)capacity->available_mb,
             (long long)capacity->total_mb, (long long)capacity->largest_mb, capacity->queue_depth);
}
