/* The text behind a module's source that makes it an image, and what is told of compiler messages.
 * Room private; pure functions; any thread. */
#ifndef GB_GPU_CPU_WRAP_H
#define GB_GPU_CPU_WRAP_H

#include "base/buf.h"
#include "gpu/gpu.h"
#include "gpu/source.h"

/* Appends the wrapper. GB_EINVAL: an instance that names no template kernel of the source. */
int gbi_wrap(const gb_source *source, const gb_module_spec *spec, gb_buf *out);

/* Appends a C string literal's inside. */
int gbi_put_escaped(gb_buf *out, const char *text);

/* Turns what a compiler printed into what a user is shown, at most 16 KB: paths of the work folder
 * and lines about generated code are gone, under each message stands the user's own line. */
int gbi_messages(const char *text, const gb_module_spec *spec, const char *work, gb_buf *out);

/* Appends everything that the result depends on to key: the source, and the contents of every file
 * it may include. *sure becomes false where that cannot be told by reading (#include MACRO). files
 * gets the paths found, each with a NUL. portable: names and paths are left out, so that the same
 * texts have one key on every machine. GB_ECOMPILE: an #include that leaves the named folders. */
int gbi_key_source(const gb_module_spec *spec, gb_buf *key, gb_buf *files, bool *sure,
                   bool portable);

#endif
