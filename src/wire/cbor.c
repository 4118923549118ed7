#include "wire/cbor.h"

#include "base/check.h"
#include "base/err.h"

#include <math.h>
#include <string.h>

enum {
    MAJOR_UINT,
    MAJOR_NEGATIVE,
    MAJOR_BYTES,
    MAJOR_TEXT,
    MAJOR_LIST,
    MAJOR_MAP,
    MAJOR_TAG,
    MAJOR_SIMPLE,

    INFO_INLINE_MAX = 23, /* the additional information is the argument itself */
    INFO_1 = 24,          /* the argument follows in 1, 2, 4 or 8 bytes */
    INFO_2 = 25,
    INFO_4 = 26,
    INFO_8 = 27,
    INFO_INDEFINITE = 31,

    SIMPLE_FALSE = 20,
    SIMPLE_TRUE = 21,
    SIMPLE_NULL = 22,
    SIMPLE_UNDEFINED = 23,

    HEAD_BYTES_MAX = 9
};

/* Heads are big-endian; typed arrays are copied as they lie in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "written for little-endian hosts");

/* ---- writer ---- */

static inline uint16_t big16(uint16_t value)
{
    return __builtin_bswap16(value);
}

static inline uint32_t big32(uint32_t value)
{
    return __builtin_bswap32(value);
}

static inline uint64_t big64(uint64_t value)
{
    return __builtin_bswap64(value);
}

static uint8_t *long_head(uint8_t *at, unsigned major, uint64_t value)
{
    if (value <= UINT8_MAX) {
        at[0] = (uint8_t)(major << 5 | INFO_1);
        at[1] = (uint8_t)value;
        return at + 2;
    }
    if (value <= UINT16_MAX) {
        uint16_t big = big16((uint16_t)value);
        at[0] = (uint8_t)(major << 5 | INFO_2);
        memcpy(at + 1, &big, sizeof big);
        return at + 3;
    }
    if (value <= UINT32_MAX) {
        uint32_t big = big32((uint32_t)value);
        at[0] = (uint8_t)(major << 5 | INFO_4);
        memcpy(at + 1, &big, sizeof big);
        return at + 5;
    }
    uint64_t big = big64(value);
    at[0] = (uint8_t)(major << 5 | INFO_8);
    memcpy(at + 1, &big, sizeof big);
    return at + HEAD_BYTES_MAX;
}

static inline uint8_t *head(uint8_t *at, unsigned major, uint64_t value)
{
    if (value > INFO_INLINE_MAX) return long_head(at, major, value);
    *at = (uint8_t)(major << 5 | value);
    return at + 1;
}

static inline int put_head(gb_buf *out, unsigned major, uint64_t value)
{
    int rc = gb_buf_reserve(out, HEAD_BYTES_MAX);
    if (rc < 0) return rc;
    out->size = (size_t)(head(out->data + out->size, major, value) - out->data);
    return 0;
}

static inline int put_simple(gb_buf *out, unsigned value)
{
    int rc = gb_buf_reserve(out, 1);
    if (rc < 0) return rc;
    out->data[out->size++] = (uint8_t)(MAJOR_SIMPLE << 5 | value);
    return 0;
}

int gb_cbor_put_nil(gb_buf *out)
{
    return put_simple(out, SIMPLE_NULL);
}

int gb_cbor_put_bool(gb_buf *out, bool value)
{
    return put_simple(out, value ? SIMPLE_TRUE : SIMPLE_FALSE);
}

int gb_cbor_put_int(gb_buf *out, int64_t value)
{
    if (value >= 0) return put_head(out, MAJOR_UINT, (uint64_t)value);
    return put_head(out, MAJOR_NEGATIVE, ~(uint64_t)value); /* -1 - value, without overflow */
}

int gb_cbor_put_uint(gb_buf *out, uint64_t value)
{
    return put_head(out, MAJOR_UINT, value);
}

int gb_cbor_put_double(gb_buf *out, double value)
{
    int rc = gb_buf_reserve(out, HEAD_BYTES_MAX);
    if (rc < 0) return rc;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = big64(bits);
    uint8_t *at = out->data + out->size;
    at[0] = MAJOR_SIMPLE << 5 | INFO_8;
    memcpy(at + 1, &bits, sizeof bits);
    out->size += HEAD_BYTES_MAX;
    return 0;
}

static inline int put_string(gb_buf *out, unsigned major, const void *bytes, size_t size)
{
    /* A size near SIZE_MAX must not wrap to a small reservation; the buffer refuses it as it is. */
    size_t more = size <= SIZE_MAX - HEAD_BYTES_MAX ? size + HEAD_BYTES_MAX : size;
    int rc = gb_buf_reserve(out, more);
    if (rc < 0) return rc;
    uint8_t *at = head(out->data + out->size, major, size);
    if (size) memcpy(at, bytes, size);
    out->size = (size_t)(at - out->data) + size;
    return 0;
}

int gb_cbor_put_bytes(gb_buf *out, const void *bytes, size_t size)
{
    return put_string(out, MAJOR_BYTES, bytes, size);
}

int gb_cbor_put_text(gb_buf *out, const void *bytes, size_t size)
{
    return put_string(out, MAJOR_TEXT, bytes, size);
}

int gb_cbor_put_list(gb_buf *out, uint64_t count)
{
    return put_head(out, MAJOR_LIST, count);
}

int gb_cbor_put_map(gb_buf *out, uint64_t pairs)
{
    return put_head(out, MAJOR_MAP, pairs);
}

int gb_cbor_put_tag(gb_buf *out, uint64_t tag)
{
    return put_head(out, MAJOR_TAG, tag);
}

/* 0 for a tag that is no element type. */
static unsigned element_bytes(uint64_t tag)
{
    switch (tag) {
    case GB_CBOR_UINT8:
    case GB_CBOR_INT8:
        return 1;
    case GB_CBOR_UINT16:
    case GB_CBOR_INT16:
        return 2;
    case GB_CBOR_UINT32:
    case GB_CBOR_INT32:
    case GB_CBOR_FLOAT32:
        return 4;
    case GB_CBOR_UINT64:
    case GB_CBOR_INT64:
    case GB_CBOR_FLOAT64:
        return 8;
    default:
        return 0;
    }
}

int gb_cbor_element_bytes(gb_cbor_element element)
{
    return (int)element_bytes((uint64_t)element);
}

int gb_cbor_put_array(gb_buf *out, gb_cbor_element element, uint64_t count)
{
    unsigned each = element_bytes((uint64_t)element);
    GB_CHECK(each > 0);
    if (count > SIZE_MAX / 8 / each)
        return gb_err_set(GB_ENOMEM, "out of memory: an array of %llu elements",
                          (unsigned long long)count);
    /* Room for the elements too, so that a large array grows the buffer once. */
    int rc = gb_buf_reserve(out, 2 * HEAD_BYTES_MAX + (size_t)count * each);
    if (rc < 0) return rc;
    uint8_t *at = head(out->data + out->size, MAJOR_TAG, (uint64_t)element);
    at = head(at, MAJOR_BYTES, count * each);
    out->size = (size_t)(at - out->data);
    return 0;
}

/* ---- reader ---- */

void gb_cbor_init(gb_cbor *in, const void *bytes, size_t size)
{
    const uint8_t *start = bytes ? bytes : (const uint8_t *)"";
    GB_CHECK(bytes || size == 0);
    *in = (gb_cbor){.start = start, .at = start, .end = start + size};
}

static int __attribute__((noinline, cold)) refuse(gb_cbor *in, const char *why)
{
    in->rc = gb_err_set(GB_EINVAL, "CBOR: %s at offset %zu", why, (size_t)(in->at - in->start));
    return in->rc;
}

/* The argument behind the initial byte when it is not inline. Moves *at on. */
static int long_argument(gb_cbor *in, unsigned info, const uint8_t **at, uint64_t *value)
{
    const uint8_t *from = *at;
    if (info > INFO_8)
        return refuse(in, info == INFO_INDEFINITE ? "an item of indefinite length"
                                                  : "a reserved additional information");
    size_t size = (size_t)1 << (info - INFO_1);
    if ((size_t)(in->end - from) < size) return refuse(in, "a truncated head");
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (size) {
    case 1:
        *value = *from;
        break;
    case 2:
        memcpy(&two, from, sizeof two);
        *value = big16(two);
        break;
    case 4:
        memcpy(&four, from, sizeof four);
        *value = big32(four);
        break;
    default:
        memcpy(&eight, from, sizeof eight);
        *value = big64(eight);
        break;
    }
    *at = from + size;
    return 0;
}

/* RFC 8949 appendix D: sign, 5 bits of exponent, 10 of fraction. */
static double half_to_double(uint16_t half)
{
    int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    double value = exponent == 0    ? ldexp(fraction, -24)
                   : exponent != 31 ? ldexp(fraction + 1024, exponent - 25)
                   : fraction == 0  ? INFINITY
                                    : NAN;
    return half & 0x8000 ? -value : value;
}

static int next_simple(gb_cbor *in, unsigned info, const uint8_t *at, gb_cbor_token *token)
{
    if (info == SIMPLE_FALSE || info == SIMPLE_TRUE) {
        token->kind = GB_CBOR_BOOL;
        token->boolean = info == SIMPLE_TRUE;
    } else if (info == SIMPLE_NULL || info == SIMPLE_UNDEFINED) {
        token->kind = GB_CBOR_NIL;
    } else if (info >= INFO_2 && info <= INFO_8) {
        uint64_t bits = 0;
        int rc = long_argument(in, info, &at, &bits);
        if (rc < 0) return rc;
        token->kind = GB_CBOR_DOUBLE;
        if (info == INFO_8) {
            memcpy(&token->number, &bits, sizeof token->number);
        } else if (info == INFO_4) {
            uint32_t low = (uint32_t)bits;
            float single;
            memcpy(&single, &low, sizeof single);
            token->number = (double)single;
        } else {
            token->number = half_to_double((uint16_t)bits);
        }
    } else {
        return refuse(in, info == INFO_INDEFINITE ? "a stop code without an item"
                                                  : "an unassigned simple value");
    }
    in->at = at;
    return 0;
}

static inline int next_string(gb_cbor *in, gb_cbor_kind kind, uint64_t size, const uint8_t *at,
                              gb_cbor_token *token)
{
    if (size > (uint64_t)(in->end - at)) return refuse(in, "a string longer than the input");
    token->kind = kind;
    token->bytes = at;
    token->size = (size_t)size;
    in->at = at + size;
    return 0;
}

static inline int next_integer(gb_cbor *in, bool negative, uint64_t value, gb_cbor_token *token)
{
    if (value <= INT64_MAX) {
        token->kind = GB_CBOR_INT;
        token->integer = negative ? -1 - (int64_t)value : (int64_t)value;
    } else {
        if (negative) return refuse(in, "an integer below -2^63");
        token->kind = GB_CBOR_UINT;
        token->natural = value;
    }
    return 0;
}

int gb_cbor_next(gb_cbor *in, gb_cbor_token *token)
{
    if (in->rc < 0) return in->rc;
    const uint8_t *at = in->at;
    if (at == in->end) {
        token->kind = GB_CBOR_END;
        return 0;
    }
    unsigned major = *at >> 5, info = *at & 31;
    at++;
    if (major == MAJOR_SIMPLE) return next_simple(in, info, at, token);
    uint64_t value = info;
    if (info > INFO_INLINE_MAX) {
        int rc = long_argument(in, info, &at, &value);
        if (rc < 0) return rc;
    }
    uint64_t left = (uint64_t)(in->end - at);
    switch (major) {
    case MAJOR_BYTES:
    case MAJOR_TEXT:
        return next_string(in, major == MAJOR_TEXT ? GB_CBOR_TEXT : GB_CBOR_BYTES, value, at,
                           token);
    case MAJOR_LIST:
        if (value > left) return refuse(in, "a list longer than the input");
        token->kind = GB_CBOR_LIST;
        token->natural = value;
        break;
    case MAJOR_MAP:
        if (value > left / 2) return refuse(in, "a map longer than the input");
        token->kind = GB_CBOR_MAP;
        token->natural = value;
        break;
    case MAJOR_TAG:
        token->kind = GB_CBOR_TAG;
        token->natural = value;
        break;
    default: {
        int rc = next_integer(in, major == MAJOR_NEGATIVE, value, token);
        if (rc < 0) return rc;
    }
    }
    in->at = at;
    return 0;
}

int gb_cbor_read_array(gb_cbor *in, uint64_t tag, const void **bytes, size_t *count)
{
    if (in->rc < 0) return in->rc;
    unsigned each = element_bytes(tag);
    if (each == 0) return refuse(in, "a tag that is no typed array");
    const uint8_t *before = in->at;
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_BYTES || token.size % each != 0) {
        in->at = before;
        return refuse(in, token.kind != GB_CBOR_BYTES ? "a typed array without a byte string"
                                                      : "a typed array with a part of an element");
    }
    *bytes = token.bytes;
    *count = token.size / each;
    return 0;
}

int gb_cbor_skip(gb_cbor *in, int depth_max)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    uint64_t items = 0;
    switch (token.kind) {
    case GB_CBOR_END:
        return refuse(in, "an item is missing");
    case GB_CBOR_LIST:
        items = token.natural;
        break;
    case GB_CBOR_MAP:
        items = token.natural * 2; /* at most the bytes left: no overflow */
        break;
    case GB_CBOR_TAG:
        items = 1;
        break;
    default:
        return 0;
    }
    if (depth_max <= 0) return refuse(in, "nested too deeply");
    while (items-- > 0) {
        rc = gb_cbor_skip(in, depth_max - 1); /* so deep as the caller allowed, and no deeper */
        if (rc < 0) return rc;
    }
    return 0;
}
