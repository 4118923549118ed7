#include "handshake_kit.h"

static void on_ready(void *user, const gb_hello *peer)
{
    (void)peer;
    ((side *)user)->ready++;
}

static int on_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    (void)kind, (void)body, (void)size, (void)blocks, (void)count;
    ((side *)user)->messages++;
    return 0;
}

static void on_closed(void *user, int rc, const char *why)
{
    side *s = user;
    s->closed++;
    s->rc = rc;
    s->link = NULL;
    snprintf(s->why, sizeof s->why, "%s", why);
}

const gb_link_events kit_events = {on_ready, on_message, NULL, on_closed, NULL};

static void on_accepted(void *user, int fd, const char *peer)
{
    gb_greeter_add(((world *)user)->greeter, fd, peer);
}

static void on_greeted(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                       gb_pipe_end end, const char *peer)
{
    world *w = user;
    gb_hello welcome = {.role = GB_LINK_CALLS, .silo = 7, .cluster = "one"};
    (void)peer;
    w->greeted++;
    w->greeted_rc = rc;
    snprintf(w->greeted_why, sizeof w->greeted_why, "%s", rc < 0 ? gb_err_detail() : "");
    if (rc < 0) return;
    assert_string_equal(hello->cluster, "one");
    w->grant = *grant;
    gb_grant_welcome(grant, &welcome);
    if (w->server.link) gb_link_close(w->server.link);
    gb_link_accept(&w->server.link, &w->mem, w->loop, end, &welcome, LIMIT, &kit_events,
                   &w->server);
}

const char *path_of(const char *name)
{
    static char paths[8][400];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 400, "%s/%s", kit_folder(), name);
    return path;
}

void write_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static gb_tls *open_tls(world *w, const char *who)
{
    char cert[40], key[40];
    gb_tls *tls = NULL;
    snprintf(cert, sizeof cert, "%s.crt", who);
    snprintf(key, sizeof key, "%s.key", who);
    gb_tls_config config = {&w->mem, path_of("ca.crt"), path_of(cert), path_of(key)};
    assert_int_equal(gb_tls_open(&tls, &config), 0);
    return tls;
}

void open_world(world *w, const wish *wanted)
{
    memset(w, 0, sizeof *w);
    gb_mem_init(&w->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&w->sys, &w->mem), 0);
    assert_int_equal(w->sys->door->loop_open(&w->loop, w->sys), 0);
    assert_int_equal(gb_listen(&w->listener, w->loop, "127.0.0.1:0", on_accepted, w), 0);
    gb_guard_config guard = {.mem = &w->mem, .key = wanted->key, .tokens_file = wanted->tokens};
    if (wanted->key || wanted->tokens) assert_int_equal(gb_guard_open(&w->guard, &guard), 0);
    if (wanted->tls) w->tls = open_tls(w, "silo");
    gb_greeter_config config = {.mem = &w->mem,
                                .loop = w->loop,
                                .tls = w->tls,
                                .guard = w->guard,
                                .timeout_ns = wanted->timeout_ns ? wanted->timeout_ns : 60 * GB_SEC,
                                .waiting_max = ROOM,
                                .greeted = on_greeted,
                                .user = w};
    assert_int_equal(gb_greeter_open(&w->greeter, &config), 0);
}

void close_world(world *w)
{
    if (w->client.link) gb_link_close(w->client.link);
    if (w->server.link) gb_link_close(w->server.link);
    gb_greeter_close(w->greeter);
    gb_listener_close(w->listener);
    if (w->guard) gb_guard_close(w->guard);
    if (w->tls) gb_tls_close(w->tls);
    w->sys->door->loop_close(w->loop);
    gb_sys_close(w->sys);
    gb_mem_fini(&w->mem);
}

gb_secret secret_of(const char *text, const char *name)
{
    gb_secret secret;
    assert_int_equal(gb_secret_make(&secret, text), 0);
    snprintf(secret.name, sizeof secret.name, "%s", name);
    return secret;
}

gb_hello hello_of(uint64_t silo)
{
    return (gb_hello){.role = GB_LINK_CALLS, .silo = silo, .cluster = "one"};
}

void dial_at(world *w, const char *address, gb_tls *tls, uint64_t silo, const gb_secret *secret)
{
    gb_hello hello = hello_of(silo);
    if (w->client.link) gb_link_close(w->client.link);
    w->client = (side){0};
    assert_int_equal(gb_link_connect(&w->client.link, &w->mem, w->loop, address, tls, &hello,
                                     secret, LIMIT, 30 * GB_SEC, &kit_events, &w->client),
                     0);
}

void dial(world *w, uint64_t silo, const gb_secret *secret)
{
    dial_at(w, gb_listener_address(w->listener), w->tls, silo, secret);
}
