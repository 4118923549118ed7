/* A pipe: a socket (sys/net.h), or one with TLS on it. To who uses it both are the same: bytes in
 * order, the same events, the same errors. With TLS on, nothing but TLS comes through: the first
 * byte of anything else closes it (GB_EDENIED), as does a certificate that is not believed.
 *
 * Threads, memory: as a socket.
 */
#ifndef GB_CLUSTER_PIPE_H
#define GB_CLUSTER_PIPE_H

#include "cluster/tls.h"
#include "sys/net.h"

typedef struct gb_pipe gb_pipe;

/* What gb_pipe_take gives: a connection between two loops. */
typedef struct gb_pipe_end {
    int fd;
    gb_tls_session *session; /* NULL: without TLS */
} gb_pipe_end;

void gb_pipe_end_close(gb_pipe_end *end);

/* Last words: as much as the kernel takes at once. */
void gb_pipe_end_say(gb_pipe_end *end, gb_mem *mem, const void *bytes, size_t size);

/* tls: NULL for none. events as of a socket; `opened` comes when TLS is up as well (then to who
 * accepts too). */
int gb_pipe_accept(gb_pipe **out, gb_mem *mem, gb_loop *loop, int fd, gb_tls *tls,
                   const gb_socket_events *events, void *user);
int gb_pipe_connect(gb_pipe **out, gb_mem *mem, gb_loop *loop, const char *address, gb_tls *tls,
                    uint64_t timeout_ns, const gb_socket_events *events, void *user);

/* Goes on with a connection on another loop: `opened` has been. Takes it over, also when it fails.
 */
int gb_pipe_open(gb_pipe **out, gb_mem *mem, gb_loop *loop, gb_pipe_end end,
                 const gb_socket_events *events, void *user);
gb_pipe_end gb_pipe_take(gb_pipe *pipe); /* with nothing that waits to be written */

/* As gb_socket_pause: what is read already still comes. */
void gb_pipe_pause(gb_pipe *pipe, bool pause);

/* As gb_socket_bound and gb_socket_unheard. */
int gb_pipe_bound(gb_pipe *pipe, uint64_t timeout_ns);
const char *gb_pipe_peer(const gb_pipe *pipe); /* as gb_socket_peer */
void gb_pipe_unheard(gb_pipe *pipe, uint64_t timeout_ns);

void gb_pipe_close(gb_pipe *pipe);

gb_buf *gb_pipe_out(gb_pipe *pipe);
void gb_pipe_put(gb_pipe *pipe);
int gb_pipe_put_block(gb_pipe *pipe, gb_block *block, size_t offset, size_t bytes);
size_t gb_pipe_queued(const gb_pipe *pipe);

/* Bytes that both ends have, and no other connection has; zeros without TLS. */
int gb_pipe_bind(const gb_pipe *pipe, uint8_t out[GB_MAC_BYTES]);

/* Who it says it is by its certificate; false: without TLS. */
bool gb_pipe_who(const gb_pipe *pipe, gb_tls_peer *out);

#endif
