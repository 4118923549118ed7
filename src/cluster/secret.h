/* Proving that one knows a secret without sending it: the key that the silos of a cluster have in
 * common, and tokens of clients (guard.h). It is the exchange of SCRAM (RFC 5802) with
 * HMAC-SHA-256 and without its iterations, because these secrets are long and random:
 *
 *     client = MAC(secret, "client")  stored = MAC(client, "stored")  server = MAC(secret,
 * "server")
 *
 * Who judges needs stored and server alone (gb_verifier), with which nobody can connect elsewhere.
 * The talk is a digest of all that both ends have said, with a nonce of each and what binds it to
 * their TLS session. Who connects proves with client XOR MAC(stored, talk), who listens answers
 * with MAC(server, talk): neither is an echo of the other, and nothing of an older talk fits.
 *
 * Pure functions, any thread, but for the files. MACs are OpenSSL's, in the module tls. Comparing
 * takes as long whatever is compared.
 * Errors. GB_ENOTYET: the module is not there. GB_EDENIED: it proves nothing, or a file that others
 * may read. GB_EINVAL: a secret that is too short. GB_ENOENT.
 */
#ifndef GB_CLUSTER_SECRET_H
#define GB_CLUSTER_SECRET_H

#include "cluster/tls.h"

enum {
    GB_SECRET_BYTES_MIN = 16, /* of the text */
    GB_SECRET_BYTES_MAX = 255,
    GB_TOKEN_NAME_BYTES = 64 /* with its NUL */
};

typedef struct gb_verifier {
    gb_mac *mac;
    uint8_t stored[GB_MAC_BYTES], server[GB_MAC_BYTES];
} gb_verifier;

typedef struct gb_secret {
    uint8_t client[GB_MAC_BYTES];
    gb_verifier verifier;
    char name[GB_TOKEN_NAME_BYTES]; /* of a token; "": the key of a cluster */
} gb_secret;

/* Letters, digits and . _ - alone, at least one. */
bool gb_token_name_fits(const char *name);

int gb_secret_make(gb_secret *out, const char *text);

/* From a file that nobody but its owner may read: one line, "SECRET" or, with a name, "NAME:SECRET"
 * (what `gbrun token` writes). */
int gb_secret_read(gb_secret *out, const char *path, bool has_name);

/* A file's text, ended by NUL; freed with gb_mem_free of *size + 1. GB_EDENIED: others may read it.
 */
int gb_secret_text(char **out, size_t *size, gb_mem *mem, const char *path);

int gb_nonce(uint8_t out[GB_MAC_BYTES]);

/* hello: the greeting as it went over the wire; nonce: the answer to it; bound: of gb_pipe_bind. */
int gb_talk(uint8_t out[GB_MAC_BYTES], gb_mac *mac, const void *hello, size_t hello_size,
            const uint8_t nonce[GB_MAC_BYTES], const uint8_t bound[GB_MAC_BYTES]);

int gb_secret_prove(uint8_t out[GB_MAC_BYTES], const gb_secret *secret,
                    const uint8_t talk[GB_MAC_BYTES]);
int gb_secret_judge(const gb_verifier *verifier, const uint8_t talk[GB_MAC_BYTES],
                    const uint8_t proof[GB_MAC_BYTES]);
int gb_secret_answer(uint8_t out[GB_MAC_BYTES], const gb_verifier *verifier,
                     const uint8_t talk[GB_MAC_BYTES]);

bool gb_same_bytes(const void *a, const void *b, size_t size); /* in constant time */

#endif
