/* Atomics: real ones, across the OS threads that run blocks. Relaxed like CUDA's; the fences are
 * full. The list of types is CUDA's, so that what compiles here compiles there. */
#pragma once

__gb_fn void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
__gb_fn void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
__gb_fn void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* A read-modify-write whose new value is an expression of `old` and `value`. */
#define __GB_ATOMIC_LOOP(scope, name, type, bits, next)                                            \
    __gb_fn type name##scope(type *at, type value)                                                 \
    {                                                                                              \
        bits expected = __atomic_load_n((bits *)at, __ATOMIC_RELAXED), wanted;                     \
        type old, made;                                                                            \
        do {                                                                                       \
            __builtin_memcpy(&old, &expected, sizeof old);                                         \
            made = (next);                                                                         \
            __builtin_memcpy(&wanted, &made, sizeof made);                                         \
        } while (!__atomic_compare_exchange_n((bits *)at, &expected, wanted, true,                 \
                                              __ATOMIC_RELAXED, __ATOMIC_RELAXED));                \
        return old;                                                                                \
    }
#define __GB_ATOMIC_OP(scope, name, type, op)                                                      \
    __gb_fn type name##scope(type *at, type value)                                                 \
    {                                                                                              \
        return op(at, value, __ATOMIC_RELAXED);                                                    \
    }
#define __GB_ATOMIC_WHOLE(scope, type)                                                             \
    __GB_ATOMIC_OP(scope, atomicAnd, type, __atomic_fetch_and)                                     \
    __GB_ATOMIC_OP(scope, atomicOr, type, __atomic_fetch_or)                                       \
    __GB_ATOMIC_OP(scope, atomicXor, type, __atomic_fetch_xor)                                     \
    __GB_ATOMIC_OP(scope, atomicExch, type, __atomic_exchange_n)                                   \
    __GB_ATOMIC_LOOP(scope, atomicMin, type, type, value < old ? value : old)                      \
    __GB_ATOMIC_LOOP(scope, atomicMax, type, type, value > old ? value : old)                      \
    __gb_fn type atomicCAS##scope(type *at, type compare, type value)                              \
    {                                                                                              \
        __atomic_compare_exchange_n(at, &compare, value, false, __ATOMIC_RELAXED,                  \
                                    __ATOMIC_RELAXED);                                             \
        return compare;                                                                            \
    }
#define __GB_ATOMIC_ALL(scope)                                                                     \
    __GB_ATOMIC_WHOLE(scope, int)                                                                  \
    __GB_ATOMIC_WHOLE(scope, unsigned int)                                                         \
    __GB_ATOMIC_WHOLE(scope, unsigned long long)                                                   \
    __GB_ATOMIC_OP(scope, atomicAdd, int, __atomic_fetch_add)                                      \
    __GB_ATOMIC_OP(scope, atomicAdd, unsigned int, __atomic_fetch_add)                             \
    __GB_ATOMIC_OP(scope, atomicAdd, unsigned long long, __atomic_fetch_add)                       \
    __GB_ATOMIC_OP(scope, atomicSub, int, __atomic_fetch_sub)                                      \
    __GB_ATOMIC_OP(scope, atomicSub, unsigned int, __atomic_fetch_sub)                             \
    __GB_ATOMIC_LOOP(scope, atomicAdd, float, unsigned int, old + value)                           \
    __GB_ATOMIC_LOOP(scope, atomicAdd, double, unsigned long long, old + value)                    \
    __GB_ATOMIC_LOOP(scope, atomicExch, float, unsigned int, ((void)old, value))                   \
    __GB_ATOMIC_LOOP(scope, atomicMin, long long, long long, value < old ? value : old)            \
    __GB_ATOMIC_LOOP(scope, atomicMax, long long, long long, value > old ? value : old)            \
    __GB_ATOMIC_OP(scope, atomicAnd, long long, __atomic_fetch_and)                                \
    __GB_ATOMIC_OP(scope, atomicOr, long long, __atomic_fetch_or)                                  \
    __GB_ATOMIC_OP(scope, atomicXor, long long, __atomic_fetch_xor)                                \
    __GB_ATOMIC_LOOP(scope, atomicInc, unsigned int, unsigned int, old >= value ? 0 : old + 1)     \
    __GB_ATOMIC_LOOP(scope, atomicDec, unsigned int, unsigned int,                                 \
                     old == 0 || old > value ? value : old - 1)
#define __GB_EMPTY
__GB_ATOMIC_ALL()
__GB_ATOMIC_ALL(_block)
__GB_ATOMIC_ALL(_system)

__gb_fn unsigned short atomicCAS(unsigned short *at, unsigned short compare, unsigned short value)
{
    __atomic_compare_exchange_n(at, &compare, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return compare;
}
