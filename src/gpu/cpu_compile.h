/* From CUDA C++ source to a loaded image of the cpu backend: finds a C++ compiler (clang, else
 * g++), runs it or finds its earlier result in the image cache, loads the shared object.
 *
 * Threads. Every function may be called from any thread, any number at a time. gb_cpu_compile
 * blocks (disk, compiler processes: up to minutes) and belongs on a pool thread. It starts the
 * compiler with posix_spawn, waits for that process only, and installs no signal handler.
 *
 * Memory. An object is counted to config->mem and owned by the caller until gb_cpu_object_close.
 */
#ifndef GB_GPU_CPU_COMPILE_H
#define GB_GPU_CPU_COMPILE_H

#include "base/mem.h"
#include "gpu/cpu_abi.h"
#include "gpu/gpu.h"

#include <stdbool.h>

typedef struct gb_cpu_object gb_cpu_object;

/* The strings are borrowed for the time of a call. */
typedef struct gb_cpu_compile_config {
    gb_mem *mem;
    const char *cache_dir; /* NULL: $XDG_CACHE_HOME/gpubridge or ~/.cache/gpubridge */
    const char *compiler;  /* NULL: $GB_CXX, else clang++, clang++-NN, g++ of $PATH */
    bool sanitize;         /* ASan and UBSan; the process must have the runtime loaded */
} gb_cpu_compile_config;

/* 0 with *out, or a negative GB_E... with *out NULL. The text of a failure is gb_err_detail() and,
 * whole (up to 16 KB, where gb_err_detail cuts), *detail: from malloc, the caller frees it; detail
 * may be NULL, and *detail is NULL on success. GB_EINVAL: an option off the allow-list.
 * GB_ECOMPILE: the compiler's lines, or no compiler found, with a remedy. GB_EDENIED: the cache
 * folder belongs to somebody else or others can write it. */
int gb_cpu_compile(const gb_cpu_compile_config *config, const gb_module_spec *spec,
                   gb_cpu_object **out, char **detail);

/* Without a compiler: the image that was made elsewhere (gb_image_made_folder) for the best level
 * of x86-64 that this processor has. GB_ECOMPILE: there is none, or it is damaged or not what its
 * name says.
 *
 * Makes such images of a source, for x86-64-v2, v3 and v4, in $GB_IMAGES_MAKE; nothing to do when
 * that is not set. Not for sanitized kernels. */
int gb_cpu_images_make(const gb_cpu_compile_config *config, const gb_module_spec *spec);

/* Borrowed until close. */
const gb_cpu_image *gb_cpu_object_image(const gb_cpu_object *object);
const char *gb_cpu_object_log(const gb_cpu_object *object); /* warnings; "" when none */
bool gb_cpu_object_cached(const gb_cpu_object *object);     /* it came out of the cache */

/* Unloads the code: no kernel of it may be running. NULL is allowed. */
void gb_cpu_object_close(gb_cpu_object *object);

#endif
