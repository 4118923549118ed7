/* A client and a server of the same process with a link between them over real sockets, and plain
 * sockets that reach the server. One thread. */
#ifndef GB_TESTS_KIT_LINK_H
#define GB_TESTS_KIT_LINK_H

#include "cluster/link_room.h"

enum { KIT_LINK_LIMIT = 8 << 20, KIT_LINK_KIND = GB_LINK_KINDS };

typedef enum { KIT_NEVER, KIT_AT_READY, KIT_AT_MESSAGE, KIT_AT_DRAINED } kit_event;

typedef struct kit_side {
    gb_link *link;
    gb_hello peer;
    int ready, messages, closed, rc;
    char why[512];
    char last[64]; /* the last message, a text that fits */
    uint32_t count;
    size_t bytes; /* of the last message with all blocks */
    bool good;    /* block i holds i + 1 everywhere */
    kit_event close_at;
    int refuse; /* a message */
} kit_side;

typedef struct kit_link {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_listener *listener;
    gb_greeter *greeter;
    kit_side client, server;
    int greeted, greeted_rc, accept_rc, held;
    bool is_silent; /* the server: it takes connections and says nothing */
} kit_link;

/* waiting_max: of connections that have not greeted. The server is silo 7 of the cluster "one". */
void kit_link_open(kit_link *kit, int waiting_max);
void kit_link_close(kit_link *kit); /* nothing is left, or the test fails */

/* As silo 3. 0, or why it cannot begin. */
int kit_link_dial(kit_link *kit, const char *cluster, uint64_t timeout_ns);
int kit_link_socket(kit_link *kit);

#define KIT_LINK_UNTIL(kit, condition)                                                             \
    for (uint64_t start_ = gb_now((kit)->sys); !(condition);) {                                    \
        assert_true(gb_now((kit)->sys) - start_ < 60 * GB_SEC);                                    \
        gb_loop_wait((kit)->loop, 60 * GB_MS);                                                     \
    }

#endif
