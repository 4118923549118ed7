#include "grain/room.h"

#include "base/err.h"

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
        gb_type *type = atomic_load_explicit(&worker->beat_type, memory_order_relaxed);
        const gb_sym *method = atomic_load_explicit(&worker->beat_method, memory_order_relaxed);
        gb_act *act = atomic_load_explicit(&worker->beat_act, memory_order_relaxed);
        char id[256] = "a script";
        /* The activation cannot go while its turn runs, and that turn has run since the last look.
         */
        if (type && act && act != worker->root) gb_key_print(id, sizeof id, type, gb_act_key(act));
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
