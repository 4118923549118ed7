#include "grain/room.h"

#include "base/check.h"
#include "base/err.h"

enum { MAIL_PER_PASS = 512, SPINS_PER_LOOK = 32 };

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

bool gb_worker_pass(gb_worker *worker, uint64_t budget_ns)
{
    bool any = false;
    worker->now = gb_now(worker->silo->sys);
    for (int i = 0; i < MAIL_PER_PASS; i++) {
        gb_node *node = gb_mailbox_take(&worker->mailbox);
        if (!node) break;
        node->run(node, worker);
        any = true;
    }
    if (gb_timers_run(&worker->timers, worker->now) > 0) any = true;
    if (worker->run_head || worker->next_call)
        any |= gbi_turns_run(worker, worker->now + budget_ns);
    return any;
}

uint64_t gb_worker_next(gb_worker *worker)
{
    return gb_timers_next(&worker->timers);
}

static bool has_work(gb_worker *worker)
{
    return worker->run_head || worker->next_call || !gb_mailbox_empty(&worker->mailbox);
}

/* Spins until mail comes or the time is up: true when there is mail. */
static bool spin(gb_worker *worker, uint64_t until)
{
    const gb_silo_config *config = &worker->silo->config;
    if (config->busy && config->busy(config->busy_user)) return false;
    for (;;) {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (!gb_mailbox_empty(&worker->mailbox)) return true;
            relax();
        }
        if (gb_now(worker->silo->sys) >= until) return false;
    }
}

void gb_worker_wait(gb_worker *worker, uint64_t until)
{
    if (has_work(worker)) return;
    gb_sys *sys = worker->silo->sys;
    uint64_t next = gb_worker_next(worker), most = worker->silo->config.spin_ns,
             start = gb_now(sys);
    if (next < until) until = next;
    if (until <= start) return;
    uint64_t spin_until = start + worker->spin_ns < until ? start + worker->spin_ns : until;
    if (worker->spin_ns && spin(worker, spin_until)) {
        worker->spin_ns = worker->spin_ns * 2 < most ? worker->spin_ns * 2 : most;
        return;
    }
    uint64_t slept = gb_now(sys);
    if (until <= slept) return;
    if (!gb_mailbox_doze(&worker->mailbox)) return;
    gb_loop_wait(worker->loop, until == GB_FOREVER ? GB_FOREVER : until - slept);
    gb_mailbox_awake(&worker->mailbox);
    /* Would a full spin have caught what woke it? Then spinning pays; else do less of it. */
    if (gb_now(sys) - slept < most && !gb_mailbox_empty(&worker->mailbox))
        worker->spin_ns = most;
    else
        worker->spin_ns /= 2;
}

void gb_worker_loop(gb_worker *worker, atomic_bool *stop)
{
    while (!atomic_load_explicit(stop, memory_order_acquire)) {
        if (!gb_worker_pass(worker, GB_MS)) gb_worker_wait(worker, GB_FOREVER);
    }
}

bool gb_worker_drain(gb_worker *worker)
{
    for (uint32_t i = 0; i < worker->chunk_count; i++)
        for (int k = 0; k < GB_ACTS_PER_CHUNK; k++) {
            gb_act *act = &worker->chunks[i][k];
            if (act->state == GB_ACT_ACTIVE && act != worker->root)
                gb_act_stop(worker, act, GB_END_SHUTDOWN);
        }
    bool left = false;
    for (uint32_t i = 0; i < worker->chunk_count && !left; i++)
        for (int k = 0; k < GB_ACTS_PER_CHUNK && !left; k++) {
            uint8_t state = worker->chunks[i][k].state;
            left = state != GB_ACT_FREE && state != GB_ACT_FORWARD &&
                   &worker->chunks[i][k] != worker->root;
        }
    return !left;
}
