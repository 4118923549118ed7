#include "kit_message.h"

#include "base/check.h"

#include <string.h>

static void make_row(gb_member *row, seed *s, uint64_t id)
{
    *row = (gb_member){.id = id,
                       .epoch = seed_wide(s),
                       .generation = seed_wide(s),
                       .state = (gb_silo_state)seed_below(s, 5),
                       .started_ns = 17,
                       .alive_ns = (int64_t)seed_wide(s),
                       .labels = (char *)"zone=a",
                       .types = (char *)"Counter"};
    snprintf(row->name, sizeof row->name, "silo%u", (unsigned)seed_below(s, 100));
    snprintf(row->address, sizeof row->address, "127.0.0.1:%u", (unsigned)seed_below(s, 65536));
    row->vote_count = (uint32_t)seed_below(s, 3);
    for (uint32_t i = 0; i < row->vote_count; i++)
        row->votes[i] = (gb_vote){seed_next(s), (int64_t)seed_wide(s)};
}

static gb_view_id make_view(seed *s)
{
    return (gb_view_id){seed_wide(s), seed_wide(s), seed_next(s)};
}

static void make_lists(kit_message *out, seed *s)
{
    gb_message *m = &out->message;
    m->count = (uint32_t)seed_below(s, 8);
    for (uint32_t i = 0; i < 8; i++) {
        out->ids[i] = seed_next(s);
        out->arcs[i] = (gb_arc){seed_next(s), seed_next(s)};
        out->items[i] =
            (gb_sync_item){seed_wide(s), make_view(s), out->id, 1 + (uint32_t)seed_below(s, 20)};
    }
    if (m->kind == GB_MSG_CHANGE) m->ids = out->ids;
    if (m->kind == GB_MSG_SYNC_ASK) m->arcs = out->arcs;
    if (m->kind == GB_MSG_SYNC) m->items = out->items;
    if (m->kind == GB_MSG_CHANGE && seed_below(s, 2)) {
        make_row(&out->row, s, 1 + seed_next(s) / 2);
        m->row = &out->row;
    }
    if (m->kind != GB_MSG_VIEW) return;
    m->count = out->row_count = m->count % 5;
    for (uint32_t i = 0; i < m->count; i++) {
        gb_member row;
        make_row(&row, s, i + 1);
        int rc = gb_row_new(&out->rows[i], out->mem, &row);
        GB_CHECK(rc == 0);
    }
    m->rows = out->rows;
}

void kit_message_make(kit_message *out, gb_mem *mem, seed *s, gb_message_kind kind)
{
    memset(out, 0, sizeof *out);
    out->mem = mem;
    gb_message *m = &out->message;
    for (size_t i = 0; i < sizeof out->id; i++) out->id[i] = (uint8_t)seed_next(s);
    *m = (gb_message){.kind = kind,
                      .view = make_view(s),
                      .seq = seed_wide(s),
                      .silo = seed_next(s),
                      .act = seed_wide(s),
                      .status = (uint32_t)seed_below(s, 3),
                      .id = out->id,
                      .id_size = 1 + (uint32_t)seed_below(s, seed_below(s, 2) ? 16 : 1024),
                      .from = make_view(s),
                      .part = (uint32_t)seed_wide(s),
                      .last = seed_below(s, 2)};
    m->has_capacity = seed_below(s, 2);
    if (m->has_capacity) {
        m->capacity = (gb_capacity){2, 5, 1000, 900, 800, "cuda", (int64_t)seed_below(s, 1000)};
        m->activations = seed_wide(s);
    }
    make_lists(out, s);
}

void kit_message_free(kit_message *made)
{
    for (uint32_t i = 0; i < made->row_count; i++) gb_row_unref(made->rows[i]);
}

/* As bytes: encoding is a function of what a message says. */
bool kit_message_same(const gb_message *a, const gb_message *b)
{
    gb_mem mem;
    gb_buf x, y;
    gb_mem_init(&mem, "same", NULL, 0);
    gb_buf_init(&x, &mem);
    gb_buf_init(&y, &mem);
    int rc = gb_message_encode(&x, a), other = gb_message_encode(&y, b);
    bool same = rc == 0 && other == 0 && x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    gb_buf_fini(&x);
    gb_buf_fini(&y);
    gb_mem_fini(&mem);
    return same;
}
