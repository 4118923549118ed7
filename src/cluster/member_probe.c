/* Probing: which silos, when, and what their silence means. */
#include "base/hash.h"
#include "cluster/member_room.h"

#include <stdlib.h>
#include <string.h>

static uint64_t timeout_of(const gb_membership *m, const gb_target *target)
{
    return m->config.rules.probe_timeout_ns * (target->phase == 3 ? 2 : 1);
}

static void set_suspect(gb_membership *m, gb_target *target, bool suspect)
{
    if (target->suspect == suspect) return;
    target->suspect = suspect;
    m->suspects += suspect ? 1 : UINT32_MAX;
    m->retarget = true;
}

static gb_target *find_target(const gb_membership *m, uint64_t silo)
{
    for (uint32_t i = 0; i < m->target_count; i++) {
        if (m->targets[i].silo == silo) return &m->targets[i];
    }
    return NULL;
}

bool gbi_member_suspects(const gb_membership *m, uint64_t silo)
{
    const gb_target *target = find_target(m, silo);
    return target && target->suspect;
}

/* ---- whom to probe ---- */

static int compare_order(const void *a, const void *b)
{
    const struct gb_order *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->silo < y->silo ? -1 : x->silo > y->silo;
}

void gbi_member_order(gb_membership *m)
{
    uint64_t digest = 0;
    for (uint32_t i = 0; i < m->view->count; i++) {
        if (m->view->rows[i]->member.state != GB_SILO_DEAD)
            digest += gb_hash_mix(m->view->rows[i]->member.id);
    }
    m->retarget = true; /* this silo may have joined */
    if (m->order && digest == m->order_digest) return;
    struct gb_order *order = gb_mem_alloc(m->mem, m->view->live * sizeof *order);
    if (!order) return; /* the old one: some of its silos are dead and do not answer */
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->view->count; i++) {
        const gb_member *row = &m->view->rows[i]->member;
        if (row->state == GB_SILO_DEAD) continue;
        order[count++] = (struct gb_order){gb_hash_mix(row->id ^ m->config.ring_seed), row->id};
    }
    qsort(order, count, sizeof *order, compare_order);
    if (m->order) gb_mem_free(m->mem, m->order, m->order_count * sizeof *order);
    m->order = order;
    m->order_count = count;
    m->order_digest = digest;
}

/* A target that stays keeps what is known of it: wanted[] are in the order of the ring. */
static bool take_targets(gb_membership *m, const uint64_t *wanted, uint32_t count)
{
    gb_target *targets = gb_mem_zalloc(m->mem, count * sizeof *targets);
    if (!targets) return false;
    for (uint32_t i = 0; i < count; i++) {
        const gb_target *old = find_target(m, wanted[i]);
        if (old)
            targets[i] = *old;
        else
            targets[i] = (gb_target){.silo = wanted[i], .until = m->at.now};
    }
    if (m->targets) gb_mem_free(m->mem, m->targets, m->target_room * sizeof *targets);
    m->targets = targets;
    m->target_count = m->target_room = count;
    m->suspects = 0;
    for (uint32_t i = 0; i < count; i++) m->suspects += targets[i].suspect;
    return true;
}

void gbi_member_targets(gb_membership *m)
{
    uint64_t *wanted = gb_mem_alloc(m->mem, m->order_count * sizeof *wanted);
    uint32_t count = 0, voters = 0, silent = 0, start = 0;
    if (!wanted) return;
    const gb_member *own = gbi_member_own(m, m->view);
    bool all = !own || own->state == GB_SILO_JOINING; /* it has to reach them all */
    while (start < m->order_count && m->order[start].silo != m->id) start++;
    for (uint32_t i = 1; i <= m->order_count; i++) {
        uint64_t silo = m->order[(start + i) % m->order_count].silo;
        if (silo == m->id) continue;
        wanted[count++] = silo;
        /* Only who votes relieves this one of those behind: each silo is watched by as many. */
        if (gbi_member_suspects(m, silo))
            silent++;
        else
            voters += gbi_member_votes(gb_view_find(m->view, silo));
        if (!all &&
            (voters >= m->config.rules.probe_targets || silent >= m->config.rules.suspects_max))
            break;
    }
    bool same = count == m->target_count;
    for (uint32_t i = 0; same && i < count; i++) same = m->targets[i].silo == wanted[i];
    m->retarget = !same && !take_targets(m, wanted, count);
    gb_mem_free(m->mem, wanted, m->order_count * sizeof *wanted);
}

/* Of the silos that a joining one has to reach: how many, and how many have answered. True: all. */
bool gbi_member_reached(const gb_membership *m, uint32_t *answered, uint32_t *count)
{
    *answered = *count = 0;
    for (uint32_t i = 0; i < m->target_count; i++) {
        gb_silo_state state = gb_view_state(m->view, m->targets[i].silo);
        if (state != GB_SILO_ACTIVE) continue;
        ++*count;
        *answered += m->targets[i].answered && !m->targets[i].suspect;
    }
    return *answered == *count;
}

/* ---- rounds ---- */

static void send_probe(gb_membership *m, gb_target *target, gb_member_actions *out)
{
    uint64_t seq = ++m->seq;
    if (target->phase == 1) target->first_seq = seq;
    target->until = m->at.now + timeout_of(m, target);
    gb_message *message = gbi_member_send(m, out, target->silo, GB_MSG_PROBE);
    if (message) message->seq = seq;
}

/* Asks others to probe it, any two that are not suspected. */
static void ask_others(gb_membership *m, gb_target *target, gb_member_actions *out)
{
    target->asked = 0;
    if (m->order_count < 3) return;
    uint32_t start = (uint32_t)(gbi_member_random(m) % m->order_count);
    for (uint32_t i = 0; i < m->order_count && target->asked < m->config.rules.probe_through; i++) {
        uint64_t silo = m->order[(start + i) % m->order_count].silo;
        if (silo == m->id || silo == target->silo || gbi_member_suspects(m, silo)) continue;
        gb_message *message = gbi_member_send(m, out, silo, GB_MSG_PROBE_FOR);
        if (!message) return;
        message->seq = target->first_seq;
        message->silo = target->silo;
        target->asked++;
    }
}

static void miss(gb_membership *m, gb_target *target, gb_member_actions *out)
{
    if (target->phase < 3) {
        target->phase++;
        send_probe(m, target, out);
        if (target->phase == 3) ask_others(m, target, out);
        return;
    }
    target->phase = 0;
    set_suspect(m, target, true);
    target->until = m->at.now + m->config.rules.probe_period_ns / 2;
    gbi_member_read_by(m, m->at.now + m->config.rules.read_soon_ns);
}

static void answered(gb_membership *m, gb_target *target, bool directly)
{
    uint64_t timeout = m->config.rules.probe_timeout_ns;
    target->phase = 0;
    set_suspect(m, target, false);
    target->answered |= directly;
    target->until =
        m->at.now + m->config.rules.probe_period_ns - gbi_member_random(m) % (timeout / 4 + 1);
    m->last_ack = m->at.now;
}

/* ---- on behalf of others ---- */

static void tell_asker(gb_membership *m, uint32_t index, uint32_t status, gb_member_actions *out)
{
    gb_relay relay = m->relays[index];
    m->relays[index] = m->relays[--m->relay_count];
    gb_message *message = gbi_member_send(m, out, relay.asker, GB_MSG_PROBE_TOLD);
    if (!message) return;
    message->seq = relay.asker_seq;
    message->silo = relay.silo;
    message->status = status;
}

static void probe_for(gb_membership *m, uint64_t asker, const gb_message *asked,
                      gb_member_actions *out)
{
    if (m->relay_count == GB_RELAYS_MAX || asked->silo == m->id || !m->view ||
        gb_view_state(m->view, asked->silo) == GB_SILO_DEAD)
        return;
    gb_message *message = gbi_member_send(m, out, asked->silo, GB_MSG_PROBE);
    if (!message) return;
    message->seq = ++m->seq;
    m->relays[m->relay_count++] = (gb_relay){asker, asked->seq, asked->silo, m->seq,
                                             m->at.now + m->config.rules.probe_timeout_ns};
}

/* ---- events ---- */

/* Who is not in the table yet is answered by nobody: they do not know where to. */
static bool is_known(const gb_membership *m)
{
    return gbi_member_own(m, m->view) != NULL;
}

void gbi_member_probe(gb_membership *m, gb_member_actions *out)
{
    uint64_t now = m->at.now;
    bool known = is_known(m);
    for (uint32_t i = 0; known && i < m->target_count; i++) {
        gb_target *target = &m->targets[i];
        if (now < target->until) continue;
        if (target->phase == 0) {
            target->phase = 1;
            send_probe(m, target, out);
        } else
            miss(m, target, out);
    }
    for (uint32_t i = m->relay_count; i-- > 0;) {
        if (now >= m->relays[i].until) tell_asker(m, i, (uint32_t)-GB_ETIMEDOUT, out);
    }
    if (known && m->retarget) gbi_member_targets(m);
}

/* This silo itself stood still: others' silence meanwhile means nothing. */
void gbi_member_probe_rest(gb_membership *m, uint64_t gap, bool slept)
{
    for (uint32_t i = 0; i < m->target_count; i++) {
        gb_target *target = &m->targets[i];
        target->until = slept ? m->at.now : target->until + gap;
        if (slept) target->phase = 0;
        if (slept) set_suspect(m, target, false);
    }
    for (uint32_t i = 0; i < m->relay_count; i++) m->relays[i].until += gap;
}

static void heard_ack(gb_membership *m, uint64_t from, uint64_t seq, gb_member_actions *out)
{
    gb_target *target = find_target(m, from);
    if (target && seq >= target->first_seq) answered(m, target, true);
    for (uint32_t i = m->relay_count; i-- > 0;) {
        if (m->relays[i].silo == from && m->relays[i].seq <= seq) tell_asker(m, i, 0, out);
    }
}

static void heard_told(gb_membership *m, const gb_message *told, gb_member_actions *out)
{
    gb_target *target = find_target(m, told->silo);
    if (!target || target->phase != 3 || told->seq != target->first_seq) return;
    m->last_ack = m->at.now; /* who told it is there */
    if (told->status == 0)
        answered(m, target, false);
    else if (target->asked && --target->asked == 0)
        miss(m, target, out);
}

void gbi_member_probe_message(gb_membership *m, uint64_t from, const gb_message *message,
                              gb_member_actions *out)
{
    gb_message *answer;
    switch (message->kind) {
    case GB_MSG_PROBE:
        answer = gbi_member_send(m, out, from, GB_MSG_PROBE_ACK);
        if (answer) answer->seq = message->seq;
        break;
    case GB_MSG_PROBE_ACK:
        heard_ack(m, from, message->seq, out);
        break;
    case GB_MSG_PROBE_FOR:
        probe_for(m, from, message, out);
        break;
    case GB_MSG_PROBE_TOLD:
        heard_told(m, message, out);
        break;
    default:
        break;
    }
}

void gbi_member_probe_refused(gb_membership *m, uint64_t silo, gb_member_actions *out)
{
    gb_target *target = find_target(m, silo);
    if (target && target->phase > 0 && target->phase < 3) miss(m, target, out);
    for (uint32_t i = m->relay_count; i-- > 0;) {
        if (m->relays[i].silo == silo) tell_asker(m, i, (uint32_t)-GB_ELOST, out);
    }
}

uint64_t gbi_member_probe_next(const gb_membership *m)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < m->target_count && is_known(m); i++) {
        if (m->targets[i].until < next) next = m->targets[i].until;
    }
    for (uint32_t i = 0; i < m->relay_count; i++) {
        if (m->relays[i].until < next) next = m->relays[i].until;
    }
    return next;
}
