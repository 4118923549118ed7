#include "cluster/modules/etcd_json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Base64 (RFC 4648): text, or NULL without memory. */
static char *encode(const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    char *text = malloc((size + 2) / 3 * 4 + 1), *to = text;
    if (!text) return NULL;
    for (size_t i = 0; i < size; i += 3) {
        uint32_t b = (uint32_t)from[i] << 16 | (i + 1 < size ? from[i + 1] : 0) << 8 |
                     (i + 2 < size ? from[i + 2] : 0);
        *to++ = letters[b >> 18];
        *to++ = letters[b >> 12 & 63];
        *to++ = i + 1 < size ? letters[b >> 6 & 63] : '=';
        *to++ = i + 2 < size ? letters[b & 63] : '=';
    }
    *to = 0;
    return text;
}

static int value_of(char c)
{
    const char *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

/* The bytes (one more is allocated), or NULL: no memory, or no base64. */
static uint8_t *decode(const char *text, size_t size, size_t *out_size)
{
    while (size && text[size - 1] == '=') size--;
    uint8_t *bytes = malloc(size * 3 / 4 + 1);
    uint32_t bits = 0;
    size_t used = 0;
    int have = 0;
    for (size_t i = 0; i < size && bytes; i++) {
        int value = value_of(text[i]);
        if (value < 0) {
            free(bytes);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        bytes[used++] = (uint8_t)(bits >> have);
    }
    *out_size = used;
    return bytes;
}

static json_t *coded(const void *bytes, size_t size)
{
    char *text = encode(bytes, size);
    json_t *json = text ? json_string(text) : NULL;
    free(text);
    return json;
}

static int prefix(char out[128], const char *cluster)
{
    return snprintf(out, 128, "gpubridge/%s/", cluster);
}

static json_t *key_of(const char *cluster, const char *name)
{
    char key[192];
    int size = prefix(key, cluster);
    size += snprintf(key + size, sizeof key - (size_t)size, "%s", name);
    return coded(key, (size_t)size);
}

/* The first key behind all keys of a cluster: '0' follows '/'. */
static json_t *end_of(const char *cluster)
{
    char key[128];
    int size = prefix(key, cluster);
    key[size - 1] = '/' + 1;
    return coded(key, (size_t)size);
}

/* As text; the object is given up. json_pack answers NULL when one of its parts is. */
static char *written(json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

/* ---- reads ---- */

char *gbm_etcd_range(const gbm_etcd_page *page)
{
    json_t *key = page->next ? json_string(page->next) : key_of(page->cluster, "");
    return written(json_pack("{s:o, s:o, s:i, s:I}", "key", key, "range_end", end_of(page->cluster),
                             "limit", page->limit, "revision", (json_int_t)page->revision));
}

/* etcd writes 64-bit numbers as text. */
static int64_t number(const json_t *json)
{
    if (json_is_integer(json)) return (int64_t)json_integer_value(json);
    return json_is_string(json) ? strtoll(json_string_value(json), NULL, 10) : 0;
}

static int take_pair(gbm_etcd_page *page, const json_t *pair, gb_fields_out *out)
{
    char start[128];
    size_t before = (size_t)prefix(start, page->cluster), key_size = 0, value_size = 0;
    const json_t *key = json_object_get(pair, "key"), *value = json_object_get(pair, "value");
    if (!json_is_string(key) || (value && !json_is_string(value))) return GBM_ETCD_STRANGE;
    uint8_t *name = decode(json_string_value(key), json_string_length(key), &key_size);
    uint8_t *bytes = value
                         ? decode(json_string_value(value), json_string_length(value), &value_size)
                         : calloc(1, 1); /* an empty value is left out */
    int rc = GBM_ETCD_STRANGE;
    if (name && bytes && key_size >= before && memcmp(name, start, before) == 0) {
        rc = out->put(out, (char *)name + before, key_size - before, bytes, value_size);
        name[key_size] = 0; /* the smallest key behind this one */
        free(page->next);
        page->next = encode(name, key_size + 1);
        if (!page->next) rc = GB_ENOMEM;
    }
    free(name);
    free(bytes);
    return rc;
}

int gbm_etcd_fields(gbm_etcd_page *page, const char *answer, size_t size, gb_fields_out *out)
{
    json_t *json = answer ? json_loadb(answer, size, 0, NULL) : NULL;
    const json_t *pairs = json_object_get(json, "kvs"), *pair = NULL;
    int64_t revision = number(json_object_get(json_object_get(json, "header"), "revision"));
    int rc = revision > 0 && (!pairs || json_is_array(pairs)) ? 0 : GBM_ETCD_STRANGE;
    size_t i = 0;
    page->has_more = json_is_true(json_object_get(json, "more")) && json_array_size(pairs) > 0;
    if (!page->revision) page->revision = revision;
    json_array_foreach(pairs, i, pair)
    {
        if (rc >= 0) rc = take_pair(page, pair, out);
    }
    json_decref(json);
    return rc < 0 ? rc : 0;
}

/* ---- transactions ---- */

static json_t *if_absent(const char *cluster, const char *name, const char *how)
{
    return json_pack("[{s:o, s:s, s:s, s:s}]", "key", key_of(cluster, name), "target", "CREATE",
                     "result", how, "create_revision", "0");
}

static json_t *if_version(const char *cluster, const char *expected)
{
    return json_pack("[{s:o, s:s, s:s, s:o}]", "key", key_of(cluster, GB_FIELD_VERSION), "target",
                     "VALUE", "result", "EQUAL", "value", coded(expected, strlen(expected)));
}

static json_t *operation(const char *cluster, const gb_field *field)
{
    if (!field->value)
        return json_pack("{s:{s:o}}", "request_delete_range", "key", key_of(cluster, field->name));
    return json_pack("{s:{s:o, s:o}}", "request_put", "key", key_of(cluster, field->name), "value",
                     coded(field->value, field->size));
}

static char *transaction(json_t *compare, json_t *success)
{
    return written(json_pack("{s:o, s:o}", "compare", compare, "success", success));
}

char *gbm_etcd_change(const char *cluster, const char *expected, const gb_field *fields,
                      uint32_t count)
{
    json_t *compare =
        *expected ? if_version(cluster, expected) : if_absent(cluster, GB_FIELD_VERSION, "EQUAL");
    json_t *success = json_array();
    bool is_whole = success != NULL;
    for (uint32_t i = 0; i < count && is_whole; i++)
        is_whole = json_array_append_new(success, operation(cluster, &fields[i])) == 0;
    if (!is_whole) {
        json_decref(success);
        success = NULL;
    }
    return transaction(compare, success);
}

char *gbm_etcd_clear(const char *cluster)
{
    return transaction(if_absent(cluster, GB_FIELD_VERSION, "EQUAL"),
                       json_pack("[{s:{s:o, s:o}}]", "request_delete_range", "key",
                                 key_of(cluster, ""), "range_end", end_of(cluster)));
}

char *gbm_etcd_touch(const char *cluster, const gb_field *field)
{
    return transaction(if_absent(cluster, field->name, "GREATER"),
                       json_pack("[o]", operation(cluster, field)));
}

int gbm_etcd_succeeded(const char *answer, size_t size)
{
    json_t *json = answer ? json_loadb(answer, size, 0, NULL) : NULL;
    bool is_answer = json_is_object(json_object_get(json, "header"));
    bool done = json_is_true(json_object_get(json, "succeeded")); /* left out when false */
    json_decref(json);
    return is_answer ? done : GBM_ETCD_STRANGE;
}

/* ---- logins and refusals ---- */

char *gbm_etcd_login(const char *user, const char *password)
{
    return written(json_pack("{s:s, s:s}", "name", user, "password", password));
}

static void copy(char *out, size_t room, const json_t *json)
{
    snprintf(out, room, "%s", json_is_string(json) ? json_string_value(json) : "");
}

int gbm_etcd_token(const char *answer, size_t size, char *out, size_t room)
{
    json_t *json = answer ? json_loadb(answer, size, 0, NULL) : NULL;
    const json_t *token = json_object_get(json, "token");
    bool fits = json_is_string(token) && json_string_length(token) > 0 &&
                json_string_length(token) < room && !strpbrk(json_string_value(token), "\r\n");
    if (fits) copy(out, room, token);
    json_decref(json);
    return fits ? 0 : GBM_ETCD_STRANGE;
}

int gbm_etcd_error(const char *answer, size_t size, char *text, size_t room)
{
    json_t *json = answer ? json_loadb(answer, size, 0, NULL) : NULL;
    const json_t *error = json_object_get(json, "error"),
                 *message = json_object_get(json, "message");
    copy(text, room, message ? message : error);
    int code = (int)number(json_object_get(json, "code"));
    json_decref(json);
    return code;
}
