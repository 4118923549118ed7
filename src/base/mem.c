#include "base/mem.h"

#include "base/check.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

void gb_mem_init(gb_mem *mem, const char *name, gb_mem *parent, int64_t bytes_max)
{
    memset(mem, 0, sizeof *mem);
    mem->name = name;
    mem->parent = parent;
    mem->bytes_max = bytes_max;
    if (parent) gb_mem_set_alloc(mem, parent->alloc, parent->alloc_user);
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
void *gb_mem_take_lines(gb_mem *mem, size_t size)
{
    void *block = NULL;
    if (!mem->alloc) return posix_memalign(&block, LINE, at_least_one(size)) == 0 ? block : NULL;
    char *raw = foreign(mem, NULL, 0, size + LINE + sizeof raw);
    if (!raw) return NULL;
    char *line = (char *)(((uintptr_t)raw + sizeof raw + LINE - 1) & ~(uintptr_t)(LINE - 1));
    memcpy(line - sizeof raw, &raw, sizeof raw);
    return line;
}

void gb_mem_give_lines(gb_mem *mem, void *block, size_t size)
{
    if (!mem->alloc) {
        free(block);
        return;
    }
    char *raw;
    memcpy(&raw, (char *)block - sizeof raw, sizeof raw);
    foreign(mem, raw, size + LINE + sizeof raw, 0);
}

typedef enum { PLAIN, ZERO, LINES } kind_of_block;

static void *take(gb_mem *mem, size_t size, kind_of_block kind)
{
    if (!mem->alloc && kind == ZERO) return calloc(1, at_least_one(size));
    void *block = kind == LINES ? gb_mem_take_lines(mem, size)
                  : mem->alloc  ? foreign(mem, NULL, 0, at_least_one(size))
                                : malloc(at_least_one(size));
    if (block && kind != PLAIN) memset(block, 0, size);
    return block;
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
    return allocate(mem, size, LINES);
}

void *gb_mem_realloc(gb_mem *mem, void *block, size_t size_old, size_t size_new)
{
    if (!block) return allocate(mem, size_new, PLAIN);
    if (absurd(mem, size_new)) return NULL;
    int64_t more = (int64_t)size_new - (int64_t)size_old;
    if (refused(mem))
        return gb_err_set(GB_ENOMEM, "out of memory: '%s' failed on request", mem->name), NULL;
    if (more > 0 && gb_mem_charge(mem, more) < 0) return NULL;
    void *moved = mem->alloc ? foreign(mem, block, at_least_one(size_old), at_least_one(size_new))
                             : realloc(block, at_least_one(size_new));
    if (!moved) {
        if (more > 0) gb_mem_discharge(mem, more);
        return gb_err_set(GB_ENOMEM, "out of memory: %zu bytes for '%s'", size_new, mem->name),
               NULL;
    }
    if (more < 0) gb_mem_discharge(mem, -more);
    return moved;
}

void gb_mem_free(gb_mem *mem, void *block, size_t size)
{
    if (!block) return;
    gb_mem_discharge(mem, (int64_t)size);
    atomic_fetch_sub_explicit(&mem->blocks, 1, memory_order_relaxed);
    if (mem->alloc)
        foreign(mem, block, at_least_one(size), 0);
    else
        free(block);
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
