#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

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

/* Pinned memory is the host's: only the account counts it. */
static int reserve(gb_device *device, const gb_buffer_spec *spec, gb_reservation *out)
{
    gb_ledger *ledger = device->gpu->ledger;
    gb_ledger_claim claim = {.tenant = spec->tenant,
                             .owner = spec->owner,
                             .device = device->index,
                             .bytes = (int64_t)spec->bytes};
    *out = 0;
    if (spec->kind == GB_BUFFER_PINNED) return 0;
    return spec->reservation ? gb_ledger_split(ledger, spec->reservation, &claim, out)
                             : gb_ledger_reserve(ledger, &claim, out);
}

static void free_reserved(gb_device *device, gb_reservation reserved)
{
    if (reserved) gb_ledger_release(device->gpu->ledger, reserved);
}

int gb_buffer_rent(gb_buffer **out, gb_device *device, const gb_buffer_spec *spec)
{
    const gb_buffer_kind kind = spec->kind;
    if (kind != GB_BUFFER_DEVICE && kind != GB_BUFFER_PINNED && kind != GB_BUFFER_UNIFIED)
        return gb_err_set(GB_EINVAL, "no such kind of buffer: %d", (int)kind);
    if (spec->bytes > (size_t)INT64_MAX / 2)
        return gb_err_set(GB_ENOMEM, "a buffer of %zu bytes cannot exist", spec->bytes);
    gb_gpu *gpu = device->gpu;
    gb_reservation reserved;
    int rc = reserve(device, spec, &reserved);
    if (rc < 0) {
        gbi_device_count(device, spec, GBI_COUNT_BUFFERS_FAILED, 1);
        return rc;
    }
    gb_buffer *buffer = gb_mem_zalloc(&gpu->room, sizeof *buffer);
    if (!buffer) {
        free_reserved(device, reserved);
        return GB_ENOMEM;
    }
    rc = device->backend->buffer_open(&buffer->memory, device->impl, spec->bytes, kind);
    gbi_device_count(device, buffer, rc < 0 ? GBI_COUNT_BUFFERS_FAILED : GBI_COUNT_BUFFERS, 1);
    if (rc < 0) {
        free_reserved(device, reserved);
        gb_mem_free(&gpu->room, buffer, sizeof *buffer);
        return rc;
    }
    buffer->reserved = reserved;
    keep(out, buffer, device, spec->bytes, kind);
    return 0;
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
    gb_device *device = buffer->device;
    if (!buffer->wrapped)
        device->backend->buffer_close(device->impl, &buffer->memory, buffer->bytes, buffer->kind);
    else if (buffer->release)
        buffer->release(buffer->release_user, buffer->memory.address);
    free_reserved(device, buffer->reserved);
    gb_mem_free(&device->gpu->room, buffer, sizeof *buffer);
    atomic_fetch_sub(&device->gpu->buffers, 1);
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
