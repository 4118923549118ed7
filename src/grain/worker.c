#include "grain/room.h"

#include "base/check.h"
#include "base/err.h"

enum { MAIL_PER_PASS = 512, TIMERS_PER_LOOK = 16, SPINS_PER_LOOK = 32, PASSES_PER_IO = 16 };

enum { HELP_NONE, HELP_DONE, HELP_SOON }; /* see gb_silo_config */

#define PAUSE_NS (10 * GB_MS) /* who is paused looks so often whether it still is */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* A line that is going to be written: asked for to be ours at once. */
static inline void fetch_line(const char *line)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*line));
#else
    __builtin_prefetch(line, 1);
#endif
}

/* What comes by mail was written by another core. A few nodes are taken ahead, so that the lines
 * behind one, what its message holds, and the node that follows are on their way while others are
 * run. */
static gb_node *take_ahead(gb_mailbox *box)
{
    enum { LINE = 64, LINES_MORE = 4 };
    gb_node *node = gb_mailbox_take(box);
    if (!node) return NULL;
    gb_mailbox_fetch(box);
    for (int i = 1; i <= LINES_MORE; i++) fetch_line((const char *)node + i * LINE);
    __builtin_prefetch(node->near);
    return node;
}

static bool read_mail(gb_worker *worker)
{
    enum { AHEAD = 8 };
    gb_node *ahead[AHEAD];
    unsigned taken = 0, run = 0;
    for (;; run++) {
        while (taken - run < AHEAD && taken < MAIL_PER_PASS) {
            gb_node *node = take_ahead(&worker->mailbox);
            if (!node) break;
            ahead[taken++ % AHEAD] = node;
        }
        if (run == taken) return run > 0;
        ahead[run % AHEAD]->run(ahead[run % AHEAD], worker);
    }
}

bool gb_worker_pass(gb_worker *worker, uint64_t budget_ns)
{
    bool any = false;
    worker->now = gb_now(worker->silo->sys);
    uint64_t until = worker->now + budget_ns;
    any |= read_mail(worker);
    for (int fired = TIMERS_PER_LOOK; fired == TIMERS_PER_LOOK;) {
        fired = gb_timers_run(&worker->timers, worker->now, TIMERS_PER_LOOK);
        if (fired > 0) any = true;
        if (gb_now(worker->silo->sys) >= until) break;
    }
    if ((worker->run_head || worker->next_call) && !gbi_worker_paused(worker))
        any |= gbi_turns_run(worker, until);
    return any;
}

uint64_t gb_worker_next(gb_worker *worker)
{
    return gb_timers_next(&worker->timers);
}

static bool has_work(gb_worker *worker)
{
    return ((worker->run_head || worker->next_call) && !gbi_worker_paused(worker)) ||
           !gb_mailbox_empty(&worker->mailbox);
}

/* Spins until there is something to do or the time is up: false then. A look at the sockets costs
 * as much as a hundred looks at the mailbox. */
static bool spin(gb_worker *worker, uint64_t until, bool soon)
{
    const gb_silo_config *config = &worker->silo->config;
    if (!soon && config->busy && config->busy(config->busy_user)) return false;
    for (;;) {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (!gb_mailbox_empty(&worker->mailbox)) return true;
            relax();
        }
        if (worker->loop->sockets) {
            gb_loop_wait(worker->loop, 0);
            if (has_work(worker)) return true;
        }
        if (gb_now(worker->silo->sys) >= until) return false;
    }
}

/* What the help of the host said last: until there is something else to do, or nothing to help. */
static int help(gb_worker *worker, uint64_t until)
{
    const gb_silo_config *config = &worker->silo->config;
    int did = HELP_NONE;
    while (config->help && (did = config->help(config->busy_user)) == HELP_DONE) {
        if (worker->loop->sockets) gb_loop_wait(worker->loop, 0);
        if (has_work(worker) || gb_now(worker->silo->sys) >= until) break;
    }
    return did;
}

bool gb_worker_help(gb_worker *worker, bool (*done)(void *user), void *user)
{
    const gb_silo_config *config = &worker->silo->config;
    gb_sys *sys = worker->silo->sys;
    if (!config->help) return done(user);
    uint64_t until = gb_now(sys) + GB_MS, soon = gb_timers_soon(&worker->timers);
    if (soon < until) until = soon;
    for (uint64_t now = gb_now(sys); !has_work(worker) && now < until; now = gb_now(sys)) {
        int did = config->help(config->busy_user);
        if (did == HELP_NONE) break;
        for (int i = 0; did == HELP_SOON && i < SPINS_PER_LOOK && !done(user); i++) relax();
        if (done(user)) return true;
        /* What is about to end is not waited for longer than anything else. */
        if (did == HELP_SOON && until > now + config->spin_ns) until = now + config->spin_ns;
    }
    return done(user);
}

void gb_worker_wait(gb_worker *worker, uint64_t until)
{
    if (has_work(worker)) return;
    gb_sys *sys = worker->silo->sys;
    uint64_t soon = gb_timers_soon(&worker->timers), most = worker->silo->config.spin_ns,
             start = gb_now(sys);
    if (soon < until) until = soon;
    if (until <= start) return;
    int helped = help(worker, until);
    if (helped == HELP_DONE) return;
    if (helped == HELP_SOON) {
        worker->spin_ns = most;
        start = gb_now(sys);
    }
    uint64_t spin_until = start + worker->spin_ns < until ? start + worker->spin_ns : until;
    if (worker->spin_ns && spin(worker, spin_until, helped == HELP_SOON)) {
        worker->spin_ns = worker->spin_ns * 2 < most ? worker->spin_ns * 2 : most;
        return;
    }
    uint64_t slept = gb_now(sys), next = gb_worker_next(worker);
    if (next < until) until = next;
    if (until <= slept) return;
    if (gbi_worker_paused(worker) && until - slept > PAUSE_NS) until = slept + PAUSE_NS;
    if (!gb_mailbox_doze(&worker->mailbox)) return;
    gb_loop_wait(worker->loop, until == GB_FOREVER ? GB_FOREVER : until - slept);
    gb_mailbox_awake(&worker->mailbox);
    /* Would a full spin have caught what woke it? Then spinning pays; else do less of it. What
     * counts is when the mail came: waking up alone may take longer than a spin. */
    uint64_t woken = atomic_load_explicit(&worker->mailbox.woken_at, memory_order_relaxed);
    if (woken >= slept && woken - slept < most)
        worker->spin_ns = most;
    else
        worker->spin_ns /= 2;
}

void gb_worker_loop(gb_worker *worker, atomic_bool *stop)
{
    for (unsigned busy = 0; !atomic_load_explicit(stop, memory_order_acquire);) {
        if (!gb_worker_pass(worker, GB_MS))
            gb_worker_wait(worker, GB_FOREVER);
        else if (++busy % PASSES_PER_IO == 0 || worker->loop->sockets)
            gb_loop_wait(worker->loop, 0); /* a worker that never waits serves its sockets too */
    }
}

bool gb_worker_drain(gb_worker *worker)
{
    for (uint32_t i = 0; i < worker->chunk_count; i++)
        for (int k = 0; k < GB_ACTS_PER_CHUNK; k++) {
            gb_act *act = &worker->chunks[i][k];
            if (act->state == GB_ACT_ACTIVE && !act->root)
                gb_act_stop(worker, act, GB_END_SHUTDOWN);
        }
    bool left = false;
    for (uint32_t i = 0; i < worker->chunk_count && !left; i++)
        for (int k = 0; k < GB_ACTS_PER_CHUNK && !left; k++) {
            const gb_act *act = &worker->chunks[i][k];
            left = act->state != GB_ACT_FREE && act->state != GB_ACT_FORWARD && !act->root;
        }
    return !left;
}
