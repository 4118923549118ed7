#include "host/operate.h"

#include "base/err.h"
#include "base/hash.h"
#include "cluster/cluster.h"
#include "gpu/gpu.h"
#include "host/embed.h"

#include <stdio.h>
#include <string.h>

enum { LOOK_MS = 1000, MB = 1 << 20 };

struct gbi_operate {
    pthread_mutex_t lock;
    bool begun;
    uint64_t next;
    bool has_given; /* by gb.capacity.update, in place of what is measured */
    gb_capacity given;
};

/* ---- what this silo has ---- */

static void measure(gb_host *host, gb_capacity *out)
{
    int count = gb_gpu_devices_open(host->gpu);
    *out = gb_capacity_none((int64_t)gb_now(host->sys));
    for (int i = 0; i < count; i++) {
        gb_device *device = gb_gpu_device(host->gpu, i);
        gb_device_info info;
        gb_device_get_info(device, &info);
        bool is_cpu = strcmp(info.backend, "cpu") == 0;
        if ((is_cpu && !host->config.pretend_gpus) || gb_device_lost(device)) continue;
        int64_t available = (int64_t)info.memory_free / MB;
        if (!out->devices_count++) snprintf(out->backend, sizeof out->backend, "%s", info.backend);
        out->total_mb += (int64_t)info.memory_total / MB;
        out->available_mb += available;
        if (available > out->largest_mb) out->largest_mb = available;
        out->queue_depth += gb_device_queue_depth(device);
    }
}

static uint64_t count_grains(gb_silo *silo)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < gb_type_count(silo); i++) {
        gb_type *type = gb_type_at(silo, i);
        if (type->name->text[0] != '$') sum += gb_type_activations(type);
    }
    return (uint64_t)sum;
}

static void tell(gb_host *host, bool at_once)
{
    struct gbi_operate *o = host->operate;
    gb_capacity now;
    measure(host, &now);
    pthread_mutex_lock(&o->lock);
    if (o->has_given && gb_capacity_expired(&o->given, now.updated_ns)) o->has_given = false;
    if (o->has_given) now = o->given;
    pthread_mutex_unlock(&o->lock);
    gb_cluster_tell(host->cluster, &now, count_grains(host->silo), at_once);
}

void gbi_operate_tick(gb_host *host)
{
    struct gbi_operate *o = host->operate;
    if (!o) return;
    uint64_t now = gb_now(host->sys);
    pthread_mutex_lock(&o->lock);
    bool due = o->begun && now >= o->next;
    if (due) o->next = now + LOOK_MS * GB_MS;
    pthread_mutex_unlock(&o->lock);
    if (due) tell(host, false);
}

int gbi_operate_begin(gb_host *host)
{
    int count = gb_gpu_device_count(host->gpu);
    if (count < 0) return count;
    tell(host, true);
    pthread_mutex_lock(&host->operate->lock);
    host->operate->begun = true;
    pthread_mutex_unlock(&host->operate->lock);
    return 0;
}

/* ---- functions for lua/gb/silo.lua ---- */

static void put_field(gb_value *out, const char *name, const char *text)
{
    gb_put_text(out, name);
    gb_put_text(out, text);
}

static void put_count(gb_value *out, const char *name, int64_t number)
{
    gb_put_text(out, name);
    gb_put_number(out, (double)number);
}

/* Memory in bytes, as everywhere in Lua. */
static void put_memory(gb_value *out, int64_t total_mb, int64_t free_mb, int64_t largest_mb)
{
    put_count(out, "memory_total", total_mb * MB);
    put_count(out, "memory_free", free_mb * MB);
    put_count(out, "memory_largest", largest_mb * MB);
}

static void put_capacity(gb_host *host, gb_value *out, uint64_t silo)
{
    gb_capacity c;
    uint64_t grains;
    int64_t now = (int64_t)gb_now(host->sys);
    if (gb_cluster_capacity(host->cluster, silo, &c, &grains) < 0) return;
    put_count(out, "grains", (int64_t)grains);
    gb_put_text(out, "capacity");
    gb_put_table(out);
    put_count(out, "devices", c.devices_count);
    put_memory(out, c.total_mb, c.available_mb, c.largest_mb);
    put_count(out, "queue_depth", c.queue_depth);
    put_field(out, "backend", c.backend);
    gb_put_text(out, "score");
    gb_put_number(out, gb_capacity_score(&c, now));
    gb_put_text(out, "used_percent");
    gb_put_number(out, gb_capacity_used_percent(&c));
    gb_put_text(out, "age");
    gb_put_number(out, now > c.updated_ns ? (double)(now - c.updated_ns) / 1e9 : 0);
    gb_put_text(out, "stale");
    gb_put_bool(out, gb_capacity_stale(&c, now));
    gb_put_end(out);
}

/* "role=gpu,zone=a" as a table. */
static void put_labels(gb_value *out, const char *at)
{
    gb_put_text(out, "labels");
    gb_put_table(out);
    for (size_t size; *at; at += size + (at[size] == ',')) {
        size = strcspn(at, ",");
        size_t name = strcspn(at, "=,"), value = name + (name < size);
        gb_put_bytes(out, at, name);
        gb_put_bytes(out, at + value, size - value);
    }
    gb_put_end(out);
}

/* "Cart,Shop" as a list. */
static void put_types(gb_value *out, const char *at)
{
    gb_put_text(out, "types");
    gb_put_list(out);
    for (size_t size; *at; at += size + (at[size] == ',')) {
        size = strcspn(at, ",");
        gb_put_bytes(out, at, size);
    }
    gb_put_end(out);
}

static void put_member(gb_host *host, gb_value *out, const gb_member *row)
{
    char id[20];
    snprintf(id, sizeof id, "%016llx", (unsigned long long)row->id);
    gb_put_table(out);
    put_field(out, "name", row->name);
    put_field(out, "id", id);
    put_field(out, "state", row->left ? "left" : gb_silo_state_name(row->state));
    put_field(out, "address", row->address);
    put_labels(out, row->labels);
    put_types(out, row->types);
    put_count(out, "epoch", (int64_t)row->epoch);
    put_count(out, "started", row->started_ns / (int64_t)GB_SEC);
    put_capacity(host, out, row->id);
    gb_put_end(out);
}

static int members(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    gb_view *view = gb_cluster_view(host->cluster);
    (void)args, (void)user;
    gb_put_list(out);
    for (uint32_t i = 0; view && i < view->count; i++)
        put_member(host, out, &view->rows[i]->member);
    gb_put_end(out);
    gb_view_unref(view);
    return 0;
}

static int self(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    gb_view *view = gb_cluster_view(host->cluster);
    uint64_t id = gb_cluster_self(host->cluster);
    const gb_member *row = view && id ? gb_view_find(view, id) : NULL;
    int64_t active = 0;
    uint64_t gone = 0;
    (void)args, (void)user;
    for (uint32_t i = 0; view && i < view->count; i++) {
        const gb_member *member = &view->rows[i]->member;
        active += member->state == GB_SILO_ACTIVE;
        if (member->state == GB_SILO_DEAD) gone ^= gb_hash_mix(member->id);
    }
    gb_put_table(out);
    put_field(out, "name", gb_cluster_name(host->cluster));
    put_field(out, "address", gb_cluster_address(host->cluster));
    put_field(out, "state", row ? gb_silo_state_name(row->state) : "joining");
    put_field(out, "cluster", host->config.cluster_name ? host->config.cluster_name : "gpubridge");
    put_count(out, "members", active);
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)id);
    put_field(out, "id", text);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)gone);
    put_field(out, "gone", text); /* changes when a silo has gone */
    gb_put_end(out);
    gb_view_unref(view);
    return 0;
}

static int stats(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    gb_book_stats all;
    gb_cluster_stats own;
    (void)args, (void)user;
    gb_cluster_capacity_stats(host->cluster, &all);
    gb_cluster_get_stats(host->cluster, &own);
    gb_put_table(out);
    put_count(out, "silos", all.silos);
    put_count(out, "gpu_silos", all.gpu_silos);
    put_count(out, "stale", all.stale);
    put_memory(out, all.total_mb, all.available_mb, all.largest_mb);
    gb_put_text(out, "queue_depth");
    gb_put_number(out, all.queue_depth);
    gb_put_end(out);
    gb_put_table(out);
    put_count(out, "links", own.calls.links);
    put_count(out, "sent", own.calls.sent);
    put_count(out, "served", own.calls.served);
    put_count(out, "moved", own.calls.moved);
    put_count(out, "lost", own.calls.lost);
    put_count(out, "retried", own.calls.retried);
    put_count(out, "messages_sent", own.messages_sent);
    put_count(out, "messages_received", own.messages_received);
    put_count(out, "message_bytes", own.message_bytes);
    gb_put_end(out);
    return 0;
}

/* best(MB): the id of a silo. */
static int best(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    int64_t minimum = 0;
    uint64_t silo;
    char id[20];
    (void)user;
    gb_as_int(gb_value_at(args, 0), &minimum);
    int rc = gb_cluster_best(host->cluster, minimum, &silo);
    if (rc < 0) return rc;
    snprintf(id, sizeof id, "%016llx", (unsigned long long)silo);
    return gb_put_text(out, id);
}

static int64_t number_of(const gb_value *args, const char *name, int64_t missing)
{
    gb_as_int(gb_item_field(gb_value_at(args, 0), name), &missing);
    return missing;
}

/* give(table): these figures instead of the measured ones, for as long as any are true; what it
 * leaves out stays. give(): the measured ones again. */
static int give(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    struct gbi_operate *o = host->operate;
    const char *backend = NULL;
    (void)user, (void)out;
    bool has = gb_value_at(args, 0).type == GB_ITEM_TABLE;
    gb_capacity base;
    measure(host, &base);
    pthread_mutex_lock(&o->lock);
    gb_capacity *c = &o->given;
    int64_t now = base.updated_ns;
    if (!o->has_given) *c = base;
    o->has_given = has;
    c->devices_count = (int32_t)number_of(args, "devices", c->devices_count);
    c->queue_depth = (int32_t)number_of(args, "queue_depth", c->queue_depth);
    c->total_mb = number_of(args, "memory_total", c->total_mb * MB) / MB;
    c->available_mb = number_of(args, "memory_free", c->available_mb * MB) / MB;
    int64_t most = c->devices_count > 0 ? c->available_mb / c->devices_count : 0;
    c->largest_mb = number_of(args, "memory_largest", most * MB) / MB;
    if (gb_as_text(gb_item_field(gb_value_at(args, 0), "backend"), &backend) == 0)
        snprintf(c->backend, sizeof c->backend, "%s", backend);
    c->updated_ns = now;
    pthread_mutex_unlock(&o->lock);
    gb_cluster_tell(host->cluster, has ? c : &base, count_grains(host->silo), true);
    return 0;
}

/* ---- draining ---- */

typedef struct sweep {
    gb_node node;
    gb_mem *mem;
    uint32_t count, room;
    gb_act *acts[];
} sweep;

static void gather(gb_act *act, void *user)
{
    sweep *s = user;
    const gb_type *type = act->type;
    if (type->name->text[0] == '$' || type->pinned >= 0 || s->count == s->room) return;
    if (type->options.placement != GB_PLACE_STATELESS) s->acts[s->count++] = act;
}

static void sweep_run(gb_node *node, void *reader)
{
    sweep *s = GB_CONTAINER(node, sweep, node);
    gb_worker *worker = reader;
    gb_act_each(worker, NULL, gather, s);
    for (uint32_t i = 0; i < s->count; i++) gb_act_stop(worker, s->acts[i], GB_END_ASKED);
    gb_mem_free(s->mem, s, sizeof *s + s->room * sizeof(gb_act *));
}

/* Its grains end, with their hooks: the next call of each activates it on another silo. */
static int sweep_all(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    gb_silo *silo = host->silo;
    (void)args, (void)out, (void)user;
    for (int i = 0; i < silo->worker_count; i++) {
        uint32_t room = (uint32_t)atomic_load(&silo->workers[i]->act_count) + 64;
        sweep *s = gb_mem_zalloc(&host->mem, sizeof *s + room * sizeof(gb_act *));
        if (!s) return GB_ENOMEM;
        s->mem = &host->mem;
        s->room = room;
        s->node.run = sweep_run;
        gb_worker_post(silo->workers[i], &s->node);
    }
    return 0;
}

static int drain(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    (void)args, (void)out, (void)user;
    gb_cluster_drain(host->cluster);
    return 0;
}

static int undrain(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    (void)args, (void)out, (void)user;
    gb_cluster_undrain(host->cluster);
    return 0;
}

/* ---- opening ---- */

static int define(gb_host *host, const char *name, gb_placement placement, gb_site_rule rule,
                  bool keep_alive)
{
    gb_type *type;
    gb_type_options options;
    gb_type_options_init(&options);
    options.placement = placement;
    options.site.rule = rule;
    options.reentrant = GB_REENTRANT_YES;
    options.keep_alive = keep_alive;
    return gb_type_define(&type, host->silo, name, "gb/silo.lua", &gbl_kind, -1, &options);
}

int gbi_operate_open(gb_host *host)
{
    static const struct {
        const char *name;
        gb_export_fn *fn;
    } functions[] = {{"$members", members}, {"$self", self},       {"$stats", stats},
                     {"$best", best},       {"$give", give},       {"$drain", drain},
                     {"$undrain", undrain}, {"$sweep", sweep_all}, {NULL, NULL}};
    struct gbi_operate *o = gb_mem_zalloc(&host->mem, sizeof *o);
    if (!o) return GB_ENOMEM;
    pthread_mutex_init(&o->lock, NULL);
    host->operate = o;
    int rc = define(host, "$silo", GB_PLACE_HASH, GB_SITE_NAMED, true);
    if (rc == 0) rc = define(host, "$cluster", GB_PLACE_STATELESS, GB_SITE_PLACEMENT, true);
    if (rc == 0) rc = define(host, "$topics", GB_PLACE_LOCAL, GB_SITE_PLACEMENT, false);
    if (rc == 0) rc = define(host, "$inbox", GB_PLACE_LOCAL, GB_SITE_PLACEMENT, false);
    for (int i = 0; functions[i].fn && rc == 0; i++)
        rc = gbi_export_add(host, functions[i].name, functions[i].fn, NULL);
    return rc;
}

void gbi_operate_close(gb_host *host)
{
    if (!host->operate) return;
    pthread_mutex_destroy(&host->operate->lock);
    gb_mem_free(&host->mem, host->operate, sizeof *host->operate);
    host->operate = NULL;
}
