/* Any bytes as values on a Lua stack, with blocks of which some are too short, missing, or hold the
 * handle of a buffer. The stack ends as it was, memory stays within a multiple of the bytes, no
 * block is lost, a stranger gets no buffer, and what was read is written and read again as the same
 * values. The first two input bytes choose the blocks and who wrote the message. */
#include "fuzz.h"

#include "base/check.h"
#include "base/err.h"
#include "kit_value.h"
#include "lua/array.h"
#include "lua/device.h"
#include "lua/value.h"
#include "wire/cbor.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEAD_BYTES = 2,
    BLOCKS_MAX = 3,
    ROUND = 256,               /* inputs between two full collections */
    BYTES_PER_BYTE = 200,      /* of the heap: a table of one item for two bytes */
    BYTES_ONCE = 256 << 10,    /* a new type of struct */
    BYTES_FOR_EVER = 24 << 20, /* types that messages brought: bounded (lua/gb/types.lua) */
};

typedef enum { NOTHING, WORDS, ODD, HANDLE } block_kind;

typedef struct world {
    kit_state kit;
    gb_mem mem; /* of the blocks */
    int64_t start;
    uint64_t inputs;
    bool open;
} world;

static world the; /* libFuzzer gives no place for it */

/* LuaJIT keeps pointers in forms that the leak check does not know, and libFuzzer asks it while the
 * state is open. The state frees all at the end. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:gbl_alloc_run\n";
}

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

static void close_world(void)
{
    lua_settop(the.kit.state->L, 0);
    kit_state_close(&the.kit);
    gb_mem_fini(&the.mem);
    kit_state_fini(&the.kit);
}

static void open_world(void)
{
    if (the.open) return;
    the.open = true;
    kit_state_open(&the.kit, 1, 0);
    gb_mem_init(&the.mem, "blocks", NULL, 0);
    lua_State *L = the.kit.state->L;
    gb_buffer *buffer;
    int rc = gb_buffer_open(&buffer, gb_gpu_device(the.kit.gpu, 0), 64, GB_BUFFER_DEVICE);
    GB_CHECK(rc == 0);
    gbl_buffer_push_new(L, buffer, NULL, 16, GB_TYPE_FLOAT, GBL_BUFFER_SHARED);
    the.start = kit_collect(the.kit.state);
    atexit(close_world);
}

/* Index 1 of the stack is the shared buffer: its handle in a block, as a message has it. */
static gb_block *handle_block(void)
{
    kit_message message;
    int rc = kit_encode(the.kit.state, 1, 1, &message);
    GB_CHECK(rc == 0 && message.block_count == 1);
    gb_block *block = gb_block_ref(message.blocks[0]);
    kit_message_free(&message);
    return block;
}

static gb_block *make_block(block_kind kind)
{
    if (kind == NOTHING) return NULL;
    if (kind == HANDLE) return handle_block();
    gb_block *block = gb_block_new(&the.mem, kind == WORDS ? 64 : 7);
    GB_CHECK(block != NULL);
    memset(block->data, 0xff, block->bytes); /* NaN of the worst kind */
    return block;
}

static void free_blocks(gb_block **blocks)
{
    for (int i = 0; i < BLOCKS_MAX; i++) gb_block_unref(blocks[i]);
}

static void check_again(lua_State *L, int first, int count)
{
    gbl_state *state = the.kit.state;
    kit_message message;
    int rc = kit_encode(state, first, count, &message);
    if (rc < 0) gb_panic(__FILE__, __LINE__, "decoded, but not encoded: %s", gb_err_detail());
    int again = kit_decode(state, message.bytes.data, message.bytes.size, message.blocks,
                           message.block_count, GBL_FROM_HERE);
    if (again != count) gb_panic(__FILE__, __LINE__, "not decoded again: %s", gb_err_detail());
    for (int i = 0; i < count; i++) GB_CHECK(kit_same(L, first + i, first + count + i));
    kit_message_free(&message);
}

static void check_no_buffer(lua_State *L, int first, int count)
{
    for (int i = first; i < first + count; i++) GB_CHECK(gbl_buffer_at(L, i) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[HEAD_BYTES] = {0}; /* libFuzzer begins with less */
    size_t head_size = size < HEAD_BYTES ? size : HEAD_BYTES;
    if (head_size) memcpy(head, data, head_size);
    data += head_size;
    size -= head_size;
    open_world();
    lua_State *L = the.kit.state->L;
    uint32_t count = head[0] & 3;
    gbl_from from = head[0] & 4 ? GBL_FROM_AFAR : GBL_FROM_HERE;
    gb_block *blocks[BLOCKS_MAX] = {NULL};
    for (uint32_t i = 0; i < count; i++) blocks[i] = make_block((block_kind)(head[1] >> 2 * i & 3));
    lua_gc(L, LUA_GCSTOP, 0);
    int64_t before = gbl_alloc_bytes(the.kit.state->alloc);
    int values = kit_decode(the.kit.state, data, size, blocks, count, from);
    int64_t grown = gbl_alloc_bytes(the.kit.state->alloc) - before;
    GB_CHECK(grown <= BYTES_ONCE + (int64_t)size * BYTES_PER_BYTE);
    lua_gc(L, LUA_GCRESTART, 0);
    if (values > 0 && from == GBL_FROM_AFAR) check_no_buffer(L, 2, values);
    if (values > 0 && lua_checkstack(L, values + 16)) check_again(L, 2, values);
    lua_settop(L, 1);
    free_blocks(blocks);
    if (++the.inputs % ROUND == 0) {
        GB_CHECK(kit_collect(the.kit.state) < the.start + BYTES_FOR_EVER);
        GB_CHECK(atomic_load(&the.mem.bytes) == 0);
    }
    return 0;
}

/* ---- samples ---- */

static const char *const wires[] = {
    "float",
    "double3",
    "bool",
    "struct 16 4 Body\n0 3 at float\n12 1 mass float\n",
    "struct 2 1 In\n0 2 x int8\nstruct 8 4 Out\n0 2 in In\n4 1 y int32\n",
};

static void put_text(gb_buf *out, const char *text)
{
    gb_cbor_put_text(out, text, strlen(text));
}

static void sample_array(seed *s, gb_buf *out)
{
    gb_cbor_put_tag(out, GBL_TAG_ARRAY);
    gb_cbor_put_list(out, 4);
    gb_cbor_put_uint(out, seed_below(s, BLOCKS_MAX));
    put_text(out, wires[seed_below(s, sizeof wires / sizeof *wires)]);
    gb_cbor_put_uint(out, seed_below(s, 3) ? 0 : seed_below(s, 5) * 16);
    gb_cbor_put_uint(out, seed_below(s, 5));
}

static void sample_special(seed *s, gb_buf *out)
{
    switch (seed_below(s, 5)) {
    case 0:
        gb_cbor_put_tag(out, GBL_TAG_INT64);
        gb_cbor_put_int(out, (int64_t)seed_wide(s));
        break;
    case 1:
        gb_cbor_put_tag(out, GBL_TAG_UINT64);
        gb_cbor_put_uint(out, seed_wide(s));
        break;
    case 2:
        gb_cbor_put_tag(out, GBL_TAG_REF);
        gb_cbor_put_list(out, 2);
        put_text(out, seed_below(s, 2) ? "Counter" : "$worker0");
        if (seed_below(s, 2))
            gb_cbor_put_int(out, (int64_t)seed_wide(s));
        else
            gb_cbor_put_bytes(out, "17", 2);
        break;
    case 3:
        sample_array(s, out);
        break;
    default:
        gb_cbor_put_tag(out, GBL_TAG_BUFFER);
        gb_cbor_put_list(out, 2);
        gb_cbor_put_uint(out, seed_below(s, BLOCKS_MAX));
        put_text(out, "float");
    }
}

static void sample(seed *s, gb_buf *out, int depth)
{
    uint64_t count = seed_below(s, 5);
    switch (seed_below(s, depth > 0 ? 8 : 6)) {
    case 0:
        gb_cbor_put_int(out, (int64_t)seed_wide(s));
        break;
    case 1:
        gb_cbor_put_double(out, (double)seed_wide(s) / 3);
        break;
    case 2:
        gb_cbor_put_bytes(out, "a string of thirty-five bytes, long", seed_below(s, 36));
        break;
    case 3:
        if (count > 2)
            gb_cbor_put_bool(out, count > 3);
        else
            gb_cbor_put_nil(out);
        break;
    case 4:
    case 5:
        sample_special(s, out);
        break;
    case 6:
        gb_cbor_put_list(out, count);
        for (; count > 0; count--) sample(s, out, depth - 1);
        break;
    default:
        gb_cbor_put_map(out, count);
        for (; count > 0; count--) {
            gb_cbor_put_int(out, (int64_t)count);
            sample(s, out, depth - 1);
        }
    }
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    gb_mem mem;
    gb_buf buf;
    uint8_t head[HEAD_BYTES] = {(uint8_t)seed_next(s) & 7, (uint8_t)seed_next(s)};
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&buf, &mem);
    gb_buf_put(&buf, head, sizeof head);
    for (uint64_t values = seed_below(s, 4); values > 0; values--) sample(s, &buf, 3);
    size_t size = buf.size < room ? buf.size : room;
    memcpy(out, buf.data, size);
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
    return size;
}
