/* The map cases of the conformance suite: what each kernel must compute. */
#include "kit_conform.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WANT(name) static double name(const double *x, int i, int n)

WANT(templates)
{
    return x[i] * x[i] * x[i] + 2 * x[i] + 2 * i + x[i] + 3;
}

WANT(namespaces)
{
    double inner = x[i] + 0.25, outer = 2 * inner;
    return outer - 1 + outer + inner;
}

WANT(operators)
{
    double re = x[i] * x[i] - 0.25 + 1, im = x[i];
    double r = re * x[i] - im * 0.5, m = re * 0.5 + im * x[i];
    return r + m + m;
}

static int gcd(int a, int b)
{
    return b == 0 ? a : gcd(b, a % b);
}

WANT(device_functions)
{
    return (x[i] - 1) * (x[i] + 1) + 3 * x[i] + gcd(i + 12, 18);
}

WANT(lambdas)
{
    return x[i] + 3 + 3 * x[i];
}

WANT(vector_types)
{
    const double *v = x + i / 4 * 4;
    int k = i / 4;
    if (i % 4 == 0) return v[0] + v[1];
    if (i % 4 == 1) return v[2] - v[3];
    return i % 4 == 2 ? v[3] * 4 : 3 * k + 3;
}

WANT(read_only_loads)
{
    return x[i] + x[n - 1 - i];
}

WANT(math_functions)
{
    double v = x[i], p = fabs(v) + 0.5;
    double s = sqrt(p) + exp(v) + log(p) + sin(v) * cos(v) + tanh(v) + pow(p, 1.5);
    s += fma(v, v, 1) + floor((double)((float)v * 10)) + fmin(v, 0.1) + fmax(v, 0.2) + 1 / sqrt(p) +
         cbrt(p);
    return s + atan2(v, p) + hypot(v, p) + fmodf((float)p, 0.3f) + copysign(p, v) + erf(v) +
           log2(p);
}

WANT(double_math)
{
    return exp(x[i]) * sin(x[i]) + sqrt(fabs(x[i])) + x[i] * 3 + 1;
}

static uint32_t reverse_bits(uint32_t v)
{
    uint32_t r = 0;
    for (int k = 0; k < 32; k++) r |= (v >> k & 1) << (31 - k);
    return r;
}

WANT(bits)
{
    uint32_t v = (uint32_t)x[i], w = ~v;
    uint32_t r = (uint32_t)__builtin_popcount(v) + 3u * (uint32_t)__builtin_clz(v | 1) +
                 7u * (uint32_t)__builtin_ffs((int)v) + (reverse_bits(v) >> 5);
    uint8_t bytes[8];
    memcpy(bytes, &v, 4);
    memcpy(bytes + 4, &w, 4);
    uint32_t permuted =
        bytes[5] | (uint32_t)bytes[0] << 8 | (uint32_t)bytes[7] << 16 | (uint32_t)bytes[2] << 24;
    r ^= permuted + (uint32_t)((uint64_t)v * 0x9e3779b9u >> 32);
    return r + (uint32_t)__builtin_popcount(v) + (v ? 32u + (uint32_t)__builtin_clz(v) : 64u) +
           0x3fc00000u;
}

WANT(grid_1d)
{
    return (uint32_t)x[i] + (uint32_t)i;
}

WANT(grid_2d)
{
    return (uint32_t)x[i] ^ ((uint32_t)i / 48 << 16 | (uint32_t)i % 48);
}

WANT(grid_3d)
{
    uint32_t u = (uint32_t)i;
    return (uint32_t)x[i] + u % 12 + 1000u * (u / 12 % 10) + 1000000u * (u / 120);
}

WANT(shared_static)
{
    int first = i / 128 * 128;
    double sum = 0;
    for (int k = 0; k < 4; k++) sum += x[first + k];
    return x[first + 127 - i % 128] + sum;
}

WANT(shared_dynamic)
{
    double sum = 0;
    for (int k = i / 64 * 64; k <= i; k++) sum += x[k];
    return sum;
}

WANT(transpose)
{
    return x[i % 32 * 32 + i / 32];
}

WANT(early_return)
{
    int t = i % 128;
    return t >= 40 ? 1 : x[i - t + (t + 1) % 40] + 2;
}

WANT(block_votes)
{
    int count = 0, first = i / 100 * 100;
    for (int k = first; k < first + 100; k++) count += (uint32_t)x[k] & 1;
    return count * 4 + 2;
}

/* The value that the given lane of this thread's warp holds. */
static uint32_t lane_of(const double *x, int i, int lane)
{
    return (uint32_t)x[i / 32 * 32 + lane];
}

WANT(warp_sync)
{
    int lane = (i + 5) % 32; /* blocks hold whole warps */
    return lane_of(x, i, lane ^ 1) + (uint32_t)lane;
}

WANT(shuffles)
{
    int lane = i % 32;
    uint32_t a = lane_of(x, i, (lane + 7) % 32);
    uint32_t b = lane_of(x, i, lane >= 3 ? lane - 3 : lane);
    uint32_t c = lane_of(x, i, lane + 5 < 32 ? lane + 5 : lane);
    uint32_t d = lane_of(x, i, lane ^ 9);
    uint32_t e = lane_of(x, i, lane % 8 < 7 ? lane + 1 : lane);
    uint32_t f = lane_of(x, i, lane / 16 * 16 + 3);
    return a + 3 * b + 5 * c + 7 * d + 11 * e + 13 * f;
}

WANT(shuffle_types)
{
    double sum = 0, largest = -1e9;
    for (int lane = 0; lane < 32; lane++) {
        sum += x[i / 32 * 32 + lane];
        largest = fmax(largest, x[i / 32 * 32 + lane]);
    }
    return sum + largest + (i / 32 * 32 + 4);
}

WANT(votes)
{
    uint32_t ballot = 0;
    for (int lane = 0; lane < 32; lane++) ballot |= (lane_of(x, i, lane) & 1) << lane;
    return ballot ^ 2u ^ 0x100u;
}

WANT(match)
{
    uint32_t equal = 0;
    for (int lane = 0; lane < 32; lane++)
        equal |= (uint32_t)(lane_of(x, i, lane) % 3 == lane_of(x, i, i % 32) % 3) << lane;
    return equal;
}

/* Step by step for all lanes, as the hardware does it. */
WANT(halves)
{
    uint32_t v[32], next[32];
    for (int lane = 0; lane < 32; lane++) v[lane] = lane_of(x, i, lane);
    for (int round = 0; round < 3; round++) {
        for (int lane = 0; lane < 16; lane++) next[lane] = v[lane] + v[lane ^ 1];
        memcpy(v, next, 16 * sizeof v[0]);
    }
    for (int round = 0; round < 2; round++) {
        for (int lane = 16; lane < 32; lane++) next[lane] = v[lane < 31 ? lane + 1 : lane] + 1;
        memcpy(v + 16, next + 16, 16 * sizeof v[0]);
    }
    for (int lane = 16; lane < 32; lane++) v[lane] ^= 0xaaaa0000u;
    return v[i % 32] + v[31];
}

#define LINE(kernel, function, kind, accuracy)                                                     \
    {                                                                                              \
#kernel, "language.cu", {5, 1, 1 }, {64, 1, 1 }, 300, kind, 0, accuracy, function          \
    }

const conform_map conform_maps[] = {
    LINE(templates, templates, CONFORM_FLOAT, 1e-5),
    LINE(namespaces, namespaces, CONFORM_FLOAT, 1e-5),
    LINE(operators, operators, CONFORM_FLOAT, 1e-5),
    LINE(device_functions, device_functions, CONFORM_FLOAT, 1e-5),
    LINE(lambdas, lambdas, CONFORM_FLOAT, 1e-5),
    LINE(vector_types, vector_types, CONFORM_FLOAT, 1e-5),
    LINE(read_only_loads, read_only_loads, CONFORM_FLOAT, 1e-5),
    LINE(math, math_functions, CONFORM_FLOAT, 2e-5),
    LINE(double_math, double_math, CONFORM_DOUBLE, 1e-13),
    LINE(bits, bits, CONFORM_UINT, 0),
    {"grid_1d", "language.cu", {3, 1, 1}, {32, 1, 1}, 1000, CONFORM_UINT, 0, 0, grid_1d},
    {"grid_2d", "language.cu", {3, 5, 1}, {16, 4, 1}, 960, CONFORM_UINT, 0, 0, grid_2d},
    {"grid_3d", "language.cu", {3, 5, 2}, {4, 2, 8}, 1920, CONFORM_UINT, 0, 0, grid_3d},
    {"shared_static", "memory.cu", {6, 1, 1}, {128, 1, 1}, 768, CONFORM_UINT, 0, 0, shared_static},
    {"shared_dynamic",
     "memory.cu",
     {9, 1, 1},
     {64, 1, 1},
     576,
     CONFORM_UINT,
     512,
     0,
     shared_dynamic},
    {"transpose", "memory.cu", {4, 4, 1}, {8, 8, 1}, 1024, CONFORM_UINT, 0, 0, transpose},
    {"early_return", "memory.cu", {5, 1, 1}, {128, 1, 1}, 640, CONFORM_UINT, 0, 0, early_return},
    {"block_votes", "memory.cu", {4, 1, 1}, {100, 1, 1}, 400, CONFORM_UINT, 0, 0, block_votes},
    {"warp_sync", "warp.cu", {4, 1, 1}, {96, 1, 1}, 384, CONFORM_UINT, 0, 0, warp_sync},
    {"shuffles", "warp.cu", {4, 1, 1}, {96, 1, 1}, 384, CONFORM_UINT, 0, 0, shuffles},
    {"shuffle_types", "warp.cu", {3, 1, 1}, {64, 1, 1}, 192, CONFORM_FLOAT, 0, 1e-5, shuffle_types},
    {"votes", "warp.cu", {4, 1, 1}, {64, 1, 1}, 256, CONFORM_UINT, 0, 0, votes},
    {"match", "warp.cu", {4, 1, 1}, {64, 1, 1}, 256, CONFORM_UINT, 0, 0, match},
    {"halves", "warp.cu", {4, 1, 1}, {64, 1, 1}, 256, CONFORM_UINT, 0, 0, halves},
    {NULL, NULL, {0, 0, 0}, {0, 0, 0}, 0, CONFORM_FLOAT, 0, 0, NULL},
};
