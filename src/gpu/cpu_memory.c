/* Device memory of the cpu backend: memory of its own, with a page without access on both sides, so
 * that a kernel that reads past the end faults. The block ends at the page behind it (up to the
 * alignment of 128), so the first wrong byte after the last line is caught.
 *
 * Mappings cost system calls and are limited in number by the kernel: a few of each size are kept
 * for the next buffer, and small buffers beyond a few thousand come from malloc, unguarded.
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

/* Pages between the guards; sizes that are kept are powers of two. */
static size_t inner_bytes(size_t bytes, int *class)
{
    size_t inner = round_up(bytes, PAGE);
    for (*class = 0; *class < GBI_CLASSES; ++*class)
        if (inner <= (size_t)PAGE << *class) return (size_t)PAGE << *class;
    *class = -1;
    return inner;
}

/* The mapping behind an address; the handle tells how it was made. */
enum { FROM_MALLOC = 1, FROM_MMAP = 2 };

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

static void unmap(gbi_cpu_device *device, void *base, size_t inner)
{
    SHOW((char *)base + PAGE, inner); /* the next mapping here is somebody else's */
    munmap(base, inner + 2 * PAGE);
    gb_mem_discharge(device->cpu->mem, (int64_t)inner);
    atomic_fetch_sub(&device->cpu->mappings, 1);
}

static void *take_kept(gbi_cpu_device *device, int class)
{
    void *base = NULL;
    pthread_mutex_lock(&device->lock);
    if (device->kept[class].count > 0) base = device->kept[class].base[--device->kept[class].count];
    pthread_mutex_unlock(&device->lock);
    return base;
}

static bool keep(gbi_cpu_device *device, int class, void *base)
{
    pthread_mutex_lock(&device->lock);
    bool room = device->kept[class].count < GBI_KEPT_PER_CLASS;
    if (room) device->kept[class].base[device->kept[class].count++] = base;
    pthread_mutex_unlock(&device->lock);
    return room;
}

void gbi_cpu_memory_fini(gbi_cpu_device *device)
{
    for (int class = 0; class < GBI_CLASSES; class ++)
        for (void *base; (base = take_kept(device, class));)
            unmap(device, base, (size_t)PAGE << class);
}

static void *map_counted(gbi_cpu_device *device, size_t inner)
{
    gbi_cpu *cpu = device->cpu;
    if (gb_mem_charge(cpu->mem, (int64_t)inner) < 0) {
        gbi_cpu_memory_fini(device); /* what is kept for later may be what is missing */
        if (gb_mem_charge(cpu->mem, (int64_t)inner) < 0) return NULL;
    }
    void *base = map_guarded(inner);
    if (!base) {
        gb_mem_discharge(cpu->mem, (int64_t)inner);
        gb_err_set(GB_ENOMEM, "the system has no %zu bytes for a buffer", inner);
        return NULL;
    }
    atomic_fetch_add(&cpu->mappings, 1);
    return base;
}

static int open_guarded(gbi_memory *out, gbi_cpu_device *device, size_t bytes)
{
    int class;
    size_t inner = inner_bytes(bytes, &class);
    char *base = class < 0 ? NULL : take_kept(device, class);
    bool used = base != NULL;
    if (!base) base = map_counted(device, inner);
    if (!base) return GB_ENOMEM;
    size_t room = round_up(bytes ? bytes : 1, ALIGN);
    char *at = base + PAGE + inner - room;
    SHOW(base + PAGE, inner);
    if (used) memset(at, 0, room);
    HIDE(base + PAGE, inner - room);
    HIDE(at + bytes, room - bytes);
    out->impl = (void *)(uintptr_t)FROM_MMAP;
    out->address = (uint64_t)(uintptr_t)at;
    return 0;
}

static int open_plain(gbi_memory *out, gbi_cpu_device *device, size_t bytes)
{
    size_t room = round_up(bytes ? bytes : 1, ALIGN);
    int rc = gb_mem_charge(device->cpu->mem, (int64_t)room);
    if (rc < 0) return rc;
    void *at = aligned_alloc(ALIGN, room);
    if (!at) {
        gb_mem_discharge(device->cpu->mem, (int64_t)room);
        return gb_err_set(GB_ENOMEM, "the system has no %zu bytes for a buffer", bytes);
    }
    memset(at, 0, room);
    HIDE((char *)at + bytes, room - bytes);
    out->impl = (void *)(uintptr_t)FROM_MALLOC;
    out->address = (uint64_t)(uintptr_t)at;
    return 0;
}

/* Pinned memory is the host's, also on a GPU: only the account counts it. */
static int reserve(gbi_cpu_device *device, size_t bytes, gb_buffer_kind kind)
{
    if (kind == GB_BUFFER_PINNED) return 0;
    int64_t used = atomic_fetch_add(&device->memory_used, (int64_t)bytes);
    if (used + (int64_t)bytes <= device->memory_total) return 0;
    atomic_fetch_sub(&device->memory_used, (int64_t)bytes);
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
    if (rc < 0 && kind != GB_BUFFER_PINNED) atomic_fetch_sub(&device->memory_used, (int64_t)bytes);
    out->host = kind == GB_BUFFER_DEVICE ? NULL : (void *)(uintptr_t)out->address;
    return rc;
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
    size_t room = round_up(bytes ? bytes : 1, ALIGN);
    char *at = (char *)(uintptr_t)memory->address;
    if (kind != GB_BUFFER_PINNED) atomic_fetch_sub(&device->memory_used, (int64_t)bytes);
    if ((uintptr_t)memory->impl == FROM_MALLOC) {
        SHOW(at, room);
        free(at);
        gb_mem_discharge(device->cpu->mem, (int64_t)room);
        return;
    }
    int class;
    size_t inner = inner_bytes(bytes, &class);
    char *base = at + room - inner - PAGE;
    SHOW(base + PAGE, inner);
    HIDE(base + PAGE, inner);
    if (class >= 0 && keep(device, class, base)) return;
    unmap(device, base, inner);
}
