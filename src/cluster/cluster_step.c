/* What the machines ask for, and what the door asks the directory. */
#include "base/err.h"
#include "base/hash.h"
#include "cluster/call_frame.h"
#include "cluster/cluster_room.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TROUBLE_SECONDS = 60 };

void gbi_cluster_say(const gb_cluster *cluster, gb_log_level level, const char *format, ...)
{
    char text[500];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gb_log_put(cluster->config.log, level, gb_wall(cluster->sys), NULL, "cluster %s: %s",
               cluster->config.cluster, text);
}

gb_times gbi_times(const gb_cluster *cluster)
{
    return (gb_times){gb_now(cluster->sys), gb_wall(cluster->sys)};
}

/* ---- the directory, which any thread may ask ---- */

void gbi_dir_begin(gb_cluster *cluster, gbi_dir_step *step)
{
    gb_directory_actions_init(&step->actions, cluster->mem);
    pthread_mutex_lock(&cluster->lock);
    step->now = gb_now(cluster->sys);
}

void gbi_dir_end(gb_cluster *cluster, gbi_dir_step *step)
{
    pthread_mutex_unlock(&cluster->lock);
    for (uint32_t i = 0; i < step->actions.count; i++) {
        gb_directory_action *a = &step->actions.items[i];
        switch (a->kind) {
        case GB_DIR_SEND:
            gbi_wire_send(cluster, a->silo, &a->message);
            break;
        case GB_DIR_ANSWER:
            gb_carry_answered(cluster->carry, a->token, a->rc, a->silo);
            break;
        case GB_DIR_DROP:
            gb_carry_drop(cluster->carry, a->id, a->id_size);
            break;
        }
    }
    gb_directory_actions_fini(&step->actions);
}

static uint64_t door_self(void *user)
{
    return atomic_load_explicit(&((gb_cluster *)user)->self, memory_order_acquire);
}

static bool door_serves(void *user)
{
    gb_cluster *cluster = user;
    pthread_mutex_lock(&cluster->state_lock);
    bool serving = cluster->serving;
    pthread_mutex_unlock(&cluster->state_lock);
    return serving;
}

static void door_ask(gb_cluster *cluster, bool claim, uint64_t token, const char *id, uint32_t size,
                     uint64_t deadline)
{
    gbi_dir_step step;
    gbi_dir_begin(cluster, &step);
    if (!cluster->directory) {
        pthread_mutex_unlock(&cluster->lock);
        gb_directory_actions_fini(&step.actions);
        gb_carry_answered(cluster->carry, token, GB_EDENIED, 0); /* between two lives */
        return;
    }
    int rc = (claim ? gb_directory_claim : gb_directory_find)(cluster->directory, token, id, size,
                                                              deadline, step.now, &step.actions);
    gbi_dir_end(cluster, &step);
    if (rc < 0) gb_carry_answered(cluster->carry, token, rc, 0); /* no answer comes */
}

static void door_find(void *user, uint64_t token, const char *id, uint32_t size, uint64_t deadline)
{
    door_ask(user, false, token, id, size, deadline);
}

static void door_claim(void *user, uint64_t token, const char *id, uint32_t size, uint64_t deadline)
{
    door_ask(user, true, token, id, size, deadline);
}

static void door_release(void *user, const char *id, uint32_t size)
{
    gb_cluster *cluster = user;
    gbi_dir_step step;
    gbi_dir_begin(cluster, &step);
    if (cluster->directory)
        gb_directory_release(cluster->directory, id, size, step.now, &step.actions);
    gbi_dir_end(cluster, &step);
}

gb_view *gb_cluster_view(gb_cluster *cluster)
{
    pthread_mutex_lock(&cluster->lock);
    gb_view *view = cluster->view ? gb_view_ref(cluster->view) : NULL;
    pthread_mutex_unlock(&cluster->lock);
    return view;
}

static bool door_address(void *user, uint64_t silo, char out[GB_MEMBER_ADDRESS_BYTES])
{
    gb_view *view = gb_cluster_view(user);
    const gb_member *row = view ? gb_view_find(view, silo) : NULL;
    bool there = row && row->state != GB_SILO_DEAD;
    if (there) memcpy(out, row->address, GB_MEMBER_ADDRESS_BYTES);
    gb_view_unref(view);
    return there;
}

/* ---- the machines ---- */

static void open_types(gb_cluster *cluster, const gb_member *row)
{
    char name[GB_CALL_TYPE_BYTES + 1];
    for (const char *at = row->types; *at;) {
        size_t size = strcspn(at, ",");
        if (size > 0 && size < sizeof name) {
            gb_type *type;
            memcpy(name, at, size);
            name[size] = 0;
            gb_type_foreign(&type, cluster->config.silo, name);
        }
        at += size;
        if (*at == ',') at++;
    }
}

static void take_view(gb_cluster *cluster)
{
    gb_view *view = gb_view_ref(gb_membership_view(cluster->member)), *before = cluster->view;
    uint64_t self = gb_membership_id(cluster->member);
    for (uint32_t i = 0; i < view->count; i++) {
        const gb_member *row = &view->rows[i]->member;
        if (row->id == self) continue;
        if (row->state != GB_SILO_DEAD) {
            open_types(cluster, row);
        } else if (!before || gb_view_state(before, row->id) != GB_SILO_DEAD) {
            gb_carry_dead(cluster->carry, row->id);
            gbi_wire_forget(cluster, row->id);
        }
    }
    for (uint32_t i = 0; before && i < before->count; i++) {
        uint64_t id = before->rows[i]->member.id;
        if (!gb_view_find(view, id)) gb_carry_dead(cluster->carry, id);
    }
    gbi_dir_step step;
    gbi_dir_begin(cluster, &step);
    cluster->view = view;
    int rc = gb_book_view(&cluster->book, view);
    gb_directory_view(cluster->directory, view, step.now, &step.actions);
    gbi_dir_end(cluster, &step);
    if (rc < 0) gbi_cluster_say(cluster, GB_LOG_ERROR, "out of memory: the capacity of silos");
    for (uint32_t i = 0; i < view->count; i++) {
        const gb_member *row = &view->rows[i]->member;
        if (row->state != GB_SILO_ACTIVE ||
            (before && gb_view_state(before, row->id) == GB_SILO_ACTIVE))
            continue;
        if (row->id == self)
            cluster->capacity_next = 0; /* all hear of it: books forget who drains */
        else
            gbi_capacity_send(cluster, row->id);
    }
    gb_view_unref(before);
}

static void set_serving(gb_cluster *cluster, bool serving)
{
    pthread_mutex_lock(&cluster->state_lock);
    cluster->serving = serving;
    pthread_cond_broadcast(&cluster->state_changed);
    pthread_mutex_unlock(&cluster->state_lock);
}

static void put_job(gb_cluster *cluster, gb_member_action *a)
{
    gbi_job *job = gb_mem_zalloc(cluster->mem, sizeof *job);
    if (job && a->id_count) job->ids = gb_mem_alloc(cluster->mem, a->id_count * sizeof *job->ids);
    if (!job || (a->id_count && !job->ids)) {
        gb_mem_free(cluster->mem, job, job ? sizeof *job : 0);
        (a->kind == GB_DO_TOUCH ? gb_membership_touched : gb_membership_failed)(
            cluster->member, GB_ENOMEM, gbi_times(cluster), &cluster->actions);
        return;
    }
    job->cluster = cluster;
    job->kind = a->kind;
    job->version = a->version;
    job->silo = gb_membership_id(cluster->member);
    job->wall_ns = a->wall_ns;
    job->row = a->row ? gb_row_ref(a->row) : NULL;
    job->id_count = a->id_count;
    if (a->id_count) memcpy(job->ids, a->ids, a->id_count * sizeof *job->ids);
    job->life = cluster->life;
    gbi_tables_put(cluster, job);
}

/* What keeps the table away is said once, and every minute that it lasts. */
static void note_trouble(gb_cluster *cluster, const gbi_job *job, uint64_t now)
{
    bool failed = job->rc < 0 && job->rc != GB_ECONFLICT;
    pthread_mutex_lock(&cluster->state_lock);
    bool news = strcmp(cluster->trouble, job->detail) != 0 || now >= cluster->trouble_next;
    if (failed && news)
        snprintf(cluster->trouble, sizeof cluster->trouble, "%s", job->detail);
    else if (!failed && (job->kind != GB_DO_READ || cluster->trouble_reading))
        cluster->trouble[0] = 0; /* a full disk is read as before */
    if (failed) cluster->trouble_reading = job->kind == GB_DO_READ;
    cluster->denied = failed && job->rc == GB_EDENIED;
    if (cluster->denied) pthread_cond_broadcast(&cluster->state_changed);
    pthread_mutex_unlock(&cluster->state_lock);
    if (!failed || !news) return;
    cluster->trouble_next = now + TROUBLE_SECONDS * GB_SEC;
    gbi_cluster_say(cluster, GB_LOG_WARN, "%s", job->detail);
}

void gbi_job_done(gb_cluster *cluster, gbi_job *job)
{
    if (cluster->ended || job->life != cluster->life) return;
    gb_times at = gbi_times(cluster);
    gb_member_actions *out = &cluster->actions;
    if (job->kind != GB_DO_TOUCH) note_trouble(cluster, job, at.now);
    if (job->kind == GB_DO_TOUCH)
        gb_membership_touched(cluster->member, job->rc, at, out);
    else if (job->rc < 0)
        gb_membership_failed(cluster->member, job->rc, at, out);
    else if (job->kind == GB_DO_READ)
        gb_membership_read(cluster->member, &job->view, at, out);
    else
        gb_membership_written(cluster->member, job->written, at, out);
    gbi_cluster_act(cluster);
}

static void act_on(gb_cluster *cluster, gb_member_action *a)
{
    switch (a->kind) {
    case GB_DO_READ:
    case GB_DO_WRITE:
    case GB_DO_REMOVE:
    case GB_DO_TOUCH:
        put_job(cluster, a);
        break;
    case GB_DO_SEND:
        if (a->message.kind == GB_MSG_PROBE || a->message.kind == GB_MSG_PROBE_ACK)
            gbi_capacity_fill(cluster, &a->message);
        gbi_wire_send(cluster, a->silo, &a->message);
        break;
    case GB_DO_SEND_ALL:
        gbi_wire_send_all(cluster, &a->message);
        break;
    case GB_DO_VIEW:
        take_view(cluster);
        break;
    case GB_DO_LINK:
        gbi_wire_keep(cluster, a->silo);
        break;
    case GB_DO_UNLINK:
        gbi_wire_forget(cluster, a->silo);
        break;
    case GB_DO_SERVE:
        set_serving(cluster, true);
        cluster->capacity_next = 0; /* all hear of it */
        break;
    case GB_DO_PAUSE:
        set_serving(cluster, false);
        break;
    case GB_DO_ENDED:
        set_serving(cluster, false);
        cluster->ended = true; /* the thread's loop does the rest, outside of any event */
        cluster->why = a->why;
        break;
    case GB_DO_LOG:
        gbi_cluster_say(cluster, (gb_log_level)a->level, "%s", a->text);
        break;
    }
}

void gbi_cluster_act(gb_cluster *cluster)
{
    while (cluster->actions.count > 0 && !cluster->ended) { /* doing one may add others */
        gb_member_actions round = cluster->actions;
        gb_member_actions_init(&cluster->actions, cluster->mem);
        for (uint32_t i = 0; i < round.count; i++) /* behind the end: that all are told of it */
            act_on(cluster, &round.items[i]);
        gb_member_actions_fini(&round);
    }
    bool serves = !cluster->ended && gb_membership_serves(cluster->member);
    gb_silo_set_turns_until(cluster->config.silo,
                            serves ? gb_membership_serve_until(cluster->member) : 0);
}

int gbi_machines_open(gb_cluster *cluster, uint64_t epoch_min)
{
    gb_membership_config member = {
        .mem = cluster->mem,
        .name = cluster->config.name,
        .address = cluster->address,
        .labels = cluster->config.labels ? cluster->config.labels : "",
        .types = cluster->types,
        .ring_seed = cluster->seed,
        .seed = gb_random(cluster->sys),
        .epoch_min = epoch_min,
        .rules = cluster->config.member,
    };
    gb_member_actions_init(&cluster->actions, cluster->mem);
    int rc = gb_membership_open(&cluster->member, &member);
    if (rc < 0) return rc;
    gb_directory_config directory = {
        .mem = cluster->mem,
        .silo = gb_membership_id(cluster->member),
        .hash_seed = cluster->seed,
        .rules = cluster->config.directory,
    };
    gb_directory *opened;
    rc = gb_directory_open(&opened, &directory);
    if (rc < 0) {
        gb_membership_close(cluster->member);
        cluster->member = NULL;
        return rc;
    }
    pthread_mutex_lock(&cluster->lock);
    cluster->directory = opened;
    pthread_mutex_unlock(&cluster->lock);
    cluster->life++;
    atomic_store(&cluster->self, gb_membership_id(cluster->member));
    return 0;
}

void gbi_machines_close(gb_cluster *cluster)
{
    atomic_store(&cluster->self, 0);
    pthread_mutex_lock(&cluster->lock);
    if (cluster->directory) gb_directory_close(cluster->directory);
    cluster->directory = NULL;
    gb_view *view = cluster->view;
    cluster->view = NULL;
    gb_place_fini(&cluster->place);
    gb_book_fini(&cluster->book);
    gb_book_init(&cluster->book, cluster->mem); /* workers ask it between two lives too */
    gb_place_init(&cluster->place, cluster->mem, &cluster->book);
    pthread_mutex_unlock(&cluster->lock);
    gb_view_unref(view);
    if (cluster->member) gb_membership_close(cluster->member);
    cluster->member = NULL;
    gb_member_actions_fini(&cluster->actions);
}

const gb_carry_config gbi_door_questions = {
    .self = door_self,
    .serves = door_serves,
    .refused = gbi_cluster_refused,
    .slow = gbi_cluster_slow,
    .find = door_find,
    .claim = door_claim,
    .release = door_release,
    .choose = gbi_door_choose,
    .address = door_address,
};
