/* src/sys/cores.h, and the kernel threads, which go by it. */
#include "gpu/cpu_pool.h"
#include "sys/cores.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* At most so many of the cores that there are. */
static int allow(const cpu_set_t *all, int most)
{
    cpu_set_t some;
    int n = 0;
    CPU_ZERO(&some);
    for (int i = 0; i < CPU_SETSIZE && n < most; i++) {
        if (!CPU_ISSET(i, all)) continue;
        CPU_SET(i, &some);
        n++;
    }
    assert_int_equal(sched_setaffinity(0, sizeof some, &some), 0);
    return n;
}

static void only_those_allowed(void **state)
{
    cpu_set_t all;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_int_equal(gb_cores(), CPU_COUNT(&all));
    for (int most = 1; most <= 2; most++) {
        int n = allow(&all, most);
        assert_int_equal(gb_cores(), n);
        gb_mem mem;
        gb_mem_init(&mem, "cores", NULL, 0);
        gbi_pool *pool;
        assert_int_equal(gbi_pool_open(&pool, &mem, 0), 0);
        assert_int_equal(gbi_pool_threads(pool), n);
        assert_int_equal(gbi_pool_stop(pool), 0);
        gbi_pool_close(pool);
        gb_mem_fini(&mem);
    }
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_those_allowed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
