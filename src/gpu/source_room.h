/* What the files source*.c share: the state of one gb_source. Nobody else includes this. */
#ifndef GB_GPU_SOURCE_ROOM_H
#define GB_GPU_SOURCE_ROOM_H

#include "gpu/source.h"

typedef struct gbi_arena_block {
    struct gbi_arena_block *next;
    size_t size, used;
} gbi_arena_block;

typedef struct gbi_macro {
    const char *name, *value;
    uint32_t name_size, value_size;
    size_t offset; /* in the input: a macro counts only behind its definition */
} gbi_macro;

typedef enum { GBI_CHUNK_OTHER, GBI_CHUNK_FUNCTION, GBI_CHUNK_CLASS, GBI_CHUNK_TYPEDEF } gbi_kind;

/* One declaration at namespace scope. */
typedef struct gbi_chunk {
    gbi_kind kind;
    uint32_t first, last; /* tokens [first, last) */
    uint32_t name;        /* token index of the declared name; UINT32_MAX: none */
    uint32_t params;      /* functions: token of "("; classes: token of "{"; else UINT32_MAX */
    uint32_t space;       /* index into spaces */
    bool is_template, is_kernel, has_body, sync, plain, indexed;
    uint32_t loop;  /* kernels: token of the grid-stride loop's "for"; 0: none */
    uint32_t guard; /* kernels: token of the "if" that tests the place; 0: none */
    struct gbi_loops *plan; /* kernels with barriers: how to run them as loops; NULL: as fibers */
} gbi_chunk;

/* A namespace as nested text; see gb_source_kernel. */
typedef struct gbi_space {
    const char *scope, *open, *close;
} gbi_space;

/* A name and a chunk that defines it; sorted by name for the closure. */
typedef struct gbi_name {
    const char *text;
    uint32_t size, chunk;
} gbi_name;

/* Readers look a few tokens ahead without asking where the end is. */
enum { GBI_END_TOKENS = 8 };

#define GBI_LIST(type)                                                                             \
    struct {                                                                                       \
        type *at;                                                                                  \
        uint32_t count, room;                                                                      \
    }

struct gb_source {
    gb_mem *mem;
    gbi_arena_block *arena;
    const char *text;
    size_t bytes;
    GBI_LIST(gb_token) tokens; /* the last GBI_END_TOKENS are GB_TOKEN_END */
    GBI_LIST(const char *) files;
    GBI_LIST(gbi_macro) macros;
    GBI_LIST(gbi_chunk) chunks;
    GBI_LIST(gbi_space) spaces;
    GBI_LIST(gbi_name) names;
    GBI_LIST(gb_source_kernel) kernels;
    GBI_LIST(gb_source_name) globals;
    GBI_LIST(gb_source_struct) structs;
    GBI_LIST(gb_source_name) shared;
    bool hidden_sync; /* something that is called without its name reaches a barrier */
};

void *gbi_source_alloc(gb_source *source, size_t size);
const char *gbi_source_copy(gb_source *source, const char *text, size_t size);

/* Makes room for one more element: 0 or GB_ENOMEM. Lists live in the arena. */
int gbi_source_grow(gb_source *source, void **at, uint32_t *room, uint32_t count, size_t size);
#define GBI_PUSH(source, list, value)                                                              \
    (gbi_source_grow(source, (void **)&(list).at, &(list).room, (list).count, sizeof *(list).at) < \
             0                                                                                     \
         ? GB_ENOMEM                                                                               \
         : ((list).at[(list).count++] = (value), 0))

bool gbi_token_is(const gb_token *token, const char *text);
bool gbi_token_in(const gb_token *token, const char *const *texts); /* NULL-ended */

/* The token behind the bracket that closes the one at `at`, or end. */
uint32_t gbi_skip_pair(const gb_source *source, uint32_t at, uint32_t end);
uint32_t gbi_skip_angles(const gb_source *source, uint32_t at, uint32_t end);

int gbi_source_tokens(gb_source *source);     /* source.c */
int gbi_source_check(gb_source *source);      /* source_check.c: constructs that are not there */
int gbi_source_walk(gb_source *source);       /* source_walk.c: chunks and spaces */
int gbi_source_declare(gb_source *source);    /* source_walk.c: kernels, globals, structs */
int gbi_source_close_over(gb_source *source); /* source_reach.c: sync and plain */

/* source_declare.c: the end of the parameter at `at`, with the place of its default, and the name
 * of parameter [at, end), UINT32_MAX: none. */
uint32_t gbi_source_param_end(const gb_source *source, uint32_t at, uint32_t end, uint32_t *equals);
uint32_t gbi_source_param_name(const gb_source *source, uint32_t at, uint32_t end);

/* source_reach.c: does the module declare the name of this token; and may it lead to a barrier or
 * a warp operation, other than by being the name of chunk `own`? */
bool gbi_source_declares(const gb_source *source, uint32_t token);
bool gbi_source_waits(const gb_source *source, uint32_t token, uint32_t own);

/* source_index.c: how a kernel uses its place in the grid. */
bool gbi_kernel_linear(const gb_source *source, const gbi_chunk *chunk);
uint32_t gbi_kernel_loop(const gb_source *source, const gbi_chunk *chunk);
uint32_t gbi_kernel_guard(const gb_source *source, const gbi_chunk *chunk);
uint32_t gbi_match_place(const gb_source *source, uint32_t at); /* UINT32_MAX: none begins here */

#endif
