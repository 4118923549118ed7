/* Building values, and their life. */
#include "host/value.h"

#include "host/embed.h"
#include "wire/cbor.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_MAX 9007199254740992.0 /* 2^53 */

/* ---- life ---- */

gb_value *gbi_value_new(gb_host *host)
{
    gb_value *value = gb_mem_zalloc(&host->mem, sizeof *value);
    if (!value) return NULL;
    value->host = host;
    gb_buf_init(&value->bytes, &host->mem);
    gbi_host_ref(host);
    return value;
}

gb_value *gb_value_new(gb_host *host)
{
    if (!host) {
        gb_err_set(GB_EINVAL, "gb_value_new: host is NULL");
        return NULL;
    }
    return gbi_value_new(host);
}

static void drop_texts(gb_value *value)
{
    while (value->texts) {
        struct gbi_text *text = value->texts;
        value->texts = text->next;
        gb_mem_free(&value->host->mem, text, sizeof *text + text->bytes);
    }
}

void gb_value_clear(gb_value *value)
{
    if (!value) return;
    drop_texts(value);
    for (uint32_t i = 0; i < value->block_count; i++) gb_block_unref(value->blocks[i]);
    free(value->blocks);
    free(value->why);
    value->blocks = NULL;
    value->block_count = 0;
    value->bytes.size = 0;
    value->count = 0;
    value->nodes = value->depth = 0;
    value->rc = 0;
    value->why = NULL;
}

void gb_value_free(gb_value *value)
{
    if (!value) return;
    gb_host *host = value->host;
    gb_value_clear(value);
    gb_buf_fini(&value->bytes);
    gb_mem_free(&host->mem, value->frames, value->frame_room * sizeof *value->frames);
    gb_mem_free(&host->mem, value, sizeof *value);
    gbi_host_unref(host);
}

gb_value *gbi_value_results(gb_host *host, const gb_buf *bytes, gb_block **blocks,
                            uint32_t block_count)
{
    gb_value *value = gbi_value_new(host);
    if (!value) return NULL;
    if (bytes->size && gb_buf_put(&value->bytes, bytes->data, bytes->size) < 0) {
        gb_value_free(value);
        return NULL;
    }
    gb_cbor in;
    gb_cbor_init(&in, value->bytes.data, value->bytes.size);
    while (in.at < in.end && gb_cbor_skip(&in, 3 * GBI_DEPTH_MAX) >= 0) value->count++;
    value->blocks = blocks;
    value->block_count = block_count;
    if (value->count == 0) gb_put_bool(value, 1); /* a method that returns nothing answers true */
    return value;
}

int gbi_value_keep(gb_value *value)
{
    for (uint32_t i = 0; i < value->block_count; i++) {
        gb_block *block = value->blocks[i];
        if (!block || block->mem == &value->host->mem) continue;
        gb_block *copy = gb_block_copy(&value->host->mem, block, 0, block->bytes);
        if (!copy) return GB_ENOMEM;
        value->blocks[i] = copy;
        gb_block_unref(block);
    }
    return 0;
}

gb_value *gb_value_copy(const gb_value *from)
{
    if (!from) {
        gb_err_set(GB_EINVAL, "gb_value_copy: value is NULL");
        return NULL;
    }
    if (gbi_value_check(from) < 0) return NULL;
    gb_value *value = gbi_value_new(from->host);
    if (!value) return NULL;
    int rc = from->bytes.size ? gb_buf_put(&value->bytes, from->bytes.data, from->bytes.size) : 0;
    if (rc >= 0 && from->block_count) {
        value->blocks = calloc(from->block_count, sizeof *value->blocks);
        if (!value->blocks) rc = gb_err_set(GB_ENOMEM, "out of memory: a value");
    }
    for (uint32_t i = 0; rc >= 0 && i < from->block_count; i++) {
        const gb_block *block = from->blocks[i];
        value->blocks[i] = block ? gb_block_copy(&from->host->mem, block, 0, block->bytes) : NULL;
        if (block && !value->blocks[i]) rc = GB_ENOMEM;
        value->block_count++;
    }
    if (rc < 0) {
        gb_value_free(value);
        return NULL;
    }
    value->count = from->count;
    value->nodes = from->nodes;
    return value;
}

/* ---- failures ---- */

static int fail(gb_value *value, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(gb_value *value, int rc, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    value->rc = rc;
    value->why = strdup(text);
    return gb_err_set(rc, "%s", text);
}

static int refused(const gb_value *value)
{
    return gb_err_set(value->rc, "%s", value->why ? value->why : gb_err_text(value->rc));
}

int gbi_value_check(const gb_value *value)
{
    if (value->rc < 0) return refused(value);
    if (value->depth > 0)
        return gb_err_set(GB_EINVAL, "a %s was begun and not ended (gb_put_end)",
                          value->frames[value->depth - 1].table ? "table" : "list");
    return 0;
}

/* ---- putting ---- */

typedef enum { PUT_SCALAR, PUT_OTHER } put_kind; /* what may be a key, and what may not */

/* Before every put: one more value, at this place. */
static int begin(gb_value *value, put_kind kind, size_t bytes)
{
    if (!value) return gb_err_set(GB_EINVAL, "the value to put to is NULL");
    if (value->rc < 0) return refused(value);
    if (++value->nodes > GBI_NODES_MAX)
        return fail(value, GB_EINVAL, "more than %d values in one message", GBI_NODES_MAX);
    size_t most = (size_t)value->host->config.message_bytes_max;
    if (bytes > most || value->bytes.size > most - bytes)
        return fail(value, GB_EINVAL,
                    "more than %zu MiB in one message, arrays beside it (max_message)", most >> 20);
    if (value->depth == 0) {
        value->count++;
        return 0;
    }
    gbi_frame *frame = &value->frames[value->depth - 1];
    if (frame->table && frame->items % 2 == 0 && kind != PUT_SCALAR)
        return fail(value, GB_EINVAL, "a key that is no string, number or boolean");
    frame->items++;
    return 0;
}

/* After it: what is out of memory stays so. */
static int ended(gb_value *value, int rc)
{
    return rc < 0 ? fail(value, rc, "%s", gb_err_detail()) : 0;
}

int gb_put_nil(gb_value *value)
{
    int rc = begin(value, PUT_OTHER, 0);
    return rc < 0 ? rc : ended(value, gb_cbor_put_nil(&value->bytes));
}

int gb_put_bool(gb_value *value, int truth)
{
    int rc = begin(value, PUT_SCALAR, 0);
    return rc < 0 ? rc : ended(value, gb_cbor_put_bool(&value->bytes, truth != 0));
}

int gb_put_int(gb_value *value, int64_t number)
{
    int rc = begin(value, PUT_SCALAR, 0);
    if (rc < 0) return rc;
    if (number >= (int64_t)WHOLE_MAX || number <= -(int64_t)WHOLE_MAX)
        return fail(value, GB_EINVAL, "%lld is no exact Lua number (gb_put_int64 keeps it)",
                    (long long)number);
    return ended(value, gb_cbor_put_int(&value->bytes, number));
}

int gb_put_number(gb_value *value, double number)
{
    bool whole =
        number == floor(number) && fabs(number) < WHOLE_MAX && !(number == 0 && signbit(number));
    int rc = begin(value, number == number ? PUT_SCALAR : PUT_OTHER, 0);
    if (rc < 0) return rc;
    return ended(value, whole ? gb_cbor_put_int(&value->bytes, (int64_t)number)
                              : gb_cbor_put_double(&value->bytes, number));
}

int gb_put_int64(gb_value *value, int64_t number)
{
    int rc = begin(value, PUT_OTHER, 0);
    if (rc < 0) return rc;
    rc = gb_cbor_put_tag(&value->bytes, GBI_TAG_INT64);
    return ended(value, rc < 0 ? rc : gb_cbor_put_int(&value->bytes, number));
}

int gb_put_uint64(gb_value *value, uint64_t number)
{
    int rc = begin(value, PUT_OTHER, 0);
    if (rc < 0) return rc;
    rc = gb_cbor_put_tag(&value->bytes, GBI_TAG_UINT64);
    return ended(value, rc < 0 ? rc : gb_cbor_put_uint(&value->bytes, number));
}

int gb_put_bytes(gb_value *value, const void *bytes, size_t size)
{
    int rc = begin(value, PUT_SCALAR, size);
    if (rc < 0) return rc;
    if (!bytes && size) return fail(value, GB_EINVAL, "gb_put_bytes: bytes is NULL");
    return ended(value, gb_cbor_put_bytes(&value->bytes, bytes ? bytes : "", size));
}

int gb_put_text(gb_value *value, const char *text)
{
    if (!value || text) return gb_put_bytes(value, text, text ? strlen(text) : 0);
    return value->rc < 0 ? refused(value) : fail(value, GB_EINVAL, "gb_put_text: text is NULL");
}

/* ---- lists and tables ---- */

static int open_frame(gb_value *value, bool table)
{
    int rc = begin(value, PUT_OTHER, 0);
    if (rc < 0) return rc;
    if (value->depth == GBI_DEPTH_MAX)
        return fail(value, GB_EINVAL, "nested more than %d deep", GBI_DEPTH_MAX);
    if (value->depth == value->frame_room) {
        gbi_frame *frames =
            gb_mem_grow(&value->host->mem, value->frames, &value->frame_room, 4, sizeof *frames);
        if (!frames) return ended(value, GB_ENOMEM);
        value->frames = frames;
    }
    size_t at = value->bytes.size;
    rc = gb_cbor_put_nil(&value->bytes); /* one byte, which the header of a short one needs */
    if (rc < 0) return ended(value, rc);
    value->frames[value->depth++] = (gbi_frame){.at = at, .table = table};
    return 0;
}

int gb_put_list(gb_value *value)
{
    return open_frame(value, false);
}

int gb_put_table(gb_value *value)
{
    return open_frame(value, true);
}

/* Only now the count is known, and with it the size of the header. */
static int put_header(gb_value *value, const gbi_frame *frame)
{
    gb_buf *bytes = &value->bytes;
    size_t end = bytes->size;
    int rc = frame->table ? gb_cbor_put_map(bytes, frame->items / 2)
                          : gb_cbor_put_list(bytes, frame->items);
    if (rc < 0) return rc;
    uint8_t header[16];
    size_t size = bytes->size - end, content = end - frame->at - 1;
    memcpy(header, bytes->data + end, size);
    memmove(bytes->data + frame->at + size, bytes->data + frame->at + 1, content);
    memcpy(bytes->data + frame->at, header, size);
    bytes->size = frame->at + size + content;
    return 0;
}

int gb_put_end(gb_value *value)
{
    if (!value) return gb_err_set(GB_EINVAL, "the value to put to is NULL");
    if (value->rc < 0) return refused(value);
    if (value->depth == 0)
        return fail(value, GB_EINVAL, "gb_put_end without gb_put_list or gb_put_table");
    gbi_frame frame = value->frames[value->depth - 1];
    if (frame.table && frame.items % 2)
        return fail(value, GB_EINVAL, "the last key of a table has no value");
    value->depth--;
    return ended(value, put_header(value, &frame));
}

/* ---- references ---- */

static int put_ref(gb_value *value, const char *type, const char *key, int64_t number)
{
    int rc = begin(value, PUT_OTHER, 2 * GBI_KEY_MAX);
    if (rc < 0) return rc;
    if ((rc = gbi_check_type(type)) < 0) return ended(value, rc);
    gb_key as = gb_key_number(number);
    if ((rc = key ? gbi_check_key(key, strlen(key), &as) : gbi_check_key_int(number)) < 0)
        return ended(value, rc);
    gb_buf *out = &value->bytes;
    if ((rc = gb_cbor_put_tag(out, GBI_TAG_REF)) < 0 || (rc = gb_cbor_put_list(out, 2)) < 0 ||
        (rc = gb_cbor_put_text(out, type, strlen(type))) < 0)
        return ended(value, rc);
    return ended(value, as.text ? gb_cbor_put_bytes(out, as.text, as.size)
                                : gb_cbor_put_int(out, as.number));
}

int gb_put_ref(gb_value *value, const char *type, const char *key)
{
    if (value && value->rc >= 0 && !key) return fail(value, GB_EINVAL, "gb_put_ref: key is NULL");
    return put_ref(value, type, key, 0);
}

int gb_put_ref_int(gb_value *value, const char *type, int64_t key)
{
    return put_ref(value, type, NULL, key);
}

/* ---- arrays ---- */

static const struct {
    const char *name, *vector; /* of the scalar, and before the lanes of its vectors */
    uint8_t bytes;
} scalars[] = {
    {"float", "float", 4},      {"double", "double", 8}, {"int8", "char", 1},
    {"uint8", "uchar", 1},      {"int16", "short", 2},   {"uint16", "ushort", 2},
    {"int32", "int", 4},        {"uint32", "uint", 4},   {"int64", "longlong", 8},
    {"uint64", "ulonglong", 8},
};

size_t gbi_type_bytes(const char *type)
{
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        if (strcmp(type, scalars[i].name) == 0) return scalars[i].bytes;
        size_t size = strlen(scalars[i].vector);
        if (strncmp(type, scalars[i].vector, size) != 0) continue;
        const char *lanes = type + size;
        if (lanes[0] >= '2' && lanes[0] <= '4' && lanes[1] == 0)
            return (size_t)(lanes[0] - '0') * scalars[i].bytes;
    }
    return 0;
}

static int check_array(gb_value *value, const char *type, const void *data, int64_t count,
                       size_t *bytes)
{
    if (!type) return fail(value, GB_EINVAL, "the type of an array is NULL");
    size_t element = gbi_type_bytes(type);
    if (!element)
        return fail(value, GB_EINVAL,
                    "unknown element type '%.40s': float double int8 .. int64 uint8 .. uint64, or "
                    "a vector of 2 to 4 of them",
                    type);
    if (count < 0 || (uint64_t)count > (uint64_t)INT64_MAX / element)
        return fail(value, GB_EINVAL, "an array of %lld elements", (long long)count);
    if (!data && count) return fail(value, GB_EINVAL, "the data of an array is NULL");
    *bytes = (size_t)count * element;
    return 0;
}

/* Takes the block over, also when it fails. */
static int put_block(gb_value *value, const char *type, gb_block *block, int64_t count)
{
    gb_block **grown = realloc(value->blocks, (value->block_count + 1) * sizeof *value->blocks);
    if (!grown) {
        gb_block_unref(block);
        return fail(value, GB_ENOMEM, "out of memory: an array");
    }
    value->blocks = grown;
    uint32_t at = value->block_count;
    grown[value->block_count++] = block;
    gb_buf *out = &value->bytes;
    int rc;
    if ((rc = gb_cbor_put_tag(out, GBI_TAG_ARRAY)) < 0 || (rc = gb_cbor_put_list(out, 4)) < 0 ||
        (rc = gb_cbor_put_uint(out, at)) < 0 ||
        (rc = gb_cbor_put_text(out, type, strlen(type))) < 0 || (rc = gb_cbor_put_uint(out, 0)) < 0)
        return ended(value, rc);
    return ended(value, gb_cbor_put_int(out, count));
}

int gb_put_array(gb_value *value, const char *type, const void *data, int64_t count)
{
    size_t bytes;
    int rc = begin(value, PUT_OTHER, 64);
    if (rc < 0 || (rc = check_array(value, type, data, count, &bytes)) < 0) return rc;
    gb_block *block = gb_block_new_raw(&value->host->mem, bytes);
    if (!block) return ended(value, GB_ENOMEM);
    if (bytes) memcpy(block->data, data, bytes);
    return put_block(value, type, block, count);
}

typedef struct wrapped {
    gb_mem *mem;
    void (*release)(void *user, void *data);
    void *user;
} wrapped;

static void release_wrapped(void *user, void *data, size_t bytes)
{
    wrapped *w = user;
    (void)bytes;
    if (w->release) w->release(w->user, data);
    gb_mem_free(w->mem, w, sizeof *w);
}

int gb_array_wrap(gb_value *value, const char *type, void *data, int64_t count,
                  void (*release)(void *user, void *data), void *user)
{
    size_t bytes;
    int rc = begin(value, PUT_OTHER, 64);
    if (rc < 0 || (rc = check_array(value, type, data, count, &bytes)) < 0) return rc;
    if (!data) return fail(value, GB_EINVAL, "gb_array_wrap: data is NULL");
    size_t element = gbi_type_bytes(type), align = element & (~element + 1); /* 3 lanes: of one */
    if ((uintptr_t)data % (align < 16 ? align : 16))
        return fail(value, GB_EINVAL, "gb_array_wrap: data is not aligned for '%s'", type);
    /* first all that can fail, so that release never runs after a failure */
    if ((rc = gb_buf_reserve(&value->bytes, 64 + strlen(type))) < 0) return ended(value, rc);
    gb_block **grown = realloc(value->blocks, (value->block_count + 1) * sizeof *value->blocks);
    if (grown) value->blocks = grown;
    wrapped *w = gb_mem_alloc(&value->host->mem, sizeof *w);
    gb_block *block = NULL;
    if (grown && w) {
        *w = (wrapped){&value->host->mem, release, user};
        block = gb_block_wrap(&value->host->mem, data, bytes, release_wrapped, w);
    }
    if (!block) {
        gb_mem_free(&value->host->mem, w, sizeof *w);
        return fail(value, GB_ENOMEM, "out of memory: an array");
    }
    return put_block(value, type, block, count);
}
