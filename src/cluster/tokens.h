/* The file of a silo's tokens (guard.h says what stands in it). No locks: the guard has one. */
#ifndef GB_CLUSTER_TOKENS_H
#define GB_CLUSTER_TOKENS_H

#include "cluster/guard.h"

enum { GB_TOKENS_MAX = 10000 };

typedef struct gb_token {
    char name[GB_TOKEN_NAME_BYTES];
    char role[16];
    int64_t until_s; /* 0: never */
    gb_verifier verifier;
} gb_token;

typedef struct gb_tokens {
    gb_token *all; /* sorted by name */
    uint32_t count, room;
} gb_tokens;

/* GB_EINVAL names the line. */
int gb_tokens_read(gb_tokens *out, gb_mem *mem, const char *path);
void gb_tokens_fini(gb_tokens *tokens, gb_mem *mem);
const gb_token *gb_tokens_find(const gb_tokens *tokens, const char *name); /* NULL: none */
bool gb_tokens_end_between(const gb_tokens *tokens, int64_t after_s, int64_t until_s);

#endif
