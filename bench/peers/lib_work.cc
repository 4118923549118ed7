// Peers of gb.lib by hand: matrices, graphs, images, random numbers.
#include "lib.h"

#include <atomic>
#include <cmath>

static auto nothing = [] {};

// ---- matrices ----

// c = a b, rows of c by thread; four rows at a time, so that a row of b is read for four.
static void multiply(const float *a, const float *b, float *c, int n)
{
    parallel([=](int, int first, int last) {
        for (int i = first; i < last; i += 4) {
            int rows = std::min(4, last - i);
            std::fill(c + (size_t)i * n, c + (size_t)(i + rows) * n, 0.0f);
            for (int k = 0; k < n; k++)
                for (int r = i; r < i + rows; r++) {
                    float factor = a[(size_t)r * n + k];
                    const float *__restrict from = b + (size_t)k * n;
                    float *__restrict to = c + (size_t)r * n;
                    for (int j = 0; j < n; j++) to[j] += factor * from[j];
                }
        }
    }, n);
}

static void transpose(const float *x, float *out, int n)
{
    parallel([=](int, int first, int last) {
        for (int i = first; i < last; i += 32)
            for (int j = 0; j < n; j += 32)
                for (int p = i; p < std::min(last, i + 32); p++)
                    for (int q = j; q < std::min(n, j + 32); q++)
                        out[(size_t)q * n + p] = x[(size_t)p * n + q];
    }, n);
}

// Gauss, Jordan with row exchanges, one column after the other; the rows by thread.
static void invert(std::vector<double> a, std::vector<double> &out, int n)
{
    meeting all;
    const int parts = (int)std::max(1u, std::thread::hardware_concurrency());
    std::fill(out.begin(), out.end(), 0.0);
    for (int i = 0; i < n; i++) out[(size_t)i * n + i] = 1;
    parallel([&](int part, int first, int last) {
        for (int k = 0; k < n; k++) {
            double *top = &a[(size_t)k * n], *unit = &out[(size_t)k * n];
            if (part == 0) {
                int best = k;
                for (int i = k; i < n; i++)
                    if (std::fabs(a[(size_t)i * n + k]) > std::fabs(a[(size_t)best * n + k]))
                        best = i;
                double pivot = a[(size_t)best * n + k];
                for (int j = 0; j < n; j++) {
                    std::swap(top[j], a[(size_t)best * n + j]);
                    std::swap(unit[j], out[(size_t)best * n + j]);
                    top[j] /= pivot;
                    unit[j] /= pivot;
                }
            }
            all.wait(parts);
            for (int i = first; i < last; i++) {
                double *__restrict row = &a[(size_t)i * n], *__restrict to = &out[(size_t)i * n];
                double factor = row[k];
                if (i == k) continue;
                for (int j = k; j < n; j++) row[j] -= factor * top[j];
                for (int j = 0; j < n; j++) to[j] -= factor * unit[j];
            }
            all.wait(parts);
        }
    }, n);
}

void measure_matrices()
{
    const int n = 768, large = 4096, small = 384;
    numbers from;
    std::vector<float> a(n * n), b(n * n), c(n * n), x((size_t)large * large), y(x.size());
    std::vector<double> d(small * small), e(small * small);
    for (float &one : a) one = from.unit();
    for (float &one : b) one = from.unit();
    for (double &one : d) one = from.unit();
    measure("matmul", nothing, [&] { multiply(a.data(), b.data(), c.data(), n); });
    measure("transpose", nothing, [&] { transpose(x.data(), y.data(), large); });
    measure("inverse", nothing, [&] { invert(d, e, small); });
}

// ---- graphs: 8 edges from each vertex ----

enum { VERTICES = 1 << 18, DEGREE = 8, EDGES = VERTICES * DEGREE };

static int search(const std::vector<int> &columns, std::vector<std::atomic<int>> &level)
{
    int depth = 0;
    parallel([&](int, int a, int b) {
        for (int i = a; i < b; i++) level[i].store(-1, std::memory_order_relaxed);
    }, VERTICES);
    std::vector<int> queue{0};
    std::vector<std::vector<int>> found(std::max(1u, std::thread::hardware_concurrency()));
    level[0] = 0;
    while (!queue.empty()) {
        depth++;
        parallel([&](int part, int a, int b) {
            found[part].clear();
            for (int i = a; i < b; i++)
                for (int e = queue[i] * DEGREE; e < queue[i] * DEGREE + DEGREE; e++) {
                    int none = -1, to = columns[e];
                    if (level[to].load(std::memory_order_relaxed) < 0 &&
                        level[to].compare_exchange_strong(none, depth, std::memory_order_relaxed))
                        found[part].push_back(to);
                }
        }, (int)queue.size());
        queue.clear();
        for (auto &part : found) queue.insert(queue.end(), part.begin(), part.end());
    }
    return depth;
}

// Shortest paths by near and far: rounds over what is nearer than a limit, the rest waits for the
// next limit. Each thread keeps what it finds; small rounds are not worth threads.
static void lower(std::atomic<float> &at, float value, std::vector<int> &found, int v)
{
    float now = at.load(std::memory_order_relaxed);
    while (value < now)
        if (at.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
            found.push_back(v);
            return;
        }
}

static void shortest(const std::vector<int> &columns, const std::vector<float> &weights,
                     std::vector<std::atomic<float>> &distance)
{
    for (auto &one : distance) one.store(INFINITY, std::memory_order_relaxed);
    distance[0] = 0;
    double sum = 0;
    for (float weight : weights) sum += weight;
    float step = (float)(sum / EDGES), limit = step;
    std::vector<int> near{0}, far, seen(VERTICES);
    std::vector<std::vector<int>> found(std::max(1u, std::thread::hardware_concurrency()));
    auto relax = [&](int part, int a, int b) {
        for (int i = a; i < b; i++)
            for (int e = near[i] * DEGREE; e < near[i] * DEGREE + DEGREE; e++)
                lower(distance[columns[e]], distance[near[i]] + weights[e], found[part],
                      columns[e]);
    };
    for (int round = 1; !near.empty() || !far.empty(); round++) {
        for (auto &part : found) part.clear();
        if (near.empty()) {
            limit += step;
            found[0].swap(far);
        } else if (near.size() < 2048) {
            relax(0, 0, (int)near.size());
        } else {
            parallel(relax, (int)near.size());
        }
        near.clear();
        for (auto &part : found)
            for (int v : part) {
                float own = distance[v];
                if (own >= limit) {
                    far.push_back(v);
                } else if (own >= limit - step && seen[v] != round) {
                    seen[v] = round;
                    near.push_back(v);
                }
            }
    }
}

// The transpose by counting, then `steps` rounds of gathering.
static void rank_pages(const std::vector<int> &columns, std::vector<double> &rank, int steps)
{
    std::vector<int> rows(VERTICES + 1), source(EDGES);
    for (int to : columns) rows[to + 1]++;
    for (int i = 0; i < VERTICES; i++) rows[i + 1] += rows[i];
    std::vector<int> at(rows.begin(), rows.end() - 1);
    for (int e = 0; e < EDGES; e++) source[at[columns[e]]++] = e / DEGREE;
    std::vector<double> share(VERTICES);
    std::fill(rank.begin(), rank.end(), 1.0 / VERTICES);
    for (int step = 0; step < steps; step++) {
        parallel([&](int, int a, int b) {
            for (int i = a; i < b; i++) share[i] = rank[i] / DEGREE;
        }, VERTICES);
        parallel([&](int, int a, int b) {
            for (int i = a; i < b; i++) {
                double sum = 0;
                for (int e = rows[i]; e < rows[i + 1]; e++) sum += share[source[e]];
                rank[i] = 0.15 / VERTICES + 0.85 * sum;
            }
        }, VERTICES);
    }
}

void measure_graphs()
{
    numbers from;
    std::vector<int> columns(EDGES);
    std::vector<std::atomic<int>> level(VERTICES);
    std::vector<double> rank(VERTICES);
    for (int &to : columns) to = (int)(from.unit() * VERTICES);
    measure("bfs", nothing, [&] { search(columns, level); });
    std::vector<float> weights(EDGES);
    std::vector<std::atomic<float>> distance(VERTICES);
    for (float &weight : weights) weight = from.unit();
    measure("sssp", nothing, [&] { shortest(columns, weights, distance); });
    measure("pagerank", nothing, [&] { rank_pages(columns, rank, 20); });
}

// ---- images ----

static int inside(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static unsigned char byte_of(float v)
{
    return (unsigned char)(v <= 0 ? 0 : v >= 255 ? 255 : v + 0.5f);
}

// Each tap adds a whole row, shifted; the ends of rows apart.
template <typename T, typename Put>
static void convolve(const T *x, T *out, int width, int height, int channels, const float *weights,
                     int side, Put put)
{
    parallel([=](int, int first, int last) {
        std::vector<float> sums((size_t)width * channels);
        const int half = side / 2;
        float *__restrict sum = sums.data();
        for (int y = first; y < last; y++) {
            std::fill(sums.begin(), sums.end(), 0.0f);
            for (int v = 0; v < side; v++) {
                const T *row = x + (size_t)inside(y + v - half, height) * width * channels;
                for (int u = 0; u < side; u++) {
                    float w = weights[v * side + u];
                    int shift = u - half, a = std::max(0, -shift), b = width - std::max(0, shift);
                    const T *__restrict from = row + shift * channels;
                    for (int i = a * channels; i < b * channels; i++) sum[i] += w * from[i];
                    for (int i = 0; i < width; i++) {
                        if (i >= a && i < b) { i = b - 1; continue; }
                        const T *edge = row + inside(i + shift, width) * channels;
                        for (int c = 0; c < channels; c++) sum[i * channels + c] += w * edge[c];
                    }
                }
            }
            for (int i = 0; i < width * channels; i++)
                out[(size_t)y * width * channels + i] = put(sum[i]);
        }
    }, height);
}

// The places and shares of each column are found once.
static void resize(const unsigned char *x, unsigned char *out, int width, int height, int to_width,
                   int to_height)
{
    std::vector<int> left(to_width), right(to_width);
    std::vector<float> share(to_width);
    for (int i = 0; i < to_width; i++) {
        float at = (i + 0.5f) * width / to_width - 0.5f;
        int low = (int)std::floor(at);
        left[i] = inside(low, width) * 3, right[i] = inside(low + 1, width) * 3;
        share[i] = at - low;
    }
    parallel([&](int, int first, int last) {
        for (int y = first; y < last; y++) {
            float at = (y + 0.5f) * height / to_height - 0.5f;
            int low = (int)std::floor(at);
            float down = at - low;
            const unsigned char *a = x + (size_t)inside(low, height) * width * 3;
            const unsigned char *b = x + (size_t)inside(low + 1, height) * width * 3;
            unsigned char *to = out + (size_t)y * to_width * 3;
            for (int i = 0; i < to_width; i++)
                for (int c = 0; c < 3; c++) {
                    int l = left[i] + c, r = right[i] + c;
                    float upper = a[l] + share[i] * (a[r] - a[l]);
                    float lower = b[l] + share[i] * (b[r] - b[l]);
                    to[3 * i + c] = byte_of(upper + down * (lower - upper));
                }
        }
    }, to_height);
}

static void grayscale(const unsigned char *x, unsigned char *out, int count)
{
    parallel([=](int, int a, int b) {
        for (int i = a; i < b; i++)
            out[i] = byte_of(0.299f * x[3 * i] + 0.587f * x[3 * i + 1] + 0.114f * x[3 * i + 2]);
    }, count);
}

static void sobel(const unsigned char *x, unsigned char *out, int width, int height)
{
    parallel([=](int, int first, int last) {
        for (int y = first; y < last; y++) {
            const unsigned char *a = x + (size_t)inside(y - 1, height) * width;
            const unsigned char *b = x + (size_t)y * width;
            const unsigned char *c = x + (size_t)inside(y + 1, height) * width;
            unsigned char *__restrict to = out + (size_t)y * width;
            auto one = [=](int l, int i, int r) {
                float gx = a[r] - a[l] + 2 * (b[r] - b[l]) + c[r] - c[l];
                float gy = c[l] - a[l] + 2 * (c[i] - a[i]) + c[r] - a[r];
                return byte_of(std::sqrt(gx * gx + gy * gy));
            };
            to[0] = one(0, 0, inside(1, width));
            for (int i = 1; i + 1 < width; i++) to[i] = one(i - 1, i, i + 1);
            to[width - 1] = one(inside(width - 2, width), width - 1, width - 1);
        }
    }, height);
}

void measure_images()
{
    const int width = 2048, height = 1536, side = 5;
    numbers from;
    std::vector<unsigned char> rgb(width * height * 3), more(rgb.size()), grey(width * height);
    std::vector<float> plane(width * height), other(plane.size());
    float weights[side * side];
    for (auto &one : rgb) one = (unsigned char)(from.next() >> 24);
    for (auto &one : plane) one = from.unit();
    for (float &one : weights) one = 1.0f / (side * side);
    measure("convolve", nothing, [&] {
        convolve(rgb.data(), more.data(), width, height, 3, weights, side, byte_of);
    });
    measure("convolvef", nothing, [&] {
        convolve(plane.data(), other.data(), width, height, 1, weights, side,
                 [](float v) { return v; });
    });
    measure("resize", nothing, [&] {
        resize(rgb.data(), more.data(), width / 2, height / 2, width, height);
    });
    measure("grayscale", nothing, [&] { grayscale(rgb.data(), grey.data(), width * height); });
    measure("sobel", nothing, [&] { sobel(grey.data(), more.data(), width, height); });
}

// ---- random numbers: Philox4x32-10, the same numbers as ours ----

static void philox(uint32_t c[4], uint32_t low, uint32_t high)
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
        uint32_t x = (uint32_t)(b >> 32) ^ c[1] ^ low, z = (uint32_t)(a >> 32) ^ c[3] ^ high;
        c[0] = x, c[1] = (uint32_t)b, c[2] = z, c[3] = (uint32_t)a;
        low += 0x9E3779B9u, high += 0xBB67AE85u;
    }
}

static float unit_of(uint32_t bits)
{
    return (float)(bits >> 8) * 5.9604644775390625e-8f;
}

void measure_random()
{
    const int count = 1 << 22; // blocks of four
    std::vector<float> out(4 * (size_t)count);
    measure("uniform", nothing, [&] {
        parallel([&](int, int a, int b) {
            float *__restrict to = out.data();
            for (int i = a; i < b; i++) {
                uint32_t c[4] = {(uint32_t)i, 0, 0, 0};
                philox(c, 1, 0);
                for (int k = 0; k < 4; k++) to[4 * i + k] = unit_of(c[k]);
            }
        }, count);
    });
    measure("normal", nothing, [&] {
        parallel([&](int, int a, int b) {
            float *__restrict to = out.data();
            for (int i = a; i < b; i++) {
                uint32_t c[4] = {(uint32_t)i, 0, 0, 0};
                philox(c, 1, 0);
                for (int k = 0; k < 4; k += 2) {
                    float far = std::sqrt(-2.0f * std::log(1.0f - unit_of(c[k])));
                    float turn = 6.283185307f * unit_of(c[k + 1]);
                    to[4 * i + k] = far * std::cos(turn), to[4 * i + k + 1] = far * std::sin(turn);
                }
            }
        }, count);
    });
}
