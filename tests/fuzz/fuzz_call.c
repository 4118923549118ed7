/* Any bytes as a greeting, a call, an answer or a question: refused with GB_EINVAL (a greeting of
 * another version: GB_EDENIED), or read within the bytes, and then written and read again as the
 * same. The first input byte chooses which. */
#include "fuzz.h"

#include "base/check.h"
#include "base/err.h"
#include "cluster/call_frame.h"
#include "cluster/link.h"

#include <string.h>

static bool same(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return a_size == b_size && (!a == !b) && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static bool within(const uint8_t *data, size_t size, const void *at, size_t bytes)
{
    const uint8_t *p = at;
    return !p || (p >= data && bytes <= size && p <= data + (size - bytes));
}

static void look_at_hello(gb_buf *out, const uint8_t *data, size_t size)
{
    gb_hello a, b;
    int rc = gb_hello_decode(&a, data, size);
    GB_CHECK(rc == 0 || rc == GB_EINVAL || rc == GB_EDENIED);
    if (rc < 0) return;
    GB_CHECK(gb_hello_encode(out, &a) == 0 && out->size <= GB_LINK_HELLO_BYTES);
    GB_CHECK(gb_hello_decode(&b, out->data, out->size) == 0);
    GB_CHECK(a.role == b.role && a.silo == b.silo && a.to == b.to && a.worker == b.worker);
    GB_CHECK(strcmp(a.cluster, b.cluster) == 0 && strcmp(a.name, b.name) == 0);
    GB_CHECK(a.proves == b.proves && memcmp(a.word, b.word, sizeof a.word) == 0);
    GB_CHECK(!*a.name || gb_token_name_fits(a.name));
}

static void check_call(const gb_call_frame *a, const gb_call_frame *b)
{
    GB_CHECK(a->number == b->number && a->oneway == b->oneway && a->placed == b->placed);
    GB_CHECK(a->hops == b->hops && a->priority == b->priority && a->left_ns == b->left_ns);
    GB_CHECK(same(a->type, a->type_size, b->type, b->type_size));
    GB_CHECK(same(a->method, a->method_size, b->method, b->method_size));
    GB_CHECK(same(a->key.text, a->key.size, b->key.text, b->key.size));
    GB_CHECK(a->key.text || a->key.number == b->key.number);
    GB_CHECK(memcmp(&a->trace, &b->trace, sizeof a->trace) == 0);
    GB_CHECK(same(a->bag, a->bag_size, b->bag, b->bag_size));
    GB_CHECK(a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0));
}

static void look_at_call(gb_buf *out, const uint8_t *data, size_t size)
{
    gb_call_frame a, b;
    int rc = gb_call_frame_decode(&a, data, size);
    GB_CHECK(rc == 0 || rc == GB_EINVAL);
    if (rc < 0) return;
    GB_CHECK(a.type_size > 0 && a.type_size <= GB_CALL_TYPE_BYTES);
    GB_CHECK(a.method_size > 0 && a.method_size <= GB_CALL_METHOD_BYTES);
    GB_CHECK(!a.key.text || a.key.size <= GB_CALL_KEY_BYTES);
    GB_CHECK(within(data, size, a.type, a.type_size) && within(data, size, a.bytes, a.size));
    GB_CHECK(within(data, size, a.method, a.method_size) && within(data, size, a.bag, a.bag_size));
    GB_CHECK(!a.key.text || within(data, size, a.key.text, a.key.size));
    GB_CHECK(gb_call_frame_encode(out, &a) == 0);
    GB_CHECK(gb_call_frame_decode(&b, out->data, out->size) == 0);
    check_call(&a, &b);
}

static void look_at_answer(gb_buf *out, const uint8_t *data, size_t size)
{
    gb_answer_frame a, b;
    int rc = gb_answer_frame_decode(&a, data, size);
    GB_CHECK(rc == 0 || rc == GB_EINVAL);
    if (rc < 0) return;
    GB_CHECK(a.rc <= 0 && within(data, size, a.message, a.message_size));
    GB_CHECK(within(data, size, a.bytes, a.size));
    GB_CHECK(gb_answer_frame_encode(out, &a) == 0);
    GB_CHECK(gb_answer_frame_decode(&b, out->data, out->size) == 0);
    GB_CHECK(a.number == b.number && a.rc == b.rc && a.silo == b.silo);
    if (a.rc < 0)
        GB_CHECK(same(a.message, a.message_size, b.message, b.message_size));
    else
        GB_CHECK(a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0));
}

static void look_at_question(gb_buf *out, const uint8_t *data, size_t size)
{
    gb_ask_frame a, b;
    int rc = gb_ask_frame_decode(&a, data, size);
    GB_CHECK(rc == 0 || rc == GB_EINVAL);
    if (rc < 0) return;
    GB_CHECK(a.question.stage <= 2 && !a.question.travelled);
    GB_CHECK(gb_ask_frame_encode(out, &a) == 0);
    GB_CHECK(gb_ask_frame_decode(&b, out->data, out->size) == 0);
    const gb_question *p = &a.question, *q = &b.question;
    GB_CHECK(a.number == b.number && p->silo == q->silo && p->worker == q->worker);
    GB_CHECK(p->index == q->index && p->serial == q->serial && p->stage == q->stage);
    GB_CHECK(p->round == q->round && p->steps == q->steps && p->seen == q->seen);
    GB_CHECK(p->seen_before == q->seen_before && p->queued_call == q->queued_call);
    GB_CHECK(p->queued == q->queued && p->chain == q->chain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const looks[])(gb_buf *, const uint8_t *, size_t) = {
        look_at_hello, look_at_call, look_at_answer, look_at_question};
    if (size == 0) return 0;
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&out, &mem);
    looks[data[0] % 4](&out, data + 1, size - 1);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
    return 0;
}

/* ---- samples ---- */

static void sample_call(seed *s, gb_buf *out)
{
    static const char bytes[256] = "some bytes";
    gb_call_frame f = {.number = seed_wide(s),
                       .oneway = seed_below(s, 2),
                       .placed = seed_below(s, 2),
                       .hops = (uint8_t)seed_below(s, 5),
                       .priority = (int8_t)seed_next(s),
                       .type = "Counter",
                       .type_size = 7,
                       .method = "increment",
                       .method_size = (uint32_t)(1 + seed_below(s, 9)),
                       .key = seed_below(s, 2) ? gb_key_number((int64_t)seed_wide(s))
                                               : gb_key_text("a key", seed_below(s, 6)),
                       .left_ns = seed_below(s, 2) ? GB_FOREVER : seed_wide(s) / 2,
                       .bag = seed_below(s, 2) ? bytes : NULL,
                       .bytes = bytes,
                       .size = seed_below(s, sizeof bytes)};
    if (f.bag) f.bag_size = seed_below(s, sizeof bytes);
    if (seed_below(s, 2)) f.trace.trace[seed_below(s, sizeof f.trace.trace)] = 1;
    gb_call_frame_encode(out, &f);
}

static void sample_answer(seed *s, gb_buf *out)
{
    static const char text[] = "what went wrong, in a sentence";
    gb_answer_frame f = {.number = seed_wide(s), .silo = seed_wide(s), .bytes = text};
    f.size = seed_below(s, sizeof text);
    if (seed_below(s, 2)) {
        f.rc = -(int)(1 + seed_below(s, 99));
        f.message = seed_below(s, 4) ? text : NULL;
        f.message_size = f.message ? seed_below(s, sizeof text) : 0;
    }
    gb_answer_frame_encode(out, &f);
}

static void sample_question(seed *s, gb_buf *out)
{
    gb_ask_frame f = {.number = seed_wide(s),
                      .question = {.silo = seed_wide(s),
                                   .worker = (uint32_t)seed_below(s, 256),
                                   .index = (uint32_t)seed_wide(s),
                                   .serial = (uint32_t)seed_wide(s),
                                   .stage = (uint32_t)seed_below(s, 3),
                                   .round = (uint32_t)seed_below(s, 5),
                                   .steps = (uint32_t)seed_below(s, 1000),
                                   .seen = seed_next(s),
                                   .seen_before = seed_next(s),
                                   .queued_call = seed_next(s),
                                   .queued = (uint32_t)seed_below(s, 9),
                                   .chain = seed_below(s, 2)}};
    gb_ask_frame_encode(out, &f);
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    gb_mem mem;
    gb_buf buf;
    uint8_t which = (uint8_t)seed_below(s, 4);
    gb_hello hello = {.role = (gb_link_role)(1 + seed_below(s, 3)),
                      .silo = seed_wide(s),
                      .to = seed_wide(s),
                      .worker = (uint32_t)seed_below(s, 65536),
                      .cluster = "gpubridge",
                      .proves = seed_below(s, 2)};
    if (hello.proves && seed_below(s, 2)) memcpy(hello.name, "ann.b-c_1", 10);
    if (hello.proves) hello.word[seed_below(s, sizeof hello.word)] = (uint8_t)seed_next(s);
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&buf, &mem);
    gb_buf_put(&buf, &which, 1);
    if (which == 0)
        gb_hello_encode(&buf, &hello);
    else if (which == 1)
        sample_call(s, &buf);
    else if (which == 3)
        sample_question(s, &buf);
    else
        sample_answer(s, &buf);
    size_t size = buf.size < room ? buf.size : room;
    memcpy(out, buf.data, size);
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
    return size;
}
