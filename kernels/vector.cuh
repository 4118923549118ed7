// Element-wise work on vectors: one thread per element, O(n). out may be one of the inputs.
#pragma once
#include "gb/base.cuh"

namespace gb {

#define GB_MAP2(name, expression)                                                                  \
    template <typename T> __global__ void name(const T *x, const T *y, T *out, int n)              \
    {                                                                                              \
        int i = blockIdx.x * blockDim.x + threadIdx.x;                                             \
        if (i < n) {                                                                               \
            T a = x[i], b = y[i];                                                                  \
            out[i] = (T)(expression);                                                              \
        }                                                                                          \
    }
GB_MAP2(add, a + b)
GB_MAP2(subtract, a - b)
GB_MAP2(multiply, a *b)
GB_MAP2(minimum, b < a ? b : a)
GB_MAP2(maximum, b > a ? b : a)
#undef GB_MAP2

template <typename T> __global__ void divide(const T *x, const T *y, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = (T)(x[i] / y[i]);
}

template <typename T> __global__ void scale(T a, const T *x, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = (T)(a * x[i]);
}

// y = a x + y: the name is that of the BLAS (Lawson, Hanson, Kincaid, Krogh 1979).
template <typename T> __global__ void saxpy(T a, const T *x, T *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = (T)(a * x[i] + y[i]);
}

template <typename T> __global__ void copy(const T *x, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[i];
}

// first, first + 1, ...
template <typename T> __global__ void count_up(T first, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = (T)(first + (T)i);
}

} // namespace gb
