/* Barriers and exchanges between threads of a block. The engine runs each thread as a fiber and
 * may switch inside these calls; all fibers of a block share the built-in variables, so threadIdx
 * is kept on this fiber's stack meanwhile. A fiber never changes its OS thread. */
#pragma once

#define __GB_SWITCHES(result, call)                                                                \
    const unsigned int __gb_x = __gb_thread_x, __gb_y = __gb_thread_y, __gb_z = __gb_thread_z; \
    result __gb_services->call;                                                                    \
    __gb_thread_x = __gb_x, __gb_thread_y = __gb_y, __gb_thread_z = __gb_z

__gb_fn void __syncthreads()
{
    __GB_SWITCHES(, barrier(__gb_services->self));
}
__gb_fn int __syncthreads_count(int predicate)
{
    __GB_SWITCHES(int r =, barrier_count(__gb_services->self, predicate));
    return r;
}
__gb_fn int __syncthreads_and(int predicate)
{
    __GB_SWITCHES(int r =, barrier_and(__gb_services->self, predicate));
    return r;
}
__gb_fn int __syncthreads_or(int predicate)
{
    __GB_SWITCHES(int r =, barrier_or(__gb_services->self, predicate));
    return r;
}
__gb_fn void __syncwarp(unsigned int mask = 0xffffffffu)
{
    __GB_SWITCHES(, warp_barrier(__gb_services->self, mask));
}
__gb_fn unsigned long long __gb_exchange(unsigned int mask, unsigned long long value,
                                         unsigned int source)
{
    __GB_SWITCHES(unsigned long long r =,
                  warp_exchange(__gb_services->self, mask, value, source));
    return r;
}
__gb_fn unsigned int __ballot_sync(unsigned int mask, int predicate)
{
    __GB_SWITCHES(unsigned int r =, warp_ballot(__gb_services->self, mask, predicate));
    return r;
}
__gb_fn unsigned int __gb_match(unsigned int mask, unsigned long long value)
{
    __GB_SWITCHES(unsigned int r =, warp_match(__gb_services->self, mask, value));
    return r;
}
__gb_fn unsigned int __activemask()
{
    __GB_SWITCHES(unsigned int r =, warp_active(__gb_services->self));
    return r;
}
__gb_fn int __any_sync(unsigned int mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}
__gb_fn int __all_sync(unsigned int mask, int predicate)
{
    return __ballot_sync(mask, !predicate) == 0;
}
__gb_fn int __uni_sync(unsigned int mask, int predicate)
{
    unsigned int yes = __ballot_sync(mask, predicate), no = __ballot_sync(mask, !predicate);
    return !yes || !no;
}
__gb_fn unsigned int __gb_lane()
{
    const unsigned int row = __gb_thread_y + __gb_block_dim_y * __gb_thread_z;
    return (__gb_thread_x + __gb_block_dim_x * row) & 31u;
}

template <typename T>
__gb_fn T __gb_shuffle(unsigned int mask, T value, unsigned int source)
{
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    bits = __gb_exchange(mask, bits, source);
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}
__gb_fn unsigned int __gb_up(unsigned int delta, unsigned int width)
{
    unsigned int lane = __gb_lane();
    return (lane & (width - 1)) < delta ? lane : lane - delta;
}
__gb_fn unsigned int __gb_down(unsigned int delta, unsigned int width)
{
    unsigned int lane = __gb_lane();
    return (lane & (width - 1)) + delta >= width ? lane : lane + delta;
}
__gb_fn unsigned int __gb_across(unsigned int flip, unsigned int width)
{
    unsigned int lane = __gb_lane(), to = lane ^ flip;
    return to > (lane | (width - 1)) ? lane : to;
}
#define __GB_SHUFFLES(type)                                                                        \
    __gb_fn type __shfl_sync(unsigned int mask, type value, int lane, int width = 32)              \
    {                                                                                              \
        unsigned int w = (unsigned int)width - 1;                                                  \
        return __gb_shuffle(mask, value, (__gb_lane() & ~w) | ((unsigned int)lane & w));           \
    }                                                                                              \
    __gb_fn type __shfl_up_sync(unsigned int mask, type value, unsigned int by, int width = 32)    \
    {                                                                                              \
        return __gb_shuffle(mask, value, __gb_up(by, (unsigned int)width));                        \
    }                                                                                              \
    __gb_fn type __shfl_down_sync(unsigned int mask, type value, unsigned int by, int width = 32)  \
    {                                                                                              \
        return __gb_shuffle(mask, value, __gb_down(by, (unsigned int)width));                      \
    }                                                                                              \
    __gb_fn type __shfl_xor_sync(unsigned int mask, type value, int flip, int width = 32)          \
    {                                                                                              \
        return __gb_shuffle(mask, value, __gb_across((unsigned int)flip, (unsigned int)width));    \
    }                                                                                              \
    __gb_fn unsigned int __match_any_sync(unsigned int mask, type value)                           \
    {                                                                                              \
        unsigned long long bits = 0;                                                               \
        __builtin_memcpy(&bits, &value, sizeof value);                                             \
        return __gb_match(mask, bits);                                                             \
    }                                                                                              \
    __gb_fn unsigned int __match_all_sync(unsigned int mask, type value, int *all)                 \
    {                                                                                              \
        unsigned int same = __match_any_sync(mask, value), there = __ballot_sync(mask, 1);         \
        *all = same == there;                                                                      \
        return *all ? there : 0;                                                                   \
    }
__GB_SHUFFLES(int)
__GB_SHUFFLES(unsigned int)
__GB_SHUFFLES(long)
__GB_SHUFFLES(unsigned long)
__GB_SHUFFLES(long long)
__GB_SHUFFLES(unsigned long long)
__GB_SHUFFLES(float)
__GB_SHUFFLES(double)

#define __GB_REDUCE(name, type, expression)                                                        \
    __gb_fn type name(unsigned int mask, type value)                                               \
    {                                                                                              \
        unsigned int there = __ballot_sync(mask, 1);                                               \
        bool first = true;                                                                         \
        type a = value;                                                                            \
        for (unsigned int rest = there; rest; rest &= rest - 1) {                                  \
            type b = __gb_shuffle(mask, value, (unsigned int)__builtin_ctz(rest));                 \
            a = first ? b : (expression);                                                          \
            first = false;                                                                         \
        }                                                                                          \
        return a;                                                                                  \
    }
__GB_REDUCE(__reduce_add_sync, unsigned int, a + b)
__GB_REDUCE(__reduce_min_sync, unsigned int, b < a ? b : a)
__GB_REDUCE(__reduce_max_sync, unsigned int, b > a ? b : a)
__GB_REDUCE(__reduce_and_sync, unsigned int, a &b)
__GB_REDUCE(__reduce_or_sync, unsigned int, a | b)
__GB_REDUCE(__reduce_xor_sync, unsigned int, a ^ b)
__GB_REDUCE(__reduce_add_sync, int, (int)((unsigned)a + (unsigned)b))
__GB_REDUCE(__reduce_min_sync, int, b < a ? b : a)
__GB_REDUCE(__reduce_max_sync, int, b > a ? b : a)
#undef __GB_REDUCE
#undef __GB_SHUFFLES
