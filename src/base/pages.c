#include "base/pages.h"

#include "base/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* 8 sizes to a doubling, from 64 KiB to 16 MiB. */
enum { STEPS = 8, CLASSES = 8 * STEPS + 1 };

_Static_assert(GB_PAGES_LEAST << 8 == GB_PAGES_KEPT_MAX, "the classes span eight doublings");

/* Large blocks are asked to have huge pages: a pass over one is bound by memory, and without them
 * by the walk through page tables too. A system that has none goes on with small ones. */
#define HUGE_FROM ((size_t)4 << 20)

/* Stands in pages that are kept. */
typedef struct kept {
    struct kept *next;
} kept;

typedef struct shelf {
    kept *first;
    size_t count, least; /* least: since the last trim */
} shelf;

struct gb_pages {
    pthread_mutex_t lock;
    size_t bytes, bytes_max;
    shelf shelves[CLASSES];
};

/* The size that is mapped for so many bytes, and its class (CLASSES: not kept). */
static size_t mapped_size(size_t bytes, int *class)
{
    GB_CHECK(bytes >= GB_PAGES_LEAST);
    *class = CLASSES;
    if (bytes > GB_PAGES_KEPT_MAX) return bytes;
    size_t base = GB_PAGES_LEAST;
    int doubling = 0;
    for (; bytes > 2 * base; base *= 2) doubling++;
    size_t step = base / STEPS, steps = (bytes - base + step - 1) / step;
    *class = doubling * STEPS + (int)steps;
    return base + steps * step;
}

static void *map(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return NULL;
    if (size >= HUGE_FROM) madvise(at, size, MADV_HUGEPAGE);
    return at;
}

static void unmap(void *at, size_t size)
{
    int failed = munmap(at, size);
    GB_CHECK(failed == 0);
}

/* ---- the store ---- */

gb_pages *gb_pages_open(size_t kept_bytes_max)
{
    gb_pages *pages = calloc(1, sizeof *pages);
    if (!pages) return NULL;
    pages->bytes_max = kept_bytes_max;
    pthread_mutex_init(&pages->lock, NULL);
    return pages;
}

void gb_pages_close(gb_pages *pages)
{
    if (!pages) return;
    gb_pages_drop(pages);
    pthread_mutex_destroy(&pages->lock);
    free(pages);
}

static size_t class_size(int class)
{
    size_t base = (size_t)GB_PAGES_LEAST << (class / STEPS);
    return base + base / STEPS * (size_t)(class % STEPS);
}

/* The lock is held. */
static void *unshelve(gb_pages *pages, int class)
{
    shelf *s = &pages->shelves[class];
    kept *k = s->first;
    if (!k) return NULL;
    s->first = k->next;
    if (--s->count < s->least) s->least = s->count;
    pages->bytes -= class_size(class);
    return k;
}

/* Of each class all, or those that nobody wanted. */
static void give_back(gb_pages *pages, bool all)
{
    for (int class = 0; class < CLASSES; class ++) {
        size_t size = class_size(class);
        pthread_mutex_lock(&pages->lock);
        shelf *s = &pages->shelves[class];
        kept *out = NULL;
        for (size_t count = all ? s->count : s->least; count > 0; count--) {
            kept *k = unshelve(pages, class);
            k->next = out;
            out = k;
        }
        s->least = s->count;
        pthread_mutex_unlock(&pages->lock);
        while (out) {
            kept *k = out;
            out = k->next;
            unmap(k, size);
        }
    }
}

void gb_pages_trim(gb_pages *pages)
{
    if (pages) give_back(pages, false);
}

void gb_pages_drop(gb_pages *pages)
{
    if (pages) give_back(pages, true);
}

size_t gb_pages_room(size_t bytes)
{
    int class;
    return mapped_size(bytes, &class);
}

size_t gb_pages_kept(gb_pages *pages)
{
    pthread_mutex_lock(&pages->lock);
    size_t bytes = pages->bytes;
    pthread_mutex_unlock(&pages->lock);
    return bytes;
}

/* ---- taking and giving ---- */

/* NULL: none is kept of that class. */
static void *take_kept(gb_pages *pages, int class)
{
    if (!pages || class == CLASSES) return NULL;
    pthread_mutex_lock(&pages->lock);
    void *at = unshelve(pages, class);
    pthread_mutex_unlock(&pages->lock);
    return at;
}

void *gb_pages_take(gb_pages *pages, size_t bytes, bool zero)
{
    int class;
    size_t size = mapped_size(bytes, &class);
    void *at = take_kept(pages, class);
    if (at && zero) memset(at, 0, bytes);
    if (!at) at = map(size);
    if (at || !pages) return at;
    gb_pages_drop(pages);
    return map(size);
}

void gb_pages_give(gb_pages *pages, void *at, size_t bytes)
{
    int class;
    size_t size = mapped_size(bytes, &class);
    if (pages && class < CLASSES) {
        shelf *s = &pages->shelves[class];
        pthread_mutex_lock(&pages->lock);
        bool room = pages->bytes + size <= pages->bytes_max;
        if (room) {
            kept *k = at;
            k->next = s->first;
            s->first = k;
            s->count++;
            pages->bytes += size;
        }
        pthread_mutex_unlock(&pages->lock);
        if (room) return;
    }
    unmap(at, size);
}

void *gb_pages_resize(gb_pages *pages, void *at, size_t bytes_old, size_t bytes_new)
{
    int class_old, class_new;
    size_t size_old = mapped_size(bytes_old, &class_old);
    size_t size_new = mapped_size(bytes_new, &class_new);
    if (size_old == size_new) return at;
    /* Copied into kept pages rather than moved: a moved block leaves the class that it was taken
     * from, and the next one of that class would be of fresh pages, which cost more than a copy. */
    void *moved = take_kept(pages, class_new);
    if (moved) {
        memcpy(moved, at, bytes_old < bytes_new ? bytes_old : bytes_new);
        gb_pages_give(pages, at, bytes_old);
        return moved;
    }
    moved = mremap(at, size_old, size_new, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED && pages) {
        gb_pages_drop(pages);
        moved = mremap(at, size_old, size_new, MREMAP_MAYMOVE);
    }
    return moved == MAP_FAILED ? NULL : moved;
}
