// A case is a kernel check_NAME(int *bad): bad[0] counts failures, bad[1] is the line of the last,
// bad[2] counts threads that ran. Launched with 2 blocks of 64 threads and 4096 bytes of shared
// memory.
#pragma once
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            atomicAdd(&bad[0], 1);                                                                 \
            bad[1] = __LINE__;                                                                     \
        }                                                                                          \
    } while (0)
#define RAN() atomicAdd(&bad[2], 1)
#define CASE(name) extern "C" __global__ void check_##name(int *bad)

__device__ inline bool near(double a, double b, double relative)
{
    double d = a - b, s = b < 0 ? -b : b;
    return (d < 0 ? -d : d) <= relative * (s > 1e-30 ? s : 1e-30) || a == b;
}
