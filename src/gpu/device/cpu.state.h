/* Where this OS thread is in the grid. Internal linkage, thread_local, at namespace scope, and no
 * address is ever taken: so the compiler keeps them in registers while the loop over threads runs,
 * and the loop vectorises. As members of a struct that the kernel sees through a pointer it does
 * not. */
#pragma once

static thread_local uint3 threadIdx, blockIdx;
static thread_local dim3 blockDim, gridDim;

static const int warpSize = 32;

static thread_local unsigned char *__gb_shared;
static thread_local const gb_cpu_services *__gb_services;

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
