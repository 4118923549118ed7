#include "base/heap.h"

#include "base/check.h"
#include "base/err.h"

void gb_heap_init(gb_heap *heap, gb_mem *mem)
{
    *heap = (gb_heap){.mem = mem};
}

void gb_heap_fini(gb_heap *heap)
{
    GB_CHECK(heap->count == 0);
    gb_mem_free(heap->mem, heap->nodes, heap->room * sizeof heap->nodes[0]);
    heap->nodes = NULL;
    heap->room = 0;
}

static void put(gb_heap *heap, uint32_t place, gb_heap_node *node)
{
    heap->nodes[place] = node;
    node->place = place + 1;
}

static void rise(gb_heap *heap, uint32_t place, gb_heap_node *node)
{
    while (place > 0) {
        uint32_t parent = (place - 1) / 2;
        if (heap->nodes[parent]->key <= node->key) break;
        put(heap, place, heap->nodes[parent]);
        place = parent;
    }
    put(heap, place, node);
}

static void sink(gb_heap *heap, uint32_t place, gb_heap_node *node)
{
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= heap->count) break;
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key)
            child++;
        if (node->key <= heap->nodes[child]->key) break;
        put(heap, place, heap->nodes[child]);
        place = child;
    }
    put(heap, place, node);
}

int gb_heap_push(gb_heap *heap, gb_heap_node *node)
{
    GB_CHECK(node->place == 0);
    if (heap->count == heap->room) {
        gb_heap_node **nodes = gb_mem_grow(heap->mem, heap->nodes, &heap->room, 16, sizeof *nodes);
        if (!nodes) return GB_ENOMEM;
        heap->nodes = nodes;
    }
    rise(heap, heap->count++, node);
    return 0;
}

void gb_heap_remove(gb_heap *heap, gb_heap_node *node)
{
    GB_CHECK(node->place > 0 && node->place <= heap->count && heap->nodes[node->place - 1] == node);
    uint32_t place = node->place - 1;
    node->place = 0;
    gb_heap_node *last = heap->nodes[--heap->count];
    if (last == node) return;
    if (place > 0 && heap->nodes[(place - 1) / 2]->key > last->key)
        rise(heap, place, last);
    else
        sink(heap, place, last);
}
