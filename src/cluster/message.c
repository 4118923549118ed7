#include "cluster/message.h"

#include "base/err.h"
#include "wire/cbor.h"

#include <string.h>

/* A message is a list: kind, the view's three numbers, then the fields of its kind in the order of
 * this enum. */
enum {
    F_SEQ = 1 << 0,
    F_SILO = 1 << 1,
    F_ACT = 1 << 2,
    F_STATUS = 1 << 3,
    F_ID = 1 << 4,
    F_CAPACITY = 1 << 5,
    F_FROM = 1 << 6,
    F_ROW = 1 << 7,
    F_IDS = 1 << 8,
    F_ROWS = 1 << 9,
    F_ARCS = 1 << 10,
    F_PART = 1 << 11,
    F_ITEMS = 1 << 12,
    FIELDS = 13,
    HEAD = 4, /* kind and view */
    ITEM = 5  /* act, view, id */
};

static const struct {
    const char *name;
    uint32_t fields;
} kinds[GB_MSG_KINDS] = {
    [GB_MSG_PROBE] = {"probe", F_SEQ | F_CAPACITY},
    [GB_MSG_PROBE_ACK] = {"probe-ack", F_SEQ | F_CAPACITY},
    [GB_MSG_PROBE_FOR] = {"probe-for", F_SEQ | F_SILO},
    [GB_MSG_PROBE_TOLD] = {"probe-told", F_SEQ | F_SILO | F_STATUS},
    [GB_MSG_CHANGE] = {"change", F_FROM | F_ROW | F_IDS},
    [GB_MSG_VIEW_ASK] = {"view-ask", 0},
    [GB_MSG_VIEW] = {"view", F_ROWS},
    [GB_MSG_FENCE] = {"fence", 0},
    [GB_MSG_FIND] = {"find", F_SEQ | F_ACT | F_ID},
    [GB_MSG_CLAIM] = {"claim", F_SEQ | F_ACT | F_ID},
    [GB_MSG_ANSWER] = {"answer", F_SEQ | F_SILO | F_STATUS},
    [GB_MSG_RELEASE] = {"release", F_ACT | F_ID},
    [GB_MSG_SYNC_ASK] = {"sync-ask", F_SEQ | F_ARCS},
    [GB_MSG_SYNC] = {"sync", F_SEQ | F_ACT | F_PART | F_ITEMS},
    [GB_MSG_DROP] = {"drop", F_SILO | F_ACT | F_ID},
    [GB_MSG_CAPACITY] = {"capacity", F_CAPACITY},
};

const char *gb_message_kind_name(gb_message_kind kind)
{
    return (unsigned)kind < GB_MSG_KINDS && kinds[kind].name ? kinds[kind].name : "unknown";
}

/* How many items of the list a field takes. */
static uint32_t items_of(uint32_t field)
{
    return field == F_FROM ? 3 : field == F_PART ? 2 : 1;
}

/* ---- encoding ---- */

static int put_row(gb_buf *out, const gb_member *member)
{
    gb_buf bytes;
    gb_buf_init(&bytes, out->mem);
    int rc = gb_member_encode(&bytes, member);
    if (rc >= 0) rc = gb_cbor_put_bytes(out, bytes.data, bytes.size);
    gb_buf_fini(&bytes);
    return rc;
}

static int put_view(gb_buf *out, gb_view_id view)
{
    int rc = gb_cbor_put_uint(out, view.generation);
    if (rc >= 0) rc = gb_cbor_put_uint(out, view.version);
    return rc < 0 ? rc : gb_cbor_put_uint(out, view.digest);
}

static int put_numbers(gb_buf *out, const uint64_t *numbers, uint32_t count)
{
    int rc = gb_cbor_put_array(out, GB_CBOR_UINT64, count);
    return rc < 0 || !count ? rc : gb_buf_put(out, numbers, count * sizeof *numbers);
}

static int put_capacity(gb_buf *out, const gb_message *m)
{
    const gb_capacity *c = &m->capacity;
    if (!m->has_capacity) return gb_cbor_put_nil(out);
    int rc = gb_cbor_put_list(out, 8);
    if (rc >= 0) rc = gb_cbor_put_int(out, c->devices_count);
    if (rc >= 0) rc = gb_cbor_put_int(out, c->queue_depth);
    if (rc >= 0) rc = gb_cbor_put_int(out, c->total_mb);
    if (rc >= 0) rc = gb_cbor_put_int(out, c->available_mb);
    if (rc >= 0) rc = gb_cbor_put_int(out, c->largest_mb);
    if (rc >= 0) rc = gb_cbor_put_text(out, c->backend, strnlen(c->backend, sizeof c->backend));
    if (rc >= 0) rc = gb_cbor_put_int(out, c->updated_ns);
    if (rc >= 0) rc = gb_cbor_put_uint(out, m->activations);
    return rc;
}

static int put_rows(gb_buf *out, const gb_message *m)
{
    int rc = gb_cbor_put_list(out, m->count);
    for (uint32_t i = 0; i < m->count && rc >= 0; i++) rc = put_row(out, &m->rows[i]->member);
    return rc;
}

static int put_items(gb_buf *out, const gb_message *m)
{
    int rc = gb_cbor_put_list(out, ITEM * (uint64_t)m->count);
    for (uint32_t i = 0; i < m->count && rc >= 0; i++) {
        const gb_sync_item *item = &m->items[i];
        rc = gb_cbor_put_uint(out, item->act);
        if (rc >= 0) rc = put_view(out, item->view);
        if (rc >= 0) rc = gb_cbor_put_bytes(out, item->id, item->id_size);
    }
    return rc;
}

static int put_field(gb_buf *out, const gb_message *m, uint32_t field)
{
    int rc;
    switch (field) {
    case F_SEQ:
        return gb_cbor_put_uint(out, m->seq);
    case F_SILO:
        return gb_cbor_put_uint(out, m->silo);
    case F_ACT:
        return gb_cbor_put_uint(out, m->act);
    case F_STATUS:
        return gb_cbor_put_uint(out, m->status);
    case F_ID:
        return gb_cbor_put_bytes(out, m->id, m->id_size);
    case F_CAPACITY:
        return put_capacity(out, m);
    case F_FROM:
        return put_view(out, m->from);
    case F_ROW:
        return m->row ? put_row(out, m->row) : gb_cbor_put_nil(out);
    case F_IDS:
        return put_numbers(out, m->ids, m->count);
    case F_ROWS:
        return put_rows(out, m);
    case F_ARCS:
        return put_numbers(out, (const uint64_t *)m->arcs, 2 * m->count);
    case F_PART:
        rc = gb_cbor_put_uint(out, m->part);
        return rc < 0 ? rc : gb_cbor_put_bool(out, m->last);
    default:
        return put_items(out, m);
    }
}

int gb_message_encode(gb_buf *out, const gb_message *m)
{
    size_t before = out->size;
    uint32_t fields = kinds[m->kind].fields, items = HEAD;
    for (uint32_t i = 0; i < FIELDS; i++) items += fields >> i & 1 ? items_of(1u << i) : 0;
    int rc = gb_cbor_put_list(out, items);
    if (rc >= 0) rc = gb_cbor_put_uint(out, m->kind);
    if (rc >= 0) rc = put_view(out, m->view);
    for (uint32_t i = 0; i < FIELDS && rc >= 0; i++) {
        if (fields >> i & 1) rc = put_field(out, m, 1u << i);
    }
    if (rc < 0) out->size = before;
    return rc < 0 ? rc : 0;
}

/* ---- decoding ---- */

static int bad(const gb_message *m, const char *what)
{
    return gb_err_set(GB_EINVAL, "a message of kind '%s' between silos is damaged: %s",
                      gb_message_kind_name(m->kind), what);
}

static int read_uint(gb_cbor *in, gb_message *m, uint64_t *out)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    return gb_cbor_natural(&token, out) ? 0 : bad(m, "a number was expected");
}

static int read_view(gb_cbor *in, gb_message *m, gb_view_id *out)
{
    int rc = read_uint(in, m, &out->generation);
    if (rc == 0) rc = read_uint(in, m, &out->version);
    return rc < 0 ? rc : read_uint(in, m, &out->digest);
}

static int read_small(gb_cbor *in, gb_message *m, uint32_t *out)
{
    uint64_t number = 0;
    int rc = read_uint(in, m, &number);
    if (rc == 0 && number > UINT32_MAX) rc = bad(m, "a number is too large");
    if (rc == 0) *out = (uint32_t)number;
    return rc;
}

static int read_int(gb_cbor *in, gb_message *m, int64_t low, int64_t high, int64_t *out)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_INT || token.integer < low || token.integer > high)
        return bad(m, "a number is out of its range");
    *out = token.integer;
    return 0;
}

static int read_bytes(gb_cbor *in, gb_message *m, const void **bytes, uint32_t *size)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_BYTES || token.size == 0 || token.size > GB_GRAIN_ID_BYTES)
        return bad(m, "the id of a grain is none");
    *bytes = token.bytes;
    *size = (uint32_t)token.size;
    return 0;
}

static int read_capacity(gb_cbor *in, gb_message *m)
{
    gb_cbor_token token;
    gb_capacity *c = &m->capacity;
    int64_t devices = 0, queue = 0;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0 || token.kind == GB_CBOR_NIL) return rc;
    if (token.kind != GB_CBOR_LIST || token.natural != 8) return bad(m, "a capacity is none");
    if ((rc = read_int(in, m, 0, INT32_MAX, &devices)) < 0 ||
        (rc = read_int(in, m, 0, INT32_MAX, &queue)) < 0 ||
        (rc = read_int(in, m, 0, INT64_MAX >> 20, &c->total_mb)) < 0 ||
        (rc = read_int(in, m, 0, INT64_MAX >> 20, &c->available_mb)) < 0 ||
        (rc = read_int(in, m, 0, INT64_MAX >> 20, &c->largest_mb)) < 0 ||
        (rc = gb_cbor_next(in, &token)) < 0)
        return rc;
    if (token.kind != GB_CBOR_TEXT || token.size >= sizeof c->backend)
        return bad(m, "a backend's name is none");
    memcpy(c->backend, token.bytes, token.size);
    c->devices_count = (int32_t)devices;
    c->queue_depth = (int32_t)queue;
    m->has_capacity = true;
    rc = read_int(in, m, 0, GB_CAPACITY_EXPIRED_NS, &c->updated_ns);
    return rc < 0 ? rc : read_uint(in, m, &m->activations);
}

static int own(gb_message *m, size_t size)
{
    if (!size) return 0;
    m->owned = gb_mem_zalloc(m->mem, size);
    m->owned_size = m->owned ? size : 0;
    return m->owned ? 0 : GB_ENOMEM;
}

static int read_numbers(gb_cbor *in, gb_message *m, size_t *count)
{
    gb_cbor_token token;
    const void *bytes;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_TAG || token.natural != GB_CBOR_UINT64)
        return bad(m, "an array of numbers was expected");
    if ((rc = gb_cbor_read_array(in, token.natural, &bytes, count)) < 0) return rc;
    if (*count > UINT32_MAX / 2) return bad(m, "an array is too long");
    if ((rc = own(m, *count * sizeof(uint64_t))) < 0) return rc;
    if (*count) memcpy(m->owned, bytes, *count * sizeof(uint64_t));
    return 0;
}

static int read_row(gb_cbor *in, gb_message *m, bool optional, gb_row **out)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0 || (optional && token.kind == GB_CBOR_NIL)) return rc;
    if (token.kind != GB_CBOR_BYTES) return bad(m, "a row is none");
    gb_row *row = gb_mem_alloc(m->mem, sizeof *row);
    if (!row) return GB_ENOMEM;
    row->refs = 1;
    row->mem = m->mem;
    rc = gb_member_decode(&row->member, m->mem, token.bytes, token.size);
    if (rc < 0)
        gb_mem_free(m->mem, row, sizeof *row);
    else
        *out = row;
    return rc;
}

static int read_list(gb_cbor *in, gb_message *m, uint64_t limit, uint64_t *count)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_LIST || token.natural > limit) return bad(m, "a list is too long");
    *count = token.natural;
    return 0;
}

static int read_rows(gb_cbor *in, gb_message *m)
{
    uint64_t count = 0;
    int rc = read_list(in, m, GB_TABLE_ROWS_MAX, &count);
    if (rc == 0) rc = own(m, count * sizeof(gb_row *));
    gb_row **rows = m->owned;
    m->rows = rows;
    for (; m->count < count && rc == 0; m->count += rc == 0) {
        rc = read_row(in, m, false, &rows[m->count]);
        if (rc == 0 && m->count && rows[m->count - 1]->member.id >= rows[m->count]->member.id) {
            gb_row_unref(rows[m->count]);
            rc = bad(m, "its rows are not sorted");
        }
    }
    return rc;
}

static int read_items(gb_cbor *in, gb_message *m)
{
    uint64_t words = 0;
    int rc = read_list(in, m, ITEM * GB_SYNC_ITEMS_MAX, &words);
    if (rc == 0 && words % ITEM) rc = bad(m, "an item is not whole");
    if (rc == 0) rc = own(m, words / ITEM * sizeof(gb_sync_item));
    gb_sync_item *items = m->owned;
    m->items = items;
    for (; m->count < words / ITEM && rc == 0; m->count++) {
        gb_sync_item *item = &items[m->count];
        if ((rc = read_uint(in, m, &item->act)) == 0 && (rc = read_view(in, m, &item->view)) == 0)
            rc = read_bytes(in, m, &item->id, &item->id_size);
    }
    return rc;
}

static int read_part(gb_cbor *in, gb_message *m)
{
    gb_cbor_token token;
    int rc = read_small(in, m, &m->part);
    if (rc == 0) rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_BOOL) return bad(m, "yes or no was expected");
    m->last = token.boolean;
    return 0;
}

static int read_ids(gb_cbor *in, gb_message *m)
{
    size_t count = 0;
    int rc = read_numbers(in, m, &count);
    m->ids = m->owned;
    m->count = (uint32_t)count;
    return rc;
}

static int read_arcs(gb_cbor *in, gb_message *m)
{
    size_t count = 0;
    int rc = read_numbers(in, m, &count);
    if (rc == 0 && (count % 2 || count / 2 > GB_MESSAGE_ARCS_MAX)) rc = bad(m, "arcs are none");
    m->arcs = m->owned;
    m->count = (uint32_t)(count / 2);
    return rc;
}

static int read_field(gb_cbor *in, gb_message *m, uint32_t field)
{
    int rc;
    switch (field) {
    case F_SEQ:
        return read_uint(in, m, &m->seq);
    case F_SILO:
        return read_uint(in, m, &m->silo);
    case F_ACT:
        return read_uint(in, m, &m->act);
    case F_STATUS:
        return read_small(in, m, &m->status);
    case F_ID:
        return read_bytes(in, m, &m->id, &m->id_size);
    case F_CAPACITY:
        return read_capacity(in, m);
    case F_FROM:
        return read_view(in, m, &m->from);
    case F_ROW:
        rc = read_row(in, m, true, &m->owned_row);
        m->row = m->owned_row ? &m->owned_row->member : NULL;
        return rc;
    case F_IDS:
        return read_ids(in, m);
    case F_ROWS:
        return read_rows(in, m);
    case F_ARCS:
        return read_arcs(in, m);
    case F_PART:
        return read_part(in, m);
    default:
        return read_items(in, m);
    }
}

int gb_message_decode(gb_message *out, gb_mem *mem, const void *bytes, size_t size)
{
    gb_cbor in;
    gb_cbor_token token;
    uint64_t items = 0, kind = 0;
    *out = (gb_message){.mem = mem};
    gb_cbor_init(&in, bytes, size);
    int rc = read_list(&in, out, HEAD + 3 * FIELDS, &items);
    if (rc == 0) rc = read_uint(&in, out, &kind);
    if (rc < 0) return rc;
    if (kind >= GB_MSG_KINDS || !kinds[kind].name)
        return gb_err_set(GB_EINVAL, "a message of the unknown kind %llu between silos",
                          (unsigned long long)kind);
    out->kind = (gb_message_kind)kind;
    uint32_t fields = kinds[kind].fields, wanted = HEAD;
    for (uint32_t i = 0; i < FIELDS; i++) wanted += fields >> i & 1 ? items_of(1u << i) : 0;
    if (items != wanted) return bad(out, "it has not the fields of its kind");
    rc = read_view(&in, out, &out->view);
    for (uint32_t i = 0; i < FIELDS && rc == 0; i++) {
        if (fields >> i & 1) rc = read_field(&in, out, 1u << i);
    }
    if (rc == 0) rc = gb_cbor_next(&in, &token);
    if (rc == 0 && token.kind != GB_CBOR_END) rc = bad(out, "bytes behind its end");
    if (rc < 0) gb_message_fini(out);
    return rc < 0 ? rc : 0;
}

void gb_message_fini(gb_message *m)
{
    for (uint32_t i = 0; m->kind == GB_MSG_VIEW && m->owned && i < m->count; i++)
        gb_row_unref(m->rows[i]);
    if (m->owned) gb_mem_free(m->mem, m->owned, m->owned_size);
    gb_row_unref(m->owned_row);
    m->owned = NULL;
    m->owned_row = NULL;
    m->count = 0;
}
