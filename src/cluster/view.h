/* A view: what a silo holds to be the membership table, at one moment of it. Views are ordered, and
 * two views with one id have the same silos in the same states.
 *
 * The id is the table's version behind a generation. The version alone would do, if tables were
 * never wiped or put back from an old copy: then versions come again with other rows. Each row
 * carries a generation, that of the table is its highest, and who finds that the table has lost
 * rows writes with a higher one (member.h). Its low bits are random, so that two who do that at
 * once make two generations. Until somebody finds out, two tables may have one version: the digest
 * of the rows tells them apart.
 *
 * Views and rows are immutable and counted; any thread may read them. Errors: GB_ENOMEM.
 */
#ifndef GB_CLUSTER_VIEW_H
#define GB_CLUSTER_VIEW_H

#include "cluster/ring.h"
#include "cluster/table.h"

typedef struct gb_view_id {
    uint64_t generation, version;
    uint64_t digest; /* of the silos' ids, epochs, states and returns */
} gb_view_id;

static inline int gb_view_id_order(gb_view_id a, gb_view_id b)
{
    if (a.generation != b.generation) return a.generation < b.generation ? -1 : 1;
    if (a.version != b.version) return a.version < b.version ? -1 : 1;
    return a.digest < b.digest ? -1 : a.digest > b.digest;
}

/* The next generation; random is any number. */
uint64_t gb_view_generation_after(uint64_t generation, uint64_t random);

typedef struct gb_row {
    _Atomic uint32_t refs;
    gb_mem *mem;
    gb_member member;
} gb_row;

int gb_row_new(gb_row **out, gb_mem *mem, const gb_member *member); /* copies */
gb_row *gb_row_ref(gb_row *row);
void gb_row_unref(gb_row *row);

typedef struct gb_view {
    _Atomic uint32_t refs;
    gb_mem *mem;
    gb_view_id id;
    uint32_t count, room;
    uint32_t live;  /* rows that are not dead */
    gb_ring *ring;  /* of the active silos */
    uint64_t *ids;  /* of the rows: a search touches these alone */
    gb_row *rows[]; /* sorted by id, dead ones too */
} gb_view;

/* Of a table that was read. What equals a row of `from` (or NULL) is shared with it, and so is the
 * ring when the same silos are active. */
int gb_view_read(gb_view **out, gb_mem *mem, uint64_t seed, const gb_table_view *table,
                 const gb_view *from);

/* `from` after one write: row (or NULL) is new or takes the place of the one with its id, the rows
 * of `removed` are gone, and the version is as given. */
int gb_view_write(gb_view **out, const gb_view *from, uint64_t version, gb_row *row,
                  const uint64_t *removed, uint32_t removed_count);

gb_view *gb_view_ref(gb_view *view);
void gb_view_unref(gb_view *view); /* NULL is nothing */

const gb_member *gb_view_find(const gb_view *view, uint64_t silo); /* NULL: no such row */

/* The state of a silo; dead when there is no row. */
gb_silo_state gb_view_state(const gb_view *view, uint64_t silo);

#endif
