/* All settings: what they are called, and how their text becomes a field of the options. */
#include "gbrun/gbrun.h"

#include "base/err.h"
#include "base/nearest.h"
#include "base/unit.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(gbrun_options, field)

/* type, value, most */
#define INT(most) GBRUN_INT, "N", most
#define TEXT(value) GBRUN_TEXT, value, 0
#define SECRET GBRUN_SECRET, NULL, 0
#define DURATION GBRUN_DURATION, "TIME", 0
#define MICROS GBRUN_MICROS, "US", 0
#define BYTES GBRUN_BYTES, "SIZE", 0
#define POOL GBRUN_POOL, "SIZE", 0
#define TENANTS GBRUN_TENANTS, "NAME=SIZE,...", 0
#define LEVEL GBRUN_LEVEL, "LEVEL", 0
#define BOOL GBRUN_BOOL, "YES|NO", 0
#define SWITCH GBRUN_BOOL, NULL, 0
#define RATIO GBRUN_RATIO, "PART", 0
#define SEED GBRUN_SEED, "N", 0

const gbrun_setting gbrun_settings[] = {
    {"workers", "workers", INT(GB_WORKERS_MAX), AT(config.workers), "one per core",
     "worker threads"},
    {"app_dir", "app", TEXT("DIR"), AT(config.app_dir), "app beside the script",
     "folder of grain modules"},
    {"cache_dir", "cache", TEXT("DIR"), AT(config.cache_dir), "the user's cache folder",
     "compiled kernels"},
    {"cxx", "cxx", TEXT("PATH"), AT(config.compiler), "clang++, else g++",
     "C++ compiler for kernels on the CPU"},
    {"log_level", "log", LEVEL, AT(config.log_level), "info", "debug, info, warn, error or off"},
    {"spin_us", "spin", MICROS, AT(config.spin_us), "50",
     "microseconds that a worker spins before it sleeps"},
    {"call_timeout", "call-timeout", DURATION, AT(config.call_timeout_ms), "30s",
     "deadline of calls that name none"},
    {"stuck_after", "stuck-after", DURATION, AT(config.stuck_ms), "5s",
     "a turn that runs longer is reported"},
    {"drain", "drain", DURATION, AT(drain_ms), "30s",
     "how long what is queued at the end may take"},
    {"lua_memory", "lua-memory", BYTES, AT(config.lua_bytes_max), "no cap",
     "memory of each worker's Lua state"},
    {"max_message", "max-message", BYTES, AT(config.message_bytes_max), "64MB",
     "strings of one message, and all of one between silos; at most 1025MB"},
    {"kernel_threads", "kernel-threads", INT(1024), AT(config.kernel_threads), "one per core",
     "threads of the cpu device"},
    {"cpu_devices", "cpu-devices", INT(64), AT(config.cpu_devices), "1",
     "the CPU as several devices"},
    {"memory_pool", "memory-pool", POOL, AT(config.memory_pool_bytes),
     "1GB, at most a quarter of the device",
     "freed memory that each device keeps: a size, off, or driver (its own pool, on GPUs)"},
    {"owns_devices", "owns-devices", BOOL, AT(config.owns_devices), "yes",
     "reset a GPU that was lost: nothing else here uses it"},
    {"prefer_gpu", "prefer-gpu", BOOL, AT(config.prefer_gpu), "yes",
     "no: what names no device runs on the CPU"},
    {"max_devices", "max-devices", INT(64), AT(config.max_devices), "all",
     "so many GPUs are used, the first ones"},
    {"max_kernels", "max-kernels", INT(1000000), AT(config.max_kernels), "any number",
     "launches under way at once; more wait"},
    {"kernel_bound", "kernel-bound", DURATION, AT(config.kernel_bound_ms), "5m",
     "a kernel that runs longer is a runaway"},
    {"file_memory", "file-memory", BYTES, AT(config.file_bytes_max), "16MB",
     "pinned memory while a file is loaded or saved"},
    {"staged_files", "staged-files", SWITCH, AT(config.staged_files), "no",
     "files through host memory, never by GPUDirect Storage"},
    {"direct_folder", "direct-folder", TEXT("DIR"), AT(config.direct_folder), "all folders",
     "GPUDirect Storage only for files below it"},
    {"cpu_memory", "cpu-memory", BYTES, AT(config.cpu_bytes_max), "half of the machine's",
     "device memory of each cpu device"},
    {"tenants", "tenants", TENANTS, AT(config.tenants), "any tenant, without a cap",
     "the tenants that grains may name, and caps of device memory"},
    {"metrics", "metrics", BOOL, AT(config.metrics), "yes", "what is counted can be read"},
    {"tracing", "tracing", BOOL, AT(config.tracing), "yes",
     "calls and launches of sampled traces leave spans"},
    {"sampling_rate", "sampling-rate", RATIO, AT(config.sampling_rate), "0.1",
     "the part of new traces that is sampled, 0 to 1"},
    {"profiling", "profiling", SWITCH, AT(config.profiling), "no",
     "notes what launches take, by kernel"},
    {"sanitize", "sanitize", SWITCH, AT(config.sanitize), "no",
     "kernels on the CPU under ASan and UBSan"},
    {"virtual_time", "virtual-time", SWITCH, AT(config.virtual_time), "no",
     "time moves only when nothing is left to do"},
    {"cluster", "cluster", TEXT("URL"), AT(config.cluster), "none",
     "the membership table: redis://, postgres://, etcd://, sqlite:FILE"},
    {"cluster_name", "cluster-name", TEXT("NAME"), AT(config.cluster_name), "gpubridge",
     "several clusters may share one table"},
    {"silo_name", "name", TEXT("NAME"), AT(config.silo_name), "its address",
     "of this silo, unique in its cluster"},
    {"listen", "listen", TEXT("HOST:PORT"), AT(config.listen), "127.0.0.1:0",
     "where other silos and clients connect; port 0: any free one"},
    {"advertise", "advertise", TEXT("HOST:PORT"), AT(config.advertise), "as it listens",
     "how others reach this silo"},
    {"labels", "label", TEXT("K=V"), AT(config.labels), "none",
     "what grains may ask of a silo: zone=a,role=gpu"},
    {"cluster_open", "cluster-open", SWITCH, AT(config.cluster_open), "no",
     "more than the loopback without TLS: the network is yours"},
    {"tls_ca", "ca", TEXT("FILE"), AT(config.tls_ca), "none: no TLS",
     "PEM: who has signed the certificates that are believed"},
    {"tls_cert", "cert", TEXT("FILE"), AT(config.tls_cert), "none",
     "PEM: the certificate of this silo or client"},
    {"tls_key", "key", TEXT("FILE"), AT(config.tls_key), "none", "PEM: its key"},
    {"cluster_key", "", SECRET, AT(config.cluster_key), "none",
     "what the silos of a cluster have in common; no flag, others would see it"},
    {"cluster_key_file", "cluster-key-file", TEXT("FILE"), AT(config.cluster_key_file), "none",
     "the same, in a file of mode 0600"},
    {"tokens", "tokens", TEXT("FILE"), AT(config.tokens), "none: clients need none",
     "a silo's file of the tokens of clients (gbrun token)"},
    {"token_file", "token-file", TEXT("FILE"), AT(config.token_file), "none",
     "a client's own token"},
    {"connect", "connect", TEXT("HOST:PORT"), AT(config.connect), "none",
     "run as a client of these silos (several: with commas)"},
    {"pretend_gpus", "pretend-gpus", SWITCH, AT(config.pretend_gpus), "no",
     "cpu devices count as GPUs where grains are placed (tests, examples)"},
    {"seed", "seed", SEED, AT(config.seed), "1", "of virtual time's randomness"},
};

_Static_assert(sizeof gbrun_settings / sizeof gbrun_settings[0] == GBRUN_SETTINGS,
               "GBRUN_SETTINGS is the number of rows");

void gbrun_setting_env(const gbrun_setting *setting, char *out, size_t room)
{
    snprintf(out, room, "GB_%s", setting->name);
    for (char *c = out; *c; c++) *c = (char)toupper((unsigned char)*c);
}

const gbrun_setting *gbrun_setting_find(const char *name)
{
    for (int i = 0; i < GBRUN_SETTINGS; i++)
        if (strcmp(gbrun_settings[i].name, name) == 0) return &gbrun_settings[i];
    return NULL;
}

static const char *name_at(const void *list, int index)
{
    return ((const char *const *)list)[index];
}

int gbrun_unknown(const char *what, const char *prefix, const char *name, const char *const *names)
{
    int count = 0;
    while (names[count]) count++;
    const char *near = gb_nearest(name, name_at, names, count);
    fprintf(stderr, "gbrun: unknown %s '%s%s'", what, prefix, name);
    if (near) fprintf(stderr, "; did you mean '%s%s'?", prefix, near);
    fputs("\n", stderr);
    return GBRUN_USAGE;
}

/* ---- values ---- */

static bool parse_duration(const char *text, double *out_ms)
{
    static const gb_unit units[] = {{"", 1000},  {"s", 1000},   {"ms", 1}, {"us", 1e-3},
                                    {"m", 60e3}, {"h", 3600e3}, {NULL, 0}};
    return gb_unit_parse(text, units, out_ms);
}

bool gbrun_duration(const char *text, double *ms)
{
    return parse_duration(text, ms);
}

/* As memory_pool_bytes of the configuration, where 0 is the default. */
static bool parse_pool(const char *text, int64_t *out)
{
    if (strcmp(text, "driver") == 0) return *out = -2, true;
    if (strcmp(text, "off") != 0 && !gb_size_parse(text, out)) return false;
    if (strcmp(text, "off") == 0 || *out == 0) *out = -1;
    return true;
}

static bool parse_int(const gbrun_setting *setting, const char *text, int *out)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || number != floor(number) || number < 0 || number > setting->most)
        return false;
    *out = (int)number;
    return true;
}

static bool parse_bool(const char *text, int *out)
{
    static const char *const words[] = {"no", "yes", "false", "true", "0", "1", "off", "on"};
    for (int i = 0; i < 8; i++)
        if (strcmp(text, words[i]) == 0) return *out = i % 2, true;
    return false;
}

static bool parse_ratio(const char *text, double *out)
{
    static const gb_unit none[] = {{"", 1}, {NULL, 0}};
    return gb_unit_parse(text, none, out) && *out <= 1;
}

static bool parse_seed(const char *text, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 0);
    return end != text && !*end && *text != '-';
}

static bool parse(const gbrun_setting *setting, char *text, void *field)
{
    static const gb_unit micros[] = {{"", 1}, {"us", 1}, {NULL, 0}};
    switch (setting->type) {
    case GBRUN_INT:
        return parse_int(setting, text, field);
    case GBRUN_TEXT:
    case GBRUN_SECRET:
        return *(const char **)field = text, *text != 0;
    case GBRUN_TENANTS:
        return *(const char **)field = text, gb_tenants_check(text) == 0;
    case GBRUN_DURATION:
        return parse_duration(text, field);
    case GBRUN_MICROS:
        return gb_unit_parse(text, micros, field);
    case GBRUN_BYTES:
        return gb_size_parse(text, field);
    case GBRUN_POOL:
        return parse_pool(text, field);
    case GBRUN_LEVEL:
        return (*(int *)field = gb_log_parse(text)) >= 0;
    case GBRUN_RATIO:
        return parse_ratio(text, field);
    case GBRUN_BOOL:
        return parse_bool(text, field);
    case GBRUN_SEED:
        return parse_seed(text, field);
    }
    return false;
}

static void print_expected(const gbrun_setting *setting, const char *text)
{
    static const char *const expected[] = {
        [GBRUN_TEXT] = "a text that is not empty",
        [GBRUN_SECRET] = "a text that is not empty",
        [GBRUN_DURATION] = "a duration (seconds, or \"250ms\", \"10m\")",
        [GBRUN_MICROS] = "a number of microseconds",
        [GBRUN_BYTES] = "a size (bytes, or \"512MB\")",
        [GBRUN_POOL] = "a size (bytes, or \"512MB\"), off or driver",
        [GBRUN_LEVEL] = "debug, info, warn, error or off",
        [GBRUN_BOOL] = "yes or no",
        [GBRUN_RATIO] = "a number from 0 to 1",
        [GBRUN_SEED] = "a whole number"};
    if (setting->type == GBRUN_TENANTS)
        fprintf(stderr, "%s\n", gb_err_detail());
    else if (setting->type == GBRUN_INT)
        fprintf(stderr, "an integer from 0 to %d is wanted, not '%s'\n", setting->most, text);
    else
        fprintf(stderr, "%s is wanted, not '%s'\n", expected[setting->type], text);
}

int gbrun_setting_set(gbrun_options *options, const gbrun_setting *setting, const char *text,
                      const char *origin)
{
    ptrdiff_t index = setting - gbrun_settings;
    char *copy = strdup(text), *from = strdup(origin);
    if (!copy || !from || !parse(setting, copy, (char *)options + setting->offset)) {
        fprintf(stderr, "gbrun: %s: ", origin);
        if (strncmp(origin, "--", 2) != 0 && strncmp(origin, "GB_", 3) != 0)
            fprintf(stderr, "%s: ", setting->name);
        print_expected(setting, text);
        free(copy);
        free(from);
        return GBRUN_USAGE;
    }
    free(options->value[index]);
    free(options->origin[index]);
    options->value[index] = copy;
    options->origin[index] = from;
    return 0;
}
