/* The driver's process state: settings, counted calls and injected errors, handles, the report at
 * the end. A driver is one per process, so its state is file-level. */
#include "soft.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RULES_MAX = 64, LEAKED_EXIT = 86, MISUSED_EXIT = 87 };

typedef struct rule {
    int row;
    unsigned at; /* 0: every call */
    gb_cu_result code;
} rule;

typedef struct slot {
    soft_object *object; /* NULL: gone */
    soft_kind kind;
} slot;

soft_state soft = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static rule rules[RULES_MAX];
static int rule_count;
static slot *slots; /* [0] is not used */
static uint32_t slot_count, slot_room;
static int lost[SOFT_KINDS]; /* what contexts took with them when they were released */
static char missing[1024];
static _Thread_local soft_context *current;
static _Thread_local bool in_callback;

#define SOFT_NAME(name, need, level, type, parameters) #name,
const char *const soft_names[SOFT_ROWS] = {GB_CUDA_ROOTS(SOFT_NAME) GB_CUDA_TABLE(
    SOFT_NAME) GB_NVRTC_TABLE(SOFT_NAME) GB_NVML_TABLE(SOFT_NAME) "execute"};

static const char *const kind_names[SOFT_KINDS] = {"nothing",  "context", "memory", "module",
                                                   "function", "stream",  "event",  "graph",
                                                   "node",     "exec",    "program"};

/* ---- settings ---- */

static int find_row(const char *name, size_t size)
{
    for (int i = 0; i < SOFT_ROWS; i++)
        if (strlen(soft_names[i]) == size && memcmp(soft_names[i], name, size) == 0) return i;
    bool versioned = size > 3 && memcmp(name + size - 3, "_v2", 3) == 0;
    return versioned ? find_row(name, size - 3) : -1;
}

static void bad_setting(const char *what, const char *text)
{
    fprintf(stderr, "softcuda: %s: not understood: %s\n", what, text);
    abort(); /* a test that does not test what it says is worse than none */
}

static void parse_rules(const char *text)
{
    rule_count = 0;
    memset(soft.calls, 0, sizeof soft.calls);
    while (text && *text) {
        size_t size = strcspn(text, ",");
        const char *at = memchr(text, '@', size), *equals = memchr(text, '=', size);
        if (!at || !equals || rule_count == RULES_MAX) bad_setting("GB_SOFTCUDA_FAIL", text);
        int row = find_row(text, (size_t)(at - text));
        gb_cu_result code = (gb_cu_result)strtoul(equals + 1, NULL, 10);
        bool comes = row != ROW_execute || soft_is_sticky(code);
        if (row < 0 || !comes) bad_setting("GB_SOFTCUDA_FAIL", text);
        unsigned call = at[1] == '*' ? 0 : (unsigned)strtoul(at + 1, NULL, 10);
        rules[rule_count++] = (rule){row, call, code};
        text += size + (text[size] == ',');
    }
}

static long long number_of(const char *name, long long otherwise)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text) return otherwise;
    long long value = strtoll(text, &end, 0);
    if (*end == 'K') value <<= 10;
    if (*end == 'M') value <<= 20;
    if (*end == 'G') value <<= 30;
    return value;
}

__attribute__((constructor)) static void load(void)
{
    soft.device_count = (int)number_of("GB_SOFTCUDA_DEVICES", 2);
    if (soft.device_count > SOFT_DEVICES_MAX) soft.device_count = SOFT_DEVICES_MAX;
    soft.version = (int)number_of("GB_SOFTCUDA_VERSION", 12040);
    soft.arch = (int)number_of("GB_SOFTCUDA_ARCH", 90);
    soft.seed = (uint64_t)number_of("GB_SOFTCUDA_SEED", 1);
    soft.delay_us = (int)number_of("GB_SOFTCUDA_DELAY_US", 200);
    soft.leaks = number_of("GB_SOFTCUDA_LEAKS", 0) != 0;
    soft.keys = number_of("GB_SOFTCUDA_KEYS", 1) != 0;
    soft.peers = number_of("GB_SOFTCUDA_PEERS", 1) != 0;
    gb_mem_init(&soft.mem, "softcuda", NULL, 0);
    for (int i = 0; i < soft.device_count; i++) {
        soft.devices[i].total = (size_t)number_of("GB_SOFTCUDA_MEMORY", 1 << 30);
        soft.devices[i].key = -1;
    }
    const char *names = getenv("GB_SOFTCUDA_MISSING");
    if (names) snprintf(missing, sizeof missing, "%s", names);
    parse_rules(getenv("GB_SOFTCUDA_FAIL"));
}

bool soft_is_missing(const char *name)
{
    for (const char *at = missing; *at;) {
        size_t size = strcspn(at, ",");
        if (strlen(name) == size && memcmp(name, at, size) == 0) return true;
        at += size + (at[size] == ',');
    }
    return false;
}

uint64_t soft_random(uint64_t *state) /* SplitMix64 (Steele, Lea, Flood 2014) */
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* ---- calls ---- */

static gb_cu_result count_call(int row)
{
    unsigned call = ++soft.calls[row];
    for (int i = 0; i < rule_count; i++)
        if (rules[i].row == row && (rules[i].at == 0 || rules[i].at == call)) return rules[i].code;
    return 0;
}

gb_cu_result soft_injected(int row)
{
    pthread_mutex_lock(&soft.lock);
    return soft_leave(count_call(row));
}

bool soft_is_sticky(gb_cu_result rc)
{
    switch (rc) {
    case GB_CU_ECC:
    case GB_CU_NVLINK:
    case GB_CU_ILLEGAL_ADDRESS:
    case GB_CU_LAUNCH_TIMEOUT:
    case GB_CU_ASSERT:
    case GB_CU_HARDWARE_STACK:
    case GB_CU_ILLEGAL_INSTRUCTION:
    case GB_CU_MISALIGNED:
    case GB_CU_INVALID_SPACE:
    case GB_CU_INVALID_PC:
    case GB_CU_LAUNCH_FAILED:
    case GB_CU_UNKNOWN:
        return true;
    default:
        return false;
    }
}

/* Under the lock. An error that breaks a context breaks the one that the call is about. */
static gb_cu_result enter(int row, soft_context *about)
{
    gb_cu_result rc = count_call(row);
    if (rc && soft_is_sticky(rc) && about && about->object.live) {
        soft_break(about, rc);
        soft_stand_still(about);
    }
    if (rc) return rc;
    if (in_callback) return soft_misuse(row, SOFT_NOT_PERMITTED, "called inside a host function");
    if (!soft.initialised && row != ROW_cuInit) return GB_CU_NOT_INITIALIZED;
    return 0;
}

gb_cu_result soft_enter(int row)
{
    pthread_mutex_lock(&soft.lock);
    return enter(row, current);
}

gb_cu_result soft_enter_about(int row, const void *context)
{
    pthread_mutex_lock(&soft.lock);
    return enter(row, (soft_context *)soft_peek(context, SOFT_CONTEXT));
}

gb_cu_result soft_enter_context(int row, soft_context **out)
{
    gb_cu_result rc = soft_enter(row);
    *out = current;
    if (rc) return rc;
    if (!current) return soft_misuse(row, GB_CU_INVALID_CONTEXT, "no context is current");
    if (!current->object.live) return GB_CU_CONTEXT_DESTROYED;
    if (current->error) soft_stand_still(current);
    return current->error;
}

gb_cu_result soft_leave(gb_cu_result rc)
{
    pthread_mutex_unlock(&soft.lock);
    return rc;
}

soft_context *soft_current(void)
{
    return current;
}

void soft_set_current(soft_context *context)
{
    current = context;
}

void soft_set_in_callback(bool inside)
{
    in_callback = inside;
}

gb_cu_result soft_misuse(int row, gb_cu_result rc, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    soft.misuses++;
    fprintf(stderr, "softcuda: misuse: %s: %s\n", soft_names[row], text);
    return rc;
}

/* ---- objects ---- */

/* No canonical address: code that takes a handle for a pointer faults. */
static const uintptr_t handle_base = (uintptr_t)0x50f7 << 48;

void *soft_new(size_t bytes, soft_kind kind, soft_context *context,
               void (*destroy)(soft_object *object))
{
    if (slot_count + 1 >= slot_room) {
        uint32_t room = slot_room ? slot_room * 2 : 256;
        slot *grown = realloc(slots, room * sizeof *grown);
        if (!grown) return NULL;
        slots = grown;
        slot_room = room;
        if (slot_count == 0) slots[slot_count++] = (slot){NULL, SOFT_NONE};
    }
    soft_object *object = calloc(1, bytes);
    if (!object) return NULL;
    object->kind = kind;
    object->number = slot_count;
    object->refs = 1;
    object->live = true;
    object->context = context;
    object->destroy = destroy;
    gb_list_init(&object->link);
    if (context) gb_list_push(&context->objects, &object->link);
    slots[slot_count++] = (slot){object, kind};
    return object;
}

void *soft_handle(const soft_object *object)
{
    uintptr_t value = handle_base + ((uintptr_t)object->number << 4);
    void *handle;
    memcpy(&handle, &value, sizeof handle);
    return handle;
}

static slot *slot_of(const void *handle)
{
    uintptr_t value = (uintptr_t)handle;
    if (value < handle_base || (value & 15) || (value - handle_base) >> 4 >= slot_count)
        return NULL;
    return &slots[(value - handle_base) >> 4];
}

soft_object *soft_peek(const void *handle, soft_kind kind)
{
    slot *at = slot_of(handle);
    return at && at->kind == kind && at->object && at->object->live ? at->object : NULL;
}

void *soft_find(int row, const void *handle, soft_kind kind)
{
    soft_object *object = soft_peek(handle, kind);
    if (object) return object;
    slot *at = slot_of(handle);
    if (!at)
        soft_misuse(row, 0, "%p is no %s", handle, kind_names[kind]);
    else if (at->kind != kind)
        soft_misuse(row, 0, "a %s where a %s belongs", kind_names[at->kind], kind_names[kind]);
    else
        soft_misuse(row, 0, "the %s is gone already", kind_names[kind]);
    return NULL;
}

void soft_hold(soft_object *object)
{
    object->refs++;
}

void soft_drop(soft_object *object)
{
    if (--object->refs > 0) return;
    slots[object->number].object = NULL;
    gb_list_unlink(&object->link);
    if (object->destroy) object->destroy(object);
    free(object);
}

void soft_retire(soft_object *object)
{
    object->live = false;
    gb_list_unlink(&object->link);
    soft_drop(object);
}

void soft_given_up(const void *handle, soft_kind kind)
{
    soft_object *object = soft_peek(handle, kind);
    if (object) object->freed = true;
}

/* ---- the report ---- */

static bool counts(const soft_object *object)
{
    if (!object || !object->live || object->freed) return false;
    if (object->kind == SOFT_FUNCTION || object->kind == SOFT_NODE) return false;
    return !object->context || object->context->error == 0; /* nothing can be freed in it */
}

static int count_leaks(int counted[SOFT_KINDS])
{
    int all = 0;
    memcpy(counted, lost, sizeof lost);
    for (uint32_t i = 1; i < slot_count; i++)
        if (counts(slots[i].object)) counted[slots[i].kind]++;
    for (int i = 0; i < SOFT_KINDS; i++) all += counted[i];
    return all;
}

void soft_note_lost(soft_context *context)
{
    for (gb_list *at = context->objects.next; at != &context->objects; at = at->next) {
        soft_object *object = GB_CONTAINER(at, soft_object, link);
        if (counts(object)) lost[object->kind]++;
    }
}

void softcuda_fail(const char *text)
{
    pthread_mutex_lock(&soft.lock);
    parse_rules(text);
    pthread_mutex_unlock(&soft.lock);
}

int softcuda_leaks(void)
{
    int counted[SOFT_KINDS];
    pthread_mutex_lock(&soft.lock);
    int all = count_leaks(counted);
    pthread_mutex_unlock(&soft.lock);
    return all;
}

int softcuda_misuses(void)
{
    pthread_mutex_lock(&soft.lock);
    int all = soft.misuses;
    pthread_mutex_unlock(&soft.lock);
    return all;
}

unsigned softcuda_calls(const char *name)
{
    int row = find_row(name, strlen(name));
    pthread_mutex_lock(&soft.lock);
    unsigned calls = row < 0 ? 0 : soft.calls[row];
    pthread_mutex_unlock(&soft.lock);
    return calls;
}

__attribute__((destructor)) static void report(void)
{
    int counted[SOFT_KINDS];
    if (!soft.leaks) return;
    pthread_mutex_lock(&soft.lock);
    int all = count_leaks(counted), misuses = soft.misuses;
    pthread_mutex_unlock(&soft.lock);
    for (int i = 0; i < SOFT_KINDS; i++)
        if (counted[i]) fprintf(stderr, "softcuda: not freed: %d %s\n", counted[i], kind_names[i]);
    if (misuses) fprintf(stderr, "softcuda: %d misuses\n", misuses);
    if (all == 0 && misuses == 0) return;
    fflush(NULL);
    _exit(all ? LEAKED_EXIT : MISUSED_EXIT);
}
