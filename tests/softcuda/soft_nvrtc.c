/* NVRTC: the source goes into the image as it is. It is compiled here once, for its errors, and
 * again (out of the cache) when the driver loads the image. */
#include "soft.h"
#include "soft_image.h"

#include "base/err.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID_INPUT = 3, INVALID_PROGRAM = 4, NO_NAMES_YET = 8 };
enum { VARIABLE_MAX = 1 << 20 };

static const int archs[] = {75, 80, 86, 89, 90, 100};
enum { ARCHS = sizeof archs / sizeof archs[0] };

#define GB_DEVICE_LAYOUT "-DGB_DEVICE_LAYOUT=1"

typedef struct soft_program {
    soft_object object;
    soft_unit unit;
    char *expressions[SOFT_LIST_MAX];
    bool compiled, cubin;
    gb_buf log, image;
} soft_program;

static void destroy_program(soft_object *object)
{
    soft_program *program = (soft_program *)object;
    soft_unit_fini(&program->unit);
    for (int i = 0; program->expressions[i]; i++) free(program->expressions[i]);
    gb_buf_fini(&program->log);
    gb_buf_fini(&program->image);
}

/* Programs are used by one thread at a time, as NVRTC's are: only the handles need the lock. */
static gb_nvrtc_rc enter(int row, gb_nvrtc_program handle, soft_program **out)
{
    gb_nvrtc_rc rc = soft_injected(row);
    pthread_mutex_lock(&soft.lock);
    *out = rc ? NULL : soft_find(row, handle, SOFT_PROGRAM);
    pthread_mutex_unlock(&soft.lock);
    return rc ? rc : *out ? GB_NVRTC_SUCCESS : INVALID_PROGRAM;
}

/* ---- the library ---- */

gb_nvrtc_rc nvrtcVersion(int *major, int *minor)
{
    gb_nvrtc_rc rc = soft_injected(ROW_nvrtcVersion);
    *major = 12;
    *minor = 5;
    return rc;
}

const char *nvrtcGetErrorString(gb_nvrtc_rc rc)
{
    static const char *const names[] = {"NVRTC_SUCCESS",
                                        "NVRTC_ERROR_OUT_OF_MEMORY",
                                        "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
                                        "NVRTC_ERROR_INVALID_INPUT",
                                        "NVRTC_ERROR_INVALID_PROGRAM",
                                        "NVRTC_ERROR_INVALID_OPTION",
                                        "NVRTC_ERROR_COMPILATION",
                                        "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
                                        "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
                                        "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
                                        "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
                                        "NVRTC_ERROR_INTERNAL_ERROR"};
    soft_injected(ROW_nvrtcGetErrorString);
    return rc < sizeof names / sizeof names[0] ? names[rc] : "NVRTC_ERROR unknown";
}

gb_nvrtc_rc nvrtcGetNumSupportedArchs(int *out)
{
    gb_nvrtc_rc rc = soft_injected(ROW_nvrtcGetNumSupportedArchs);
    *out = rc ? 0 : ARCHS;
    return rc;
}

gb_nvrtc_rc nvrtcGetSupportedArchs(int *out)
{
    gb_nvrtc_rc rc = soft_injected(ROW_nvrtcGetSupportedArchs);
    if (rc == 0) memcpy(out, archs, sizeof archs);
    return rc;
}

/* ---- programs ---- */

/* The headers that come along must be those that the cpu's compiler has anyway, or nothing would
 * find them: others are refused, so that a test does not pass by accident. */
gb_nvrtc_rc nvrtcCreateProgram(gb_nvrtc_program *out, const char *source, const char *name,
                               int count, const char *const *texts, const char *const *names)
{
    gb_nvrtc_rc rc = soft_injected(ROW_nvrtcCreateProgram);
    if (rc) return rc;
    if (!source || count < 0 || (count > 0 && (!texts || !names))) return INVALID_INPUT;
    pthread_mutex_lock(&soft.lock);
    soft_program *program = soft_new(sizeof *program, SOFT_PROGRAM, NULL, destroy_program);
    pthread_mutex_unlock(&soft.lock);
    if (!program) return GB_NVRTC_OUT_OF_MEMORY;
    gb_buf_init(&program->log, &soft.mem);
    gb_buf_init(&program->image, &soft.mem);
    program->unit.source = strdup(source);
    program->unit.name = strdup(name ? name : "default_program");
    /* the kernels of gb.lib work on blocks of many threads here, as on every device */
    soft_unit_add(program->unit.options, GB_DEVICE_LAYOUT, sizeof GB_DEVICE_LAYOUT - 1);
    *out = soft_handle(&program->object);
    return GB_NVRTC_SUCCESS;
}

gb_nvrtc_rc nvrtcDestroyProgram(gb_nvrtc_program *handle)
{
    soft_program *program;
    gb_nvrtc_rc rc = enter(ROW_nvrtcDestroyProgram, *handle, &program);
    pthread_mutex_lock(&soft.lock);
    if (rc)
        soft_given_up(*handle, SOFT_PROGRAM);
    else
        soft_retire(&program->object);
    pthread_mutex_unlock(&soft.lock);
    if (rc == 0) *handle = NULL;
    return rc;
}

gb_nvrtc_rc nvrtcAddNameExpression(gb_nvrtc_program handle, const char *name)
{
    soft_program *program;
    gb_nvrtc_rc rc = enter(ROW_nvrtcAddNameExpression, handle, &program);
    if (rc) return rc;
    if (program->compiled) return NO_NAMES_YET;
    return soft_unit_add(program->expressions, name, strlen(name)) ? GB_NVRTC_SUCCESS
                                                                   : GB_NVRTC_OUT_OF_MEMORY;
}

/* The types of a function pointer's typedef in the source: "float *, int", for an overload that is
 * chosen by a cast to it. */
static bool types_of(const char *source, const char *type, size_t size, char *out, size_t room)
{
    char mark[256];
    snprintf(mark, sizeof mark, "(*%.*s)(", (int)size, type);
    const char *at = strstr(source, mark);
    if (!at) return false;
    at += strlen(mark);
    snprintf(out, room, "%.*s", (int)strcspn(at, ")"), at);
    return true;
}

/* "(::ns::type)&::ns::sum<float, 256>" is "ns::sum<float, 256>" in an image of the cpu backend. */
static void plain_expression(const char *source, const char *expression, char *out, size_t room)
{
    const char *at = strchr(expression, '&');
    at = at ? at + 1 : expression;
    while (*at == ' ') at++;
    if (strncmp(at, "::", 2) == 0) at += 2;
    snprintf(out, room, "%s", at);
    const char *close = strchr(expression, ')');
    if (*expression != '(' || !close || strchr(at, '<')) return;
    const char *type = close;
    while (type > expression && (isalnum((unsigned char)type[-1]) || type[-1] == '_')) type--;
    char types[512];
    if (types_of(source, type, (size_t)(close - type), types, sizeof types))
        snprintf(out, room, "%s(%s)", at, types);
}

/* A name that nobody can guess: not the source's, and other ones for other places of the list. */
static void lower(const char *expression, int index, char *out, size_t room)
{
    size_t at = (size_t)snprintf(out, room, "_Z%dSW", index);
    for (; *expression && at + 1 < room; expression++)
        out[at++] = isalnum((unsigned char)*expression) ? *expression : '_';
    out[at] = 0;
}

gb_nvrtc_rc nvrtcGetLoweredName(gb_nvrtc_program handle, const char *name, const char **out)
{
    soft_program *program;
    gb_nvrtc_rc rc = enter(ROW_nvrtcGetLoweredName, handle, &program);
    if (rc) return rc;
    for (int i = 0; program->compiled && program->expressions[i]; i++) {
        if (strcmp(program->expressions[i], name) != 0) continue;
        char *pair = program->unit.lowered[i]; /* cut here: the image has its own copy */
        pair[strcspn(pair, " ")] = 0;
        *out = pair;
        return GB_NVRTC_SUCCESS;
    }
    return program->compiled ? GB_NVRTC_BAD_NAME : 9;
}

/* ---- options ---- */

static const char *value_of(const char *option, const char *const *names)
{
    for (; *names; names++)
        if (strncmp(option, *names, strlen(*names)) == 0) return option + strlen(*names);
    return NULL;
}

static bool take_option(soft_program *program, const char *option)
{
    static const char *const arch[] = {"--gpu-architecture=", "-arch=", "-arch ", NULL};
    static const char *const include[] = {"--include-path=", "-I", NULL};
    static const char *const define[] = {"--define-macro=", "-D", NULL};
    static const char *const undefine[] = {"--undefine-macro=", "-U", NULL};
    static const char *const kept[] = {
        "-std=",           "--std=", "-use_fast_math", "--use_fast_math", "-maxrregcount=",
        "--maxrregcount=", NULL};
    static const char *const ignored[] = {"--ptxas-options=",
                                          "-lineinfo",
                                          "--generate-line-info",
                                          "-default-device",
                                          "--device-as-default-execution-space",
                                          "-w",
                                          "--disable-warnings",
                                          "--diag-",
                                          "-diag-",
                                          NULL};
    soft_unit *unit = &program->unit;
    char text[4096];
    const char *value = value_of(option, arch);
    if (value) {
        free(unit->arch);
        unit->arch = strdup(value);
        return unit->arch != NULL;
    }
    value = value_of(option, include);
    if (value) return soft_unit_add(unit->includes, value, strlen(value));
    value = value_of(option, define);
    if (!value) value = value_of(option, undefine);
    if (value) {
        snprintf(text, sizeof text, "-%c%s", value_of(option, define) ? 'D' : 'U', value);
        return soft_unit_add(unit->options, text, strlen(text));
    }
    if (value_of(option, kept)) return soft_unit_add(unit->options, option, strlen(option));
    return value_of(option, ignored) != NULL;
}

static bool arch_is_known(const soft_program *program)
{
    const char *arch = program->unit.arch;
    const char *digits = !arch                               ? ""
                         : strncmp(arch, "sm_", 3) == 0      ? arch + 3
                         : strncmp(arch, "compute_", 8) == 0 ? arch + 8
                                                             : "";
    for (int i = 0; i < ARCHS; i++)
        if (strtol(digits, NULL, 10) == archs[i]) return true;
    return false;
}

/* ---- compiling ---- */

/* "kernel.cu:3:7: error: x" is "kernel.cu(3): error: x" in NVRTC's words. */
static void put_log_line(gb_buf *log, const char *line, int size)
{
    for (int i = 1; i < size; i++) {
        int number = 0, column = 0, used = 0;
        if (line[i] != ':' || sscanf(line + i, ":%d:%d:%n", &number, &column, &used) != 2 || !used)
            continue;
        gb_buf_printf(log, "%.*s(%d):%.*s\n", i, line, number, size - i - used, line + i + used);
        return;
    }
    gb_buf_printf(log, "%.*s\n", size, line);
}

static void put_log(soft_program *program, const char *text)
{
    program->log.size = 0;
    while (text && *text) {
        int size = (int)strcspn(text, "\n");
        put_log_line(&program->log, text, size);
        text += size + (text[size] == '\n');
    }
}

static bool add_names(soft_program *program)
{
    char plain[1024], lowered[1024], pair[2200];
    for (int i = 0; program->expressions[i]; i++) {
        plain_expression(program->unit.source, program->expressions[i], plain, sizeof plain);
        lower(program->expressions[i], i, lowered, sizeof lowered);
        snprintf(pair, sizeof pair, "%s %s", lowered, plain);
        if (!soft_unit_add(program->unit.lowered, pair, strlen(pair))) return false;
        if (strchr(plain, '<') && !soft_unit_add(program->unit.instances, plain, strlen(plain)))
            return false;
    }
    return true;
}

/* A name expression has to name something. */
static bool names_are_there(const soft_program *program, const gb_cpu_image *image)
{
    for (int i = 0; program->unit.lowered[i]; i++) {
        const char *plain = strchr(program->unit.lowered[i], ' ') + 1;
        bool there = false;
        for (int k = 0; k < image->kernel_count && !there; k++)
            there = strcmp(image->kernels[k].name, plain) == 0;
        for (int k = 0; k < image->global_count && !there; k++)
            there = strcmp(image->globals[k].name, plain) == 0;
        if (!there) return false;
    }
    return true;
}

static void put_variables(soft_program *program, const gb_cpu_image *image)
{
    gb_buf *out = &program->image;
    for (int i = 0; i < image->global_count; i++) {
        const gb_cpu_global *global = &image->globals[i];
        const unsigned char *bytes = global->address;
        if (strchr(global->name, ':') || global->bytes > VARIABLE_MAX) continue;
        gb_buf_printf(out, ".global .align 16 .b8 %s[%llu] = {", global->name,
                      (unsigned long long)global->bytes);
        for (uint64_t k = 0; k < global->bytes; k++)
            gb_buf_printf(out, "%s%u", k ? ", " : "", bytes[k]);
        gb_buf_printf(out, "};\n");
    }
}

static gb_nvrtc_rc compile(soft_program *program)
{
    gb_cpu_object *object = NULL;
    char *text = NULL;
    int rc = soft_unit_compile(&program->unit, &object, &text);
    put_log(program, rc < 0 ? text : gb_cpu_object_log(object));
    free(text);
    if (rc < 0) return rc == GB_ENOMEM ? GB_NVRTC_OUT_OF_MEMORY : GB_NVRTC_COMPILATION;
    const gb_cpu_image *image = gb_cpu_object_image(object);
    bool named = names_are_there(program, image);
    if (named) {
        gb_buf_put(&program->image, SOFT_IMAGE_MAGIC, sizeof SOFT_IMAGE_MAGIC - 1);
        put_variables(program, image);
        soft_unit_put(&program->unit, &program->image);
        gb_buf_put(&program->image, "", 1); /* PTX ends with a NUL */
    }
    gb_cpu_object_close(object);
    if (!named) gb_buf_printf(&program->log, "error: a name expression names nothing\n");
    program->compiled = named;
    program->cubin = program->unit.arch[0] == 's';
    return named ? GB_NVRTC_SUCCESS : GB_NVRTC_COMPILATION;
}

gb_nvrtc_rc nvrtcCompileProgram(gb_nvrtc_program handle, int count, const char *const *options)
{
    soft_program *program;
    gb_nvrtc_rc rc = enter(ROW_nvrtcCompileProgram, handle, &program);
    if (rc) return rc;
    for (int i = 0; i < count; i++)
        if (!take_option(program, options[i])) {
            gb_buf_printf(&program->log, "nvrtc: error: unrecognized option %s\n", options[i]);
            return GB_NVRTC_INVALID_OPTION;
        }
    if (!program->unit.arch) program->unit.arch = strdup("compute_75");
    if (!arch_is_known(program)) {
        gb_buf_printf(&program->log, "nvrtc: error: invalid value for --gpu-architecture\n");
        return GB_NVRTC_INVALID_OPTION;
    }
    return add_names(program) ? compile(program) : GB_NVRTC_OUT_OF_MEMORY;
}

/* ---- results ---- */

static gb_nvrtc_rc size_of(int row, gb_nvrtc_program handle, size_t *out)
{
    soft_program *program;
    gb_nvrtc_rc rc = enter(row, handle, &program);
    if (rc) return rc;
    bool wanted = program->compiled && program->cubin == (row == ROW_nvrtcGetCUBINSize);
    *out = row == ROW_nvrtcGetProgramLogSize ? program->log.size + 1
           : wanted                          ? program->image.size
                                             : 0;
    return GB_NVRTC_SUCCESS;
}

static gb_nvrtc_rc bytes_of(int row, gb_nvrtc_program handle, char *out)
{
    soft_program *program;
    gb_nvrtc_rc rc = enter(row, handle, &program);
    if (rc) return rc;
    if (row == ROW_nvrtcGetProgramLog) {
        memcpy(out, gb_buf_text(&program->log), program->log.size + 1);
        return GB_NVRTC_SUCCESS;
    }
    if (!program->compiled || program->cubin != (row == ROW_nvrtcGetCUBIN)) return INVALID_PROGRAM;
    memcpy(out, program->image.data, program->image.size);
    return GB_NVRTC_SUCCESS;
}

gb_nvrtc_rc nvrtcGetProgramLogSize(gb_nvrtc_program program, size_t *out)
{
    return size_of(ROW_nvrtcGetProgramLogSize, program, out);
}

gb_nvrtc_rc nvrtcGetProgramLog(gb_nvrtc_program program, char *out)
{
    return bytes_of(ROW_nvrtcGetProgramLog, program, out);
}

gb_nvrtc_rc nvrtcGetPTXSize(gb_nvrtc_program program, size_t *out)
{
    return size_of(ROW_nvrtcGetPTXSize, program, out);
}

gb_nvrtc_rc nvrtcGetPTX(gb_nvrtc_program program, char *out)
{
    return bytes_of(ROW_nvrtcGetPTX, program, out);
}

gb_nvrtc_rc nvrtcGetCUBINSize(gb_nvrtc_program program, size_t *out)
{
    return size_of(ROW_nvrtcGetCUBINSize, program, out);
}

gb_nvrtc_rc nvrtcGetCUBIN(gb_nvrtc_program program, char *out)
{
    return bytes_of(ROW_nvrtcGetCUBIN, program, out);
}
