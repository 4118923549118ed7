/* chaos [--net] [--tls] [--wall=LIBRARY] ENGINE GBRUN [SECONDS] [SEED]: five real silos over a real
 * engine, two clients that call all the time, and what can happen to processes: SIGKILL, SIGSTOP
 * and SIGCONT, an engine that is away, a drained end, and new silos under old names. --net: each of
 * them on a machine of its own, as the network sees it, and what can happen there: silos cut off
 * one way and both, a pair, two halves, a client. --tls: with certificates. Then in SECONDS more of
 * all of it, as the seed says.
 *
 * What must hold: each call ends with a result or a code, and in time; a counter that is awaited
 * never goes back within one activation; the grains of a dead silo are back within 6 s; in the end
 * all silos agree where each grain is, and end well. 77: the engine is not installed, or there may
 * be no network. */
#include "chaos_room.h"

#include "folder.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { BACK_S = 6, OUTAGE_WORKS = 30, DEADLINE_S = 10, DEADLINE_APART_S = 5 };

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

static void address_of(const town *t, int silo, char out[32])
{
    if (t->net.count)
        net_address(out, silo, t->ports[silo]);
    else
        snprintf(out, 32, "127.0.0.1:%d", t->ports[silo]);
}

/* What is started next is a silo or a client at this place. The clocks of two silos are an hour
 * off. */
static void become(town *t, proc *p, const char *who, int place)
{
    char path[400];
    p->space = t->net.count ? t->net.spaces[place] : 0;
    bool off = t->wall && (place == 1 || place == 2);
    if (off) setenv("WALL_OFFSET_S", place == 1 ? "3600" : "-3600", 1);
    if (off)
        setenv("LD_PRELOAD", t->wall, 1);
    else
        unsetenv("LD_PRELOAD");
    if (!t->keys[0]) return;
    snprintf(path, sizeof path, "%s/%s.crt", t->keys, who);
    setenv("GB_TLS_CERT", path, 1);
    snprintf(path, sizeof path, "%s/%s.key", t->keys, who);
    setenv("GB_TLS_KEY", path, 1);
}

static void start_silo(town *t, int i)
{
    char at[32], name[8];
    proc *p = &t->silos[i];
    address_of(t, i, at);
    snprintf(name, sizeof name, "s%d", i);
    become(t, p, "silo", i);
    proc_start(p, name,
               (const char *[]){t->gbrun, "silo", "--cluster", t->engine.url, "--name", name,
                                "--listen", at, "--app", CHAOS_FILES "/app", "--drain", "5s",
                                NULL});
}

static void await_ready(town *t, int i)
{
    wait_mark(t, &t->silos[i], 60);
}

static int deadline_of(const town *t)
{
    return t->net.count ? DEADLINE_APART_S : DEADLINE_S;
}

static void start_client(town *t, int i)
{
    char list[200] = "", name[8], callers[8], keys[8], at[32], seconds[8];
    for (int n = 0; n < SILOS; n++) { /* another one first */
        address_of(t, (n + i) % SILOS, at);
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", n ? "," : "", at);
    }
    snprintf(name, sizeof name, "c%d", i);
    snprintf(keys, sizeof keys, "%d", KEYS);
    snprintf(callers, sizeof callers, "%d", CALLERS);
    snprintf(seconds, sizeof seconds, "%d", deadline_of(t));
    become(t, &t->clients[i], "client", SILOS + i);
    proc_start(&t->clients[i], name,
               (const char *[]){t->gbrun, "--connect", list, CHAOS_FILES "/load.lua", keys, callers,
                                t->stop, seconds, NULL});
}

/* A client's program that has an end, connected to a silo. */
static proc *start_program(town *t, int silo, const char *file, const char *word)
{
    proc *p = &t->clients[0];
    char at[32];
    address_of(t, silo, at);
    become(t, p, "client", SILOS);
    proc_start(p, "client", (const char *[]){t->gbrun, "--connect", at, file, word, NULL});
    return p;
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

/* It has found itself dead, and joins again. */
static void await_life(town *t, int i, int lives)
{
    double until = now_s() + 60 * t->patience;
    while (t->silos[i].lives == lives)
        need(next_line(t, until).text[0], "a silo that was declared dead joins again");
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
    int lives = t->silos[i].lives;
    kill(t->silos[i].pid, SIGSTOP);
    await_back(t, i, from, "SIGSTOP");
    kill(t->silos[i].pid, SIGCONT);
    await_life(t, i, lives);
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

/* ---- what happens to the table ---- */

static void take_copy(town *t)
{
    gb_table *table = NULL;
    gb_table_config config = {
        .mem = &t->mem, .url = t->engine.url, .cluster = "chaos", .timeout_ns = 20 * 1000000000ull};
    need(gb_table_open(&table, &config) == 0 && gb_table_read(table, &t->copy) == 0, "a copy");
    gb_table_close(table);
}

static void put_copy(town *t)
{
    char field[40], text[64];
    for (uint32_t i = 0; i < t->copy.count; i++) {
        const gb_member *row = &t->copy.rows[i];
        gb_buf bytes;
        gb_buf_init(&bytes, &t->mem);
        need(gb_member_encode(&bytes, row) == 0, "a row");
        snprintf(field, sizeof field, "row/%016llx", (unsigned long long)row->id);
        t->engine.put(&t->engine, "chaos", field, bytes.data, bytes.size);
        gb_buf_fini(&bytes);
        int size = snprintf(text, sizeof text, "%lld", (long long)row->alive_ns);
        snprintf(field, sizeof field, "alive/%016llx", (unsigned long long)row->id);
        t->engine.put(&t->engine, "chaos", field, text, (size_t)size);
    }
    int size =
        snprintf(text, sizeof text, "%llu %016llx", (unsigned long long)t->copy.version, 0xc0b1ull);
    t->engine.put(&t->engine, "chaos", "version", text, (size_t)size); /* last: now it counts */
}

/* The table is wiped, or an old copy of it is back; a silo that ends and starts is how the others
 * find out at once. */
static void do_loss(town *t, bool restore, int i)
{
    int losses = 0, wholes = 0, now;
    double until = now_s() + 60 * t->patience;
    for (int n = 0; n < SILOS; n++) losses += t->silos[n].losses, wholes += t->silos[n].wholes;
    t->engine.wipe(&t->engine, "chaos");
    if (restore) put_copy(t);
    do_drain(t, i);
    for (now = losses; now == losses;) {
        need(next_line(t, until).text[0], "a silo sees that the table has lost rows");
        for (int n = now = 0; n < SILOS; n++) now += t->silos[n].losses;
    }
    for (now = wholes; now == wholes;) {
        need(next_line(t, until).text[0], "the table is whole again");
        for (int n = now = 0; n < SILOS; n++) now += t->silos[n].wholes;
    }
    await_works(t, 2);
    printf("table %s: calls went on\n", restore ? "back from an old copy" : "wiped");
}

/* The disk that the table is on is full while a silo dies: nobody is removed, calls go on. */
static void do_full(town *t, int i)
{
    static const char bytes[4096];
    char path[400];
    double until = now_s() + 60 * t->patience;
    snprintf(path, sizeof path, "%s/full", t->engine.folder);
    FILE *file = fopen(path, "wb");
    need(file != NULL, "a large file");
    while (fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes && fflush(file) == 0) continue;
    fclose(file);
    proc_end(&t->silos[i], SIGKILL);
    for (;;) {
        line got = next_line(t, until);
        need(got.text[0], "a silo says that the disk is full");
        if (strstr(got.text, "disk is full")) break;
    }
    await_works(t, 2);
    double from = now_s();
    need(unlink(path) == 0, "room again");
    await_back(t, i, from, "a full disk, then SIGKILL, then room");
    start_silo(t, i);
    await_ready(t, i);
    await_works(t, 2);
}

/* ---- what happens to a network ---- */

enum { CUTS = 4, APART_WORKS = 3, FLOW_WORKS = 5, FLOW_S = 10 };

/* A silo is cut off from everybody, the engine too: all of it, or one way, or as by a cable. */
static void do_cut(town *t, int i, int way)
{
    static const char *const names[CUTS] = {"cut off", "unplugged", "mute", "deaf"};
    double from = now_s();
    int lives = t->silos[i].lives;
    if (way == 1) net_unplug(&t->net, i);
    if (way == 0 || way == 2) net_mute(&t->net, i);
    if (way == 0 || way == 3) net_deafen(&t->net, i);
    await_back(t, i, from, names[way]);
    net_heal(&t->net);
    await_life(t, i, lives);
    await_works(t, 2);
}

/* All ways are open again: until both clients get results without a pause. */
static void heal(town *t, const char *what)
{
    double healed = now_s();
    net_heal(&t->net);
    for (int i = 0; i < CLIENTS; i++) {
        double last = 0;
        for (int n = 0; n < FLOW_WORKS; n++) {
            line got = wait_line(t, &t->clients[i], "works ", 60);
            if (got.at - last > t->patience / 2) n = 0;
            last = got.at;
        }
    }
    printf("%s: all was well %.2f s after it\n", what, now_s() - healed);
    need(now_s() - healed < FLOW_S * t->patience, "well in time");
}

static void block(town *t, int one, int other, bool both)
{
    net_block(&t->net, one, other);
    if (both) net_block(&t->net, other, one);
}

/* Two silos that do not hear each other; all others do. */
static void do_pair(town *t, int i, bool both)
{
    block(t, i, (i + 1) % SILOS, both);
    await_works(t, APART_WORKS);
    heal(t, both ? "two silos apart" : "two silos apart one way");
}

/* Two and three silos that see the same table, and the clients see all of them. */
static void do_halves(town *t, int i)
{
    for (int n = 0; n < SILOS; n++)
        if (n != i && n != (i + 1) % SILOS) {
            block(t, n, i, true);
            block(t, n, (i + 1) % SILOS, true);
        }
    await_works(t, APART_WORKS);
    heal(t, "two halves");
}

/* A client that loses the silo it is connected to, then all. */
static void do_client(town *t, int client, int silo)
{
    block(t, SILOS + client, silo, true);
    await_works(t, APART_WORKS);
    net_heal(&t->net);
    net_mute(&t->net, SILOS + client);
    wait_line(t, &t->clients[1 - client], "works ", 60);
    heal(t, "a client cut off");
}

static void break_network(town *t, int what, int i)
{
    if (what < CUTS)
        do_cut(t, i, what);
    else if (what < CUTS + 2)
        do_pair(t, i, what == CUTS);
    else if (what == CUTS + 2)
        do_halves(t, i);
    else
        do_client(t, i % CLIENTS, i);
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
        /* Two silos that only do not reach each other are both alive: calls between them wait. */
        need(t->net.count || !strstr(text, "ETIMEDOUT="), "no call waits for its deadline");
        double slowest = atof(strstr(text, "slowest=") + 8);
        need(slowest < deadline_of(t) + 2 * t->patience, "each call ended in time");
        need(proc_wait(t, &t->clients[i], 60) == 0, "a client ends with 0");
    }
}

/* Every silo says the same of each grain. */
static void compare(town *t)
{
    char keys[8];
    snprintf(keys, sizeof keys, "%d", KEYS);
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
        int what = (int)(lrand48() % (t->net.count ? 9 + CUTS + 4 : 9));
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

static bool open_town(town *t, const char *name, const char *gbrun, bool apart, bool tls)
{
    bool found = false;
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (strcmp(engines[i]->name, name) == 0) {
            t->engine = *engines[i];
            found = true;
        }
    if (apart && !net_open(&t->net, SILOS + CLIENTS)) return false;
    if (apart) t->engine.host = NET_ROUTER;
    if (!found || !t->engine.start(&t->engine)) return false;
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
    for (; count > 1 && args[1][0] == '-'; count--, args++) {
        apart |= strcmp(args[1], "--net") == 0;
        tls |= strcmp(args[1], "--tls") == 0;
        if (strncmp(args[1], "--wall=", 7) == 0) t.wall = args[1] + 7;
    }
    if (count < 3) {
        fprintf(stderr, "chaos [--net] [--tls] [--wall=LIBRARY] ENGINE GBRUN [SECONDS] [SEED]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (!open_town(&t, args[1], args[2], apart, tls)) return 77;
    await_works(&t, 5);
    take_copy(&t);
    if (apart) {
        for (int what = 0; what < CUTS + 4; what++) break_network(&t, what, what % SILOS);
        if (!t.engine.is_server) do_full(&t, 3);
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
    stop_clients(&t);
    compare(&t);
    check_calls(&t);
    end_all(&t);
    gb_table_view_fini(&t.copy, &t.mem);
    gb_mem_fini(&t.mem);
    printf("slowest: a grain was back after %.2f s\n", t.slowest_back);
    return 0;
}
