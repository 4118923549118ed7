/* Intrusive doubly linked list with a head node. No allocation; O(1) unlink; one thread. */
#ifndef GB_BASE_LIST_H
#define GB_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct gb_list {
    struct gb_list *next, *prev;
} gb_list;

#define GB_CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void gb_list_init(gb_list *head)
{
    head->next = head->prev = head;
}

static inline bool gb_list_empty(const gb_list *head)
{
    return head->next == head;
}

static inline void gb_list_push(gb_list *head, gb_list *node)
{
    node->next = head;
    node->prev = head->prev;
    head->prev->next = node;
    head->prev = node;
}

/* Leaves the node linked to itself, so a second unlink does nothing. */
static inline void gb_list_unlink(gb_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = node;
}

static inline gb_list *gb_list_shift(gb_list *head)
{
    if (gb_list_empty(head)) return NULL;
    gb_list *node = head->next;
    gb_list_unlink(node);
    return node;
}

#endif
