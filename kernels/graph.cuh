// Graphs in compressed rows (CSR): the edges of vertex i lead to columns[rows[i]] ..
// columns[rows[i + 1] - 1]. One thread per vertex, no barriers.
// - Breadth first search by levels with a queue (Merrill, Garland, Grimshaw, "Scalable GPU Graph
//   Traversal", 2012): O(n + edges).
// - Shortest paths by delta-stepping (Meyer, Sanders 2003) in its near-far form (Davidson, Baxter,
//   Garland, Owens, "Work-Efficient Parallel GPU Methods for Single-Source Shortest Paths", 2014).
// - PageRank by gathering over incoming edges (Page, Brin, Motwani, Winograd 1999).
// - Connected components by lock-free hooking to the smaller root (Jaiganesh, Burtscher 2018;
//   Sutton, Ben-Nun, Barak, "Afforest", 2018).
// - Triangles by intersecting sorted rows (Schank, Wagner 2005): O(edges * degree).
#pragma once
#include "gb/base.cuh"

namespace gb {

enum { graph_rows_bad = 1, graph_columns_bad = 2, graph_unsorted = 3, graph_negative = 4 };

// *bad: one of the codes above, when something is wrong. One thread per row or edge.
template <typename T>
__global__ void graph_check(const T *rows, const T *columns, T *bad, int n, int edges)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && rows[i] > rows[i + 1]) *bad = graph_rows_bad;
    if (i == 0 && (rows[0] != 0 || rows[n] != edges)) *bad = graph_rows_bad;
    if (i < edges && (columns[i] < 0 || columns[i] >= n)) *bad = graph_columns_bad;
}
template <typename T>
__global__ void graph_check_sorted(const T *rows, const T *columns, T *bad, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    for (T e = rows[i] + 1; e < rows[i + 1]; e++)
        if (columns[e - 1] >= columns[e]) *bad = graph_unsorted;
}
template <typename W> __global__ void graph_check_weights(const W *weights, int *bad, int edges)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < edges && !(weights[i] >= 0)) *bad = graph_negative;
}

// ---- queues ----

// On a GPU one thread takes one vertex of a queue and puts what it finds into the next one; on the
// cpu backend one block takes graph_run of them, and puts what it found by many at a time: else the
// count would go from core to core for every vertex.
enum { graph_run = 256, graph_found = 512 };

struct graph_queue {
    int *to, *count;
#if GB_SERIAL
    int n, found[graph_found];
    __device__ __forceinline__ graph_queue(int *to, int *count) : to(to), count(count), n(0) {}
    __device__ __forceinline__ void flush()
    {
        if (n == 0) return;
        int *at = to + atomicAdd(count, n);
        for (int i = 0; i < n; i++) at[i] = found[i];
        n = 0;
    }
    __device__ __forceinline__ void put(int v)
    {
        if (n == graph_found) flush();
        found[n++] = v;
    }
#else
    __device__ __forceinline__ graph_queue(int *to, int *count) : to(to), count(count) {}
    __device__ __forceinline__ void flush() {}
    __device__ __forceinline__ void put(int v) { to[atomicAdd(count, 1)] = v; }
#endif
};

static __device__ __forceinline__ int graph_first()
{
    return GB_SERIAL ? (int)blockIdx.x * graph_run : (int)(blockIdx.x * blockDim.x + threadIdx.x);
}
static __device__ __forceinline__ int graph_last(int first, int count)
{
    int last = first + (GB_SERIAL ? graph_run : 1);
    return last < count ? last : count;
}

// ---- breadth first ----

template <typename T>
__global__ void bfs_step(const T *rows, const T *columns, const T *queue, int count, T *level,
                         int depth, T *next, T *next_count)
{
    graph_queue found(next, next_count);
    int first = graph_first(), last = graph_last(first, count);
    for (int i = first; i < last; i++) {
        T from = queue[i];
        for (T e = rows[from]; e < rows[from + 1]; e++) {
            T to = columns[e];
            if (level[to] < 0 && atomicCAS(&level[to], -1, depth) == -1) found.put(to);
        }
    }
    found.flush();
}

// ---- shortest paths ----

enum { near_count, far_count, far_least };

// Puts v into the near queue once a round, or into the far one once.
static __device__ __forceinline__ void sssp_put(int v, float distance, float limit, int *mark,
                                                int *waits, int round, graph_queue &near,
                                                graph_queue &far)
{
    if (distance < limit) {
        if (atomicExch(&mark[v], round) != round) near.put(v);
    } else if (atomicExch(&waits[v], 1) == 0) {
        far.put(v);
    }
}

// Distances are not negative, so their bits order as integers do.
template <typename W>
__global__ void sssp_relax(const int *rows, const int *columns, const W *weights, const int *queue,
                           int count, W *distance, float limit, int *mark, int *waits, int round,
                           int *near, int *far, int *counts)
{
    graph_queue nearer(near, &counts[near_count]), later(far, &counts[far_count]);
    int first = graph_first(), last = graph_last(first, count);
    for (int i = first; i < last; i++) {
        int from = queue[i];
        float start = distance[from];
        for (int e = rows[from]; e < rows[from + 1]; e++) {
            int to = columns[e];
            float found = start + weights[e];
            if (!(found < distance[to])) continue;
            int old = atomicMin((int *)&distance[to], __float_as_int(found));
            if (__float_as_int(found) < old)
                sssp_put(to, found, limit, mark, waits, round, nearer, later);
        }
    }
    nearer.flush();
    later.flush();
}

// What waited in the far queue: nearer than `done` it has been taken already.
template <typename W>
__global__ void sssp_split(const int *queue, int count, const W *distance, float done, float limit,
                           int *mark, int *waits, int round, int *near, int *far, int *counts)
{
    graph_queue nearer(near, &counts[near_count]), later(far, &counts[far_count]);
    int first = graph_first(), last = graph_last(first, count);
    for (int i = first; i < last; i++) {
        int v = queue[i];
        waits[v] = 0;
        float own = distance[v];
        if (own < done) continue;
        if (own >= limit && __float_as_int(own) < counts[far_least])
            atomicMin(&counts[far_least], __float_as_int(own));
        sssp_put(v, own, limit, mark, waits, round, nearer, later);
    }
    nearer.flush();
    later.flush();
}

// ---- the transpose ----

template <typename T> __global__ void graph_sources(const T *rows, T *source, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    for (T e = rows[i]; e < rows[i + 1]; e++) source[e] = i;
}
// rows of sorted ends: a thread fills the rows that begin between edge e - 1 and edge e.
template <typename T> __global__ void graph_rows(const T *sorted, T *rows, int n, int edges)
{
    int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e > edges) return;
    T from = e > 0 ? sorted[e - 1] + 1 : 0, to = e < edges ? sorted[e] : (T)n;
    for (T row = from; row <= to; row++) rows[row] = e;
}

// ---- PageRank ----

// What each vertex gives to every one it leads to, and what vertices lose that lead nowhere.
template <typename R>
__global__ void pagerank_share(const R *rank, const int *rows, R *share, R *lost, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int degree = rows[i + 1] - rows[i];
    share[i] = degree > 0 ? rank[i] / degree : R(0);
    lost[i] = degree > 0 ? R(0) : rank[i];
}
template <typename R>
__global__ void pagerank_gather(const int *in_rows, const int *source, const R *share,
                                const R *lost, R damping, R *rank, R *change, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    R sum = *lost / n;
    for (int e = in_rows[i]; e < in_rows[i + 1]; e++) sum += share[source[e]];
    R fresh = (1 - damping) / n + damping * sum, step = fresh - rank[i];
    change[i] = step < 0 ? -step : step;
    rank[i] = fresh;
}

// ---- connected components ----

template <typename T>
__global__ void components_link(const T *rows, const T *columns, T *parents, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    volatile T *parent = parents; // other threads move it
    for (T e = rows[i]; e < rows[i + 1]; e++) {
        T a = parent[i], b = parent[columns[e]];
        while (a != b) {
            T high = a > b ? a : b, low = a > b ? b : a, above = parent[high];
            if (above == low || (above == high && atomicCAS(&parents[high], high, low) == high))
                break;
            a = parent[parent[high]];
            b = parent[low];
        }
    }
}
template <typename T> __global__ void components_root(const T *parents, T *label, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    T root = i;
    while (parents[root] != root) root = parents[root];
    label[i] = root;
}

// ---- triangles ----

// found[i]: the triangles whose least vertex is i. Rows are sorted; edges lead both ways.
template <typename C>
__global__ void triangles_count(const int *rows, const int *columns, C *found, int n)
{
    int u = blockIdx.x * blockDim.x + threadIdx.x;
    if (u >= n) return;
    C all = 0;
    for (int e = rows[u]; e < rows[u + 1]; e++) {
        int v = columns[e];
        if (v <= u) continue;
        int p = e + 1, q = rows[v];
        while (p < rows[u + 1] && q < rows[v + 1]) {
            int a = columns[p], b = columns[q];
            all += a == b && a > v;
            p += a <= b;
            q += b <= a;
        }
    }
    found[u] = all;
}

} // namespace gb
