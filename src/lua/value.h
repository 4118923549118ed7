/* Values between Lua stacks and bytes (encode.c, decode.c), and between two stacks of one state
 * (copy.c). Both ways refuse the same values, keep the same bounds and give the same results.
 *
 * The bytes are CBOR (wire/cbor.h). Numbers that are whole and below 2^53 travel as integers and
 * come back as Lua numbers; int64 and uint64 cdata, references and arrays are tagged. Arrays do not
 * lie in the bytes within a process: their blocks travel beside them.
 */
#ifndef GB_LUA_VALUE_H
#define GB_LUA_VALUE_H

#include "lua/state.h"

enum {
    GBL_TAG_INT64 = 40001,  /* an integer: int64 cdata */
    GBL_TAG_UINT64 = 40002, /* an integer: uint64 cdata */
    GBL_TAG_REF = 40003,    /* [type name, key] */
    GBL_TAG_ARRAY = 40004, /* [index of the block, wire name of the type, offset in bytes, count] */
    GBL_TAG_BUFFER = 40005, /* [index of the block, wire name of the type] */
    GBL_TAG_CALLER = 40006, /* [type name, key]: before the arguments, who calls */
    GBL_TCDATA = 10         /* lua_type of cdata, which lua.h does not name */
};

/* What one message may hold: values (keys do not count), tables in tables; and bytes of its strings
 * where the configuration says nothing. */
enum { GBL_DEPTH_MAX = 100, GBL_NODES_MAX = 1000000, GBL_BYTES_MAX = 64 << 20 };

enum { GBL_WIRE_MAX = 4095 }; /* bytes of the wire name of a type */

typedef struct gbl_measure {
    uint64_t nodes, bytes;
    int depth;
} gbl_measure;

typedef enum { GBL_TABLE_PLAIN, GBL_TABLE_REF, GBL_TABLE_REFUSED } gbl_table_is;

/* A table with a metatable is a reference, or refused. */
gbl_table_is gbl_table_at(lua_State *L, int index);

/* Is it one of the blocks that encode.c puts handles of buffers in? What they hold are pointers: no
 * array may stand on one, and no other block is a handle, whatever the bytes of a message say. */
bool gbl_holds_buffer(const gb_block *block);

#endif
