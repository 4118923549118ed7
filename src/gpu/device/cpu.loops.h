/* Kernels with barriers as loops over the threads of a block: what the second form of a kernel is
 * made of (see source_loops.h), and how it is called. Declared once per block: __GB_BLOCK. Around
 * each region: __GB_EACH_... { region } __GB_END. What is kept of a thread over a barrier lies in
 * arrays of the block on the stack, up to a bound; larger ones run as fibers. */
#pragma once

enum : unsigned long { __gb_slots_max = 128 * 1024 };

#define __GB_BLOCK                                                                                 \
    const int __gb_wide = (int)__gb_block_dim_x;                                                   \
    const unsigned int __gb_high = __gb_block_dim_y, __gb_deep = __gb_block_dim_z;                 \
    const unsigned long __gb_threads = (unsigned long)__gb_block_dim_x * __gb_high * __gb_deep;    \
    (void)__gb_threads;

#define __GB_EACH(parallel)                                                                        \
    for (unsigned int __gb_z = 0, __gb_row = 0; __gb_z < __gb_deep; __gb_z++)                      \
        for (unsigned int __gb_y = 0; __gb_y < __gb_high;                                          \
             __gb_y++, __gb_row += (unsigned int)__gb_wide) {                                      \
            __gb_thread_z = __gb_z;                                                                \
            __gb_thread_y = __gb_y;                                                                \
            parallel for (int __gb_x = 0; __gb_x < __gb_wide; __gb_x++)                            \
            {                                                                                      \
                __gb_thread_x = (unsigned int)__gb_x;                                              \
                const unsigned int __gb_i = __gb_row + (unsigned int)__gb_x;                       \
                (void)__gb_i;
#define __GB_END                                                                                   \
    }                                                                                              \
    __gb_thread_x = 0; /* x is not used behind the loop, or it does not vectorise */               \
    }
#define __GB_EACH_THREAD __GB_EACH()
/* Rows of a block are short: 16 and 32 threads fill the vectors of two iterations, not of four. */
#ifdef __clang__
#define __GB_EACH_LANE                                                                             \
    __GB_EACH(_Pragma("clang loop vectorize(assume_safety) interleave_count(2)"))
#else
#define __GB_EACH_LANE __GB_EACH(_Pragma("GCC ivdep"))
#endif

template <typename T, T F> struct __gb_blocks;

#define __GB_BLOCKS(exception)                                                                     \
    template <typename... A, bool (*F)(A...) exception>                                            \
    struct __gb_blocks<bool (*)(A...) exception, F> {                                              \
        template <int... I> __gb_fn bool call(const gb_cpu_range *range, __gb_list<I...>)          \
        {                                                                                          \
            (void)range;                                                                           \
            return F(*(A *)range->params[I]...);                        \
        }                                                                                          \
        static int loops(const gb_cpu_range *range)                                                \
        {                                                                                          \
            __gb_begin(range);                                                                     \
            for (unsigned long i = 0; i < range->count && !*range->stop; i++) {                    \
                *range->progress = range->first + i;                                               \
                __gb_enter_block(range, range->first + i);                                         \
                if (!call(range, typename __gb_count<sizeof...(A)>::type())) return 0;             \
            }                                                                                      \
            return 1;                                                                              \
        }                                                                                          \
    };
__GB_BLOCKS()
#ifdef __cpp_noexcept_function_type
__GB_BLOCKS(noexcept)
#endif
