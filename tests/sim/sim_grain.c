/* sim_grain SEED [STEPS [WORKERS]]: one simulated storm over the room grain, or with SEED `all`
 * many (STEPS of them are random seeds) until one breaks a rule. For `make sim` and for replays. */
#include "kit_storm.h"

#include <stdlib.h>
#include <string.h>

static int one(uint64_t number, int steps, int workers)
{
    storm_report r = storm_run(number, steps, workers);
    printf("sim_grain 0x%llx %d %d: %lld calls, %lld turns, %lld deadlocks, %lld late, %lld busy, "
           "trace %016llx%s\n",
           (unsigned long long)number, steps, workers, (long long)r.asked, (long long)r.turns,
           (long long)r.deadlocks, (long long)r.timeouts, (long long)r.busy,
           (unsigned long long)r.trace, r.wrong ? ": BROKEN" : "");
    fflush(stdout);
    return r.wrong;
}

int main(int count, char **words)
{
    if (count < 2) {
        fprintf(stderr, "usage: %s SEED [STEPS [WORKERS]] | all [RUNS]\n", words[0]);
        return 2;
    }
    if (strcmp(words[1], "all") != 0)
        return one(strtoull(words[1], NULL, 0), count > 2 ? (int)strtol(words[2], NULL, 0) : 10000,
                   count > 3 ? (int)strtol(words[3], NULL, 0) : 3) != 0;
    seed s = seed_start("sim_grain");
    for (int i = 0, runs = count > 2 ? (int)strtol(words[2], NULL, 0) : 1000; i < runs; i++) {
        uint64_t number = seed_next(&s);
        if (one(number, 200 + (int)(number >> 8 & 0xfff), 1 + (int)(number >> 3 & 7))) return 1;
    }
    return 0;
}
