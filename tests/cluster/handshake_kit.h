/* A place to shake hands: a listener with its greeter on one side, a link on the other. */
#ifndef GB_TESTS_HANDSHAKE_KIT_H
#define GB_TESTS_HANDSHAKE_KIT_H

#include "base/err.h"
#include "cluster/link_room.h"
#include "cluster/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, TURN_MS = 20, LIMIT = 1 << 20, ROOM = 8 };

#define KEY "the key of this cluster"

typedef struct side {
    gb_link *link;
    int ready, messages, closed, rc;
    char why[512];
} side;

typedef struct world {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_tls *tls;
    gb_guard *guard;
    gb_listener *listener;
    gb_greeter *greeter;
    side client, server;
    gb_grant grant;
    int greeted, greeted_rc;
    char greeted_why[512];
    gb_pipe_end refused;
} world;

typedef struct wish {
    const char *key, *tokens; /* of the guard; both NULL: there is no guard */
    bool tls;
    uint64_t timeout_ns; /* 0: long */
} wish;

#define UNTIL(w, condition)                                                                        \
    for (uint64_t start_ = gb_now((w)->sys); !(condition);) {                                      \
        assert_true(gb_now((w)->sys) - start_ < PATIENCE_MS * GB_MS);                              \
        gb_loop_wait((w)->loop, TURN_MS *GB_MS);                                                   \
        gb_greeter_tick((w)->greeter);                                                             \
    }

extern const gb_link_events kit_events; /* of a side */

const char *kit_folder(void); /* for files; it has certificates */
const char *path_of(const char *name);
void write_file(const char *name, const char *text); /* of mode 0600 */

void open_world(world *w, const wish *wanted);
void close_world(world *w);

gb_secret secret_of(const char *text, const char *name);
gb_hello hello_of(uint64_t silo);

/* w->client connects; what it was before is closed. */
void dial_at(world *w, const char *address, gb_tls *tls, uint64_t silo, const gb_secret *secret);
void dial(world *w, uint64_t silo, const gb_secret *secret);

int handshake_bytes(void); /* the tests of handshake_bytes.c */

#endif
