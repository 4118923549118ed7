#include "cluster/link.h"

#include "base/check.h"
#include "base/err.h"
#include "cluster/link_room.h"

#include <stdio.h>
#include <string.h>

/* ---- hello ---- */

int gbi_link_judge(const gb_hello *ours, const gb_hello *theirs)
{
    if (strcmp(ours->cluster, theirs->cluster) != 0)
        return gb_err_set(GB_EDENIED, "it is of the cluster '%s', this is '%s'", theirs->cluster,
                          ours->cluster);
    return 0;
}

static int put_frame(gb_link *link, uint8_t kind, const void *bytes, size_t size)
{
    int rc = gb_frame_put(gb_pipe_out(link->pipe), kind, 0, bytes, size);
    if (rc == 0) gb_pipe_put(link->pipe);
    return rc;
}

static int say(gb_link *link, uint8_t kind)
{
    gb_buf words;
    gb_buf_init(&words, link->mem);
    int rc = link->secret ? gb_nonce(link->hello.word) : 0;
    if (rc == 0) rc = gb_hello_encode(&words, &link->hello);
    if (rc == 0) rc = put_frame(link, kind, words.data, words.size);
    gb_buf_fini(&words);
    return rc;
}

/* The other end asks for the proof, with a nonce of its own. */
static int prove(gb_link *link, const gb_frame *frame)
{
    uint8_t bound[GB_MAC_BYTES], proof[GB_MAC_BYTES];
    gb_buf words;
    if (!link->secret || link->asked || frame->size != GB_MAC_BYTES)
        return gb_err_set(GB_EINVAL, "it asks for a proof that was not offered");
    link->asked = true;
    gb_buf_init(&words, link->mem);
    int rc = gb_hello_encode(&words, &link->hello);
    if (rc == 0) rc = gb_pipe_bind(link->pipe, bound);
    if (rc == 0)
        rc = gb_talk(link->talk, link->secret->verifier.mac, words.data, words.size, frame->payload,
                     bound);
    gb_buf_fini(&words);
    if (rc == 0) rc = gb_secret_prove(proof, link->secret, link->talk);
    return rc < 0 ? rc : put_frame(link, GB_HELLO_PROOF, proof, sizeof proof);
}

/* Does it know our secret too? */
static int judge_welcome(const gb_link *link, const gb_hello *welcome)
{
    uint8_t wanted[GB_MAC_BYTES];
    if (!link->secret) return 0;
    int rc = link->asked ? gb_secret_answer(wanted, &link->secret->verifier, link->talk) : 0;
    if (rc < 0) return rc;
    if (link->asked && welcome->proves && gb_same_bytes(wanted, welcome->word, sizeof wanted))
        return 0;
    if (*link->secret->name)
        return gb_err_set(GB_EDENIED, "it does not prove that it knows the token '%s' (token_file)",
                          link->secret->name);
    return gb_err_set(GB_EDENIED, "it does not prove that it knows the key of this cluster "
                                  "(cluster_key)");
}

/* ---- messages that are under way ---- */

gbi_stream *gbi_stream_new(gb_mem *mem, uint32_t count)
{
    gbi_stream *s = gb_mem_zalloc(mem, sizeof *s);
    if (!s) return NULL;
    s->blocks = count ? gb_mem_zalloc(mem, count * sizeof *s->blocks) : NULL;
    if (count && !s->blocks) {
        gb_mem_free(mem, s, sizeof *s);
        return NULL;
    }
    s->count = count;
    gb_list_init(&s->link);
    gb_buf_init(&s->body, mem);
    return s;
}

void gbi_stream_free(gb_mem *mem, gbi_stream *s)
{
    gb_list_unlink(&s->link);
    for (uint32_t i = 0; i < s->count; i++) gb_block_unref(s->blocks[i]);
    gb_mem_free(mem, s->blocks, s->count * sizeof *s->blocks);
    gb_buf_fini(&s->body);
    gb_mem_free(mem, s, sizeof *s);
}

void gbi_stream_step(gbi_stream *s)
{
    while (s->at < s->count && s->have == s->blocks[s->at]->bytes) {
        s->at++;
        s->have = 0;
    }
}

/* ---- events of the pipe ---- */

static void link_free(gb_link *link)
{
    if (link->gone) *link->gone = true;
    gbi_link_in_end(link);
    gbi_link_out_end(link);
    gb_frame_reader_fini(&link->reader);
    gb_mem_free(link->mem, link, sizeof *link);
}

void gbi_link_fail(gb_link *link, int rc, const char *why)
{
    const gb_link_events *events = link->events;
    void *user = link->user;
    char text[512];
    snprintf(text, sizeof text, "%s", why);
    if (link->pipe) gb_pipe_close(link->pipe);
    link_free(link);
    events->closed(user, rc, text);
}

static void link_ready(gb_link *link)
{
    link->state = GBI_LINK_READY;
    link->reader.payload_bytes_max =
        link->bytes_max < GB_LINK_BODY_BYTES ? link->bytes_max : GB_LINK_BODY_BYTES;
}

bool gbi_link_greeted(gb_link *link, const gb_frame *frame)
{
    gb_hello peer;
    if (frame->kind == GB_HELLO_REFUSED) {
        char why[300];
        snprintf(why, sizeof why, "it refuses us: %.*s",
                 (int)(frame->size < 250 ? frame->size : 250), (const char *)frame->payload);
        /* Only what lasts is a reason to give up; a full or closing peer is not. */
        gbi_link_fail(link, frame->flags == -GB_EDENIED ? GB_EDENIED : GB_ELOST, why);
        return false;
    }
    if (frame->kind == GB_HELLO_ASK) {
        int asked = prove(link, frame);
        if (asked < 0) gbi_link_fail(link, asked, gb_err_detail());
        return asked == 0;
    }
    int rc = frame->kind == GB_HELLO_WELCOME
                 ? gb_hello_decode(&peer, frame->payload, frame->size)
                 : gb_err_set(GB_EINVAL, "no welcome but a frame of kind %d", frame->kind);
    if (rc == 0) rc = gbi_link_judge(&link->hello, &peer);
    if (rc == 0) rc = judge_welcome(link, &peer);
    if (rc == 0 && link->hello.to && peer.silo != link->hello.to)
        rc = gb_err_set(GB_ELOST, "another silo is there now");
    if (rc < 0) {
        gbi_link_fail(link, rc, gb_err_detail());
        return false;
    }
    gb_pipe_bound(link->pipe, 0);
    link_ready(link);
    GBI_LINK_EVENT(link, link->events->ready(link->user, &peer), return false);
    return true;
}

static void on_opened(void *user)
{
    gb_link *link = user;
    int rc = say(link, GB_HELLO);
    if (rc < 0) gbi_link_fail(link, rc, gb_err_detail());
}

static void on_drained(void *user)
{
    gb_link *link = user;
    if (link->events->drained) link->events->drained(link->user);
}

static void on_closed(void *user, int rc, const char *why)
{
    gb_link *link = user;
    link->pipe = NULL;
    if (rc == 0 && link->state == GBI_LINK_SAYING) {
        why = "it closed without a welcome: is TLS on at one end?";
    } else if (rc == 0 && gbi_link_in_half(link)) {
        rc = GB_EINVAL;
        why = "it left in the middle of a message";
    }
    gbi_link_fail(link, rc < 0 ? rc : GB_ELOST, why);
}

static const gb_socket_events socket_events = {on_opened,        gbi_link_room, gbi_link_came,
                                               gbi_link_leaving, on_drained,    on_closed};

/* ---- opening and closing ---- */

static gb_link *link_new(gb_mem *mem, const gb_hello *hello, size_t bytes_max,
                         const gb_link_events *events, void *user)
{
    gb_link *link = gb_mem_zalloc(mem, sizeof *link);
    if (!link) return NULL;
    link->mem = mem;
    link->hello = *hello;
    link->bytes_max = bytes_max < GB_LINK_BYTES_MOST ? bytes_max : GB_LINK_BYTES_MOST;
    link->events = events;
    link->user = user;
    gb_list_init(&link->in);
    gb_list_init(&link->begun);
    gb_list_init(&link->waiting);
    gb_frame_reader_init(&link->reader, mem, GB_LINK_HELLO_BYTES);
    return link;
}

int gb_link_connect(gb_link **out, gb_mem *mem, gb_loop *loop, const char *address, gb_tls *tls,
                    const gb_hello *hello, const gb_secret *secret, size_t bytes_max,
                    uint64_t timeout_ns, const gb_link_events *events, void *user)
{
    gb_link *link = link_new(mem, hello, bytes_max, events, user);
    if (!link) return GB_ENOMEM;
    link->secret = secret;
    if (secret) {
        link->hello.proves = true;
        memcpy(link->hello.name, secret->name, sizeof secret->name);
    }
    int rc =
        gb_pipe_connect(&link->pipe, mem, loop, address, tls, timeout_ns, &socket_events, link);
    /* A process that was stopped still has its connections taken by the kernel. */
    if (rc == 0 && (rc = gb_pipe_bound(link->pipe, timeout_ns)) < 0) gb_pipe_close(link->pipe);
    if (rc < 0) {
        link_free(link);
        return rc;
    }
    *out = link;
    return 0;
}

int gb_link_accept(gb_link **out, gb_mem *mem, gb_loop *loop, gb_pipe_end end,
                   const gb_hello *welcome, size_t bytes_max, const gb_link_events *events,
                   void *user)
{
    gb_link *link = link_new(mem, welcome, bytes_max, events, user);
    if (!link) {
        gb_pipe_end_close(&end);
        return GB_ENOMEM;
    }
    int rc = gb_pipe_open(&link->pipe, mem, loop, end, &socket_events, link);
    if (rc == 0 && (rc = say(link, GB_HELLO_WELCOME)) < 0) gb_pipe_close(link->pipe);
    if (rc < 0) {
        link_free(link);
        return rc;
    }
    link_ready(link);
    *out = link;
    return 0;
}

void gb_link_refuse(gb_pipe_end end, gb_mem *mem, int rc, const char *why)
{
    uint8_t bytes[GB_FRAME_HEADER_BYTES + 256];
    size_t size = strlen(why);
    if (size > 256) size = 256;
    memcpy(bytes + GB_FRAME_HEADER_BYTES, why, size);
    gb_frame_header(bytes, GB_HELLO_REFUSED, (uint8_t)-rc, why, size);
    gb_pipe_end_say(&end, mem, bytes, GB_FRAME_HEADER_BYTES + size);
    gb_pipe_end_close(&end);
}

void gb_link_close(gb_link *link)
{
    gb_pipe_close(link->pipe);
    link_free(link);
}

bool gb_link_is_ready(const gb_link *link)
{
    return link->state == GBI_LINK_READY;
}

size_t gb_link_queued(const gb_link *link)
{
    return gb_pipe_queued(link->pipe);
}

const char *gb_link_peer(const gb_link *link)
{
    return gb_pipe_peer(link->pipe);
}

void gb_link_unheard(gb_link *link, uint64_t timeout_ns)
{
    gb_pipe_unheard(link->pipe, timeout_ns);
}

uint64_t gb_link_received(const gb_link *link)
{
    return link->received;
}
