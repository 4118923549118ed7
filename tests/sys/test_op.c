/* src/sys/op: the text of a failure. */
#include "sys/op.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static int runs, last;

static void done(gb_op *op, int rc)
{
    (void)op;
    runs++;
    last = rc;
}

static void test_fail(void **unused)
{
    gb_op op;
    gb_op_init(&op, done);
    assert_null(op.detail);
    assert_int_equal(atomic_load(&op.cancelled), 0);
    assert_int_equal(gb_op_fail(&op, GB_EINVAL, "no %s in %d", "file", 7), GB_EINVAL);
    assert_string_equal(op.detail, "no file in 7");
    assert_int_equal(gb_op_fail(&op, GB_ENOENT, "%s", op.detail), GB_ENOENT); /* its own old text */
    assert_string_equal(op.detail, "no file in 7");
    op.done(&op, GB_ENOENT);
    assert_int_equal(runs, 1);
    assert_int_equal(last, GB_ENOENT);
    gb_op_fini(&op);
    assert_null(op.detail);
    gb_op_fini(&op); /* twice does nothing */
}

/* A text of any length. */
static void test_long(void **unused)
{
    gb_op op;
    char *text = malloc(100001);
    memset(text, 'x', 100000);
    text[100000] = 0;
    gb_op_init(&op, done);
    gb_op_fail(&op, GB_ERAISED, "%s", text);
    assert_int_equal(strlen(op.detail), 100000);
    gb_op_fini(&op);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
