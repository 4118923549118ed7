/* Integer intrinsics, conversions between bits and numbers, min, max and abs, cached loads. */
#pragma once

__gb_fn int __popc(unsigned int x) { return __builtin_popcount(x); }
__gb_fn int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
__gb_fn int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
__gb_fn int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
__gb_fn int __ffs(int x) { return __builtin_ffs(x); }
__gb_fn int __ffsll(long long x) { return __builtin_ffsll(x); }
__gb_fn unsigned int __brev(unsigned int x)
{
    x = ((x >> 1) & 0x55555555u) | ((x & 0x55555555u) << 1);
    x = ((x >> 2) & 0x33333333u) | ((x & 0x33333333u) << 2);
    x = ((x >> 4) & 0x0f0f0f0fu) | ((x & 0x0f0f0f0fu) << 4);
    return __builtin_bswap32(x);
}
__gb_fn unsigned long long __brevll(unsigned long long x)
{
    return ((unsigned long long)__brev((unsigned)x) << 32) | __brev((unsigned)(x >> 32));
}
__gb_fn unsigned int __byte_perm(unsigned int x, unsigned int y, unsigned int s)
{
    unsigned long long both = ((unsigned long long)y << 32) | x;
    unsigned int r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned int pick = (s >> (4 * i)) & 0xf;
        unsigned int byte = (unsigned int)(both >> (8 * (pick & 7))) & 0xff;
        if (pick & 8) byte = byte & 0x80 ? 0xff : 0;
        r |= byte << (8 * i);
    }
    return r;
}
__gb_fn unsigned int __funnelshift_l(unsigned int lo, unsigned int hi, unsigned int shift)
{
    unsigned long long both = ((unsigned long long)hi << 32) | lo;
    return (unsigned int)((both << (shift & 31)) >> 32);
}
__gb_fn unsigned int __funnelshift_r(unsigned int lo, unsigned int hi, unsigned int shift)
{
    unsigned long long both = ((unsigned long long)hi << 32) | lo;
    return (unsigned int)(both >> (shift & 31));
}
__gb_fn unsigned int __funnelshift_lc(unsigned int lo, unsigned int hi, unsigned int shift)
{
    unsigned long long both = ((unsigned long long)hi << 32) | lo;
    return (unsigned int)((both << (shift > 32 ? 32 : shift)) >> 32);
}
__gb_fn unsigned int __funnelshift_rc(unsigned int lo, unsigned int hi, unsigned int shift)
{
    unsigned long long both = ((unsigned long long)hi << 32) | lo;
    return (unsigned int)(both >> (shift > 32 ? 32 : shift));
}
__gb_fn int __mul24(int x, int y)
{
    return (int)((unsigned)((x << 8) >> 8) * (unsigned)((y << 8) >> 8));
}
__gb_fn unsigned int __umul24(unsigned int x, unsigned int y)
{
    return (x & 0xffffff) * (y & 0xffffff);
}
__gb_fn int __mulhi(int x, int y) { return (int)(((long long)x * y) >> 32); }
__gb_fn unsigned int __umulhi(unsigned int x, unsigned int y)
{
    return (unsigned int)(((unsigned long long)x * y) >> 32);
}
__gb_fn long long __mul64hi(long long x, long long y)
{
    return (long long)(((__int128)x * y) >> 64);
}
__gb_fn unsigned long long __umul64hi(unsigned long long x, unsigned long long y)
{
    return (unsigned long long)(((unsigned __int128)x * y) >> 64);
}
__gb_fn int __hadd(int x, int y) { return (int)(((long long)x + y) >> 1); }
__gb_fn int __rhadd(int x, int y) { return (int)(((long long)x + y + 1) >> 1); }
__gb_fn unsigned int __uhadd(unsigned int x, unsigned int y)
{
    return (unsigned int)(((unsigned long long)x + y) >> 1);
}
__gb_fn unsigned int __urhadd(unsigned int x, unsigned int y)
{
    return (unsigned int)(((unsigned long long)x + y + 1) >> 1);
}
__gb_fn unsigned int __sad(int x, int y, unsigned int z)
{
    return z + (x > y ? (unsigned)x - (unsigned)y : (unsigned)y - (unsigned)x);
}
__gb_fn unsigned int __usad(unsigned int x, unsigned int y, unsigned int z)
{
    return z + (x > y ? x - y : y - x);
}
__gb_fn int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 32; i += 8) c += (int)(signed char)(a >> i) * (int)(signed char)(b >> i);
    return c;
}
__gb_fn unsigned int __dp4a(unsigned int a, unsigned int b, unsigned int c)
{
    for (int i = 0; i < 32; i += 8) c += ((a >> i) & 0xff) * ((b >> i) & 0xff);
    return c;
}

/* ---- bits of numbers ---- */

#define __GB_PUN(name, to, from)                                                                   \
    __gb_fn to name(from x)                                                                        \
    {                                                                                              \
        to r;                                                                                      \
        __builtin_memcpy(&r, &x, sizeof r);                                                        \
        return r;                                                                                  \
    }
__GB_PUN(__float_as_int, int, float)
__GB_PUN(__float_as_uint, unsigned int, float)
__GB_PUN(__int_as_float, float, int)
__GB_PUN(__uint_as_float, float, unsigned int)
__GB_PUN(__double_as_longlong, long long, double)
__GB_PUN(__longlong_as_double, double, long long)
__GB_PUN(__gb_double_bits, unsigned long long, double)
__GB_PUN(__gb_bits_double, double, unsigned long long)
#undef __GB_PUN
__gb_fn int __double2hiint(double x) { return (int)(__gb_double_bits(x) >> 32); }
__gb_fn int __double2loint(double x) { return (int)__gb_double_bits(x); }
__gb_fn double __hiloint2double(int hi, int lo)
{
    return __gb_bits_double(((unsigned long long)(unsigned)hi << 32) | (unsigned)lo);
}

/* ---- min, max, abs ---- */

#define __GB_MINMAX(type, a, b)                                                                    \
    __gb_fn type min(a x, b y) { return (type)x < (type)y ? (type)x : (type)y; }                   \
    __gb_fn type max(a x, b y) { return (type)x > (type)y ? (type)x : (type)y; }
__GB_MINMAX(int, int, int)
__GB_MINMAX(unsigned int, unsigned int, unsigned int)
__GB_MINMAX(unsigned int, int, unsigned int)
__GB_MINMAX(unsigned int, unsigned int, int)
__GB_MINMAX(long, long, long)
__GB_MINMAX(unsigned long, unsigned long, unsigned long)
__GB_MINMAX(unsigned long, long, unsigned long)
__GB_MINMAX(unsigned long, unsigned long, long)
__GB_MINMAX(long long, long long, long long)
__GB_MINMAX(unsigned long long, unsigned long long, unsigned long long)
__GB_MINMAX(unsigned long long, long long, unsigned long long)
__GB_MINMAX(unsigned long long, unsigned long long, long long)
#undef __GB_MINMAX
__gb_fn float min(float x, float y) { return __builtin_fminf(x, y); }
__gb_fn float max(float x, float y) { return __builtin_fmaxf(x, y); }
__gb_fn double min(double x, double y) { return __builtin_fmin(x, y); }
__gb_fn double max(double x, double y) { return __builtin_fmax(x, y); }
__gb_fn double min(float x, double y) { return __builtin_fmin(x, y); }
__gb_fn double max(float x, double y) { return __builtin_fmax(x, y); }
__gb_fn double min(double x, float y) { return __builtin_fmin(x, y); }
__gb_fn double max(double x, float y) { return __builtin_fmax(x, y); }
__gb_fn unsigned int umin(unsigned int x, unsigned int y) { return x < y ? x : y; }
__gb_fn unsigned int umax(unsigned int x, unsigned int y) { return x > y ? x : y; }
__gb_fn long long llmin(long long x, long long y) { return x < y ? x : y; }
__gb_fn long long llmax(long long x, long long y) { return x > y ? x : y; }
__gb_fn unsigned long long ullmin(unsigned long long x, unsigned long long y)
{
    return x < y ? x : y;
}
__gb_fn unsigned long long ullmax(unsigned long long x, unsigned long long y)
{
    return x > y ? x : y;
}
__gb_fn int abs(int x) { return x < 0 ? (int)(0u - (unsigned)x) : x; }
__gb_fn long abs(long x) { return x < 0 ? (long)(0ul - (unsigned long)x) : x; }
__gb_fn long long abs(long long x) { return x < 0 ? (long long)(0ull - (unsigned long long)x) : x; }
__gb_fn float abs(float x) { return __builtin_fabsf(x); }
__gb_fn double abs(double x) { return __builtin_fabs(x); }
__gb_fn long labs(long x) { return abs(x); }
__gb_fn long long llabs(long long x) { return abs(x); }

/* ---- loads and stores with a cache hint: plain ones ---- */

template <typename T> __gb_fn T __ldg(const T *at) { return *at; }
template <typename T> __gb_fn T __ldca(const T *at) { return *at; }
template <typename T> __gb_fn T __ldcg(const T *at) { return *at; }
template <typename T> __gb_fn T __ldcs(const T *at) { return *at; }
template <typename T> __gb_fn T __ldlu(const T *at) { return *at; }
template <typename T> __gb_fn T __ldcv(const T *at) { return *(const volatile T *)at; }
template <typename T> __gb_fn void __stwb(T *at, T value) { *at = value; }
template <typename T> __gb_fn void __stcg(T *at, T value) { *at = value; }
template <typename T> __gb_fn void __stcs(T *at, T value) { *at = value; }
template <typename T> __gb_fn void __stwt(T *at, T value) { *at = value; }
