/* The door itself: where is a grain, and who is asked. */
#include "cluster/carry.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "cluster/carry_room.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ID_BYTES = GB_CALL_TYPE_BYTES + GB_CALL_KEY_BYTES + 2 };
enum { HALVES = 4 }; /* large messages that may be half there at once, of the largest size */
enum { CHOSEN = GB_WAY_DOOR_2, CACHE_LINES = 8192 };
enum { WORKER_SHIFT = 48, GENERATION_SHIFT = 32 };

/* ---- calls that the door holds ---- */

gbi_pend *gbi_pend_new(gbi_carrier *c, gb_call *call)
{
    gb_mem *mem = c->carry->config.mem;
    gb_list *free_one = gb_list_shift(&c->pend_free);
    gbi_pend *pend = free_one ? GB_CONTAINER(free_one, gbi_pend, link) : NULL;
    if (!pend && c->pend_used == c->pend_room) {
        gbi_pend **more = gb_mem_grow(mem, c->pends, &c->pend_room, 64, sizeof *more);
        if (!more) return NULL;
        c->pends = more;
    }
    if (!pend) {
        pend = gb_mem_zalloc(mem, sizeof *pend);
        if (!pend) return NULL;
        gb_list_init(&pend->link);
        pend->index = c->pend_used;
        c->pends[c->pend_used++] = pend;
    }
    pend->call = call;
    call->door = pend->index;
    pend->lane = NULL;
    pend->hops = 0;
    pend->beside = false;
    pend->generation++;
    return pend;
}

gbi_pend *gbi_pend_at(gbi_carrier *c, uint64_t number)
{
    uint32_t index = (uint32_t)number, generation = (uint32_t)(number >> 32);
    gbi_pend *pend = index < c->pend_used ? c->pends[index] : NULL;
    return pend && pend->call && pend->lane && pend->generation == generation ? pend : NULL;
}

gb_call *gbi_pend_free(gbi_carrier *c, gbi_pend *pend)
{
    gb_call *call = pend->call;
    pend->call = NULL;
    gb_list_unlink(&pend->link);
    gb_list_push(&c->pend_free, &pend->link);
    return call;
}

gb_call *gbi_pend_back(gbi_carrier *c, gbi_pend *pend)
{
    if (pend->beside && gbi_call_inside(pend->call) < 0) {
        gbi_pend_fail(c, pend, GB_ENOMEM, "%s", gb_err_detail());
        return NULL;
    }
    pend->beside = false;
    return gbi_pend_free(c, pend);
}

void gbi_pend_fail(gbi_carrier *c, gbi_pend *pend, int rc, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_call *call = gbi_pend_free(c, pend);
    gb_call_fail(call, rc, "%s", text);
    gb_far_answer(call);
}

/* ---- questions ---- */

static gbi_ask *ask_find(gbi_carrier *c, const char *id, uint32_t size, uint64_t hash)
{
    uint32_t cursor = 0, index;
    while ((index = gb_map_next(&c->asks_by_id, hash, &cursor)) != GB_MAP_NONE) {
        gbi_ask *ask = c->asks[index];
        if (ask->size == size && memcmp(ask->id, id, size) == 0) return ask;
    }
    return NULL;
}

static uint64_t ask_hash(const char *id, uint32_t size)
{
    return gb_hash_bytes(id, size, 0);
}

static gbi_ask *ask_new(gbi_carrier *c, const char *id, uint32_t size, uint64_t hash)
{
    gb_mem *mem = c->carry->config.mem;
    uint32_t index = c->ask_free;
    while (index < c->ask_room && c->asks[index]) index++;
    if (index == c->ask_room) {
        gbi_ask **more = gb_mem_grow(mem, c->asks, &c->ask_room, 64, sizeof *more);
        if (!more) return NULL;
        memset(more + index, 0, (c->ask_room - index) * sizeof *more);
        c->asks = more;
    }
    gbi_ask *ask = gb_mem_zalloc(mem, sizeof *ask + size + 1);
    if (!ask || gb_map_add(&c->asks_by_id, hash, index) < 0) {
        gb_mem_free(mem, ask, ask ? sizeof *ask + size + 1 : 0);
        return NULL;
    }
    gb_list_init(&ask->calls);
    ask->index = index;
    ask->generation = ++c->asked;
    ask->size = size;
    memcpy(ask->id, id, size);
    c->asks[index] = ask;
    c->ask_free = index + 1;
    return ask;
}

/* Its calls stay in the list that the caller holds. */
static void ask_free(gbi_carrier *c, gbi_ask *ask, gb_list *calls)
{
    gb_list *link;
    gb_list_init(calls);
    while ((link = gb_list_shift(&ask->calls))) gb_list_push(calls, link);
    gb_map_remove(&c->asks_by_id, ask_hash(ask->id, ask->size), ask->index);
    c->asks[ask->index] = NULL;
    if (ask->index < c->ask_free) c->ask_free = ask->index;
    gb_mem_free(c->carry->config.mem, ask, sizeof *ask + ask->size + 1);
}

static uint64_t ask_token(const gbi_carrier *c, const gbi_ask *ask)
{
    return (uint64_t)c->worker->index << WORKER_SHIFT |
           (uint64_t)ask->generation << GENERATION_SHIFT | ask->index;
}

/* No call of it matters longer than the last deadline; who is late is told by its own timer. */
static uint64_t ask_deadline(const gbi_ask *ask)
{
    uint64_t last = 0;
    for (const gb_list *at = ask->calls.next; at != &ask->calls; at = at->next) {
        const gbi_pend *pend = GB_CONTAINER(at, gbi_pend, link);
        if (pend->call->deadline > last) last = pend->call->deadline;
    }
    return last;
}

static void ask_send(gbi_carrier *c, gbi_ask *ask, bool claim)
{
    const gb_carry_config *config = &c->carry->config;
    ask->claim = claim;
    (claim ? config->claim : config->find)(config->user, ask_token(c, ask), ask->id, ask->size,
                                           ask_deadline(ask));
}

/* The silo that is to activate a grain which nobody has; false: it is answered. */
static bool choose(gbi_carrier *c, gbi_ask *ask, uint64_t *silo)
{
    const gb_carry_config *config = &c->carry->config;
    gbi_pend *first = GB_CONTAINER(ask->calls.next, gbi_pend, link);
    int rc = config->choose(config->user, first->call->type, first->call->key, silo);
    if (rc == 0) return true;
    char why[400];
    snprintf(why, sizeof why, "%s", gb_err_detail());
    gb_list calls, *link;
    ask_free(c, ask, &calls);
    while ((link = gb_list_shift(&calls)))
        gbi_pend_fail(c, GB_CONTAINER(link, gbi_pend, link), rc, "%s", why);
    return false;
}

static void asked_here(gbi_carrier *c, gb_list *calls)
{
    gb_list *link;
    while ((link = gb_list_shift(calls))) {
        gb_call *call = gbi_pend_back(c, GB_CONTAINER(link, gbi_pend, link));
        if (call) gb_far_here(c->worker, call);
    }
}

static void ask_answered(gbi_carrier *c, gbi_ask *ask, int rc, uint64_t silo)
{
    const gb_carry_config *config = &c->carry->config;
    uint64_t self = config->self(config->user);
    bool chosen = false;
    if (rc == 0 && !ask->claim && silo == 0) {
        gb_type *type = GB_CONTAINER(ask->calls.next, gbi_pend, link)->call->type;
        if (!choose(c, ask, &silo)) return;
        chosen = !atomic_load(&type->foreign); /* else who hosts the type chooses: it knows how */
    }
    if (rc == 0 && silo == self && !ask->claim && self) {
        ask_send(c, ask, true);
        return;
    }
    bool claim = ask->claim;
    gb_list calls, *link;
    ask_free(c, ask, &calls);
    /* Held already: whoever it was claimed for did not live to activate it. */
    if (claim && ((rc == 0 && silo == self) || rc == GB_ECONFLICT)) {
        asked_here(c, &calls);
        return;
    }
    while ((link = gb_list_shift(&calls))) {
        gbi_pend *pend = GB_CONTAINER(link, gbi_pend, link);
        if (rc == 0)
            gbi_pend_go(c, pend, silo, chosen);
        else if (rc == GB_ENOMEM || rc == GB_EDENIED || rc == GB_EBUSY)
            gbi_pend_later(c, pend); /* the view changes, memory comes: until the deadline */
        else
            gbi_pend_fail(c, pend, rc, "nobody knows where the grain is: %s", gb_err_text(rc));
    }
}

/* Who was asked is gone, and answers no more. */
static void ask_again(gbi_carrier *c)
{
    for (uint32_t i = 0; i < c->ask_room; i++) {
        gb_list calls, *link;
        if (!c->asks[i]) continue;
        ask_free(c, c->asks[i], &calls);
        while ((link = gb_list_shift(&calls)))
            gbi_pend_later(c, GB_CONTAINER(link, gbi_pend, link));
    }
}

void gbi_pend_place(gbi_carrier *c, gbi_pend *pend)
{
    char id[ID_BYTES];
    gb_call *call = pend->call;
    int size = gb_key_print(id, sizeof id, call->type, call->key);
    if (size >= (int)sizeof id) {
        gbi_pend_fail(c, pend, GB_EINVAL, "a key of over %d bytes", GB_CALL_KEY_BYTES);
        return;
    }
    uint64_t hash = ask_hash(id, (uint32_t)size);
    gbi_ask *ask = ask_find(c, id, (uint32_t)size, hash);
    bool fresh = !ask;
    if (!ask) ask = ask_new(c, id, (uint32_t)size, hash);
    if (!ask) {
        gbi_pend_fail(c, pend, GB_ENOMEM, "out of memory: a call to another silo");
        return;
    }
    gb_list_unlink(&pend->link);
    gb_list_push(&ask->calls, &pend->link);
    if (fresh) ask_send(c, ask, call->way & CHOSEN);
}

/* ---- the door ---- */

static int door_known(gb_far *far, gb_worker *worker, gb_call *call)
{
    gbi_carrier *c = gbi_carrier_of(GB_CONTAINER(far, gb_carry, far), worker);
    uint64_t hash = gb_key_hash(call->type, call->key);
    uint64_t silo = gb_dir_cache_get(&c->cache, hash, NULL);
    if (!silo || c->stopped) return GB_OP_READY;
    gbi_pend *pend = gbi_pend_new(c, call);
    if (!pend) return GB_OP_READY;
    gbi_pend_go(c, pend, silo, false);
    return GB_OP_PENDING;
}

static int door_place(gb_far *far, gb_worker *worker, gb_call *call)
{
    gbi_carrier *c = gbi_carrier_of(GB_CONTAINER(far, gb_carry, far), worker);
    if (c->stopped) return gb_err_set(GB_ECLOSED, "the silo is closing");
    gbi_pend *pend = gbi_pend_new(c, call);
    if (!pend) return gb_err_set(GB_ENOMEM, "out of memory: a call to another silo");
    gbi_pend_place(c, pend);
    return GB_OP_PENDING;
}

static void door_ended(gb_far *far, gb_worker *worker, gb_type *type, gb_key key)
{
    gb_carry *carry = GB_CONTAINER(far, gb_carry, far);
    char id[ID_BYTES];
    (void)worker;
    int size = gb_key_print(id, sizeof id, type, key);
    if (size < (int)sizeof id) carry->config.release(carry->config.user, id, (uint32_t)size);
}

static void door_ask(gb_far *far, gb_worker *worker, gb_call *call, const gb_question *question)
{
    gbi_pend_ask(gbi_carrier_of(GB_CONTAINER(far, gb_carry, far), worker), call, question);
}

static uint64_t door_self(gb_far *far)
{
    gb_carry *carry = GB_CONTAINER(far, gb_carry, far);
    return carry->config.self(carry->config.user);
}

gb_far *gb_carry_far(gb_carry *carry)
{
    return &carry->far;
}

/* ---- notes from other threads ---- */

typedef enum note_kind { NOTE_ANSWER, NOTE_ACCEPT, NOTE_DEAD, NOTE_DROP, NOTE_REVIEW } note_kind;

typedef struct note {
    gb_node node;
    gb_carry *carry;
    note_kind kind;
    int rc;
    gb_pipe_end end;
    uint64_t silo;
    uint32_t index, size;
    uint16_t generation;
    gb_hello hello;
    gb_grant grant;
    char id[];
} note;

typedef struct ends {
    gb_act **acts;
    uint32_t count, room;
} ends;

static void gather(gb_act *act, void *user)
{
    ends *e = user;
    if (!act->type->silo->far || act->type->pinned >= 0 || e->count == e->room) return;
    e->acts[e->count++] = act;
}

static void drop_all(gb_worker *worker, gb_mem *mem)
{
    ends e = {.room = (uint32_t)atomic_load(&worker->act_count)};
    e.acts = gb_mem_alloc(mem, e.room * sizeof *e.acts + 1);
    if (!e.acts) return;
    gb_act_each(worker, NULL, gather, &e);
    for (uint32_t i = 0; i < e.count; i++) gb_act_stop(worker, e.acts[i], GB_END_FAILED);
    gb_mem_free(mem, e.acts, e.room * sizeof *e.acts + 1);
}

static void drop_one(gb_worker *worker, const char *id, uint32_t size)
{
    const char *slash = memchr(id, '/', size);
    char name[GB_CALL_TYPE_BYTES + 1];
    if (!slash || slash - id > GB_CALL_TYPE_BYTES) return;
    memcpy(name, id, (size_t)(slash - id));
    name[slash - id] = 0;
    gb_type *type = gb_type_find(worker->silo, name);
    if (!type || atomic_load(&type->foreign)) return;
    gb_key key = gb_key_text(slash + 1, size - (uint32_t)(slash + 1 - id));
    gb_act *act = gb_act_find(worker, type, key);
    if (act && act->state != GB_ACT_FORWARD) gb_act_stop(worker, act, GB_END_FAILED);
}

static void run_again(gb_node *node, void *reader)
{
    gbi_carrier *c = GB_CONTAINER(node, gbi_carrier, again_node);
    (void)reader;
    atomic_store(&c->again_told, false);
    if (!c->stopped) ask_again(c);
}

static void note_run(gb_node *node, void *reader)
{
    note *n = GB_CONTAINER(node, note, node);
    gb_worker *worker = reader;
    gbi_carrier *c = gbi_carrier_of(n->carry, worker);
    switch (n->kind) {
    case NOTE_ANSWER:
        if (n->index < c->ask_room && c->asks[n->index] &&
            c->asks[n->index]->generation == n->generation)
            ask_answered(c, c->asks[n->index], n->rc, n->silo);
        break;
    case NOTE_ACCEPT:
        gbi_inlet_open(c, &n->hello, &n->grant, n->end);
        break;
    case NOTE_REVIEW:
        gbi_in_review(c);
        break;
    case NOTE_DEAD:
        gbi_peer_end(c, n->silo);
        break;
    case NOTE_DROP:
        if (c->stopped) break;
        if (n->size) {
            drop_one(worker, n->id, n->size);
        } else {
            ask_again(c);
            gbi_in_stop(c);
            drop_all(worker, n->carry->config.mem);
        }
        break;
    }
    gb_mem_free(n->carry->config.mem, n, sizeof *n + n->size);
}

static void post(gb_carry *carry, int worker, note *n)
{
    n->node.run = note_run;
    gb_worker_post(carry->config.silo->workers[worker], &n->node);
}

static note *note_new(gb_carry *carry, note_kind kind, const char *id, uint32_t size)
{
    note *n = gb_mem_zalloc(carry->config.mem, sizeof *n + size);
    if (!n) return NULL;
    n->carry = carry;
    n->kind = kind;
    n->size = size;
    if (size) memcpy(n->id, id, size);
    return n;
}

void gb_carry_answered(gb_carry *carry, uint64_t token, int rc, uint64_t silo)
{
    note *n = note_new(carry, NOTE_ANSWER, NULL, 0);
    if (!n) { /* who waits for it asks again */
        gbi_carrier *c = &carry->carriers[token >> WORKER_SHIFT];
        if (!atomic_exchange(&c->again_told, true)) gb_worker_post(c->worker, &c->again_node);
        return;
    }
    n->rc = rc;
    n->silo = silo;
    n->index = (uint32_t)token;
    n->generation = (uint16_t)(token >> GENERATION_SHIFT);
    post(carry, (int)(token >> WORKER_SHIFT), n);
}

void gb_carry_accept(gb_carry *carry, const gb_hello *hello, const gb_grant *grant, gb_pipe_end end)
{
    note *n = note_new(carry, NOTE_ACCEPT, NULL, 0);
    if (!n) {
        gb_link_refuse(end, carry->config.mem, GB_ENOMEM, "out of memory");
        return;
    }
    n->end = end;
    n->hello = *hello;
    n->grant = *grant;
    post(carry, (int)(hello->worker % (uint32_t)carry->count), n);
}

static void tell_all(gb_carry *carry, note_kind kind, uint64_t silo, const char *id, uint32_t size)
{
    for (int i = 0; i < carry->count; i++) {
        note *n = note_new(carry, kind, id, size);
        if (!n) continue;
        n->silo = silo;
        post(carry, i, n);
    }
}

void gb_carry_dead(gb_carry *carry, uint64_t silo)
{
    tell_all(carry, NOTE_DEAD, silo, NULL, 0);
}

void gb_carry_review(gb_carry *carry)
{
    tell_all(carry, NOTE_REVIEW, 0, NULL, 0);
}

void gb_carry_drop(gb_carry *carry, const char *id, uint32_t size)
{
    tell_all(carry, NOTE_DROP, 0, id, id ? size : 0);
}

/* ---- opening and closing ---- */

static int carrier_open(gb_carry *carry, gbi_carrier *c, gb_worker *worker)
{
    gb_mem *mem = carry->config.mem;
    c->carry = carry;
    c->worker = worker;
    c->again_node.run = run_again;
    gb_map_init(&c->asks_by_id, mem);
    gb_map_init(&c->peers_by_silo, mem);
    gb_list_init(&c->pend_free);
    gb_list_init(&c->later);
    gb_list_init(&c->inlets);
    gb_list_init(&c->served_free);
    gb_timer_init(&c->again, gbi_later_fire);
    gb_timer_init(&c->watch, gbi_watch_fire);
    gb_timer_init(&c->slow, gbi_slow_fire);
    return gb_dir_cache_init(&c->cache, mem, CACHE_LINES);
}

int gb_carry_open(gb_carry **out, const gb_carry_config *config)
{
    gb_carry *carry = gb_mem_zalloc(config->mem, sizeof *carry);
    if (!carry) return GB_ENOMEM;
    carry->config = *config;
    carry->room.bytes_max = HALVES * (int64_t)config->bytes_max;
    carry->far = (gb_far){.known = door_known,
                          .place = door_place,
                          .ended = door_ended,
                          .ask = door_ask,
                          .self = door_self};
    int count = config->silo->worker_count, rc = 0;
    carry->carriers = gb_mem_zalloc(config->mem, (size_t)count * sizeof *carry->carriers);
    if (!carry->carriers) {
        gb_mem_free(config->mem, carry, sizeof *carry);
        return GB_ENOMEM;
    }
    for (; carry->count < count && rc == 0; carry->count++)
        rc = carrier_open(carry, &carry->carriers[carry->count],
                          config->silo->workers[carry->count]);
    if (rc < 0) {
        gb_carry_close(carry);
        return rc;
    }
    *out = carry;
    return 0;
}

void gb_carry_stop(gb_carry *carry, gb_worker *worker)
{
    gbi_carrier *c = gbi_carrier_of(carry, worker);
    c->stopped = true;
    for (uint32_t i = 0; i < c->ask_room; i++) {
        gb_list calls, *link;
        if (!c->asks[i]) continue;
        ask_free(c, c->asks[i], &calls);
        while ((link = gb_list_shift(&calls)))
            gbi_pend_fail(c, GB_CONTAINER(link, gbi_pend, link), GB_ECLOSED, "the silo is closing");
    }
    gbi_out_stop(c);
    gbi_in_stop(c);
}

static void carrier_close(gbi_carrier *c)
{
    gb_mem *mem = c->carry->config.mem;
    gbi_served_close(c);
    for (uint32_t i = 0; i < c->pend_used; i++) gb_mem_free(mem, c->pends[i], sizeof *c->pends[i]);
    gb_mem_free(mem, c->pends, c->pend_room * sizeof *c->pends);
    gb_mem_free(mem, c->asks, c->ask_room * sizeof *c->asks);
    gb_mem_free(mem, c->peers, c->peer_room * sizeof *c->peers);
    gb_dir_cache_fini(&c->cache);
    gb_map_fini(&c->asks_by_id);
    gb_map_fini(&c->peers_by_silo);
}

void gb_carry_close(gb_carry *carry)
{
    gb_mem *mem = carry->config.mem;
    for (int i = 0; i < carry->count; i++) carrier_close(&carry->carriers[i]);
    gb_mem_free(mem, carry->carriers,
                (size_t)carry->config.silo->worker_count * sizeof *carry->carriers);
    gb_mem_free(mem, carry, sizeof *carry);
}

void gb_carry_get_stats(gb_carry *carry, gb_carry_stats *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < carry->count; i++) {
        gbi_carrier *c = &carry->carriers[i];
        out->links += atomic_load(&c->stats.links);
        out->sent += atomic_load(&c->stats.sent);
        out->served += atomic_load(&c->stats.served);
        out->moved += atomic_load(&c->stats.moved);
        out->lost += atomic_load(&c->stats.lost);
        out->retried += atomic_load(&c->stats.retried);
    }
}
