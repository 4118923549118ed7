// Prefix sums (and minima, maxima): fold each tile, scan the results of the tiles by the same
// kernels, scan each tile from there. Reduce, then scan: Blelloch, "Prefix Sums and Their
// Applications", 1990; the device's tile as in Sengupta, Harris, Zhang, Owens, "Scan Primitives for
// GPU Computing", 2007. O(n) work, two reads and one write. Equal input gives equal bits.
// S is what results of tiles are kept in: double for float.
#pragma once
#include "gb/base.cuh"

namespace gb {

template <typename Op, typename T, typename S> __global__ void scan_fold(const T *x, S *out, int n)
{
    typedef typename Op::template local<T>::type A;
    int first = blockIdx.x * tile;
    A all = fold<Op, A>(tile_count(n, first), load_one<T, A>{x + first});
    if (lane() == 0) out[blockIdx.x] = (S)all;
}

#if !GB_SERIAL
// Exclusive scan of one value per thread of a block of gb::lanes.
template <typename Op, typename A> __device__ A block_scan(A value)
{
    __shared__ A part[lanes];
    int t = threadIdx.x;
    part[t] = value;
    __syncthreads();
    for (int step = 1; step < lanes; step *= 2) { // Hillis, Steele 1986
        A other = t >= step ? part[t - step] : Op::template zero<A>();
        __syncthreads();
        part[t] = Op::template join<A>(other, part[t]);
        __syncthreads();
    }
    A before = t > 0 ? part[t - 1] : Op::template zero<A>();
    __syncthreads();
    return before;
}
#endif

#if GB_SERIAL
// One thread scans a tile. Each sum waits for the one before it, so groups are summed on their own,
// which a core does for several at once, and only the groups wait for each other. out may be x.
template <typename Op, typename T, typename A, int Inclusive>
__device__ __forceinline__ void scan_tile(const T *x, T *out, int count, A base)
{
    constexpr int group = 8;
    A all = Op::template zero<A>(), sums[group + 1];
    sums[0] = all;
    int i = 0;
    for (; i + group <= count; i += group) {
        for (int w = 0; w < group; w++) sums[w + 1] = Op::template join<A>(sums[w], (A)x[i + w]);
        A start = Op::template join<A>(base, all);
        for (int w = 0; w < group; w++)
            out[i + w] = (T)Op::template join<A>(start, sums[w + Inclusive]);
        all = Op::template join<A>(all, sums[group]);
    }
    for (; i < count; i++) {
        A with = Op::template join<A>(all, (A)x[i]);
        out[i] = (T)Op::template join<A>(base, Inclusive ? with : all);
        all = with;
    }
}
#endif

// One block per tile. before[b]: the join of all tiles before b, when has_before. out may be x.
template <typename Op, typename T, typename S>
__global__ void scan_tiles(const T *x, T *out, const S *before, int n, int has_before,
                           int exclusive)
{
    typedef typename Op::template local<T>::type A;
    int first = blockIdx.x * tile, count = tile_count(n, first);
    A base = has_before ? (A)before[blockIdx.x] : Op::template zero<A>();
    x += first;
    out += first;
#if GB_SERIAL
    if (exclusive)
        scan_tile<Op, T, A, 0>(x, out, count, base);
    else
        scan_tile<Op, T, A, 1>(x, out, count, base);
#else
    // A thread scans `each` neighbours; the gap after each run keeps threads on different banks.
    constexpr int each = tile / lanes;
    __shared__ A part[tile + lanes];
    int t = threadIdx.x;
    for (int i = t; i < tile; i += lanes)
        part[i + i / each] = i < count ? (A)x[i] : Op::template zero<A>();
    __syncthreads();
    A *own = part + t * (each + 1), all = Op::template zero<A>();
    for (int i = 0; i < each; i++) all = Op::template join<A>(all, own[i]);
    A start = Op::template join<A>(base, block_scan<Op, A>(all));
    for (int i = 0; i < each; i++) {
        A value = own[i], joined = Op::template join<A>(start, value);
        own[i] = exclusive ? start : joined;
        start = joined;
    }
    __syncthreads();
    for (int i = t; i < count; i += lanes) out[i] = (T)part[i + i / each];
#endif
}

} // namespace gb
