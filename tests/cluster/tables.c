/* cluster_tables ENGINE: the same cases for every provider of the membership table, against the
 * real engine. 77: it is not installed, or its module was not built. cluster_tables count URL
 * CLUSTER N: a process of the race. */
#include "base/err.h"
#include "cluster/engine.h"
#include "cluster/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED = 77, RACERS = 4, RUNNERS = 3, COUNTS = 12, ROWS = 1000 };
#define SECOND 1000000000u
#define PATIENCE (60ull * SECOND) /* nothing of a test depends on how slow the machine is */

static gb_mem mem;
static engine eng;

static gb_table *open_with(const char *url, const char *cluster, uint64_t timeout_ns)
{
    gb_table *table = NULL;
    gb_table_config config = {
        .mem = &mem, .url = url, .cluster = cluster, .timeout_ns = timeout_ns};
    int rc = gb_table_open(&table, &config);
    if (rc < 0) fail_msg("%s: %s", gb_err_name(rc), gb_err_detail());
    return table;
}

static gb_table *open_table(const char *cluster)
{
    return open_with(eng.url, cluster, PATIENCE);
}

static gb_table_view read_table(gb_table *table)
{
    gb_table_view view;
    int rc = gb_table_read(table, &view);
    if (rc < 0) fail_msg("%s: %s", gb_err_name(rc), gb_err_detail());
    return view;
}

/* Reads it and lets go of it: its version. */
static uint64_t look(gb_table *table)
{
    gb_table_view view = read_table(table);
    uint64_t version = view.version;
    gb_table_view_fini(&view, &mem);
    return version;
}

static int read_fails(gb_table *table)
{
    gb_table_view view = {0};
    int rc = gb_table_read(table, &view);
    assert_true(rc < 0);
    assert_null(view.rows);
    return rc;
}

static gb_member member(uint64_t id, const char *name)
{
    static char none[] = "", some[] = "Counter,Rank";
    gb_member m = {.id = id, .epoch = 1, .state = GB_SILO_JOINING, .labels = none, .types = some};
    snprintf(m.name, sizeof m.name, "%s", name);
    snprintf(m.address, sizeof m.address, "127.0.0.1:%d", (int)(id % 60000) + 1);
    return m;
}

static uint64_t add(gb_table *table, uint64_t id, uint64_t version)
{
    gb_member m = member(id, "silo");
    uint64_t written = 0;
    int rc = gb_table_write(table, &m, version, &written);
    if (rc < 0) fail_msg("%s: %s", gb_err_name(rc), gb_err_detail());
    assert_true(written == version + 1);
    return written;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / SECOND;
}

/* ---- the cases ---- */

static void test_life_of_rows(void **state)
{
    (void)state;
    gb_table *a = open_table("life"), *b = open_table("life");
    assert_true(look(a) == 0);
    gb_member m = member(UINT64_MAX, "mond"), n = member(7, "stern");
    uint64_t version = 0;
    m.alive_ns = 5;
    m.vote_count = 1;
    m.votes[0] = (gb_vote){9, -9};
    assert_int_equal(gb_table_touch(a, m.id, 1), GB_ENOENT);
    assert_int_equal(gb_table_write(a, &m, 0, &version), 0);
    assert_int_equal(gb_table_write(a, &n, 1, &version), 0);
    assert_true(version == 2);
    gb_table_view view = read_table(b);
    assert_true(view.version == 2 && view.count == 2);
    assert_true(view.rows[0].id == 7 && view.rows[1].id == UINT64_MAX);
    assert_string_equal(view.rows[1].name, "mond");
    assert_string_equal(view.rows[1].types, "Counter,Rank");
    assert_true(view.rows[1].alive_ns == 5 && view.rows[1].votes[0].wall_ns == -9);
    gb_table_view_fini(&view, &mem);
    m.state = GB_SILO_ACTIVE;
    assert_int_equal(gb_table_write(b, &m, 2, &version), 0);
    assert_int_equal(gb_table_touch(a, m.id, -77), 0); /* without a look at the version */
    view = read_table(a);
    assert_true(view.version == 3 && view.rows[1].state == GB_SILO_ACTIVE);
    assert_true(view.rows[1].alive_ns == -77);
    gb_table_view_fini(&view, &mem);
    uint64_t ids[3] = {m.id, 1234, m.id};
    assert_int_equal(gb_table_remove(a, ids, 3, 3, &version), 0);
    assert_int_equal(gb_table_touch(a, m.id, 1), GB_ENOENT);
    view = read_table(b);
    assert_true(view.version == 4 && view.count == 1 && view.rows[0].id == 7);
    gb_table_view_fini(&view, &mem);
    gb_table_close(a);
    gb_table_close(b);
}

static void test_conflict(void **state)
{
    (void)state;
    gb_table *a = open_table("conflict"), *b = open_table("conflict");
    gb_member m = member(1, "one");
    uint64_t version = 99, id = 1;
    assert_int_equal(gb_table_write(a, &m, 0, &version), GB_ECONFLICT); /* it was not read */
    assert_true(look(a) == 0 && look(b) == 0);
    assert_int_equal(gb_table_write(a, &m, 1, &version), GB_ECONFLICT);
    assert_int_equal(gb_table_write(a, &m, 0, &version), 0);
    version = 99;
    assert_int_equal(gb_table_write(b, &m, 0, &version), GB_ECONFLICT);
    assert_int_equal(gb_table_remove(b, &id, 1, 0, &version), GB_ECONFLICT);
    assert_true(version == 99 && look(b) == 1);
    assert_int_equal(gb_table_remove(b, &id, 1, 1, &version), 0);
    assert_int_equal(gb_table_write(a, &m, 1, &version), GB_ECONFLICT);
    assert_non_null(strstr(gb_err_detail(), eng.name));
    gb_table_view view = read_table(a);
    assert_true(view.version == 2 && view.count == 0); /* the loser wrote nothing */
    gb_table_view_fini(&view, &mem);
    gb_table_close(a);
    gb_table_close(b);
}

/* One more in the epoch of row 1, `times` times, whoever else does the same. */
static int count_up(const char *url, const char *cluster, int times)
{
    gb_table *table = NULL;
    gb_table_config config = {.mem = &mem, .url = url, .cluster = cluster, .timeout_ns = PATIENCE};
    int rc = gb_table_open(&table, &config);
    while (rc >= 0 && times > 0) {
        gb_table_view view;
        if ((rc = gb_table_read(table, &view)) < 0) break;
        gb_member m = view.count ? view.rows[0] : member(1, "counter");
        m.epoch = view.count ? m.epoch + 1 : 1;
        rc = gb_table_write(table, &m, view.version, &(uint64_t){0});
        gb_table_view_fini(&view, &mem);
        if (rc >= 0) times--;
        if (rc == GB_ECONFLICT) rc = 0;
    }
    if (rc < 0) fprintf(stderr, "%s: %s\n", gb_err_name(rc), gb_err_detail());
    if (table) gb_table_close(table);
    return rc;
}

static void *race(void *result)
{
    *(int *)result = count_up(eng.url, "race", COUNTS);
    return NULL;
}

static void check_race(uint64_t wanted)
{
    gb_table *table = open_table("race");
    gb_table_view view = read_table(table);
    assert_true(view.version == wanted && view.count == 1 && view.rows[0].epoch == wanted);
    gb_table_view_fini(&view, &mem);
    gb_table_close(table);
}

static void test_race_of_threads(void **state)
{
    (void)state;
    pthread_t threads[RACERS];
    int results[RACERS];
    gb_table *held = open_table("race"); /* memory: lives while it is open */
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &results[i]), 0);
    for (int i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(results[i], 0);
    }
    check_race((uint64_t)RACERS * COUNTS);
    gb_table_close(held);
}

static void test_race_of_processes(void **state)
{
    (void)state;
    extern char **environ;
    if (!eng.is_lasting) return;
    char times[16];
    pid_t pids[RUNNERS];
    gb_table *table = open_table("race");
    uint64_t before = look(table);
    gb_table_close(table);
    snprintf(times, sizeof times, "%d", COUNTS);
    for (int i = 0; i < RUNNERS; i++) {
        char *args[] = {"cluster_tables", "count", eng.url, "race", times, NULL};
        assert_int_equal(posix_spawn(&pids[i], "/proc/self/exe", NULL, NULL, args, environ), 0);
    }
    for (int i = 0; i < RUNNERS; i++) {
        int status = -1;
        waitpid(pids[i], &status, 0);
        assert_int_equal(status, 0);
    }
    check_race(before + (uint64_t)RUNNERS * COUNTS);
}

static void test_two_clusters(void **state)
{
    (void)state;
    gb_table *a = open_table("two"), *b = open_table("two-b"), *c = open_table("tw");
    look(a), look(b), look(c);
    add(a, 1, 0);
    add(b, 2, 0);
    add(b, 3, 1);
    gb_table_view view = read_table(a);
    assert_true(view.version == 1 && view.count == 1 && view.rows[0].id == 1);
    gb_table_view_fini(&view, &mem);
    view = read_table(b);
    assert_true(view.version == 2 && view.count == 2 && view.rows[0].id == 2);
    gb_table_view_fini(&view, &mem);
    assert_true(look(c) == 0);
    assert_int_equal(gb_table_touch(a, 2, 1), GB_ENOENT);
    gb_table_close(a);
    gb_table_close(b);
    gb_table_close(c);
}

/* Wiped, wiped but for a row, and brought back from a copy that then counts up to where it was. */
static void test_wiped_and_restored(void **state)
{
    (void)state;
    if (!eng.wipe) return;
    gb_table *a = open_table("wiped"), *b = open_table("wiped");
    look(a);
    uint64_t version = add(a, 2, add(a, 1, 0));
    gb_member m = member(1, "one");
    eng.wipe(&eng, "wiped");
    assert_int_equal(gb_table_write(a, &m, version, &version), GB_ECONFLICT);
    assert_true(look(a) == 0);
    eng.put(&eng, "wiped", "row/0000000000000009", "left over", 9);
    eng.put(&eng, "wiped", "alive/0000000000000009", "1", 1);
    assert_int_equal(gb_table_touch(b, 1, 1), GB_ENOENT);
    gb_buf row;
    gb_buf_init(&row, &mem);
    m.id = 9;
    assert_int_equal(gb_member_encode(&row, &m), 0);
    eng.put(&eng, "wiped", "row/0000000000000009", row.data, row.size);
    assert_true(look(a) == 0);
    add(a, 1, 0); /* what was left over goes */
    gb_table_view view = read_table(b);
    assert_true(view.version == 1 && view.count == 1 && view.rows[0].id == 1);
    gb_table_view_fini(&view, &mem);
    add(a, 3, 1);
    assert_true(look(b) == 2);
    eng.wipe(&eng, "wiped");
    eng.put(&eng, "wiped", "version", "1 00000000000000aa", 18);
    eng.put(&eng, "wiped", "row/0000000000000009", row.data, row.size);
    assert_true(look(a) == 1);
    add(a, 4, 1); /* it says 2 again, but not the 2 that b saw */
    assert_int_equal(gb_table_write(b, &m, 2, &version), GB_ECONFLICT);
    view = read_table(b);
    assert_true(view.version == 2 && view.count == 2);
    gb_table_view_fini(&view, &mem);
    gb_buf_fini(&row);
    gb_table_close(a);
    gb_table_close(b);
}

static void test_many_rows(void **state)
{
    (void)state;
    gb_table *a = open_table("many"), *b = open_table("many");
    char *types = gb_mem_alloc(&mem, GB_MEMBER_TYPES_BYTES);
    memset(types, 't', GB_MEMBER_TYPES_BYTES - 1);
    types[GB_MEMBER_TYPES_BYTES - 1] = 0;
    uint64_t version = 0, ids[GB_TABLE_REMOVE_MAX];
    double start = seconds();
    look(a);
    gb_member m = member(0, "silo");
    for (uint64_t id = 1; id <= ROWS; id++) {
        m.id = id * 0x9e3779b97f4a7c15u;
        m.types = id % 8 == 0 ? types : types + GB_MEMBER_TYPES_BYTES - 300;
        assert_int_equal(gb_table_write(a, &m, version, &version), 0);
        if (id <= GB_TABLE_REMOVE_MAX) ids[id - 1] = m.id;
    }
    double written = seconds();
    gb_table_view view = read_table(b);
    printf("# %d rows: %.1f ms a write, %.1f ms to read them\n", ROWS,
           1000 * (written - start) / ROWS, 1000 * (seconds() - written));
    assert_true(view.version == ROWS && view.count == ROWS);
    for (uint32_t i = 0; i < ROWS; i++) {
        size_t size = strlen(view.rows[i].types);
        assert_true(size == 299 || size == GB_MEMBER_TYPES_BYTES - 1);
        assert_true(i == 0 || view.rows[i].id > view.rows[i - 1].id);
    }
    gb_table_view_fini(&view, &mem);
    assert_int_equal(gb_table_remove(b, ids, GB_TABLE_REMOVE_MAX, version, &version), 0);
    assert_int_equal(gb_table_remove(b, ids, GB_TABLE_REMOVE_MAX + 1, version, &version),
                     GB_EINVAL);
    view = read_table(a);
    assert_true(view.count == ROWS - GB_TABLE_REMOVE_MAX);
    gb_table_view_fini(&view, &mem);
    gb_mem_free(&mem, types, GB_MEMBER_TYPES_BYTES);
    gb_table_close(a);
    gb_table_close(b);
}

static void test_garbage(void **state)
{
    (void)state;
    if (!eng.put) return;
    static const struct {
        const char *field, *bytes;
    } bad[] = {
        {"row/00000000000000aa", "not a row"},
        {"row/00000000000000aa", ""},
        {"alive/00000000000000aa", "soon"},
        {"alive/00000000000000aa", "99999999999999999999"},
        {"version", "seven"},
        {"version", "18446744073709551616 00000000000000aa"},
        {"version", "0 00000000000000aa"},
    };
    gb_table *table = open_table("garbage");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        eng.wipe(&eng, "garbage");
        look(table);
        add(table, 1, 0);
        eng.put(&eng, "garbage", "another/field", "\xff\x00!", 3); /* of a later version */
        assert_true(look(table) == 1);
        eng.put(&eng, "garbage", bad[i].field, bad[i].bytes, strlen(bad[i].bytes));
        assert_int_equal(read_fails(table), GB_EINVAL);
        assert_non_null(strstr(gb_err_detail(), bad[i].field));
    }
    gb_buf row; /* a good row in a wrong place */
    gb_buf_init(&row, &mem);
    gb_member m = member(5, "five");
    assert_int_equal(gb_member_encode(&row, &m), 0);
    eng.wipe(&eng, "garbage");
    look(table);
    add(table, 1, 0);
    eng.put(&eng, "garbage", "row/00000000000000aa", row.data, row.size);
    assert_int_equal(read_fails(table), GB_EINVAL);
    gb_buf_fini(&row);
    eng.wipe(&eng, "garbage");
    assert_true(look(table) == 0); /* and all is well again */
    gb_table_close(table);
}

static void test_wrong_password(void **state)
{
    (void)state;
    if (!eng.is_server) return;
    gb_table *table = open_with(eng.wrong_url, "denied", PATIENCE);
    gb_member m = member(1, "one");
    uint64_t version = 0;
    assert_int_equal(read_fails(table), GB_EDENIED);
    printf("# %s\n", gb_err_detail());
    assert_null(strstr(gb_err_detail(), "wr0ng"));
    assert_int_equal(read_fails(table), GB_EDENIED);
    assert_int_equal(gb_table_write(table, &m, 0, &version), GB_ECONFLICT);
    assert_int_equal(gb_table_touch(table, 1, 1), GB_EDENIED);
    gb_table_close(table);
}

/* A server that takes connections and then says nothing; and one that is not there. */
static void test_silence(void **state)
{
    (void)state;
    if (!eng.is_server) return;
    char url[160];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    snprintf(url, sizeof url, eng.silent_url, ntohs(at.sin_port));
    gb_table *table = open_with(url, "silent", SECOND / 5);
    double start = seconds();
    assert_int_equal(read_fails(table), GB_ETIMEDOUT);
    assert_int_equal(gb_table_touch(table, 1, 1), GB_ETIMEDOUT);
    double took = seconds() - start;
    printf("# two steps of 200 ms: %.0f ms\n", 1000 * took);
    assert_true(took > 0.3 && took < 30);
    close(fd);
    assert_int_equal(read_fails(table), GB_ELOST);
    printf("# %s\n", gb_err_detail());
    gb_table_close(table);
    snprintf(url, sizeof url, eng.silent_url, 1);
    table = open_with(url, "silent", PATIENCE);
    assert_int_equal(read_fails(table), GB_ELOST);
    gb_table_close(table);
}

static void test_stopped_and_killed(void **state)
{
    (void)state;
    if (!eng.is_server) return;
    gb_table *a = open_table("killed"), *hasty = open_with(eng.url, "killed", SECOND / 5);
    look(a);
    add(a, 1, 0);
    gb_member m = member(2, "two");
    uint64_t version = 0;
    if (gb_table_touch(hasty, 1, 3) == 0 && strcmp(eng.name, "postgres") != 0) {
        kill(eng.pid, SIGSTOP);
        int status; /* all its threads have stopped */
        assert_true(waitpid(eng.pid, &status, WUNTRACED) == eng.pid && WIFSTOPPED(status));
        assert_int_equal(read_fails(hasty), GB_ETIMEDOUT);
        kill(eng.pid, SIGCONT);
    }
    eng.stop(&eng);
    assert_int_equal(gb_table_write(a, &m, 1, &version), GB_ELOST);
    assert_int_equal(read_fails(a), GB_ELOST);
    assert_int_equal(gb_table_write(a, &m, 1, &version), GB_ECONFLICT); /* a read comes first */
    assert_true(eng.start(&eng));
    gb_table_view view = read_table(a); /* nothing that was acknowledged is gone */
    assert_true(view.version == 1 && view.count == 1);
    gb_table_view_fini(&view, &mem);
    add(a, 2, 1);
    eng.stop(&eng); /* and while nobody used the connection */
    assert_true(eng.start(&eng));
    assert_true(look(a) == 2);
    gb_table_close(a);
    gb_table_close(hasty);
}

/* The last: it leaves the engine damaged. */
static void test_foreign(void **state)
{
    (void)state;
    if (!eng.foreign) return;
    gb_table *table = open_table("foreign");
    gb_member m = member(1, "one");
    uint64_t version = 0;
    look(table);
    eng.foreign(&eng, "foreign");
    int rc = gb_table_write(table, &m, 0, &version);
    assert_int_equal(rc, GB_EINVAL);
    printf("# %s\n", gb_err_detail());
    assert_int_equal(read_fails(table), GB_EINVAL);
    gb_table_close(table);
}

/* ---- the program ---- */

static const engine *find(const char *name)
{
    static const engine *const all[] = {
        &engine_memory,   &engine_sqlite,
#ifdef GB_WITH_REDIS
        &engine_redis,
#ifdef GB_WITH_TLS
        &engine_rediss,
#endif
#endif
#ifdef GB_WITH_POSTGRES
        &engine_postgres,
#endif
#ifdef GB_WITH_ETCD
        &engine_etcd,
#endif
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i]->name, name) == 0) return all[i];
    }
    return NULL;
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_of_rows),       cmocka_unit_test(test_conflict),
        cmocka_unit_test(test_race_of_threads),    cmocka_unit_test(test_race_of_processes),
        cmocka_unit_test(test_two_clusters),       cmocka_unit_test(test_wiped_and_restored),
        cmocka_unit_test(test_many_rows),          cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_wrong_password),     cmocka_unit_test(test_silence),
        cmocka_unit_test(test_stopped_and_killed), cmocka_unit_test(test_foreign),
    };
    const engine *found = find(name);
    if (!found) {
        printf("# the module of %s was not built\n", name);
        return SKIPPED;
    }
    eng = *found;
    if (!eng.start(&eng)) {
        printf("# %s is not installed\n", name);
        return SKIPPED;
    }
    int rc = cmocka_run_group_tests_name(name, tests, NULL, NULL);
    if (eng.stop) eng.stop(&eng);
    engine_remove_folder(&eng);
    return rc;
}

int main(int count, char **args)
{
    setenv("GB_MODULE_DIR", GB_MODULES_AT, 1);
    gb_mem_init(&mem, "test", NULL, 0);
    int rc = 2;
    if (count == 2) rc = run(args[1]);
    if (count == 5 && strcmp(args[1], "count") == 0)
        rc = count_up(args[2], args[3], (int)strtol(args[4], NULL, 10)) < 0;
    gb_mem_fini(&mem);
    return rc;
}
