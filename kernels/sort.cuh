// Stable radix sort, least significant digit first, 8 bits a pass: count the digits of each tile,
// scan the counts digit by digit, move every element to its place (Zagha, Blelloch, "Radix Sort for
// Vector Multiprocessors", 1991; ranks within a warp by matching as in Merrill, Grimshaw 2011).
// O(n) per pass, as many passes as the key has bytes. Keys are ordered as numbers: -0.0 before 0.0,
// NaNs behind everything.
#pragma once
#include "gb/base.cuh"

namespace gb {

enum { sort_tile = 16384, digits = 256 };

// ---- keys as unsigned integers of the same order ----

template <typename T> struct radix_key;
#define GB_RADIX(T, U, expression)                                                                 \
    template <> struct radix_key<T> {                                                              \
        typedef U bits;                                                                            \
        static __device__ __forceinline__ U of(T x) { return (U)(expression); }                    \
    };
GB_RADIX(unsigned char, unsigned char, x)
GB_RADIX(unsigned short, unsigned short, x)
GB_RADIX(unsigned int, unsigned int, x)
GB_RADIX(unsigned long long, unsigned long long, x)
GB_RADIX(signed char, unsigned char, x ^ 0x80)
GB_RADIX(short, unsigned short, x ^ 0x8000)
GB_RADIX(int, unsigned int, (unsigned int)x ^ 0x80000000u)
GB_RADIX(long long, unsigned long long, (unsigned long long)x ^ 0x8000000000000000ULL)
#undef GB_RADIX
template <> struct radix_key<float> {
    typedef unsigned int bits;
    static __device__ __forceinline__ unsigned int of(float x)
    {
        int b = __float_as_int(x);
        unsigned int mask = (unsigned int)(b >> 31) | 0x80000000u;
        return x != x ? 0xffffffffu : (unsigned int)b ^ mask;
    }
};
template <> struct radix_key<double> {
    typedef unsigned long long bits;
    static __device__ __forceinline__ unsigned long long of(double x)
    {
        long long b = __double_as_longlong(x);
        unsigned long long mask = (unsigned long long)(b >> 63) | 0x8000000000000000ULL;
        return x != x ? 0xffffffffffffffffULL : (unsigned long long)b ^ mask;
    }
};

// flip 255 turns the order round; equal keys keep theirs.
template <typename K> static __device__ __forceinline__ int digit_of(K key, int shift, int flip)
{
    return (int)(radix_key<K>::of(key) >> shift & 255) ^ flip;
}

// ---- passes; one block per tile of sort_tile ----

// counts[d * tiles + b]: how many keys of tile b have digit d.
template <typename K>
__global__ void sort_count(const K *keys, int *counts, int n, int shift, int flip)
{
    int first = blockIdx.x * sort_tile, count = tile_count(n, first, sort_tile);
    const K *own = keys + first;
#if GB_SERIAL
    int found[2][digits]; // two, so that equal neighbours do not wait for each other
    for (int d = 0; d < digits; d++) found[0][d] = found[1][d] = 0;
    int i = 0;
    for (; i + 2 <= count; i += 2) {
        found[0][digit_of(own[i], shift, flip)]++;
        found[1][digit_of(own[i + 1], shift, flip)]++;
    }
    if (i < count) found[0][digit_of(own[i], shift, flip)]++;
    for (int d = 0; d < digits; d++)
        counts[d * gridDim.x + blockIdx.x] = found[0][d] + found[1][d];
#else
    __shared__ int found[digits];
    int t = threadIdx.x;
    found[t] = 0;
    __syncthreads();
    for (int i = t; i < count; i += lanes) atomicAdd(&found[digit_of(own[i], shift, flip)], 1);
    __syncthreads();
    counts[t * gridDim.x + blockIdx.x] = found[t];
#endif
}

struct no_values {
    __device__ __forceinline__ void move(int, int) const {}
};
template <typename V> struct move_values {
    const V *from;
    V *to;
    __device__ __forceinline__ void move(int i, int place) const { to[place] = from[i]; }
};

// starts: the exclusive scan of counts.
template <typename K, typename Values>
__device__ __forceinline__ void sort_place(const K *keys, const Values &values, const int *starts,
                                           K *to, int n, int shift, int flip)
{
    int first = blockIdx.x * sort_tile, count = tile_count(n, first, sort_tile);
    int tiles = gridDim.x;
#if GB_SERIAL
    int next[digits];
    for (int d = 0; d < digits; d++) next[d] = starts[d * tiles + blockIdx.x];
    for (int i = first; i < first + count; i++) {
        K key = keys[i];
        int place = next[digit_of(key, shift, flip)]++;
        to[place] = key;
        values.move(i, place);
    }
#else
    // A round places one key per thread: its rank is that of its warp among the warps, then its
    // own in the warp. There are as many threads as digits, so thread t also keeps digit t.
    __shared__ int next[digits], found[lanes / 32][digits];
    int t = threadIdx.x, warp = t / 32;
    unsigned int below = (1u << (t & 31)) - 1;
    next[t] = starts[t * tiles + blockIdx.x];
    for (int from = 0; from < count; from += lanes) {
        for (int w = 0; w < lanes / 32; w++) found[w][t] = 0;
        __syncthreads();
        int i = first + from + t;
        bool have = from + t < count;
        int d = have ? digit_of(keys[i], shift, flip) : digits;
        unsigned int same = __match_any_sync(0xffffffffu, d);
        if (have && (same & below) == 0) found[warp][d] = __popc(same);
        __syncthreads();
        int all = next[t];
        for (int w = 0; w < lanes / 32; w++) {
            int here = found[w][t];
            found[w][t] = all;
            all += here;
        }
        next[t] = all;
        __syncthreads();
        if (have) {
            int place = found[warp][d] + __popc(same & below);
            to[place] = keys[i];
            values.move(i, place);
        }
        __syncthreads();
    }
#endif
}

template <typename K>
__global__ void sort_keys(const K *keys, const int *starts, K *to, int n, int shift, int flip)
{
    sort_place<K>(keys, no_values{}, starts, to, n, shift, flip);
}

template <typename K, typename V>
__global__ void sort_pairs(const K *keys, const V *values, const int *starts, K *to, V *values_to,
                           int n, int shift, int flip)
{
    sort_place<K>(keys, move_values<V>{values, values_to}, starts, to, n, shift, flip);
}

// 0, 1, 2, ...: the values of an argsort.
template <typename V> __global__ void sort_places(V *values, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) values[i] = (V)i;
}

} // namespace gb
