/* sim_cluster SEED [SILOS [HOURS]]: one simulated cluster with every fault there is.
 * sim_cluster all [SEEDS [SILOS [MINUTES]]]: many, and how often what happened: none may be zero.
 * sim_cluster planted: bugs on purpose; each must be found.
 * sim_cluster scale SILOS: what a large cluster costs.
 * SIM_VERBOSE=1 prints what a run's silos say, SIM_GRAIN=N what happens to one grain. */
#include "cluster_world.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const count_names[] = {
#define COUNT_TEXT(name, text) text,
    COUNTS(COUNT_TEXT)
#undef COUNT_TEXT
};

static world_config config_of(uint64_t number, uint32_t silos, uint64_t duration_ns)
{
    return (world_config){.seed = number,
                          .silos = silos,
                          .grains = 4 * silos,
                          .duration_ns = duration_ns,
                          .faults = true,
                          .table_loss = number % 4 == 0,
                          .call_gap_ns = 40 * MS};
}

static bool one(const world_config *config, uint64_t counts[COUNTS_ALL], uint64_t *trace,
                bool print)
{
    world *w = malloc(sizeof *w);
    if (!w) return false;
    world_open(w, config);
    world_run(w);
    bool good = !w->broken[0];
    if (print || !good) {
        printf("sim_cluster 0x%llx %u %.2f: %llu steps, %llu calls, agreed after %.1f s, "
               "trace %016llx\n",
               (unsigned long long)config->seed, config->silos,
               (double)config->duration_ns / 3600e9, (unsigned long long)w->steps,
               (unsigned long long)w->calls,
               w->agreed_at ? (double)(w->agreed_at - w->faults_until) / 1e9 : -1.0,
               (unsigned long long)w->trace);
        if (!good) printf("BROKEN %s\n", w->broken);
        fflush(stdout);
    }
    if (config->verbose) {
        check_dump(w);
        for (int i = 0; i < GB_MSG_KINDS; i++)
            printf("  %10llu messages, %10llu bytes: %s\n", (unsigned long long)w->messages[i],
                   (unsigned long long)w->bytes[i], gb_message_kind_name((gb_message_kind)i));
        printf("  table: %llu reads, %llu writes, %llu touches\n",
               (unsigned long long)w->table_reads, (unsigned long long)w->table_writes,
               (unsigned long long)w->table_touches);
    }
    if (trace) *trace = w->trace;
    world_close(w);
    for (int i = 0; i < COUNTS_ALL; i++) counts[i] += w->counts[i];
    free(w);
    return good;
}

static int print_counts(const uint64_t counts[COUNTS_ALL])
{
    int zeros = 0;
    for (int i = 0; i < COUNTS_ALL; i++) {
        printf("  %10llu %s%s\n", (unsigned long long)counts[i], count_names[i],
               counts[i] ? "" : " <- never");
        zeros += counts[i] == 0;
    }
    return zeros;
}

static int many(int count, char **words)
{
    int seeds = count > 2 ? (int)strtol(words[2], NULL, 0) : 200;
    uint32_t silos = count > 3 ? (uint32_t)strtoul(words[3], NULL, 0) : 50;
    uint64_t minutes = count > 4 ? strtoull(words[4], NULL, 0) : 10;
    uint64_t counts[COUNTS_ALL] = {0};
    seed s = seed_start("sim_cluster");
    for (int i = 0; i < seeds; i++) {
        world_config config = config_of(seed_next(&s) & ~3ull, silos, minutes * 60 * SEC);
        config.seed += (uint64_t)i % 4;
        config.table_loss = i % 4 == 0;
        if (!one(&config, counts, NULL, false)) return 1;
    }
    printf("%d seeds of %u silos for %llu minutes:\n", seeds, silos, (unsigned long long)minutes);
    int zeros = print_counts(counts);
    if (zeros) printf("%d of these never happened\n", zeros);
    return zeros != 0;
}

int main(int count, char **words)
{
    if (count < 2) {
        fprintf(stderr,
                "usage: %s SEED [SILOS [HOURS]] | all [SEEDS [SILOS [MINUTES]]] | planted\n",
                words[0]);
        return 2;
    }
    if (strcmp(words[1], "all") == 0) return many(count, words);
    uint64_t counts[COUNTS_ALL] = {0};
    double hours = count > 3 ? strtod(words[3], NULL) : 1.0 / 6;
    world_config config = config_of(strtoull(words[1], NULL, 0),
                                    count > 2 ? (uint32_t)strtoul(words[2], NULL, 0) : 50,
                                    (uint64_t)(hours * 3600e9));
    const char *grain_text = getenv("SIM_GRAIN");
    config.verbose = getenv("SIM_VERBOSE") != NULL;
    config.watched = grain_text ? 1 + (uint32_t)strtoul(grain_text, NULL, 0) : 0;
    bool good = one(&config, counts, NULL, true);
    print_counts(counts);
    return !good;
}
