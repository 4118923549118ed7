/* Who may come in, and what for: the key of the cluster and the tokens of clients.
 *
 * A silo that has a key (cluster_key) has links only with silos that prove the same one. A silo
 * that has a file of tokens (tokens) serves only clients that prove one of them, or show a
 * certificate. Who is granted entry gets rights by its role:
 *
 *     viewer    looks at the cluster (gbrun status, grains, ...)
 *     client    looks, and calls grains
 *     operator  all of it: drains silos, runs code
 *
 * Without tokens, and without TLS: who is on the same machine does all but run code, others call
 * grains. A certificate's role is its OU.
 *
 * The file: a line for each token, NAME ROLE UNTIL STORED SERVER: UNTIL is "never" or a time like
 * 2027-01-31T12:00:00Z, the last two are a gb_verifier in hex; # begins a comment. It holds nothing
 * that a client could connect with. It is read again when it changes (gb_guard_tick).
 *
 * Threads: judge and tick on the cluster's thread, holds and the rest on any. Errors. GB_EDENIED:
 * the detail is for the other end too, so it names settings and tokens but no secrets. GB_EINVAL,
 * GB_ENOENT: files.
 */
#ifndef GB_CLUSTER_GUARD_H
#define GB_CLUSTER_GUARD_H

#include "cluster/hello.h"

typedef struct gb_guard gb_guard;

enum {
    GB_MAY_CALL = 1,
    GB_MAY_LOOK = 2,
    GB_MAY_OPERATE = 4,
    GB_MAY_RUN = 8, /* code of its own */
    GB_MAY_ALL = 15
};

/* A role's rights; 0: there is no such role. */
unsigned gb_role_rights(const char *role);

typedef struct gb_guard_config {
    gb_mem *mem;
    const char *key;         /* the key itself, or NULL */
    const char *key_file;    /* or where it is, or NULL */
    const char *tokens_file; /* NULL: clients need no token */
} gb_guard_config;

int gb_guard_open(gb_guard **out, const gb_guard_config *config);
void gb_guard_close(gb_guard *guard);
const gb_secret *gb_guard_key(const gb_guard *guard); /* NULL: none */

/* The seed of hashes that all silos of a cluster share: with a key nobody else knows it. */
uint64_t gb_guard_seed(const gb_guard *guard, const char *cluster);

/* What somebody was granted. */
typedef struct gb_grant {
    unsigned rights;
    char who[GB_TOKEN_NAME_BYTES + 32]; /* "the token 'ann' (viewer)"; "": nobody in particular */
    char name[GB_TOKEN_NAME_BYTES];     /* of its token; "": none */
    bool proves;                        /* it proved a secret: this is our answer to it */
    uint8_t answer[GB_MAC_BYTES];
    gb_verifier verifier;
} gb_grant;

/* cert: what its certificate says; NULL: without TLS. is_near: it is on this machine. 1: granted
 * once it has proved grant->verifier; 0: granted. */
int gb_guard_judge(gb_guard *guard, gb_grant *grant, const gb_hello *hello, const gb_tls_peer *cert,
                   bool is_near);

/* Is its token still there, the same, and not over by this wall clock? 0 or GB_EDENIED. */
int gb_guard_holds(gb_guard *guard, const gb_grant *grant, int64_t wall_ns);

/* Now and then: 1: the tokens have changed, or one is over: what was granted is to be looked at
 * again. Negative: the file cannot be read, once for each change of it; the old tokens stay. */
int gb_guard_tick(gb_guard *guard, int64_t wall_ns);

/* Our half of the proof goes into the welcome. */
void gb_grant_welcome(const gb_grant *grant, gb_hello *welcome);

/* 0, or GB_EDENIED that says what is not granted. */
int gb_grant_check(const gb_grant *grant, unsigned rights);

/* A new token: its text (NAME:SECRET) for the client's file, and its line for the silo's. until_s:
 * seconds since 1970 UTC; 0: never. */
enum { GB_TOKEN_TEXT_BYTES = GB_TOKEN_NAME_BYTES + 48, GB_TOKEN_LINE_BYTES = 320 };
int gb_token_make(char text[GB_TOKEN_TEXT_BYTES], char line[GB_TOKEN_LINE_BYTES], const char *name,
                  const char *role, int64_t until_s);

#endif
