/* URLs of the membership table: their parts, what is refused, and that no error tells a secret. */
#include "cluster/table_url.h"

#include "base/err.h"
#include "cluster/resolve.h"
#include "cluster/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static gb_mem mem;

static void test_parts(void **state)
{
    (void)state;
    gbi_table_url url;
    assert_int_equal(gbi_table_url_parse(&url, &mem, "redis://me%40home:a%3Ab:c@[::1]:7/3?x=1"), 0);
    assert_string_equal(url.module, "table_redis");
    assert_string_equal(url.target.user, "me@home");
    assert_string_equal(url.target.password, "a:b:c");
    assert_string_equal(url.target.hosts, "[::1]:7");
    assert_string_equal(url.target.path, "3");
    assert_string_equal(url.target.query, "x=1");
    assert_string_equal(url.shown, "redis://[::1]:7/3");
    gbi_table_url_fini(&url, &mem);
    assert_int_equal(gbi_table_url_parse(&url, &mem, "etcd://a:1,b:2"), 0);
    assert_string_equal(url.target.hosts, "a:1,b:2");
    assert_string_equal(url.target.user, "");
    gbi_table_url_fini(&url, &mem);
    assert_int_equal(gbi_table_url_parse(&url, &mem, "sqlite:./a@b?c.db"), 0);
    assert_string_equal(url.target.path, "./a@b?c.db");
    gbi_table_url_fini(&url, &mem);
    assert_int_equal(gbi_table_url_parse(&url, &mem, "sqlite:///var/x.db"), 0);
    assert_string_equal(url.target.path, "/var/x.db");
    gbi_table_url_fini(&url, &mem);
    assert_int_equal(mem.bytes, 0);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "redis",
        "redis:secret",
        "redis:/secret",
        "mysql://me:secret@host",
        "redis://me:%zzsecret@host",
        "redis://me:%00secret@host",
        "redis://me:secret@ho st",
        "sqlite:",
        "memory://",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        gbi_table_url url;
        assert_int_equal(gbi_table_url_parse(&url, &mem, urls[i]), GB_EINVAL);
        assert_null(strstr(gb_err_detail(), "secret"));
        assert_null(url.text);
    }
    assert_int_equal(mem.bytes, 0);
}

static int open_rc(const char *url, const char *cluster)
{
    gb_table *table = NULL;
    gb_table_config config = {
        .mem = &mem, .url = url, .cluster = cluster, .timeout_ns = 1000000000};
    int rc = gb_table_open(&table, &config);
    if (rc >= 0) gb_table_close(table);
    assert_int_equal(mem.bytes, 0);
    return rc;
}

static void test_open(void **state)
{
    (void)state;
    static const char *const names[] = {"", "a b", "a/b", "a\n", "a{b}", "a:b"};
    setenv("GB_MODULE_DIR", GB_BINARY_DIR "/gpubridge", 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(open_rc("memory:x", names[i]), GB_EINVAL);
    char longest[GB_CLUSTER_NAME_BYTES + 1];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(open_rc("memory:x", longest), GB_EINVAL);
    longest[sizeof longest - 2] = 0;
    assert_int_equal(open_rc("memory:x", longest), 0);
    assert_int_equal(open_rc("sqlite:x.db", "a"), 0); /* connects nothing: no file */
    setenv("GB_MODULE_DIR", "/nowhere", 1);
    assert_int_equal(open_rc("redis://:secret@host", "a"), GB_ENOTYET);
    assert_non_null(strstr(gb_err_detail(), "/nowhere"));
    assert_non_null(strstr(gb_err_detail(), "table_redis"));
    assert_null(strstr(gb_err_detail(), "secret"));
    unsetenv("GB_MODULE_DIR");
}

static void test_resolve(void **state)
{
    (void)state;
    char out[512];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000u;
    assert_int_equal(gbi_resolve(out, sizeof out, "127.0.0.1", 0), 0);
    assert_string_equal(out, "127.0.0.1");
    assert_int_equal(gbi_resolve(out, sizeof out, "::1", 0), 0);
    assert_int_equal(gbi_resolve(out, sizeof out, "localhost", now + 60000000000u), 0);
    assert_true(strstr(out, "127.0.0.1") || strstr(out, "::1"));
    /* too late before it began: the thread that looks is left behind */
    int rc = gbi_resolve(out, sizeof out, "localhost", 1);
    assert_true(rc == GB_ETIMEDOUT || rc == 0);
}

int main(void)
{
    gb_mem_init(&mem, "test", NULL, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_resolve),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    gb_mem_fini(&mem);
    return rc;
}
