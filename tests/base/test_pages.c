/* src/base/pages: what is given is taken again, zeroed when asked; the bound of what is kept, what
 * lay unused goes back, and threads. */
#include "base/pages.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

enum { MIB = 1 << 20 };

static void test_kept(void **unused)
{
    gb_pages *pages = gb_pages_open(8 * MIB);
    char *at = gb_pages_take(pages, MIB, false);
    memset(at, 7, MIB);
    gb_pages_give(pages, at, MIB);
    assert_int_equal(gb_pages_kept(pages), MIB);
    assert_ptr_equal(gb_pages_take(pages, MIB - 1000, false), at); /* the same class */
    assert_int_equal(gb_pages_kept(pages), 0);
    assert_int_equal(at[MIB / 2], 7);
    gb_pages_give(pages, at, MIB - 1000);
    assert_ptr_equal(gb_pages_take(pages, MIB, true), at);
    for (int i = 0; i < MIB; i++)
        if (at[i]) fail_msg("byte %d is not zero", i);
    char *other = gb_pages_take(pages, 2 * MIB, false); /* another class */
    assert_ptr_not_equal(other, at);
    gb_pages_give(pages, at, MIB);
    gb_pages_give(pages, other, 2 * MIB);
    assert_int_equal(gb_pages_kept(pages), 3 * MIB);
    gb_pages_drop(pages);
    assert_int_equal(gb_pages_kept(pages), 0);
    gb_pages_close(pages);
    gb_pages_close(NULL);
}

static void test_sizes(void **unused)
{
    gb_pages *pages = gb_pages_open((size_t)1 << 30);
    size_t last = 0;
    for (size_t size = GB_PAGES_LEAST; size <= GB_PAGES_KEPT_MAX; size += 70001) {
        char *at = gb_pages_take(pages, size, false);
        at[size - 1] = 1;
        gb_pages_give(pages, at, size);
        size_t kept = gb_pages_kept(pages);
        assert_true(kept >= size && kept <= size + size / 8 + 4096 && kept >= last);
        last = kept;
        gb_pages_drop(pages);
    }
    char *at = gb_pages_take(pages, GB_PAGES_KEPT_MAX, false);
    gb_pages_give(pages, at, GB_PAGES_KEPT_MAX);
    assert_int_equal(gb_pages_kept(pages), GB_PAGES_KEPT_MAX);
    at = gb_pages_take(pages, GB_PAGES_KEPT_MAX + 1, true); /* too large to be kept */
    gb_pages_give(pages, at, GB_PAGES_KEPT_MAX + 1);
    assert_int_equal(gb_pages_kept(pages), GB_PAGES_KEPT_MAX);
    assert_null(gb_pages_take(pages, (size_t)1 << 60, false));
    assert_int_equal(gb_pages_kept(pages), 0); /* who finds no memory takes what is kept */
    gb_pages_close(pages);
}

static void test_bound_and_trim(void **unused)
{
    enum { MANY = 8, ROOM = 3 };
    gb_pages *pages = gb_pages_open(ROOM * MIB);
    void *at[MANY];
    for (int i = 0; i < MANY; i++) at[i] = gb_pages_take(pages, MIB, false);
    for (int i = 0; i < MANY; i++) gb_pages_give(pages, at[i], MIB);
    assert_int_equal(gb_pages_kept(pages), ROOM * MIB);
    gb_pages_trim(pages); /* there were none at its beginning */
    assert_int_equal(gb_pages_kept(pages), ROOM * MIB);
    for (int i = 0; i < 2; i++) at[i] = gb_pages_take(pages, MIB, false);
    for (int i = 0; i < 2; i++) gb_pages_give(pages, at[i], MIB);
    gb_pages_trim(pages); /* one of three was wanted by nobody */
    assert_int_equal(gb_pages_kept(pages), 2 * MIB);
    gb_pages_trim(pages);
    assert_int_equal(gb_pages_kept(pages), 0);
    gb_pages_close(pages);
}

static void test_resize(void **unused)
{
    gb_pages *pages = gb_pages_open(8 * MIB);
    char *at = gb_pages_take(pages, MIB, false);
    memset(at, 3, MIB);
    at = gb_pages_resize(pages, at, MIB, 40 * MIB);
    at[40 * MIB - 1] = 4;
    assert_true(at[0] == 3 && at[MIB - 1] == 3);
    assert_null(gb_pages_resize(pages, at, 40 * MIB, (size_t)1 << 60));
    at = gb_pages_resize(pages, at, 40 * MIB, GB_PAGES_LEAST);
    assert_true(at[0] == 3 && at[GB_PAGES_LEAST - 1] == 3);
    gb_pages_give(pages, at, GB_PAGES_LEAST);
    gb_pages_close(pages);
}

/* Who takes one size and gives another one back, as a buffer does that grows, finds what he gave.
 */
static void test_grown(void **unused)
{
    gb_pages *pages = gb_pages_open(8 * MIB);
    char *first = gb_pages_take(pages, MIB, false);
    char *second = gb_pages_take(pages, 2 * MIB, false);
    gb_pages_give(pages, second, 2 * MIB);
    for (int round = 0; round < 3; round++) {
        memset(first, 5 + round, MIB);
        assert_ptr_equal(gb_pages_resize(pages, first, MIB, 2 * MIB - 7), second);
        assert_true(second[0] == 5 + round && second[MIB - 1] == 5 + round);
        gb_pages_give(pages, second, 2 * MIB - 7);
        assert_ptr_equal(gb_pages_take(pages, MIB, false), first);
        assert_int_equal(gb_pages_kept(pages), 2 * MIB);
    }
    gb_pages_give(pages, first, MIB);
    assert_int_equal(gb_pages_room(MIB), MIB);
    assert_int_equal(gb_pages_room(MIB + 1), MIB + MIB / 8);
    gb_pages_close(pages);
}

/* Accounts that share a store: growing over the border and back, counted exactly. */
static void test_accounts(void **unused)
{
    gb_mem root, child;
    gb_mem_init(&root, "root", NULL, 0);
    root.pages = gb_pages_open(64 * MIB);
    gb_mem_init(&child, "child", &root, 0);
    char *at = gb_mem_alloc(&child, 1000);
    memset(at, 5, 1000);
    at = gb_mem_realloc(&child, at, 1000, 3 * MIB);
    assert_true(at[0] == 5 && at[999] == 5);
    assert_int_equal(root.bytes, 3 * MIB);
    at = gb_mem_realloc(&child, at, 3 * MIB, 2000);
    assert_true(at[0] == 5 && at[999] == 5);
    gb_mem_free(&child, at, 2000);
    char *zero = gb_mem_zalloc(&child, MIB), *lines = gb_mem_zalloc_lines(&child, MIB);
    for (int i = 0; i < MIB; i++) assert_true(!zero[i] && !lines[i]);
    memset(zero, 1, MIB);
    gb_mem_free(&child, zero, MIB);
    gb_mem_free_lines(&child, lines, MIB);
    zero = gb_mem_zalloc(&child, MIB);
    for (int i = 0; i < MIB; i++) assert_true(!zero[i]);
    gb_mem_free(&child, zero, MIB);
    gb_mem_fini(&child);
    gb_mem_fini(&root);
    gb_pages_close(root.pages);
}

static void *take_and_give(void *pages)
{
    for (int i = 0; i < 500; i++) {
        size_t size = GB_PAGES_LEAST + (size_t)(i % 5) * 100000;
        char *at = gb_pages_take(pages, size, i % 2);
        at[0] = at[size - 1] = 1;
        gb_pages_give(pages, at, size);
        if (i % 50 == 0) gb_pages_trim(pages);
    }
    return NULL;
}

static void test_threads(void **unused)
{
    gb_pages *pages = gb_pages_open(2 * MIB);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, pages), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_true(gb_pages_kept(pages) <= 2 * MIB);
    gb_pages_close(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),           cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bound_and_trim), cmocka_unit_test(test_resize),
        cmocka_unit_test(test_grown),          cmocka_unit_test(test_accounts),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
