#include "wire/frame.h"

#include "base/check.h"
#include "base/err.h"
#include "wire/checksum.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "written for little-endian hosts");

enum { AT_MAGIC = 0, AT_VERSION = 1, AT_KIND = 2, AT_FLAGS = 3, AT_LENGTH = 4, AT_CHECKSUM = 8 };

static uint32_t checksum(const uint8_t *header, const void *payload, size_t size)
{
    uint64_t seed;
    memcpy(&seed, header, sizeof seed);
    return (uint32_t)gb_checksum(payload, size, seed);
}

/* ---- writing ---- */

int gb_frame_header(uint8_t header[GB_FRAME_HEADER_BYTES], uint8_t kind, uint8_t flags,
                    const void *payload, size_t size)
{
    if (size > GB_FRAME_PAYLOAD_BYTES_MAX)
        return gb_err_set(GB_EINVAL, "a frame of %zu bytes: the limit is %d", size,
                          GB_FRAME_PAYLOAD_BYTES_MAX);
    uint32_t length = (uint32_t)size;
    header[AT_MAGIC] = GB_FRAME_MAGIC;
    header[AT_VERSION] = GB_FRAME_VERSION;
    header[AT_KIND] = kind;
    header[AT_FLAGS] = flags;
    memcpy(header + AT_LENGTH, &length, sizeof length);
    uint32_t sum = checksum(header, payload, size);
    memcpy(header + AT_CHECKSUM, &sum, sizeof sum);
    return 0;
}

int gb_frame_put(gb_buf *out, uint8_t kind, uint8_t flags, const void *payload, size_t size)
{
    uint8_t header[GB_FRAME_HEADER_BYTES];
    int rc = gb_frame_header(header, kind, flags, payload, size);
    if (rc < 0) return rc;
    rc = gb_buf_reserve(out, sizeof header + size);
    if (rc < 0) return rc;
    memcpy(out->data + out->size, header, sizeof header);
    if (size) memcpy(out->data + out->size + sizeof header, payload, size);
    out->size += sizeof header + size;
    return 0;
}

int gb_frame_begin(gb_buf *out, size_t *mark)
{
    int rc = gb_buf_reserve(out, GB_FRAME_HEADER_BYTES);
    if (rc < 0) return rc;
    *mark = out->size;
    out->size += GB_FRAME_HEADER_BYTES;
    return 0;
}

int gb_frame_end(gb_buf *out, size_t mark, uint8_t kind, uint8_t flags)
{
    GB_CHECK(mark <= out->size && out->size - mark >= GB_FRAME_HEADER_BYTES);
    uint8_t *header = out->data + mark;
    int rc = gb_frame_header(header, kind, flags, header + GB_FRAME_HEADER_BYTES,
                             out->size - mark - GB_FRAME_HEADER_BYTES);
    if (rc < 0) gb_frame_drop(out, mark);
    return rc;
}

void gb_frame_drop(gb_buf *out, size_t mark)
{
    GB_CHECK(mark <= out->size);
    out->size = mark;
}

/* ---- reading ---- */

int64_t gb_frame_parse(const void *bytes, size_t size, size_t payload_bytes_max, gb_frame *frame)
{
    const uint8_t *at = bytes;
    if (size > AT_MAGIC && at[AT_MAGIC] != GB_FRAME_MAGIC)
        return gb_err_set(GB_EINVAL, "not a frame: magic 0x%02x, not 0x%02x", at[AT_MAGIC],
                          GB_FRAME_MAGIC);
    if (size > AT_VERSION && at[AT_VERSION] != GB_FRAME_VERSION)
        return gb_err_set(GB_EINVAL, "a frame of version %d: this side speaks %d", at[AT_VERSION],
                          GB_FRAME_VERSION);
    if (size < AT_CHECKSUM) return 0;
    uint32_t length, sum;
    memcpy(&length, at + AT_LENGTH, sizeof length);
    if (payload_bytes_max > GB_FRAME_PAYLOAD_BYTES_MAX)
        payload_bytes_max = GB_FRAME_PAYLOAD_BYTES_MAX;
    if (length > payload_bytes_max)
        return gb_err_set(GB_EINVAL, "a frame of %lu bytes: the limit is %zu",
                          (unsigned long)length, payload_bytes_max);
    if (size < GB_FRAME_HEADER_BYTES || size - GB_FRAME_HEADER_BYTES < length) return 0;
    memcpy(&sum, at + AT_CHECKSUM, sizeof sum);
    const uint8_t *payload = at + GB_FRAME_HEADER_BYTES;
    uint32_t found = checksum(at, payload, length);
    if (sum != found)
        return gb_err_set(GB_EINVAL, "a damaged frame: checksum 0x%08lx, computed 0x%08lx",
                          (unsigned long)sum, (unsigned long)found);
    *frame = (gb_frame){at[AT_KIND], at[AT_FLAGS], payload, length};
    return GB_FRAME_HEADER_BYTES + (int64_t)length;
}

void gb_frame_reader_init(gb_frame_reader *reader, gb_mem *mem, size_t payload_bytes_max)
{
    *reader = (gb_frame_reader){.payload_bytes_max = payload_bytes_max};
    gb_buf_init(&reader->buf, mem);
}

void gb_frame_reader_fini(gb_frame_reader *reader)
{
    gb_buf_fini(&reader->buf);
    reader->start = 0;
}

int gb_frame_reader_room(gb_frame_reader *reader, uint8_t **at, size_t *room)
{
    gb_buf *buf = &reader->buf;
    if (reader->start > 0) { /* what is left of the last frame moves to the front */
        buf->size -= reader->start;
        memmove(buf->data, buf->data + reader->start, buf->size);
        reader->start = 0;
    }
    if (buf->size == 0 && buf->room > GB_FRAME_KEEP_BYTES) gb_buf_fini(buf);
    int rc = gb_buf_reserve(buf, GB_FRAME_READ_BYTES_MIN);
    if (rc < 0) return rc;
    *at = buf->data + buf->size;
    *room = buf->room - buf->size;
    return 0;
}

void gb_frame_reader_came(gb_frame_reader *reader, size_t bytes)
{
    GB_CHECK(bytes <= reader->buf.room - reader->buf.size);
    reader->buf.size += bytes;
}

int gb_frame_reader_next(gb_frame_reader *reader, gb_frame *frame)
{
    if (reader->rc < 0) return reader->rc;
    size_t left = reader->buf.size - reader->start;
    if (left == 0) return 0;
    int64_t used =
        gb_frame_parse(reader->buf.data + reader->start, left, reader->payload_bytes_max, frame);
    if (used <= 0) return reader->rc = (int)used;
    reader->start += (size_t)used;
    return 1;
}
