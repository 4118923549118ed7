// Reductions. Every pass turns each tile of gb::tile elements into one value; passes follow until
// one value is left. No atomics: equal input gives equal bits. O(n) work, one read of the input.
// Pairwise over tiles, so the error of a float sum grows with log n (Higham, "The Accuracy of
// Floating Point Summation", 1993); across tiles floats are summed as doubles.
#pragma once
#include "gb/base.cuh"

namespace gb {

// Pass one and the passes that follow: out[b] = the sum of tile b. One block per tile.
template <typename T> __global__ void sum_tiles(const T *x, typename type_of<T>::sum *out, int n)
{
    typedef typename type_of<T>::local A;
    int first = blockIdx.x * tile;
    A all = fold<op_sum, A>(tile_count(n, first), load_one<T, A>{x + first});
    if (lane() == 0) out[blockIdx.x] = all;
}

template <typename T>
__global__ void dot_tiles(const T *x, const T *y, typename type_of<T>::sum *out, int n)
{
    typedef typename type_of<typename type_of<T>::local>::local A;
    int first = blockIdx.x * tile;
    A all = fold<op_sum, A>(tile_count(n, first), load_product<T, A>{x + first, y + first});
    if (lane() == 0) out[blockIdx.x] = all;
}

template <typename T>
__global__ void absolute_tiles(const T *x, typename type_of<T>::sum *out, int n)
{
    typedef typename type_of<T>::local A;
    int first = blockIdx.x * tile;
    A all = fold<op_sum, A>(tile_count(n, first), load_absolute<T, A>{x + first});
    if (lane() == 0) out[blockIdx.x] = all;
}

template <typename T> __global__ void min_tiles(const T *x, T *out, int n)
{
    int first = blockIdx.x * tile;
    T all = fold<op_min, T>(tile_count(n, first), load_one<T, T>{x + first});
    if (lane() == 0) out[blockIdx.x] = all;
}

template <typename T> __global__ void max_tiles(const T *x, T *out, int n)
{
    int first = blockIdx.x * tile;
    T all = fold<op_max, T>(tile_count(n, first), load_one<T, T>{x + first});
    if (lane() == 0) out[blockIdx.x] = all;
}

// The first place in x[0, count) that holds the value, or count. All threads of one block.
template <typename T> struct load_place {
    const T *x;
    T value;
    int none;
    __device__ __forceinline__ int operator()(int i) const { return x[i] == value ? i : none; }
};

// Where the extreme value is first: best[b] is that of tile b, *value that of all. One block; looks
// through the tiles, then through the one tile. -1: nowhere, all elements are NaN.
template <typename T>
__global__ void find_first(const T *x, const T *best, const T *value, int *out, int tiles, int n)
{
    int at = fold<op_min, int>(tiles, load_place<T>{best, *value, tiles});
    int place = -1;
    if (at < tiles) {
        int first = at * tile, count = tile_count(n, first);
        int i = fold<op_min, int>(count, load_place<T>{x + first, *value, count});
        if (i < count) place = first + i;
    }
    if (lane() == 0) *out = place;
}

} // namespace gb
