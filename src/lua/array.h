/* Arrays as C sees them, for value.c (arguments and results) and gpu.c (launches).
 *
 * An array is FFI cdata made by lua/gb/array.lua; its payload is a gbl_array that holds one
 * reference of a gb_block. Views are arrays on the same block. Everything here runs on the thread
 * of the state; only the block may be handed to other threads.
 *
 * Types. An id below GBL_TYPE_STRUCTS is the same everywhere: gb_type_code | (lanes - 1) << 4.
 * Structs have ids of their own in each state and travel by their wire name, a text that describes
 * them fully, so that any state (or silo) can make the type: "float" and "float4" for the others.
 */
#ifndef GB_LUA_ARRAY_H
#define GB_LUA_ARRAY_H

#include "base/block.h"
#include "gpu/gpu.h"
#include "lua/lua.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gbl_array {
    void *data;
    int64_t count; /* elements */
    gb_block *block;
    uint32_t type;
    uint32_t flags;
} gbl_array;

enum {
    GBL_ARRAY_COUNTED = 1, /* its bytes drive this state's collector */
    GBL_ARRAY_FREED = 2,
    GBL_ARRAY_MOVED = 4,
};

enum { GBL_TYPE_STRUCTS = 64 };

/* What a cdata value is. */
typedef enum {
    GBL_CDATA_NONE, /* no cdata, or none of ours */
    GBL_CDATA_INT64,
    GBL_CDATA_UINT64,
    GBL_CDATA_ARRAY,
    GBL_CDATA_ELEMENT,     /* a vector or struct by value */
    GBL_CDATA_ELEMENT_REF, /* a reference into an array */
} gbl_cdata_kind;

gbl_cdata_kind gbl_cdata_at(lua_State *L, int index);

/* The 64 bits of an int64 or uint64 cdata. */
uint64_t gbl_int64_at(lua_State *L, int index);

/* Pushes a cdata. Raises when out of memory. */
void gbl_push_int64(lua_State *L, int64_t value);
void gbl_push_uint64(lua_State *L, uint64_t value);

/* The array at a stack index, or NULL when the value is none. Check flags for FREED and MOVED:
 * count is 0 and block NULL then. Borrowed while the value is on the stack. */
gbl_array *gbl_array_at(lua_State *L, int index);

/* The bytes and type of a vector or struct value (GBL_CDATA_ELEMENT, _REF), or NULL. */
const void *gbl_element_at(lua_State *L, int index, uint32_t *type);

size_t gbl_type_size(lua_State *L, uint32_t type);      /* bytes of one element; 0: unknown id */
const char *gbl_type_name(lua_State *L, uint32_t type); /* "float4", "Body": for messages */
const char *gbl_type_wire(lua_State *L, uint32_t type); /* borrowed from the state */

/* A reference to the array's bytes for another state or an operation, and where they begin in it:
 * the same block when it is frozen, a copy otherwise. NULL: GB_ENOMEM. */
gb_block *gbl_array_send(lua_State *L, const gbl_array *array, size_t *offset);

/* Pushes an array of count elements at an offset of the block and takes over one reference. 1, or a
 * negative code with nothing pushed and the reference still the caller's (GB_ENOMEM, GB_EINVAL:
 * not a type, out of the block). Never raises. */
int gbl_array_push(lua_State *L, gb_block *block, size_t offset, int64_t count, const char *wire);

/* gb.move(x) makes a marker. When the value at index is one, pushes x (an array or a buffer) and
 * returns true. The value is dead only once the message that takes it along is sent. */
bool gbl_move_at(lua_State *L, int index);

/* The handle lets go of its memory; later use of it raises. */
void gbl_array_free(lua_State *L, gbl_array *array, uint32_t why);

/* ---- device buffers (gpu.c) ---- */

/* What a buffer handle is made of: enough to make another one in any state of this host. */
typedef struct gbl_buffer {
    gb_buffer *buffer; /* one reference; NULL once freed or moved */
    gb_module *module; /* a __device__ variable keeps its module; else NULL */
    int64_t count;
    uint32_t type;
    uint32_t flags; /* GBL_BUFFER_... */
} gbl_buffer;

enum {
    GBL_BUFFER_SHARED = 1, /* read-only */
    GBL_BUFFER_MOVED = 4,
    GBL_BUFFER_RESIDENT = 8, /* a grain's state: its memory comes and goes (resident.c) */
};

/* The buffer at a stack index, or NULL when the value is none. */
gbl_buffer *gbl_buffer_at(lua_State *L, int index);

/* Fills *out with a reference of its own for another state of this host; a handle that is neither
 * shared nor moved is refused. 0, GB_EINVAL (freed, or neither shared nor moved), GB_EDEVICE (a
 * __device__ variable cannot travel). The type travels by name: gbl_type_wire. */
int gbl_buffer_send(lua_State *L, gbl_buffer *buffer, bool move, gbl_buffer *out);

/* Pushes a handle that takes over what gbl_buffer_send gave. 1, or negative with nothing taken. */
int gbl_buffer_push(lua_State *L, const gbl_buffer *sent, const char *wire);

/* Lets go of what gbl_buffer_send gave and nobody pushed. Any thread. */
void gbl_buffer_drop(gbl_buffer *sent);

/* ---- within this room ---- */

/* Runs collector steps for bytes that the Lua heap does not see; a full collection with bytes < 0
 * (before giving up for lack of memory). */
void gbl_array_drive(lua_State *L, int64_t bytes);

/* Makes the array cdata on top of the stack hold a block (takes over one reference). */
void gbl_array_adopt(lua_State *L, gbl_array *array, gb_block *block, size_t offset, int64_t count,
                     uint32_t type);

/* The id of a wire name, defining the struct where this state does not know it; negative: raised
 * inside is turned into GB_EINVAL or GB_ENOMEM. */
int gbl_type_find(lua_State *L, const char *wire, uint32_t *out);

#endif
