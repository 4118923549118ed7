/* What grains leave behind in memory: bytes by name, for all workers of a silo. A resident grain's
 * state waits here while it is not on a device. It lasts as long as the host; a store is to take
 * its place (lua/gb/resident.lua is the only one that asks).
 *
 * Threads: any, one short lock inside. Names and layouts are copied; a block is held until another
 * takes its place, it is dropped, or the keeper goes.
 */
#ifndef GB_LUA_KEEP_H
#define GB_LUA_KEEP_H

#include "base/block.h"

typedef struct gbl_keep gbl_keep;

enum { GBL_LAYOUT_MAX = 4096 }; /* bytes of a layout, with its NUL */

/* NULL: GB_ENOMEM is the detail. Everything is counted to an account below mem. */
gbl_keep *gbl_keep_new(gb_mem *mem);
/* After the states have closed: no array stands on its blocks. NULL is allowed. */
void gbl_keep_free(gbl_keep *keep);

gb_mem *gbl_keep_mem(gbl_keep *keep); /* blocks for gbl_keep_put come from this account */

/* Takes a reference of its own and freezes the block. layout: what the bytes are. What was lost is
 * forgotten. 0, or GB_ENOMEM or GB_EINVAL (a layout that is too long): what was there stays. */
int gbl_keep_put(gbl_keep *keep, const char *name, const char *layout, gb_block *block);

/* *block: a reference for the caller, NULL when nothing was put. layout has the room of
 * GBL_LAYOUT_MAX. *lost: what came after it was lost. False: the name is not known. */
bool gbl_keep_get(gbl_keep *keep, const char *name, gb_block **block, char *layout, bool *lost);

/* Marks a name: newer bytes of it were lost; false: they were told of. 0 or GB_ENOMEM. */
int gbl_keep_lost(gbl_keep *keep, const char *name, bool lost);

bool gbl_keep_drop(gbl_keep *keep, const char *name);

void gbl_keep_count(gbl_keep *keep, int64_t *names, int64_t *bytes);

#endif
