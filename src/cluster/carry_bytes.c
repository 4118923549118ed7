/* Large calls: what travels beside a frame, and who waits for whom. */
#include "base/err.h"
#include "cluster/carry_room.h"

#include <stdlib.h>

enum { BESIDE_FROM = 65536 }; /* fewer bytes are copied into the frame */

static int out_of_memory(void)
{
    return gb_err_set(GB_ENOMEM, "out of memory: a call between silos");
}

int gbi_call_beside(gb_call *call)
{
    if (call->bytes.size < BESIDE_FROM) return 0;
    gb_block **more = realloc(call->blocks, (call->block_count + 1) * sizeof *more);
    if (!more) return out_of_memory();
    call->blocks = more;
    gb_block *block = gb_block_of_buf(&call->bytes);
    if (!block) return GB_ENOMEM;
    more[call->block_count++] = block;
    return 1;
}

int gbi_call_inside(gb_call *call)
{
    if (call->block_count == 0) return gb_err_set(GB_EINVAL, "a message without its bytes");
    int rc = gb_block_into_buf(call->blocks[call->block_count - 1], &call->bytes);
    if (rc == 0) call->block_count--;
    return rc;
}

int gbi_call_take(gb_call *call, gb_block **blocks, uint32_t count)
{
    while (call->block_count > 0) gb_block_unref(call->blocks[--call->block_count]);
    if (count == 0) return 0;
    gb_block **room = realloc(call->blocks, count * sizeof *room);
    if (!room) return out_of_memory();
    call->blocks = room;
    for (uint32_t i = 0; i < count; i++) {
        room[call->block_count++] = blocks[i];
        blocks[i] = NULL;
    }
    return 0;
}

uint64_t gbi_call_order(const gb_call *call)
{
    return gb_key_hash(call->type, call->key) | 1;
}

static bool is_large(const gb_call *call)
{
    size_t bytes = call->bytes.size;
    for (uint32_t i = 0; i < call->block_count; i++) bytes += call->blocks[i]->bytes;
    return bytes > GB_LINK_LARGE_BYTES;
}

/* Is one to the same grain before it? */
static bool is_behind(const gbi_lane *lane, uint64_t order)
{
    if (gb_link_orders(lane->link, order)) return true;
    for (const gb_list *at = lane->large.next; at != &lane->large; at = at->next)
        if (gbi_call_order(GB_CONTAINER(at, gbi_pend, link)->call) == order) return true;
    return false;
}

bool gbi_lane_takes(const gbi_lane *lane, const gb_call *call)
{
    uint32_t under_way = gb_link_large(lane->link);
    if (under_way == 0 && gb_list_empty(&lane->large)) return true;
    if (!is_large(call) && !is_behind(lane, gbi_call_order(call))) return true;
    return gb_list_empty(&lane->large) && under_way < GB_LINK_LARGE_MAX;
}
