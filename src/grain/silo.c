#include "grain/room.h"

#include "base/check.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static int worker_open(gb_silo *silo, int index)
{
    gb_worker *worker = gb_mem_zalloc_lines(silo->mem, sizeof *worker);
    if (!worker) return GB_ENOMEM;
    silo->workers[index] = worker;
    worker->silo = silo;
    worker->index = index;
    worker->free_slot = GB_MAP_NONE;
    worker->run_end = &worker->run_head;
    worker->spin_ns = silo->config.spin_ns;
    worker->timed_in = GBI_TIMED_SHARE;
    worker->now = gb_now(silo->sys);
    gb_mem_init(&worker->mem, "worker", silo->mem, 0);
    gb_map_init(&worker->acts, &worker->mem);
    gb_timers_init(&worker->timers, &worker->mem, worker->now);
    int rc = silo->sys->door->loop_open(&worker->loop, silo->sys);
    gb_mailbox_init(&worker->mailbox, worker->loop);
    return rc;
}

static void worker_close(gb_silo *silo, gb_worker *worker)
{
    for (uint32_t i = 0; i < gb_type_count(silo); i++)
        gb_timer_stop(&worker->timers, &gb_type_at(silo, i)->local[worker->index].idle_timer);
    gbi_acts_free(worker);
    gb_map_fini(&worker->acts);
    gb_timers_fini(&worker->timers);
    if (worker->loop) silo->sys->door->loop_close(worker->loop);
    gb_mem_fini(&worker->mem);
    gb_mem_free_lines(silo->mem, worker, sizeof *worker);
}

int gb_silo_open(gb_silo **out, const gb_silo_config *config)
{
    GB_CHECK(config->workers >= 1 && config->workers <= GB_WORKERS_MAX);
    gb_silo *silo = gb_mem_zalloc(config->mem, sizeof *silo);
    if (!silo) return GB_ENOMEM;
    silo->config = *config;
    silo->mem = config->mem;
    silo->sys = config->sys;
    if (!silo->config.call_timeout_ns) silo->config.call_timeout_ns = 30 * GB_SEC;
    if (!silo->config.stuck_ns) silo->config.stuck_ns = 5 * GB_SEC;
    silo->hash_seed = gb_random(silo->sys);
    atomic_init(&silo->turns_until, GB_FOREVER);
    pthread_mutex_init(&silo->lock, NULL);
    pthread_mutex_init(&silo->types_lock, NULL);
    gb_map_init(&silo->sym_map, silo->mem);
    silo->workers = gb_mem_zalloc(silo->mem, (size_t)config->workers * sizeof *silo->workers);
    int rc = silo->workers ? 0 : GB_ENOMEM;
    silo->worker_count = silo->workers ? config->workers : 0;
    for (int i = 0; i < silo->worker_count && rc >= 0; i++) rc = worker_open(silo, i);
    silo->sym_activate = gb_sym_get(silo, "on_activate", 11);
    silo->sym_deactivate = gb_sym_get(silo, "on_deactivate", 13);
    if (rc >= 0 && (!silo->sym_activate || !silo->sym_deactivate)) rc = GB_ENOMEM;
    if (rc < 0) {
        gb_silo_close(silo);
        return rc;
    }
    *out = silo;
    return 0;
}

/* Mail that nobody reads any more: calls are looked after by their origin; what is not a call (a
 * probe, a note, a post of the host) runs once more, so that its memory is given back. */
static void read_last_mail(gb_silo *silo)
{
    for (bool any = true; any;) {
        any = false;
        for (int i = 0; i < silo->worker_count; i++) {
            gb_worker *worker = silo->workers[i];
            gb_node *node = worker && worker->loop ? gb_mailbox_take(&worker->mailbox) : NULL;
            if (!node) continue;
            node->run(node, worker);
            any = true;
        }
    }
}

static void each_worker(gb_silo *silo, void (*fn)(gb_worker *worker))
{
    for (int i = 0; i < silo->worker_count; i++)
        if (silo->workers[i]) fn(silo->workers[i]);
}

void gb_silo_stop(gb_silo *silo)
{
    atomic_store(&silo->closing, true);
    if (atomic_exchange(&silo->ended, true)) return;
    read_last_mail(silo);
    each_worker(silo, gbi_calls_answer);
    read_last_mail(silo); /* what the answered posted */
    each_worker(silo, gbi_calls_drop);
    each_worker(silo, gbi_acts_close);
}

void gb_silo_close(gb_silo *silo)
{
    gb_silo_stop(silo);
    read_last_mail(silo);
    each_worker(silo, gbi_calls_free); /* of all before any account ends: bytes wander */
    for (int i = 0; i < silo->worker_count; i++)
        if (silo->workers[i]) worker_close(silo, silo->workers[i]);
    for (uint32_t i = 0; i < gb_type_count(silo); i++) gbi_type_free(gb_type_at(silo, i));
    for (uint32_t i = 0; i < silo->sym_count; i++)
        gb_mem_free(silo->mem, silo->syms[i], sizeof(gb_sym) + silo->syms[i]->size + 1);
    gb_mem_free(silo->mem, silo->syms, silo->sym_room * sizeof *silo->syms);
    gb_map_fini(&silo->sym_map);
    gb_mem_free(silo->mem, silo->workers, (size_t)silo->config.workers * sizeof *silo->workers);
    pthread_mutex_destroy(&silo->lock);
    pthread_mutex_destroy(&silo->types_lock);
    gb_mem_free(silo->mem, silo, sizeof *silo);
}

bool gb_silo_quiet(gb_silo *silo)
{
    /* A worker frees what it made, so freed never passes made; equal sums, the freed ones read
     * first, mean that between the two readings no worker had a call, but for idle ones. */
    int64_t made = 0, freed = 0;
    for (int i = 0; i < silo->worker_count; i++)
        freed += atomic_load(&silo->workers[i]->calls_freed) +
                 atomic_load(&silo->workers[i]->calls_idle);
    for (int i = 0; i < silo->worker_count; i++) made += atomic_load(&silo->workers[i]->calls_made);
    return made == freed;
}

/* ---- driven by hand ---- */

bool gb_silo_pass(gb_silo *silo)
{
    bool any = false;
    /* Simulated time stands still in a pass: the least budget, so that the workers take turns. */
    uint64_t budget_ns = gb_sys_is_sim(silo->sys) ? 0 : GB_MS;
    int first =
        silo->worker_count > 1 ? (int)(gb_random(silo->sys) % (uint64_t)silo->worker_count) : 0;
    for (int i = 0; i < silo->worker_count; i++)
        any |= gb_worker_pass(silo->workers[(first + i) % silo->worker_count], budget_ns);
    return any;
}

void gb_silo_settle(gb_silo *silo)
{
    enum { OUTSIDE_MS = 60000 }; /* a compiler on a busy machine ends before */
    for (;;) {
        while (gb_silo_pass(silo)) continue;
        if (gb_sim_held(silo->sys) == 0) {
            if (!gb_silo_pass(silo)) return;
        } else if (!gb_sim_wait_outside(silo->sys, OUTSIDE_MS)) {
            return; /* work outside that does not end: time may pass, and its deadline with it */
        }
    }
}

void gb_silo_advance(gb_silo *silo, uint64_t ns)
{
    uint64_t until = gb_now(silo->sys) + ns;
    for (;;) {
        gb_silo_settle(silo);
        uint64_t next = GB_FOREVER;
        for (int i = 0; i < silo->worker_count; i++) {
            uint64_t one = gb_worker_next(silo->workers[i]);
            if (one < next) next = one;
        }
        if (next > until) break;
        gb_sim_advance_to(silo->sys, next);
    }
    gb_sim_advance_to(silo->sys, until);
    gb_silo_settle(silo);
}
