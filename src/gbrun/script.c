/* gbrun FILE.lua: an embedded silo, then the script as its client. */
#include "gbrun/gbrun.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DRAIN_MS = 30000 };

typedef struct ending {
    atomic_bool stop;
    int rc;
    char *message, *traceback;
} ending;

static void script_ended(void *user, int rc, const char *message, const char *traceback)
{
    ending *end = user;
    end->rc = rc;
    end->message = message ? strdup(message) : NULL;
    end->traceback = traceback ? strdup(traceback) : NULL;
    atomic_store(&end->stop, true);
}

/* DIR of the script, and DIR/app when there is one and --app names none. */
static void find_folders(const gbrun_options *options, gb_config *config, char *dir, char *app, size_t room)
{
    char *copy = strdup(options->file);
    snprintf(dir, room, "%s", dirname(copy));
    free(copy);
    config->script_dir = dir;
    struct stat st;
    snprintf(app, room, "%.*s/app", (int)room - 8, dir);
    if (!config->app_dir && stat(app, &st) == 0 && S_ISDIR(st.st_mode)) config->app_dir = app;
}

static int report(const ending *end)
{
    if (end->rc >= 0) return 0;
    fprintf(stderr, "gbrun: %s\n", end->message ? end->message : gb_err_text(end->rc));
    if (end->traceback) fprintf(stderr, "%s\n", end->traceback);
    return 1;
}

int gbrun_script(const gbrun_options *options)
{
    gb_config config = options->config;
    char dir[4096], app[4096];
    find_folders(options, &config, dir, app, sizeof dir);
    gb_host *host;
    int rc = gbi_host_open(&host, &config, 1);
    if (rc < 0) {
        fprintf(stderr, "gbrun: %s: %s\n", gb_err_name(rc), gb_err_detail());
        return 1;
    }
    ending end = {.rc = 0};
    char chunk[4096];
    const char *slash = strrchr(options->file, '/');
    snprintf(chunk, sizeof chunk, "@%s", slash ? slash + 1 : options->file);
    rc = gbl_script_run(host->states[0], options->file, chunk, options->argc, options->argv, script_ended, &end);
    if (rc < 0) {
        fprintf(stderr, "gbrun: %s\n", gb_err_detail());
        gb_close(host, 0);
        return 1;
    }
    if (!gbi_host_run(host, &end.stop)) {
        end.rc = GB_EDEADLOCK;
        end.message = strdup("the script waits for something that can never happen");
    }
    int code = report(&end);
    fflush(stdout);
    gb_close(host, DRAIN_MS);
    free(end.message);
    free(end.traceback);
    return code;
}
