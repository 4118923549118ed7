#include "cluster/call_frame.h"

#include "base/err.h"
#include "wire/cbor.h"

#include <string.h>

enum { CALL_FIELDS = 11, ANSWER_FIELDS = 5, FLAG_ONEWAY = 1, FLAG_PLACED = 2, FLAGS = 3 };
enum { RC_LEAST = -100, MESSAGE_BYTES_MAX = 65536 };

static int put_body(gb_buf *out, const void *bytes, size_t size, bool elsewhere)
{
    return elsewhere ? gb_cbor_put_nil(out) : gb_cbor_put_bytes(out, bytes, size);
}

/* Without an id the rest of it means nothing. */
static bool is_traced(const gb_call_frame *f)
{
    static const uint8_t none[sizeof f->trace.trace];
    return memcmp(f->trace.trace, none, sizeof none) != 0;
}

int gb_call_frame_encode(gb_buf *out, const gb_call_frame *f)
{
    unsigned flags = (f->oneway ? FLAG_ONEWAY : 0) | (f->placed ? FLAG_PLACED : 0);
    int rc = gb_cbor_put_list(out, CALL_FIELDS);
    if (rc == 0) rc = gb_cbor_put_uint(out, f->number);
    if (rc == 0) rc = gb_cbor_put_uint(out, flags);
    if (rc == 0) rc = gb_cbor_put_uint(out, f->hops);
    if (rc == 0) rc = gb_cbor_put_int(out, f->priority);
    if (rc == 0) rc = gb_cbor_put_text(out, f->type, f->type_size);
    if (rc == 0)
        rc = f->key.text ? gb_cbor_put_bytes(out, f->key.text, f->key.size)
                         : gb_cbor_put_int(out, f->key.number);
    if (rc == 0) rc = gb_cbor_put_text(out, f->method, f->method_size);
    if (rc == 0)
        rc = f->left_ns == GB_FOREVER ? gb_cbor_put_nil(out) : gb_cbor_put_uint(out, f->left_ns);
    if (rc == 0)
        rc = is_traced(f) ? gb_cbor_put_bytes(out, &f->trace, sizeof f->trace)
                          : gb_cbor_put_nil(out);
    if (rc == 0) rc = f->bag ? gb_cbor_put_bytes(out, f->bag, f->bag_size) : gb_cbor_put_nil(out);
    if (rc == 0) rc = put_body(out, f->bytes, f->size, f->beside);
    return rc;
}

static bool read_natural(gb_cbor *in, uint64_t max, uint64_t *out)
{
    gb_cbor_token t;
    return gb_cbor_next(in, &t) == 0 && gb_cbor_natural(&t, out) && *out <= max;
}

static bool read_int(gb_cbor *in, int64_t min, int64_t max, int64_t *out)
{
    gb_cbor_token t;
    if (gb_cbor_next(in, &t) < 0 || t.kind != GB_CBOR_INT) return false;
    *out = t.integer;
    return *out >= min && *out <= max;
}

/* Bytes or text of at most max, or nil (NULL). */
static bool read_bytes(gb_cbor *in, gb_cbor_kind kind, size_t max, const void **out, size_t *size)
{
    gb_cbor_token t;
    if (gb_cbor_next(in, &t) < 0 || (t.kind != kind && t.kind != GB_CBOR_NIL)) return false;
    *out = t.kind == kind ? t.bytes : NULL;
    *size = t.kind == kind ? t.size : 0;
    return *size <= max;
}

static bool read_name(gb_cbor *in, size_t max, const char **out, uint32_t *out_size)
{
    const void *bytes;
    size_t size;
    if (!read_bytes(in, GB_CBOR_TEXT, max, &bytes, &size) || size == 0 || memchr(bytes, 0, size))
        return false;
    *out = bytes;
    *out_size = (uint32_t)size;
    return true;
}

static bool read_key(gb_cbor *in, gb_key *key)
{
    gb_cbor_token t;
    if (gb_cbor_next(in, &t) < 0) return false;
    if (t.kind == GB_CBOR_INT) {
        *key = gb_key_number(t.integer);
        return true;
    }
    if (t.kind != GB_CBOR_BYTES || t.size > GB_CALL_KEY_BYTES) return false;
    *key = gb_key_text((const char *)t.bytes, t.size);
    return true;
}

/* A deadline that is nil; a trace (its id, the span that calls, flags) that is 25 bytes or nil. */
static bool read_context(gb_cbor *in, gb_call_frame *f)
{
    gb_cbor_token t;
    const void *trace;
    size_t size;
    gb_cbor ahead = *in;
    f->left_ns = GB_FOREVER;
    if (gb_cbor_next(&ahead, &t) < 0) return false;
    if (t.kind == GB_CBOR_NIL)
        *in = ahead;
    else if (!read_natural(in, GB_FOREVER - 1, &f->left_ns))
        return false;
    if (!read_bytes(in, GB_CBOR_BYTES, sizeof f->trace, &trace, &size)) return false;
    if (trace && size != sizeof f->trace) return false;
    if (trace) memcpy(&f->trace, trace, size);
    if (!is_traced(f)) memset(&f->trace, 0, sizeof f->trace);
    return read_bytes(in, GB_CBOR_BYTES, SIZE_MAX, &f->bag, &f->bag_size);
}

int gb_call_frame_decode(gb_call_frame *f, const void *bytes, size_t size)
{
    gb_cbor in;
    gb_cbor_token t;
    uint64_t flags, hops;
    int64_t priority;
    memset(f, 0, sizeof *f);
    gb_cbor_init(&in, bytes, size);
    if (gb_cbor_next(&in, &t) < 0 || t.kind != GB_CBOR_LIST || t.natural != CALL_FIELDS ||
        !read_natural(&in, UINT64_MAX, &f->number) || !read_natural(&in, FLAGS, &flags) ||
        !read_natural(&in, UINT8_MAX, &hops) || !read_int(&in, INT8_MIN, INT8_MAX, &priority) ||
        !read_name(&in, GB_CALL_TYPE_BYTES, &f->type, &f->type_size) || !read_key(&in, &f->key) ||
        !read_name(&in, GB_CALL_METHOD_BYTES, &f->method, &f->method_size) ||
        !read_context(&in, f) || !read_bytes(&in, GB_CBOR_BYTES, SIZE_MAX, &f->bytes, &f->size) ||
        in.at != in.end)
        return gb_err_set(GB_EINVAL, "a call that is broken at byte %zu of %zu",
                          (size_t)(in.at - in.start), size);
    f->beside = !f->bytes;
    f->oneway = flags & FLAG_ONEWAY;
    f->placed = flags & FLAG_PLACED;
    f->hops = (uint8_t)hops;
    f->priority = (int8_t)priority;
    return 0;
}

int gb_answer_frame_encode(gb_buf *out, const gb_answer_frame *f)
{
    int rc = gb_cbor_put_list(out, ANSWER_FIELDS);
    if (rc == 0) rc = gb_cbor_put_uint(out, f->number);
    if (rc == 0) rc = gb_cbor_put_int(out, f->rc < 0 ? f->rc : 0);
    if (rc == 0) rc = gb_cbor_put_uint(out, f->silo);
    if (rc == 0 && f->rc < 0) {
        size_t size = f->message_size < MESSAGE_BYTES_MAX ? f->message_size : MESSAGE_BYTES_MAX;
        rc = f->message ? gb_cbor_put_bytes(out, f->message, size) : gb_cbor_put_nil(out);
    } else if (rc == 0) {
        rc = gb_cbor_put_nil(out);
    }
    if (rc == 0) rc = put_body(out, f->bytes, f->size, f->rc < 0 || f->beside);
    return rc;
}

int gb_answer_frame_decode(gb_answer_frame *f, const void *bytes, size_t size)
{
    gb_cbor in;
    gb_cbor_token t;
    int64_t rc;
    const void *message;
    memset(f, 0, sizeof *f);
    gb_cbor_init(&in, bytes, size);
    if (gb_cbor_next(&in, &t) < 0 || t.kind != GB_CBOR_LIST || t.natural != ANSWER_FIELDS ||
        !read_natural(&in, UINT64_MAX, &f->number) || !read_int(&in, RC_LEAST, 0, &rc) ||
        !read_natural(&in, UINT64_MAX, &f->silo) ||
        !read_bytes(&in, GB_CBOR_BYTES, MESSAGE_BYTES_MAX, &message, &f->message_size) ||
        !read_bytes(&in, GB_CBOR_BYTES, SIZE_MAX, &f->bytes, &f->size) || in.at != in.end)
        return gb_err_set(GB_EINVAL, "an answer that is broken at byte %zu of %zu",
                          (size_t)(in.at - in.start), size);
    f->rc = (int)rc;
    f->beside = rc == 0 && !f->bytes;
    f->message = message;
    return 0;
}

enum { ASK_FIELDS = 13, STAGE_MAX = 2 };

int gb_ask_frame_encode(gb_buf *out, const gb_ask_frame *f)
{
    const gb_question *q = &f->question;
    const uint64_t fields[ASK_FIELDS] = {
        f->number, q->silo, q->worker,      q->index,       q->serial, q->stage, q->round,
        q->steps,  q->seen, q->seen_before, q->queued_call, q->queued, q->chain};
    int rc = gb_cbor_put_list(out, ASK_FIELDS);
    for (int i = 0; i < ASK_FIELDS && rc == 0; i++) rc = gb_cbor_put_uint(out, fields[i]);
    return rc;
}

int gb_ask_frame_decode(gb_ask_frame *f, const void *bytes, size_t size)
{
    static const uint64_t most[ASK_FIELDS] = {
        UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, STAGE_MAX, UINT16_MAX,
        UINT16_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT32_MAX, true};
    uint64_t v[ASK_FIELDS];
    gb_cbor in;
    gb_cbor_token t;
    int i = 0;
    gb_cbor_init(&in, bytes, size);
    if (gb_cbor_next(&in, &t) == 0 && t.kind == GB_CBOR_LIST && t.natural == ASK_FIELDS)
        while (i < ASK_FIELDS && read_natural(&in, most[i], &v[i])) i++;
    if (i < ASK_FIELDS || in.at != in.end)
        return gb_err_set(GB_EINVAL, "a question that is broken at byte %zu of %zu",
                          (size_t)(in.at - in.start), size);
    *f = (gb_ask_frame){.number = v[0],
                        .question = {.silo = v[1],
                                     .worker = (uint32_t)v[2],
                                     .index = (uint32_t)v[3],
                                     .serial = (uint32_t)v[4],
                                     .stage = (uint32_t)v[5],
                                     .round = (uint32_t)v[6],
                                     .steps = (uint32_t)v[7],
                                     .seen = v[8],
                                     .seen_before = v[9],
                                     .queued_call = v[10],
                                     .queued = (uint32_t)v[11],
                                     .chain = v[12]}};
    return 0;
}
