/* chaos [--net] [--tls] [--key] [--wall=LIBRARY] ENGINE GBRUN [SECONDS] [SEED]: five real silos
 * over a real engine, two clients that call all the time, and what can happen to processes:
 * SIGKILL, SIGSTOP and SIGCONT, an engine that is away, a drained end, and new silos under old
 * names. --net: each of them on a machine of its own, as the network sees it, and what can happen
 * there: silos cut off one way and both, a pair, two halves, a client. --tls: with certificates;
 * --key: with a key of the cluster. Then in SECONDS more of all of it, as the seed says.
 *
 * What must hold: each call ends with a result or a code, and in time; a counter that is awaited
 * never goes back within one activation; the grains of a dead silo are back within 6 s; in the end
 * all silos agree where each grain is, and end well. 77: the engine is not installed, or there may
 * be no network. */
#include "chaos_town.h"

#include "folder.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static const engine *const engines[] = {
    &engine_sqlite,
#ifdef GB_WITH_REDIS
    &engine_redis,
#endif
#ifdef GB_WITH_POSTGRES
    &engine_postgres,
#endif
#ifdef GB_WITH_ETCD
    &engine_etcd,
#endif
};

/* ---- the end ---- */

static void stop_clients(town *t)
{
    FILE *file = fopen(t->stop, "w");
    need(file && fclose(file) == 0, "the stop file");
    for (int i = 0; i < CLIENTS; i++) {
        char callers[64];
        const char *text = t->clients[i].mark;
        wait_mark(t, &t->clients[i], 60);
        printf("client %d: %s\n", i, text);
        snprintf(callers, sizeof callers, "callers=%d backwards=0 ", CALLERS);
        need(strstr(text, callers) != NULL, "all callers ended, no counter went back");
        need(strstr(text, " ok=") && !strstr(text, "no code"), "each call has a result or a code");
        /* Two silos that only do not reach each other are both alive: calls between them wait. */
        need(t->net.count || !strstr(text, "ETIMEDOUT="), "no call waits for its deadline");
        double slowest = atof(strstr(text, "slowest=") + 8);
        need(slowest < deadline_of(t) + 2 * t->patience, "each call ended in time");
        need(proc_wait(t, &t->clients[i], 60) == 0, "a client ends with 0");
    }
}

/* A silo that joins again may still wait for the engine. */
static void await_serves(town *t, int silo)
{
    double until = now_s() + 60 * t->patience;
    proc *p = &t->clients[0];
    char at[32];
    address_of(t, silo, at);
    for (int rc = 1; rc != 0;) {
        need(now_s() < until, "a silo serves in the end");
        become(t, p, "client", SILOS);
        proc_start(
            p, "client",
            (const char *[]){t->gbrun, "call", "--connect", at, "Counter", "1", "where", NULL});
        rc = proc_wait(t, p, 60);
    }
}

/* Every silo says the same of each grain. */
static void compare(town *t)
{
    char keys[8];
    snprintf(keys, sizeof keys, "%d", KEYS);
    for (int i = 0; i < SILOS; i++) await_serves(t, i);
    for (int i = 0; i < SILOS; i++) {
        proc *p = start_program(t, i, CHAOS_FILES "/where.lua", keys);
        for (int key = 0; key < KEYS; key++) {
            line got = wait_line(t, p, "\t", 60);
            if (i == 0) snprintf(t->where[key], sizeof t->where[key], "%s", got.text);
            if (strcmp(t->where[key], got.text) == 0 && strstr(got.text, "Counter/")) continue;
            fprintf(stderr, "silo 0: %s\nsilo %d: %s\n", t->where[key], i, got.text);
            need(false, "all silos agree");
        }
        need(proc_wait(t, p, 60) == 0, "a client ends with 0");
    }
    printf("%d silos agree on %d grains\n", SILOS, KEYS);
}

/* Calls of all kinds, through a gateway that hosts the grain or not. */
static void check_calls(town *t)
{
    for (int i = 0; i < 2; i++) {
        proc *p = start_program(t, i, CHAOS_FILES "/calls.lua", NULL);
        wait_line(t, p, "calls are as they should be", 60);
        need(proc_wait(t, p, 60) == 0, "a client ends with 0");
    }
}

static void end_all(town *t)
{
    for (int i = 0; i < SILOS; i++) kill(t->silos[i].pid, SIGTERM);
    for (int i = 0; i < SILOS; i++) need(proc_wait(t, &t->silos[i], 40) == 0, "a silo ends with 0");
    if (t->net.count && !t->engine.is_server) umount(t->engine.folder);
    t->engine.stop(&t->engine);
}

/* A silo that has grains, that one or one behind it. */
static int holder(const town *t, int first)
{
    for (int n = 0; n < SILOS; n++) {
        int who = (first + n) % SILOS, held = 0;
        for (int key = 0; key < KEYS; key++) held += t->homes[0][key] == who;
        if (held > 0) return who;
    }
    return first;
}

static void more(town *t, double seconds, uint64_t seed)
{
    double until = now_s() + seconds;
    srand48((long)seed);
    while (now_s() < until) {
        int what = (int)(lrand48() % (t->net.count ? 9 + NETWORK_FAULTS : 9));
        int who = holder(t, (int)(lrand48() % SILOS));
        if (what < 2)
            do_kill(t, who);
        else if (what < 4)
            do_freeze(t, who);
        else if (what < 6)
            do_drain(t, who);
        else if (what == 6)
            do_outage(t);
        else if (what < 9)
            do_loss(t, what == 8, who);
        else
            break_network(t, what - 9, who);
    }
}

static void make_keys(town *t)
{
    const char *words[2 * SILOS + 8] = {t->gbrun, "certs", t->keys};
    char hosts[SILOS][32], path[400];
    proc p = {.name = "certs"};
    snprintf(t->keys, sizeof t->keys, "%s/keys", t->folder);
    for (int i = 0; i < SILOS; i++) {
        net_address(hosts[i], i, 0);
        *strchr(hosts[i], ':') = 0;
        words[3 + 2 * i] = "--host";
        words[4 + 2 * i] = hosts[i];
    }
    proc_start(&p, p.name, words);
    need(proc_wait(t, &p, 60) == 0, "certificates");
    snprintf(path, sizeof path, "%s/ca.crt", t->keys);
    setenv("GB_TLS_CA", path, 1);
}

static bool find_engine(town *t, const char *name)
{
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (strcmp(engines[i]->name, name) == 0) {
            t->engine = *engines[i];
            return true;
        }
    printf("not run: there is no engine '%s' here:", name);
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++) printf(" %s", engines[i]->name);
    printf("\n");
    return false;
}

static bool open_town(town *t, const char *name, const char *gbrun, bool apart, bool tls,
                      const char *key)
{
    if (!find_engine(t, name) || (apart && !net_open(&t->net, SILOS + CLIENTS))) return false;
    if (apart) t->engine.host = NET_ROUTER;
    if (!t->engine.start(&t->engine)) {
        printf("not run: the engine is not installed (packages.txt)\n");
        return false;
    }
    if (apart && !t->engine.is_server) need(net_disk(t->engine.folder), "a disk");
    const char *slow = getenv("CHAOS_PATIENCE");
    t->gbrun = gbrun;
    t->patience = slow ? atof(slow) : 1;
    need(folder_make(t->folder, "chaos"), "a folder");
    snprintf(t->stop, sizeof t->stop, "%s/stop", t->folder);
    gb_mem_init(&t->mem, "chaos", NULL, 0);
    setenv("GB_MODULE_DIR", GB_MODULES_AT, 1);
    setenv("GB_CLUSTER_NAME", "chaos", 1);
    setenv("GB_WORKERS", "2", 1);
    t->seal.cluster = "chaos";
    if (key) {
        need(gb_secret_make(&t->key, key) == 0, "a key");
        t->seal.key = &t->key;
        setenv("GB_CLUSTER_KEY", key, 1);
    }
    if (tls)
        make_keys(t);
    else if (apart)
        setenv("GB_CLUSTER_OPEN", "yes", 1);
    for (int i = 0; i < SILOS; i++) t->ports[i] = engine_port();
    for (int i = 0; i < SILOS; i++) start_silo(t, i);
    for (int i = 0; i < SILOS; i++) await_ready(t, i);
    for (int i = 0; i < CLIENTS; i++) start_client(t, i);
    return true;
}

int main(int count, char **args)
{
    static town t;
    bool apart = false, tls = false;
    const char *key = NULL;
    for (; count > 1 && args[1][0] == '-'; count--, args++) {
        apart |= strcmp(args[1], "--net") == 0;
        tls |= strcmp(args[1], "--tls") == 0;
        if (strcmp(args[1], "--key") == 0) key = "a key for all of this chaos";
        if (strncmp(args[1], "--wall=", 7) == 0) t.wall = args[1] + 7;
    }
    if (count < 3) {
        fprintf(stderr,
                "chaos [--net] [--tls] [--key] [--wall=LIBRARY] ENGINE GBRUN [SECONDS] [SEED]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (!open_town(&t, args[1], args[2], apart, tls, key)) return 77;
    await_works(&t, 5);
    take_copy(&t);
    if (apart) {
        for (int what = 0; what < NETWORK_FAULTS; what++) break_network(&t, what, what % SILOS);
        if (!t.engine.is_server) do_full(&t, holder(&t, 3));
    } else {
        do_kill(&t, 1);
        do_freeze(&t, 2);
        do_outage(&t);
        do_drain(&t, 3);
        do_kill(&t, 0);
        do_loss(&t, false, 4);
        do_loss(&t, true, 1);
    }
    if (count > 3) more(&t, atof(args[3]), count > 4 ? strtoull(args[4], NULL, 10) : 1);
    check_clocks(&t, !apart && !t.engine.is_server); /* one that waits for a minute is enough */
    stop_clients(&t);
    compare(&t);
    check_calls(&t);
    end_all(&t);
    gb_table_view_fini(&t.copy, &t.mem);
    gb_mem_fini(&t.mem);
    printf("slowest: a grain was back after %.2f s\n", t.slowest_back);
    return 0;
}
