/* Random numbers of a test: SplitMix64 (Steele, Lea, Flood 2014) from a seed that the test prints.
 * GB_SEED=0x... in the environment replays a failure. One generator per test; no shared state.
 */
#ifndef GB_TESTS_SEED_H
#define GB_TESTS_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

typedef struct seed {
    uint64_t state;
} seed;

static inline seed seed_start(const char *name)
{
    const char *given = getenv("GB_SEED");
    uint64_t value = 0x5eed;
    if (given)
        value = strtoull(given, NULL, 0);
    else if (getrandom(&value, sizeof value, 0) != (long)sizeof value)
        value = 0x5eed;
    printf("# %s: GB_SEED=0x%llx\n", name, (unsigned long long)value);
    fflush(stdout);
    return (seed){value};
}

static inline uint64_t seed_next(seed *s)
{
    uint64_t x = s->state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline uint64_t seed_below(seed *s, uint64_t bound)
{
    return seed_next(s) % bound;
}

/* Mostly small, sometimes of any width: integers as they occur. */
static inline uint64_t seed_wide(seed *s)
{
    return seed_next(s) >> seed_below(s, 64);
}

#endif
