#include "check.cuh"

// ---- names that could confuse: text in comments and strings, __global__ void ghost(int *p) {}
/* __global__ void ghost2(int *p) {} */
#if 0
__global__ void ghost3(int *p) {}
#endif
#define KERNEL(name) extern "C" __global__ void name
#define COUNT 4
typedef unsigned int word;
using real = float;

namespace outer
{
namespace inner
{
__device__ int twice(int x)
{
    return 2 * x;
}
template <typename T> __device__ T thrice(T x)
{
    return x + x + x;
}
} // namespace inner
struct Pair {
    int a, b;
    __device__ Pair operator+(const Pair &o) const
    {
        return Pair{a + o.a, b + o.b};
    }
    __device__ bool operator==(const Pair &o) const
    {
        return a == o.a && b == o.b;
    }
    __device__ int sum() const
    {
        return a + b;
    }
};
__global__ void scale(float *out, int n)
{
    int i = threadIdx.x;
    if (i < n) out[i] *= 2;
}
} // namespace outer
namespace
{
__device__ int hidden(int x)
{
    return x - 1;
}
} // namespace

__host__ __device__ constexpr int square(int x)
{
    return x * x;
}
template <int N> struct Fact {
    enum { value = N * Fact<N - 1>::value };
};
template <> struct Fact<0> {
    enum { value = 1 };
};
struct Add {
    __device__ int operator()(int a, int b) const
    {
        return a + b;
    }
};
struct Mul {
    __device__ int operator()(int a, int b) const
    {
        return a * b;
    }
};
template <typename Op> __device__ int fold(const int *v, int n, int start, Op op)
{
    for (int i = 0; i < n; i++) start = op(start, v[i]);
    return start;
}
template <typename... A> __device__ int count(A...)
{
    return (int)sizeof...(A);
}
__device__ __forceinline__ int over(int)
{
    return 1;
}
__device__ __noinline__ int over(float)
{
    return 2;
}
__device__ int defaults(int a, int b = COUNT)
{
    return a * b;
}
__device__ int recursive(int n)
{
    return n < 2 ? n : recursive(n - 1) + recursive(n - 2);
}
class Counter
{
  public:
    __device__ explicit Counter(int start) : n(start)
    {
    }
    __device__ int next()
    {
        return n++;
    }

  private:
    int n;
};

CASE(namespaces)
{
    RAN();
    CHECK(outer::inner::twice(4) == 8);
    CHECK(outer::inner::thrice(2.5f) == 7.5f);
    CHECK(hidden(3) == 2);
    outer::Pair p = outer::Pair{1, 2} + outer::Pair{3, 4};
    CHECK((p == outer::Pair{4, 6}));
    CHECK(p.sum() == 10);
}

CASE(templates)
{
    RAN();
    int v[COUNT] = {1, 2, 3, 4};
    CHECK(fold(v, COUNT, 0, Add()) == 10);
    CHECK(fold(v, COUNT, 1, Mul{}) == 24);
    int k = 10;
    CHECK(fold(v, COUNT, 0, [=](int a, int b) { return a + b * k; }) == 100);
    CHECK(fold(v, COUNT, 0, [&k](int a, int b) { return a + b + k; }) == 50);
    CHECK(Fact<5>::value == 120);
    CHECK(count(1, 2.0, "x") == 3);
    static_assert(square(5) == 25, "constexpr");
    CHECK(over(1) == 1 && over(1.0f) == 2);
    CHECK(defaults(3) == 12 && defaults(3, 5) == 15);
    CHECK(recursive(10) == 55);
    Counter c(7);
    CHECK(c.next() == 7 && c.next() == 8);
    CHECK(__popc((word)COUNT) == 1);
}

KERNEL(by_macro)(real *x, const real a = 1.0f)
{
    x[threadIdx.x] = a;
}
__global__ void __launch_bounds__(256, 2) bounds(const int *__restrict__ in, int *__restrict__ out)
{
    out[threadIdx.x] = in[threadIdx.x];
}
extern "C" {
__global__ void in_block(unsigned char *p, unsigned long long q, const float4 v)
{
    p[0] = (unsigned char)(q + v.x);
}
}
__global__ void unnamed(int, float *, const outer::Pair *pairs, outer::Pair one)
{
}
__global__ void pick(int *out)
{
    out[0] = 1;
}
__global__ void pick(float *out)
{
    out[0] = 2.0f;
}
template <typename T, int N> __global__ void sum(const T *in, T *out)
{
    T s = 0;
    for (int i = 0; i < N; i++) s += in[i];
    out[threadIdx.x] = s;
}
template __global__ void sum<double, 3>(const double *, double *);

CASE(grid)
{
    RAN();
    CHECK(blockDim.x == 64 && blockDim.y == 1 && blockDim.z == 1);
    CHECK(gridDim.x == 2 && gridDim.y == 1 && gridDim.z == 1);
    CHECK(threadIdx.x < 64 && threadIdx.y == 0 && blockIdx.x < 2 && warpSize == 32);
    uint3 t = threadIdx;
    dim3 d = blockDim;
    dim3 e(3, 4);
    CHECK(t.x == threadIdx.x && d.x == 64 && e.y == 4 && e.z == 1);
}

CASE(control)
{
    RAN();
    int r = 0;
    const char *raw = R"x(
__global__ void ghost4() {} )x";
    CHECK(raw[0] == '\n');
#pragma unroll COUNT
    for (int i = 0; i < 8; i++) r += i;
    CHECK(r == 28);
    switch (threadIdx.x & 1) {
    case 0:
        r = 1;
        break;
    default:
        r = 2;
    }
    CHECK(r == 1 + (int)(threadIdx.x & 1));
    int v[8];
    for (int i = 0; i < 8; i++) v[i] = i * (int)threadIdx.x;
    CHECK(v[threadIdx.x & 7] == (int)(threadIdx.x & 7) * (int)threadIdx.x);
    CHECK(1'000 == 1000);
    do r++;
    while (r < 100);
    CHECK(r == 100);
}
