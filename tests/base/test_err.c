/* src/base/err: the list is closed and named, the detail belongs to its thread. */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>

static void test_names(void **unused)
{
    int count = 0, seen[64] = {0};
#define ROW(name, number, text)                                                                    \
    assert_int_equal(GB_##name, -(number));                                                        \
    assert_string_equal(gb_err_name(GB_##name), #name);                                            \
    assert_string_equal(gb_err_text(GB_##name), text);                                             \
    assert_int_equal(gb_err_code(#name), GB_##name);                                               \
    assert_int_equal(seen[number]++, 0);                                                           \
    count++;
    GB_ERRORS(ROW)
#undef ROW
    assert_true(count >= 21);
    for (int i = 1; i <= count; i++) assert_int_equal(seen[i], 1); /* no gaps, no doubles */
    assert_string_equal(gb_err_name(0), "OK");
    assert_string_equal(gb_err_name(7), "OK");
    assert_string_equal(gb_err_name(-1000), "EUNKNOWN");
    assert_string_equal(gb_err_text(-1000), "unknown error");
    assert_int_equal(gb_err_code("ENONE"), 0);
    assert_int_equal(gb_err_code(""), 0);
}

static void test_detail(void **unused)
{
    assert_int_equal(gb_err_set(GB_EBUSY, "queue %d of %s", 3, "w0"), GB_EBUSY);
    assert_string_equal(gb_err_detail(), "queue 3 of w0");
    assert_int_equal(gb_err_set(GB_EINVAL, "outer: %s", gb_err_detail()), GB_EINVAL);
    assert_string_equal(gb_err_detail(), "outer: queue 3 of w0"); /* the old text as an argument */
    char longer[10000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    gb_err_set(GB_EINVAL, "%s", longer);
    assert_int_equal(strlen(gb_err_detail()), 4095);
}

static void *other_thread(void *result)
{
    *(int *)result = gb_err_detail()[0] == 0;
    char text[1000];
    memset(text, 't', sizeof text);
    gb_err_set(GB_EINVAL, "%.999s", text); /* so long that it has memory of its own */
    if (strlen(gb_err_detail()) != 999) *(int *)result = 0;
    gb_err_set(GB_EINVAL, "theirs");
    if (strcmp(gb_err_detail(), "theirs") != 0) *(int *)result = 0;
    return NULL;
}

static void test_detail_per_thread(void **unused)
{
    pthread_t thread;
    int empty = 0;
    gb_err_set(GB_EINVAL, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &empty), 0);
    pthread_join(thread, NULL);
    assert_int_equal(empty, 1);
    assert_string_equal(gb_err_detail(), "mine");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_detail),
        cmocka_unit_test(test_detail_per_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
