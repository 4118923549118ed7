/* Device memory of the cpu backend: memory of its own, with a page without access on both sides, so
 * that a kernel that reads past the end faults. A buffer ends at the page behind its block (up to
 * the alignment of 128), so the first wrong byte after the last line is caught.
 *
 * Mappings are limited in number by the kernel: small blocks beyond a few thousand come from
 * malloc, unguarded, and their buffers begin where they do.
 */
#include "base/err.h"
#include "gpu/cpu_engine.h"
#include "gpu/front.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define HIDE(at, bytes) __asan_poison_memory_region(at, bytes)
#define SHOW(at, bytes) __asan_unpoison_memory_region(at, bytes)
#else
#define HIDE(at, bytes) ((void)0)
#define SHOW(at, bytes) ((void)0)
#endif

enum {
    PAGE = 4096,
    ALIGN = 128,
    WRAP_ALIGN = 16,
    HUGE_PAGE = 2 << 20,
    GUARDED_SMALL = 4096, /* mappings up to which small buffers are guarded too */
    GUARDED_ALL = 24576,  /* mappings up to which large ones are */
    SMALL_BYTES = 1 << 20
};

static size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) & ~(to - 1);
}

/* Pages between the guards. */
static size_t inner_bytes(size_t block_bytes)
{
    return round_up(block_bytes ? block_bytes : 1, PAGE);
}

static void *map_guarded(size_t inner)
{
    bool huge = inner >= 2 * HUGE_PAGE;
    size_t total = inner + 2 * PAGE;
    char *base = mmap(NULL, total, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return NULL;
    if (mprotect(base, PAGE, PROT_NONE) != 0 ||
        mprotect(base + PAGE + inner, PAGE, PROT_NONE) != 0) {
        munmap(base, total);
        return NULL;
    }
    if (huge) madvise(base + PAGE, inner, MADV_HUGEPAGE);
    return base;
}

/* gbi_memory.impl is the mapping, or NULL: from malloc. */
static char *block_end(const gbi_memory *memory, size_t block_bytes)
{
    return (char *)memory->impl + PAGE + inner_bytes(block_bytes);
}

static size_t room_of(size_t bytes)
{
    return round_up(bytes ? bytes : 1, ALIGN);
}

static int open_guarded(gbi_memory *out, gbi_cpu_device *device, size_t bytes)
{
    gbi_cpu *cpu = device->cpu;
    size_t inner = inner_bytes(bytes);
    int rc = gb_mem_charge(cpu->mem, (int64_t)inner);
    if (rc < 0) return rc;
    out->impl = map_guarded(inner);
    if (!out->impl) {
        gb_mem_discharge(cpu->mem, (int64_t)inner);
        return gb_err_set(GB_ENOMEM, "the system has no %zu bytes for a buffer", inner);
    }
    atomic_fetch_add(&cpu->mappings, 1);
    return 0;
}

static int open_plain(gbi_memory *out, gbi_cpu_device *device, size_t bytes)
{
    size_t room = room_of(bytes);
    int rc = gb_mem_charge(device->cpu->mem, (int64_t)room);
    if (rc < 0) return rc;
    void *at = aligned_alloc(ALIGN, room);
    if (!at) {
        gb_mem_discharge(device->cpu->mem, (int64_t)room);
        return gb_err_set(GB_ENOMEM, "the system has no %zu bytes for a buffer", bytes);
    }
    memset(at, 0, room);
    out->impl = NULL;
    out->address = (uint64_t)(uintptr_t)at;
    return 0;
}

/* What the sanitizer lets be touched of a block: all of it, or one buffer. */
static void show(gbi_memory *memory, size_t block_bytes)
{
    if (memory->impl)
        SHOW((char *)memory->impl + PAGE, inner_bytes(block_bytes));
    else
        SHOW((char *)(uintptr_t)memory->address, room_of(block_bytes));
}

static void hide(gbi_memory *memory, size_t block_bytes)
{
    if (memory->impl)
        HIDE((char *)memory->impl + PAGE, inner_bytes(block_bytes));
    else
        HIDE((char *)(uintptr_t)memory->address, room_of(block_bytes));
}

void gbi_cpu_buffer_fit(void *self, gbi_memory *memory, size_t block_bytes, size_t bytes)
{
    hide(memory, block_bytes);
    if (memory->impl)
        memory->address = (uint64_t)(uintptr_t)(block_end(memory, block_bytes) - room_of(bytes));
    SHOW((char *)(uintptr_t)memory->address, bytes);
    if (memory->host) memory->host = (void *)(uintptr_t)memory->address;
}

bool gbi_cpu_buffer_idle(void *self, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind)
{
    hide(memory, block_bytes);
    return true;
}

/* Large ones by the system, page by page when they are touched: the worker that opens one does not
 * wait for all of it. */
static void clear(gbi_memory *memory, size_t block_bytes, size_t bytes)
{
    size_t inner = inner_bytes(block_bytes);
    if (memory->impl && bytes >= 2 * HUGE_PAGE &&
        madvise((char *)memory->impl + PAGE, inner, MADV_DONTNEED) == 0)
        return;
    char *end = memory->impl ? block_end(memory, block_bytes)
                             : (char *)(uintptr_t)memory->address + room_of(bytes);
    memset(end - room_of(bytes), 0, bytes);
}

int gbi_cpu_buffer_wake(void *self, gbi_memory *memory, size_t block_bytes, gb_buffer_kind kind,
                        size_t bytes)
{
    gbi_cpu_buffer_fit(self, memory, block_bytes, block_bytes);
    if (bytes > 0) clear(memory, block_bytes, bytes);
    return 0;
}

/* Pinned memory is the host's, also on a GPU: only the account counts it. */
static int reserve(gbi_cpu_device *device, size_t bytes, gb_buffer_kind kind)
{
    if (kind == GB_BUFFER_PINNED) return 0;
    int64_t used = atomic_load(&device->memory_used);
    while ((int64_t)bytes <= device->memory_total - used) /* never more, not for a moment */
        if (atomic_compare_exchange_weak(&device->memory_used, &used, used + (int64_t)bytes))
            return 0;
    int64_t left = device->memory_total - used;
    return gb_err_set(
        GB_ENOMEM, "device memory: %zu bytes asked, %lld of %lld bytes free on cpu device %d",
        bytes, (long long)(left > 0 ? left : 0), (long long)device->memory_total, device->index);
}

int gbi_cpu_buffer_open(gbi_memory *out, void *self, size_t bytes, gb_buffer_kind kind)
{
    gbi_cpu_device *device = self;
    int rc = reserve(device, bytes, kind);
    if (rc < 0) return rc;
    int32_t mappings = atomic_load_explicit(&device->cpu->mappings, memory_order_relaxed);
    bool guarded = mappings < (bytes < SMALL_BYTES ? GUARDED_SMALL : GUARDED_ALL);
    rc = guarded ? open_guarded(out, device, bytes) : open_plain(out, device, bytes);
    if (rc < 0) {
        if (kind != GB_BUFFER_PINNED) atomic_fetch_sub(&device->memory_used, (int64_t)bytes);
        return rc;
    }
    gbi_cpu_buffer_fit(self, out, bytes, bytes);
    out->host = kind == GB_BUFFER_DEVICE ? NULL : (void *)(uintptr_t)out->address;
    return 0;
}

/* The host's memory is the device's here. Vectors are read whole, so it is aligned for them. */
int gbi_cpu_buffer_wrap(gbi_memory *out, void *self, uint64_t address, size_t bytes)
{
    (void)self;
    if (address % WRAP_ALIGN)
        return gb_err_set(GB_EINVAL,
                          "memory at %#llx is not aligned to %d bytes, as kernels need it",
                          (unsigned long long)address, WRAP_ALIGN);
    if (address > UINTPTR_MAX - bytes)
        return gb_err_set(GB_EINVAL, "no address of this process: %#llx",
                          (unsigned long long)address);
    *out = (gbi_memory){.address = address};
    return 0;
}

void gbi_cpu_buffer_close(void *self, gbi_memory *memory, size_t bytes, gb_buffer_kind kind)
{
    gbi_cpu_device *device = self;
    gbi_cpu *cpu = device->cpu;
    if (kind != GB_BUFFER_PINNED) atomic_fetch_sub(&device->memory_used, (int64_t)bytes);
    show(memory, bytes); /* what comes here next is somebody else's */
    if (memory->impl) {
        size_t inner = inner_bytes(bytes);
        munmap(memory->impl, inner + 2 * PAGE);
        gb_mem_discharge(cpu->mem, (int64_t)inner);
        atomic_fetch_sub(&cpu->mappings, 1);
    } else {
        free((void *)(uintptr_t)memory->address);
        gb_mem_discharge(cpu->mem, (int64_t)room_of(bytes));
    }
}
