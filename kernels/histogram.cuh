// Histograms with equal bins over [low, high]: every tile counts into a row of its own, then each
// bin is summed over the rows, so no two blocks ever write one counter (Podlozhnyuk, "Histogram
// calculation in CUDA", 2007). O(n + tiles * bins). An element equal to high is in the last bin;
// outside elements and NaNs are in none.
#pragma once
#include "gb/base.cuh"

namespace gb {

enum { shared_bins = 4096 };

// high is tested, not high * factor: rounding must not lose the last element. C: float or double.
template <typename T, typename C>
static __device__ __forceinline__ int bin_of(T value, C low, C high, C factor, int bins)
{
    C v = (C)value;
    int inside = (v >= low) & (v <= high);
    int bin = (int)(((inside ? v : low) - low) * factor);
    return inside ? (bin < bins ? bin : bins - 1) : -1;
}

// rows[b * bins ..]: the counts of tile b of `size` elements.
template <typename T, typename C>
__global__ void histogram_tiles(const T *x, int *rows, int n, int size, C low, C high, C factor,
                                int bins)
{
    int first = blockIdx.x * size, count = tile_count(n, first, size);
    int *row = rows + (size_t)blockIdx.x * bins;
#if GB_SERIAL
    // The bins of a run of elements in vector registers first, then the counting.
    constexpr int run = 256;
    int bin[run];
    for (int k = 0; k < bins; k++) row[k] = 0;
    x += first;
    while (count > 0) {
        int part = count < run ? count : run;
        if (part == run)
            for (int i = 0; i < run; i++) bin[i] = bin_of<T, C>(x[i], low, high, factor, bins);
        else
            for (int i = 0; i < part; i++) bin[i] = bin_of<T, C>(x[i], low, high, factor, bins);
        for (int i = 0; i < part; i++)
            if (bin[i] >= 0) row[bin[i]]++;
        x += part;
        count -= part;
    }
#else
    __shared__ int near[shared_bins];
    int *found = bins <= shared_bins ? near : row;
    for (int k = threadIdx.x; k < bins; k += lanes) found[k] = 0;
    __syncthreads();
    for (int i = first + threadIdx.x; i < first + count; i += lanes) {
        int bin = bin_of<T, C>(x[i], low, high, factor, bins);
        if (bin >= 0) atomicAdd(&found[bin], 1);
    }
    __syncthreads();
    if (found != row)
        for (int k = threadIdx.x; k < bins; k += lanes) row[k] = near[k];
#endif
}

template <typename V>
__global__ void histogram_sum(const int *rows, V *out, int tiles, int bins)
{
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= bins) return;
    int all = 0;
    for (int b = 0; b < tiles; b++) all += rows[(size_t)b * bins + k];
    out[k] = (V)all;
}

} // namespace gb
