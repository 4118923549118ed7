/* What do calls cost without a language? Awaited local calls, calls over all workers by random keys
 * with 1 and 1000 in flight, activations, their bytes, and the longest pause: with a kind in C
 * whose turns do nothing. One line per number; rates are the median of five rounds. */
#include "base/check.h"
#include "base/err.h"
#include "grain/grain.h"
#include "grain/kind.h"
#include "sys/cores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 5, KEYS = 4096, WORKERS_MAX = 16, MANY = 1000000 };

/* The body of a turn that asks: the others have none worth a name. */
typedef struct asker {
    int left;
    uint64_t random;
    uint64_t keys;
} asker;

typedef struct bench {
    gb_mem mem;
    gb_sys *sys;
    gb_silo *silo;
    gb_type *type, *root_type;
    const gb_sym *echo, *ask;
    gb_act *roots[WORKERS_MAX];
    asker *askers;
    atomic_int ended;
    char marker;
} bench;

static bench *bench_of(gb_call *call)
{
    return atomic_load_explicit(&call->at, memory_order_relaxed)->body;
}

static void answered(gb_call *call)
{
    GB_CHECK(call->rc >= 0);
    gb_turn_wake(call->caller);
}

static void ask_one(gb_call *turn, bench *b, asker *a)
{
    gb_worker *worker = turn->origin;
    a->random = a->random * 6364136223846793005u + 1442695040888963407u;
    gb_key key = gb_key_number((int64_t)((a->random >> 33) % a->keys));
    gb_call *call = gb_call_new(worker);
    call->type = b->type;
    call->method = b->echo;
    call->deadline = worker->now + 30 * GB_SEC;
    call->done = answered;
    call->caller = turn;
    call->caller_serial = turn->serial;
    gb_act *act = gb_act_find(worker, b->type, key);
    if (act && gb_act_idle(act)) {
        call->body = &b->marker;
        gb_call_begin_at(call, act);
    } else {
        gb_call_set_key(call, key);
        GB_CHECK(gb_call_send(call) == GB_OP_PENDING);
    }
    gb_turn_park(turn, call);
}

static int kind_run(gb_call *call)
{
    bench *b = bench_of(call);
    if (call->method == b->echo) return GB_RUN_DONE;
    asker *a = call->body;
    if (a->left-- <= 0) return GB_RUN_DONE;
    ask_one(call, b, a);
    return GB_RUN_PARKED;
}

static int kind_unpack(gb_call *call)
{
    call->body = &bench_of(call)->marker;
    return 0;
}

static int kind_pack(gb_call *call)
{
    (void)call;
    return 0;
}

static void kind_drop(gb_call *call)
{
    call->body = NULL;
}

static int kind_load(gb_worker *worker, gb_type *type)
{
    (void)worker;
    (void)type;
    return GB_OP_READY;
}

static int kind_open(gb_worker *worker, gb_act *act)
{
    (void)worker;
    (void)act;
    return 0;
}

static void kind_close(gb_worker *worker, gb_act *act)
{
    (void)worker;
    (void)act;
}

static const gb_kind kind = {.name = "bench",
                             .load = kind_load,
                             .open = kind_open,
                             .close = kind_close,
                             .unpack = kind_unpack,
                             .run = kind_run,
                             .pack = kind_pack,
                             .drop = kind_drop};

static void bench_open(bench *b, int workers, uint64_t idle_ns)
{
    memset(b, 0, sizeof *b);
    gb_mem_init(&b->mem, "bench", NULL, 0);
    GB_CHECK(gb_sys_open(&b->sys, &b->mem) == 0);
    gb_silo_config config = {.mem = &b->mem, .sys = b->sys, .workers = workers, .spin_ns = 50000};
    GB_CHECK(gb_silo_open(&b->silo, &config) == 0);
    gb_type_options options;
    gb_type_options_init(&options);
    options.idle_ns = idle_ns;
    GB_CHECK(gb_type_define(&b->type, b->silo, "Echo", "", &kind, -1, &options) == 0);
    GB_CHECK(gb_type_define(&b->root_type, b->silo, "Root", "", &kind, -1, &options) == 0);
    b->echo = gb_sym_get(b->silo, "echo", 4);
    b->ask = gb_sym_get(b->silo, "ask", 3);
    for (int i = 0; i < workers; i++) {
        b->silo->workers[i]->body = b;
        GB_CHECK(gb_worker_root(b->silo->workers[i], b->root_type, &b->roots[i]) == 0);
    }
}

static void bench_close(bench *b)
{
    gb_silo_close(b->silo);
    gb_sys_close(b->sys);
    gb_mem_fini(&b->mem);
}

static void ended(gb_call *call)
{
    atomic_fetch_add(&((bench *)call->user)->ended, 1);
}

static void start(bench *b, int worker, asker *a)
{
    gb_call *turn = gb_call_new(b->silo->workers[worker]);
    turn->type = b->root_type;
    turn->method = b->ask;
    turn->deadline = GB_FOREVER;
    turn->done = ended;
    turn->user = b;
    turn->body = a;
    gb_call_spawn(turn, b->roots[worker]);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_size);
    return values[ROUNDS / 2];
}

/* ---- one worker, driven by this thread ---- */

static double local_calls(int in_flight, uint64_t keys)
{
    enum { CALLS = 2000000 };
    bench b;
    double rates[ROUNDS];
    bench_open(&b, 1, 600 * GB_SEC);
    asker *askers = calloc((size_t)in_flight, sizeof *askers);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before = gb_now(b.sys);
        for (int i = 0; i < in_flight; i++) {
            askers[i] = (asker){CALLS / in_flight, (uint64_t)i * 77 + 1, keys};
            start(&b, 0, &askers[i]);
        }
        while (gb_worker_pass(b.silo->workers[0], GB_MS)) continue;
        rates[round] = CALLS / ((double)(gb_now(b.sys) - before) * 1e-9);
    }
    bench_close(&b);
    free(askers);
    return median(rates);
}

static void activations(void)
{
    bench b;
    bench_open(&b, 1, 2 * GB_SEC);
    gb_worker *worker = b.silo->workers[0];
    int64_t bytes = atomic_load(&b.mem.bytes);
    uint64_t start_ns = gb_now(b.sys), longest = 0, calling = 0;
    for (int i = 0; i < MANY; i++) {
        gb_call *call = gb_call_new(worker);
        call->type = b.type;
        call->method = b.echo;
        call->deadline = worker->now + 30 * GB_SEC;
        gb_call_set_key(call, gb_key_number(i));
        uint64_t before = gb_now(b.sys);
        GB_CHECK(gb_call_send(call) == GB_OP_PENDING);
        gb_worker_pass(worker, GB_MS);
        uint64_t took = gb_now(b.sys) - before;
        calling += took;
        if (took > longest) longest = took;
    }
    printf("activations, one worker                %8.2f M/s\n",
           MANY / ((double)(gb_now(b.sys) - start_ns) * 1e-9) / 1e6);
    printf("longest pause while activating         %8.2f ms\n", (double)longest * 1e-6);
    printf("bytes for each idle activation         %8.0f\n",
           (double)(atomic_load(&b.mem.bytes) - bytes) / (double)gb_type_activations(b.type));
    longest = 0;
    uint64_t busy = 0;
    int64_t there = gb_type_activations(b.type);
    while (gb_type_activations(b.type) > 0) {
        uint64_t before = gb_now(b.sys);
        bool any = gb_worker_pass(worker, GB_MS);
        uint64_t took = gb_now(b.sys) - before;
        if (any) busy += took;
        if (any && took > longest) longest = took;
    }
    printf("deactivations of idle ones             %8.2f M/s\n",
           (double)there / ((double)busy * 1e-9) / 1e6);
    printf("longest pause while deactivating       %8.2f ms\n", (double)longest * 1e-6);
    bench_close(&b);
}

/* ---- all workers, real threads ---- */

typedef struct hand {
    bench *b;
    int index, from, count; /* askers of this worker */
    atomic_bool *stop;
    gb_node node;
    pthread_t thread;
} hand;

static void *hand_run(void *user)
{
    hand *h = user;
    gb_worker_loop(h->b->silo->workers[h->index], h->stop);
    return NULL;
}

static void hand_start(gb_node *node, void *reader)
{
    hand *h = GB_CONTAINER(node, hand, node);
    (void)reader;
    for (int i = 0; i < h->count; i++) start(h->b, h->index, &h->b->askers[h->from + i]);
}

static double over_workers(int workers, int in_flight, int calls)
{
    bench b;
    double rates[ROUNDS];
    hand hands[WORKERS_MAX];
    atomic_bool stop = false;
    bench_open(&b, workers, 600 * GB_SEC);
    b.askers = calloc((size_t)in_flight, sizeof *b.askers);
    for (int i = 0; i < workers; i++) {
        hands[i] = (hand){.b = &b, .index = i, .stop = &stop};
        GB_CHECK(pthread_create(&hands[i].thread, NULL, hand_run, &hands[i]) == 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(&b.ended, 0);
        for (int i = 0; i < in_flight; i++)
            b.askers[i] = (asker){calls / in_flight, (uint64_t)i * 77 + 1, KEYS};
        uint64_t before = gb_now(b.sys);
        for (int i = 0, from = 0; i < workers; i++) {
            int share = in_flight / workers + (i < in_flight % workers);
            hands[i].from = from;
            hands[i].count = share;
            from += share;
            hands[i].node.run = hand_start;
            if (share) gb_worker_post(b.silo->workers[i], &hands[i].node);
        }
        while (atomic_load(&b.ended) < in_flight) usleep(200);
        rates[round] = calls / ((double)(gb_now(b.sys) - before) * 1e-9);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < workers; i++) {
        gb_loop_wake(b.silo->workers[i]->loop);
    }
    for (int i = 0; i < workers; i++) pthread_join(hands[i].thread, NULL);
    free(b.askers);
    bench_close(&b);
    return median(rates);
}

int main(void)
{
    double rate = local_calls(1, 1);
    printf("awaited local call, one in flight      %8.2f M/s  %6.0f ns\n", rate / 1e6, 1e9 / rate);
    rate = local_calls(1, KEYS);
    printf("the same over %d grains              %8.2f M/s  %6.0f ns\n", KEYS, rate / 1e6,
           1e9 / rate);
    rate = local_calls(1000, KEYS);
    printf("awaited local calls, 1000 in flight    %8.2f M/s\n", rate / 1e6);
    int cores = gb_cores(), workers = cores < 2 ? 2 : cores > 4 ? 4 : cores;
    rate = over_workers(2, 1, 400000);
    printf("random keys, 2 workers, 1 in flight    %8.2f M/s  %6.0f ns\n", rate / 1e6, 1e9 / rate);
    rate = over_workers(workers, 1, 400000);
    printf("random keys, %d workers, 1 in flight    %8.2f M/s  %6.0f ns\n", workers, rate / 1e6,
           1e9 / rate);
    rate = over_workers(workers, 1000, 4000000);
    printf("random keys, %d workers, 1000 in flight %8.2f M/s\n", workers, rate / 1e6);
    activations();
    return 0;
}
