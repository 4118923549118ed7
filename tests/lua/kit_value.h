/* Values on the stack of a state, for the tests of encode.c, decode.c and copy.c. */
#ifndef TESTS_LUA_KIT_VALUE_H
#define TESTS_LUA_KIT_VALUE_H

#include "kit_state.h"

/* gbl_decode, protected. The values lie on top of the state's main stack. Panics when it raises, or
 * when an error leaves something on the stack. */
int kit_decode(gbl_state *state, const void *bytes, size_t size, gb_block **blocks,
               uint32_t block_count, gbl_from from);

typedef struct kit_message {
    gb_buf bytes;
    gb_block **blocks;
    uint32_t block_count;
} kit_message;

/* gbl_encode of count values from index first on into a fresh message: free it in either case. */
int kit_encode(gbl_state *state, int first, int count, kit_message *out);
void kit_message_free(kit_message *message);

/* Are two values of a stack equal in type, bits and structure? Arrays by their bytes. */
bool kit_same(lua_State *L, int a, int b);

/* What LuaJIT holds after it has collected all it can. */
int64_t kit_collect(gbl_state *state);

#endif
