/* Connections that have not said yet who they are, or not proved it. They are many when somebody
 * means no good, so each costs little, waits not for long, and the oldest goes when there are too
 * many. */
#include "cluster/link_room.h"

#include "base/err.h"
#include "base/list.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct guest {
    gb_list link; /* the oldest first */
    gb_greeter *greeter;
    gb_pipe *pipe;
    uint64_t until;
    bool is_near;
    bool was_asked; /* its hello is there, a proof is to come */
    gb_hello hello;
    gb_grant grant;
    uint8_t talk[GB_MAC_BYTES];
    size_t have;
    char peer[GB_ADDRESS_BYTES];
    uint8_t bytes[GB_FRAME_HEADER_BYTES + GB_LINK_HELLO_BYTES];
} guest;

struct gb_greeter {
    gb_greeter_config config;
    gb_list guests;
    uint32_t count;
};

static void guest_free(guest *g)
{
    gb_list_unlink(&g->link);
    g->greeter->count--;
    gb_mem_free(g->greeter->config.mem, g, sizeof *g);
}

static const gb_pipe_end no_end = {.fd = -1};

/* It is no guest any more; end is what is left of it. */
static void guest_ends(guest *g, int rc, gb_pipe_end end)
{
    gb_greeter *greeter = g->greeter;
    char peer[GB_ADDRESS_BYTES];
    gb_hello hello = g->hello;
    gb_grant grant = g->grant;
    memcpy(peer, g->peer, sizeof peer);
    guest_free(g);
    greeter->config.greeted(greeter->config.user, rc, rc < 0 ? NULL : &hello,
                            rc < 0 ? NULL : &grant, end, peer);
}

static void guest_refused(guest *g, int rc)
{
    char why[300];
    snprintf(why, sizeof why, "%s", gb_err_detail());
    if (gb_pipe_queued(g->pipe) == 0)
        gb_link_refuse(gb_pipe_take(g->pipe), g->greeter->config.mem, rc, why);
    else
        gb_pipe_close(g->pipe);
    gb_err_set(rc, "%s", why);
    guest_ends(g, rc, no_end);
}

/* What must it prove? 1: the grant's verifier, 0: nothing more. */
static int judge(guest *g)
{
    gb_tls_peer who;
    gb_guard *guard = g->greeter->config.guard;
    g->grant = (gb_grant){.rights = GB_MAY_ALL};
    if (!guard) return 0;
    bool is_tls = gb_pipe_who(g->pipe, &who);
    return gb_guard_judge(guard, &g->grant, &g->hello, is_tls ? &who : NULL, g->is_near);
}

static int ask(guest *g, const gb_frame *frame)
{
    uint8_t nonce[GB_MAC_BYTES], bound[GB_MAC_BYTES];
    int rc = gb_nonce(nonce);
    if (rc == 0) rc = gb_pipe_bind(g->pipe, bound);
    if (rc == 0)
        rc = gb_talk(g->talk, g->grant.verifier.mac, frame->payload, frame->size, nonce, bound);
    if (rc == 0) rc = gb_frame_put(gb_pipe_out(g->pipe), GB_HELLO_ASK, 0, nonce, sizeof nonce);
    if (rc < 0) return rc;
    gb_pipe_put(g->pipe);
    g->was_asked = true;
    g->have = 0;
    return 1;
}

/* 0: it may come in, 1: there is more to hear. */
static int take_hello(guest *g, const gb_frame *frame)
{
    if (frame->kind != GB_HELLO)
        return gb_err_set(GB_EINVAL, "no greeting but a frame of kind %d", frame->kind);
    int rc = gb_hello_decode(&g->hello, frame->payload, frame->size);
    if (rc == 0) rc = judge(g);
    return rc == 1 ? ask(g, frame) : rc;
}

static int take_proof(guest *g, const gb_frame *frame)
{
    gb_grant *grant = &g->grant;
    if (frame->kind != GB_HELLO_PROOF || frame->size != GB_MAC_BYTES)
        return gb_err_set(GB_EINVAL, "no proof but a frame of kind %d", frame->kind);
    int rc = gb_secret_judge(&grant->verifier, g->talk, frame->payload);
    if (rc == GB_EDENIED && *grant->name)
        return gb_err_set(rc,
                          "the token '%s' is not known here, or its secret is another "
                          "(token_file)",
                          grant->name);
    if (rc == GB_EDENIED)
        return gb_err_set(rc, "the silo that connects has another key than this cluster "
                              "(cluster_key)");
    if (rc == 0)
        rc = gb_guard_holds(g->greeter->config.guard, grant, gb_wall(g->greeter->config.loop->sys));
    if (rc == 0) rc = gb_secret_answer(grant->answer, &grant->verifier, g->talk);
    grant->proves = rc == 0;
    return rc;
}

static int on_room(void *user, uint8_t **at, size_t *room)
{
    guest *g = user;
    size_t want = GB_FRAME_HEADER_BYTES; /* not a byte of what comes behind the hello */
    if (g->have >= want) {
        uint32_t length;
        memcpy(&length, g->bytes + 4, sizeof length);
        want += length;
    }
    *at = g->bytes + g->have;
    *room = want - g->have;
    return 0;
}

static void on_came(void *user, size_t bytes)
{
    guest *g = user;
    gb_frame frame;
    g->have += bytes;
    int64_t used = gb_frame_parse(g->bytes, g->have, GB_LINK_HELLO_BYTES, &frame);
    if (used == 0) return;
    int rc = used < 0 ? (int)used : 0;
    if (rc == 0) rc = g->was_asked ? take_proof(g, &frame) : take_hello(g, &frame);
    if (rc == 1) return;
    if (rc == 0 && gb_pipe_queued(g->pipe) > 0)
        rc = gb_err_set(GB_EINVAL, "it says something before it has listened");
    if (rc < 0)
        guest_refused(g, rc);
    else
        guest_ends(g, 0, gb_pipe_take(g->pipe));
}

static void on_closed(void *user, int rc, const char *why)
{
    gb_err_set(rc < 0 ? rc : GB_ELOST, "%s", rc < 0 ? why : "it left without a greeting");
    guest_ends(user, rc < 0 ? rc : GB_ELOST, no_end);
}

static const gb_socket_events guest_events = {NULL, on_room, on_came, NULL, NULL, on_closed};

int gb_greeter_open(gb_greeter **out, const gb_greeter_config *config)
{
    gb_greeter *greeter = gb_mem_zalloc(config->mem, sizeof *greeter);
    if (!greeter) return GB_ENOMEM;
    greeter->config = *config;
    gb_list_init(&greeter->guests);
    *out = greeter;
    return 0;
}

static guest *oldest(gb_greeter *greeter)
{
    return GB_CONTAINER(greeter->guests.next, guest, link);
}

void gb_greeter_add(gb_greeter *greeter, int fd, const char *peer)
{
    if (greeter->count >= greeter->config.waiting_max) {
        gb_err_set(GB_EBUSY, "too many connections that say nothing");
        guest_refused(oldest(greeter), GB_EBUSY);
    }
    guest *g = gb_mem_zalloc(greeter->config.mem, sizeof *g);
    if (!g) {
        close(fd);
        greeter->config.greeted(greeter->config.user, GB_ENOMEM, NULL, NULL, no_end, peer);
        return;
    }
    g->greeter = greeter;
    g->until = gb_now(greeter->config.loop->sys) + greeter->config.timeout_ns;
    g->is_near = gb_peer_is_loopback(fd);
    strncpy(g->peer, peer, sizeof g->peer - 1);
    gb_list_push(&greeter->guests, &g->link);
    greeter->count++;
    int rc = gb_pipe_accept(&g->pipe, greeter->config.mem, greeter->config.loop, fd,
                            greeter->config.tls, &guest_events, g);
    if (rc < 0) guest_ends(g, rc, no_end);
}

uint64_t gb_greeter_tick(gb_greeter *greeter)
{
    uint64_t now = gb_now(greeter->config.loop->sys);
    while (greeter->count > 0 && oldest(greeter)->until <= now) {
        gb_err_set(GB_ETIMEDOUT, "no greeting in time");
        guest_refused(oldest(greeter), GB_ETIMEDOUT);
    }
    return greeter->count > 0 ? oldest(greeter)->until : GB_FOREVER;
}

void gb_greeter_close(gb_greeter *greeter)
{
    while (greeter->count > 0) {
        guest *g = oldest(greeter);
        gb_pipe_close(g->pipe);
        guest_free(g);
    }
    gb_mem_free(greeter->config.mem, greeter, sizeof *greeter);
}
