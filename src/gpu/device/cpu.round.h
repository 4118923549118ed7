/* The rest of CUDA's math: functions the C library lacks, fast variants (the exact ones here),
 * operations with a rounding direction, conversions that saturate. Directed rounding takes the
 * nearest result and the sign of its error (Knuth's two-sum, and fma) and steps when needed. */
#pragma once

#define __GB_BOTH(name, suffix, type)                                                              \
    __gb_fn type rsqrt##suffix(type x) { return (type)1 / sqrt##suffix(x); }                       \
    __gb_fn type rcbrt##suffix(type x) { return (type)1 / cbrt##suffix(x); }                       \
    __gb_fn type rhypot##suffix(type x, type y) { return (type)1 / hypot##suffix(x, y); }          \
    __gb_fn type norm3d##suffix(type x, type y, type z)                                            \
    {                                                                                              \
        return hypot##suffix(hypot##suffix(x, y), z);                                              \
    }                                                                                              \
    __gb_fn type norm4d##suffix(type x, type y, type z, type w)                                    \
    {                                                                                              \
        return hypot##suffix(hypot##suffix(x, y), hypot##suffix(z, w));                            \
    }                                                                                              \
    __gb_fn type rnorm3d##suffix(type x, type y, type z)                                           \
    {                                                                                              \
        return (type)1 / norm3d##suffix(x, y, z);                                                  \
    }                                                                                              \
    __gb_fn type rnorm4d##suffix(type x, type y, type z, type w)                                   \
    {                                                                                              \
        return (type)1 / norm4d##suffix(x, y, z, w);                                               \
    }                                                                                              \
    __gb_fn type norm##suffix(int n, const type *v)                                                \
    {                                                                                              \
        type r = 0;                                                                                \
        for (int i = 0; i < n; i++) r = hypot##suffix(r, v[i]);                                    \
        return r;                                                                                  \
    }                                                                                              \
    __gb_fn type rnorm##suffix(int n, const type *v) { return (type)1 / norm##suffix(n, v); }      \
    __gb_fn type sinpi##suffix(type x)                                                             \
    {                                                                                              \
        type r = fmod##suffix(x, (type)2);                                                         \
        return r == trunc##suffix(r) ? copysign##suffix((type)0, x)                                \
                                     : sin##suffix(r * (type)3.14159265358979323846);              \
    }                                                                                              \
    __gb_fn type cospi##suffix(type x)                                                             \
    {                                                                                              \
        type r = fabs##suffix(fmod##suffix(x, (type)2));                                           \
        return r == (type)0.5 || r == (type)1.5 ? (type)0                                          \
                                                : cos##suffix(r * (type)3.14159265358979323846);   \
    }                                                                                              \
    __gb_fn void sincospi##suffix(type x, type *s, type *c)                                        \
    {                                                                                              \
        *s = sinpi##suffix(x);                                                                     \
        *c = cospi##suffix(x);                                                                     \
    }                                                                                              \
    __gb_fn type normcdf##suffix(type x)                                                           \
    {                                                                                              \
        return (type)0.5 * erfc##suffix(-x * (type)0.70710678118654752440);                        \
    }
__GB_BOTH(x, , double)
__GB_BOTH(x, f, float)
#undef __GB_BOTH
__gb_fn float rsqrt(float x) { return rsqrtf(x); }
__gb_fn float rcbrt(float x) { return rcbrtf(x); }
__gb_fn float sinpi(float x) { return sinpif(x); }
__gb_fn float cospi(float x) { return cospif(x); }
__gb_fn float normcdf(float x) { return normcdff(x); }

/* Scaled complementary error function: exp(x*x) erfc(x), by its continued fraction far out. */
__gb_fn double erfcx(double x)
{
    if (x < 10.0) return exp(x * x) * erfc(x);
    double inverse = 1.0 / x, q = 0.5 * inverse * inverse;
    return 0.56418958354775628695 * inverse * (1.0 - q * (1.0 - 3.0 * q * (1.0 - 5.0 * q)));
}
__gb_fn float erfcxf(float x) { return (float)erfcx((double)x); }
__gb_fn float erfcx(float x) { return erfcxf(x); }

/* The inverse of erf: a first guess (Giles 2010, single precision) and Newton's steps on erf. */
__attribute__((unused)) static inline double erfinv(double x)
{
    if (!(x > -1.0 && x < 1.0))
        return x == 1.0 ? __builtin_inf() : x == -1.0 ? -__builtin_inf() : __builtin_nan("");
    double w = -log((1.0 - x) * (1.0 + x)), a = 2.0 / (3.14159265358979323846 * 0.147);
    double t = a - w / 2.0, r = copysign(sqrt(sqrt(t * t + w / 0.147) - t), x);
    for (int i = 0; i < 3; i++) {
        double error = x >= 0.5    ? (1.0 - x) - erfc(r)
                       : x <= -0.5 ? erfc(-r) - (1.0 + x)
                                   : erf(r) - x;
        double slope = 1.12837916709551257390 * exp(-r * r);
        if (slope > 0.0) r -= error / (slope + error * r);
    }
    return r;
}
__gb_fn float erfinvf(float x) { return (float)erfinv((double)x); }
__gb_fn float erfinv(float x) { return erfinvf(x); }
__attribute__((unused)) static inline double erfcinv(double x)
{
    if (x > 0.0625) return erfinv(1.0 - x);
    if (!(x > 0.0)) return x == 0.0 ? __builtin_inf() : __builtin_nan("");
    double r = sqrt(-log(x * sqrt(-log(x) * 3.14159265358979323846)));
    for (int i = 0; i < 5; i++) {
        double error = erfc(r) - x, slope = -1.12837916709551257390 * exp(-r * r);
        if (slope < 0.0) r -= error / (slope + error * r);
    }
    return r;
}
__gb_fn float erfcinvf(float x) { return (float)erfcinv((double)x); }
__gb_fn double normcdfinv(double x) { return -1.41421356237309504880 * erfcinv(2.0 * x); }
__gb_fn float normcdfinvf(float x) { return (float)normcdfinv((double)x); }

/* Modified Bessel functions by their power series, and asymptotically from 30 on. */
__attribute__((unused)) static inline double __gb_bessel_i(int order, double x)
{
    double y = fabs(x), sum, term;
    if (y < 30.0) {
        term = sum = order ? y / 2.0 : 1.0;
        for (int k = 1; k < 200 && term > sum * 1e-17; k++)
            sum += term *= y * y / (4.0 * k * (k + order));
    } else {
        term = sum = 1.0;
        for (int k = 1; k < 20; k++)
            sum += term *= ((2.0 * k - 1.0) * (2.0 * k - 1.0) - 4.0 * order) / (8.0 * k * y);
        sum *= exp(y) / sqrt(6.28318530717958647693 * y);
    }
    return order && x < 0.0 ? -sum : sum;
}
__gb_fn double cyl_bessel_i0(double x) { return __gb_bessel_i(0, x); }
__gb_fn double cyl_bessel_i1(double x) { return __gb_bessel_i(1, x); }
__gb_fn float cyl_bessel_i0f(float x) { return (float)__gb_bessel_i(0, x); }
__gb_fn float cyl_bessel_i1f(float x) { return (float)__gb_bessel_i(1, x); }

/* ---- fast variants ---- */

__gb_fn float fdividef(float x, float y) { return x / y; }
__gb_fn float __fdividef(float x, float y) { return x / y; }
__gb_fn float __expf(float x) { return expf(x); }
__gb_fn float __exp10f(float x) { return exp10f(x); }
__gb_fn float __logf(float x) { return logf(x); }
__gb_fn float __log2f(float x) { return log2f(x); }
__gb_fn float __log10f(float x) { return log10f(x); }
__gb_fn float __sinf(float x) { return sinf(x); }
__gb_fn float __cosf(float x) { return cosf(x); }
__gb_fn float __tanf(float x) { return tanf(x); }
__gb_fn float __powf(float x, float y) { return powf(x, y); }
__gb_fn void __sincosf(float x, float *s, float *c) { sincosf(x, s, c); }
__gb_fn float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
__gb_fn float saturate(float x) { return __saturatef(x); }
__gb_fn float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }

/* ---- rounding directions ---- */

/* r is near the true value, whose error has the sign of e (true - r). */
#define __GB_STEP(name, suffix, type)                                                              \
    __gb_fn type name##_ru(type r, type e)                                                         \
    {                                                                                              \
        return e > 0 ? nextafter##suffix(r, (type)__builtin_inf()) : r;                            \
    }                                                                                              \
    __gb_fn type name##_rd(type r, type e)                                                         \
    {                                                                                              \
        return e < 0 ? nextafter##suffix(r, -(type)__builtin_inf()) : r;                           \
    }                                                                                              \
    __gb_fn type name##_rz(type r, type e) { return r < 0 ? name##_ru(r, e) : name##_rd(r, e); }   \
    __gb_fn type name##_rn(type r, type) { return r; }
__GB_STEP(__gb_step, , double)
__GB_STEP(__gb_stepf, f, float)
#undef __GB_STEP
__gb_fn float __gb_sign(double e) { return e > 0 ? 1.0f : e < 0 ? -1.0f : 0.0f; }
__gb_fn double __gb_two_sum(double x, double y, double s)
{
    volatile double b = s - x, a = s - b; /* volatile: no re-association under fast math */
    return (x - a) + (y - b);
}

#define __GB_ROUND(mode)                                                                           \
    __gb_fn double __dadd_##mode(double x, double y)                                               \
    {                                                                                              \
        double s = x + y;                                                                          \
        return __gb_step_##mode(s, __gb_two_sum(x, y, s));                                         \
    }                                                                                              \
    __gb_fn double __dsub_##mode(double x, double y) { return __dadd_##mode(x, -y); }              \
    __gb_fn double __dmul_##mode(double x, double y)                                               \
    {                                                                                              \
        double p = x * y;                                                                          \
        return __gb_step_##mode(p, __builtin_fma(x, y, -p));                                       \
    }                                                                                              \
    __gb_fn double __ddiv_##mode(double x, double y)                                               \
    {                                                                                              \
        double q = x / y, e = __builtin_fma(-q, y, x);                                             \
        return __gb_step_##mode(q, y < 0 ? -e : e);                                                \
    }                                                                                              \
    __gb_fn double __dsqrt_##mode(double x)                                                        \
    {                                                                                              \
        double s = __builtin_sqrt(x);                                                              \
        return __gb_step_##mode(s, __builtin_fma(-s, s, x));                                       \
    }                                                                                              \
    __gb_fn double __drcp_##mode(double x) { return __ddiv_##mode(1.0, x); }                       \
    __gb_fn double __fma_##mode(double x, double y, double z)                                      \
    {                                                                                              \
        double r = __builtin_fma(x, y, z), p = x * y;                                              \
        return __gb_step_##mode(r, (p - r) + z + __builtin_fma(x, y, -p));                         \
    }                                                                                              \
    __gb_fn float __gb_float_##mode(double d, double e)                                            \
    {                                                                                              \
        float r = (float)d;                                                                        \
        return __gb_stepf_##mode(r, (double)r == d ? __gb_sign(e) : __gb_sign(d - (double)r));     \
    }                                                                                              \
    __gb_fn float __fadd_##mode(float x, float y)                                                  \
    {                                                                                              \
        double s = (double)x + y;                                                                  \
        return __gb_float_##mode(s, __gb_two_sum(x, y, s));                                        \
    }                                                                                              \
    __gb_fn float __fsub_##mode(float x, float y) { return __fadd_##mode(x, -y); }                 \
    __gb_fn float __fmul_##mode(float x, float y) { return __gb_float_##mode((double)x * y, 0); }  \
    __gb_fn float __fdiv_##mode(float x, float y)                                                  \
    {                                                                                              \
        double q = (double)x / y, e = __builtin_fma(-q, (double)y, (double)x);                     \
        return __gb_float_##mode(q, y < 0 ? -e : e);                                               \
    }                                                                                              \
    __gb_fn float __fsqrt_##mode(float x)                                                          \
    {                                                                                              \
        double s = __builtin_sqrt((double)x);                                                      \
        return __gb_float_##mode(s, __builtin_fma(-s, s, (double)x));                              \
    }                                                                                              \
    __gb_fn float __frcp_##mode(float x) { return __fdiv_##mode(1.0f, x); }                        \
    __gb_fn float __fmaf_##mode(float x, float y, float z)                                         \
    {                                                                                              \
        double p = (double)x * y, s = p + z;                                                       \
        return __gb_float_##mode(s, __gb_two_sum(p, z, s));                                        \
    }                                                                                              \
    __gb_fn float __double2float_##mode(double x) { return __gb_float_##mode(x, 0); }              \
    __gb_fn float __int2float_##mode(int x) { return __gb_float_##mode((double)x, 0); }            \
    __gb_fn float __uint2float_##mode(unsigned int x) { return __gb_float_##mode((double)x, 0); }
/* Nearest is the plain operation: no step, and it vectorises. */
__GB_ROUND(ru)
__GB_ROUND(rd)
__GB_ROUND(rz)
#undef __GB_ROUND
#define __GB_NEAREST(letter, type, fused, root)                                                    \
    __gb_fn type __##letter##add_rn(type x, type y) { return x + y; }                              \
    __gb_fn type __##letter##sub_rn(type x, type y) { return x - y; }                              \
    __gb_fn type __##letter##mul_rn(type x, type y) { return x * y; }                              \
    __gb_fn type __##letter##div_rn(type x, type y) { return x / y; }                              \
    __gb_fn type __##letter##rcp_rn(type x) { return (type)1 / x; }                                \
    __gb_fn type __##letter##sqrt_rn(type x) { return root(x); }                                   \
    __gb_fn type fused(type x, type y, type z) { return fma(x, y, z); }
__GB_NEAREST(f, float, __fmaf_rn, sqrtf)
__GB_NEAREST(d, double, __fma_rn, sqrt)
#undef __GB_NEAREST
__gb_fn float __double2float_rn(double x) { return (float)x; }
__gb_fn float __int2float_rn(int x) { return (float)x; }
__gb_fn float __uint2float_rn(unsigned int x) { return (float)x; }
__gb_fn float __ll2float_rn(long long x) { return (float)x; }
__gb_fn float __ull2float_rn(unsigned long long x) { return (float)x; }
__gb_fn double __int2double_rn(int x) { return x; }
__gb_fn double __uint2double_rn(unsigned int x) { return x; }
__gb_fn double __ll2double_rn(long long x) { return (double)x; }
__gb_fn double __ull2double_rn(unsigned long long x) { return (double)x; }

/* Out of range saturates, NaN is 0, as on the device. */
#define __GB_WHOLE(name, type, low, high)                                                          \
    __gb_fn type __gb_to_##name(double x)                                                          \
    {                                                                                              \
        return !(x == x) ? 0 : x <= (double)(low) ? (low) : x >= (double)(high) ? (high) : (type)x;\
    }                                                                                              \
    __gb_fn type __float2##name##_rn(float x) { return __gb_to_##name(rint((double)x)); }          \
    __gb_fn type __float2##name##_rz(float x) { return __gb_to_##name(trunc((double)x)); }         \
    __gb_fn type __float2##name##_ru(float x) { return __gb_to_##name(ceil((double)x)); }          \
    __gb_fn type __float2##name##_rd(float x) { return __gb_to_##name(floor((double)x)); }         \
    __gb_fn type __double2##name##_rn(double x) { return __gb_to_##name(rint(x)); }                \
    __gb_fn type __double2##name##_rz(double x) { return __gb_to_##name(trunc(x)); }               \
    __gb_fn type __double2##name##_ru(double x) { return __gb_to_##name(ceil(x)); }                \
    __gb_fn type __double2##name##_rd(double x) { return __gb_to_##name(floor(x)); }
__GB_WHOLE(int, int, -2147483647 - 1, 2147483647)
__GB_WHOLE(uint, unsigned int, 0u, 4294967295u)
__GB_WHOLE(ll, long long, -9223372036854775807LL - 1, 9223372036854775807LL)
__GB_WHOLE(ull, unsigned long long, 0ull, 18446744073709551615ull)
#undef __GB_WHOLE
