/* The vector types of CUDA, with its alignments, and make_ functions. */
#pragma once

#define __GB_VECTOR(name, type, align1, align2, align3, align4)                                    \
    struct __attribute__((aligned(align1))) name##1 {                                              \
        type x;                                                                                    \
    };                                                                                             \
    struct __attribute__((aligned(align2))) name##2 {                                              \
        type x, y;                                                                                 \
    };                                                                                             \
    struct __attribute__((aligned(align3))) name##3 {                                              \
        type x, y, z;                                                                              \
    };                                                                                             \
    struct __attribute__((aligned(align4))) name##4 {                                              \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    __gb_fn name##1 make_##name##1(type x)                                                         \
    {                                                                                              \
        return name##1 {x};                                                                        \
    }                                                                                              \
    __gb_fn name##2 make_##name##2(type x, type y)                                                 \
    {                                                                                              \
        return name##2 {x, y};                                                                     \
    }                                                                                              \
    __gb_fn name##3 make_##name##3(type x, type y, type z)                                         \
    {                                                                                              \
        return name##3 {x, y, z};                                                                  \
    }                                                                                              \
    __gb_fn name##4 make_##name##4(type x, type y, type z, type w)                                 \
    {                                                                                              \
        return name##4 {x, y, z, w};                                                               \
    }

__GB_VECTOR(char, signed char, 1, 2, 1, 4)
__GB_VECTOR(uchar, unsigned char, 1, 2, 1, 4)
__GB_VECTOR(short, short, 2, 4, 2, 8)
__GB_VECTOR(ushort, unsigned short, 2, 4, 2, 8)
__GB_VECTOR(int, int, 4, 8, 4, 16)
__GB_VECTOR(uint, unsigned int, 4, 8, 4, 16)
__GB_VECTOR(long, long, 8, 16, 8, 16)
__GB_VECTOR(ulong, unsigned long, 8, 16, 8, 16)
__GB_VECTOR(longlong, long long, 8, 16, 8, 16)
__GB_VECTOR(ulonglong, unsigned long long, 8, 16, 8, 16)
__GB_VECTOR(float, float, 4, 8, 4, 16)
__GB_VECTOR(double, double, 8, 16, 8, 16)
#undef __GB_VECTOR

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int vx = 1, unsigned int vy = 1, unsigned int vz = 1)
        : x(vx), y(vy), z(vz)
    {
    }
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z)
    {
    }
    template <typename V, unsigned int = V::__gb_is_view> /* threadIdx and its like */
    constexpr dim3(const V &v) : x(v.x), y(v.y), z(v.z)
    {
    }
    constexpr operator uint3() const
    {
        return uint3{x, y, z};
    }
};
