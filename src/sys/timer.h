/* Timers of one thread. Most timers are deadlines that never fire, so those between 128 ms and a
 * minute sit in a wheel of coarse slots (add and remove are O(1): Varghese and Lauck 1987) and are
 * moved to an exact heap only when their slot comes near. Short and long ones go to the heap at
 * once. Firing is exact to the given clock. Time is passed in. One thread; nothing is allocated but
 * the heap's array.
 */
#ifndef GB_SYS_TIMER_H
#define GB_SYS_TIMER_H

#include "base/heap.h"
#include "base/list.h"

#include <stdbool.h>

enum { GB_TIMER_SLOTS = 1024, GB_TIMER_SHIFT = 26 }; /* slots of 67 ms: 68 s in all */

typedef struct gb_timer {
    gb_list link;      /* in a slot; linked to itself when not */
    gb_heap_node node; /* key: when it fires, ns */
    void (*fire)(struct gb_timer *timer);
} gb_timer;

typedef struct gb_timers {
    gb_heap heap;
    uint64_t tick;  /* slots up to and including this one are in the heap */
    uint32_t count; /* timers in slots */
    gb_list slots[GB_TIMER_SLOTS];
} gb_timers;

void gb_timers_init(gb_timers *timers, gb_mem *mem, uint64_t now);
void gb_timers_fini(gb_timers *timers);

static inline void gb_timer_init(gb_timer *timer, void (*fire)(gb_timer *timer))
{
    gb_list_init(&timer->link);
    timer->node.place = 0;
    timer->fire = fire;
}

static inline bool gb_timer_armed(const gb_timer *timer)
{
    return timer->node.place != 0 || timer->link.next != &timer->link;
}

/* 0 or GB_ENOMEM. It must not be armed. */
int gb_timer_add(gb_timers *timers, gb_timer *timer, uint64_t now, uint64_t when);

/* Does nothing when it is not armed. */
static inline void gb_timer_stop(gb_timers *timers, gb_timer *timer)
{
    if (timer->node.place) {
        gb_heap_remove(&timers->heap, &timer->node);
    } else if (timer->link.next != &timer->link) {
        gb_list_unlink(&timer->link);
        timers->count--;
    }
}

/* Fires those that are due, in order of time, at most so many: how many. A fired timer is disarmed
 * before its function runs. */
int gb_timers_run(gb_timers *timers, uint64_t now, int most);

/* When the next one may be due (never later than that; the slots make it early): GB_FOREVER when
 * there is none. */
uint64_t gb_timers_next(const gb_timers *timers);

/* The same without a look at the slots: right for the next 67 ms, about. Cheap. */
static inline uint64_t gb_timers_soon(const gb_timers *timers)
{
    const gb_heap_node *top = gb_heap_top(&timers->heap);
    return top ? top->key : UINT64_MAX;
}

#endif
