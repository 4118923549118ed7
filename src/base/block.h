/* A block: memory that several threads hold, counted, and never grown. Arrays stand on blocks.
 *
 * Thread: any; the count is atomic. What stands in the data is guarded by whoever shares it; a
 * frozen block is read only from then on. Its bytes (and those of its header) are charged to the
 * account until the last holder lets go, so the account must outlive the block.
 */
#ifndef GB_BASE_BLOCK_H
#define GB_BASE_BLOCK_H

#include "base/buf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GB_BLOCK_ALIGN = 64 };

/* Lua reads data, bytes and frozen through the FFI: their order and types are part of
 * lua/gb/array.lua. */
typedef struct gb_block {
    void *data; /* GB_BLOCK_ALIGN aligned when it is ours; never NULL, also for 0 bytes */
    size_t bytes;
    _Atomic uint32_t frozen; /* never goes back to 0 */
    _Atomic uint32_t refs;
    gb_mem *mem;
    void (*release)(void *user, void *data, size_t bytes); /* foreign memory only */
    void *user;
    size_t charged; /* of the data; the header is counted as an allocation of its own */
    size_t room;    /* the data was a buffer's, of so many bytes; 0: it was not */
    bool at_home;   /* its bytes mean nothing to another process; set by who makes it */
} gb_block;

/* Zeroed bytes, count 1 for the caller. NULL: GB_ENOMEM is the detail. Large blocks come from the
 * system page by page, so that zeroing costs nothing until a page is touched. */
gb_block *gb_block_new(gb_mem *mem, size_t bytes);

/* The same, for bytes that the caller overwrites at once. */
gb_block *gb_block_new_raw(gb_mem *mem, size_t bytes);

/* Wraps memory of somebody else; release (NULL: nothing to do) runs once, on the thread that lets
 * go last. When this fails, release does not run. The bytes are not charged: they have an owner. */
gb_block *gb_block_wrap(gb_mem *mem, void *data, size_t bytes,
                        void (*release)(void *user, void *data, size_t bytes), void *user);

/* A fresh block with bytes of another from offset on (both inside it). */
gb_block *gb_block_copy(gb_mem *mem, const gb_block *from, size_t offset, size_t bytes);

/* The bytes of a buffer as a block, without a copy: the buffer is empty then. NULL (GB_ENOMEM):
 * nothing has changed. */
gb_block *gb_block_of_buf(gb_buf *buf);

/* The way back: the buffer, which is freed before, holds the block's bytes, and the caller's hold
 * on the block is over. Without a copy where the block is nobody else's and its memory is ours.
 * GB_ENOMEM: nothing has changed. */
int gb_block_into_buf(gb_block *block, gb_buf *buf);

gb_block *gb_block_ref(gb_block *block);
void gb_block_unref(gb_block *block); /* NULL is allowed */

static inline void gb_block_freeze(gb_block *block)
{
    atomic_store_explicit(&block->frozen, 1, memory_order_release);
}

static inline bool gb_block_frozen(const gb_block *block)
{
    return atomic_load_explicit(&block->frozen, memory_order_acquire) != 0;
}

/* True while nobody else holds it: the holder may then hand it on without a copy. */
static inline bool gb_block_alone(const gb_block *block)
{
    return atomic_load_explicit(&block->refs, memory_order_acquire) == 1;
}

#endif
