/* Calls that came over links from other silos and clients. */
#include "base/err.h"
#include "base/nearest.h"
#include "cluster/carry_room.h"
#include "grain/kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HALF_NS (30 * GB_SEC) /* a half message that does not go on for so long is none */

enum { HELD_BYTES = 64 << 20 }; /* for one client's link, or more if one message may be larger */

/* A call of somebody else that is served here. */
typedef struct served {
    gb_list link;
    gbi_inlet *inlet; /* NULL: nobody waits for the answer any more */
    gbi_carrier *carrier;
    gb_call *call;
    uint64_t number;
    size_t bytes;
} served;

static served *served_new(gbi_inlet *inlet, gb_call *call, uint64_t number, size_t bytes)
{
    gbi_carrier *c = inlet->carrier;
    gb_list *free_one = gb_list_shift(&c->served_free);
    served *s = free_one ? GB_CONTAINER(free_one, served, link)
                         : gb_mem_zalloc(c->carry->config.mem, sizeof *s);
    if (!s) return NULL;
    gb_list_init(&s->link);
    gb_list_push(&inlet->served, &s->link);
    s->inlet = inlet;
    s->carrier = c;
    s->call = call;
    s->number = number;
    s->bytes = bytes;
    inlet->held += bytes;
    return s;
}

static void served_free(served *s)
{
    gb_list_unlink(&s->link);
    if (s->inlet) s->inlet->held -= s->bytes;
    s->inlet = NULL;
    gb_list_push(&s->carrier->served_free, &s->link);
}

/* ---- who is heard ---- */

bool gbi_inlet_full(const gbi_inlet *inlet)
{
    gb_link *wire = inlet->wire;
    return gb_link_queued(wire) > GB_SOCKET_HIGH || gb_link_large(wire) > GB_LINK_LARGE_MAX;
}

/* May one client's calls hold no more until some have ended? */
static bool is_loaded(const gbi_inlet *inlet)
{
    size_t most = inlet->carrier->carry->config.bytes_max;
    if (most < HELD_BYTES) most = HELD_BYTES;
    return !inlet->silo && inlet->held > (gb_link_is_paused(inlet->wire) ? most / 2 : most);
}

/* Who does not read its answers is not heard meanwhile, nor a client that has asked for more than
 * is worked off: what is kept for them stays bounded. A silo is heard: what its calls wait for may
 * be a call of its own that comes behind them. */
static void hear(gbi_inlet *inlet)
{
    gb_link_pause(inlet->wire, gbi_inlet_full(inlet) || is_loaded(inlet));
    gbi_slow_inlet(inlet);
}

/* ---- answers ---- */

static void inlet_free(gbi_inlet *inlet);

static int write_answer(gb_link *wire, const gb_answer_frame *f, gb_block **blocks, uint32_t count)
{
    gb_buf *out = gb_link_begin(wire, blocks, count);
    if (!out) return GB_ENOMEM;
    int rc = gb_answer_frame_encode(out, f);
    if (rc < 0)
        gb_link_drop(wire);
    else
        rc = gb_link_end(wire, GB_FRAME_ANSWER, blocks, count);
    return rc;
}

/* The inlet may be gone behind this. */
static void put_answer(gbi_inlet *inlet, const gb_answer_frame *f, gb_block **blocks,
                       uint32_t count)
{
    gb_link *wire = inlet->wire;
    int rc = write_answer(wire, f, blocks, count);
    if (rc < 0 && rc != GB_ELOST) {
        char why[300];
        gb_answer_frame failed = {.number = f->number, .rc = rc, .message = why};
        failed.message_size = (size_t)snprintf(why, sizeof why, "%s%s",
                                               f->rc < 0 ? "" : "the results: ", gb_err_detail());
        rc = write_answer(wire, &failed, NULL, 0);
    }
    if (rc == 0) hear(inlet);
    if (rc == 0 || rc == GB_ELOST) return;
    /* No memory for a word: who waits is told by the end of the link, not by a deadline. */
    gb_link_close(wire);
    inlet_free(inlet);
}

static void refuse(gbi_inlet *inlet, uint64_t number, int rc, const char *why)
{
    gb_answer_frame f = {
        .number = number, .rc = rc, .message = why, .message_size = why ? strlen(why) : 0};
    put_answer(inlet, &f, NULL, 0);
}

static void call_done(gb_call *call)
{
    served *s = call->user;
    gbi_inlet *inlet = s->inlet;
    uint64_t number = s->number;
    served_free(s);
    if (!inlet) return;
    int rc = call->rc;
    if (rc >= 0 && call->flags & GB_CALL_ONEWAY) {
        gb_answer_frame queued = {.number = number};
        put_answer(inlet, &queued, NULL, 0);
        return;
    }
    if (rc >= 0 && call->body) rc = call->type->kind->pack(call);
    if (rc >= 0) rc = gb_call_may_leave(call);
    if (rc >= 0) rc = gbi_call_beside(call);
    bool beside = rc > 0;
    if (rc == GBI_MOVED) {
        gb_answer_frame moved = {.number = number,
                                 .rc = rc,
                                 .message = (const char *)call->bytes.data,
                                 .message_size = call->bytes.size};
        put_answer(inlet, &moved, NULL, 0);
        return;
    }
    if (rc < 0) {
        refuse(inlet, number, rc, call->rc < 0 ? call->message : gb_err_detail());
        return;
    }
    gb_answer_frame f = {
        .number = number, .bytes = call->bytes.data, .size = call->bytes.size, .beside = beside};
    put_answer(inlet, &f, call->blocks, call->block_count);
}

/* ---- calls ---- */

typedef struct names {
    const char *at[GB_TYPES_MAX];
    int count;
} names;

static const char *name_at(const void *list, int index)
{
    return ((const names *)list)->at[index];
}

static int unknown_type(gb_silo *silo, const char *type)
{
    names *all = calloc(1, sizeof *all);
    if (!all) return GB_ENOMEM;
    for (uint32_t i = 0; i < gb_type_count(silo); i++) {
        const char *name = gb_type_at(silo, i)->name->text;
        if (name[0] != '$') all->at[all->count++] = name;
    }
    const char *near = gb_nearest(type, name_at, all, all->count);
    int rc =
        gb_err_set(GB_ENOTYPE, "unknown grain type '%s'%s%s%s (no silo of the cluster hosts it)",
                   type, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    free(all);
    return rc;
}

/* The house's own types are of one worker or one silo, but for those that clusters are operated
 * with, and those of subscriptions. What a client must be allowed to do for one of their methods;
 * GB_MAY_RUN for those that are not in this list; 0: the type is not for others. */
static unsigned rights_for(const char *type, const gb_call_frame *f)
{
    static const struct {
        const char *method;
        unsigned rights;
    } silo[] = {{"self", GB_MAY_LOOK},    {"grains", GB_MAY_LOOK},   {"devices", GB_MAY_LOOK},
                {"inspect", GB_MAY_LOOK}, {"busiest", GB_MAY_LOOK},  {"look", GB_MAY_LOOK},
                {"give", GB_MAY_OPERATE}, {"drain", GB_MAY_OPERATE}, {"undrain", GB_MAY_OPERATE}};
    if (type[0] != '$' || strcmp(type, "$topics") == 0 || strcmp(type, "$inbox") == 0)
        return GB_MAY_CALL;
    if (strcmp(type, "$cluster") == 0) return GB_MAY_LOOK;
    if (strcmp(type, "$silo") != 0) return 0;
    for (size_t i = 0; i < sizeof silo / sizeof *silo; i++)
        if (strlen(silo[i].method) == f->method_size &&
            memcmp(silo[i].method, f->method, f->method_size) == 0)
            return silo[i].rights;
    return GB_MAY_RUN;
}

/* Methods that silos call at each other, and no client. Ours do not even try. */
static bool is_private(const gb_call_frame *f)
{
    return f->method[0] == '_' || (f->method_size >= 3 && memcmp(f->method, "on_", 3) == 0);
}

static int fill(gbi_inlet *inlet, gb_call *call, const gb_call_frame *f, gb_block **blocks,
                uint32_t count)
{
    gbi_carrier *c = inlet->carrier;
    gb_silo *silo = c->worker->silo;
    char type[GB_CALL_TYPE_BYTES + 1];
    memcpy(type, f->type, f->type_size);
    type[f->type_size] = 0;
    call->type = gb_type_find(silo, type);
    unsigned rights = rights_for(type, f);
    if (!call->type || !rights) return unknown_type(silo, type);
    if (!atomic_load(&call->type->foreign) && call->type->pinned >= 0) /* a worker's, a script's */
        return gb_err_set(GB_ENOTYPE, "the grain type '%s' is of one silo alone", type);
    bool between_silos = is_private(f);
    if (!inlet->silo && between_silos)
        return gb_err_set(GB_ENOMETHOD,
                          "%s:%.*s is private (names with _ or on_ cannot be called from outside)",
                          type, (int)f->method_size, f->method);
    int rc = between_silos ? 0 : gb_grant_check(&inlet->grant, rights);
    if (rc == 0) rc = gb_call_set_method(call, f->method, f->method_size);
    if (rc == 0) rc = gb_call_set_key(call, f->key);
    if (rc == 0) rc = gbi_call_take(call, blocks, count);
    if (rc == 0)
        rc = f->beside ? gbi_call_inside(call) : gb_buf_put(&call->bytes, f->bytes, f->size);
    if (rc < 0) return rc;
    if (f->bag && !(call->context.bag = gb_block_new_raw(silo->mem, f->bag_size))) return GB_ENOMEM;
    if (f->bag) memcpy(call->context.bag->data, f->bag, f->bag_size);
    call->context.trace = f->trace;
    uint64_t now = gb_now(silo->sys);
    call->deadline = f->left_ns < GB_FOREVER - now ? now + f->left_ns : GB_FOREVER;
    call->priority = f->priority;
    call->flags = f->oneway ? GB_CALL_ONEWAY : 0;
    call->way = GB_WAY_AFAR | (f->placed ? GB_WAY_DOOR_2 : 0);
    return 0;
}

static int serve(gbi_inlet *inlet, const gb_call_frame *f, gb_block **blocks, uint32_t count)
{
    gbi_carrier *c = inlet->carrier;
    size_t bytes = f->size;
    for (uint32_t i = 0; i < count; i++) bytes += blocks[i]->bytes;
    gb_call *call = gb_call_new(c->worker);
    served *s = call ? served_new(inlet, call, f->number, bytes) : NULL;
    if (!s) {
        if (call) gb_call_drop(call);
        return gb_err_set(GB_EBUSY, "too many calls are under way");
    }
    int rc = fill(inlet, call, f, blocks, count);
    if (rc == 0) {
        if (inlet->silo) call->way |= GB_WAY_DOOR_1;
        call->done = call_done;
        call->user = s;
        hear(inlet);
        rc = gb_call_send(call);
        if (rc == GB_OP_PENDING) return 0;
        if (rc == GB_OP_READY) { /* it is queued */
            gb_answer_frame queued = {.number = f->number};
            served_free(s);
            put_answer(inlet, &queued, NULL, 0);
            return 0;
        }
    }
    served_free(s);
    gb_call_drop(call);
    return rc;
}

/* The newest first: most questions come right behind their call. */
static int asked(gbi_inlet *inlet, const void *body, size_t size)
{
    gb_ask_frame f;
    int rc = gb_ask_frame_decode(&f, body, size);
    if (rc < 0) return rc;
    for (gb_list *at = inlet->served.prev; at != &inlet->served; at = at->prev) {
        served *s = GB_CONTAINER(at, served, link);
        if (s->number != f.number) continue;
        gb_far_asked(inlet->carrier->worker, s->call, &f.question);
        break;
    }
    return 0;
}

static int inlet_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                         uint32_t count)
{
    gbi_inlet *inlet = user;
    gb_call_frame f;
    if (kind == GB_FRAME_ASK && inlet->silo) return asked(inlet, body, size);
    if (kind != GB_FRAME_CALL)
        return gb_err_set(GB_EINVAL, "a message of kind %d instead of a call", kind);
    int rc = gb_call_frame_decode(&f, body, size);
    if (rc < 0) return rc;
    gbi_count(&inlet->carrier->stats.served, 1);
    rc = serve(inlet, &f, blocks, count);
    if (rc < 0) refuse(inlet, f.number, rc, gb_err_detail());
    return 0;
}

/* A call that is too large, or for which there is no room. */
static int inlet_refused(void *user, int rc, uint8_t kind, const void *body, size_t size)
{
    gb_call_frame f;
    char why[300];
    snprintf(why, sizeof why, "%s", gb_err_detail());
    int broken = kind == GB_FRAME_CALL ? gb_call_frame_decode(&f, body, size) : GB_EINVAL;
    if (broken < 0) return gb_err_set(GB_EINVAL, "a message of kind %d that is no call", kind);
    refuse(user, f.number, rc, why);
    return 0;
}

/* ---- links ---- */

static void inlet_free(gbi_inlet *inlet)
{
    gbi_carrier *c = inlet->carrier;
    gb_list *link;
    while ((link = gb_list_shift(&inlet->served))) GB_CONTAINER(link, served, link)->inlet = NULL;
    gb_list_unlink(&inlet->link);
    gb_mem_free(c->carry->config.mem, inlet, sizeof *inlet);
    gbi_count(&c->stats.links, -1);
}

static void inlet_closed(void *user, int rc, const char *why)
{
    gbi_inlet *inlet = user;
    const gb_carry_config *config = &inlet->carrier->carry->config;
    if (rc != GB_ELOST && config->refused) config->refused(config->user, inlet->peer, why);
    inlet_free(inlet);
}

static void inlet_drained(void *user)
{
    hear(user);
}

static const gb_link_events inlet_events = {NULL, inlet_message, inlet_drained, inlet_closed,
                                            inlet_refused};

void gbi_inlet_open(gbi_carrier *c, const gb_hello *hello, const gb_grant *grant, gb_pipe_end end)
{
    const gb_carry_config *config = &c->carry->config;
    uint64_t self = config->self(config->user);
    if (c->stopped || (hello->to && hello->to != self)) {
        gb_link_refuse(end, config->mem, GB_ELOST,
                       c->stopped ? "the silo is closing" : "another silo was here");
        return;
    }
    if (hello->silo == 0 && !config->serves(config->user)) {
        gb_link_refuse(end, config->mem, GB_ELOST, "this silo does not serve now");
        return;
    }
    gbi_inlet *inlet = gb_mem_zalloc(config->mem, sizeof *inlet);
    if (!inlet) {
        gb_link_refuse(end, config->mem, GB_ENOMEM, "out of memory");
        return;
    }
    inlet->carrier = c;
    inlet->silo = hello->silo;
    inlet->grant = *grant;
    gb_list_init(&inlet->served);
    gb_list_init(&inlet->link);
    gb_list_push(&c->inlets, &inlet->link);
    gbi_count(&c->stats.links, 1);
    gb_hello welcome = {.role = GB_LINK_CALLS,
                        .silo = self,
                        .to = hello->silo,
                        .worker = (uint32_t)c->carry->count};
    snprintf(welcome.cluster, sizeof welcome.cluster, "%s", config->cluster);
    gb_grant_welcome(grant, &welcome);
    int rc = gb_link_accept(&inlet->wire, config->mem, c->worker->loop, end, &welcome,
                            config->bytes_max, &inlet_events, inlet);
    if (rc < 0) {
        inlet_free(inlet);
        return;
    }
    snprintf(inlet->peer, sizeof inlet->peer, "%s", gb_link_peer(inlet->wire));
    gb_link_share(inlet->wire, &c->carry->room, HALF_NS);
}

void gbi_in_review(gbi_carrier *c)
{
    gb_guard *guard = c->carry->config.guard;
    int64_t now = gb_wall(c->worker->silo->sys);
    gb_list *next;
    for (gb_list *at = c->inlets.next; at != &c->inlets; at = next) {
        gbi_inlet *inlet = GB_CONTAINER(at, gbi_inlet, link);
        next = at->next;
        if (gb_guard_holds(guard, &inlet->grant, now) == 0) continue;
        gb_link_close(inlet->wire);
        inlet_free(inlet);
    }
}

void gbi_in_stop(gbi_carrier *c)
{
    while (!gb_list_empty(&c->inlets)) {
        gbi_inlet *inlet = GB_CONTAINER(c->inlets.next, gbi_inlet, link);
        gb_link_close(inlet->wire);
        inlet_free(inlet);
    }
}

void gbi_served_close(gbi_carrier *c)
{
    gb_list *link;
    while ((link = gb_list_shift(&c->served_free)))
        gb_mem_free(c->carry->config.mem, GB_CONTAINER(link, served, link), sizeof(served));
}
