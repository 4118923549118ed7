#include "kit_link.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool closes(kit_side *s, kit_event at)
{
    if (s->close_at != at) return false;
    gb_link_close(s->link);
    s->link = NULL;
    return true;
}

static void on_ready(void *user, const gb_hello *peer)
{
    kit_side *s = user;
    s->ready++;
    s->peer = *peer;
    closes(s, KIT_AT_READY);
}

static int on_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    kit_side *s = user;
    assert_int_equal(kind, KIT_LINK_KIND);
    assert_true(size < sizeof s->last);
    memcpy(s->last, body, size);
    s->last[size] = 0;
    s->messages++;
    s->count = count;
    s->bytes = size;
    s->good = true;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *data = blocks[i]->data;
        s->bytes += blocks[i]->bytes;
        for (size_t n = 0; n < blocks[i]->bytes; n += 4096) s->good &= data[n] == i + 1;
        if (blocks[i]->bytes) s->good &= data[blocks[i]->bytes - 1] == i + 1;
    }
    if (closes(s, KIT_AT_MESSAGE)) return 0;
    return s->refuse ? gb_err_set(s->refuse, "not wanted") : 0;
}

static void on_drained(void *user)
{
    closes(user, KIT_AT_DRAINED);
}

static void on_closed(void *user, int rc, const char *why)
{
    kit_side *s = user;
    s->closed++;
    s->rc = rc;
    s->link = NULL;
    snprintf(s->why, sizeof s->why, "%s", why);
}

static const gb_link_events events = {on_ready, on_message, on_drained, on_closed, NULL};

static void on_accepted(void *user, int fd, const char *peer)
{
    kit_link *kit = user;
    if (kit->is_silent)
        kit->held = fd;
    else
        gb_greeter_add(kit->greeter, fd, peer);
}

static void on_greeted(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                       gb_pipe_end end, const char *peer)
{
    kit_link *kit = user;
    gb_hello welcome = {.role = GB_LINK_CALLS, .silo = 7, .to = 3, .cluster = "one"};
    (void)peer, (void)grant;
    kit->greeted++;
    kit->greeted_rc = rc;
    if (rc < 0) return;
    if (strcmp(hello->cluster, welcome.cluster) != 0) {
        gb_link_refuse(end, &kit->mem, GB_EDENIED, "another cluster");
        return;
    }
    kit->accept_rc = gb_link_accept(&kit->server.link, &kit->mem, kit->loop, end, &welcome,
                                    KIT_LINK_LIMIT, &events, &kit->server);
}

void kit_link_open(kit_link *kit, int waiting_max)
{
    *kit = (kit_link){.held = -1};
    gb_mem_init(&kit->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&kit->sys, &kit->mem), 0);
    assert_int_equal(kit->sys->door->loop_open(&kit->loop, kit->sys), 0);
    assert_int_equal(gb_listen(&kit->listener, kit->loop, "127.0.0.1:0", on_accepted, kit), 0);
    gb_greeter_config config = {.mem = &kit->mem,
                                .loop = kit->loop,
                                .timeout_ns = 60 * GB_SEC,
                                .waiting_max = waiting_max,
                                .greeted = on_greeted,
                                .user = kit};
    assert_int_equal(gb_greeter_open(&kit->greeter, &config), 0);
}

void kit_link_close(kit_link *kit)
{
    if (kit->client.link) gb_link_close(kit->client.link);
    if (kit->server.link) gb_link_close(kit->server.link);
    if (kit->held >= 0) close(kit->held);
    gb_greeter_close(kit->greeter);
    gb_listener_close(kit->listener);
    kit->sys->door->loop_close(kit->loop);
    gb_sys_close(kit->sys);
    gb_mem_fini(&kit->mem);
}

int kit_link_dial(kit_link *kit, const char *cluster, uint64_t timeout_ns)
{
    gb_hello hello = {.role = GB_LINK_CALLS, .silo = 3, .to = 7};
    snprintf(hello.cluster, sizeof hello.cluster, "%s", cluster);
    return gb_link_connect(&kit->client.link, &kit->mem, kit->loop,
                           gb_listener_address(kit->listener), NULL, &hello, NULL, KIT_LINK_LIMIT,
                           timeout_ns, &events, &kit->client);
}

int kit_link_socket(kit_link *kit)
{
    char host[64];
    uint16_t port;
    const char *address = gb_listener_address(kit->listener);
    assert_int_equal(gb_address_split(address, false, host, sizeof host, &port), 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}
