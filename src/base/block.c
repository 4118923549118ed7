#include "base/block.h"

#include "base/check.h"
#include "base/err.h"

#include <string.h>
#include <sys/mman.h>

/* From here on pages come from mmap: zero without a memset, and back to the system at once. Not
 * where the account has an allocator, and not under the address sanitizer, so that every block has
 * red zones. */
#ifdef __SANITIZE_ADDRESS__
#define MAP_FROM SIZE_MAX
#else
#define MAP_FROM ((size_t)256 << 10)
#endif

/* Large blocks are asked to have huge pages: a pass over one is bound by memory, and without them
 * by the walk through page tables too. A system that has none goes on with small ones. */
#define HUGE_FROM ((size_t)4 << 20)

/* No address space is larger; allocators abort or misbehave when asked for more. */
#define BYTES_MAX ((size_t)1 << 46)

static bool mapped(const gb_mem *mem, size_t bytes)
{
    return bytes >= MAP_FROM && !mem->alloc;
}

static void *take_memory(gb_mem *mem, size_t bytes, bool zero)
{
    if (mapped(mem, bytes)) {
        void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) return NULL;
        if (bytes >= HUGE_FROM) madvise(pages, bytes, MADV_HUGEPAGE);
        return pages;
    }
    void *data = gb_mem_take_lines(mem, bytes);
    if (data && zero) memset(data, 0, bytes);
    return data;
}

static void give_memory(gb_mem *mem, void *data, size_t bytes)
{
    if (mapped(mem, bytes)) {
        int failed = munmap(data, bytes);
        GB_CHECK(failed == 0);
        return;
    }
    gb_mem_give_lines(mem, data, bytes);
}

static gb_block *make(gb_mem *mem, size_t bytes, bool zero)
{
    if (bytes > BYTES_MAX)
        return gb_err_set(GB_ENOMEM, "out of memory: %zu bytes for '%s'", bytes, mem->name), NULL;
    gb_block *block = gb_mem_zalloc(mem, sizeof *block);
    if (!block) return NULL;
    if (gb_mem_charge(mem, (int64_t)bytes) < 0) {
        gb_mem_free(mem, block, sizeof *block);
        return NULL;
    }
    block->data = take_memory(mem, bytes, zero);
    if (!block->data) {
        gb_mem_discharge(mem, (int64_t)bytes);
        gb_mem_free(mem, block, sizeof *block);
        return gb_err_set(GB_ENOMEM, "out of memory: %zu bytes for '%s'", bytes, mem->name), NULL;
    }
    block->bytes = bytes;
    block->charged = bytes;
    block->mem = mem;
    atomic_init(&block->refs, 1);
    return block;
}

gb_block *gb_block_new(gb_mem *mem, size_t bytes)
{
    return make(mem, bytes, true);
}

gb_block *gb_block_new_raw(gb_mem *mem, size_t bytes)
{
    return make(mem, bytes, false);
}

static void nothing_to_release(void *user, void *data, size_t bytes)
{
}

gb_block *gb_block_wrap(gb_mem *mem, void *data, size_t bytes,
                        void (*release)(void *user, void *data, size_t bytes), void *user)
{
    GB_CHECK(data != NULL);
    gb_block *block = gb_mem_zalloc(mem, sizeof *block);
    if (!block) return NULL;
    block->data = data;
    block->bytes = bytes;
    block->mem = mem;
    block->release = release ? release : nothing_to_release;
    block->user = user;
    atomic_init(&block->refs, 1);
    return block;
}

gb_block *gb_block_copy(gb_mem *mem, const gb_block *from, size_t offset, size_t bytes)
{
    GB_CHECK(offset <= from->bytes && bytes <= from->bytes - offset);
    gb_block *block = make(mem, bytes, false);
    if (block && bytes) memcpy(block->data, (const char *)from->data + offset, bytes);
    return block;
}

gb_block *gb_block_ref(gb_block *block)
{
    uint32_t before = atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    GB_CHECK(before != 0 && before != UINT32_MAX);
    return block;
}

void gb_block_unref(gb_block *block)
{
    if (!block) return;
    uint32_t before = atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel);
    GB_CHECK(before != 0);
    if (before != 1) return;
    gb_mem *mem = block->mem;
    if (block->release)
        block->release(block->user, block->data, block->bytes);
    else
        give_memory(mem, block->data, block->bytes);
    gb_mem_discharge(mem, (int64_t)block->charged);
    gb_mem_free(mem, block, sizeof *block);
}
