/* One process: the machines of a silo, and what they ask for. */
#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "cluster_world.h"

enum { CACHE_LINES = 256 };

static const uint64_t cluster_seed = 0x5eedc1u;

gb_times silo_times(const world *w, const slot *s)
{
    return (gb_times){w->now, (int64_t)(w->now + 1700000000 * SEC) + s->wall_offset};
}

static void remember_life(world *w, slot *s)
{
    if (w->life_count == w->life_room) {
        uint32_t room = w->life_room ? w->life_room * 2 : 64;
        w->lives = gb_mem_realloc(&w->mem, w->lives, w->life_room * sizeof *w->lives,
                                  room * sizeof *w->lives);
        GB_CHECK(w->lives);
        w->life_room = room;
    }
    uint64_t id = gb_membership_id(s->member);
    int rc = gb_map_add(&w->ids, gb_hash_mix(id), w->life_count);
    GB_CHECK(rc == 0);
    w->lives[w->life_count++] = (struct world_life){.id = id, .slot = s->index, .life = s->life};
}

static void open_machines(world *w, slot *s)
{
    gb_membership_config config = {.mem = &w->machine_mem,
                                   .name = s->name,
                                   .address = s->address,
                                   .ring_seed = cluster_seed,
                                   .seed = seed_next(&w->random),
                                   .epoch_min = s->epoch};
    gb_member_rules_init(&config.rules);
    config.rules.dead_keep_ns = w->dead_keep_ns;
    if (w->plant == PLANTED_ONE_VOTE) config.rules.votes = 1;
    if (w->plant == PLANTED_LAZY) config.rules.probe_period_ns = 20 * SEC;
    int rc = gb_membership_open(&s->member, &config);
    GB_CHECK(rc == 0);
    gb_directory_config directory = {
        .mem = &w->machine_mem, .silo = gb_membership_id(s->member), .hash_seed = cluster_seed};
    gb_directory_rules_init(&directory.rules);
    directory.rules.blind_ns = w->dead_keep_ns / 2;
    rc = gb_directory_open(&s->directory, &directory);
    GB_CHECK(rc == 0);
    rc = gb_dir_cache_init(&s->cache, &w->mem, CACHE_LINES);
    GB_CHECK(rc == 0);
}

static void come_up(world *w, slot *s)
{
    s->life++;
    s->up = true;
    s->draining = s->stalled = false;
    s->minds = 0;
    s->asleep_until = s->slept_from = s->slept_until = s->read_began = s->served_at = 0;
    s->fenced = false;
    s->woken_at = UINT64_MAX;
    open_machines(w, s);
    remember_life(w, s);
    w->counts[N_RESTART] += s->life > 1;
}

void silo_start(world *w, uint32_t index)
{
    slot *s = &w->slots[index];
    if (s->up || !s->wants_up) return;
    come_up(w, s);
    gb_membership_start(s->member, silo_times(w, s), &w->actions);
    silo_after(w, s);
}

void silo_start_all(world *w)
{
    for (uint32_t i = 0; i < w->silos; i++) {
        slot *s = &w->slots[i];
        come_up(w, s);
        gb_member row = {.id = gb_membership_id(s->member),
                         .state = GB_SILO_ACTIVE,
                         .labels = (char *)"",
                         .types = (char *)""};
        snprintf(row.name, sizeof row.name, "%s", s->name);
        snprintf(row.address, sizeof row.address, "%s", s->address);
        table_put(w, &row);
    }
    for (uint32_t i = 0; i < w->silos; i++) {
        slot *s = &w->slots[i];
        gb_membership_start(s->member, silo_times(w, s), &w->actions);
        silo_after(w, s);
    }
}

/* The process is gone, as with SIGKILL. */
void silo_kill(world *w, uint32_t index)
{
    slot *s = &w->slots[index];
    GB_CHECK(s->up);
    struct world_life *life = net_life_of(w, gb_membership_id(s->member));
    if (life) life->died_at = w->now;
    grain_forget(w, s);
    s->up = false;
    s->epoch = 0; /* a new process knows of none */
    gb_directory_stats stats;
    gb_directory_get_stats(s->directory, &stats);
    w->counts[N_SYNC] += stats.syncs;
    w->counts[N_LATER] += stats.later;
    gb_directory_close(s->directory);
    gb_membership_close(s->member);
    gb_dir_cache_fini(&s->cache);
    gb_view_unref(s->view);
    s->member = NULL;
    s->directory = NULL;
    s->view = NULL;
}

static void ended(world *w, slot *s, gb_member_why why)
{
    static const int counts[] = {[GB_WHY_STOPPED] = N_ENDED_STOPPED,
                                 [GB_WHY_DEAD] = N_ENDED_DEAD,
                                 [GB_WHY_NAME_TAKEN] = N_ENDED_NAME};
    uint64_t epoch = gb_membership_epoch(s->member);
    w->counts[counts[why]]++;
    struct world_life *life = net_life_of(w, gb_membership_id(s->member));
    silo_kill(w, s->index);
    life->died_at = 0; /* it was not a crash */
    if (why == GB_WHY_DEAD) s->epoch = epoch;
    if (why == GB_WHY_NAME_TAKEN) s->wants_up = false;
    if (s->one_shot && why == GB_WHY_STOPPED) s->wants_up = false;
    uint64_t wait = 10 * MS + world_below(w, why == GB_WHY_DEAD || w->quiet ? 100 * MS : 20 * SEC);
    if (s->wants_up) world_push(w, w->now + wait, EVENT_START, s->index, 0, 0, NULL);
}

static void new_view(world *w, slot *s)
{
    gb_view_unref(s->view);
    s->view = gb_view_ref(gb_membership_view(s->member));
    world_note(w, s->view->id.version ^ s->view->id.generation);
    if (w->watched)
        world_watch(
            w, w->watched - 1, "%s has view %llx.%llu, owner %llx", s->name,
            (unsigned long long)s->view->id.generation, (unsigned long long)s->view->id.version,
            (unsigned long long)gb_ring_owner(s->view->ring, grain_hash(w->watched - 1)) >> 48);
    gb_directory_view(s->directory, s->view, w->now, &w->dir_actions);
    check_view(w, s);
}

static void say(const world *w, const slot *s, const char *text)
{
    if (w->verbose)
        printf("%10.3f %s/%llx: %s\n", (double)w->now / 1e9, s->name,
               (unsigned long long)gb_membership_id(s->member) >> 48, text);
}

void silo_after(world *w, slot *s)
{
    gb_member_actions *list = &w->actions;
    bool over = false;
    gb_member_why why = GB_WHY_STOPPED;
    for (uint32_t i = 0; i < list->count; i++) {
        gb_member_action *action = &list->items[i];
        switch (action->kind) {
        case GB_DO_READ:
        case GB_DO_WRITE:
        case GB_DO_REMOVE:
        case GB_DO_TOUCH:
            table_op(w, s, action);
            break;
        case GB_DO_SEND:
            net_send(w, s, action->silo, &action->message);
            break;
        case GB_DO_SEND_ALL:
            net_send_all(w, s, &action->message);
            break;
        case GB_DO_VIEW:
            new_view(w, s);
            break;
        case GB_DO_LINK:
            break;
        case GB_DO_UNLINK:
            grain_unlinked(w, s, action->silo);
            break;
        case GB_DO_SERVE:
            w->counts[N_RESUMED]++;
            s->served_at = w->now;
            s->fenced = false;
            grain_resume(w, s);
            break;
        case GB_DO_PAUSE:
            w->counts[N_PAUSED]++;
            check_paused(w, s);
            break;
        case GB_DO_ENDED:
            over = true;
            why = action->why;
            break;
        case GB_DO_LOG:
            say(w, s, action->text);
            check_clock(w, s, action->text);
            break;
        }
    }
    gb_member_actions_clear(list);
    if (over) {
        gb_directory_actions_clear(&w->dir_actions);
        ended(w, s, why);
        return;
    }
    silo_after_directory(w, s);
}

static void schedule(world *w, slot *s)
{
    uint64_t next = gb_membership_next(s->member), other = gb_directory_next(s->directory);
    if (other < next) next = other;
    if (next < w->now) next = w->now;
    if (next >= s->woken_at) return;
    s->woken_at = next;
    world_push(w, next, EVENT_WAKE, s->index, next, 0, NULL);
}

/* Answers may lead to further questions: these join the list. */
void silo_after_directory(world *w, slot *s)
{
    gb_directory_actions *list = &w->dir_actions;
    if (w->in_directory) return;
    w->in_directory = true;
    for (uint32_t i = 0; i < list->count; i++) {
        gb_directory_action action = list->items[i];
        if (action.kind == GB_DIR_SEND)
            net_send(w, s, action.silo, &action.message);
        else if (action.kind == GB_DIR_ANSWER)
            grain_answer(w, s, action.token, action.rc, action.silo);
        else
            grain_dropped(w, s, grain_index(action.id), action.silo);
    }
    gb_directory_actions_clear(list);
    w->in_directory = false;
    schedule(w, s);
}

void silo_message(world *w, slot *s, uint64_t from, const gb_message *message)
{
    const gb_member *sender = s->view ? gb_view_find(s->view, from) : NULL;
    bool dead = sender && sender->state == GB_SILO_DEAD;
    s->fenced |= message->kind == GB_MSG_FENCE;
    bool fenced = gb_membership_message(s->member, from, message, silo_times(w, s), &w->actions);
    if (w->plant == PLANTED_UNFENCED) fenced = false;
    check_fenced(w, s, dead, fenced);
    uint32_t life = s->life;
    silo_after(w, s);
    if (fenced || !s->up || s->life != life) return;
    gb_directory_message(s->directory, from, message, w->now, &w->dir_actions);
    silo_after_directory(w, s);
}

void silo_refused(world *w, slot *s, uint64_t silo)
{
    gb_membership_unreachable(s->member, silo, silo_times(w, s), &w->actions);
    silo_after(w, s);
}

void silo_wake(world *w, const event *e)
{
    slot *s = &w->slots[e->slot];
    uint32_t life = s->life;
    if (e->a != s->woken_at) return; /* an earlier one came in between */
    s->woken_at = UINT64_MAX;
    gb_membership_tick(s->member, silo_times(w, s), &w->actions);
    silo_after(w, s);
    if (!s->up || s->life != life) return;
    gb_directory_tick(s->directory, w->now, &w->dir_actions);
    if (s->stalled) grain_resume(w, s);
    if (s->draining && !s->minds && gb_membership_state(s->member) >= GB_SILO_DRAINING &&
        grain_end_all(w, s, true) && s->drain_until > w->now) {
        s->drain_until = 0;
        world_push(w, w->now, EVENT_DRAINED, s->index, 0, 0, NULL);
    }
    silo_after_directory(w, s);
}

void silo_drain(world *w, slot *s, bool gently)
{
    if (!gently) {
        silo_stop(w, s);
        return;
    }
    s->draining = true;
    s->drain_until = w->now + 8 * SEC;
    world_push(w, s->drain_until, EVENT_DRAINED, s->index, 0, 0, NULL);
    gb_membership_drain(s->member, silo_times(w, s), &w->actions);
    if (w->plant == PLANTED_EARLY) grain_release_all(w, s);
    silo_after(w, s);
}

/* Soon enough that others may see neither change, or only one of them. */
void silo_change_mind(world *w, slot *s)
{
    if (!s->minds) return;
    s->minds--;
    if (s->draining) {
        s->draining = false;
        w->counts[N_UNDRAIN]++;
        gb_membership_undrain(s->member, silo_times(w, s), &w->actions);
        silo_after(w, s);
    } else
        silo_drain(w, s, true);
    if (s->up && s->minds)
        world_push(w, w->now + world_below(w, 2 * SEC), EVENT_MIND, s->index, 0, 0, NULL);
}

void silo_stop(world *w, slot *s)
{
    s->minds = 0;
    grain_end_all(w, s, false);
    silo_after_directory(w, s);
    gb_membership_stop(s->member, silo_times(w, s), &w->actions);
    silo_after(w, s);
}
