/* <assert.h>: assert is always there in device code. */
#ifndef GPUBRIDGE_ASSERT_H
#define GPUBRIDGE_ASSERT_H
#endif
