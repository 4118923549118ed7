/* src/cluster/capacity_book and place: what silos told, who is best, and each strategy. */
#include "base/err.h"
#include "cluster/place.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <time.h>

enum { SILOS_MAX = 1000 };

static const int64_t second = 1000000000;

typedef struct scene {
    gb_mem mem;
    gb_book book;
    gb_place place;
    gb_view *view;
    int64_t now;
} scene;

static void show(scene *t, uint32_t count, gb_silo_state last)
{
    static char labels[2][24] = {"role=gpu,zone=a", "zone=b"};
    gb_member *rows = gb_mem_zalloc(&t->mem, count * sizeof *rows);
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (gb_member){.id = i + 1, .state = i + 1 == count ? last : GB_SILO_ACTIVE};
        rows[i].labels = labels[i % 2];
        rows[i].types = i == 3 ? (char *)"Odd" : (char *)"Counter,Model";
    }
    gb_table_view table = {
        .version = t->view ? t->view->id.version + 1 : 1, .count = count, .rows = rows};
    gb_view *view;
    assert_int_equal(gb_view_read(&view, &t->mem, 1, &table, t->view), 0);
    gb_mem_free(&t->mem, rows, count * sizeof *rows);
    assert_int_equal(gb_book_view(&t->book, view), 0);
    gb_view_unref(t->view);
    t->view = view;
}

static void tell(scene *t, uint64_t silo, int gpus, int64_t total, int64_t available,
                 int64_t largest, int32_t queue)
{
    gb_capacity c = {.devices_count = gpus,
                     .queue_depth = queue,
                     .total_mb = total,
                     .available_mb = available,
                     .largest_mb = largest,
                     .backend = "cuda",
                     .updated_ns = t->now};
    assert_int_equal(gb_book_put(&t->book, silo, &c, (uint64_t)queue), 0);
}

static void begin(scene *t, uint32_t count)
{
    *t = (scene){.now = 1000 * second};
    gb_mem_init(&t->mem, "test", NULL, 0);
    gb_book_init(&t->book, &t->mem);
    gb_place_init(&t->place, &t->mem, &t->book);
    show(t, count, GB_SILO_ACTIVE);
}

static void end(scene *t)
{
    gb_place_fini(&t->place);
    gb_book_fini(&t->book);
    gb_view_unref(t->view);
    gb_mem_fini(&t->mem);
}

static int best(scene *t, int64_t minimum)
{
    uint64_t silo = 0;
    int rc = gb_book_best(&t->book, minimum, t->now, &silo);
    return rc < 0 ? rc : (int)silo;
}

static void test_best(void **unused)
{
    scene t;
    begin(&t, 6);
    assert_int_equal(best(&t, 0), GB_ENOENT);
    tell(&t, 1, 2, 8000, 4000, 2000, 3);
    tell(&t, 2, 1, 8000, 6000, 6000, 1);
    tell(&t, 5, 1, 8000, 8000, 8000, 11); /* 80 */
    tell(&t, 6, 0, 0, 0, 0, 0);           /* no GPU */
    assert_int_equal(best(&t, 0), 5);
    tell(&t, 2, 1, 10000, 8200, 8200, 1); /* 80 too, with the shorter queue */
    assert_int_equal(best(&t, 0), 2);
    assert_int_equal(best(&t, 8201), GB_ENOENT);
    tell(&t, 5, 1, 8000, 0, 0, 0);
    assert_int_equal(best(&t, 3000), 2); /* two halves of 2000 are no 3000 */
    t.now += 121 * second;
    assert_int_equal(best(&t, 0), GB_ENOENT); /* stale ones are not chosen */
    gb_capacity c;
    assert_int_equal(gb_book_get(&t.book, 2, t.now, &c), 0); /* but still told */
    gb_book_stats stats;
    gb_book_get_stats(&t.book, t.now, &stats);
    assert_int_equal(stats.silos, 6);
    assert_int_equal(stats.stale, 4);
    assert_int_equal(stats.gpu_silos, 0);
    t.now += 180 * second;
    assert_int_equal(gb_book_get(&t.book, 2, t.now, &c), GB_ENOENT);
    gb_book_expire(&t.book, t.now);
    tell(&t, 2, 1, 100, 50, 50, 4);
    tell(&t, 5, 2, 100, 60, 40, 2);
    tell(&t, 77, 1, 100, 100, 100, 0); /* in no view yet: registered all the same */
    gb_book_get_stats(&t.book, t.now, &stats);
    assert_int_equal(stats.gpu_silos, 3);
    assert_int_equal(stats.total_mb, 300);
    assert_int_equal(stats.available_mb, 210);
    assert_int_equal(stats.largest_mb, 100);
    assert_true(stats.queue_depth == 2);
    tell(&t, 77, 0, 0, 0, 0, 0);
    assert_int_equal(best(&t, 0), 5);
    show(&t, 5, GB_SILO_DRAINING); /* 5 takes nothing any more, 6 is gone */
    assert_int_equal(best(&t, 0), 2);
    end(&t);
}

static int choose(scene *t, gb_place_query query, uint64_t random)
{
    gb_place_answer answer;
    query.random = random;
    if (!query.type) query.type = "Model";
    int rc = gb_place_choose(&t->place, &query, t->now, &answer);
    return rc < 0 ? rc : (int)answer.silo;
}

/* How often each of the silos is chosen in 1000 tries. */
static void spread(scene *t, gb_place_query query, int counts[10])
{
    memset(counts, 0, 10 * sizeof *counts);
    for (uint64_t i = 0; i < 1000; i++) {
        int silo = choose(t, query, i * 0x9e3779b97f4a7c15u);
        assert_true(silo > 0 && silo < 10);
        counts[silo]++;
    }
}

static void test_plain(void **unused)
{
    scene t;
    int counts[10];
    begin(&t, 6);
    spread(&t, (gb_place_query){.strategy = GB_SILO_RANDOM}, counts);
    assert_int_equal(counts[4], 0); /* it hosts another type */
    for (int i = 1; i <= 6; i++) assert_true(i == 4 || counts[i] > 100);
    assert_int_equal(choose(&t, (gb_place_query){.type = "Odd", .strategy = GB_SILO_GPU}, 1), 4);
    assert_int_equal(choose(&t, (gb_place_query){.type = "Mode"}, 1), GB_ENOTYPE);
    spread(&t, (gb_place_query){.label = "zone=b"}, counts);
    assert_true(counts[2] && counts[6] && !counts[1] && !counts[3] && !counts[5]);
    assert_int_equal(choose(&t, (gb_place_query){.label = "zone=c"}, 1), GB_ENOENT);
    assert_int_equal(choose(&t, (gb_place_query){.label = "zone="}, 1), GB_ENOENT);
    gb_place_query local = {.strategy = GB_SILO_LOCAL, .here = 3};
    assert_int_equal(choose(&t, local, 5), 3);
    local.here = 4;
    assert_true(choose(&t, local, 5) != 4);
    gb_place_query hash = {.strategy = GB_SILO_HASH, .hash = 99};
    int first = choose(&t, hash, 1);
    for (uint64_t i = 0; i < 50; i++) assert_int_equal(choose(&t, hash, i), first);
    for (uint64_t silo = 1; silo <= 6; silo++) tell(&t, silo, 0, 0, 0, 0, silo == 5 ? 1 : 9);
    gb_place_query least = {.strategy = GB_SILO_LEAST};
    for (uint64_t i = 0; i < 8; i++) assert_int_equal(choose(&t, least, i), 5); /* 1 .. 8 */
    spread(&t, least, counts);                                                  /* then all alike */
    for (int i = 1; i <= 6; i++) assert_true(i == 4 || counts[i] >= 150);
    end(&t);
}

static void test_gpu(void **unused)
{
    scene t;
    int counts[10];
    gb_place_answer answer;
    begin(&t, 6);
    gb_place_query gpu = {.type = "Model", .strategy = GB_SILO_GPU, .minimum_mb = 1000};
    assert_int_equal(gb_place_choose(&t.place, &gpu, t.now, &answer), 0);
    assert_true(answer.fallback && answer.silo != 4); /* a compatible one */
    gpu.demand_gpu = true;
    assert_int_equal(choose(&t, gpu, 0), GB_ENOGPU);
    tell(&t, 1, 2, 16000, 16000, 8000, 0);
    tell(&t, 2, 2, 16000, 15000, 8000, 0);
    tell(&t, 4, 8, 640000, 640000, 80000, 0); /* the best, and not compatible */
    assert_int_equal(choose(&t, gpu, 0), 1);
    /* A burst before the next record: its memory is counted as taken, and it spreads. */
    memset(counts, 0, sizeof counts);
    for (uint64_t i = 0; i < 14; i++) counts[choose(&t, gpu, i)]++;
    assert_true(counts[1] >= 5 && counts[2] >= 5);
    gpu.minimum_mb = 8001;
    assert_int_equal(choose(&t, gpu, 0), GB_ENOGPU);
    tell(&t, 1, 2, 16000, 16000, 8000, 0); /* told anew: what was counted is forgotten */
    gpu.minimum_mb = 8000;
    assert_int_equal(choose(&t, gpu, 0), 1);
    gpu.minimum_mb = 10;
    gpu.prefer_local = true;
    gpu.here = 2;
    assert_int_equal(choose(&t, gpu, 0), 2);
    gpu.here = 3; /* has no GPU */
    assert_int_not_equal(choose(&t, gpu, 0), 3);
    gpu.here = 2;
    t.now += 119 * second;
    tell(&t, 1, 2, 16000, 16000, 8000, 0);
    t.now += 2 * second;
    assert_int_equal(choose(&t, gpu, 0), 1); /* the local record is stale */
    end(&t);
}

static void test_affine(void **unused)
{
    scene t;
    gb_place_answer first, again;
    begin(&t, 6);
    for (uint64_t silo = 1; silo <= 6; silo++) tell(&t, silo, 4, 1000, 1000, 1000, 0);
    uint32_t silos = 0, devices = 0;
    for (uint64_t group = 0; group < 64; group++) {
        gb_place_query query = {.type = "Model", .strategy = GB_SILO_AFFINE, .hash = group};
        assert_int_equal(gb_place_choose(&t.place, &query, t.now, &first), 0);
        query.random = 5;
        assert_int_equal(gb_place_choose(&t.place, &query, t.now, &again), 0);
        assert_true(first.silo == again.silo && first.device == again.device);
        silos |= 1u << first.silo;
        devices |= 1u << first.device;
    }
    assert_int_equal(silos, 0x6e); /* 1, 2, 3, 5, 6 */
    assert_int_equal(devices, 0xf);
    end(&t);
}

static void test_balanced(void **unused)
{
    scene t;
    int counts[10];
    begin(&t, 6);
    for (uint64_t silo = 1; silo <= 6; silo++) tell(&t, silo, 1, 1000, 1000, 1000, 0);
    spread(&t, (gb_place_query){.strategy = GB_SILO_BALANCED}, counts);
    for (int i = 1; i <= 6; i++) assert_true(i == 4 ? !counts[i] : counts[i] > 180);
    end(&t);
}

/* The bar: under 50 us among 1,000 silos. Counted loosely: sanitizers and busy machines. */
static void test_thousand(void **unused)
{
    scene t;
    begin(&t, SILOS_MAX);
    for (uint64_t silo = 1; silo <= SILOS_MAX; silo++)
        tell(&t, silo, 4, 80000, 20000 + (int64_t)silo, 20000, (int32_t)silo % 7);
    gb_place_query query = {.type = "Model", .strategy = GB_SILO_GPU, .minimum_mb = 1};
    choose(&t, query, 0);
    size_t bytes = t.book.room * sizeof *t.book.entries / SILOS_MAX;
    print_message("%zu bytes for each of 1000 silos\n", bytes);
    assert_true(bytes <= 2 * sizeof *t.book.entries && sizeof *t.book.entries <= 120);
    clock_t start = clock();
    for (uint64_t i = 0; i < 200; i++) assert_true(choose(&t, query, i) > 0);
    double us = (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / 200;
    start = clock();
    for (int i = 0; i < 200; i++) assert_true(best(&t, 0) > 0);
    double best_us = (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / 200;
    print_message("among 1000 silos: best %.1f us, a placement %.1f us\n", best_us, us);
    assert_true(us < 5000);
    end(&t);
}

static void test_lists(void **unused)
{
    assert_true(gb_place_lists("a,bc,d", "bc") && gb_place_lists("a", "a"));
    assert_true(gb_place_lists("a,bc,d", "d") && gb_place_lists("a,bc,d", "a"));
    assert_false(gb_place_lists("a,bc,d", "b") || gb_place_lists("", "a"));
    assert_false(gb_place_lists(NULL, "a") || gb_place_lists("abc", "abcd"));
}

/* When a silo tells its figures: each 30 s, and at once when they are very different. */
static void test_told(void **unused)
{
    (void)unused;
    const gb_capacity told = {.devices_count = 2,
                              .queue_depth = 8,
                              .total_mb = 16000,
                              .available_mb = 9000,
                              .updated_ns = 100 * second};
    gb_capacity now = told;
    now.updated_ns = 130 * second - 1;
    assert_false(gb_capacity_is_news(&told, 80, &now, 80));
    now.updated_ns++;
    assert_true(gb_capacity_is_news(&told, 80, &now, 80));
    now = told;
    now.available_mb -= 1000;
    now.queue_depth += 10;
    assert_false(gb_capacity_is_news(&told, 80, &now, 94));
    assert_true(gb_capacity_is_news(&told, 80, &now, 95));
    assert_true(gb_capacity_is_news(&told, 80, &now, 65));
    assert_true(gb_capacity_is_news(&told, 1, &now, 0));
    now.queue_depth++;
    assert_true(gb_capacity_is_news(&told, 80, &now, 80));
    now.queue_depth = 0;
    now.available_mb--;
    assert_true(gb_capacity_is_news(&told, 80, &now, 80));
    now = told;
    now.devices_count = 1; /* one is lost */
    assert_true(gb_capacity_is_news(&told, 80, &now, 80));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best),     cmocka_unit_test(test_plain),
        cmocka_unit_test(test_gpu),      cmocka_unit_test(test_affine),
        cmocka_unit_test(test_balanced), cmocka_unit_test(test_thousand),
        cmocka_unit_test(test_lists),    cmocka_unit_test(test_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
