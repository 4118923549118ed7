/* Tokens to and from bytes: CBOR (RFC 8949) with typed arrays (RFC 8746) in little-endian order. No
 * I/O, no clock, no values: who walks a Lua stack or a C structure calls one function per token.
 * One thread per writer or reader.
 *
 * Writer: appends to a gb_buf; 0 or GB_ENOMEM. Integers and lengths are written in their shortest
 * form; doubles that are whole numbers within 2^53 stay doubles (the caller chooses the token).
 * Reader: never allocates, never reads past its end, and accepts any well-formed definite-length
 * item (indefinite lengths are refused). Every error is GB_EINVAL with the offset in the detail;
 * after one the reader stays failed.
 */
#ifndef GB_WIRE_CBOR_H
#define GB_WIRE_CBOR_H

#include "base/buf.h"

#include <stdbool.h>

/* ---- writer ---- */

int gb_cbor_put_nil(gb_buf *out);
int gb_cbor_put_bool(gb_buf *out, bool value);
int gb_cbor_put_int(gb_buf *out, int64_t value);
int gb_cbor_put_uint(gb_buf *out, uint64_t value);
int gb_cbor_put_double(gb_buf *out, double value); /* 9 bytes; NaN keeps its bits */
int gb_cbor_put_bytes(gb_buf *out, const void *bytes, size_t size); /* byte string (major type 2) */
int gb_cbor_put_text(gb_buf *out, const void *bytes, size_t size);  /* text string (major type 3) */
int gb_cbor_put_list(gb_buf *out, uint64_t count);                  /* then count items */
int gb_cbor_put_map(gb_buf *out, uint64_t pairs);                   /* then pairs * 2 items */
int gb_cbor_put_tag(gb_buf *out, uint64_t tag);                     /* then one item */

/* The element types of typed arrays; the values are the RFC 8746 tags of their little-endian forms.
 */
typedef enum gb_cbor_element {
    GB_CBOR_UINT8 = 64,
    GB_CBOR_UINT16 = 69,
    GB_CBOR_UINT32 = 70,
    GB_CBOR_UINT64 = 71,
    GB_CBOR_INT8 = 72,
    GB_CBOR_INT16 = 77,
    GB_CBOR_INT32 = 78,
    GB_CBOR_INT64 = 79,
    GB_CBOR_FLOAT32 = 85,
    GB_CBOR_FLOAT64 = 86
} gb_cbor_element;

int gb_cbor_element_bytes(gb_cbor_element element); /* 1, 2, 4, 8, or 0 for none of these */

/* Tag and header of a typed array; the caller appends exactly count * element bytes (one memcpy).
 */
int gb_cbor_put_array(gb_buf *out, gb_cbor_element element, uint64_t count);

/* ---- reader ---- */

typedef struct gb_cbor {
    const uint8_t *start, *at, *end;
    int rc; /* 0, or the first error */
} gb_cbor;

typedef enum gb_cbor_kind {
    GB_CBOR_END, /* nothing left */
    GB_CBOR_NIL,
    GB_CBOR_BOOL,
    GB_CBOR_INT,
    GB_CBOR_UINT,
    GB_CBOR_DOUBLE,
    GB_CBOR_BYTES,
    GB_CBOR_TEXT,
    GB_CBOR_LIST,
    GB_CBOR_MAP,
    GB_CBOR_TAG
} gb_cbor_kind;

typedef struct gb_cbor_token {
    gb_cbor_kind kind;
    union {
        bool boolean;
        int64_t integer;  /* INT: fits int64 (negative, or up to 2^63 - 1) */
        uint64_t natural; /* UINT: 2^63 and more; LIST, MAP: items or pairs; TAG: the tag */
        double number;
    };
    const uint8_t *bytes; /* BYTES, TEXT: borrowed from the input */
    size_t size;
} gb_cbor_token;

/* Is it an integer that is not negative: its value. */
static inline bool gb_cbor_natural(const gb_cbor_token *token, uint64_t *out)
{
    if (token->kind == GB_CBOR_UINT) return *out = token->natural, true;
    if (token->kind != GB_CBOR_INT || token->integer < 0) return false;
    return *out = (uint64_t)token->integer, true;
}

void gb_cbor_init(gb_cbor *in, const void *bytes, size_t size);

/* The next token: 0, or GB_EINVAL. A LIST or MAP whose count the bytes left cannot hold (one byte
 * an item) fails. */
int gb_cbor_next(gb_cbor *in, gb_cbor_token *token);

/* After a TAG token that is a typed array: its bytes (borrowed, unaligned) and element count. */
int gb_cbor_read_array(gb_cbor *in, uint64_t tag, const void **bytes, size_t *count);

/* Skips one whole item, nested to at most depth_max. */
int gb_cbor_skip(gb_cbor *in, int depth_max);

#endif
