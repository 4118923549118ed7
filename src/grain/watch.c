#include "grain/room.h"

#include "base/err.h"

/* What the worker has been in since the last look: its name into id, and its method. False when
 * that turn has just ended. looked_at holds the activation meanwhile: the worker either sees that
 * before it frees it, or has taken it from beat_act before (act.c). */
static bool name_turn(gb_worker *worker, uint64_t beat, char *id, size_t room,
                      const gb_sym **method)
{
    gb_act *act = atomic_load_explicit(&worker->beat_act, memory_order_acquire);
    *method = atomic_load_explicit(&worker->beat_method, memory_order_relaxed);
    atomic_exchange_explicit(&worker->looked_at, act, memory_order_acq_rel);
    bool same = act && atomic_load_explicit(&worker->beat, memory_order_acquire) == beat &&
                atomic_load_explicit(&worker->beat_act, memory_order_acquire) == act;
    if (same && !act->root) gb_key_print(id, room, act->type, gb_act_key(act));
    atomic_store_explicit(&worker->looked_at, NULL, memory_order_release);
    return same;
}

void gb_watch_look(gb_watch *watch, gb_silo *silo)
{
    uint64_t now = gb_now(silo->sys);
    for (int i = 0; i < silo->worker_count; i++) {
        gb_worker *worker = silo->workers[i];
        uint64_t beat = atomic_load_explicit(&worker->beat, memory_order_acquire);
        if (beat == 0 || beat != watch->seen[i].beat) {
            watch->seen[i].beat = beat;
            watch->seen[i].since = now;
            watch->seen[i].told = false;
            atomic_store(&worker->stuck, false);
            continue;
        }
        if (watch->seen[i].told || now - watch->seen[i].since < silo->config.stuck_ns) continue;
        const gb_sym *method;
        char id[256] = "a script";
        if (!name_turn(worker, beat, id, sizeof id, &method)) continue;
        watch->seen[i].told = true;
        atomic_store(&worker->stuck, true);
        gb_log_put(silo->config.log, GB_LOG_WARN, gb_wall(silo->sys), NULL,
                   "stuck: worker %d has been in %s:%s for %.1f s; calls to its grains from other "
                   "workers fail with "
                   "ESTUCK",
                   i, id, method ? method->text : "(main)",
                   (double)(now - watch->seen[i].since) / 1e9);
    }
}
