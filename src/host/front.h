/* Behind the public functions whose names are types inside (public.h). */
#ifndef GB_HOST_FRONT_H
#define GB_HOST_FRONT_H

#include <gpubridge.h>

int gbi_front_call(gb_host *host, const char *type, const char *key, const char *method,
                   gb_value *args, int64_t timeout_ms, gb_result_fn *fn, void *user);
int gbi_front_launch(gb_kernels *kernels, const char *kernel, const gb_shape *shape,
                     const gb_kernel_arg *args, int arg_count);

#endif
