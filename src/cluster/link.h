/* A link: one connection to another process of the cluster, with frames (wire/frame.h) in both
 * directions. It begins with the words of hello.h.
 *
 * A message is a kind, a body, and blocks: memory that travels beside the body without being copied
 * on either side. Messages with more than GB_LINK_LARGE_BYTES in blocks are large: they go in
 * chunks of so many bytes, up to GB_LINK_LARGE_MAX of them in turns, and small ones between the
 * chunks. What a link holds of messages that are half there is bytes_max at most.
 *
 * Threads: a link belongs to the loop that its socket is on. Memory: a link is freed by
 * gb_link_close or behind its `closed` event, whichever is first, as a socket is. Errors: those of
 * sys/net.h; GB_EINVAL: the peer sent what is none of ours, half a message, or more than the limit;
 * GB_EDENIED: it is of another cluster, speaks another version, or may not join.
 */
#ifndef GB_CLUSTER_LINK_H
#define GB_CLUSTER_LINK_H

#include "cluster/guard.h"
#include "cluster/pipe.h"

enum {
    GB_LINK_BLOCKS_MAX = 65536, /* of one message */
    GB_LINK_BODY_BYTES = 64 << 20,
    GB_LINK_LARGE_BYTES = 256 << 10,
    GB_LINK_LARGE_MAX = 4,
    GB_LINK_BYTES_MOST = 1025 << 20 /* no limit is higher: 1 GiB, and what stands around it */
};

typedef struct gb_link gb_link;

typedef struct gb_link_events {
    /* Who connected: it was welcomed by this peer. */
    void (*ready)(void *user, const gb_hello *peer);
    /* A message. The body is borrowed; of the blocks the receiver takes those that it sets to NULL.
     * Negative: the link closes with that. */
    int (*message)(void *user, uint8_t kind, const void *body, size_t size, gb_block **blocks,
                   uint32_t count);
    /* NULL: of no interest. What waits was more than GB_SOCKET_HIGH and is below GB_SOCKET_LOW, or
     * large messages were GB_LINK_LARGE_MAX and are fewer. */
    void (*drained)(void *user);
    void (*closed)(void *user, int rc, const char *why);
    /* A message begins that is too large (GB_EINVAL) or for which there is no room now (GB_EBUSY,
     * GB_ENOMEM; the detail says why): it has a body, its blocks will be skipped. NULL: the link
     * closes with that. Negative as for a message. */
    int (*refused)(void *user, int rc, uint8_t kind, const void *body, size_t size);
} gb_link_events;

/* What several links, of any threads, may hold together of messages that are half there. */
typedef struct gb_link_room {
    _Atomic int64_t bytes;
    int64_t bytes_max;
} gb_link_room;

/* Connects and says hello; `ready` or `closed` tells how it went, within the time-out. secret: what
 * both ends have to prove to each other; NULL: nothing. It outlives the link. bytes_max: of one
 * message. */
int gb_link_connect(gb_link **out, gb_mem *mem, gb_loop *loop, const char *address, gb_tls *tls,
                    const gb_hello *hello, const gb_secret *secret, size_t bytes_max,
                    uint64_t timeout_ns, const gb_link_events *events, void *user);

/* The accepted side, on the loop where the link is to stay: takes end over (also when it fails) and
 * welcomes the peer. */
int gb_link_accept(gb_link **out, gb_mem *mem, gb_loop *loop, gb_pipe_end end,
                   const gb_hello *welcome, size_t bytes_max, const gb_link_events *events,
                   void *user);

/* Tells a peer on a fresh connection why it is not welcome, if it listens, and closes that. */
void gb_link_refuse(gb_pipe_end end, gb_mem *mem, int rc, const char *why);

void gb_link_close(gb_link *link);

/* Appends a message: begin gives the buffer for the body, end sends it with its blocks (held until
 * they are written). A failed end takes the message back; GB_ELOST: the link has closed. One at a
 * time. */
gb_buf *gb_link_begin(gb_link *link, gb_block *const *blocks, uint32_t count); /* NULL: ENOMEM */
int gb_link_end(gb_link *link, uint8_t kind, gb_block *const *blocks, uint32_t count);

/* The same for messages that keep their order (not 0) among each other: a small one does not
 * overtake a large one. */
int gb_link_end_ordered(gb_link *link, uint8_t kind, gb_block *const *blocks, uint32_t count,
                        uint64_t order);
bool gb_link_orders(const gb_link *link, uint64_t order); /* is one of it under way? */
void gb_link_drop(gb_link *link);                         /* instead of end */

enum { GB_LINK_KINDS = 16 }; /* kinds below are the links' own */

bool gb_link_is_ready(const gb_link *link);
const char *gb_link_peer(const gb_link *link); /* as gb_socket_peer */
size_t gb_link_queued(const gb_link *link);    /* bytes, without those of large messages to come */
uint32_t gb_link_large(gb_link *link);         /* large messages under way */

/* It may hold as much of half messages as there is room, and breaks (GB_ETIMEDOUT) when none of
 * them goes on for so long. */
void gb_link_share(gb_link *link, gb_link_room *room, uint64_t timeout_ns);
void gb_link_pause(gb_link *link, bool pause); /* as gb_pipe_pause */
bool gb_link_is_paused(const gb_link *link);
void gb_link_unheard(gb_link *link, uint64_t timeout_ns); /* as gb_socket_unheard */
uint64_t gb_link_received(const gb_link *link);           /* bytes, so far */

/* ---- before a link: the hello of who connected ---- */

/* Reads it from a fresh connection on the loop that listens, and has what it must prove proved.
 * greeted runs once for each connection: rc 0 with the hello, what it was granted (whose answer
 * goes into the welcome) and the connection (now the receiver's), or an error (it is closed). */
typedef struct gb_greeter gb_greeter;

typedef struct gb_greeter_config {
    gb_mem *mem;
    gb_loop *loop;
    uint64_t timeout_ns;  /* who says nothing for so long is gone */
    uint32_t waiting_max; /* more at once: the oldest goes */
    gb_tls *tls;          /* NULL: none */
    gb_guard *guard;      /* NULL: nobody has to prove anything */
    void (*greeted)(void *user, int rc, const gb_hello *hello, const gb_grant *grant,
                    gb_pipe_end end, const char *peer);
    void *user;
} gb_greeter_config;

int gb_greeter_open(gb_greeter **out, const gb_greeter_config *config);
void gb_greeter_add(gb_greeter *greeter, int fd, const char *peer);
/* Looks for who is late; when to look again, or GB_FOREVER. */
uint64_t gb_greeter_tick(gb_greeter *greeter);
void gb_greeter_close(gb_greeter *greeter);

#endif
