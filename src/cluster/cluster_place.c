/* On which silo a grain is to be, and what silos have told about their capacity. */
#include "base/err.h"
#include "cluster/cluster_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which silo ---- */

static int find_named(gb_cluster *cluster, gb_key key, uint64_t *silo)
{
    char name[GB_MEMBER_NAME_BYTES], known[200] = "";
    uint64_t epoch = 0;
    size_t at = 0;
    bool was = false;
    if (key.text)
        snprintf(name, sizeof name, "%.*s", (int)key.size, key.text);
    else
        snprintf(name, sizeof name, "%lld", (long long)key.number);
    *silo = 0;
    for (uint32_t i = 0; cluster->view && i < cluster->view->count; i++) {
        const gb_member *row = &cluster->view->rows[i]->member;
        bool is_named = strcmp(row->name, name) == 0;
        was |= is_named;
        if (row->state == GB_SILO_DEAD) continue;
        if (at < sizeof known)
            at +=
                (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", row->name);
        if (!is_named || row->epoch < epoch) continue;
        *silo = row->id;
        epoch = row->epoch;
    }
    if (*silo) return 0;
    return gb_err_set(GB_ENOENT,
                      was ? "the silo '%s' is dead or has left; there are: %s"
                          : "no silo has the name '%s'; there are: %s",
                      name, known);
}

static gb_place_strategy strategy_of(const gb_type_options *options)
{
    static const gb_place_strategy by_placement[] = {[GB_PLACE_RANDOM] = GB_SILO_RANDOM,
                                                     [GB_PLACE_HASH] = GB_SILO_HASH,
                                                     [GB_PLACE_LOCAL] = GB_SILO_LOCAL,
                                                     [GB_PLACE_LEAST] = GB_SILO_LEAST,
                                                     [GB_PLACE_STATELESS] = GB_SILO_LOCAL};
    switch (options->site.rule) {
    case GB_SITE_GPU:
        return GB_SILO_GPU;
    case GB_SITE_AFFINE:
        return GB_SILO_AFFINE;
    case GB_SITE_BALANCED:
        return GB_SILO_BALANCED;
    default:
        return by_placement[options->placement];
    }
}

int gbi_door_choose(void *user, const gb_type *type, gb_key key, uint64_t *silo)
{
    gb_cluster *cluster = user;
    const gb_site *site = &type->options.site;
    gb_place_query query = {.type = type->name->text,
                            .strategy = strategy_of(&type->options),
                            .label = site->labels ? site->labels->text : NULL,
                            .here = atomic_load(&cluster->self),
                            .prefer_local = site->prefer_local,
                            .demand_gpu = site->demand_gpu,
                            .minimum_mb = site->minimum_mb,
                            .hash = gb_key_hash(type, key),
                            .random = gb_random(cluster->sys)};
    gb_place_answer answer = {0};
    pthread_mutex_lock(&cluster->lock);
    int rc = site->rule == GB_SITE_NAMED
                 ? find_named(cluster, key, &answer.silo)
                 : gb_place_choose(&cluster->place, &query, (int64_t)gb_now(cluster->sys), &answer);
    pthread_mutex_unlock(&cluster->lock);
    *silo = answer.silo;
    return rc;
}

/* ---- capacity ---- */

void gb_cluster_tell(gb_cluster *cluster, const gb_capacity *capacity, uint64_t activations,
                     bool at_once)
{
    uint64_t self = atomic_load(&cluster->self);
    pthread_mutex_lock(&cluster->lock);
    if (at_once || !cluster->has_told ||
        gb_capacity_is_news(&cluster->told, cluster->told_activations, capacity, activations)) {
        cluster->told = *capacity;
        cluster->told_activations = activations;
        cluster->has_told = cluster->tell_now = true;
        if (self) gb_book_put(&cluster->book, self, capacity, activations);
    }
    pthread_mutex_unlock(&cluster->lock);
}

static bool fill_locked(gb_cluster *cluster, gb_message *message)
{
    int64_t age = (int64_t)gb_now(cluster->sys) - cluster->told.updated_ns;
    if (!cluster->has_told || age > GB_CAPACITY_EXPIRED_NS) return false;
    message->has_capacity = true;
    message->activations = cluster->told_activations;
    message->capacity = cluster->told;
    message->capacity.updated_ns = age > 0 ? age : 0;
    return true;
}

void gbi_capacity_fill(gb_cluster *cluster, gb_message *message)
{
    pthread_mutex_lock(&cluster->lock);
    fill_locked(cluster, message);
    pthread_mutex_unlock(&cluster->lock);
}

void gbi_capacity_send(gb_cluster *cluster, uint64_t silo)
{
    gb_message message = {.kind = GB_MSG_CAPACITY};
    pthread_mutex_lock(&cluster->lock);
    bool known = fill_locked(cluster, &message) && cluster->view;
    if (known) message.view = cluster->view->id;
    pthread_mutex_unlock(&cluster->lock);
    if (!known) return;
    if (silo)
        gbi_wire_send(cluster, silo, &message);
    else
        gbi_wire_send_all(cluster, &message);
}

/* A record rides on each probe: heard again it must not count as told anew, for that would forget
 * what was placed there meanwhile. Its age differs by the time on the way. */
void gbi_capacity_heard(gb_cluster *cluster, uint64_t silo, const gb_message *message)
{
    int64_t now = (int64_t)gb_now(cluster->sys);
    gb_capacity heard = message->capacity, known;
    heard.updated_ns = now - heard.updated_ns;
    pthread_mutex_lock(&cluster->lock);
    bool same = gb_book_get(&cluster->book, silo, now, &known) == 0 &&
                llabs(known.updated_ns - heard.updated_ns) <= 200 * (int64_t)GB_MS &&
                known.available_mb == heard.available_mb && known.queue_depth == heard.queue_depth;
    if (!same) gb_book_put(&cluster->book, silo, &heard, message->activations);
    pthread_mutex_unlock(&cluster->lock);
}

void gbi_capacity_tick(gb_cluster *cluster)
{
    uint64_t now = gb_now(cluster->sys), self = atomic_load(&cluster->self);
    bool due = now >= cluster->capacity_next;
    pthread_mutex_lock(&cluster->lock);
    bool send = (due || cluster->tell_now) && cluster->has_told;
    cluster->tell_now = false;
    if (due) gb_book_expire(&cluster->book, (int64_t)now);
    if (send && self) gb_book_put(&cluster->book, self, &cluster->told, cluster->told_activations);
    pthread_mutex_unlock(&cluster->lock);
    if (due) cluster->capacity_next = now + GB_CAPACITY_PERIOD_NS;
    if (send) gbi_capacity_send(cluster, 0);
}

int gb_cluster_capacity(gb_cluster *cluster, uint64_t silo, gb_capacity *out, uint64_t *activations)
{
    *activations = 0;
    pthread_mutex_lock(&cluster->lock);
    int rc = gb_book_get(&cluster->book, silo, (int64_t)gb_now(cluster->sys), out);
    for (uint32_t i = 0; rc == 0 && i < cluster->book.count; i++)
        if (cluster->book.entries[i].silo == silo)
            *activations = cluster->book.entries[i].activations;
    pthread_mutex_unlock(&cluster->lock);
    return rc;
}

int gb_cluster_best(gb_cluster *cluster, int64_t minimum_mb, uint64_t *silo)
{
    pthread_mutex_lock(&cluster->lock);
    int rc = gb_book_best(&cluster->book, minimum_mb, (int64_t)gb_now(cluster->sys), silo);
    pthread_mutex_unlock(&cluster->lock);
    return rc;
}

void gb_cluster_capacity_stats(gb_cluster *cluster, gb_book_stats *out)
{
    pthread_mutex_lock(&cluster->lock);
    gb_book_get_stats(&cluster->book, (int64_t)gb_now(cluster->sys), out);
    pthread_mutex_unlock(&cluster->lock);
}
