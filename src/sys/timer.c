#include "sys/timer.h"

#include "base/check.h"
#include "base/err.h"

#include <stdint.h>

void gb_timers_init(gb_timers *timers, gb_mem *mem, uint64_t now)
{
    gb_heap_init(&timers->heap, mem);
    timers->tick = now >> GB_TIMER_SHIFT;
    timers->count = 0;
    for (int i = 0; i < GB_TIMER_SLOTS; i++) gb_list_init(&timers->slots[i]);
}

void gb_timers_fini(gb_timers *timers)
{
    GB_CHECK(timers->count == 0);
    gb_heap_fini(&timers->heap);
}

int gb_timer_add(gb_timers *timers, gb_timer *timer, uint64_t now, uint64_t when)
{
    GB_CHECK(!gb_timer_armed(timer));
    uint64_t tick = when >> GB_TIMER_SHIFT;
    timer->node.key = when;
    if (when < now + (2ull << GB_TIMER_SHIFT) || tick <= timers->tick ||
        tick >= timers->tick + GB_TIMER_SLOTS)
        return gb_heap_push(&timers->heap, &timer->node);
    gb_list_push(&timers->slots[tick % GB_TIMER_SLOTS], &timer->link);
    timers->count++;
    return 0;
}

/* Moves what lies in slots up to now into the heap. Out of memory leaves the rest for the next
 * call. */
static void sort_slots(gb_timers *timers, uint64_t now)
{
    uint64_t target = now >> GB_TIMER_SHIFT;
    if (target - timers->tick > GB_TIMER_SLOTS) timers->tick = target - GB_TIMER_SLOTS;
    for (; timers->tick < target; timers->tick++) {
        gb_list *slot = &timers->slots[(timers->tick + 1) % GB_TIMER_SLOTS];
        while (!gb_list_empty(slot)) {
            gb_timer *timer = GB_CONTAINER(slot->next, gb_timer, link);
            if (gb_heap_push(&timers->heap, &timer->node) < 0) return;
            gb_list_unlink(&timer->link);
            timers->count--;
        }
    }
}

int gb_timers_run(gb_timers *timers, uint64_t now, int most)
{
    int fired = 0;
    if (timers->tick < now >> GB_TIMER_SHIFT) sort_slots(timers, now);
    while (fired < most) {
        gb_heap_node *top = gb_heap_top(&timers->heap);
        if (!top || top->key > now) break;
        gb_heap_remove(&timers->heap, top);
        gb_timer *timer = GB_CONTAINER(top, gb_timer, node);
        fired++;
        timer->fire(timer);
    }
    return fired;
}

uint64_t gb_timers_next(const gb_timers *timers)
{
    gb_heap_node *top = gb_heap_top(&timers->heap);
    uint64_t next = top ? top->key : UINT64_MAX;
    if (timers->count)
        for (uint64_t tick = timers->tick + 1; tick <= timers->tick + GB_TIMER_SLOTS; tick++) {
            uint64_t start = tick << GB_TIMER_SHIFT;
            if (start >= next) break;
            if (!gb_list_empty(&timers->slots[tick % GB_TIMER_SLOTS])) return start;
        }
    return next;
}
