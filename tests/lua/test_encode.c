/* src/lua/encode.c and copy.c: what tests/lua/grains/values.lua cannot reach: memory that runs out
 * in the middle, messages that take arrays along and fail, tables that only look like references.
 */
#include "kit_wire.h"

#include "base/err.h"
#include "lua/array.h"
#include "lua/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    kit_state kit;
    lua_State *L;
} fixture;

static int setup(void **out)
{
    fixture *f = calloc(1, sizeof *f);
    kit_state_open(&f->kit, 1, 0);
    f->L = f->kit.state->L;
    *out = f;
    return 0;
}

static int teardown(void **in)
{
    fixture *f = *in;
    lua_settop(f->L, 0);
    kit_state_close(&f->kit);
    kit_state_fini(&f->kit);
    free(f);
    return 0;
}

/* Runs a piece of Lua with gb; its results are left on the stack. How many. */
static int run(fixture *f, const char *text)
{
    int top = lua_gettop(f->L);
    char chunk[1024];
    snprintf(chunk, sizeof chunk, "local gb = require 'gb' %s", text);
    if (luaL_loadstring(f->L, chunk) || lua_pcall(f->L, 0, LUA_MULTRET, 0))
        fail_msg("%s", lua_tostring(f->L, -1));
    return lua_gettop(f->L) - top;
}

static int encode(fixture *f, int count, kit_message *out)
{
    return kit_encode(f->kit.state, lua_gettop(f->L) - count + 1, count, out);
}

static void refused(fixture *f, const char *text, const char *why)
{
    kit_message message;
    int count = run(f, text), rc = encode(f, count, &message);
    if (rc != GB_EINVAL) fail_msg("%s: %d, not refused with \"%s\"", text, rc, why);
    assert_string_equal(gb_err_detail(), why);
    kit_message_free(&message);
    lua_settop(f->L, 0);
}

/* ---- refusals ---- */

static void test_false_references(void **state)
{
    fixture *f = *state;
    const char *why = "value 1: a table with a metatable";
    refused(f, "return setmetatable({}, { __gb = 'ref' })", why);
    refused(f, "return setmetatable({ 1 }, { __gb = 'ref' })", why);
    refused(f, "return setmetatable({ 1 }, { __gb = 'ref', __type = 7 })", why);
    refused(f, "return setmetatable({}, { __gb = 'ref', __type = 'T' })", why);
    refused(f, "return setmetatable({ {} }, { __gb = 'ref', __type = 'T' })", why);
    refused(f, "return setmetatable({ 1 }, { __gb = {} , __type = 'T' })", why);
    int first = run(f, "return setmetatable({}, { __gb = 'ref' }), setmetatable({}, {})");
    assert_int_equal(first, 2);
    assert_false(gbl_copy(f->L, 1, 1));
    assert_false(gbl_copy(f->L, 2, 1));
    assert_int_equal(lua_gettop(f->L), 2);
}

static void test_long_path(void **state)
{
    fixture *f = *state;
    kit_message message;
    int count = run(f, "local t = print for i = 1, 90 do t = { [('key%03d'):format(i)] = t } end "
                       "return t");
    assert_int_equal(encode(f, count, &message), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), ": function"));
    assert_true(strlen(gb_err_detail()) < 500);
    kit_message_free(&message);
}

static void test_long_type(void **state)
{
    fixture *f = *state;
    lua_State *L = f->L;
    run(f, "local types, lines = require 'gb.types', { 'struct 800 4 Long\\n' } "
           "for i = 0, 199 do lines[i + 2] = ('%d 1 a_long_name_%d float\\n'):format(4 * i, i) end "
           "local kind = assert(types.from_wire(table.concat(lines))) return gb.array(kind, 2)");
    assert_non_null(gbl_array_at(L, 1));
    kit_message message;
    assert_int_equal(encode(f, 1, &message), GB_EINVAL);
    assert_string_equal(gb_err_detail(), "value 1: an array of a struct with too many fields");
    kit_message_free(&message);
}

/* ---- what a message takes along ---- */

static bool alive(fixture *f, int index)
{
    return gbl_array_at(f->L, index)->block != NULL;
}

static void test_move_and_fail(void **state)
{
    static const char *const rests[] = {
        "print",             /* refused */
        "{ x = { print } }", /* later */
        "gb.move(a)",        /* twice */
        "a",                 /* taken along and sent */
        "dead",              /* gone before */
        "gone",              /* so is this buffer */
        "own",               /* a buffer neither shared nor moved */
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "local a, b = gb.array('int32', { 1, 2 }), gb.array('int32', 1) "
                 "local d, e = gb.buffer('float', 4), gb.buffer('float', 4) "
                 "local dead, gone, own = gb.move(b), gb.move(e), gb.buffer('float', 4) "
                 "b:free() e:free() return a, d, gb.move(a), gb.move(d), %s",
                 rests[i]);
        int count = run(f, text);
        assert_int_equal(count, 5);
        kit_message message;
        if (encode(f, 3, &message) != GB_EINVAL) fail_msg("%s was sent", rests[i]);
        kit_message_free(&message);
        assert_true(alive(f, 1));
        assert_int_equal(gbl_array_at(f->L, 1)->flags, GBL_ARRAY_COUNTED);
        assert_non_null(gbl_buffer_at(f->L, 2)->buffer);
        assert_int_equal(gbl_buffer_at(f->L, 2)->flags, 0);
        lua_settop(f->L, 4); /* and now all goes well */
        assert_int_equal(encode(f, 2, &message), 0);
        assert_false(alive(f, 1));
        assert_null(gbl_buffer_at(f->L, 2)->buffer);
        assert_int_equal(gbl_array_at(f->L, 1)->flags, GBL_ARRAY_MOVED);
        assert_int_equal(gbl_buffer_at(f->L, 2)->flags, GBL_BUFFER_MOVED);
        kit_message_free(&message);
        lua_settop(f->L, 0);
        kit_collect(f->kit.state);
    }
}

/* Also when the sending fails after the encoding. */
static void test_move_and_not_sent(void **state)
{
    fixture *f = *state;
    run(f, "local a = gb.array('int32', { 1, 2 }) return a, gb.move(a)");
    for (int sent = 0; sent < 2; sent++) {
        gbl_moves moves = {0};
        kit_message message = {.block_count = 0};
        gb_buf_init(&message.bytes, &f->kit.mem);
        gbl_packer to = {&message.bytes, &message.blocks, &message.block_count};
        assert_int_equal(gbl_encode_call(f->L, 2, 1, &to, "argument", &moves), 0);
        assert_true(alive(f, 1));
        gbl_moves_end(f->L, &moves, sent);
        assert_int_equal(alive(f, 1), !sent);
        kit_message_free(&message);
    }
}

/* The same block, not a copy of it; a view that somebody else holds is copied. */
static void test_move_is_no_copy(void **state)
{
    fixture *f = *state;
    run(f, "local a = gb.array('int32', { 1, 2, 3, 4 }) return a, gb.move(a)");
    const gb_block *block = gbl_array_at(f->L, 1)->block;
    kit_message message;
    assert_int_equal(encode(f, 1, &message), 0);
    assert_ptr_equal(message.blocks[0], block);
    assert_true(gb_block_alone(block));
    kit_message_free(&message);
    lua_settop(f->L, 0);
    run(f, "local a = gb.array('int32', { 1, 2, 3, 4 }) local v = a:view(1, 2) "
           "return a, v, gb.move(v)");
    assert_int_equal(encode(f, 1, &message), 0);
    assert_ptr_not_equal(message.blocks[0], gbl_array_at(f->L, 1)->block);
    assert_int_equal(message.blocks[0]->bytes, 8);
    assert_true(alive(f, 1));
    assert_false(alive(f, 2));
    kit_message_free(&message);
}

/* ---- memory ---- */

static const char big[] =
    "local a, b, d = gb.array('float', 100), gb.array('float', 5), gb.buffer('float', 4) "
    "local t = {} for i = 1, 300 do t[i] = ('text'):rep(i % 50) end "
    "return a, d, { 1, t, a, x = gb.get('T', 1) }, gb.move(b), gb.move(d), d:share(), gb.move(a)";

/* What a message takes from: the buffer of its bytes, and the blocks. */
static gb_mem *account_of(fixture *f, int which)
{
    return which ? &f->kit.mem : &f->kit.state->mem;
}

/* Every allocation of an encoding fails once. */
static int encode_short_of(fixture *f, gb_mem *account)
{
    for (int at = 1;; at++) {
        int count = run(f, big);
        kit_message message;
        account->fail_at = at;
        int rc = encode(f, count - 2, &message);
        bool reached = account->fail_at <= 0;
        account->fail_at = 0;
        assert_int_equal(rc, reached ? GB_ENOMEM : 0);
        assert_int_equal(alive(f, 1), reached);
        assert_int_equal(gbl_buffer_at(f->L, 2)->buffer != NULL, reached);
        kit_message_free(&message);
        lua_settop(f->L, 0);
        kit_collect(f->kit.state);
        if (!reached) return at - 1;
    }
}

static void test_encode_no_memory(void **state)
{
    fixture *f = *state;
    for (int which = 0; which < 2; which++)
        assert_true(encode_short_of(f, account_of(f, which)) >= 3);
}

/* And of a decoding that must define a type: the next try finds nothing half done. LuaJIT's own are
 * another matter (types/short_memory.lua). */
static void test_decode_no_memory(void **state)
{
    fixture *f = *state;
    gb_buf bytes;
    gb_buf_init(&bytes, &f->kit.root);
    gb_block *block = gb_block_new(&f->kit.root, 64);
    gb_mem *account = account_of(f, 0);
    int failures = 0;
    for (int at = 1;; at++) {
        char wire[64];
        snprintf(wire, sizeof wire, "struct 4 4 S%d\n0 1 x float\n", at);
        bytes.size = 0;
        kit_put_array(&bytes, 0, wire, 0, 16);
        account->fail_at = at;
        gb_block *given = gb_block_ref(block);
        int rc = kit_decode(f->kit.state, bytes.data, bytes.size, &given, 1, GBL_FROM_HERE);
        bool reached = account->fail_at <= 0;
        account->fail_at = 0;
        assert_int_equal(given == NULL, !reached);
        if (reached) {
            failures++;
            assert_true(rc < 0);
            rc = kit_decode(f->kit.state, bytes.data, bytes.size, &given, 1, GBL_FROM_HERE);
        }
        assert_int_equal(rc, 1);
        lua_settop(f->L, 0);
        if (!reached) break;
    }
    assert_true(failures >= 2);
    gb_block_unref(block);
    gb_buf_fini(&bytes);
}

/* ---- both ways give the same ---- */

static void test_copy_and_bytes(void **state)
{
    static const char *const texts[] = {
        "return 1, nil, 'x', { 1, 2, { y = { true } } }",
        "local t = {} for i = 1, 200 do t[i], t['k' .. i] = i, { i } end return t",
        "return gb.get('T', 'key'), { gb.get('T', 7) }, 7LL, 7ULL",
        "return { gb.array('double', { 1, 2 }), gb.array('int8', 0) }",
        "local t = 1 for _ = 1, 100 do t = { t } end return t",
        "return { [1.5] = 1, [-1] = 2, [true] = 3, [2 ^ 60] = 4 }",
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int count = run(f, texts[i]);
        kit_message message;
        assert_int_equal(kit_encode(f->kit.state, 1, count, &message), 0);
        assert_int_equal(kit_decode(f->kit.state, message.bytes.data, message.bytes.size,
                                    message.blocks, message.block_count, GBL_FROM_HERE),
                         count);
        assert_true(gbl_copy(f->L, 1, count));
        assert_int_equal(lua_gettop(f->L), 3 * count);
        for (int k = 1; k <= count; k++) {
            assert_true(kit_same(f->L, k, count + k));
            assert_true(kit_same(f->L, k, 2 * count + k));
        }
        kit_message_free(&message);
        lua_settop(f->L, 0);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_false_references), CASE(test_long_path),         CASE(test_long_type),
        CASE(test_move_and_fail),    CASE(test_move_and_not_sent), CASE(test_move_is_no_copy),
        CASE(test_encode_no_memory), CASE(test_decode_no_memory),  CASE(test_copy_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
