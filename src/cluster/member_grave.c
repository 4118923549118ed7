/* Who is dead stays dead, also when the table forgets it. A table that was lost comes back without
 * its dead rows, and a silo that was cut off when it was declared dead then writes its own row
 * again as if nothing had happened. Who saw it dead remembers its id for as long as the row would
 * have been kept; ids never come again, so a live row with such an id is always one that was lost.
 * Later than that the silo itself knows that it was away for too long. */
#include "cluster/member_room.h"

bool gbi_member_buried(const gb_membership *m, uint64_t silo)
{
    for (uint32_t i = 0; i < m->grave_count; i++) {
        if (m->graves[i].silo == silo) return true;
    }
    return false;
}

void gbi_member_bury(gb_membership *m, uint64_t silo)
{
    for (uint32_t i = m->grave_count; i-- > 0;) {
        if (m->at.now - m->graves[i].at >= m->config.rules.dead_keep_ns)
            m->graves[i] = m->graves[--m->grave_count];
    }
    if (gbi_member_buried(m, silo)) return;
    if (m->grave_count == m->grave_room) {
        gb_grave *graves = gb_mem_grow(m->mem, m->graves, &m->grave_room, 16, sizeof *graves);
        if (!graves) return; /* others remember it */
        m->graves = graves;
    }
    m->graves[m->grave_count++] = (gb_grave){silo, m->at.now};
}

const gb_member *gbi_member_risen(const gb_membership *m, const gb_view *table)
{
    for (uint32_t i = 0; i < m->grave_count; i++) {
        const gb_member *row = gb_view_find(table, m->graves[i].silo);
        if (row && row->state != GB_SILO_DEAD) return row;
    }
    return NULL;
}

void gbi_member_graves_close(gb_membership *m)
{
    if (m->graves) gb_mem_free(m->mem, m->graves, m->grave_room * sizeof *m->graves);
    m->graves = NULL;
    m->grave_count = m->grave_room = 0;
}
