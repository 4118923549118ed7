/* <string.h> for device code: malloc in kernels is not offered; memcpy, memset and abs are built in. */
#ifndef GPUBRIDGE_STRING_H
#define GPUBRIDGE_STRING_H
#include <stddef.h>
#endif
