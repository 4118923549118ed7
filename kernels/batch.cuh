// Many small dense problems at once: matrix b of a batch begins at element b * rows * columns. One
// thread per element of a product, or per system: Gauss elimination with row exchanges (Golub, Van
// Loan, "Matrix Computations", 3.4), O(n^3) each.
#pragma once
#include "gb/base.cuh"

namespace gb {

template <typename T>
__global__ void batch_product(const T *a, const T *b, T *c, int count, int m, int n, int k)
{
    int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= count * m * n) return;
    int j = e % n, i = e / n % m, batch = e / n / m;
    const T *row = a + ((size_t)batch * m + i) * k, *column = b + (size_t)batch * k * n + j;
    T sum = 0;
    for (int p = 0; p < k; p++) sum += row[p] * column[(size_t)p * n];
    c[e] = sum;
}

// a (n x n) becomes its upper half, x (n x m) holds the right sides and becomes the solution;
// singular[b] is 1 where there is none.
template <typename T>
__global__ void batch_solve(T *a, T *x, int *singular, int count, int n, int m)
{
    int batch = blockIdx.x * blockDim.x + threadIdx.x;
    if (batch >= count) return;
    a += (size_t)batch * n * n;
    x += (size_t)batch * n * m;
    int bad = 0;
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k + 1; i < n; i++) {
            T own = a[i * n + k], most = a[best * n + k];
            if ((own < 0 ? -own : own) > (most < 0 ? -most : most)) best = i;
        }
        T pivot = a[best * n + k];
        if (!(pivot < 0 || pivot > 0)) {
            bad = 1;
            break;
        }
        for (int j = 0; j < n; j++) {
            T value = a[k * n + j];
            a[k * n + j] = a[best * n + j];
            a[best * n + j] = value;
        }
        for (int j = 0; j < m; j++) {
            T value = x[k * m + j];
            x[k * m + j] = x[best * m + j];
            x[best * m + j] = value;
        }
        for (int i = k + 1; i < n; i++) {
            T factor = a[i * n + k] / pivot;
            for (int j = k; j < n; j++) a[i * n + j] -= factor * a[k * n + j];
            for (int j = 0; j < m; j++) x[i * m + j] -= factor * x[k * m + j];
        }
    }
    singular[batch] = bad;
    for (int i = bad ? -1 : n - 1; i >= 0; i--)
        for (int c = 0; c < m; c++) {
            T sum = x[i * m + c];
            for (int j = i + 1; j < n; j++) sum -= a[i * n + j] * x[j * m + c];
            x[i * m + c] = sum / a[i * n + i];
        }
}

template <typename T> __global__ void batch_identity(T *x, int count, int n)
{
    int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e < count * n * n) x[e] = e / n % n == e % n ? T(1) : T(0);
}

} // namespace gb
