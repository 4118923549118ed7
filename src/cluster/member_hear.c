/* What other silos tell of the table: its changes one by one, a whole view, or that there is a
 * newer one. */
#include "cluster/member_room.h"

#include <string.h>

static void drop_early(gb_membership *m, uint32_t index)
{
    gb_early *early = &m->early[index];
    gb_row_unref(early->row);
    if (early->ids) gb_mem_free(m->mem, early->ids, early->count * sizeof *early->ids);
    *early = m->early[--m->early_count];
}

void gbi_member_hear_close(gb_membership *m)
{
    while (m->early_count) drop_early(m, 0);
}

/* The table after one change, if it is what the sender has. */
static void apply(gb_membership *m, gb_view_id to, gb_row *row, const uint64_t *ids, uint32_t count,
                  gb_member_actions *out)
{
    gb_view *table;
    if (gb_view_write(&table, m->table, to.version, row, ids, count) < 0) return;
    if (gb_view_id_order(table->id, to) == 0)
        gbi_member_table(m, table, false, out);
    else
        gb_view_unref(table);
}

/* Two silos write one after the other, and what they tell may come the other way round. */
static void keep_early(gb_membership *m, const gb_message *message, gb_row *row)
{
    gb_early early = {message->from, message->view, NULL, NULL, message->count};
    for (uint32_t i = 0; i < m->early_count; i++) {
        if (gb_view_id_order(m->early[i].to, early.to) == 0) return;
    }
    if (m->early_count == GB_EARLY_MAX) return; /* then the table is read */
    if (early.count && !(early.ids = gb_mem_alloc(m->mem, early.count * sizeof *early.ids))) return;
    if (early.count) memcpy(early.ids, message->ids, early.count * sizeof *early.ids);
    if (row) early.row = gb_row_ref(row);
    m->early[m->early_count++] = early;
}

static void apply_early(gb_membership *m, gb_member_actions *out)
{
    for (uint32_t i = 0; i < m->early_count && !m->ended;) {
        gb_early *early = &m->early[i];
        if (gb_view_id_order(early->from, m->table->id) == 0) {
            apply(m, early->to, early->row, early->ids, early->count, out);
            drop_early(m, i);
            i = 0;
        } else if (gb_view_id_order(early->to, m->table->id) <= 0) {
            drop_early(m, i);
        } else
            i++;
    }
}

void gbi_member_heard_change(gb_membership *m, const gb_message *message, gb_member_actions *out)
{
    gb_row *row = NULL;
    if (!m->table || gb_view_id_order(message->view, m->table->id) <= 0) return;
    if (message->row && gb_row_new(&row, m->mem, message->row) < 0) return;
    if (gb_view_id_order(message->from, m->table->id) == 0)
        apply(m, message->view, row, message->ids, message->count, out);
    else if (gb_view_id_order(message->from, m->table->id) > 0)
        keep_early(m, message, row);
    gb_row_unref(row);
    apply_early(m, out);
}

/* A peer's whole view: as good as the table, while that is out of reach. */
void gbi_member_heard_view(gb_membership *m, const gb_message *message, gb_member_actions *out)
{
    gb_view_id known = gbi_member_known(m);
    if (gb_view_id_order(message->view, known) <= 0 || m->regress_at) return;
    gb_view *table;
    gb_table_view read = {.version = message->view.version, .count = message->count};
    size_t bytes = message->count * sizeof *read.rows;
    read.rows = gb_mem_alloc(m->mem, bytes);
    if (!read.rows) return;
    for (uint32_t i = 0; i < message->count; i++) read.rows[i] = message->rows[i]->member;
    int rc = gb_view_read(&table, m->mem, m->config.ring_seed, &read, m->table);
    gb_mem_free(m->mem, read.rows, bytes);
    if (rc < 0) return;
    if (gb_view_id_order(table->id, message->view) == 0 &&
        (!m->view || gbi_member_covers(m, table)))
        gbi_member_table(m, table, false, out);
    else
        gb_view_unref(table);
}

void gbi_member_tell_view(gb_membership *m, uint64_t to, gb_member_actions *out)
{
    if (!m->view || m->view != m->table) return;
    gb_message *answer = gbi_member_send(m, out, to, GB_MSG_VIEW);
    if (!answer) return;
    out->items[out->count - 1].view = gb_view_ref(m->view);
    answer->rows = m->view->rows;
    answer->count = m->view->count;
}

/* Somebody has a view. When it is newer and has not come by itself in a while, the table is read;
 * not by all at the same time. */
void gbi_member_hint(gb_membership *m, uint64_t from, gb_view_id view)
{
    int order = gb_view_id_order(view, m->hint);
    if (order >= 0) m->hint_from = from;
    if (order > 0) m->hint = view;
    if (gb_view_id_order(view, gbi_member_known(m)) <= 0 || m->hint_at != UINT64_MAX) return;
    uint64_t spread = m->config.rules.hint_spread_ns;
    m->hint_at = m->at.now + spread / 2 + gbi_member_random(m) % (spread + 1);
}
