/* <string.h> for device code: no malloc in kernels; memcpy, memset and abs are built in. */
#ifndef GPUBRIDGE_STRING_H
#define GPUBRIDGE_STRING_H
#include <stddef.h>
#endif
