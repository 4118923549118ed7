/* Qualifiers, sizes, and the types of the engine's contract. */
#pragma once

#define __gb_fn static inline __attribute__((always_inline, unused))

#define __global__ __attribute__((always_inline, unused))
#define __device__ __attribute__((unused))
#define __host__
#define __constant__
#define __grid_constant__
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __inline_hint__
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __align__(...) __attribute__((aligned(__VA_ARGS__)))
#define __builtin_align__(...) __attribute__((aligned(__VA_ARGS__)))

typedef __SIZE_TYPE__ size_t;
typedef long clock_t;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

/* The contract spells its types as <stdint.h> does; the user may have others under these names. */
typedef int __gb_int32;
typedef unsigned int __gb_uint32;
typedef unsigned long __gb_uint64;
#define int32_t __gb_int32
#define uint32_t __gb_uint32
#define uint64_t __gb_uint64
#include "cpu.abi.h"
#undef int32_t
#undef uint32_t
#undef uint64_t
