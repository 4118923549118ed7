#include "check.cuh"
#include <cassert>
#include <cmath>
#include <cstdint>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <math_constants.h>

CASE(bits)
{
    RAN();
    CHECK(__popc(0xf0f0u) == 8 && __popcll(~0ull) == 64);
    CHECK(__clz(1) == 31 && __clz(0) == 32 && __clzll(1) == 63 && __clzll(0) == 64);
    CHECK(__ffs(8) == 4 && __ffs(0) == 0 && __ffsll(1ll << 40) == 41);
    CHECK(__brev(1u) == 0x80000000u && __brevll(1ull) == 1ull << 63);
    CHECK(__byte_perm(0x03020100u, 0x07060504u, 0x7531) == 0x07050301u);
    CHECK(__funnelshift_l(0x80000000u, 1u, 1) == 3u && __funnelshift_r(0u, 1u, 1) == 0x80000000u);
    CHECK(__mul24(-3, 5) == -15 && __umul24(3, 5) == 15u);
    CHECK(__mulhi(1 << 30, 8) == 2 && __umulhi(1u << 31, 4u) == 2u);
    CHECK(__mul64hi(1ll << 62, 8) == 2 && __umul64hi(1ull << 63, 4ull) == 2);
    CHECK(__hadd(3, 6) == 4 && __rhadd(3, 6) == 5 && __uhadd(3u, 6u) == 4u);
    CHECK(__sad(3, 10, 1u) == 8u && __usad(10u, 3u, 1u) == 8u);
    CHECK(__dp4a(0x01010101, 0x02020202, 1) == 9);
    CHECK(__float_as_int(1.0f) == 0x3f800000 && __int_as_float(0x40000000) == 2.0f);
    CHECK(__double_as_longlong(1.0) == 0x3ff0000000000000ll &&
          __longlong_as_double(0x4000000000000000ll) == 2.0);
    CHECK(__hiloint2double(__double2hiint(3.25), __double2loint(3.25)) == 3.25);
    CHECK(min(3, -2) == -2 && max(3u, 5u) == 5u && min(1.5f, 0.5f) == 0.5f && max(2.0, 3.0) == 3.0);
    CHECK(min(5ll, 6ll) == 5 && max(1ull, 2ull) == 2 && abs(-3) == 3 && abs(-2.5f) == 2.5f &&
          abs(-2.5) == 2.5);
    CHECK(INT_MAX == 2147483647 && FLT_MAX > 1e38f && UINT32_MAX == 4294967295u);
    const int seven = 7;
    CHECK(__ldg(&seven) == 7);
}

CASE(math_float)
{
    RAN();
    float x = 0.5f + threadIdx.x * 0.01f, s, c;
    double d = x;
    CHECK(near(sinf(x), sin(d), 1e-5) && near(cosf(x), cos(d), 1e-5) &&
          near(tanf(x), tan(d), 1e-5));
    CHECK(near(expf(x), exp(d), 1e-5) && near(logf(x + 1), log(d + 1), 1e-5) &&
          near(powf(x, 2.5f), pow(d, 2.5), 1e-5));
    CHECK(near(sqrtf(x), sqrt(d), 1e-6) && near(rsqrtf(x), 1 / sqrt(d), 1e-5) &&
          near(cbrtf(x), cbrt(d), 1e-5));
    sincosf(x, &s, &c);
    CHECK(near(s, sin(d), 1e-5) && near(c, cos(d), 1e-5));
    CHECK(near(s * s + c * c, 1.0, 1e-5));
    CHECK(near(__expf(x), exp(d), 1e-3) && near(__sinf(x), sin(d), 1e-3) &&
          near(__logf(x + 2), log(d + 2), 1e-3));
    CHECK(near(__fdividef(1.0f, x), 1 / d, 1e-5) && near(fdividef(1.0f, x), 1 / d, 1e-5));
    CHECK(fmaf(2.0f, 3.0f, 4.0f) == 10.0f && fminf(1, 2) == 1 && fmaxf(1, 2) == 2 &&
          fabsf(-x) == x);
    CHECK(floorf(1.7f) == 1 && ceilf(1.2f) == 2 && truncf(-1.5f) == -1 && roundf(2.5f) == 3 &&
          rintf(2.5f) == 2);
    CHECK(fmodf(7.5f, 2.0f) == 1.5f && copysignf(1.0f, -2.0f) == -1.0f && hypotf(3, 4) == 5);
    CHECK(near(exp2f(3), 8, 1e-6) && near(exp10f(2), 100, 1e-5) && near(log2f(8), 3, 1e-6) &&
          near(log10f(100), 2, 1e-6));
    CHECK(near(erff(x), erf(d), 1e-5) && near(erfcf(x), erfc(d), 1e-5) &&
          near(tgammaf(5), 24, 1e-4));
    CHECK(near(norm3df(1, 2, 2), 3, 1e-6) && near(rnorm3df(1, 2, 2), 1 / 3.0, 1e-5) &&
          near(norm4df(1, 1, 1, 1), 2, 1e-6));
    CHECK(near(sinpif(0.5f), 1, 1e-6) && cospif(0.5f) == 0 && near(normcdff(0), 0.5, 1e-6));
    CHECK(near(erfinvf(erff(0.7f)), 0.7, 1e-4) && near(normcdfinvf(0.975f), 1.959964, 1e-4));
    CHECK(__saturatef(1.5f) == 1 && __saturatef(-1.0f) == 0 && __saturatef(0.25f) == 0.25f);
    CHECK(isnan(CUDART_NAN_F) && isinf(CUDART_INF_F) && !isfinite(CUDART_INF_F) && signbit(-1.0f));
    CHECK(isinf(INFINITY) && isnan(NAN) && std::sqrt(4.0f) == 2.0f && std::abs(-1.0) == 1.0);
    CHECK(sqrt(4.0f) == 2.0f && sin(0.0f) == 0.0f && pow(2.0f, 3.0f) == 8.0f &&
          pow(2.0, 10) == 1024.0);
    assert(x > 0);
}

CASE(math_double)
{
    RAN();
    double x = 0.5 + threadIdx.x * 0.01, s, c;
    CHECK(near(exp(log(x)), x, 1e-12) && near(sqrt(x) * sqrt(x), x, 1e-12) &&
          near(rsqrt(4.0), 0.5, 1e-12));
    sincos(x, &s, &c);
    CHECK(near(s * s + c * c, 1, 1e-12) && near(atan2(s, c), x, 1e-12) &&
          fma(2.0, 3.0, 4.0) == 10.0);
    CHECK(near(norm3d(1, 2, 2), 3, 1e-12) && near(erfinv(erf(0.3)), 0.3, 1e-10) &&
          near(erfcinv(erfc(1.2)), 1.2, 1e-10));
    CHECK(near(normcdfinv(normcdf(-1.5)), -1.5, 1e-9) &&
          near(erfcx(0.5), exp(0.25) * erfc(0.5), 1e-12));
    CHECK(near(cyl_bessel_i0(1.0), 1.2660658777520084, 1e-12) &&
          near(cyl_bessel_i1(1.0), 0.5651591039924851, 1e-12));
    CHECK(near(j0(1.0), 0.76519768655796655, 1e-12) &&
          near(lgamma(10.0), 12.801827480081469, 1e-12));
    int e;
    CHECK(frexp(8.0, &e) == 0.5 && e == 4 && ldexp(0.5, 4) == 8 && ilogb(8.0) == 3 &&
          lround(2.5) == 3);
    CHECK(nextafter(1.0, 2.0) > 1.0 && remainder(5.0, 3.0) == -1.0 && trunc(-1.5) == -1.0);
}

CASE(rounding)
{
    RAN();
    double third_d = __ddiv_rd(1.0, 3.0), third_u = __ddiv_ru(1.0, 3.0);
    CHECK(third_d < third_u && nextafter(third_d, 1.0) == third_u);
    CHECK(__fadd_ru(1.0f, 1e-10f) > 1.0f && __fadd_rd(1.0f, 1e-10f) == 1.0f &&
          __fadd_rn(1.0f, 1e-10f) == 1.0f);
    CHECK(__fmul_rz(-0.1f, 0.1f) >= __fmul_rd(-0.1f, 0.1f) && __fmaf_rn(2.0f, 3.0f, 1.0f) == 7.0f);
    CHECK(__dadd_rz(1.0, -1e-30) < 1.0 && __dadd_ru(1.0, -1e-30) == 1.0 &&
          __dmul_rn(2.0, 3.0) == 6.0);
    CHECK(__float2int_rn(2.5f) == 2 && __float2int_rz(-2.5f) == -2 && __float2int_ru(2.1f) == 3 &&
          __float2int_rd(-2.1f) == -3);
    CHECK(__float2int_rz(1e20f) == INT_MAX && __float2uint_rz(-5.0f) == 0u);
    CHECK(__double2ll_rn(1e3) == 1000 && __int2float_rn(7) == 7.0f && __double2float_rd(0.1) < 0.1);
    CHECK(__fsqrt_rn(4.0f) == 2.0f && __frcp_rn(4.0f) == 0.25f && __fma_rn(2.0, 3.0, 1.0) == 7.0);
}

__device__ int ai;
__device__ unsigned au, ainc, adec = 3;
__device__ unsigned long long al;
__device__ float af;
__device__ double ad;
__device__ int amin = 1000, amax = -1000;
__device__ long long lmin = 1ll << 50;
CASE(atomics)
{
    RAN();
    int t = (int)threadIdx.x;
    atomicAdd(&ai, 2);
    atomicSub(&ai, 1);
    atomicAdd(&au, 1u);
    atomicAdd(&al, 1ull << 33);
    atomicAdd(&af, 0.5f);
#if __CUDA_ARCH__ >= 600
    atomicAdd(&ad, 0.25);
    atomicAdd_block(&au, 0u);
    atomicAdd_system(&au, 0u);
#endif
    atomicMin(&amin, t);
    atomicMax(&amax, t);
    atomicMin(&lmin, (long long)t);
    atomicInc(&ainc, 9u);
    atomicDec(&adec, 9u);
    atomicOr(&bad[3], 1 << (t & 15));
    atomicAnd(&bad[4], ~0);
    atomicXor(&bad[5], 3);
    atomicExch(&bad[6], 42);
    int old = atomicCAS(&bad[7], 0, 5);
    CHECK(old == 0 || old == 5);
    __threadfence();
    __threadfence_block();
    __threadfence_system();
    float f = atomicExch(&af, af);
    CHECK(f >= 0);
}
