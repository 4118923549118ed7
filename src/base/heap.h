/* A binary min-heap of nodes that know their place, so that removal is O(log n). One thread.
 * The heap owns its array of pointers; the nodes are the caller's.
 */
#ifndef GB_BASE_HEAP_H
#define GB_BASE_HEAP_H

#include "base/mem.h"

typedef struct gb_heap_node {
    uint64_t key;
    uint32_t place; /* 1-based; 0: not in a heap */
} gb_heap_node;

typedef struct gb_heap {
    gb_mem *mem;
    gb_heap_node **nodes;
    uint32_t count, room;
} gb_heap;

void gb_heap_init(gb_heap *heap, gb_mem *mem);
void gb_heap_fini(gb_heap *heap);

/* 0 or GB_ENOMEM. Equal keys come out in no given order. */
int gb_heap_push(gb_heap *heap, gb_heap_node *node);
void gb_heap_remove(gb_heap *heap, gb_heap_node *node);

static inline gb_heap_node *gb_heap_top(const gb_heap *heap)
{
    return heap->count ? heap->nodes[0] : NULL;
}

#endif
