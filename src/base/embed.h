/* Files that the build puts into the library: a table per kind that ends with a NULL name. Constant
 * data. */
#ifndef GB_BASE_EMBED_H
#define GB_BASE_EMBED_H

#include <stddef.h>

typedef struct gb_embedded {
    const char *name;
    const char *bytes; /* followed by a NUL that size does not count */
    size_t size;
} gb_embedded;

extern const gb_embedded gb_embedded_lua[];     /* "gb", "gb.array", ...: LuaJIT bytecode */
extern const gb_embedded gb_embedded_headers[]; /* headers that kernels include: text */

#endif
