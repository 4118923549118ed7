/* The subcommands, and what --help and config print of them and of the settings. */
#include "gbrun/gbrun.h"

#include <stdlib.h>
#include <string.h>

const gbrun_command gbrun_commands[] = {
    {"new", "new DIR", "a starter app", gbrun_new, 1, 1, {{0}}},
    {"test",
     "test DIR [--filter PATTERN] [--gpu] [--sanitize] [--seed N]",
     "busted specs, in a silo whose time is virtual",
     gbrun_test,
     1,
     1,
     {{"--filter", "PATTERN", "only tests whose name has this Lua pattern"},
      {"--gpu", NULL, "only where there is a GPU; else all are skipped, which is no failure"}}},
    {"repl",
     "repl [--connect HOST:PORT] [--app DIR]",
     "a prompt for Lua, in a silo of its own or as a client",
     gbrun_repl,
     0,
     0,
     {{0}}},
    {"kernel",
     "kernel FILE.cu [--arch sm_90] [--cpu] [--instance NAME<TYPES>]... [-DNAME[=VALUE]] [-UNAME] "
     "[-std=c++17] [-IDIR]",
     "compiles kernels; prints signatures, registers and shared memory",
     gbrun_kernel,
     1,
     1,
     {{"--arch", "ARCH", "for this GPU instead of the CPU, sm_90 (needs NVRTC, no GPU)"},
      {"--cpu", NULL, "for the CPU; with --arch: for both"},
      {"--instance", "NAME<TYPES>", "a template kernel for these arguments, 'scale<float>'"},
      {"-D", "NAME", "define a macro"},
      {"-U", "NAME", "undefine one"},
      {"-I", "DIR", "look for includes there"},
      {"-s", "td=...", "the language: -std=c++11 to -std=c++20"}}},
    {"devices",
     "devices [--connect HOST:PORT] [--json]",
     "the devices that kernels can run on, here or of a cluster",
     gbrun_operate,
     0,
     0,
     {{"--json", NULL, "as JSON"}}},
    {"doctor",
     "doctor",
     "what this machine has and lacks, with remedies",
     gbrun_doctor,
     0,
     0,
     {{0}}},
    {"config", "config", "every effective setting and its origin", gbrun_config, 0, 0, {{0}}},
    {"silo",
     "silo --cluster URL [--app DIR] [--listen HOST:PORT] [--name NAME] [--label K=V]",
     "a silo of a cluster, until SIGTERM drains it",
     gbrun_silo,
     0,
     0,
     {{"--wait", "TIME", "for joining the cluster (default: 30s)"}}},
    {"call",
     "call --connect HOST:PORT TYPE KEY METHOD [JSON...]",
     "one call to a grain of a cluster; its results as JSON",
     gbrun_operate,
     3,
     1 + GBRUN_REST_MAX,
     {{"--timeout", "TIME", "of the call (default: call_timeout)"}}},
    {"status",
     "status --connect HOST:PORT [--json] [--check]",
     "the silos of a cluster, and what they have",
     gbrun_operate,
     0,
     0,
     {{"--json", NULL, "as JSON"}, {"--check", NULL, "exit 1 when it is not healthy"}}},
    {"top",
     "top --connect HOST:PORT [--every TIME] [--once]",
     "what a cluster does, drawn anew each second; q ends",
     gbrun_top,
     0,
     0,
     {{"--every", "TIME", "between two frames (default: 1s)"},
      {"--once", NULL, "one frame, as text; so it is when this is no terminal"}}},
    {"grains",
     "grains --connect HOST:PORT [--type TYPE] [--silo SILO] [--sort ORDER [--limit N]] [--json]",
     "the grains of each type on each silo; or single ones, the busiest first",
     gbrun_operate,
     0,
     0,
     {{"--type", "TYPE", "only this one"},
      {"--silo", "SILO", "only there"},
      {"--sort", "ORDER", "single grains, by p99, queue, bytes or calls"},
      {"--limit", "N", "so many of them (default: 20)"},
      {"--json", NULL, "as JSON"}}},
    {"inspect",
     "inspect --connect HOST:PORT TYPE KEY [--json]",
     "what one grain does, waits for and costs, and where it is active",
     gbrun_operate,
     2,
     2,
     {{"--json", NULL, "as JSON"}}},
    {"drain",
     "drain --connect HOST:PORT SILO [--wait]",
     "no new grains for a silo; those it has go to others",
     gbrun_operate,
     1,
     1,
     {{"--wait", NULL, "until none is left there"}}},
    {"undrain",
     "undrain --connect HOST:PORT SILO",
     "takes a drain back: new grains may come to the silo again",
     gbrun_operate,
     1,
     1,
     {{0}}},
    {"certs",
     "certs DIR [--host NAME]... [--days N]",
     "certificates for development: a CA, a silo's, a client's",
     gbrun_certs,
     1,
     1,
     {{"--host", "NAME", "a name or address of silos, beside localhost, 127.0.0.1 and ::1"},
      {"--days", "N", "how long they hold (default: 365)"}}},
    {"token",
     "token NAME --tokens FILE [--role ROLE] [--days N] [--out FILE]",
     "a client's token: its line in the silos' file, and NAME.token",
     gbrun_token,
     1,
     1,
     {{"--role", "ROLE",
       "viewer (looks), client (calls grains too: the default) or operator (all)"},
      {"--days", "N", "how long it holds (default: for ever)"},
      {"--out", "FILE", "the client's file (default: NAME.token)"}}},
    {"help", "help [COMMAND]", "this, or one command", gbrun_help, 0, 1, {{0}}},
    {"version", "version", "name, version, commit, backends", gbrun_version, 0, 0, {{0}}},
    {.name = "profile"},
    {.name = "reload"},
    {.name = NULL}};

const gbrun_command *gbrun_command_find(const char *name)
{
    for (const gbrun_command *c = gbrun_commands; c->name; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

int gbrun_unknown_command(const char *name)
{
    const char *names[sizeof gbrun_commands / sizeof gbrun_commands[0]] = {NULL};
    for (int i = 0; gbrun_commands[i].name; i++) names[i] = gbrun_commands[i].name;
    return gbrun_unknown("command", "", name, names);
}

int gbrun_not_yet(const char *name)
{
    fprintf(stderr, "gbrun %s: not in this version yet (ENOTYET)\n", name);
    return GBRUN_USAGE;
}

int gbrun_usage(FILE *to)
{
    fprintf(to, "usage: gbrun [FLAG...] FILE.lua [ARG...]\n"
                "       gbrun COMMAND ...     (");
    for (const gbrun_command *c = gbrun_commands; c->run; c++)
        fprintf(to, "%s%s", c->name, c[1].run ? " " : ")\n");
    fprintf(to, "       gbrun --help\n");
    return GBRUN_USAGE;
}

static void print_settings(void)
{
    printf("\nflags and settings (a flag is stronger than its variable, the variable than the "
           "file,\nwhere GB_CALL_TIMEOUT is call_timeout):\n");
    for (int i = 0; i < GBRUN_SETTINGS; i++) {
        const gbrun_setting *s = &gbrun_settings[i];
        char flag[64], env[64];
        snprintf(flag, sizeof flag, "%s%s%s%s", *s->flag ? "--" : "", s->flag, s->value ? " " : "",
                 s->value ? s->value : "");
        gbrun_setting_env(s, env, sizeof env);
        printf("  %-23s %-19s %s (default: %s)\n", flag, env, s->help, s->fallback);
    }
    printf("  %-23s %-19s %s\n", "--config FILE", "GB_CONFIG",
           "a Lua file that returns a table (default: gpubridge.lua here)");
}

int gbrun_help_all(void)
{
    printf("gbrun runs Lua scripts with grains (virtual actors) and CUDA C++ kernels.\n\n"
           "  gbrun [FLAG...] FILE.lua [ARG...]\n");
    for (const gbrun_command *c = gbrun_commands; c->run; c++)
        printf("  gbrun %-10s %s\n", c->name, c->help);
    printf("\nnot in this version yet:");
    for (const gbrun_command *c = gbrun_commands; c->name; c++)
        if (!c->run) printf(" %s", c->name);
    printf("\n");
    print_settings();
    return 0;
}

int gbrun_help(gbrun_options *options)
{
    const char *name = options->file;
    if (gbrun_given(options, "--help") && options->command &&
        strcmp(options->command->name, "help") != 0)
        name = options->command->name;
    if (!name) return gbrun_help_all();
    const gbrun_command *command = gbrun_command_find(name);
    if (!command) return gbrun_unknown_command(name);
    if (!command->run) return gbrun_not_yet(name);
    printf("usage: gbrun %s\n%s\n", command->usage, command->help);
    for (const gbrun_flag *f = command->flags; f->name; f++) {
        char text[64];
        snprintf(text, sizeof text, "%s%s%s", f->name, f->value && f->name[1] == '-' ? " " : "",
                 f->value ? f->value : "");
        printf("  %-22s %s\n", text, f->help);
    }
    printf("the flags of all commands: gbrun --help\n");
    return 0;
}

/* ---- config ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "path \1 origin \1 value" lines, sorted. */
static void print_app(char *text)
{
    size_t count = 0;
    for (char *c = text; *c; c++) count += *c == '\n';
    char **lines = calloc(count + 1, sizeof *lines);
    if (!lines) return;
    size_t at = 0;
    for (char *line = strtok_r(text, "\n", &text); line; line = strtok_r(NULL, "\n", &text))
        lines[at++] = line;
    qsort(lines, at, sizeof *lines, by_text);
    for (size_t i = 0; i < at; i++) {
        char *rest = lines[i], *path = strsep(&rest, "\x01"), *origin = strsep(&rest, "\x01");
        printf("%-16s = %-28s %s\n", path, rest, origin);
    }
    free(lines);
}

int gbrun_config(gbrun_options *options)
{
    for (int i = 0; i < GBRUN_SETTINGS; i++) {
        const char *value = options->value[i] ? options->value[i] : gbrun_settings[i].fallback;
        if (options->value[i] && gbrun_settings[i].type == GBRUN_SECRET) value = "(secret)";
        printf("%-16s = %-28s %s\n", gbrun_settings[i].name, value,
               options->origin[i] ? options->origin[i] : "default");
    }
    char *lines = strdup(options->app_lines.size ? gb_buf_text(&options->app_lines) : "");
    if (lines) print_app(lines);
    free(lines);
    return 0;
}
