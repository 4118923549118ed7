#include "host/host.h"

#include "base/check.h"
#include "base/cond.h"
#include "base/pages.h"
#include "cluster/link.h"
#include "gpu/gpu.h"
#include "host/cluster.h"
#include "host/embed.h"
#include "host/meter.h"
#include "host/operate.h"
#include "lua/keep.h"
#include "sys/cores.h"
#include "telemetry/tracer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MESSAGE_BYTES = 64 << 20 };
enum { SYSTEM_PERIOD_MS = 500, PAGES_KEPT = 256 << 20 };
enum { OPS_WAIT_MS = 5000, COMPILE_WAIT_MS = 60000 };

void gb_config_init(gb_config *config, size_t size)
{
    gb_config fresh = {.size = size,
                       .workers = -1,
                       .spin_us = -1,
                       .log_level = -1,
                       .prefer_gpu = 1,
                       .metrics = 1,
                       .tracing = 1,
                       .sampling_rate = 0.1};
    memset(config, 0, size);
    memcpy(config, &fresh, size < sizeof fresh ? size : sizeof fresh);
}

/* ---- opening ---- */

static int check_config(gb_config *config)
{
    if (config->size == 0 || config->size > 4096)
        return gb_err_set(GB_EINVAL,
                          "config.size: call gb_config_init(&config, sizeof config) first");
    if (config->workers < -1 || config->workers > GB_WORKERS_MAX)
        return gb_err_set(
            GB_EINVAL,
            "config.workers: -1 (one per core), 0 (driven by gb_poll) or 1 to %d, not %d",
            GB_WORKERS_MAX, config->workers);
    if (config->workers == -1) {
        int cores = gb_cores();
        config->workers = cores < GB_WORKERS_MAX ? cores : GB_WORKERS_MAX;
    }
    if (config->log_level < -1 || config->log_level > GB_LOG_OFF)
        return gb_err_set(GB_EINVAL, "config.log_level: -1 to 4, not %d", config->log_level);
    if (config->deliver != GB_DELIVER_WORKER && config->deliver != GB_DELIVER_POLL)
        return gb_err_set(GB_EINVAL, "config.deliver: no such value: %d", (int)config->deliver);
    if (config->call_timeout_ms < 0 || config->stuck_ms < 0 || config->cpu_bytes_max < 0)
        return gb_err_set(GB_EINVAL, "config.call_timeout_ms, stuck_ms and cpu_bytes_max must not "
                                     "be negative");
    if (!(config->sampling_rate >= 0 && config->sampling_rate <= 1))
        return gb_err_set(GB_EINVAL, "config.sampling_rate is 0 to 1, not %g",
                          config->sampling_rate);
    if (config->max_devices < 0 || config->max_kernels < 0 || !(config->kernel_bound_ms >= 0))
        return gb_err_set(GB_EINVAL, "config.max_devices, max_kernels and kernel_bound_ms must not "
                                     "be negative");
    if (config->message_bytes_max < 0 || config->message_bytes_max > GB_LINK_BYTES_MOST)
        return gb_err_set(GB_EINVAL,
                          "config.message_bytes_max (max_message): 0 to %d bytes, not %lld",
                          GB_LINK_BYTES_MOST, (long long)config->message_bytes_max);
    if (config->message_bytes_max == 0) config->message_bytes_max = MESSAGE_BYTES;
    return 0;
}

static void log_sink(void *user, gb_log_level level, const char *line)
{
    gb_host *host = user;
    host->config.log(host->config.log_user, (int)level, line);
}

static bool gpu_busy(void *user)
{
    return gb_gpu_busy(user);
}

static int gpu_help(void *user)
{
    return gb_gpu_help(user);
}

static int open_silo(gb_host *host)
{
    const gb_config *config = &host->config;
    gb_silo_config silo = {
        .mem = &host->mem,
        .sys = host->sys,
        .log = &host->log,
        .workers = config->workers ? config->workers : 1,
        .spin_ns = (uint64_t)((config->spin_us < 0 ? 50 : config->spin_us) * 1e3),
        .call_timeout_ns = (uint64_t)(config->call_timeout_ms * 1e6),
        .stuck_ns = (uint64_t)(config->stuck_ms * 1e6),
        .busy = gpu_busy,
        .help = gpu_help,
        .busy_user = host->gpu,
    };
    int rc = gb_silo_open(&host->silo, &silo);
    if (rc < 0) return rc;
    /* Each worker's own grain is known before any worker runs, so that all can ask all. */
    gb_type_options options;
    gb_type_options_init(&options);
    options.reentrant = GB_REENTRANT_YES;
    options.keep_alive = true;
    options.queue_max = 100000;
    for (int i = 0; i < silo.workers && rc >= 0; i++) {
        char name[32];
        gb_type *type;
        snprintf(name, sizeof name, "$worker%d", i);
        rc = gb_type_define(&type, host->silo, name, "", &gbl_kind, i, &options);
    }
    return rc;
}

static int open_state(gb_host *host, int index)
{
    gbl_config config = {
        .silo = host->silo,
        .gpu = host->gpu,
        .keep = host->keep,
        .tracer = host->tracer,
        .mem = &host->mem,
        .app_dir = host->config.app_dir,
        .script_dir = host->config.script_dir,
        .virtual_time = host->config.virtual_time,
        .lua_bytes_max = host->config.lua_bytes_max,
        .message_bytes_max = host->config.message_bytes_max,
        .kernels_max = host->config.max_kernels,
        .pretend_gpus = host->config.pretend_gpus != 0,
        .prefer_gpu = host->config.prefer_gpu != 0,
        .lua_config = host->config.lua_config,
        .exit = host->config.exit,
        .exit_user = host->config.exit_user,
    };
    gbi_exports_init(host, &config.exports);
    int rc = gbl_state_open(&host->states[index], host->silo->workers[index], &config);
    if (rc < 0) {
        int none = 0;
        if (atomic_compare_exchange_strong(&host->open_rc, &none, rc))
            snprintf(host->open_detail, sizeof host->open_detail, "%s", gb_err_detail());
    }
    atomic_fetch_add(&host->opened, 1);
    return rc;
}

typedef struct thread_start {
    gb_host *host;
    int index;
} thread_start;

static void *worker_main(void *argument)
{
    thread_start start = *(thread_start *)argument;
    gb_mem_free(&start.host->mem, argument, sizeof start);
    gb_worker *worker = start.host->silo->workers[start.index];
    if (open_state(start.host, start.index) < 0) return NULL;
    gb_worker_loop(worker, &start.host->stop);
    gbi_cluster_stop_worker(start.host, worker);
    return NULL;
}

static int start_workers(gb_host *host, int first)
{
    int count = host->silo->worker_count;
    host->thread_first = first;
    for (int i = first; i < count; i++) {
        thread_start *start = gb_mem_alloc(&host->mem, sizeof *start);
        if (!start) return GB_ENOMEM;
        *start = (thread_start){host, i};
        if (pthread_create(&host->threads[i], NULL, worker_main, start) != 0) {
            gb_mem_free(&host->mem, start, sizeof *start);
            return gb_err_set(GB_ENOMEM, "the system starts no more threads (worker %d)", i);
        }
        host->thread_count++;
    }
    for (int i = 0; i < first && i < count; i++) open_state(host, i);
    return 0;
}

/* Looks at the workers every so often; has no Lua. */
static void *system_main(void *argument)
{
    gb_host *host = argument;
    gb_watch watch = {0};
    pthread_mutex_lock(&host->system_lock);
    while (!atomic_load(&host->stop)) {
        struct timespec until = gb_cond_end(SYSTEM_PERIOD_MS * GB_MS);
        pthread_cond_timedwait(&host->system_wake, &host->system_lock, &until);
        if (atomic_load(&host->stop)) break;
        gb_watch_look(&watch, host->silo);
        gb_pages_trim(host->mem.pages);
        gb_gpu_maintain(host->gpu, gb_now(host->sys));
        gbi_operate_tick(host);
    }
    pthread_mutex_unlock(&host->system_lock);
    return NULL;
}

static int open_rest(gb_host *host, int driven)
{
    const gb_config *config = &host->config;
    int rc = config->virtual_time ? gb_sys_sim_open(&host->sys, &host->mem, config->seed)
                                  : gb_sys_open(&host->sys, &host->mem);
    if (rc < 0) return rc;
    gb_gpu_config gpu = {
        .mem = &host->mem,
        .log = &host->log,
        .cache_dir = config->cache_dir,
        .compiler = config->compiler,
        .threads = config->kernel_threads,
        .cpu_devices = config->cpu_devices,
        .owns_devices = config->owns_devices != 0,
        .devices_max = config->max_devices,
        .bound_ns = (uint64_t)(config->kernel_bound_ms * 1e6),
        .cpu_memory_bytes = config->cpu_bytes_max,
        .storage_bytes = config->file_bytes_max,
        .storage_staged = config->staged_files != 0,
        .storage_mount = config->direct_folder,
        .memory_pool_bytes = config->memory_pool_bytes,
        .sanitize = config->sanitize != 0,
        .tenants = config->tenants,
        .prefer_cpu = config->prefer_gpu == 0,
        .profiling = config->profiling != 0,
    };
    if ((rc = gb_gpu_open(&host->gpu, &gpu)) < 0 || (rc = open_silo(host)) < 0) return rc;
    if (!(host->keep = gbl_keep_new(&host->mem))) return GB_ENOMEM;
    if ((rc = gbi_cluster_open(host)) < 0) return rc;
    int count = host->silo->worker_count;
    if (config->tracing &&
        (rc = gb_tracer_new(&host->tracer, &host->mem, count, config->sampling_rate)) < 0)
        return rc;
    host->states = gb_mem_zalloc(&host->mem, (size_t)count * sizeof *host->states);
    host->threads = gb_mem_zalloc(&host->mem, (size_t)count * sizeof *host->threads);
    if (!host->states || !host->threads) return GB_ENOMEM;
    if ((rc = gbi_embed_open(host)) < 0 || (rc = gbi_meter_open(&host->meter, host)) < 0) return rc;
    if (host->cluster && (rc = gbi_operate_open(host)) < 0) return rc;
    rc = start_workers(host, config->workers == 0 || config->virtual_time ? count : driven);
    if (rc < 0) return rc;
    if (!config->virtual_time) {
        if (pthread_create(&host->system_thread, NULL, system_main, host) != 0)
            return gb_err_set(GB_ENOMEM, "the system starts no more threads");
        host->system_started = true;
    }
    return 0;
}

/* Failures of states on other threads: waits until all have tried. Driven hosts need not wait for
 * success. */
static int wait_opened(gb_host *host)
{
    while (atomic_load(&host->opened) < host->thread_count + host->thread_first) {
        struct timespec moment = {0, 50000};
        nanosleep(&moment, NULL);
    }
    int rc = atomic_load(&host->open_rc);
    return rc < 0 ? gb_err_set(rc, "%s", host->open_detail) : 0;
}

int gbi_host_open(gb_host **out, const gb_config *given, int driven)
{
    gb_config config;
    gb_config_init(&config, sizeof config);
    memcpy(&config, given, given->size < sizeof config ? given->size : sizeof config);
    int rc = check_config(&config);
    if (rc < 0) return rc;
    gb_host *host = config.alloc ? config.alloc(config.alloc_user, NULL, 0, sizeof *host)
                                 : malloc(sizeof *host);
    if (!host) return gb_err_set(GB_ENOMEM, "out of memory: a host");
    memset(host, 0, sizeof *host);
    host->config = config;
    atomic_init(&host->refs, 1);
    pthread_mutex_init(&host->handles_lock, NULL);
    gb_mem_init(&host->mem, "host", NULL, 0);
    gb_mem_set_alloc(&host->mem, config.alloc, config.alloc_user);
    if (!config.alloc && !config.virtual_time) host->mem.pages = gb_pages_open(PAGES_KEPT);
    host->log.level = config.log_level < 0 ? GB_LOG_INFO : (gb_log_level)config.log_level;
    host->log.sink = config.log ? log_sink : NULL;
    host->log.user = host;
    pthread_mutex_init(&host->system_lock, NULL);
    gb_cond_init(&host->system_wake);
    rc = open_rest(host, driven);
    if (rc >= 0 && driven == 0) rc = wait_opened(host);
    if (rc >= 0 && (rc = atomic_load(&host->open_rc)) < 0) gb_err_set(rc, "%s", host->open_detail);
    if (rc < 0) {
        char detail[1024];
        snprintf(detail, sizeof detail, "%s", gb_err_detail());
        gb_close(host, 0);
        return gb_err_set(rc, "%s", detail);
    }
    *out = host;
    return 0;
}

int gb_open(gb_host **out, const gb_config *config)
{
    return gbi_host_open(out, config, 0);
}

/* ---- driving ---- */

/* Nothing is left at this time: who waits for quiet goes on, else time moves. False: nothing will
 * ever happen. */
bool gbi_host_move_time(gb_host *host)
{
    gb_silo *silo = host->silo;
    bool woken = false;
    for (int i = 0; i < silo->worker_count; i++) woken |= gbl_wake_idlers(host->states[i]);
    if (woken) return true;
    uint64_t next = GB_FOREVER;
    for (int i = 0; i < silo->worker_count; i++) {
        uint64_t one = gb_worker_next(silo->workers[i]);
        if (one < next) next = one;
    }
    if (next == GB_FOREVER) return gb_sim_held(host->sys) > 0;
    gb_sim_advance_to(host->sys, next);
    return true;
}

bool gbi_host_run(gb_host *host, atomic_bool *stop)
{
    if (!host->config.virtual_time) {
        gb_worker_loop(host->silo->workers[0], stop);
        return true;
    }
    while (!atomic_load(stop)) {
        gb_silo_settle(host->silo);
        if (atomic_load(stop)) return true;
        if (!gbi_host_move_time(host)) return false;
    }
    return true;
}

static uint64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * GB_SEC + (uint64_t)t.tv_nsec;
}

/* Drives what this thread has to drive, for a moment. */
static void drive(gb_host *host, uint64_t wait_ns)
{
    if (host->config.virtual_time) {
        gb_silo_settle(host->silo);
        return;
    }
    gbi_embed_deliver(host, gb_now(host->sys) + GB_MS);
    bool any = false;
    for (int i = 0; i < host->thread_first; i++)
        any |= gb_worker_pass(host->silo->workers[i], GB_MS);
    if (any) return;
    if (host->thread_first > 0) {
        gb_worker_wait(host->silo->workers[0], gb_now(host->sys) + wait_ns);
    } else {
        struct timespec moment = {0, (long)wait_ns};
        nanosleep(&moment, NULL);
    }
}

bool gbi_host_settle(gb_host *host, int wait_ms)
{
    uint64_t until = real_now() + (uint64_t)wait_ms * GB_MS;
    while (!gbi_embed_quiet(host) || !gb_silo_quiet(host->silo)) {
        if (real_now() >= until) return false;
        drive(host, GB_MS / 5);
    }
    return true;
}

/* ---- closing ---- */

typedef struct drain {
    gb_node node;
    gb_timer timer;
    gb_worker *worker;
    atomic_int *left; /* workers that are not done; the first one's counts for all */
    atomic_int count;
    bool over; /* no thread runs any more: mail that was not read in time means nothing */
} drain;

static void drain_look(drain *d)
{
    if (d->over) return;
    if (gb_worker_drain(d->worker)) {
        atomic_fetch_sub(d->left, 1);
        return;
    }
    gb_timer_add(&d->worker->timers, &d->timer, d->worker->now, d->worker->now + GB_MS / 2);
}

static void drain_timer(gb_timer *timer)
{
    drain_look(GB_CONTAINER(timer, drain, timer));
}

static void drain_start(gb_node *node, void *reader)
{
    (void)reader;
    drain_look(GB_CONTAINER(node, drain, node));
}

/* Ends all activations with their hooks, on their own workers, within the time. */
static void drain_all(gb_host *host, uint64_t until, drain *drains)
{
    int count = host->silo->worker_count;
    for (int i = 0; i < count; i++) {
        drain *d = &drains[i];
        d->worker = host->silo->workers[i];
        d->left = &drains->count;
        d->node.run = drain_start;
        gb_timer_init(&d->timer, drain_timer);
        gb_worker_post(d->worker, &d->node);
    }
    while (atomic_load(&drains->count) > 0 && real_now() < until) {
        drive(host, GB_MS / 5);
        if (host->config.virtual_time) gbi_host_move_time(host);
    }
}

static void stop_threads(gb_host *host)
{
    pthread_mutex_lock(&host->system_lock);
    atomic_store(&host->stop, true);
    pthread_cond_signal(&host->system_wake);
    pthread_mutex_unlock(&host->system_lock);
    for (int i = 0; i < host->thread_count; i++) {
        int index = host->thread_first + i;
        gb_loop_wake(host->silo->workers[index]->loop);
        pthread_join(host->threads[index], NULL);
    }
    if (host->system_started) pthread_join(host->system_thread, NULL);
}

/* Kernels and copies that still run hold memory of the states: they are asked to end, and waited
 * for; so is a compiler, which ends by itself. */
static bool wait_ops(gb_host *host)
{
    uint64_t start = real_now();
    for (;;) {
        bool any = false;
        for (int i = 0; i < host->silo->worker_count; i++)
            any |= host->states[i] && gbl_ops_under_way(host->states[i]);
        any |= host->embed && atomic_load(&host->embed->ops) > 0;
        if (!any) return true;
        int wait_ms = gb_gpu_compiling(host->gpu) ? COMPILE_WAIT_MS : OPS_WAIT_MS;
        if (real_now() - start >= (uint64_t)wait_ms * GB_MS) return false;
        for (int i = 0; i < host->silo->worker_count; i++) {
            gb_worker_pass(host->silo->workers[i], GB_MS);
            gb_worker_wait(host->silo->workers[i], gb_now(host->sys) + GB_MS);
        }
    }
}

/* What is queued and the hooks of all grains, within the time; then no thread of ours runs. Returns
 * what lies in mailboxes still: it is freed when their last mail has been read. */
static drain *wind_down(gb_host *host, int drain_ms)
{
    gb_silo *silo = host->silo;
    drain *drains = NULL;
    gbi_cluster_drain(host);
    if (host->states && atomic_load(&host->open_rc) == 0 && drain_ms > 0) {
        uint64_t until = real_now() + (uint64_t)drain_ms * GB_MS;
        drains = gb_mem_zalloc(&host->mem, (size_t)silo->worker_count * sizeof *drains);
        if (drains) {
            gbi_host_settle(host, (drain_ms + 1) / 2); /* hooks need time too */
            atomic_store(&drains->count, silo->worker_count);
            drain_all(host, until, drains);
        }
    }
    gbi_cluster_leave(host);
    stop_threads(host);
    for (int i = 0; i < host->thread_first; i++) gbi_cluster_stop_worker(host, silo->workers[i]);
    for (int i = 0; drains && i < silo->worker_count; i++) {
        gb_timer_stop(&silo->workers[i]->timers, &drains[i].timer);
        drains[i].over = true;
    }
    return drains;
}

/* Callbacks that are owed run here, before the states whose arrays they may show are closed. */
static bool end_silo(gb_host *host)
{
    gb_silo *silo = host->silo;
    bool ended = wait_ops(host);
    if (ended) gb_silo_stop(silo);
    if (host->embed) gbi_embed_abandon(host);
    for (int i = 0; ended && i < silo->worker_count; i++)
        if (host->states[i]) gbl_state_close(host->states[i]);
    return ended;
}

void gb_close(gb_host *host, int drain_ms)
{
    if (!host) return;
    gbi_embed_begin_close(host);
    gb_silo *silo = host->silo;
    drain *drains = silo ? wind_down(host, drain_ms) : NULL;
    if (silo && host->states && !end_silo(host)) {
        /* a kernel that never ends holds them: better a leak than memory taken away under it */
        gb_log_put(&host->log, GB_LOG_ERROR, gb_wall(host->sys), NULL,
                   "closed while a kernel still runs: its host's memory is kept");
        return;
    }
    gbi_cluster_close(host);
    gb_mem_free(&host->mem, drains, silo ? (size_t)silo->worker_count * sizeof *drains : 0);
    gbi_embed_close(host);
    gbi_meter_close(host->meter);
    if (silo) {
        gb_mem_free(&host->mem, host->states, (size_t)silo->worker_count * sizeof *host->states);
        gb_mem_free(&host->mem, host->threads, (size_t)silo->worker_count * sizeof *host->threads);
        gb_silo_close(silo);
    }
    gbl_keep_free(host->keep);
    gb_tracer_free(host->tracer);
    if (host->gpu) gb_gpu_close(host->gpu); /* messages that nobody read held buffers */
    if (host->sys) gb_sys_close(host->sys);
    pthread_mutex_destroy(&host->system_lock);
    pthread_cond_destroy(&host->system_wake);
    host->silo = NULL;
    gbi_host_unref(host);
}
