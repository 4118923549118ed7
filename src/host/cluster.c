#include "host/cluster.h"

#include "base/err.h"
#include "cluster/client.h"
#include "cluster/cluster.h"
#include "host/embed.h"
#include "host/operate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *cluster_name(const gb_host *host)
{
    return host->config.cluster_name ? host->config.cluster_name : "gpubridge";
}

static gb_tls_config tls_of(gb_host *host)
{
    return (gb_tls_config){.mem = &host->mem,
                           .ca_file = host->config.tls_ca,
                           .cert_file = host->config.tls_cert,
                           .key_file = host->config.tls_key};
}

static int open_client(gb_host *host)
{
    gb_client_config config = {.mem = &host->mem,
                               .silo = host->silo,
                               .tls = tls_of(host),
                               .gateways = host->config.connect,
                               .bytes_max = (size_t)host->config.message_bytes_max,
                               .token_file = host->config.token_file,
                               .open = host->config.cluster_open != 0,
                               .cluster = cluster_name(host)};
    return gb_client_open(&host->client, &config);
}

#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* What stands in lists with commas, and is typed on command lines. */
static int check_names(const gb_config *given)
{
    const char *name = given->silo_name, *at = given->labels;
    if (name && (!*name || strspn(name, WORD ":[]") != strlen(name) ||
                 strlen(name) >= GB_MEMBER_NAME_BYTES))
        return gb_err_set(
            GB_EINVAL, "the name of a silo is of letters, digits and _ . - (at most %d), not '%s'",
            GB_MEMBER_NAME_BYTES - 1, name);
    while (at && *at) {
        size_t key = strspn(at, WORD), value = at[key] == '=' ? strspn(at + key + 1, WORD) : 0;
        const char *end = at + key + 1 + value;
        if (!key || !value || (*end && (*end != ',' || !end[1])) ||
            strlen(given->labels) >= GB_MEMBER_LABELS_BYTES)
            return gb_err_set(GB_EINVAL,
                              "labels are name=value, of letters, digits and _ . -, with commas "
                              "between: zone=a,role=gpu; not '%s'",
                              given->labels);
        at = *end ? end + 1 : end;
    }
    return 0;
}

int gbi_cluster_open(gb_host *host)
{
    const gb_config *given = &host->config;
    if (given->cluster && given->connect)
        return gb_err_set(GB_EINVAL, "cluster and connect: a silo is a member or a client");
    if ((given->cluster || given->connect) && given->virtual_time)
        return gb_err_set(GB_EINVAL, "cluster and connect need real time, not virtual_time");
    bool own = given->tls_cert && given->tls_key, none = !given->tls_cert && !given->tls_key;
    if (given->tls_ca ? !own && !(none && given->connect) : !none)
        return gb_err_set(GB_EINVAL, "TLS needs tls_ca, tls_cert and tls_key together; a client "
                                     "with a token needs tls_ca alone");
    if (given->connect) return open_client(host);
    if (!given->cluster) {
        if (!given->listen && !given->advertise && !given->silo_name) return 0;
        return gb_err_set(GB_EINVAL, "listen, advertise and silo_name are of a cluster: name its "
                                     "table too (cluster = \"sqlite:./cluster.db\")");
    }
    int rc = check_names(given);
    if (rc < 0) return rc;
    gb_cluster_config config;
    gb_cluster_config_init(&config);
    config.mem = &host->mem;
    config.silo = host->silo;
    config.log = &host->log;
    config.url = given->cluster;
    config.cluster = cluster_name(host);
    config.name = given->silo_name;
    config.listen = given->listen ? given->listen : "127.0.0.1:0";
    config.advertise = given->advertise;
    config.labels = given->labels;
    config.open = given->cluster_open != 0;
    config.bytes_max = (size_t)given->message_bytes_max;
    config.key = given->cluster_key;
    config.key_file = given->cluster_key_file;
    config.tokens_file = given->tokens;
    config.tls = tls_of(host);
    return gb_cluster_open(&host->cluster, &config);
}

void gbi_cluster_drain(gb_host *host)
{
    if (host->cluster) gb_cluster_drain(host->cluster);
}

void gbi_cluster_leave(gb_host *host)
{
    if (host->cluster) gb_cluster_leave(host->cluster);
}

void gbi_cluster_stop_worker(gb_host *host, gb_worker *worker)
{
    if (host->cluster) gb_cluster_stop_worker(host->cluster, worker);
    if (host->client) gb_client_stop_worker(host->client, worker);
}

void gbi_cluster_close(gb_host *host)
{
    if (host->cluster) gb_cluster_close(host->cluster);
    if (host->client) gb_client_close(host->client);
    gbi_operate_close(host);
    host->cluster = NULL;
    host->client = NULL;
}

/* ---- joining ---- */

typedef struct loading {
    gb_node node;
    gb_host *host;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over;
    int rc;
    char message[1024];
} loading;

static void load_ended(void *user, int rc, const char *message, const char *traceback)
{
    loading *l = user;
    (void)traceback;
    pthread_mutex_lock(&l->lock);
    l->rc = rc;
    if (message) snprintf(l->message, sizeof l->message, "%s", message);
    l->over = true;
    pthread_cond_signal(&l->ended);
    pthread_mutex_unlock(&l->lock);
}

static void load_begin(gb_node *node, void *reader)
{
    loading *l = GB_CONTAINER(node, loading, node);
    (void)reader;
    int rc = gbl_call_core(l->host->states[0], "load_all", 0, NULL, load_ended, l);
    if (rc < 0) load_ended(l, rc, gb_err_detail(), NULL);
}

/* All modules of the app, on the first worker; the others load a type when it is called there. */
static int load_app(gb_host *host)
{
    loading l = {.host = host, .node = {.run = load_begin}};
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.ended, NULL);
    gb_worker_post(host->silo->workers[0], &l.node);
    pthread_mutex_lock(&l.lock);
    while (!l.over) pthread_cond_wait(&l.ended, &l.lock);
    pthread_mutex_unlock(&l.lock);
    pthread_cond_destroy(&l.ended);
    pthread_mutex_destroy(&l.lock);
    return l.rc < 0 ? gb_err_set(l.rc, "%s", l.message) : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(gb_type *const *)a)->name->text, (*(gb_type *const *)b)->name->text);
}

/* The types that this silo hosts for others: sorted, separated by commas. */
static int list_types(gb_host *host, gb_buf *out)
{
    gb_silo *silo = host->silo;
    uint32_t count = gb_type_count(silo), used = 0;
    gb_type **types = calloc(count + 1, sizeof *types);
    if (!types) return GB_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        gb_type *type = gb_type_at(silo, i);
        if (!atomic_load(&type->foreign) && type->pinned < 0 && type->name->text[0] != '$')
            types[used++] = type;
    }
    qsort(types, used, sizeof *types, by_name);
    int rc = 0;
    for (uint32_t i = 0; i < used && rc == 0; i++)
        rc = gb_buf_printf(out, "%s%s", i ? "," : "", types[i]->name->text);
    free(types);
    return rc;
}

int gb_join(gb_host *host, int timeout_ms)
{
    int rc = gbi_enter(host, "gb_join");
    if (rc < 0) return rc;
    gb_buf types;
    gb_buf_init(&types, &host->mem);
    if (!host->cluster)
        rc = gb_err_set(GB_EINVAL, "gb_join: config.cluster names no membership table");
    else if (host->thread_first > 0)
        rc = gb_err_set(GB_EINVAL, "gb_join: a silo of a cluster needs threads (config.workers)");
    if (rc == 0) rc = load_app(host);
    /* Opens the devices: the first thing that others hear of their memory is true. */
    if (rc == 0) rc = gbi_operate_begin(host);
    if (rc == 0) rc = list_types(host, &types);
    if (rc == 0) rc = gb_cluster_start(host->cluster, gb_buf_text(&types));
    gb_buf_fini(&types);
    if (rc == 0)
        rc = gb_cluster_wait(host->cluster, (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * GB_MS);
    gbi_leave(host);
    return rc;
}

const char *gb_address(gb_host *host)
{
    return host->cluster ? gb_cluster_address(host->cluster) : "";
}
