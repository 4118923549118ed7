// What the kernels of gb.lib share: tiles, element types, folds over a tile.
//
// A tile is a run of elements that one block handles. On a GPU a block has gb::lanes threads that
// share the work through shared memory. On the cpu backend (GB_SERIAL) a block is ONE thread that
// walks its tile, because there a barrier costs a switch of fibers for every thread. The tiles, the
// order of launches and the layout of every buffer are the same in both. -DGB_DEVICE_LAYOUT builds
// the GPU's way on the cpu backend too: so the tests see both.
#pragma once

#if defined(__GPUBRIDGE_CPU__) && !defined(GB_DEVICE_LAYOUT)
#define GB_SERIAL 1
#else
#define GB_SERIAL 0
#endif

namespace gb {

enum { tile = 4096, lanes = 256 };

// ---- element types ----

// sum: what partial sums of many tiles are kept in; local: what one tile is summed in.
template <typename T> struct type_of;
#define GB_INTEGER(T, S, L, low, high)                                                             \
    template <> struct type_of<T> {                                                                \
        typedef S sum;                                                                             \
        typedef L local;                                                                           \
        static __device__ __forceinline__ T lowest() { return (T)(low); }                          \
        static __device__ __forceinline__ T highest() { return (T)(high); }                        \
    };
GB_INTEGER(signed char, long long, int, -128, 127)
GB_INTEGER(unsigned char, unsigned long long, unsigned int, 0, 255)
GB_INTEGER(short, long long, int, -32768, 32767)
GB_INTEGER(unsigned short, unsigned long long, unsigned int, 0, 65535)
GB_INTEGER(int, long long, long long, -2147483647 - 1, 2147483647)
GB_INTEGER(unsigned int, unsigned long long, unsigned long long, 0, 0xffffffffu)
GB_INTEGER(long long, long long, long long, -9223372036854775807LL - 1, 9223372036854775807LL)
GB_INTEGER(unsigned long long, unsigned long long, unsigned long long, 0, 0xffffffffffffffffULL)
#undef GB_INTEGER
template <> struct type_of<float> {
    typedef double sum;
    typedef float local;
    static __device__ __forceinline__ float lowest() { return -highest(); }
    static __device__ __forceinline__ float highest() { return __int_as_float(0x7f800000); }
};
template <> struct type_of<double> {
    typedef double sum, local;
    static __device__ __forceinline__ double lowest() { return -highest(); }
    static __device__ __forceinline__ double highest()
    {
        return __longlong_as_double(0x7ff0000000000000LL);
    }
};

// ---- operations with a neutral element ----

// local: what a tile of T is joined in.
struct op_sum {
    template <typename T> struct local {
        typedef typename type_of<T>::local type;
    };
    template <typename A> static __device__ __forceinline__ A zero() { return A(0); }
    template <typename A> static __device__ __forceinline__ A join(A a, A b) { return a + b; }
};
// The new value stands on the left of <, so a NaN never replaces a number: NaNs are passed over.
struct op_min {
    template <typename T> struct local {
        typedef T type;
    };
    template <typename A> static __device__ __forceinline__ A zero()
    {
        return type_of<A>::highest();
    }
    template <typename A> static __device__ __forceinline__ A join(A a, A b)
    {
        return b < a ? b : a;
    }
};
struct op_max {
    template <typename T> struct local {
        typedef T type;
    };
    template <typename A> static __device__ __forceinline__ A zero()
    {
        return type_of<A>::lowest();
    }
    template <typename A> static __device__ __forceinline__ A join(A a, A b)
    {
        return b > a ? b : a;
    }
};

// ---- places ----

// The elements of tile number `block` of n: first, and how many.
static __device__ __forceinline__ int tile_count(int n, int first, int size = tile)
{
    return n - first < size ? n - first : size;
}

// for (int i = lane(); i < count; i += lane_step()): all of a tile, by all threads of the block.
static __device__ __forceinline__ int lane()
{
    return GB_SERIAL ? 0 : (int)threadIdx.x;
}
static __device__ __forceinline__ int lane_step()
{
    return GB_SERIAL ? 1 : (int)blockDim.x;
}
static __device__ __forceinline__ void block_sync()
{
#if !GB_SERIAL
    __syncthreads();
#endif
}

// ---- folds ----

#if !GB_SERIAL
// Joins one value per thread of a block of gb::lanes threads; every thread gets the result.
template <typename Op, typename A> __device__ A block_fold(A value)
{
    __shared__ A part[lanes];
    int t = threadIdx.x;
    part[t] = value;
    __syncthreads();
    for (int half = lanes / 2; half > 0; half /= 2) {
        if (t < half) part[t] = Op::join(part[t], part[t + half]);
        __syncthreads();
    }
    A all = part[0];
    __syncthreads(); // part may be written again
    return all;
}
#endif

// Joins load(0) .. load(count - 1). The parts are independent, so that they fit vector registers
// and do not wait for each other; the order of joins is fixed, so equal input gives equal bits.
template <typename Op, typename A, typename Load>
__device__ __forceinline__ A fold(int count, const Load &load)
{
#if GB_SERIAL
    constexpr int ways = sizeof(A) > 4 ? 16 : 32;
    A part[ways];
    for (int w = 0; w < ways; w++) part[w] = Op::template zero<A>();
    int i = 0;
    for (; i + ways <= count; i += ways)
        for (int w = 0; w < ways; w++) part[w] = Op::template join<A>(part[w], load(i + w));
    for (; i < count; i++) part[0] = Op::template join<A>(part[0], load(i));
    for (int half = ways / 2; half > 0; half /= 2)
        for (int w = 0; w < half; w++) part[w] = Op::template join<A>(part[w], part[w + half]);
    return part[0];
#else
    A value = Op::template zero<A>();
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        value = Op::template join<A>(value, load(i));
    return block_fold<Op, A>(value);
#endif
}

// Elements as A: a loader for fold.
template <typename T, typename A> struct load_one {
    const T *x;
    __device__ __forceinline__ A operator()(int i) const { return (A)x[i]; }
};
template <typename T, typename A> struct load_product {
    const T *x, *y;
    __device__ __forceinline__ A operator()(int i) const { return (A)x[i] * (A)y[i]; }
};
template <typename T, typename A> struct load_absolute {
    const T *x;
    __device__ __forceinline__ A operator()(int i) const
    {
        return (A)(x[i] > T(0) ? x[i] : T(0) - x[i]);
    }
};

} // namespace gb
