#include "grain/far.h"
#include "grain/room.h"

#include "base/err.h"
#include "base/hash.h"

#include <string.h>

void gb_type_options_init(gb_type_options *options)
{
    *options = (gb_type_options){
        .placement = GB_PLACE_RANDOM,
        .idle_ns = 600 * GB_SEC,
        .queue_max = 1024,
        .stateless_max = 16,
    };
}

gb_type *gb_type_at(gb_silo *silo, uint32_t id)
{
    return id < atomic_load_explicit(&silo->type_count, memory_order_acquire)
               ? atomic_load_explicit(&silo->types[id], memory_order_relaxed)
               : NULL;
}

uint32_t gb_type_count(gb_silo *silo)
{
    return atomic_load_explicit(&silo->type_count, memory_order_acquire);
}

gb_type *gb_type_find(gb_silo *silo, const char *name)
{
    for (uint32_t id = 0; id < gb_type_count(silo); id++) {
        gb_type *type = gb_type_at(silo, id);
        if (strcmp(type->name->text, name) == 0) return type;
    }
    return NULL;
}

static gb_type *type_new(gb_silo *silo, const gb_sym *name, const char *module)
{
    gb_type *type = gb_mem_zalloc(silo->mem, sizeof *type);
    if (!type) return NULL;
    size_t local_size = (size_t)silo->worker_count * sizeof *type->local;
    type->local = gb_mem_zalloc(silo->mem, local_size);
    type->module = gb_mem_strdup(silo->mem, module);
    if (!type->local || !type->module) {
        gb_mem_free(silo->mem, type->local, local_size);
        gb_mem_strfree(silo->mem, type->module);
        gb_mem_free(silo->mem, type, sizeof *type);
        return NULL;
    }
    type->name = name;
    type->silo = silo;
    for (int i = 0; i < silo->worker_count; i++) {
        struct gb_type_local *local = &type->local[i];
        local->waiting_end = &local->waiting;
        local->worker = silo->workers[i];
        local->type = type;
        gb_list_init(&local->idle);
        gb_timer_init(&local->idle_timer, gbi_idle_fire);
    }
    return type;
}

void gbi_type_free(gb_type *type)
{
    gb_silo *silo = type->silo;
    for (int i = 0; i < silo->worker_count; i++)
        gb_mem_free(silo->mem, type->local[i].pace, sizeof *type->local[i].pace);
    gb_mem_free(silo->mem, type->local, (size_t)silo->worker_count * sizeof *type->local);
    gb_mem_strfree(silo->mem, type->module);
    gb_mem_free(silo->mem, type, sizeof *type);
}

/* Other workers may read them at this moment: field by field, and only what is new. */
static void options_set(gb_type_options *to, const gb_type_options *from)
{
#define COPY(field)                                                                                \
    do {                                                                                           \
        if (to->field != from->field) __atomic_store_n(&to->field, from->field, __ATOMIC_RELAXED); \
    } while (0)
    COPY(reentrant);
    COPY(keep_alive);
    COPY(idle_ns);
    COPY(queue_max);
    COPY(stateless_max);
#undef COPY
}

int64_t gb_type_activations(gb_type *type)
{
    int64_t sum = 0;
    for (int i = 0; i < type->silo->worker_count; i++)
        sum += atomic_load_explicit(&type->local[i].count, memory_order_relaxed);
    return sum;
}

static int type_define_locked(gb_type **out, gb_silo *silo, const gb_sym *name, const char *module,
                              const gb_kind *kind, int pinned, const gb_type_options *options)
{
    gb_type *type = gb_type_find(silo, name->text);
    if (type && atomic_load(&type->foreign)) {
        char *text = gb_mem_strdup(silo->mem, module);
        if (!text) return GB_ENOMEM;
        gb_mem_strfree(silo->mem, type->module);
        type->module = text;
        type->kind = kind;
        type->pinned = pinned;
        type->options = *options;
        atomic_store(&type->foreign, false); /* now others may look at the rest */
        *out = type;
        return 0;
    }
    if (type) {
        if (strcmp(type->module, module) != 0 || type->pinned != pinned)
            return gb_err_set(GB_ECONFLICT, "the grain type '%s' is defined twice: in %s and in %s",
                              name->text, *type->module ? type->module : "the main script",
                              *module ? module : "the main script");
        options_set(&type->options, options);
        *out = type;
        return 0;
    }
    uint32_t id = gb_type_count(silo);
    if (id == GB_TYPES_MAX) return gb_err_set(GB_EBUSY, "more than %d grain types", GB_TYPES_MAX);
    type = type_new(silo, name, module);
    if (!type) return GB_ENOMEM;
    type->id = id;
    type->salt = gb_hash_bytes(name->text, name->size, 0);
    type->kind = kind;
    type->pinned = pinned;
    type->options = *options;
    atomic_store(&type->foreign, kind == NULL);
    atomic_store_explicit(&silo->types[id], type, memory_order_relaxed);
    atomic_store_explicit(&silo->type_count, id + 1, memory_order_release);
    *out = type;
    return 0;
}

int gb_type_define(gb_type **out, gb_silo *silo, const char *name, const char *module,
                   const gb_kind *kind, int pinned, const gb_type_options *options)
{
    if (options->queue_max == 0 || options->stateless_max == 0)
        return gb_err_set(GB_EINVAL, "grain type '%s': a bound of 0 would serve no call", name);
    const gb_sym *sym = gb_sym_get(silo, name, strlen(name));
    if (!sym) return GB_ENOMEM;
    pthread_mutex_lock(&silo->types_lock);
    int rc = type_define_locked(out, silo, sym, module, kind, pinned, options);
    pthread_mutex_unlock(&silo->types_lock);
    return rc;
}

int gb_type_foreign(gb_type **out, gb_silo *silo, const char *name)
{
    const gb_sym *sym = gb_sym_get(silo, name, strlen(name));
    if (!sym) return GB_ENOMEM;
    gb_type_options options;
    gb_type_options_init(&options);
    pthread_mutex_lock(&silo->types_lock);
    *out = gb_type_find(silo, name);
    int rc = *out ? 0 : type_define_locked(out, silo, sym, "", NULL, -1, &options);
    pthread_mutex_unlock(&silo->types_lock);
    return rc;
}
