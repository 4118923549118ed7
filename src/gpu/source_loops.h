/* How a kernel with barriers runs as loops over the threads of a block: the plan that
 * source_split.c makes and source_loops.c writes. Nobody else includes this.
 *
 * The kernel's body is cut at its barriers into regions. A region runs for every thread of the
 * block before the next one begins, so nothing has to be switched. What stands between regions
 * (loops, conditions, the variables of these) is run once per block, which is right only when every
 * thread would come to the same: it may be made of nothing but constants, parameters, the place of
 * the block, and variables that are so made and never change. All that is emitted as const: should
 * the reader have missed a change, the text does not compile and the kernel keeps its fibers.
 */
#ifndef GB_GPU_SOURCE_LOOPS_H
#define GB_GPU_SOURCE_LOOPS_H

#include "gpu/source_room.h"

typedef enum {
    GBI_VAR_UNIFORM, /* the same for all threads of a block, and never changes */
    GBI_VAR_PLACE,   /* computed from the thread's place alone, and never changes: done again */
    GBI_VAR_CARRIED, /* anything else: when it lives on behind a barrier, an array over threads */
    GBI_VAR_OPAQUE   /* a declaration that is not understood: must not live on */
} gbi_var_kind;

typedef struct gbi_var {
    gbi_var_kind kind;
    uint32_t name;              /* token */
    uint32_t type, type_last;   /* its specifiers; parameters: the whole of it */
    uint32_t from, last;        /* the declarator with its bounds: * p, v [ 4 ] */
    uint32_t init, init_last;   /* behind "="; UINT32_MAX: none */
    uint32_t scope, scope_last; /* where the name is known */
    uint32_t item_last;         /* its "," or ";" */
    bool param, counter, slot;  /* counter: of a loop that is run once per block */
} gbi_var;

typedef enum {
    GBI_PIECE_TEXT,   /* once per block, as it is written */
    GBI_PIECE_VAR,    /* a uniform variable; first is its index */
    GBI_PIECE_REGION, /* for every thread */
    GBI_PIECE_FOR,    /* from "for" to behind ")"; var is the counter */
    GBI_PIECE_IF,     /* from "if" to behind ")" */
    GBI_PIECE_ELSE,   /* the word, and perhaps an if */
    GBI_PIECE_OPEN,
    GBI_PIECE_CLOSE
} gbi_piece_kind;

typedef struct gbi_piece {
    gbi_piece_kind kind;
    uint32_t first, last, var;
} gbi_piece;

/* A statement of a region that is not copied: a declaration, or one that went to the block. */
typedef struct gbi_edit {
    uint32_t first, last;
    uint32_t var, vars;
} gbi_edit;

typedef struct gbi_loops {
    GBI_LIST(gbi_var) vars;
    GBI_LIST(gbi_piece) pieces;
    GBI_LIST(gbi_edit) edits;
    bool lanes; /* the threads of a region may run in SIMD lanes */
} gbi_loops;

/* source_pure.c: what the text of an expression says. */
const gbi_var *gbi_loops_find(const gb_source *source, const gbi_loops *plan, uint32_t token);
/* Nothing but arithmetic on values that stay; *place: the thread's place is among them. */
bool gbi_loops_pure(const gb_source *source, const gbi_loops *plan, const gbi_chunk *chunk,
                    uint32_t at, uint32_t end, bool *place);
/* May tokens [at, end) change the variable named by that token, or hand out its address? */
bool gbi_loops_changed(const gb_source *source, const gbi_loops *plan, uint32_t name, uint32_t at,
                       uint32_t end);

#endif
