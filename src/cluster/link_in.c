/* What comes over a link. Bytes of blocks are read to where they stay; of a length that a peer
 * names nothing is taken before it is judged. */
#include "cluster/link_room.h"

#include "base/err.h"

#include <string.h>

/* ---- telling ---- */

/* False: the link is gone. */
static bool failed(gb_link *link, int rc)
{
    if (rc >= 0) return true;
    gbi_link_fail(link, rc, gb_err_detail());
    return false;
}

static bool deliver(gb_link *link, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                    uint32_t count)
{
    int rc = 0;
    GBI_LINK_EVENT(link, rc = link->events->message(link->user, kind, body, size, blocks, count),
                   return false);
    return failed(link, rc);
}

/* ---- messages that are half there ---- */

static void wait_for_more(gb_link *link)
{
    if (link->half_ns)
        gb_pipe_bound(link->pipe, link->in_count && !link->paused ? link->half_ns : 0);
}

bool gb_link_is_paused(const gb_link *link)
{
    return link->paused;
}

void gb_link_pause(gb_link *link, bool pause)
{
    if (link->paused == pause) return;
    gb_pipe_pause(link->pipe, pause);
    link->paused = pause;
    wait_for_more(link);
}

void gb_link_share(gb_link *link, gb_link_room *room, uint64_t timeout_ns)
{
    link->room = room;
    link->half_ns = timeout_ns;
}

static void stream_end(gb_link *link, gbi_stream *s)
{
    link->in_count--;
    if (!s->skipped) {
        link->in_bytes -= s->bytes;
        if (link->room) atomic_fetch_sub(&link->room->bytes, (int64_t)s->bytes);
    }
    gb_list_unlink(&s->link);
}

void gbi_link_in_end(gb_link *link)
{
    while (!gb_list_empty(&link->in)) {
        gbi_stream *s = GB_CONTAINER(link->in.next, gbi_stream, link);
        stream_end(link, s);
        gbi_stream_free(link->mem, s);
    }
}

static gbi_stream *stream_find(gb_link *link, uint32_t number)
{
    for (gb_list *at = link->in.next; at != &link->in; at = at->next)
        if (GB_CONTAINER(at, gbi_stream, link)->number == number)
            return GB_CONTAINER(at, gbi_stream, link);
    return NULL;
}

/* Is there room for it? It is counted then. */
static int admit(gb_link *link, size_t bytes)
{
    if (bytes > link->bytes_max)
        return gb_err_set(GB_EINVAL,
                          "a message of %zu bytes; the limit of who was to have it is %zu "
                          "(max_message)",
                          bytes, link->bytes_max);
    if (link->in_count && link->in_bytes + bytes > link->bytes_max)
        return gb_err_set(GB_EBUSY, "more large messages at once than its max_message (%zu bytes)",
                          link->bytes_max);
    gb_link_room *room = link->room;
    if (room) {
        int64_t now = atomic_fetch_add(&room->bytes, (int64_t)bytes) + (int64_t)bytes;
        if (now > room->bytes_max && now > (int64_t)bytes) {
            atomic_fetch_sub(&room->bytes, (int64_t)bytes);
            return gb_err_set(GB_EBUSY, "too many large messages come at once (%lld bytes)",
                              (long long)room->bytes_max);
        }
    }
    link->in_bytes += bytes;
    return 0;
}

/* Its blocks, without a byte in them yet. */
static int make_room(gb_link *link, gbi_stream *s, const uint8_t *sizes)
{
    int rc = admit(link, s->bytes);
    if (rc < 0) return rc;
    for (uint32_t i = 0; i < s->count && rc == 0; i++) {
        uint64_t bytes;
        memcpy(&bytes, sizes + (size_t)i * sizeof bytes, sizeof bytes);
        s->blocks[i] = gb_block_new_raw(link->mem, bytes);
        if (!s->blocks[i]) rc = GB_ENOMEM;
    }
    if (rc == 0) return 0;
    link->in_bytes -= s->bytes;
    if (link->room) atomic_fetch_sub(&link->room->bytes, (int64_t)s->bytes);
    return rc;
}

/* ---- frames ---- */

typedef struct begin {
    uint32_t number, first, count;
    const uint8_t *sizes, *body;
    size_t size, bytes; /* of the body; of all blocks */
} begin;

static int read_begin(begin *b, const gb_frame *frame)
{
    if (frame->size < GBI_LINK_BEGIN_BYTES)
        return gb_err_set(GB_EINVAL, "a message without its blocks");
    memcpy(&b->number, frame->payload, 4);
    memcpy(&b->first, frame->payload + 4, 4);
    memcpy(&b->count, frame->payload + 8, 4);
    size_t head = GBI_LINK_BEGIN_BYTES + (size_t)b->count * 8;
    if (b->count == 0 || b->count > GB_LINK_BLOCKS_MAX || head > frame->size)
        return gb_err_set(GB_EINVAL, "a message of %u blocks in %zu bytes", b->count, frame->size);
    b->sizes = frame->payload + GBI_LINK_BEGIN_BYTES;
    b->body = frame->payload + head;
    b->size = frame->size - head;
    b->bytes = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        uint64_t bytes;
        memcpy(&bytes, b->sizes + (size_t)i * 8, 8);
        if (bytes > GB_LINK_BYTES_MOST || (b->bytes += bytes) > GB_LINK_BYTES_MOST)
            return gb_err_set(GB_EINVAL, "a message of over %d bytes", GB_LINK_BYTES_MOST);
    }
    if (b->first > b->bytes)
        return gb_err_set(GB_EINVAL, "%u bytes of a message of %zu", b->first, b->bytes);
    return 0;
}

/* A message with blocks begins. */
static bool take_begin(gb_link *link, const gb_frame *frame)
{
    begin b = {0};
    int rc = read_begin(&b, frame);
    if (rc == 0 && stream_find(link, b.number))
        rc = gb_err_set(GB_EINVAL, "two messages of the number %u", b.number);
    if (rc == 0 && b.first < b.bytes && link->in_count >= GB_LINK_LARGE_MAX)
        rc = gb_err_set(GB_EINVAL, "more than %d messages in turns", GB_LINK_LARGE_MAX);
    gbi_stream *s = rc == 0 ? gbi_stream_new(link->mem, b.count) : NULL;
    if (rc == 0 && !s) rc = GB_ENOMEM;
    if (rc < 0) return failed(link, rc);
    s->number = b.number;
    s->kind = frame->kind;
    s->left = b.bytes;
    s->bytes = b.size + b.bytes;
    rc = make_room(link, s, b.sizes);
    if (rc == 0) rc = gb_buf_put(&s->body, b.body, b.size);
    s->skipped = rc < 0;
    gb_list_push(&link->in, &s->link);
    link->in_count++;
    link->coming = s;
    link->coming_left = b.first;
    if (rc == 0) return true;
    if (!link->events->refused) return failed(link, rc);
    GBI_LINK_EVENT(link, rc = link->events->refused(link->user, rc, frame->kind, b.body, b.size),
                   return false);
    return failed(link, rc);
}

static bool take_chunk(gb_link *link, const gb_frame *frame)
{
    uint32_t number, bytes;
    if (frame->size != GBI_LINK_CHUNK_BYTES)
        return failed(link, gb_err_set(GB_EINVAL, "a chunk of another shape"));
    memcpy(&number, frame->payload, 4);
    memcpy(&bytes, frame->payload + 4, 4);
    gbi_stream *s = stream_find(link, number);
    if (!s || bytes == 0 || bytes > s->left)
        return failed(link, gb_err_set(GB_EINVAL, "%u bytes of message %u, of which none is due",
                                       bytes, number));
    link->coming = s;
    link->coming_left = bytes;
    return true;
}

static bool take_frame(gb_link *link, const gb_frame *frame)
{
    if (link->state == GBI_LINK_SAYING) return gbi_link_greeted(link, frame);
    if (frame->kind == GBI_LINK_CHUNK) return take_chunk(link, frame);
    if (frame->kind < GB_LINK_KINDS)
        return failed(
            link, gb_err_set(GB_EINVAL, "a frame of kind %d in the middle of things", frame->kind));
    if (frame->flags & GBI_LINK_BLOCKS) return take_begin(link, frame);
    return deliver(link, frame->kind, frame->payload, frame->size, NULL, 0);
}

/* ---- bytes of blocks ---- */

static void have_more(gb_link *link, size_t bytes)
{
    gbi_stream *s = link->coming;
    if (!s->skipped) s->have += bytes;
    s->left -= bytes;
    link->coming_left -= bytes;
}

/* What the reader holds behind a frame with blocks belongs to them. */
static void take_read(gb_link *link)
{
    gb_frame_reader *reader = &link->reader;
    gbi_stream *s = link->coming;
    while (link->coming_left && reader->start < reader->buf.size) {
        size_t bytes = reader->buf.size - reader->start;
        if (bytes > link->coming_left) bytes = link->coming_left;
        if (!s->skipped) {
            gbi_stream_step(s);
            gb_block *block = s->blocks[s->at];
            if (bytes > block->bytes - s->have) bytes = block->bytes - s->have;
            memcpy((uint8_t *)block->data + s->have, reader->buf.data + reader->start, bytes);
        }
        have_more(link, bytes);
        reader->start += bytes;
    }
}

/* All that was announced is there. False: the link is gone. */
static bool chunk_is_over(gb_link *link)
{
    gbi_stream *s = link->coming;
    link->coming = NULL;
    if (s->left) {
        wait_for_more(link);
        return true;
    }
    stream_end(link, s);
    wait_for_more(link);
    gb_mem *mem = link->mem;
    bool lives =
        s->skipped || deliver(link, s->kind, s->body.data, s->body.size, s->blocks, s->count);
    gbi_stream_free(mem, s);
    return lives;
}

int gbi_link_room(void *user, uint8_t **at, size_t *room)
{
    gb_link *link = user;
    gbi_stream *s = link->coming;
    if (!s || s->skipped) return gb_frame_reader_room(&link->reader, at, room);
    gbi_stream_step(s);
    gb_block *block = s->blocks[s->at]; /* straight to where they stay */
    *at = (uint8_t *)block->data + s->have;
    *room = block->bytes - s->have < link->coming_left ? block->bytes - s->have : link->coming_left;
    return 0;
}

bool gbi_link_in_half(const gb_link *link)
{
    return link->in_count > 0 || link->reader.start < link->reader.buf.size;
}

void gbi_link_came(void *user, size_t bytes)
{
    gb_link *link = user;
    link->received += bytes;
    if (link->coming && !link->coming->skipped)
        have_more(link, bytes);
    else
        gb_frame_reader_came(&link->reader, bytes);
    for (;;) {
        if (link->coming) {
            take_read(link);
            if (link->coming_left) return;
            if (!chunk_is_over(link)) return;
            continue;
        }
        gb_frame frame;
        int rc = gb_frame_reader_next(&link->reader, &frame);
        if (rc < 0) failed(link, rc);
        if (rc <= 0 || !take_frame(link, &frame)) return;
    }
}
