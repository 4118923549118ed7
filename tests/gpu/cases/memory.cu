#include "check.cuh"
#include <stdint.h>

struct Body {
    float x, y, z;
    int id;
    double m[2];
};
__constant__ float weights[4] = {1, 2, 3, 4};
__device__ int counter = 5, other;
__device__ Body bodies[3];
static __device__ unsigned long long big = 1ull << 40;
namespace deep
{
__constant__ int value = 9;
__device__ float4 vec = {1, 2, 3, 4};
} // namespace deep
__device__ const float fixed_value = 2.5f;
extern __shared__ int outside[];

CASE(globals)
{
    RAN();
    CHECK(weights[2] == 3 && counter == 5 && other == 0 && big == 1ull << 40);
    CHECK(deep::value == 9 && deep::vec.z == 3 && fixed_value == 2.5f);
    bodies[threadIdx.x % 3].id = 1;
    CHECK(sizeof(Body) == 32 && sizeof(uint64_t) == 8 && INT32_MAX == 2147483647);
}
__global__ void use_body(const Body *in, Body one, int32_t n, uint8_t *bytes)
{
    bytes[0] = (uint8_t)(in->id + one.id + n);
}

CASE(shared_static)
{
    RAN();
    __shared__ int tile[64];
    __shared__ float grid[4][16];
    __shared__ Body one;
    tile[threadIdx.x] = (int)threadIdx.x;
    grid[threadIdx.x / 16][threadIdx.x % 16] = 1.0f;
    if (threadIdx.x == 0) one.id = 77;
    __syncthreads();
    CHECK(tile[63 - threadIdx.x] == 63 - (int)threadIdx.x);
    CHECK(grid[3][15] == 1.0f && one.id == 77);
    __syncthreads();
    for (int s = 32; s > 0; s >>= 1) {
        if (threadIdx.x < s) tile[threadIdx.x] += tile[threadIdx.x + s];
        __syncthreads();
    }
    CHECK(tile[0] == 2016);
}

template <typename T> struct Shared;
template <> struct Shared<int> {
    __device__ static int *get()
    {
        extern __shared__ int s_int[];
        return s_int;
    }
};
template <> struct Shared<double> {
    __device__ static double *get()
    {
        extern __shared__ double s_double[];
        return s_double;
    }
};
template <typename T> __device__ T reverse(T mine)
{
    T *s = Shared<T>::get();
    s[threadIdx.x] = mine;
    __syncthreads();
    T got = s[blockDim.x - 1 - threadIdx.x];
    __syncthreads();
    return got;
}

CASE(shared_dynamic)
{
    RAN();
    extern __shared__ __align__(16) unsigned char raw[];
    int *a = (int *)raw;
    float *b = (float *)(a + 64);
    a[threadIdx.x] = (int)threadIdx.x;
    b[threadIdx.x] = 0.5f;
    __syncthreads();
    CHECK(outside[63] == 63);
    CHECK(b[(threadIdx.x + 1) % 64] == 0.5f);
    __syncthreads();
    CHECK(reverse((int)threadIdx.x) == 63 - (int)threadIdx.x);
    CHECK(reverse(threadIdx.x * 0.5) == (63 - threadIdx.x) * 0.5);
    extern __shared__ float table[][8];
    table[threadIdx.x / 8][threadIdx.x % 8] = (float)threadIdx.x;
    __syncthreads();
    CHECK(table[7][7] == 63.0f);
}

CASE(barriers)
{
    RAN();
    CHECK(__syncthreads_count(threadIdx.x < 10) == 10);
    CHECK(__syncthreads_and(threadIdx.x < 64) && !__syncthreads_and(threadIdx.x < 63));
    CHECK(__syncthreads_or(threadIdx.x == 5) && !__syncthreads_or(0));
    CHECK(threadIdx.x < 64);
}
__device__ void deep_barrier()
{
    __syncthreads();
}
__device__ void deeper()
{
    deep_barrier();
}
extern "C" __global__ void indirect_sync(int *bad)
{
    deeper();
    RAN();
}
struct Syncs {
    __device__ void operator()() const
    {
        __syncthreads();
    }
};
struct Quiet {
    __device__ void operator()() const
    {
    }
};

CASE(vectors)
{
    RAN();
    float4 v = make_float4(1, 2, 3, 4);
    int2 i = make_int2(5, 6);
    uchar3 c = make_uchar3(1, 2, 3);
    double2 d = {1.5, 2.5};
    ulonglong2 u = make_ulonglong2(1, 2);
    CHECK(v.x + v.y + v.z + v.w == 10 && i.y == 6 && c.z == 3 && d.y == 2.5 && u.y == 2);
    CHECK(sizeof(float3) == 12 && alignof(float3) == 4 && alignof(float4) == 16 &&
          sizeof(char3) == 3);
    CHECK(alignof(float2) == 8 && alignof(double2) == 16 && alignof(short4) == 8 &&
          alignof(uchar4) == 4);
    CHECK(sizeof(longlong3) == 24 && sizeof(ushort2) == 4 && sizeof(uint4) == 16 &&
          sizeof(char1) == 1);
    __align__(16) float raw[4] = {1, 2, 3, 4};
    float4 w = *reinterpret_cast<float4 *>(raw);
    CHECK(w.w == 4);
}
