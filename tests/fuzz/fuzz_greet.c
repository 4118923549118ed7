/* Any bytes to a silo that wants a key and tokens, over a real connection: it lets nobody in (but a
 * probe, which gets nothing), tells it once, and keeps nothing. An even first byte: the rest is cut
 * into frames (kind, size, payload), so that checksums keep nothing away. */
#include "fuzz.h"

#include "base/check.h"
#include "base/err.h"
#include "cluster/link_room.h"
#include "cluster/tokens.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY "the key of this cluster"

typedef struct world {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_guard *guard;
    gb_greeter *greeter;
    int listener;
    struct sockaddr_in at;
    int greeted;
} world;

static void on_greeted(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                       gb_pipe_end end, const char *peer)
{
    world *w = user;
    (void)grant, (void)peer;
    w->greeted++;
    GB_CHECK(rc < 0 || hello->role == GB_LINK_PROBE);
    if (rc == 0) gb_pipe_end_close(&end);
}

static void open_guard(world *w)
{
    char path[] = "/tmp/gb-fuzz-XXXXXX", text[GB_TOKEN_TEXT_BYTES], line[GB_TOKEN_LINE_BYTES];
    int fd = mkstemp(path);
    setenv("GB_MODULE_DIR", GB_MODULES_AT, 1);
    gb_guard_config config = {.mem = &w->mem, .key = KEY, .tokens_file = path};
    int rc = gb_token_make(text, line, "ann", "client", 0);
    GB_CHECK(rc == 0 || rc == GB_ENOTYET); /* without OpenSSL there is nothing to prove */
    if (rc == 0) {
        GB_CHECK(fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line));
        GB_CHECK(gb_guard_open(&w->guard, &config) == 0);
    }
    close(fd);
    unlink(path);
}

/* Sockets of TCP: [0] is the silo's. */
static void connection(const world *w, int fds[2])
{
    struct linger at_once = {1, 0}; /* no thousands of ports that wait */
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    GB_CHECK(connect(fds[1], (const struct sockaddr *)&w->at, sizeof w->at) == 0);
    fds[0] = accept(w->listener, NULL, NULL);
    GB_CHECK(fds[0] >= 0);
    GB_CHECK(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
}

static void open_listener(world *w)
{
    socklen_t size = sizeof w->at;
    w->listener = socket(AF_INET, SOCK_STREAM, 0);
    w->at = (struct sockaddr_in){.sin_family = AF_INET};
    w->at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    GB_CHECK(bind(w->listener, (struct sockaddr *)&w->at, size) == 0);
    GB_CHECK(listen(w->listener, 1) == 0);
    GB_CHECK(getsockname(w->listener, (struct sockaddr *)&w->at, &size) == 0);
}

static world *the_world(void)
{
    static world *w; /* tidy: allowed because a fuzzer keeps it for all inputs */
    if (w) return w;
    w = calloc(1, sizeof *w);
    GB_CHECK(w);
    gb_mem_init(&w->mem, "fuzz", NULL, 0);
    GB_CHECK(gb_sys_open(&w->sys, &w->mem) == 0);
    GB_CHECK(w->sys->door->loop_open(&w->loop, w->sys) == 0);
    open_guard(w);
    open_listener(w);
    gb_greeter_config config = {.mem = &w->mem,
                                .loop = w->loop,
                                .guard = w->guard,
                                .timeout_ns = 60 * GB_SEC,
                                .waiting_max = 4,
                                .greeted = on_greeted,
                                .user = w};
    GB_CHECK(gb_greeter_open(&w->greeter, &config) == 0);
    return w;
}

static void say(world *w, int fd, const void *bytes, size_t size)
{
    ssize_t sent = size ? send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    (void)sent; /* more than the kernel takes is more than a greeting */
    for (int i = 0; i < 3; i++) gb_loop_wait(w->loop, 0); /* who speaks too early is not heard */
}

static void say_all(world *w, int fd, const uint8_t *data, size_t size)
{
    if (data[0] & 1) say(w, fd, data + 1, size - 1);
    for (size_t at = 1; !(data[0] & 1) && at + 2 <= size && !w->greeted;) {
        size_t payload = data[at + 1], left = size - at - 2;
        gb_buf out;
        if (payload > left) payload = left;
        gb_buf_init(&out, &w->mem);
        GB_CHECK(gb_frame_put(&out, data[at], 0, data + at + 2, payload) == 0);
        say(w, fd, out.data, out.size);
        gb_buf_fini(&out);
        at += 2 + payload;
    }
    shutdown(fd, SHUT_WR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world *w = the_world();
    int fds[2];
    if (size == 0 || !w->guard) return 0;
    connection(w, fds);
    int64_t before = atomic_load(&w->mem.bytes);
    w->greeted = 0;
    gb_greeter_add(w->greeter, fds[0], "fuzz");
    say_all(w, fds[1], data, size);
    for (int turns = 0; !w->greeted; turns++) {
        GB_CHECK(turns < 1000);
        gb_loop_wait(w->loop, GB_MS);
    }
    gb_loop_wait(w->loop, 0);
    GB_CHECK(w->greeted == 1 && atomic_load(&w->mem.bytes) == before);
    close(fds[1]);
    return 0;
}

static size_t put_part(uint8_t *out, size_t at, uint8_t kind, const void *bytes, size_t size)
{
    out[at] = kind;
    out[at + 1] = (uint8_t)size;
    memcpy(out + at + 2, bytes, size);
    return at + 2 + size;
}

size_t fuzz_sample(seed *s, uint8_t *out, size_t room)
{
    gb_hello hello = {.role = (gb_link_role)(1 + seed_below(s, 3)),
                      .silo = seed_below(s, 2) ? seed_wide(s) : 0,
                      .worker = (uint32_t)seed_below(s, 9),
                      .cluster = "gpubridge",
                      .proves = seed_below(s, 8) > 0};
    uint8_t proof[GB_MAC_BYTES];
    gb_mem mem;
    gb_buf words;
    for (size_t i = 0; i < sizeof proof; i++) proof[i] = (uint8_t)seed_next(s);
    if (hello.proves && hello.silo == 0 && seed_below(s, 4))
        memcpy(hello.name, seed_below(s, 2) ? "ann" : "bob", 4);
    memcpy(hello.word, proof, sizeof proof);
    gb_mem_init(&mem, "fuzz", NULL, 0);
    gb_buf_init(&words, &mem);
    GB_CHECK(gb_hello_encode(&words, &hello) == 0 && words.size + 100 < room && words.size < 256);
    out[0] = seed_below(s, 16) == 0;
    size_t size = put_part(out, 1, GB_HELLO, words.data, words.size);
    if (seed_below(s, 4)) size = put_part(out, size, GB_HELLO_PROOF, proof, sizeof proof);
    gb_buf_fini(&words);
    gb_mem_fini(&mem);
    return size;
}
