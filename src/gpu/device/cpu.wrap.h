/* What the generated wrapper of a module is made of: types as the compiler sees them, and the loops
 * that run a kernel over blocks and threads. C++11, so that every -std of the list will do. */
#pragma once

/* ---- types: enum gb_type_code of gpu.h ---- */

template <typename T> struct __gb_type {
    enum { code = 0, lanes = 1 };
    static const char *name()
    {
        /* "... [T = Body]" (clang), "... [with T = Body]" (gcc) */
        static char text[256];
        const char *at = __PRETTY_FUNCTION__;
        size_t size = 0;
        while (*at && !(at[0] == 'T' && at[1] == ' ' && at[2] == '=' && at[3] == ' ')) at++;
        if (!*at) return "?";
        for (at += 4; at[size]; size++) {
        }
        size = size > sizeof text ? sizeof text - 1 : size - 1; /* without the bracket */
        const char anonymous[] = "(anonymous namespace)::", other[] = "{anonymous}::";
        char *to = text;
        for (size_t i = 0; i < size;) {
            if (i + sizeof anonymous - 1 <= size &&
                !memcmp(at + i, anonymous, sizeof anonymous - 1))
                i += sizeof anonymous - 1;
            else if (i + sizeof other - 1 <= size && !memcmp(at + i, other, sizeof other - 1))
                i += sizeof other - 1;
            else
                *to++ = at[i++];
        }
        *to = 0;
        return text;
    }
};
#define __GB_TYPE(type, number)                                                                    \
    template <> struct __gb_type<type> {                                                           \
        enum { code = number, lanes = 1 };                                                         \
        static const char *name()                                                                  \
        {                                                                                          \
            return #type;                                                                          \
        }                                                                                          \
    };
__GB_TYPE(bool, 1)
__GB_TYPE(char, 2)
__GB_TYPE(signed char, 2)
__GB_TYPE(unsigned char, 3)
__GB_TYPE(short, 4)
__GB_TYPE(unsigned short, 5)
__GB_TYPE(int, 6)
__GB_TYPE(unsigned int, 7)
__GB_TYPE(long, 8)
__GB_TYPE(unsigned long, 9)
__GB_TYPE(long long, 8)
__GB_TYPE(unsigned long long, 9)
__GB_TYPE(float, 10)
__GB_TYPE(double, 11)
#undef __GB_TYPE
#define __GB_LANES(type, base, n)                                                                  \
    template <> struct __gb_type<type> {                                                           \
        enum { code = __gb_type<base>::code, lanes = n };                                          \
        static const char *name()                                                                  \
        {                                                                                          \
            return #type;                                                                          \
        }                                                                                          \
    };
#define __GB_VECTORS(type, base)                                                                   \
    __GB_LANES(type##1, base, 1)                                                                   \
    __GB_LANES(type##2, base, 2)                                                                   \
    __GB_LANES(type##3, base, 3)                                                                   \
    __GB_LANES(type##4, base, 4)
__GB_VECTORS(char, signed char)
__GB_VECTORS(uchar, unsigned char)
__GB_VECTORS(short, short)
__GB_VECTORS(ushort, unsigned short)
__GB_VECTORS(int, int)
__GB_VECTORS(uint, unsigned int)
__GB_VECTORS(long, long)
__GB_VECTORS(ulong, unsigned long)
__GB_VECTORS(longlong, long long)
__GB_VECTORS(ulonglong, unsigned long long)
__GB_VECTORS(float, float)
__GB_VECTORS(double, double)
__GB_LANES(dim3, unsigned int, 3)
#undef __GB_VECTORS
#undef __GB_LANES

/* An enum counts as the integer of its size. */
template <typename T, bool = __is_enum(T)> struct __gb_code {
    enum { code = __gb_type<T>::code };
};
template <typename T> struct __gb_code<T, true> {
    enum { code = sizeof(T) == 1 ? 2 : sizeof(T) == 2 ? 4 : sizeof(T) == 4 ? 6 : 8 };
};

template <typename T> struct __gb_size {
    enum { bytes = sizeof(T) };
};
template <> struct __gb_size<void> {
    enum { bytes = 0 };
};

template <typename T> struct __gb_plain {
    typedef T type;
    enum { is_const = 0 };
};
template <typename T> struct __gb_plain<const T> {
    typedef T type;
    enum { is_const = 1 };
};
template <typename T> struct __gb_plain<volatile T> {
    typedef T type;
    enum { is_const = 0 };
};
template <typename T> struct __gb_plain<const volatile T> {
    typedef T type;
    enum { is_const = 1 };
};

template <typename T> struct __gb_reflect {
    static void fill(gb_cpu_param *out, const char *name)
    {
        typedef typename __gb_plain<T>::type plain;
        out->name = name;
        out->type = __gb_type<plain>::name();
        out->code = __gb_code<plain>::code;
        out->lanes = __gb_type<plain>::lanes;
        out->pointer = 0;
        out->is_const = __gb_plain<T>::is_const;
        out->size = sizeof(T);
        out->element = 0;
    }
};
template <typename T> struct __gb_reflect<T *> {
    static void fill(gb_cpu_param *out, const char *name)
    {
        typedef typename __gb_plain<T>::type plain;
        out->name = name;
        out->type = __gb_type<plain>::name();
        out->code = __gb_code<plain>::code;
        out->lanes = __gb_type<plain>::lanes;
        out->pointer = 1;
        out->is_const = __gb_plain<T>::is_const;
        out->size = sizeof(T *);
        out->element = __gb_size<plain>::bytes;
    }
};
template <typename T> struct __gb_reflect<T *const> : __gb_reflect<T *> {
};
/* An array is described by its element; how many there are follows from the whole size. */
template <typename T, size_t N> struct __gb_reflect<T[N]> : __gb_reflect<T> {
};
template <typename T, size_t N> struct __gb_reflect<const T[N]> : __gb_reflect<const T> {
};

template <typename T> __gb_fn void __gb_global(gb_cpu_global *out, const char *name, T &variable)
{
    out->name = name;
    out->address = (void *)&variable;
    out->bytes = sizeof(T);
    __gb_reflect<T>::fill(&out->type, name);
}

template <typename T> __gb_fn void __gb_member(gb_cpu_field *out, const char *name, size_t offset)
{
    gb_cpu_param param;
    __gb_reflect<T>::fill(&param, name);
    out->name = name;
    out->type = param.type;
    out->code = param.pointer ? 9 : param.code; /* a pointer reads as an address */
    out->lanes = param.pointer ? 1 : param.lanes;
    out->offset = (unsigned int)offset;
    out->count = param.size ? (unsigned int)(sizeof(T) / param.size) : 1;
}

/* ---- running ---- */

static void __gb_bind_shared();

__gb_fn void __gb_begin(const gb_cpu_range *range)
{
    __gb_services = range->services;
    __gb_shared = range->shared;
    __gb_grid_dim_x = range->grid.x, __gb_grid_dim_y = range->grid.y;
    __gb_grid_dim_z = range->grid.z;
    __gb_block_dim_x = range->block.x, __gb_block_dim_y = range->block.y;
    __gb_block_dim_z = range->block.z;
    __gb_bind_shared();
}

__gb_fn void __gb_enter_block(const gb_cpu_range *range, unsigned long block)
{
    unsigned long rest = block / range->grid.x;
    __gb_block_x = (unsigned int)(block - rest * range->grid.x);
    __gb_block_z = (unsigned int)(rest / range->grid.y);
    __gb_block_y = (unsigned int)(rest - (unsigned long)__gb_block_z * range->grid.y);
}

/* A row of several blocks counts its threads on from block 0. */
static void __gb_where(gb_cpu_dim *block, gb_cpu_dim *thread)
{
    unsigned int wide = __gb_block_dim_x ? __gb_block_dim_x : 1;
    unsigned int x = __gb_block_x * wide + __gb_thread_x;
    block->x = x / wide, block->y = __gb_block_y, block->z = __gb_block_z;
    thread->x = x % wide, thread->y = __gb_thread_y, thread->z = __gb_thread_z;
}

template <int... I> struct __gb_list {
};
template <int N, int... I> struct __gb_count : __gb_count<N - 1, N - 1, I...> {
};
template <int... I> struct __gb_count<0, I...> {
    typedef __gb_list<I...> type;
};

/* Grid-stride loops run one round per call of the kernel: see source_index.c. A guard holds
 * for an interval of a row: where that begins or ends with the row, it is found first, and runs
 * without the guard, and so without masks: see source_guard.c. */
enum { __gb_mode_test, __gb_mode_probe, __gb_mode_inside };
static thread_local unsigned int __gb_round, __gb_more, __gb_mode, __gb_all;
__gb_fn bool __gb_note(bool more)
{
    if (__gb_mode == __gb_mode_probe) {
        __gb_all &= (unsigned int)more;
        return false;
    }
    if (__gb_mode == __gb_mode_inside) return true;
    __gb_more |= (unsigned int)more;
    return more;
}
__gb_fn bool __gb_outside(bool outside)
{
    if (__gb_mode == __gb_mode_probe) {
        __gb_all &= (unsigned int)!outside;
        return true;
    }
    return __gb_mode != __gb_mode_inside && outside;
}

/* Traits. Plain: the threads of a block may run in SIMD lanes; the compiler need not prove it.
 * Linear: the threads of neighbouring blocks are one row. Strided: rounds of a grid-stride loop.
 * Guarded: begins with a test of the place. */
enum {
    __gb_plain_threads = 1,
    __gb_linear = 2,
    __gb_strided = 4,
    __gb_guarded = 8,
    __gb_row_threads = 16384
};
template <typename T, T F, int Traits> struct __gb_entry;

template <typename... A> struct __gb_values {
    enum { value = 1 };
};
template <typename T, typename... A> struct __gb_values<T, A...> {
    enum { value = __gb_values<A...>::value };
};
template <typename T, typename... A> struct __gb_values<T &, A...> {
    enum { value = 0 };
};
template <typename T, typename... A> struct __gb_values<T &&, A...> {
    enum { value = 0 };
};
template <typename T, typename U> struct __gb_same {
    enum { value = 0 };
};
template <typename T> struct __gb_same<T, T> {
    enum { value = 1 };
};
template <typename T> struct __gb_kernel_type;
#define __GB_KERNEL_TYPE(exception)                                                                \
    template <typename R, typename... A> struct __gb_kernel_type<R (*)(A...) exception> {          \
        enum { returns_void = __gb_same<R, void>::value, values = __gb_values<A...>::value };      \
    };
__GB_KERNEL_TYPE()
#ifdef __cpp_noexcept_function_type
__GB_KERNEL_TYPE(noexcept)
#endif
#define __GB_CHECK_KERNEL(type)                                                                    \
    static_assert(__gb_kernel_type<type>::returns_void, "a __global__ function returns void");     \
    static_assert(__gb_kernel_type<type>::values,                                                  \
                  "a __global__ function takes its parameters by value");

#define __GB_ENTRY(exception)                                                                      \
    template <typename... A, void (*F)(A...) exception, int Traits>                                \
    struct __gb_entry<void (*)(A...) exception, F, Traits> {                                       \
        static void fill(gb_cpu_param *out, const char *const *names)                              \
        {                                                                                          \
            int i = 0, order[] = {0, (__gb_reflect<A>::fill(out + i, names[i]), i++)...};          \
            (void)order, (void)out, (void)names;                                                   \
        }                                                                                          \
        template <int... I> __gb_fn void unpack(const gb_cpu_range *range, __gb_list<I...>)        \
        {                                                                                          \
            blocks(range, *(A *)range->params[I]...);                                              \
        }                                                                                          \
        __gb_fn void blocks(const gb_cpu_range *range, A... a)                                     \
        {                                                                                          \
            const unsigned long last = range->first + range->count, wide = range->block.x;         \
            const bool rows = Traits & __gb_linear && wide * range->grid.x < 0x7fffffff;           \
            unsigned long block = range->first, span = 1;                                          \
            for (; block < last; block += span) {                                                  \
                if (*range->stop) return;                                                          \
                *range->progress = block;                                                          \
                __gb_enter_block(range, block);                                                    \
                unsigned long begin = 0;                                                           \
                if (rows) {                                                                        \
                    span = __gb_row_threads / wide ? __gb_row_threads / wide : 1;                  \
                    if (span > last - block) span = last - block;                                  \
                    if (span > range->grid.x - __gb_block_x) span = range->grid.x - __gb_block_x;  \
                    begin = __gb_block_x * wide;                                                   \
                    __gb_block_x = 0;                                                              \
                }                                                                                  \
                unsigned long end = begin + span * wide;                                           \
                if (range->x_count) {                                                              \
                    begin += range->x_first;                                                       \
                    end = begin + range->x_count;                                                  \
                }                                                                                  \
                lines(range, (int)begin, (int)end, a...);                                          \
            }                                                                                      \
        }                                                                                          \
        __gb_fn void lines(const gb_cpu_range *range, int begin, int end, A... a)                  \
        {                                                                                          \
            const unsigned int high = range->block.y, deep = range->block.z;                       \
            for (unsigned int z = 0; z < deep; z++)                                                \
                for (unsigned int y = 0; y < high; y++) {                                          \
                    __gb_thread_z = z;                                                             \
                    __gb_thread_y = y;                                                             \
                    __gb_round = 0;                                                                \
                    do {                                                                           \
                        __gb_more = 0;                                                             \
                        row(begin, end, a...);                                                     \
                        __gb_round++;                                                              \
                    } while (Traits & __gb_strided && __gb_more && !*range->stop);                 \
                }                                                                                  \
        }                                                                                          \
        __gb_fn void row(int begin, int end, A... a)                                               \
        {                                                                                          \
            if (!(Traits & __gb_plain_threads)) {                                                  \
                for (int x = begin; x < end; x++) {                                                \
                    __gb_thread_x = (unsigned int)x;                                               \
                    F(a...);                                                                       \
                }                                                                                  \
                return;                                                                            \
            }                                                                                      \
            __gb_mode = __gb_mode_test;                                                            \
            if (Traits & (__gb_guarded | __gb_strided))                                            \
                inside(begin, end, a...);                                                          \
            else                                                                                   \
                lanes(begin, end, a...);                                                           \
        }                                                                                          \
        __gb_fn bool passes(int x, A... a)                                                         \
        {                                                                                          \
            __gb_mode = __gb_mode_probe;                                                           \
            __gb_all = 1;                                                                          \
            __gb_thread_x = (unsigned int)x;                                                       \
            F(a...);                                                                               \
            __gb_mode = __gb_mode_test;                                                            \
            return __gb_all;                                                                       \
        }                                                                                          \
        /* The last place that passes the test on the way from one that does to one that fails. */ \
        static __attribute__((noinline)) int edge(int good, int bad, A... a)                       \
        {                                                                                          \
            while (good - bad > 1 || bad - good > 1) {                                             \
                int middle = good + (bad - good) / 2;                                              \
                if (passes(middle, a...))                                                          \
                    good = middle;                                                                 \
                else                                                                               \
                    bad = middle;                                                                  \
            }                                                                                      \
            return good;                                                                           \
        }                                                                                          \
        /* The first place that passes the test, or `end`. */                                      \
        static __attribute__((noinline)) int first_inside(int begin, int end, A... a)              \
        {                                                                                          \
            if (begin < 0) __builtin_unreachable();                                                \
            int first = end;                                                                       \
            __gb_mode = __gb_mode_probe;                                                           \
            __GB_PARALLEL                                                                          \
            for (int x = begin; x < end; x++) {                                                    \
                __gb_all = 1;                                                                      \
                __gb_thread_x = (unsigned int)x;                                                   \
                F(a...);                                                                           \
                int here = __gb_all ? x : end;                                                     \
                first = here < first ? here : first;                                               \
            }                                                                                      \
            __gb_thread_x = __gb_all = 0;                                                          \
            __gb_mode = __gb_mode_test;                                                            \
            return first;                                                                          \
        }                                                                                          \
        /* Runs the part of the row that passes its test, without it. */                           \
        __gb_fn void inside(int begin, int end, A... a)                                            \
        {                                                                                          \
            int first = begin, last = end - 1;                                                     \
            if (!passes(first, a...)) {                                                            \
                if (Traits & __gb_strided) return; /* past the end, so all are */                  \
                first =                                                                            \
                    passes(last, a...) ? edge(last, begin, a...) : first_inside(begin, end, a...); \
                if (first == end) return;                                                          \
            }                                                                                      \
            if (!passes(last, a...)) last = edge(first, last, a...);                               \
            __gb_mode = __gb_mode_inside;                                                          \
            lanes(first, last + 1, a...);                                                          \
            __gb_mode = __gb_mode_test;                                                            \
            __gb_more = 1;                                                                         \
        }                                                                                          \
        __gb_fn void lanes(int begin, int end, A... a)                                             \
        {                                                                                          \
            if (begin < 0) __builtin_unreachable();                                                \
            __GB_PARALLEL                                                                          \
            for (int x = begin; x < end; x++) {                                                    \
                __gb_thread_x = (unsigned int)x;                                                   \
                F(a...);                                                                           \
            }                                                                                      \
            __gb_thread_x = 0; /* x is not used behind the loop, or it does not vectorise */       \
        }                                                                                          \
        static void run(const gb_cpu_range *range)                                                 \
        {                                                                                          \
            __gb_begin(range);                                                                     \
            unpack(range, typename __gb_count<sizeof...(A)>::type());                              \
        }                                                                                          \
        static void begin_block(const gb_cpu_range *range, __gb_uint64 block)                      \
        {                                                                                          \
            __gb_begin(range);                                                                     \
            __gb_enter_block(range, block);                                                        \
        }                                                                                          \
        template <int... I> __gb_fn void one(const gb_cpu_range *range, __gb_list<I...>)           \
        {                                                                                          \
            F(*(A *)range->params[I]...);                                                          \
        }                                                                                          \
        static void thread(const gb_cpu_range *range, __gb_uint32 index)                           \
        {                                                                                          \
            unsigned int rest = index / range->block.x;                                            \
            __gb_thread_x = index - rest * range->block.x;                                         \
            __gb_thread_z = rest / range->block.y;                                                 \
            __gb_thread_y = rest - __gb_thread_z * range->block.y;                                 \
            __gb_mode = __gb_mode_test;                                                            \
            __gb_round = 0;                                                                        \
            do {                                                                                   \
                __gb_more = 0;                                                                     \
                one(range, typename __gb_count<sizeof...(A)>::type());                             \
                __gb_round++;                                                                      \
            } while (Traits & __gb_strided && __gb_more);                                          \
        }                                                                                          \
    };
#ifdef __clang__
#define __GB_PARALLEL _Pragma("clang loop vectorize(assume_safety) interleave_count(4)")
#else
#define __GB_PARALLEL _Pragma("GCC ivdep")
#endif
__GB_ENTRY()
#ifdef __cpp_noexcept_function_type
__GB_ENTRY(noexcept)
#endif
