// Images: rows from the top, pixels from the left, channels of a pixel side by side: element
// (y, x, c) is at (y * width + x) * channels + c. float, or unsigned char with rounding and
// clamping. One thread per element of the result; outside the image its edge goes on. Resizing is
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

template <typename T> __global__ void image_gray(const T *x, T *out, int n, int channels)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const T *p = x + (size_t)i * channels;
    out[i] = pixel<T>::of(0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2]);
}

template <typename T>
__global__ void image_resize(const T *x, T *out, int width, int height, int channels, int to_width,
                             int to_height)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= to_width * to_height * channels) return;
    int c = i % channels, column = i / channels % to_width, row = i / channels / to_width;
    float fx = (column + 0.5f) * ((float)width / to_width) - 0.5f;
    float fy = (row + 0.5f) * ((float)height / to_height) - 0.5f;
    int x0 = (int)floorf(fx), y0 = (int)floorf(fy);
    float ax = fx - x0, ay = fy - y0;
    size_t left = clamp_to(x0, width), right = clamp_to(x0 + 1, width);
    size_t top = (size_t)clamp_to(y0, height) * width;
    size_t bottom = (size_t)clamp_to(y0 + 1, height) * width;
    float upper = (1 - ax) * x[(top + left) * channels + c] + ax * x[(top + right) * channels + c];
    float lower =
        (1 - ax) * x[(bottom + left) * channels + c] + ax * x[(bottom + right) * channels + c];
    out[i] = pixel<T>::of((1 - ay) * upper + ay * lower);
}

// The weights stand as they lie over the image (a correlation), kw x kh of them.
template <typename T>
__global__ void image_convolve(const T *x, const float *weights, T *out, int width, int height,
                               int channels, int kw, int kh)
{
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
}

template <typename T> __global__ void image_sobel(const T *x, T *out, int width, int height)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= width * height) return;
    int column = i % width, row = i / width;
    int l = clamp_to(column - 1, width), r = clamp_to(column + 1, width);
    const T *a = x + (size_t)clamp_to(row - 1, height) * width, *b = x + (size_t)row * width;
    const T *c = x + (size_t)clamp_to(row + 1, height) * width;
    float gx = ((float)a[r] - a[l]) + 2 * ((float)b[r] - b[l]) + ((float)c[r] - c[l]);
    float gy = ((float)c[l] - a[l]) + 2 * ((float)c[column] - a[column]) + ((float)c[r] - a[r]);
    out[i] = pixel<T>::of(sqrtf(gx * gx + gy * gy));
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
