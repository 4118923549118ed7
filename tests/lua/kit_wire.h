/* Messages that nobody of us has written: a state, a message being written token by token, and the
 * blocks beside it. For the tests of decode.c. */
#ifndef TESTS_LUA_KIT_WIRE_H
#define TESTS_LUA_KIT_WIRE_H

#include "kit_value.h"

typedef struct kit_wire {
    kit_state kit;
    lua_State *L;
    gb_buf bytes;
    gb_block *blocks[2];
    uint32_t block_count;
} kit_wire;

/* Of a cmocka test with its own state. */
int kit_wire_setup(void **out);
int kit_wire_teardown(void **in);

gb_buf *kit_wire_begin(kit_wire *f); /* an empty message */
void kit_wire_block(kit_wire *f, size_t bytes);
void kit_wire_drop(kit_wire *f); /* the blocks that are left */

void kit_put_text(gb_buf *out, const char *text);
void kit_put_ref(gb_buf *out, const void *name, size_t size); /* the key follows */
void kit_put_array(gb_buf *out, int64_t index, const char *wire, int64_t offset, int64_t count);
void kit_put_buffer(gb_buf *out, int64_t index, const char *wire);

int kit_wire_decode(kit_wire *f, gbl_from from);
void kit_wire_taken(kit_wire *f, int values);        /* it must be read, as so many values */
void kit_wire_refused(kit_wire *f, const char *why); /* it must not, for a reason with this text */

#endif
