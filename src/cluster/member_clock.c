/* Whose wall clock is far from this silo's. Nothing goes by it but the log. */
#include "base/log.h"
#include "cluster/member_room.h"

enum { LINES_MAX = 3 }; /* for one read: if this silo's own clock is wrong all others look so */

static const uint64_t SEC_NS = 1000000000;

/* How much later is it? 0: it is not. For any two, as a table may hold any. */
static uint64_t after(int64_t time, int64_t other)
{
    return time > other ? (uint64_t)time - (uint64_t)other : 0;
}

/* Who writes a row writes the sign of life that he has read last, which is of any age; so may be
 * what a table shows that is back from a copy. But where no row was written between two reads, a
 * sign of life that has come is its silo's own, and of a time between what this silo's clock showed
 * at both. */
static bool is_new(const gb_seen *old, const gb_member *row)
{
    return row->state != GB_SILO_DEAD && row->alive_ns > old->alive_ns;
}

void gbi_member_clocks(gb_membership *m, const gb_view *table, gb_member_actions *out)
{
    int64_t from = m->looked_wall, to = m->at.wall;
    uint32_t at = 0, off = 0;
    if (gb_view_id_order(table->id, m->looked_id) != 0) return;
    if (from > to) { /* it was set back meanwhile */
        from = to;
        to = m->looked_wall;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        const gb_member *row = &table->rows[i]->member;
        while (at < m->seen_count && m->seen[at].silo < row->id) at++;
        gb_seen *old = at < m->seen_count && m->seen[at].silo == row->id ? &m->seen[at] : NULL;
        if (!old || old->clock_said || row->id == m->id || !is_new(old, row)) continue;
        bool ahead = row->alive_ns > to;
        uint64_t least = ahead ? after(row->alive_ns, to) : after(from, row->alive_ns);
        uint64_t most = ahead ? after(row->alive_ns, from) : after(to, row->alive_ns);
        if (least <= m->config.rules.clock_off_ns) continue;
        old->clock_said = true;
        if (off++ >= LINES_MAX) continue;
        gbi_member_log(m, out, GB_LOG_WARN,
                       "the clock of silo '%s' (epoch %llu) is %llu to %llu s %s this one's: set "
                       "the wrong one right (NTP); who is a member does not go by it",
                       row->name, (unsigned long long)row->epoch,
                       (unsigned long long)(least / SEC_NS), (unsigned long long)(most / SEC_NS),
                       ahead ? "ahead of" : "behind");
    }
    if (off > LINES_MAX)
        gbi_member_log(m, out, GB_LOG_WARN,
                       "the clocks of %u more silos are as far from this one's", off - LINES_MAX);
}
