// Peers of gb.lib by hand: plain C++ on one thread per core. Prints "R peer_NAME SECONDS" for each
// work, or for the one that is named; bench/lua/lib.lua runs it between its own rounds.
#include "lib.h"

const char *only;

static const int n = 1 << 24, sort_n = 1 << 22;
static std::vector<float> x(n), y(n, 1.0f), z(n);

static double sum_of(const float *from, int count)
{
    double all = 0;
    for (int i = 0; i < count; i += 4096) {
        float way[32] = {};
        int last = std::min(count, i + 4096), k = i;
        for (; k + 32 <= last; k += 32)
            for (int w = 0; w < 32; w++) way[w] += from[k + w];
        for (; k < last; k++) way[0] += from[k];
        for (float one : way) all += one;
    }
    return all;
}

static void sort_all(std::vector<float> &v)
{
    int parts = (int)std::max(1u, std::thread::hardware_concurrency());
    auto at = [&](int p) { return v.begin() + (int64_t)v.size() * p / parts; };
    parallel([&](int p, int, int) { std::sort(at(p), at(p + 1)); }, (int)v.size());
    for (int step = 1; step < parts; step *= 2) {
        std::vector<std::thread> threads;
        for (int p = 0; p + step < parts; p += 2 * step)
            threads.emplace_back([&, p] {
                std::inplace_merge(at(p), at(p + step), at(std::min(parts, p + 2 * step)));
            });
        for (auto &thread : threads) thread.join();
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) only = argv[1];
    numbers from;
    for (int i = 0; i < n; i++) x[i] = from.unit();
    auto nothing = [] {};
    std::vector<double> sums(1024);
    measure("add", nothing, [] {
        parallel([](int, int a, int b) {
            const float *__restrict p = x.data(), *__restrict q = y.data();
            float *__restrict r = z.data();
            for (int i = a; i < b; i++) r[i] = p[i] + q[i];
        }, n);
    });
    measure("sum", nothing, [&] {
        parallel([&](int p, int a, int b) { sums[p] = sum_of(x.data() + a, b - a); }, n);
    });
    measure("scan", nothing, [&] {
        parallel([&](int p, int a, int b) { sums[p] = sum_of(x.data() + a, b - a); }, n);
        parallel([&](int p, int a, int b) {
            double before = 0;
            for (int i = 0; i < p; i++) before += sums[i];
            float all = (float)before;
            for (int i = a; i < b; i++) z[i] = all += x[i];
        }, n);
    });
    measure("histogram", nothing, [] {
        std::vector<std::vector<int>> bins(1024);
        parallel([&](int p, int a, int b) {
            std::vector<int> own(256);
            for (int i = a; i < b; i++) own[std::min(255, (int)(x[i] * 256.0f))]++;
            bins[p] = own;
        }, n);
    });
    measure("select", nothing, [] {
        std::vector<int> counts(1025);
        parallel([&](int p, int a, int b) {
            int found = 0;
            for (int i = a; i < b; i++) found += x[i] > 0.5f;
            counts[p + 1] = found;
        }, n);
        for (int p = 0; p < 1024; p++) counts[p + 1] += counts[p];
        parallel([&](int p, int a, int b) {
            float *to = z.data() + counts[p];
            for (int i = a; i < b; i++)
                if (x[i] > 0.5f) *to++ = x[i];
        }, n);
    });
    std::vector<float> v;
    measure("sort", [&] { v.assign(x.begin(), x.begin() + sort_n); }, [&] { sort_all(v); });
    measure_matrices();
    measure_graphs();
    measure_images();
    measure_random();
}
