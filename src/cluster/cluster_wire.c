/* Messages between silos: a link to each for what this one says, and one from each. */
#include "base/err.h"
#include "cluster/cluster_room.h"

#include <stdio.h>
#include <string.h>

/* tidy: allowed because it is per thread */
_Thread_local const gb_cluster *gbi_cluster_here;

/* ---- sending ---- */

static int put(gbi_wire *w, const void *bytes, size_t size)
{
    gb_buf *out = gb_link_begin(w->wire, NULL, 0);
    int rc = out ? gb_buf_put(out, bytes, size) : GB_ENOMEM;
    if (rc < 0) {
        if (out) gb_link_drop(w->wire);
        return rc;
    }
    atomic_fetch_add_explicit(&w->cluster->sent, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->cluster->bytes, (int64_t)size, memory_order_relaxed);
    return gb_link_end(w->wire, GBI_FRAME_MESSAGE, NULL, 0);
}

static void connect_wire(gbi_wire *w);

/* Losing one is no error: the machines ask again. */
static void send_bytes(gbi_wire *w, const void *bytes, size_t size)
{
    uint32_t length = (uint32_t)size;
    if (w->wire && gb_link_is_ready(w->wire)) {
        put(w, bytes, size);
        return;
    }
    if (w->waiting.size + size > GBI_WAITING_BYTES) return;
    size_t before = w->waiting.size;
    if (gb_buf_put(&w->waiting, &length, sizeof length) < 0 ||
        gb_buf_put(&w->waiting, bytes, size) < 0)
        w->waiting.size = before;
    if (!w->wire) connect_wire(w);
}

static gbi_wire *wire_find(gb_cluster *cluster, uint64_t silo)
{
    for (gb_list *at = cluster->outs.next; at != &cluster->outs; at = at->next)
        if (GB_CONTAINER(at, gbi_wire, link)->silo == silo) return GB_CONTAINER(at, gbi_wire, link);
    return NULL;
}

static gbi_wire *wire_new(gb_cluster *cluster, gb_list *list, uint64_t silo)
{
    gbi_wire *w = gb_mem_zalloc(cluster->mem, sizeof *w);
    if (!w) return NULL;
    w->cluster = cluster;
    w->silo = silo;
    gb_buf_init(&w->waiting, cluster->mem);
    gb_list_init(&w->link);
    gb_list_push(list, &w->link);
    return w;
}

static void wire_free(gbi_wire *w)
{
    if (w->wire) gb_link_close(w->wire);
    gb_list_unlink(&w->link);
    gb_buf_fini(&w->waiting);
    gb_mem_free(w->cluster->mem, w, sizeof *w);
}

static void send_to(gb_cluster *cluster, uint64_t silo, const void *bytes, size_t size)
{
    gbi_wire *w = wire_find(cluster, silo);
    if (!w) w = wire_new(cluster, &cluster->outs, silo);
    if (w) send_bytes(w, bytes, size);
}

/* A message that another thread wants to send. */
typedef struct letter {
    gb_node node;
    uint64_t silo;
    size_t size;
    uint8_t bytes[];
} letter;

static void letter_run(gb_node *node, void *reader)
{
    gb_cluster *cluster = reader;
    letter *l = GB_CONTAINER(node, letter, node);
    if (!cluster->ended) send_to(cluster, l->silo, l->bytes, l->size);
    gb_mem_free(cluster->mem, l, sizeof *l + l->size);
}

void gbi_wire_send(gb_cluster *cluster, uint64_t silo, const gb_message *message)
{
    gb_buf bytes;
    gb_buf_init(&bytes, cluster->mem);
    if (gb_message_encode(&bytes, message) == 0) {
        if (gbi_cluster_here == cluster) {
            send_to(cluster, silo, bytes.data, bytes.size);
        } else {
            letter *l = gb_mem_zalloc(cluster->mem, sizeof *l + bytes.size);
            if (l) {
                l->node.run = letter_run;
                l->silo = silo;
                l->size = bytes.size;
                memcpy(l->bytes, bytes.data, bytes.size);
                gb_mailbox_push(&cluster->mailbox, &l->node);
            }
        }
    }
    gb_buf_fini(&bytes);
}

void gbi_wire_send_all(gb_cluster *cluster, const gb_message *message)
{
    gb_view *view = cluster->view;
    uint64_t self = atomic_load(&cluster->self);
    for (uint32_t i = 0; view && i < view->count; i++) {
        const gb_member *row = &view->rows[i]->member;
        if (row->id != self && row->state != GB_SILO_DEAD) gbi_wire_send(cluster, row->id, message);
    }
}

/* ---- links that this silo makes ---- */

static void out_ready(void *user, const gb_hello *peer)
{
    gbi_wire *w = user;
    (void)peer;
    gb_link_unheard(w->wire, 4 * w->cluster->config.member.probe_timeout_ns);
    gb_buf waiting = w->waiting;
    gb_buf_init(&w->waiting, w->cluster->mem);
    for (size_t at = 0; at < waiting.size && w->wire;) {
        uint32_t size;
        memcpy(&size, waiting.data + at, sizeof size);
        put(w, waiting.data + at + sizeof size, size);
        at += sizeof size + size;
    }
    gb_buf_fini(&waiting);
}

static int out_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                       uint32_t count)
{
    (void)user, (void)body, (void)size, (void)blocks, (void)count;
    return gb_err_set(GB_EINVAL, "a message of kind %d on a link of ours", kind);
}

static void out_closed(void *user, int rc, const char *why)
{
    gbi_wire *w = user;
    gb_cluster *cluster = w->cluster;
    w->wire = NULL;
    w->waiting.size = 0;
    if (rc == GB_EDENIED) gbi_cluster_say(cluster, GB_LOG_WARN, "no link to a silo: %s", why);
    gb_membership_unreachable(cluster->member, w->silo, gbi_times(cluster), &cluster->actions);
}

static const gb_link_events out_events = {out_ready, out_message, NULL, out_closed, NULL};

static void connect_wire(gbi_wire *w)
{
    gb_cluster *cluster = w->cluster;
    const gb_member *row = cluster->view ? gb_view_find(cluster->view, w->silo) : NULL;
    if (!row || row->state == GB_SILO_DEAD) {
        w->waiting.size = 0;
        return;
    }
    gb_hello hello = {.role = GB_LINK_CONTROL, .silo = atomic_load(&cluster->self), .to = w->silo};
    snprintf(hello.cluster, sizeof hello.cluster, "%s", cluster->config.cluster);
    if (gb_link_connect(&w->wire, cluster->mem, cluster->loop, row->address, cluster->tls, &hello,
                        gb_guard_key(cluster->guard), GB_LINK_BODY_BYTES,
                        cluster->config.member.probe_timeout_ns, &out_events, w) < 0)
        w->waiting.size = 0;
}

void gbi_wire_keep(gb_cluster *cluster, uint64_t silo)
{
    gbi_wire *w = wire_find(cluster, silo);
    if (!w) w = wire_new(cluster, &cluster->outs, silo);
    if (w && !w->wire) connect_wire(w);
}

void gbi_wire_forget(gb_cluster *cluster, uint64_t silo)
{
    gbi_wire *w = wire_find(cluster, silo);
    if (w) wire_free(w);
}

/* ---- links from others ---- */

static int in_message(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                      uint32_t count)
{
    gbi_wire *w = user;
    gb_cluster *cluster = w->cluster;
    uint64_t from = w->silo;
    gb_message message;
    (void)blocks;
    if (kind != GBI_FRAME_MESSAGE || count > 0)
        return gb_err_set(GB_EINVAL, "a message of kind %d between silos", kind);
    int rc = gb_message_decode(&message, cluster->mem, body, size);
    if (rc < 0) return rc;
    atomic_fetch_add_explicit(&cluster->received, 1, memory_order_relaxed);
    if (cluster->ended) {
        gb_message_fini(&message);
        return 0;
    }
    bool dead = gb_membership_message(cluster->member, from, &message, gbi_times(cluster),
                                      &cluster->actions);
    gbi_cluster_act(cluster);
    if (!dead && message.has_capacity) gbi_capacity_heard(cluster, from, &message);
    if (!dead && !cluster->ended && message.kind >= GB_MSG_FIND && message.kind <= GB_MSG_DROP) {
        gbi_dir_step step;
        gbi_dir_begin(cluster, &step);
        gb_directory_message(cluster->directory, from, &message, step.now, &step.actions);
        gbi_dir_end(cluster, &step);
    }
    gb_message_fini(&message);
    return 0;
}

static void in_closed(void *user, int rc, const char *why)
{
    gbi_wire *w = user;
    w->wire = NULL;
    if (rc != GB_ELOST) gbi_cluster_refused(w->cluster, w->peer, why);
    wire_free(w);
}

static const gb_link_events in_events = {NULL, in_message, NULL, in_closed, NULL};

void gbi_wire_accept(gb_cluster *cluster, const gb_hello *hello, const gb_grant *grant,
                     gb_pipe_end end)
{
    uint64_t self = atomic_load(&cluster->self);
    if (cluster->ended || hello->silo == 0 || (hello->to && hello->to != self)) {
        gb_link_refuse(end, cluster->mem, GB_ELOST, "another silo was here");
        return;
    }
    gbi_wire *w = wire_new(cluster, &cluster->ins, hello->silo);
    if (!w) {
        gb_link_refuse(end, cluster->mem, GB_ENOMEM, "out of memory");
        return;
    }
    gb_hello welcome = {.role = GB_LINK_CONTROL, .silo = self, .to = hello->silo};
    snprintf(welcome.cluster, sizeof welcome.cluster, "%s", cluster->config.cluster);
    gb_grant_welcome(grant, &welcome);
    if (gb_link_accept(&w->wire, cluster->mem, cluster->loop, end, &welcome, GB_LINK_BODY_BYTES,
                       &in_events, w) < 0)
        wire_free(w);
    else
        snprintf(w->peer, sizeof w->peer, "%s", gb_link_peer(w->wire));
}

void gbi_wires_close(gb_cluster *cluster)
{
    gb_list *lists[] = {&cluster->outs, &cluster->ins};
    for (int i = 0; i < 2; i++)
        while (!gb_list_empty(lists[i])) wire_free(GB_CONTAINER(lists[i]->next, gbi_wire, link));
}
