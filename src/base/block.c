#include "base/block.h"

#include "base/check.h"
#include "base/err.h"

#include <string.h>

/* No address space is larger; allocators abort or misbehave when asked for more. */
#define BYTES_MAX ((size_t)1 << 46)

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
    block->data = gb_mem_take_lines(mem, bytes, zero);
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

gb_block *gb_block_of_buf(gb_buf *buf)
{
    if (!buf->data) return gb_block_new_raw(buf->mem, 0);
    gb_block *block = gb_mem_zalloc(buf->mem, sizeof *block);
    if (!block) return NULL;
    block->data = buf->data;
    block->bytes = buf->size;
    block->room = buf->room;
    block->mem = buf->mem;
    atomic_init(&block->refs, 1);
    *buf = (gb_buf){.mem = buf->mem};
    return block;
}

int gb_block_into_buf(gb_block *block, gb_buf *buf)
{
    size_t room = block->room;
    if (!gb_block_alone(block) || block->release)
        room = 0;
    else if (!room)
        room = gb_mem_adopt_lines(block->mem, block->bytes);
    if (room) {
        gb_buf_fini(buf);
        *buf = (gb_buf){block->mem, block->data, block->bytes, room};
        gb_mem_free(block->mem, block, sizeof *block);
        return 0;
    }
    gb_buf copy;
    gb_buf_init(&copy, buf->mem);
    int rc = gb_buf_put(&copy, block->data, block->bytes);
    if (rc < 0) return rc;
    gb_buf_fini(buf);
    *buf = copy;
    gb_block_unref(block);
    return 0;
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
    else if (block->room)
        gb_mem_free(mem, block->data, block->room);
    else
        gb_mem_give_lines(mem, block->data, block->bytes);
    gb_mem_discharge(mem, (int64_t)block->charged);
    gb_mem_free(mem, block, sizeof *block);
}
