/* Calls that leave: links to other silos, and what becomes of calls on them. */
#include "base/err.h"
#include "base/hash.h"
#include "cluster/carry_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DENIED_MS = 1000 };

/* ---- for later ---- */

void gbi_pend_later(gbi_carrier *c, gbi_pend *pend)
{
    gb_worker *worker = c->worker;
    gb_list_unlink(&pend->link);
    pend->lane = NULL;
    gb_list_push(&c->later, &pend->link);
    gbi_count(&c->stats.retried, 1);
    if (!gb_timer_armed(&c->again) &&
        gb_timer_add(&worker->timers, &c->again, worker->now,
                     gb_now(worker->silo->sys) + c->carry->config.retry_ns) < 0)
        gbi_pend_fail(c, pend, GB_ENOMEM, "%s", gb_err_detail());
}

/* Is there no more reason to go on with it? */
static bool is_over(gbi_carrier *c, gbi_pend *pend)
{
    gb_call *call = pend->call;
    if (atomic_load_explicit(&call->cancelled, memory_order_acquire)) {
        gbi_pend_fail(c, pend, GB_ECANCELED, "the caller is gone");
        return true;
    }
    if (call->deadline != GB_FOREVER && call->deadline <= gb_now(c->worker->silo->sys)) {
        gbi_pend_fail(c, pend, GB_ETIMEDOUT, "its silo could not be reached before the deadline");
        return true;
    }
    return false;
}

void gbi_later_fire(gb_timer *timer)
{
    gbi_carrier *c = GB_CONTAINER(timer, gbi_carrier, again);
    gb_list round, *link;
    gb_list_init(&round);
    while ((link = gb_list_shift(&c->later))) gb_list_push(&round, link);
    while ((link = gb_list_shift(&round))) {
        gbi_pend *pend = GB_CONTAINER(link, gbi_pend, link);
        if (is_over(c, pend)) continue;
        gb_dir_cache_put(&c->cache, gb_key_hash(pend->call->type, pend->call->key), 0);
        gb_call *call = gbi_pend_back(c, pend);
        if (call) gb_far_again(c->worker, call);
    }
}

/* ---- sending ---- */

static uint64_t left_ns(const gbi_carrier *c, const gb_call *call)
{
    if (call->deadline == GB_FOREVER) return GB_FOREVER;
    uint64_t now = gb_now(c->worker->silo->sys);
    return call->deadline > now ? call->deadline - now : 0;
}

static uint64_t pend_number(const gbi_pend *pend)
{
    return (uint64_t)pend->generation << 32 | pend->index;
}

static int put_call(gbi_carrier *c, gbi_lane *lane, gbi_pend *pend)
{
    gb_call *call = pend->call;
    int rc = gb_call_may_leave(call);
    if (rc == 0 && !pend->beside) {
        rc = gbi_call_beside(call);
        pend->beside = rc > 0;
    }
    if (rc < 0) return rc;
    gb_call_frame frame = {
        .number = pend_number(pend),
        .oneway = call->flags & GB_CALL_ONEWAY,
        .placed = pend->chosen,
        .hops = pend->hops,
        .priority = call->priority,
        .type = call->type->name->text,
        .type_size = call->type->name->size,
        .method = call->method->text,
        .method_size = call->method->size,
        .key = call->key,
        .left_ns = left_ns(c, call),
        .bag = call->context.bag ? call->context.bag->data : NULL,
        .bag_size = call->context.bag ? call->context.bag->bytes : 0,
        .bytes = call->bytes.data,
        .size = call->bytes.size,
        .beside = pend->beside,
    };
    frame.trace = call->context.trace;
    gb_buf *out = gb_link_begin(lane->link, call->blocks, call->block_count);
    if (!out) return GB_ENOMEM;
    rc = gb_call_frame_encode(out, &frame);
    if (rc < 0) {
        gb_link_drop(lane->link);
        return rc;
    }
    /* Only where large ones are about is there an order to keep. */
    bool large = call->block_count || gb_link_large(lane->link);
    return gb_link_end_ordered(lane->link, GB_FRAME_CALL, call->blocks, call->block_count,
                               large ? gbi_call_order(call) : 0);
}

static void send_one(gbi_carrier *c, gbi_lane *lane, gbi_pend *pend)
{
    gb_list_unlink(&pend->link);
    if (is_over(c, pend)) return;
    int rc = put_call(c, lane, pend);
    if (rc < 0) {
        gbi_pend_fail(c, pend, rc, "%s", gb_err_detail());
        return;
    }
    pend->lane = lane;
    if (c->carry->config.quiet_ns && gb_list_empty(&lane->sent)) {
        lane->received = UINT64_MAX; /* it is silent from now on */
        gbi_watch_begin(c);
    }
    gb_list_push(&lane->sent, &pend->link);
    gbi_count(&c->stats.sent, 1);
}

void gbi_pend_ask(gbi_carrier *c, gb_call *call, const gb_question *question)
{
    gbi_pend *pend = call->door < c->pend_used ? c->pends[call->door] : NULL;
    if (!question->silo || !pend || pend->call != call || !pend->lane) return;
    gb_link *link = pend->lane->link;
    gb_ask_frame frame = {.number = pend_number(pend), .question = *question};
    gb_buf *out = gb_link_begin(link, NULL, 0);
    if (!out) return; /* the deadline remains */
    if (gb_ask_frame_encode(out, &frame) < 0)
        gb_link_drop(link);
    else
        gb_link_end(link, GB_FRAME_ASK, NULL, 0);
}

/* ---- links ---- */

static void send_waiting(gbi_carrier *c, gbi_lane *lane)
{
    gb_list *link = NULL;
    while (lane->link && gb_link_queued(lane->link) <= GB_SOCKET_HIGH) {
        bool room = !gb_list_empty(&lane->large) && gb_link_large(lane->link) < GB_LINK_LARGE_MAX;
        link = gb_list_shift(room ? &lane->large : &lane->waiting);
        if (!link) return;
        gbi_pend *pend = GB_CONTAINER(link, gbi_pend, link);
        if (room || gbi_lane_takes(lane, pend->call))
            send_one(c, lane, pend);
        else
            gb_list_push(&lane->large, &pend->link);
    }
}

/* Sends what waits, as long as the link takes it. */
static void lane_send(gbi_carrier *c, gbi_lane *lane)
{
    send_waiting(c, lane);
    gbi_slow_lane(lane);
}

static void lane_drained(void *user)
{
    gbi_lane *lane = user;
    lane_send(lane->peer->carrier, lane);
}

static void lane_ready(void *user, const gb_hello *peer)
{
    gbi_lane *lane = user;
    gbi_carrier *c = lane->peer->carrier;
    lane->peer->workers = peer->worker;
    lane->failures = 0;
    lane_send(c, lane);
}

static int take_answer(gbi_carrier *c, gbi_pend *pend, const gb_answer_frame *f, gb_block **blocks,
                       uint32_t count)
{
    gb_call *call = pend->call;
    call->bytes.size = 0;
    int rc = gbi_call_take(call, blocks, count);
    if (rc == 0)
        rc = f->beside ? gbi_call_inside(call) : gb_buf_put(&call->bytes, f->bytes, f->size);
    if (rc < 0) {
        gbi_pend_fail(c, pend, rc, "the results: %s", gb_err_detail());
        return 0;
    }
    gb_far_answer(gbi_pend_free(c, pend));
    return 0;
}

/* It is elsewhere: there it goes. */
static int take_moved(gbi_carrier *c, gbi_pend *pend, const gb_answer_frame *f)
{
    uint64_t silo;
    const char *bytes = f->message;
    if (f->message_size != GBI_MOVED_BYTES)
        return gb_err_set(GB_EINVAL, "an answer that names no silo");
    memcpy(&silo, bytes, sizeof silo);
    pend->lane = NULL;
    gbi_count(&c->stats.moved, 1);
    if (++pend->hops > GB_HOPS_MAX) {
        pend->hops = 0;
        gbi_pend_later(c, pend); /* it moves about: the silos will agree in a moment */
        return 0;
    }
    gb_dir_cache_put(&c->cache, gb_key_hash(pend->call->type, pend->call->key), silo);
    gbi_pend_go(c, pend, silo, bytes[sizeof silo] != 0);
    return 0;
}

static int lane_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                        uint32_t count)
{
    gbi_lane *lane = user;
    gbi_carrier *c = lane->peer->carrier;
    gb_answer_frame f;
    if (kind != GB_FRAME_ANSWER)
        return gb_err_set(GB_EINVAL, "a message of kind %d instead of an answer", kind);
    int rc = gb_answer_frame_decode(&f, body, size);
    if (rc < 0) return rc;
    gbi_pend *pend = gbi_pend_at(c, f.number);
    if (!pend || pend->lane != lane) return 0; /* given up before */
    if (f.rc == GBI_MOVED) return take_moved(c, pend, &f);
    if (f.rc >= 0) {
        if (lane->peer->silo)
            gb_dir_cache_put(&c->cache, gb_key_hash(pend->call->type, pend->call->key),
                             lane->peer->silo);
        return take_answer(c, pend, &f, blocks, count);
    }
    gbi_pend_fail(c, pend, f.rc, "%.*s", (int)f.message_size, f.message ? f.message : "");
    return 0;
}

/* Results that are too large for us. The call has run. */
static int lane_refused(void *user, int rc, uint8_t kind, const void *body, size_t size)
{
    gbi_lane *lane = user;
    gbi_carrier *c = lane->peer->carrier;
    gb_answer_frame f;
    char why[300];
    snprintf(why, sizeof why, "the results: %s", gb_err_detail());
    int broken = kind == GB_FRAME_ANSWER ? gb_answer_frame_decode(&f, body, size) : GB_EINVAL;
    if (broken < 0) return gb_err_set(GB_EINVAL, "a message of kind %d that is no answer", kind);
    gbi_pend *pend = gbi_pend_at(c, f.number);
    if (pend && pend->lane == lane) gbi_pend_fail(c, pend, rc, "%s", why);
    return 0;
}

static void lane_closed(void *user, int rc, const char *why)
{
    gbi_lane *lane = user;
    gbi_carrier *c = lane->peer->carrier;
    gb_list *link;
    uint32_t most = c->carry->config.attempts_max;
    bool hopeless = rc == GB_EDENIED || (most && ++lane->failures >= most);
    lane->link = NULL;
    lane->slow = (gbi_slow){0};
    gbi_watch_end(lane);
    gbi_count(&c->stats.links, -1);
    while ((link = gb_list_shift(&lane->sent))) {
        gbi_count(&c->stats.lost, 1);
        gbi_pend_fail(c, GB_CONTAINER(link, gbi_pend, link), GB_ELOST,
                      "the link to its silo was lost (%s): the call may have run", why);
    }
    while ((link = gb_list_shift(&lane->large)) || (link = gb_list_shift(&lane->waiting))) {
        gbi_pend *pend = GB_CONTAINER(link, gbi_pend, link);
        if (hopeless)
            gbi_pend_fail(c, pend, rc == GB_EDENIED ? rc : GB_ELOST, "%s", why);
        else
            gbi_pend_later(c, pend);
    }
    if (hopeless) lane->failures = 0;
    if (rc != GB_EDENIED) return;
    lane->peer->denied_until = gb_now(c->worker->silo->sys) + DENIED_MS * GB_MS;
    snprintf(lane->peer->denied, sizeof lane->peer->denied, "%s", why);
}

static const gb_link_events lane_events = {lane_ready, lane_message, lane_drained, lane_closed,
                                           lane_refused};

void gbi_lane_lost(gbi_carrier *c, gbi_lane *lane, int rc, const char *why)
{
    (void)c;
    gb_link_close(lane->link);
    lane_closed(lane, rc, why);
}

void gbi_lane_hello(gbi_carrier *c, const gbi_lane *lane, gb_link_role role, gb_hello *out)
{
    const gb_carry_config *config = &c->carry->config;
    uint64_t self = config->self(config->user);
    *out = (gb_hello){.role = role,
                      .silo = self,
                      .to = self ? lane->peer->silo : 0, /* any gateway is right for a client */
                      .worker = lane->index};
    snprintf(out->cluster, sizeof out->cluster, "%s", config->cluster);
}

static int lane_connect(gbi_carrier *c, gbi_lane *lane)
{
    const gb_carry_config *config = &c->carry->config;
    gb_hello hello;
    if (!config->address(config->user, lane->peer->silo, lane->address))
        return gb_err_set(GB_ELOST, "the silo is gone");
    gbi_lane_hello(c, lane, GB_LINK_CALLS, &hello);
    int rc = gb_link_connect(&lane->link, config->mem, c->worker->loop, lane->address, config->tls,
                             &hello, config->secret, config->bytes_max, config->connect_ns,
                             &lane_events, lane);
    if (rc == 0) gbi_count(&c->stats.links, 1);
    return rc;
}

/* ---- peers ---- */

static gbi_peer *peer_find(gbi_carrier *c, uint64_t silo)
{
    uint32_t cursor = 0, index;
    while ((index = gb_map_next(&c->peers_by_silo, gb_hash_mix(silo), &cursor)) != GB_MAP_NONE)
        if (c->peers[index]->silo == silo) return c->peers[index];
    return NULL;
}

static gbi_peer *peer_of(gbi_carrier *c, uint64_t silo)
{
    gb_mem *mem = c->carry->config.mem;
    gbi_peer *peer = peer_find(c, silo);
    if (peer) return peer;
    uint32_t index = 0;
    while (index < c->peer_count && c->peers[index]) index++;
    if (index == c->peer_room) {
        gbi_peer **more = gb_mem_grow(mem, c->peers, &c->peer_room, 16, sizeof *more);
        if (!more) return NULL;
        c->peers = more;
    }
    peer = gb_mem_zalloc(mem, sizeof *peer);
    if (!peer || gb_map_add(&c->peers_by_silo, gb_hash_mix(silo), index) < 0) {
        gb_mem_free(mem, peer, peer ? sizeof *peer : 0);
        return NULL;
    }
    peer->silo = silo;
    peer->carrier = c;
    for (uint32_t i = 0; i < GB_CARRY_LANES; i++) {
        peer->lanes[i].peer = peer;
        peer->lanes[i].index = i;
        gb_list_init(&peer->lanes[i].waiting);
        gb_list_init(&peer->lanes[i].large);
        gb_list_init(&peer->lanes[i].sent);
    }
    c->peers[index] = peer;
    if (index == c->peer_count) c->peer_count++;
    return peer;
}

static void peer_free(gbi_carrier *c, uint32_t index)
{
    gbi_peer *peer = c->peers[index];
    for (int i = 0; i < GB_CARRY_LANES; i++) {
        gbi_lane *lane = &peer->lanes[i];
        if (!lane->link) continue;
        gbi_lane_lost(c, lane, GB_ELOST, c->stopped ? "the silo is closing" : "it is dead");
    }
    gb_map_remove(&c->peers_by_silo, gb_hash_mix(peer->silo), index);
    c->peers[index] = NULL;
    gb_mem_free(c->carry->config.mem, peer, sizeof *peer);
}

void gbi_peer_end(gbi_carrier *c, uint64_t silo)
{
    for (uint32_t i = 0; i < c->peer_count; i++)
        if (c->peers[i] && c->peers[i]->silo == silo) {
            peer_free(c, i);
            return;
        }
}

void gbi_out_stop(gbi_carrier *c)
{
    gb_list *link;
    for (uint32_t i = 0; i < c->peer_count; i++)
        if (c->peers[i]) peer_free(c, i);
    gb_timer_stop(&c->worker->timers, &c->again);
    gb_timer_stop(&c->worker->timers, &c->watch);
    gb_timer_stop(&c->worker->timers, &c->slow);
    while ((link = gb_list_shift(&c->later)))
        gbi_pend_fail(c, GB_CONTAINER(link, gbi_pend, link), GB_ECLOSED, "the silo is closing");
}

/* ---- which way ---- */

/* The asker is told where it is. */
static void tell_moved(gbi_carrier *c, gbi_pend *pend, uint64_t silo, bool chosen)
{
    gb_call *call = gbi_pend_free(c, pend);
    char where[GBI_MOVED_BYTES];
    memcpy(where, &silo, sizeof silo);
    where[sizeof silo] = chosen;
    call->bytes.size = 0;
    int rc = gb_buf_put(&call->bytes, where, sizeof where);
    gb_call_fail(call, rc < 0 ? rc : GBI_MOVED, "it is on another silo");
    gb_far_answer(call);
}

void gbi_pend_go(gbi_carrier *c, gbi_pend *pend, uint64_t silo, bool chosen)
{
    const gb_carry_config *config = &c->carry->config;
    gb_call *call = pend->call;
    gb_list_unlink(&pend->link);
    if (silo == config->self(config->user) && silo) { /* others think that it is to be here */
        gb_dir_cache_put(&c->cache, gb_key_hash(call->type, call->key), 0);
        if (chosen) call->way |= GB_WAY_DOOR_2;
        call = gbi_pend_back(c, pend);
        if (call) gb_far_again(c->worker, call);
        return;
    }
    if (call->way & GB_WAY_DOOR_1) {
        tell_moved(c, pend, silo, chosen);
        return;
    }
    pend->chosen = chosen;
    gbi_peer *peer = peer_of(c, silo);
    if (!peer) {
        gbi_pend_fail(c, pend, GB_ENOMEM, "out of memory: a link to another silo");
        return;
    }
    uint64_t hash = gb_key_hash(call->type, call->key);
    uint32_t home = peer->workers ? gb_hash_worker(hash, peer->workers) : 0;
    gbi_lane *lane = &peer->lanes[home % GB_CARRY_LANES];
    if (lane->link && gb_link_is_ready(lane->link) && gb_list_empty(&lane->waiting) &&
        gb_link_queued(lane->link) <= GB_SOCKET_HIGH) {
        if (gbi_lane_takes(lane, call))
            send_one(c, lane, pend);
        else
            gb_list_push(&lane->large, &pend->link);
        gbi_slow_lane(lane);
        return;
    }
    if (!lane->link && gb_now(c->worker->silo->sys) < peer->denied_until) {
        gbi_pend_fail(c, pend, GB_EDENIED, "%s", peer->denied);
        return;
    }
    gb_list_push(&lane->waiting, &pend->link);
    if (!lane->link && lane_connect(c, lane) < 0) gbi_pend_later(c, pend);
    gbi_slow_lane(lane);
}
