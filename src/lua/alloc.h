/* The allocator behind one Lua state. LuaJIT tells the size of what it frees, so objects carry no
 * header: a size class takes its objects from pages of its own, each with its own list of free
 * ones, and a page whose objects are all gone serves any class again. What stays empty goes back to
 * the system a megabyte at a time, so that no single free gives back a hundred (LuaJIT's own
 * allocator trims its top at once: 5 to 28 ms with a million grains, measured). The layout follows
 * mimalloc (Leijen, Zorn, de Moura 2019). One thread, that of the state.
 */
#ifndef GB_LUA_ALLOC_H
#define GB_LUA_ALLOC_H

#include "base/pages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gbl_alloc gbl_alloc;

/* pages: where blocks of 64 KiB and more come from; NULL: malloc. bytes_max: LuaJIT gets no more
 * than that while the cap is on; 0: no cap. NULL: out of memory. */
gbl_alloc *gbl_alloc_new(gb_pages *pages, int64_t bytes_max);

/* The cap is on while code of users runs, which can be told of it, and off in what we do between,
 * which could not go on. Returns what it was. */
bool gbl_alloc_cap(gbl_alloc *alloc, bool on);

/* Was anything refused since this was asked last? */
bool gbl_alloc_refused(gbl_alloc *alloc);

/* After lua_close. */
void gbl_alloc_free(gbl_alloc *alloc);

/* The shape of lua_Alloc, but for the first argument. */
void *gbl_alloc_run(gbl_alloc *alloc, void *block, size_t size_old, size_t size_new);

int64_t gbl_alloc_bytes(const gbl_alloc *alloc); /* what Lua holds now */

#endif
