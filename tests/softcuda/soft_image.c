#include "soft_image.h"

#include "soft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 32 };

static char **list_of(soft_unit *unit, const char *key)
{
    if (strcmp(key, "option") == 0) return unit->options;
    if (strcmp(key, "include") == 0) return unit->includes;
    if (strcmp(key, "instance") == 0) return unit->instances;
    return strcmp(key, "lowered") == 0 ? unit->lowered : NULL;
}

static char **text_of(soft_unit *unit, const char *key)
{
    if (strcmp(key, "arch") == 0) return &unit->arch;
    if (strcmp(key, "name") == 0) return &unit->name;
    return strcmp(key, "source") == 0 ? &unit->source : NULL;
}

void soft_unit_fini(soft_unit *unit)
{
    char **lists[] = {unit->options, unit->includes, unit->instances, unit->lowered};
    for (int i = 0; i < 4; i++)
        for (int k = 0; lists[i][k]; k++) free(lists[i][k]);
    free(unit->arch);
    free(unit->name);
    free(unit->source);
    memset(unit, 0, sizeof *unit);
}

bool soft_unit_add(char **list, const char *text, size_t size)
{
    int count = 0;
    while (list[count]) count++;
    if (count == SOFT_LIST_MAX - 1) return false;
    list[count] = strndup(text, size);
    return list[count] != NULL;
}

static int put(gb_buf *out, const char *key, const char *text)
{
    int rc = gb_buf_printf(out, "%s %zu\n", key, strlen(text));
    if (rc == 0) rc = gb_buf_put(out, text, strlen(text));
    return rc < 0 ? rc : gb_buf_put(out, "\n", 1);
}

int soft_unit_put(const soft_unit *unit, gb_buf *out)
{
    static const char *const keys[] = {"arch",    "name",     "source", "option",
                                       "include", "instance", "lowered"};
    int rc = 0;
    soft_unit *at = (soft_unit *)unit; /* it is only read */
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && rc == 0; i++) {
        char **list = list_of(at, keys[i]);
        if (!list) rc = put(out, keys[i], *text_of(at, keys[i]));
        for (int k = 0; list && list[k] && rc == 0; k++) rc = put(out, keys[i], list[k]);
    }
    return rc < 0 ? rc : put(out, "end", "");
}

/* Reads no further than what is there: an image that is none stops at its first wrong byte. */
bool soft_unit_read(soft_unit *unit, const char *bytes)
{
    char key[KEY_MAX];
    memset(unit, 0, sizeof *unit);
    if (strncmp(bytes, SOFT_IMAGE_MAGIC, sizeof SOFT_IMAGE_MAGIC - 1) != 0) return false;
    const char *at = bytes + sizeof SOFT_IMAGE_MAGIC - 1;
    while (*at == '.') at = strchr(at, '\n') + 1;
    for (;;) {
        size_t size = 0;
        int head = 0;
        if (sscanf(at, "%31s %zu%n", key, &size, &head) != 2 || at[head] != '\n') break;
        if (strcmp(key, "end") == 0) return unit->arch && unit->name && unit->source;
        at += head + 1;
        char **list = list_of(unit, key), **text = text_of(unit, key);
        if (text && !*text)
            *text = strndup(at, size);
        else if (!list || !soft_unit_add(list, at, size))
            break;
        at += size + 1;
    }
    soft_unit_fini(unit);
    return false;
}

int soft_unit_compile(const soft_unit *unit, gb_cpu_object **out, char **text)
{
    gb_cpu_compile_config config = {.mem = &soft.mem, .cache_dir = getenv("GB_SOFTCUDA_CACHE")};
    gb_module_spec spec = {.name = unit->name,
                           .source = unit->source,
                           .source_bytes = strlen(unit->source),
                           .options = (const char *const *)unit->options,
                           .includes = (const char *const *)unit->includes,
                           .instances = (const char *const *)unit->instances};
    return gb_cpu_compile(&config, &spec, out, text);
}

/* A cubin runs on its own architecture, PTX on that and later ones. */
static bool runs_here(const char *arch)
{
    if (strncmp(arch, "sm_", 3) == 0) return strtol(arch + 3, NULL, 10) == soft.arch;
    return strncmp(arch, "compute_", 8) == 0 && strtol(arch + 8, NULL, 10) <= soft.arch;
}

static char *join_names(const soft_unit *unit)
{
    gb_buf all;
    gb_buf_init(&all, &soft.mem);
    for (int i = 0; unit->lowered[i]; i++) gb_buf_printf(&all, "%s\n", unit->lowered[i]);
    char *joined = strdup(gb_buf_text(&all));
    gb_buf_fini(&all);
    return joined;
}

gb_cu_result soft_image_load(soft_image *out, const void *bytes, char **text)
{
    soft_unit *unit = calloc(1, sizeof *unit);
    *text = NULL;
    if (!unit) return GB_CU_OUT_OF_MEMORY;
    gb_cu_result rc = soft_unit_read(unit, bytes) ? GB_CU_SUCCESS : GB_CU_INVALID_IMAGE;
    if (rc == 0 && !runs_here(unit->arch)) rc = GB_CU_NO_BINARY;
    if (rc == 0 && soft_unit_compile(unit, &out->code, text) < 0) rc = GB_CU_INVALID_PTX;
    if (rc == 0) {
        out->names = join_names(unit);
        out->plain_names = strstr(unit->source, "extern \"C\"") != NULL;
    }
    soft_unit_fini(unit);
    free(unit);
    return rc;
}
