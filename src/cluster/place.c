#include "cluster/place.h"

#include "base/err.h"
#include "base/hash.h"

#include <string.h>

/* The entries of the book that are compatible with a type. */
struct gb_place_type {
    char *name;
    uint64_t changes; /* of the book, when this was made */
    uint32_t *entries;
    uint32_t count, room;
};

enum { TYPES_MAX = 4096 };

void gb_place_init(gb_place *place, gb_mem *mem, gb_book *book)
{
    *place = (gb_place){.mem = mem, .book = book};
}

static void free_type(gb_place *place, struct gb_place_type *type)
{
    if (type->entries) gb_mem_free(place->mem, type->entries, type->room * sizeof *type->entries);
    gb_mem_strfree(place->mem, type->name);
    gb_mem_free(place->mem, type, sizeof *type);
}

void gb_place_fini(gb_place *place)
{
    for (uint32_t i = 0; i < place->count; i++) free_type(place, place->types[i]);
    if (place->types) gb_mem_free(place->mem, place->types, place->room * sizeof *place->types);
    *place = (gb_place){.mem = place->mem};
}

bool gb_place_lists(const char *list, const char *word)
{
    size_t size = strlen(word);
    while (list && *list) {
        size_t part = strcspn(list, ",");
        if (part == size && memcmp(list, word, size) == 0) return true;
        list += part;
        if (*list) list++;
    }
    return false;
}

static int fill(gb_place *place, struct gb_place_type *type)
{
    gb_book *book = place->book;
    if (type->room < book->count) {
        uint32_t *entries = gb_mem_realloc(place->mem, type->entries, type->room * sizeof *entries,
                                           book->room * sizeof *entries);
        if (!entries) return GB_ENOMEM;
        type->entries = entries;
        type->room = book->room;
    }
    type->count = 0;
    for (uint32_t i = 0; i < book->count; i++) {
        const gb_row *row = book->entries[i].row;
        bool of_house = type->name[0] == '$'; /* all have those */
        if (row && (of_house || gb_place_lists(row->member.types, type->name)))
            type->entries[type->count++] = i;
    }
    type->changes = book->changes;
    return 0;
}

static int add_type(gb_place *place, const char *name, struct gb_place_type **out)
{
    if (place->count == TYPES_MAX) { /* names that nobody hosts, mostly */
        while (place->count) free_type(place, place->types[--place->count]);
    }
    if (place->count == place->room) {
        uint32_t room = place->room ? place->room * 2 : 16;
        struct gb_place_type **types = gb_mem_realloc(
            place->mem, place->types, place->room * sizeof *types, room * sizeof *types);
        if (!types) return GB_ENOMEM;
        place->types = types;
        place->room = room;
    }
    struct gb_place_type *type = gb_mem_zalloc(place->mem, sizeof *type);
    if (!type) return GB_ENOMEM;
    type->name = gb_mem_strdup(place->mem, name);
    type->changes = UINT64_MAX;
    if (!type->name) {
        gb_mem_free(place->mem, type, sizeof *type);
        return GB_ENOMEM;
    }
    place->types[place->count++] = *out = type;
    return 0;
}

static int type_of(gb_place *place, const char *name, struct gb_place_type **out)
{
    int rc = 0;
    *out = NULL;
    for (uint32_t i = 0; i < place->count && !*out; i++) {
        if (strcmp(place->types[i]->name, name) == 0) *out = place->types[i];
    }
    if (!*out) rc = add_type(place, name, out);
    return rc == 0 && (*out)->changes != place->book->changes ? fill(place, *out) : rc;
}

/* ---- choices ---- */

typedef struct choice {
    gb_book *book;
    const struct gb_place_type *type;
    const gb_place_query *query;
    int64_t now;
} choice;

static gb_book_entry *entry_at(const choice *c, uint32_t i)
{
    return &c->book->entries[c->type->entries[i]];
}

static bool labelled(const choice *c, const gb_book_entry *entry)
{
    for (const char *at = c->query->label; at && *at; at += *at == ',') {
        char word[GB_MEMBER_LABELS_BYTES];
        size_t size = strcspn(at, ",");
        if (size >= sizeof word) return false;
        memcpy(word, at, size);
        word[size] = 0;
        if (!gb_place_lists(entry->row->member.labels, word)) return false;
        at += size;
    }
    return true;
}

/* The record as it will be once what was placed there shows. */
static const gb_capacity *expected(const gb_book_entry *entry, gb_capacity *room)
{
    if (!entry->placed) return &entry->capacity;
    *room = entry->capacity;
    room->available_mb -= entry->placed_mb;
    room->largest_mb -= entry->placed_mb;
    int64_t queue = (int64_t)room->queue_depth + entry->placed;
    room->queue_depth = queue > INT32_MAX ? INT32_MAX : (int32_t)queue;
    return room;
}

static bool fits(const choice *c, const gb_capacity *capacity)
{
    return !gb_capacity_stale(capacity, c->now) && gb_capacity_has(capacity) &&
           gb_capacity_fits(capacity, c->query->minimum_mb);
}

static bool gpu_fits(const choice *c, const gb_book_entry *entry)
{
    gb_capacity room;
    return entry->told && fits(c, expected(entry, &room));
}

static bool better(const choice *c, const gb_book_entry *a, const gb_book_entry *b)
{
    gb_capacity room, other;
    const gb_capacity *x = expected(a, &room), *y = expected(b, &other);
    double left = gb_capacity_score(x, c->now), right = gb_capacity_score(y, c->now);
    return left != right ? left > right : x->queue_depth < y->queue_depth;
}

/* Rendezvous hashing (Thaler and Ravishankar 1996): the highest of the mixed hashes. */
static uint64_t weight(const choice *c, const gb_book_entry *entry)
{
    return gb_hash_mix(c->query->hash ^ gb_hash_mix(entry->silo));
}

static gb_book_entry *local(const choice *c, bool gpu)
{
    for (uint32_t i = 0; i < c->type->count; i++) {
        gb_book_entry *entry = entry_at(c, i);
        if (entry->silo != c->query->here) continue;
        return labelled(c, entry) && (!gpu || gpu_fits(c, entry)) ? entry : NULL;
    }
    return NULL;
}

/* The nth (from 0) of those that may be chosen; their number in *count. */
static gb_book_entry *nth(const choice *c, bool gpu, uint64_t which, uint32_t *count)
{
    gb_book_entry *found = NULL;
    *count = 0;
    for (uint32_t i = 0; i < c->type->count; i++) {
        gb_book_entry *entry = entry_at(c, i);
        if (!labelled(c, entry) || (gpu && !gpu_fits(c, entry))) continue;
        if (*count == which) found = entry;
        ++*count;
    }
    return found;
}

static gb_book_entry *random_of(const choice *c, bool gpu, uint64_t random)
{
    uint32_t count;
    nth(c, gpu, UINT64_MAX, &count);
    return count ? nth(c, gpu, random % count, &count) : NULL;
}

static gb_book_entry *highest(const choice *c, bool gpu)
{
    gb_book_entry *best = NULL;
    for (uint32_t i = 0; i < c->type->count; i++) {
        gb_book_entry *entry = entry_at(c, i);
        if (!labelled(c, entry) || (gpu && !gpu_fits(c, entry))) continue;
        if (!best || weight(c, entry) > weight(c, best)) best = entry;
    }
    return best;
}

static gb_book_entry *best_gpu(const choice *c)
{
    gb_book_entry *best = NULL;
    double best_score = 0;
    int32_t best_queue = 0;
    for (uint32_t i = 0; i < c->type->count; i++) {
        gb_book_entry *entry = entry_at(c, i);
        gb_capacity room;
        const gb_capacity *capacity = expected(entry, &room);
        if (!entry->told || !fits(c, capacity) || !labelled(c, entry)) continue;
        double score = gb_capacity_score(capacity, c->now);
        if (best &&
            (score < best_score || (score == best_score && capacity->queue_depth >= best_queue)))
            continue;
        best = entry;
        best_score = score;
        best_queue = capacity->queue_depth;
    }
    return best;
}

static uint64_t known_load(const gb_book_entry *entry, int64_t now)
{
    return entry->told && !gb_capacity_stale(&entry->capacity, now) ? entry->activations
                                                                    : UINT64_MAX;
}

/* Of those with the fewest one at random. A silo that has not told is as busy as can be. */
static gb_book_entry *fewest(const choice *c)
{
    gb_book_entry *best = NULL;
    uint64_t least = 0, chance = c->query->random;
    uint32_t equal = 0;
    for (uint32_t i = 0; i < c->type->count; i++) {
        gb_book_entry *entry = entry_at(c, i);
        if (!labelled(c, entry)) continue;
        uint64_t load = known_load(entry, c->now);
        if (best && load > least) continue;
        equal = best && load == least ? equal + 1 : 1;
        if (equal > 1 && (chance = gb_hash_mix(chance + 1)) % equal) continue;
        best = entry;
        least = load;
    }
    return best;
}

static gb_book_entry *balanced(const choice *c)
{
    gb_book_entry *a = random_of(c, true, c->query->random);
    gb_book_entry *b = random_of(c, true, gb_hash_mix(c->query->random + 1));
    if (!a || a == b) return a;
    gb_capacity room, other;
    int32_t x = expected(a, &room)->queue_depth, y = expected(b, &other)->queue_depth;
    if (x != y) return x < y ? a : b;
    return better(c, b, a) ? b : a;
}

static gb_book_entry *wanted(const choice *c, bool *gpu)
{
    gb_book_entry *entry;
    *gpu = true;
    if (c->query->prefer_local && c->query->strategy >= GB_SILO_GPU && (entry = local(c, true)))
        return entry;
    switch (c->query->strategy) {
    case GB_SILO_GPU:
        return best_gpu(c);
    case GB_SILO_AFFINE:
        return highest(c, true);
    case GB_SILO_BALANCED:
        return balanced(c);
    default:
        break;
    }
    *gpu = false;
    switch (c->query->strategy) {
    case GB_SILO_LOCAL:
        entry = local(c, false);
        return entry ? entry : random_of(c, false, c->query->random);
    case GB_SILO_HASH:
        return highest(c, false);
    case GB_SILO_LEAST:
        return fewest(c);
    default:
        return random_of(c, false, c->query->random);
    }
}

int gb_place_choose(gb_place *place, const gb_place_query *query, int64_t now, gb_place_answer *out)
{
    choice c = {place->book, NULL, query, now};
    struct gb_place_type *type;
    bool gpu;
    int rc = type_of(place, query->type, &type);
    if (rc < 0) return rc;
    if (!type->count)
        return gb_err_set(GB_ENOTYPE, "no active silo hosts the type '%s'", query->type);
    c.type = type;
    gb_book_entry *entry = wanted(&c, &gpu);
    *out = (gb_place_answer){.device = -1, .fallback = gpu && !entry};
    if (!entry && gpu && query->demand_gpu)
        return gb_err_set(GB_ENOGPU, "no silo with '%s' has %lld MB free on one GPU", query->type,
                          (long long)query->minimum_mb);
    if (!entry) entry = random_of(&c, false, query->random);
    if (!entry)
        return gb_err_set(GB_ENOENT, "no silo with '%s' has the label '%s'", query->type,
                          query->label ? query->label : "");
    if (gpu && !out->fallback) {
        entry->placed += entry->placed < UINT32_MAX;
        entry->placed_mb += query->minimum_mb > 0 ? query->minimum_mb : 0;
        if (query->strategy == GB_SILO_AFFINE)
            out->device =
                (int32_t)(gb_hash_mix(query->hash) % (uint64_t)entry->capacity.devices_count);
    }
    if (query->strategy == GB_SILO_LEAST) entry->activations += entry->told;
    out->silo = entry->silo;
    return 0;
}
