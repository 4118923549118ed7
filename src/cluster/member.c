#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "cluster/member_room.h"

#include <stdio.h>
#include <string.h>

#define MS ((uint64_t)1000000)

enum { STEP_ROOM = 24 };

/* The newest view that this silo holds, taken over or not. */
gb_view_id gbi_member_known(const gb_membership *m)
{
    gb_view_id table = m->table ? m->table->id : (gb_view_id){0};
    return m->view && gb_view_id_order(m->view->id, table) > 0 ? m->view->id : table;
}

gb_message *gbi_member_send(gb_membership *m, gb_member_actions *out, uint64_t silo,
                            gb_message_kind kind)
{
    gb_member_action *action = gbi_member_do(m, out, silo ? GB_DO_SEND : GB_DO_SEND_ALL);
    if (!action) return NULL;
    action->silo = silo;
    action->message.kind = kind;
    action->message.view = gbi_member_known(m);
    return &action->message;
}

/* ---- open and close ---- */

uint64_t gbi_member_random(gb_membership *m)
{
    m->random += 0x9e3779b97f4a7c15u;
    return gb_hash_mix(m->random);
}

int gb_membership_open(gb_membership **out, const gb_membership_config *config)
{
    gb_membership *m = gb_mem_zalloc(config->mem, sizeof *m);
    if (!m) return GB_ENOMEM;
    gb_member self = {.labels = (char *)(config->labels ? config->labels : ""),
                      .types = (char *)(config->types ? config->types : "")};
    int named = snprintf(self.name, sizeof self.name, "%s", config->name);
    int addressed = snprintf(self.address, sizeof self.address, "%s", config->address);
    m->mem = config->mem;
    m->config = *config;
    m->random = config->seed;
    do m->id = gbi_member_random(m);
    while (m->id == 0);
    self.id = m->id;
    m->want = GB_SILO_ACTIVE;
    m->hint_at = UINT64_MAX;
    int rc = gb_member_copy(&m->self, m->mem, &self);
    if (rc == 0 && (named < 1 || named >= (int)sizeof self.name || addressed < 1 ||
                    addressed >= (int)sizeof self.address))
        rc = gb_err_set(GB_EINVAL, "a silo needs a name and an address of 1 to %d bytes each",
                        GB_MEMBER_NAME_BYTES - 1);
    if (rc < 0) {
        gb_member_fini(&m->self, m->mem);
        gb_mem_free(m->mem, m, sizeof *m);
    } else
        *out = m;
    return rc;
}

static void end_op(gb_membership *m)
{
    gb_row_unref(m->op_row);
    if (m->op_ids) gb_mem_free(m->mem, m->op_ids, m->op_id_count * sizeof *m->op_ids);
    m->op_row = NULL;
    m->op_ids = NULL;
    m->op_id_count = 0;
    m->op = GB_OP_NONE;
}

void gb_membership_close(gb_membership *m)
{
    end_op(m);
    gbi_member_hear_close(m);
    gbi_member_graves_close(m);
    gb_view_unref(m->table);
    gb_view_unref(m->view);
    gb_mem *mem = m->mem;
    if (m->seen) gb_mem_free(mem, m->seen, m->seen_count * sizeof *m->seen);
    if (m->targets) gb_mem_free(mem, m->targets, m->target_room * sizeof *m->targets);
    if (m->order) gb_mem_free(mem, m->order, m->order_count * sizeof *m->order);
    gb_member_fini(&m->self, mem);
    gb_mem_free(mem, m, sizeof *m);
}

/* ---- what a table means ---- */

const gb_member *gbi_member_own(const gb_membership *m, const gb_view *view)
{
    if (!view) return NULL;
    if (view == m->own_view) return m->own;
    return gb_view_find(view, m->id);
}

void gbi_member_read_by(gb_membership *m, uint64_t at)
{
    if (at < m->read_at) m->read_at = at;
}

static void pause(gb_membership *m, gb_member_actions *out)
{
    if (m->serving) gbi_member_do(m, out, GB_DO_PAUSE);
    m->serving = false;
}

/* Turns wait until the table was read anew. */
static void must_read(gb_membership *m, gb_member_actions *out)
{
    m->must_read = true;
    m->must_since = m->at.now;
    m->read_at = m->at.now;
    pause(m, out);
}

void gbi_member_end(gb_membership *m, gb_member_why why, gb_member_actions *out)
{
    if (m->ended) return;
    m->ended = true;
    m->serving = false;
    gb_member_action *action = gbi_member_do(m, out, GB_DO_ENDED);
    if (action) action->why = why;
}

/* Has a newer silo this one's name? */
static bool name_taken(const gb_membership *m, const gb_view *table)
{
    for (uint32_t i = 0; i < table->count && m->self.epoch; i++) {
        const gb_member *row = &table->rows[i]->member;
        if (row->id == m->id || row->state == GB_SILO_DEAD || strcmp(row->name, m->self.name) != 0)
            continue;
        if (row->epoch > m->self.epoch || (row->epoch == m->self.epoch && row->id > m->id))
            return true;
    }
    return false;
}

static void note_votes(gb_seen *seen, const gb_seen *old, const gb_member *row, uint64_t now)
{
    seen->vote_count = row->vote_count;
    for (uint32_t i = 0; i < row->vote_count; i++) {
        seen->votes[i].vote = row->votes[i];
        seen->votes[i].at = now;
        for (uint32_t k = 0; old && k < old->vote_count; k++) {
            const gb_vote *vote = &old->votes[k].vote;
            if (vote->voter == row->votes[i].voter && vote->wall_ns == row->votes[i].wall_ns)
                seen->votes[i].at = old->votes[k].at;
        }
    }
}

/* Keeps what was seen of each row in step with the rows. fresh: what is new just happened; else it
 * may be as old as can be. A vote is written with the sign of life that its voter has read last, so
 * only who reads often can tell from an old one that there was none. */
static int note_rows(gb_membership *m, const gb_view *table, bool read, bool fresh)
{
    uint64_t now = m->at.now;
    bool often = now - m->looked <= 2 * m->config.rules.read_soon_ns;
    gb_seen *seen = gb_mem_zalloc(m->mem, table->count * sizeof *seen);
    if (!seen) return GB_ENOMEM;
    uint32_t at = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        const gb_member *row = &table->rows[i]->member;
        while (at < m->seen_count && m->seen[at].silo < row->id) at++;
        const gb_seen *old =
            at < m->seen_count && m->seen[at].silo == row->id ? &m->seen[at] : NULL;
        seen[i].silo = row->id;
        bool quiet = old && (!read || (often && old->alive_ns == row->alive_ns));
        seen[i].alive_ns = old && !read ? old->alive_ns : row->alive_ns;
        seen[i].alive_at = quiet ? old->alive_at : now;
        seen[i].vote_said = old ? old->vote_said : 0;
        seen[i].dead_said = old ? old->dead_said : 0;
        seen[i].clock_said = old && old->clock_said;
        if (row->state == GB_SILO_DEAD) seen[i].dead_at = old && old->dead_at ? old->dead_at : now;
        if (row->state == GB_SILO_DEAD && !(old && old->dead_at)) gbi_member_bury(m, row->id);
        note_votes(&seen[i], old, row, fresh ? now : 0);
    }
    if (m->seen) gb_mem_free(m->mem, m->seen, m->seen_count * sizeof *m->seen);
    m->seen = seen;
    m->seen_count = table->count;
    return 0;
}

static void link_changes(gb_membership *m, const gb_view *old, const gb_view *now,
                         gb_member_actions *out)
{
    for (uint32_t i = 0; old && i < old->count; i++) {
        uint64_t silo = old->rows[i]->member.id;
        if (silo == m->id || old->rows[i]->member.state == GB_SILO_DEAD ||
            gb_view_state(now, silo) != GB_SILO_DEAD)
            continue;
        gb_member_action *action = gbi_member_do(m, out, GB_DO_UNLINK);
        if (action) action->silo = silo;
    }
    for (uint32_t i = 0; i < now->count; i++) {
        uint64_t silo = now->rows[i]->member.id;
        if (silo == m->id || now->rows[i]->member.state == GB_SILO_DEAD ||
            (old && gb_view_state(old, silo) != GB_SILO_DEAD))
            continue;
        gb_member_action *action = gbi_member_do(m, out, GB_DO_LINK);
        if (action) action->silo = silo;
    }
}

/* Takes the table over as the view. */
static void adopt(gb_membership *m, gb_member_actions *out)
{
    gb_view *old = m->view;
    m->view = gb_view_ref(m->table);
    m->regress_at = 0;
    if (old && gb_view_id_order(old->id, m->view->id) == 0) {
        gb_view_unref(old); /* signs of life at most */
        return;
    }
    if (!m->shown) gbi_member_do(m, out, GB_DO_VIEW);
    m->shown = true;
    link_changes(m, old, m->view, out);
    gbi_member_order(m);
    gb_view_unref(old);
}

static void serve_again(gb_membership *m, gb_member_actions *out)
{
    const gb_member *own = gbi_member_own(m, m->view);
    bool may =
        own && !m->must_read && (own->state == GB_SILO_ACTIVE || own->state == GB_SILO_DRAINING);
    if (m->ended || may == m->serving) return;
    if (may) gbi_member_do(m, out, GB_DO_SERVE);
    if (!may) gbi_member_do(m, out, GB_DO_PAUSE);
    m->serving = may;
}

/* These contents are the newest known (the reference is taken over). */
void gbi_member_table(gb_membership *m, gb_view *table, bool read, gb_member_actions *out)
{
    bool fresh = m->table && gb_view_id_order(table->id, m->table->id) >= 0 && !m->regress_at;
    if (read && fresh) gbi_member_clocks(m, table, out);
    if (note_rows(m, table, read, fresh) < 0) {
        gb_view_unref(table);
        gbi_member_read_by(m, m->at.now + m->config.rules.read_retry_ns);
        return;
    }
    gb_view_unref(m->table);
    m->table = table;
    m->named = false;
    m->own = gb_view_find(table, m->id);
    m->own_view = table;
    const gb_member *own = gbi_member_own(m, table);
    if (name_taken(m, table)) {
        gbi_member_log(m, out, GB_LOG_ERROR, "another silo has taken the name '%s'", m->self.name);
        gbi_member_end(m, GB_WHY_NAME_TAKEN, out);
        return;
    }
    if (own && own->state == GB_SILO_DEAD) {
        bool asked = m->want == GB_SILO_DEAD;
        if (!asked) gbi_member_log(m, out, GB_LOG_ERROR, "this silo is dead in the table");
        gbi_member_end(m, asked ? GB_WHY_STOPPED : GB_WHY_DEAD, out);
        return;
    }
    if (!own && gbi_member_own(m, m->view) &&
        m->at.now - m->confirmed >= m->config.rules.dead_keep_ns) {
        gbi_member_log(m, out, GB_LOG_ERROR, "this silo is gone from the table, long unread");
        gbi_member_end(m, GB_WHY_DEAD, out);
        return;
    }
    if (!m->view ||
        (gb_view_id_order(table->id, m->view->id) >= 0 && gbi_member_covers(m, table))) {
        if (m->regress_at) gbi_member_log(m, out, GB_LOG_INFO, "the table is whole again");
        adopt(m, out);
        return;
    }
    gbi_member_read_by(m, m->at.now + m->config.rules.read_retry_ns);
    if (m->regress_at) return;
    m->regress_at = m->at.now;
    gbi_member_log(m, out, GB_LOG_WARN,
                   "the table has lost rows (version %llu after %llu): writing them again",
                   (unsigned long long)table->id.version, (unsigned long long)m->view->id.version);
}

/* ---- steps ---- */

/* False: nothing is done any more, or there is no memory to do it. */
static bool step(gb_membership *m, gb_times at, gb_member_actions *out)
{
    if (m->ended || !m->started || !gbi_member_room(out, STEP_ROOM)) return false;
    m->shown = false;
    uint64_t gap = at.now > m->last_step ? at.now - m->last_step : 0;
    m->at = at;
    m->last_step = at.now;
    bool slept = gap > m->config.rules.sleep_ns;
    if (gap > m->config.rules.probe_timeout_ns) gbi_member_probe_rest(m, gap, slept);
    if (slept && m->view) {
        gbi_member_log(m, out, GB_LOG_WARN, "slept for %llu ms: reading the table",
                       (unsigned long long)(gap / MS));
        must_read(m, out);
    }
    return true;
}

static void finish(gb_membership *m, gb_member_actions *out)
{
    if (!m->ended) gbi_member_probe(m, out);
    if (!m->ended) gbi_member_plan(m, out);
    serve_again(m, out);
}

void gb_membership_start(gb_membership *m, gb_times at, gb_member_actions *out)
{
    GB_CHECK(!m->started);
    m->started = true;
    m->at = at;
    m->last_step = m->started_at = at.now;
    m->self.started_ns = m->self.alive_ns = at.wall;
    m->read_at = at.now;
    if (gbi_member_room(out, STEP_ROOM)) finish(m, out);
}

void gb_membership_tick(gb_membership *m, gb_times at, gb_member_actions *out)
{
    if (step(m, at, out)) finish(m, out);
}

/* The result of an operation; without memory for a step it is as if it had failed. */
static bool step_result(gb_membership *m, gb_times at, gb_member_actions *out)
{
    if (step(m, at, out)) return true;
    end_op(m);
    m->read_at = at.now + m->config.rules.read_retry_ns;
    return false;
}

void gb_membership_read(gb_membership *m, const gb_table_view *read, gb_times at,
                        gb_member_actions *out)
{
    if (!step_result(m, at, out)) return;
    GB_CHECK(m->op == GB_OP_READ);
    gb_times began = m->op_began;
    gb_view *table;
    end_op(m);
    m->failures = 0;
    bool doubt = m->regress_at || !m->view || gbi_member_own(m, m->view) == NULL;
    doubt |= m->suspects > 0;
    m->read_at = at.now + (doubt ? m->config.rules.read_soon_ns : m->config.rules.read_period_ns);
    if (gb_view_read(&table, m->mem, m->config.ring_seed, read, m->table) < 0) {
        gbi_member_log(m, out, GB_LOG_ERROR, "the table cannot be: %s", gb_err_detail());
        gbi_member_read_by(m, at.now + m->config.rules.read_retry_ns);
    } else if (m->table && gb_view_id_order(table->id, m->table->id) < 0 &&
               gb_view_id_order(table->id, m->op_floor) >= 0) {
        gb_view_unref(table); /* a change came while the read was under way */
        if (m->must_read) m->read_at = at.now;
    } else {
        gbi_member_table(m, table, true, out);
        if (m->view == m->table) m->confirmed = began.now;
        if (m->table == table) {
            m->looked = began.now;
            m->looked_wall = began.wall;
            m->looked_id = table->id;
        }
        if (began.now >= m->must_since) m->must_read = false;
        if (m->must_read) m->read_at = at.now;
    }
    /* Somebody knows of more: a table that is out of date, or was. */
    if (gb_view_id_order(m->hint, gbi_member_known(m)) > 0)
        gbi_member_read_by(m, at.now + m->config.rules.read_retry_ns);
    finish(m, out);
}

/* Tells all of the write that made `table` out of `from`. */
static void tell(gb_membership *m, gb_view_id from, gb_row *row, const uint64_t *ids,
                 uint32_t count, gb_member_actions *out)
{
    gb_message *message = gbi_member_send(m, out, 0, GB_MSG_CHANGE);
    if (!message) return;
    gb_member_action *action = &out->items[out->count - 1];
    message->view = m->table->id;
    message->from = from;
    if (row) {
        action->row = gb_row_ref(row);
        message->row = &row->member;
    }
    if (count && (action->ids = gb_mem_alloc(out->mem, count * sizeof *ids))) {
        memcpy(action->ids, ids, count * sizeof *ids);
        action->id_count = message->count = count;
        message->ids = action->ids;
    }
}

void gb_membership_written(gb_membership *m, uint64_t version, gb_times at, gb_member_actions *out)
{
    if (!step_result(m, at, out)) return;
    GB_CHECK(m->op == GB_OP_WRITE || m->op == GB_OP_REMOVE);
    gb_view_id from = m->table->id;
    gb_view *table;
    m->conflicts = m->failures = 0;
    if (from.version + 1 != version ||
        gb_view_write(&table, m->table, version, m->op_row, m->op_ids, m->op_id_count) < 0) {
        gbi_member_read_by(m, at.now);
    } else {
        gb_row *row = m->op_row ? gb_row_ref(m->op_row) : NULL;
        gbi_member_table(m, table, false, out);
        if (m->table == table || m->ended) tell(m, from, row, m->op_ids, m->op_id_count, out);
        if (m->view == m->table) m->confirmed = m->op_began.now;
        if (row && row->member.state == GB_SILO_DEAD && row->member.id != m->id)
            gbi_member_send(m, out, row->member.id, GB_MSG_FENCE); /* it may be alive */
        gb_row_unref(row);
    }
    end_op(m);
    finish(m, out);
}

void gb_membership_failed(gb_membership *m, int rc, gb_times at, gb_member_actions *out)
{
    if (!step_result(m, at, out)) return;
    GB_CHECK(m->op != GB_OP_NONE && m->op != GB_OP_TOUCH);
    bool read = m->op == GB_OP_READ;
    uint64_t known = m->op_floor.version;
    end_op(m);
    if (!read && rc == GB_ECONFLICT) {
        /* Everybody may want to write at once: those who lose wait longer each time. */
        if (m->conflicts < 9) m->conflicts++;
        m->write_at = at.now + gbi_member_random(m) % ((4 * MS) << m->conflicts);
        if (m->table->id.version == known) gbi_member_read_by(m, at.now);
    } else {
        if (m->failures++ == 0)
            gbi_member_log(m, out, GB_LOG_DEBUG, "the table is out of reach (%s)", gb_err_name(rc));
        m->read_at = at.now + m->config.rules.read_retry_ns;
        m->write_at = m->read_at; /* what was written is known after the read only */
        /* Nobody could show a sign of life perhaps. */
        for (uint32_t i = 0; i < m->seen_count; i++) m->seen[i].alive_at = at.now;
        if (m->hint_from && gb_view_id_order(m->hint, gbi_member_known(m)) > 0)
            gbi_member_send(m, out, m->hint_from, GB_MSG_VIEW_ASK);
    }
    finish(m, out);
}

void gb_membership_touched(gb_membership *m, int rc, gb_times at, gb_member_actions *out)
{
    if (!step_result(m, at, out)) return;
    GB_CHECK(m->op == GB_OP_TOUCH);
    end_op(m);
    if (rc == GB_ENOENT) gbi_member_read_by(m, at.now);
    finish(m, out);
}

/* ---- messages ---- */

bool gb_membership_message(gb_membership *m, uint64_t from, const gb_message *message, gb_times at,
                           gb_member_actions *out)
{
    if (!step(m, at, out) || from == m->id) return false;
    const gb_member *sender = m->view ? gb_view_find(m->view, from) : NULL;
    if (sender ? sender->state == GB_SILO_DEAD : gbi_member_buried(m, from)) {
        if (message->kind == GB_MSG_VIEW_ASK)
            gbi_member_tell_view(m, from, out);
        else if (message->kind != GB_MSG_FENCE)
            gbi_member_send(m, out, from, GB_MSG_FENCE);
        finish(m, out);
        return true;
    }
    switch (message->kind) {
    case GB_MSG_CHANGE:
        gbi_member_heard_change(m, message, out);
        break;
    case GB_MSG_VIEW:
        gbi_member_heard_view(m, message, out);
        break;
    case GB_MSG_VIEW_ASK:
        gbi_member_tell_view(m, from, out);
        break;
    case GB_MSG_FENCE:
        if (!m->must_read && gb_view_id_order(message->view, gbi_member_known(m)) > 0)
            must_read(m, out);
        break;
    default:
        gbi_member_probe_message(m, from, message, out);
    }
    if (!m->ended) gbi_member_hint(m, from, message->view);
    finish(m, out);
    return false;
}

void gb_membership_unreachable(gb_membership *m, uint64_t silo, gb_times at, gb_member_actions *out)
{
    if (!step(m, at, out)) return;
    gbi_member_probe_refused(m, silo, out);
    finish(m, out);
}

void gb_membership_drain(gb_membership *m, gb_times at, gb_member_actions *out)
{
    if (m->want < GB_SILO_DRAINING) m->want = GB_SILO_DRAINING;
    if (step(m, at, out)) finish(m, out);
}

void gb_membership_undrain(gb_membership *m, gb_times at, gb_member_actions *out)
{
    if (m->want == GB_SILO_DRAINING) m->want = GB_SILO_ACTIVE;
    if (step(m, at, out)) finish(m, out);
}

void gb_membership_stop(gb_membership *m, gb_times at, gb_member_actions *out)
{
    if (m->want != GB_SILO_DEAD) m->stop_at = at.now + m->config.rules.stop_wait_ns;
    m->want = GB_SILO_DEAD;
    if (step(m, at, out)) finish(m, out);
}

/* ---- what is ---- */

uint64_t gb_membership_id(const gb_membership *m)
{
    return m->id;
}

uint64_t gb_membership_epoch(const gb_membership *m)
{
    return m->self.epoch;
}

gb_silo_state gb_membership_state(const gb_membership *m)
{
    const gb_member *own = gbi_member_own(m, m->view);
    if (m->ended) return GB_SILO_DEAD;
    return own ? own->state : GB_SILO_JOINING;
}

gb_view *gb_membership_view(const gb_membership *m)
{
    return m->view;
}

bool gb_membership_serves(const gb_membership *m)
{
    return m->serving;
}

uint64_t gb_membership_serve_until(const gb_membership *m)
{
    return m->serving ? m->last_step + m->config.rules.sleep_ns : 0;
}

uint64_t gb_membership_next(const gb_membership *m)
{
    if (m->ended || !m->started) return UINT64_MAX;
    uint64_t next = m->last_step + m->config.rules.sleep_ns / 3;
    uint64_t probe = gbi_member_probe_next(m), plan = gbi_member_plan_next(m);
    if (probe < next) next = probe;
    return plan < next ? plan : next;
}
