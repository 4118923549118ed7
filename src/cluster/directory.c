#include "base/err.h"
#include "base/hash.h"
#include "cluster/directory_room.h"

#include <string.h>

void gb_directory_rules_init(gb_directory_rules *rules)
{
    *rules = (gb_directory_rules){.answer_wait_ns = 500000000,
                                  .later_min_ns = 10000000,
                                  .sync_wait_ns = 500000000,
                                  .blind_ns = 300ull * 1000000000,
                                  .questions_max = 65536};
}

uint64_t gb_directory_hash(uint64_t hash_seed, const void *id, uint32_t size)
{
    return gb_hash_bytes(id, size, hash_seed);
}

/* ---- actions ---- */

void gb_directory_actions_init(gb_directory_actions *actions, gb_mem *mem)
{
    *actions = (gb_directory_actions){.mem = mem};
}

void gb_directory_actions_clear(gb_directory_actions *actions)
{
    for (uint32_t i = 0; i < actions->count; i++) {
        gb_directory_action *action = &actions->items[i];
        if (action->id) gb_mem_free(actions->mem, action->id, action->id_size);
        gb_message_fini(&action->message);
    }
    actions->count = 0;
}

void gb_directory_actions_fini(gb_directory_actions *actions)
{
    gb_directory_actions_clear(actions);
    if (actions->items)
        gb_mem_free(actions->mem, actions->items, actions->room * sizeof *actions->items);
    *actions = (gb_directory_actions){.mem = actions->mem};
}

/* Copies the id. NULL: no memory; who asked asks again. */
gb_directory_action *gbi_dir_do(gb_directory *d, gb_directory_actions *out,
                                gb_directory_action_kind kind, const void *id, uint32_t size)
{
    if (out->count == out->room) {
        uint32_t room = out->room ? out->room * 2 : 16;
        gb_directory_action *items =
            gb_mem_realloc(out->mem, out->items, out->room * sizeof *items, room * sizeof *items);
        if (!items) return NULL;
        out->items = items;
        out->room = room;
    }
    void *copy = size ? gb_mem_alloc(out->mem, size) : NULL;
    if (size && !copy) return NULL;
    gb_directory_action *action = &out->items[out->count++];
    *action = (gb_directory_action){.kind = kind, .id = copy, .id_size = size};
    if (size) memcpy(copy, id, size);
    action->message.mem = out->mem;
    return action;
}

gb_message *gbi_dir_send(gb_directory *d, gb_directory_actions *out, uint64_t silo,
                         gb_message_kind kind, const void *id, uint32_t size)
{
    gb_directory_action *action = gbi_dir_do(d, out, GB_DIR_SEND, id, size);
    if (!action) return NULL;
    action->silo = silo;
    action->message.kind = kind;
    action->message.view = d->view->id;
    action->message.id = action->id;
    action->message.id_size = size;
    return &action->message;
}

/* ---- open and close ---- */

int gb_directory_open(gb_directory **out, const gb_directory_config *config)
{
    gb_directory *d = gb_mem_zalloc(config->mem, sizeof *d);
    if (!d) return GB_ENOMEM;
    d->mem = config->mem;
    d->config = *config;
    d->silo = config->silo;
    gbi_ids_init(&d->part, d->mem, sizeof(gb_entry));
    gbi_ids_init(&d->held, d->mem, sizeof(gb_held));
    gb_map_init(&d->seqs, d->mem);
    gb_heap_init(&d->timers, d->mem);
    *out = d;
    return 0;
}

void gb_directory_close(gb_directory *d)
{
    gbi_dir_asks_close(d);
    gbi_dir_sync_close(d);
    gbi_ids_fini(&d->part);
    gbi_ids_fini(&d->held);
    gb_map_fini(&d->seqs);
    gb_heap_fini(&d->timers);
    gb_view_unref(d->view);
    gb_mem_free(d->mem, d, sizeof *d);
}

/* ---- events ---- */

void gb_directory_view(gb_directory *d, gb_view *view, uint64_t now, gb_directory_actions *out)
{
    gb_view *old = d->view;
    uint64_t old_at = d->view_at;
    d->view = gb_view_ref(view);
    d->view_at = now;
    gbi_dir_moved(d, old, old_at, now, out);
    gb_view_unref(old);
    gbi_dir_asks_moved(d, now, out);
}

static void answer(gb_directory *d, uint64_t from, const gb_message *asked,
                   gb_directory_actions *out)
{
    uint64_t silo = 0;
    uint64_t hash = gb_directory_hash(d->config.hash_seed, asked->id, asked->id_size);
    gb_find_status status = gbi_dir_serve(d, from, asked->kind, asked->view, asked->id,
                                          asked->id_size, hash, asked->act, &silo);
    gb_message *message = gbi_dir_send(d, out, from, GB_MSG_ANSWER, NULL, 0);
    if (!message) return;
    message->seq = asked->seq;
    message->status = status;
    message->silo = silo;
}

static void dropped(gb_directory *d, const gb_message *message, gb_directory_actions *out)
{
    uint64_t hash = gb_directory_hash(d->config.hash_seed, message->id, message->id_size);
    gb_held *held = gbi_ids_find(&d->held, hash, message->id, message->id_size);
    if (!held || held->claiming || held->act != message->act) return;
    gb_directory_action *action = gbi_dir_do(d, out, GB_DIR_DROP, message->id, message->id_size);
    if (!action) return; /* who told it tells again when it is asked */
    action->silo = message->silo;
    d->stats.dropped++;
    gbi_ids_remove(&d->held, held);
}

void gb_directory_message(gb_directory *d, uint64_t from, const gb_message *message, uint64_t now,
                          gb_directory_actions *out)
{
    if (!d->view) return;
    switch (message->kind) {
    case GB_MSG_FIND:
    case GB_MSG_CLAIM:
        answer(d, from, message, out);
        break;
    case GB_MSG_ANSWER:
        gbi_dir_answered(d, from, message, now, out);
        break;
    case GB_MSG_RELEASE:
        gbi_dir_forget(d, from, message->id, message->id_size, message->act);
        break;
    case GB_MSG_SYNC_ASK:
        gbi_dir_sync_asked(d, from, message, out);
        break;
    case GB_MSG_SYNC:
        gbi_dir_sync_told(d, from, message, out);
        break;
    case GB_MSG_DROP:
        dropped(d, message, out);
        break;
    default:
        break;
    }
}

int gb_directory_find(gb_directory *d, uint64_t token, const void *id, uint32_t size,
                      uint64_t deadline, uint64_t now, gb_directory_actions *out)
{
    return gbi_dir_ask(d, GB_MSG_FIND, token, id, size, d->acts, deadline, now, out);
}

int gb_directory_claim(gb_directory *d, uint64_t token, const void *id, uint32_t size,
                       uint64_t deadline, uint64_t now, gb_directory_actions *out)
{
    uint64_t hash = gb_directory_hash(d->config.hash_seed, id, size);
    gb_held *held = gbi_ids_find(&d->held, hash, id, size);
    if (held) return gb_err_set(GB_ECONFLICT, "the grain is active here, or about to be");
    held = gbi_ids_add(&d->held, hash, id, size);
    if (!held) return GB_ENOMEM;
    held->claiming = true;
    held->act = ++d->acts;
    int rc = gbi_dir_ask(d, GB_MSG_CLAIM, token, id, size, held->act, deadline, now, out);
    if (rc < 0) gbi_ids_remove(&d->held, held);
    return rc;
}

void gb_directory_release(gb_directory *d, const void *id, uint32_t size, uint64_t now,
                          gb_directory_actions *out)
{
    uint64_t hash = gb_directory_hash(d->config.hash_seed, id, size);
    gb_held *held = gbi_ids_find(&d->held, hash, id, size);
    if (!held || held->claiming) return;
    uint64_t act = held->act, owner = d->view ? gb_ring_owner(d->view->ring, hash) : 0;
    gbi_ids_remove(&d->held, held);
    if (owner == d->silo)
        gbi_dir_forget(d, d->silo, id, size, act);
    else if (owner) {
        gb_message *message = gbi_dir_send(d, out, owner, GB_MSG_RELEASE, id, size);
        if (message) message->act = act;
    }
}

void gb_directory_tick(gb_directory *d, uint64_t now, gb_directory_actions *out)
{
    if (!d->view) return;
    gbi_dir_sync_again(d, now, out);
    gbi_dir_ask_again(d, now, out);
}

uint64_t gb_directory_next(const gb_directory *d)
{
    const gb_heap_node *top = gb_heap_top(&d->timers);
    uint64_t next = top ? top->key : UINT64_MAX;
    for (uint32_t i = 0; i < d->round_count; i++) {
        if (d->rounds[i].ask_at < next) next = d->rounds[i].ask_at;
    }
    if (d->blind && d->again_at < next) next = d->again_at;
    return next;
}

/* ---- what is ---- */

bool gb_directory_holds(const gb_directory *d, const void *id, uint32_t size, gb_view_id *view)
{
    uint64_t hash = gb_directory_hash(d->config.hash_seed, id, size);
    const gb_held *held = gbi_ids_find(&d->held, hash, id, size);
    if (!held || held->claiming) return false;
    if (view) *view = held->view;
    return true;
}

void gb_directory_get_stats(const gb_directory *d, gb_directory_stats *out)
{
    *out = d->stats;
    out->entries = d->part.count;
    out->held = d->held.count;
    out->questions = d->question_count;
    out->syncing = d->round_count > 0;
}

/* ---- the cache ---- */

int gb_dir_cache_init(gb_dir_cache *cache, gb_mem *mem, uint32_t lines)
{
    *cache = (gb_dir_cache){.mem = mem, .mask = lines - 1};
    if (!lines || (lines & (lines - 1)))
        return gb_err_set(GB_EINVAL, "a cache of %u lines: a power of two is needed", lines);
    cache->lines = gb_mem_zalloc(mem, lines * sizeof *cache->lines);
    return cache->lines ? 0 : GB_ENOMEM;
}

void gb_dir_cache_fini(gb_dir_cache *cache)
{
    if (cache->lines)
        gb_mem_free(cache->mem, cache->lines, (cache->mask + 1ull) * sizeof *cache->lines);
    cache->lines = NULL;
}

void gb_dir_cache_put(gb_dir_cache *cache, uint64_t hash, uint64_t silo)
{
    cache->lines[hash & cache->mask].hash = hash;
    cache->lines[hash & cache->mask].silo = silo;
}

uint64_t gb_dir_cache_get(const gb_dir_cache *cache, uint64_t hash, const gb_view *view)
{
    const struct gb_dir_cache_line *line = &cache->lines[hash & cache->mask];
    if (line->hash != hash || !line->silo) return 0;
    return view && gb_view_state(view, line->silo) == GB_SILO_DEAD ? 0 : line->silo;
}
