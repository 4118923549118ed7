#include "chaos_town.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACK_S = 6, OUTAGE_WORKS = 30, DEADLINE_S = 10, DEADLINE_APART_S = 5 };

/* ---- what the town's people do ---- */

void address_of(const town *t, int silo, char out[32])
{
    if (t->net.count)
        net_address(out, silo, t->ports[silo]);
    else
        snprintf(out, 32, "127.0.0.1:%d", t->ports[silo]);
}

void become(town *t, proc *p, const char *who, int place)
{
    char path[400];
    p->space = t->net.count ? t->net.spaces[place] : 0;
    if (!t->keys[0]) return;
    snprintf(path, sizeof path, "%s/%s.crt", t->keys, who);
    setenv("GB_TLS_CERT", path, 1);
    snprintf(path, sizeof path, "%s/%s.key", t->keys, who);
    setenv("GB_TLS_KEY", path, 1);
}

/* The clocks of two are an hour off. */
static const int offsets[SILOS] = {0, 3600, -3600};

void start_silo(town *t, int i)
{
    char at[32], name[8], offset[16];
    proc *p = &t->silos[i];
    address_of(t, i, at);
    snprintf(name, sizeof name, "s%d", i);
    become(t, p, "silo", i);
    if (t->wall && offsets[i]) {
        snprintf(offset, sizeof offset, "%d", offsets[i]);
        setenv("WALL_OFFSET_S", offset, 1);
        setenv("LD_PRELOAD", t->wall, 1);
    }
    proc_start(p, name,
               (const char *[]){t->gbrun, "silo", "--cluster", t->engine.url, "--name", name,
                                "--listen", at, "--app", CHAOS_FILES "/app", "--drain", "5s",
                                NULL});
    unsetenv("LD_PRELOAD");
}

void check_clocks(town *t, bool all)
{
    double until = now_s() + 180 * t->patience; /* tables are read once a minute */
    for (int wrong = 0; t->wall && wrong < SILOS; wrong++) {
        bool said = offsets[wrong] == 0 || !all;
        for (;;) {
            for (int i = 0; i < SILOS; i++) {
                int off = offsets[wrong] - offsets[i], told = t->silos[i].clocks[wrong];
                need(told == 0 || (told > 0 ? off > 0 : off < 0), "what is said of a clock is so");
                said |= offsets[i] == 0 && told != 0;
            }
            if (said) break;
            need(next_line(t, until).text[0], "a clock that is an hour off is said to be");
        }
    }
}

void await_ready(town *t, int i)
{
    wait_mark(t, &t->silos[i], 60);
}

int deadline_of(const town *t)
{
    return t->net.count ? DEADLINE_APART_S : (int)(DEADLINE_S * t->patience);
}

void start_client(town *t, int i)
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

proc *start_program(town *t, int silo, const char *file, const char *word)
{
    proc *p = &t->clients[0];
    char at[32];
    address_of(t, silo, at);
    become(t, p, "client", SILOS);
    proc_start(p, "client", (const char *[]){t->gbrun, "--connect", at, file, word, NULL});
    return p;
}

/* A silo is gone at `from`: when others say so, and when a grain of it was called elsewhere. */
typedef struct loss {
    char key[32], log[64];
    double from, back, dead;
} loss;

static loss loss_of(int i, double from)
{
    loss l = {.from = from};
    snprintf(l.key, sizeof l.key, " s%d s", i);
    snprintf(l.log, sizeof l.log, "silo 's%d' (epoch", i);
    return l;
}

static void note_loss(loss *l, const line *got)
{
    if (l->back == 0 && strncmp(got->text, "moved ", 6) == 0 && strstr(got->text, l->key) &&
        got->at > l->from)
        l->back = got->at;
    if (l->dead == 0 && strstr(got->text, l->log) && strstr(got->text, "is dead"))
        l->dead = got->at;
}

static void await_loss(town *t, loss *l, const char *what)
{
    while (l->back == 0 || l->dead == 0) {
        line got = next_line(t, l->from + BACK_S + 60);
        need(got.text[0], l->dead == 0 ? "it is known to be dead" : "a grain of the silo is back");
        note_loss(l, &got);
    }
    double took = l->back - l->from;
    printf("%s: dead after %.2f s, a grain of it is back after %.2f s\n", what, l->dead - l->from,
           took);
    t->slowest_back = took > t->slowest_back ? took : t->slowest_back;
    need(took < BACK_S * t->patience, "back in time");
}

static void await_back(town *t, int i, double from, const char *what)
{
    loss l = loss_of(i, from);
    await_loss(t, &l, what);
}

void await_works(town *t, int lines)
{
    for (int i = 0; i < CLIENTS; i++)
        for (int n = 0; n < lines; n++) wait_line(t, &t->clients[i], "works ", 60);
}

static int said(const town *t, int what)
{
    int sum = 0;
    for (int i = 0; i < SILOS; i++) sum += t->silos[i].said[what];
    return sum;
}

/* It is said once more than it was, by any silo. */
static void await_said(town *t, int what, int before, const char *text)
{
    double until = now_s() + 60 * t->patience;
    while (said(t, what) == before) need(next_line(t, until).text[0], text);
}

void do_kill(town *t, int i)
{
    double from = now_s();
    proc_end(&t->silos[i], SIGKILL);
    await_back(t, i, from, "SIGKILL");
    start_silo(t, i);
    await_ready(t, i);
    await_works(t, 2);
}

void do_freeze(town *t, int i)
{
    double from = now_s();
    int lives = t->silos[i].said[JOINS_AGAIN];
    kill(t->silos[i].pid, SIGSTOP);
    await_back(t, i, from, "SIGSTOP");
    kill(t->silos[i].pid, SIGCONT);
    wait_said(t, &t->silos[i], JOINS_AGAIN, lives);
    await_works(t, 2);
}

void do_drain(town *t, int i)
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
void do_outage(town *t)
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

void take_copy(town *t)
{
    gb_table *table = NULL;
    gb_table_config config = {.mem = &t->mem,
                              .url = t->engine.url,
                              .cluster = "chaos",
                              .timeout_ns = 20 * 1000000000ull,
                              .key = t->seal.key};
    need(gb_table_open(&table, &config) == 0 && gb_table_read(table, &t->copy) == 0, "a copy");
    gb_table_close(table);
}

static void put_copy(town *t)
{
    char field[40], text[64];
    for (uint32_t i = 0; i < t->copy.count; i++) {
        const gb_member *row = &t->copy.rows[i];
        gb_buf plain, bytes;
        gb_buf_init(&plain, &t->mem);
        gb_buf_init(&bytes, &t->mem);
        need(gb_member_encode(&plain, row) == 0, "a row");
        need(gb_seal_put(&t->seal, &bytes, plain.data, plain.size) == 0, "its seal");
        snprintf(field, sizeof field, "row/%016llx", (unsigned long long)row->id);
        t->engine.put(&t->engine, "chaos", field, bytes.data, bytes.size);
        gb_buf_fini(&plain);
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
void do_loss(town *t, bool restore, int i)
{
    int losses = said(t, LOST_ROWS), wholes = said(t, WHOLE_AGAIN);
    t->engine.wipe(&t->engine, "chaos");
    if (restore) put_copy(t);
    do_drain(t, i);
    await_said(t, LOST_ROWS, losses, "a silo sees that the table has lost rows");
    await_said(t, WHOLE_AGAIN, wholes, "the table is whole again");
    await_works(t, 2);
    printf("table %s: calls went on\n", restore ? "back from an old copy" : "wiped");
}

/* The disk that the table is on is full while a silo dies: calls go on. It is removed when there is
 * room again, or before when the engine has a little left. */
void do_full(town *t, int i)
{
    static const char bytes[4096];
    char path[400];
    double until = now_s() + 60 * t->patience;
    snprintf(path, sizeof path, "%s/full", t->engine.folder);
    FILE *file = fopen(path, "wb");
    need(file != NULL, "a large file");
    while (fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes && fflush(file) == 0) continue;
    fclose(file);
    await_works(t, 2);
    loss l = loss_of(i, now_s());
    proc_end(&t->silos[i], SIGKILL);
    for (bool full = false; !full;) {
        line got = next_line(t, until);
        need(got.text[0], "a silo says that the disk is full");
        full = strstr(got.text, "disk is full") != NULL;
        note_loss(&l, &got);
    }
    need(unlink(path) == 0, "room again");
    if (l.back == 0) l.from = now_s();
    await_loss(t, &l, "a full disk, then SIGKILL, then room");
    start_silo(t, i);
    await_ready(t, i);
    await_works(t, 2);
}

/* ---- what happens to a network ---- */

enum { APART_WORKS = 3, FLOW_WORKS = 5, FLOW_S = 10 };

/* A silo is cut off from everybody, the engine too: all of it, or one way, or as by a cable. */
static void do_cut(town *t, int i, int way)
{
    static const char *const names[CUTS] = {"cut off", "unplugged", "mute", "deaf"};
    double from = now_s();
    int lives = t->silos[i].said[JOINS_AGAIN];
    if (way == 1) net_unplug(&t->net, i);
    if (way == 0 || way == 2) net_mute(&t->net, i);
    if (way == 0 || way == 3) net_deafen(&t->net, i);
    await_back(t, i, from, names[way]);
    net_heal(&t->net);
    wait_said(t, &t->silos[i], JOINS_AGAIN, lives);
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

void break_network(town *t, int what, int i)
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
