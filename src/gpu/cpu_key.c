/* The part of the cache key that comes from the source: its text, and the text of every file it may
 * include, found by reading #include lines as ccache's direct mode does, without a preprocessor.
 * Conditions are ignored, so this reads too many files rather than too few. */
#include "gpu/cpu_wrap.h"

#include "base/err.h"
#include "gpu/image_cache.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

typedef struct {
    const gb_module_spec *spec;
    gb_buf *key, *files;
    bool *sure, portable;
    int rc;
} reader;

static void scan(reader *r, const char *text, size_t size, const char *folder, int depth);

static bool seen(const gb_buf *files, const char *path)
{
    for (size_t at = 0; at < files->size; at += strlen((const char *)files->data + at) + 1)
        if (strcmp((const char *)files->data + at, path) == 0) return true;
    return false;
}

static bool below(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || folder[size - 1] == '/');
}

/* Whether a resolved path lies in one of the named folders. */
static bool allowed(const reader *r, const char *path)
{
    char folder[PATH_MAX];
    for (int i = 0; r->spec->includes && r->spec->includes[i]; i++)
        if (realpath(r->spec->includes[i], folder) && below(path, folder)) return true;
    return false;
}

static void take_file(reader *r, const char *path, int depth)
{
    gb_buf text;
    char folder[PATH_MAX];
    if (seen(r->files, path)) return;
    if (depth > DEPTH_MAX) {
        *r->sure = false;
        return;
    }
    gb_buf_init(&text, r->key->mem);
    if (gb_image_file_read(path, &text) == 0) {
        r->rc = gb_buf_put(r->files, path, strlen(path) + 1);
        if (r->rc == 0)
            r->rc = gb_buf_printf(r->key, "file %s %zu\n", r->portable ? "" : path, text.size);
        if (r->rc == 0) r->rc = gb_buf_put(r->key, text.data, text.size);
        snprintf(folder, sizeof folder, "%s", path);
        *strrchr(folder, '/') = 0;
        if (r->rc == 0) scan(r, (const char *)text.data, text.size, folder, depth + 1);
    }
    gb_buf_fini(&text);
}

/* Looks where the compiler looks: beside the including file, then in the named folders. */
static void take_include(reader *r, const char *name, bool quoted, const char *folder, int depth)
{
    char path[PATH_MAX], real[PATH_MAX];
    if (*name == '/') {
        r->rc = gb_err_set(GB_ECOMPILE,
                           "%s: error: #include \"%s\": an absolute path; kernels "
                           "include from the named folders only",
                           r->spec->name ? r->spec->name : "kernel", name);
        return;
    }
    for (int i = -1; i < 0 || (r->spec->includes && r->spec->includes[i]); i++) {
        if (i < 0 && (!quoted || !folder)) continue;
        int size =
            snprintf(path, sizeof path, "%s/%s", i < 0 ? folder : r->spec->includes[i], name);
        if (size >= (int)sizeof path || !realpath(path, real)) continue;
        if (!allowed(r, real)) {
            r->rc = gb_err_set(GB_ECOMPILE,
                               "%s: error: #include \"%s\" leaves the named folders "
                               "(it is %s)",
                               r->spec->name ? r->spec->name : "kernel", name, real);
            return;
        }
        take_file(r, real, depth);
        return;
    }
    r->rc = gb_buf_printf(r->key, "missing %s\n", name);
}

static const char *skip_blank(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    return at;
}

static void take_line(reader *r, const char *at, const char *end, const char *folder, int depth)
{
    char name[PATH_MAX];
    if (memmem(at, (size_t)(end - at), "__has_include", 13)) *r->sure = false;
    at = skip_blank(at, end);
    if (at == end || *at != '#') return;
    at = skip_blank(at + 1, end);
    bool include = end - at > 7 && strncmp(at, "include", 7) == 0;
    if (!include) {
        if (end - at > 6 && strncmp(at, "import", 6) == 0) *r->sure = false;
        return;
    }
    at = skip_blank(at + 7, end);
    char close = at < end && *at == '"' ? '"' : at < end && *at == '<' ? '>' : 0;
    const char *stop = close ? memchr(at + 1, close, (size_t)(end - at - 1)) : NULL;
    if (!stop || stop - at >= PATH_MAX) {
        *r->sure = false; /* a macro, include_next, or an error */
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)(stop - at - 1), at + 1);
    take_include(r, name, close == '"', folder, depth);
}

static void scan(reader *r, const char *text, size_t size, const char *folder, int depth)
{
    const char *at = text, *end = text + size;
    while (at < end && r->rc == 0) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        if (!line) line = end;
        take_line(r, at, line, folder, depth);
        at = line + (line < end);
    }
}

int gbi_key_source(const gb_module_spec *spec, gb_buf *key, gb_buf *files, bool *sure,
                   bool portable)
{
    reader r = {spec, key, files, sure, portable, 0};
    *sure = true;
    r.rc = gb_buf_printf(key, "name %s source %zu\n", spec->name && !portable ? spec->name : "",
                         spec->source_bytes);
    if (r.rc == 0) r.rc = gb_buf_put(key, spec->source, spec->source_bytes);
    for (int i = 0; spec->options && spec->options[i] && r.rc == 0; i++)
        r.rc = gb_buf_printf(key, "\noption %s", spec->options[i]);
    for (int i = 0; spec->includes && spec->includes[i] && r.rc == 0 && !portable; i++)
        r.rc = gb_buf_printf(key, "\ninclude %s", spec->includes[i]);
    for (int i = 0; spec->instances && spec->instances[i] && r.rc == 0; i++)
        r.rc = gb_buf_printf(key, "\ninstance %s", spec->instances[i]);
    if (r.rc == 0) r.rc = gb_buf_put(key, "\n", 1);
    if (r.rc == 0) scan(&r, spec->source, spec->source_bytes, NULL, 0);
    return r.rc;
}
