/* Rows as bytes and back, and what a view owns. */
#include "base/err.h"
#include "cluster/table.h"
#include "wire/cbor.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, DEPTH_MAX = 8 };

/* Keys of the map; a later version may add some, which this one passes over. */
enum {
    KEY_FORMAT,
    KEY_ID,
    KEY_NAME,
    KEY_ADDRESS,
    KEY_EPOCH,
    KEY_STATE,
    KEY_STARTED,
    KEY_ALIVE,
    KEY_VOTES,
    KEY_LABELS,
    KEY_TYPES,
    KEY_GENERATION,
    KEY_RETURNS, /* from here on a row of an older version may lack them */
    KEY_LEFT,
    KEYS
};
enum { NEEDED = (1u << KEY_RETURNS) - 1 };

static const char *const states[] = {"joining", "active", "draining", "stopping", "dead"};
enum { STATES = sizeof states / sizeof states[0] };

const char *gb_silo_state_name(gb_silo_state state)
{
    return (unsigned)state < STATES ? states[state] : "unknown";
}

void gb_member_fini(gb_member *member, gb_mem *mem)
{
    if (member->labels) gb_mem_strfree(mem, member->labels);
    if (member->types) gb_mem_strfree(mem, member->types);
    member->labels = member->types = NULL;
}

int gb_member_copy(gb_member *out, gb_mem *mem, const gb_member *from)
{
    *out = *from;
    out->labels = gb_mem_strdup(mem, from->labels ? from->labels : "");
    out->types = gb_mem_strdup(mem, from->types ? from->types : "");
    if (out->labels && out->types) return 0;
    gb_member_fini(out, mem);
    return GB_ENOMEM;
}

void gb_table_view_fini(gb_table_view *view, gb_mem *mem)
{
    for (uint32_t i = 0; i < view->count; i++) gb_member_fini(&view->rows[i], mem);
    if (view->rows) gb_mem_free(mem, view->rows, view->count * sizeof *view->rows);
    *view = (gb_table_view){0};
}

/* ---- encoding ---- */

static int check_text(const char *what, const char *text, size_t room, bool needed)
{
    size_t size = strnlen(text, room);
    if (size >= room) return gb_err_set(GB_EINVAL, "a silo's %s is over %zu bytes", what, room - 1);
    if (needed && !size) return gb_err_set(GB_EINVAL, "a silo without %s", what);
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return gb_err_set(GB_EINVAL, "a control character in a silo's %s", what);
    }
    return 0;
}

static int check_member(const gb_member *member)
{
    int rc = 0;
    if (!member->id) return gb_err_set(GB_EINVAL, "a silo with the id 0");
    if ((unsigned)member->state >= STATES)
        return gb_err_set(GB_EINVAL, "a silo in the state %d", (int)member->state);
    if (member->vote_count > GB_MEMBER_VOTES_MAX)
        return gb_err_set(GB_EINVAL, "%u votes about one silo", (unsigned)member->vote_count);
    if ((rc = check_text("name", member->name, sizeof member->name, true)) < 0 ||
        (rc = check_text("address", member->address, sizeof member->address, true)) < 0 ||
        (rc = check_text("labels", member->labels ? member->labels : "", GB_MEMBER_LABELS_BYTES,
                         false)) < 0)
        return rc;
    return check_text("types", member->types ? member->types : "", GB_MEMBER_TYPES_BYTES, false);
}

static int put_text(gb_buf *out, int key, const char *text)
{
    int rc = gb_cbor_put_int(out, key);
    return rc < 0 ? rc : gb_cbor_put_text(out, text ? text : "", text ? strlen(text) : 0);
}

static int put_uint(gb_buf *out, int key, uint64_t value)
{
    int rc = gb_cbor_put_int(out, key);
    return rc < 0 ? rc : gb_cbor_put_uint(out, value);
}

static int put_int(gb_buf *out, int key, int64_t value)
{
    int rc = gb_cbor_put_int(out, key);
    return rc < 0 ? rc : gb_cbor_put_int(out, value);
}

static int put_votes(gb_buf *out, const gb_member *member)
{
    int rc = gb_cbor_put_int(out, KEY_VOTES);
    if (rc >= 0) rc = gb_cbor_put_list(out, 2 * (uint64_t)member->vote_count);
    for (uint32_t i = 0; i < member->vote_count && rc >= 0; i++) {
        rc = gb_cbor_put_uint(out, member->votes[i].voter);
        if (rc >= 0) rc = gb_cbor_put_int(out, member->votes[i].wall_ns);
    }
    return rc;
}

int gb_member_encode(gb_buf *out, const gb_member *member)
{
    int rc = check_member(member);
    size_t before = out->size;
    if (rc < 0 || (rc = gb_cbor_put_map(out, KEYS)) < 0 ||
        (rc = put_uint(out, KEY_FORMAT, FORMAT)) < 0 ||
        (rc = put_uint(out, KEY_ID, member->id)) < 0 ||
        (rc = put_text(out, KEY_NAME, member->name)) < 0 ||
        (rc = put_text(out, KEY_ADDRESS, member->address)) < 0 ||
        (rc = put_uint(out, KEY_EPOCH, member->epoch)) < 0 ||
        (rc = put_uint(out, KEY_STATE, (uint64_t)member->state)) < 0 ||
        (rc = put_int(out, KEY_STARTED, member->started_ns)) < 0 ||
        (rc = put_int(out, KEY_ALIVE, member->alive_ns)) < 0 || (rc = put_votes(out, member)) < 0 ||
        (rc = put_text(out, KEY_LABELS, member->labels)) < 0 ||
        (rc = put_text(out, KEY_TYPES, member->types)) < 0 ||
        (rc = put_uint(out, KEY_GENERATION, member->generation)) < 0 ||
        (rc = put_uint(out, KEY_RETURNS, member->returns)) < 0 ||
        (rc = put_uint(out, KEY_LEFT, member->left)) < 0) {
        out->size = before;
        return rc;
    }
    return 0;
}

/* ---- decoding ---- */

static int bad(const char *what)
{
    return gb_err_set(GB_EINVAL, "a silo's row is damaged or of another format: %s", what);
}

static int read_uint(gb_cbor *in, uint64_t *out, const char *what)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    return gb_cbor_natural(&token, out) ? 0 : bad(what);
}

static int read_int(gb_cbor *in, int64_t *out, const char *what)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_INT) return bad(what);
    *out = token.integer;
    return 0;
}

static int read_span(gb_cbor *in, gb_cbor_token *token, size_t room, const char *what)
{
    int rc = gb_cbor_next(in, token);
    if (rc < 0) return rc;
    if (token->kind != GB_CBOR_TEXT || token->size >= room ||
        (token->size && memchr(token->bytes, 0, token->size)))
        return bad(what);
    return 0;
}

static int read_text(gb_cbor *in, char *out, size_t room, const char *what)
{
    gb_cbor_token token;
    int rc = read_span(in, &token, room, what);
    if (rc < 0) return rc;
    if (token.size) memcpy(out, token.bytes, token.size);
    out[token.size] = 0;
    return 0;
}

static int read_owned(gb_cbor *in, gb_mem *mem, char **out, size_t room, const char *what)
{
    gb_cbor_token token;
    int rc = read_span(in, &token, room, what);
    if (rc < 0) return rc;
    char *text = gb_mem_alloc(mem, token.size + 1);
    if (!text) return GB_ENOMEM;
    if (token.size) memcpy(text, token.bytes, token.size);
    text[token.size] = 0;
    *out = text;
    return 0;
}

static int read_votes(gb_cbor *in, gb_member *out)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_LIST || token.natural % 2 != 0 ||
        token.natural / 2 > GB_MEMBER_VOTES_MAX)
        return bad("votes");
    out->vote_count = (uint32_t)(token.natural / 2);
    for (uint32_t i = 0; i < out->vote_count; i++) {
        if ((rc = read_uint(in, &out->votes[i].voter, "votes")) < 0) return rc;
        if ((rc = read_int(in, &out->votes[i].wall_ns, "votes")) < 0) return rc;
    }
    return 0;
}

static int read_pair(gb_cbor *in, gb_mem *mem, int key, gb_member *out)
{
    uint64_t value = 0;
    int rc = 0;
    switch (key) {
    case KEY_FORMAT:
        rc = read_uint(in, &value, "format");
        return rc < 0 ? rc : value == FORMAT ? 0 : bad("format");
    case KEY_ID:
        return read_uint(in, &out->id, "id");
    case KEY_NAME:
        return read_text(in, out->name, sizeof out->name, "name");
    case KEY_ADDRESS:
        return read_text(in, out->address, sizeof out->address, "address");
    case KEY_EPOCH:
        return read_uint(in, &out->epoch, "epoch");
    case KEY_GENERATION:
        return read_uint(in, &out->generation, "generation");
    case KEY_STATE:
        rc = read_uint(in, &value, "state");
        if (rc >= 0 && value >= STATES) rc = bad("state");
        if (rc >= 0) out->state = (gb_silo_state)value;
        return rc;
    case KEY_RETURNS:
        rc = read_uint(in, &value, "returns");
        if (rc >= 0 && value > UINT32_MAX) rc = bad("returns");
        if (rc >= 0) out->returns = (uint32_t)value;
        return rc;
    case KEY_LEFT:
        rc = read_uint(in, &value, "left");
        if (rc >= 0 && value > 1) rc = bad("left");
        if (rc >= 0) out->left = value == 1;
        return rc;
    case KEY_STARTED:
        return read_int(in, &out->started_ns, "started");
    case KEY_ALIVE:
        return read_int(in, &out->alive_ns, "alive");
    case KEY_VOTES:
        return read_votes(in, out);
    case KEY_LABELS:
        return read_owned(in, mem, &out->labels, GB_MEMBER_LABELS_BYTES, "labels");
    case KEY_TYPES:
        return read_owned(in, mem, &out->types, GB_MEMBER_TYPES_BYTES, "types");
    default:
        return gb_cbor_skip(in, DEPTH_MAX);
    }
}

static int read_member(gb_member *out, gb_mem *mem, gb_cbor *in)
{
    gb_cbor_token token;
    int rc = gb_cbor_next(in, &token);
    if (rc < 0) return rc;
    if (token.kind != GB_CBOR_MAP) return bad("no map");
    uint64_t pairs = token.natural;
    uint32_t seen = 0;
    for (uint64_t i = 0; i < pairs; i++) {
        uint64_t key = 0;
        if ((rc = read_uint(in, &key, "a key")) < 0) return rc;
        if (key < KEYS && (seen & 1u << key)) return bad("a key twice");
        if (key < KEYS) seen |= 1u << key;
        if ((rc = read_pair(in, mem, key < KEYS ? (int)key : KEYS, out)) < 0) return rc;
    }
    if (in->at != in->end) return bad("bytes behind it");
    if ((seen & NEEDED) != NEEDED) return bad("a field is missing");
    return check_member(out);
}

int gb_member_decode(gb_member *out, gb_mem *mem, const void *bytes, size_t size)
{
    *out = (gb_member){0};
    gb_cbor in;
    gb_cbor_init(&in, bytes, size);
    int rc = read_member(out, mem, &in);
    if (rc < 0) {
        gb_member_fini(out, mem);
        *out = (gb_member){0};
    }
    return rc;
}
