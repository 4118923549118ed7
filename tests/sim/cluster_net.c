/* The network: packets are bytes, as on a link; their order is not kept. */
#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "cluster_world.h"

#include <string.h>

typedef enum packet_kind { PACKET_MESSAGE, PACKET_CALL, PACKET_REPLY } packet_kind;

typedef struct packet {
    world *w;
    packet_kind kind;
    blob *bytes;
    call call;
    reply reply;
} packet;

static void unref(world *w, blob *b)
{
    if (b && --b->refs == 0) gb_mem_free(&w->mem, b, sizeof *b + b->size);
}

void net_free(event *e)
{
    packet *p = e->ptr;
    unref(p->w, p->bytes);
    gb_mem_free(&p->w->mem, p, sizeof *p);
}

struct world_life *net_life_of(world *w, uint64_t silo)
{
    uint32_t cursor = 0, at;
    while ((at = gb_map_next(&w->ids, gb_hash_mix(silo), &cursor)) != GB_MAP_NONE) {
        if (w->lives[at].id == silo) return &w->lives[at];
    }
    return NULL;
}

slot *net_slot_of(world *w, uint64_t silo)
{
    struct world_life *life = net_life_of(w, silo);
    slot *s = life ? &w->slots[life->slot] : NULL;
    return s && s->up && s->life == life->life ? s : NULL;
}

static uint64_t delay(world *w)
{
    uint64_t normal = 100000 + world_below(w, 900000);
    if (w->now < w->delay_until && world_chance(w, 200)) return normal + world_below(w, 1500 * MS);
    return normal;
}

static void put(world *w, slot *from, uint32_t to, uint32_t life, const packet *what)
{
    bool cut = w->blocked[from->index * w->slot_count + to];
    if (cut || (w->now < w->loss_until && world_chance(w, 100))) {
        w->counts[N_LOST]++;
        return;
    }
    slot *target = &w->slots[to];
    if (!target->up || target->life != life) return;
    uint32_t copies = 1;
    if (w->now < w->duplicate_until && world_chance(w, 150)) copies = 2;
    w->counts[N_DOUBLED] += copies == 2;
    for (uint32_t i = 0; i < copies; i++) {
        packet *p = gb_mem_alloc(&w->mem, sizeof *p);
        GB_CHECK(p);
        *p = *what;
        p->w = w;
        if (p->bytes) p->bytes->refs++;
        uint64_t extra = i ? world_below(w, 5 * SEC) : 0;
        world_push(w, w->now + delay(w) + extra, EVENT_NET, to, gb_membership_id(from->member), 0,
                   p);
    }
}

/* Nobody listens there: the connection is refused, if the way there and back is open. */
static void refuse(world *w, slot *from, uint64_t silo)
{
    struct world_life *life = net_life_of(w, silo);
    if (life && (w->blocked[from->index * w->slot_count + life->slot] ||
                 w->blocked[life->slot * w->slot_count + from->index]))
        return;
    w->counts[N_REFUSED]++;
    world_push(w, w->now + delay(w), EVENT_REFUSED, from->index, silo, 0, NULL);
}

static blob *encode(world *w, const gb_message *message, uint32_t receivers)
{
    w->scratch.size = 0;
    int rc = gb_message_encode(&w->scratch, message);
    GB_CHECK(rc == 0);
    blob *b = gb_mem_alloc(&w->mem, sizeof *b + w->scratch.size);
    GB_CHECK(b);
    b->refs = 1;
    b->size = (uint32_t)w->scratch.size;
    memcpy(b->bytes, w->scratch.data, b->size);
    w->messages[message->kind] += receivers;
    w->bytes[message->kind] += (uint64_t)receivers * b->size;
    return b;
}

void net_send(world *w, slot *from, uint64_t to, const gb_message *message)
{
    slot *target = net_slot_of(w, to);
    if (message->kind == GB_MSG_FENCE) w->counts[N_FENCED]++;
    if (message->kind == GB_MSG_PROBE_FOR) w->counts[N_INDIRECT]++;
    if (message->kind == GB_MSG_VIEW_ASK) w->counts[N_VIEW_ASKED]++;
    packet p = {.kind = PACKET_MESSAGE, .bytes = encode(w, message, 1)};
    if (target)
        put(w, from, target->index, target->life, &p);
    else
        refuse(w, from, to);
    unref(w, p.bytes);
}

void net_send_all(world *w, slot *from, const gb_message *message)
{
    gb_view *view = gb_membership_view(from->member);
    if (!view) return;
    packet p = {.kind = PACKET_MESSAGE, .bytes = encode(w, message, view->live)};
    for (uint32_t i = 0; i < view->count; i++) {
        const gb_member *row = &view->rows[i]->member;
        if (row->state == GB_SILO_DEAD || row->id == gb_membership_id(from->member)) continue;
        slot *target = net_slot_of(w, row->id);
        if (target) put(w, from, target->index, target->life, &p);
    }
    unref(w, p.bytes);
}

/* Takes the call. */
void net_call(world *w, slot *from, uint64_t to, call *moved)
{
    slot *target = net_slot_of(w, to);
    packet p = {.kind = PACKET_CALL, .call = *moved};
    if (target)
        put(w, from, target->index, target->life, &p);
    else
        refuse(w, from, to);
    gb_mem_free(&w->mem, moved, sizeof *moved);
}

void net_reply(world *w, slot *from, uint32_t to, uint32_t to_life, const reply *what)
{
    packet p = {.kind = PACKET_REPLY, .reply = *what};
    put(w, from, to, to_life, &p);
}

/* What hosts tell when the planted bug makes them silent. */
static void spoil(world *w, slot *to, gb_message *message)
{
    if (w->plant == PLANTED_SYNC_EMPTY && message->kind == GB_MSG_SYNC) message->count = 0;
    if (w->plant == PLANTED_LATER && message->kind == GB_MSG_ANSWER && message->seq % 2)
        message->status = GB_FIND_LATER;
    if (w->plant == PLANTED_OLD_GRANT && message->kind == GB_MSG_ANSWER &&
        gb_membership_view(to->member))
        message->view = gb_membership_view(to->member)->id;
    if (w->plant == PLANTED_ALL_YES && message->kind == GB_MSG_ANSWER && message->silo)
        message->silo = gb_membership_id(to->member);
}

void net_arrived(world *w, const event *e)
{
    packet *p = e->ptr;
    slot *s = &w->slots[e->slot];
    if (p->kind == PACKET_MESSAGE) {
        gb_message message;
        uint32_t size = p->bytes->size - (w->plant == PLANTED_TORN);
        int rc = gb_message_decode(&message, &w->mem, p->bytes->bytes, size);
        if (rc < 0) world_broken(w, "a message was not decoded: %s", gb_err_detail());
        uint32_t count = message.count;
        spoil(w, s, &message);
        world_note(w, (uint64_t)message.kind << 32 | message.seq);
        if (message.id)
            world_watch(w, grain_index(message.id), "%llx to %s: %s act %llu view %llu, there %llu",
                        (unsigned long long)e->a >> 48, s->name, gb_message_kind_name(message.kind),
                        (unsigned long long)message.act, (unsigned long long)message.view.version,
                        s->view ? (unsigned long long)s->view->id.version : 0);
        if (rc == 0) silo_message(w, s, e->a, &message);
        message.count = count;
        gb_message_fini(&message);
    } else if (p->kind == PACKET_CALL) {
        call *c = gb_mem_alloc(&w->mem, sizeof *c);
        GB_CHECK(c);
        *c = p->call;
        grain_arrived(w, s, c);
    } else
        grain_replied(w, s, &p->reply);
    event done = *e;
    net_free(&done);
}
