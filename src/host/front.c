/* The public functions whose names are types inside: this file sees the public header only. */
#include "host/front.h"

int gb_call(gb_host *host, const char *type, const char *key, const char *method, gb_value *args,
            int64_t timeout_ms, gb_result_fn *fn, void *user)
{
    return gbi_front_call(host, type, key, method, args, timeout_ms, fn, user);
}

int gb_launch(gb_kernels *kernels, const char *kernel, const gb_shape *shape,
              const gb_kernel_arg *args, int arg_count)
{
    return gbi_front_launch(kernels, kernel, shape, args, arg_count);
}
