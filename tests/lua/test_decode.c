/* src/lua/decode.c: messages that nobody of us has written. tests/fuzz/fuzz_value.c looks for more.
 */
#include "kit_wire.h"

#include "base/err.h"
#include "lua/array.h"
#include "lua/value.h"
#include "wire/cbor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

/* ---- counts and depth ---- */

static void test_counts(void **state)
{
    static const uint8_t heads[][9] = {
        {0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, /* a list of 2^64 - 1 */
        {0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0},                      /* a map of 2^63 pairs */
        {0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, /* a string of 2^63 - 1 bytes */
        {0x7b, 0, 0, 0, 1, 0, 0, 0, 0},                         /* a text of 4 GiB */
    };
    kit_wire *f = *state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        gb_buf_put(kit_wire_begin(f), heads[i], sizeof heads[i]);
        kit_wire_refused(f, "longer than the input");
    }
    gb_buf *out = kit_wire_begin(f);
    for (int i = 0; i < 9000; i++) gb_cbor_put_nil(out); /* more than a C function's stack holds */
    kit_wire_refused(f, "too many values at once");
    out = kit_wire_begin(f);
    for (int i = 0; i < 2000; i++) gb_cbor_put_int(out, i);
    kit_wire_taken(f, 2000);
    lua_settop(f->L, 0);
}

static void test_depth(void **state)
{
    kit_wire *f = *state;
    for (int map = 0; map < 2; map++)
        for (int depth = GBL_DEPTH_MAX; depth <= GBL_DEPTH_MAX + 1; depth++) {
            gb_buf *out = kit_wire_begin(f);
            for (int i = 0; i < depth; i++) {
                if (map)
                    gb_cbor_put_map(out, 1), gb_cbor_put_bool(out, true);
                else
                    gb_cbor_put_list(out, 1);
            }
            gb_cbor_put_int(out, 1);
            if (depth > GBL_DEPTH_MAX)
                kit_wire_refused(f, "nested more than 100 deep");
            else
                kit_wire_taken(f, 1);
            lua_settop(f->L, 0);
        }
}

/* Tables within tables claim the same bytes again and again. */
static void test_claims(void **state)
{
    kit_wire *f = *state;
    enum { SIZE = 4096, DEPTH = 90 };
    gb_buf *out = kit_wire_begin(f);
    uint8_t zeros[SIZE] = {0};
    for (int i = 0; i < DEPTH; i++) gb_cbor_put_list(out, SIZE / 2);
    gb_buf_put(out, zeros, sizeof zeros);
    int64_t before = kit_collect(f->kit.state);
    lua_gc(f->L, LUA_GCSTOP, 0);
    kit_wire_refused(f, "it ends too early");
    int64_t grown = gbl_alloc_bytes(f->kit.state->alloc) - before;
    lua_gc(f->L, LUA_GCRESTART, 0);
    assert_true(grown < 64 * SIZE); /* 90 tables of 2048 slots would be 1.5 MB */
}

/* ---- scalars and tags ---- */

static void test_tags(void **state)
{
    kit_wire *f = *state;
    gb_buf *out = kit_wire_begin(f);
    gb_cbor_put_tag(out, 1);
    gb_cbor_put_int(out, 1);
    kit_wire_refused(f, "an unknown tag");
    out = kit_wire_begin(f);
    gb_cbor_put_tag(out, GBL_TAG_CALLER); /* stands before the arguments, not among them */
    gb_cbor_put_list(out, 2);
    kit_wire_refused(f, "an unknown tag");
    out = kit_wire_begin(f);
    gb_cbor_put_tag(out, GBL_TAG_INT64);
    gb_cbor_put_tag(out, GBL_TAG_INT64);
    gb_cbor_put_int(out, 1);
    kit_wire_refused(f, "another token than expected");
    out = kit_wire_begin(f);
    gb_cbor_put_tag(out, GBL_TAG_INT64);
    gb_cbor_put_uint(out, UINT64_MAX);
    kit_wire_refused(f, "another token than expected");
    out = kit_wire_begin(f);
    gb_cbor_put_tag(out, GBL_TAG_UINT64);
    gb_cbor_put_int(out, -1);
    kit_wire_refused(f, "an unsigned integer that is none");
    gb_cbor_put_tag(kit_wire_begin(f), GBL_TAG_UINT64);
    kit_wire_refused(f, "an unsigned integer that is none");
    out = kit_wire_begin(f);
    gb_cbor_put_tag(out, GBL_TAG_UINT64);
    gb_cbor_put_uint(out, UINT64_MAX);
    kit_wire_taken(f, 1);
    assert_int_equal(gbl_cdata_at(f->L, 1), GBL_CDATA_UINT64);
    assert_true(gbl_int64_at(f->L, 1) == UINT64_MAX);
    lua_settop(f->L, 0);
}

/* In LuaJIT every value is a double, or a NaN with a pointer in it. */
static void test_numbers(void **state)
{
    kit_wire *f = *state;
    gb_buf *out = kit_wire_begin(f);
    uint64_t bits[] = {UINT64_MAX, 0xfffd800000001234, 0xfff0000000000001, 0x7fffffffffffffff};
    for (int i = 0; i < 4; i++) {
        double number;
        memcpy(&number, &bits[i], sizeof number);
        gb_cbor_put_double(out, number);
    }
    kit_wire_taken(f, 4);
    for (int i = 1; i <= 4; i++) {
        assert_int_equal(lua_type(f->L, i), LUA_TNUMBER);
        assert_true(lua_tonumber(f->L, i) != lua_tonumber(f->L, i));
    }
    lua_settop(f->L, 0);
}

static void test_keys_of_tables(void **state)
{
    kit_wire *f = *state;
    double nan;
    memset(&nan, 0xff, sizeof nan);
    for (int i = 0; i < 5; i++) {
        gb_buf *out = kit_wire_begin(f);
        gb_cbor_put_map(out, 1);
        if (i == 0) gb_cbor_put_nil(out);
        if (i == 1) gb_cbor_put_double(out, nan);
        if (i == 2) gb_cbor_put_list(out, 0);
        if (i == 3) gb_cbor_put_tag(out, GBL_TAG_INT64), gb_cbor_put_int(out, 1);
        if (i == 4) kit_put_ref(out, "T", 1), gb_cbor_put_int(out, 1);
        gb_cbor_put_int(out, 1);
        kit_wire_refused(f, "a key that is no string, number or boolean");
    }
    gb_buf *out = kit_wire_begin(f);
    gb_cbor_put_map(out, 2); /* the same key twice: the last one counts */
    for (int i = 1; i <= 2; i++) kit_put_text(out, "k"), gb_cbor_put_int(out, i);
    kit_wire_taken(f, 1);
    lua_getfield(f->L, 1, "k");
    assert_int_equal(lua_tointeger(f->L, -1), 2);
    lua_settop(f->L, 0);
}

/* ---- references ---- */

static void test_references(void **state)
{
    kit_wire *f = *state;
    gb_buf *out = kit_wire_begin(f);
    kit_put_ref(out, "", 0);
    gb_cbor_put_int(out, 1);
    kit_wire_refused(f, "a reference of another shape");
    out = kit_wire_begin(f);
    kit_put_ref(out, "A\0B", 3);
    gb_cbor_put_int(out, 1);
    kit_wire_refused(f, "a reference of another shape");
    kit_put_ref(kit_wire_begin(f), "T", 1);
    gb_cbor_put_nil(&f->bytes);
    kit_wire_refused(f, "a reference whose key is no key");
    kit_put_ref(kit_wire_begin(f), "T", 1);
    gb_cbor_put_bytes(&f->bytes, "", 0);
    kit_wire_refused(f, "a reference whose key is no key");
    kit_put_ref(kit_wire_begin(f), "T", 1);
    char key[1025] = {0};
    gb_cbor_put_bytes(&f->bytes, key, sizeof key);
    kit_wire_refused(f, "a reference whose key is no key");
    kit_put_ref(kit_wire_begin(f), "T", 1);
    gb_cbor_put_bytes(&f->bytes, key, sizeof key - 1);
    kit_wire_taken(f, 1);
    lua_settop(f->L, 0);
    gb_cbor_put_tag(kit_wire_begin(f), GBL_TAG_REF);
    gb_cbor_put_list(&f->bytes, 3);
    kit_put_text(&f->bytes, "T");
    gb_cbor_put_int(&f->bytes, 1);
    gb_cbor_put_int(&f->bytes, 1);
    kit_wire_refused(f, "a reference of another shape");
}

/* However a key is written, it is the key that gb.get makes. */
static void test_key_forms(void **state)
{
    static const struct {
        const char *text;
        int type;
    } keys[] = {
        {"17", LUA_TNUMBER},
        {"-17", LUA_TNUMBER},
        {"0", LUA_TNUMBER},
        {"-0", LUA_TSTRING},
        {"007", LUA_TSTRING},
        {"-", LUA_TSTRING},
        {"1e3", LUA_TSTRING},
        {"9007199254740991", LUA_TNUMBER},
        {"9007199254740992", LUA_TSTRING},
        {"99999999999999999999999", LUA_TSTRING},
    };
    kit_wire *f = *state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        kit_put_ref(kit_wire_begin(f), "T", 1);
        gb_cbor_put_bytes(&f->bytes, keys[i].text, strlen(keys[i].text));
        kit_wire_taken(f, 1);
        lua_rawgeti(f->L, 1, 1);
        assert_int_equal(lua_type(f->L, -1), keys[i].type);
        lua_getglobal(f->L, "require");
        lua_pushliteral(f->L, "gb");
        lua_call(f->L, 1, 1);
        lua_getfield(f->L, -1, "get");
        lua_pushliteral(f->L, "T");
        lua_pushstring(f->L, keys[i].text);
        lua_call(f->L, 2, 1);
        assert_true(kit_same(f->L, 1, lua_gettop(f->L)));
        lua_settop(f->L, 0);
    }
}

/* References to types that nobody defines leave nothing. */
static void test_many_types(void **state)
{
    kit_wire *f = *state;
    int64_t least = INT64_MAX;
    for (int round = 0; round < 4; round++) {
        int64_t before = kit_collect(f->kit.state);
        for (int i = 0; i < 2000; i++) {
            char name[32];
            int size = snprintf(name, sizeof name, "Type%d_%d", round, i);
            kit_put_ref(kit_wire_begin(f), name, (size_t)size);
            gb_cbor_put_int(&f->bytes, 1);
            kit_wire_taken(f, 1);
            lua_settop(f->L, 0);
        }
        int64_t grown = kit_collect(f->kit.state) - before;
        if (grown < least) least = grown;
    }
    assert_true(least < 100000);
}

/* ---- all truncations ---- */

static void test_truncations(void **state)
{
    kit_wire *f = *state;
    lua_State *L = f->L;
    kit_wire_block(f, 64);
    gb_buf *out = kit_wire_begin(f);
    gb_cbor_put_map(out, 4);
    gb_cbor_put_bool(out, true), gb_cbor_put_list(out, 3);
    gb_cbor_put_int(out, -70000), gb_cbor_put_double(out, 0.1), gb_cbor_put_nil(out);
    kit_put_text(out, "ref"), kit_put_ref(out, "Counter", 7), gb_cbor_put_bytes(out, "basket", 6);
    kit_put_text(out, "array"), kit_put_array(out, 0, "float4", 16, 3);
    gb_cbor_put_int(out, 300), gb_cbor_put_tag(out, GBL_TAG_INT64), gb_cbor_put_int(out, INT64_MIN);
    kit_wire_taken(f, 1);
    lua_settop(L, 0);
    kit_collect(f->kit.state);
    int64_t blocks = atomic_load(&f->kit.root.blocks);
    size_t whole = f->bytes.size;
    for (size_t size = 1; size < whole; size++) {
        uint8_t *exact = malloc(size); /* its own, so that the address sanitizer sees its end */
        memcpy(exact, f->bytes.data, size);
        kit_wire_drop(f);
        kit_wire_block(f, 64);
        int rc = kit_decode(f->kit.state, exact, size, f->blocks, f->block_count, GBL_FROM_HERE);
        assert_int_equal(rc, GB_EINVAL);
        free(exact);
    }
    kit_collect(f->kit.state);
    kit_wire_drop(f);
    kit_collect(f->kit.state);
    assert_true(atomic_load(&f->kit.root.blocks) <= blocks);
}

/* ---- who calls ---- */

static void test_caller(void **state)
{
    kit_wire *f = *state;
    gb_buf *out = kit_wire_begin(f);
    gb_cbor_put_tag(out, GBL_TAG_CALLER);
    gb_cbor_put_list(out, 2);
    kit_put_text(out, "Counter");
    gb_cbor_put_bytes(out, "17", 2);
    size_t whole = out->size;
    gb_cbor_put_int(out, 1);
    assert_int_equal(gbl_caller_size(out->data, out->size), whole);
    for (size_t size = 0; size < whole; size++) {
        assert_int_equal(gbl_caller_size(out->data, size), 0);
        assert_int_equal(gbl_caller_push(f->L, out->data, size), 0);
        assert_int_equal(lua_gettop(f->L), 0);
    }
    assert_int_equal(gbl_caller_push(f->L, out->data, whole), 2);
    assert_string_equal(lua_tostring(f->L, 1), "Counter");
    assert_int_equal(lua_type(f->L, 2), LUA_TNUMBER);
    lua_settop(f->L, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, kit_wire_setup, kit_wire_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_counts),      CASE(test_depth),     CASE(test_claims),
        CASE(test_tags),        CASE(test_numbers),   CASE(test_keys_of_tables),
        CASE(test_references),  CASE(test_key_forms), CASE(test_many_types),
        CASE(test_truncations), CASE(test_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
