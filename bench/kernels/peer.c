/* The peers of bench/kernels.c: the same loops hand-written in C with pthreads. They are compiled
 * at run time by kernels.c with `clang -O3 -march=native -ffp-contract=fast` (cc where there is no
 * clang) into a shared object of their own, so that no flag of this project touches them. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 256 };

typedef struct job {
    void (*run)(void *arg, int64_t first, int64_t last);
    void *arg;
    int64_t count, align;
    int threads;
} job;

/* Threads that live as long as the program and wait at a pair of barriers. */
static struct {
    pthread_barrier_t start, end;
    pthread_t ids[THREADS_MAX];
    job job;
    int threads;
} team;

static void share(int index)
{
    const job *j = &team.job;
    int64_t units = (j->count + j->align - 1) / j->align;
    int64_t first = units * index / j->threads * j->align;
    int64_t last = units * (index + 1) / j->threads * j->align;
    if (last > j->count) last = j->count;
    if (first < last) j->run(j->arg, first, last);
}

static void *member(void *arg)
{
    for (;;) {
        pthread_barrier_wait(&team.start);
        share((int)(intptr_t)arg);
        pthread_barrier_wait(&team.end);
    }
    return NULL;
}

void peer_open(int threads);
void peer_open(int threads)
{
    team.threads = threads;
    pthread_barrier_init(&team.start, NULL, (unsigned)threads);
    pthread_barrier_init(&team.end, NULL, (unsigned)threads);
    for (int i = 1; i < threads; i++)
        pthread_create(&team.ids[i], NULL, member, (void *)(intptr_t)i);
}

static void run(void (*body)(void *, int64_t, int64_t), void *arg, int64_t count, int64_t align)
{
    team.job = (job){body, arg, count, align, team.threads};
    pthread_barrier_wait(&team.start);
    share(0);
    pthread_barrier_wait(&team.end);
}

typedef struct arrays {
    float a, b;
    const float *x, *y;
    const int *first, *from;
    float *out;
    int n;
} arrays;

static void saxpy(void *arg, int64_t first, int64_t last)
{
    const arrays *s = arg;
    const float *restrict x = s->x;
    float *restrict y = s->out, a = s->a;
    for (int64_t i = first; i < last; i++) y[i] = a * x[i] + y[i];
}

void peer_saxpy(float a, const float *x, float *y, int n);
void peer_saxpy(float a, const float *x, float *y, int n)
{
    arrays s = {.a = a, .x = x, .out = y};
    run(saxpy, &s, n, 16);
}

static void heavy(void *arg, int64_t first, int64_t last)
{
    const arrays *s = arg;
    const float *restrict x = s->x;
    float *restrict y = s->out;
    for (int64_t i = first; i < last; i++) {
        float v = x[i], t = 0.0f;
        for (int k = 0; k < 100; k++) {
            t = t * 0.99f + v;
            v = v * 0.5f + 0.25f;
        }
        y[i] = t;
    }
}

void peer_heavy(const float *x, float *y, int n);
void peer_heavy(const float *x, float *y, int n)
{
    arrays s = {.x = x, .out = y};
    run(heavy, &s, n, 16);
}

/* Blocked: a panel of b that fits the cache, four rows of c at once, the inner loop vectorises. */
enum { KB = 128, JB = 512 };

static void rows(const float *restrict a, const float *restrict b, float *restrict c, int n, int k0,
                 int k1, int j0, int j1)
{
    float *restrict c0 = c, *restrict c1 = c + n, *restrict c2 = c + 2 * n,
                    *restrict c3 = c + 3 * n;
    for (int k = k0; k < k1; k++) {
        float a0 = a[k], a1 = a[n + k], a2 = a[2 * n + k], a3 = a[3 * n + k];
        const float *restrict r = b + (size_t)k * n;
        for (int j = j0; j < j1; j++) {
            c0[j] += a0 * r[j];
            c1[j] += a1 * r[j];
            c2[j] += a2 * r[j];
            c3[j] += a3 * r[j];
        }
    }
}

static void matmul(void *arg, int64_t first, int64_t last)
{
    const arrays *s = arg;
    int n = s->n;
    memset(s->out + first * n, 0, (size_t)((last - first) * n) * sizeof(float));
    for (int j0 = 0; j0 < n; j0 += JB)
        for (int k0 = 0; k0 < n; k0 += KB)
            for (int64_t i = first; i < last; i += 4)
                rows(s->x + i * n, s->y, s->out + i * n, n, k0, k0 + KB < n ? k0 + KB : n, j0,
                     j0 + JB < n ? j0 + JB : n);
}

void peer_matmul(const float *a, const float *b, float *c, int n);
void peer_matmul(const float *a, const float *b, float *c, int n)
{
    arrays s = {.x = a, .y = b, .out = c, .n = n};
    run(matmul, &s, n, 4);
}

static void pagerank(void *arg, int64_t first, int64_t last)
{
    const arrays *s = arg;
    for (int64_t v = first; v < last; v++) {
        float sum = 0.0f;
        for (int e = s->first[v]; e < s->first[v + 1]; e++) sum += s->x[s->from[e]];
        s->out[v] = s->a + s->b * sum;
    }
}

void peer_pagerank(const int *first, const int *from, const float *share_, float *rank, float base,
                   float damping, int n);
void peer_pagerank(const int *first, const int *from, const float *share_, float *rank, float base,
                   float damping, int n)
{
    arrays s = {.a = base, .b = damping, .x = share_, .first = first, .from = from, .out = rank};
    run(pagerank, &s, n, 16);
}

void peer_scale(float *x, float a, int n);
void peer_scale(float *x, float a, int n)
{
    for (int i = 0; i < n; i++) x[i] *= a;
}
