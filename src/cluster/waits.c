#include "cluster/waits.h"

gb_message gb_waits_begin(uint64_t self, uint64_t asker, uint64_t target)
{
    return (gb_message){.kind = GB_MSG_WAIT, .silo = self, .call = asker, .target = target};
}

bool gb_waits_message(uint64_t self, uint64_t from, const gb_message *message,
                      gb_waits_next_fn *next, void *user, gb_message *out, uint64_t *silo)
{
    if (message->kind != GB_MSG_WAIT || message->hops >= GB_WAITS_HOPS_MAX) return false;
    gb_waits_edge edge = next(user, from, message->target, message->silo, message->call);
    switch (edge.kind) {
    case GB_WAITS_ASKER:
        *out = (gb_message){.kind = GB_MSG_WAIT_ROUND, .call = message->call};
        *silo = message->silo;
        return true;
    case GB_WAITS_AWAY:
        *out = *message;
        out->target = edge.call;
        out->hops++;
        *silo = edge.silo;
        return edge.silo != self;
    default:
        return false;
    }
}
