/* src/lua/decode.c: arrays, types and buffers that nobody of us has written. */
#include "kit_wire.h"

#include "base/err.h"
#include "lua/array.h"
#include "lua/device.h"
#include "lua/value.h"
#include "wire/cbor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

/* ---- arrays ---- */

static void test_arrays(void **state)
{
    kit_wire *f = *state;
    kit_wire_block(f, 64);
    kit_wire_block(f, 7);
    const struct {
        int64_t index;
        const char *wire;
        int64_t offset, count;
        const char *why;
    } rows[] = {
        {-1, "float", 0, 1, "an array without its bytes"},
        {2, "float", 0, 1, "an array without its bytes"},
        {INT64_MAX, "float", 0, 1, "an array without its bytes"},
        {0, "float", 0, 17, "17 elements of float do not fit the 64 bytes"},
        {0, "float", 0, -1, "-1 elements of float do not fit the 64 bytes"},
        {0, "float", 0, INT64_MAX, "do not fit the 64 bytes"},
        {0, "float", -4, 1, "do not fit the 64 bytes"},
        {0, "float", 64, 1, "do not fit the 64 bytes"},
        {0, "float", 68, 0, "do not fit the 64 bytes"},
        {0, "float4", 4, 1, "elements of float4 do not begin at byte 4"},
        {1, "double", 0, 1, "1 elements of double do not fit the 7 bytes"},
        {0, "", 0, 1, "an array whose type has no such name"},
        {0, "floot", 0, 1, "not the name of a type: 'floot'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kit_put_array(kit_wire_begin(f), rows[i].index, rows[i].wire, rows[i].offset,
                      rows[i].count);
        kit_wire_refused(f, rows[i].why);
    }
    gb_buf *out = kit_wire_begin(f);
    gb_cbor_put_tag(out, GBL_TAG_ARRAY);
    gb_cbor_put_list(out, 4);
    gb_cbor_put_int(out, 0);
    gb_cbor_put_text(out, "float\0x", 7);
    kit_wire_refused(f, "an array whose type has no such name");
    kit_put_array(kit_wire_begin(f), 0, "float", 0, 16);
    kit_put_array(&f->bytes, 0, "float", 0, 16); /* the block went with the first */
    kit_wire_refused(f, "an array without its bytes");
    assert_null(f->blocks[0]);
    assert_non_null(f->blocks[1]);
    kit_put_array(kit_wire_begin(f), 1, "int8", 3, 4);
    kit_wire_taken(f, 1);
    assert_int_equal(gbl_array_at(f->L, 1)->count, 4);
}

/* Parts of a wire name become a C declaration. */
/* Who only receives arrays, and makes none, drives the collector too. */
static void test_garbage(void **state)
{
    enum { TIMES = 400, BYTES = 1 << 20, MOST = 200 };
    kit_wire *f = *state;
    for (int i = 0; i < TIMES; i++) {
        kit_wire_block(f, BYTES);
        kit_put_array(kit_wire_begin(f), 0, "uint8", 0, BYTES);
        kit_wire_taken(f, 1);
        lua_settop(f->L, 0);
        f->block_count = 0;
        assert_true(f->kit.root.bytes < (int64_t)MOST * BYTES);
    }
}

static void test_structs(void **state)
{
    static const char *const names[][2] = {
        {"struct 8 8 A\n0 1 *p double\n", "'*p' is no name for a field"},
        {"struct 4 4 A\n0 1 x;int int32\n", "'x;int' is no name for a field"},
        {"struct 4 4 A\n0 1 x:3 int32\n", "'x:3' is no name for a field"},
        {"struct 4 4 A\n0 1 x[] int32\n", "'x[]' is no name for a field"},
        {"struct 8 4 A\n0 1 x int32\n4 1 x int32\n", "'x' is no name for a field"},
        {"struct 4 4 A\n0 2 x int32\n", "field 'x' lies outside"},
        {"struct 4 4 A\n0 99999999999999999999 x int32\n", "field 'x' lies outside"},
        {"struct 8 4 A\n0 1 x int32\n2 1 y int32\n", "field 'y' lies outside of it or over"},
        {"struct 4 4 A\n0 0 x int32\n", "field 'x' lies outside"},
        {"struct 4 4 A\n0 1 x A\n", "field 'x' has type A"},
        {"struct 0 1 A\n", "no struct has size 0"},
        {"struct 4 3 A\n0 1 x int32\n", "alignment 3"},
        {"struct 6 4 A\n0 1 x int32\n", "no struct has size 6 and alignment 4"},
        {"struct 99999999999 1 A\n", "no struct has size 99999999999"},
        {"struct 4 4 A\n0 1 struct int32\n", "struct A:"},
        {"struct 1 1 A\n0 1 x int8\nstruct 2 2 A\n0 1 x int16\n", "A is told in two ways"},
        {"0 1 x int32\n", "not the name of a type"},
        {"struct 4 4 A\n0 1 x int32", "not the name of a type"},
        {"struct 4 4 A\n0 1 x int32\n\n", "not the name of a type"},
    };
    kit_wire *f = *state;
    kit_wire_block(f, 64);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        kit_put_array(kit_wire_begin(f), 0, names[i][0], 0, 1);
        kit_wire_refused(f, names[i][1]);
    }
    kit_put_array(kit_wire_begin(f), 0, "struct 16 8 Good\n0 1 x int8\n8 1 y double\n", 0, 4);
    kit_wire_taken(f, 1);
    assert_int_equal(gbl_array_at(f->L, 1)->count, 4);
}

/* Each struct holds all before it: written out without end, 2^25 of them. */
static void test_struct_of_structs(void **state)
{
    kit_wire *f = *state;
    char wire[GBL_WIRE_MAX + 1];
    int at = snprintf(wire, sizeof wire, "struct 1 1 A\n0 1 x int8\n"), bytes = 1;
    for (int i = 1; i < 25; i++) {
        int own = bytes, offset = 0, size = 1;
        at += snprintf(wire + at, sizeof wire - (size_t)at, "struct %d 1 %c\n", own, 'A' + i);
        for (int k = 0; k < i; k++) {
            at += snprintf(wire + at, sizeof wire - (size_t)at, "%d 1 %c %c\n", offset, 'a' + k,
                           'A' + k);
            offset += size;
            size = k == 0 ? 1 : size * 2;
        }
        bytes = own * 2;
    }
    assert_true(at < (int)sizeof wire);
    kit_put_array(kit_wire_begin(f), 0, wire, 0, 0);
    kit_wire_block(f, 64);
    int64_t before = kit_collect(f->kit.state);
    int rc = kit_wire_decode(f, GBL_FROM_HERE);
    if (rc < 0) fail_msg("%s", gb_err_detail());
    assert_true(kit_collect(f->kit.state) - before < 2 << 20);
    kit_message message; /* and it is told in as many bytes as it came */
    assert_int_equal(kit_encode(f->kit.state, 1, 1, &message), 0);
    assert_int_equal(message.bytes.size, f->bytes.size);
    kit_message_free(&message);
}

/* Types stay for ever, so messages may bring only so many. */
static void test_many_structs(void **state)
{
    kit_wire *f = *state;
    int i, rc = 0;
    for (i = 0; i < 100000 && rc >= 0; i++) {
        char wire[64];
        snprintf(wire, sizeof wire, "struct 4 4 S%d\n0 1 x int32\n", i);
        kit_wire_block(f, 4);
        kit_put_array(kit_wire_begin(f), 0, wire, 0, 1);
        rc = kit_wire_decode(f, GBL_FROM_HERE);
        lua_settop(f->L, 0);
        kit_wire_drop(f);
    }
    assert_int_equal(rc, GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "messages have brought too many types of structs"));
    assert_true(i > 1000);
    kit_wire_block(f, 4); /* those that are known go on */
    kit_put_array(kit_wire_begin(f), 0, "struct 4 4 S0\n0 1 x int32\n", 0, 1);
    kit_wire_taken(f, 1);
}

/* ---- buffers ---- */

static void push_buffer(kit_wire *f)
{
    gb_buffer *buffer;
    assert_int_equal(gb_buffer_open(&buffer, gb_gpu_device(f->kit.gpu, 0), 64, GB_BUFFER_DEVICE),
                     0);
    gbl_buffer_push_new(f->L, buffer, NULL, 16, GB_TYPE_FLOAT, GBL_BUFFER_SHARED);
}

/* Index 1 is a buffer; its handle becomes the block 0. */
static void send_buffer(kit_wire *f)
{
    kit_message message;
    assert_int_equal(kit_encode(f->kit.state, 1, 1, &message), 0);
    assert_int_equal(message.block_count, 1);
    f->blocks[0] = gb_block_ref(message.blocks[0]);
    f->block_count = 1;
    kit_message_free(&message);
}

static void test_buffers(void **state)
{
    kit_wire *f = *state;
    push_buffer(f);
    send_buffer(f);
    kit_put_buffer(kit_wire_begin(f), 0, "float");
    assert_int_equal(kit_wire_decode(f, GBL_FROM_AFAR), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "a buffer of another process"));
    kit_put_array(kit_wire_begin(f), 0, "uint64", 0,
                  5); /* its pointers are not to be seen or written */
    kit_wire_refused(f, "an array without its bytes");
    kit_put_buffer(kit_wire_begin(f), 0, "flout");
    kit_wire_refused(f, "not the name of a type: 'flout'");
    kit_put_buffer(kit_wire_begin(f), 0, "float");
    kit_put_buffer(&f->bytes, 0, "float");
    kit_wire_refused(f, "an array without its bytes"); /* the handle went with the first */
    kit_wire_drop(f);
    send_buffer(f);
    kit_put_buffer(kit_wire_begin(f), 0, "float");
    kit_wire_taken(f, 1);
    assert_true(kit_same(f->L, 1, 2));
}

/* A block that looks like a handle, with pointers of a stranger's choice. */
static void test_forged_buffer(void **state)
{
    kit_wire *f = *state;
    kit_wire_block(f, sizeof(gbl_buffer));
    memset(f->blocks[0]->data, 0x41, sizeof(gbl_buffer));
    kit_put_buffer(kit_wire_begin(f), 0, "float");
    kit_wire_refused(f, "a buffer without its handle");
    push_buffer(f);
    kit_wire_drop(f);
    send_buffer(f);
    gb_block *copy = gb_block_copy(&f->kit.root, f->blocks[0], 0, f->blocks[0]->bytes);
    kit_wire_drop(f);
    f->blocks[f->block_count++] = copy; /* the true bytes, but nobody holds the buffer for it */
    kit_wire_refused(f, "a buffer without its handle");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, kit_wire_setup, kit_wire_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_arrays),        CASE(test_garbage),
        CASE(test_structs),       CASE(test_struct_of_structs),
        CASE(test_many_structs),  CASE(test_buffers),
        CASE(test_forged_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
