/* How many calls a second does a C program make to a Lua grain? One line per number. */
#include <gpubridge.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FLIGHT = 1000, GRAINS = 64 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

typedef struct run {
    gb_host *host;
    gb_ref *refs[GRAINS];
    atomic_long done;
    long target; /* calls to start; 0: no more are started */
    atomic_long started;
    int failed;
} run;

static void start(run *r);

static void on_result(gb_host *host, int rc, const gb_value *result, const char *message,
                      void *user)
{
    run *r = user;
    int64_t sum;
    if (rc < 0 || gb_as_int(gb_value_at(result, 0), &sum) < 0) r->failed = 1;
    atomic_fetch_add_explicit(&r->done, 1, memory_order_release);
    start(r);
}

static void start(run *r)
{
    long i = atomic_fetch_add(&r->started, 1);
    if (i >= r->target) return;
    gb_value *args = gb_value_new(r->host);
    gb_put_int(args, i);
    if (gb_ref_call(r->refs[i % GRAINS], "add", args, 0, on_result, r) < 0) {
        gb_value_free(args);
        r->failed = 1;
        atomic_fetch_add(&r->done, 1);
    }
}

static gb_host *open_host(int workers, gb_deliver deliver, const char *app)
{
    gb_config config;
    gb_config_init(&config, sizeof config);
    config.workers = workers;
    config.deliver = deliver;
    config.app_dir = app;
    gb_host *host;
    if (gb_open(&host, &config) < 0) {
        fprintf(stderr, "no host: %s\n", gb_err_detail());
        exit(1);
    }
    return host;
}

static run *prepare(int workers, gb_deliver deliver, const char *app, long target)
{
    run *r = calloc(1, sizeof *r);
    r->host = open_host(workers, deliver, app);
    r->target = target;
    for (int i = 0; i < GRAINS; i++) {
        gb_ref_open_int(&r->refs[i], r->host, "Adder", i);
        if (gb_ref_call_wait(r->refs[i], "add", NULL, 0, NULL) < 0) exit(1);
    }
    return r;
}

static void end(run *r)
{
    for (int i = 0; i < GRAINS; i++) gb_ref_close(r->refs[i]);
    gb_close(r->host, 1000);
    if (r->failed) printf("a call failed\n");
    free(r);
}

static void flight(const char *name, int workers, gb_deliver deliver, const char *app, long target)
{
    run *r = prepare(workers, deliver, app, target);
    double from = now_s();
    for (int i = 0; i < FLIGHT; i++) start(r);
    while (atomic_load_explicit(&r->done, memory_order_acquire) < target)
        if (workers == 0 || deliver == GB_DELIVER_POLL)
            gb_poll(r->host, 1000, 1000);
        else
            usleep(100);
    printf("%-58s %8.0f calls/s\n", name, (double)target / (now_s() - from));
    end(r);
}

static void one_at_a_time(const char *name, int workers, const char *app, long target)
{
    run *r = prepare(workers, GB_DELIVER_WORKER, app, target);
    double from = now_s();
    for (long i = 0; i < target; i++) {
        gb_value *args = gb_value_new(r->host);
        gb_put_int(args, i);
        if (gb_ref_call_wait(r->refs[0], "add", args, 0, NULL) < 0) r->failed = 1;
    }
    printf("%-58s %8.0f calls/s\n", name, (double)target / (now_s() - from));
    end(r);
}

int main(int argc, char **argv)
{
    char app[] = "/tmp/gb-bench-embed-XXXXXX", file[64];
    if (!mkdtemp(app)) return 1;
    snprintf(file, sizeof file, "%s/adder.lua", app);
    FILE *out = fopen(file, "w");
    if (!out) return 1;
    fputs(
        "local gb = require 'gb'\nlocal Adder = gb.grain('Adder', {})\n"
        "function Adder:add(k) self.n = (self.n or 0) + (k or 0) return self.n end\nreturn Adder\n",
        out);
    fclose(out);
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 500000;
    one_at_a_time("gb_call_wait, one in flight, 1 worker", 1, app, n / 20);
    one_at_a_time("gb_call_wait, one in flight, workers = 0", 0, app, n / 2);
    flight("gb_ref_call, 1000 in flight, 1 worker, callbacks there", 1, GB_DELIVER_WORKER, app, n);
    flight("gb_ref_call, 1000 in flight, 4 workers, callbacks there", 4, GB_DELIVER_WORKER, app, n);
    flight("gb_ref_call, 1000 in flight, 1 worker, gb_poll", 1, GB_DELIVER_POLL, app, n);
    flight("gb_ref_call, 1000 in flight, workers = 0, gb_poll", 0, GB_DELIVER_POLL, app, n);
    unlink(file);
    rmdir(app);
    return 0;
}
