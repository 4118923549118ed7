#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

enum { PRESSURE_TRIES = 16, EMPTY_TRIES = 3 };

static void keep(gb_buffer **out, gb_buffer *buffer, gb_device *device, size_t bytes,
                 gb_buffer_kind kind)
{
    atomic_init(&buffer->count, 1);
    buffer->device = device;
    buffer->bytes = bytes;
    buffer->kind = kind;
    atomic_fetch_add(&device->gpu->buffers, 1);
    *out = buffer;
}

/* Pinned memory is the host's, which stands behind the devices. */
static int reserve(gb_device *device, const gb_buffer_spec *spec, gb_reservation *out)
{
    gb_ledger *ledger = device->gpu->ledger;
    bool pinned = spec->kind == GB_BUFFER_PINNED;
    gb_ledger_claim claim = {.tenant = spec->tenant,
                             .owner = spec->owner,
                             .device = pinned ? device->gpu->device_count : device->index,
                             .bytes = (int64_t)spec->bytes,
                             .capped = spec->capped};
    *out = 0;
    return spec->reservation && !pinned ? gb_ledger_split(ledger, spec->reservation, &claim, out)
                                        : gb_ledger_reserve(ledger, &claim, out);
}

static void free_reserved(gb_device *device, gb_reservation reserved)
{
    if (reserved) gb_ledger_release(device->gpu->ledger, reserved);
}

/* ---- blocks ---- */

static void close_block(gb_buffer *buffer)
{
    gb_device *device = buffer->device;
    device->backend->buffer_close(device->impl, &buffer->memory, buffer->block_bytes, buffer->kind);
    gb_mem_free(&device->gpu->room, buffer, sizeof *buffer);
}

static int close_chain(gb_buffer *chain)
{
    int count = 0;
    for (gb_buffer *next; chain; chain = next, count++) {
        next = chain->next;
        close_block(chain);
    }
    return count;
}

int gbi_device_drop_idle(gb_device *device)
{
    return close_chain(gbi_mempool_drain(&device->pool));
}

void gbi_device_trim(gb_device *device)
{
    close_chain(gbi_mempool_trim(&device->pool));
}

/* What one device keeps may be what the account of all lacks. */
static int drop_all(gb_gpu *gpu)
{
    int count = 0;
    for (int i = 0; i < gpu->device_count; i++) count += gbi_device_drop_idle(&gpu->devices[i]);
    return count;
}

/* A kept one, cleared for whoever has it next. NULL: there is none, or none that is of use. */
static gb_buffer *take(gb_device *device, const gb_buffer_spec *spec, int class)
{
    const gb_backend *backend = device->backend;
    for (gb_buffer *buffer; (buffer = gbi_mempool_take(&device->pool, spec->kind, class,
                                                       spec->tenant, spec->owner));) {
        bool own = buffer->last_tenant == spec->tenant && buffer->last_owner == spec->owner;
        size_t clear = !own ? buffer->block_bytes : spec->raw ? 0 : spec->bytes;
        if (backend->buffer_wake(device->impl, &buffer->memory, buffer->block_bytes, spec->kind,
                                 clear) == 0)
            return buffer;
        close_block(buffer);
    }
    return NULL;
}

static int open_exact(gb_buffer *buffer, gb_device *device, size_t bytes, gb_buffer_kind kind)
{
    buffer->device = device;
    buffer->kind = kind;
    buffer->block_bytes = bytes;
    return device->backend->buffer_open(&buffer->memory, device->impl, bytes, kind);
}

/* All that is kept goes, nothing more is kept meanwhile, and it is tried again, for exactly the
 * bytes: what the ledger promised is there then. Again, for those who were just about to put a
 * block into a pool when it was said that none is kept. */
static int open_under_pressure(gb_buffer *buffer, gb_device *device, const gb_buffer_spec *spec)
{
    gb_gpu *gpu = device->gpu;
    int rc = GB_ENOMEM;
    buffer->class = GBI_POOL_NONE;
    pthread_mutex_lock(&gpu->pressure);
    atomic_store(&gpu->pressed, true);
    for (int i = 0, empty = 0; i < PRESSURE_TRIES && empty < EMPTY_TRIES && rc == GB_ENOMEM; i++) {
        if (drop_all(gpu) == 0) empty++;
        rc = open_exact(buffer, device, spec->bytes, spec->kind);
    }
    atomic_store(&gpu->pressed, false);
    pthread_mutex_unlock(&gpu->pressure);
    return rc;
}

/* New memory, zeroed. */
static int make(gb_buffer **out, gb_device *device, const gb_buffer_spec *spec, int class)
{
    gb_gpu *gpu = device->gpu;
    size_t block = class >= 0 ? gbi_mempool_class_bytes(class) : spec->bytes;
    gb_buffer *buffer = gb_mem_zalloc(&gpu->room, sizeof *buffer);
    if (!buffer && drop_all(gpu) > 0) buffer = gb_mem_zalloc(&gpu->room, sizeof *buffer);
    if (!buffer) return GB_ENOMEM;
    buffer->class = (int8_t) class;
    int rc = open_exact(buffer, device, block, spec->kind);
    if (rc == GB_ENOMEM) rc = open_under_pressure(buffer, device, spec);
    if (rc < 0)
        gb_mem_free(&gpu->room, buffer, sizeof *buffer);
    else
        *out = buffer;
    return rc;
}

static int class_of(gb_device *device, const gb_buffer_spec *spec)
{
    const gb_backend *backend = device->backend;
    if (!backend->buffer_wake) return GBI_POOL_NONE;
    if (backend->buffer_pooled && backend->buffer_pooled(device->impl, spec->kind))
        return GBI_POOL_NONE;
    return gbi_mempool_class(&device->pool, spec->bytes);
}

static int rent(gb_buffer **out, gb_device *device, const gb_buffer_spec *spec)
{
    gb_reservation reserved;
    int rc = reserve(device, spec, &reserved);
    if (rc < 0) return rc;
    int class = class_of(device, spec);
    gb_buffer *buffer = class >= 0 ? take(device, spec, class) : NULL;
    bool hit = buffer != NULL;
    if (!hit) rc = make(&buffer, device, spec, class);
    if (rc < 0) {
        free_reserved(device, reserved);
        return rc;
    }
    if (buffer->block_bytes != spec->bytes)
        device->backend->buffer_fit(device->impl, &buffer->memory, buffer->block_bytes,
                                    spec->bytes);
    buffer->reserved = reserved;
    buffer->last_tenant = spec->tenant;
    buffer->last_owner = spec->owner;
    keep(out, buffer, device, spec->bytes, spec->kind);
    gbi_mempool_opened(&device->pool, buffer, hit);
    return 0;
}

/* The ledger is told last: whoever gets the bytes there finds the memory. */
static void give_back(gb_buffer *buffer)
{
    gb_device *device = buffer->device;
    const gb_backend *backend = device->backend;
    gb_reservation reserved = buffer->reserved;
    gbi_mempool_closed(&device->pool, buffer);
    bool kept =
        buffer->class >= 0 && !atomic_load(&device->gpu->pressed) &&
        backend->buffer_idle(device->impl, &buffer->memory, buffer->block_bytes, buffer->kind) &&
        gbi_mempool_put(&device->pool, buffer);
    if (!kept) close_block(buffer);
    free_reserved(device, reserved);
}

/* ---- opening ---- */

int gb_buffer_rent(gb_buffer **out, gb_device *device, const gb_buffer_spec *spec)
{
    const gb_buffer_kind kind = spec->kind;
    if (kind != GB_BUFFER_DEVICE && kind != GB_BUFFER_PINNED && kind != GB_BUFFER_UNIFIED)
        return gb_err_set(GB_EINVAL, "no such kind of buffer: %d", (int)kind);
    int rc;
    if (spec->bytes > (size_t)INT64_MAX / 2)
        rc = gb_err_set(GB_ENOMEM, "a buffer of %zu bytes cannot exist", spec->bytes);
    else
        rc = rent(out, device, spec);
    gbi_device_count(device, spec, rc < 0 ? GBI_COUNT_BUFFERS_FAILED : GBI_COUNT_BUFFERS, 1);
    if (rc < 0) gbi_mempool_failed(&device->pool, kind);
    return rc;
}

int gb_buffer_open(gb_buffer **out, gb_device *device, size_t bytes, gb_buffer_kind kind)
{
    gb_buffer_spec spec = {.bytes = bytes, .kind = kind};
    return gb_buffer_rent(out, device, &spec);
}

int gb_buffer_borrow(gb_buffer **out, gb_device *device, uint64_t address, size_t bytes,
                     gb_buffer_release *release, void *user)
{
    if (!device->backend->buffer_wrap)
        return gb_err_set(GB_ENOTYET,
                          "memory of the program on a %s device is not in this version yet",
                          device->backend->name);
    if (address == 0 || bytes == 0 || bytes > INT64_MAX / 2 || address > UINT64_MAX - bytes)
        return gb_err_set(GB_EINVAL, "no memory can be %zu bytes at address %#llx", bytes,
                          (unsigned long long)address);
    gb_buffer *buffer = gb_mem_zalloc(&device->gpu->room, sizeof *buffer);
    if (!buffer) return GB_ENOMEM;
    int rc = device->backend->buffer_wrap(&buffer->memory, device->impl, address, bytes);
    if (rc < 0) {
        gb_mem_free(&device->gpu->room, buffer, sizeof *buffer);
        return rc;
    }
    buffer->wrapped = true;
    buffer->release = release;
    buffer->release_user = user;
    keep(out, buffer, device, bytes, GB_BUFFER_DEVICE);
    return 0;
}

gb_buffer *gb_buffer_ref(gb_buffer *buffer)
{
    if (buffer->owner)
        gb_module_ref(buffer->owner);
    else
        atomic_fetch_add_explicit(&buffer->count, 1, memory_order_relaxed);
    return buffer;
}

void gb_buffer_unref(gb_buffer *buffer)
{
    if (!buffer) return;
    if (buffer->owner) {
        gb_module_unref(buffer->owner);
        return;
    }
    int32_t before = atomic_fetch_sub_explicit(&buffer->count, 1, memory_order_acq_rel);
    GB_CHECK(before > 0);
    if (before > 1) return;
    gb_gpu *gpu = buffer->device->gpu;
    if (!buffer->wrapped) {
        give_back(buffer);
    } else {
        if (buffer->release) buffer->release(buffer->release_user, buffer->memory.address);
        gb_mem_free(&gpu->room, buffer, sizeof *buffer);
    }
    atomic_fetch_sub(&gpu->buffers, 1);
}

int32_t gb_buffer_holders(const gb_buffer *buffer)
{
    return atomic_load_explicit(&buffer->count, memory_order_acquire);
}

bool gb_buffer_lost(const gb_buffer *buffer)
{
    const gb_device *device = buffer->device;
    return device->backend->buffer_lost && device->backend->buffer_lost(device->impl, buffer);
}

size_t gb_buffer_bytes(const gb_buffer *buffer)
{
    return buffer->bytes;
}

gb_device *gb_buffer_device(const gb_buffer *buffer)
{
    return buffer->device;
}

gb_buffer_kind gb_buffer_get_kind(const gb_buffer *buffer)
{
    return buffer->kind;
}

void *gb_buffer_host(gb_buffer *buffer)
{
    return buffer->memory.host;
}

uint64_t gb_buffer_address(const gb_buffer *buffer)
{
    return buffer->memory.address;
}
