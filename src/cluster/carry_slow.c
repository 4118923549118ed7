/* Who does not take what is for him, or asks for more than is worked off. That a link stands still
 * for a moment is how it is bounded; one that does so for seconds is told to people, once. */
#include "cluster/carry_room.h"

#include <stdio.h>

#define SLOW_NS (3 * GB_SEC)

enum { TEXT_BYTES = 240 };

static uint64_t now_of(const gbi_carrier *c)
{
    return gb_now(c->worker->silo->sys);
}

static double in_mb(size_t bytes)
{
    return (double)bytes / 1e6;
}

/* Out of memory: the next one that begins to be slow is looked at. */
static void look_at(gbi_carrier *c, uint64_t when)
{
    if (!c->stopped && !gb_timer_armed(&c->slow))
        gb_timer_add(&c->worker->timers, &c->slow, c->worker->now, when);
}

/* True: it was said, and is over. */
static bool turn(gbi_carrier *c, gbi_slow *slow, bool is_slow)
{
    bool said = slow->said;
    *slow = (gbi_slow){.since = is_slow ? now_of(c) : 0};
    if (is_slow) look_at(c, slow->since + SLOW_NS);
    return said;
}

/* ---- who is not heard ---- */

static void say_inlet(const gbi_inlet *inlet, bool on, const char *what)
{
    const gb_carry_config *config = &inlet->carrier->carry->config;
    config->slow(config->user, inlet->silo, inlet->peer, &inlet->grant, on, what);
}

void gbi_slow_inlet(gbi_inlet *inlet)
{
    bool is_slow = gb_link_is_paused(inlet->wire);
    if (is_slow == (inlet->slow.since > 0) || !inlet->carrier->carry->config.slow) return;
    if (turn(inlet->carrier, &inlet->slow, is_slow)) say_inlet(inlet, true, "is heard again");
}

static void tell_inlet(const gbi_inlet *inlet)
{
    char text[TEXT_BYTES];
    if (gbi_inlet_full(inlet))
        snprintf(text, sizeof text,
                 "does not read its answers: %.1f MB and %u large ones wait for it, and it is "
                 "not heard until it does",
                 in_mb(gb_link_queued(inlet->wire)), gb_link_large(inlet->wire));
    else
        snprintf(text, sizeof text,
                 "asks for more than is worked off: its calls hold %.1f MB, and it is not heard "
                 "until half of them have ended",
                 in_mb(inlet->held));
    say_inlet(inlet, false, text);
}

/* ---- who takes no calls ---- */

static void say_lane(const gbi_lane *lane, bool on, const char *what)
{
    const gb_carry_config *config = &lane->peer->carrier->carry->config;
    config->slow(config->user, lane->peer->silo, lane->address, NULL, on, what);
}

void gbi_slow_lane(gbi_lane *lane)
{
    gbi_carrier *c = lane->peer->carrier;
    bool is_slow = lane->link && gb_link_is_ready(lane->link) &&
                   !(gb_list_empty(&lane->waiting) && gb_list_empty(&lane->large));
    if (is_slow == (lane->slow.since > 0) || !c->carry->config.slow) return;
    if (turn(c, &lane->slow, is_slow)) say_lane(lane, true, "takes calls again");
}

static uint32_t count_of(const gb_list *list)
{
    uint32_t count = 0;
    for (const gb_list *at = list->next; at != list; at = at->next) count++;
    return count;
}

static void tell_lane(const gbi_lane *lane)
{
    char text[TEXT_BYTES];
    snprintf(text, sizeof text,
             "does not take its calls: %.1f MB and %u large ones are on their way, and %u more "
             "calls wait here until it does",
             in_mb(gb_link_queued(lane->link)), gb_link_large(lane->link),
             count_of(&lane->waiting) + count_of(&lane->large));
    say_lane(lane, false, text);
}

/* ---- looking ---- */

/* True: it is to be told now. next: the earliest of those that are to be told later. */
static bool is_due(gbi_slow *slow, uint64_t now, uint64_t *next)
{
    if (!slow->since || slow->said) return false;
    uint64_t when = slow->since + SLOW_NS;
    slow->said = when <= now;
    if (!slow->said && when < *next) *next = when;
    return slow->said;
}

void gbi_slow_fire(gb_timer *timer)
{
    gbi_carrier *c = GB_CONTAINER(timer, gbi_carrier, slow);
    uint64_t now = now_of(c), next = GB_FOREVER;
    for (gb_list *at = c->inlets.next; at != &c->inlets; at = at->next) {
        gbi_inlet *inlet = GB_CONTAINER(at, gbi_inlet, link);
        if (is_due(&inlet->slow, now, &next)) tell_inlet(inlet);
    }
    for (uint32_t i = 0; i < c->peer_count; i++)
        for (int n = 0; c->peers[i] && n < GB_CARRY_LANES; n++) {
            gbi_lane *lane = &c->peers[i]->lanes[n];
            if (lane->slow.since) gbi_slow_lane(lane); /* those that waited may be over */
            if (is_due(&lane->slow, now, &next)) tell_lane(lane);
        }
    if (next != GB_FOREVER) look_at(c, next);
}
