#include "cluster/cluster.h"

#include "base/cond.h"
#include "base/err.h"
#include "base/hash.h"
#include "cluster/cluster_room.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { GREET_MS = 5000, GUESTS_MAX = 256, CONNECT_MS = 2000, RETRY_MS = 200, REST_MS = 50 };
enum { BYTES_MAX = 64 << 20, TABLE_MS = 2000, QUIET_MS = 3000 };
enum { REVIEW_MS = 1000 };
enum { DAY_SECONDS = 24 * 60 * 60, WARN_DAYS = 30 };

void gb_cluster_config_init(gb_cluster_config *config)
{
    memset(config, 0, sizeof *config);
    gb_member_rules_init(&config->member);
    gb_directory_rules_init(&config->directory);
}

/* ---- the thread ---- */

static void run_mail(gb_cluster *cluster)
{
    gb_node *node;
    while ((node = gb_mailbox_take(&cluster->mailbox))) node->run(node, cluster);
}

/* A life is over: nothing of it is left here. True: it lives again as another. */
static bool live_again(gb_cluster *cluster)
{
    gb_member_why why = cluster->why;
    uint64_t epoch = gb_membership_epoch(cluster->member);
    gb_view *view = gb_cluster_view(cluster);
    for (uint32_t i = 0; view && i < view->count; i++)
        gb_carry_dead(cluster->carry, view->rows[i]->member.id);
    gb_view_unref(view);
    gbi_wires_close(cluster);
    gbi_machines_close(cluster);
    gb_carry_drop(cluster->carry, NULL, 0); /* now nobody asks a directory that will not answer */
    if (why == GB_WHY_NAME_TAKEN)
        gbi_cluster_say(cluster, GB_LOG_ERROR, "another silo has the name '%s': this one leaves",
                        cluster->config.name);
    if (why != GB_WHY_DEAD || cluster->leaving) return false;
    gbi_cluster_say(cluster, GB_LOG_WARN,
                    "this silo was declared dead: it joins again, empty (it stood still, or others "
                    "do not reach it at %s)",
                    cluster->address);
    if (gbi_machines_open(cluster, epoch) < 0) {
        gbi_cluster_say(cluster, GB_LOG_ERROR, "it cannot: %s", gb_err_detail());
        return false;
    }
    cluster->ended = false;
    gb_membership_start(cluster->member, gbi_times(cluster), &cluster->actions);
    gbi_cluster_act(cluster);
    return true;
}

/* ---- now and then ---- */

/* A line each day: when it is over every link that breaks is the last one. */
static void review_certificate(gb_cluster *cluster, uint64_t now)
{
    if (!cluster->tls || now < cluster->warn_next) return;
    cluster->warn_next = now + DAY_SECONDS * GB_SEC;
    int64_t left = gb_tls_expires_s(cluster->tls) - gb_wall(cluster->sys) / (int64_t)GB_SEC;
    if (left > (int64_t)WARN_DAYS * DAY_SECONDS) return;
    if (left <= 0)
        gbi_cluster_say(cluster, GB_LOG_ERROR, "the certificate %s is over: no link can be made",
                        cluster->config.tls.cert_file);
    else
        gbi_cluster_say(cluster, GB_LOG_WARN,
                        "the certificate %s ends in %d days: renew it and start this silo again",
                        cluster->config.tls.cert_file, (int)((left - 1) / DAY_SECONDS + 1));
}

static void review(gb_cluster *cluster)
{
    uint64_t now = gb_now(cluster->sys);
    if (now < cluster->review_next) return;
    cluster->review_next = now + REVIEW_MS * GB_MS;
    review_certificate(cluster, now);
    gbi_noise_tick(cluster, now);
    int rc = gb_guard_tick(cluster->guard, gb_wall(cluster->sys));
    if (rc < 0)
        gbi_cluster_say(cluster, GB_LOG_ERROR, "the tokens stay as they were: %s", gb_err_detail());
    else if (rc > 0)
        gb_carry_review(cluster->carry);
}

static void one_round(gb_cluster *cluster)
{
    run_mail(cluster);
    review(cluster);
    if (cluster->ended) return;
    gb_membership_tick(cluster->member, gbi_times(cluster), &cluster->actions);
    gbi_cluster_act(cluster);
    if (cluster->ended) return;
    gbi_dir_step step;
    gbi_dir_begin(cluster, &step);
    gb_directory_tick(cluster->directory, step.now, &step.actions);
    uint64_t directory = gb_directory_next(cluster->directory);
    gbi_dir_end(cluster, &step);
    gbi_capacity_tick(cluster);
    uint64_t next = gb_membership_next(cluster->member), guests = gb_greeter_tick(cluster->greeter);
    uint64_t now = gb_now(cluster->sys);
    if (directory < next) next = directory;
    if (guests < next) next = guests;
    /* A question that a worker asks meanwhile may want an earlier tick. */
    if (next > now + REST_MS * GB_MS) next = now + REST_MS * GB_MS;
    if (next > now && gb_mailbox_doze(&cluster->mailbox)) {
        gb_loop_wait(cluster->loop, next - now);
        gb_mailbox_awake(&cluster->mailbox);
    } else {
        gb_loop_wait(cluster->loop, 0);
    }
    gbi_cluster_act(cluster);
}

static void *cluster_main(void *user)
{
    gb_cluster *cluster = user;
    gbi_cluster_here = cluster;
    gb_membership_start(cluster->member, gbi_times(cluster), &cluster->actions);
    gbi_cluster_act(cluster);
    do {
        while (!cluster->ended) one_round(cluster);
    } while (live_again(cluster));
    gb_listener_close(cluster->listener);
    gb_greeter_close(cluster->greeter);
    cluster->listener = NULL;
    cluster->greeter = NULL;
    gb_loop_wait(cluster->loop, 0);
    pthread_mutex_lock(&cluster->state_lock);
    cluster->over = true;
    pthread_cond_broadcast(&cluster->state_changed);
    pthread_mutex_unlock(&cluster->state_lock);
    return NULL;
}

/* ---- who connects ---- */

static void on_accepted(void *user, int fd, const char *peer)
{
    gb_greeter_add(((gb_cluster *)user)->greeter, fd, peer);
}

static void on_greeted(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                       gb_pipe_end end, const char *peer)
{
    gb_cluster *cluster = user;
    if (rc == 0 && strcmp(hello->cluster, cluster->config.cluster) != 0) {
        rc = gb_err_set(GB_EDENIED, "this is the cluster '%s', not '%s' (cluster_name)",
                        cluster->config.cluster, hello->cluster);
        gb_link_refuse(end, cluster->mem, rc, gb_err_detail());
    }
    if (rc < 0) {
        gbi_cluster_refused(cluster, peer, gb_err_detail());
        return;
    }
    if (hello->role == GB_LINK_PROBE)
        gb_link_refuse(end, cluster->mem, GB_ELOST, "it is alive");
    else if (hello->role == GB_LINK_CONTROL)
        gbi_wire_accept(cluster, hello, grant, end);
    else
        gb_carry_accept(cluster->carry, hello, grant, end);
}

/* ---- opening ---- */

static int check_listen(const gb_cluster_config *config)
{
    char host[256];
    uint16_t port;
    int rc = gb_address_split(config->listen, true, host, sizeof host, &port);
    if (rc < 0 || config->tls.ca_file || config->open || gb_address_is_loopback(host)) return rc;
    return gb_err_set(GB_EDENIED,
                      "%s is not the loopback: without TLS anyone who reaches it could call any "
                      "grain. Configure TLS (gbrun certs DIR), listen on 127.0.0.1, or set "
                      "`cluster_open = true` when the network "
                      "is yours alone",
                      config->listen);
}

/* Who says that it is a silo is asked for no token. */
static int check_tokens(const gb_cluster_config *config)
{
    if (!config->tokens_file || config->tls.ca_file || config->key || config->key_file) return 0;
    return gb_err_set(GB_EDENIED, "tokens alone keep nobody out who says that it is a silo: set a "
                                  "cluster_key_file too, or TLS (tls_ca)");
}

static int open_parts(gb_cluster *cluster)
{
    gb_cluster_config *config = &cluster->config;
    gb_table_config table = {.mem = cluster->mem,
                             .url = config->url,
                             .cluster = config->cluster,
                             .timeout_ns = config->table_timeout_ns};
    gb_guard_config guard = {.mem = cluster->mem,
                             .key = config->key,
                             .key_file = config->key_file,
                             .tokens_file = config->tokens_file};
    int rc = check_listen(config);
    if (rc == 0) rc = check_tokens(config);
    if (rc == 0) rc = gb_guard_open(&cluster->guard, &guard);
    if (rc == 0 && config->tls.ca_file) rc = gb_tls_open(&cluster->tls, &config->tls);
    table.key = rc == 0 ? gb_guard_key(cluster->guard) : NULL;
    if (rc == 0) rc = gb_table_open(&cluster->table, &table);
    if (rc == 0) rc = cluster->sys->door->loop_open(&cluster->loop, cluster->sys);
    if (rc < 0) return rc;
    gb_mailbox_init(&cluster->mailbox, cluster->loop);
    gb_greeter_config greeter = {.mem = cluster->mem,
                                 .loop = cluster->loop,
                                 .tls = cluster->tls,
                                 .guard = cluster->guard,
                                 .timeout_ns = GREET_MS * GB_MS,
                                 .waiting_max = GUESTS_MAX,
                                 .greeted = on_greeted,
                                 .user = cluster};
    gb_carry_config carry = gbi_door_questions;
    carry.mem = cluster->mem;
    carry.silo = config->silo;
    carry.cluster = config->cluster;
    carry.tls = cluster->tls;
    carry.secret = gb_guard_key(cluster->guard);
    carry.guard = cluster->guard;
    carry.bytes_max = config->bytes_max;
    carry.connect_ns = CONNECT_MS * GB_MS;
    carry.retry_ns = RETRY_MS * GB_MS;
    carry.quiet_ns = QUIET_MS * GB_MS;
    carry.user = cluster;
    rc = gb_listen(&cluster->listener, cluster->loop, config->listen, on_accepted, cluster);
    if (rc == 0) rc = gb_greeter_open(&cluster->greeter, &greeter);
    if (rc == 0) rc = gb_carry_open(&cluster->carry, &carry);
    return rc;
}

int gb_cluster_open(gb_cluster **out, const gb_cluster_config *config)
{
    gb_cluster *cluster = gb_mem_zalloc(config->mem, sizeof *cluster);
    if (!cluster) return GB_ENOMEM;
    cluster->config = *config;
    cluster->mem = config->mem;
    cluster->sys = config->silo->sys;
    if (!cluster->config.bytes_max) cluster->config.bytes_max = BYTES_MAX;
    if (!cluster->config.table_timeout_ns) cluster->config.table_timeout_ns = TABLE_MS * GB_MS;
    gb_list_init(&cluster->outs);
    gb_list_init(&cluster->ins);
    gb_book_init(&cluster->book, cluster->mem);
    gb_place_init(&cluster->place, cluster->mem, &cluster->book);
    cluster->tables.last = &cluster->tables.first;
    pthread_mutex_init(&cluster->lock, NULL);
    pthread_mutex_init(&cluster->state_lock, NULL);
    gb_cond_init(&cluster->state_changed);
    pthread_mutex_init(&cluster->tables.lock, NULL);
    pthread_cond_init(&cluster->tables.wake, NULL);
    int rc = open_parts(cluster);
    if (rc < 0) {
        gb_cluster_close(cluster);
        return rc;
    }
    snprintf(cluster->address, sizeof cluster->address, "%s",
             config->advertise ? config->advertise : gb_listener_address(cluster->listener));
    if (!config->name) cluster->config.name = cluster->address;
    cluster->seed = gb_guard_seed(cluster->guard, config->cluster);
    gb_silo_set_far(config->silo, gb_carry_far(cluster->carry), cluster->seed);
    *out = cluster;
    return 0;
}

const char *gb_cluster_address(const gb_cluster *cluster)
{
    return cluster->address;
}

const char *gb_cluster_name(const gb_cluster *cluster)
{
    return cluster->config.name;
}

int gb_cluster_start(gb_cluster *cluster, const char *types)
{
    cluster->types = gb_mem_strdup(cluster->mem, types);
    if (!cluster->types) return GB_ENOMEM;
    int rc = gbi_machines_open(cluster, 0);
    if (rc == 0) rc = gbi_tables_start(cluster);
    if (rc == 0 && pthread_create(&cluster->thread, NULL, cluster_main, cluster) != 0)
        rc = gb_err_set(GB_ENOMEM, "the system starts no more threads (cluster)");
    if (rc == 0) cluster->started = true;
    return rc;
}

int gb_cluster_wait(gb_cluster *cluster, uint64_t timeout_ns)
{
    struct timespec until = gb_cond_end(timeout_ns);
    int late = 0;
    pthread_mutex_lock(&cluster->state_lock);
    while (!cluster->serving && !cluster->over && !cluster->denied && late != ETIMEDOUT)
        late = pthread_cond_timedwait(&cluster->state_changed, &cluster->state_lock, &until);
    bool serving = cluster->serving, over = cluster->over, denied = cluster->denied;
    char trouble[sizeof cluster->trouble];
    memcpy(trouble, cluster->trouble, sizeof trouble);
    pthread_mutex_unlock(&cluster->state_lock);
    if (serving) return 0;
    if (over) return gb_err_set(GB_ECLOSED, "this silo is a member no more (see the log)");
    if (denied)
        return gb_err_set(GB_EDENIED, "it may not join the cluster '%s': %s",
                          cluster->config.cluster, trouble);
    return gb_err_set(GB_ETIMEDOUT, "it did not join the cluster '%s' in time: %s",
                      cluster->config.cluster, *trouble ? trouble : "see the log");
}

/* ---- leaving ---- */

static void wish_run(gb_node *node, void *reader)
{
    gb_cluster *cluster = reader;
    gbi_wish *w = GB_CONTAINER(node, gbi_wish, node);
    gbi_wish_fn *fn = w->fn;
    bool leave = fn == gb_membership_stop;
    atomic_store(&w->under_way, false); /* from here on it may be wished again */
    if (leave) cluster->leaving = true;
    if (!cluster->ended && leave && !cluster->view) { /* it has never seen the table */
        cluster->ended = true;
        cluster->why = GB_WHY_STOPPED;
    } else if (!cluster->ended) {
        fn(cluster->member, gbi_times(cluster), &cluster->actions);
        gbi_cluster_act(cluster);
    }
}

/* Needs no memory: a silo leaves also when it has none. */
static void put_wish(gb_cluster *cluster, gbi_wish *w, gbi_wish_fn *fn)
{
    if (atomic_exchange(&w->under_way, true)) return;
    w->fn = fn;
    w->node.run = wish_run;
    gb_mailbox_push(&cluster->mailbox, &w->node);
}

void gb_cluster_drain(gb_cluster *cluster)
{
    if (cluster->started) put_wish(cluster, &cluster->drain, gb_membership_drain);
}

void gb_cluster_undrain(gb_cluster *cluster)
{
    if (cluster->started) put_wish(cluster, &cluster->undrain, gb_membership_undrain);
}

void gb_cluster_leave(gb_cluster *cluster)
{
    if (!cluster->started) return;
    put_wish(cluster, &cluster->stop, gb_membership_stop);
    pthread_join(cluster->thread, NULL);
    cluster->started = false;
    gbi_tables_stop(cluster);
}

void gb_cluster_stop_worker(gb_cluster *cluster, gb_worker *worker)
{
    gb_carry_stop(cluster->carry, worker);
}

void gb_cluster_close(gb_cluster *cluster)
{
    gb_mem *mem = cluster->mem;
    gb_cluster_leave(cluster);
    gbi_tables_stop(cluster);
    cluster->ended = true;
    if (cluster->loop) run_mail(cluster);
    gbi_wires_close(cluster);
    gbi_machines_close(cluster);
    if (cluster->listener) gb_listener_close(cluster->listener);
    if (cluster->greeter) gb_greeter_close(cluster->greeter);
    if (cluster->carry) {
        cluster->config.silo->far = NULL;
        gb_carry_close(cluster->carry);
    }
    if (cluster->loop) cluster->sys->door->loop_close(cluster->loop);
    if (cluster->table) gb_table_close(cluster->table);
    if (cluster->tls) gb_tls_close(cluster->tls);
    if (cluster->guard) gb_guard_close(cluster->guard);
    gb_mem_strfree(mem, cluster->types);
    pthread_mutex_destroy(&cluster->lock);
    pthread_mutex_destroy(&cluster->state_lock);
    pthread_cond_destroy(&cluster->state_changed);
    pthread_mutex_destroy(&cluster->tables.lock);
    pthread_cond_destroy(&cluster->tables.wake);
    gb_mem_free(mem, cluster, sizeof *cluster);
}

uint64_t gb_cluster_self(gb_cluster *cluster)
{
    return atomic_load(&cluster->self);
}

void gb_cluster_get_stats(gb_cluster *cluster, gb_cluster_stats *out)
{
    memset(out, 0, sizeof *out);
    gb_carry_get_stats(cluster->carry, &out->calls);
    pthread_mutex_lock(&cluster->lock);
    if (cluster->directory) gb_directory_get_stats(cluster->directory, &out->directory);
    pthread_mutex_unlock(&cluster->lock);
    out->messages_sent = atomic_load(&cluster->sent);
    out->messages_received = atomic_load(&cluster->received);
    out->message_bytes = atomic_load(&cluster->bytes);
}
