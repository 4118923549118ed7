/* The first words of a link. Who connects says hello and sends nothing else until it is welcomed.
 * If it has a secret (the cluster's key, or a token) its hello has a nonce and the name of that
 * secret; then it is asked with a nonce of the other end, proves, and the welcome has the other
 * end's proof (secret.h):
 *
 *     hello -> welcome                          without a secret
 *     hello -> ask, proof -> welcome            with one
 *
 * Instead of an ask or a welcome: refused, with the reason as text.
 *
 * Pure functions, any thread. Decoding trusts nothing: GB_EINVAL; GB_EDENIED: another version.
 */
#ifndef GB_CLUSTER_HELLO_H
#define GB_CLUSTER_HELLO_H

#include "cluster/secret.h"
#include "cluster/table.h"

enum {
    GB_LINK_VERSION = 2,
    GB_LINK_HELLO_BYTES = 1024 /* at most, of each of these words */
};

/* Kinds of frames. */
enum { GB_HELLO = 1, GB_HELLO_WELCOME, GB_HELLO_REFUSED, GB_HELLO_ASK, GB_HELLO_PROOF };

typedef enum gb_link_role {
    GB_LINK_CONTROL = 1, /* messages between silos (message.h); one way, from who connected */
    GB_LINK_CALLS = 2,   /* calls from who connected, and their answers back */
    GB_LINK_PROBE = 3    /* nothing: who listens refuses it at once, so it is alive */
} gb_link_role;

/* What both sides say of themselves. */
typedef struct gb_hello {
    gb_link_role role;
    uint64_t silo;   /* of who says it; 0: a client */
    uint64_t to;     /* who connects: the silo that it means; 0: any */
    uint32_t worker; /* who connects: the worker that it wants */
    char cluster[GB_CLUSTER_NAME_BYTES];
    char name[GB_TOKEN_NAME_BYTES]; /* who connects: of its token; "": none, or the cluster's key */
    bool proves;                    /* it knows a secret ... */
    uint8_t word[GB_MAC_BYTES];     /* ... its nonce; in a welcome: its proof */
} gb_hello;

int gb_hello_encode(gb_buf *out, const gb_hello *hello);
int gb_hello_decode(gb_hello *out, const void *bytes, size_t size);

#endif
