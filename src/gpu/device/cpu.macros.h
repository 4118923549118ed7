/* What nvcc and NVRTC predefine. __CUDA_ARCH__ is 800 here too, so that `#if __CUDA_ARCH__ >= 600`
 * chooses the modern branch; __GPUBRIDGE_CPU__ tells the cpu backend apart. */
#pragma once
#define __GPUBRIDGE__ 1
#define __GPUBRIDGE_CPU__ 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 12
#define __CUDACC_VER_MINOR__ 0
#define __CUDACC_VER_BUILD__ 0
#undef NULL
#define NULL 0
#ifndef NDEBUG
#define assert(condition)                                                                          \
    ((condition) ? (void)0 : __gb_assert_failed(#condition, __FILE__, __LINE__))
#else
#define assert(condition) ((void)0)
#endif
