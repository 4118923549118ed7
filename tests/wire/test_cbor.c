/* src/wire/cbor: the examples of RFC 8949 appendix A, random documents there and back, every
 * truncation, hostile lengths and failing memory. */
#include "wire/cbor.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

typedef struct {
    uint8_t bytes[64];
    size_t size;
} sample;

static sample from_hex(const char *hex)
{
    sample s = {.size = strlen(hex) / 2};
    assert_true(s.size <= sizeof s.bytes);
    for (size_t i = 0; i < s.size; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        s.bytes[i] = (uint8_t)byte;
    }
    return s;
}

static gb_cbor_token only(const char *hex, gb_cbor_kind kind)
{
    static const gb_cbor_token nothing;
    sample s = from_hex(hex);
    gb_cbor in;
    gb_cbor_token token = nothing, end = nothing;
    gb_cbor_init(&in, s.bytes, s.size);
    assert_int_equal(gb_cbor_next(&in, &token), 0);
    assert_int_equal(token.kind, kind);
    assert_int_equal(gb_cbor_next(&in, &end), 0);
    assert_int_equal(end.kind, GB_CBOR_END);
    return token;
}

static void written(gb_buf *out, const char *hex)
{
    sample s = from_hex(hex);
    assert_int_equal(out->size, s.size);
    assert_memory_equal(out->data, s.bytes, s.size);
    out->size = 0;
}

/* ---- RFC 8949 appendix A ---- */

static void test_rfc_integers(void **unused)
{
    static const struct {
        int64_t value;
        const char *hex;
    } rows[] = {
        {0, "00"},
        {1, "01"},
        {10, "0a"},
        {23, "17"},
        {24, "1818"},
        {25, "1819"},
        {100, "1864"},
        {1000, "1903e8"},
        {1000000, "1a000f4240"},
        {1000000000000, "1b000000e8d4a51000"},
        {-1, "20"},
        {-10, "29"},
        {-100, "3863"},
        {-1000, "3903e7"},
        {INT64_MAX, "1b7fffffffffffffff"},
        {INT64_MIN, "3b7fffffffffffffff"},
    };
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(only(rows[i].hex, GB_CBOR_INT).integer == rows[i].value);
        assert_int_equal(gb_cbor_put_int(&out, rows[i].value), 0);
        written(&out, rows[i].hex);
        if (rows[i].value < 0) continue;
        assert_int_equal(gb_cbor_put_uint(&out, (uint64_t)rows[i].value), 0);
        written(&out, rows[i].hex);
    }
    assert_true(only("1bffffffffffffffff", GB_CBOR_UINT).natural == UINT64_MAX);
    assert_int_equal(gb_cbor_put_uint(&out, UINT64_MAX), 0);
    written(&out, "1bffffffffffffffff");
    assert_true(only("1b8000000000000000", GB_CBOR_UINT).natural == (uint64_t)1 << 63);
    assert_true(only("1b0000000000000001", GB_CBOR_INT).integer == 1); /* not the shortest */
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

static void test_rfc_floats(void **unused)
{
    static const struct {
        double value;
        const char *hex;
    } rows[] = {
        {0.0, "f90000"},
        {1.0, "f93c00"},
        {1.5, "f93e00"},
        {65504.0, "f97bff"},
        {5.960464477539063e-8, "f90001"},
        {0.00006103515625, "f90400"},
        {-4.0, "f9c400"},
        {100000.0, "fa47c35000"},
        {3.4028234663852886e+38, "fa7f7fffff"},
        {1.1, "fb3ff199999999999a"},
        {1.0e+300, "fb7e37e43c8800759c"},
        {-4.1, "fbc010666666666666"},
        {INFINITY, "f97c00"},
        {-INFINITY, "f9fc00"},
        {INFINITY, "fa7f800000"},
        {-INFINITY, "faff800000"},
        {INFINITY, "fb7ff0000000000000"},
        {-INFINITY, "fbfff0000000000000"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(only(rows[i].hex, GB_CBOR_DOUBLE).number == rows[i].value);
    double zero = only("f98000", GB_CBOR_DOUBLE).number;
    assert_true(zero == 0 && signbit(zero));
    assert_true(isnan(only("f97e00", GB_CBOR_DOUBLE).number));
    assert_true(isnan(only("fa7fc00000", GB_CBOR_DOUBLE).number));
    assert_true(isnan(only("fb7ff8000000000000", GB_CBOR_DOUBLE).number));

    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    assert_int_equal(gb_cbor_put_double(&out, 1.1), 0);
    written(&out, "fb3ff199999999999a");
    assert_int_equal(gb_cbor_put_double(&out, -0.0), 0);
    written(&out, "fb8000000000000000");
    assert_int_equal(gb_cbor_put_double(&out, 3), 0); /* whole, and still a double */
    written(&out, "fb4008000000000000");
    uint64_t odd = 0x7ff80000deadbeefu; /* a NaN with a payload keeps its bits */
    double nan_in, nan_out;
    memcpy(&nan_in, &odd, 8);
    assert_int_equal(gb_cbor_put_double(&out, nan_in), 0);
    written(&out, "fb7ff80000deadbeef");
    nan_out = only("fb7ff80000deadbeef", GB_CBOR_DOUBLE).number;
    assert_memory_equal(&nan_out, &odd, 8);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

static void test_rfc_simple_and_strings(void **unused)
{
    assert_false(only("f4", GB_CBOR_BOOL).boolean);
    assert_true(only("f5", GB_CBOR_BOOL).boolean);
    only("f6", GB_CBOR_NIL);
    only("f7", GB_CBOR_NIL); /* undefined: nil is the nearest */
    sample s = from_hex("6449455446");
    gb_cbor in;
    gb_cbor_token token;
    gb_cbor_init(&in, s.bytes, s.size);
    assert_int_equal(gb_cbor_next(&in, &token), 0);
    assert_int_equal(token.kind, GB_CBOR_TEXT);
    assert_ptr_equal(token.bytes, s.bytes + 1); /* borrowed from the input */
    assert_int_equal(token.size, 4);
    assert_memory_equal(token.bytes, "IETF", 4);
    assert_int_equal(only("40", GB_CBOR_BYTES).size, 0);
    assert_int_equal(only("4401020304", GB_CBOR_BYTES).size, 4);
    assert_int_equal(only("60", GB_CBOR_TEXT).size, 0);
    assert_int_equal(only("62c3bc", GB_CBOR_TEXT).size, 2);

    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    gb_cbor_put_nil(&out);
    gb_cbor_put_bool(&out, true);
    gb_cbor_put_bool(&out, false);
    gb_cbor_put_text(&out, "a", 1);
    gb_cbor_put_text(&out, "\"\\", 2);
    gb_cbor_put_bytes(&out, "\1\2\3\4", 4);
    gb_cbor_put_text(&out, NULL, 0);
    written(&out, "f6f5f46161"
                  "62225c"
                  "4401020304"
                  "60");
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

static void test_rfc_containers(void **unused)
{
    /* {"a": 1, "b": [2, 3]}, 1(1363896240) and 23(h'01020304'). */
    sample s = from_hex("a26161016162820203c11a514b67b0d74401020304");
    static const gb_cbor_kind kinds[] = {GB_CBOR_MAP,  GB_CBOR_TEXT, GB_CBOR_INT,   GB_CBOR_TEXT,
                                         GB_CBOR_LIST, GB_CBOR_INT,  GB_CBOR_INT,   GB_CBOR_TAG,
                                         GB_CBOR_INT,  GB_CBOR_TAG,  GB_CBOR_BYTES, GB_CBOR_END};
    static const uint64_t values[] = {2, 0, 1, 0, 2, 2, 3, 1, 1363896240, 23, 0, 0};
    gb_cbor in;
    gb_cbor_token token;
    gb_cbor_init(&in, s.bytes, s.size);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        assert_int_equal(gb_cbor_next(&in, &token), 0);
        assert_int_equal(token.kind, kinds[i]);
        if (values[i]) assert_true(token.natural == values[i]);
    }
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    gb_cbor_put_map(&out, 2);
    gb_cbor_put_text(&out, "a", 1);
    gb_cbor_put_int(&out, 1);
    gb_cbor_put_text(&out, "b", 1);
    gb_cbor_put_list(&out, 2);
    gb_cbor_put_int(&out, 2);
    gb_cbor_put_int(&out, 3);
    gb_cbor_put_tag(&out, 1);
    gb_cbor_put_int(&out, 1363896240);
    gb_cbor_put_tag(&out, 23);
    gb_cbor_put_bytes(&out, "\1\2\3\4", 4);
    written(&out, "a26161016162820203c11a514b67b0d74401020304");
    gb_cbor_put_list(&out, 25);
    gb_cbor_put_list(&out, 0);
    gb_cbor_put_map(&out, 0);
    gb_cbor_put_tag(&out, 32);
    written(&out, "9819"
                  "80"
                  "a0"
                  "d820");
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

/* ---- refusals ---- */

static void refused(const char *hex, const char *why)
{
    sample s = from_hex(hex);
    gb_cbor in;
    gb_cbor_token token;
    gb_cbor_init(&in, s.bytes, s.size);
    assert_int_equal(gb_cbor_next(&in, &token), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), why));
    assert_non_null(strstr(gb_err_detail(), "at offset 0"));
    gb_err_set(0, "%s", "");
    assert_int_equal(gb_cbor_next(&in, &token), GB_EINVAL); /* stays failed */
    assert_int_equal(gb_cbor_skip(&in, 8), GB_EINVAL);
    assert_int_equal(in.rc, GB_EINVAL);
}

static void test_refused(void **unused)
{
    static const char *const indefinite[] = {"5f42010243030405ff", "7f657374726561646d696e67ff",
                                             "9fff", "bf61610161629f0203ffff"};
    for (size_t i = 0; i < 4; i++) refused(indefinite[i], "indefinite");
    refused("ff", "stop code");
    refused("f0", "unassigned");
    refused("f8ff", "unassigned");
    refused("fc", "unassigned");
    refused("1c", "reserved");
    refused("5e", "reserved");
    refused("3bffffffffffffffff", "below -2^63");
    refused("3b8000000000000000", "below -2^63");
    refused("18", "truncated");
    refused("1a0000", "truncated");
    refused("fb00", "truncated");
    /* Lengths that the bytes left cannot hold. */
    refused("5bffffffffffffffff00", "string longer");
    refused("7b7fffffffffffffff", "string longer");
    refused("42ff", "string longer");
    refused("9bffffffffffffffff00", "list longer");
    refused("8200", "list longer");
    refused("bb7fffffffffffffff00", "map longer");
    refused("bbffffffffffffffff00", "map longer");
    refused("a20000", "map longer"); /* 2 pairs need 4 bytes, 2 are there */
}

static void test_offset_in_detail(void **unused)
{
    sample s = from_hex("830142ff");
    gb_cbor in;
    gb_cbor_token token;
    gb_cbor_init(&in, s.bytes, s.size);
    assert_int_equal(gb_cbor_next(&in, &token), 0);
    assert_int_equal(gb_cbor_next(&in, &token), 0);
    assert_int_equal(gb_cbor_next(&in, &token), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "at offset 2"));
}

static void test_skip_depth(void **unused)
{
    uint8_t nested[100];
    gb_cbor in;
    for (int depth = 0; depth < 99; depth++) {
        memset(nested, depth % 2 ? 0x81 : 0xc1, sizeof nested); /* lists or tags of one item */
        nested[depth] = 0;
        gb_cbor_init(&in, nested, (size_t)depth + 1);
        assert_int_equal(gb_cbor_skip(&in, depth), 0);
        assert_ptr_equal(in.at, in.end);
        gb_cbor_init(&in, nested, (size_t)depth + 1);
        assert_int_equal(gb_cbor_skip(&in, depth - 1), depth ? GB_EINVAL : 0);
        gb_cbor_init(&in, nested, (size_t)depth); /* the item is missing */
        assert_int_equal(gb_cbor_skip(&in, depth + 1), GB_EINVAL);
    }
}

/* ---- typed arrays ---- */

static const gb_cbor_element elements[] = {
    GB_CBOR_UINT8, GB_CBOR_UINT16, GB_CBOR_UINT32, GB_CBOR_UINT64,  GB_CBOR_INT8,
    GB_CBOR_INT16, GB_CBOR_INT32,  GB_CBOR_INT64,  GB_CBOR_FLOAT32, GB_CBOR_FLOAT64};
static const int element_sizes[] = {1, 2, 4, 8, 1, 2, 4, 8, 4, 8};

static void test_typed_arrays(void **unused)
{
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    uint8_t data[512];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < 10; i++) {
        size_t each = (size_t)gb_cbor_element_bytes(elements[i]);
        assert_int_equal(each, element_sizes[i]);
        for (size_t count = 0; count <= 64; count++) {
            out.size = 0;
            assert_int_equal(gb_cbor_put_array(&out, elements[i], count), 0);
            assert_true(out.room - out.size >= count * each); /* the copy cannot fail */
            assert_int_equal(gb_buf_put(&out, data, count * each), 0);
            gb_cbor in;
            gb_cbor_token token;
            const void *bytes;
            size_t found;
            gb_cbor_init(&in, out.data, out.size);
            assert_int_equal(gb_cbor_next(&in, &token), 0);
            assert_int_equal(token.kind, GB_CBOR_TAG);
            assert_true(token.natural == (uint64_t)elements[i]);
            assert_int_equal(gb_cbor_read_array(&in, token.natural, &bytes, &found), 0);
            assert_int_equal(found, count);
            assert_memory_equal(bytes, data, count * each);
            assert_ptr_equal(in.at, in.end);
        }
    }
    for (unsigned tag = 0; tag < 256; tag++) {
        int known = 0;
        for (size_t i = 0; i < 10; i++) known |= tag == (unsigned)elements[i];
        assert_int_equal(gb_cbor_element_bytes((gb_cbor_element)tag) != 0, known);
    }
    out.size = 0; /* RFC 8746 3.1: the tag of sint16 little-endian is 77 */
    gb_cbor_put_array(&out, GB_CBOR_INT16, 2);
    written(&out, "d84d44");
    assert_int_equal(gb_cbor_put_array(&out, GB_CBOR_FLOAT64, UINT64_MAX), GB_ENOMEM);
    assert_int_equal(gb_cbor_put_array(&out, GB_CBOR_FLOAT64, UINT64_MAX / 8 + 2), GB_ENOMEM);
    assert_int_equal(out.size, 0);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

static void test_typed_array_refusals(void **unused)
{
    static const struct {
        const char *hex;
        const char *why;
    } rows[] = {
        {"d84643010203", "a part of an element"},
        {"d8464400", "string longer"},
        {"d84600", "without a byte string"},
        {"d8466401020304", "without a byte string"},
        {"d846", "without a byte string"},
        {"d8414101", "no typed array"}, /* uint16 big-endian: not ours */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sample s = from_hex(rows[i].hex);
        gb_cbor in;
        gb_cbor_token token;
        const void *bytes;
        size_t count;
        gb_cbor_init(&in, s.bytes, s.size);
        assert_int_equal(gb_cbor_next(&in, &token), 0);
        assert_int_equal(gb_cbor_read_array(&in, token.natural, &bytes, &count), GB_EINVAL);
        assert_non_null(strstr(gb_err_detail(), rows[i].why));
        assert_int_equal(gb_cbor_next(&in, &token), GB_EINVAL);
    }
}

/* ---- properties ---- */

/* Writes a random item and notes the tokens that must come back. */
typedef struct {
    gb_cbor_token tokens[4096];
    size_t count;
    uint8_t letters[70000]; /* what strings are made of */
} expected;

static expected *expected_new(seed *s)
{
    expected *e = calloc(1, sizeof *e);
    for (size_t i = 0; i < sizeof e->letters; i++) e->letters[i] = (uint8_t)seed_next(s);
    return e;
}

static void note(expected *e, gb_cbor_token token)
{
    assert_true(e->count < 4096);
    e->tokens[e->count++] = token;
}

static void random_item(seed *s, gb_buf *out, expected *e, int depth)
{
    gb_cbor_token t = {.kind = (gb_cbor_kind)(GB_CBOR_NIL + seed_below(s, depth > 0 ? 10 : 7))};
    uint64_t children = 0;
    switch (t.kind) {
    case GB_CBOR_NIL:
        assert_int_equal(gb_cbor_put_nil(out), 0);
        break;
    case GB_CBOR_BOOL:
        t.boolean = seed_below(s, 2);
        assert_int_equal(gb_cbor_put_bool(out, t.boolean), 0);
        break;
    case GB_CBOR_INT:
        t.integer = (int64_t)(seed_wide(s) ^ (seed_below(s, 2) ? UINT64_MAX : 0));
        assert_int_equal(gb_cbor_put_int(out, t.integer), 0);
        break;
    case GB_CBOR_UINT:
        t.natural = seed_next(s) | (uint64_t)1 << 63;
        assert_int_equal(gb_cbor_put_uint(out, t.natural), 0);
        break;
    case GB_CBOR_DOUBLE:
        t.natural = seed_next(s); /* any bits, NaN too */
        assert_int_equal(gb_cbor_put_double(out, t.number), 0);
        break;
    case GB_CBOR_BYTES:
    case GB_CBOR_TEXT:
        t.size = seed_below(s, 40) == 0 ? seed_below(s, 65537) : seed_below(s, 30);
        t.bytes = e->letters + seed_below(s, sizeof e->letters - t.size);
        assert_int_equal(
            (t.kind == GB_CBOR_TEXT ? gb_cbor_put_text : gb_cbor_put_bytes)(out, t.bytes, t.size),
            0);
        break;
    case GB_CBOR_TAG:
        t.natural = seed_wide(s);
        children = 1;
        assert_int_equal(gb_cbor_put_tag(out, t.natural), 0);
        break;
    default:
        t.natural = seed_below(s, 5);
        children = t.kind == GB_CBOR_MAP ? t.natural * 2 : t.natural;
        assert_int_equal(
            (t.kind == GB_CBOR_MAP ? gb_cbor_put_map : gb_cbor_put_list)(out, t.natural), 0);
    }
    note(e, t);
    while (children-- > 0) random_item(s, out, e, depth - 1);
}

static bool same(const gb_cbor_token *a, const gb_cbor_token *b)
{
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case GB_CBOR_NIL:
        return true;
    case GB_CBOR_BOOL:
        return a->boolean == b->boolean;
    case GB_CBOR_BYTES:
    case GB_CBOR_TEXT:
        return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
    default:
        return a->natural == b->natural; /* the bits of the number too */
    }
}

static void test_random_documents(void **unused)
{
    seed s = seed_start("wire.cbor documents");
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    expected *e = expected_new(&s);
    for (int round = 0; round < 20000; round++) {
        out.size = e->count = 0;
        random_item(&s, &out, e, 5);
        gb_cbor in;
        gb_cbor_init(&in, out.data, out.size);
        for (size_t i = 0; i < e->count; i++) {
            gb_cbor_token token;
            assert_int_equal(gb_cbor_next(&in, &token), 0);
            assert_true(same(&token, &e->tokens[i]));
        }
        assert_ptr_equal(in.at, in.end);
        gb_cbor_init(&in, out.data, out.size);
        assert_int_equal(gb_cbor_skip(&in, 5), 0);
        assert_ptr_equal(in.at, in.end);
    }
    free(e);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

/* A document cut anywhere fails and reads nothing behind the cut (each cut is a block of its own,
 * so that the address sanitizer sees a read too far). */
static void test_truncations(void **unused)
{
    seed s = seed_start("wire.cbor truncations");
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    expected *e = expected_new(&s);
    for (int round = 0; round < 400; round++) {
        do {
            out.size = e->count = 0;
            random_item(&s, &out, e, 4);
        } while (out.size > 400);
        for (size_t size = 0; size < out.size; size++) {
            uint8_t *cut = malloc(size ? size : 1);
            memcpy(cut, out.data, size);
            gb_cbor in;
            gb_cbor_init(&in, cut, size);
            assert_int_equal(gb_cbor_skip(&in, 4), GB_EINVAL);
            free(cut);
        }
    }
    free(e);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

static void test_no_memory(void **unused)
{
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 100);
    gb_buf_init(&out, &mem);
    size_t before = 0;
    int rc = 0;
    while (rc == 0) {
        before = out.size;
        rc = gb_cbor_put_text(&out, "0123456789", 10);
    }
    assert_int_equal(rc, GB_ENOMEM);
    assert_int_equal(out.size, before); /* a failed put leaves nothing behind */
    out.size = out.room;
    assert_int_equal(gb_cbor_put_nil(&out), GB_ENOMEM);
    assert_int_equal(gb_cbor_put_int(&out, 1), GB_ENOMEM);
    assert_int_equal(gb_cbor_put_double(&out, 1), GB_ENOMEM);
    assert_int_equal(gb_cbor_put_array(&out, GB_CBOR_INT8, 100), GB_ENOMEM);
    assert_int_equal(out.size, out.room);
    out.size = 0; /* with room left, a size that wraps must still be refused */
    assert_int_equal(gb_cbor_put_bytes(&out, "", SIZE_MAX - 4), GB_ENOMEM);
    assert_int_equal(out.size, 0);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_integers),
        cmocka_unit_test(test_rfc_floats),
        cmocka_unit_test(test_rfc_simple_and_strings),
        cmocka_unit_test(test_rfc_containers),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_offset_in_detail),
        cmocka_unit_test(test_skip_depth),
        cmocka_unit_test(test_typed_arrays),
        cmocka_unit_test(test_typed_array_refusals),
        cmocka_unit_test(test_random_documents),
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
