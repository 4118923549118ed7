#include "cluster/link.h"

#include "base/check.h"
#include "base/err.h"
#include "cluster/link_room.h"

#include <stdio.h>
#include <string.h>

enum { FLAG_BLOCKS = 1 };

typedef enum link_state { SAYING, READY } link_state;

struct gb_link {
    gb_mem *mem;
    gb_pipe *pipe;
    const gb_link_events *events;
    void *user;
    link_state state;
    gb_hello hello;
    const gb_secret *secret;    /* who connects: NULL: none */
    uint8_t talk[GB_MAC_BYTES]; /* ... once it was asked */
    bool asked;
    size_t bytes_max;
    gb_frame_reader reader;
    uint64_t received;
    size_t mark; /* of the message that is being written */
    bool *gone;  /* in an event: set when the link was freed */
    /* a message whose blocks are coming */
    uint8_t kind;
    gb_buf body;
    gb_block **blocks;
    uint32_t block_count, block_at; /* the first that is not all there */
    size_t block_have;              /* ... and how much of it is */
};

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

/* ---- what came ---- */

static void blocks_drop(gb_link *link)
{
    for (uint32_t i = 0; i < link->block_count; i++) gb_block_unref(link->blocks[i]);
    gb_mem_free(link->mem, link->blocks, link->block_count * sizeof *link->blocks);
    link->blocks = NULL;
    link->block_count = 0;
}

static void link_free(gb_link *link)
{
    if (link->gone) *link->gone = true;
    blocks_drop(link);
    gb_buf_fini(&link->body);
    gb_frame_reader_fini(&link->reader);
    gb_mem_free(link->mem, link, sizeof *link);
}

static void link_fail(gb_link *link, int rc, const char *why)
{
    const gb_link_events *events = link->events;
    void *user = link->user;
    char text[512];
    snprintf(text, sizeof text, "%s", why);
    if (link->pipe) gb_pipe_close(link->pipe);
    link_free(link);
    events->closed(user, rc, text);
}

/* Tells who uses the link; false: it is gone. */
static bool deliver(gb_link *link, uint8_t kind, const void *body, size_t size)
{
    bool gone = false, *outer = link->gone;
    link->gone = &gone;
    int rc = link->events->message(link->user, kind, body, size, link->blocks, link->block_count);
    if (gone) {
        if (outer) *outer = true;
        return false;
    }
    link->gone = outer;
    blocks_drop(link);
    if (rc >= 0) return true;
    link_fail(link, rc, gb_err_detail());
    return false;
}

/* A frame with blocks: their sizes stand in front of its body. */
static int blocks_begin(gb_link *link, const gb_frame *frame)
{
    uint32_t count;
    if (frame->size < sizeof count) return gb_err_set(GB_EINVAL, "a message without its blocks");
    memcpy(&count, frame->payload, sizeof count);
    size_t head = sizeof count + (size_t)count * 8, all = 0;
    if (count == 0 || count > GB_LINK_BLOCKS_MAX || head > frame->size)
        return gb_err_set(GB_EINVAL, "a message of %u blocks in %zu bytes", count, frame->size);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bytes;
        memcpy(&bytes, frame->payload + sizeof count + i * 8, 8);
        if (bytes > link->bytes_max || (all += bytes) > link->bytes_max)
            return gb_err_set(GB_EINVAL, "a message of over %zu bytes", link->bytes_max);
    }
    link->blocks = gb_mem_zalloc(link->mem, count * sizeof *link->blocks);
    if (!link->blocks) return GB_ENOMEM;
    link->block_count = count;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bytes;
        memcpy(&bytes, frame->payload + sizeof count + i * 8, 8);
        link->blocks[i] = gb_block_new_raw(link->mem, bytes);
        if (!link->blocks[i]) return GB_ENOMEM;
    }
    link->block_at = 0;
    link->block_have = 0;
    link->kind = frame->kind;
    link->body.size = 0;
    return gb_buf_put(&link->body, frame->payload + head, frame->size - head);
}

/* Skips blocks that are whole. True: all are. */
static bool blocks_whole(gb_link *link)
{
    while (link->block_at < link->block_count &&
           link->block_have == link->blocks[link->block_at]->bytes) {
        link->block_at++;
        link->block_have = 0;
    }
    return link->block_at == link->block_count;
}

/* What the reader holds behind a frame with blocks belongs to them. */
static void blocks_take(gb_link *link)
{
    gb_frame_reader *reader = &link->reader;
    while (!blocks_whole(link) && reader->start < reader->buf.size) {
        gb_block *block = link->blocks[link->block_at];
        size_t left = reader->buf.size - reader->start, want = block->bytes - link->block_have;
        size_t bytes = left < want ? left : want;
        memcpy((uint8_t *)block->data + link->block_have, reader->buf.data + reader->start, bytes);
        link->block_have += bytes;
        reader->start += bytes;
    }
}

/* The first frame of who connected, or the answer to it. False: the link is gone. */
static bool greeted(gb_link *link, const gb_frame *frame)
{
    gb_hello peer;
    if (frame->kind == GB_HELLO_REFUSED) {
        char why[300];
        snprintf(why, sizeof why, "it refuses us: %.*s",
                 (int)(frame->size < 250 ? frame->size : 250), (const char *)frame->payload);
        /* Only what lasts is a reason to give up; a full or closing peer is not. */
        link_fail(link, frame->flags == -GB_EDENIED ? GB_EDENIED : GB_ELOST, why);
        return false;
    }
    if (frame->kind == GB_HELLO_ASK) {
        int asked = prove(link, frame);
        if (asked < 0) link_fail(link, asked, gb_err_detail());
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
        link_fail(link, rc, gb_err_detail());
        return false;
    }
    link->state = READY;
    gb_pipe_bound(link->pipe, 0);
    link->reader.payload_bytes_max = link->bytes_max;
    bool gone = false;
    link->gone = &gone;
    link->events->ready(link->user, &peer);
    if (gone) return false;
    link->gone = NULL;
    return true;
}

static bool take_frame(gb_link *link, const gb_frame *frame)
{
    if (link->state == SAYING) return greeted(link, frame);
    int rc = 0;
    if (frame->kind < GB_LINK_KINDS)
        rc = gb_err_set(GB_EINVAL, "a frame of kind %d in the middle of things", frame->kind);
    else if (frame->flags & FLAG_BLOCKS)
        rc = blocks_begin(link, frame);
    else
        return deliver(link, frame->kind, frame->payload, frame->size);
    if (rc == 0) return true;
    link_fail(link, rc, gb_err_detail());
    return false;
}

static int on_room(void *user, uint8_t **at, size_t *room)
{
    gb_link *link = user;
    if (!link->blocks) return gb_frame_reader_room(&link->reader, at, room);
    gb_block *block = link->blocks[link->block_at]; /* straight to where they stay */
    *at = (uint8_t *)block->data + link->block_have;
    *room = block->bytes - link->block_have;
    return 0;
}

static void on_came(void *user, size_t bytes)
{
    gb_link *link = user;
    link->received += bytes;
    if (link->blocks)
        link->block_have += bytes;
    else
        gb_frame_reader_came(&link->reader, bytes);
    for (;;) {
        gb_frame frame;
        if (link->blocks) {
            blocks_take(link);
            if (!blocks_whole(link)) return;
            if (!deliver(link, link->kind, link->body.data, link->body.size)) return;
            continue;
        }
        int rc = gb_frame_reader_next(&link->reader, &frame);
        if (rc < 0) {
            link_fail(link, rc, gb_err_detail());
            return;
        }
        if (rc == 0 || !take_frame(link, &frame)) return;
    }
}

static void on_opened(void *user)
{
    gb_link *link = user;
    int rc = say(link, GB_HELLO);
    if (rc < 0) link_fail(link, rc, gb_err_detail());
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
    if (rc == 0 && link->state == SAYING)
        why = "it closed without a welcome: is TLS on at one end?";
    link_fail(link, rc < 0 ? rc : GB_ELOST, why);
}

static const gb_socket_events socket_events = {on_opened, on_room,    on_came,
                                               NULL,      on_drained, on_closed};

/* ---- opening and closing ---- */

static gb_link *link_new(gb_mem *mem, const gb_hello *hello, size_t bytes_max,
                         const gb_link_events *events, void *user)
{
    gb_link *link = gb_mem_zalloc(mem, sizeof *link);
    if (!link) return NULL;
    link->mem = mem;
    link->hello = *hello;
    link->bytes_max = bytes_max;
    link->events = events;
    link->user = user;
    gb_buf_init(&link->body, mem);
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
    link->state = READY;
    link->reader.payload_bytes_max = bytes_max;
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

/* ---- writing ---- */

gb_buf *gb_link_begin(gb_link *link, gb_block *const *blocks, uint32_t count)
{
    gb_buf *out = gb_pipe_out(link->pipe);
    if (gb_frame_begin(out, &link->mark) < 0) return NULL;
    if (count == 0) return out;
    int rc = gb_buf_put(out, &count, sizeof count);
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        uint64_t bytes = blocks[i]->bytes;
        rc = gb_buf_put(out, &bytes, sizeof bytes);
    }
    if (rc == 0) return out;
    gb_frame_drop(out, link->mark);
    return NULL;
}

int gb_link_end(gb_link *link, uint8_t kind, gb_block *const *blocks, uint32_t count)
{
    GB_CHECK(kind >= GB_LINK_KINDS && link->state == READY);
    gb_buf *out = gb_pipe_out(link->pipe);
    size_t all = out->size - link->mark;
    for (uint32_t i = 0; i < count; i++) all += blocks[i]->bytes;
    if (all > link->bytes_max || count > GB_LINK_BLOCKS_MAX) {
        gb_frame_drop(out, link->mark);
        return gb_err_set(GB_EINVAL, "a message of %zu bytes; the limit between silos is %zu", all,
                          link->bytes_max);
    }
    int rc = gb_frame_end(out, link->mark, kind, count ? FLAG_BLOCKS : 0);
    if (rc < 0) return rc;
    for (uint32_t i = 0; i < count; i++)
        if (gb_pipe_put_block(link->pipe, blocks[i], 0, blocks[i]->bytes) < 0) {
            /* Half a message stands in the way of all others. */
            link_fail(link, GB_ENOMEM, "out of memory in the middle of a message");
            return GB_ENOMEM;
        }
    gb_pipe_put(link->pipe);
    return 0;
}

void gb_link_drop(gb_link *link)
{
    gb_frame_drop(gb_pipe_out(link->pipe), link->mark);
}

bool gb_link_is_ready(const gb_link *link)
{
    return link->state == READY;
}

size_t gb_link_queued(const gb_link *link)
{
    return gb_pipe_queued(link->pipe);
}

void gb_link_pause(gb_link *link, bool pause)
{
    gb_pipe_pause(link->pipe, pause);
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
