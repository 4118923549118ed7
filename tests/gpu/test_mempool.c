/* src/gpu/mempool and buffer: classes, what is kept and for how long, what lack of memory does, and
 * the counts. On the cpu backend; what every backend must do is in the conformance suite. */
#include "kit_engine.h"

#include "base/err.h"
#include "gpu/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

static const uint64_t minute_ns = 60000000000u;

static gb_pool_stats stats_of(gb_device *device, int kind)
{
    gb_pool_stats stats;
    gb_device_pool_stats(device, kind, &stats);
    return stats;
}

static gb_buffer *open(gb_device *device, size_t bytes)
{
    gb_buffer *buffer = NULL;
    assert_int_equal(gb_buffer_open(&buffer, device, bytes, GB_BUFFER_DEVICE), 0);
    return buffer;
}

static void classes(void **unused)
{
    gbi_mempool pool = {.bytes_max = INT64_MAX};
    assert_int_equal(gbi_mempool_class_bytes(0), 256);
    assert_int_equal(gbi_mempool_class_bytes(GBI_POOL_CLASSES - 1), 256 << 20);
    for (int class = 0; class < GBI_POOL_CLASSES; class ++) {
        size_t most = gbi_mempool_class_bytes(class);
        assert_int_equal(gbi_mempool_class(&pool, most), class);
        int next = class + 1 < GBI_POOL_CLASSES ? class + 1 : GBI_POOL_NONE;
        assert_int_equal(gbi_mempool_class(&pool, most + 1), next);
        if (next < 0) break;
        size_t more = gbi_mempool_class_bytes(next);
        assert_true(more > most && (double)(more - most - 1) / (double)more <= 0.2);
    }
    assert_int_equal(gbi_mempool_class(&pool, 0), 0);
    assert_int_equal(gbi_mempool_class(&pool, (size_t)1 << 40), GBI_POOL_NONE);
    pool.bytes_max = 1 << 20; /* what does not fit the pool needs no class */
    assert_int_equal(gbi_mempool_class_bytes(gbi_mempool_class(&pool, 1 << 20)), 1 << 20);
    assert_int_equal(gbi_mempool_class(&pool, (1 << 20) + 1), GBI_POOL_NONE);
}

static void counts(void **unused)
{
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 64 << 20);
    gb_pool_stats none = stats_of(kit.device, GB_POOL_ALL);
    assert_int_equal(none.bytes_max, 16 << 20);
    assert_true(none.hit_rate == 0 && none.utilization == 0 && none.fragmentation == 0);
    gb_buffer *a = open(kit.device, 900), *b = open(kit.device, 1000);
    gb_pool_stats two = stats_of(kit.device, GB_BUFFER_DEVICE);
    assert_true(two.hits == 0 && two.misses == 2 && two.bytes_held == 0);
    assert_true(two.bytes_in_use == 2048 && two.bytes_asked == 1900);
    assert_true(two.utilization == 1 && two.fragmentation > 0.07 && two.fragmentation < 0.08);
    gb_buffer_unref(a);
    gb_pool_stats one = stats_of(kit.device, GB_POOL_ALL);
    assert_true(one.bytes_in_use == 1024 && one.bytes_held == 1024 && one.utilization == 0.5);
    a = open(kit.device, 1024);
    gb_buffer *wide = open(kit.device, 20 << 20); /* more than the pool: its own size */
    gb_pool_stats after = stats_of(kit.device, GB_POOL_ALL);
    assert_true(after.hits == 1 && after.misses == 3 && after.hit_rate == 0.25);
    assert_true(after.bytes_held == 0 && after.bytes_in_use == (20 << 20) + 2048);
    gb_buffer_unref(wide);
    gb_buffer_unref(a);
    gb_buffer_unref(b);
    assert_int_equal(stats_of(kit.device, GB_POOL_ALL).bytes_held, 2048);
    assert_int_equal(stats_of(kit.device, GB_BUFFER_PINNED).bytes_held, 0);
    gb_device_info info;
    gb_device_get_info(kit.device, &info);
    assert_int_equal(info.memory_free, 64 << 20); /* what is kept is free */
    assert_int_equal(gb_buffer_open(&a, kit.device, 1 << 30, GB_BUFFER_DEVICE), GB_ENOMEM);
    assert_int_equal(stats_of(kit.device, GB_BUFFER_DEVICE).failures, 1);
    kit_engine_close(&kit);
}

static void own_blocks_come_first(void **unused)
{
    enum { OWNERS = 3 };
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 64 << 20);
    gb_buffer *buffers[OWNERS];
    uint64_t at[OWNERS];
    gb_buffer_spec spec = {.bytes = 4000, .raw = true};
    for (int i = 0; i < OWNERS; i++) {
        spec.owner = (uint64_t)i;
        assert_int_equal(gb_buffer_rent(&buffers[i], kit.device, &spec), 0);
        at[i] = gb_buffer_address(buffers[i]);
    }
    for (int i = 0; i < OWNERS; i++) gb_buffer_unref(buffers[i]);
    for (int i = 0; i < OWNERS; i++) {
        spec.owner = (uint64_t)i;
        assert_int_equal(gb_buffer_rent(&buffers[i], kit.device, &spec), 0);
        assert_int_equal(gb_buffer_address(buffers[i]), at[i]);
    }
    for (int i = 0; i < OWNERS; i++) gb_buffer_unref(buffers[i]);
    kit_engine_close(&kit);
}

/* A hundred of a class, and no more bytes than the setting says. */
static void bounds(void **unused)
{
    enum { MANY = 130 };
    kit_engine kit;
    gb_buffer *buffers[MANY];
    kit_engine_open(&kit, 1, 1, 64 << 20);
    for (int i = 0; i < MANY; i++) buffers[i] = open(kit.device, 300);
    for (int i = 0; i < MANY; i++) gb_buffer_unref(buffers[i]);
    assert_int_equal(stats_of(kit.device, GB_POOL_ALL).bytes_held, 100 * 320);
    for (int i = 0; i < 5; i++) buffers[i] = open(kit.device, 4 << 20);
    for (int i = 0; i < 5; i++) gb_buffer_unref(buffers[i]);
    gb_pool_stats stats = stats_of(kit.device, GB_POOL_ALL);
    assert_int_equal(stats.bytes_held, 100 * 320 + 3 * (4 << 20)); /* of 16 MB */
    kit_engine_close(&kit);
}

static void time_trims(void **unused)
{
    kit_engine kit;
    gb_buffer *buffers[8];
    kit_engine_open(&kit, 1, 1, 64 << 20);
    gb_gpu_maintain(kit.gpu, 5); /* the time begins */
    for (int i = 0; i < 8; i++) buffers[i] = open(kit.device, 4096);
    for (int i = 0; i < 8; i++) gb_buffer_unref(buffers[i]);
    static const struct {
        uint64_t minutes_x10;
        int held;
    } steps[] = {{9, 8}, {10, 8}, {11, 8}, {20, 4}, {20, 4}, {29, 4}, {30, 2}, {40, 1}, {50, 0}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        gb_gpu_maintain(kit.gpu, 5 + steps[i].minutes_x10 * minute_ns / 10);
        assert_int_equal(stats_of(kit.device, GB_POOL_ALL).bytes_held, steps[i].held * 4096);
    }
    assert_int_equal(stats_of(kit.device, GB_POOL_ALL).trimmed, 8);
    for (int i = 0; i < 8; i++) buffers[i] = open(kit.device, 4096);
    for (int i = 0; i < 8; i++) gb_buffer_unref(buffers[i]);
    gb_gpu_maintain(kit.gpu, 5 + 7 * minute_ns);
    for (int i = 0; i < 6; i++) buffers[i] = open(kit.device, 4096); /* two were never needed */
    for (int i = 0; i < 6; i++) gb_buffer_unref(buffers[i]);
    gb_gpu_maintain(kit.gpu, 5 + 8 * minute_ns);
    assert_int_equal(stats_of(kit.device, GB_POOL_ALL).bytes_held, 7 * 4096);
    kit_engine_close(&kit);
}

/* Kept blocks of one kind and size stand in the way of another: they go. And a buffer that fits
 * exactly needs no whole block. */
static void lack_of_memory(void **unused)
{
    kit_engine kit;
    gb_buffer *pieces[4], *whole = NULL, *none = NULL;
    kit_engine_open(&kit, 1, 1, 4 << 20);
    for (int i = 0; i < 4; i++) pieces[i] = open(kit.device, 256 << 10);
    for (int i = 0; i < 4; i++) gb_buffer_unref(pieces[i]);
    assert_int_equal(stats_of(kit.device, GB_POOL_ALL).bytes_held, 1 << 20);
    whole = open(kit.device, 4 << 20);
    assert_int_equal(stats_of(kit.device, GB_POOL_ALL).bytes_held, 0);
    gb_buffer_unref(whole);
    whole = open(kit.device, (4 << 20) - 300000);
    pieces[0] = open(kit.device, 300000); /* its class would be 320 KB */
    assert_int_equal(gb_buffer_open(&none, kit.device, 1, GB_BUFFER_DEVICE), GB_ENOMEM);
    gb_buffer_unref(pieces[0]);
    gb_buffer_unref(whole);
    kit_engine_close(&kit);
}

static void nothing_is_kept(void **unused)
{
    static const int64_t settings[] = {GB_POOL_OFF, GB_POOL_DRIVER, 10000};
    static const int64_t kept[] = {0, 4096, 8192};
    for (int i = 0; i < 3; i++) {
        gb_mem mem;
        gb_gpu *gpu;
        gb_mem_init(&mem, "test", NULL, 0);
        gb_gpu_config config = {
            .mem = &mem, .cpu_memory_bytes = 16 << 10, .memory_pool_bytes = settings[i]};
        assert_int_equal(gb_gpu_open(&gpu, &config), 0);
        gb_device *device = gb_gpu_device(gpu, gb_gpu_device_count(gpu) - 1);
        gb_buffer *a = open(device, 4096), *b = open(device, 4096), *c = open(device, 4096);
        gb_buffer_unref(a);
        gb_buffer_unref(b);
        gb_buffer_unref(c);
        assert_int_equal(stats_of(device, GB_POOL_ALL).bytes_held, kept[i]);
        gb_gpu_close(gpu);
        gb_mem_fini(&mem);
    }
}

/* Large blocks are cleared by the system, small ones by hand. */
static void blocks_of_all_sizes_are_cleared(void **unused)
{
    static const size_t sizes[] = {1, 300, 4096, 5000, 1 << 20, 3500000, 4 << 20, 9000001};
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 256 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (uint64_t owner = 0; owner < 3; owner++) {
            gb_buffer *buffer;
            gb_buffer_spec spec = {
                .bytes = sizes[i], .kind = GB_BUFFER_PINNED, .owner = owner / 2 /* 0, 0, 1 */};
            assert_int_equal(gb_buffer_rent(&buffer, kit.device, &spec), 0);
            const unsigned char *host = gb_buffer_host(buffer);
            for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(host[k], 0);
            memset(gb_buffer_host(buffer), 0xEE, sizes[i]);
            gb_buffer_unref(buffer);
        }
    assert_int_equal(stats_of(kit.device, GB_BUFFER_PINNED).misses, sizeof sizes / sizeof sizes[0]);
    kit_engine_close(&kit);
}

/* Every allocation fails in turn: the buffer or GB_ENOMEM, and nothing is lost. With something in
 * the pool that is given back, and the second try works. */
static void failing_allocations(void **unused)
{
    int failed[2] = {0};
    for (int keep = 0; keep < 2; keep++)
        for (int64_t at = 1; at < 12; at++) {
            kit_engine kit;
            gb_buffer *first = NULL, *second = NULL;
            kit_engine_open(&kit, 1, 1, 64 << 20);
            gb_buffer *kept = open(kit.device, 2000);
            if (keep) gb_buffer_unref(kept);
            atomic_store(&kit.gpu->room.fail_at, at);
            int rc = gb_buffer_open(&first, kit.device, 5000, GB_BUFFER_DEVICE);
            assert_true(rc == 0 || rc == GB_ENOMEM);
            failed[keep] += rc < 0;
            rc = gb_buffer_open(&second, kit.device, 2000, GB_BUFFER_PINNED);
            assert_true(rc == 0 || rc == GB_ENOMEM);
            failed[keep] += rc < 0;
            atomic_store(&kit.gpu->room.fail_at, 0);
            gb_buffer_unref(first);
            gb_buffer_unref(second);
            if (!keep) gb_buffer_unref(kept);
            assert_int_equal(gb_ledger_rows(gb_gpu_ledger(kit.gpu), NULL, 0), 0);
            kit_engine_close(&kit);
        }
    assert_true(failed[0] > 0);
}

enum { THREADS = 4, ROUNDS = 3000 };

typedef struct runner {
    gb_device *device;
    uint64_t owner;
    int wrong;
} runner;

/* Leaves its number in every byte of memory that has to come as zeros. */
static void *run_owner(void *arg)
{
    runner *self = arg;
    gb_buffer *held[4] = {NULL};
    uint64_t random = self->owner * 977;
    for (int i = 0; i < ROUNDS; i++) {
        int at = (int)(kit_random(&random) % 4);
        gb_buffer_unref(held[at]);
        held[at] = NULL;
        gb_buffer_spec spec = {.bytes = 1 + kit_random(&random) % 3000,
                               .kind = GB_BUFFER_PINNED,
                               .tenant = 1,
                               .owner = self->owner};
        if (gb_buffer_rent(&held[at], self->device, &spec) < 0) {
            self->wrong++;
            continue;
        }
        unsigned char *bytes = gb_buffer_host(held[at]);
        for (size_t k = 0; k < spec.bytes; k++) self->wrong += bytes[k] != 0;
        memset(bytes, (int)self->owner, spec.bytes);
    }
    for (int i = 0; i < 4; i++) gb_buffer_unref(held[i]);
    return NULL;
}

static void many_owners_at_once(void **unused)
{
    kit_engine kit;
    pthread_t threads[THREADS];
    runner runners[THREADS];
    kit_engine_open(&kit, 1, 1, 64 << 20);
    for (int i = 0; i < THREADS; i++) {
        runners[i] = (runner){kit.device, (uint64_t)i + 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, run_owner, &runners[i]), 0);
    }
    for (uint64_t i = 1; i < 20; i++) gb_gpu_maintain(kit.gpu, i * minute_ns);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(runners[i].wrong, 0);
    }
    gb_pool_stats stats = stats_of(kit.device, GB_BUFFER_PINNED);
    assert_int_equal(stats.hits + stats.misses, THREADS * ROUNDS);
    assert_true(stats.bytes_in_use == 0 && stats.bytes_asked == 0);
    kit_engine_close(&kit);
}

/* Threads that together need just what the device has always find it. */
static void *run_full(void *arg)
{
    runner *self = arg;
    for (int i = 0; i < ROUNDS; i++) {
        gb_buffer *buffer = NULL;
        size_t bytes = (size_t)(i % 2 ? 64 : 48) << 10;
        if (gb_buffer_open(&buffer, self->device, bytes, GB_BUFFER_DEVICE) < 0) self->wrong++;
        gb_buffer_unref(buffer);
    }
    return NULL;
}

static void a_full_device_serves_all(void **unused)
{
    kit_engine kit;
    pthread_t threads[THREADS];
    runner runners[THREADS];
    kit_engine_open(&kit, 1, 1, THREADS * (64 << 10));
    for (int i = 0; i < THREADS; i++) {
        runners[i] = (runner){kit.device, 0, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, run_full, &runners[i]), 0);
    }
    int wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        wrong += runners[i].wrong;
    }
    assert_int_equal(wrong, 0);
    kit_engine_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(counts),
        cmocka_unit_test(own_blocks_come_first),
        cmocka_unit_test(bounds),
        cmocka_unit_test(time_trims),
        cmocka_unit_test(lack_of_memory),
        cmocka_unit_test(nothing_is_kept),
        cmocka_unit_test(blocks_of_all_sizes_are_cleared),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(many_owners_at_once),
        cmocka_unit_test(a_full_device_serves_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
