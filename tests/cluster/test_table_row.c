/* Rows as bytes: there and back, limits, and nothing believed. */
#include "base/err.h"
#include "cluster/table.h"
#include "seed.h"
#include "wire/cbor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static gb_mem mem;

static gb_member sample(void)
{
    gb_member m = {.id = 0xfedcba9876543210u,
                   .name = "mond-1",
                   .address = "[::1]:7001",
                   .epoch = UINT64_MAX,
                   .generation = 3,
                   .state = GB_SILO_DEAD,
                   .returns = UINT32_MAX,
                   .left = true,
                   .started_ns = -5,
                   .alive_ns = INT64_MAX,
                   .vote_count = 2,
                   .votes = {{1, 2}, {UINT64_MAX, -3}}};
    m.labels = gb_mem_strdup(&mem, "role=gpu,zone=a");
    m.types = gb_mem_strdup(&mem, "Counter,Rank");
    return m;
}

static void encode(gb_buf *out, const gb_member *m)
{
    gb_buf_init(out, &mem);
    assert_int_equal(gb_member_encode(out, m), 0);
}

static void check_same(const gb_member *a, const gb_member *b)
{
    assert_true(a->id == b->id && a->epoch == b->epoch && a->state == b->state &&
                a->generation == b->generation && a->returns == b->returns && a->left == b->left);
    assert_true(a->started_ns == b->started_ns && a->alive_ns == b->alive_ns);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->address, b->address);
    assert_string_equal(a->labels, b->labels);
    assert_string_equal(a->types, b->types);
    assert_int_equal(a->vote_count, b->vote_count);
    for (uint32_t i = 0; i < a->vote_count; i++) {
        assert_true(a->votes[i].voter == b->votes[i].voter);
        assert_true(a->votes[i].wall_ns == b->votes[i].wall_ns);
    }
}

static void test_there_and_back(void **state)
{
    (void)state;
    gb_member m = sample(), back, copy;
    gb_buf bytes;
    encode(&bytes, &m);
    assert_int_equal(gb_member_decode(&back, &mem, bytes.data, bytes.size), 0);
    check_same(&m, &back);
    assert_int_equal(gb_member_copy(&copy, &mem, &back), 0);
    check_same(&m, &copy);
    gb_member_fini(&copy, &mem);
    gb_member_fini(&back, &mem);
    gb_member_fini(&m, &mem);
    gb_buf_fini(&bytes);
    assert_int_equal(mem.bytes, 0);
}

/* A row of a version that knew neither of the last two fields. */
static void test_older_row(void **state)
{
    (void)state;
    gb_member m = sample(), back;
    gb_buf bytes;
    m.returns = 0;
    m.left = false;
    encode(&bytes, &m);
    bytes.data[0] -= 2; /* pairs of the map; each of the two takes two bytes */
    assert_int_equal(gb_member_decode(&back, &mem, bytes.data, bytes.size - 4), 0);
    check_same(&m, &back);
    gb_member_fini(&back, &mem);
    bytes.data[0]--;
    assert_int_equal(gb_member_decode(&back, &mem, bytes.data, bytes.size - 6), GB_EINVAL);
    gb_member_fini(&m, &mem);
    gb_buf_fini(&bytes);
}

static void test_limits(void **state)
{
    (void)state;
    gb_buf bytes;
    gb_buf_init(&bytes, &mem);
    gb_member m = sample();
    m.id = 0;
    assert_int_equal(gb_member_encode(&bytes, &m), GB_EINVAL);
    m.id = 1;
    m.vote_count = GB_MEMBER_VOTES_MAX + 1;
    assert_int_equal(gb_member_encode(&bytes, &m), GB_EINVAL);
    m.vote_count = 0;
    m.state = (gb_silo_state)5;
    assert_int_equal(gb_member_encode(&bytes, &m), GB_EINVAL);
    m.state = GB_SILO_DEAD;
    m.name[0] = 0;
    assert_int_equal(gb_member_encode(&bytes, &m), GB_EINVAL);
    memset(m.name, 'a', sizeof m.name); /* no NUL */
    assert_int_equal(gb_member_encode(&bytes, &m), GB_EINVAL);
    memcpy(m.name, "a\nb", 4);
    assert_int_equal(gb_member_encode(&bytes, &m), GB_EINVAL);
    memcpy(m.name, "a", 2);
    char *types = m.types, *longest = gb_mem_alloc(&mem, GB_MEMBER_TYPES_BYTES + 1);
    memset(longest, 't', GB_MEMBER_TYPES_BYTES);
    longest[GB_MEMBER_TYPES_BYTES] = 0;
    m.types = longest;
    assert_int_equal(gb_member_encode(&bytes, &m), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "types"));
    assert_int_equal(bytes.size, 0);
    longest[GB_MEMBER_TYPES_BYTES - 1] = 0;
    assert_int_equal(gb_member_encode(&bytes, &m), 0);
    m.types = types;
    gb_mem_free(&mem, longest, GB_MEMBER_TYPES_BYTES + 1);
    gb_member_fini(&m, &mem);
    gb_buf_fini(&bytes);
    assert_int_equal(mem.bytes, 0);
}

/* Every prefix, and every byte changed in every way that a seed finds. */
static void test_damage(void **state)
{
    (void)state;
    gb_member m = sample(), back;
    gb_buf bytes;
    encode(&bytes, &m);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_equal(gb_member_decode(&back, &mem, bytes.data, size), GB_EINVAL);
    gb_buf_put(&bytes, "", 1);
    assert_int_equal(gb_member_decode(&back, &mem, bytes.data, bytes.size), GB_EINVAL);
    seed random = seed_start("damage");
    for (int round = 0; round < 20000; round++) {
        uint8_t damaged[512];
        assert_true(bytes.size <= sizeof damaged);
        memcpy(damaged, bytes.data, bytes.size);
        for (int i = 0; i < 1 + round % 3; i++) {
            damaged[seed_below(&random, bytes.size)] = (uint8_t)seed_next(&random);
        }
        int rc = gb_member_decode(&back, &mem, damaged, bytes.size - 1);
        if (rc == 0)
            gb_member_fini(&back, &mem); /* another row, a good one */
        else
            assert_int_equal(rc, GB_EINVAL);
    }
    gb_member_fini(&m, &mem);
    gb_buf_fini(&bytes);
    assert_int_equal(mem.bytes, 0);
}

/* A later version adds keys and this one reads the row; it does not read another format. */
static void test_formats(void **state)
{
    (void)state;
    gb_member m = sample(), back;
    gb_buf bytes;
    encode(&bytes, &m);
    assert_int_equal(bytes.data[0] & 0xf0, 0xa0); /* a map of few pairs */
    bytes.data[0]++;
    assert_int_equal(gb_cbor_put_int(&bytes, 99), 0);
    assert_int_equal(gb_cbor_put_text(&bytes, "new", 3), 0);
    assert_int_equal(gb_member_decode(&back, &mem, bytes.data, bytes.size), 0);
    check_same(&m, &back);
    gb_member_fini(&back, &mem);
    assert_int_equal(bytes.data[1], 0); /* the key of the format */
    bytes.data[2] = 2;
    assert_int_equal(gb_member_decode(&back, &mem, bytes.data, bytes.size), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "format"));
    gb_member_fini(&m, &mem);
    gb_buf_fini(&bytes);
    assert_int_equal(mem.bytes, 0);
}

static void test_no_memory(void **state)
{
    (void)state;
    gb_member m = sample(), back;
    gb_buf bytes;
    encode(&bytes, &m);
    int rc = GB_ENOMEM, at = 1;
    for (; rc == GB_ENOMEM && at < 10; at++) {
        mem.fail_at = at;
        rc = gb_member_decode(&back, &mem, bytes.data, bytes.size);
    }
    mem.fail_at = 0;
    assert_int_equal(rc, 0);
    assert_int_equal(at, 4); /* labels, types, and once without a failure */
    gb_member_fini(&back, &mem);
    gb_member_fini(&m, &mem);
    gb_buf_fini(&bytes);
    assert_int_equal(mem.bytes, 0);
}

int main(void)
{
    gb_mem_init(&mem, "test", NULL, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_older_row),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_damage),
        cmocka_unit_test(test_formats),        cmocka_unit_test(test_no_memory),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    gb_mem_fini(&mem);
    return rc;
}
