/* Links to silos of which nobody says when they are dead: a client's. A process that stands still,
 * or a machine that is gone, keeps a connection open for ever. Its workers may also be in a long
 * turn; so who is asked is the thread that listens: it answers at once, whatever turns do. */
#include "base/err.h"
#include "cluster/carry_room.h"

static void watch_in(gbi_carrier *c)
{
    /* Out of memory: the next call that leaves tries again. */
    gb_timer_add(&c->worker->timers, &c->watch, c->worker->now,
                 gb_now(c->worker->silo->sys) + c->carry->config.quiet_ns / 2);
}

void gbi_watch_begin(gbi_carrier *c)
{
    if (!gb_timer_armed(&c->watch)) watch_in(c);
}

void gbi_watch_end(gbi_lane *lane)
{
    if (lane->probe) gb_link_close(lane->probe);
    lane->probe = NULL;
}

static void probe_closed(void *user, int rc, const char *why)
{
    gbi_lane *lane = user;
    gbi_carrier *c = lane->peer->carrier;
    lane->probe = NULL;
    lane->silent_since = gb_now(c->worker->silo->sys);
    if (rc == GB_ETIMEDOUT) gbi_lane_lost(c, lane, GB_ETIMEDOUT, why);
}

static void probe_ready(void *user, const gb_hello *peer)
{
    gbi_lane *lane = user;
    (void)peer;
    gb_link_close(lane->probe);
    lane->probe = NULL;
}

static int probe_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                         uint32_t count)
{
    (void)user, (void)body, (void)size, (void)blocks, (void)count;
    return gb_err_set(GB_EINVAL, "a message of kind %d to a probe", kind);
}

static const gb_link_events probe_events = {probe_ready, probe_message, NULL, probe_closed, NULL};

static void look_at(gbi_carrier *c, gbi_lane *lane, uint64_t now)
{
    const gb_carry_config *config = &c->carry->config;
    uint64_t received = gb_link_received(lane->link);
    if (received != lane->received) {
        lane->received = received;
        lane->silent_since = now;
    } else if (!lane->probe && now - lane->silent_since >= config->quiet_ns) {
        gb_hello hello;
        gbi_lane_hello(c, lane, GB_LINK_PROBE, &hello);
        gb_link_connect(&lane->probe, config->mem, c->worker->loop, lane->address, config->tls,
                        &hello, NULL, GB_LINK_HELLO_BYTES, config->connect_ns, &probe_events, lane);
    }
}

void gbi_watch_fire(gb_timer *timer)
{
    gbi_carrier *c = GB_CONTAINER(timer, gbi_carrier, watch);
    uint64_t now = gb_now(c->worker->silo->sys);
    bool more = false;
    for (uint32_t i = 0; i < c->peer_count; i++)
        for (int n = 0; c->peers[i] && n < GB_CARRY_LANES; n++) {
            gbi_lane *lane = &c->peers[i]->lanes[n];
            if (!lane->link || gb_list_empty(&lane->sent)) continue;
            look_at(c, lane, now);
            more = true;
        }
    if (more) watch_in(c);
}
