#include "kit_wire.h"

#include "base/err.h"
#include "lua/value.h"
#include "wire/cbor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

int kit_wire_setup(void **out)
{
    kit_wire *f = calloc(1, sizeof *f);
    kit_state_open(&f->kit, 1, 0);
    f->L = f->kit.state->L;
    gb_buf_init(&f->bytes, &f->kit.root);
    *out = f;
    return 0;
}

void kit_wire_drop(kit_wire *f)
{
    for (uint32_t i = 0; i < f->block_count; i++) gb_block_unref(f->blocks[i]);
    f->block_count = 0;
}

int kit_wire_teardown(void **in)
{
    kit_wire *f = *in;
    kit_wire_drop(f);
    gb_buf_fini(&f->bytes);
    lua_settop(f->L, 0);
    kit_state_close(&f->kit);
    kit_state_fini(&f->kit);
    free(f);
    return 0;
}

/* ---- writing ---- */

gb_buf *kit_wire_begin(kit_wire *f)
{
    f->bytes.size = 0;
    return &f->bytes;
}

void kit_put_text(gb_buf *out, const char *text)
{
    gb_cbor_put_text(out, text, strlen(text));
}

void kit_wire_block(kit_wire *f, size_t bytes)
{
    gb_block *block = gb_block_new(&f->kit.root, bytes);
    assert_non_null(block);
    f->blocks[f->block_count++] = block;
}

void kit_put_array(gb_buf *out, int64_t index, const char *wire, int64_t offset, int64_t count)
{
    gb_cbor_put_tag(out, GBL_TAG_ARRAY);
    gb_cbor_put_list(out, 4);
    gb_cbor_put_int(out, index);
    kit_put_text(out, wire);
    gb_cbor_put_int(out, offset);
    gb_cbor_put_int(out, count);
}

void kit_put_buffer(gb_buf *out, int64_t index, const char *wire)
{
    gb_cbor_put_tag(out, GBL_TAG_BUFFER);
    gb_cbor_put_list(out, 2);
    gb_cbor_put_int(out, index);
    kit_put_text(out, wire);
}

void kit_put_ref(gb_buf *out, const void *name, size_t size)
{
    gb_cbor_put_tag(out, GBL_TAG_REF);
    gb_cbor_put_list(out, 2);
    gb_cbor_put_text(out, name, size);
}

/* ---- reading ---- */

int kit_wire_decode(kit_wire *f, gbl_from from)
{
    return kit_decode(f->kit.state, f->bytes.data, f->bytes.size, f->blocks, f->block_count, from);
}

void kit_wire_refused(kit_wire *f, const char *why)
{
    int rc = kit_wire_decode(f, GBL_FROM_HERE);
    if (rc >= 0) fail_msg("decoded, but should be refused: %s", why);
    assert_int_equal(rc, GB_EINVAL);
    if (!strstr(gb_err_detail(), why))
        fail_msg("refused for \"%s\", not for \"%s\"", gb_err_detail(), why);
}

void kit_wire_taken(kit_wire *f, int values)
{
    int rc = kit_wire_decode(f, GBL_FROM_HERE);
    if (rc < 0) fail_msg("refused: %s", gb_err_detail());
    assert_int_equal(rc, values);
}
