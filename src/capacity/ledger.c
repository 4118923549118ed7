#include "capacity/ledger.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"

#include <pthread.h>
#include <string.h>

/* What one owner holds of one device. Rows and reservations that are not used are chained. */
typedef struct row {
    gb_ledger_claim sum;
    uint32_t reservations; /* 0: free */
    uint32_t next_free;
} row;

typedef struct reservation {
    uint32_t generation; /* grows when the slot is freed, so an old id never fits again */
    uint32_t row;        /* NO_SLOT: free */
    uint32_t next_free;
    int64_t bytes, launches;
} reservation;

typedef struct tenant {
    uint64_t id;
    const char *name; /* borrowed; of one with a cap */
    gb_ledger_sum max, sum;
} tenant;

#define NO_SLOT UINT32_MAX

struct gb_ledger {
    gb_mem *mem;
    pthread_mutex_t lock;
    gb_ledger_device_sum *devices;
    int devices_count;
    gb_map rows_by_hash, tenants_by_hash;
    row *rows;
    reservation *reservations;
    tenant *tenants;
    uint32_t rows_room, rows_used, rows_free; /* used: ever; free: head of the chain */
    uint32_t reservations_room, reservations_used, reservations_free;
    uint32_t tenants_room, tenants_used;
};

int gb_ledger_new(gb_ledger **out, gb_mem *mem, const gb_ledger_device *devices, int count)
{
    GB_CHECK(count >= 0 && count <= GB_LEDGER_DEVICES_MAX);
    gb_ledger *ledger = gb_mem_zalloc(mem, sizeof *ledger);
    if (!ledger) return GB_ENOMEM;
    ledger->devices = gb_mem_zalloc(mem, (size_t)count * sizeof *ledger->devices);
    if (!ledger->devices) {
        gb_mem_free(mem, ledger, sizeof *ledger);
        return GB_ENOMEM;
    }
    ledger->mem = mem;
    ledger->devices_count = count;
    for (int i = 0; i < count; i++) ledger->devices[i].device = devices[i];
    ledger->rows_free = ledger->reservations_free = NO_SLOT;
    gb_map_init(&ledger->rows_by_hash, mem);
    gb_map_init(&ledger->tenants_by_hash, mem);
    pthread_mutex_init(&ledger->lock, NULL);
    *out = ledger;
    return 0;
}

void gb_ledger_free(gb_ledger *ledger)
{
    if (!ledger) return;
    gb_mem *mem = ledger->mem;
    for (int i = 0; i < ledger->devices_count; i++)
        GB_CHECK(ledger->devices[i].reserved.bytes == 0 &&
                 ledger->devices[i].reserved.launches == 0);
    GB_CHECK(ledger->rows_by_hash.count == 0);
    gb_map_fini(&ledger->rows_by_hash);
    gb_map_fini(&ledger->tenants_by_hash);
    gb_mem_free(mem, ledger->rows, ledger->rows_room * sizeof(row));
    gb_mem_free(mem, ledger->reservations, ledger->reservations_room * sizeof(reservation));
    gb_mem_free(mem, ledger->tenants, ledger->tenants_room * sizeof(tenant));
    gb_mem_free(mem, ledger->devices, (size_t)ledger->devices_count * sizeof *ledger->devices);
    pthread_mutex_destroy(&ledger->lock);
    gb_mem_free(mem, ledger, sizeof *ledger);
}

/* Room for one more element behind used: the array (moved perhaps), or NULL. */
static void *grown(gb_mem *mem, void *array, uint32_t used, uint32_t *room, size_t each)
{
    if (used < *room) return array;
    uint32_t more = *room ? *room * 2 : 16;
    void *moved = gb_mem_realloc(mem, array, *room * each, more * each);
    if (moved) *room = more;
    return moved;
}

/* ---- tenants ---- */

static tenant *find_tenant(const gb_ledger *ledger, uint64_t id)
{
    uint32_t cursor = 0, at;
    uint64_t hash = gb_hash_mix(id + 1);
    while ((at = gb_map_next(&ledger->tenants_by_hash, hash, &cursor)) != GB_MAP_NONE)
        if (ledger->tenants[at].id == id) return &ledger->tenants[at];
    return NULL;
}

static tenant *make_tenant(gb_ledger *ledger, uint64_t id)
{
    tenant *found = find_tenant(ledger, id);
    if (found) return found;
    tenant *tenants = grown(ledger->mem, ledger->tenants, ledger->tenants_used,
                            &ledger->tenants_room, sizeof *tenants);
    if (!tenants) return NULL;
    ledger->tenants = tenants;
    if (gb_map_add(&ledger->tenants_by_hash, gb_hash_mix(id + 1), ledger->tenants_used) < 0)
        return NULL;
    found = &tenants[ledger->tenants_used++];
    *found = (tenant){.id = id};
    return found;
}

int gb_ledger_cap(gb_ledger *ledger, uint64_t id, const char *name, int64_t bytes_max,
                  int64_t launches_max)
{
    GB_CHECK(bytes_max >= 0 && launches_max >= 0);
    pthread_mutex_lock(&ledger->lock);
    tenant *found = make_tenant(ledger, id);
    if (found) {
        found->name = name;
        found->max = (gb_ledger_sum){bytes_max, launches_max};
    }
    pthread_mutex_unlock(&ledger->lock);
    return found ? 0 : GB_ENOMEM;
}

void gb_ledger_resize(gb_ledger *ledger, int device, int64_t bytes_total)
{
    GB_CHECK(device >= 0 && device < ledger->devices_count && bytes_total >= 0);
    pthread_mutex_lock(&ledger->lock);
    ledger->devices[device].device.bytes_total = bytes_total;
    pthread_mutex_unlock(&ledger->lock);
}

/* ---- rows ---- */

static uint64_t row_hash(uint64_t tenant_id, uint64_t owner, int device)
{
    return gb_hash_mix(gb_hash_mix(gb_hash_mix(tenant_id + 1) + owner) + (uint64_t)device);
}

static uint32_t find_row(const gb_ledger *ledger, uint64_t tenant_id, uint64_t owner, int device)
{
    uint32_t cursor = 0, at;
    uint64_t hash = row_hash(tenant_id, owner, device);
    while ((at = gb_map_next(&ledger->rows_by_hash, hash, &cursor)) != GB_MAP_NONE) {
        const gb_ledger_claim *sum = &ledger->rows[at].sum;
        if (sum->tenant == tenant_id && sum->owner == owner && sum->device == device) return at;
    }
    return NO_SLOT;
}

static uint32_t make_row(gb_ledger *ledger, const gb_ledger_claim *claim)
{
    uint32_t at = find_row(ledger, claim->tenant, claim->owner, claim->device);
    if (at != NO_SLOT) return at;
    at = ledger->rows_free;
    if (at == NO_SLOT) {
        row *rows =
            grown(ledger->mem, ledger->rows, ledger->rows_used, &ledger->rows_room, sizeof *rows);
        if (!rows) return NO_SLOT;
        ledger->rows = rows;
        at = ledger->rows_used;
    }
    uint64_t hash = row_hash(claim->tenant, claim->owner, claim->device);
    if (gb_map_add(&ledger->rows_by_hash, hash, at) < 0) return NO_SLOT;
    if (at == ledger->rows_used)
        ledger->rows_used++;
    else
        ledger->rows_free = ledger->rows[at].next_free;
    ledger->rows[at] =
        (row){.sum = {.tenant = claim->tenant, .owner = claim->owner, .device = claim->device}};
    return at;
}

static void drop_row(gb_ledger *ledger, uint32_t at)
{
    row *unused = &ledger->rows[at];
    uint64_t hash = row_hash(unused->sum.tenant, unused->sum.owner, unused->sum.device);
    gb_map_remove(&ledger->rows_by_hash, hash, at);
    unused->next_free = ledger->rows_free;
    ledger->rows_free = at;
}

/* ---- reservations ---- */

static int over_cap(const gb_ledger_claim *claim, const tenant *of)
{
    if (claim->capped) *claim->capped = true;
    return gb_err_set(GB_ENOMEM,
                      "device memory of tenant '%s': %lld bytes wanted, and %lld of the %lld that "
                      "it may have are in use",
                      of->name, (long long)claim->bytes, (long long)of->sum.bytes,
                      (long long)of->max.bytes);
}

/* Whether the claim fits everywhere: 0 or why not. Nothing is taken yet. The cap comes first: what
 * a device lacks others may have to leave, and for one who may not have it that would be in vain.
 */
static int judge(const gb_ledger *ledger, const gb_ledger_claim *claim, const tenant *of)
{
    const gb_ledger_device_sum *on = &ledger->devices[claim->device];
    int64_t left = on->device.bytes_total - on->reserved.bytes;
    if (claim->bytes > 0 && of->max.bytes > 0 && claim->bytes > of->max.bytes - of->sum.bytes)
        return over_cap(claim, of);
    if (claim->bytes > 0 && claim->bytes > left)
        return gb_err_set(GB_ENOMEM,
                          "device memory: %lld bytes asked, %lld of %lld bytes free on device %d",
                          (long long)claim->bytes, (long long)(left > 0 ? left : 0),
                          (long long)on->device.bytes_total, claim->device);
    if (claim->launches > 0 && on->device.launches_max > 0 &&
        claim->launches > on->device.launches_max - on->reserved.launches)
        return gb_err_set(GB_EBUSY, "device %d: %lld launches wait, at most %lld", claim->device,
                          (long long)on->reserved.launches, (long long)on->device.launches_max);
    if (claim->launches > 0 && of->max.launches > 0 &&
        claim->launches > of->max.launches - of->sum.launches)
        return gb_err_set(GB_EQUOTA, "launches of tenant '%s': %lld wait, at most %lld", of->name,
                          (long long)of->sum.launches, (long long)of->max.launches);
    return 0;
}

static uint32_t make_reservation(gb_ledger *ledger)
{
    uint32_t at = ledger->reservations_free;
    if (at != NO_SLOT) {
        ledger->reservations_free = ledger->reservations[at].next_free;
        return at;
    }
    reservation *all = grown(ledger->mem, ledger->reservations, ledger->reservations_used,
                             &ledger->reservations_room, sizeof *all);
    if (!all) return NO_SLOT;
    ledger->reservations = all;
    at = ledger->reservations_used++;
    all[at] = (reservation){.generation = 1};
    return at;
}

/* Adds to (or with minus takes from) the row, the device and the tenant alike. */
static void book(gb_ledger *ledger, row *into, tenant *of, int64_t bytes, int64_t launches)
{
    gb_ledger_sum *device = &ledger->devices[into->sum.device].reserved;
    into->sum.bytes += bytes;
    into->sum.launches += launches;
    device->bytes += bytes;
    device->launches += launches;
    of->sum.bytes += bytes;
    of->sum.launches += launches;
}

/* What was judged to fit. */
static int enter(gb_ledger *ledger, const gb_ledger_claim *claim, tenant *of, gb_reservation *out)
{
    uint32_t at = make_row(ledger, claim);
    if (at == NO_SLOT) return GB_ENOMEM;
    uint32_t slot = make_reservation(ledger);
    if (slot == NO_SLOT) {
        if (ledger->rows[at].reservations == 0) drop_row(ledger, at);
        return GB_ENOMEM;
    }
    reservation *made = &ledger->reservations[slot];
    made->row = at;
    made->bytes = claim->bytes;
    made->launches = claim->launches;
    ledger->rows[at].reservations++;
    book(ledger, &ledger->rows[at], of, claim->bytes, claim->launches);
    *out = (uint64_t)made->generation << 32 | slot;
    return 0;
}

static int reserve(gb_ledger *ledger, const gb_ledger_claim *claim, gb_reservation *out)
{
    tenant *of = make_tenant(ledger, claim->tenant);
    if (!of) return GB_ENOMEM;
    int rc = judge(ledger, claim, of);
    return rc < 0 ? rc : enter(ledger, claim, of, out);
}

int gb_ledger_reserve(gb_ledger *ledger, const gb_ledger_claim *claim, gb_reservation *out)
{
    GB_CHECK(claim->device >= 0 && claim->device < ledger->devices_count);
    GB_CHECK(claim->bytes >= 0 && claim->launches >= 0);
    pthread_mutex_lock(&ledger->lock);
    int rc = reserve(ledger, claim, out);
    pthread_mutex_unlock(&ledger->lock);
    return rc;
}

/* NULL when there is no such reservation. */
static reservation *find_reservation(gb_ledger *ledger, gb_reservation id)
{
    uint32_t slot = (uint32_t)id, generation = (uint32_t)(id >> 32);
    if (slot >= ledger->reservations_used) return NULL;
    reservation *found = &ledger->reservations[slot];
    return found->generation == generation && found->row != NO_SLOT ? found : NULL;
}

static int split(gb_ledger *ledger, reservation *from, const gb_ledger_claim *claim,
                 gb_reservation *out)
{
    const uint32_t slot = (uint32_t)(from - ledger->reservations);
    tenant *of = find_tenant(ledger, claim->tenant);
    if (claim->bytes > from->bytes)
        return gb_err_set(GB_ENOMEM,
                          "device %d: %lld bytes wanted of a reservation that has %lld left",
                          claim->device, (long long)claim->bytes, (long long)from->bytes);
    int rc = enter(ledger, claim, of, out);
    if (rc < 0) return rc;
    from = &ledger->reservations[slot]; /* they may have moved */
    from->bytes -= claim->bytes;
    book(ledger, &ledger->rows[from->row], of, -claim->bytes, 0);
    return 0;
}

int gb_ledger_split(gb_ledger *ledger, gb_reservation id, const gb_ledger_claim *claim,
                    gb_reservation *out)
{
    GB_CHECK(claim->bytes >= 0 && claim->launches == 0);
    pthread_mutex_lock(&ledger->lock);
    reservation *from = find_reservation(ledger, id);
    const gb_ledger_claim *sum = from ? &ledger->rows[from->row].sum : NULL;
    bool fits = sum && sum->tenant == claim->tenant && sum->device == claim->device;
    int rc = fits ? split(ledger, from, claim, out) : 0;
    pthread_mutex_unlock(&ledger->lock);
    if (!fits)
        gb_panic(__FILE__, __LINE__, "reservation %#llx is none, or of another tenant or device",
                 (unsigned long long)id);
    return rc;
}

/* Under the lock: false when there is no such reservation. */
static bool release(gb_ledger *ledger, gb_reservation id)
{
    const uint32_t slot = (uint32_t)id;
    reservation *ended = find_reservation(ledger, id);
    if (!ended) return false;
    uint32_t at = ended->row;
    row *from = &ledger->rows[at];
    book(ledger, from, find_tenant(ledger, from->sum.tenant), -ended->bytes, -ended->launches);
    if (--from->reservations == 0) drop_row(ledger, at);
    ended->row = NO_SLOT;
    ended->generation = ended->generation == UINT32_MAX ? 1 : ended->generation + 1;
    ended->next_free = ledger->reservations_free;
    ledger->reservations_free = slot;
    return true;
}

void gb_ledger_release(gb_ledger *ledger, gb_reservation id)
{
    pthread_mutex_lock(&ledger->lock);
    bool stood = release(ledger, id);
    pthread_mutex_unlock(&ledger->lock);
    if (!stood)
        gb_panic(__FILE__, __LINE__, "reservation %#llx was released before, or never made",
                 (unsigned long long)id);
}

/* ---- reading ---- */

int64_t gb_ledger_left(gb_ledger *ledger, int device)
{
    GB_CHECK(device >= 0 && device < ledger->devices_count);
    pthread_mutex_lock(&ledger->lock);
    const gb_ledger_device_sum *on = &ledger->devices[device];
    int64_t left = on->device.bytes_total - on->reserved.bytes;
    pthread_mutex_unlock(&ledger->lock);
    return left > 0 ? left : 0;
}

int gb_ledger_devices(gb_ledger *ledger, gb_ledger_device_sum *out, int room)
{
    pthread_mutex_lock(&ledger->lock);
    for (int i = 0; i < ledger->devices_count && i < room; i++) out[i] = ledger->devices[i];
    pthread_mutex_unlock(&ledger->lock);
    return ledger->devices_count;
}

gb_ledger_sum gb_ledger_tenant(gb_ledger *ledger, uint64_t id)
{
    pthread_mutex_lock(&ledger->lock);
    const tenant *found = find_tenant(ledger, id);
    gb_ledger_sum sum = found ? found->sum : (gb_ledger_sum){0, 0};
    pthread_mutex_unlock(&ledger->lock);
    return sum;
}

gb_ledger_sum gb_ledger_owner(gb_ledger *ledger, uint64_t id, uint64_t owner)
{
    gb_ledger_sum sum = {0, 0};
    pthread_mutex_lock(&ledger->lock);
    for (int i = 0; i < ledger->devices_count; i++) {
        uint32_t at = find_row(ledger, id, owner, i);
        if (at == NO_SLOT) continue;
        sum.bytes += ledger->rows[at].sum.bytes;
        sum.launches += ledger->rows[at].sum.launches;
    }
    pthread_mutex_unlock(&ledger->lock);
    return sum;
}

int64_t gb_ledger_rows(gb_ledger *ledger, gb_ledger_claim *out, int64_t room)
{
    int64_t count = 0;
    pthread_mutex_lock(&ledger->lock);
    for (uint32_t i = 0; i < ledger->rows_used; i++) {
        if (ledger->rows[i].reservations == 0) continue;
        if (count < room) out[count] = ledger->rows[i].sum;
        count++;
    }
    pthread_mutex_unlock(&ledger->lock);
    return count;
}
