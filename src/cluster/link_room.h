/* What the files of links share: link.c (greeting, opening, closing), link_in.c (what comes),
 * link_out.c (what leaves), greet.c.
 *
 * On the wire. A message without blocks is one frame. One with blocks begins with a frame (flag
 * GBI_LINK_BLOCKS) of
 *
 *     u32 stream   a number for it while it is under way, chosen by who sends
 *     u32 first    bytes that follow this frame at once
 *     u32 count    of its blocks
 *     u64 sizes    of each
 *     the body
 *
 * and goes on with frames of the kind GBI_LINK_CHUNK, between other messages:
 *
 *     u32 stream, u32 bytes that follow this frame
 *
 * The bytes of all blocks, one after the other, are what follows. They have no checksum of their
 * own.
 */
#ifndef GB_CLUSTER_LINK_ROOM_H
#define GB_CLUSTER_LINK_ROOM_H

#include "base/list.h"
#include "cluster/link.h"
#include "wire/cbor.h"
#include "wire/frame.h"

enum { GBI_LINK_CHUNK = GB_LINK_KINDS - 1 }; /* a kind, beside those of greetings */
enum { GBI_LINK_BLOCKS = 1 };                /* a flag of frames */
enum { GBI_LINK_BEGIN_BYTES = 12, GBI_LINK_CHUNK_BYTES = 8 };

/* A message whose blocks are under way, in either direction. */
typedef struct gbi_stream {
    gb_list link;
    uint32_t number;
    uint8_t kind;
    bool skipped;   /* in: nobody wants it */
    uint64_t order; /* out: those of one order go one after the other; 0: of none */
    gb_buf body;    /* out: the whole first frame's */
    gb_block **blocks;
    uint32_t count, at; /* at: the first block that is not all there, or not all gone */
    size_t have;        /* of that */
    size_t left;        /* of all blocks */
    size_t bytes;       /* of the message */
} gbi_stream;

typedef enum gbi_link_state { GBI_LINK_SAYING, GBI_LINK_READY } gbi_link_state;

struct gb_link {
    gb_mem *mem;
    gb_pipe *pipe;
    const gb_link_events *events;
    void *user;
    gbi_link_state state;
    gb_hello hello;
    const gb_secret *secret;    /* who connects: NULL: none */
    uint8_t talk[GB_MAC_BYTES]; /* ... once it was asked */
    bool asked;
    size_t bytes_max;
    bool *gone; /* in an event: set when the link was freed */
    /* in */
    gb_frame_reader reader;
    uint64_t received;
    gb_list in; /* messages of which a part has come */
    uint32_t in_count;
    size_t in_bytes;    /* that they promise */
    gbi_stream *coming; /* whose bytes come next, or NULL */
    size_t coming_left;
    gb_link_room *room; /* NULL: no bound */
    uint64_t half_ns;   /* 0: half messages may wait for ever */
    bool paused;
    /* out */
    size_t mark;     /* of the message that is being written */
    uint32_t number; /* of the last stream */
    gb_list begun;   /* large messages of which a part has left: the next one first */
    gb_list waiting; /* and those of which none has */
    uint32_t out_count, begun_count;
    size_t begun_bytes;
    bool full; /* who uses it saw GB_LINK_LARGE_MAX large ones */
};

/* Runs one event of who uses the link; on_gone when the link was freed in it. */
#define GBI_LINK_EVENT(link, call, on_gone)                                                        \
    do {                                                                                           \
        bool gone_ = false, *outer_ = (link)->gone;                                                \
        (link)->gone = &gone_;                                                                     \
        call;                                                                                      \
        if (gone_) {                                                                               \
            if (outer_) *outer_ = true;                                                            \
            on_gone;                                                                               \
        }                                                                                          \
        (link)->gone = outer_;                                                                     \
    } while (0)

/* ---- link.c ---- */

/* May these two talk? 0 or GB_EDENIED. */
int gbi_link_judge(const gb_hello *ours, const gb_hello *theirs);

/* Frees it and tells who uses it. */
void gbi_link_fail(gb_link *link, int rc, const char *why);

/* The answer to our greeting. False: the link is gone. */
bool gbi_link_greeted(gb_link *link, const gb_frame *frame);

gbi_stream *gbi_stream_new(gb_mem *mem, uint32_t count); /* NULL: out of memory */
void gbi_stream_free(gb_mem *mem, gbi_stream *stream);   /* with all that it holds */

/* Blocks that are whole are behind it. */
void gbi_stream_step(gbi_stream *stream);

/* ---- link_in.c ---- */

int gbi_link_room(void *user, uint8_t **at, size_t *room);
void gbi_link_came(void *user, size_t bytes);
bool gbi_link_in_half(const gb_link *link); /* a part of something has come */
void gbi_link_in_end(gb_link *link);

/* ---- link_out.c ---- */

bool gbi_link_leaving(void *user);
void gbi_link_out_end(gb_link *link);

#endif
