/* Values: what C puts and Lua gives back, bounds, bad reads, arrays, references, exports. */
#include "kit_embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static gb_value *echo(gb_host *host, const char *method, gb_value *args)
{
    gb_value *out = NULL;
    int rc = gb_call_wait(host, "Probe", "v", method, args, 0, &out);
    if (rc < 0) fail_msg("%s: %s", gb_err_name(rc), gb_err_detail());
    return out;
}

static void put_all(gb_value *v)
{
    gb_put_bool(v, 1);
    gb_put_int(v, -7);
    gb_put_number(v, 0.5);
    gb_put_int64(v, INT64_MIN);
    gb_put_uint64(v, UINT64_MAX);
    gb_put_text(v, "text");
    gb_put_bytes(v, "a\0b", 3);
    gb_put_list(v);
    for (int i = 0; i < 30; i++) gb_put_int(v, i);
    gb_put_end(v);
    gb_put_table(v);
    gb_put_text(v, "hp");
    gb_put_int(v, 12);
    gb_put_int(v, 3);
    gb_put_list(v);
    gb_put_text(v, "deep");
    gb_put_end(v);
    gb_put_end(v);
    gb_put_table(v);
    gb_put_end(v);
    gb_put_number(v, -0.0);
    gb_put_nil(v);
    assert_int_equal(gb_put_bool(v, 0), 0);
}

static void check_all(const gb_value *v)
{
    int truth = 0;
    int64_t n = 0;
    uint64_t u = 0;
    double d = 0;
    const char *text = NULL;
    const void *bytes;
    size_t size;
    assert_int_equal(gb_value_count(v), 13);
    assert_int_equal(gb_as_bool(gb_value_at(v, 0), &truth), 0);
    assert_int_equal(truth, 1);
    assert_int_equal(gb_as_int(gb_value_at(v, 1), &n), 0);
    assert_int_equal(n, -7);
    assert_int_equal(gb_as_number(gb_value_at(v, 2), &d), 0);
    assert_true(d == 0.5);
    assert_int_equal(gb_value_at(v, 3).type, GB_ITEM_INT64);
    assert_int_equal(gb_as_int(gb_value_at(v, 3), &n), 0);
    assert_true(n == INT64_MIN);
    assert_int_equal(gb_as_uint(gb_value_at(v, 4), &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(gb_as_int(gb_value_at(v, 4), &n), GB_EINVAL);
    assert_int_equal(gb_as_uint(gb_value_at(v, 3), &u), GB_EINVAL);
    assert_int_equal(gb_as_int(gb_value_at(v, 2), &n), GB_EINVAL);
    assert_int_equal(gb_as_text(gb_value_at(v, 5), &text), 0);
    assert_string_equal(text, "text");
    assert_int_equal(gb_as_text(gb_value_at(v, 6), &text), GB_EINVAL);
    assert_int_equal(gb_as_bytes(gb_value_at(v, 6), &bytes, &size), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(bytes, "a\0b", 3);
    gb_item list = gb_value_at(v, 7), table = gb_value_at(v, 8), empty = gb_value_at(v, 9);
    assert_int_equal(list.type, GB_ITEM_LIST);
    assert_int_equal(gb_item_count(list), 30);
    assert_int_equal(gb_as_int(gb_item_at(list, 29), &n), 0);
    assert_int_equal(n, 29);
    assert_int_equal(gb_item_at(list, 30).type, GB_ITEM_NONE);
    assert_int_equal(gb_item_at(list, -1).type, GB_ITEM_NONE);
    assert_int_equal(table.type, GB_ITEM_TABLE);
    assert_int_equal(gb_as_int(gb_item_field(table, "hp"), &n), 0);
    assert_int_equal(n, 12);
    assert_int_equal(gb_item_field(table, "mp").type, GB_ITEM_NONE);
    gb_walk walk;
    gb_item key, item;
    int pairs = 0;
    assert_int_equal(gb_walk_init(&walk, table), 0);
    while (gb_walk_next(&walk, &key, &item)) pairs += key.type != GB_ITEM_NONE;
    assert_int_equal(pairs, 2);
    assert_int_equal(empty.type, GB_ITEM_TABLE);
    assert_int_equal(gb_item_count(empty), 0);
    assert_int_equal(gb_as_number(gb_value_at(v, 10), &d), 0);
    assert_true(d == 0 && signbit(d));
    assert_int_equal(gb_value_at(v, 11).type, GB_ITEM_NIL);
    assert_int_equal(gb_as_bool(gb_value_at(v, 12), &truth), 0);
    assert_int_equal(truth, 0);
    assert_int_equal(gb_value_at(v, 13).type, GB_ITEM_NONE);
    assert_int_equal(gb_value_at(v, -1).type, GB_ITEM_NONE);
}

static void test_round_trip(void **state)
{
    gb_host *host = kit_open(2, GB_DELIVER_POLL);
    gb_value *v = gb_value_new(host);
    put_all(v);
    check_all(v);
    gb_value *copy = gb_value_copy(v);
    check_all(copy);
    gb_value *back = echo(host, "echo", v);
    check_all(back);
    gb_close(host, 100);
    check_all(back); /* values outlive their host */
    gb_value_free(back);
    gb_value_free(copy);
}

static void test_bad_reads(void **state)
{
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    gb_value *v = gb_value_new(host);
    int truth;
    int64_t n;
    const char *a, *b;
    gb_walk walk;
    gb_put_text(v, "x");
    gb_item item = gb_value_at(v, 0), none = gb_value_at(v, 1);
    assert_int_equal(gb_as_bool(item, &truth), GB_EINVAL);
    assert_string_equal(gb_err_detail(), "expected a boolean, got string");
    assert_int_equal(gb_as_int(none, &n), GB_EINVAL);
    assert_int_equal(gb_as_int(item, NULL), GB_EINVAL);
    assert_int_equal(gb_as_text(item, NULL), GB_EINVAL);
    assert_int_equal(gb_as_ref(item, &a, &b), GB_EINVAL);
    assert_int_equal(gb_walk_init(&walk, item), GB_EINVAL);
    assert_int_equal(gb_walk_init(NULL, item), GB_EINVAL);
    assert_int_equal(gb_walk_next(&walk, NULL, NULL), 0);
    assert_int_equal(gb_value_count(NULL), 0);
    assert_int_equal(gb_value_at(NULL, 0).type, GB_ITEM_NONE);
    assert_string_equal(gb_item_type_name(GB_ITEM_BUFFER), "buffer");
    assert_string_equal(gb_item_type_name((gb_item_type)99), "unknown");
    gb_value_free(v);
    gb_value_free(NULL);
    assert_null(gb_value_new(NULL));
    assert_null(gb_value_copy(NULL));
    gb_close(host, 0);
}

static void test_bad_puts(void **state)
{
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    gb_value *v = gb_value_new(host);
    assert_int_equal(gb_put_int(NULL, 1), GB_EINVAL);
    assert_int_equal(gb_put_int(v, (int64_t)1 << 53), GB_EINVAL);
    assert_int_equal(gb_put_nil(v), GB_EINVAL); /* it stays */
    assert_non_null(strstr(gb_err_detail(), "gb_put_int64"));
    gb_value_clear(v);
    assert_int_equal(gb_put_end(v), GB_EINVAL);
    gb_value_clear(v);
    gb_put_table(v);
    gb_put_text(v, "key");
    assert_int_equal(gb_put_end(v), GB_EINVAL);
    gb_value_clear(v);
    gb_put_table(v);
    assert_int_equal(gb_put_nil(v), GB_EINVAL);
    gb_value_clear(v);
    gb_put_table(v);
    assert_int_equal(gb_put_number(v, NAN), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_bytes(v, NULL, 5), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_ref(v, "Probe", NULL), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_ref(v, NULL, "x"), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_array(v, "floot", "", 0), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_array(v, "float", NULL, 1), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_array(v, "float", "", -1), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_array(v, "double", "", INT64_MAX), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_put_array(v, NULL, "", 1), GB_EINVAL);
    gb_value_clear(v);
    for (int i = 0; i < 100; i++) assert_int_equal(gb_put_list(v), 0);
    assert_int_equal(gb_put_list(v), GB_EINVAL);
    gb_value_clear(v);
    size_t large = ((size_t)64 << 20) + 1;
    char *bytes = calloc(1, large);
    assert_int_equal(gb_put_bytes(v, bytes, large), GB_EINVAL);
    free(bytes);
    gb_value_clear(v);
    int rc = 0;
    for (int i = 0; i < 1000001 && rc == 0; i++) rc = gb_put_nil(v);
    assert_int_equal(rc, GB_EINVAL);
    gb_value_free(v);
    gb_close(host, 0);
}

/* ---- arrays and references ---- */

static void count_release(void *user, void *data)
{
    atomic_fetch_add((atomic_int *)user, 1);
}

static void test_arrays(void **state)
{
    gb_host *host = kit_open(2, GB_DELIVER_POLL);
    float data[64];
    atomic_int released = 0;
    const char *type;
    const void *bytes;
    int64_t count;
    double sum;
    for (int i = 0; i < 64; i++) data[i] = 1;
    gb_value *v = gb_value_new(host);
    assert_int_equal(gb_put_array(v, "float", data, 64), 0);
    gb_value *out = echo(host, "sum", v);
    assert_int_equal(gb_as_number(gb_value_at(out, 0), &sum), 0);
    assert_true(sum == 64);
    gb_value_free(out);

    v = gb_value_new(host);
    assert_int_equal(gb_array_wrap(v, "float", data, 64, count_release, &released), 0);
    gb_put_bool(v, 1);
    gb_value_free(echo(host, "double", v));
    assert_int_equal(atomic_load(&released), 1); /* the method freed it */
    assert_true(data[0] == 2 && data[63] == 2);
    v = gb_value_new(host);
    assert_int_equal(gb_array_wrap(v, "float4", data, 16, count_release, &released), 0);
    gb_value_free(v);
    assert_int_equal(atomic_load(&released), 2);
    v = gb_value_new(host);
    assert_int_equal(gb_array_wrap(v, "float", NULL, 4, count_release, &released), GB_EINVAL);
    gb_value_clear(v);
    assert_int_equal(gb_array_wrap(v, "float", (char *)data + 1, 4, count_release, &released),
                     GB_EINVAL);
    gb_value_free(v);
    assert_int_equal(atomic_load(&released), 2);

    v = gb_value_new(host);
    gb_put_int(v, 100);
    out = echo(host, "array", v);
    assert_int_equal(gb_as_array(gb_value_at(out, 0), &type, &bytes, &count), 0);
    assert_string_equal(type, "float");
    assert_int_equal(count, 100);
    assert_int_equal(gb_item_count(gb_value_at(out, 0)), 100);
    assert_true(((const float *)bytes)[99] == 99);
    gb_value *copy = gb_value_copy(out);
    gb_close(host, 100);
    assert_true(((const float *)bytes)[99] == 99); /* results outlive their host */
    gb_value_free(copy);
    gb_value_free(out);
}

static void test_references(void **state)
{
    gb_host *host = kit_open(2, GB_DELIVER_POLL);
    const char *type, *key;
    double n;
    gb_value *v = gb_value_new(host);
    gb_put_ref(v, "Probe", "other");
    gb_put_int(v, 5);
    gb_value *out = echo(host, "peer", v);
    assert_int_equal(gb_as_number(gb_value_at(out, 0), &n), 0);
    assert_true(n == 5);
    gb_value_free(out);
    out = echo(host, "me", NULL);
    assert_int_equal(gb_as_ref(gb_value_at(out, 0), &type, &key), 0);
    assert_string_equal(type, "Probe");
    assert_string_equal(key, "v");
    gb_value_free(out);
    v = gb_value_new(host);
    gb_put_ref_int(v, "Probe", 7);
    out = echo(host, "echo", v);
    assert_int_equal(gb_as_ref(gb_value_at(out, 0), &type, &key), 0);
    assert_string_equal(key, "7");
    gb_value_free(out);
    gb_close(host, 100);
}

/* ---- functions of the program ---- */

static int host_add(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    int64_t a, b;
    if (gb_as_int(gb_value_at(args, 0), &a) < 0 || gb_as_int(gb_value_at(args, 1), &b) < 0)
        return gb_fail(GB_EINVAL, "add takes two integers");
    gb_value *out;
    *(int *)user += gb_call_wait(host, "Probe", "x", "get", NULL, 0, &out) == GB_EBUSY;
    return gb_put_int(results, a + b);
}

static int host_quiet(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    return gb_value_count(args) ? GB_EDENIED : 0;
}

static int host_wrong(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    gb_put_list(results);
    return 0;
}

static int host_echo(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    const char *type;
    const void *data;
    int64_t count;
    int rc = gb_as_array(gb_value_at(args, 0), &type, &data, &count);
    return rc < 0 ? rc : gb_put_array(results, type, data, count);
}

static gb_value *named(gb_host *host, const char *name)
{
    gb_value *v = gb_value_new(host);
    gb_put_text(v, name);
    return v;
}

static void test_exports(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        gb_host *host = kit_open(workers[w], GB_DELIVER_POLL);
        int refused = 0;
        double n;
        assert_int_equal(gb_export(host, "add", host_add, &refused), 0);
        assert_int_equal(gb_export(host, "add", host_add, &refused), GB_ECONFLICT);
        assert_int_equal(gb_export(host, "quiet", host_quiet, NULL), 0);
        assert_int_equal(gb_export(host, "not a name", host_add, NULL), GB_EINVAL);
        assert_int_equal(gb_export(host, "", host_add, NULL), GB_EINVAL);
        assert_int_equal(gb_export(host, NULL, host_add, NULL), GB_EINVAL);
        assert_int_equal(gb_export(host, "x", NULL, NULL), GB_EINVAL);
        assert_int_equal(gb_export(NULL, "x", host_add, NULL), GB_EINVAL);
        gb_value *v = named(host, "add");
        gb_put_int(v, 2);
        gb_put_int(v, 3);
        gb_value *out = echo(host, "host", v);
        assert_int_equal(gb_as_number(gb_value_at(out, 0), &n), 0);
        assert_true(n == 5);
        assert_int_equal(refused, 1);
        gb_value_free(out);
        assert_int_equal(gb_call_wait(host, "Probe", "v", "host", named(host, "add"), 0, &out),
                         GB_EINVAL);
        assert_string_equal(gb_err_detail(), "add takes two integers");
        out = echo(host, "host", named(host, "quiet"));
        assert_int_equal(gb_value_at(out, 0).type, GB_ITEM_BOOL);
        gb_value_free(out);
        v = named(host, "quiet");
        gb_put_int(v, 1);
        assert_int_equal(gb_call_wait(host, "Probe", "v", "host", v, 0, NULL), GB_EDENIED);
        assert_string_equal(gb_err_detail(), gb_err_text(GB_EDENIED));
        assert_int_equal(gb_export(host, "wrong", host_wrong, NULL), 0); /* later, too */
        assert_int_equal(gb_call_wait(host, "Probe", "v", "host", named(host, "wrong"), 0, NULL),
                         GB_ERAISED);
        assert_int_equal(gb_export(host, "echo", host_echo, NULL), 0);
        v = named(host, "echo");
        gb_put_array(v, "int32", (int[]){1, 2, 3}, 3);
        out = echo(host, "host", v);
        assert_int_equal(gb_item_count(gb_value_at(out, 0)), 3);
        gb_value_free(out);
        assert_int_equal(gb_call_wait(host, "Probe", "v", "host_unknown", NULL, 0, NULL),
                         GB_ERAISED);
        assert_non_null(strstr(gb_err_detail(), "did you mean 'add'"));
        gb_close(host, 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bad_reads),
        cmocka_unit_test(test_bad_puts),   cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_references), cmocka_unit_test(test_exports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
