/* Reading values. The bytes are ours, but nothing here trusts them. */
#include "host/host.h"
#include "host/value.h"
#include "wire/cbor.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const gb_item none;

/* ---- places ---- */

static void reader_at(gb_cbor *in, const gb_value *value, size_t at)
{
    gb_cbor_init(in, value->bytes.data, value->bytes.size);
    in->at = in->start + (at < value->bytes.size ? at : value->bytes.size);
}

static gb_item_type type_of_tag(uint64_t tag)
{
    switch (tag) {
    case GBI_TAG_INT64:
        return GB_ITEM_INT64;
    case GBI_TAG_UINT64:
        return GB_ITEM_UINT64;
    case GBI_TAG_REF:
        return GB_ITEM_REF;
    case GBI_TAG_ARRAY:
        return GB_ITEM_ARRAY;
    case GBI_TAG_BUFFER:
        return GB_ITEM_BUFFER;
    default:
        return GB_ITEM_NONE;
    }
}

static gb_item_type type_of(const gb_cbor_token *token)
{
    switch (token->kind) {
    case GB_CBOR_NIL:
        return GB_ITEM_NIL;
    case GB_CBOR_BOOL:
        return GB_ITEM_BOOL;
    case GB_CBOR_INT:
    case GB_CBOR_UINT:
    case GB_CBOR_DOUBLE:
        return GB_ITEM_NUMBER;
    case GB_CBOR_BYTES:
    case GB_CBOR_TEXT:
        return GB_ITEM_STRING;
    case GB_CBOR_LIST:
        return GB_ITEM_LIST;
    case GB_CBOR_MAP:
        return GB_ITEM_TABLE;
    case GB_CBOR_TAG:
        return type_of_tag(token->natural);
    default:
        return GB_ITEM_NONE;
    }
}

static gb_item item_at(const gb_value *value, size_t at)
{
    gb_cbor in;
    gb_cbor_token token;
    reader_at(&in, value, at);
    if (gb_cbor_next(&in, &token) < 0) return none;
    gb_item_type type = type_of(&token);
    return type == GB_ITEM_NONE ? none : (gb_item){type, value, at};
}

/* The token of an item; behind a tag of ours the one that follows it. */
static int token_of(gb_item item, gb_cbor *in, gb_cbor_token *token)
{
    if (!item.value) return gb_err_set(GB_EINVAL, "there is no value at that place");
    reader_at(in, item.value, item.at);
    int rc = gb_cbor_next(in, token);
    if (rc >= 0 && token->kind == GB_CBOR_TAG) rc = gb_cbor_next(in, token);
    return rc;
}

static size_t skip_from(const gb_value *value, size_t at)
{
    gb_cbor in;
    reader_at(&in, value, at);
    if (gb_cbor_skip(&in, 3 * GBI_DEPTH_MAX) < 0) return value->bytes.size;
    return (size_t)(in.at - in.start);
}

const char *gb_item_type_name(gb_item_type type)
{
    static const char *const names[] = {"nothing", "nil",    "boolean",   "number",
                                        "int64",   "uint64", "string",    "list",
                                        "table",   "array",  "reference", "buffer"};
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

static int refuse(gb_item item, const char *wanted)
{
    return gb_err_set(GB_EINVAL, "expected %s, got %s", wanted, gb_item_type_name(item.type));
}

int gb_value_count(const gb_value *value)
{
    return value ? value->count : 0;
}

gb_item gb_value_at(const gb_value *value, int i)
{
    if (!value || i < 0 || i >= value->count || value->depth > 0) return none;
    size_t at = 0;
    for (; i > 0; i--) at = skip_from(value, at);
    return item_at(value, at);
}

/* ---- scalars ---- */

int gb_as_bool(gb_item item, int *out)
{
    gb_cbor in;
    gb_cbor_token token;
    if (!out) return gb_err_set(GB_EINVAL, "gb_as_bool: out is NULL");
    if (item.type != GB_ITEM_BOOL) return refuse(item, "a boolean");
    int rc = token_of(item, &in, &token);
    if (rc >= 0) *out = token.boolean;
    return rc;
}

static bool is_number(gb_item item)
{
    return item.type == GB_ITEM_NUMBER || item.type == GB_ITEM_INT64 || item.type == GB_ITEM_UINT64;
}

int gb_as_int(gb_item item, int64_t *out)
{
    gb_cbor in;
    gb_cbor_token token;
    if (!out) return gb_err_set(GB_EINVAL, "gb_as_int: out is NULL");
    if (!is_number(item)) return refuse(item, "a number");
    int rc = token_of(item, &in, &token);
    if (rc < 0) return rc;
    if (token.kind == GB_CBOR_INT) {
        *out = token.integer;
        return 0;
    }
    if (token.kind == GB_CBOR_UINT)
        return gb_err_set(GB_EINVAL, "%" PRIu64 " does not fit an int64", token.natural);
    if (token.number != floor(token.number) || !(token.number >= -0x1p63 && token.number < 0x1p63))
        return gb_err_set(GB_EINVAL, "%.17g is no integer of 64 bits", token.number);
    *out = (int64_t)token.number;
    return 0;
}

int gb_as_uint(gb_item item, uint64_t *out)
{
    gb_cbor in;
    gb_cbor_token token;
    if (!out) return gb_err_set(GB_EINVAL, "gb_as_uint: out is NULL");
    if (!is_number(item)) return refuse(item, "a number");
    int rc = token_of(item, &in, &token);
    if (rc < 0) return rc;
    if (gb_cbor_natural(&token, out)) return 0;
    if (token.kind == GB_CBOR_INT)
        return gb_err_set(GB_EINVAL, "%" PRId64 " is negative", token.integer);
    if (token.number != floor(token.number) || !(token.number >= 0 && token.number < 0x1p64))
        return gb_err_set(GB_EINVAL, "%.17g is no unsigned integer of 64 bits", token.number);
    *out = (uint64_t)token.number;
    return 0;
}

int gb_as_number(gb_item item, double *out)
{
    gb_cbor in;
    gb_cbor_token token;
    if (!out) return gb_err_set(GB_EINVAL, "gb_as_number: out is NULL");
    if (!is_number(item)) return refuse(item, "a number");
    int rc = token_of(item, &in, &token);
    if (rc < 0) return rc;
    *out = token.kind == GB_CBOR_INT    ? (double)token.integer
           : token.kind == GB_CBOR_UINT ? (double)token.natural
                                        : token.number;
    return 0;
}

/* ---- strings ---- */

int gb_as_bytes(gb_item item, const void **out, size_t *size)
{
    gb_cbor in;
    gb_cbor_token token;
    if (!out || !size) return gb_err_set(GB_EINVAL, "gb_as_bytes: out or size is NULL");
    if (item.type != GB_ITEM_STRING) return refuse(item, "a string");
    int rc = token_of(item, &in, &token);
    if (rc < 0) return rc;
    *out = token.bytes;
    *size = token.size;
    return 0;
}

/* A copy ended by NUL that lives as long as the value: the bytes themselves have no room for it. */
static const char *keep_text(const gb_value *reader, const void *bytes, size_t size)
{
    gb_value *value = (gb_value *)reader; /* one thread at a time, so that this cache is safe */
    struct gbi_text *text = gb_mem_alloc(&value->host->mem, sizeof *text + size + 1);
    if (!text) return NULL;
    if (size) memcpy(text->text, bytes, size);
    text->text[size] = 0;
    text->bytes = size + 1;
    text->next = value->texts;
    value->texts = text;
    return text->text;
}

int gb_as_text(gb_item item, const char **out)
{
    const void *bytes;
    size_t size;
    if (!out) return gb_err_set(GB_EINVAL, "gb_as_text: out is NULL");
    int rc = gb_as_bytes(item, &bytes, &size);
    if (rc < 0) return rc;
    if (size && memchr(bytes, 0, size))
        return gb_err_set(GB_EINVAL, "a string with a zero byte is no text (gb_as_bytes reads it)");
    const char *text = keep_text(item.value, bytes, size);
    if (!text) return GB_ENOMEM;
    *out = text;
    return 0;
}

/* ---- arrays and references ---- */

int gb_as_array(gb_item item, const char **type, const void **data, int64_t *count)
{
    gb_cbor in;
    gb_cbor_token list, index, name, offset, elements;
    if (!type || !data || !count)
        return gb_err_set(GB_EINVAL, "gb_as_array: type, data or count is NULL");
    if (item.type != GB_ITEM_ARRAY) return refuse(item, "an array");
    int rc = token_of(item, &in, &list);
    if (rc < 0 || (rc = gb_cbor_next(&in, &index)) < 0 || (rc = gb_cbor_next(&in, &name)) < 0 ||
        (rc = gb_cbor_next(&in, &offset)) < 0 || (rc = gb_cbor_next(&in, &elements)) < 0)
        return rc;
    const gb_value *value = item.value;
    if (index.kind != GB_CBOR_INT || name.kind != GB_CBOR_TEXT || offset.kind != GB_CBOR_INT ||
        elements.kind != GB_CBOR_INT || index.integer < 0 || index.integer >= value->block_count ||
        !value->blocks[index.integer] || offset.integer < 0 || elements.integer < 0 ||
        (size_t)offset.integer > value->blocks[index.integer]->bytes)
        return gb_err_set(GB_EINVAL, "an array without its bytes");
    const char *text = keep_text(value, name.bytes, name.size);
    if (!text) return GB_ENOMEM;
    *type = text;
    *data = (const char *)value->blocks[index.integer]->data + offset.integer;
    *count = elements.integer;
    return 0;
}

int gb_as_ref(gb_item item, const char **type, const char **key)
{
    gb_cbor in;
    gb_cbor_token list, name, id;
    char number[32];
    if (!type || !key) return gb_err_set(GB_EINVAL, "gb_as_ref: type or key is NULL");
    if (item.type != GB_ITEM_REF) return refuse(item, "a reference");
    int rc = token_of(item, &in, &list);
    if (rc < 0 || (rc = gb_cbor_next(&in, &name)) < 0 || (rc = gb_cbor_next(&in, &id)) < 0)
        return rc;
    if (name.kind != GB_CBOR_TEXT || (id.kind != GB_CBOR_INT && id.kind != GB_CBOR_BYTES))
        return gb_err_set(GB_EINVAL, "a reference of another shape");
    if (id.kind == GB_CBOR_INT) {
        id.size = (size_t)snprintf(number, sizeof number, "%" PRId64, id.integer);
        id.bytes = (const uint8_t *)number;
    }
    const char *type_text = keep_text(item.value, name.bytes, name.size);
    const char *key_text = type_text ? keep_text(item.value, id.bytes, id.size) : NULL;
    if (!key_text) return GB_ENOMEM;
    *type = type_text;
    *key = key_text;
    return 0;
}

/* ---- inside of lists and tables ---- */

int64_t gb_item_count(gb_item item)
{
    gb_cbor in;
    gb_cbor_token token;
    const char *type;
    const void *data;
    int64_t count;
    if (item.type == GB_ITEM_ARRAY) return gb_as_array(item, &type, &data, &count) < 0 ? 0 : count;
    if (item.type != GB_ITEM_LIST && item.type != GB_ITEM_TABLE && item.type != GB_ITEM_STRING)
        return 0;
    if (token_of(item, &in, &token) < 0) return 0;
    return item.type == GB_ITEM_STRING ? (int64_t)token.size : (int64_t)token.natural;
}

int gb_walk_init(gb_walk *walk, gb_item container)
{
    gb_cbor in;
    gb_cbor_token token;
    if (!walk) return gb_err_set(GB_EINVAL, "gb_walk_init: walk is NULL");
    *walk = (gb_walk){0};
    if (container.type != GB_ITEM_LIST && container.type != GB_ITEM_TABLE)
        return refuse(container, "a list or table");
    int rc = token_of(container, &in, &token);
    if (rc < 0) return rc;
    walk->value = container.value;
    walk->at = (size_t)(in.at - in.start);
    walk->left = (int64_t)token.natural;
    walk->pairs = container.type == GB_ITEM_TABLE;
    return 0;
}

int gb_walk_next(gb_walk *walk, gb_item *key, gb_item *item)
{
    if (!walk || !walk->value || walk->left <= 0) return 0;
    walk->left--;
    if (key) *key = walk->pairs ? item_at(walk->value, walk->at) : none;
    if (walk->pairs) walk->at = skip_from(walk->value, walk->at);
    if (item) *item = item_at(walk->value, walk->at);
    walk->at = skip_from(walk->value, walk->at);
    return 1;
}

gb_item gb_item_at(gb_item list, int64_t i)
{
    gb_walk walk;
    gb_item item;
    if (list.type != GB_ITEM_LIST || i < 0 || gb_walk_init(&walk, list) < 0) return none;
    while (gb_walk_next(&walk, NULL, &item))
        if (i-- == 0) return item;
    return none;
}

gb_item gb_item_field(gb_item table, const char *name)
{
    gb_walk walk;
    gb_item key, item;
    if (table.type != GB_ITEM_TABLE || !name || gb_walk_init(&walk, table) < 0) return none;
    size_t wanted = strlen(name);
    while (gb_walk_next(&walk, &key, &item)) {
        const void *bytes;
        size_t size;
        if (key.type != GB_ITEM_STRING || gb_as_bytes(key, &bytes, &size) < 0) continue;
        if (size == wanted && memcmp(bytes, name, size) == 0) return item;
    }
    return none;
}

/* ---- what a method's results say ---- */

int gbi_value_failure(const gb_value *value, const char **message, const char **traceback)
{
    if (value->count < 3) return 0;
    gb_item first = gb_value_at(value, 0), text = gb_value_at(value, 1),
            code = gb_value_at(value, 2);
    const char *name;
    *message = *traceback = NULL;
    if (first.type != GB_ITEM_NIL || code.type != GB_ITEM_STRING || gb_as_text(code, &name) < 0)
        return 0;
    int rc = gb_err_code(name);
    if (rc == 0) return 0;
    if (text.type != GB_ITEM_STRING || gb_as_text(text, message) < 0) *message = gb_err_text(rc);
    gb_item trace = gb_value_at(value, 3);
    if (trace.type != GB_ITEM_STRING || gb_as_text(trace, traceback) < 0) *traceback = NULL;
    return rc;
}
