#include "gpu/cuda_names.h"

#include "base/embed.h"
#include "base/err.h"
#include "gpu/image_cache.h"
#include "gpu/source.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32 };

/* ---- life ---- */

void gbi_cuda_names_init(gbi_cuda_names *names, gb_mem *mem)
{
    *names = (gbi_cuda_names){.mem = mem};
}

static void fini_name(gb_mem *mem, gbi_cuda_name *name)
{
    char *texts[] = {name->shown, name->declare, name->type, name->expression, name->lowered};
    for (int i = 0; i < 5; i++)
        if (texts[i]) gb_mem_strfree(mem, texts[i]);
    for (int i = 0; i < name->part_count; i++)
        if (name->parts[i]) gb_mem_strfree(mem, name->parts[i]);
    gb_mem_free(mem, name->parts, (size_t)name->part_count * sizeof name->parts[0]);
}

void gbi_cuda_names_fini(gbi_cuda_names *names)
{
    for (int i = 0; i < names->count; i++) fini_name(names->mem, &names->at[i]);
    gb_mem_free(names->mem, names->at, (size_t)names->room * sizeof names->at[0]);
    gbi_cuda_names_init(names, names->mem);
}

int gbi_cuda_name_set(gbi_cuda_names *names, char **where, const char *text)
{
    char *copy = gb_mem_strdup(names->mem, text);
    if (!copy) return GB_ENOMEM;
    if (*where) gb_mem_strfree(names->mem, *where);
    *where = copy;
    return 0;
}

/* A new one at the end, with empty texts and unnamed parts. NULL: out of memory. */
static gbi_cuda_name *add(gbi_cuda_names *names, gbi_name_kind kind, int parts)
{
    if (names->count == names->room) {
        int room = names->room ? names->room * 2 : 16;
        gbi_cuda_name *wider = gb_mem_zalloc(names->mem, (size_t)room * sizeof *wider);
        if (!wider) return NULL;
        if (names->count) memcpy(wider, names->at, (size_t)names->count * sizeof *wider);
        gb_mem_free(names->mem, names->at, (size_t)names->room * sizeof *wider);
        names->at = wider;
        names->room = room;
    }
    gbi_cuda_name *name = &names->at[names->count];
    memset(name, 0, sizeof *name);
    name->kind = kind;
    name->parts = gb_mem_zalloc(names->mem, (size_t)parts * sizeof name->parts[0]);
    if (!name->parts) return NULL;
    name->part_count = parts;
    names->count++;
    char **texts[] = {&name->shown, &name->declare, &name->type, &name->expression, &name->lowered};
    for (int i = 0; i < 5; i++)
        if (gbi_cuda_name_set(names, texts[i], "") < 0) return NULL;
    return name;
}

/* ---- the text that is read: without directives, with what it includes ---- */

typedef struct inliner {
    const gb_module_spec *spec;
    gb_buf *out;
    gb_buf seen; /* names with NULs */
} inliner;

static void put_text(inliner *in, const char *text, size_t size, int depth);

static bool seen(inliner *in, const char *name)
{
    const char *all = (const char *)in->seen.data;
    for (size_t at = 0; at < in->seen.size; at += strlen(all + at) + 1)
        if (strcmp(all + at, name) == 0) return true;
    gb_buf_put(&in->seen, name, strlen(name) + 1);
    return false;
}

static void put_include(inliner *in, const char *name, int depth)
{
    char path[PATH_MAX];
    if (depth > DEPTH_MAX || *name == '/' || strstr(name, "..") || seen(in, name)) return;
    for (const gb_embedded *file = gb_embedded_headers; file->name; file++)
        if (strncmp(file->name, "all.", 4) == 0 && strcmp(file->name + 4, name) == 0) {
            put_text(in, file->bytes, file->size, depth + 1);
            return;
        }
    for (int i = 0; in->spec->includes && in->spec->includes[i]; i++) {
        gb_buf text;
        gb_buf_init(&text, in->out->mem);
        snprintf(path, sizeof path, "%s/%s", in->spec->includes[i], name);
        bool there = gb_image_file_read(path, &text) == 0;
        if (there) put_text(in, (const char *)text.data, text.size, depth + 1);
        gb_buf_fini(&text);
        if (there) return;
    }
}

static void put_directive(inliner *in, const char *at, const char *end, int depth)
{
    char name[512];
    while (at < end && (isspace((unsigned char)*at) || *at == '#')) at++;
    if (end - at < 9 || strncmp(at, "include", 7) != 0) return;
    for (at += 7; at < end && isspace((unsigned char)*at); at++) {
    }
    const char *close =
        at < end ? memchr(at + 1, *at == '<' ? '>' : '"', (size_t)(end - at - 1)) : NULL;
    if (!close || (*at != '<' && *at != '"') || close - at >= (long)sizeof name) return;
    snprintf(name, sizeof name, "%.*s", (int)(close - at - 1), at + 1);
    put_include(in, name, depth);
}

static void put_text(inliner *in, const char *text, size_t size, int depth)
{
    const char *at = text, *end = text + size;
    while (at < end) {
        const char *line = at, *first = at;
        while (first < end && (*first == ' ' || *first == '\t')) first++;
        bool directive = first < end && *first == '#';
        do { /* a directive goes on behind a backslash */
            at = memchr(at, '\n', (size_t)(end - at));
            at = at ? at + 1 : end;
        } while (directive && at < end && at - line >= 2 && at[-2] == '\\');
        if (directive) {
            put_directive(in, line, at, depth);
            gb_buf_put(in->out, "\n", 1);
        } else {
            gb_buf_put(in->out, line, (size_t)(at - line));
        }
    }
    gb_buf_put(in->out, "\n", 1);
}

/* ---- candidates ---- */

static int setf(gbi_cuda_names *names, char **where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int setf(gbi_cuda_names *names, char **where, const char *format, ...)
{
    char text[4096];
    va_list list;
    va_start(list, format);
    int size = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (size >= (int)sizeof text) return gb_err_set(GB_ECOMPILE, "a declaration is too long");
    return gbi_cuda_name_set(names, where, text);
}

/* ns::  or nothing. */
static const char *colons(const char *scope)
{
    return *scope ? "::" : "";
}

/* argument: "" or "<float, 256>" of an instance. */
static int add_kernel(gbi_cuda_names *names, const gb_source_kernel *kernel, const char *shown,
                      const char *argument, bool sync)
{
    int id = names->count, rc = 0;
    const char *scope = kernel->scope, *between = colons(kernel->scope);
    gbi_cuda_name *name = add(names, GBI_NAME_KERNEL, kernel->param_count);
    if (!name) return GB_ENOMEM;
    name->sync = sync;
    name->instance = *argument != 0;
    if (shown)
        rc = gbi_cuda_name_set(names, &name->shown, shown);
    else if (kernel->overloaded)
        rc = setf(names, &name->shown, "%s%s%s(%s)", scope, between, kernel->name, kernel->types);
    else
        rc = setf(names, &name->shown, "%s%s%s", scope, between, kernel->name);
    if (rc == 0 && kernel->overloaded)
        rc = setf(names, &name->declare, "%s typedef void (*__gbr_k%d)(%s); %s", kernel->open, id,
                  kernel->types, kernel->close);
    else if (rc == 0)
        rc = setf(names, &name->declare, "%s typedef decltype(&%s%s) __gbr_k%d; %s", kernel->open,
                  kernel->name, argument, id, kernel->close);
    if (rc == 0) rc = setf(names, &name->type, "::%s%s__gbr_k%d", scope, between, id);
    if (rc == 0)
        rc = setf(names, &name->expression, "(::%s%s__gbr_k%d)&::%s%s%s%s", scope, between, id,
                  scope, between, kernel->name, argument);
    for (int i = 0; i < kernel->param_count && rc == 0; i++)
        rc = gbi_cuda_name_set(names, &name->parts[i], kernel->params[i]);
    return rc;
}

/* The template that "ns::sum<float, 256>" names. */
static const gb_source_kernel *find_template(const gb_source *source, const char *instance)
{
    size_t size = strcspn(instance, "<");
    while (size && isspace((unsigned char)instance[size - 1])) size--;
    size_t from = size;
    while (from && (isalnum((unsigned char)instance[from - 1]) || instance[from - 1] == '_'))
        from--;
    size_t scope = from >= 2 ? from - 2 : 0;
    for (int i = 0; i < gb_source_kernel_count(source); i++) {
        const gb_source_kernel *kernel = gb_source_kernel_at(source, i);
        if (!kernel->is_template || strlen(kernel->name) != size - from ||
            memcmp(kernel->name, instance + from, size - from) != 0)
            continue;
        size_t own = strlen(kernel->scope);
        if (scope <= own && memcmp(kernel->scope + own - scope, instance, scope) == 0)
            return kernel;
    }
    return NULL;
}

static int add_instances(gbi_cuda_names *names, const gb_source *source, const gb_module_spec *spec)
{
    int rc = 0;
    for (int i = 0; spec->instances && spec->instances[i] && rc == 0; i++) {
        const char *instance = spec->instances[i], *angle = strchr(instance, '<');
        const gb_source_kernel *kernel = angle ? find_template(source, instance) : NULL;
        if (!kernel || strchr(instance, '\n'))
            return gb_err_set(GB_ECOMPILE,
                              "%s: error: the instance '%s' names no template kernel "
                              "of this source (expected: name<arguments>)",
                              spec->name ? spec->name : "kernel", instance);
        rc = add_kernel(names, kernel, instance, angle,
                        gb_source_instance_sync(source, kernel, instance));
    }
    return rc;
}

static int add_global(gbi_cuda_names *names, const gb_source_name *at)
{
    int id = names->count;
    gbi_cuda_name *name = add(names, GBI_NAME_GLOBAL, 0);
    if (!name) return GB_ENOMEM;
    int rc = setf(names, &name->shown, "%s%s%s", at->scope, colons(at->scope), at->name);
    if (rc == 0) rc = setf(names, &name->type, "decltype(::%s)", name->shown);
    if (rc == 0) rc = setf(names, &name->declare, "typedef %s __gbr_k%d;", name->type, id);
    if (rc == 0) rc = setf(names, &name->expression, "&::%s", name->shown);
    return rc;
}

static int add_struct(gbi_cuda_names *names, const gb_source_struct *type)
{
    int id = names->count;
    gbi_cuda_name *name = add(names, GBI_NAME_STRUCT, type->field_count);
    if (!name) return GB_ENOMEM;
    int rc =
        setf(names, &name->shown, "%s%s%s", type->at.scope, colons(type->at.scope), type->at.name);
    if (rc == 0) rc = setf(names, &name->type, "::%s", name->shown);
    if (rc == 0) rc = setf(names, &name->declare, "typedef %s __gbr_k%d;", name->type, id);
    for (int i = 0; i < type->field_count && rc == 0; i++)
        rc = gbi_cuda_name_set(names, &name->parts[i], type->fields[i]);
    return rc;
}

static bool known(const gbi_cuda_names *names, gbi_name_kind kind, const char *shown)
{
    for (int i = 0; i + 1 < names->count; i++)
        if (names->at[i].kind == kind && strcmp(names->at[i].shown, shown) == 0) return true;
    return false;
}

/* One declaration may stand in both branches of a condition. */
static void drop_double(gbi_cuda_names *names)
{
    gbi_cuda_name *last = &names->at[names->count - 1];
    if (known(names, last->kind, last->shown)) last->dropped = true;
}

static int add_all(gbi_cuda_names *names, const gb_source *source, const gb_module_spec *spec)
{
    int rc = 0;
    for (int i = 0; i < gb_source_kernel_count(source) && rc == 0; i++) {
        const gb_source_kernel *kernel = gb_source_kernel_at(source, i);
        if (kernel->is_template) continue;
        rc = add_kernel(names, kernel, NULL, "", kernel->sync);
        if (rc == 0) drop_double(names);
    }
    if (rc == 0) rc = add_instances(names, source, spec);
    for (int i = 0; i < gb_source_global_count(source) && rc == 0; i++) {
        rc = add_global(names, gb_source_global_at(source, i));
        if (rc == 0) drop_double(names);
    }
    for (int i = 0; i < gb_source_struct_count(source) && rc == 0; i++) {
        rc = add_struct(names, gb_source_struct_at(source, i));
        if (rc == 0) drop_double(names);
    }
    return rc;
}

int gbi_cuda_names_read(gbi_cuda_names *names, const gb_module_spec *spec)
{
    gb_buf text;
    gb_source *source = NULL;
    gb_buf_init(&text, names->mem);
    inliner in = {.spec = spec, .out = &text};
    gb_buf_init(&in.seen, names->mem);
    put_text(&in, spec->source, spec->source_bytes, 0);
    int rc = gb_source_open_all(&source, names->mem, gb_buf_text(&text), text.size);
    if (rc == 0) rc = add_all(names, source, spec);
    gb_source_close(source);
    gb_buf_fini(&in.seen);
    gb_buf_fini(&text);
    return rc;
}

/* ---- behind the source ---- */

static const gb_embedded *rows_header(void)
{
    for (const gb_embedded *file = gb_embedded_headers; file->name; file++)
        if (strcmp(file->name, "cuda.rows.h") == 0) return file;
    return NULL;
}

static int put_rows(const gbi_cuda_name *name, int id, gb_buf *out)
{
    int rc;
    if (name->kind == GBI_NAME_GLOBAL)
        return gb_buf_printf(out, "__gbr_global_row<%s>(%d),", name->type, id);
    bool kernel = name->kind == GBI_NAME_KERNEL;
    rc = gb_buf_printf(out, "__gbr_%s_row<%s>(%d),", kernel ? "kernel" : "struct", name->type, id);
    for (int i = 0; i < name->part_count && rc == 0; i++)
        rc = kernel ? gb_buf_printf(out, " __gbr_param_row<%s, %d>(%d),", name->type, i, id)
                    : gb_buf_printf(out,
                                    " __gbr_field_row<decltype(%s::%s)>(%d, %d, "
                                    "__GBR_OFFSET(%s, %s)),",
                                    name->type, name->parts[i], id, i, name->type, name->parts[i]);
    return rc;
}

int gbi_cuda_names_text(const gbi_cuda_names *names, gb_buf *out)
{
    const gb_embedded *header = rows_header();
    int rc = gb_buf_printf(out, "\n");
    if (rc == 0) rc = gb_buf_put(out, header->bytes, header->size);
    for (int pass = 0; pass < 2 && rc == 0; pass++) {
        rc = gb_buf_printf(out, "%s\n",
                           pass ? "__device__ __gbr_row __gbr_rows[] "
                                  "= {"
                                : "");
        if (rc == 0) rc = gb_buf_printf(out, "#line 1 \"<gpubridge %s>\"\n", pass ? "row" : "name");
        for (int i = 0; i < names->count && rc == 0; i++) {
            const gbi_cuda_name *name = &names->at[i];
            if (!name->dropped)
                rc = pass ? put_rows(name, i, out) : gb_buf_printf(out, "%s", name->declare);
            if (rc == 0) rc = gb_buf_put(out, "\n", 1);
        }
    }
    if (rc == 0) rc = gb_buf_printf(out, "__gbr_row{-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}}};\n");
    return rc;
}

/* The candidates of the lines that `mark` stands before in error messages, at most `most`. */
static int drop_marked(gbi_cuda_names *names, const char *log, const char *mark, int most)
{
    int dropped = 0;
    for (const char *at = log; (at = strstr(at, mark)) && dropped < most; at++) {
        const char *colon = strchr(at, ':');
        long line = strtol(at + strlen(mark), NULL, 10);
        if (!colon || strncmp(colon, ": error", 7) != 0 || line < 1 || line > names->count)
            continue;
        dropped += !names->at[line - 1].dropped;
        names->at[line - 1].dropped = true;
    }
    return dropped;
}

/* An error in one row leads to others in the rows behind it: only the first one counts. */
int gbi_cuda_names_drop(gbi_cuda_names *names, const char *log)
{
    int dropped = drop_marked(names, log, "<gpubridge name>(", INT_MAX);
    return dropped ? dropped : drop_marked(names, log, "<gpubridge row>(", 1);
}

int gbi_cuda_names_settle(gbi_cuda_names *names, const gbi_cuda_row *rows, int count)
{
    int changed = 0;
    for (int i = 0; i < count; i++) {
        if (rows[i].kind != GBI_ROW_KERNEL || rows[i].id < 0 || rows[i].id >= names->count)
            continue;
        gbi_cuda_name *name = &names->at[rows[i].id];
        int want = (int)rows[i].count;
        if (name->part_count == want || want > 1024) continue;
        char **parts = gb_mem_zalloc(names->mem, (size_t)want * sizeof *parts);
        if (!parts) return GB_ENOMEM;
        for (int k = 0; k < name->part_count; k++) gb_mem_strfree(names->mem, name->parts[k]);
        gb_mem_free(names->mem, name->parts, (size_t)name->part_count * sizeof *parts);
        name->parts = parts;
        name->part_count = want;
        for (int k = 0; k < want; k++) {
            int rc = setf(names, &parts[k], "arg%d", k + 1);
            if (rc < 0) return rc;
        }
        changed++;
    }
    return changed;
}

/* A kernel with C linkage that a macro made: its text was not seen, but the image has it. */
static int add_missed(gbi_cuda_names *names, const char *entry)
{
    if (strncmp(entry, "_Z", 2) == 0) return 0; /* C++ linkage: its declaration cannot be told */
    for (int i = 0; i < names->count; i++)
        if (names->at[i].kind == GBI_NAME_KERNEL && strcmp(names->at[i].lowered, entry) == 0)
            return 0;
    gb_source_kernel kernel = {.scope = "", .open = "", .close = "", .name = entry, .types = ""};
    int rc = add_kernel(names, &kernel, NULL, "", true);
    return rc < 0 ? rc : 1;
}

int gbi_cuda_names_missed(gbi_cuda_names *names, const void *image, size_t size)
{
    bool elf = size > 4 && memcmp(image, "\177ELF", 4) == 0;
    const char *mark = elf ? ".text." : ".entry "; /* names of sections; PTX text */
    const char *at = image, *end = at + size;
    char entry[256];
    int added = 0;
    while ((at = memmem(at, (size_t)(end - at), mark, strlen(mark)))) {
        size_t length = 0;
        for (at += strlen(mark); at + length < end && length < sizeof entry - 1; length++)
            if (!isalnum((unsigned char)at[length]) && at[length] != '_') break;
        snprintf(entry, sizeof entry, "%.*s", (int)length, at);
        int rc = length ? add_missed(names, entry) : 0;
        if (rc < 0) return rc;
        added += rc;
    }
    return added;
}

/* ---- the cache's note ---- */

int gbi_cuda_names_store(const gbi_cuda_names *names, gb_buf *out)
{
    int rc = 0;
    for (int i = 0; i < names->count && rc == 0; i++) {
        const gbi_cuda_name *name = &names->at[i];
        rc = gb_buf_printf(out, "%d %d %d %d", (int)name->kind, name->sync, name->dropped,
                           name->part_count);
        if (rc == 0) rc = gb_buf_put(out, "", 1);
        if (rc == 0) rc = gb_buf_put(out, name->shown, strlen(name->shown) + 1);
        if (rc == 0) rc = gb_buf_put(out, name->lowered, strlen(name->lowered) + 1);
        for (int k = 0; k < name->part_count && rc == 0; k++)
            rc = gb_buf_put(out, name->parts[k], strlen(name->parts[k]) + 1);
    }
    return rc;
}

/* The next text before end; NULL when there is none. */
static const char *next_text(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *nul = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
    const char *text = (const char *)*at;
    if (!nul) return NULL;
    *at = nul + 1;
    return text;
}

int gbi_cuda_names_load(gbi_cuda_names *names, const uint8_t *bytes, size_t size)
{
    const uint8_t *end = bytes + size;
    while (bytes < end) {
        int kind, sync, dropped, parts;
        const char *head = next_text(&bytes, end);
        if (!head || sscanf(head, "%d %d %d %d", &kind, &sync, &dropped, &parts) != 4 ||
            parts < 0 || parts > 1024)
            return gb_err_set(GB_ECONFLICT, "the note of a cached image is damaged");
        gbi_cuda_name *name = add(names, (gbi_name_kind)kind, parts);
        if (!name) return GB_ENOMEM;
        name->sync = sync;
        name->dropped = dropped;
        for (int k = -2; k < parts; k++) {
            const char *text = next_text(&bytes, end);
            char **where = k == -2 ? &name->shown : k == -1 ? &name->lowered : &name->parts[k];
            if (!text) return gb_err_set(GB_ECONFLICT, "the note of a cached image is damaged");
            int rc = gbi_cuda_name_set(names, where, text);
            if (rc < 0) return rc;
        }
    }
    return 0;
}
