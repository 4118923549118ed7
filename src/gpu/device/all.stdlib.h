/* <stdlib.h> for device code: no malloc in kernels; memcpy, memset and abs are built in. */
#ifndef GPUBRIDGE_STDLIB_H
#define GPUBRIDGE_STDLIB_H
#include <stddef.h>
#endif
