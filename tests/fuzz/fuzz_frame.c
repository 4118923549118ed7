/* Any bytes in any pieces: the incremental reader finds the frames that a parse of the whole finds,
 * ends with the same verdict, and holds no more memory than the bytes justify. The first input byte
 * chooses the pieces. */
#include "fuzz.h"

#include "base/check.h"
#include "wire/frame.h"

#include <string.h>

enum { LIMIT = 2048 };

/* Takes all frames that are there and compares each with the next one of the whole. */
static int take(gb_frame_reader *reader, const uint8_t *whole, size_t size, size_t *at)
{
    gb_frame piece, frame;
    int rc;
    while ((rc = gb_frame_reader_next(reader, &piece)) == 1) {
        int64_t used = gb_frame_parse(whole + *at, size - *at, LIMIT, &frame);
        GB_CHECK(used == (int64_t)(frame.size + GB_FRAME_HEADER_BYTES) && frame.size <= LIMIT);
        GB_CHECK(piece.kind == frame.kind && piece.flags == frame.flags);
        GB_CHECK(piece.size == frame.size);
        GB_CHECK(frame.size == 0 || memcmp(piece.payload, frame.payload, frame.size) == 0);
        *at += (size_t)used;
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    seed s = {data[0]};
    data++;
    size--;
    gb_mem mem;
    gb_frame_reader reader;
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_frame_reader_init(&reader, &mem, LIMIT);
    size_t at = 0;
    int rc = 0;
    for (size_t fed = 0; fed < size && rc == 0;) {
        uint8_t *into;
        size_t room, piece = 1 + seed_below(&s, 1 + seed_below(&s, 300));
        if (piece > size - fed) piece = size - fed;
        GB_CHECK(gb_frame_reader_room(&reader, &into, &room) == 0 && room >= piece);
        memcpy(into, data + fed, piece);
        gb_frame_reader_came(&reader, piece);
        fed += piece;
        GB_CHECK(atomic_load(&mem.bytes) <= (int64_t)(2 * (fed + GB_FRAME_READ_BYTES_MIN)));
        rc = take(&reader, data, size, &at);
    }
    gb_frame frame;
    int64_t rest = gb_frame_parse(data + at, size - at, LIMIT, &frame);
    GB_CHECK(rest == rc); /* 0 for both, or the same error */
    gb_frame_reader_fini(&reader);
    gb_mem_fini(&mem);
    return 0;
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    gb_mem mem;
    gb_buf buf;
    uint8_t payload[LIMIT], first = (uint8_t)seed_next(s);
    memset(payload, first, sizeof payload);
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&buf, &mem);
    gb_buf_put(&buf, &first, 1);
    for (uint64_t frames = seed_below(s, 5); frames > 0; frames--)
        gb_frame_put(&buf, (uint8_t)frames, first, payload,
                     seed_below(s, seed_below(s, 4) ? 50 : LIMIT));
    size_t size = buf.size < room ? buf.size : room;
    memcpy(out, buf.data, size);
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
    return size;
}
