/* From CUDA C++ source to an image for one architecture, by NVRTC, or from the image cache.
 *
 * Any thread; blocks (compiler, disk). The result is the caller's until gbi_cuda_image_fini, also
 * after a failure. GB_ECOMPILE: the compiler's lines; GB_EINVAL: an option off the list; GB_ENOENT:
 * there is no NVRTC, and the cache has no image.
 */
#ifndef GB_GPU_CUDA_COMPILE_H
#define GB_GPU_CUDA_COMPILE_H

#include "gpu/cuda_api.h"
#include "gpu/cuda_names.h"

typedef struct gbi_cuda_image {
    gb_buf bytes; /* a cubin, or PTX with its NUL */
    gb_buf log;   /* warnings, as text; of a failure: the whole message */
    gbi_cuda_names names;
    bool cached;
    bool verbose; /* set before compiling: the log has what each kernel takes (ptxas -v), and the
                     cache is left alone */
} gbi_cuda_image;

void gbi_cuda_image_init(gbi_cuda_image *image, gb_mem *mem);
void gbi_cuda_image_fini(gbi_cuda_image *image);

/* arch: "sm_90", as the device says. The image is a cubin for it where NVRTC can, else PTX for the
 * newest architecture before it; "compute_90" asks for PTX. cache_dir: see gb_image_cache_folder.
 *
 * Images made elsewhere (gb_image_made_folder) are looked at first, and are all that is left where
 * nvrtc is NULL (GB_ENOENT then); one that is damaged or not what its name says is GB_ECOMPILE.
 * With $GB_IMAGES_MAKE what is compiled goes to that folder too. */
int gbi_cuda_compile(gbi_cuda_image *out, const gb_nvrtc_api *nvrtc, const char *cache_dir,
                     const gb_module_spec *spec, const char *arch);

/* For a machine without NVRTC: makes the images of a source for the architectures that a pack
 * carries (cubins for 8.0 and 9.0, PTX that any later one takes) in $GB_IMAGES_MAKE. Nothing to do
 * when that is not set. */
int gbi_cuda_images_make(gb_mem *mem, const char *cache_dir, const gb_module_spec *spec);

/* The architectures NVRTC compiles for, ascending, as 90 for sm_90: how many, at most room. */
int gbi_nvrtc_archs(const gb_nvrtc_api *nvrtc, int *out, int room);

#endif
