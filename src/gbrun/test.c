/* gbrun test DIR: busted specs as one turn in a silo of one worker whose time is virtual
 * (lua/gb/spec.lua). */
#include "gbrun/gbrun.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* The project of a folder of specs: the folder itself, or the one above it, that has an app folder.
 */
static void find_folders(const char *dir, gb_config *config, char *root, char *app)
{
    char copy[PATH_BYTES];
    snprintf(root, PATH_BYTES, "%s", dir);
    config->script_dir = root;
    snprintf(app, PATH_BYTES, "%.*s/app", PATH_BYTES - 8, root);
    if (gbrun_is_dir(app) || !realpath(dir, copy)) return;
    char *above = dirname(copy);
    snprintf(app, PATH_BYTES, "%.*s/app", PATH_BYTES - 8, above);
    if (gbrun_is_dir(app)) snprintf(root, PATH_BYTES, "%s", above);
}

/* Is there a device that is no CPU? The software driver of tests is none. Negative: it was told. */
static int has_gpu(gbrun_options *options)
{
    gb_gpu *gpu;
    int rc = gbrun_open_devices(options, &gpu), count = rc < 0 ? rc : gb_gpu_device_count(gpu),
        found = 0;
    if (count < 0) fprintf(stderr, "gbrun: %s (%s)\n", gb_err_detail(), gb_err_name(count));
    for (int i = 0; i < count; i++) {
        gb_device_info info;
        gb_device_get_info(gb_gpu_device(gpu, i), &info);
        found |= strcmp(info.backend, "cpu") != 0 && strcmp(info.backend, "software") != 0;
    }
    if (rc >= 0) gb_gpu_close(gpu);
    return count < 0 ? count : found;
}

int gbrun_test(gbrun_options *options)
{
    gb_config config = options->config;
    char root[PATH_BYTES], app[PATH_BYTES];
    if (!gbrun_is_dir(options->file) && access(options->file, R_OK) != 0) {
        fprintf(stderr, "gbrun: cannot open %s: no such folder or file\n", options->file);
        return GBRUN_FAILED;
    }
    if (gbrun_given(options, "--gpu")) {
        int found = has_gpu(options);
        if (found == 0)
            printf("0 passed, 0 failed, all skipped: not run, there is no GPU here (see gbrun "
                   "doctor)\n");
        if (found <= 0) return found < 0 ? GBRUN_FAILED : 0;
    }
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s", options->file);
    const char *dir = gbrun_is_dir(path) ? path : dirname(path);
    find_folders(dir, &config, root, app);
    if (gbrun_find_app(&config, app)) return GBRUN_FAILED;
    config.virtual_time = 1;
    config.workers = 1;
    if (config.log_level < 0) config.log_level = GB_LOG_WARN;
    gbrun_session session;
    int code = gbrun_session_open(&session, &config);
    if (code == 0) {
        const char *filter = gbrun_given(options, "--filter");
        char seed[32];
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)config.seed);
        const char *arguments[] = {options->file, dir, seed, isatty(1) ? "tty" : "plain", filter};
        int rc = gbl_call_core(session.host->states[0], "run_specs", filter ? 5 : 4, arguments,
                               gbrun_script_ended, &session);
        code = gbrun_session_finish(&session, rc, options->drain_ms);
    }
    return code;
}
