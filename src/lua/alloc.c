#include "lua/alloc.h"

#include "base/check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    PAGE_BYTES = 1 << 16,
    SEGMENT_BYTES = 1 << 20,
    PAGES = SEGMENT_BYTES / PAGE_BYTES,
    STEP = 16, /* classes up to SMALL are this far apart */
    SMALL = 512,
    LARGE = 8192, /* the largest that comes from a page; classes above SMALL: 4 to a doubling */
    SMALL_CLASSES = SMALL / STEP,
    CLASSES = SMALL_CLASSES + 16,
    EMPTY_KEPT = 8,       /* segments without objects that are kept: what one collection frees, the
                             next round of work takes again */
    HUGE_FROM = 16 << 20, /* from so many bytes on two segments come at once, as a huge page */
    HUGE_SEGMENTS = 2
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GBL_PLAIN_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GBL_PLAIN_MALLOC 1
#endif
#endif

typedef struct page {
    struct page *next,
        *prev;  /* in the list of its class, while it has room; in the free list while empty */
    void *free; /* objects that were used and freed */
    char *bump, *last; /* the next object that was never used; the last one there can be */
    uint32_t live, size;
    uint16_t class;
    bool listed;
    struct segment *segment;
} page;

/* The first page of a segment begins behind this. */
typedef struct segment {
    struct segment *next, *prev;
    uint32_t used; /* pages that hold objects */
    page pages[PAGES];
} segment;

struct gbl_alloc {
    page *room[CLASSES]; /* pages with room, by class */
    page *empty;         /* pages without objects */
    segment *segments;
    uint32_t empty_segments;
    bool refused;
    gb_pages *pages; /* NULL: what is large is malloc's, however large */
    int64_t cap;     /* bytes_max while it is on, else 0 */
    int64_t bytes, bytes_max;
};

#ifndef GBL_PLAIN_MALLOC /* the sanitizers see plain malloc, and nothing of this */

/* ---- classes ---- */

static unsigned class_of(size_t size)
{
    if (size <= SMALL) return (unsigned)((size + STEP - 1) / STEP) - 1;
    unsigned top = 63u - (unsigned)__builtin_clzll(size - 1); /* 9 .. 12 */
    unsigned quarter = (unsigned)((size - 1) >> (top - 2)) & 3;
    return SMALL_CLASSES + (top - 9) * 4 + quarter;
}

static uint32_t class_bytes(unsigned class)
{
    if (class < SMALL_CLASSES) return (class + 1) * STEP;
    unsigned top = 9 + (class - SMALL_CLASSES) / 4, quarter = (class - SMALL_CLASSES) % 4;
    return (1u << top) + ((quarter + 1) << (top - 2));
}

/* ---- pages: their headers stand together at the start of the segment ---- */

static segment *segment_of(void *object)
{
    return (segment *)((uintptr_t)object & ~(uintptr_t)(SEGMENT_BYTES - 1));
}

static page *page_of(void *object)
{
    return &segment_of(object)->pages[((uintptr_t)object & (SEGMENT_BYTES - 1)) / PAGE_BYTES];
}

static char *page_start(page *p)
{
    size_t index = (size_t)(p - p->segment->pages);
    return (char *)p->segment + index * PAGE_BYTES +
           (index == 0 ? (sizeof(segment) + 63) / 64 * 64 : 0);
}

static uint32_t page_room(page *p)
{
    return PAGE_BYTES - (p == p->segment->pages ? (uint32_t)((sizeof(segment) + 63) / 64 * 64) : 0);
}

static void link_page(page **list, page *p)
{
    p->prev = NULL;
    p->next = *list;
    if (*list) (*list)->prev = p;
    *list = p;
    p->listed = true;
}

static void unlink_page(page **list, page *p)
{
    if (p->prev)
        p->prev->next = p->next;
    else
        *list = p->next;
    if (p->next) p->next->prev = p->prev;
    p->listed = false;
}

/* Bytes that begin at a multiple of their number, a power of two. */
static char *map_aligned(size_t bytes)
{
    char *raw = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    char *start = (char *)(((uintptr_t)raw + bytes - 1) & ~(uintptr_t)(bytes - 1));
    if (start > raw) munmap(raw, (size_t)(start - raw));
    munmap(start + bytes, (size_t)(raw + bytes - start));
    return start;
}

static void segment_link(gbl_alloc *alloc, segment *s)
{
    s->next = alloc->segments;
    if (s->next) s->next->prev = s;
    alloc->segments = s;
    alloc->empty_segments++;
    for (int i = PAGES; i-- > 0;) {
        s->pages[i].segment = s;
        link_page(&alloc->empty, &s->pages[i]);
    }
}

/* A heap that grows large is walked by the collector again and again: with huge pages it costs a
 * twentieth of the page faults, and fewer walks through page tables. A small one keeps to small
 * steps. Each segment goes back alone. */
static bool segment_add(gbl_alloc *alloc)
{
    bool huge = alloc->bytes >= HUGE_FROM;
    int count = huge ? HUGE_SEGMENTS : 1;
    char *start = map_aligned((size_t)count * SEGMENT_BYTES);
    if (!start) return false;
    if (huge) madvise(start, (size_t)count * SEGMENT_BYTES, MADV_HUGEPAGE);
    while (count-- > 0) segment_link(alloc, (segment *)(start + (size_t)count * SEGMENT_BYTES));
    return true;
}

static void segment_remove(gbl_alloc *alloc, segment *s)
{
    for (int i = 0; i < PAGES; i++) unlink_page(&alloc->empty, &s->pages[i]);
    if (s->prev)
        s->prev->next = s->next;
    else
        alloc->segments = s->next;
    if (s->next) s->next->prev = s->prev;
    alloc->empty_segments--;
    munmap(s, SEGMENT_BYTES);
}

static page *page_for(gbl_alloc *alloc, unsigned class)
{
    if (!alloc->empty && !segment_add(alloc)) return NULL;
    page *p = alloc->empty;
    unlink_page(&alloc->empty, p);
    if (p->segment->used++ == 0) alloc->empty_segments--;
    p->free = NULL;
    p->live = 0;
    p->class = (uint16_t) class;
    p->size = class_bytes(class);
    p->bump = page_start(p);
    p->last = p->bump + page_room(p) - p->size;
    link_page(&alloc->room[class], p);
    return p;
}

static void page_empty(gbl_alloc *alloc, page *p)
{
    if (p->listed) unlink_page(&alloc->room[p->class], p);
    link_page(&alloc->empty, p);
    segment *s = p->segment;
    if (--s->used > 0) return;
    if (++alloc->empty_segments > EMPTY_KEPT) segment_remove(alloc, s);
}

/* ---- objects ---- */

static inline void *object_new(gbl_alloc *alloc, size_t size)
{
    unsigned class = class_of(size);
    page *p = alloc->room[class];
    if (__builtin_expect(!p, 0) && !(p = page_for(alloc, class))) return NULL;
    void *object = p->free;
    if (object) {
        p->free = *(void **)object;
    } else {
        object = p->bump;
        p->bump += p->size;
    }
    p->live++;
    if (!p->free && p->bump > p->last) unlink_page(&alloc->room[class], p);
    return object;
}

static void object_free(gbl_alloc *alloc, void *object)
{
    page *p = page_of(object);
    *(void **)object = p->free;
    p->free = object;
    if (!p->listed) link_page(&alloc->room[p->class], p);
    if (--p->live == 0) page_empty(alloc, p);
}

/* ---- large ones: tables of many thousands, which come and go with each collection ---- */

static bool is_paged(const gbl_alloc *alloc, size_t size)
{
    return alloc->pages && size >= GB_PAGES_LEAST;
}

static void *large_new(gbl_alloc *alloc, size_t size)
{
    return is_paged(alloc, size) ? gb_pages_take(alloc->pages, size, false) : malloc(size);
}

static void large_free(gbl_alloc *alloc, void *block, size_t size)
{
    if (is_paged(alloc, size))
        gb_pages_give(alloc->pages, block, size);
    else
        free(block);
}

static void *resize(gbl_alloc *alloc, void *block, size_t size_old, size_t size_new)
{
    bool old_paged = is_paged(alloc, size_old), new_paged = is_paged(alloc, size_new);
    if (old_paged && new_paged) return gb_pages_resize(alloc->pages, block, size_old, size_new);
    if (size_old > LARGE && size_new > LARGE && !old_paged && !new_paged)
        return realloc(block, size_new);
    if (size_old <= LARGE && size_new <= LARGE && class_of(size_old) == class_of(size_new))
        return block;
    int64_t cap = alloc->cap; /* for a moment there are both: what shrinks must not be refused */
    if (size_new < size_old) alloc->cap = 0;
    void *moved = gbl_alloc_run(alloc, NULL, 0, size_new);
    alloc->cap = cap;
    if (!moved) return NULL;
    memcpy(moved, block, size_old < size_new ? size_old : size_new);
    gbl_alloc_run(alloc, block, size_old, 0);
    alloc->bytes -= (int64_t)size_new - (int64_t)size_old; /* the caller counts */
    return moved;
}

#endif

static bool refused(gbl_alloc *alloc, int64_t more)
{
    if (more <= 0 || !alloc->cap || alloc->bytes + more <= alloc->cap) return false;
    return alloc->refused = true;
}

#ifdef GBL_PLAIN_MALLOC
static void *change(gbl_alloc *alloc, void *block, size_t size_old, size_t size_new)
{
    (void)alloc, (void)size_old;
    if (size_new) return realloc(block, size_new);
    free(block);
    return NULL;
}
#else
/* What is not small, or does not just come or go. */
static void *change(gbl_alloc *alloc, void *block, size_t size_old, size_t size_new)
{
    if (block && size_new) return resize(alloc, block, size_old, size_new);
    if (size_new) return large_new(alloc, size_new);
    large_free(alloc, block, size_old);
    return NULL;
}
#endif

void *gbl_alloc_run(gbl_alloc *alloc, void *block, size_t size_old, size_t size_new)
{
    if (!block) size_old = 0; /* LuaJIT passes a type there */
    int64_t more = (int64_t)size_new - (int64_t)size_old;
    void *result = NULL;
    if (__builtin_expect(alloc->cap != 0, 0) && refused(alloc, more)) return NULL;
#ifndef GBL_PLAIN_MALLOC /* most often a small object comes or goes */
    if (!block && size_new - 1 < LARGE)
        result = object_new(alloc, size_new);
    else if (block && !size_new && size_old <= LARGE)
        object_free(alloc, block);
    else
#endif
        result = change(alloc, block, size_old, size_new);
    if (size_new && !result) return NULL;
    alloc->bytes += more;
    return result;
}

gbl_alloc *gbl_alloc_new(gb_pages *pages, int64_t bytes_max)
{
    gbl_alloc *alloc = calloc(1, sizeof *alloc);
    if (!alloc) return NULL;
    alloc->pages = pages;
    alloc->bytes_max = bytes_max;
    return alloc;
}

bool gbl_alloc_cap(gbl_alloc *alloc, bool on)
{
    bool was = alloc->cap != 0;
    alloc->cap = on ? alloc->bytes_max : 0;
    return was;
}

bool gbl_alloc_refused(gbl_alloc *alloc)
{
    bool was = alloc->refused;
    alloc->refused = false;
    return was;
}

void gbl_alloc_free(gbl_alloc *alloc)
{
    if (!alloc) return;
    GB_CHECK(alloc->bytes == 0);
#ifndef GBL_PLAIN_MALLOC
    while (alloc->segments) segment_remove(alloc, alloc->segments);
#endif
    free(alloc);
}

int64_t gbl_alloc_bytes(const gbl_alloc *alloc)
{
    return alloc->bytes;
}
