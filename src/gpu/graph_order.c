/* Who waits for whom among the nodes of a graph: two nodes that work on the same bytes, one of them
 * writing. Found from addresses, so that the same memory bound under two names is seen. */
#include "base/err.h"
#include "gpu/graph.h"

#include <string.h>

gbi_access gbi_access_of_module(const gb_module *module, bool write)
{
    uint64_t at = (uint64_t)(uintptr_t)module;
    return (gbi_access){at, at + 1, write};
}

gbi_access gbi_access_of_buffer(const gb_buffer *buffer, size_t offset, size_t bytes, bool write)
{
    uint64_t at = buffer->memory.address + offset;
    if (buffer->owner) return gbi_access_of_module(buffer->owner, write);
    return (gbi_access){at, at + bytes, write};
}

static bool meet(const gbi_node *a, const gbi_node *b)
{
    for (int i = 0; i < a->access_count; i++)
        for (int k = 0; k < b->access_count; k++) {
            const gbi_access *x = &a->accesses[i], *y = &b->accesses[k];
            if (x->from < y->to && y->from < x->to && (x->write || y->write)) return true;
        }
    return false;
}

/* Rows for more nodes; all of them are to be found anew. */
static int make_rows(gb_graph *graph)
{
    gb_mem *mem = &graph->device->gpu->room;
    int words = graph->count > GBI_ORDER_MAX ? 0 : gbi_order_words(graph->count);
    size_t bytes = (size_t)graph->count * (size_t)words * sizeof(uint64_t);
    uint64_t *rows = bytes ? gb_mem_zalloc(mem, bytes) : NULL;
    if (bytes && !rows) return GB_ENOMEM;
    gbi_order_fini(graph);
    graph->rows = rows;
    graph->words = words;
    graph->ordered = graph->count;
    return 0;
}

void gbi_order_fini(gb_graph *graph)
{
    size_t bytes = (size_t)graph->ordered * (size_t)graph->words * sizeof(uint64_t);
    gb_mem_free(&graph->device->gpu->room, graph->rows, bytes);
    graph->rows = NULL;
    graph->ordered = graph->words = 0;
}

static bool put(gb_graph *graph, int row, int at, bool on)
{
    uint64_t *word = &graph->rows[(size_t)row * (size_t)graph->words + (size_t)(at / 64)];
    uint64_t bit = UINT64_C(1) << (at % 64);
    bool was = *word & bit;
    *word = on ? *word | bit : *word & ~bit;
    return was != on;
}

int gbi_order_update(gb_graph *graph)
{
    bool all = graph->ordered != graph->count, changed = all;
    if (!all && !graph->moved) return 0;
    if (all) {
        int rc = make_rows(graph);
        if (rc < 0) return rc;
    }
    for (int i = 0; i < graph->count; i++) {
        gbi_node *own = graph->nodes[i];
        bool look = graph->words && (all || own->moved);
        own->moved = false;
        for (int k = 0; look && k < graph->count; k++) {
            if (k == i || (all && k > i)) continue;
            bool on = meet(own, graph->nodes[k]);
            changed = put(graph, i, k, on) || changed;
            changed = put(graph, k, i, on) || changed;
        }
    }
    graph->moved = false;
    return changed;
}

bool gbi_order_waits(const gb_graph *graph, int node, int before)
{
    if (!graph->words) return true;
    return gbi_order_bit(graph->rows + (size_t)node * (size_t)graph->words, before);
}

/* From the nearest back: what is reached through a later one needs no edge of its own. */
void gbi_order_reduce(const gb_graph *graph, const int *list, int count, uint64_t *direct,
                      uint64_t *reach)
{
    size_t words = (size_t)gbi_order_words(count);
    memset(direct, 0, (size_t)count * words * sizeof *direct);
    memset(reach, 0, (size_t)count * words * sizeof *reach);
    for (int i = 0; i < count; i++) {
        uint64_t *own = reach + (size_t)i * words;
        for (int k = i - 1; k >= 0; k--) {
            if (gbi_order_bit(own, k) || !gbi_order_waits(graph, list[i], list[k])) continue;
            const uint64_t *other = reach + (size_t)k * words;
            for (size_t w = 0; w < words; w++) own[w] |= other[w];
            own[k / 64] |= UINT64_C(1) << (k % 64);
            direct[(size_t)i * words + (size_t)(k / 64)] |= UINT64_C(1) << (k % 64);
        }
    }
}
