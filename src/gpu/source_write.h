/* Writing the text that is compiled: source_rewrite.c and source_loops.c. Nobody else includes
 * this.
 */
#ifndef GB_GPU_SOURCE_WRITE_H
#define GB_GPU_SOURCE_WRITE_H

#include "gpu/source_room.h"

typedef struct gbi_writer {
    gb_source *source;
    gb_buf *out;
    const char *done; /* input up to here is in out */
    int rc;
} gbi_writer;

void gbi_write(gbi_writer *w, const char *text, size_t size);
void gbi_write_text(gbi_writer *w, const char *text);
/* Copies the input up to `to`, but for #define and #undef lines. */
void gbi_write_until(gbi_writer *w, const char *to);
/* Drops the input up to `to`, keeping its line ends. */
void gbi_write_lines(gbi_writer *w, const char *to);

/* extern __shared__ float name[]; with `at` at extern. Returns the token behind it, or `at` when it
 * is something else. */
uint32_t gbi_write_shared(gbi_writer *w, uint32_t at, bool inside, const gbi_space *space);
/* The preprocessor leaves #pragma unroll N as it is, and N is gone when the text is compiled. */
void gbi_write_pragma(gbi_writer *w, const gb_token *token);

/* The second form of a kernel that has a plan, behind the first. */
void gbi_write_loops(gbi_writer *w, const gbi_chunk *chunk);

#endif
