/* Arcs that come and go with the views: what is forgotten, and what all silos are asked for. */
#include "base/err.h"
#include "cluster/directory_room.h"

#include <string.h>

static const gb_arc whole = {0, UINT64_MAX};

static bool in_arcs(const gb_arc *arcs, uint32_t count, uint64_t hash)
{
    for (uint32_t i = 0; i < count; i++) {
        if (gb_arc_holds(arcs[i], hash)) return true;
    }
    return false;
}

bool gbi_dir_pending(const gb_directory *d, uint64_t hash)
{
    if (d->blind) return true;
    for (uint32_t i = 0; i < d->round_count; i++) {
        if (in_arcs(d->rounds[i].arcs, d->rounds[i].arc_count, hash)) return true;
    }
    return false;
}

/* ---- rounds ---- */

static void free_round(gb_directory *d, uint32_t index)
{
    gb_round *round = &d->rounds[index];
    if (round->arcs) gb_mem_free(d->mem, round->arcs, round->arc_count * sizeof *round->arcs);
    if (round->waiting)
        gb_mem_free(d->mem, round->waiting, round->waiting_room * sizeof *round->waiting);
    *round = d->rounds[--d->round_count];
}

static void drop_deferred(gb_directory *d, uint32_t index)
{
    gb_deferred *deferred = &d->deferred[index];
    if (deferred->arcs)
        gb_mem_free(d->mem, deferred->arcs, deferred->arc_count * sizeof *deferred->arcs);
    *deferred = d->deferred[--d->deferred_count];
}

void gbi_dir_sync_close(gb_directory *d)
{
    while (d->round_count) free_round(d, 0);
    while (d->deferred_count) drop_deferred(d, 0);
    if (d->deferred) gb_mem_free(d->mem, d->deferred, d->deferred_room * sizeof *d->deferred);
}

/* ---- what was told ---- */

static void tell_drop(gb_directory *d, uint64_t silo, uint64_t act, const gb_entry *entry,
                      gb_directory_actions *out)
{
    gb_message drop = {.kind = GB_MSG_DROP,
                       .silo = entry->silo,
                       .act = act,
                       .id = entry->node.id,
                       .id_size = entry->node.size};
    if (silo == d->silo) {
        drop.view = d->view->id;
        gb_directory_message(d, silo, &drop, 0, out);
        return;
    }
    gb_message *message = gbi_dir_send(d, out, silo, GB_MSG_DROP, drop.id, drop.id_size);
    if (!message) return;
    message->silo = drop.silo;
    message->act = act;
}

/* False: no memory to keep it. */
static bool learn(gb_directory *d, uint64_t from, const gb_sync_item *item,
                  gb_directory_actions *out)
{
    uint64_t hash = gb_directory_hash(d->config.hash_seed, item->id, item->id_size);
    if (gb_ring_owner(d->view->ring, hash) != d->silo) return true;
    gb_entry *entry = gbi_ids_find(&d->part, hash, item->id, item->id_size);
    if (!entry) {
        entry = gbi_ids_add(&d->part, hash, item->id, item->id_size);
        if (!entry) return false;
        entry->silo = from;
    } else if (entry->silo != from) {
        /* Two hosts: the newer view counts, then the smaller silo. */
        int order = gb_view_id_order(item->view, entry->view);
        uint64_t loser = from, act = item->act;
        if (order > 0 || (order == 0 && from < entry->silo)) {
            loser = entry->silo;
            act = entry->act;
            entry->silo = from;
            entry->act = 0;
        }
        tell_drop(d, loser, act, entry, out);
        if (loser == from) return true;
    }
    if (item->act >= entry->act) {
        entry->act = item->act;
        entry->view = item->view;
    }
    return true;
}

static bool learn_own(gb_directory *d, const gb_arc *arcs, uint32_t count,
                      gb_directory_actions *out)
{
    for (uint32_t i = 0; i < d->held.used; i++) {
        const gb_held *held = gbi_ids_at(&d->held, i);
        if (!held || held->claiming || !in_arcs(arcs, count, held->node.hash)) continue;
        gb_sync_item item = {held->act, held->view, held->node.id, held->node.size};
        if (!learn(d, d->silo, &item, out)) return false;
    }
    return true;
}

void gbi_dir_sync_told(gb_directory *d, uint64_t from, const gb_message *message,
                       gb_directory_actions *out)
{
    for (uint32_t i = 0; i < d->round_count; i++) {
        gb_round *round = &d->rounds[i];
        if (round->seq != message->seq) continue;
        uint32_t k = 0;
        while (k < round->waiting_count && round->waiting[k].silo != from) k++;
        if (k == round->waiting_count) return;
        struct gb_round_silo *waiting = &round->waiting[k];
        if (message->part == 0 && waiting->batch != message->act) {
            waiting->batch = message->act;
            waiting->next = 0;
        }
        if (waiting->batch != message->act || waiting->next != message->part) return;
        waiting->next++;
        for (uint32_t item = 0; item < message->count; item++) {
            if (learn(d, from, &message->items[item], out)) continue;
            waiting->batch = 0; /* it is asked again, and tells all again */
            return;
        }
        if (!message->last) return;
        round->waiting[k] = round->waiting[--round->waiting_count];
        if (round->waiting_count == 0) free_round(d, i);
        return;
    }
}

/* ---- asking ---- */

static void ask_silo(gb_directory *d, const gb_round *round, uint64_t silo,
                     gb_directory_actions *out)
{
    size_t bytes = round->arc_count * sizeof *round->arcs;
    gb_arc *arcs = gb_mem_alloc(out->mem, bytes);
    gb_message *message = arcs ? gbi_dir_send(d, out, silo, GB_MSG_SYNC_ASK, NULL, 0) : NULL;
    if (!message) {
        if (arcs) gb_mem_free(out->mem, arcs, bytes);
        return;
    }
    memcpy(arcs, round->arcs, bytes);
    message->seq = round->seq;
    message->arcs = message->owned = arcs;
    message->owned_size = bytes;
    message->count = round->arc_count;
}

static bool hosts(const gb_member *row)
{
    return row->state == GB_SILO_ACTIVE || row->state == GB_SILO_DRAINING ||
           row->state == GB_SILO_STOPPING;
}

/* May it host what this silo does not know of? Who was joining in the view before hosts nothing but
 * what he claimed since; who was not there at all was perhaps left out by a table that lost rows.
 */
static bool appeared(const gb_view *old, const gb_member *row)
{
    return old && hosts(row) && !gb_view_find(old, row->id);
}

/* Asks all for what they host on some arcs, which it takes; with `old` only who appeared. */
static int begin_round(gb_directory *d, gb_arc *arcs, uint32_t count, const gb_view *old,
                       uint64_t now, gb_directory_actions *out)
{
    gb_round round = {.seq = ++d->seq,
                      .arcs = arcs,
                      .arc_count = count,
                      .ask_at = now,
                      .wait_ns = d->config.rules.sync_wait_ns};
    round.waiting_room = d->view->live;
    round.waiting = gb_mem_zalloc(d->mem, round.waiting_room * sizeof *round.waiting);
    if (!round.waiting) {
        gb_mem_free(d->mem, arcs, count * sizeof *arcs);
        return GB_ENOMEM;
    }
    for (uint32_t i = 0; i < d->view->count; i++) {
        const gb_member *row = &d->view->rows[i]->member;
        if (row->id != d->silo && hosts(row)) round.waiting[round.waiting_count++].silo = row->id;
    }
    d->stats.syncs++;
    d->rounds[d->round_count++] = round;
    if (!old && !learn_own(d, arcs, count, out)) return GB_ENOMEM; /* blind: all is asked again */
    if (round.waiting_count == 0) free_round(d, d->round_count - 1);
    return 0;
}

/* Asks for all of the ring, in place of every round. */
static void begin_whole(gb_directory *d, uint64_t now, gb_directory_actions *out)
{
    while (d->round_count) free_round(d, 0);
    gb_arc *arcs = gb_mem_alloc(d->mem, sizeof *arcs);
    if (arcs) *arcs = whole;
    d->blind = !arcs || begin_round(d, arcs, 1, NULL, now, out) < 0;
}

void gbi_dir_sync_again(gb_directory *d, uint64_t now, gb_directory_actions *out)
{
    if (d->blind && now >= d->again_at) {
        d->again_at = now + d->config.rules.sync_wait_ns;
        begin_whole(d, now, out);
    }
    for (uint32_t i = 0; i < d->round_count; i++) {
        gb_round *round = &d->rounds[i];
        if (now < round->ask_at) continue;
        round->ask_at = now + round->wait_ns;
        if (round->wait_ns < 8 * d->config.rules.sync_wait_ns) round->wait_ns *= 2;
        for (uint32_t k = 0; k < round->waiting_count; k++)
            ask_silo(d, round, round->waiting[k].silo, out);
    }
}

/* ---- a new view ---- */

/* The ring of all who may have owned something since the old view: its silos, and who came and
 * went since. */
static int ring_between(gb_ring **out, const gb_directory *d, const gb_view *old)
{
    uint32_t count = 0, room = old->ring->silos + d->view->count;
    uint64_t *ids = gb_mem_alloc(d->mem, room * sizeof *ids);
    if (!ids) return GB_ENOMEM;
    for (uint32_t i = 0; i < d->view->count; i++) {
        const gb_member *row = &d->view->rows[i]->member;
        if (row->state <= GB_SILO_ACTIVE) continue;
        const gb_member *before = gb_view_find(old, row->id);
        if (!before || before->state < GB_SILO_ACTIVE ||
            (before->state > GB_SILO_ACTIVE && before->returns < row->returns))
            ids[count++] = row->id;
    }
    int rc = 0;
    if (count) {
        for (uint32_t i = 0; i < old->ring->silos; i++) ids[count++] = old->ring->ids[i];
        rc = gb_ring_new(out, d->mem, old->ring->seed, ids, count, old->ring);
    } else
        *out = gb_ring_ref(old->ring);
    gb_mem_free(d->mem, ids, room * sizeof *ids);
    return rc;
}

/* The arcs that this silo owns now and may have missed something of: *out for the caller. */
static int gained(gb_directory *d, const gb_view *old, uint64_t old_at, uint64_t now, gb_arc **out,
                  uint32_t *count)
{
    gb_ring *before = NULL;
    /* Silos that came and went between two views are in the table for a while only. */
    bool blind =
        !old || old->id.generation != d->view->id.generation ||
        (now - old_at > d->config.rules.blind_ns && old->id.version + 1 != d->view->id.version);
    int rc = blind ? gb_ring_new(&before, d->mem, d->view->ring->seed, NULL, 0, NULL)
                   : ring_between(&before, d, old);
    if (rc == 0 && before != d->view->ring)
        rc = gb_ring_gained(out, count, d->mem, before, d->view->ring, d->silo);
    gb_ring_unref(before);
    return rc;
}

static void forget_moved(gb_directory *d, const gb_arc *arcs, uint32_t count, bool ring)
{
    for (uint32_t i = 0; i < d->part.used; i++) {
        gb_entry *entry = gbi_ids_at(&d->part, i);
        if (!entry) continue;
        if ((ring && (gb_ring_owner(d->view->ring, entry->node.hash) != d->silo ||
                      in_arcs(arcs, count, entry->node.hash))) ||
            gb_view_state(d->view, entry->silo) == GB_SILO_DEAD)
            gbi_ids_remove(&d->part, entry);
    }
}

static void forget_dead(gb_directory *d)
{
    for (uint32_t i = d->round_count; i-- > 0;) {
        gb_round *round = &d->rounds[i];
        for (uint32_t k = round->waiting_count; k-- > 0;) {
            const gb_member *row = gb_view_find(d->view, round->waiting[k].silo);
            if (!row || row->state == GB_SILO_DEAD)
                round->waiting[k] = round->waiting[--round->waiting_count];
        }
        if (round->waiting_count == 0) free_round(d, i);
    }
    for (uint32_t i = d->deferred_count; i-- > 0;) {
        if (gb_view_state(d->view, d->deferred[i].from) == GB_SILO_DEAD) drop_deferred(d, i);
    }
}

static void tell(gb_directory *d, uint64_t to, uint64_t seq, const gb_arc *arcs, uint32_t count,
                 gb_directory_actions *out);

static void tell_deferred(gb_directory *d, gb_directory_actions *out)
{
    for (uint32_t i = d->deferred_count; i-- > 0;) {
        gb_deferred *deferred = &d->deferred[i];
        if (gb_view_id_order(deferred->view, d->view->id) > 0) continue;
        tell(d, deferred->from, deferred->seq, deferred->arcs, deferred->arc_count, out);
        drop_deferred(d, i);
    }
}

/* Who is there all at once is asked for whatever it hosts of this silo's part. */
static void ask_appeared(gb_directory *d, const gb_view *old, uint64_t now,
                         gb_directory_actions *out)
{
    bool any = false;
    for (uint32_t i = 0; i < d->view->count && !any; i++)
        any = d->view->ids[i] != d->silo && appeared(old, &d->view->rows[i]->member);
    if (!any || gb_view_state(d->view, d->silo) != GB_SILO_ACTIVE) return;
    gb_arc *arcs = d->round_count < GB_ROUNDS_MAX ? gb_mem_alloc(d->mem, sizeof *arcs) : NULL;
    if (arcs) *arcs = whole;
    if (d->round_count == GB_ROUNDS_MAX)
        begin_whole(d, now, out);
    else if (!arcs || begin_round(d, arcs, 1, old, now, out) < 0)
        d->blind = true;
}

void gbi_dir_moved(gb_directory *d, gb_view *old, uint64_t old_at, uint64_t now,
                   gb_directory_actions *out)
{
    gb_arc *arcs = NULL;
    uint32_t count = 0;
    bool all = gained(d, old, old_at, now, &arcs, &count) < 0 || d->blind ||
               count > GB_MESSAGE_ARCS_MAX || (count && d->round_count == GB_ROUNDS_MAX);
    forget_moved(d, all ? &whole : arcs, all ? 1 : count,
                 all || count || !old || old->ring != d->view->ring);
    forget_dead(d);
    tell_deferred(d, out);
    if (all && arcs) gb_mem_free(d->mem, arcs, count * sizeof *arcs);
    if (all)
        begin_whole(d, now, out);
    else if (arcs && begin_round(d, arcs, count, NULL, now, out) < 0)
        d->blind = true;
    if (!all) ask_appeared(d, old, now, out);
    gbi_dir_sync_again(d, now, out);
}

/* ---- being asked ---- */

static bool flush(gb_directory *d, uint64_t to, uint64_t seq, uint64_t batch, uint32_t part,
                  const uint32_t *slots, uint32_t count, bool last, gb_directory_actions *out)
{
    size_t bytes = count * sizeof(gb_sync_item), texts = 0;
    for (uint32_t i = 0; i < count; i++)
        texts += ((gb_held *)gbi_ids_at(&d->held, slots[i]))->node.size;
    char *block = bytes ? gb_mem_alloc(out->mem, bytes + texts) : NULL;
    if (bytes && !block) return false;
    gb_message *message = gbi_dir_send(d, out, to, GB_MSG_SYNC, NULL, 0);
    if (!message) {
        if (block) gb_mem_free(out->mem, block, bytes + texts);
        return false;
    }
    gb_sync_item *items = (gb_sync_item *)block;
    char *text = block + bytes;
    for (uint32_t i = 0; i < count; i++) {
        const gb_held *held = gbi_ids_at(&d->held, slots[i]);
        memcpy(text, held->node.id, held->node.size);
        items[i] = (gb_sync_item){held->act, held->view, text, held->node.size};
        text += held->node.size;
    }
    message->seq = seq;
    message->act = batch;
    message->part = part;
    message->last = last;
    message->items = items;
    message->count = count;
    message->owned = block;
    message->owned_size = bytes + texts;
    return true;
}

/* Tells what is hosted here on some arcs, in parts. A part that is lost is asked for again. */
static void tell(gb_directory *d, uint64_t to, uint64_t seq, const gb_arc *arcs, uint32_t count,
                 gb_directory_actions *out)
{
    uint32_t slots[GB_SYNC_ITEMS_MAX], filled = 0, part = 0;
    uint64_t batch = ++d->batches;
    for (uint32_t i = 0; i < d->held.used; i++) {
        const gb_held *held = gbi_ids_at(&d->held, i);
        if (!held || held->claiming || !in_arcs(arcs, count, held->node.hash)) continue;
        if (filled == GB_SYNC_ITEMS_MAX) {
            if (!flush(d, to, seq, batch, part++, slots, filled, false, out)) return;
            filled = 0;
        }
        slots[filled++] = i;
    }
    flush(d, to, seq, batch, part, slots, filled, true, out);
}

void gbi_dir_sync_asked(gb_directory *d, uint64_t from, const gb_message *message,
                        gb_directory_actions *out)
{
    if (gb_view_id_order(message->view, d->view->id) <= 0) {
        tell(d, from, message->seq, message->arcs, message->count, out);
        return;
    }
    for (uint32_t i = 0; i < d->deferred_count; i++) {
        if (d->deferred[i].from == from && d->deferred[i].seq == message->seq) return;
    }
    if (d->deferred_count == d->deferred_room) {
        if (2 * d->deferred_room > GB_DEFERRED_MAX) return; /* asked again */
        gb_deferred *deferred =
            gb_mem_grow(d->mem, d->deferred, &d->deferred_room, 8, sizeof *deferred);
        if (!deferred) return;
        d->deferred = deferred;
    }
    size_t bytes = message->count * sizeof *message->arcs;
    gb_arc *arcs = bytes ? gb_mem_alloc(d->mem, bytes) : NULL;
    if (!arcs) return;
    memcpy(arcs, message->arcs, bytes);
    d->deferred[d->deferred_count++] =
        (gb_deferred){from, message->seq, message->view, arcs, message->count};
}
