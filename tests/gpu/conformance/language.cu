// The language: every kernel is y[i] = f(x, i), checked against doubles by test_conformance.c.
#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x

template <typename T, int K> __device__ T power(T x)
{
    if constexpr (K == 0)
        return T(1);
    else
        return x * power<T, K - 1>(x);
}
template <typename T> struct Twice {
    static __device__ T of(T x)
    {
        return x + x;
    }
};
template <> struct Twice<int> {
    static __device__ int of(int x)
    {
        return 2 * x;
    }
};
template <typename... Ts> __device__ float total(Ts... values)
{
    return (values + ... + 0.0f);
}

extern "C" __global__ void templates(const float *x, float *y, int n)
{
    INDEX;
    if (i < n)
        y[i] = power<float, 3>(x[i]) + Twice<float>::of(x[i]) + Twice<int>::of(i) +
               total(x[i], 1.0f, 2);
}

template <typename T, int K> __global__ void scaled(const T *x, T *y, int n)
{
    INDEX;
    if (i < n) y[i] = x[i] * T(K);
}

namespace outer
{
namespace inner
{
__device__ const float bias = 0.25f;
__device__ float f(float x)
{
    return x + bias;
}
} // namespace inner
__device__ float f(float x)
{
    return inner::f(x) * 2.0f;
}
} // namespace outer
namespace
{
__device__ float hidden(float x)
{
    return outer::f(x) - 1.0f;
}
} // namespace

extern "C" __global__ void namespaces(const float *x, float *y, int n)
{
    INDEX;
    using namespace outer;
    if (i < n) y[i] = hidden(x[i]) + f(x[i]) + inner::f(x[i]);
}

struct Complex {
    float re, im;
    __device__ Complex(float r = 0, float m = 0) : re(r), im(m)
    {
    }
    __device__ Complex operator+(const Complex &o) const
    {
        return Complex(re + o.re, im + o.im);
    }
    __device__ Complex &operator*=(const Complex &o)
    {
        float r = re * o.re - im * o.im;
        im = re * o.im + im * o.re;
        re = r;
        return *this;
    }
    __device__ explicit operator float() const
    {
        return re + im;
    }
    __device__ float operator[](int k) const
    {
        return k ? im : re;
    }
};
__device__ Complex operator*(Complex a, const Complex &b)
{
    return a *= b;
}

extern "C" __global__ void operators(const float *x, float *y, int n)
{
    INDEX;
    if (i >= n) return;
    Complex z(x[i], 0.5f), w = z * z + Complex(1.0f);
    w *= z;
    y[i] = float(w) + w[1];
}

struct Pair {
    float low, high;
};
__device__ __noinline__ Pair split(float v)
{
    return Pair{v - 1.0f, v + 1.0f};
}
__device__ __forceinline__ float join(const Pair &p)
{
    return p.low * p.high;
}
__device__ float join(const Pair &p, float extra)
{
    return join(p) + extra;
}
__host__ __device__ int gcd(int a, int b)
{
    return b == 0 ? a : gcd(b, a % b);
}
__device__ void through(float *out, const float &in)
{
    *out = in * 3.0f;
}

extern "C" __global__ void device_functions(const float *x, float *y, int n)
{
    INDEX;
    if (i >= n) return;
    float t;
    through(&t, x[i]);
    y[i] = join(split(x[i]), t) + gcd(i + 12, 18);
}

template <typename F> __device__ float apply(F f, float v)
{
    return f(f(v));
}

extern "C" __global__ void lambdas(const float *x, float *y, int n)
{
    INDEX;
    if (i >= n) return;
    float a = 1.5f, sum = 0.0f;
    auto add = [a](float v) { return v + a; };
    auto keep = [&](auto v) { sum += v; };
    for (int k = 0; k < 3; k++) keep(x[i] * k);
    y[i] = apply(add, x[i]) + sum;
}

struct Settings {
    float gain;
    int shift[3];
    double offset;
};

extern "C" __global__ void struct_parameter(const float *x, float *y, int n, Settings s)
{
    INDEX;
    if (i < n) y[i] = x[i] * s.gain + s.shift[i % 3] + (float)s.offset;
}

extern "C" __global__ void vector_types(const float *x, float *y, int n)
{
    INDEX;
    if (i >= n / 4) return;
    float4 v = reinterpret_cast<const float4 *>(x)[i];
    float2 d = make_float2(v.x + v.y, v.z - v.w);
    int3 k = make_int3(i, 2 * i, 3);
    uchar4 c = make_uchar4(1, 2, 3, 4);
    float4 r = make_float4(d.x, d.y, v.w * c.w, (float)(k.x + k.y + k.z));
    reinterpret_cast<float4 *>(y)[i] = r;
}

extern "C" __global__ void read_only_loads(const float *x, float *y, int n)
{
    INDEX;
    if (i < n) y[i] = __ldg(&x[i]) + __ldg(x + (n - 1 - i));
}

extern "C" __global__ void math(const float *x, float *y, int n)
{
    INDEX;
    if (i >= n) return;
    float v = x[i], p = fabsf(v) + 0.5f;
    float s = sqrtf(p) + expf(v) + logf(p) + sinf(v) * cosf(v) + tanhf(v) + powf(p, 1.5f);
    s += fmaf(v, v, 1.0f) + floorf(v * 10) + fminf(v, 0.1f) + fmaxf(v, 0.2f) + rsqrtf(p) + cbrtf(p);
    y[i] = s + atan2f(v, p) + hypotf(v, p) + fmodf(p, 0.3f) + copysignf(p, v) + erff(v) + log2f(p);
}

extern "C" __global__ void double_math(const double *x, double *y, int n)
{
    INDEX;
    if (i < n) y[i] = exp(x[i]) * sin(x[i]) + sqrt(fabs(x[i])) + fma(x[i], 3.0, 1.0);
}

extern "C" __global__ void bits(const unsigned *x, unsigned *y, int n)
{
    INDEX;
    if (i >= n) return;
    unsigned v = x[i];
    unsigned r = __popc(v) + 3u * __clz(v | 1u) + 7u * __ffs(v) + (__brev(v) >> 5);
    r ^= __byte_perm(v, ~v, 0x2705) + __umulhi(v, 0x9e3779b9u);
    y[i] = r + __popcll((unsigned long long)v << 7) + __clzll(v) + (unsigned)__float_as_int(1.5f);
}

extern "C" __global__ void grid_1d(const unsigned *x, unsigned *y, int n)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = x[i] + (unsigned)i;
}

extern "C" __global__ void grid_2d(const unsigned *x, unsigned *y, int n)
{
    unsigned column = blockIdx.x * blockDim.x + threadIdx.x,
             row = blockIdx.y * blockDim.y + threadIdx.y;
    unsigned width = gridDim.x * blockDim.x, i = row * width + column;
    if (i < (unsigned)n) y[i] = x[i] ^ (row << 16 | column);
}

extern "C" __global__ void grid_3d(const unsigned *x, unsigned *y, int n)
{
    dim3 size(gridDim.x * blockDim.x, gridDim.y * blockDim.y, gridDim.z * blockDim.z);
    uint3 at =
        make_uint3(blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y,
                   blockIdx.z * blockDim.z + threadIdx.z);
    unsigned i = (at.z * size.y + at.y) * size.x + at.x;
    if (i < (unsigned)n) y[i] = x[i] + at.x + 1000u * at.y + 1000000u * at.z;
}
