#include "hostile_room.h"

#include "base/err.h"
#include "cluster/call_frame.h"
#include "wire/cbor.h"
#include "wire/frame.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEAF = 2000, DEAF_PAD = 64 << 10, DEAF_ANSWER = 128 << 10, DEAF_LOOKS = 3 };
enum { CROWD = 16, CROWD_CALLS = 128 }; /* answers of 16 MB each: no socket holds so much */
enum {
    PILE = 400,
    PILE_FULL = 60,
    PILE_MAX = 160,
    PILE_BYTES = 1 << 20,
    STUCK = 40
}; /* two links of 64 MB */

static long resident_mb(const proc *p)
{
    char path[64], text[256];
    long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
    FILE *file = fopen(path, "rb");
    need(file != NULL, path);
    while (fgets(text, sizeof text, file))
        if (sscanf(text, "VmRSS: %ld", &kb) == 1) break;
    fclose(file);
    return kb / 1024;
}

static void put_call(gb_buf *out, uint64_t number, const void *pad, size_t size)
{
    gb_buf args, body;
    gb_call_frame call = {.number = number,
                          .type = "Counter",
                          .type_size = 7,
                          .method = "many",
                          .method_size = 4,
                          .key = {.number = (int64_t)number},
                          .left_ns = GB_FOREVER};
    gb_buf_init(&args, out->mem);
    gb_buf_init(&body, out->mem);
    bool fine =
        gb_cbor_put_int(&args, DEAF_ANSWER) == 0 && gb_cbor_put_bytes(&args, pad, size) == 0;
    call.bytes = args.data;
    call.size = args.size;
    need(fine && gb_call_frame_encode(&body, &call) == 0, "a call");
    put_frame(out, GB_FRAME_CALL, body.data, body.size);
    gb_buf_fini(&args);
    gb_buf_fini(&body);
}

/* A connection that has been welcomed. */
static int join(scene *s)
{
    char bytes[256];
    gb_buf out;
    int fd = dial(s);
    struct pollfd at = {fd, POLLIN, 0};
    gb_buf_init(&out, &s->mem);
    put_hello(&out, GB_LINK_CALLS, 0);
    say(fd, &out);
    gb_buf_fini(&out);
    need(poll(&at, 1, PATIENCE_S * 1000) == 1 && recv(fd, bytes, sizeof bytes, 0) > 0, "a welcome");
    return fd;
}

/* It reads answers from then on when nothing is taken within some looks. */
static void send_call(scene *s, int fd, const gb_buf *call, bool *reads)
{
    static char bytes[1 << 16];
    size_t done = 0;
    for (int looks = 0; done < call->size; looks++) {
        ssize_t size = send(fd, call->data + done, call->size - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        need(size > 0 || errno == EAGAIN, "the silo keeps the connection");
        if (size > 0) {
            done += (size_t)size;
            looks = 0;
        } else if (*reads) {
            struct pollfd at = {fd, POLLIN | POLLOUT, 0};
            need(poll(&at, 1, PATIENCE_S * 1000) == 1, "it is heard again");
            if (at.revents & POLLIN) need(recv(fd, bytes, sizeof bytes, 0) > 0, "answers");
        } else if (looks > DEAF_LOOKS) {
            wait_said(&s->town, &s->town.silos[0], NOT_READING, 0);
            *reads = true;
        } else {
            must_serve(s, "a client that reads no answers");
        }
    }
}

/* A client that reads none of its answers is not heard after a while: what is kept for it stays
 * bounded. When it reads it is heard again. */
static void deaf_client(scene *s)
{
    static char pad[DEAF_PAD];
    int fd = join(s), heard = DEAF;
    bool reads = false;
    for (int sent = 0; sent < DEAF; sent++) {
        gb_buf call;
        gb_buf_init(&call, &s->mem);
        put_call(&call, (uint64_t)sent + 1, pad, sizeof pad);
        send_call(s, fd, &call, &reads);
        if (reads && heard == DEAF) heard = sent;
        gb_buf_fini(&call);
    }
    printf("%d of %d calls were taken while no answer was read\n", heard, DEAF);
    need(heard < DEAF, "it is not heard for ever");
    wait_said(&s->town, &s->town.silos[0], HEARD_AGAIN, 0);
    close(fd);
    must_serve(s, "a client that left before its answers");
}

/* False: each was a line, as it is where ten seconds ended between them. */
static bool crowd_once(scene *s)
{
    const proc *silo = &s->town.silos[0];
    int fds[CROWD], before = silo->said[NOT_READING], more = silo->said[MORE_SLOW];
    double until = now_s() + PATIENCE_S * s->town.patience;
    gb_buf calls;
    gb_buf_init(&calls, &s->mem);
    for (int i = 0; i < CROWD_CALLS; i++) put_call(&calls, (uint64_t)i + 1, NULL, 0);
    for (int i = 0; i < CROWD; i++) {
        fds[i] = join(s);
        say(fds[i], &calls);
    }
    gb_buf_fini(&calls);
    while (silo->said[MORE_SLOW] == more && silo->said[NOT_READING] < before + CROWD)
        need(next_line(&s->town, until).text[0], "they are lines, or counted");
    for (int i = 0; i < CROWD; i++) close(fds[i]);
    return silo->said[MORE_SLOW] > more;
}

/* Many of them are ten lines, and then how many more there were. */
static void deaf_crowd(scene *s)
{
    bool counted = false;
    for (int i = 0; i < TRIES && !counted; i++) counted = crowd_once(s);
    need(counted, "not each is a line");
    must_serve(s, "a crowd that reads no answers");
}

/* What a gate answers to the first silo. */
static line ask_gate(scene *s, const char *key, const char *method)
{
    char at[32];
    proc *p = &s->town.clients[0];
    line got;
    snprintf(at, sizeof at, "127.0.0.1:%d", s->town.ports[0]);
    proc_start(p, "run",
               (const char *[]){s->town.gbrun, "call", "--connect", at, "Gate", key, method, NULL});
    do {
        got = next_line(&s->town, now_s() + PATIENCE_S * s->town.patience);
        need(got.text[0], "a gate answers");
    } while (got.from != p);
    need(proc_wait(&s->town, p, PATIENCE_S) == 0, "a call ends with 0");
    return got;
}

/* Its calls wait at the silo. They stop coming when they are 64 MB for each of its links; all
 * come when those before them have ended. */
static void pile(scene *s)
{
    char at[32], calls[8], bytes[16];
    proc *p = &s->town.clients[1];
    snprintf(at, sizeof at, "127.0.0.1:%d", s->town.ports[0]);
    snprintf(calls, sizeof calls, "%d", PILE);
    snprintf(bytes, sizeof bytes, "%d", PILE_BYTES);
    proc_start(p, "pile",
               (const char *[]){s->town.gbrun, "--connect", at, CHAOS_FILES "/pile.lua", calls,
                                bytes, NULL});
    wait_mark(&s->town, p, PATIENCE_S);
    p->mark[0] = 0;
    int before, came = 0;
    do {
        before = came;
        came = (int)strtol(ask_gate(s, "g", "count").text, NULL, 10);
    } while (came < PILE_FULL || came > before);
    printf("%d of %d calls have come, a silo has %ld MB\n", came, PILE,
           resident_mb(&s->town.silos[0]));
    need(came < PILE_MAX, "the others are not heard yet");
    wait_said(&s->town, &s->town.silos[0], TOO_MANY, 0);
    int again = s->town.silos[0].said[HEARD_AGAIN];
    must_serve(s, "a caller who asks for more than is worked off");
    ask_gate(s, "g", "open");
    wait_mark(&s->town, p, PATIENCE_S);
    need(strstr(p->mark, "end 400 of 400") != NULL, p->mark);
    need(proc_wait(&s->town, p, PATIENCE_S) == 0, "a client ends with 0");
    wait_said(&s->town, &s->town.silos[0], HEARD_AGAIN, again);
}

/* Does it say this more often than so; it does, unless other lines crowd it out. */
static bool comes(scene *s, const proc *silo, int what, int before, const char *text)
{
    if (silo->said[what] == before) find_line(&s->town, silo, text, COUNTED_S);
    return silo->said[what] > before;
}

/* All calls succeed. False: that they are not taken, or that they are again, was not said. */
static bool stuck_once(scene *s, int nth)
{
    char at[32], calls[8], bytes[16], path[400];
    proc *p = &s->town.clients[1];
    int from = strstr(ask_gate(s, "stuck", "where").text, "s0") ? 1 : 0;
    const proc *silo = &s->town.silos[from];
    int not_taking = silo->said[NOT_TAKING], again = silo->said[TAKES_AGAIN];
    snprintf(at, sizeof at, "127.0.0.1:%d", s->town.ports[from]);
    snprintf(path, sizeof path, "%s/free%d", s->town.engine.folder, nth);
    snprintf(calls, sizeof calls, "%d", STUCK);
    snprintf(bytes, sizeof bytes, "%d", PILE_BYTES);
    proc_start(p, "stuck",
               (const char *[]){s->town.gbrun, "--connect", at, CHAOS_FILES "/stuck.lua", calls,
                                bytes, path, NULL});
    bool noted = comes(s, silo, NOT_TAKING, not_taking, "does not take its calls:");
    FILE *file = fopen(path, "w");
    need(file && fclose(file) == 0, path);
    wait_mark(&s->town, p, PATIENCE_S);
    need(strstr(p->mark, "end 40 of 40") != NULL, p->mark);
    need(proc_wait(&s->town, p, PATIENCE_S) == 0, "a client ends with 0");
    return noted && comes(s, silo, TAKES_AGAIN, again, "takes calls again");
}

/* The worker of a grain on one silo does nothing else for long: calls from the other one wait
 * there, which says so, and goes on when they are taken. */
static void stuck(scene *s)
{
    bool noted = false;
    for (int i = 0; i < TRIES && !noted; i++) noted = stuck_once(s, i);
    need(noted, "a silo says that its calls are taken again");
    must_serve(s, "a silo that takes no calls");
}

void slow_readers(scene *s)
{
    deaf_client(s);
    deaf_crowd(s);
    pile(s);
    stuck(s);
}
