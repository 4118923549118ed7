#include "kit_embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <string.h>

void kit_config(gb_config *config, int workers, gb_deliver deliver)
{
    gb_config_init(config, sizeof *config);
    config->workers = workers;
    config->deliver = deliver;
    config->app_dir = GB_SOURCE_DIR "/tests/host/app";
    config->log_level = 3;
}

gb_host *kit_open_config(const gb_config *config)
{
    gb_host *host = NULL;
    int rc = gb_open(&host, config);
    if (rc < 0) fail_msg("no host: %s: %s", gb_err_name(rc), gb_err_detail());
    return host;
}

gb_host *kit_open(int workers, gb_deliver deliver)
{
    gb_config config;
    kit_config(&config, workers, deliver);
    return kit_open_config(&config);
}

void kit_on_result(gb_host *host, int rc, const gb_value *result, const char *message, void *user)
{
    kit_answer *answer = user;
    answer->rc = rc;
    answer->thread = pthread_self();
    answer->count = gb_value_count(result);
    snprintf(answer->detail, sizeof answer->detail, "%s", rc < 0 ? gb_err_detail() : "");
    gb_item first = gb_value_at(result, 0);
    const char *text = message;
    if (first.type == GB_ITEM_STRING) gb_as_text(first, &text);
    snprintf(answer->text, sizeof answer->text, "%s", text ? text : "(null)");
    answer->number = -1;
    if (first.type == GB_ITEM_NUMBER) gb_as_number(first, &answer->number);
    if (answer->then) answer->then(host, answer);
    atomic_fetch_add(&answer->runs, 1);
}

void kit_wait(gb_host *host, kit_answer *answer)
{
    while (atomic_load(&answer->runs) == 0) {
        int rc = gb_poll(host, 1000, 1000);
        if (rc < 0) fail_msg("gb_poll: %s", gb_err_detail());
        if (rc == 0) sched_yield();
    }
}

gb_value *kit_int(gb_host *host, int64_t number)
{
    gb_value *args = gb_value_new(host);
    assert_non_null(args);
    assert_int_equal(gb_put_int(args, number), 0);
    return args;
}

int kit_call(gb_host *host, kit_answer *answer, const char *key, const char *method, int64_t arg)
{
    *answer = (kit_answer){.rc = 1};
    gb_value *args = arg == INT64_MIN ? NULL : kit_int(host, arg);
    int rc = gb_call(host, "Probe", key, method, args, 60000, kit_on_result, answer);
    if (rc < 0) {
        gb_value_free(args);
        return rc;
    }
    kit_wait(host, answer);
    assert_int_equal(atomic_load(&answer->runs), 1);
    return answer->rc;
}

static int ask_gate(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    kit_gate *gate = user;
    atomic_fetch_add(&gate->asked, 1);
    return gb_put_bool(results, atomic_load(&gate->open));
}

void kit_gate_export(gb_host *host, kit_gate *gate)
{
    assert_int_equal(gb_export(host, "gate", ask_gate, gate), 0);
}

void kit_gate_wait(gb_host *host, kit_gate *gate)
{
    while (!atomic_load(&gate->asked)) assert_true(gb_poll(host, 1000, 1000) >= 0);
}
