/* Frames: what travels over a link. A header of 12 bytes, then the payload:
 *
 *     0  magic     0xb6
 *     1  version   1
 *     2  kind      the caller's
 *     3  flags     the caller's
 *     4  length    of the payload, 32 bits, little-endian
 *     8  checksum  the low 32 bits of gb_checksum over the payload, little-endian; the first 8
 *                  bytes of the header, as a little-endian number, are its seed, so it covers them
 *
 * No I/O. One thread per buffer. Errors: GB_EINVAL (the detail says which field and what was
 * found), GB_ENOMEM. A frame that is not all there yet is no error: "need more".
 */
#ifndef GB_WIRE_FRAME_H
#define GB_WIRE_FRAME_H

#include "base/buf.h"

enum {
    GB_FRAME_MAGIC = 0xb6,
    GB_FRAME_VERSION = 1,
    GB_FRAME_HEADER_BYTES = 12,
    GB_FRAME_PAYLOAD_BYTES_MAX = 1 << 30, /* whatever limit a caller sets */
    GB_FRAME_READ_BYTES_MIN = 16384,      /* the room that a reader offers at least */
    GB_FRAME_KEEP_BYTES = 1 << 20         /* what it keeps at most, when nothing waits */
};

typedef struct gb_frame {
    uint8_t kind, flags;
    const uint8_t *payload; /* borrowed from the bytes that were parsed */
    size_t size;            /* of the payload */
} gb_frame;

/* ---- writing ---- */

/* Appends a whole frame. */
int gb_frame_put(gb_buf *out, uint8_t kind, uint8_t flags, const void *payload, size_t size);

/* A frame whose payload is encoded in place: begin leaves room for the header and returns its
 * offset in *mark, the caller appends the payload, end fills the header in. When end fails (the
 * payload is too large) the frame is taken back. gb_frame_drop takes it back too. */
int gb_frame_begin(gb_buf *out, size_t *mark);
int gb_frame_end(gb_buf *out, size_t mark, uint8_t kind, uint8_t flags);
void gb_frame_drop(gb_buf *out, size_t mark);

/* The header alone, for a payload that is written from where it lies. */
int gb_frame_header(uint8_t header[GB_FRAME_HEADER_BYTES], uint8_t kind, uint8_t flags,
                    const void *payload, size_t size);

/* ---- reading ---- */

/* The first frame of the bytes: the frame's whole length and *frame, or 0 when more is needed, or
 * GB_EINVAL. Every field is judged as soon as it is there. Never reads a byte behind size. */
int64_t gb_frame_parse(const void *bytes, size_t size, size_t payload_bytes_max, gb_frame *frame);

/* The incremental reader of one link: read into its room, say how much came, take frames until 0.
 * Its buffer grows with the bytes that came (at most twice those, and READ_BYTES_MIN), never with
 * what a header promises; one of over KEEP_BYTES is given back when nothing waits in it. */
typedef struct gb_frame_reader {
    gb_buf buf;
    size_t start; /* of the first byte that is not taken yet */
    size_t payload_bytes_max;
    int rc; /* 0, or the first error: it stays */
} gb_frame_reader;

void gb_frame_reader_init(gb_frame_reader *reader, gb_mem *mem, size_t payload_bytes_max);
void gb_frame_reader_fini(gb_frame_reader *reader);

/* Where the next bytes go: 0, *at and *room (at least READ_BYTES_MIN), or GB_ENOMEM. Frames taken
 * before are gone after this call. */
int gb_frame_reader_room(gb_frame_reader *reader, uint8_t **at, size_t *room);

/* That many bytes were written there. */
void gb_frame_reader_came(gb_frame_reader *reader, size_t bytes);

/* 1 and the next frame (borrowed until the next room or fini), 0: need more, or GB_EINVAL. */
int gb_frame_reader_next(gb_frame_reader *reader, gb_frame *frame);

#endif
