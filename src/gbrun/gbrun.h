/* gbrun: flags, subcommands, exit codes. A subcommand is a function of its own file that returns
 * the exit code: 0, 1 for a failure that it has printed on standard error, 2 for wrong usage. One
 * thread, but for signal handlers.
 */
#ifndef GB_GBRUN_GBRUN_H
#define GB_GBRUN_GBRUN_H

#include "base/buf.h"
#include "gpu/gpu.h"
#include "host/host.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

enum {
    GBRUN_FAILED = 1,
    GBRUN_USAGE = 2,
    GBRUN_SETTINGS = 47,
    GBRUN_GIVEN_MAX = 64,
    GBRUN_REST_MAX = 32
};

/* ---- settings: one table drives parsing, `gbrun config` and --help (settings.c) ---- */

typedef enum {
    GBRUN_INT,
    GBRUN_TEXT,
    GBRUN_SECRET,   /* a text that is never shown */
    GBRUN_DURATION, /* "250ms", or seconds; kept as milliseconds */
    GBRUN_MICROS,   /* a number */
    GBRUN_BYTES,    /* "512MB", or bytes */
    GBRUN_POOL,     /* the same, "off" (-1) or "driver" (-2) */
    GBRUN_TENANTS,  /* "acme=2GB,beta", a table in the file */
    GBRUN_LEVEL,    /* debug, info, warn, error, off */
    GBRUN_BOOL,
    GBRUN_RATIO, /* 0 .. 1 */
    GBRUN_SEED
} gbrun_type;

typedef struct gbrun_setting {
    const char *name; /* in the configuration file; GB_NAME in the environment */
    const char *flag; /* without --; "": none */
    gbrun_type type;
    const char *value; /* of the flag, as help calls it; NULL: it takes none, and says yes */
    int most;          /* GBRUN_INT: from 0 to this */
    size_t offset;     /* in gbrun_options */
    const char *fallback, *help;
} gbrun_setting;

extern const gbrun_setting gbrun_settings[]; /* GBRUN_SETTINGS of them */

typedef struct gbrun_command gbrun_command;

typedef struct gbrun_options {
    gb_config config;
    double drain_ms;             /* how long what is queued may take at the end */
    const char *config_path;     /* of the file that was read, or NULL */
    const char *config_asked;    /* --config */
    char *value[GBRUN_SETTINGS]; /* as text; NULL: the default */
    char
        *origin[GBRUN_SETTINGS]; /* "gpubridge.lua", "GB_WORKERS", "--workers"; NULL: the default */
    gb_mem mem;
    gb_buf lua_config; /* what Lua sees as gb.config */
    gb_buf app_lines;  /* the settings below app, "name = value\n", sorted by gbrun config */
    const gbrun_command *command;
    const char *file; /* the script, or the first argument of a subcommand; NULL: none */
    int argc;         /* what stands behind it */
    char **argv;
    char *rest[GBRUN_REST_MAX];
    char **argv_all; /* as the program was started */
    int given_count; /* flags of the subcommand, in order */
    struct {
        const char *flag, *value; /* value NULL: it takes none */
    } given[GBRUN_GIVEN_MAX];
} gbrun_options;

/* "250ms", "10m", or seconds: false when it is none. */
bool gbrun_duration(const char *text, double *ms);

/* The name of its environment variable. */
void gbrun_setting_env(const gbrun_setting *setting, char *out, size_t room);

const gbrun_setting *gbrun_setting_find(const char *name); /* NULL: unknown */

/* 0, or GBRUN_USAGE with the error printed. Both texts are copied. */
int gbrun_setting_set(gbrun_options *options, const gbrun_setting *setting, const char *text,
                      const char *origin);

/* "unknown WHAT 'name'; did you mean 'x'?" on standard error: GBRUN_USAGE. names ends with NULL. */
int gbrun_unknown(const char *what, const char *prefix, const char *name, const char *const *names);

/* ---- the command line (options.c) ---- */

void gbrun_options_init(gbrun_options *options, char **argv);
void gbrun_options_fini(gbrun_options *options);

/* Flags over environment over file over defaults. 0, or GBRUN_USAGE with the error printed. */
int gbrun_options_read(gbrun_options *options, int argc, char **argv);
const char *gbrun_given(const gbrun_options *options,
                        const char *flag); /* its last value ("" for none), or NULL */

/* Reads the configuration file (config_file.c). 0, or GBRUN_USAGE with the error printed. */
int gbrun_config_read(gbrun_options *options, const char *path);

/* ---- subcommands (help.c has the table) ---- */

typedef struct gbrun_flag {
    const char *name, *value, *help; /* value NULL: it takes none */
} gbrun_flag;

struct gbrun_command {
    const char *name, *usage, *help;
    int (*run)(gbrun_options *options); /* NULL: not in this version yet */
    int arguments_min, arguments_max;
    gbrun_flag flags[8]; /* its own; ends with a NULL name */
};

extern const gbrun_command gbrun_commands[]; /* ends with a NULL name */
const gbrun_command *gbrun_command_find(const char *name);
int gbrun_usage(FILE *to);
int gbrun_help_all(void);
int gbrun_not_yet(const char *name);
int gbrun_unknown_command(const char *name);

int gbrun_script(gbrun_options *options);
int gbrun_test(gbrun_options *options);
int gbrun_kernel(gbrun_options *options);
int gbrun_kernel_gpu(gbrun_options *options, const gb_module_spec *spec, const char *arch);
int gbrun_config(gbrun_options *options);
int gbrun_doctor(gbrun_options *options);
int gbrun_version(gbrun_options *options);
int gbrun_help(gbrun_options *options);
int gbrun_new(gbrun_options *options);
int gbrun_silo(gbrun_options *options);
int gbrun_operate(gbrun_options *options); /* those of lua/gb/operate.lua */
int gbrun_top(gbrun_options *options);
int gbrun_repl(gbrun_options *options);
int gbrun_certs(gbrun_options *options);
int gbrun_token(gbrun_options *options);

/* What --days says; negative: what is wrong is printed. */
int gbrun_days(const gbrun_options *options, int fallback);

bool gbrun_is_dir(const char *path);

/* The folder of grain modules: `app`, if it is there and no setting names one. One that is named
 * must be there: its types would be missing one by one. 0, or GBRUN_FAILED with the error printed.
 */
int gbrun_find_app(gb_config *config, const char *app);

/* The devices as the options say. Negative: the detail says why. */
int gbrun_open_devices(gbrun_options *options, gb_gpu **out);

/* Closes a host whose program has blocked these signals. One more of them, or what does not end in
 * time, ends the program at once. */
void gbrun_close(gb_host *host, const sigset_t *signals, double drain_ms);

/* The configuration of a client that looks at a cluster, or of a silo of its own when `here` says
 * that this will do. 0, or GBRUN_USAGE with the error printed. */
int gbrun_client_config(const gbrun_options *options, gb_config *config, bool here);

const char *gbrun_commit(void);

/* ---- a host that runs one script to its end (session.c) ---- */

typedef struct gbrun_session {
    gb_host *host;
    atomic_bool stop;
    atomic_bool exited;  /* os.exit was called */
    bool ended;          /* the script is over */
    atomic_bool closing; /* the host is being closed */
    int code;            /* of os.exit */
    int rc;              /* of the script */
    int result;          /* of the program, when closing */
    char *message, *traceback;
} gbrun_session;

/* Opens the host; worker 0 is driven by this thread. GBRUN_FAILED with the error printed. */
int gbrun_session_open(gbrun_session *session, const gb_config *config);

/* Drives it until the script has ended, called os.exit, or a signal came; then drains and closes.
 * The exit code; what went wrong is printed. The start of the script failed when started is
 * negative. */
int gbrun_session_finish(gbrun_session *session, int started, double drain_ms);

void gbrun_script_ended(void *session, int rc, const char *message, const char *traceback);

/* ---- kernels under the sanitizers (sanitize.c) ---- */

/* With config.sanitize: makes sure that this process has the runtime, by starting itself anew with
 * it. Does not return then. 0 to go on, or GBRUN_FAILED with the error printed. */
int gbrun_sanitize(gbrun_options *options);

#endif
