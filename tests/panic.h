/* For expect_assert_failure: a failed GB_CHECK becomes a cmocka assertion. Include after cmocka.h;
 * call panic_expected() once in main. */
#ifndef GB_TESTS_PANIC_H
#define GB_TESTS_PANIC_H

#include "base/check.h"

static inline void panic_to_cmocka(const char *text)
{
    mock_assert(0, text, "gb_panic", 0);
}

static inline void panic_expected(void)
{
    gb_panic_hook(panic_to_cmocka);
}

#endif
