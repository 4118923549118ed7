/* gbrun FILE.lua: an embedded silo, then the script as its client. */
#include "gbrun/gbrun.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

bool gbrun_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int gbrun_find_app(gb_config *config, const char *app)
{
    if (!config->app_dir && gbrun_is_dir(app)) config->app_dir = app;
    if (!config->app_dir || gbrun_is_dir(config->app_dir)) return 0;
    fprintf(stderr, "gbrun: the app folder %s is not there\n", config->app_dir);
    return GBRUN_FAILED;
}

/* The folder of the script, and the app folder beside it. */
static int find_folders(const gbrun_options *options, gb_config *config, char *dir, char *app)
{
    char copy[PATH_BYTES];
    snprintf(copy, sizeof copy, "%s", options->file);
    snprintf(dir, PATH_BYTES, "%s", dirname(copy));
    config->script_dir = dir;
    snprintf(app, PATH_BYTES, "%.*s/app", PATH_BYTES - 8, dir);
    return gbrun_find_app(config, app);
}

int gbrun_script(gbrun_options *options)
{
    gb_config config = options->config;
    char dir[PATH_BYTES], app[PATH_BYTES], chunk[PATH_BYTES];
    bool folder = gbrun_is_dir(options->file);
    if (folder || access(options->file, F_OK) != 0) { /* before any thread starts */
        fprintf(stderr, "gbrun: cannot open %s: %s\n", options->file,
                folder ? "it is a folder" : "no such file");
        return GBRUN_FAILED;
    }
    if (find_folders(options, &config, dir, app)) return GBRUN_FAILED;
    gbrun_session session;
    if (gbrun_session_open(&session, &config)) return GBRUN_FAILED;
    const char *slash = strrchr(options->file, '/');
    snprintf(chunk, sizeof chunk, "@%s", slash ? slash + 1 : options->file);
    int rc = gbl_script_run(session.host->states[0], options->file, chunk, options->argc,
                            options->argv, gbrun_script_ended, &session);
    return gbrun_session_finish(&session, rc, options->drain_ms);
}
