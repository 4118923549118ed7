/* What the files of the kit share. */
#ifndef GB_TESTS_KIT_ROOM_H
#define GB_TESTS_KIT_ROOM_H

#include "kit_kind.h"

enum {
    OP_ADD,
    OP_GET,
    OP_FAIL,
    OP_CALL,
    OP_TELL,
    OP_ASYNC,
    OP_AWAIT,
    OP_CANCEL,
    OP_MUST,
    OP_PARK,
    OP_SLEEP,
    OP_YIELD,
    OP_STOP,
    OP_NOTE,
    OP_SEEN,
    OP_SPAWN,
    OP_TIMER,
    OP_TIMER_STOP
};

typedef struct kit_grain {
    int64_t number;
    uint64_t timer_id;
    int turns;
} kit_grain;

/* worker->body: its instances by slot. */
typedef struct kit_shelf {
    kit *kit;
    kit_grain **grains;
    uint32_t count;
} kit_shelf;

/* A call that a program or a test wants. */
typedef struct kit_order {
    kit_to to;
    const int64_t *words;
    int count;
} kit_order;

static inline kit_grain *kit_grain_of(gb_worker *worker, const gb_act *act)
{
    return ((kit_shelf *)worker->body)->grains[act->slot];
}

/* Prints what rule is broken, and counts it. */
void kit_broken(kit *kit, const char *what);

/* Sends a fresh call, or begins it at once: like gb_call_send. */
int kit_send(kit *kit, gb_call *call, kit_order order, uint8_t flags);

/* The result of an answered call. */
int64_t kit_result(const gb_call *call);

#endif
