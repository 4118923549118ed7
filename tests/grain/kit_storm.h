/* The storm: random grains of all sorts call each other with random deadlines, end each other,
 * start timers, spawn, cancel, wait for each other in circles; the kit watches the rules. In a
 * simulated world one seed is one history; with real threads it is what the threads make of it. */
#ifndef GB_TESTS_KIT_STORM_H
#define GB_TESTS_KIT_STORM_H

#include "kit_kind.h"
#include "seed.h"

enum { STORM_TYPES = 7, STORM_KEYS = 10 };

typedef struct storm_report {
    int64_t asked, turns, deadlocks, timeouts, busy, ended;
    uint64_t trace;
    int wrong;
} storm_report;

void storm_types(kit *kit, uint64_t idle_ns);

/* A random program. longest_ns: of sleeps and deadlines. */
void storm_prog(kit_prog *prog, seed *s, int depth, uint64_t longest_ns);
kit_to storm_to(seed *s, uint64_t longest_ns);

/* A simulated storm; wrong counts the broken rules, each printed. */
storm_report storm_run(uint64_t number, int steps, int workers);

/* A storm over real threads: true when all that was asked was answered once and no rule broke.
 * cut: stops while calls are under way. */
bool storm_threads(uint64_t number, int asks, int workers, bool cut);

#endif
