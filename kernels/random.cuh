// Random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers:
// As Easy as 1, 2, 3", SC 2011). Element i depends on seed, stream and i alone, so a result is the
// same on every backend and for every shape of a launch. O(n), no state.
#pragma once
#include "gb/base.cuh"

namespace gb {

static __device__ __forceinline__ uint4 philox(uint4 c, unsigned int key_low, unsigned int key_high)
{
    for (int round = 0; round < 10; round++) {
        unsigned long long a = 0xD2511F53ULL * c.x, b = 0xCD9E8D57ULL * c.z;
        unsigned int x = (unsigned int)(b >> 32) ^ c.y ^ key_low;
        unsigned int z = (unsigned int)(a >> 32) ^ c.w ^ key_high;
        c.y = (unsigned int)b;
        c.w = (unsigned int)a;
        c.x = x;
        c.z = z;
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
    return c;
}

// Block number `block` of a stream: 128 bits.
static __device__ __forceinline__ uint4 random_block(unsigned long long seed,
                                                     unsigned long long stream,
                                                     unsigned long long block)
{
    uint4 c;
    c.x = (unsigned int)block;
    c.y = (unsigned int)(block >> 32);
    c.z = (unsigned int)stream;
    c.w = (unsigned int)(stream >> 32);
    return philox(c, (unsigned int)seed, (unsigned int)(seed >> 32));
}

// From 0 up to 1, which is excluded: 24 and 53 bits.
static __device__ __forceinline__ float unit_float(unsigned int bits)
{
    return (float)(bits >> 8) * 5.9604644775390625e-8f;
}
static __device__ __forceinline__ double unit_double(unsigned int high, unsigned int low)
{
    unsigned long long bits = ((unsigned long long)high << 32 | low) >> 11;
    return (double)bits * 1.1102230246251565e-16;
}

// The values of one block: four floats or two doubles, elements of out from `at` below n.
template <typename T> static __device__ __forceinline__ void put(T *out, int at, int n, T value)
{
    if (at < n) out[at] = value;
}

// One thread per block of 128 bits.
static __device__ __forceinline__ void uniform_block(uint4 r, float *out, int i, int n, float low,
                                                     float span)
{
    put(out, 4 * i, n, low + span * unit_float(r.x));
    put(out, 4 * i + 1, n, low + span * unit_float(r.y));
    put(out, 4 * i + 2, n, low + span * unit_float(r.z));
    put(out, 4 * i + 3, n, low + span * unit_float(r.w));
}
static __device__ __forceinline__ void uniform_block(uint4 r, double *out, int i, int n, double low,
                                                     double span)
{
    put(out, 2 * i, n, low + span * unit_double(r.x, r.y));
    put(out, 2 * i + 1, n, low + span * unit_double(r.z, r.w));
}
template <typename T>
__global__ void random_uniform(T *out, int n, unsigned long long seed, unsigned long long stream,
                               T low, T span)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    uniform_block(random_block(seed, stream, i), out, i, n, low, span);
}

// Two normal values of two uniform ones (Box, Muller 1958); 1 - u is never 0.
static __device__ __forceinline__ void normal_block(uint4 r, float *out, int i, int n, float mean,
                                                    float deviation)
{
    float far = deviation * sqrtf(-2.0f * logf(1.0f - unit_float(r.x)));
    float also = deviation * sqrtf(-2.0f * logf(1.0f - unit_float(r.z)));
    float turn = 6.283185307f * unit_float(r.y), other = 6.283185307f * unit_float(r.w);
    put(out, 4 * i, n, mean + far * cosf(turn));
    put(out, 4 * i + 1, n, mean + far * sinf(turn));
    put(out, 4 * i + 2, n, mean + also * cosf(other));
    put(out, 4 * i + 3, n, mean + also * sinf(other));
}
static __device__ __forceinline__ void normal_block(uint4 r, double *out, int i, int n, double mean,
                                                    double deviation)
{
    double far = deviation * sqrt(-2.0 * log(1.0 - unit_double(r.x, r.y)));
    double turn = 6.283185307179586 * unit_double(r.z, r.w);
    put(out, 2 * i, n, mean + far * cos(turn));
    put(out, 2 * i + 1, n, mean + far * sin(turn));
}
template <typename T>
__global__ void random_normal(T *out, int n, unsigned long long seed, unsigned long long stream,
                              T mean, T deviation)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    normal_block(random_block(seed, stream, i), out, i, n, mean, deviation);
}

// Whole numbers low .. low + count - 1; count 0: all of 32 bits. The share of a number is off by at
// most count / 2^32 (Lemire, "Fast Random Integer Generation in an Interval", 2019).
static __device__ __forceinline__ unsigned int below(unsigned int bits, unsigned int count)
{
    return count ? (unsigned int)(((unsigned long long)bits * count) >> 32) : bits;
}
template <typename T>
__global__ void random_whole(T *out, int n, unsigned long long seed, unsigned long long stream,
                             T low, unsigned int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    uint4 r = random_block(seed, stream, i);
    put(out, 4 * i, n, (T)((unsigned int)low + below(r.x, count)));
    put(out, 4 * i + 1, n, (T)((unsigned int)low + below(r.y, count)));
    put(out, 4 * i + 2, n, (T)((unsigned int)low + below(r.z, count)));
    put(out, 4 * i + 3, n, (T)((unsigned int)low + below(r.w, count)));
}

} // namespace gb
