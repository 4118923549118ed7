/* What this silo wants of the table: its own row, the death of others, rows that were lost. One
 * operation at a time, the most urgent first; each is decided anew from the newest contents. */
#include "base/log.h"
#include "cluster/member_room.h"

#include <string.h>

static const uint64_t SAID_NS = 60000000000ull; /* then it is said again */

/* Is everything in the table that the view demands? Rows go only when they are dead for long, so a
 * row that was alive a shorter time ago and is missing was lost. States only grow, also those of
 * rows that an earlier loss took. */
bool gbi_member_covers(const gb_membership *m, const gb_view *table)
{
    bool long_ago = m->at.now - m->confirmed >= m->config.rules.dead_keep_ns;
    for (uint32_t i = 0; i < m->view->count; i++) {
        const gb_member *known = &m->view->rows[i]->member;
        const gb_member *row = gb_view_find(table, known->id);
        if (row ? gb_member_stage(row) < gb_member_stage(known)
                : known->state != GB_SILO_DEAD && !long_ago)
            return false;
    }
    return !gbi_member_risen(m, table);
}

/* ---- operations ---- */

static void begin(gb_membership *m, gb_op_kind op)
{
    m->op = op;
    m->op_began = m->at;
    m->op_floor = m->table ? m->table->id : (gb_view_id){0};
}

static void read_table(gb_membership *m, gb_member_actions *out)
{
    if (!gbi_member_do(m, out, GB_DO_READ)) return;
    begin(m, GB_OP_READ);
    m->read_at = UINT64_MAX;
    m->hint_at = UINT64_MAX;
}

/* Writes a row as it is to be; true: it is on its way. */
static bool write_row(gb_membership *m, const gb_member *row, gb_member_actions *out)
{
    gb_member copy = *row;
    gb_row *made;
    copy.generation = m->table->id.generation;
    /* The first who writes after a loss: all who have seen both tables know that it happened. */
    if (m->view && m->regress_at && copy.generation <= m->view->id.generation)
        copy.generation = gb_view_generation_after(m->view->id.generation, gbi_member_random(m));
    if (gb_row_new(&made, m->mem, &copy) < 0) return false;
    gb_member_action *action = gbi_member_do(m, out, GB_DO_WRITE);
    if (!action) {
        gb_row_unref(made);
        return false;
    }
    begin(m, GB_OP_WRITE);
    m->op_row = made;
    action->row = gb_row_ref(made);
    action->version = m->table->id.version;
    return true;
}

static bool write_state(gb_membership *m, const gb_member *row, gb_silo_state state,
                        gb_member_actions *out)
{
    gb_member copy = *row;
    copy.state = state;
    copy.left = false;
    if (state == GB_SILO_DEAD || row->id == m->id) copy.vote_count = 0;
    return write_row(m, &copy, out);
}

/* A write that was too late, or did not get through, comes again, and is no news. */
static bool is_news(const gb_membership *m, uint64_t *said)
{
    if (*said && m->at.now - *said < SAID_NS) return false;
    *said = m->at.now;
    return true;
}

static bool write_dead(gb_membership *m, const gb_member *row, const char *why,
                       gb_member_actions *out)
{
    uint32_t at = 0;
    while (at + 1 < m->seen_count && m->seen[at].silo != row->id) at++;
    if (is_news(m, &m->seen[at].dead_said))
        gbi_member_log(m, out, GB_LOG_WARN, "silo '%s' (epoch %llu) is dead: %s", row->name,
                       (unsigned long long)row->epoch, why);
    return write_state(m, row, GB_SILO_DEAD, out);
}

/* ---- the own row ---- */

static bool write_own(gb_membership *m, gb_silo_state state, gb_member_actions *out)
{
    gb_member row = m->self;
    row.state = state;
    row.left = state == GB_SILO_DEAD;
    row.alive_ns = m->at.wall;
    return write_row(m, &row, out);
}

static bool first_row(gb_membership *m, gb_member_actions *out)
{
    uint64_t epoch = m->config.epoch_min;
    if (m->want == GB_SILO_DEAD) {
        gbi_member_end(m, GB_WHY_STOPPED, out);
        return true;
    }
    for (uint32_t i = 0; i < m->table->count; i++) {
        const gb_member *row = &m->table->rows[i]->member;
        if (strcmp(row->name, m->self.name) == 0 && row->epoch > epoch) epoch = row->epoch;
    }
    m->self.epoch = epoch + 1;
    return write_own(m, GB_SILO_JOINING, out);
}

/* Older silos of this name are dead: their newest has come. */
static bool fence_older(gb_membership *m, gb_member_actions *out)
{
    if (m->named) return false;
    for (uint32_t i = 0; i < m->table->count; i++) {
        const gb_member *row = &m->table->rows[i]->member;
        if (row->id == m->id || row->state == GB_SILO_DEAD || strcmp(row->name, m->self.name) != 0)
            continue;
        return write_dead(m, row, "its name has a newer silo", out);
    }
    m->named = true;
    return false;
}

static bool may_join(const gb_membership *m)
{
    uint32_t answers, count;
    if (m->view != m->table) return false;
    if (gbi_member_reached(m, &answers, &count)) return true;
    return m->at.now - m->started_at >= m->config.rules.join_wait_ns && 2 * answers > count;
}

static bool plan_own(gb_membership *m, gb_member_actions *out)
{
    const gb_member *own = gbi_member_own(m, m->table);
    const gb_member *before = gbi_member_own(m, m->view);
    if (!own && !before) return first_row(m, out);
    if (!own || (before && gb_member_stage(own) < gb_member_stage(before)))
        return write_own(m, before->state, out); /* it was lost */
    if (m->regress_at && gb_view_id_order(m->table->id, m->view->id) < 0 &&
        gbi_member_covers(m, m->table))
        return write_own(m, own->state, out); /* all is there, but it counts as old */
    if (fence_older(m, out)) return true;
    switch (m->want) {
    case GB_SILO_DRAINING:
        if (own->state < GB_SILO_ACTIVE || own->state >= GB_SILO_DRAINING) return false;
        return write_own(m, GB_SILO_DRAINING, out);
    case GB_SILO_DEAD:
        return write_own(m, own->state < GB_SILO_STOPPING ? GB_SILO_STOPPING : GB_SILO_DEAD, out);
    default:
        if (own->state == GB_SILO_DRAINING)
            m->self.returns = own->returns + 1;
        else if (own->state != GB_SILO_JOINING || !may_join(m))
            return false;
        return write_own(m, GB_SILO_ACTIVE, out);
    }
}

/* ---- others' rows ---- */

/* Who was dead before the table lost rows, and has come back with its activations. */
static bool bury_again(gb_membership *m, gb_member_actions *out)
{
    const gb_member *row = m->regress_at ? gbi_member_risen(m, m->table) : NULL;
    return row && write_dead(m, row, "it was so before the table lost rows", out);
}

/* Rows that the table lost and nobody wrote again: theirs who are dead by now, mostly. */
static bool heal_others(gb_membership *m, gb_member_actions *out)
{
    if (!m->regress_at || m->at.now - m->regress_at < m->config.rules.heal_wait_ns) return false;
    bool long_ago = m->at.now - m->confirmed >= m->config.rules.dead_keep_ns;
    for (uint32_t i = 0; i < m->view->count; i++) {
        const gb_member *known = &m->view->rows[i]->member;
        const gb_member *row = gb_view_find(m->table, known->id);
        if (row ? gb_member_stage(row) >= gb_member_stage(known)
                : known->state == GB_SILO_DEAD || long_ago)
            continue;
        gb_member copy = *known;
        copy.vote_count = 0;
        return write_row(m, &copy, out);
    }
    return false;
}

bool gbi_member_votes(const gb_member *row)
{
    return row && (row->state == GB_SILO_ACTIVE || row->state == GB_SILO_DRAINING);
}

static bool fresh(const gb_membership *m, const gb_seen *seen, uint32_t vote, uint64_t expiry)
{
    return seen->votes[vote].at && m->at.now - seen->votes[vote].at < expiry;
}

/* Adds this silo's vote to a row, or writes it dead when the votes suffice. */
static bool vote(gb_membership *m, uint32_t index, gb_member_actions *out)
{
    const gb_member *row = &m->table->rows[index]->member;
    const gb_seen *seen = &m->seen[index];
    uint64_t expiry = m->config.rules.vote_expiry_ns;
    uint32_t needed = 0, count = 1;
    bool mine = false;
    gb_member copy = *row;
    copy.vote_count = 0;
    for (uint32_t i = 0; i < m->table->count && needed < m->config.rules.votes; i++)
        needed += i != index && gbi_member_votes(&m->table->rows[i]->member);
    for (uint32_t i = 0; i < row->vote_count; i++) {
        if (row->votes[i].voter == m->id) {
            mine = fresh(m, seen, i, expiry / 2);
            continue;
        }
        if (!fresh(m, seen, i, expiry) ||
            !gbi_member_votes(gb_view_find(m->table, row->votes[i].voter)))
            continue;
        count++;
        if (copy.vote_count < GB_MEMBER_VOTES_MAX - 1)
            copy.votes[copy.vote_count++] = row->votes[i];
    }
    if (count >= needed) return write_dead(m, row, "it does not answer", out);
    if (mine) return false;
    copy.votes[copy.vote_count++] = (gb_vote){m->id, m->at.wall};
    if (is_news(m, &m->seen[index].vote_said))
        gbi_member_log(m, out, GB_LOG_WARN, "silo '%s' does not answer: a vote that it is dead",
                       row->name);
    return write_row(m, &copy, out);
}

static bool untouched(const gb_membership *m, uint32_t index)
{
    return m->looked > m->seen[index].alive_at &&
           m->looked - m->seen[index].alive_at >= m->config.rules.gone_ns;
}

/* Silent here, no sign of life in the table, and nobody else is there who could vote. */
static bool gone(const gb_membership *m, uint32_t index)
{
    if (!untouched(m, index)) return false;
    for (uint32_t i = 0; i < m->table->count; i++) {
        const gb_member *other = &m->table->rows[i]->member;
        if (i != index && other->id != m->id && gbi_member_votes(other) && !untouched(m, i))
            return false;
    }
    return true;
}

/* A silo that hears from nobody is the one that is cut off; with one other only, who can tell. */
static bool cut_off(const gb_membership *m)
{
    const gb_member_rules *rules = &m->config.rules;
    return m->order_count > 2 &&
           m->at.now - m->last_ack > rules->probe_period_ns + 4 * rules->probe_timeout_ns;
}

static bool plan_dead(gb_membership *m, gb_member_actions *out)
{
    if (!m->suspects) return false;
    bool may_vote = gbi_member_votes(gbi_member_own(m, m->table)) && !m->must_read && !cut_off(m);
    for (uint32_t i = 0; i < m->table->count; i++) {
        const gb_member *row = &m->table->rows[i]->member;
        if (row->id == m->id || row->state == GB_SILO_DEAD || !gbi_member_suspects(m, row->id))
            continue;
        if (may_vote && vote(m, i, out)) return true;
        if (!m->must_read && gone(m, i)) return write_dead(m, row, "gone, and no other left", out);
    }
    return false;
}

/* The first active silo removes what is dead for long. */
static bool remove_dead(gb_membership *m, gb_member_actions *out)
{
    if (m->view != m->table || !m->view->ring->silos || m->view->ring->ids[0] != m->id)
        return false;
    uint32_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(m->op_ids = gb_mem_alloc(m->mem, count * sizeof *m->op_ids))) return false;
        m->op_id_count = pass ? count : 0;
        count = 0;
        for (uint32_t i = 0; i < m->seen_count; i++) {
            uint64_t dead_at = m->seen[i].dead_at;
            if (!dead_at || m->at.now - dead_at < m->config.rules.dead_keep_ns) continue;
            /* The generation must not go with its last row. */
            if (m->table->rows[i]->member.generation == m->table->id.generation &&
                gbi_member_own(m, m->table)->generation < m->table->id.generation)
                return write_own(m, GB_SILO_ACTIVE, out);
            if (count == GB_TABLE_REMOVE_MAX) break; /* the rest comes after */
            if (pass) m->op_ids[count] = m->seen[i].silo;
            count++;
        }
        if (!count) return false;
    }
    gb_member_action *action = gbi_member_do(m, out, GB_DO_REMOVE);
    uint64_t *ids = action ? gb_mem_alloc(out->mem, count * sizeof *ids) : NULL;
    if (!ids) {
        if (action) out->count--;
        gb_mem_free(m->mem, m->op_ids, count * sizeof *m->op_ids);
        m->op_ids = NULL;
        m->op_id_count = 0;
        return false;
    }
    memcpy(ids, m->op_ids, count * sizeof *ids);
    action->ids = ids;
    action->id_count = count;
    action->version = m->table->id.version;
    begin(m, GB_OP_REMOVE);
    return true;
}

static bool touch(gb_membership *m, gb_member_actions *out)
{
    if (!gbi_member_own(m, m->table) || m->at.now < m->touch_at) return false;
    gb_member_action *action = gbi_member_do(m, out, GB_DO_TOUCH);
    if (!action) return false;
    action->silo = m->id;
    action->wall_ns = m->at.wall;
    begin(m, GB_OP_TOUCH);
    uint64_t period = m->config.rules.touch_period_ns, more = 60000000ull * m->order_count;
    m->touch_at = m->at.now + (period > more ? period : more);
    return true;
}

void gbi_member_plan(gb_membership *m, gb_member_actions *out)
{
    if (m->want == GB_SILO_DEAD && m->at.now >= m->stop_at) {
        gbi_member_end(m, GB_WHY_STOPPED, out); /* the others will find out */
        return;
    }
    /* What was told of has come by itself, mostly. */
    if (m->hint_at != UINT64_MAX && gb_view_id_order(m->hint, gbi_member_known(m)) <= 0)
        m->hint_at = UINT64_MAX;
    if (m->op != GB_OP_NONE) return;
    if (m->at.now >= m->hint_at && !m->failures && !m->regress_at) gbi_member_read_by(m, m->at.now);
    if (m->at.now >= m->read_at || !m->table) {
        if (m->at.now >= m->read_at) read_table(m, out);
        return;
    }
    if (m->at.now >= m->write_at) {
        if (plan_own(m, out) || m->ended || bury_again(m, out) || heal_others(m, out) ||
            plan_dead(m, out) || remove_dead(m, out))
            return;
    }
    touch(m, out);
}

uint64_t gbi_member_plan_next(const gb_membership *m)
{
    uint64_t next = m->want == GB_SILO_DEAD ? m->stop_at : UINT64_MAX;
    if (m->op != GB_OP_NONE) return next;
    if (m->read_at < next) next = m->read_at;
    if (m->hint_at < next && !m->failures && !m->regress_at) next = m->hint_at;
    if (m->write_at > m->at.now && m->write_at < next) next = m->write_at;
    return m->table && m->touch_at > m->at.now && m->touch_at < next ? m->touch_at : next;
}
