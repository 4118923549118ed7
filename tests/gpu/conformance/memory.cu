// Shared, constant and global memory, barriers and atomics.
__constant__ float weights[64];
__constant__ int fixed_table[4] = {2, 3, 5, 7};
__device__ unsigned visits = 5;
__device__ float table[32];

extern "C" __global__ void shared_static(const unsigned *x, unsigned *y, int n)
{
    __shared__ unsigned tile[128];
    __shared__ unsigned sum;
    unsigned t = threadIdx.x, first = blockIdx.x * blockDim.x;
    if (t == 0) sum = 0;
    tile[t] = x[first + t];
    __syncthreads();
    if (t < 4) atomicAdd(&sum, tile[t]);
    __syncthreads();
    y[first + t] = tile[blockDim.x - 1 - t] + sum;
}

extern "C" __global__ void shared_dynamic(const unsigned *x, unsigned *y, int n)
{
    extern __shared__ unsigned pool[];
    unsigned *a = pool, *b = pool + blockDim.x;
    unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    a[t] = x[i];
    __syncthreads();
    for (unsigned step = 1; step < blockDim.x; step *= 2) { // running sums
        b[t] = t >= step ? a[t] + a[t - step] : a[t];
        __syncthreads();
        unsigned *swap = a;
        a = b;
        b = swap;
    }
    y[i] = a[t];
}

extern "C" __global__ void constant_memory(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * weights[i % 64] + fixed_table[i % 4];
}

extern "C" __global__ void device_globals(const float *x, float *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    atomicAdd(&visits, 1u);
    y[i] = x[i] + table[i % 32];
}

extern "C" __global__ void transpose(const unsigned *x, unsigned *y, int n)
{
    __shared__ unsigned tile[8][9];
    unsigned width = gridDim.x * 8;
    tile[threadIdx.y][threadIdx.x] =
        x[(blockIdx.y * 8 + threadIdx.y) * width + blockIdx.x * 8 + threadIdx.x];
    __syncthreads();
    y[(blockIdx.x * 8 + threadIdx.y) * width + blockIdx.y * 8 + threadIdx.x] =
        tile[threadIdx.x][threadIdx.y];
}

extern "C" __global__ void early_return(const unsigned *x, unsigned *y, int n)
{
    __shared__ unsigned seen[128];
    unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    seen[t] = x[i];
    y[i] = 1;
    __syncthreads();
    if (t >= 40) return;
    seen[t] += 2;
    __syncthreads();
    y[i] = seen[(t + 1) % 40];
}

extern "C" __global__ void block_votes(const unsigned *x, unsigned *y, int n)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned count = __syncthreads_count(x[i] & 1);
    unsigned all = __syncthreads_and((int)(x[i] | 1)), none = __syncthreads_or(0);
    y[i] = count * 4 + (all != 0) * 2 + (none != 0);
}

// out: add32, min, max, or, and, xor, exch, cas; then 64-bit add and max as two words each
extern "C" __global__ void atomics(const unsigned *x, unsigned *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    atomicAdd(&out[0], x[i]);
    atomicMin(&out[1], x[i]);
    atomicMax(&out[2], x[i]);
    atomicOr(&out[3], x[i] & 0xff);
    atomicAnd(&out[4], x[i] | 0xffff0000u);
    atomicXor(&out[5], x[i]);
    atomicExch(&out[6], 42u);
    unsigned old = out[7], seen;
    do {
        seen = old;
        old = atomicCAS(&out[7], seen, seen + 3u);
    } while (old != seen);
    unsigned long long *wide = reinterpret_cast<unsigned long long *>(out + 8);
    atomicAdd(&wide[0], (unsigned long long)x[i] << 8);
    atomicMax(&wide[1], (unsigned long long)x[i] << 16);
    atomicSub(reinterpret_cast<int *>(&out[12]), 1);
    atomicInc(&out[13], 6u);
}

extern "C" __global__ void float_atomics(const float *x, float *sum, double *wide, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    atomicAdd(sum, x[i]);
    atomicAdd(wide, (double)x[i]);
}
