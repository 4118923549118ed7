// What the peers share: threads and the clock.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

static const int rounds = 7;

// work(part, first, last): the places first .. last - 1 of count, on one thread per core.
inline void parallel(const std::function<void(int, int, int)> &work, int count)
{
    int parts = (int)std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::thread> threads;
    for (int p = 0; p < parts; p++)
        threads.emplace_back(work, p, (int)((int64_t)count * p / parts),
                             (int)((int64_t)count * (p + 1) / parts));
    for (auto &thread : threads) thread.join();
}

// Threads of one parallel() that wait for each other, again and again.
struct meeting {
    std::atomic<int> here{0}, turn{0};
    void wait(int parts)
    {
        int seen = turn.load();
        if (here.fetch_add(1) + 1 == parts) {
            here = 0;
            turn++;
        } else {
            while (turn.load() == seen) std::this_thread::yield();
        }
    }
};

// The work that is asked for alone, or NULL.
extern const char *only;

// Median seconds of work alone, after one round that is not counted.
inline void measure(const char *name, const std::function<void()> &prepare,
                    const std::function<void()> &work)
{
    if (only && std::strcmp(only, name) != 0) return;
    std::vector<double> times;
    for (int i = 0; i <= rounds; i++) {
        prepare();
        auto start = std::chrono::steady_clock::now();
        work();
        std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        if (i > 0) times.push_back(took.count());
    }
    std::sort(times.begin(), times.end());
    std::printf("R peer_%s %.6f\n", name, times[rounds / 2]);
}

// The numbers that bench/lua/lib.lua makes, too.
struct numbers {
    uint32_t state = 1;
    uint32_t next() { return state = state * 1664525u + 1013904223u; }
    float unit() { return (float)(next() >> 8) / 16777216.0f; }
};

void measure_matrices();
void measure_graphs();
void measure_images();
void measure_random();
