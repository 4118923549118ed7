/* The math functions of CUDA over the C library: float versions with f, double versions without,
 * and overloads by type. Accuracy is the C library's, which is at least CUDA's. */
#pragma once

extern "C" {
double acos(double) noexcept;
float acosf(float) noexcept;
double acosh(double) noexcept;
float acoshf(float) noexcept;
double asin(double) noexcept;
float asinf(float) noexcept;
double asinh(double) noexcept;
float asinhf(float) noexcept;
double atan(double) noexcept;
float atanf(float) noexcept;
double atanh(double) noexcept;
float atanhf(float) noexcept;
double cbrt(double) noexcept;
float cbrtf(float) noexcept;
double ceil(double) noexcept;
float ceilf(float) noexcept;
double cos(double) noexcept;
float cosf(float) noexcept;
double cosh(double) noexcept;
float coshf(float) noexcept;
double erf(double) noexcept;
float erff(float) noexcept;
double erfc(double) noexcept;
float erfcf(float) noexcept;
double exp(double) noexcept;
float expf(float) noexcept;
double exp2(double) noexcept;
float exp2f(float) noexcept;
double expm1(double) noexcept;
float expm1f(float) noexcept;
double fabs(double) noexcept;
float fabsf(float) noexcept;
double floor(double) noexcept;
float floorf(float) noexcept;
double j0(double) noexcept;
float j0f(float) noexcept;
double j1(double) noexcept;
float j1f(float) noexcept;
double lgamma(double) noexcept;
float lgammaf(float) noexcept;
double log(double) noexcept;
float logf(float) noexcept;
double log10(double) noexcept;
float log10f(float) noexcept;
double log1p(double) noexcept;
float log1pf(float) noexcept;
double log2(double) noexcept;
float log2f(float) noexcept;
double logb(double) noexcept;
float logbf(float) noexcept;
double nearbyint(double) noexcept;
float nearbyintf(float) noexcept;
double rint(double) noexcept;
float rintf(float) noexcept;
double round(double) noexcept;
float roundf(float) noexcept;
double sin(double) noexcept;
float sinf(float) noexcept;
double sinh(double) noexcept;
float sinhf(float) noexcept;
double sqrt(double) noexcept;
float sqrtf(float) noexcept;
double tan(double) noexcept;
float tanf(float) noexcept;
double tanh(double) noexcept;
float tanhf(float) noexcept;
double tgamma(double) noexcept;
float tgammaf(float) noexcept;
double trunc(double) noexcept;
float truncf(float) noexcept;
double y0(double) noexcept;
float y0f(float) noexcept;
double y1(double) noexcept;
float y1f(float) noexcept;
double atan2(double, double) noexcept;
float atan2f(float, float) noexcept;
double copysign(double, double) noexcept;
float copysignf(float, float) noexcept;
double fdim(double, double) noexcept;
float fdimf(float, float) noexcept;
double fmax(double, double) noexcept;
float fmaxf(float, float) noexcept;
double fmin(double, double) noexcept;
float fminf(float, float) noexcept;
double fmod(double, double) noexcept;
float fmodf(float, float) noexcept;
double hypot(double, double) noexcept;
float hypotf(float, float) noexcept;
double nextafter(double, double) noexcept;
float nextafterf(float, float) noexcept;
double pow(double, double) noexcept;
float powf(float, float) noexcept;
double remainder(double, double) noexcept;
float remainderf(float, float) noexcept;
double fma(double, double, double) noexcept;
float fmaf(float, float, float) noexcept;
double frexp(double, int *) noexcept;
float frexpf(float, int *) noexcept;
double ldexp(double, int) noexcept;
float ldexpf(float, int) noexcept;
double scalbn(double, int) noexcept;
float scalbnf(float, int) noexcept;
double scalbln(double, long) noexcept;
float scalblnf(float, long) noexcept;
double modf(double, double *) noexcept;
float modff(float, float *) noexcept;
double remquo(double, double, int *) noexcept;
float remquof(float, float, int *) noexcept;
int ilogb(double) noexcept;
int ilogbf(float) noexcept;
long lrint(double) noexcept;
long lrintf(float) noexcept;
long lround(double) noexcept;
long lroundf(float) noexcept;
long long llrint(double) noexcept;
long long llrintf(float) noexcept;
long long llround(double) noexcept;
long long llroundf(float) noexcept;
double jn(int, double) noexcept;
float jnf(int, float) noexcept;
double yn(int, double) noexcept;
float ynf(int, float) noexcept;
double exp10(double) noexcept;
float exp10f(float) noexcept;
void sincos(double, double *, double *) noexcept;
void sincosf(float, float *, float *) noexcept;
}

/* ---- overloads; whole numbers count as double, as in <cmath> ---- */

template <typename T, typename R> struct __gb_if_whole {
};
#define __GB_WHOLE(type)                                                                           \
    template <typename R> struct __gb_if_whole<type, R> {                                          \
        typedef R result;                                                                          \
    };
__GB_WHOLE(char)
__GB_WHOLE(signed char)
__GB_WHOLE(unsigned char)
__GB_WHOLE(short)
__GB_WHOLE(unsigned short)
__GB_WHOLE(int)
__GB_WHOLE(unsigned int)
__GB_WHOLE(long)
__GB_WHOLE(unsigned long)
__GB_WHOLE(long long)
__GB_WHOLE(unsigned long long)
#undef __GB_WHOLE
#define __GB_ONE(name)                                                                             \
    __gb_fn float name(float x) { return name##f(x); }                                             \
    template <typename T> __gb_fn typename __gb_if_whole<T, double>::result name(T x)              \
    {                                                                                              \
        return name((double)x);                                                                    \
    }
#define __GB_TWO(name)                                                                             \
    __gb_fn float name(float x, float y) { return name##f(x, y); }                                 \
    __gb_fn double name(float x, double y) { return name((double)x, y); }                          \
    __gb_fn double name(double x, float y) { return name(x, (double)y); }                          \
    template <typename T> __gb_fn typename __gb_if_whole<T, float>::result name(float x, T y)      \
    {                                                                                              \
        return name##f(x, (float)y);                                                               \
    }                                                                                              \
    template <typename T> __gb_fn typename __gb_if_whole<T, double>::result name(double x, T y)    \
    {                                                                                              \
        return name(x, (double)y);                                                                 \
    }                                                                                              \
    template <typename T> __gb_fn typename __gb_if_whole<T, float>::result name(T x, float y)      \
    {                                                                                              \
        return name##f((float)x, y);                                                               \
    }                                                                                              \
    template <typename T> __gb_fn typename __gb_if_whole<T, double>::result name(T x, double y)    \
    {                                                                                              \
        return name((double)x, y);                                                                 \
    }                                                                                              \
    template <typename T>                                                                          \
    __gb_fn typename __gb_if_whole<T, double>::result name(T x, T y)                               \
    {                                                                                              \
        return name((double)x, (double)y);                                                         \
    }
__GB_ONE(acos)
__GB_ONE(acosh)
__GB_ONE(asin)
__GB_ONE(asinh)
__GB_ONE(atan)
__GB_ONE(atanh)
__GB_ONE(cbrt)
__GB_ONE(ceil)
__GB_ONE(cos)
__GB_ONE(cosh)
__GB_ONE(erf)
__GB_ONE(erfc)
__GB_ONE(exp)
__GB_ONE(exp2)
__GB_ONE(expm1)
__GB_ONE(fabs)
__GB_ONE(floor)
__GB_ONE(j0)
__GB_ONE(j1)
__GB_ONE(lgamma)
__GB_ONE(log)
__GB_ONE(log10)
__GB_ONE(log1p)
__GB_ONE(log2)
__GB_ONE(logb)
__GB_ONE(nearbyint)
__GB_ONE(rint)
__GB_ONE(round)
__GB_ONE(sin)
__GB_ONE(sinh)
__GB_ONE(sqrt)
__GB_ONE(tan)
__GB_ONE(tanh)
__GB_ONE(tgamma)
__GB_ONE(trunc)
__GB_ONE(y0)
__GB_ONE(y1)
__GB_TWO(atan2)
__GB_TWO(copysign)
__GB_TWO(fdim)
__GB_TWO(fmax)
__GB_TWO(fmin)
__GB_TWO(fmod)
__GB_TWO(hypot)
__GB_TWO(nextafter)
__GB_TWO(pow)
__GB_TWO(remainder)
__GB_ONE(exp10)
#undef __GB_ONE
#undef __GB_TWO
__gb_fn float fma(float x, float y, float z) { return fmaf(x, y, z); }
__gb_fn float frexp(float x, int *e) { return frexpf(x, e); }
__gb_fn float ldexp(float x, int e) { return ldexpf(x, e); }
__gb_fn float scalbn(float x, int e) { return scalbnf(x, e); }
__gb_fn float scalbln(float x, long e) { return scalblnf(x, e); }
__gb_fn float modf(float x, float *whole) { return modff(x, whole); }
__gb_fn float remquo(float x, float y, int *q) { return remquof(x, y, q); }
__gb_fn int ilogb(float x) { return ilogbf(x); }
__gb_fn long lrint(float x) { return lrintf(x); }
__gb_fn long lround(float x) { return lroundf(x); }
__gb_fn long long llrint(float x) { return llrintf(x); }
__gb_fn long long llround(float x) { return llroundf(x); }
__gb_fn void sincos(float x, float *s, float *c) { sincosf(x, s, c); }
__gb_fn bool isnan(float x) { return __builtin_isnan(x); }
__gb_fn bool isnan(double x) { return __builtin_isnan(x); }
__gb_fn bool isinf(float x) { return __builtin_isinf(x); }
__gb_fn bool isinf(double x) { return __builtin_isinf(x); }
__gb_fn bool isfinite(float x) { return __builtin_isfinite(x); }
__gb_fn bool isfinite(double x) { return __builtin_isfinite(x); }
__gb_fn bool signbit(float x) { return __builtin_signbit(x); }
__gb_fn bool signbit(double x) { return __builtin_signbit(x); }
__gb_fn float nanf(const char *) { return __builtin_nanf(""); }
__gb_fn double nan(const char *) { return __builtin_nan(""); }
