/* What waits to be written to a descriptor: bytes that were appended to a buffer, and parts of
 * blocks, which are held and not copied, in the order in which they were put. Knows no loop.
 *
 * Threads: one at a time. Memory: the owner's; blocks are let go once they are written, or with it.
 */
#ifndef GB_SYS_OUT_H
#define GB_SYS_OUT_H

#include "base/block.h"
#include "base/buf.h"

typedef struct gbi_piece gbi_piece;

typedef struct gbi_out {
    gb_mem *mem;
    gb_buf last; /* behind the pieces: append to it, then gbi_out_count */
    gbi_piece *pieces;
    uint32_t first, count, room;
    size_t sent;   /* of the first piece, or of `last` when there is none */
    size_t queued; /* bytes not written yet */
} gbi_out;

void gbi_out_init(gbi_out *out, gb_mem *mem);
void gbi_out_fini(gbi_out *out);

/* Something was appended to `last`. */
void gbi_out_count(gbi_out *out);

/* So many bytes of a block, not none. 0 or GB_ENOMEM. */
int gbi_out_block(gbi_out *out, gb_block *block, size_t offset, size_t bytes);

/* Writes until nothing is left or the kernel takes no more. 0, or an errno. */
int gbi_out_write(gbi_out *out, int fd);

#endif
