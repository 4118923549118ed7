#include "sys/out.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    PIECES_PER_WRITE = 64,
    KEPT_BYTES = 1 << 16 /* a larger buffer is given back when it is empty */
};

/* In a buffer of ours, or in a block. */
struct gbi_piece {
    gb_buf buf;
    gb_block *block;
    const uint8_t *data;
    size_t size;
};

static void piece_drop(gbi_piece *p)
{
    if (p->block)
        gb_block_unref(p->block);
    else
        gb_buf_fini(&p->buf);
}

void gbi_out_init(gbi_out *out, gb_mem *mem)
{
    *out = (gbi_out){.mem = mem};
    gb_buf_init(&out->last, mem);
}

void gbi_out_fini(gbi_out *out)
{
    for (uint32_t i = out->first; i < out->count; i++) piece_drop(&out->pieces[i]);
    gb_mem_free(out->mem, out->pieces, out->room * sizeof *out->pieces);
    gb_buf_fini(&out->last);
}

void gbi_out_count(gbi_out *out)
{
    size_t all = out->last.size;
    for (uint32_t i = out->first; i < out->count; i++) all += out->pieces[i].size;
    out->queued = all - out->sent;
}

static int piece_add(gbi_out *out, const gbi_piece *p)
{
    if (out->count == out->room && out->first > 0) { /* those in front are written */
        out->count -= out->first;
        memmove(out->pieces, out->pieces + out->first, out->count * sizeof *p);
        out->first = 0;
    } else if (out->count == out->room) {
        gbi_piece *more = gb_mem_grow(out->mem, out->pieces, &out->room, 8, sizeof *more);
        if (!more) return GB_ENOMEM;
        out->pieces = more;
    }
    out->pieces[out->count++] = *p;
    return 0;
}

int gbi_out_block(gbi_out *out, gb_block *block, size_t offset, size_t bytes)
{
    gbi_piece body = {.block = block, .data = (const uint8_t *)block->data + offset, .size = bytes};
    int rc = 0;
    if (out->last.size > 0) {
        gbi_piece head = {.buf = out->last, .data = out->last.data, .size = out->last.size};
        rc = piece_add(out, &head);
        if (rc == 0) gb_buf_init(&out->last, out->mem);
    }
    if (rc == 0) rc = piece_add(out, &body);
    if (rc == 0) gb_block_ref(block);
    gbi_out_count(out); /* also what was appended before */
    return rc;
}

/* So many bytes more are written. */
static void written(gbi_out *out, size_t bytes)
{
    out->queued -= bytes;
    out->sent += bytes;
    while (out->first < out->count && out->sent >= out->pieces[out->first].size) {
        out->sent -= out->pieces[out->first].size;
        piece_drop(&out->pieces[out->first++]);
    }
    if (out->first < out->count) return;
    out->first = out->count = 0;
    if (out->sent == out->last.size) {
        out->last.size = out->sent = 0;
        if (out->last.room > KEPT_BYTES) gb_buf_fini(&out->last);
    } else if (out->sent > out->last.size / 2) {
        out->last.size -= out->sent;
        memmove(out->last.data, out->last.data + out->sent, out->last.size);
        out->sent = 0;
    }
}

int gbi_out_write(gbi_out *out, int fd)
{
    while (out->queued > 0) {
        struct iovec at[PIECES_PER_WRITE];
        int n = 0;
        size_t skip = out->sent;
        for (uint32_t i = out->first; i < out->count && n < PIECES_PER_WRITE; i++, skip = 0)
            at[n++] =
                (struct iovec){(uint8_t *)out->pieces[i].data + skip, out->pieces[i].size - skip};
        if (n < PIECES_PER_WRITE && out->last.size > skip)
            at[n++] = (struct iovec){out->last.data + skip, out->last.size - skip};
        struct msghdr message = {.msg_iov = at, .msg_iovlen = (size_t)n};
        ssize_t bytes = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : errno;
        written(out, (size_t)bytes);
    }
    return 0;
}
