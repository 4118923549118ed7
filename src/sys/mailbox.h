/* The cross-thread post: many writers, one reader. An intrusive queue (Vyukov 2008, "intrusive MPSC
 * node-based queue"): a push is one exchange and one store. A reader that is about to sleep says
 * so, and only then does a push wake its loop; so while the reader is busy or spinning, a post
 * costs no system call.
 *
 * A node is the poster's memory and is the reader's from the push until the reader has taken it.
 * Each writer's nodes come out in the order it pushed them.
 */
#ifndef GB_SYS_MAILBOX_H
#define GB_SYS_MAILBOX_H

#include "sys/sys.h"

#include <stdatomic.h>

typedef struct gb_node {
    _Atomic(struct gb_node *) next;
    void (*run)(struct gb_node *node, void *reader); /* what the reader does with it */
    const void *near; /* what run reads early on, or NULL: a hint, never followed */
} gb_node;

typedef struct gb_mailbox {
    _Alignas(64) _Atomic(gb_node *) head; /* writers */
    _Alignas(64) gb_node *tail;           /* reader */
    gb_node stub;
    gb_loop *loop;
    _Alignas(64) atomic_int asleep;
    _Atomic uint64_t
        woken_at; /* when a push last woke the reader: how long did it sleep in vain? */
} gb_mailbox;

static inline void gb_mailbox_init(gb_mailbox *box, gb_loop *loop)
{
    atomic_init(&box->stub.next, NULL);
    atomic_init(&box->head, &box->stub);
    box->tail = &box->stub;
    box->loop = loop;
    atomic_init(&box->asleep, 0);
    atomic_init(&box->woken_at, 0);
}

static inline void gb_mailbox_link(gb_mailbox *box, gb_node *node)
{
    atomic_store_explicit(&node->next, NULL, memory_order_relaxed);
    gb_node *before = atomic_exchange_explicit(&box->head, node, memory_order_seq_cst);
    atomic_store_explicit(&before->next, node, memory_order_release);
}

/* Any thread. */
static inline void gb_mailbox_push(gb_mailbox *box, gb_node *node)
{
    gb_mailbox_link(box, node);
    if (atomic_load_explicit(&box->asleep, memory_order_seq_cst) &&
        atomic_exchange(&box->asleep, 0)) {
        atomic_store_explicit(&box->woken_at, gb_now(box->loop->sys), memory_order_relaxed);
        gb_loop_wake(box->loop);
    }
}

/* The reader: the oldest node, or NULL when there is none (or its push is not finished yet). */
static inline gb_node *gb_mailbox_take(gb_mailbox *box)
{
    gb_node *tail = box->tail, *next = atomic_load_explicit(&tail->next, memory_order_acquire);
    if (tail == &box->stub) {
        if (!next) return NULL;
        box->tail = tail = next;
        next = atomic_load_explicit(&tail->next, memory_order_acquire);
    }
    if (next) {
        box->tail = next;
        return tail;
    }
    if (tail != atomic_load_explicit(&box->head, memory_order_acquire)) return NULL;
    gb_mailbox_link(box, &box->stub);
    next = atomic_load_explicit(&tail->next, memory_order_acquire);
    if (!next) return NULL;
    box->tail = next;
    return tail;
}

/* The reader: what it takes next is on its way. */
static inline void gb_mailbox_fetch(const gb_mailbox *box)
{
    __builtin_prefetch(box->tail);
}

/* The reader: is there surely nothing? Reads one line of its own and one shared. */
static inline bool gb_mailbox_empty(gb_mailbox *box)
{
    return box->tail == &box->stub &&
           atomic_load_explicit(&box->head, memory_order_seq_cst) == &box->stub;
}

/* The reader, before it sleeps: false when there is something to do after all. */
static inline bool gb_mailbox_doze(gb_mailbox *box)
{
    atomic_store_explicit(&box->asleep, 1, memory_order_seq_cst);
    if (gb_mailbox_empty(box)) return true;
    atomic_store_explicit(&box->asleep, 0, memory_order_relaxed);
    return false;
}

static inline void gb_mailbox_awake(gb_mailbox *box)
{
    atomic_store_explicit(&box->asleep, 0, memory_order_relaxed);
}

#endif
