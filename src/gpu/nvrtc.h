/* NVRTC, NVIDIA's run-time compiler of CUDA C++, loaded when it is asked for: nothing is linked.
 * The headers that a kernel includes are ours, embedded in the library, so no toolkit is needed
 * beside it.
 *
 * Any thread; every function blocks (disk, compiler). Errors: the text is gb_err_detail().
 */
#ifndef GB_GPU_NVRTC_H
#define GB_GPU_NVRTC_H

#include "base/buf.h"
#include "gpu/gpu.h"

typedef struct gb_nvrtc gb_nvrtc;

/* Looks at $GB_NVRTC_LIBRARY (alone, when it is set), the loader's path and the folders of
 * toolkits. GB_ENOENT: there is none, or it lacks a function. */
int gb_nvrtc_open(gb_nvrtc **out);
void gb_nvrtc_close(gb_nvrtc *nvrtc); /* NULL is allowed */

const char *gb_nvrtc_version(const gb_nvrtc *nvrtc); /* "13.0" */
const char *gb_nvrtc_path(const gb_nvrtc *nvrtc);

/* The architectures it compiles for, as numbers (90 for sm_90), ascending: how many, at most room.
 */
int gb_nvrtc_archs(const gb_nvrtc *nvrtc, int *out, int room);

typedef struct gb_nvrtc_result {
    gb_buf log;   /* the compiler's lines */
    gb_buf image; /* sm_NN: a cubin; compute_NN: PTX */
} gb_nvrtc_result;

/* The buffers of the result are made with their account before; they are emptied. GB_ECOMPILE: the
 * log says why. GB_EINVAL: an option off the allow-list, or no such architecture. */
int gb_nvrtc_compile(gb_nvrtc *nvrtc, const gb_module_spec *spec, const char *arch,
                     gb_nvrtc_result *result);

#endif
