/* Memory with an owner. Every allocation is counted to an account, which may have a cap; a test
 * ends with all its accounts at zero. A free names the size again, so blocks carry no header.
 *
 * From 256 KiB on it is pages of their own (pages.h), unless the account has an allocator.
 *
 * Thread: any; the counts are atomic. An account must outlive what is counted to it.
 */
#ifndef GB_BASE_MEM_H
#define GB_BASE_MEM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Somebody else's allocator: as malloc (block NULL), free (size_new 0) or realloc. What it gives is
 * aligned to 16 bytes; NULL: there is none. Any thread. */
typedef void *gb_alloc_fn(void *user, void *block, size_t size_old, size_t size_new);

typedef struct gb_mem {
    const char *name;      /* borrowed, for reports */
    struct gb_mem *parent; /* also counted there, or NULL */
    gb_alloc_fn *alloc;    /* the parent's; NULL: malloc */
    void *alloc_user;
    struct gb_pages *pages;  /* the parent's; NULL: large blocks that are freed are not kept */
    _Atomic int64_t bytes;   /* now */
    _Atomic int64_t blocks;  /* now */
    int64_t bytes_max;       /* cap; 0: none */
    _Atomic int64_t fail_at; /* test only: the Nth allocation from now fails; 0: none */
} gb_mem;

void gb_mem_init(gb_mem *mem, const char *name, gb_mem *parent, int64_t bytes_max);

/* Where its blocks, and those of accounts opened below it from now on, come from. Before its first
 * block. */
void gb_mem_set_alloc(gb_mem *mem, gb_alloc_fn *alloc, void *user);

/* Checks that the account is at zero. */
void gb_mem_fini(gb_mem *mem);

/* NULL when the system or a cap says no (GB_ENOMEM is set as the detail). Memory is not cleared. */
void *gb_mem_alloc(gb_mem *mem, size_t size);
void *gb_mem_zalloc(gb_mem *mem, size_t size);
void *gb_mem_realloc(gb_mem *mem, void *block, size_t size_old, size_t size_new);
void gb_mem_free(gb_mem *mem, void *block, size_t size);

/* An array with room for *room items of so many bytes gets twice the room, and `least` at first.
 * What is new is not cleared. NULL as above: array and *room stay as they are. */
void *gb_mem_grow(gb_mem *mem, void *array, uint32_t *room, uint32_t least, size_t item);

/* Aligned to a cache line (64). */
void *gb_mem_zalloc_lines(gb_mem *mem, size_t size);
void gb_mem_free_lines(gb_mem *mem, void *block, size_t size);

/* The same without a count or a test's failure, for who charges by himself; cleared on request. */
void *gb_mem_take_lines(gb_mem *mem, size_t size, int zero);
void gb_mem_give_lines(gb_mem *mem, void *block, size_t size);

/* What was taken as lines, and charged, counts as a block of gb_mem_alloc from now on. Its size,
 * which may be more than was taken and is charged then; 0: the two are not the same memory. */
size_t gb_mem_adopt_lines(gb_mem *mem, size_t size);

/* Counts bytes that are held outside (a mapped file, device memory): 0 or GB_ENOMEM over the cap.
 */
int gb_mem_charge(gb_mem *mem, int64_t bytes);
void gb_mem_discharge(gb_mem *mem, int64_t bytes);

char *gb_mem_strdup(gb_mem *mem, const char *text);
void gb_mem_strfree(gb_mem *mem, char *text);

#endif
