// One step of PageRank (Page, Brin, Motwani, Winograd 1999) over a graph in compressed rows: the
// edges that come INTO node i are source[row[i]] .. source[row[i + 1] - 1]. Launch both with blocks
// of 256.

// The sum of all threads of a block, valid in thread 0.
__device__ double block_sum(double value)
{
    __shared__ double part[256];
    int t = threadIdx.x;
    part[t] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) part[t] += part[t + half];
        __syncthreads();
    }
    return part[0];
}

// What each node gives to every node it points at; and per block, the rank of nodes that point
// nowhere.
extern "C" __global__ void spread(const double *rank, const int *out_degree, double *share,
                                  double *lost, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    double own_loss = 0;
    if (i < n) {
        share[i] = out_degree[i] ? rank[i] / out_degree[i] : 0;
        own_loss = out_degree[i] ? 0 : rank[i];
    }
    double sum = block_sum(own_loss);
    if (threadIdx.x == 0) lost[blockIdx.x] = sum;
}

// The new rank of each node; and per block, how much it changed.
extern "C" __global__ void gather(const int *row, const int *source, const double *share,
                                  const double *lost, double damping, double *rank, double *change,
                                  int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    double own_change = 0;
    if (i < n) {
        double sum = 0;
        for (unsigned int block = 0; block < gridDim.x; block++) sum += lost[block];
        sum /= n; // what is lost is shared by all
        for (int e = row[i]; e < row[i + 1]; e++) sum += share[source[e]];
        double fresh = (1 - damping) / n + damping * sum;
        own_change = fabs(fresh - rank[i]);
        rank[i] = fresh;
    }
    double sum = block_sum(own_change);
    if (threadIdx.x == 0) change[blockIdx.x] = sum;
}
