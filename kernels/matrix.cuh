// Dense matrices, row by row (element (i, j) of an m x n matrix is x[i * n + j]).
// Product: tiles of 64 x 64; on a GPU through shared memory with 4 x 4 results a thread, on the cpu
// backend with 4 x 16 results in registers (Goto, van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication", 2008, without packing). O(m n k).
#pragma once
#include "gb/base.cuh"

namespace gb {

enum { square = 64, depth = 16, depth_serial = 256 };

#if GB_SERIAL
// c[0..rows) x [0..columns) += a (rows x count, stride k) * b (count x columns, stride n).
template <typename T, int R, int C>
__device__ __forceinline__ void product_block(const T *a, const T *b, T *c, int k, int n, int count)
{
    T sum[R][C];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < C; j++) sum[r][j] = c[(size_t)r * n + j];
    for (int p = 0; p < count; p++)
        for (int r = 0; r < R; r++) {
            T factor = a[(size_t)r * k + p];
            for (int j = 0; j < C; j++) sum[r][j] += factor * b[(size_t)p * n + j];
        }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < C; j++) c[(size_t)r * n + j] = sum[r][j];
}
#endif

// c = a b: a is m x k, b k x n. Grid: x tiles of columns, y tiles of rows.
template <typename T>
__global__ void matrix_product(const T *a, const T *b, T *c, int m, int n, int k)
{
    int row = blockIdx.y * square, column = blockIdx.x * square;
#if GB_SERIAL
    int rows = tile_count(m, row, square), columns = tile_count(n, column, square);
    for (int i = row; i < row + rows; i++)
        for (int j = column; j < column + columns; j++) c[(size_t)i * n + j] = 0;
    for (int p = 0; p < k; p += depth_serial) {
        int count = tile_count(k, p, depth_serial);
        int j = column;
        for (; j + 16 <= column + columns; j += 16) {
            int i = row;
            for (; i + 4 <= row + rows; i += 4)
                product_block<T, 4, 16>(a + (size_t)i * k + p, b + (size_t)p * n + j,
                                        c + (size_t)i * n + j, k, n, count);
            for (; i < row + rows; i++)
                product_block<T, 1, 16>(a + (size_t)i * k + p, b + (size_t)p * n + j,
                                        c + (size_t)i * n + j, k, n, count);
        }
        for (; j < column + columns; j++)
            for (int i = row; i < row + rows; i++)
                product_block<T, 1, 1>(a + (size_t)i * k + p, b + (size_t)p * n + j,
                                       c + (size_t)i * n + j, k, n, count);
    }
#else
    __shared__ T left[depth][square + 1], right[depth][square];
    int t = threadIdx.x, tx = t % 16, ty = t / 16;
    T sum[4][4] = {};
    for (int p = 0; p < k; p += depth) {
        for (int e = t; e < square * depth; e += lanes) {
            int i = e / depth, q = e % depth;
            left[q][i] = row + i < m && p + q < k ? a[(size_t)(row + i) * k + p + q] : T(0);
            int j = e % square, s = e / square;
            right[s][j] = column + j < n && p + s < k ? b[(size_t)(p + s) * n + column + j] : T(0);
        }
        __syncthreads();
        for (int q = 0; q < depth; q++)
            for (int r = 0; r < 4; r++)
                for (int j = 0; j < 4; j++)
                    sum[r][j] += left[q][ty + 16 * r] * right[q][tx + 16 * j];
        __syncthreads();
    }
    for (int r = 0; r < 4; r++)
        for (int j = 0; j < 4; j++) {
            int y = row + ty + 16 * r, x = column + tx + 16 * j;
            if (y < m && x < n) c[(size_t)y * n + x] = sum[r][j];
        }
#endif
}

// out = the transpose of x (m x n); out is another matrix. Tiles of 32 x 32.
template <typename T> __global__ void matrix_transpose(const T *x, T *out, int m, int n)
{
    int row = blockIdx.y * 32, column = blockIdx.x * 32;
    int rows = tile_count(m, row, 32), columns = tile_count(n, column, 32);
#if GB_SERIAL
    for (int j = column; j < column + columns; j++)
        for (int i = row; i < row + rows; i++) out[(size_t)j * m + i] = x[(size_t)i * n + j];
#else
    __shared__ T part[32][33];
    int t = threadIdx.x, tx = t % 32;
    for (int i = t / 32; i < rows; i += lanes / 32)
        if (tx < columns) part[i][tx] = x[(size_t)(row + i) * n + column + tx];
    __syncthreads();
    for (int j = t / 32; j < columns; j += lanes / 32)
        if (tx < rows) out[(size_t)(column + j) * m + row + tx] = part[tx][j];
#endif
}

// y = a x: a is m x n. One block per row.
template <typename T>
__global__ void matrix_vector(const T *a, const T *x, T *y, int n)
{
    int row = blockIdx.x;
    T sum = fold<op_sum, T>(n, load_product<T, T>{a + (size_t)row * n, x});
    if (lane() == 0) y[row] = sum;
}

} // namespace gb
