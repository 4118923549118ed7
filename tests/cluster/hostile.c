/* hostile GBRUN [WALL]: real silos, and those who mean no good or are broken: bytes that are none
 * of ours, wrong versions, lengths that cannot be, frames cut short, messages without sense behind
 * a right greeting, a flood of connections that say nothing, a client that reads no answers, a
 * caller who asks for more than is worked off, two silos of one name at once; over TLS: no TLS,
 * strangers' certificates, clients' that want to be silos', and expired ones (WALL: the library
 * that sets a process's wall clock; without it these are left out).
 *
 * What must hold: the silos live and serve, and each of these is a line of their logs. */
#include "hostile_room.h"

#include "cluster/call_frame.h"
#include "wire/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STORM = 200, STORM_BYTES = 4096, FLOOD = 600 };
enum { HEADER = GB_FRAME_HEADER_BYTES, NO_MESSAGE = 77 };

/* ---- processes ---- */

static void start_silo(scene *s, int i, const char *name, const char *const *more)
{
    char at[32], kept[8];
    const char *words[32] = {s->town.gbrun, "silo", "--cluster", s->town.engine.url,
                             "--listen",    at,     "--app",     CHAOS_FILES "/app",
                             "--name",      name,   "--drain",   "5s"};
    int count = 12;
    snprintf(at, sizeof at, "127.0.0.1:%d", s->town.ports[i]);
    snprintf(kept, sizeof kept, "s%d", i);
    for (; more && *more; more++) words[count++] = *more;
    proc_start(&s->town.silos[i], kept, words);
}

/* Lines of two processes, in any order; NULL: none. */
static void wait_both(scene *s, proc *one, const char *text, proc *other, const char *line_text)
{
    double until = now_s() + PATIENCE_S * s->town.patience;
    while (text || line_text) {
        line got = next_line(&s->town, until);
        if (!got.text[0]) fprintf(stderr, "nobody said '%s'\n", text ? text : line_text);
        need(got.text[0], "in time");
        if (text && got.from == one && strstr(got.text, text)) text = NULL;
        if (line_text && got.from == other && strstr(got.text, line_text)) line_text = NULL;
    }
}

/* A program to its end: its exit status, after it and a silo have said these. */
static int run_at(scene *s, const char *const *words, const char *text, int silo,
                  const char *silo_text)
{
    proc *p = &s->town.clients[0];
    proc_start(p, "run", words);
    wait_both(s, p, text, &s->town.silos[silo], silo_text);
    return proc_wait(&s->town, p, PATIENCE_S);
}

int run(scene *s, const char *const *words, const char *text)
{
    return run_at(s, words, text, 0, NULL);
}

void must_serve(scene *s, const char *when)
{
    char at[32], key[32];
    snprintf(at, sizeof at, "127.0.0.1:%d", s->town.ports[0]);
    snprintf(key, sizeof key, "k%d", ++s->programs);
    int rc = run(
        s, (const char *[]){s->town.gbrun, "call", "--connect", at, "Counter", key, "count", NULL},
        "0");
    if (rc != 0) fprintf(stderr, "after %s\n", when);
    need(rc == 0, "a silo serves");
    printf("ok: %s\n", when);
}

/* ---- bytes ---- */

int dial(const scene *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->town.ports[0])};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "a connection");
    return fd;
}

/* It may close before all is said. */
void say(int fd, const gb_buf *bytes)
{
    if (send(fd, bytes->data, bytes->size, MSG_NOSIGNAL) < 0)
        need(errno == EPIPE || errno == ECONNRESET, "what is said");
}

/* Until the silo closes the connection. */
static void await_end(int fd)
{
    char bytes[4096];
    struct pollfd at = {fd, POLLIN, 0};
    for (;;) {
        need(poll(&at, 1, PATIENCE_S * 1000) == 1, "the silo closes it");
        if (recv(fd, bytes, sizeof bytes, 0) <= 0) break;
    }
    close(fd);
}

void put_hello(gb_buf *out, gb_link_role role, uint64_t silo)
{
    size_t mark;
    gb_hello hello = {.role = role, .silo = silo};
    snprintf(hello.cluster, sizeof hello.cluster, "hostile");
    need(gb_frame_begin(out, &mark) == 0 && gb_hello_encode(out, &hello) == 0 &&
             gb_frame_end(out, mark, GB_HELLO, 0) == 0,
         "a greeting");
}

void put_frame(gb_buf *out, uint8_t kind, const void *body, size_t size)
{
    need(gb_frame_put(out, kind, 0, body, size) == 0, "a frame");
}

static void no_frame(gb_buf *out)
{
    gb_buf_put(out, "GET / HTTP/1.1\r\n\r\n", 18);
}

static void other_frame(gb_buf *out)
{
    put_hello(out, GB_LINK_CALLS, 0);
    out->data[1] = 9;
}

static void other_protocol(gb_buf *out)
{
    uint8_t body[] = {0x81, 0x07}; /* a list: version 7, and who knows what that has */
    put_frame(out, GB_HELLO, body, sizeof body);
}

static void no_greeting(gb_buf *out)
{
    put_frame(out, GB_FRAME_CALL, "call", 4);
}

static void endless(gb_buf *out)
{
    uint8_t header[HEADER] = {GB_FRAME_MAGIC, GB_FRAME_VERSION, GB_HELLO, 0, 255, 255, 255, 63};
    gb_buf_put(out, header, sizeof header);
}

static void damaged(gb_buf *out)
{
    put_hello(out, GB_LINK_CALLS, 0);
    out->data[out->size - 1] ^= 1;
}

static void half(gb_buf *out)
{
    put_hello(out, GB_LINK_CALLS, 0);
    out->size -= 3;
}

static void broken_call(gb_buf *out)
{
    put_hello(out, GB_LINK_CALLS, 0);
    put_frame(out, GB_FRAME_CALL, "\xff\xff\xff", 3);
}

static void endless_call(gb_buf *out)
{
    uint8_t header[HEADER] = {GB_FRAME_MAGIC, GB_FRAME_VERSION, GB_FRAME_CALL, 0, 1, 0, 0, 16};
    put_hello(out, GB_LINK_CALLS, 0);
    gb_buf_put(out, header, sizeof header);
}

static void half_call(gb_buf *out)
{
    put_hello(out, GB_LINK_CALLS, 0);
    put_frame(out, GB_FRAME_CALL, "a call", 6);
    out->size--;
}

static void nothing(gb_buf *out)
{
    (void)out;
}

static void broken_message(gb_buf *out)
{
    put_hello(out, GB_LINK_CONTROL, 12345);
    put_frame(out, NO_MESSAGE, "?", 1);
}

typedef struct assault {
    const char *what;
    void (*put)(gb_buf *out);
    const char *line; /* of the silo's log */
    bool leaves;
} assault;

static const assault attacks[] = {
    /* no more than are said in ten seconds */
    {"no frame", no_frame, "refused: not a frame: magic 0x47", false},
    {"frames of another version", other_frame, "refused: a frame of version 9: this side speaks 1",
     false},
    {"another protocol", other_protocol,
     "refused: the versions of the protocol differ: 7 of who connects", false},
    {"no greeting", no_greeting, "refused: no greeting but a frame of kind 32", false},
    {"a length that cannot be", endless, "refused: a frame of 1073741823 bytes: the limit is",
     false},
    {"a damaged frame", damaged, "refused: a damaged frame", false},
    {"half a frame", half, "refused: it left without a greeting", true},
    {"a broken call", broken_call, "refused: ", false},
    {"a call that cannot be so long", endless_call,
     "refused: a frame of 268435457 bytes: the limit is", false},
    {"a silo's message that is none", broken_message, "refused: a message of kind 77 between silos",
     false},
};

static const assault more_attacks[] = {
    {"half a call", half_call, "refused: it left in the middle of a message", true},
    {"a connection that says nothing", nothing, "refused: no greeting in time", false},
};

/* False: its line did not come, for ten others had been said in these ten seconds. */
static bool is_noted(scene *s, const char *text)
{
    return find_line(&s->town, &s->town.silos[0], text, COUNTED_S).text[0] != 0;
}

static bool attack_once(scene *s, const assault *how)
{
    gb_buf out;
    int fd = dial(s);
    gb_buf_init(&out, &s->mem);
    how->put(&out);
    say(fd, &out);
    gb_buf_fini(&out);
    if (how->leaves) shutdown(fd, SHUT_WR);
    bool noted = is_noted(s, how->line);
    await_end(fd);
    return noted;
}

static void attack(scene *s, const assault *list, size_t count)
{
    for (const assault *at = list; at < list + count; at++) {
        bool noted = attack_once(s, at);
        for (int i = 1; i < TRIES && !noted; i++) noted = attack_once(s, at);
        need(noted, at->line);
        must_serve(s, at->what);
    }
}

/* Random bytes, random frames, and random frames behind a greeting. */
static void storm(scene *s)
{
    uint8_t body[STORM_BYTES];
    int before = s->town.silos[0].said[MORE_REFUSED];
    for (int i = 0; i < STORM; i++) {
        gb_buf out;
        int fd = dial(s);
        size_t size = 1 + seed_below(&s->random, sizeof body);
        for (size_t n = 0; n < size; n++) body[n] = (uint8_t)seed_next(&s->random);
        gb_buf_init(&out, &s->mem);
        if (i % 3 == 0) gb_buf_put(&out, body, size);
        if (i % 3 == 2) put_hello(&out, i % 2 ? GB_LINK_CALLS : GB_LINK_CONTROL, (uint64_t)(i % 2));
        if (i % 3 > 0) put_frame(&out, (uint8_t)(16 + seed_below(&s->random, 24)), body, size);
        say(fd, &out);
        gb_buf_fini(&out);
        shutdown(fd, SHUT_WR);
        await_end(fd);
    }
    must_serve(s, "random bytes and frames");
    wait_said(&s->town, &s->town.silos[0], MORE_REFUSED, before);
}

static bool flood_once(scene *s)
{
    static int fds[FLOOD];
    for (int i = 0; i < FLOOD; i++) fds[i] = dial(s);
    bool noted = is_noted(s, "refused: too many connections that say nothing");
    must_serve(s, "a flood of connections that say nothing");
    for (int i = 0; i < FLOOD; i++) await_end(fds[i]); /* the youngest after five seconds */
    return noted;
}

/* The oldest make room for those who have something to say. */
static void flood(scene *s)
{
    bool noted = flood_once(s);
    for (int i = 1; i < TRIES && !noted; i++) noted = flood_once(s);
    need(noted, "a flood is a line");
}

/* Both are started before either has joined: one stays. */
static void one_name(scene *s)
{
    town *t = &s->town;
    start_silo(s, 2, "twin", NULL);
    start_silo(s, 3, "twin", NULL);
    double until = now_s() + PATIENCE_S * t->patience;
    line got;
    do {
        got = next_line(t, until);
        need(got.text[0], "one of two leaves");
    } while (!strstr(got.text, "another silo has the name 'twin'"));
    int gone = got.from == &t->silos[2] ? 2 : 3, stays = 5 - gone;
    need(proc_wait(t, &t->silos[gone], PATIENCE_S) == 1, "it ends with 1");
    wait_mark(t, &t->silos[stays], PATIENCE_S);
    must_serve(s, "two silos of one name");
    proc_end(&t->silos[stays], SIGKILL);
}

/* ---- TLS ---- */

static const char *file(char out[400], const scene *s, const char *folder, const char *name)
{
    snprintf(out, 400, "%s/%s/%s", s->town.engine.folder, folder, name);
    return out;
}

static void make_keys(scene *s, const char *folder, const char *days)
{
    char path[400];
    file(path, s, folder, "");
    need(run(s, (const char *[]){s->town.gbrun, "certs", path, "--days", days, NULL}, NULL) == 0,
         "certificates");
}

/* The settings of who has these files; nobody: none of them. */
static void have_keys(scene *s, const char *folder, const char *who)
{
    static const char *const names[] = {"GB_TLS_CA", "GB_TLS_CERT", "GB_TLS_KEY"};
    char path[400], cert[16], key[16];
    snprintf(cert, sizeof cert, "%s.crt", who);
    snprintf(key, sizeof key, "%s.key", who);
    const char *files[] = {"ca.crt", cert, key};
    for (int i = 0; i < 3; i++) {
        if (folder)
            setenv(names[i], file(path, s, folder, files[i]), 1);
        else
            unsetenv(names[i]);
    }
}

/* Who trusts the one trusts the other too. */
static void append(scene *s, const char *to, const char *from)
{
    char path[400], bytes[8192];
    FILE *in = fopen(file(path, s, from, "ca.crt"), "rb");
    FILE *out = fopen(file(path, s, to, "ca.crt"), "ab");
    need(in && out, path);
    size_t size = fread(bytes, 1, sizeof bytes, in);
    need(fwrite(bytes, 1, size, out) == size && fclose(out) == 0, path);
    fclose(in);
}

static void have_ca(scene *s, const char *folder)
{
    char path[400];
    setenv("GB_TLS_CA", file(path, s, folder, "ca.crt"), 1);
}

static int call(scene *s, const char *text, const char *silo_text)
{
    char at[32];
    snprintf(at, sizeof at, "127.0.0.1:%d", s->town.ports[4]);
    return run_at(
        s,
        (const char *[]){s->town.gbrun, "call", "--connect", at, "Counter", "tls", "count", NULL},
        text, 4, silo_text);
}

static void certificates(scene *s)
{
    town *t = &s->town;
    make_keys(s, "ours", "3");
    make_keys(s, "theirs", "3");
    have_keys(s, "ours", "silo");
    setenv("GB_CLUSTER_NAME", "other", 1);
    start_silo(s, 4, "tls", NULL);
    wait_mark(t, &t->silos[4], PATIENCE_S);
    have_keys(s, "ours", "client");
    need(call(s, "0", NULL) == 0, "a client with a certificate");
    have_keys(s, NULL, "");
    need(call(s, "is TLS on at one end?", "refused: the other end does not speak TLS") == 1,
         "no client without TLS");
    have_keys(s, "theirs", "client");
    need(call(s, "EDENIED", "refused: the other end refuses us") == 1, "no silo of another CA");
    append(s, "theirs", "ours");
    need(call(s, "EDENIED", "the other end's certificate is refused: unable") == 1,
         "no client of another CA");
    have_keys(s, "ours", "client");
    start_silo(s, 3, "liar", (const char *const[]){"--wait", "60s", NULL});
    wait_line(t, &t->silos[4], "is not that of a silo (OU=silo)", PATIENCE_S);
    printf("ok: certificates of others\n");
    proc_end(&t->silos[3], SIGKILL);
    proc_end(&t->silos[4], SIGKILL);
}

/* What is started from now on lives so many days from today. */
static void live_in(const char *wall, const char *offset_s)
{
    if (offset_s) {
        setenv("LD_PRELOAD", wall, 1);
        setenv("WALL_OFFSET_S", offset_s, 1);
    } else {
        unsetenv("LD_PRELOAD");
    }
}

/* A silo whose certificate is over (by its clock) says so and does not start. A client whose clock
 * is behind shows one that is over by the silo's. */
static void expired(scene *s, const char *wall)
{
    town *t = &s->town;
    have_keys(s, "ours", "silo");
    live_in(wall, "864000");
    start_silo(s, 3, "late", NULL);
    live_in(wall, NULL);
    wait_line(t, &t->silos[3], "expired", PATIENCE_S);
    need(proc_wait(t, &t->silos[3], PATIENCE_S) == 1, "it ends with 1");
    live_in(wall, "-864000");
    make_keys(s, "long", "30");
    make_keys(s, "short", "3");
    live_in(wall, NULL);
    append(s, "long", "short");
    have_keys(s, "long", "silo");
    start_silo(s, 4, "tls", NULL);
    wait_mark(t, &t->silos[4], PATIENCE_S);
    have_keys(s, "short", "client");
    have_ca(s, "long");
    live_in(wall, "-864000");
    need(call(s, "EDENIED", "certificate has expired") == 1, "no client of last week");
    live_in(wall, NULL);
    proc_end(&t->silos[4], SIGKILL);
    printf("ok: expired certificates\n");
}

int main(int count, char **args)
{
    static scene s;
    town *t = &s.town;
    if (count < 2) {
        fprintf(stderr, "hostile GBRUN [WALL]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    const char *slow = getenv("CHAOS_PATIENCE");
    s.random = seed_start("hostile");
    gb_mem_init(&s.mem, "test", NULL, 0);
    t->engine = engine_sqlite;
    t->engine.start(&t->engine);
    t->gbrun = args[1];
    t->patience = slow ? atof(slow) : 1;
    setenv("GB_CLUSTER_NAME", "hostile", 1);
    setenv("GB_WORKERS", "2", 1);
    for (int i = 0; i < SILOS; i++) t->ports[i] = engine_port();
    for (int i = 0; i < 2; i++) start_silo(&s, i, i ? "two" : "one", NULL);
    for (int i = 0; i < 2; i++) wait_mark(t, &t->silos[i], PATIENCE_S);
    attack(&s, attacks, sizeof attacks / sizeof *attacks);
    storm(&s);
    attack(&s, more_attacks, sizeof more_attacks / sizeof *more_attacks);
    flood(&s);
    slow_readers(&s);
    one_name(&s);
    for (int i = 0; i < 2; i++) {
        kill(t->silos[i].pid, SIGTERM);
        need(proc_wait(t, &t->silos[i], PATIENCE_S) == 0, "a silo ends with 0");
    }
    certificates(&s);
    if (count > 2) expired(&s, args[2]);
    t->engine.stop(&t->engine);
    gb_mem_fini(&s.mem);
    return 0;
}
