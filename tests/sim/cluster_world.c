#include "cluster_world.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

const char *count_text(int which)
{
    static const char *const texts[] = {
#define COUNT_TEXT(name, text) text,
        COUNTS(COUNT_TEXT)
#undef COUNT_TEXT
    };
    return texts[which];
}

/* ---- chance, trace, what broke ---- */

uint64_t world_below(world *w, uint64_t bound)
{
    if (w->plant == PLANTED_CHANCE) {
        struct timespec real;
        clock_gettime(CLOCK_MONOTONIC, &real);
        w->random.state ^= (uint64_t)real.tv_nsec;
    }
    return seed_below(&w->random, bound);
}

bool world_chance(world *w, uint32_t of_1000)
{
    return seed_below(&w->random, 1000) < of_1000;
}

void world_note(world *w, uint64_t what)
{
    w->trace = gb_hash_mix(w->trace ^ what) + 0x9e3779b97f4a7c15u;
}

void world_broken(world *w, const char *format, ...)
{
    if (w->broken[0]) return;
    va_list arguments;
    int used = snprintf(w->broken, sizeof w->broken, "at %.3f s: ", (double)w->now / 1e9);
    va_start(arguments, format);
    vsnprintf(w->broken + used, sizeof w->broken - (size_t)used, format, arguments);
    va_end(arguments);
}

void world_watch(world *w, uint32_t index, const char *format, ...)
{
    if (w->watched != index + 1) return;
    va_list arguments;
    printf("%10.4f ", (double)w->now / 1e9);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

/* ---- the queue ---- */

static bool before(const event *a, const event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void sift_up(world *w, uint32_t at)
{
    event moved = w->heap[at];
    while (at && before(&moved, &w->heap[(at - 1) / 4])) {
        w->heap[at] = w->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    w->heap[at] = moved;
}

static event take(world *w)
{
    event top = w->heap[0], moved = w->heap[--w->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 4 * at + 1, least = at;
        const event *best = &moved;
        for (uint32_t i = child; i < child + 4 && i < w->heap_count; i++) {
            if (before(&w->heap[i], best)) {
                best = &w->heap[i];
                least = i;
            }
        }
        if (least == at) break;
        w->heap[at] = w->heap[least];
        at = least;
    }
    if (w->heap_count) w->heap[at] = moved;
    return top;
}

static void put(world *w, event e)
{
    if (w->heap_count == w->heap_room) {
        uint32_t room = w->heap_room ? w->heap_room * 2 : 1024;
        w->heap = gb_mem_realloc(&w->mem, w->heap, w->heap_room * sizeof *w->heap,
                                 room * sizeof *w->heap);
        GB_CHECK(w->heap);
        w->heap_room = room;
    }
    w->heap[w->heap_count] = e;
    sift_up(w, w->heap_count++);
}

void world_push(world *w, uint64_t at, event_kind kind, uint32_t index, uint64_t a, uint64_t b,
                void *ptr)
{
    uint32_t life = index < w->slot_count ? w->slots[index].life : 0;
    put(w, (event){at, ++w->seq, kind, index, life, a, b, ptr});
}

/* ---- open and close ---- */

void world_open(world *w, const world_config *config)
{
    memset(w, 0, sizeof *w);
    gb_mem_init(&w->mem, "sim", NULL, 0);
    gb_mem_init(&w->machine_mem, "machines", &w->mem, 0);
    w->number = config->seed;
    w->random = (seed){gb_hash_mix(config->seed)};
    w->client_random = (seed){gb_hash_mix(config->seed + 1)};
    w->fault_random = (seed){gb_hash_mix(config->seed + 2)};
    w->plant = config->plant;
    w->verbose = config->verbose;
    w->now = SEC;
    w->watched = config->watched;
    w->silos = config->silos;
    w->slot_count = config->silos + TWINS;
    w->grain_count = config->grains;
    w->until = w->now + config->duration_ns;
    w->faults_until = w->until - 90 * SEC;
    w->table_loss = config->table_loss;
    w->call_gap_ns = config->call_gap_ns;
    w->fault_mask = config->fault_mask;
    w->fault_gap_ns = config->fault_gap_ns;
    w->dead_keep_ns = (60 + world_below(w, 60)) * SEC;
    w->slots = gb_mem_zalloc(&w->mem, w->slot_count * sizeof *w->slots);
    w->grains = gb_mem_zalloc(&w->mem, w->grain_count * sizeof *w->grains);
    w->blocked = gb_mem_zalloc(&w->mem, (size_t)w->slot_count * w->slot_count);
    w->table_blocked = gb_mem_zalloc(&w->mem, w->slot_count);
    GB_CHECK(w->slots && w->grains && w->blocked && w->table_blocked);
    gb_map_init(&w->ids, &w->mem);
    gb_member_actions_init(&w->actions, &w->machine_mem);
    gb_directory_actions_init(&w->dir_actions, &w->machine_mem);
    gb_buf_init(&w->scratch, &w->mem);
    for (uint32_t i = 0; i < w->slot_count; i++) {
        slot *s = &w->slots[i];
        s->index = i;
        snprintf(s->name, sizeof s->name, "silo%u", i);
        snprintf(s->address, sizeof s->address, "10.0.%u.%u:1", i / 250, i % 250);
        s->acts = gb_mem_zalloc(&w->mem, w->grain_count * sizeof *s->acts);
        GB_CHECK(s->acts);
        s->wants_up = i < w->silos;
        if (s->wants_up)
            world_push(w, w->now + world_below(w, 3 * SEC), EVENT_START, i, 0, 0, NULL);
    }
    world_push(w, w->now + 5 * SEC, EVENT_CLIENT, UINT32_MAX, 0, 0, NULL);
    if (config->faults) world_push(w, w->now + 15 * SEC, EVENT_FAULT, UINT32_MAX, 0, 0, NULL);
}

static void drop(world *w, event *e)
{
    if (e->kind == EVENT_NET) net_free(e);
    if (e->kind == EVENT_TABLE) table_free(e);
    if (e->kind == EVENT_TURN) gb_mem_free(&w->mem, e->ptr, sizeof(call));
}

void world_close(world *w)
{
    for (uint32_t i = 0; i < w->slot_count; i++) {
        if (w->slots[i].up) silo_kill(w, i);
        gb_mem_free(&w->mem, w->slots[i].acts, w->grain_count * sizeof *w->slots[i].acts);
    }
    while (w->heap_count) {
        event e = take(w);
        drop(w, &e);
    }
    table_close(w);
    gb_mem_free(&w->mem, w->heap, w->heap_room * sizeof *w->heap);
    gb_mem_free(&w->mem, w->slots, w->slot_count * sizeof *w->slots);
    gb_mem_free(&w->mem, w->grains, w->grain_count * sizeof *w->grains);
    gb_mem_free(&w->mem, w->blocked, (size_t)w->slot_count * w->slot_count);
    gb_mem_free(&w->mem, w->table_blocked, w->slot_count);
    if (w->lives) gb_mem_free(&w->mem, w->lives, w->life_room * sizeof *w->lives);
    gb_map_fini(&w->ids);
    gb_member_actions_fini(&w->actions);
    gb_directory_actions_fini(&w->dir_actions);
    gb_buf_fini(&w->scratch);
    gb_mem_fini(&w->machine_mem);
    gb_mem_fini(&w->mem);
}

/* ---- running ---- */

/* Events of a silo that sleeps wait for it; those of an earlier life are nothing. */
static bool may_run(world *w, event *e)
{
    if (e->slot >= w->slot_count || e->kind == EVENT_START || e->kind == EVENT_HEAL) return true;
    slot *s = &w->slots[e->slot];
    if (!s->up || s->life != e->life) {
        drop(w, e);
        return false;
    }
    if (s->asleep_until > w->now) {
        e->at = s->asleep_until;
        e->seq = ++w->seq;
        put(w, *e);
        return false;
    }
    return true;
}

/* What waits for the end of the sleep comes now. */
void world_awake(world *w, slot *s)
{
    for (uint32_t i = 0; i < w->heap_count; i++) {
        if (w->heap[i].slot != s->index || w->heap[i].at != s->asleep_until) continue;
        w->heap[i].at = w->now;
        sift_up(w, i);
    }
    s->asleep_until = s->slept_until = w->now;
}

static void run_event(world *w, event *e)
{
    slot *s = e->slot < w->slot_count ? &w->slots[e->slot] : NULL;
    switch (e->kind) {
    case EVENT_WAKE:
        silo_wake(w, e);
        break;
    case EVENT_NET:
        net_arrived(w, e);
        break;
    case EVENT_TABLE:
        table_done(w, e);
        break;
    case EVENT_STORE:
        grain_loaded(w, s, (uint32_t)e->a, e->b);
        break;
    case EVENT_TURN:
        grain_turned(w, s, (uint32_t)e->a, e->b, e->ptr);
        break;
    case EVENT_CALL_END:
        grain_late(w, s, e->a);
        break;
    case EVENT_START:
        silo_start(w, e->slot);
        break;
    case EVENT_CLIENT:
        grain_client(w);
        break;
    case EVENT_FAULT:
        fault_begin(w);
        break;
    case EVENT_HEAL:
        fault_end(w, e);
        break;
    case EVENT_REFUSED:
        silo_refused(w, s, e->a);
        break;
    case EVENT_DRAINED:
        if (s->draining && !s->minds) silo_stop(w, s);
        break;
    case EVENT_MIND:
        silo_change_mind(w, s);
        break;
    }
}

void world_advance(world *w, uint64_t until)
{
    while (w->heap_count && !w->broken[0] && w->heap[0].at <= until) {
        event e = take(w);
        w->now = e.at;
        if (!w->quiet && w->now >= w->faults_until) {
            w->quiet = true;
            fault_end_all(w);
        }
        if (!may_run(w, &e)) continue;
        bool short_of_memory = w->now < w->memory_until && e.kind != EVENT_START;
        if (short_of_memory) atomic_store(&w->machine_mem.fail_at, 1 + (int64_t)world_below(w, 60));
        w->steps++;
        world_note(w, e.at ^ (uint64_t)e.kind << 56 ^ (uint64_t)e.slot << 40 ^ e.a);
        run_event(w, &e);
        if (short_of_memory) {
            w->counts[N_REFUSALS] += atomic_load(&w->machine_mem.fail_at) == 0;
            atomic_store(&w->machine_mem.fail_at, 0);
        }
        if (w->steps % 64 == 0) check_twice(w);
    }
    if (!w->broken[0]) w->now = until;
}

void world_run(world *w)
{
    world_advance(w, w->until);
    if (!w->broken[0]) check_end(w);
}
