/* Device, pinned and managed memory. All of it lives in one sparse memory file that is mapped
 * twice: as kernels and callers see it, and as the driver's copies reach it (the alias).
 *
 * Device memory has no access for host code in the first view: where the machine has protection
 * keys, only a thread that runs a kernel of that device (or of one that enabled it as a peer) has
 * its key; elsewhere the pages open while any kernel runs. Addresses are used once: freed memory
 * faults, in kernels too, and the page behind every block does.
 *
 * File-level state: the arena is the process's.
 */
#include "soft.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, ALIGN = 256 };

#if defined(__SANITIZE_THREAD__)
static const size_t arena_bytes = (size_t)64 << 30;
#else
static const size_t arena_bytes = (size_t)256 << 30;
#endif
static const size_t pattern_all = (size_t)64 << 20, pattern_ends = 1 << 20;

static int arena_file = -1;
static char *view, *alias;
static size_t arena_next = PAGE;
static struct block {
    uint64_t address;
    soft_memory *memory; /* NULL: freed */
} * blocks;              /* in the order of addresses */
static size_t block_count, block_room;
static int open_kernels; /* without keys */

static bool open_arena(void)
{
    if (alias) return true;
    arena_file = memfd_create("softcuda-memory", MFD_CLOEXEC);
    if (arena_file < 0 || ftruncate(arena_file, (off_t)arena_bytes) != 0) return false;
    int flags = MAP_SHARED | MAP_NORESERVE;
    view = mmap(NULL, arena_bytes, PROT_NONE, flags, arena_file, 0);
    void *second = mmap(NULL, arena_bytes, PROT_READ | PROT_WRITE, flags, arena_file, 0);
    if (view == MAP_FAILED || second == MAP_FAILED) return false;
    madvise(second, arena_bytes, MADV_DONTDUMP);
    alias = second;
    for (int i = 0; i < soft.device_count && soft.keys; i++) {
        soft.devices[i].key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
        soft.keys = soft.devices[i].key >= 0;
    }
    return true;
}

bool soft_in_arena(uint64_t address)
{
    return alias && address >= (uint64_t)(uintptr_t)view &&
           address < (uint64_t)(uintptr_t)view + arena_bytes;
}

void *soft_alias(uint64_t address)
{
    return alias + (address - (uint64_t)(uintptr_t)view);
}

soft_memory *soft_memory_at(uint64_t address, size_t bytes)
{
    size_t low = 0, high = block_count; /* the last block that begins at or before it */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (blocks[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    soft_memory *found = low > 0 ? blocks[low - 1].memory : NULL;
    bool inside = found && address >= found->address && address - found->address < found->bytes &&
                  bytes <= found->bytes - (address - found->address);
    return inside ? found : NULL;
}

static void *pages(const soft_memory *memory)
{
    return view + (memory->mapped - (uint64_t)(uintptr_t)view);
}

static int protect(const soft_memory *memory, int how)
{
    int key = memory->kind == SOFT_DEVICE_MEMORY ? soft.devices[memory->device].key : -1;
    if (key >= 0 && how != PROT_NONE)
        return pkey_mprotect(pages(memory), memory->mapped_bytes, how, key);
    return mprotect(pages(memory), memory->mapped_bytes, how);
}

/* Seen from the host: nothing of device memory, unless kernels have it open (without keys). */
static int expose(const soft_memory *memory)
{
    bool host = memory->kind != SOFT_DEVICE_MEMORY;
    bool open = host || soft.keys || open_kernels > 0;
    return protect(memory, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

static void put_pattern(const soft_memory *memory)
{
    char *at = soft_alias(memory->address);
    if (memory->bytes <= pattern_all) {
        memset(at, SOFT_PATTERN, memory->bytes);
        return;
    }
    memset(at, SOFT_PATTERN, pattern_ends);
    memset(at + memory->bytes - pattern_ends, SOFT_PATTERN, pattern_ends);
}

static bool list_block(soft_memory *memory)
{
    if (block_count == block_room) {
        size_t room = block_room ? block_room * 2 : 256;
        struct block *grown = realloc(blocks, room * sizeof *grown);
        if (!grown) return false;
        blocks = grown;
        block_room = room;
    }
    blocks[block_count++] = (struct block){memory->address, memory};
    return true;
}

static void unlist_block(const soft_memory *memory)
{
    for (size_t i = block_count; i-- > 0;)
        if (blocks[i].memory == memory) {
            blocks[i].memory = NULL;
            break;
        }
}

void soft_memory_retire(soft_memory *memory)
{
    size_t at = (size_t)(memory->mapped - (uint64_t)(uintptr_t)view);
    protect(memory, PROT_NONE);
    int hole = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
    fallocate(arena_file, hole, (off_t)at, (off_t)memory->mapped_bytes);
    unlist_block(memory);
    if (memory->kind != SOFT_PINNED) soft.devices[memory->device].used -= memory->bytes;
    soft_retire(&memory->object);
}

gb_cu_result soft_memory_make(soft_memory **out, soft_context *context, size_t bytes,
                              soft_memory_kind kind, bool there)
{
    soft_device *device = &soft.devices[context->device];
    if (bytes == 0) return GB_CU_INVALID_VALUE;
    if (bytes > arena_bytes || !open_arena()) return GB_CU_OUT_OF_MEMORY;
    size_t rounded = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    size_t mapped = (rounded + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (kind != SOFT_PINNED && bytes > device->total - device->used) return GB_CU_OUT_OF_MEMORY;
    if (mapped + PAGE > arena_bytes - arena_next) return GB_CU_OUT_OF_MEMORY;
    soft_memory *memory = soft_new(sizeof *memory, SOFT_MEMORY, context, NULL);
    if (!memory) return GB_CU_OUT_OF_MEMORY;
    memory->kind = kind;
    memory->device = context->device;
    memory->mapped = (uint64_t)(uintptr_t)view + arena_next;
    memory->mapped_bytes = mapped;
    memory->address = memory->mapped + mapped - rounded; /* what is behind it faults */
    memory->bytes = bytes;
    arena_next += mapped + PAGE;
    if (kind != SOFT_PINNED) device->used += bytes;
    memory->there = there;
    if (!list_block(memory) || (there && expose(memory) != 0)) {
        soft_memory_retire(memory);
        return GB_CU_OUT_OF_MEMORY;
    }
    put_pattern(memory);
    *out = memory;
    return 0;
}

void soft_memory_appear(soft_memory *memory)
{
    memory->there = true;
    expose(memory);
}

/* ---- around a kernel ---- */

static void expose_all(void)
{
    for (size_t i = 0; i < block_count; i++)
        if (blocks[i].memory && blocks[i].memory->kind == SOFT_DEVICE_MEMORY &&
            blocks[i].memory->there)
            expose(blocks[i].memory);
}

static void set_keys(const soft_context *context, unsigned rights)
{
    for (int i = 0; i < soft.device_count; i++)
        if (i == context->device || (context->peers >> i & 1))
            pkey_set(soft.devices[i].key, rights);
}

int soft_memory_open_kernels(soft_context *context)
{
    pthread_mutex_lock(&soft.lock);
    bool keys = soft.keys, there = alias != NULL;
    if (there && keys) set_keys(context, 0);
    if (there && !keys && open_kernels++ == 0) expose_all();
    pthread_mutex_unlock(&soft.lock);
    return there ? 1 + context->device : 0;
}

void soft_memory_close_kernels(int token)
{
    if (token == 0) return;
    pthread_mutex_lock(&soft.lock);
    for (int i = 0; i < soft.device_count && soft.keys; i++)
        pkey_set(soft.devices[i].key, PKEY_DISABLE_ACCESS);
    if (!soft.keys && --open_kernels == 0) expose_all();
    pthread_mutex_unlock(&soft.lock);
}

/* ---- entry points ---- */

gb_cu_result soft_cuMemGetInfo(size_t *free_bytes, size_t *total)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuMemGetInfo, &context);
    if (rc == 0) {
        const soft_device *device = &soft.devices[context->device];
        *total = device->total;
        *free_bytes = device->total - device->used;
    }
    return soft_leave(rc);
}

gb_cu_result soft_cuMemAlloc(gb_cu_memory *out, size_t bytes)
{
    soft_context *context;
    soft_memory *memory;
    gb_cu_result rc = soft_enter_context(ROW_cuMemAlloc, &context);
    if (rc == 0) rc = soft_memory_make(&memory, context, bytes, SOFT_DEVICE_MEMORY, true);
    if (rc == 0) *out = memory->address;
    return soft_leave(rc);
}

gb_cu_result soft_cuMemAllocManaged(gb_cu_memory *out, size_t bytes, unsigned int flags)
{
    soft_context *context;
    soft_memory *memory;
    gb_cu_result rc = soft_enter_context(ROW_cuMemAllocManaged, &context);
    if (rc == 0 && flags != GB_CU_ATTACH_GLOBAL) rc = GB_CU_INVALID_VALUE;
    if (rc == 0) rc = soft_memory_make(&memory, context, bytes, SOFT_MANAGED, true);
    if (rc == 0) *out = memory->address;
    return soft_leave(rc);
}

gb_cu_result soft_cuMemHostAlloc(void **out, size_t bytes, unsigned int flags)
{
    soft_context *context;
    soft_memory *memory;
    gb_cu_result rc = soft_enter_context(ROW_cuMemHostAlloc, &context);
    if (rc == 0) rc = soft_memory_make(&memory, context, bytes, SOFT_PINNED, true);
    if (rc == 0) *out = view + (memory->address - (uint64_t)(uintptr_t)view);
    return soft_leave(rc);
}

static gb_cu_result release(int row, uint64_t address, bool pinned)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(row, &context);
    soft_memory *memory = soft_memory_at(address, 1);
    if (rc) {
        if (memory) memory->object.freed = true;
        return rc;
    }
    if (address == 0) return GB_CU_INVALID_VALUE;
    if (!memory || memory->address != address)
        return soft_misuse(row, GB_CU_INVALID_VALUE, "0x%llx is the address of no block",
                           (unsigned long long)address);
    if (pinned != (memory->kind == SOFT_PINNED))
        return soft_misuse(row, GB_CU_INVALID_VALUE, "a block of another kind");
    if (!pinned && memory->object.context != context)
        return soft_misuse(row, GB_CU_INVALID_CONTEXT, "a block of another context");
    soft_memory_retire(memory);
    return 0;
}

gb_cu_result soft_cuMemFree(gb_cu_memory memory)
{
    return soft_leave(release(ROW_cuMemFree, memory, false));
}

gb_cu_result soft_cuMemFreeHost(void *host)
{
    return soft_leave(release(ROW_cuMemFreeHost, (uint64_t)(uintptr_t)host, true));
}
