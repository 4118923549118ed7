/* Sockets: bytes to and from other processes over TCP, on the loops of sys.h. The real world only:
 * the simulated one has no sockets (GB_ENOTYET).
 *
 * Threads. A socket belongs to the loop it was opened on: its functions and events run on that
 * loop's thread, the events inside gb_loop_wait. What is written during one turn of the loop leaves
 * in one system call, when the loop waits (a wait of no time does it too).
 *
 * Memory. A socket is freed by gb_socket_close, or behind its `closed` event, whichever is first;
 * inside any event it may be closed. Sockets and listeners are gone before their loop is closed.
 *
 * Errors. GB_EINVAL: an address that is none. GB_EBUSY: the address is taken. GB_EDENIED: not
 * allowed to listen there. GB_ELOST: nobody there, or the connection broke. GB_ETIMEDOUT.
 * GB_ENOMEM: memory, or no descriptors left.
 */
#ifndef GB_SYS_NET_H
#define GB_SYS_NET_H

#include "base/block.h"
#include "base/buf.h"
#include "sys/sys.h"

enum { GB_ADDRESS_BYTES = 64 }; /* of a numeric address as text, with its NUL */

/* "127.0.0.1:7001", "[::1]:7001", "node-a:7001": the host without brackets and the port. port 0
 * (any free one) is allowed only with `any`. */
int gb_address_split(const char *address, bool any, char *host, size_t room, uint16_t *port);

/* Is it a loopback address ("127.x.x.x", "::1", "localhost")? */
bool gb_address_is_loopback(const char *host);

/* Is whoever is connected to the descriptor on this machine? */
bool gb_peer_is_loopback(int fd);

/* ---- listening ---- */

typedef struct gb_listener gb_listener;

/* accepted: a new connection, as a descriptor that now is the receiver's (gb_socket_open on any
 * loop, or close) and the peer's address. The port is taken for this process alone. A host that is
 * a name is looked up, which may block. */
int gb_listen(gb_listener **out, gb_loop *loop, const char *address,
              void (*accepted)(void *user, int fd, const char *peer), void *user);
void gb_listener_close(gb_listener *listener);
const char *gb_listener_address(const gb_listener *listener); /* numeric, with the real port */

/* ---- connections ---- */

typedef struct gb_socket gb_socket;

typedef struct gb_socket_events {
    /* It is connected (gb_socket_connect only). NULL: of no interest. */
    void (*opened)(void *user);
    /* Where the next bytes go: 0, *at and *room, or negative: the socket closes with that. */
    int (*room)(void *user, uint8_t **at, size_t *room);
    void (*came)(void *user, size_t bytes);
    /* NULL, or: what was put leaves now; the last moment to append to it. True: there is more, ask
     * again when that has left. */
    bool (*leaving)(void *user);
    /* What waits to be written was more than GB_SOCKET_HIGH and is below GB_SOCKET_LOW. */
    void (*drained)(void *user);
    /* The end: the peer closed (rc 0), or rc and why. Nothing comes after it. */
    void (*closed)(void *user, int rc, const char *why);
} gb_socket_events;

enum { GB_SOCKET_HIGH = 4 << 20, GB_SOCKET_LOW = 1 << 20 };

/* Takes the descriptor over, also when it fails. */
int gb_socket_open(gb_socket **out, gb_loop *loop, int fd, const gb_socket_events *events,
                   void *user);

/* `opened` or `closed` tells how it went, later. Names are looked up on a thread of the loop's
 * library. */
int gb_socket_connect(gb_socket **out, gb_loop *loop, const char *address, uint64_t timeout_ns,
                      const gb_socket_events *events, void *user);

/* The socket closes with GB_ETIMEDOUT so long from now, unless this was called again; 0: no more.
 * While the loop stands still (a long turn) no more than an eighth of it passes, as in connecting.
 * For what a peer has to do that connected (or did not yet). GB_ENOMEM: there is no bound. */
int gb_socket_bound(gb_socket *socket, uint64_t timeout_ns);

/* From now on it breaks (GB_ELOST) when what was written has not reached the peer's machine for so
 * long. Else the system goes on for many minutes, ever less often, also when the way is free again.
 * Only for peers that always read: a full one counts as one that is gone. */
void gb_socket_unheard(gb_socket *socket, uint64_t timeout_ns);

/* No event comes after it. What was written before it still goes out as far as the kernel takes it
 * at once. */
void gb_socket_close(gb_socket *socket);

/* Gives the descriptor up, connected and without bytes that wait: the socket is gone, the
 * connection stays and is the caller's. */
int gb_socket_take(gb_socket *socket);

/* Where to append what is to be written. Valid until the loop waits, or a block is put. */
gb_buf *gb_socket_out(gb_socket *socket);

/* Something was appended. */
void gb_socket_put(gb_socket *socket);

/* Appends bytes of a block without copying them; holds it until they are written. */
int gb_socket_put_block(gb_socket *socket, gb_block *block, size_t offset, size_t bytes);

size_t gb_socket_queued(const gb_socket *socket); /* bytes not written yet */

/* Reads no more (the peer will notice) until it is told to go on. */
void gb_socket_pause(gb_socket *socket, bool pause);

const char *gb_socket_peer(const gb_socket *socket); /* numeric; "" while connecting */

#endif
