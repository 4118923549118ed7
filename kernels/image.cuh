// Images: rows from the top, pixels from the left, channels of a pixel side by side: element
// (y, x, c) is at (y * width + x) * channels + c. float, or unsigned char with rounding and
// clamping. One thread per element of the result; outside the image its edge goes on. Resizing and
// convolving on the cpu backend: a thread takes a run of a row (or of several), so that what many
// elements share is worked out once and the innermost loop has no edges. Resizing is
// bilinear with centres of pixels as in OpenCV; grey is luma of ITU-R BT.601; gradients after Sobel
// (Gonzalez, Woods, "Digital Image Processing", 3.6); equalizing by the distribution (3.3).
#pragma once
#include "gb/base.cuh"

namespace gb {

template <typename T> struct pixel;
template <> struct pixel<float> {
    static __device__ __forceinline__ float of(float v) { return v; }
};
template <> struct pixel<unsigned char> {
    static __device__ __forceinline__ unsigned char of(float v)
    {
        return (unsigned char)(v <= 0.0f ? 0.0f : v >= 255.0f ? 255.0f : v + 0.5f);
    }
};

static __device__ __forceinline__ int clamp_to(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

template <typename T> __device__ __forceinline__ T luma(const T *p)
{
    return pixel<T>::of(0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2]);
}

// On the cpu backend one block per tile, and pixels of three bytes known to the compiler.
template <typename T> __global__ void image_gray(const T *x, T *out, int n, int channels)
{
#if GB_SERIAL
    int first = blockIdx.x * tile, last = first + tile_count(n, first);
    if (channels == 3)
        for (int i = first; i < last; i++) out[i] = luma(x + (size_t)i * 3);
    else
        for (int i = first; i < last; i++) out[i] = luma(x + (size_t)i * channels);
#else
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = luma(x + (size_t)i * channels);
#endif
}

// Where an element of the result lies between its neighbours, along one side.
static __device__ __forceinline__ float place_of(int i, int size, int to_size)
{
    return (i + 0.5f) * ((float)size / to_size) - 0.5f;
}

enum { resize_rows = 8, resize_columns = 128, convolve_run = 1024 };

#if GB_SERIAL
// One row of a run of columns, the channels known to the compiler.
template <typename T, int C>
__device__ __forceinline__ void resize_row(const T *top, const T *bottom, T *out, const int *left,
                                           const int *right, const float *share, float ay,
                                           int columns)
{
    for (int i = 0; i < columns; i++)
        for (int c = 0; c < C; c++) {
            float ax = share[i];
            float upper = (1 - ax) * top[left[i] + c] + ax * top[right[i] + c];
            float lower = (1 - ax) * bottom[left[i] + c] + ax * bottom[right[i] + c];
            out[i * C + c] = pixel<T>::of((1 - ay) * upper + ay * lower);
        }
}
#endif

// On a GPU one thread per element; on the cpu backend one block per resize_rows rows of
// resize_columns columns.
template <typename T>
__global__ void image_resize(const T *x, T *out, int width, int height, int channels, int to_width,
                             int to_height)
{
#if GB_SERIAL
    int left[resize_columns], right[resize_columns];
    float share[resize_columns];
    int runs = (to_width + resize_columns - 1) / resize_columns;
    int column = (int)(blockIdx.x % runs) * resize_columns;
    int row = (int)(blockIdx.x / runs) * resize_rows;
    int columns = tile_count(to_width, column, resize_columns);
    int rows = tile_count(to_height, row, resize_rows);
    for (int i = 0; i < columns; i++) {
        float fx = place_of(column + i, width, to_width), low = floorf(fx);
        left[i] = clamp_to((int)low, width) * channels;
        right[i] = clamp_to((int)low + 1, width) * channels;
        share[i] = fx - low;
    }
    for (int k = row; k < row + rows; k++) {
        float fy = place_of(k, height, to_height), low = floorf(fy), ay = fy - low;
        const T *top = x + (size_t)clamp_to((int)low, height) * width * channels;
        const T *bottom = x + (size_t)clamp_to((int)low + 1, height) * width * channels;
        T *to = out + ((size_t)k * to_width + column) * channels;
        if (channels == 1)
            resize_row<T, 1>(top, bottom, to, left, right, share, ay, columns);
        else if (channels == 3)
            resize_row<T, 3>(top, bottom, to, left, right, share, ay, columns);
        else
            for (int i = 0; i < columns; i++)
                for (int c = 0; c < channels; c++)
                    resize_row<T, 1>(top + c, bottom + c, to + i * channels + c, left + i,
                                     right + i, share + i, ay, 1);
    }
#else
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= to_width * to_height * channels) return;
    int c = i % channels, column = i / channels % to_width, row = i / channels / to_width;
    float fx = place_of(column, width, to_width), fy = place_of(row, height, to_height);
    int x0 = (int)floorf(fx), y0 = (int)floorf(fy);
    float ax = fx - x0, ay = fy - y0;
    size_t left = clamp_to(x0, width), right = clamp_to(x0 + 1, width);
    size_t top = (size_t)clamp_to(y0, height) * width;
    size_t bottom = (size_t)clamp_to(y0 + 1, height) * width;
    float upper = (1 - ax) * x[(top + left) * channels + c] + ax * x[(top + right) * channels + c];
    float lower =
        (1 - ax) * x[(bottom + left) * channels + c] + ax * x[(bottom + right) * channels + c];
    out[i] = pixel<T>::of((1 - ay) * upper + ay * lower);
#endif
}

#if GB_SERIAL
// Adds weight * (the element `shift` pixels to the right) for elements from .. from + count - 1 of
// a row.
template <typename T>
__device__ __forceinline__ void add_tap(float *__restrict__ sum, const T *__restrict__ line,
                                        float weight, int from, int count, int shift, int width,
                                        int channels)
{
    int by = shift * channels, end = width * channels;
    int first = -by > from ? (-by < from + count ? -by : from + count) : from;
    int last = end - by < from + count ? (end - by > first ? end - by : first) : from + count;
    for (int e = from; e < first; e++) sum[e - from] += weight * line[e % channels];
    for (int e = first; e < last; e++) sum[e - from] += weight * line[e + by];
    for (int e = last; e < from + count; e++)
        sum[e - from] += weight * line[end - channels + e % channels];
}
#endif

// The weights stand as they lie over the image (a correlation), kw x kh of them. On a GPU one
// thread per element; on the cpu backend one block per convolve_run elements of a row.
template <typename T>
__global__ void image_convolve(const T *x, const float *weights, T *out, int width, int height,
                               int channels, int kw, int kh)
{
#if GB_SERIAL
    float sum[convolve_run];
    int size = width * channels, runs = (size + convolve_run - 1) / convolve_run;
    int row = blockIdx.x / runs, from = (int)(blockIdx.x % runs) * convolve_run;
    int count = tile_count(size, from, convolve_run);
    for (int i = 0; i < count; i++) sum[i] = 0;
    for (int v = 0; v < kh; v++) {
        const T *line = x + (size_t)clamp_to(row + v - kh / 2, height) * size;
        for (int u = 0; u < kw; u++)
            add_tap(sum, line, weights[v * kw + u], from, count, u - kw / 2, width, channels);
    }
    T *to = out + (size_t)row * size + from;
    for (int i = 0; i < count; i++) to[i] = pixel<T>::of(sum[i]);
#else
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= width * height * channels) return;
    int c = i % channels, column = i / channels % width, row = i / channels / width;
    float sum = 0;
    for (int v = 0; v < kh; v++) {
        size_t line = (size_t)clamp_to(row + v - kh / 2, height) * width;
        for (int u = 0; u < kw; u++)
            sum += weights[v * kw + u] *
                   x[(line + clamp_to(column + u - kw / 2, width)) * channels + c];
    }
    out[i] = pixel<T>::of(sum);
#endif
}

// The gradient's length at place i of row b, between rows a and c and places l and r.
template <typename T>
__device__ __forceinline__ T gradient(const T *a, const T *b, const T *c, int l, int i, int r)
{
    float gx = ((float)a[r] - a[l]) + 2 * ((float)b[r] - b[l]) + ((float)c[r] - c[l]);
    float gy = ((float)c[l] - a[l]) + 2 * ((float)c[i] - a[i]) + ((float)c[r] - a[r]);
    return pixel<T>::of(sqrtf(gx * gx + gy * gy));
}

// On the cpu backend one block per row.
template <typename T> __global__ void image_sobel(const T *x, T *out, int width, int height)
{
#if GB_SERIAL
    int row = blockIdx.x;
#else
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= width * height) return;
    int column = i % width, row = i / width;
#endif
    const T *a = x + (size_t)clamp_to(row - 1, height) * width, *b = x + (size_t)row * width;
    const T *c = x + (size_t)clamp_to(row + 1, height) * width;
    T *to = out + (size_t)row * width;
#if GB_SERIAL
    to[0] = gradient(a, b, c, 0, 0, clamp_to(1, width));
    for (int i = 1; i < width - 1; i++) to[i] = gradient(a, b, c, i - 1, i, i + 1);
    to[width - 1] = gradient(a, b, c, clamp_to(width - 2, width), width - 1, width - 1);
#else
    to[column] =
        gradient(a, b, c, clamp_to(column - 1, width), column, clamp_to(column + 1, width));
#endif
}

// upto: the inclusive scan of the 256 counts.
template <typename T> __global__ void image_equalize(const T *x, const int *upto, T *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int first = 0;
    while (upto[first] == 0) first++;
    int least = upto[first];
    float range = (float)(n - least);
    out[i] = range > 0 ? pixel<T>::of((float)(upto[x[i]] - least) / range * 255.0f) : x[i];
}

} // namespace gb
