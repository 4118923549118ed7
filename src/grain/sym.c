#include "grain/grain.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const gb_sym *sym_find(gb_silo *silo, const char *text, size_t size, uint64_t hash)
{
    uint32_t cursor = 0, id;
    while ((id = gb_map_next(&silo->sym_map, hash, &cursor)) != GB_MAP_NONE) {
        const gb_sym *sym = silo->syms[id];
        if (sym->size == size && memcmp(sym->text, text, size) == 0) return sym;
    }
    return NULL;
}

static const gb_sym *sym_add(gb_silo *silo, const char *text, size_t size, uint64_t hash)
{
    if (silo->sym_count == silo->sym_room) {
        uint32_t room = silo->sym_room ? silo->sym_room * 2 : 64;
        gb_sym **syms = gb_mem_realloc(silo->mem, silo->syms, silo->sym_room * sizeof *syms,
                                       room * sizeof *syms);
        if (!syms) return NULL;
        silo->syms = syms;
        silo->sym_room = room;
    }
    gb_sym *sym = gb_mem_alloc(silo->mem, sizeof *sym + size + 1);
    if (!sym) return NULL;
    if (gb_map_add(&silo->sym_map, hash, silo->sym_count) < 0) {
        gb_mem_free(silo->mem, sym, sizeof *sym + size + 1);
        return NULL;
    }
    sym->id = silo->sym_count;
    sym->size = (uint32_t)size;
    memcpy(sym->text, text, size);
    sym->text[size] = 0;
    silo->syms[silo->sym_count++] = sym;
    return sym;
}

const gb_sym *gb_sym_find(gb_silo *silo, const char *text, size_t size)
{
    pthread_mutex_lock(&silo->lock);
    const gb_sym *sym = sym_find(silo, text, size, gb_hash_bytes(text, size, silo->hash_seed));
    pthread_mutex_unlock(&silo->lock);
    return sym;
}

const gb_sym *gb_sym_get(gb_silo *silo, const char *text, size_t size)
{
    uint64_t hash = gb_hash_bytes(text, size, silo->hash_seed);
    pthread_mutex_lock(&silo->lock);
    const gb_sym *sym = sym_find(silo, text, size, hash);
    if (!sym) sym = sym_add(silo, text, size, hash);
    pthread_mutex_unlock(&silo->lock);
    return sym;
}

gb_key gb_key_number(int64_t number)
{
    return (gb_key){.number = number};
}

/* An optional minus and digits without leading zeros that fit an int64. */
static bool canonical_integer(const char *text, size_t size, int64_t *out)
{
    size_t at = size > 0 && text[0] == '-';
    if (size == at || size - at > 19) return false;
    if (text[at] == '0' && (size - at > 1 || at)) return false;
    uint64_t value = 0;
    for (size_t i = at; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (value > (uint64_t)INT64_MAX + at) return false;
    *out = (int64_t)(at ? 0 - value : value);
    return true;
}

gb_key gb_key_text(const char *text, size_t size)
{
    int64_t number;
    if (canonical_integer(text, size, &number)) return gb_key_number(number);
    return (gb_key){.text = text, .size = (uint32_t)size};
}

bool gb_key_equal(gb_key a, gb_key b)
{
    if (!a.text || !b.text) return !a.text && !b.text && a.number == b.number;
    return a.size == b.size && memcmp(a.text, b.text, a.size) == 0;
}

uint64_t gb_key_hash(const gb_type *type, gb_key key)
{
    uint64_t seed = type->silo->hash_seed + type->salt;
    if (key.text) return gb_hash_bytes(key.text, key.size, seed);
    return gb_hash_mix((uint64_t)key.number ^ gb_hash_mix(seed));
}

int gb_key_print(char *out, size_t room, const gb_type *type, gb_key key)
{
    if (key.text) return snprintf(out, room, "%s/%.*s", type->name->text, (int)key.size, key.text);
    return snprintf(out, room, "%s/%" PRId64, type->name->text, key.number);
}
