/* Any bytes as a message between silos: refused, or a message that is written and read again as
 * the same; the memory it takes is bounded by its bytes. */
#include "fuzz.h"

#include "base/check.h"
#include "base/err.h"
#include "cluster/message.h"

#include <string.h>

enum { BYTES_PER_BYTE = 1200 }; /* a row: what it says in 30 bytes is a structure of fixed fields */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gb_mem mem;
    gb_message message, again;
    gb_buf bytes;
    gb_mem_init(&mem, "fuzz", NULL, 0);
    int rc = gb_message_decode(&message, &mem, data, size);
    GB_CHECK(rc == 0 || rc == GB_EINVAL);
    GB_CHECK(atomic_load(&mem.bytes) <= (int64_t)size * BYTES_PER_BYTE);
    if (rc == 0) {
        gb_buf_init(&bytes, &mem);
        rc = gb_message_encode(&bytes, &message);
        GB_CHECK(rc == 0);
        rc = gb_message_decode(&again, &mem, bytes.data, bytes.size);
        GB_CHECK(rc == 0 && again.kind == message.kind && again.count == message.count);
        gb_message_fini(&again);
        gb_buf_fini(&bytes);
        gb_message_fini(&message);
    }
    GB_CHECK(atomic_load(&mem.bytes) == 0);
    gb_mem_fini(&mem);
    return 0;
}

static void sample_rows(seed *s, gb_message *m, gb_mem *mem, gb_row **rows)
{
    m->count = (uint32_t)seed_below(s, 3);
    for (uint32_t i = 0; i < m->count; i++) {
        gb_member row = {.id = i + 1,
                         .epoch = 3,
                         .name = "a",
                         .address = "b:1",
                         .labels = (char *)"",
                         .types = (char *)"Counter"};
        int rc = gb_row_new(&rows[i], mem, &row);
        GB_CHECK(rc == 0);
    }
    m->rows = rows;
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    gb_mem mem;
    gb_buf bytes;
    gb_row *rows[3];
    gb_arc arcs[4] = {{1, 2}, {UINT64_MAX, 0}};
    gb_sync_item items[4] = {{1, {2, 3, 4}, "x", 1},
                             {5, {0, 0, 0}, "Counter/1", 9},
                             {7, {0, 1, 0}, "y", 1},
                             {8, {0, 1, 0}, "z", 1}};
    gb_mem_init(&mem, "sample", NULL, 0);
    gb_buf_init(&bytes, &mem);
    gb_message m = {.kind = (gb_message_kind)(1 + seed_below(s, GB_MSG_KINDS - 1)),
                    .view = {0, seed_wide(s), seed_next(s)},
                    .seq = seed_wide(s),
                    .silo = seed_next(s),
                    .act = seed_wide(s),
                    .id = "Counter/17",
                    .id_size = 10,
                    .has_capacity = seed_below(s, 2),
                    .count = (uint32_t)seed_below(s, 4),
                    .arcs = arcs,
                    .items = items,
                    .ids = &arcs[0].first};
    if (m.kind == GB_MSG_VIEW) sample_rows(s, &m, &mem, rows);
    int rc = gb_message_encode(&bytes, &m);
    GB_CHECK(rc == 0);
    for (uint32_t i = 0; m.kind == GB_MSG_VIEW && i < m.count; i++) gb_row_unref(rows[i]);
    size_t size = bytes.size < room ? bytes.size : room;
    memcpy(out, bytes.data, size);
    gb_buf_fini(&bytes);
    gb_mem_fini(&mem);
    return size;
}
