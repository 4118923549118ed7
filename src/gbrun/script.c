/* gbrun FILE.lua: an embedded silo, then the script as its client. */
#include "gbrun/gbrun.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096 };

/* The folder of the script, and its app folder when there is one and no setting names another. */
static void find_folders(const gbrun_options *options, gb_config *config, char *dir, char *app)
{
    struct stat st;
    char copy[PATH_BYTES];
    snprintf(copy, sizeof copy, "%s", options->file);
    snprintf(dir, PATH_BYTES, "%s", dirname(copy));
    config->script_dir = dir;
    snprintf(app, PATH_BYTES, "%.*s/app", PATH_BYTES - 8, dir);
    if (!config->app_dir && stat(app, &st) == 0 && S_ISDIR(st.st_mode)) config->app_dir = app;
}

int gbrun_check_app(const gb_config *config)
{
    struct stat st;
    if (!config->app_dir || (stat(config->app_dir, &st) == 0 && S_ISDIR(st.st_mode))) return 0;
    fprintf(stderr, "gbrun: the app folder %s is not there\n", config->app_dir);
    return GBRUN_FAILED;
}

int gbrun_script(gbrun_options *options)
{
    gb_config config = options->config;
    char dir[PATH_BYTES], app[PATH_BYTES], chunk[PATH_BYTES];
    struct stat st;
    if (stat(options->file, &st) != 0 || S_ISDIR(st.st_mode)) { /* before any thread starts */
        fprintf(stderr, "gbrun: cannot open %s: %s\n", options->file,
                stat(options->file, &st) == 0 ? "it is a folder" : "no such file");
        return GBRUN_FAILED;
    }
    find_folders(options, &config, dir, app);
    if (gbrun_check_app(&config)) return GBRUN_FAILED;
    gbrun_session session;
    if (gbrun_session_open(&session, &config)) return GBRUN_FAILED;
    const char *slash = strrchr(options->file, '/');
    snprintf(chunk, sizeof chunk, "@%s", slash ? slash + 1 : options->file);
    int rc = gbl_script_run(session.host->states[0], options->file, chunk, options->argc,
                            options->argv, gbrun_script_ended, &session);
    return gbrun_session_finish(&session, rc, options->drain_ms);
}
