/* Any bytes: the reader stays inside them, moves on with every token, and what it read is written
 * and read again as the same tokens. */
#include "fuzz.h"

#include "base/check.h"
#include "wire/cbor.h"

#include <string.h>

enum { DEPTH_MAX = 64 };

static void check_inside(const gb_cbor *in, const gb_cbor_token *token)
{
    uint64_t left = (uint64_t)(in->end - in->at);
    GB_CHECK(in->at > in->start && in->at <= in->end);
    if (token->kind == GB_CBOR_BYTES || token->kind == GB_CBOR_TEXT)
        GB_CHECK(token->bytes > in->start && token->bytes + token->size == in->at);
    if (token->kind == GB_CBOR_LIST) GB_CHECK(token->natural <= left);
    if (token->kind == GB_CBOR_MAP) GB_CHECK(token->natural <= left / 2);
    if (token->kind == GB_CBOR_UINT) GB_CHECK(token->natural > INT64_MAX);
}

static void put(gb_buf *out, const gb_cbor_token *token)
{
    int rc = 0;
    switch (token->kind) {
    case GB_CBOR_END:
        break;
    case GB_CBOR_NIL:
        rc = gb_cbor_put_nil(out);
        break;
    case GB_CBOR_BOOL:
        rc = gb_cbor_put_bool(out, token->boolean);
        break;
    case GB_CBOR_INT:
        rc = gb_cbor_put_int(out, token->integer);
        break;
    case GB_CBOR_UINT:
        rc = gb_cbor_put_uint(out, token->natural);
        break;
    case GB_CBOR_DOUBLE:
        rc = gb_cbor_put_double(out, token->number);
        break;
    case GB_CBOR_BYTES:
        rc = gb_cbor_put_bytes(out, token->bytes, token->size);
        break;
    case GB_CBOR_TEXT:
        rc = gb_cbor_put_text(out, token->bytes, token->size);
        break;
    case GB_CBOR_LIST:
        rc = gb_cbor_put_list(out, token->natural);
        break;
    case GB_CBOR_MAP:
        rc = gb_cbor_put_map(out, token->natural);
        break;
    case GB_CBOR_TAG:
        rc = gb_cbor_put_tag(out, token->natural);
        break;
    }
    GB_CHECK(rc == 0);
}

static bool same(const gb_cbor_token *a, const gb_cbor_token *b)
{
    if (a->kind != b->kind) return false;
    if (a->kind == GB_CBOR_NIL) return true;
    if (a->kind == GB_CBOR_BOOL) return a->boolean == b->boolean;
    if (a->kind == GB_CBOR_BYTES || a->kind == GB_CBOR_TEXT)
        return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
    return a->natural == b->natural;
}

static void check_array(const gb_cbor *in, uint64_t tag)
{
    gb_cbor probe = *in;
    const void *bytes;
    size_t count;
    if (gb_cbor_read_array(&probe, tag, &bytes, &count) < 0) return;
    int each = gb_cbor_element_bytes((gb_cbor_element)tag);
    GB_CHECK(each > 0 && (const uint8_t *)bytes + count * (size_t)each == probe.at);
}

static void check_again(const gb_buf *out, const uint8_t *data, size_t size)
{
    gb_cbor first, second;
    gb_cbor_init(&first, data, size);
    gb_cbor_init(&second, out->data, out->size);
    for (;;) {
        gb_cbor_token a, b;
        GB_CHECK(gb_cbor_next(&second, &b) == 0);
        if (b.kind == GB_CBOR_END) break;
        GB_CHECK(gb_cbor_next(&first, &a) == 0 && same(&a, &b));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gb_mem mem;
    gb_buf out;
    gb_cbor in;
    gb_cbor_token token;
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&out, &mem);
    gb_cbor_init(&in, data, size);
    size_t whole = 0;
    while (gb_cbor_next(&in, &token) == 0 && token.kind != GB_CBOR_END) {
        check_inside(&in, &token);
        put(&out, &token);
        if (token.kind == GB_CBOR_TAG) check_array(&in, token.natural);
    }
    bool well_formed = in.rc == 0;
    whole = (size_t)(in.at - data);
    GB_CHECK(whole <= size && (!well_formed || whole == size));
    /* Written again, counts may stand before fewer bytes (long heads become short), so only a
     * document whose items are all there must read the same. */
    gb_cbor_init(&in, data, size);
    if (gb_cbor_skip(&in, DEPTH_MAX) == 0 && well_formed && in.at == in.end)
        check_again(&out, data, size);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
    return 0;
}

static void sample(seed *s, gb_buf *out, int depth)
{
    static const uint8_t elements[] = {64, 69, 70, 71, 72, 77, 78, 79, 85, 86};
    uint64_t count = seed_below(s, 5);
    switch (seed_below(s, depth > 0 ? 9 : 6)) {
    case 0:
        gb_cbor_put_int(out, (int64_t)seed_wide(s));
        break;
    case 1:
        gb_cbor_put_int(out, -(int64_t)(seed_wide(s) >> 1));
        break;
    case 2:
        gb_cbor_put_double(out, (double)seed_wide(s) / 3);
        break;
    case 3:
        gb_cbor_put_text(out, "a text string of forty-two bytes, so long.", seed_below(s, 43));
        break;
    case 4:
        gb_cbor_put_bool(out, count > 2);
        break;
    case 5: {
        gb_cbor_element element = (gb_cbor_element)elements[seed_below(s, 10)];
        gb_cbor_put_array(out, element, count);
        for (uint64_t i = count * (uint64_t)gb_cbor_element_bytes(element); i > 0; i--)
            gb_buf_put(out, &i, 1);
        break;
    }
    case 6:
        gb_cbor_put_tag(out, seed_wide(s));
        sample(s, out, depth - 1);
        break;
    case 7:
        gb_cbor_put_list(out, count);
        for (; count > 0; count--) sample(s, out, depth - 1);
        break;
    default:
        gb_cbor_put_map(out, count);
        for (; count > 0; count--) {
            gb_cbor_put_text(out, "key", 3);
            sample(s, out, depth - 1);
        }
    }
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    gb_mem mem;
    gb_buf buf;
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&buf, &mem);
    sample(s, &buf, 3);
    size_t size = buf.size < room ? buf.size : room;
    memcpy(out, buf.data, size);
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
    return size;
}
