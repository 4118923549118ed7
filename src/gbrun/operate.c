/* gbrun call, status, grains, inspect, devices, drain, undrain: a client that asks the silos of a
 * cluster (lua/gb/operate.lua). Devices are also told without a cluster: those of this machine. */
#include "gbrun/gbrun.h"

#include <string.h>

enum { ARGUMENTS_MAX = 2 * GBRUN_GIVEN_MAX + GBRUN_REST_MAX + 4 };

int gbrun_client_config(const gbrun_options *options, gb_config *config, bool here)
{
    *config = options->config;
    if (!config->connect && !here) {
        fprintf(stderr,
                "gbrun %s: --connect HOST:PORT (or GB_CONNECT) names a silo of the cluster\n",
                options->command->name);
        return GBRUN_USAGE;
    }
    /* Silos have the app: a client that looked for one here could define a type of its own. */
    config->app_dir = NULL;
    config->cluster = NULL;
    config->workers = 1;
    if (config->log_level < 0) config->log_level = GB_LOG_WARN;
    return 0;
}

int gbrun_operate(gbrun_options *options)
{
    gb_config config;
    const char *arguments[ARGUMENTS_MAX];
    int count = 0;
    bool here = !options->config.connect && strcmp(options->command->name, "devices") == 0;
    int code = gbrun_client_config(options, &config, here);
    if (code) return code;
    arguments[count++] = options->command->name;
    if (here) arguments[count++] = "--here";
    for (int i = 0; i < options->given_count; i++) {
        arguments[count++] = options->given[i].flag;
        if (options->given[i].value) arguments[count++] = options->given[i].value;
    }
    arguments[count++] = "--";
    if (options->file) arguments[count++] = options->file;
    for (int i = 0; i < options->argc; i++) arguments[count++] = options->argv[i];
    gbrun_session session;
    code = gbrun_session_open(&session, &config);
    if (code) return code;
    int rc = gbl_call_core(session.host->states[0], "operate", count, arguments, gbrun_script_ended,
                           &session);
    return gbrun_session_finish(&session, rc, options->drain_ms);
}
