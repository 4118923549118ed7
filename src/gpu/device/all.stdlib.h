/* <stdlib.h> for device code: malloc in kernels is not offered; memcpy, memset and abs are built in. */
#ifndef GPUBRIDGE_STDLIB_H
#define GPUBRIDGE_STDLIB_H
#include <stddef.h>
#endif
