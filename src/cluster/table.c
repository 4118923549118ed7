/* The membership table over one provider: what the fields of a cluster mean, and what of them is
 * believed. Fields: "version" ("NUMBER MARK"), "row/ID" (a row in CBOR) and "alive/ID" (wall clock,
 * ns, as decimal text: it changes without a version). Others are passed over. */
#include "cluster/table.h"

#include "base/err.h"
#include "cluster/resolve.h"
#include "cluster/table_seal.h"
#include "cluster/table_url.h"
#include "sys/module.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    VERSION_BYTES = 48,
    ID_DIGITS = 16,
    PASSWORDS_BYTES = 4096,
};

struct gb_table {
    gb_mem *mem;
    gbi_table_url url;
    char cluster[GB_CLUSTER_NAME_BYTES];
    gb_seal seal;
    uint64_t timeout_ns;
    const gb_provider *provider;
    void *state;
    bool is_seen;              /* the last step told what the table is: */
    char token[VERSION_BYTES]; /* its version and mark; "": none */
    uint64_t version;
    uint64_t *ids; /* of its rows, sorted */
    uint32_t id_count, id_room;
};

static const gb_provider_host lent = {.error = gb_err_set, .resolve = gbi_resolve};

/* ---- errors ---- */

/* text without a secret. */
static void hide(char *out, size_t room, const char *text, const char *secret)
{
    size_t size = strlen(secret), used = 0;
    while (*text && used + 4 < room) {
        if (size && strncmp(text, secret, size) == 0) {
            memcpy(out + used, "***", 3);
            used += 3;
            text += size;
        } else {
            out[used++] = *text++;
        }
    }
    out[used] = 0;
}

/* The provider said what; this adds where, and makes sure that no password is in it. */
static int blame(gb_table *table, int rc)
{
    char text[PASSWORDS_BYTES];
    hide(text, sizeof text, gb_err_detail(), table->url.target.password);
    if (rc == GB_ETIMEDOUT || rc == GB_ELOST) table->is_seen = false;
    return gb_err_set(rc, "the cluster's table %s: %s", table->url.shown, text);
}

/* Engines' clients write to connections that may be dead: no signal may come of it, and which
 * signals a program handles is not ours to change. */
typedef struct hush {
    sigset_t before, pipe;
    bool was_pending;
} hush;

static void hush_begin(hush *h)
{
    sigset_t pending;
    sigpending(&pending);
    h->was_pending = sigismember(&pending, SIGPIPE) == 1;
    sigemptyset(&h->pipe);
    sigaddset(&h->pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &h->pipe, &h->before);
}

static void hush_end(const hush *h)
{
    static const struct timespec now = {0, 0};
    if (!h->was_pending) sigtimedwait(&h->pipe, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &h->before, NULL);
}

static uint64_t deadline(const gb_table *table)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    return table->timeout_ns < INT64_MAX - now ? now + table->timeout_ns : INT64_MAX;
}

/* ---- opening ---- */

static int check_cluster(const char *name)
{
    size_t size = name ? strnlen(name, GB_CLUSTER_NAME_BYTES) : 0;
    if (!size || size == GB_CLUSTER_NAME_BYTES)
        return gb_err_set(GB_EINVAL, "a cluster's name has 1 to %d characters",
                          GB_CLUSTER_NAME_BYTES - 1);
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
        if (!fine)
            return gb_err_set(GB_EINVAL, "a cluster's name has letters, digits, '.', '_' and '-'");
    }
    return 0;
}

static int find_provider(const gb_provider **out, const char *module)
{
    *out = &gbi_table_memory;
    if (!module) return 0;
    void *symbol = NULL;
    int rc = gb_module_find(&symbol, module, "gb_table_module");
    if (rc < 0) return rc;
    gb_table_module_fn *get = NULL;
    memcpy(&get, &symbol, sizeof get);
    *out = get();
    if ((*out)->abi == GB_PROVIDER_ABI) return 0;
    return gb_err_set(GB_EINVAL, "the module %s is of another version of gpubridge", module);
}

static int open_provider(gb_table *table)
{
    int rc = find_provider(&table->provider, table->url.module);
    if (rc < 0) return rc;
    table->state = gb_mem_zalloc(table->mem, table->provider->state_size);
    if (!table->state) return GB_ENOMEM;
    rc = table->provider->open(table->state, &lent, &table->url.target);
    if (rc >= 0) return 0;
    gb_mem_free(table->mem, table->state, table->provider->state_size);
    return blame(table, rc);
}

int gb_table_open(gb_table **out, const gb_table_config *config)
{
    int rc = check_cluster(config->cluster);
    if (rc < 0) return rc;
    if (!config->timeout_ns) return gb_err_set(GB_EINVAL, "the table's time-out is 0");
    gb_table *table = gb_mem_zalloc(config->mem, sizeof *table);
    if (!table) return GB_ENOMEM;
    table->mem = config->mem;
    table->timeout_ns = config->timeout_ns;
    memcpy(table->cluster, config->cluster, strlen(config->cluster) + 1);
    table->seal = (gb_seal){config->key, table->cluster};
    rc = gbi_table_url_parse(&table->url, config->mem, config->url);
    if (rc >= 0) {
        table->url.target.cluster = table->cluster;
        rc = open_provider(table);
        if (rc < 0) gbi_table_url_fini(&table->url, config->mem);
    }
    if (rc < 0) {
        gb_mem_free(config->mem, table, sizeof *table);
        return rc;
    }
    *out = table;
    return 0;
}

void gb_table_close(gb_table *table)
{
    gb_mem *mem = table->mem;
    hush h;
    hush_begin(&h);
    table->provider->close(table->state);
    hush_end(&h);
    gb_mem_free(mem, table->state, table->provider->state_size);
    if (table->ids) gb_mem_free(mem, table->ids, table->id_room * sizeof *table->ids);
    gbi_table_url_fini(&table->url, mem);
    gb_mem_free(mem, table, sizeof *table);
}

/* ---- reading ---- */

typedef struct alive {
    uint64_t id;
    int64_t wall_ns;
} alive;

typedef struct reading {
    gb_fields_out out;
    gb_mem *mem;
    const gb_seal *seal;
    gb_member *rows;
    uint32_t count, room;
    alive *alives;
    uint32_t alive_count, alive_room;
    char token[VERSION_BYTES];
    uint64_t version;
} reading;

static void reading_fini(reading *r)
{
    for (uint32_t i = 0; i < r->count; i++) gb_member_fini(&r->rows[i], r->mem);
    if (r->rows) gb_mem_free(r->mem, r->rows, r->room * sizeof *r->rows);
    if (r->alives) gb_mem_free(r->mem, r->alives, r->alive_room * sizeof *r->alives);
}

static int make_room(gb_mem *mem, void **items, uint32_t count, uint32_t *room, size_t item_bytes)
{
    if (count < *room) return 0;
    if (count >= GB_TABLE_ROWS_MAX)
        return gb_err_set(GB_EINVAL, "more than %d rows are there", GB_TABLE_ROWS_MAX);
    uint32_t wanted = *room ? *room * 2 : 16;
    void *grown = gb_mem_realloc(mem, *items, *room * item_bytes, wanted * item_bytes);
    if (!grown) return GB_ENOMEM;
    *items = grown;
    *room = wanted;
    return 0;
}

/* A number without a sign, blanks or other ornaments. */
static bool read_number(const char *text, size_t size, uint64_t *out)
{
    uint64_t value = 0;
    if (!size || size > 20) return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return false;
    }
    *out = value;
    return true;
}

static bool read_hex(const char *text, size_t size, uint64_t *out)
{
    uint64_t value = 0;
    if (size != ID_DIGITS) return false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return false;
        value = value << 4 | (uint64_t)digit;
    }
    *out = value;
    return true;
}

static int take_version(reading *r, const char *text, size_t size)
{
    const char *blank = size < VERSION_BYTES ? memchr(text, ' ', size) : NULL;
    size_t number = blank ? (size_t)(blank - text) : 0;
    uint64_t mark = 0;
    if (!blank || !read_number(text, number, &r->version) || !r->version ||
        !read_hex(blank + 1, size - number - 1, &mark))
        return gb_err_set(GB_EINVAL, "the field version is not one of ours");
    memcpy(r->token, text, size);
    r->token[size] = 0;
    return 0;
}

/* 1: it is there as the next row; 0: it is passed over, for a key is changed when all silos that
 * had the old one are dead. */
static int open_row(reading *r, const void *value, size_t size)
{
    gb_member *row = &r->rows[r->count];
    int rc = gb_seal_open(r->seal, r->mem, value, size, &value, &size);
    char why[160];
    if (rc == 0) {
        rc = gb_member_decode(row, r->mem, value, size);
        return rc < 0 ? rc : 1;
    }
    snprintf(why, sizeof why, "%s", gb_err_detail());
    if (rc != GB_EDENIED || gb_member_decode(row, r->mem, value, size) < 0)
        return gb_err_set(rc, "%s", why);
    bool dead = row->state == GB_SILO_DEAD;
    gb_member_fini(row, r->mem);
    return dead ? 0 : gb_err_set(rc, "%s", why);
}

static int take_row(reading *r, uint64_t id, const void *value, size_t size)
{
    void *rows = r->rows;
    int rc = make_room(r->mem, &rows, r->count, &r->room, sizeof *r->rows);
    r->rows = rows;
    if (rc < 0) return rc;
    rc = open_row(r, value, size);
    if (rc < 0) {
        char why[160];
        snprintf(why, sizeof why, "%s", gb_err_detail());
        return gb_err_set(rc, "the field row/%016llx: %s", (unsigned long long)id, why);
    }
    if (rc == 0) return 0;
    r->count++;
    if (r->rows[r->count - 1].id == id) return 0;
    return gb_err_set(GB_EINVAL, "the field row/%016llx holds the row of another silo",
                      (unsigned long long)id);
}

static int take_alive(reading *r, uint64_t id, const char *text, size_t size)
{
    void *alives = r->alives;
    int rc = make_room(r->mem, &alives, r->alive_count, &r->alive_room, sizeof *r->alives);
    r->alives = alives;
    if (rc < 0) return rc;
    bool minus = size && text[0] == '-';
    uint64_t number = 0;
    if (!read_number(text + minus, size - minus, &number) || number > INT64_MAX)
        return gb_err_set(GB_EINVAL, "the field alive/%016llx is no number",
                          (unsigned long long)id);
    r->alives[r->alive_count++] = (alive){id, minus ? -(int64_t)number : (int64_t)number};
    return 0;
}

static int take_field(gb_fields_out *out, const char *name, size_t name_size, const void *value,
                      size_t size)
{
    reading *r = (reading *)out;
    uint64_t id = 0;
    if (name_size == strlen(GB_FIELD_VERSION) && memcmp(name, GB_FIELD_VERSION, name_size) == 0)
        return take_version(r, value, size);
    if (name_size == 4 + ID_DIGITS && memcmp(name, "row/", 4) == 0 &&
        read_hex(name + 4, ID_DIGITS, &id))
        return take_row(r, id, value, size);
    if (name_size == 6 + ID_DIGITS && memcmp(name, "alive/", 6) == 0 &&
        read_hex(name + 6, ID_DIGITS, &id))
        return take_alive(r, id, value, size);
    return 0;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b; /* the first member of both */
    return x < y ? -1 : x > y;
}
_Static_assert(offsetof(gb_member, id) == 0 && offsetof(alive, id) == 0, "by_id reads it there");

/* Room for one id more than that. */
static int room_for_ids(gb_table *table, uint32_t count)
{
    if (count < table->id_room) return 0;
    size_t item = sizeof *table->ids;
    uint64_t *grown =
        gb_mem_realloc(table->mem, table->ids, table->id_room * item, 2 * (count + 8) * item);
    if (!grown) return GB_ENOMEM;
    table->ids = grown;
    table->id_room = 2 * (count + 8);
    return 0;
}

static int keep_ids(gb_table *table, const gb_table_view *view)
{
    int rc = room_for_ids(table, view->count);
    if (rc < 0) return rc;
    table->id_count = view->count;
    for (uint32_t i = 0; i < view->count; i++) table->ids[i] = view->rows[i].id;
    return 0;
}

/* What was read as a view; the rows move over. */
static int finish(reading *r, gb_table_view *out)
{
    *out = (gb_table_view){.version = r->version};
    /* Without a version nothing of the rest counts: somebody wiped the table, not quite all of it.
     */
    if (!r->version || !r->count) return 0;
    qsort(r->rows, r->count, sizeof *r->rows, by_id);
    if (r->alive_count) qsort(r->alives, r->alive_count, sizeof *r->alives, by_id);
    for (uint32_t i = 0, a = 0; i < r->count; i++) {
        if (i && r->rows[i].id == r->rows[i - 1].id)
            return gb_err_set(GB_EINVAL, "two rows of the silo %016llx",
                              (unsigned long long)r->rows[i].id);
        while (a < r->alive_count && r->alives[a].id < r->rows[i].id) a++;
        if (a < r->alive_count && r->alives[a].id == r->rows[i].id)
            r->rows[i].alive_ns = r->alives[a].wall_ns;
    }
    out->rows = gb_mem_alloc(r->mem, r->count * sizeof *r->rows);
    if (!out->rows) return GB_ENOMEM;
    memcpy(out->rows, r->rows, r->count * sizeof *r->rows);
    out->count = r->count;
    r->count = 0;
    return 0;
}

static int read_once(gb_table *table, reading *r, uint64_t deadline_ns)
{
    hush h;
    *r = (reading){.out = {take_field}, .mem = table->mem, .seal = &table->seal};
    hush_begin(&h);
    int rc = table->provider->read(table->state, deadline_ns, &r->out);
    hush_end(&h);
    return rc;
}

int gb_table_read(gb_table *table, gb_table_view *out)
{
    reading r;
    uint64_t until = deadline(table);
    *out = (gb_table_view){0};
    table->is_seen = false;
    int rc = read_once(table, &r, until);
    if (rc == GB_ELOST) { /* a connection that died while nobody used it shows only now */
        reading_fini(&r);
        rc = read_once(table, &r, until);
    }
    if (rc >= 0) rc = finish(&r, out);
    if (rc >= 0) rc = keep_ids(table, out);
    reading_fini(&r);
    if (rc < 0) {
        gb_table_view_fini(out, table->mem);
        return blame(table, rc);
    }
    memcpy(table->token, r.token, sizeof r.token);
    table->version = r.version;
    table->is_seen = true;
    return 0;
}

/* ---- writing ---- */

static void next_token(char out[VERSION_BYTES], uint64_t version)
{
    uint64_t mark = 0;
    if (getrandom(&mark, sizeof mark, 0) != sizeof mark) {
        struct timespec t; /* no system random numbers: the mark only has to differ */
        clock_gettime(CLOCK_REALTIME, &t);
        mark = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    snprintf(out, VERSION_BYTES, "%llu %016llx", (unsigned long long)version,
             (unsigned long long)mark);
}

/* fields[0] is left for the version. */
static int change(gb_table *table, uint64_t version, gb_field *fields, uint32_t count,
                  uint64_t *written)
{
    char next[VERSION_BYTES];
    if (!table->is_seen || version != table->version || version == UINT64_MAX)
        return gb_err_set(GB_ECONFLICT, "the cluster's table %s was not read at version %llu",
                          table->url.shown, (unsigned long long)version);
    next_token(next, version + 1);
    fields[0] = (gb_field){GB_FIELD_VERSION, next, strlen(next)};
    hush h;
    hush_begin(&h);
    int rc = table->provider->change(table->state, deadline(table), table->token, fields, count);
    hush_end(&h);
    if (rc < 0) {
        table->is_seen = false;
        return blame(table, rc);
    }
    memcpy(table->token, next, sizeof next);
    *written = table->version = version + 1;
    return 0;
}

static bool knows(const gb_table *table, uint64_t id)
{
    return table->id_count && bsearch(&id, table->ids, table->id_count, sizeof id, by_id);
}

static void add_id(gb_table *table, uint64_t id)
{
    uint32_t at = table->id_count++;
    for (; at > 0 && table->ids[at - 1] > id; at--) table->ids[at] = table->ids[at - 1];
    table->ids[at] = id;
}

int gb_table_write(gb_table *table, const gb_member *row, uint64_t version, uint64_t *written)
{
    char row_name[GB_FIELD_NAME_BYTES], alive_name[GB_FIELD_NAME_BYTES], wall[24];
    bool is_new = !knows(table, row->id);
    gb_buf plain, bytes;
    gb_buf_init(&plain, table->mem);
    gb_buf_init(&bytes, table->mem);
    int rc = gb_member_encode(&plain, row);
    if (rc >= 0) rc = gb_seal_put(&table->seal, &bytes, plain.data, plain.size);
    if (rc >= 0 && table->is_seen && is_new && table->id_count >= GB_TABLE_ROWS_MAX)
        rc = gb_err_set(GB_EBUSY, "the cluster's table %s is full: %d rows", table->url.shown,
                        GB_TABLE_ROWS_MAX);
    if (rc >= 0) rc = room_for_ids(table, table->id_count);
    if (rc >= 0) {
        snprintf(row_name, sizeof row_name, "row/%016llx", (unsigned long long)row->id);
        snprintf(alive_name, sizeof alive_name, "alive/%016llx", (unsigned long long)row->id);
        int size = snprintf(wall, sizeof wall, "%lld", (long long)row->alive_ns);
        gb_field fields[3] = {
            [1] = {row_name, bytes.data, bytes.size}, [2] = {alive_name, wall, (size_t)size}};
        rc = change(table, version, fields, 3, written);
        if (rc >= 0 && is_new) add_id(table, row->id);
    }
    gb_buf_fini(&plain);
    gb_buf_fini(&bytes);
    return rc;
}

static void drop_id(gb_table *table, uint64_t id)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < table->id_count; i++) {
        if (table->ids[i] != id) table->ids[left++] = table->ids[i];
    }
    table->id_count = left;
}

int gb_table_remove(gb_table *table, const uint64_t *ids, uint32_t count, uint64_t version,
                    uint64_t *written)
{
    gb_field fields[GB_FIELDS_MAX];
    char names[2 * GB_TABLE_REMOVE_MAX][GB_FIELD_NAME_BYTES];
    _Static_assert(GB_FIELDS_MAX == 2 * GB_TABLE_REMOVE_MAX + 1, "a removal fits");
    if (count > GB_TABLE_REMOVE_MAX)
        return gb_err_set(GB_EINVAL, "%u rows to remove, at most %d at once", (unsigned)count,
                          GB_TABLE_REMOVE_MAX);
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool again = false;
        for (uint32_t j = 0; j < i; j++) again = again || ids[j] == ids[i];
        if (again) continue;
        snprintf(names[used], sizeof names[used], "row/%016llx", (unsigned long long)ids[i]);
        snprintf(names[used + 1], sizeof names[used], "alive/%016llx", (unsigned long long)ids[i]);
        for (int j = 0; j < 2; j++, used++) fields[used + 1] = (gb_field){names[used], NULL, 0};
    }
    int rc = change(table, version, fields, used + 1, written);
    for (uint32_t i = 0; i < count && rc >= 0; i++) drop_id(table, ids[i]);
    return rc;
}

int gb_table_touch(gb_table *table, uint64_t id, int64_t alive_ns)
{
    char name[GB_FIELD_NAME_BYTES], wall[24];
    snprintf(name, sizeof name, "alive/%016llx", (unsigned long long)id);
    int size = snprintf(wall, sizeof wall, "%lld", (long long)alive_ns);
    gb_field field = {name, wall, (size_t)size};
    bool seen = table->is_seen; /* it says nothing about the version */
    hush h;
    hush_begin(&h);
    int rc = table->provider->touch(table->state, deadline(table), &field);
    hush_end(&h);
    if (rc < 0) rc = blame(table, rc);
    table->is_seen = seen;
    return rc;
}
