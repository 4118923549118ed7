// Kernels whose threads run as rows, under every shape of guard and loop. Each writes out[i] once
// per index it owns: out[i] += 1 + in[i], so that a missed or doubled index shows.
extern "C" __global__ void guard_less(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] += 1 + in[i];
}
extern "C" __global__ void guard_return(size_t n, const int *in, int *out)
{
    const size_t i = threadIdx.x + (size_t)blockIdx.x * blockDim.x;
    if (i >= n) {
        return;
    }
    out[i] += 1 + in[i];
}
extern "C" __global__ void guard_interval(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, last = n - 1;
    if (i > 2 && i < last && i != 7) out[i] += 1 + in[i];
}
extern "C" __global__ void guard_inner(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, last = n - 1;
    if (i <= 2 || i > last - 4) return;
    out[i] += 1 + in[i];
}
extern "C" __global__ void guard_from(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n / 2 && n > i) out[i] += 1 + in[i];
}
extern "C" __global__ void guard_few(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < 5 || i >= n || i >= 40) return;
    out[i] += 1 + in[i];
}
extern "C" __global__ void guard_wraps(int n, const int *in, int *out)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, all = n;
    if (i - 20u > 10u && i < all) out[i] += 1 + in[i];
}
extern "C" __global__ void guard_none(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && i > n) out[i] += 1 + in[i];
}
extern "C" __global__ void guard_column(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, column = i % 10;
    if (column < 5 && i < n) out[i] += 1 + in[i];
}
extern "C" __global__ void stride_loop(int n, const int *in, int *out)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x)
        out[i] += 1 + in[i];
}
extern "C" __global__ void stride_back(int n, const int *in, int *out)
{
    int all = blockDim.x * gridDim.x;
    for (int i = all - (1 + blockIdx.x * blockDim.x + threadIdx.x); i < n;
         i += blockDim.x * gridDim.x)
        out[i] += 1 + in[i];
}
extern "C" __global__ void stride_from(int n, const int *in, int *out)
{
    const int first = blockIdx.x * blockDim.x + threadIdx.x, all = gridDim.x * blockDim.x;
    for (int i = first; i < n; i += all) out[i] += 1 + in[i];
}
extern "C" __global__ void stride_named(unsigned n, const int *in, int *out)
{
    const unsigned stride = gridDim.x * blockDim.x;
    for (unsigned i = blockDim.x * blockIdx.x + threadIdx.x; i < n; i += stride) {
        if (in[i] == 3) continue;
        for (int k = 0; k < 2; k++) out[i] += k * (1 + in[i]);
    }
}
extern "C" __global__ void stride_carries(int n, const int *in, int *out)
{
    int seen = n - n;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {
        seen++;
        out[i] += seen > 0 ? 1 + in[i] : 0;
        if (seen == 1000) break;
    }
}
extern "C" __global__ void local_array(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int v[8];
    if (i >= n) return;
    for (int k = 0; k < 8; k++) v[k] = 0;
    v[in[i] & 7] = 1 + in[i];
    int s = 0;
    for (int k = 0; k < 8; k++) s += v[(k + in[i]) & 7];
    out[i] += s;
}
extern "C" __global__ void by_block(int n, const int *in, int *out)
{
    int i = threadIdx.x + blockIdx.x * 64;
    if (threadIdx.x >= 64) return;
    if (i < n) out[i] += 1 + in[i];
}
struct Small {
    int v[4];
    __device__ int &at(int i)
    {
        return v[i & 3];
    }
};
extern "C" __global__ void local_struct(int n, const int *in, int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    Small s = {{0, 0, 0, 0}};
    if (i < n) {
        s.at(in[i]) = 1 + in[i];
        out[i] += s.at(0) + s.at(1) + s.at(2) + s.at(3);
    }
}
extern "C" __global__ void plane(int w, int h, const int *in, int *out)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= w || y >= h) return;
    out[y * w + x] += 1 + in[y * w + x];
}
