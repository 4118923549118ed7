/* Pages: large memory straight from the system, and a store of what was given back of it, so that
 * who takes and gives large blocks in turn (messages, results) does not pay for fresh pages again
 * and again: the kernel fills each with zeros when it is touched.
 *
 * What is kept is bounded, and goes back to the system when nobody wanted it for a while (trim), or
 * when somebody finds no memory (drop).
 *
 * Thread: any; one short lock. Memory: sizes are named again when pages are given. They are counted
 * by who takes them; what is kept is counted to nobody.
 */
#ifndef GB_BASE_PAGES_H
#define GB_BASE_PAGES_H

#include <stdbool.h>
#include <stddef.h>

enum {
    GB_PAGES_LEAST = 64 << 10,   /* less is not worth a mapping */
    GB_PAGES_KEPT_MAX = 16 << 20 /* larger ones are not kept */
};

typedef struct gb_pages gb_pages;

gb_pages *gb_pages_open(size_t kept_bytes_max); /* NULL: out of memory */
void gb_pages_close(gb_pages *pages);           /* NULL is allowed */

/* pages NULL: nothing is kept. bytes: GB_PAGES_LEAST at least. NULL: the system has no more. */
void *gb_pages_take(gb_pages *pages, size_t bytes, bool zero);
void gb_pages_give(gb_pages *pages, void *at, size_t bytes);

/* The bytes there are behind a block of that size: it may be given as one of so many. */
size_t gb_pages_room(size_t bytes);

/* Another size, with the bytes that fit; NULL: the system has no more, and nothing has changed. */
void *gb_pages_resize(gb_pages *pages, void *at, size_t bytes_old, size_t bytes_new);

/* Gives back what lay unused since the last trim. Call it about twice a second. */
void gb_pages_trim(gb_pages *pages);
void gb_pages_drop(gb_pages *pages); /* all of it */

size_t gb_pages_kept(gb_pages *pages); /* bytes */

#endif
