/* src/wire/frame: there and back in any pieces, every truncation, every flipped bit, bad fields,
 * and that memory follows the bytes that came. */
#include "wire/frame.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

enum { LIMIT = 1 << 20 };

typedef struct {
    gb_mem mem;
    gb_buf out;
    gb_frame_reader reader;
} world;

static int setup(void **state)
{
    world *w = calloc(1, sizeof *w);
    gb_mem_init(&w->mem, "test", NULL, 0);
    gb_buf_init(&w->out, &w->mem);
    gb_frame_reader_init(&w->reader, &w->mem, LIMIT);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    gb_frame_reader_fini(&w->reader);
    gb_buf_fini(&w->out);
    gb_mem_fini(&w->mem);
    free(w);
    return 0;
}

static void feed(world *w, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    while (size > 0) {
        uint8_t *at;
        size_t room;
        assert_int_equal(gb_frame_reader_room(&w->reader, &at, &room), 0);
        assert_true(room >= GB_FRAME_READ_BYTES_MIN);
        if (room > size) room = size;
        memcpy(at, from, room);
        gb_frame_reader_came(&w->reader, room);
        from += room;
        size -= room;
    }
}

static void test_layout(void **state)
{
    world *w = *state;
    assert_int_equal(gb_frame_put(&w->out, 7, 0x21, "hello", 5), 0);
    assert_int_equal(w->out.size, GB_FRAME_HEADER_BYTES + 5);
    static const uint8_t head[] = {0xb6, 1, 7, 0x21, 5, 0, 0, 0};
    assert_memory_equal(w->out.data, head, sizeof head);
    assert_memory_equal(w->out.data + GB_FRAME_HEADER_BYTES, "hello", 5);
    gb_frame frame;
    assert_int_equal(gb_frame_parse(w->out.data, w->out.size, LIMIT, &frame), 17);
    assert_int_equal(frame.kind, 7);
    assert_int_equal(frame.flags, 0x21);
    assert_int_equal(frame.size, 5);
    assert_ptr_equal(frame.payload, w->out.data + GB_FRAME_HEADER_BYTES);

    uint8_t header[GB_FRAME_HEADER_BYTES]; /* the header alone is the same */
    assert_int_equal(gb_frame_header(header, 7, 0x21, "hello", 5), 0);
    assert_memory_equal(header, w->out.data, sizeof header);
}

static void test_in_place(void **state)
{
    world *w = *state;
    gb_frame frame;
    size_t mark, first;
    assert_int_equal(gb_frame_put(&w->out, 1, 0, NULL, 0), 0);
    first = w->out.size;
    assert_int_equal(gb_frame_begin(&w->out, &mark), 0);
    for (int i = 0; i < 1000; i++) assert_int_equal(gb_buf_put(&w->out, "0123456789", 10), 0);
    assert_int_equal(gb_frame_end(&w->out, mark, 2, 3), 0);
    assert_int_equal(gb_frame_parse(w->out.data, w->out.size, LIMIT, &frame), first);
    assert_int_equal(frame.size, 0);
    assert_int_equal(gb_frame_parse(w->out.data + first, w->out.size - first, LIMIT, &frame),
                     10000 + GB_FRAME_HEADER_BYTES);
    assert_int_equal(frame.kind, 2);
    assert_int_equal(frame.size, 10000);

    size_t before = w->out.size;
    assert_int_equal(gb_frame_begin(&w->out, &mark), 0);
    gb_frame_drop(&w->out, mark);
    assert_int_equal(w->out.size, before);
}

static void test_truncated_is_need_more(void **state)
{
    world *w = *state;
    gb_frame frame;
    assert_int_equal(gb_frame_put(&w->out, 1, 2, "some payload", 12), 0);
    for (size_t size = 0; size < w->out.size; size++) {
        uint8_t *cut = malloc(size ? size : 1); /* a block of its own: a read too far is seen */
        memcpy(cut, w->out.data, size);
        assert_int_equal(gb_frame_parse(cut, size, LIMIT, &frame), 0);
        free(cut);
    }
}

static void test_bad_fields(void **state)
{
    world *w = *state;
    static const struct {
        size_t at;
        uint8_t value;
        size_t judged; /* the bytes that are needed to see it */
        const char *why;
    } rows[] = {
        {0, 'G', 1, "not a frame: magic 0x47"},
        {1, 2, 2, "a frame of version 2: this side speaks 1"},
        {6, 0x20, 8, "the limit is 1048576"},
        {7, 0xff, 8, "the limit is 1048576"},
        {2, 9, 17, "damaged"},
        {3, 9, 17, "damaged"},
        {8, 0, 17, "damaged"},
        {12, 'j', 17, "damaged"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gb_frame frame;
        w->out.size = 0;
        assert_int_equal(gb_frame_put(&w->out, 1, 2, "hello", 5), 0);
        w->out.data[rows[i].at] = rows[i].at == 8 ? (uint8_t)~w->out.data[8] : rows[i].value;
        for (size_t size = 0; size <= w->out.size; size++) {
            int64_t rc = gb_frame_parse(w->out.data, size, LIMIT, &frame);
            assert_int_equal(rc, size < rows[i].judged ? 0 : GB_EINVAL);
            if (rc < 0) assert_non_null(strstr(gb_err_detail(), rows[i].why));
        }
        gb_frame_reader_fini(&w->reader);
        gb_frame_reader_init(&w->reader, &w->mem, LIMIT);
        feed(w, w->out.data, w->out.size);
        assert_int_equal(gb_frame_reader_next(&w->reader, &frame), GB_EINVAL);
        assert_int_equal(gb_frame_reader_next(&w->reader, &frame), GB_EINVAL); /* stays */
    }
}

static void test_limits(void **state)
{
    world *w = *state;
    gb_frame frame;
    assert_int_equal(gb_frame_put(&w->out, 1, 2, "hello", 5), 0);
    assert_int_equal(gb_frame_parse(w->out.data, w->out.size, 5, &frame), 17);
    assert_int_equal(gb_frame_parse(w->out.data, w->out.size, 4, &frame), GB_EINVAL);
    size_t before = w->out.size;
    assert_int_equal(gb_frame_put(&w->out, 1, 2, "", (size_t)GB_FRAME_PAYLOAD_BYTES_MAX + 1),
                     GB_EINVAL);
    assert_int_equal(w->out.size, before);
    /* A length over every limit is refused when the caller sets none. */
    static const uint8_t huge[] = {0xb6, 1, 0, 0, 1, 0, 0, 0x40, 0, 0, 0, 0};
    assert_int_equal(gb_frame_parse(huge, sizeof huge, SIZE_MAX, &frame), GB_EINVAL);
}

static void test_every_flipped_bit(void **state)
{
    world *w = *state;
    gb_frame frame;
    assert_int_equal(gb_frame_put(&w->out, 1, 2, "a payload of more than 32 bytes, so stripes", 43),
                     0);
    for (size_t bit = 0; bit < w->out.size * 8; bit++) {
        w->out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(gb_frame_parse(w->out.data, w->out.size, LIMIT, &frame) <= 0);
        w->out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Random frames, cut into random pieces: what comes out is what went in. */
static void test_random_pieces(void **state)
{
    world *w = *state;
    seed s = seed_start("wire.frame pieces");
    enum { FRAMES = 3000, BYTES_MAX = 200000 };
    uint8_t *data = malloc(BYTES_MAX);
    size_t *sizes = calloc(FRAMES, sizeof *sizes), *froms = calloc(FRAMES, sizeof *froms);
    for (size_t i = 0; i < BYTES_MAX; i++) data[i] = (uint8_t)seed_next(&s);
    for (size_t i = 0; i < FRAMES; i++) {
        sizes[i] = seed_below(&s, seed_below(&s, 100) == 0 ? BYTES_MAX : 100);
        froms[i] = seed_below(&s, BYTES_MAX - sizes[i]);
        assert_int_equal(
            gb_frame_put(&w->out, (uint8_t)i, (uint8_t)(i >> 8), data + froms[i], sizes[i]), 0);
    }
    size_t taken = 0, at = 0;
    while (at < w->out.size) {
        size_t piece = 1 + seed_below(&s, seed_below(&s, 10) == 0 ? 100000 : 60);
        if (piece > w->out.size - at) piece = w->out.size - at;
        feed(w, w->out.data + at, piece);
        at += piece;
        gb_frame frame;
        int rc;
        while ((rc = gb_frame_reader_next(&w->reader, &frame)) == 1) {
            assert_true(taken < FRAMES);
            assert_int_equal(frame.kind, taken & 255);
            assert_int_equal(frame.flags, taken >> 8);
            assert_int_equal(frame.size, sizes[taken]);
            if (frame.size) assert_memory_equal(frame.payload, data + froms[taken], frame.size);
            taken++;
        }
        assert_int_equal(rc, 0);
    }
    assert_int_equal(taken, FRAMES);
    free(data);
    free(sizes);
    free(froms);
}

/* A header that promises a megabyte, and then a trickle. */
static void test_memory_follows_bytes(void **state)
{
    world *w = *state;
    uint8_t *payload = calloc(1, LIMIT);
    assert_int_equal(gb_frame_put(&w->out, 1, 0, payload, LIMIT), 0);
    int64_t own = atomic_load(&w->mem.bytes);
    gb_frame frame;
    size_t at = 0;
    while (at < w->out.size) {
        assert_int_equal(gb_frame_reader_next(&w->reader, &frame), 0);
        size_t piece = w->out.size - at < 1000 ? w->out.size - at : 1000;
        feed(w, w->out.data + at, piece);
        at += piece;
        assert_true(atomic_load(&w->mem.bytes) - own <=
                    (int64_t)(2 * (at + GB_FRAME_READ_BYTES_MIN)));
    }
    assert_int_equal(gb_frame_reader_next(&w->reader, &frame), 1);
    assert_int_equal(frame.size, LIMIT);
    uint8_t *room;
    size_t bytes;
    assert_int_equal(gb_frame_reader_room(&w->reader, &room, &bytes), 0);
    assert_true(atomic_load(&w->mem.bytes) - own <= 2 * GB_FRAME_READ_BYTES_MIN);
    free(payload);
}

static void test_no_memory(void **state)
{
    world *w = *state;
    uint8_t *at;
    size_t room, mark;
    atomic_store(&w->mem.fail_at, 1);
    assert_int_equal(gb_frame_reader_room(&w->reader, &at, &room), GB_ENOMEM);
    atomic_store(&w->mem.fail_at, 1);
    assert_int_equal(gb_frame_begin(&w->out, &mark), GB_ENOMEM);
    atomic_store(&w->mem.fail_at, 1);
    assert_int_equal(gb_frame_put(&w->out, 1, 1, "x", 1), GB_ENOMEM);
    assert_int_equal(w->out.size, 0);
    assert_int_equal(gb_frame_reader_room(&w->reader, &at, &room), 0); /* and then it works */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncated_is_need_more, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_flipped_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_follows_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
