/* The command line: flags over environment over configuration file over defaults. */
#include "gbrun/gbrun.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void gbrun_options_init(gbrun_options *options, char **argv)
{
    memset(options, 0, sizeof *options);
    gb_config_init(&options->config, sizeof options->config);
    options->config.seed = 1;
    options->config.owns_devices = 1;
    options->drain_ms = 30000;
    options->argv_all = argv;
    gb_mem_init(&options->mem, "gbrun", NULL, 0);
    gb_buf_init(&options->lua_config, &options->mem);
    gb_buf_init(&options->app_lines, &options->mem);
}

void gbrun_options_fini(gbrun_options *options)
{
    for (int i = 0; i < GBRUN_SETTINGS; i++) {
        free(options->value[i]);
        free(options->origin[i]);
    }
    gb_buf_fini(&options->lua_config);
    gb_buf_fini(&options->app_lines);
    gb_mem_fini(&options->mem);
}

const char *gbrun_given(const gbrun_options *options, const char *flag)
{
    for (int i = options->given_count - 1; i >= 0; i--)
        if (strcmp(options->given[i].flag, flag) == 0)
            return options->given[i].value ? options->given[i].value : "";
    return NULL;
}

/* ---- flags ---- */

typedef struct line {
    gbrun_options *options;
    int at, argc;
    char **argv;
    struct {
        const gbrun_setting *setting;
        const char *text;
    } set[GBRUN_GIVEN_MAX]; /* applied last: they are the strongest */
    int set_count;
} line;

static int unknown_flag(line *l, const char *name)
{
    const char *names[GBRUN_SETTINGS + 16];
    int count = 0;
    for (int i = 0; i < GBRUN_SETTINGS; i++)
        if (*gbrun_settings[i].flag) names[count++] = gbrun_settings[i].flag;
    const gbrun_command *command = l->options->command;
    for (int i = 0; command && command->flags[i].name; i++)
        if (strncmp(command->flags[i].name, "--", 2) == 0)
            names[count++] = command->flags[i].name + 2;
    names[count++] = "config";
    names[count++] = "help";
    names[count++] = "version";
    names[count] = NULL;
    return gbrun_unknown("flag", "--", name, names);
}

/* The value of a flag: behind its =, or the next argument. NULL: there is none, which is printed.
 */
static const char *value_of(line *l, const char *flag, const char *behind)
{
    if (behind) return behind;
    if (l->at + 1 < l->argc) return l->argv[++l->at];
    fprintf(stderr, "gbrun: %s needs a value\n", flag);
    return NULL;
}

static int give(line *l, const char *flag, const char *value)
{
    gbrun_options *options = l->options;
    if (options->given_count == GBRUN_GIVEN_MAX) {
        fprintf(stderr, "gbrun: more than %d flags\n", GBRUN_GIVEN_MAX);
        return GBRUN_USAGE;
    }
    options->given[options->given_count].flag = flag;
    options->given[options->given_count++].value = value;
    return 0;
}

/* A flag of the subcommand: 1 when it is one, 0 when not, negative when it is wrong. */
static int own_flag(line *l, const char *text, const char *behind, size_t size)
{
    const gbrun_command *command = l->options->command;
    for (const gbrun_flag *flag = command ? command->flags : NULL; flag && flag->name; flag++) {
        bool is_short = flag->name[1] != '-'; /* -DNAME: the value is glued to it */
        if (is_short && strncmp(text, flag->name, 2) == 0)
            return give(l, flag->name, text) ? -1 : 1;
        if (is_short || strlen(flag->name) != size || strncmp(text, flag->name, size) != 0)
            continue;
        const char *value = flag->value ? value_of(l, flag->name, behind) : NULL;
        if (flag->value && !value) return -1;
        return give(l, flag->name, value) ? -1 : 1;
    }
    return 0;
}

static int setting_flag(line *l, const gbrun_setting *setting, const char *text, const char *behind)
{
    const char *value = setting->value ? value_of(l, text, behind) : behind ? behind : "yes";
    if (!value || l->set_count == GBRUN_GIVEN_MAX) return GBRUN_USAGE;
    l->set[l->set_count].setting = setting;
    l->set[l->set_count++].text = value;
    return 0;
}

static int flag(line *l)
{
    const char *text = l->argv[l->at], *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : strlen(text);
    const char *behind = equals ? equals + 1 : NULL;
    int own = own_flag(l, text, behind, size);
    if (own) return own < 0 ? GBRUN_USAGE : 0;
    if (text[1] != '-') {
        fprintf(stderr, "gbrun: unknown flag '%s'\n", text);
        return GBRUN_USAGE;
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)size - 2, text + 2);
    if (strcmp(name, "config") == 0) {
        l->options->config_asked = value_of(l, "--config", behind);
        return l->options->config_asked ? 0 : GBRUN_USAGE;
    }
    for (int i = 0; i < GBRUN_SETTINGS; i++)
        if (*name && strcmp(gbrun_settings[i].flag, name) == 0)
            return setting_flag(l, &gbrun_settings[i], text, behind);
    static const char *const later[] = {"admin", "devices", NULL};
    for (int i = 0; later[i]; i++)
        if (strcmp(later[i], name) == 0) return gbrun_not_yet(text);
    return unknown_flag(l, name);
}

static bool is_file(const char *text)
{
    struct stat st;
    size_t size = strlen(text);
    return strchr(text, '/') || (size > 4 && strcmp(text + size - 4, ".lua") == 0) ||
           stat(text, &st) == 0;
}

/* The first word that is no flag: a subcommand or a script. */
static int first_word(line *l, const char *text)
{
    gbrun_options *options = l->options;
    options->command = gbrun_command_find(text);
    if (options->command) return options->command->run ? 0 : gbrun_not_yet(text);
    if (is_file(text)) {
        options->file = text;
        return 0;
    }
    return gbrun_unknown_command(text);
}

static int walk(line *l)
{
    gbrun_options *options = l->options;
    bool flags = true;
    for (; l->at < l->argc; l->at++) {
        char *text = l->argv[l->at];
        int code = 0;
        if (flags && strcmp(text, "--") == 0) {
            flags = false;
        } else if (flags && (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0)) {
            code = give(l, "--help", NULL);
        } else if (flags && !options->command &&
                   (strcmp(text, "--version") == 0 || strcmp(text, "-v") == 0)) {
            options->command = gbrun_command_find("version");
        } else if (flags && text[0] == '-' && text[1] && !isdigit((unsigned char)text[1])) {
            code = flag(l);
        } else if (!options->command) {
            code = first_word(l, text);
            if (code == 0 && options->file) { /* the rest is the script's */
                options->argc = l->argc - l->at - 1;
                options->argv = l->argv + l->at + 1;
                return 0;
            }
        } else if (!options->file) {
            options->file = text;
        } else {
            if (options->argc < GBRUN_REST_MAX) options->rest[options->argc] = text;
            options->argc++; /* too many are refused by their count */
            options->argv = options->rest;
        }
        if (code) return code;
    }
    return 0;
}

/* ---- all of it ---- */

static int read_environment(gbrun_options *options)
{
    for (int i = 0; i < GBRUN_SETTINGS; i++) {
        char name[64];
        gbrun_setting_env(&gbrun_settings[i], name, sizeof name);
        const char *text = getenv(name);
        if (!text || !*text) continue;
        int code = gbrun_setting_set(options, &gbrun_settings[i], text, name);
        if (code) return code;
    }
    return 0;
}

static int read_file(gbrun_options *options)
{
    const char *asked = options->config_asked;
    if (!asked && getenv("GB_CONFIG") && *getenv("GB_CONFIG")) asked = getenv("GB_CONFIG");
    if (asked) return gbrun_config_read(options, asked);
    return access("gpubridge.lua", F_OK) == 0 ? gbrun_config_read(options, "gpubridge.lua") : 0;
}

static int check_arguments(const gbrun_options *options)
{
    const gbrun_command *command = options->command;
    if (!command || gbrun_given(options, "--help")) return 0;
    int count = options->file ? 1 + options->argc : 0;
    if (count >= command->arguments_min && count <= command->arguments_max) return 0;
    fprintf(stderr, "usage: gbrun %s\n", command->usage);
    return GBRUN_USAGE;
}

/* In the environment or in a file it may stand for all programs of a project. */
static int check_cluster(const line *l)
{
    const gbrun_command *command = l->options->command;
    if (command && (strcmp(command->name, "silo") == 0 || strcmp(command->name, "config") == 0))
        return 0;
    for (int i = 0; i < l->set_count; i++) {
        if (strcmp(l->set[i].setting->name, "cluster") != 0) continue;
        fprintf(stderr, "gbrun: --cluster is for gbrun silo; --connect HOST:PORT makes a client\n");
        return GBRUN_USAGE;
    }
    return 0;
}

int gbrun_options_read(gbrun_options *options, int argc, char **argv)
{
    line l = {.options = options, .at = 1, .argc = argc, .argv = argv};
    int code = walk(&l);
    if (code == 0) code = check_arguments(options);
    if (code == 0) code = check_cluster(&l);
    if (code == 0) code = read_file(options);
    if (code == 0) code = read_environment(options);
    for (int i = 0; i < l.set_count && code == 0; i++) {
        char origin[72];
        snprintf(origin, sizeof origin, "--%s", l.set[i].setting->flag);
        code = gbrun_setting_set(options, l.set[i].setting, l.set[i].text, origin);
    }
    if (code == 0 && options->lua_config.size)
        options->config.lua_config = gb_buf_text(&options->lua_config);
    return code;
}
