// Element-wise work on vectors: one thread per element, O(n). out may be one of the inputs.
// Each kernel is written out: one that a macro makes is not seen in the source when NVRTC compiles.
#pragma once
#include "gb/base.cuh"

namespace gb {

template <typename T> __global__ void add(const T *x, const T *y, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = (T)(x[i] + y[i]);
}

template <typename T> __global__ void subtract(const T *x, const T *y, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = (T)(x[i] - y[i]);
}

template <typename T> __global__ void multiply(const T *x, const T *y, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = (T)(x[i] * y[i]);
}

template <typename T> __global__ void minimum(const T *x, const T *y, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = y[i] < x[i] ? y[i] : x[i];
}

template <typename T> __global__ void maximum(const T *x, const T *y, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = y[i] > x[i] ? y[i] : x[i];
}

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
