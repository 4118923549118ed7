/* What leaves over a link. Small messages stand in the pipe's buffer at once. Large ones wait here,
 * and a chunk of the next one is put whenever little is left to be written: so what is put
 * meanwhile stands behind a few chunks, not behind whole messages. */
#include "cluster/link_room.h"

#include "base/check.h"
#include "base/err.h"

#include <string.h>

enum { WINDOW_BYTES = 2 * GB_LINK_LARGE_BYTES };

gb_buf *gb_link_begin(gb_link *link, gb_block *const *blocks, uint32_t count)
{
    gb_buf *out = gb_pipe_out(link->pipe);
    if (gb_frame_begin(out, &link->mark) < 0) return NULL;
    if (count == 0) return out;
    uint32_t head[GBI_LINK_BEGIN_BYTES / 4] = {0, 0, count};
    int rc = gb_buf_put(out, head, sizeof head);
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        uint64_t bytes = blocks[i]->bytes;
        rc = gb_buf_put(out, &bytes, sizeof bytes);
    }
    if (rc == 0) return out;
    gb_frame_drop(out, link->mark);
    return NULL;
}

void gb_link_drop(gb_link *link)
{
    gb_frame_drop(gb_pipe_out(link->pipe), link->mark);
}

static int lost_in_the_middle(gb_link *link)
{
    /* Half a message stands in the way of all others. */
    gbi_link_fail(link, GB_ENOMEM, "out of memory in the middle of a message");
    return gb_err_set(GB_ELOST, "out of memory in the middle of a message");
}

static void patch(uint8_t *begin, uint32_t number, size_t first)
{
    uint32_t bytes = (uint32_t)first;
    memcpy(begin, &number, sizeof number);
    memcpy(begin + sizeof number, &bytes, sizeof bytes);
}

/* All of it at once. */
static int put_small(gb_link *link, uint8_t kind, gb_block *const *blocks, uint32_t count,
                     size_t bytes)
{
    gb_buf *out = gb_pipe_out(link->pipe);
    if (count) patch(out->data + link->mark + GB_FRAME_HEADER_BYTES, ++link->number, bytes);
    int rc = gb_frame_end(out, link->mark, kind, count ? GBI_LINK_BLOCKS : 0);
    if (rc < 0) return rc;
    for (uint32_t i = 0; i < count; i++)
        if (gb_pipe_put_block(link->pipe, blocks[i], 0, blocks[i]->bytes) < 0)
            return lost_in_the_middle(link);
    gb_pipe_put(link->pipe);
    return 0;
}

/* It waits for its turn. */
static int put_large(gb_link *link, uint8_t kind, gb_block *const *blocks, uint32_t count,
                     size_t bytes, uint64_t order)
{
    gb_buf *out = gb_pipe_out(link->pipe);
    size_t start = link->mark + GB_FRAME_HEADER_BYTES, size = out->size - start;
    gbi_stream *s = gbi_stream_new(link->mem, count);
    int rc = s ? gb_buf_put(&s->body, out->data + start, size) : GB_ENOMEM;
    gb_frame_drop(out, link->mark);
    if (rc < 0) {
        if (s) gbi_stream_free(link->mem, s);
        return rc;
    }
    s->number = ++link->number;
    s->kind = kind;
    s->order = order;
    s->left = bytes;
    s->bytes = size + bytes;
    for (uint32_t i = 0; i < count; i++) s->blocks[i] = gb_block_ref(blocks[i]);
    gb_list_push(&link->waiting, &s->link);
    link->out_count++;
    gb_pipe_put(link->pipe);
    return 0;
}

int gb_link_end_ordered(gb_link *link, uint8_t kind, gb_block *const *blocks, uint32_t count,
                        uint64_t order)
{
    GB_CHECK(kind >= GB_LINK_KINDS && link->state == GBI_LINK_READY);
    gb_buf *out = gb_pipe_out(link->pipe);
    size_t body = out->size - link->mark - GB_FRAME_HEADER_BYTES, bytes = 0;
    for (uint32_t i = 0; i < count; i++) bytes += blocks[i]->bytes;
    if (body + bytes > link->bytes_max || body > GB_LINK_BODY_BYTES || count > GB_LINK_BLOCKS_MAX) {
        gb_frame_drop(out, link->mark);
        if (body + bytes <= link->bytes_max)
            return gb_err_set(GB_EINVAL, "a message of too many small parts (%u, %zu bytes)", count,
                              body);
        return gb_err_set(GB_EINVAL,
                          "a message of %zu bytes; the limit between silos is %zu (max_message)",
                          body + bytes, link->bytes_max);
    }
    if (bytes > GB_LINK_LARGE_BYTES || (order && gb_link_orders(link, order)))
        return put_large(link, kind, blocks, count, bytes, order);
    return put_small(link, kind, blocks, count, bytes);
}

int gb_link_end(gb_link *link, uint8_t kind, gb_block *const *blocks, uint32_t count)
{
    return gb_link_end_ordered(link, kind, blocks, count, 0);
}

/* ---- large messages ---- */

static bool holds(const gb_list *list, uint64_t order)
{
    for (const gb_list *at = list->next; at != list; at = at->next)
        if (GB_CONTAINER(at, gbi_stream, link)->order == order) return true;
    return false;
}

bool gb_link_orders(const gb_link *link, uint64_t order)
{
    return link->out_count && (holds(&link->begun, order) || holds(&link->waiting, order));
}

uint32_t gb_link_large(gb_link *link)
{
    if (link->out_count >= GB_LINK_LARGE_MAX) link->full = true;
    return link->out_count;
}

/* The one whose turn it is; a new one begins when it may. */
static gbi_stream *next_out(gb_link *link, bool *fresh)
{
    gb_list *first = link->waiting.next;
    gbi_stream *s = GB_CONTAINER(first, gbi_stream, link);
    *fresh = first != &link->waiting && link->begun_count < GB_LINK_LARGE_MAX &&
             (link->begun_count == 0 || link->begun_bytes + s->bytes <= link->bytes_max) &&
             !(s->order && holds(&link->begun, s->order));
    if (*fresh) {
        link->begun_count++;
        link->begun_bytes += s->bytes;
    } else {
        s = GB_CONTAINER(link->begun.next, gbi_stream, link);
    }
    gb_list_unlink(&s->link);
    return s;
}

static int put_bytes(gb_link *link, gbi_stream *s, size_t bytes)
{
    s->left -= bytes;
    for (gbi_stream_step(s); bytes > 0; gbi_stream_step(s)) {
        gb_block *block = s->blocks[s->at];
        size_t part = block->bytes - s->have < bytes ? block->bytes - s->have : bytes;
        int rc = gb_pipe_put_block(link->pipe, block, s->have, part);
        if (rc < 0) return rc;
        s->have += part;
        bytes -= part;
    }
    return 0;
}

static int put_chunk(gb_link *link, gbi_stream *s, bool fresh)
{
    gb_buf *out = gb_pipe_out(link->pipe);
    size_t bytes = s->left < GB_LINK_LARGE_BYTES ? s->left : GB_LINK_LARGE_BYTES;
    int rc;
    if (fresh) {
        if (s->count) patch(s->body.data, s->number, bytes);
        rc = gb_frame_put(out, s->kind, s->count ? GBI_LINK_BLOCKS : 0, s->body.data, s->body.size);
        gb_buf_fini(&s->body);
    } else {
        uint8_t head[GBI_LINK_CHUNK_BYTES];
        patch(head, s->number, bytes);
        rc = gb_frame_put(out, GBI_LINK_CHUNK, 0, head, sizeof head);
    }
    return rc < 0 ? rc : put_bytes(link, s, bytes);
}

static bool tell_drained(gb_link *link)
{
    link->full = false;
    if (link->events->drained)
        GBI_LINK_EVENT(link, link->events->drained(link->user), return false);
    return true;
}

bool gbi_link_leaving(void *user)
{
    gb_link *link = user;
    while (link->out_count && gb_pipe_queued(link->pipe) < WINDOW_BYTES) {
        bool fresh;
        gbi_stream *s = next_out(link, &fresh);
        gb_list_push(&link->begun, &s->link);
        if (put_chunk(link, s, fresh) < 0) {
            lost_in_the_middle(link);
            return false;
        }
        gb_pipe_put(link->pipe);
        if (s->left) continue;
        link->begun_count--;
        link->begun_bytes -= s->bytes;
        link->out_count--;
        gbi_stream_free(link->mem, s);
        if (link->full && link->out_count < GB_LINK_LARGE_MAX && !tell_drained(link)) return false;
    }
    return link->out_count > 0;
}

static void end_all(gb_link *link, gb_list *list)
{
    while (!gb_list_empty(list))
        gbi_stream_free(link->mem, GB_CONTAINER(list->next, gbi_stream, link));
}

void gbi_link_out_end(gb_link *link)
{
    end_all(link, &link->begun);
    end_all(link, &link->waiting);
}
