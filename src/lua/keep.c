#include "lua/keep.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"

#include <pthread.h>
#include <string.h>

typedef struct entry {
    char *name, *layout; /* layout: NULL without a block */
    gb_block *block;
    bool lost;
    uint32_t next; /* of the free ones */
} entry;

struct gbl_keep {
    gb_mem *parent;
    gb_mem mem;
    pthread_mutex_t lock;
    gb_map map; /* by hash of the name: places in entries */
    entry *entries;
    uint32_t room, free; /* GB_MAP_NONE: none is free */
    int64_t names, bytes;
};

gbl_keep *gbl_keep_new(gb_mem *mem)
{
    gbl_keep *keep = gb_mem_zalloc(mem, sizeof *keep);
    if (!keep) return NULL;
    keep->parent = mem;
    gb_mem_init(&keep->mem, "kept", mem, 0);
    gb_map_init(&keep->map, &keep->mem);
    pthread_mutex_init(&keep->lock, NULL);
    keep->free = GB_MAP_NONE;
    return keep;
}

static void entry_clear(gbl_keep *keep, entry *at)
{
    if (at->block) keep->bytes -= (int64_t)at->block->bytes;
    gb_block_unref(at->block);
    if (at->layout) gb_mem_strfree(&keep->mem, at->layout);
    at->block = NULL;
    at->layout = NULL;
}

void gbl_keep_free(gbl_keep *keep)
{
    if (!keep) return;
    for (uint32_t i = 0; i < keep->room; i++) {
        if (!keep->entries[i].name) continue;
        entry_clear(keep, &keep->entries[i]);
        gb_mem_strfree(&keep->mem, keep->entries[i].name);
    }
    gb_mem_free(&keep->mem, keep->entries, keep->room * sizeof *keep->entries);
    gb_map_fini(&keep->map);
    pthread_mutex_destroy(&keep->lock);
    gb_mem_fini(&keep->mem);
    gb_mem_free(keep->parent, keep, sizeof *keep);
}

gb_mem *gbl_keep_mem(gbl_keep *keep)
{
    return &keep->mem;
}

/* Under the lock, as all below. NULL: none. */
static entry *find(gbl_keep *keep, const char *name)
{
    uint64_t hash = gb_hash_mix(gb_hash_fnv(name, strlen(name)));
    uint32_t cursor = 0, at;
    while ((at = gb_map_next(&keep->map, hash, &cursor)) != GB_MAP_NONE)
        if (strcmp(keep->entries[at].name, name) == 0) return &keep->entries[at];
    return NULL;
}

static int grow(gbl_keep *keep)
{
    uint32_t room = keep->room ? keep->room * 2 : 16;
    entry *entries = gb_mem_realloc(&keep->mem, keep->entries, keep->room * sizeof *entries,
                                    room * sizeof *entries);
    if (!entries) return GB_ENOMEM;
    for (uint32_t i = room; i-- > keep->room;) {
        entries[i] = (entry){.next = keep->free};
        keep->free = i;
    }
    keep->entries = entries;
    keep->room = room;
    return 0;
}

/* Finds or makes. NULL: GB_ENOMEM. */
static entry *make(gbl_keep *keep, const char *name)
{
    entry *own = find(keep, name);
    if (own) return own;
    if (keep->free == GB_MAP_NONE && grow(keep) < 0) return NULL;
    uint32_t at = keep->free;
    char *copy = gb_mem_strdup(&keep->mem, name);
    if (!copy) return NULL;
    if (gb_map_add(&keep->map, gb_hash_mix(gb_hash_fnv(name, strlen(name))), at) < 0) {
        gb_mem_strfree(&keep->mem, copy);
        return NULL;
    }
    keep->free = keep->entries[at].next;
    keep->entries[at] = (entry){.name = copy};
    keep->names++;
    return &keep->entries[at];
}

int gbl_keep_put(gbl_keep *keep, const char *name, const char *layout, gb_block *block)
{
    if (strlen(layout) >= GBL_LAYOUT_MAX)
        return gb_err_set(GB_EINVAL, "the layout of %s is over %d bytes", name, GBL_LAYOUT_MAX);
    char *text = gb_mem_strdup(&keep->mem, layout);
    if (!text) return GB_ENOMEM;
    pthread_mutex_lock(&keep->lock);
    entry *own = make(keep, name);
    if (own) {
        gb_block_freeze(block);
        entry_clear(keep, own);
        own->block = gb_block_ref(block);
        own->layout = text;
        own->lost = false;
        keep->bytes += (int64_t)block->bytes;
    }
    pthread_mutex_unlock(&keep->lock);
    if (!own) gb_mem_strfree(&keep->mem, text);
    return own ? 0 : GB_ENOMEM;
}

bool gbl_keep_get(gbl_keep *keep, const char *name, gb_block **block, char *layout, bool *lost)
{
    *block = NULL;
    layout[0] = 0;
    pthread_mutex_lock(&keep->lock);
    const entry *own = find(keep, name);
    if (own) {
        *lost = own->lost;
        if (own->block) {
            memcpy(layout, own->layout, strlen(own->layout) + 1); /* put knows its length */
            *block = gb_block_ref(own->block);
        }
    }
    pthread_mutex_unlock(&keep->lock);
    return own != NULL;
}

int gbl_keep_lost(gbl_keep *keep, const char *name, bool lost)
{
    pthread_mutex_lock(&keep->lock);
    entry *own = lost ? make(keep, name) : find(keep, name);
    if (own) own->lost = lost;
    pthread_mutex_unlock(&keep->lock);
    return own || !lost ? 0 : GB_ENOMEM;
}

bool gbl_keep_drop(gbl_keep *keep, const char *name)
{
    pthread_mutex_lock(&keep->lock);
    entry *own = find(keep, name);
    if (own) {
        uint32_t at = (uint32_t)(own - keep->entries);
        gb_map_remove(&keep->map, gb_hash_mix(gb_hash_fnv(name, strlen(name))), at);
        entry_clear(keep, own);
        gb_mem_strfree(&keep->mem, own->name);
        *own = (entry){.next = keep->free};
        keep->free = at;
        keep->names--;
    }
    pthread_mutex_unlock(&keep->lock);
    return own != NULL;
}

void gbl_keep_count(gbl_keep *keep, int64_t *names, int64_t *bytes)
{
    pthread_mutex_lock(&keep->lock);
    *names = keep->names;
    *bytes = keep->bytes;
    pthread_mutex_unlock(&keep->lock);
}
