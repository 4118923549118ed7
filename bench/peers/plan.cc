// Peer of a plan of four fused maps: one loop by hand on one thread per core. Prints
// "R peer_maps SECONDS".
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

static const int n = 10000000, rounds = 15;

static void maps(const float *__restrict__ x, float *__restrict__ y, float a, int from, int to)
{
    for (int i = from; i < to; i++) {
        float v = x[i] * a + 1.0f;
        v = v * v - 0.5f;
        v = v > 0.0f ? v : -v;
        y[i] = v * 0.25f + x[i];
    }
}

int main()
{
    std::vector<float> x(n, 0.5f), y(n);
    int parts = (int)std::max(1u, std::thread::hardware_concurrency());
    std::vector<double> times;
    for (int round = 0; round < rounds; round++) {
        auto start = std::chrono::steady_clock::now();
        std::vector<std::thread> threads;
        for (int p = 0; p < parts; p++)
            threads.emplace_back(maps, x.data(), y.data(), 2.0f, (int)((int64_t)n * p / parts),
                                 (int)((int64_t)n * (p + 1) / parts));
        for (auto &thread : threads) thread.join();
        std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        times.push_back(took.count());
    }
    std::sort(times.begin(), times.end());
    std::printf("R peer_maps %.9f\n", times[rounds / 2]);
}
