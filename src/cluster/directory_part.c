/* This silo's part of the directory: who hosts what it owns. */
#include "cluster/directory_room.h"

static gb_find_status serve_find(gb_directory *d, uint64_t from, gb_entry *entry, uint64_t hash,
                                 uint64_t act, uint64_t *silo)
{
    if (entry && entry->silo == from && entry->act <= act) {
        gbi_ids_remove(&d->part, entry); /* who asks does not host it */
        entry = NULL;
    }
    if (entry)
        *silo = entry->silo;
    else if (gbi_dir_pending(d, hash))
        return GB_FIND_LATER;
    return GB_FIND_HERE;
}

static gb_find_status serve_claim(gb_directory *d, uint64_t from, gb_entry *entry, const void *id,
                                  uint32_t size, uint64_t hash, uint64_t act, uint64_t *silo)
{
    if (entry && entry->silo != from) {
        *silo = entry->silo;
        return GB_FIND_HERE;
    }
    if (gb_view_state(d->view, from) != GB_SILO_ACTIVE) return GB_FIND_REFUSED;
    if (gbi_dir_pending(d, hash)) return GB_FIND_LATER; /* others may host it */
    if (!entry) entry = gbi_ids_add(&d->part, hash, id, size);
    if (!entry) return GB_FIND_LATER;
    entry->silo = *silo = from;
    if (act > entry->act) entry->act = act;
    entry->view = d->view->id;
    d->stats.claims++;
    return GB_FIND_HERE;
}

gb_find_status gbi_dir_serve(gb_directory *d, uint64_t from, gb_message_kind kind, gb_view_id view,
                             const void *id, uint32_t size, uint64_t hash, uint64_t act,
                             uint64_t *silo)
{
    gb_find_status status = GB_FIND_LATER;
    *silo = 0;
    if (gb_view_id_order(view, d->view->id) <= 0 && gb_ring_owner(d->view->ring, hash) == d->silo) {
        gb_entry *entry = gbi_ids_find(&d->part, hash, id, size);
        status = kind == GB_MSG_FIND ? serve_find(d, from, entry, hash, act, silo)
                                     : serve_claim(d, from, entry, id, size, hash, act, silo);
    }
    d->stats.later += status == GB_FIND_LATER;
    d->stats.refused += status == GB_FIND_REFUSED;
    return status;
}

void gbi_dir_forget(gb_directory *d, uint64_t from, const void *id, uint32_t size, uint64_t act)
{
    uint64_t hash = gb_directory_hash(d->config.hash_seed, id, size);
    gb_entry *entry = gbi_ids_find(&d->part, hash, id, size);
    if (entry && entry->silo == from && entry->act <= act) gbi_ids_remove(&d->part, entry);
}
