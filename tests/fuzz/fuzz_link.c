/* Any bytes in any pieces over a link that was greeted: messages, blocks and chunks are told once,
 * with the sizes that were announced, or the link closes with GB_EINVAL; and what it holds is its
 * limit and what the bytes justify, whatever is promised. The first input byte chooses the pieces.
 */
#include "fuzz.h"

#include "base/check.h"
#include "base/err.h"
#include "cluster/link_room.h"

#include <string.h>

enum { LIMIT = 100000, SLACK = 4096, KIND = GB_LINK_KINDS };

typedef struct ear {
    bool closed;
    size_t told; /* bytes of messages and of their blocks */
} ear;

static int on_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    ear *e = user;
    size_t bytes = size;
    GB_CHECK(kind >= GB_LINK_KINDS && count <= GB_LINK_BLOCKS_MAX && (body || size == 0));
    for (uint32_t i = 0; i < count; i++) {
        bytes += blocks[i]->bytes;
        if (blocks[i]->bytes) memset(blocks[i]->data, 1, blocks[i]->bytes); /* it is all there */
    }
    GB_CHECK(count == 0 || bytes <= LIMIT);
    e->told += bytes;
    return 0;
}

static int on_refused(void *user, int rc, uint8_t kind, const void *body, size_t size)
{
    GB_CHECK(rc == GB_EINVAL || rc == GB_EBUSY);
    GB_CHECK(kind >= GB_LINK_KINDS && (body || size == 0));
    return 0;
}

static void on_closed(void *user, int rc, const char *why)
{
    GB_CHECK(rc == GB_EINVAL && *why);
    ((ear *)user)->closed = true;
}

static const gb_link_events events = {NULL, on_message, NULL, on_closed, on_refused};

/* As link.c makes one, without a pipe: nothing is sent and nothing waits. */
static gb_link *open_link(gb_mem *mem, gb_link_room *room, ear *e)
{
    gb_link *link = gb_mem_zalloc(mem, sizeof *link);
    link->mem = mem;
    link->events = &events;
    link->user = e;
    link->state = GBI_LINK_READY;
    link->bytes_max = LIMIT;
    link->room = room;
    gb_list_init(&link->in);
    gb_list_init(&link->begun);
    gb_list_init(&link->waiting);
    gb_frame_reader_init(&link->reader, mem, LIMIT);
    return link;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    seed s = {data[0]};
    gb_mem mem;
    gb_link_room room = {.bytes_max = LIMIT};
    ear e = {0};
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_link *link = open_link(&mem, &room, &e);
    for (size_t fed = 1; fed < size && !e.closed;) {
        uint8_t *into;
        size_t piece = 1 + seed_below(&s, 1 + seed_below(&s, 300)), got;
        GB_CHECK(gbi_link_room(link, &into, &got) == 0 && got > 0);
        if (piece > size - fed) piece = size - fed;
        if (piece > got) piece = got;
        memcpy(into, data + fed, piece);
        gbi_link_came(link, piece);
        fed += piece;
        /* A frame names a block with 8 bytes: a header and a pointer stand for each. */
        size_t justified = LIMIT + (2 + sizeof(gb_block) / 8) * fed + 2 * GB_FRAME_READ_BYTES_MIN;
        GB_CHECK(atomic_load(&mem.bytes) <= (int64_t)(justified + SLACK));
        GB_CHECK(e.told <= fed);
        GB_CHECK(atomic_load(&room.bytes) <= LIMIT);
    }
    if (!e.closed) {
        gbi_link_in_end(link);
        gb_frame_reader_fini(&link->reader);
        gb_mem_free(&mem, link, sizeof *link);
    }
    GB_CHECK(atomic_load(&room.bytes) == 0);
    gb_mem_fini(&mem);
    return 0;
}

/* ---- samples ---- */

static void put_u32(gb_buf *out, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    gb_buf_put(out, &word, sizeof word);
}

static void put_raw(gb_buf *out, uint64_t bytes)
{
    for (; bytes > 0; bytes--) gb_buf_put(out, "r", 1);
}

/* A message of one or two blocks: its beginning, with all of its bytes or a part. */
static uint64_t begin(seed *s, gb_buf *out, gb_mem *mem, uint32_t number)
{
    gb_buf body;
    uint32_t count = 1 + (uint32_t)seed_below(s, 2);
    uint64_t all = 0, sizes[2];
    for (uint32_t i = 0; i < count; i++) all += sizes[i] = seed_below(s, 400);
    uint64_t first = seed_below(s, 2) ? all : seed_below(s, all + 1);
    gb_buf_init(&body, mem);
    put_u32(&body, number);
    put_u32(&body, first);
    put_u32(&body, count);
    gb_buf_put(&body, sizes, count * sizeof *sizes);
    put_raw(&body, seed_below(s, 20));
    gb_frame_put(out, KIND, GBI_LINK_BLOCKS, body.data, body.size);
    gb_buf_fini(&body);
    put_raw(out, first);
    return all - first;
}

static void chunk(gb_buf *out, uint32_t number, uint64_t bytes)
{
    uint32_t head[2] = {number, (uint32_t)bytes};
    gb_frame_put(out, GBI_LINK_CHUNK, 0, head, sizeof head);
    put_raw(out, bytes);
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    enum { MANY = 5 };
    gb_mem mem;
    gb_buf buf;
    uint64_t left[MANY] = {0};
    uint8_t first = (uint8_t)seed_next(s);
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&buf, &mem);
    gb_buf_put(&buf, &first, 1);
    for (uint32_t i = 0; i < MANY; i++) {
        if (seed_below(s, 3) == 0) gb_frame_put(&buf, KIND, 0, "small", seed_below(s, 6));
        if (seed_below(s, 2)) left[i] = begin(s, &buf, &mem, i);
        uint32_t of = (uint32_t)seed_below(s, i + 1);
        uint64_t part = left[of] ? 1 + seed_below(s, left[of]) : 0;
        if (part) chunk(&buf, of, part);
        left[of] -= part;
    }
    for (uint32_t i = 0; i < MANY; i++)
        if (left[i]) chunk(&buf, i, left[i]);
    size_t size = buf.size < room ? buf.size : room;
    memcpy(out, buf.data, size);
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
    return size;
}
