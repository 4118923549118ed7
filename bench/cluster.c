/* How long do the decisions of a cluster of 1,000 silos take? Best silo by score, a placement, the
 * owner of a grain, a telling of capacity, and the ring after a join. One line per number; the
 * median of 9 rounds. */
#include "cluster/directory.h"
#include "cluster/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 9, SILOS = 1000, TIMES = 2000, JOINS = 50 };

typedef struct bench {
    gb_mem mem;
    gb_book book;
    gb_place place;
    gb_view *view;
    uint64_t sum; /* keeps the work from being thrown away */
} bench;

static const int64_t now = 1000000000000;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void tell(bench *b, uint64_t silo)
{
    gb_capacity c = {4, (int32_t)(silo % 9), 80000, 20000 + (int64_t)silo, 20000, "cuda", now};
    if (gb_book_put(&b->book, silo, &c, silo) < 0) abort();
}

static void best(bench *b, uint64_t i)
{
    uint64_t silo;
    if (gb_book_best(&b->book, (int64_t)(i % 1000), now, &silo) < 0) abort();
    b->sum += silo;
}

static void place(bench *b, uint64_t i)
{
    gb_place_query query = {.type = "Model", .strategy = GB_SILO_GPU, .minimum_mb = 1, .random = i};
    gb_place_answer answer;
    if (gb_place_choose(&b->place, &query, now, &answer) < 0) abort();
    b->sum += answer.silo;
}

static void owner(bench *b, uint64_t i)
{
    b->sum += gb_ring_owner(b->view->ring, gb_directory_hash(7, &i, sizeof i));
}

static void update(bench *b, uint64_t i)
{
    tell(b, 1 + i % SILOS);
}

static void join(bench *b, uint64_t i)
{
    uint64_t ids[SILOS + 1];
    gb_ring *ring;
    memcpy(ids, b->view->ring->ids, SILOS * sizeof *ids);
    ids[SILOS] = 100000 + i;
    if (gb_ring_new(&ring, &b->mem, 7, ids, SILOS + 1, b->view->ring) < 0) abort();
    b->sum += ring->count;
    gb_ring_unref(ring);
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void measure(bench *b, const char *what, void (*work)(bench *b, uint64_t i), int times)
{
    double rounds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < times; i++) work(b, (uint64_t)(round * times + i));
        rounds[round] = (now_ns() - start) / times;
    }
    qsort(rounds, ROUNDS, sizeof *rounds, compare);
    printf("R cluster_%s_us %.3f\n", what, rounds[ROUNDS / 2] / 1000);
}

int main(void)
{
    bench b = {0};
    gb_mem_init(&b.mem, "bench", NULL, 0);
    gb_book_init(&b.book, &b.mem);
    gb_place_init(&b.place, &b.mem, &b.book);
    gb_member *rows = calloc(SILOS, sizeof *rows);
    if (!rows) abort();
    for (uint64_t i = 0; i < SILOS; i++)
        rows[i] = (gb_member){.id = i + 1,
                              .state = GB_SILO_ACTIVE,
                              .labels = (char *)"",
                              .types = (char *)"Counter,Model"};
    gb_table_view table = {.version = 1, .count = SILOS, .rows = rows};
    if (gb_view_read(&b.view, &b.mem, 7, &table, NULL) < 0) abort();
    if (gb_book_view(&b.book, b.view) < 0) abort();
    for (uint64_t i = 0; i < SILOS; i++) tell(&b, i + 1);
    measure(&b, "best", best, TIMES);
    measure(&b, "place", place, TIMES);
    measure(&b, "owner", owner, 100 * TIMES);
    measure(&b, "update", update, 100 * TIMES);
    measure(&b, "ring", join, JOINS);
    free(rows);
    gb_place_fini(&b.place);
    gb_book_fini(&b.book);
    gb_view_unref(b.view);
    gb_mem_fini(&b.mem);
    return b.sum == 0;
}
