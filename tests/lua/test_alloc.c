/* The allocator of Lua states: blocks of all sizes that grow, shrink and go, and what is kept. */
#include "lua/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { BLOCKS = 200, STEPS = 20000, ROOM = 64 << 20 };

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

/* Most are small; up to 1 MiB. */
static size_t any_size(uint64_t *seed)
{
    return 1 + next(seed) % ((size_t)16 << next(seed) % 17);
}

static void check(const unsigned char *block, size_t size, unsigned char mark)
{
    assert_true(block[0] == mark && block[size / 2] == mark && block[size - 1] == mark);
}

static void churn(gb_pages *pages, uint64_t seed)
{
    unsigned char *blocks[BLOCKS] = {NULL};
    size_t sizes[BLOCKS] = {0};
    int64_t bytes = 0;
    gbl_alloc *alloc = gbl_alloc_new(pages, 0);
    assert_non_null(alloc);
    for (int step = 0; step < STEPS; step++) {
        int i = (int)(next(&seed) % BLOCKS);
        unsigned char mark = (unsigned char)(i + 1);
        size_t old = sizes[i], size = next(&seed) % 3 ? any_size(&seed) : 0;
        if (old) check(blocks[i], old, mark);
        blocks[i] = gbl_alloc_run(alloc, blocks[i], old, size);
        assert_int_equal(blocks[i] != NULL, size > 0);
        if (size && old) assert_int_equal(blocks[i][0], mark);
        if (size && old) assert_int_equal(blocks[i][(size < old ? size : old) - 1], mark);
        if (size) memset(blocks[i], mark, size);
        bytes += (int64_t)size - (int64_t)old;
        sizes[i] = size;
        assert_int_equal(gbl_alloc_bytes(alloc), bytes);
    }
    for (int i = 0; i < BLOCKS; i++)
        if (sizes[i]) gbl_alloc_run(alloc, blocks[i], sizes[i], 0);
    gbl_alloc_free(alloc); /* which checks that nothing is left */
}

static void all_sizes(void **state)
{
    const char *set = getenv("GB_SEED");
    uint64_t seed = set ? strtoull(set, NULL, 0) : (uint64_t)time(NULL) * 2 + 1;
    print_message("GB_SEED=%llu\n", (unsigned long long)seed);
    gb_pages *pages = gb_pages_open(ROOM);
    churn(NULL, seed);
    churn(pages, seed);
    gb_pages_close(pages);
}

/* A large table that a collection freed is the next large table, of pages that are there already;
 * tables below that are malloc's. Not under the sanitizers, which see malloc alone. */
static void large_ones_are_kept(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();
#endif
    gb_pages *pages = gb_pages_open(ROOM);
    gbl_alloc *alloc = gbl_alloc_new(pages, 0);
    size_t size = 8 << 20, small = GB_PAGES_LEAST - 1;
    void *block = gbl_alloc_run(alloc, NULL, 0, size);
    assert_non_null(block);
    gbl_alloc_run(alloc, block, size, 0);
    assert_true(gb_pages_kept(pages) >= size);
    assert_ptr_equal(gbl_alloc_run(alloc, NULL, 0, size), block);
    assert_int_equal(gb_pages_kept(pages), 0);
    block = gbl_alloc_run(alloc, block, size, small);
    assert_true(gb_pages_kept(pages) >= size);
    gbl_alloc_run(alloc, block, small, 0);
    gbl_alloc_free(alloc);
    gb_pages_close(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_sizes),
                                       cmocka_unit_test(large_ones_are_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
