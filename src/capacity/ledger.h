/* The ledger: who holds how much memory of which device, and how many launches wait there. It
 * counts and refuses; it allocates nothing on a device and decides no placement.
 *
 * A reservation is all or nothing: its bytes and launches are taken together, or nothing is and the
 * error says what stood in the way. It ends by its id, once: a second release is a check failure.
 *
 * Threads: any; one short lock inside. Owners and tenants are ids that the caller chooses (0 is a
 * valid one). Errors: GB_ENOMEM (the device has no more memory, or the host, or the tenant may
 * not have more), GB_EBUSY (the queue of the device is full), GB_EQUOTA (the tenant's launches).
 */
#ifndef GB_CAPACITY_LEDGER_H
#define GB_CAPACITY_LEDGER_H

#include "base/mem.h"

#include <stdbool.h>

typedef struct gb_ledger gb_ledger;

enum { GB_LEDGER_DEVICES_MAX = 129 }; /* 64 GPUs, 64 cpu devices, and the host */

typedef struct gb_ledger_device {
    int64_t bytes_total;
    int64_t launches_max; /* 0: no bound */
    bool gpu;             /* false: the cpu backend, which counts in no capacity record */
} gb_ledger_device;

/* devices are copied; they are numbered from 0. 0 or GB_ENOMEM. */
int gb_ledger_new(gb_ledger **out, gb_mem *mem, const gb_ledger_device *devices, int count);

/* Checks that nothing is reserved. */
void gb_ledger_free(gb_ledger *ledger);

/* A device's memory as it is known now (others may use some of it). Below what is reserved it
 * refuses new reservations and touches none that stand. */
void gb_ledger_resize(gb_ledger *ledger, int device, int64_t bytes_total);

/* Caps over all devices; 0: none. name is for messages, and stays the caller's as long as the
 * ledger. 0 or GB_ENOMEM. */
int gb_ledger_cap(gb_ledger *ledger, uint64_t tenant, const char *name, int64_t bytes_max,
                  int64_t launches_max);

typedef struct gb_ledger_claim {
    uint64_t tenant, owner;
    int device;
    int64_t bytes;    /* 0 or more */
    int64_t launches; /* 0 or more */
    bool *capped;     /* NULL, or set when the tenant may not have the bytes: GB_ENOMEM */
} gb_ledger_claim;

typedef uint64_t gb_reservation; /* never 0 */

int gb_ledger_reserve(gb_ledger *ledger, const gb_ledger_claim *claim, gb_reservation *out);

/* A reservation of the claim's bytes out of another one's, which keeps the rest: nobody else can
 * have them in between. The claim is of the same tenant and device and has no launches. GB_ENOMEM:
 * that has fewer bytes, or the host no memory. */
int gb_ledger_split(gb_ledger *ledger, gb_reservation from, const gb_ledger_claim *claim,
                    gb_reservation *out);

/* A check fails when the reservation does not stand (any more). */
void gb_ledger_release(gb_ledger *ledger, gb_reservation reservation);

/* ---- reading: each is one consistent moment ---- */

typedef struct gb_ledger_sum {
    int64_t bytes, launches;
} gb_ledger_sum;

typedef struct gb_ledger_device_sum {
    gb_ledger_device device;
    gb_ledger_sum reserved;
} gb_ledger_device_sum;

/* What a device has left: 0 or more. */
int64_t gb_ledger_left(gb_ledger *ledger, int device);

/* The first room devices; returns how many there are. */
int gb_ledger_devices(gb_ledger *ledger, gb_ledger_device_sum *out, int room);

gb_ledger_sum gb_ledger_tenant(gb_ledger *ledger, uint64_t tenant);
gb_ledger_sum gb_ledger_owner(gb_ledger *ledger, uint64_t tenant, uint64_t owner);

/* Every owner's share of every device that it holds something of. A claim's reservations are added
 * up. Writes the first room rows in no order; returns how many there are. */
int64_t gb_ledger_rows(gb_ledger *ledger, gb_ledger_claim *out, int64_t room);

#endif
