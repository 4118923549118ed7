#include "grain/room.h"

#include "base/check.h"
#include "base/err.h"

#include <sched.h>
#include <string.h>

enum { TURNED_MAX = 16, IDLE_PER_FIRE = 64 };

static void act_failed(gb_worker *worker, gb_act *act, int rc, const char *message,
                       const gb_buf *results);

const char *gb_end_name(gb_end end)
{
    static const char *const names[] = {"idle", "asked", "shutdown", "failed", "device"};
    return names[end];
}

gb_key gb_act_key(const gb_act *act)
{
    if (act->key_size == GB_ACT_KEY_NUMBER) return gb_key_number(act->key.number);
    return (gb_key){.text = act->key.text, .size = act->key_size};
}

gb_worker *gb_worker_of_key(gb_type *type, gb_key key)
{
    gb_silo *silo = type->silo;
    if (type->pinned >= 0) return silo->workers[type->pinned];
    return silo->workers[gb_hash_worker(gb_key_hash(type, key), (uint32_t)silo->worker_count)];
}

gb_act *gb_act_find(gb_worker *worker, gb_type *type, gb_key key)
{
    uint64_t hash = gb_key_hash(type, key);
    uint32_t cursor = 0, slot;
    while ((slot = gb_map_next(&worker->acts, hash, &cursor)) != GB_MAP_NONE) {
        gb_act *act = &worker->chunks[slot / GB_ACTS_PER_CHUNK][slot % GB_ACTS_PER_CHUNK];
        if (act->type == type && gb_key_equal(gb_act_key(act), key)) return act;
    }
    return NULL;
}

/* The stateless choice: an idle one; else NULL with *full false (make one); else the shortest
 * queue. */
gb_act *gbi_act_pick_stateless(gb_worker *worker, gb_type *type, gb_key key, bool *full)
{
    uint64_t hash = gb_key_hash(type, key);
    uint32_t cursor = 0, slot, count = 0;
    gb_act *best = NULL;
    while ((slot = gb_map_next(&worker->acts, hash, &cursor)) != GB_MAP_NONE) {
        gb_act *act = &worker->chunks[slot / GB_ACTS_PER_CHUNK][slot % GB_ACTS_PER_CHUNK];
        if (act->type != type || !gb_key_equal(gb_act_key(act), key)) continue;
        if (gb_act_idle(act)) return act;
        if (act->state == GB_ACT_STOPPING) continue;
        count++;
        if (!best || act->queued < best->queued) best = act;
    }
    *full = count >= type->options.stateless_max;
    return *full ? best : NULL;
}

/* From so many chunks on as many come at once, so that they can be huge pages: calls to a million
 * activations are bound by walks through page tables. */
enum { CHUNKS_AT_ONCE = 32 };

static size_t chunks_made(uint32_t chunk)
{
    if (chunk < CHUNKS_AT_ONCE) return 1;
    return chunk % CHUNKS_AT_ONCE == 0 ? CHUNKS_AT_ONCE : 0; /* 0: it came with one before */
}

static int chunk_add(gb_worker *worker)
{
    if (worker->chunk_count == worker->chunk_room) {
        uint32_t room = worker->chunk_room ? worker->chunk_room * 2 : 16;
        gb_act **chunks =
            gb_mem_realloc(&worker->mem, worker->chunks, worker->chunk_room * sizeof *chunks,
                           room * sizeof *chunks);
        if (!chunks) return GB_ENOMEM;
        worker->chunks = chunks;
        worker->chunk_room = room;
    }
    size_t made = chunks_made(worker->chunk_count), bytes = GB_ACTS_PER_CHUNK * sizeof(gb_act);
    gb_act *chunk = made ? gb_mem_zalloc_lines(&worker->mem, made * bytes)
                         : worker->chunks[worker->chunk_count - 1] + GB_ACTS_PER_CHUNK;
    if (!chunk) return GB_ENOMEM;
    uint32_t first = worker->chunk_count * GB_ACTS_PER_CHUNK;
    for (uint32_t i = GB_ACTS_PER_CHUNK; i-- > 0;) {
        chunk[i].slot = first + i;
        chunk[i].queued = worker->free_slot; /* the chain of free slots */
        worker->free_slot = first + i;
    }
    worker->chunks[worker->chunk_count++] = chunk;
    return 0;
}

static int act_take_slot(gb_worker *worker, gb_type *type, gb_key key, gb_act **out)
{
    if (worker->free_slot == GB_MAP_NONE) {
        int rc = chunk_add(worker);
        if (rc < 0) return rc;
    }
    char *text = NULL;
    if (key.text && key.size >= GB_ACT_KEY_NUMBER)
        return gb_err_set(GB_EINVAL, "a key of %u bytes: at most 1024", key.size);
    if (key.text) {
        text = gb_mem_alloc(&worker->mem, key.size + 1u);
        if (!text) return GB_ENOMEM;
        memcpy(text, key.text, key.size);
        text[key.size] = 0;
    }
    uint32_t slot = worker->free_slot;
    gb_act *act = &worker->chunks[slot / GB_ACTS_PER_CHUNK][slot % GB_ACTS_PER_CHUNK];
    worker->free_slot = act->queued;
    *act = (gb_act){
        .type = type, .slot = slot, .generation = act->generation, .state = GB_ACT_STARTING};
    gb_list_init(&act->idle);
    if (text) {
        act->key.text = text;
        act->key_size = (uint16_t)key.size;
    } else {
        act->key.number = key.number;
        act->key_size = GB_ACT_KEY_NUMBER;
    }
    *out = act;
    return 0;
}

/* The watch may be printing the name of what ran here last; it is quick, and seldom there. It sees
 * that the activation goes, or is seen here: both sides exchange looked_at after their own store
 * and before their own look (watch.c does the reverse). */
static void wait_for_watch(gb_worker *worker, gb_act *act)
{
    if (atomic_load_explicit(&worker->beat_act, memory_order_relaxed) == act)
        atomic_store_explicit(&worker->beat_act, NULL, memory_order_release);
    while (atomic_fetch_add_explicit((_Atomic(uintptr_t) *)&worker->looked_at, 0,
                                     memory_order_acq_rel) == (uintptr_t)act)
        sched_yield();
}

static void act_give_slot(gb_worker *worker, gb_act *act)
{
    wait_for_watch(worker, act);
    if (act->key_size != GB_ACT_KEY_NUMBER)
        gb_mem_free(&worker->mem, act->key.text, act->key_size + 1u);
    act->state = GB_ACT_FREE;
    act->generation = (act->generation + 1) & 0x3ffffff; /* fits a Lua number beside the slot */
    act->queued = worker->free_slot;
    worker->free_slot = act->slot;
}

static void count_acts(gb_worker *worker, gb_type *type, int more)
{
    _Atomic uint32_t *count = &type->local[worker->index].count;
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + (uint32_t)more,
                          memory_order_relaxed);
    _Atomic uint64_t *ever = &type->local[worker->index].activated;
    if (more > 0)
        atomic_store_explicit(ever, atomic_load_explicit(ever, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    int64_t now = atomic_load_explicit(&worker->act_count, memory_order_relaxed) + more;
    atomic_store_explicit(&worker->act_count, now, memory_order_relaxed);
}

int gbi_act_new(gb_worker *worker, gb_type *type, gb_key key, gb_act **out)
{
    gb_act *act;
    int rc = act_take_slot(worker, type, key, &act);
    if (rc < 0) return rc;
    uint64_t hash = gb_key_hash(type, gb_act_key(act));
    rc = gb_map_add(&worker->acts, hash, act->slot);
    if (rc >= 0) {
        rc = type->kind->open(worker, act);
        if (rc < 0) gb_map_remove(&worker->acts, hash, act->slot);
    }
    if (rc < 0) {
        act_give_slot(worker, act);
        return rc;
    }
    count_acts(worker, type, 1);
    *out = act;
    return 0;
}

int gbi_act_forward_new(gb_worker *worker, gb_type *type, gb_key key, gb_worker *to, gb_act **out)
{
    gb_act *act;
    int rc = act_take_slot(worker, type, key, &act);
    if (rc < 0) return rc;
    rc = gb_map_add(&worker->acts, gb_key_hash(type, gb_act_key(act)), act->slot);
    if (rc < 0) {
        act_give_slot(worker, act);
        return rc;
    }
    act->state = GB_ACT_FORWARD;
    act->forward = (uint8_t)to->index;
    *out = act;
    return 0;
}

int gb_worker_root(gb_worker *worker, gb_type *type, gb_act **out)
{
    gb_act *act;
    int rc = act_take_slot(worker, type, gb_key_number(worker->index), &act);
    if (rc < 0) return rc;
    act->state = GB_ACT_ACTIVE;
    act->root = true;
    *out = act;
    return 0;
}

static void act_free(gb_worker *worker, gb_act *act)
{
    GB_CHECK(!act->queue && !act->room && !act->turns && !act->timers);
    gb_list_unlink(&act->idle);
    gb_map_remove(&worker->acts, gb_key_hash(act->type, gb_act_key(act)), act->slot);
    act_give_slot(worker, act);
}

bool gb_act_each_of(gb_worker *worker, uint32_t chunk, void (*fn)(gb_act *act, void *user),
                    void *user)
{
    if (chunk >= worker->chunk_count) return false;
    for (int k = 0; k < GB_ACTS_PER_CHUNK; k++) {
        gb_act *act = &worker->chunks[chunk][k];
        if (act->state != GB_ACT_FREE && act->state != GB_ACT_FORWARD && !act->root && !act->bare)
            fn(act, user);
    }
    return true;
}

typedef struct of_type {
    gb_type *type;
    void (*fn)(gb_act *act, void *user);
    void *user;
} of_type;

static void see_type(gb_act *act, void *user)
{
    const of_type *of = user;
    if (!of->type || act->type == of->type) of->fn(act, of->user);
}

void gb_act_each(gb_worker *worker, gb_type *type, void (*fn)(gb_act *act, void *user), void *user)
{
    of_type of = {type, fn, user};
    for (uint32_t i = 0; gb_act_each_of(worker, i, see_type, &of); i++) continue;
}

/* ---- hooks and endings ---- */

static int hook_start(gb_worker *worker, gb_act *act, const gb_sym *name)
{
    gb_call *hook = gb_call_new(worker);
    if (!hook) return GB_ENOMEM;
    hook->type = act->type;
    hook->method = name;
    hook->flags = GB_CALL_HOOK;
    hook->deadline = GB_FOREVER;
    gbi_turn_begin(worker, act, hook);
    return 0;
}

void gbi_act_start(gb_worker *worker, gb_act *act)
{
    if (!act->type->local[worker->index].has_activate) {
        act->state = GB_ACT_ACTIVE;
        gbi_act_settle(worker, act);
    } else if (hook_start(worker, act, worker->silo->sym_activate) < 0) {
        act_failed(worker, act, GB_ENOMEM, gb_err_detail(), NULL);
    }
}

/* The results go home instead of those of a turn. False: out of memory. */
static bool answer_with(gb_call *call, const gb_buf *results)
{
    while (call->block_count > 0) gb_block_unref(call->blocks[--call->block_count]);
    call->bytes.size = 0;
    return gb_buf_put(&call->bytes, results->data, results->size) == 0;
}

/* Calls that wait at an activation that failed to start are answered with its error: with the
 * results that its hook left, if any, where somebody reads them. */
static void queue_fail(gb_worker *worker, gb_act *act, int rc, const char *message,
                       const gb_buf *results)
{
    gb_call *call;
    while ((call = gbi_call_dequeue(worker, act))) {
        bool own = results && results->size > 0 && !(call->flags & GB_CALL_ONEWAY);
        if (!own || !answer_with(call, results))
            gb_call_fail(call, rc, "%s", message ? message : gb_err_text(rc));
        gbi_call_refuse(worker, call);
    }
}

/* An activation elsewhere than at home tells its home, which then forgets the forwarding entry. */
typedef struct unforward {
    gb_node node;
    gb_worker *from;
    gb_type *type;
    uint32_t slot, generation; /* at from: the activation that ends */
    int64_t number;
    char *text;
    uint32_t size;
    bool back;
} unforward;

/* They came too late for this activation: a new one serves them. Not for ever, since a grain may
 * end itself each time that it starts. Ticks end with their activation. */
static void turn_away(gb_worker *worker, gb_call *call)
{
    if (call->rc >= 0) {
        gbi_call_arrive(worker, call);
        return;
    }
    gbi_call_return(call);
}

/* Takes it off the activation; rc says whether it may go on. */
static void detach(gb_worker *worker, gb_act *act, gb_call *call)
{
    if (call->flags & GB_CALL_ONEWAY) gb_timer_stop(&worker->timers, &call->timer);
    call->state &= (uint8_t) ~(GB_AT_QUEUED | GB_AT_ROOM);
    call->act = NULL;
    call->hops = 0;
    call->way &= (uint8_t)~GB_WAY_PLACED;
    gb_key key = gb_act_key(act); /* the twin of a one-way call has none of its own */
    if (call->flags & GB_CALL_TICK)
        gb_call_fail(call, GB_ECANCELED, "its grain was deactivated");
    else if (++call->turned > TURNED_MAX)
        gb_call_fail(call, GB_EBUSY, "its grain ended %d times before the call could begin",
                     TURNED_MAX);
    else if (!gb_key_equal(call->key, key) && gb_call_set_key(call, key) < 0)
        gb_call_fail(call, GB_ENOMEM, "%s", gb_err_detail());
}

static void act_gone(gb_worker *worker, gb_act *act)
{
    gb_call *rest[] = {act->queue, act->room};
    act->queue = act->queue_last = act->room = act->room_last = NULL;
    act->type->local[worker->index].queued -= act->queued;
    act->queued = 0;
    for (int i = 0; i < 2; i++)
        for (gb_call *call = rest[i]; call; call = call->next) detach(worker, act, call);
    act_free(worker, act);
    for (int i = 0; i < 2; i++)
        for (gb_call *call = rest[i], *next; call; call = next) {
            next = call->next;
            turn_away(worker, call);
        }
}

static void unforward_run(gb_node *node, void *reader)
{
    gb_worker *worker = reader;
    unforward *note = (unforward *)node;
    if (!note->back) {
        gb_key key = note->text ? (gb_key){.text = note->text, .size = note->size}
                                : gb_key_number(note->number);
        gb_act *act = gb_act_find(worker, note->type, key);
        if (act && act->state == GB_ACT_FORWARD && act->forward == note->from->index)
            act_free(worker, act);
        gbi_far_ended(worker, note->type, key);
        note->back = true;
        gb_worker_post(note->from, node);
        return;
    }
    gb_act *act = gb_act_at(worker, note->slot, note->generation);
    if (note->text) gb_mem_free(&worker->mem, note->text, note->size + 1);
    gb_mem_free(&worker->mem, note, sizeof *note);
    if (act && act->state == GB_ACT_STOPPING) act_gone(worker, act);
}

static int unforward_send(gb_worker *worker, gb_act *act, gb_worker *home)
{
    unforward *note = gb_mem_zalloc(&worker->mem, sizeof *note);
    if (!note) return GB_ENOMEM;
    gb_key key = gb_act_key(act);
    if (key.text) {
        note->text = gb_mem_alloc(&worker->mem, key.size + 1);
        if (!note->text) {
            gb_mem_free(&worker->mem, note, sizeof *note);
            return GB_ENOMEM;
        }
        memcpy(note->text, key.text, key.size + 1);
        note->size = key.size;
    }
    note->number = key.number;
    note->from = worker;
    note->type = act->type;
    note->slot = act->slot;
    note->generation = act->generation;
    note->node.run = unforward_run;
    gb_worker_post(home, &note->node);
    return 0;
}

/* What on_deactivate itself left behind ends too. */
static void act_clear(gb_worker *worker, gb_act *act)
{
    gbi_act_timers_end(worker, act);
    while (act->turns) gbi_turn_kill(worker, act->turns, GB_ECANCELED);
}

static void act_finish(gb_worker *worker, gb_act *act)
{
    gb_placement placement = act->type->options.placement;
    gb_worker *home = gb_worker_of_key(act->type, gb_act_key(act));
    bool elsewhere = (placement == GB_PLACE_LOCAL || placement == GB_PLACE_LEAST) && home != worker;
    act_clear(worker, act);
    if (!act->bare) { /* before home hears of it, and may begin the next one */
        act->type->kind->close(worker, act);
        count_acts(worker, act->type, -1);
        act->bare = true;
    }
    if (elsewhere && unforward_send(worker, act, home) == 0) return;
    if (!elsewhere) gbi_far_ended(worker, act->type, gb_act_key(act));
    act_gone(worker, act);
}

void gbi_act_unplace(gb_worker *worker, gb_type *type, gb_key key)
{
    gb_act *act;
    if (act_take_slot(worker, type, key, &act) < 0) return; /* the entry serves the next call */
    if (gb_map_add(&worker->acts, gb_key_hash(type, gb_act_key(act)), act->slot) < 0) {
        act_give_slot(worker, act);
        return;
    }
    act->state = GB_ACT_STOPPING; /* who comes meanwhile waits, as for any that ends */
    act->bare = true;
    act_finish(worker, act);
}

static void act_end(gb_worker *worker, gb_act *act)
{
    if (worker->current && worker->current->act == act) { /* a detached turn of its own asks */
        act->wants_end = true;
        worker->current->look = true; /* when it has parked, if it does not end */
        return;
    }
    act->state = GB_ACT_STOPPING;
    act->wants_end = false;
    gb_list_unlink(&act->idle);
    act_clear(worker, act);
    if (act->end != GB_END_FAILED && act->type->local[worker->index].has_deactivate &&
        hook_start(worker, act, worker->silo->sym_deactivate) == 0)
        return;
    act_finish(worker, act);
}

/* It could not start. */
static void act_failed(gb_worker *worker, gb_act *act, int rc, const char *message,
                       const gb_buf *results)
{
    act->state = GB_ACT_STOPPING;
    queue_fail(worker, act, rc, message, results);
    act->end = GB_END_FAILED;
    act_end(worker, act);
}

void gbi_act_hook_done(gb_worker *worker, gb_call *hook)
{
    gb_act *act = hook->act;
    char id[256];
    gb_key_print(id, sizeof id, act->type, gb_act_key(act));
    bool starting = act->state == GB_ACT_STARTING;
    if (hook->rc < 0)
        gb_log_put(worker->silo->config.log, GB_LOG_WARN, gb_wall(worker->silo->sys), NULL,
                   "%s of %s failed: %s", hook->method->text, id,
                   hook->message ? hook->message : gb_err_text(hook->rc));
    if (starting && hook->rc >= 0) {
        act->state = GB_ACT_ACTIVE;
        gbi_act_settle(worker, act);
    } else if (starting) {
        act_failed(worker, act, hook->rc, hook->message, &hook->bytes);
    } else {
        act_finish(worker, act);
    }
}

void gb_act_stop(gb_worker *worker, gb_act *act, gb_end end)
{
    if (act->state == GB_ACT_STOPPING || act->state == GB_ACT_FORWARD || act->root) return;
    act->end = (uint8_t)end;
    if (act->state == GB_ACT_STARTING || act->running > 0)
        act->wants_end = true;
    else
        act_end(worker, act);
}

/* False: out of memory. */
static bool idle_timer_start(gb_worker *worker, struct gb_type_local *local, uint64_t when)
{
    return gb_timer_armed(&local->idle_timer) ||
           gb_timer_add(&worker->timers, &local->idle_timer, worker->now, when) == 0;
}

void gbi_act_settle(gb_worker *worker, gb_act *act)
{
    gb_type *type = act->type;
    if (act->state != GB_ACT_ACTIVE || act->root) return;
    if (act->wants_end) {
        if (act->running == 0) act_end(worker, act);
        return;
    }
    while (act->queue && (act->running == 0 || type->options.reentrant == GB_REENTRANT_YES)) {
        gb_call *call = gbi_call_dequeue(worker, act);
        if (call) gbi_turn_begin(worker, act, call);
    }
    if (act->running > 0) return;
    act->last = worker->now; /* not earlier: the list of idle ones is in this order */
    if (type->options.keep_alive) return;
    struct gb_type_local *local = &type->local[worker->index];
    if (local->idle.prev == &act->idle) return; /* it is the last one used anyway */
    if (gb_list_empty(&local->idle) &&
        !idle_timer_start(worker, local, worker->now + type->options.idle_ns))
        return; /* it stays until it has been used again */
    gb_list_unlink(&act->idle);
    gb_list_push(&local->idle, &act->idle);
}

/* A tick is no use: its activation keeps its place among the idle ones, or comes back first when it
 * fell due while the tick ran. */
void gbi_act_settle_tick(gb_worker *worker, gb_act *act)
{
    gb_type *type = act->type;
    bool listed = !gb_list_empty(&act->idle);
    if (act->state != GB_ACT_ACTIVE || act->wants_end || act->queue || act->running > 0) {
        gbi_act_settle(worker, act);
        return;
    }
    if (listed || type->options.keep_alive) return;
    struct gb_type_local *local = &type->local[worker->index];
    gb_list_push(local->idle.next, &act->idle);
    gb_timer_stop(&worker->timers, &local->idle_timer);
    idle_timer_start(worker, local, worker->now);
}

/* Ends what was not used for idle_ns; a few each time (the pass asks whether it has time for more),
 * so that a million of them make no pause. */
void gbi_idle_fire(gb_timer *timer)
{
    struct gb_type_local *local = GB_CONTAINER(timer, struct gb_type_local, idle_timer);
    gb_worker *worker = local->worker;
    uint64_t idle_ns = local->type->options.idle_ns, again = worker->now;
    for (int i = 0; i < IDLE_PER_FIRE; i++) {
        if (gb_list_empty(&local->idle)) return;
        gb_act *act = GB_CONTAINER(local->idle.next, gb_act, idle);
        if (act->running > 0 || act->queue) { /* it comes back when its turn ends */
            gb_list_unlink(&act->idle);
            continue;
        }
        if (act->last + idle_ns > worker->now) {
            again = act->last + idle_ns;
            break;
        }
        gb_list_unlink(&act->idle);
        gb_act_stop(worker, act, GB_END_IDLE);
    }
    idle_timer_start(worker, local, again);
}

void gbi_acts_close(gb_worker *worker)
{
    for (uint32_t i = 0; i < worker->chunk_count; i++)
        for (int k = 0; k < GB_ACTS_PER_CHUNK; k++) {
            gb_act *act = &worker->chunks[i][k];
            if (act->state == GB_ACT_FREE) continue;
            gbi_act_timers_end(worker, act);
            if (act->state == GB_ACT_FORWARD || act->root || act->bare) continue;
            if (worker->body) act->type->kind->close(worker, act);
            act->bare = true;
        }
}

void gbi_acts_free(gb_worker *worker)
{
    for (uint32_t i = 0; i < worker->chunk_count; i++)
        for (int k = 0; k < GB_ACTS_PER_CHUNK; k++) {
            gb_act *act = &worker->chunks[i][k];
            if (act->state != GB_ACT_FREE && act->key_size != GB_ACT_KEY_NUMBER)
                gb_mem_free(&worker->mem, act->key.text, act->key_size + 1u);
        }
    for (uint32_t i = 0; i < worker->chunk_count; i++)
        if (chunks_made(i))
            gb_mem_free_lines(&worker->mem, worker->chunks[i],
                              chunks_made(i) * GB_ACTS_PER_CHUNK * sizeof(gb_act));
    gb_mem_free(&worker->mem, worker->chunks, worker->chunk_room * sizeof *worker->chunks);
}
