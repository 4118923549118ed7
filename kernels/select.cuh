// Compaction: the elements that pass a test, in their order. Each tile compacts into its own part
// of scratch memory and counts; the counts are scanned; the parts move together (Billeter, Olsson,
// Assarsson, "Efficient Stream Compaction on Wide SIMD Many-Core Architectures", 2009). O(n), two
// reads and two writes at most. Within a tile the serial way has no branch that depends on data.
#pragma once
#include "gb/scan.cuh"

namespace gb {

#define GB_TEST(name, sign)                                                                        \
    template <typename T> struct name {                                                            \
        const T *x;                                                                                \
        T value;                                                                                   \
        __device__ __forceinline__ bool operator()(int i) const { return x[i] sign value; }        \
    };
GB_TEST(test_less, <)
GB_TEST(test_less_equal, <=)
GB_TEST(test_greater, >)
GB_TEST(test_greater_equal, >=)
GB_TEST(test_equal, ==)
GB_TEST(test_not_equal, !=)
#undef GB_TEST

// What is kept: the element, or its place.
template <typename T> struct keep_element {
    typedef T kind;
    const T *x;
    __device__ __forceinline__ T operator()(int i) const { return x[i]; }
};
template <typename T> struct keep_place {
    typedef int kind;
    const T *x;
    __device__ __forceinline__ int operator()(int i) const { return i; }
};

// counts has one element more than there are tiles: its scan ends with the number of all.
template <typename Keep, typename Test>
__device__ __forceinline__ void select_tile(const Keep &keep, const Test &test,
                                            typename Keep::kind *kept, int *counts, int n)
{
    int first = blockIdx.x * tile, count = tile_count(n, first), found = 0;
#if GB_SERIAL
    typename Keep::kind *to = kept + first;
    for (int i = 0; i < count; i++) { // found <= i: what is overwritten later is in this tile
        to[found] = keep(first + i);
        found += test(first + i) ? 1 : 0;
    }
#else
    for (int from = 0; from < count; from += lanes) {
        int i = from + threadIdx.x;
        int yes = i < count && test(first + i) ? 1 : 0;
        int before = block_scan<op_sum, int>(yes);
        if (yes) kept[first + found + before] = keep(first + i);
        found += __syncthreads_count(yes);
    }
#endif
    if (lane() == 0) {
        counts[blockIdx.x] = found;
        if (blockIdx.x == 0) counts[gridDim.x] = 0;
    }
}

template <typename T, typename Keep, typename Test>
__global__ void select_value(const T *x, T value, typename Keep::kind *kept, int *counts, int n)
{
    select_tile(Keep{x}, Test{x, value}, kept, counts, n);
}

template <typename T, typename Keep, typename F>
__global__ void select_flags(const T *x, const F *flags, typename Keep::kind *kept, int *counts,
                             int n)
{
    select_tile(Keep{x}, test_not_equal<F>{flags, (F)0}, kept, counts, n);
}

template <typename V> __global__ void select_move(const V *kept, const int *starts, V *out)
{
    int first = blockIdx.x * tile, start = starts[blockIdx.x];
    int count = starts[blockIdx.x + 1] - start;
    for (int i = lane(); i < count; i += lane_step()) out[start + i] = kept[first + i];
}

} // namespace gb
