// LU of dense matrices, row by row, with row exchanges, by panels of columns (Golub, Van Loan,
// "Matrix Computations", 3.2.11 and 3.4): a panel is factored by one block, the rows to its right
// are solved by strips, and what is below and to the right is a product of tiles. O(n^3), three
// launches a panel. Solving: strips of right sides, O(n^2) each.
#pragma once
#include "gb/base.cuh"

namespace gb {

enum { lu_width = 32, lu_strip = 64, lu_square = 64, solve_strip = 32 };

template <typename T> struct load_column {
    const T *a;
    int n, column;
    __device__ __forceinline__ T operator()(int i) const
    {
        T value = a[(size_t)i * n + column];
        return value < 0 ? -value : value;
    }
};
template <typename T> struct load_column_place {
    load_column<T> column;
    T value;
    int none;
    __device__ __forceinline__ int operator()(int i) const
    {
        return column(i) == value ? i : none;
    }
};

template <typename T> __device__ __forceinline__ void swap_rows(T *p, T *q, int from, int to)
{
    for (int j = from + lane(); j < to; j += lane_step()) {
        T value = p[j];
        p[j] = q[j];
        q[j] = value;
    }
}

// Factors columns k .. k + w - 1 from row k on; w is lu_width at most. Rows change places within
// these columns. pivots[s]: the row that came to row s. *singular: the first column without a pivot
// other than 0, counted from 1. One block.
template <typename T>
__global__ void lu_panel(T *a, int *pivots, int *singular, int n, int k, int w)
{
    for (int s = k; s < k + w; s++) {
        int count = n - s;
        T *top = a + (size_t)s * n;
        load_column<T> column{top, n, s};
        T most = fold<op_max, T>(count, column);
        int at = fold<op_min, int>(count, load_column_place<T>{column, most, count});
        if (at >= count) at = 0; // NaNs alone
        if (lane() == 0) {
            pivots[s] = s + at;
            if (!(most > 0) && *singular == 0) *singular = s + 1;
        }
        if (at > 0) swap_rows(top, top + (size_t)at * n, k, k + w);
        block_sync();
        T pivot = top[s];
        for (int i = s + 1 + lane(); i < n; i += lane_step()) {
            T *row = a + (size_t)i * n, factor = pivot != 0 ? row[s] / pivot : T(0);
            row[s] = factor;
            for (int j = s + 1; j < k + w; j++) row[j] -= factor * top[j];
        }
        block_sync();
    }
}

// The other columns: the panel's exchanges, then rows k .. k + w - 1 right of it are solved. One
// block per lu_strip columns; a thread keeps to its columns, so none waits for another.
template <typename T> __global__ void lu_rows(T *a, const int *pivots, int n, int k, int w)
{
    int first = blockIdx.x * lu_strip, last = first + tile_count(n, first, lu_strip);
    int left = last < k ? last : k, right = first > k + w ? first : k + w;
    for (int s = k; s < k + w; s++) {
        T *p = a + (size_t)s * n, *q = a + (size_t)pivots[s] * n;
        if (p == q) continue;
        swap_rows(p, q, first, left);
        swap_rows(p, q, right, last);
    }
    for (int i = k + 1; i < k + w; i++) {
        T *__restrict__ to = a + (size_t)i * n;
        for (int j = k; j < i; j++) {
            const T *__restrict__ from = a + (size_t)j * n;
            T factor = to[j];
            for (int c = right + lane(); c < last; c += lane_step()) to[c] -= factor * from[c];
        }
    }
}

#if GB_SERIAL
template <typename T, int R, int C>
__device__ __forceinline__ void lu_block(const T *a, const T *b, T *c, int n, int count)
{
    T rest[R][C];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < C; j++) rest[r][j] = c[(size_t)r * n + j];
    for (int p = 0; p < count; p++)
        for (int r = 0; r < R; r++) {
            T factor = a[(size_t)r * n + p];
            for (int j = 0; j < C; j++) rest[r][j] -= factor * b[(size_t)p * n + j];
        }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < C; j++) c[(size_t)r * n + j] = rest[r][j];
}
#endif

// Takes the product of the panel and the rows beside it out of what is below and to the right.
// Grid: tiles of it.
template <typename T> __global__ void lu_update(T *a, int n, int k, int w)
{
    int row = k + w + blockIdx.y * lu_square, column = k + w + blockIdx.x * lu_square;
    const T *panel = a + k, *beside = a + (size_t)k * n;
#if GB_SERIAL
    int rows = row + tile_count(n, row, lu_square);
    int columns = column + tile_count(n, column, lu_square);
    int j = column;
    for (; j + 16 <= columns; j += 16) {
        int i = row;
        for (; i + 4 <= rows; i += 4)
            lu_block<T, 4, 16>(panel + (size_t)i * n, beside + j, a + (size_t)i * n + j, n, w);
        for (; i < rows; i++)
            lu_block<T, 1, 16>(panel + (size_t)i * n, beside + j, a + (size_t)i * n + j, n, w);
    }
    for (; j < columns; j++)
        for (int i = row; i < rows; i++)
            lu_block<T, 1, 1>(panel + (size_t)i * n, beside + j, a + (size_t)i * n + j, n, w);
#else
    __shared__ T left[lu_width][lu_square + 1], right[lu_width][lu_square];
    int t = threadIdx.x, tx = t % 16, ty = t / 16;
    for (int e = t; e < lu_square * w; e += lanes) {
        int i = e / w, q = e % w, j = e % lu_square, s = e / lu_square;
        left[q][i] = row + i < n ? panel[(size_t)(row + i) * n + q] : T(0);
        right[s][j] = column + j < n ? beside[(size_t)s * n + column + j] : T(0);
    }
    __syncthreads();
    T sum[4][4] = {};
    for (int q = 0; q < w; q++)
        for (int r = 0; r < 4; r++)
            for (int j = 0; j < 4; j++) sum[r][j] += left[q][ty + 16 * r] * right[q][tx + 16 * j];
    for (int r = 0; r < 4; r++)
        for (int j = 0; j < 4; j++) {
            int y = row + ty + 16 * r, x = column + tx + 16 * j;
            if (y < n && x < n) a[(size_t)y * n + x] -= sum[r][j];
        }
#endif
}

// ---- solving ----

// Columns of x (m of them in all), C at a time: the exchanges, then both halves of a from their
// ends.
template <typename T, int C>
__device__ __forceinline__ void solve_columns(const T *a, const int *pivots, T *x, int n, int m)
{
    T rest[C];
    for (int i = 0; i < n; i++) {
        T *p = x + (size_t)i * m, *q = x + (size_t)pivots[i] * m;
        for (int c = 0; c < C; c++) rest[c] = p[c];
        for (int c = 0; c < C; c++) p[c] = q[c];
        for (int c = 0; c < C; c++) q[c] = rest[c];
    }
    for (int i = 0; i < n; i++) {
        T *own = x + (size_t)i * m;
        for (int c = 0; c < C; c++) rest[c] = own[c];
        for (int j = 0; j < i; j++)
            for (int c = 0; c < C; c++) rest[c] -= a[(size_t)i * n + j] * x[(size_t)j * m + c];
        for (int c = 0; c < C; c++) own[c] = rest[c];
    }
    for (int i = n - 1; i >= 0; i--) {
        T *own = x + (size_t)i * m, pivot = a[(size_t)i * n + i];
        for (int c = 0; c < C; c++) rest[c] = own[c];
        for (int j = i + 1; j < n; j++)
            for (int c = 0; c < C; c++) rest[c] -= a[(size_t)i * n + j] * x[(size_t)j * m + c];
        for (int c = 0; c < C; c++) own[c] = rest[c] / pivot;
    }
}

// x (n x m) from b; x may be b. On a GPU one thread per column; on the cpu backend one block per
// solve_strip columns.
template <typename T>
__global__ void lu_solve(const T *a, const int *pivots, const T *b, T *x, int n, int m)
{
#if GB_SERIAL
    int first = blockIdx.x * solve_strip, count = tile_count(m, first, solve_strip);
#else
    int first = blockIdx.x * blockDim.x + threadIdx.x, count = 1;
    if (first >= m) return;
#endif
    for (int i = 0; i < n; i++)
        for (int c = first; c < first + count; c++) x[(size_t)i * m + c] = b[(size_t)i * m + c];
#if GB_SERIAL
    if (count == solve_strip) {
        solve_columns<T, solve_strip>(a, pivots, x + first, n, m);
        return;
    }
#endif
    for (int c = first; c < first + count; c++) solve_columns<T, 1>(a, pivots, x + c, n, m);
}

template <typename T> __global__ void matrix_identity(T *x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n * n) x[i] = i / n == i % n ? T(1) : T(0);
}

} // namespace gb
