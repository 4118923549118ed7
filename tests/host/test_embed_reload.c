/* gb_reload: new methods, kept state, all workers or none, kernels. */
#include "kit_embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 512 };

typedef struct app {
    char dir[PATH_BYTES];
    gb_host *host;
} app;

static void write_file(const app *a, const char *name, const char *text)
{
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", a->dir, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char counter_1[] = "local gb = require 'gb'\n"
                                "local helper = require 'helper'\n"
                                "local Counter = gb.grain('Counter', {})\n"
                                "function Counter:on_activate() self.state.n = 0 end\n"
                                "function Counter:add() self.state.n = self.state.n + helper.step\n"
                                "  return self.state.n end\n"
                                "function Counter:version() return 1 end\n"
                                "function Counter:gone() return true end\n"
                                "function Counter:twice() local a = self:version()\n"
                                "  while not gb.host.gate() do gb.sleep(0.001) end\n"
                                "  return a * 10 + self:version() end\n"
                                "return Counter\n";
static const char counter_2[] = "local gb = require 'gb'\n"
                                "local helper = require 'helper'\n"
                                "local Counter = gb.grain('Counter', {})\n"
                                "function Counter:on_activate() self.state.n = 0 end\n"
                                "function Counter:on_reload(previous)\n"
                                "  self.was = rawget(previous, 'x') == nil and tostring(previous)\n"
                                "  self.reloads = (self.reloads or 0) + 1 end\n"
                                "function Counter:add() self.state.n = self.state.n + helper.step\n"
                                "  return self.state.n end\n"
                                "function Counter:version() return 2 end\n"
                                "function Counter:seen() return self.reloads or 0, self.was end\n"
                                "function Counter:fresh() return self.state.n end\n"
                                "return Counter\n";

static void app_open(app *a, int workers)
{
    snprintf(a->dir, sizeof a->dir, "%s/reload.XXXXXX", GB_BINARY_DIR);
    assert_non_null(mkdtemp(a->dir));
    write_file(a, "counter.lua", counter_1);
    write_file(a, "helper.lua", "return { step = 1 }\n");
    gb_config config;
    kit_config(&config, workers, GB_DELIVER_POLL);
    config.app_dir = a->dir;
    a->host = kit_open_config(&config);
}

static void app_close(app *a)
{
    gb_close(a->host, 200);
    static const char *const names[] = {"counter.lua", "helper.lua", "twice.cu", "gpu.lua", NULL};
    for (int i = 0; names[i]; i++) {
        char path[PATH_BYTES + 64];
        snprintf(path, sizeof path, "%s/%s", a->dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(a->dir), 0);
}

/* The first result as a number. */
static double ask(app *a, const char *type, const char *key, const char *method)
{
    gb_value *out = NULL;
    double number = -1;
    int rc = gb_call_wait(a->host, type, key, method, NULL, 0, &out);
    if (rc < 0) fail_msg("%s: %s: %s", method, gb_err_name(rc), gb_err_detail());
    gb_as_number(gb_value_at(out, 0), &number);
    gb_value_free(out);
    return number;
}

static int reload(app *a, const char *module)
{
    int rc = gb_reload(a->host, module);
    if (rc < 0) fail_msg("gb_reload: %s: %s", gb_err_name(rc), gb_err_detail());
    return rc;
}

static const int all_workers[] = {0, 1, 3};

static void test_state_is_kept(void **state)
{
    for (int w = 0; w < 3; w++) {
        app a;
        app_open(&a, all_workers[w]);
        char key[16];
        for (int i = 0; i < 20; i++) {
            snprintf(key, sizeof key, "k%d", i);
            assert_true(ask(&a, "Counter", key, "add") == 1);
        }
        write_file(&a, "counter.lua", counter_2);
        assert_true(reload(&a, "counter") >= 1);
        for (int i = 0; i < 20; i++) {
            snprintf(key, sizeof key, "k%d", i);
            assert_true(ask(&a, "Counter", key, "add") == 2);
            assert_true(ask(&a, "Counter", key, "version") == 2);
            assert_true(ask(&a, "Counter", key, "fresh") == 2);
            assert_true(ask(&a, "Counter", key, "seen") == 1); /* on_reload ran once */
        }
        assert_true(ask(&a, "Counter", "new", "add") == 1);
        assert_true(ask(&a, "Counter", "new", "seen") == 0); /* it was never of version 1 */
        assert_int_equal(gb_call_wait(a.host, "Counter", "k0", "gone", NULL, 0, NULL),
                         GB_ENOMETHOD);
        /* the module that another one took goes with it when all are loaded anew */
        write_file(&a, "helper.lua", "return { step = 10 }\n");
        assert_true(reload(&a, NULL) >= 2);
        assert_true(ask(&a, "Counter", "k0", "add") == 12);
        assert_true(ask(&a, "Counter", "k0", "seen") == 2);
        app_close(&a);
    }
}

/* A turn that waits ends in the version it began in. */
static void test_waiting_turn(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        app a;
        app_open(&a, workers[w]);
        kit_answer answer = {0}, next = {0};
        kit_gate gate = {0};
        kit_gate_export(a.host, &gate);
        assert_true(ask(&a, "Counter", "w", "add") == 1);
        assert_true(gb_call(a.host, "Counter", "w", "twice", NULL, 0, kit_on_result, &answer) > 0);
        assert_true(gb_call(a.host, "Counter", "w", "version", NULL, 0, kit_on_result, &next) > 0);
        kit_gate_wait(a.host, &gate);
        write_file(&a, "counter.lua", counter_2);
        reload(&a, "counter.lua");
        atomic_store(&gate.open, true);
        kit_wait(a.host, &answer);
        kit_wait(a.host, &next);
        assert_int_equal(answer.rc, 0);
        assert_true(answer.number == 11);
        assert_true(next.number == 2); /* what waited in the mailbox is served by the new one */
        app_close(&a);
    }
}

/* When one thing is wrong, nothing changes. */
static void test_all_or_nothing(void **state)
{
    for (int w = 0; w < 3; w++) {
        app a;
        app_open(&a, all_workers[w]);
        assert_true(ask(&a, "Counter", "a", "add") == 1);
        write_file(&a, "helper.lua", "return { step = 5 }\n");
        write_file(&a, "counter.lua", "local gb = require 'gb'\nlocal x = = 1\n");
        assert_int_equal(gb_reload(a.host, NULL), GB_ERAISED);
        assert_non_null(strstr(gb_err_detail(), "counter.lua:2"));
        assert_true(ask(&a, "Counter", "a", "add") == 2);
        write_file(&a, "counter.lua", "error('not today')\n");
        assert_int_equal(gb_reload(a.host, "counter"), GB_ERAISED);
        assert_non_null(strstr(gb_err_detail(), "not today"));
        write_file(&a, "counter.lua",
                   "return require('gb').grain('Counter', { reentrant = true })\n");
        assert_int_equal(gb_reload(a.host, "counter"), GB_ERAISED);
        assert_non_null(strstr(gb_err_detail(), "reentrant cannot change"));
        assert_int_equal(gb_reload(a.host, "countre"), GB_ENOENT);
        assert_non_null(strstr(gb_err_detail(), "counter"));
        assert_int_equal(gb_reload(a.host, "no/such.cu"), GB_ENOENT);
        assert_int_equal(gb_reload(NULL, NULL), GB_EINVAL);
        assert_true(ask(&a, "Counter", "a", "version") == 1);
        assert_true(ask(&a, "Counter", "a", "add") == 3);
        write_file(&a, "counter.lua", counter_2); /* and it works again */
        reload(&a, NULL);
        assert_true(ask(&a, "Counter", "a", "add") == 8);
        app_close(&a);
    }
}

static const char gpu_lua[] = "local gb = require 'gb'\n"
                              "local Gpu = gb.grain('Gpu', { kernels = 'twice.cu' })\n"
                              "function Gpu:times()\n"
                              "  local x = gb.array('float', { 3 })\n"
                              "  assert(self.kernels.times:run({ grid = 1, block = 1 }, x))\n"
                              "  return x[0] end\n"
                              "return Gpu\n";

static void test_kernels(void **state)
{
    for (int w = 0; w < 2; w++) {
        app a;
        app_open(&a, all_workers[w]);
        write_file(&a, "gpu.lua", gpu_lua);
        write_file(&a, "twice.cu", "extern \"C\" __global__ void times(float *x) { *x *= 2; }\n");
        assert_true(ask(&a, "Gpu", "g", "times") == 6);
        write_file(&a, "twice.cu", "extern \"C\" __global__ void times(float *x) { *x *= 5; }\n");
        assert_true(ask(&a, "Gpu", "g", "times") == 6);
        assert_true(reload(&a, "twice.cu") >= 1);
        assert_true(ask(&a, "Gpu", "g", "times") == 15);
        write_file(&a, "twice.cu", "extern \"C\" __global__ void times(float *x) { *x *= y; }\n");
        assert_int_equal(gb_reload(a.host, NULL), GB_ECOMPILE);
        assert_non_null(strstr(gb_err_detail(), "twice.cu"));
        assert_true(ask(&a, "Gpu", "g", "times") == 15);
        app_close(&a);
    }
}

static const char batch_lua[] =
    "local gb = require 'gb'\n"
    "gb.catalog.register('plus', { kernel = 'plus', file = 'twice.cu' })\n"
    "local Gpu = gb.grain('Gpu')\n"
    "function Gpu:times()\n"
    "  return assert(gb.batch('plus'):execute({ 3 }, { persistent = true }))[1] end\n"
    "return Gpu\n";

/* What a batch has found out of its kernel is found anew with it. */
static void test_catalog(void **state)
{
    for (int w = 0; w < 2; w++) {
        app a;
        app_open(&a, all_workers[w]);
        write_file(&a, "gpu.lua", batch_lua);
        write_file(&a, "twice.cu",
                   "extern \"C\" __global__ void plus(const int *x, int *y) { *y = *x + 1; }\n");
        assert_true(ask(&a, "Gpu", "g", "times") == 4);
        write_file(&a, "twice.cu",
                   "extern \"C\" __global__ void plus(int n, float *y, const float *x)\n"
                   "{ *y = *x + n + 0.5f; }\n");
        assert_true(reload(&a, "twice.cu") >= 1);
        assert_true(ask(&a, "Gpu", "g", "times") == 4.5);
        app_close(&a);
    }
}

static void reload_inside(gb_host *host, kit_answer *answer)
{
    assert_int_equal(gb_reload(host, NULL), GB_EBUSY);
    answer->user = host;
}

static void test_refused_inside(void **state)
{
    app a;
    app_open(&a, 0);
    kit_answer answer = {.then = reload_inside};
    assert_true(gb_call(a.host, "Counter", "i", "add", NULL, 0, kit_on_result, &answer) > 0);
    kit_wait(a.host, &answer);
    assert_ptr_equal(answer.user, a.host);
    app_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_is_kept),  cmocka_unit_test(test_waiting_turn),
        cmocka_unit_test(test_all_or_nothing), cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_catalog),        cmocka_unit_test(test_refused_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
