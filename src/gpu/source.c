#include "gpu/source.h"

#include "base/err.h"
#include "gpu/source_room.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 64 * 1024, LOOK_AHEAD = 32 };

void *gbi_source_alloc(gb_source *source, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    gbi_arena_block *block = source->arena;
    if (!block || block->size - block->used < size) {
        size_t bytes = sizeof *block + 16 + (size > ARENA_BYTES ? size : ARENA_BYTES);
        block = gb_mem_alloc(source->mem, bytes);
        if (!block) return NULL;
        *block = (gbi_arena_block){source->arena, bytes, (sizeof *block + 15) & ~(size_t)15};
        source->arena = block;
    }
    void *at = (char *)block + block->used;
    block->used += size;
    return at;
}

const char *gbi_source_copy(gb_source *source, const char *text, size_t size)
{
    char *copy = gbi_source_alloc(source, size + 1);
    if (!copy) return NULL;
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

int gbi_source_grow(gb_source *source, void **at, uint32_t *room, uint32_t count, size_t size)
{
    if (count < *room) return 0;
    uint32_t wider = *room ? *room * 2 : 64;
    void *moved = gbi_source_alloc(source, wider * size);
    if (!moved) return GB_ENOMEM;
    if (count) memcpy(moved, *at, count * size);
    *at = moved;
    *room = wider;
    return 0;
}

bool gbi_token_is(const gb_token *token, const char *text)
{
    return token->kind != GB_TOKEN_STRING && strlen(text) == token->size &&
           memcmp(token->text, text, token->size) == 0;
}

bool gbi_token_in(const gb_token *token, const char *const *texts)
{
    for (; *texts; texts++)
        if (gbi_token_is(token, *texts)) return true;
    return false;
}

uint32_t gbi_skip_pair(const gb_source *source, uint32_t at, uint32_t end)
{
    int depth = 0;
    for (; at < end; at++) {
        const gb_token *token = &source->tokens.at[at];
        if (token->kind != GB_TOKEN_PUNCT || token->size != 1) continue;
        if (strchr("([{", *token->text)) depth++;
        if (strchr(")]}", *token->text) && --depth == 0) return at + 1;
    }
    return end;
}

uint32_t gbi_skip_angles(const gb_source *source, uint32_t at, uint32_t end)
{
    int depth = 0;
    while (at < end) {
        const gb_token *token = &source->tokens.at[at];
        if (gbi_token_is(token, "(") || gbi_token_is(token, "[") || gbi_token_is(token, "{")) {
            at = gbi_skip_pair(source, at, end);
            continue;
        }
        if (gbi_token_is(token, "<")) depth++;
        if (gbi_token_is(token, ">")) depth--;
        if (gbi_token_is(token, ">>")) depth -= 2;
        if (gbi_token_is(token, ";")) return at;
        at++;
        if (depth <= 0) return at;
    }
    return end;
}

/* ---- tokens ---- */

typedef struct {
    gb_source *source;
    const char *at, *end;
    uint32_t line;
    uint16_t file;
    int rc;
} reader;

static uint16_t file_index(reader *r, const char *name, size_t size)
{
    gb_source *source = r->source;
    for (uint32_t i = 0; i < source->files.count; i++)
        if (strlen(source->files.at[i]) == size && memcmp(source->files.at[i], name, size) == 0)
            return (uint16_t)i;
    if (source->files.count == UINT16_MAX) return 0;
    const char *copy = gbi_source_copy(source, name, size);
    if (!copy || GBI_PUSH(source, source->files, copy) < 0) return r->rc = GB_ENOMEM, (uint16_t)0;
    return (uint16_t)(source->files.count - 1);
}

/* # 12 "file" 1 3: the next line is line 12 of that file. */
static void line_marker(reader *r, const char *at, const char *end)
{
    char name[4096];
    size_t size = 0;
    r->line = (uint32_t)strtoul(at, NULL, 10) - 1; /* the end of this line counts one */
    at = memchr(at, '"', (size_t)(end - at));
    if (!at) return;
    for (at++; at < end && *at != '"' && size < sizeof name; at++) {
        if (*at == '\\' && at + 1 < end) at++;
        name[size++] = *at;
    }
    r->file = file_index(r, name, size);
}

static void macro_line(reader *r, const char *at, const char *end)
{
    bool define = strncmp(at, "define", 6) == 0;
    for (at += define ? 6 : 5; at < end && isspace((unsigned char)*at); at++) {
    }
    const char *name = at;
    while (at < end && (isalnum((unsigned char)*at) || *at == '_')) at++;
    gbi_macro macro = {.name = name, .name_size = (uint32_t)(at - name)};
    macro.offset = (size_t)(at - r->source->text);
    if (define && (at == end || *at != '(')) { /* an #undef and a function leave value NULL */
        macro.value = at;
        macro.value_size = (uint32_t)(end - at);
    }
    if (GBI_PUSH(r->source, r->source->macros, macro) < 0) r->rc = GB_ENOMEM;
}

static void push(reader *r, gb_token_kind kind, const char *from)
{
    gb_token token = {from, (uint32_t)(r->at - from), r->line, r->file, (uint16_t)kind};
    if (GBI_PUSH(r->source, r->source->tokens, token) < 0) r->rc = GB_ENOMEM;
    for (const char *at = from; at < r->at; at++) r->line += *at == '\n';
}

static void directive(reader *r)
{
    const char *from = r->at, *end = from;
    while (end < r->end && *end != '\n') end++;
    const char *at = from + 1;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    r->at = end;
    if (isdigit((unsigned char)*at))
        line_marker(r, at, end);
    else if (strncmp(at, "line ", 5) == 0)
        line_marker(r, at + 5, end);
    else if (strncmp(at, "define", 6) == 0 || strncmp(at, "undef", 5) == 0)
        macro_line(r, at, end);
    else
        push(r, GB_TOKEN_PRAGMA, from);
}

static void raw_string(reader *r, const char *from)
{
    char close[24] = ")";
    size_t size = 1;
    while (r->at < r->end && *r->at != '(' && size < sizeof close - 2) close[size++] = *r->at++;
    close[size++] = '"';
    const char *found = memmem(r->at, (size_t)(r->end - r->at), close, size);
    r->at = found ? found + size : r->end;
    push(r, GB_TOKEN_STRING, from);
}

static void quoted(reader *r, const char *from, char quote)
{
    while (r->at < r->end && *r->at != quote && *r->at != '\n')
        r->at += *r->at == '\\' && r->at + 1 < r->end ? 2 : 1;
    if (r->at < r->end && *r->at == quote) r->at++;
    push(r, quote == '"' ? GB_TOKEN_STRING : GB_TOKEN_CHAR, from);
}

static void word(reader *r)
{
    const char *from = r->at;
    while (r->at < r->end &&
           (isalnum((unsigned char)*r->at) || *r->at == '_' || *r->at == '$' || *r->at & 0x80))
        r->at++;
    size_t size = (size_t)(r->at - from);
    if (r->at < r->end && size <= 3 && *r->at == '"' && from[size - 1] == 'R' &&
        strchr("RuUL", *from)) {
        r->at++;
        raw_string(r, from);
    } else if (r->at < r->end && size <= 2 && strchr("uUL", *from) &&
               (*r->at == '"' || *r->at == '\'')) {
        char quote = *r->at++;
        quoted(r, from, quote);
    } else {
        push(r, GB_TOKEN_NAME, from);
    }
}

static void number(reader *r)
{
    const char *from = r->at;
    for (; r->at < r->end; r->at++) {
        char c = *r->at;
        if ((c == '+' || c == '-') && strchr("eEpP", r->at[-1])) continue;
        if (c == '\'' && r->at + 1 < r->end && isalnum((unsigned char)r->at[1])) continue;
        if (!isalnum((unsigned char)c) && c != '.' && c != '_') break;
    }
    push(r, GB_TOKEN_NUMBER, from);
}

static void punct(reader *r)
{
    static const char *const longer[] = {"<<<", "...", "::", "->", "<<", ">>", "&&", "||", NULL};
    const char *from = r->at++;
    for (int i = 0; longer[i]; i++) {
        size_t size = strlen(longer[i]);
        if ((size_t)(r->end - from) < size || memcmp(from, longer[i], size) != 0) continue;
        r->at = from + size;
        break;
    }
    push(r, GB_TOKEN_PUNCT, from);
}

static void comment(reader *r)
{
    const char *from = r->at;
    if (r->at[1] == '/') {
        while (r->at < r->end && *r->at != '\n') r->at++;
        return;
    }
    const char *close = memmem(r->at + 2, (size_t)(r->end - r->at - 2), "*/", 2);
    r->at = close ? close + 2 : r->end;
    for (; from < r->at; from++) r->line += *from == '\n';
}

int gbi_source_tokens(gb_source *source)
{
    reader r = {source, source->text, source->text + source->bytes, 1, 0, 0};
    bool fresh = true; /* only spaces on this line so far */
    file_index(&r, "<source>", 8);
    while (r.at < r.end && r.rc == 0) {
        char c = *r.at;
        if (c == '\n') {
            r.line++, r.at++, fresh = true;
            continue;
        }
        if (isspace((unsigned char)c)) {
            r.at++;
            continue;
        }
        if (c == '#' && fresh) {
            directive(&r);
            continue;
        }
        fresh = false;
        const char *from = r.at;
        if (isalpha((unsigned char)c) || c == '_' || c == '$' || c & 0x80)
            word(&r);
        else if (isdigit((unsigned char)c) ||
                 (c == '.' && r.at + 1 < r.end && isdigit((unsigned char)r.at[1])))
            number(&r);
        else if (c == '"' || c == '\'')
            r.at++, quoted(&r, from, c);
        else if (c == '/' && r.at + 1 < r.end && (r.at[1] == '/' || r.at[1] == '*'))
            comment(&r);
        else
            punct(&r);
    }
    for (int i = 0; i < GBI_END_TOKENS; i++) push(&r, GB_TOKEN_END, r.at);
    return r.rc;
}

/* ---- the door ---- */

static int open_text(gb_source **out, gb_mem *mem, const char *text, size_t bytes, bool all)
{
    *out = NULL;
    gb_source *source = gb_mem_zalloc(mem, sizeof *source);
    if (!source) return GB_ENOMEM;
    source->mem = mem;
    /* a copy with NULs behind it: readers may look a few bytes ahead */
    char *copy = gbi_source_alloc(source, bytes + LOOK_AHEAD);
    if (copy) memcpy(copy, text, bytes);
    if (copy) memset(copy + bytes, 0, LOOK_AHEAD);
    source->text = copy;
    source->bytes = bytes;
    int rc = copy ? gbi_source_tokens(source) : GB_ENOMEM;
    if (rc == 0 && !all) rc = gbi_source_check(source);
    if (rc == 0) rc = gbi_source_walk(source);
    if (rc == 0) rc = gbi_source_declare(source);
    if (rc == 0) rc = gbi_source_close_over(source);
    if (rc < 0) {
        gb_source_close(source);
        return rc;
    }
    *out = source;
    return 0;
}

int gb_source_open(gb_source **out, gb_mem *mem, const char *text, size_t bytes)
{
    return open_text(out, mem, text, bytes, false);
}

int gb_source_open_all(gb_source **out, gb_mem *mem, const char *text, size_t bytes)
{
    return open_text(out, mem, text, bytes, true);
}

void gb_source_close(gb_source *source)
{
    if (!source) return;
    while (source->arena) {
        gbi_arena_block *next = source->arena->next;
        gb_mem_free(source->mem, source->arena, source->arena->size);
        source->arena = next;
    }
    gb_mem_free(source->mem, source, sizeof *source);
}

int gb_source_kernel_count(const gb_source *source)
{
    return (int)source->kernels.count;
}

const gb_source_kernel *gb_source_kernel_at(const gb_source *source, int index)
{
    return &source->kernels.at[index];
}

int gb_source_global_count(const gb_source *source)
{
    return (int)source->globals.count;
}

const gb_source_name *gb_source_global_at(const gb_source *source, int index)
{
    return &source->globals.at[index];
}

int gb_source_struct_count(const gb_source *source)
{
    return (int)source->structs.count;
}

const gb_source_struct *gb_source_struct_at(const gb_source *source, int index)
{
    return &source->structs.at[index];
}

int gb_source_file_count(const gb_source *source)
{
    return (int)source->files.count;
}

const char *gb_source_file_at(const gb_source *source, int index)
{
    return source->files.at[index];
}

int gb_source_shared_count(const gb_source *source)
{
    return (int)source->shared.count;
}

const gb_source_name *gb_source_shared_at(const gb_source *source, int index)
{
    return &source->shared.at[index];
}
