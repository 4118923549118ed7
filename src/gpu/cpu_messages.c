#include "gpu/cpu_wrap.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "file:12:5: error: text": where the parts of a message's first line are. */
typedef struct {
    const char *at;
    size_t size;
    size_t file_size;
    long line;
    bool note, error;
} head;

enum { TEXT_MAX = 16 * 1024 - 64 };

static bool read_head(const char *at, size_t size, head *out)
{
    static const char *const kinds[] = {
        "error: ", "warning: ", "note: ", "fatal error: ", "remark: "};
    for (int i = 0; i < 5; i++) {
        char wanted[32];
        int length = snprintf(wanted, sizeof wanted, ": %s", kinds[i]);
        const char *found = memmem(at, size, wanted, (size_t)length);
        if (!found) continue;
        const char *end = found; /* behind file:line[:column] */
        long numbers[2] = {0, 0};
        int count = 0;
        while (end > at && count < 2) {
            const char *digits = end;
            while (digits > at && isdigit((unsigned char)digits[-1])) digits--;
            if (digits == end || digits == at || digits[-1] != ':') break;
            numbers[count++] = strtol(digits, NULL, 10);
            end = digits - 1;
        }
        if (!count) continue;
        *out = (head){at, size, (size_t)(end - at), numbers[count - 1], i == 2, i == 0 || i == 3};
        return true;
    }
    return false;
}

static bool source_line(const gb_module_spec *spec, long line, const char **at, size_t *size)
{
    const char *from = spec->source, *end = from + spec->source_bytes;
    for (long i = 1; i < line && from < end; i++) {
        const char *next = memchr(from, '\n', (size_t)(end - from));
        from = next ? next + 1 : end;
    }
    const char *stop = from < end ? memchr(from, '\n', (size_t)(end - from)) : NULL;
    *at = from;
    *size = (size_t)((stop ? stop : end) - from);
    return from < end && line > 0;
}

typedef struct {
    const gb_module_spec *spec;
    const char *work;
    gb_buf *out;
    head open;        /* the message being shown */
    bool any, hidden; /* of it */
    bool own, line_done, caret;
    bool told; /* an error at the user's place: what follows from it in our text says no more */
    int rc;
} shower;

/* A line with the work folder's path cut out. */
static void put_line(shower *s, const char *at, size_t size)
{
    size_t folder = strlen(s->work);
    const char *end = at + size;
    while (s->rc == 0 && at < end) {
        const char *found = folder ? memmem(at, (size_t)(end - at), s->work, folder) : NULL;
        const char *stop = found ? found : end;
        s->rc = gb_buf_put(s->out, at, (size_t)(stop - at));
        at = found ? found + folder + (found[folder] == '/') : end;
    }
    if (s->rc == 0) s->rc = gb_buf_put(s->out, "\n", 1);
}

static void put_own_line(shower *s)
{
    const char *at;
    size_t size;
    if (s->line_done || !s->own || s->hidden) return;
    s->line_done = true;
    if (source_line(s->spec, s->open.line, &at, &size)) put_line(s, at, size);
}

static bool starts(const char *at, size_t size, const char *text)
{
    return size >= strlen(text) && memcmp(at, text, strlen(text)) == 0;
}

/* A line below a message: the compiler's copy of the source line, or its caret. */
static void below(shower *s, const char *at, size_t size)
{
    const char *own;
    size_t own_size;
    if (s->hidden) return;
    if (!s->own) return put_line(s, at, size);
    const char *bar = memchr(at, '|', size < 12 ? size : 12); /* gcc: "   12 | text" */
    bool gcc = bar && strspn(at, " 0123456789") == (size_t)(bar - at);
    if (gcc) {
        size -= (size_t)(bar - at) + 1;
        at = bar + 1;
        if (size && *at == ' ') at++, size--;
    }
    if (!s->line_done) {
        bool there = source_line(s->spec, s->open.line, &own, &own_size);
        s->caret = there && own_size == size && memcmp(own, at, size) == 0;
        put_own_line(s);
    } else if (s->caret) {
        put_line(s, at, size);
    }
}

static void line(shower *s, const char *at, size_t size)
{
    head next;
    size_t name = s->spec->name ? strlen(s->spec->name) : 0;
    if (starts(at, size, "In file included from") && memmem(at, size, s->work, strlen(s->work)))
        return;
    bool tail = memmem(at, size < 40 ? size : 40, " generated.", 11) != NULL && isdigit(*at);
    if (tail) return;
    if (!read_head(at, size, &next)) {
        size_t blank = strspn(at, " ");
        bool from = starts(at + blank, size - blank, "from ");
        if (starts(at, size, s->work) || (from && memmem(at, size, s->work, strlen(s->work))))
            return;
        bool sentence = starts(at, size, "In file included") || memmem(at, size, ": In ", 5) ||
                        memmem(at, size, "ld: ", 4) || memmem(at, size, "undefined reference", 19);
        if (sentence) put_own_line(s), s->any = false;
        if (s->any)
            below(s, at, size);
        else if (!memmem(at, size, "<gpubridge>", 11))
            put_line(s, at, size);
        return;
    }
    put_own_line(s);
    s->open = next;
    s->any = true;
    s->line_done = s->caret = false;
    s->own = next.file_size == name && name && memcmp(at, s->spec->name, name) == 0;
    bool generated = starts(at, size, "<gpubridge>") || starts(at, size, s->work);
    bool about = starts(at, size, "kernel "); /* our check of a kernel's type */
    s->hidden = (generated && next.note) || ((generated || about) && s->told);
    if (!generated && next.error) s->told = true;
    if (!s->hidden) put_line(s, at, size);
    /* what is below it */
    if (generated || about || starts(at, size, "instance ")) s->hidden = true;
}

int gbi_messages(const char *text, const gb_module_spec *spec, const char *work, gb_buf *out)
{
    shower s = {.spec = spec, .work = work, .out = out};
    size_t from = out->size;
    while (*text && s.rc == 0 && out->size - from < TEXT_MAX) {
        size_t size = strcspn(text, "\n");
        line(&s, text, size);
        text += size + (text[size] == '\n');
    }
    put_own_line(&s);
    if (out->size - from > TEXT_MAX) {
        out->size = from + TEXT_MAX;
        s.rc = gb_buf_printf(out, "\n... (more messages left out)\n");
    }
    return s.rc;
}
