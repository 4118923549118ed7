/* The membership table: compare-and-set on a version; slow, out of reach, wiped, restored. */
#include "base/check.h"
#include "base/err.h"
#include "cluster_world.h"

#include <string.h>

typedef struct table_result {
    world *w;
    gb_member_action_kind kind;
    int rc;
    gb_table_view view;
    gb_row **rows; /* what view.rows show */
    uint64_t version, began;
} table_result;

static void free_rows(world *w, gb_row **rows, uint32_t count, uint32_t room)
{
    for (uint32_t i = 0; i < count; i++) gb_row_unref(rows[i]);
    if (rows) gb_mem_free(&w->mem, rows, room * sizeof *rows);
}

void table_free(event *e)
{
    table_result *r = e->ptr;
    world *w = r->w;
    if (r->view.rows) gb_mem_free(&w->mem, r->view.rows, r->view.count * sizeof *r->view.rows);
    free_rows(w, r->rows, r->view.count, r->view.count);
    gb_mem_free(&w->mem, r, sizeof *r);
}

void table_close(world *w)
{
    free_rows(w, w->table.rows, w->table.count, w->table.room);
    free_rows(w, w->table.saved, w->table.saved_count, w->table.saved_count);
}

static uint32_t find(const sim_table *t, uint64_t id, bool *found)
{
    uint32_t at = 0;
    while (at < t->count && t->rows[at]->member.id < id) at++;
    *found = at < t->count && t->rows[at]->member.id == id;
    return at;
}

/* False: no silo goes from the one to the other. */
static bool count_state(world *w, const gb_member *before, const gb_member *row)
{
    static const int transitions[6][5] = {
        [GB_SILO_JOINING] = {0, N_JOINING_ACTIVE, 0, N_JOINING_STOPPING, N_JOINING_DEAD},
        [GB_SILO_ACTIVE] = {0, 0, N_ACTIVE_DRAINING, N_ACTIVE_STOPPING, N_ACTIVE_DEAD},
        [GB_SILO_DRAINING] = {0, N_DRAINING_ACTIVE, 0, N_DRAINING_STOPPING, N_DRAINING_DEAD},
        [GB_SILO_STOPPING] = {0, 0, 0, 0, N_STOPPING_DEAD},
        [5] = {N_NEW_JOINING, N_HEALED, N_HEALED, N_HEALED, N_HEALED}, /* no row before */
    };
    int old = before ? (int)before->state : -1, now = (int)row->state;
    if (old == now) return true;
    int which = transitions[before ? old : 5][now];
    w->counts[N_LEFT] += row->left;
    if (which && !(before && gb_member_stage(row) < gb_member_stage(before))) w->counts[which]++;
    return which != 0;
}

static void note_death(world *w, struct world_life *life)
{
    life->declared = true;
    if (!life->died_at) return;
    uint64_t took = w->now - life->died_at;
    life->died_at = 0;
    w->detect_sum_ns += took;
    w->detect_count++;
    if (took > w->detect_max_ns) w->detect_max_ns = took;
}

/* The row that is written instead of this one, when a bug is planted; a reference. */
static gb_row *spoil_row(world *w, const gb_member *before, gb_row *row)
{
    gb_member copy = row->member;
    gb_row *made;
    if (w->plant == PLANTED_NO_RETURN && before) copy.returns = before->returns;
    if (w->plant == PLANTED_EPOCH && !before) copy.epoch = 1;
    int rc = gb_row_new(&made, &w->mem, &copy);
    GB_CHECK(rc == 0);
    return made;
}

/* writer: NULL for a table that is there from the start. */
static void insert(world *w, slot *writer, gb_row *row)
{
    sim_table *t = &w->table;
    bool found;
    uint32_t at = find(t, row->member.id, &found);
    const gb_member *before = found ? &t->rows[at]->member : NULL;
    struct world_life *life = net_life_of(w, row->member.id);
    row = spoil_row(w, before, row);
    check_row(w, writer, before, &row->member, count_state(w, before, &row->member));
    if (writer && row->member.id == gb_membership_id(writer->member)) life->touched_at = w->now;
    if (row->member.state == GB_SILO_DEAD) note_death(w, life);
    if (found) {
        gb_row_unref(t->rows[at]);
        t->rows[at] = row;
        return;
    }
    if (t->count == t->room) {
        uint32_t room = t->room ? t->room * 2 : 64;
        t->rows =
            gb_mem_realloc(&w->mem, t->rows, t->room * sizeof *t->rows, room * sizeof *t->rows);
        GB_CHECK(t->rows);
        t->room = room;
    }
    memmove(&t->rows[at + 1], &t->rows[at], (t->count - at) * sizeof *t->rows);
    t->rows[at] = row;
    t->count++;
}

void table_put(world *w, const gb_member *member)
{
    gb_row *row;
    int rc = gb_row_new(&row, &w->mem, member);
    GB_CHECK(rc == 0);
    insert(w, NULL, row);
    gb_row_unref(row);
    w->table.version++;
}

static void remove_row(world *w, uint64_t id)
{
    sim_table *t = &w->table;
    bool found;
    uint32_t at = find(t, id, &found);
    if (!found) return;
    check_removed(w, &t->rows[at]->member);
    gb_row_unref(t->rows[at]);
    memmove(&t->rows[at], &t->rows[at + 1], (t->count - at - 1) * sizeof *t->rows);
    t->count--;
    w->counts[N_REMOVED]++;
}

static void touch(world *w, uint64_t id, int64_t wall, table_result *r)
{
    bool found;
    uint32_t at = find(&w->table, id, &found);
    w->table_touches++;
    r->rc = found ? 0 : GB_ENOENT;
    if (!found) return;
    gb_member copy = w->table.rows[at]->member;
    gb_row *row;
    copy.alive_ns = w->plant == PLANTED_LATE ? wall - 600 * (int64_t)SEC : wall;
    net_life_of(w, id)->touched_at = w->now;
    int rc = gb_row_new(&row, &w->mem, &copy);
    GB_CHECK(rc == 0);
    gb_row_unref(w->table.rows[at]);
    w->table.rows[at] = row;
}

static void read_all(world *w, table_result *r)
{
    sim_table *t = &w->table;
    r->view = (gb_table_view){.version = t->version, .count = t->count};
    w->table_reads++;
    if (!t->count) return;
    r->view.rows = gb_mem_alloc(&w->mem, t->count * sizeof *r->view.rows);
    r->rows = gb_mem_alloc(&w->mem, t->count * sizeof *r->rows);
    GB_CHECK(r->view.rows && r->rows);
    for (uint32_t i = 0; i < t->count; i++) {
        r->rows[i] = gb_row_ref(t->rows[i]);
        r->view.rows[i] = t->rows[i]->member;
    }
}

static void apply(world *w, slot *s, const gb_member_action *action, table_result *r)
{
    sim_table *t = &w->table;
    if (action->kind == GB_DO_READ) {
        read_all(w, r);
        return;
    }
    if (action->kind == GB_DO_TOUCH) {
        touch(w, action->silo, action->wall_ns, r);
        return;
    }
    w->table_writes++;
    if (action->version != t->version) {
        w->counts[N_TABLE_CONFLICT]++;
        r->rc = GB_ECONFLICT;
        return;
    }
    if (action->kind == GB_DO_WRITE) insert(w, s, action->row);
    if (action->kind == GB_DO_REMOVE && w->plant == PLANTED_REMOVE)
        remove_row(w, gb_membership_id(s->member));
    for (uint32_t i = 0; i < action->id_count; i++) remove_row(w, action->ids[i]);
    r->version = ++t->version;
    world_note(w, t->version);
}

/* Happens at once, is known later: the order of all operations is that of their calls. */
void table_op(world *w, slot *s, const gb_member_action *action)
{
    table_result *r = gb_mem_zalloc(&w->mem, sizeof *r);
    GB_CHECK(r);
    uint64_t wait = 300000 + world_below(w, 2 * MS);
    bool down = w->now < w->table.down_until || w->table_blocked[s->index];
    r->w = w;
    r->kind = action->kind;
    r->began = w->now;
    if (w->now < w->table.slow_until) wait += world_below(w, 3 * SEC);
    if (!down) apply(w, s, action, r);
    if (down && action->kind != GB_DO_READ && world_chance(w, 200)) {
        apply(w, s, action, r); /* it went through, and nobody was told */
        w->counts[N_TABLE_UNSURE]++;
    }
    if (down) {
        wait += world_below(w, 2 * SEC);
        r->rc = GB_ETIMEDOUT;
        if (w->plant == PLANTED_BLOCKED) s->asleep_until = w->now + wait;
    }
    world_push(w, w->now + wait, EVENT_TABLE, s->index, 0, 0, r);
}

/* True: it tells the silo that it is dead itself. */
static bool spoil_read(world *w, slot *s, table_result *r)
{
    uint64_t self = gb_membership_id(s->member);
    bool dead = false;
    for (uint32_t i = 0; i < r->view.count; i++) {
        gb_member *row = &r->view.rows[i];
        bool own = row->id == self && row->state == GB_SILO_DEAD;
        dead |= own;
        if ((w->plant == PLANTED_HIDDEN && own) ||
            (w->plant == PLANTED_RUMOUR && row->id != self && row->state == GB_SILO_ACTIVE))
            row->state = own ? GB_SILO_ACTIVE : GB_SILO_DEAD;
    }
    return dead;
}

void table_done(world *w, const event *e)
{
    table_result *r = e->ptr;
    slot *s = &w->slots[e->slot];
    gb_times at = silo_times(w, s);
    uint32_t life = s->life;
    bool dead = spoil_read(w, s, r);
    if (r->kind != GB_DO_TOUCH && r->rc == 0) s->read_began = r->began;
    bool deaf = w->plant == PLANTED_DEAF && s->index == 1 && w->now > 30 * SEC;
    if (r->kind == GB_DO_TOUCH)
        gb_membership_touched(s->member, r->rc, at, &w->actions);
    else if (r->rc < 0 || deaf)
        gb_membership_failed(s->member, r->rc < 0 ? r->rc : GB_ETIMEDOUT, at, &w->actions);
    else if (r->kind == GB_DO_READ)
        gb_membership_read(s->member, &r->view, at, &w->actions);
    else
        gb_membership_written(s->member, r->version, at, &w->actions);
    event done = *e;
    table_free(&done);
    silo_after(w, s);
    check_read(w, s, life, dead && !deaf);
}

/* ---- losses ---- */

void table_save(world *w)
{
    sim_table *t = &w->table;
    free_rows(w, t->saved, t->saved_count, t->saved_count);
    t->saved = t->count ? gb_mem_alloc(&w->mem, t->count * sizeof *t->saved) : NULL;
    t->saved_count = t->count;
    t->saved_version = t->version;
    for (uint32_t i = 0; i < t->count; i++) t->saved[i] = gb_row_ref(t->rows[i]);
}

void table_wipe(world *w)
{
    sim_table *t = &w->table;
    free_rows(w, t->rows, t->count, t->room);
    t->rows = NULL;
    t->count = t->room = 0;
    t->version = 0;
    t->lost_at = w->now;
}

void table_restore(world *w)
{
    sim_table *t = &w->table;
    table_wipe(w);
    t->version = t->saved_version;
    t->count = t->room = t->saved_count;
    t->rows = t->count ? gb_mem_alloc(&w->mem, t->count * sizeof *t->rows) : NULL;
    for (uint32_t i = 0; i < t->count; i++) t->rows[i] = gb_row_ref(t->saved[i]);
}
