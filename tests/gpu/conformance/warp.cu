// Warps: the block has 64 or 96 threads; every kernel is y[i] = f(x, i).
#define FULL 0xffffffffu
#define INDEX unsigned i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32

extern "C" __global__ void warp_sync(const unsigned *x, unsigned *y, int n)
{
    __shared__ unsigned cell[96];
    INDEX;
    cell[threadIdx.x] = x[i];
    __syncwarp();
    unsigned other = cell[threadIdx.x ^ 1];
    __syncwarp();
    cell[threadIdx.x] = other + lane;
    __syncwarp();
    y[i] = cell[threadIdx.x / 32 * 32 + (lane + 5) % 32];
}

extern "C" __global__ void shuffles(const unsigned *x, unsigned *y, int n)
{
    INDEX;
    unsigned v = x[i];
    unsigned a = __shfl_sync(FULL, v, (lane + 7) % 32);
    unsigned b = __shfl_up_sync(FULL, v, 3);
    unsigned c = __shfl_down_sync(FULL, v, 5);
    unsigned d = __shfl_xor_sync(FULL, v, 9);
    unsigned e = __shfl_down_sync(FULL, v, 1, 8);
    unsigned f = __shfl_sync(FULL, v, 3, 16);
    y[i] = a + 3 * b + 5 * c + 7 * d + 11 * e + 13 * f;
}

extern "C" __global__ void shuffle_types(const float *x, float *y, int n)
{
    INDEX;
    double sum = x[i];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(FULL, sum, step);
    float largest = x[i];
    for (int step = 16; step > 0; step /= 2)
        largest = fmaxf(largest, __shfl_down_sync(FULL, largest, step));
    largest = __shfl_sync(FULL, largest, 0);
    long long wide = __shfl_sync(FULL, (long long)i << 33, 4);
    y[i] = (float)sum + largest + (float)(wide >> 33);
}

extern "C" __global__ void votes(const unsigned *x, unsigned *y, int n)
{
    INDEX;
    unsigned ballot = __ballot_sync(FULL, x[i] & 1);
    int all = __all_sync(FULL, x[i] | 1), any = __any_sync(FULL, 0);
    unsigned active = __activemask(); // at least this lane; which others depends on the machine
    y[i] = ballot ^ (unsigned)((all != 0) * 2 + (any != 0)) ^ (active >> lane & 1u ? 0x100u : 0u);
}

extern "C" __global__ void match(const unsigned *x, unsigned *y, int n)
{
    INDEX;
    y[i] = __match_any_sync(FULL, x[i] % 3);
}

extern "C" __global__ void halves(const unsigned *x, unsigned *y, int n)
{
    INDEX;
    unsigned v = x[i];
    if (lane < 16) {
        for (int k = 0; k < 3; k++) v += __shfl_xor_sync(0x0000ffffu, v, 1);
    } else {
        for (int k = 0; k < 2; k++) v = __shfl_down_sync(0xffff0000u, v, 1) + 1;
        v ^= __ballot_sync(0xffff0000u, lane & 1);
    }
    __syncwarp();
    y[i] = v + __shfl_sync(FULL, v, 31);
}
