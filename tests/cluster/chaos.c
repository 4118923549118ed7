/* chaos ENGINE GBRUN [SECONDS] [SEED]: five real silos over a real engine, two clients that call
 * all the time, and what can happen to processes: SIGKILL, SIGSTOP and SIGCONT, an engine that is
 * away, a drained end, and new silos under old names. Then in SECONDS more of it, as the seed says.
 *
 * What must hold: each call ends with a result or a code, and in time; a counter that is awaited
 * never goes back within one activation; the grains of a dead silo are back within 6 s; in the end
 * all silos agree where each grain is, and end well. 77: the engine is not installed. */
#include "chaos_room.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACK_S = 6, OUTAGE_WORKS = 30 };

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

/* ---- what the town's people do ---- */

static void start_silo(town *t, int i)
{
    char port[32], name[8];
    proc *p = &t->silos[i];
    snprintf(port, sizeof port, "127.0.0.1:%d", t->ports[i]);
    snprintf(name, sizeof name, "s%d", i);
    proc_start(p, name,
               (const char *[]){t->gbrun, "silo", "--cluster", t->engine.url, "--cluster-name",
                                "chaos", "--name", name, "--listen", port, "--app",
                                CHAOS_FILES "/app", "--workers", "2", "--drain", "5s", NULL});
}

static void await_ready(town *t, int i)
{
    wait_mark(t, &t->silos[i], 60);
}

static void start_client(town *t, int i)
{
    char list[200] = "", name[8], callers[8], keys[8];
    for (int n = 0; n < SILOS; n++) /* another one first */
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s127.0.0.1:%d", n ? "," : "",
                 t->ports[(n + i) % SILOS]);
    snprintf(name, sizeof name, "c%d", i);
    snprintf(keys, sizeof keys, "%d", KEYS);
    snprintf(callers, sizeof callers, "%d", CALLERS);
    proc_start(&t->clients[i], name,
               (const char *[]){t->gbrun, "--connect", list, "--cluster-name", "chaos", "--workers",
                                "2", CHAOS_FILES "/load.lua", keys, callers, t->stop, NULL});
}

/* Its grains are called elsewhere: how long it took from then. */
static void await_back(town *t, int i, double from, const char *what)
{
    char key[32], log[64];
    snprintf(key, sizeof key, " s%d s", i);
    snprintf(log, sizeof log, "silo 's%d' (epoch", i);
    double first = 0, seen = 0;
    while (first == 0 || seen == 0) {
        line got = next_line(t, from + BACK_S + 60);
        need(got.text[0], "a grain of the silo is back, and it is known to be dead");
        if (first == 0 && strncmp(got.text, "moved ", 6) == 0 && strstr(got.text, key) &&
            got.at > from)
            first = got.at;
        if (seen == 0 && strstr(got.text, log) && strstr(got.text, "is dead")) seen = got.at;
    }
    printf("%s: dead after %.2f s, a grain of it is back after %.2f s\n", what, seen - from,
           first - from);
    t->slowest_back = first - from > t->slowest_back ? first - from : t->slowest_back;
    need(first - from < BACK_S * t->patience, "back in time");
}

/* Both clients get results again. */
static void await_works(town *t, int lines)
{
    for (int i = 0; i < CLIENTS; i++)
        for (int n = 0; n < lines; n++) wait_line(t, &t->clients[i], "works ", 60);
}

static void do_kill(town *t, int i)
{
    double from = now_s();
    proc_end(&t->silos[i], SIGKILL);
    await_back(t, i, from, "SIGKILL");
    start_silo(t, i);
    await_ready(t, i);
    await_works(t, 2);
}

static void do_freeze(town *t, int i)
{
    double from = now_s();
    kill(t->silos[i].pid, SIGSTOP);
    await_back(t, i, from, "SIGSTOP");
    kill(t->silos[i].pid, SIGCONT);
    wait_line(t, &t->silos[i], "declared dead: it joins again", 30);
    await_works(t, 2);
}

static void do_drain(town *t, int i)
{
    double from = now_s();
    kill(t->silos[i].pid, SIGTERM);
    need(proc_wait(t, &t->silos[i], 40) == 0, "a drained silo ends with 0");
    printf("SIGTERM: ended after %.2f s\n", now_s() - from);
    start_silo(t, i);
    await_ready(t, i);
    await_works(t, 2);
}

/* Calls go on while the engine is away. A file has no server: somebody holds its lock. */
static void do_outage(town *t)
{
    sqlite3 *db = NULL;
    bool file = !t->engine.is_server;
    if (file) {
        need(sqlite3_open(t->engine.url + strlen("sqlite:"), &db) == SQLITE_OK, "open");
        sqlite3_busy_timeout(db, 20000);
        need(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK, "lock");
    } else {
        t->engine.stop(&t->engine);
    }
    await_works(t, OUTAGE_WORKS);
    if (file) {
        need(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, "unlock");
        sqlite3_close(db);
    } else {
        t->engine.start(&t->engine);
    }
    await_works(t, 2);
    printf("engine away: calls went on\n");
}

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
        need(!strstr(text, "ETIMEDOUT="), "no call waits for its deadline");
        double slowest = atof(strstr(text, "slowest=") + 8);
        need(slowest < 10 + 2 * t->patience, "each call ended in time");
        need(proc_wait(t, &t->clients[i], 60) == 0, "a client ends with 0");
    }
}

/* Every silo says the same of each grain. */
static void compare(town *t)
{
    char keys[8], at[32];
    snprintf(keys, sizeof keys, "%d", KEYS);
    for (int i = 0; i < SILOS; i++) {
        proc *p = &t->clients[0];
        snprintf(at, sizeof at, "127.0.0.1:%d", t->ports[i]);
        proc_start(p, "where",
                   (const char *[]){t->gbrun, "--connect", at, "--cluster-name", "chaos",
                                    CHAOS_FILES "/where.lua", keys, NULL});
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
    proc *p = &t->clients[0];
    char at[32];
    for (int i = 0; i < 2; i++) {
        snprintf(at, sizeof at, "127.0.0.1:%d", t->ports[i]);
        proc_start(p, "calls",
                   (const char *[]){t->gbrun, "--connect", at, "--cluster-name", "chaos",
                                    CHAOS_FILES "/calls.lua", NULL});
        wait_line(t, p, "calls are as they should be", 60);
        need(proc_wait(t, p, 60) == 0, "a client ends with 0");
    }
}

static void end_all(town *t)
{
    for (int i = 0; i < SILOS; i++) kill(t->silos[i].pid, SIGTERM);
    for (int i = 0; i < SILOS; i++) need(proc_wait(t, &t->silos[i], 40) == 0, "a silo ends with 0");
    t->engine.stop(&t->engine);
    unlink(t->stop);
    rmdir(t->folder);
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
        int what = (int)(lrand48() % 7), who = holder(t, (int)(lrand48() % SILOS));
        if (what < 2)
            do_kill(t, who);
        else if (what < 4)
            do_freeze(t, who);
        else if (what < 6)
            do_drain(t, who);
        else
            do_outage(t);
    }
}

static bool open_town(town *t, const char *name, const char *gbrun)
{
    bool found = false;
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (strcmp(engines[i]->name, name) == 0) {
            t->engine = *engines[i];
            found = true;
        }
    if (!found || !t->engine.start(&t->engine)) return false;
    const char *slow = getenv("CHAOS_PATIENCE"), *tmp = getenv("TMPDIR");
    t->gbrun = gbrun;
    t->patience = slow ? atof(slow) : 1;
    snprintf(t->folder, sizeof t->folder, "%s/gb-chaos-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    need(mkdtemp(t->folder) != NULL, "a folder");
    snprintf(t->stop, sizeof t->stop, "%s/stop", t->folder);
    for (int i = 0; i < SILOS; i++) t->ports[i] = engine_port();
    for (int i = 0; i < SILOS; i++) start_silo(t, i);
    for (int i = 0; i < SILOS; i++) await_ready(t, i);
    for (int i = 0; i < CLIENTS; i++) start_client(t, i);
    return true;
}

int main(int count, char **args)
{
    static town t;
    if (count < 3) {
        fprintf(stderr, "chaos ENGINE GBRUN [SECONDS] [SEED]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (!open_town(&t, args[1], args[2])) return 77;
    await_works(&t, 5);
    do_kill(&t, 1);
    do_freeze(&t, 2);
    do_outage(&t);
    do_drain(&t, 3);
    do_kill(&t, 0);
    if (count > 3) more(&t, atof(args[3]), count > 4 ? strtoull(args[4], NULL, 10) : 1);
    stop_clients(&t);
    compare(&t);
    check_calls(&t);
    end_all(&t);
    printf("slowest: a grain was back after %.2f s\n", t.slowest_back);
    return 0;
}
