#include "base/mem.h"

#include "base/check.h"
#include "base/err.h"
#include "base/pages.h"

#include <stdlib.h>
#include <string.h>

void gb_mem_init(gb_mem *mem, const char *name, gb_mem *parent, int64_t bytes_max)
{
    memset(mem, 0, sizeof *mem);
    mem->name = name;
    mem->parent = parent;
    mem->bytes_max = bytes_max;
    if (!parent) return;
    gb_mem_set_alloc(mem, parent->alloc, parent->alloc_user);
    mem->pages = parent->pages;
}

void gb_mem_set_alloc(gb_mem *mem, gb_alloc_fn *alloc, void *user)
{
    mem->alloc = alloc;
    mem->alloc_user = user;
}

void gb_mem_fini(gb_mem *mem)
{
    int64_t bytes = atomic_load(&mem->bytes), blocks = atomic_load(&mem->blocks);
    if (bytes != 0 || blocks != 0)
        gb_panic(__FILE__, __LINE__, "account '%s' ends with %lld bytes in %lld blocks", mem->name,
                 (long long)bytes, (long long)blocks);
}

int gb_mem_charge(gb_mem *mem, int64_t bytes)
{
    for (gb_mem *at = mem; at; at = at->parent) {
        int64_t now = atomic_fetch_add_explicit(&at->bytes, bytes, memory_order_relaxed) + bytes;
        if (at->bytes_max && now > at->bytes_max) {
            for (gb_mem *back = mem;; back = back->parent) {
                atomic_fetch_sub_explicit(&back->bytes, bytes, memory_order_relaxed);
                if (back == at) break;
            }
            return gb_err_set(
                GB_ENOMEM, "out of memory: %lld bytes more would pass the cap of '%s' (%lld bytes)",
                (long long)bytes, at->name, (long long)at->bytes_max);
        }
    }
    return 0;
}

void gb_mem_discharge(gb_mem *mem, int64_t bytes)
{
    for (gb_mem *at = mem; at; at = at->parent)
        atomic_fetch_sub_explicit(&at->bytes, bytes, memory_order_relaxed);
}

static int refused(gb_mem *mem)
{
    if (atomic_load_explicit(&mem->fail_at, memory_order_relaxed) <= 0) return 0;
    return atomic_fetch_sub(&mem->fail_at, 1) == 1;
}

/* Sizes that no account can count: they would be negative. */
static int absurd(const gb_mem *mem, size_t size)
{
    if (size <= PTRDIFF_MAX / 2) return 0;
    gb_err_set(GB_ENOMEM, "out of memory: %zu bytes for '%s'", size, mem->name);
    return 1;
}

/* ---- where blocks come from ---- */

enum { LINE = 64, FOREIGN_ALIGN = 16 };

/* From here on memory comes as pages. Not under the address sanitizer, so that every block has red
 * zones. */
#ifdef __SANITIZE_ADDRESS__
#define PAGED_FROM SIZE_MAX
#else
#define PAGED_FROM ((size_t)256 << 10)
#endif

static int is_paged(const gb_mem *mem, size_t size)
{
    return size >= PAGED_FROM && !mem->alloc;
}

static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

static void *foreign(gb_mem *mem, void *block, size_t size_old, size_t size_new)
{
    void *got = mem->alloc(mem->alloc_user, block, size_old, size_new);
    if (size_new == 0) return NULL;
    if ((uintptr_t)got % FOREIGN_ALIGN)
        gb_panic(__FILE__, __LINE__, "config.alloc gave a block that is not aligned to %d bytes",
                 FOREIGN_ALIGN);
    return got;
}

/* Of a foreign block the pointer to its start stands before the line. */
static void *foreign_lines(gb_mem *mem, size_t size)
{
    char *raw = foreign(mem, NULL, 0, size + LINE + sizeof raw);
    if (!raw) return NULL;
    char *line = (char *)(((uintptr_t)raw + sizeof raw + LINE - 1) & ~(uintptr_t)(LINE - 1));
    memcpy(line - sizeof raw, &raw, sizeof raw);
    return line;
}

typedef enum { PLAIN = 0, ZERO = 1, LINES = 2 } kind_of_block; /* bits */

static void *take_once(gb_mem *mem, size_t size, kind_of_block kind)
{
    void *block = NULL;
    if (is_paged(mem, size)) return gb_pages_take(mem->pages, size, kind & ZERO);
    if (!mem->alloc && kind == ZERO) return calloc(1, at_least_one(size));
    if (mem->alloc)
        block = kind & LINES ? foreign_lines(mem, size) : foreign(mem, NULL, 0, at_least_one(size));
    else if (!(kind & LINES))
        block = malloc(at_least_one(size));
    else if (posix_memalign(&block, LINE, at_least_one(size)) != 0)
        block = NULL;
    if (block && kind & ZERO) memset(block, 0, size);
    return block;
}

static void *take(gb_mem *mem, size_t size, kind_of_block kind)
{
    void *block = take_once(mem, size, kind);
    if (block || !mem->pages) return block;
    gb_pages_drop(mem->pages); /* who needs memory comes before who might */
    return take_once(mem, size, kind);
}

void *gb_mem_take_lines(gb_mem *mem, size_t size, int zero)
{
    return take(mem, size, zero ? LINES | ZERO : LINES);
}

void gb_mem_give_lines(gb_mem *mem, void *block, size_t size)
{
    if (is_paged(mem, size)) {
        gb_pages_give(mem->pages, block, size);
    } else if (!mem->alloc) {
        free(block);
    } else {
        char *raw;
        memcpy(&raw, (char *)block - sizeof raw, sizeof raw);
        foreign(mem, raw, size + LINE + sizeof raw, 0);
    }
}

size_t gb_mem_adopt_lines(gb_mem *mem, size_t size)
{
    if (mem->alloc || size == 0) return 0;
    size_t room = is_paged(mem, size) ? gb_pages_room(size) : size;
    if (room > size && gb_mem_charge(mem, (int64_t)(room - size)) < 0) room = size;
    atomic_fetch_add_explicit(&mem->blocks, 1, memory_order_relaxed);
    return room;
}

static void *allocate(gb_mem *mem, size_t size, kind_of_block kind)
{
    if (absurd(mem, size)) return NULL;
    if (refused(mem))
        return gb_err_set(GB_ENOMEM, "out of memory: '%s' failed on request", mem->name), NULL;
    if (gb_mem_charge(mem, (int64_t)size) < 0) return NULL;
    void *block = take(mem, size, kind);
    if (!block) {
        gb_mem_discharge(mem, (int64_t)size);
        return gb_err_set(GB_ENOMEM, "out of memory: %zu bytes for '%s'", size, mem->name), NULL;
    }
    atomic_fetch_add_explicit(&mem->blocks, 1, memory_order_relaxed);
    return block;
}

void *gb_mem_alloc(gb_mem *mem, size_t size)
{
    return allocate(mem, size, PLAIN);
}

void *gb_mem_zalloc(gb_mem *mem, size_t size)
{
    return allocate(mem, size, ZERO);
}

void *gb_mem_zalloc_lines(gb_mem *mem, size_t size)
{
    return allocate(mem, size, LINES | ZERO);
}

static void give(gb_mem *mem, void *block, size_t size)
{
    if (is_paged(mem, size))
        gb_pages_give(mem->pages, block, size);
    else if (mem->alloc)
        foreign(mem, block, at_least_one(size), 0);
    else
        free(block);
}

static void *resize(gb_mem *mem, void *block, size_t size_old, size_t size_new)
{
    if (mem->alloc) return foreign(mem, block, at_least_one(size_old), at_least_one(size_new));
    bool was_paged = is_paged(mem, size_old), paged = is_paged(mem, size_new);
    if (!was_paged && !paged) return realloc(block, at_least_one(size_new));
    if (was_paged && paged) return gb_pages_resize(mem->pages, block, size_old, size_new);
    void *moved = take(mem, size_new, PLAIN);
    if (!moved) return NULL;
    memcpy(moved, block, size_old < size_new ? size_old : size_new);
    give(mem, block, size_old);
    return moved;
}

void *gb_mem_realloc(gb_mem *mem, void *block, size_t size_old, size_t size_new)
{
    if (!block) return allocate(mem, size_new, PLAIN);
    if (absurd(mem, size_new)) return NULL;
    int64_t more = (int64_t)size_new - (int64_t)size_old;
    if (refused(mem))
        return gb_err_set(GB_ENOMEM, "out of memory: '%s' failed on request", mem->name), NULL;
    if (more > 0 && gb_mem_charge(mem, more) < 0) return NULL;
    void *moved = resize(mem, block, size_old, size_new);
    if (!moved) {
        if (more > 0) gb_mem_discharge(mem, more);
        return gb_err_set(GB_ENOMEM, "out of memory: %zu bytes for '%s'", size_new, mem->name),
               NULL;
    }
    if (more < 0) gb_mem_discharge(mem, -more);
    return moved;
}

void *gb_mem_grow(gb_mem *mem, void *array, uint32_t *room, uint32_t least, size_t item)
{
    uint32_t more = *room ? 2 * *room : least;
    void *grown = gb_mem_realloc(mem, array, *room * item, more * item);
    if (grown) *room = more;
    return grown;
}

void gb_mem_free(gb_mem *mem, void *block, size_t size)
{
    if (!block) return;
    gb_mem_discharge(mem, (int64_t)size);
    atomic_fetch_sub_explicit(&mem->blocks, 1, memory_order_relaxed);
    give(mem, block, size);
}

void gb_mem_free_lines(gb_mem *mem, void *block, size_t size)
{
    if (!block) return;
    gb_mem_discharge(mem, (int64_t)size);
    atomic_fetch_sub_explicit(&mem->blocks, 1, memory_order_relaxed);
    gb_mem_give_lines(mem, block, size);
}

char *gb_mem_strdup(gb_mem *mem, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = gb_mem_alloc(mem, size);
    if (copy) memcpy(copy, text, size);
    return copy;
}

void gb_mem_strfree(gb_mem *mem, char *text)
{
    if (text) gb_mem_free(mem, text, strlen(text) + 1);
}
