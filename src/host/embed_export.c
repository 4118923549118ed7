/* Functions of the program that Lua calls: a registry, and the border that calls cross. */
#include "host/embed.h"

#include <string.h>

static gbi_export *find_locked(gbi_embed *embed, const char *name)
{
    for (gbi_export *e = embed->exports; e; e = e->next)
        if (strcmp(e->name, name) == 0) return e;
    return NULL;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"

static bool is_name(const char *name)
{
    size_t size = strlen(name);
    return size > 0 && size <= GBI_NAME_MAX && strchr(LETTERS, name[0]) &&
           strspn(name, LETTERS "0123456789") == size;
}

int gbi_export_add(gb_host *host, const char *name, gb_export_fn *fn, void *user)
{
    gbi_embed *embed = host->embed;
    int rc = 0;
    pthread_mutex_lock(&embed->lock);
    gbi_export *e = NULL;
    if (find_locked(embed, name))
        rc = gb_err_set(GB_ECONFLICT, "gb_export: '%s' is exported already", name);
    else if (!(e = gb_mem_alloc(&host->mem, sizeof *e + strlen(name) + 1)))
        rc = GB_ENOMEM;
    if (e) {
        *e = (gbi_export){embed->exports, fn, user, embed->export_count++};
        memcpy(e->name, name, strlen(name) + 1);
        embed->exports = e;
    }
    pthread_mutex_unlock(&embed->lock);
    return rc;
}

int gb_export(gb_host *host, const char *name, gb_export_fn *fn, void *user)
{
    if (!name || !fn) return gb_err_set(GB_EINVAL, "gb_export: %s is NULL", name ? "fn" : "name");
    if (!is_name(name))
        return gb_err_set(GB_EINVAL, "gb_export: '%.40s' is no name (letters, digits and _)", name);
    int rc = gbi_enter(host, "gb_export");
    if (rc < 0) return rc;
    rc = gbi_export_add(host, name, fn, user);
    gbi_leave(host);
    return rc;
}

void gbi_exports_free(gb_host *host)
{
    for (gbi_export *e = host->embed->exports, *next; e; e = next) {
        next = e->next;
        gb_mem_free(&host->mem, e, sizeof *e + strlen(e->name) + 1);
    }
    host->embed->exports = NULL;
}

/* ---- for the Lua room ---- */

static const void *export_find(void *user, const char *name)
{
    gbi_embed *embed = ((gb_host *)user)->embed;
    pthread_mutex_lock(&embed->lock);
    const void *found = find_locked(embed, name);
    pthread_mutex_unlock(&embed->lock);
    return found;
}

static void export_each(void *user, void (*see)(void *to, const char *name), void *to)
{
    gbi_embed *embed = ((gb_host *)user)->embed;
    pthread_mutex_lock(&embed->lock);
    gbi_export *e = embed->exports; /* an entry never changes, and stays until the host closes */
    pthread_mutex_unlock(&embed->lock);
    for (; e; e = e->next)
        if (is_name(e->name)) see(to, e->name); /* others are the house's own */
}

/* The message's parts become those of a value, and back: nothing is copied. */
static void swap(gb_value *value, gbl_message *message)
{
    gb_buf bytes = value->bytes;
    gb_block **blocks = value->blocks;
    uint32_t block_count = value->block_count;
    value->bytes = message->bytes;
    value->blocks = message->blocks;
    value->block_count = message->block_count;
    message->bytes = bytes;
    message->blocks = blocks;
    message->block_count = block_count;
}

static int export_call(void *user, const void *found, gbl_message *args, gbl_message *results)
{
    gb_host *host = user;
    const gbi_export *e = found;
    gb_value *in = gbi_value_new(host), *out = in ? gbi_value_new(host) : NULL;
    if (!out) {
        gb_value_free(in);
        return GB_ENOMEM;
    }
    swap(in, args);
    in->count = args->count;
    gb_err_set(0, "%s", "");
    int rc = e->fn(host, in, out, e->user);
    if (rc < 0) {
        if (!*gb_err_detail()) gb_err_set(rc, "%s", gb_err_text(rc));
    } else if ((rc = gbi_value_check(out)) < 0) {
        results->wrong = true;
    } else {
        results->count = out->count;
        swap(out, results);
    }
    swap(in, args);
    gb_value_free(in);
    gb_value_free(out);
    return rc < 0 ? rc : 0;
}

void gbi_exports_init(gb_host *host, gbl_exports *out)
{
    *out = (gbl_exports){host, export_find, export_each, export_call};
}
