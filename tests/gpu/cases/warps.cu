#include "check.cuh"
#define FULL 0xffffffffu

__device__ int warp_sum(int v)
{
    for (int o = 16; o > 0; o /= 2) v += __shfl_down_sync(FULL, v, o);
    return v;
}

CASE(shuffles)
{
    RAN();
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    CHECK(__shfl_sync(FULL, lane * 10, 7) == 70);
    CHECK(__shfl_sync(FULL, lane, 3, 8) == (lane & ~7) + 3);
    CHECK(__shfl_up_sync(FULL, lane, 1) == (lane ? lane - 1 : 0));
    CHECK(__shfl_up_sync(FULL, lane, 2, 16) == ((lane & 15) < 2 ? lane : lane - 2));
    CHECK(__shfl_down_sync(FULL, lane, 1) == (lane < 31 ? lane + 1 : 31));
    CHECK(__shfl_down_sync(FULL, lane, 4, 8) == ((lane & 7) < 4 ? lane + 4 : lane));
    CHECK(__shfl_xor_sync(FULL, lane, 5) == (lane ^ 5));
    CHECK(__shfl_sync(FULL, lane * 0.5, 4) == 2.0);
    CHECK(__shfl_sync(FULL, lane * 0.5f, 4) == 2.0f);
    CHECK(__shfl_sync(FULL, (long long)lane << 40, 2) == 2ll << 40);
    CHECK(__shfl_sync(FULL, 0xffffffffu - lane, 1) == 0xfffffffeu);
    int total = warp_sum((int)threadIdx.x);
    CHECK(lane != 0 || total == 496 + 1024 * warp);
}

CASE(votes)
{
    RAN();
    unsigned lane = threadIdx.x & 31;
    CHECK(__any_sync(FULL, lane == 3) && !__any_sync(FULL, 0));
    CHECK(__all_sync(FULL, 1) && !__all_sync(FULL, lane != 3));
    CHECK(__ballot_sync(FULL, lane & 1) == 0xaaaaaaaau);
    CHECK(__activemask() == FULL);
    __syncwarp();
#if __CUDA_ARCH__ >= 700
    CHECK(__match_any_sync(FULL, lane / 4) == 0xfu << (lane / 4 * 4));
    int all = 0;
    CHECK(__match_all_sync(FULL, 5, &all) == FULL && all);
    CHECK(__match_all_sync(FULL, lane, &all) == 0 && !all);
#endif
#if __CUDA_ARCH__ >= 800
    CHECK(__reduce_add_sync(FULL, lane) == 496);
    CHECK(__reduce_max_sync(FULL, lane) == 31 && __reduce_min_sync(FULL, lane + 2) == 2);
    CHECK(__reduce_or_sync(FULL, 1u << lane) == FULL && __reduce_and_sync(FULL, lane | 64) == 64);
    CHECK(__reduce_add_sync(FULL, -1) == -32);
#endif
    if (lane < 16) {
        CHECK(__ballot_sync(0xffff, 1) == 0xffff);
        CHECK(__shfl_sync(0xffff, (int)lane, 15) == 15);
    }
    __syncwarp();
    CHECK(threadIdx.x < 64);
}

CASE(early_return)
{
    RAN();
    if (threadIdx.x >= 48) return;
    __shared__ int s[64];
    s[threadIdx.x] = 1;
    __syncthreads();
    int n = 0;
    for (int i = 0; i < 48; i++) n += s[i];
    CHECK(n == 48);
}
