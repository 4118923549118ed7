/* memory:NAME: a table inside this process, shared by the silos that run in it; it lives as long as
 * somebody has it open. For tests and for trying things out. */
#include "cluster/provider.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
    struct item *next;
    char name[GB_FIELD_NAME_BYTES];
    size_t size;
    unsigned char value[];
} item;

typedef struct shared {
    struct shared *next;
    int holders;
    item *items;
    char name[]; /* the URL's, a newline, the cluster's */
} shared;

typedef struct state {
    const gb_provider_host *host;
    shared *table;
} state;

/* tidy: allowed because the tables belong to the process, that is what memory: means */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* tidy: allowed because they are found by name from every silo of the process */
static shared *tables;

static shared *find(const char *name)
{
    for (shared *table = tables; table; table = table->next) {
        if (strcmp(table->name, name) == 0) return table;
    }
    shared *table = calloc(1, sizeof *table + strlen(name) + 1);
    if (!table) return NULL;
    memcpy(table->name, name, strlen(name) + 1);
    table->next = tables;
    return tables = table;
}

static int memory_open(void *instance, const gb_provider_host *host,
                       const gb_provider_target *target)
{
    state *s = instance;
    size_t path = strlen(target->path), cluster = strlen(target->cluster);
    char *name = malloc(path + cluster + 2);
    if (!name) return host->error(GB_ENOMEM, "no memory for a name");
    memcpy(name, target->path, path);
    name[path] = '\n';
    memcpy(name + path + 1, target->cluster, cluster + 1);
    pthread_mutex_lock(&lock);
    s->host = host;
    s->table = find(name);
    if (s->table) s->table->holders++;
    pthread_mutex_unlock(&lock);
    free(name);
    return s->table ? 0 : host->error(GB_ENOMEM, "no memory for a table");
}

static void clear(shared *table)
{
    while (table->items) {
        item *it = table->items;
        table->items = it->next;
        free(it);
    }
}

static void memory_close(void *instance)
{
    shared *table = ((state *)instance)->table;
    pthread_mutex_lock(&lock);
    if (--table->holders == 0) {
        shared **at = &tables;
        while (*at != table) at = &(*at)->next;
        *at = table->next;
        clear(table);
        free(table);
    }
    pthread_mutex_unlock(&lock);
}

static int memory_read(void *instance, uint64_t deadline_ns, gb_fields_out *out)
{
    (void)deadline_ns;
    int rc = 0;
    pthread_mutex_lock(&lock);
    for (item *it = ((state *)instance)->table->items; it && rc >= 0; it = it->next)
        rc = out->put(out, it->name, strlen(it->name), it->value, it->size);
    pthread_mutex_unlock(&lock);
    return rc < 0 ? rc : 0;
}

static item **place(shared *table, const char *name)
{
    item **at = &table->items;
    while (*at && strcmp((*at)->name, name) != 0) at = &(*at)->next;
    return at;
}

static item *make(const gb_field *field)
{
    item *it = calloc(1, sizeof *it + field->size + 1);
    if (!it) return NULL;
    memcpy(it->name, field->name, strnlen(field->name, sizeof it->name - 1));
    it->size = field->size;
    if (field->size) memcpy(it->value, field->value, field->size);
    return it;
}

/* made: the field's new item, or NULL to take it away. */
static void set(shared *table, const char *name, item *made)
{
    item **at = place(table, name), *old = *at;
    if (old) *at = old->next;
    free(old);
    if (!made) return;
    made->next = table->items;
    table->items = made;
}

static int memory_change(void *instance, uint64_t deadline_ns, const char *expected,
                         const gb_field *fields, uint32_t count)
{
    (void)deadline_ns;
    state *s = instance;
    item *made[GB_FIELDS_MAX] = {0};
    if (count > GB_FIELDS_MAX) return s->host->error(GB_EINVAL, "too many fields at once");
    for (uint32_t i = 0; i < count; i++) {
        if (!fields[i].value) continue;
        made[i] = make(&fields[i]);
        if (made[i]) continue;
        while (i > 0) free(made[--i]);
        return s->host->error(GB_ENOMEM, "no memory for a row");
    }
    pthread_mutex_lock(&lock);
    const item *version = *place(s->table, GB_FIELD_VERSION);
    size_t size = strlen(expected);
    bool same =
        version ? size == version->size && memcmp(expected, version->value, size) == 0 : size == 0;
    if (same && size == 0) clear(s->table);
    for (uint32_t i = 0; i < count; i++) {
        if (same)
            set(s->table, fields[i].name, made[i]);
        else
            free(made[i]);
    }
    pthread_mutex_unlock(&lock);
    return same ? 0 : s->host->error(GB_ECONFLICT, "the version moved on");
}

static int memory_touch(void *instance, uint64_t deadline_ns, const gb_field *field)
{
    (void)deadline_ns;
    state *s = instance;
    item *made = make(field);
    if (!made) return s->host->error(GB_ENOMEM, "no memory for a row");
    pthread_mutex_lock(&lock);
    bool there = *place(s->table, field->name) != NULL;
    if (there) set(s->table, field->name, made);
    pthread_mutex_unlock(&lock);
    if (there) return 0;
    free(made);
    return s->host->error(GB_ENOENT, "no such row");
}

const gb_provider gbi_table_memory = {
    .abi = GB_PROVIDER_ABI,
    .state_size = sizeof(state),
    .engine = "memory",
    .open = memory_open,
    .close = memory_close,
    .read = memory_read,
    .change = memory_change,
    .touch = memory_touch,
};
