/* Where this OS thread is in the grid. Twelve numbers of internal linkage, thread_local, at
 * namespace scope, whose address nothing takes: so the compiler knows that no store of a kernel
 * changes them, keeps them in registers while the loop over threads runs, and the loop vectorises.
 * (Under a struct, one copy of it anywhere in the module, `uint3 t = threadIdx`, takes the address
 * and every loop of the module is scalar.) The names that kernels use are views of them. */
#pragma once

#ifdef __clang__
#define __GB_STATE(name)                                                                           \
    static thread_local unsigned int __gb_##name##_x, __gb_##name##_y, __gb_##name##_z;            \
    struct __gb_##name##_view {                                                                    \
        enum : unsigned int { __gb_is_view };                                                      \
        __declspec(property(get = __gb_get_x)) unsigned int x;                                     \
        __declspec(property(get = __gb_get_y)) unsigned int y;                                     \
        __declspec(property(get = __gb_get_z)) unsigned int z;                                     \
        __gb_fn unsigned int __gb_get_x()                                                          \
        {                                                                                          \
            return __gb_##name##_x;                                                                \
        }                                                                                          \
        __gb_fn unsigned int __gb_get_y()                                                          \
        {                                                                                          \
            return __gb_##name##_y;                                                                \
        }                                                                                          \
        __gb_fn unsigned int __gb_get_z()                                                          \
        {                                                                                          \
            return __gb_##name##_z;                                                                \
        }                                                                                          \
        inline __attribute__((always_inline)) operator uint3() const                               \
        {                                                                                          \
            return uint3{__gb_##name##_x, __gb_##name##_y, __gb_##name##_z};                       \
        }                                                                                          \
    };
__GB_STATE(thread)
__GB_STATE(block)
__GB_STATE(block_dim)
__GB_STATE(grid_dim)
#undef __GB_STATE
static constexpr __gb_thread_view threadIdx = {};
static constexpr __gb_block_view blockIdx = {};
static constexpr __gb_block_dim_view blockDim = {};
static constexpr __gb_grid_dim_view gridDim = {};
#else
/* gcc has no properties, and does not vectorise these loops either way */
static thread_local uint3 threadIdx, blockIdx;
static thread_local dim3 blockDim, gridDim;
#define __gb_thread_x threadIdx.x
#define __gb_thread_y threadIdx.y
#define __gb_thread_z threadIdx.z
#define __gb_block_x blockIdx.x
#define __gb_block_y blockIdx.y
#define __gb_block_z blockIdx.z
#define __gb_block_dim_x blockDim.x
#define __gb_block_dim_y blockDim.y
#define __gb_block_dim_z blockDim.z
#define __gb_grid_dim_x gridDim.x
#define __gb_grid_dim_y gridDim.y
#define __gb_grid_dim_z gridDim.z
#endif

static const int warpSize = 32;

static thread_local unsigned char *__gb_shared;
/* Aligned, and with it the image's block of thread_local memory: the leak checker of gcc 12 takes a
 * block at 16 bytes past a page for one of glibc 2.19's and follows what lies before it. */
alignas(64) static thread_local const gb_cpu_services *__gb_services;

extern "C" {
int vsnprintf(char *, size_t, const char *, __builtin_va_list) noexcept;
void *malloc(size_t) noexcept;
void free(void *) noexcept;
void *memcpy(void *, const void *, size_t) noexcept;
void *memset(void *, int, size_t) noexcept;
void *memmove(void *, const void *, size_t) noexcept;
int memcmp(const void *, const void *, size_t) noexcept;
}

/* Not inlined: a kernel that can print or trap stays small on its other paths. */
__attribute__((noinline, unused, format(printf, 1, 2))) static int printf(const char *format, ...)
{
    char text[1024], *at = text;
    __builtin_va_list args;
    __builtin_va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    __builtin_va_end(args);
    if (size < 0) return -1;
    if (size >= (int)sizeof text && (at = (char *)malloc((size_t)size + 1)) != nullptr) {
        __builtin_va_start(args, format);
        vsnprintf(at, (size_t)size + 1, format, args);
        __builtin_va_end(args);
    }
    __gb_services->print(__gb_services->self, at ? at : text);
    if (at && at != text) free(at);
    return size;
}

__attribute__((noinline, noreturn, cold, unused)) static void __gb_trap_now(const char *text)
{
    __gb_services->trap(__gb_services->self, text);
}

__attribute__((noinline, noreturn, cold, unused)) static void
__gb_assert_failed(const char *what, const char *file, int line)
{
    char text[512];
    __builtin_snprintf(text, sizeof text, "%s:%d: assertion '%s' failed", file, line, what);
    __gb_trap_now(text);
}

__attribute__((noreturn, unused)) static inline void __trap()
{
    __gb_trap_now("__trap()");
}
__gb_fn void __brkpt()
{
}

__gb_fn long long clock64()
{
#if defined(__x86_64__)
    return (long long)__builtin_ia32_rdtsc();
#elif defined(__clang__)
    return (long long)__builtin_readcyclecounter();
#else
    return 0;
#endif
}
__gb_fn clock_t clock()
{
    return (clock_t)clock64();
}
__gb_fn void __nanosleep(unsigned int)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}
