// What fails, and what prints.
#include <assert.h>
#include <stdio.h>

extern "C" __global__ void write_at(int *data, long long index)
{
    data[index] = 1;
}
extern "C" __global__ void check(const int *data, int limit)
{
    assert(data[threadIdx.x] < limit);
}
extern "C" __global__ void trap(int when)
{
    if ((int)threadIdx.x == when) __trap();
}
extern "C" __global__ void say(int from)
{
    printf("block %d ", (int)blockIdx.x);
    printf("thread %d says %d and %.2f %s\n", (int)threadIdx.x, from + (int)threadIdx.x, 0.5, "ok");
}
extern "C" __global__ void spin(volatile int *data)
{
    while (data[0] == 0) {
    }
}
extern "C" __global__ void add_one(int *data, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) data[i] += 1;
}
