#include "gpu/source_room.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

#define NONE UINT32_MAX

static const char *const type_words[] = {"void",       "bool",
                                         "char",       "short",
                                         "int",        "long",
                                         "float",      "double",
                                         "signed",     "unsigned",
                                         "const",      "volatile",
                                         "struct",     "class",
                                         "auto",       "__restrict__",
                                         "__restrict", "typename",
                                         "union",      "enum",
                                         "constexpr",  "__int128",
                                         "wchar_t",    "char16_t",
                                         "char32_t",   "__grid_constant__",
                                         "register",   NULL};
static const char *const not_types[] = {
    "const",      "volatile", "struct", "class",    "typename",          "__restrict__",
    "__restrict", "union",    "enum",   "register", "__grid_constant__", NULL};

typedef struct {
    gb_source *source;
    int rc;
} maker;

static const char *copy_token(maker *m, const gb_token *token)
{
    const char *copy = gbi_source_copy(m->source, token->text, token->size);
    if (!copy) m->rc = GB_ENOMEM;
    return copy ? copy : "";
}

/* Tokens [at, end) with one space between each, without token `skip`. */
static const char *spell(maker *m, uint32_t at, uint32_t end, uint32_t skip)
{
    const gb_token *tokens = m->source->tokens.at;
    size_t size = 1;
    for (uint32_t i = at; i < end; i++) size += tokens[i].size + 1;
    char *out = gbi_source_alloc(m->source, size), *to = out;
    if (!out) return m->rc = GB_ENOMEM, "";
    for (uint32_t i = at; i < end; i++) {
        if (i == skip || tokens[i].kind == GB_TOKEN_PRAGMA) continue;
        if (to != out) *to++ = ' ';
        memcpy(to, tokens[i].text, tokens[i].size);
        to += tokens[i].size;
    }
    *to = 0;
    return out;
}

/* The name in one parameter's tokens, or NONE. */
uint32_t gbi_source_param_name(const gb_source *source, uint32_t at, uint32_t end)
{
    const gb_token *tokens = source->tokens.at;
    uint32_t name = NONE;
    bool typed = false; /* a word that can be the type came before */
    for (uint32_t i = at; i < end; i++) {
        const gb_token *token = &tokens[i];
        if (gbi_token_is(token, "<") && i > at && tokens[i - 1].kind == GB_TOKEN_NAME) {
            i = gbi_skip_angles(source, i, end) - 1;
            typed = true;
            name = NONE;
        } else if (gbi_token_is(token, "[")) {
            i = gbi_skip_pair(source, i, end) - 1;
        } else if (gbi_token_is(token, "__attribute__") || gbi_token_is(token, "alignas")) {
            i = gbi_skip_pair(source, i + 1, end) - 1;
        } else if (gbi_token_is(token, "(") && i + 2 < end && tokens[i + 1].size == 1 &&
                   strchr("*&", *tokens[i + 1].text)) {
            return tokens[i + 2].kind == GB_TOKEN_NAME ? i + 2 : NONE;
        } else if (token->kind == GB_TOKEN_NAME) {
            bool word = gbi_token_in(token, type_words);
            bool scoped = i > at && gbi_token_is(&tokens[i - 1], "::");
            name = typed && !word && !scoped ? i : NONE;
            if (!gbi_token_in(token, not_types)) typed = true;
        }
    }
    return name;
}

/* Behind one parameter: its comma or the end. *equals: where its default begins, or the same. */
uint32_t gbi_source_param_end(const gb_source *source, uint32_t at, uint32_t end, uint32_t *equals)
{
    const gb_token *tokens = source->tokens.at;
    *equals = NONE;
    while (at < end && !gbi_token_is(&tokens[at], ",")) {
        const gb_token *token = &tokens[at];
        if (gbi_token_is(token, "=") && *equals == NONE) *equals = at;
        bool angle = gbi_token_is(token, "<") && at && tokens[at - 1].kind == GB_TOKEN_NAME;
        if (angle && *equals == NONE)
            at = gbi_skip_angles(source, at, end);
        else if (gbi_token_is(token, "(") || gbi_token_is(token, "[") || gbi_token_is(token, "{"))
            at = gbi_skip_pair(source, at, end);
        else
            at++;
    }
    if (*equals == NONE) *equals = at;
    return at;
}

static void kernel_params(maker *m, gb_source_kernel *kernel, uint32_t at, uint32_t end)
{
    const gb_token *tokens = m->source->tokens.at;
    if (at + 1 == end && gbi_token_is(&tokens[at], "void")) at = end;
    const char *names[256], *types = "";
    int count = 0;
    while (at < end && count < 256 && m->rc == 0) {
        uint32_t equals, close = gbi_source_param_end(m->source, at, end, &equals);
        uint32_t name = gbi_source_param_name(m->source, at, equals);
        char made[24];
        snprintf(made, sizeof made, "arg%d", count + 1);
        names[count++] = name == NONE ? gbi_source_copy(m->source, made, strlen(made))
                                      : copy_token(m, &tokens[name]);
        const char *type = spell(m, at, equals, name);
        size_t size = strlen(types) + strlen(type) + 3;
        char *both = gbi_source_alloc(m->source, size);
        if (!both || !names[count - 1]) return (void)(m->rc = GB_ENOMEM);
        snprintf(both, size, "%s%s%s", types, *types ? ", " : "", type);
        types = both;
        at = close + 1;
    }
    const char **list = gbi_source_alloc(m->source, sizeof *list * (size_t)(count + 1));
    if (!list) return (void)(m->rc = GB_ENOMEM);
    memcpy(list, names, sizeof *list * (size_t)count);
    kernel->params = list;
    kernel->param_count = count;
    kernel->types = types;
}

static void add_kernel(maker *m, uint32_t index)
{
    gb_source *source = m->source;
    const gb_token *tokens = source->tokens.at;
    gbi_chunk *chunk = &source->chunks.at[index];
    bool instance = gbi_token_is(&tokens[chunk->first], "template") && !chunk->is_template &&
                    !gbi_token_is(&tokens[chunk->first + 1], "<");
    bool special = gbi_token_is(&tokens[chunk->params - 1], ">");
    if (!chunk->has_body && !instance) return;
    if (special && !instance) return;
    const gbi_space *space = &source->spaces.at[chunk->space];
    gb_source_kernel kernel = {.scope = space->scope, .open = space->open, .close = space->close};
    kernel.name =
        instance ? spell(m, chunk->name, chunk->params, NONE) : copy_token(m, &tokens[chunk->name]);
    kernel.is_template = chunk->is_template;
    kernel.chunk = index;
    kernel_params(m, &kernel, chunk->params + 1,
                  gbi_skip_pair(source, chunk->params, chunk->last) - 1);
    for (uint32_t i = 0; i < source->kernels.count; i++) {
        gb_source_kernel *other = &source->kernels.at[i];
        if (strcmp(other->name, kernel.name) || strcmp(other->scope, kernel.scope)) continue;
        other->overloaded = kernel.overloaded = true;
    }
    if (GBI_PUSH(source, source->kernels, kernel) < 0) m->rc = GB_ENOMEM;
}

/* Names of the variables that tokens [at, end) declare: "float a, *b, c[3] = {1}". */
static int declared_names(maker *m, uint32_t at, uint32_t end, const char **out, int room)
{
    const gb_source *source = m->source;
    const gb_token *tokens = source->tokens.at;
    uint32_t last = NONE;
    int count = 0;
    bool taken = false;
    for (; at < end; at++) {
        const gb_token *token = &tokens[at];
        bool stop = gbi_token_is(token, ",") || gbi_token_is(token, ";");
        if (token->kind == GB_TOKEN_NAME && !taken) {
            if (gbi_token_is(&tokens[at + 1], "(")) { /* an attribute with an argument */
                at = gbi_skip_pair(source, at + 1, end) - 1;
                continue;
            }
            last = at > 0 && gbi_token_is(&tokens[at - 1], "::") && count ? NONE : at;
        } else if (gbi_token_is(token, "<") && !taken && last == at - 1) {
            at = gbi_skip_angles(source, at, end) - 1;
        } else if (stop || gbi_token_is(token, "=") || gbi_token_is(token, "[") ||
                   gbi_token_is(token, "{")) {
            if (!taken && last != NONE && count < room) out[count++] = copy_token(m, &tokens[last]);
            taken = !gbi_token_is(token, ",");
            last = NONE;
            if (gbi_token_is(token, "[") || gbi_token_is(token, "{"))
                at = gbi_skip_pair(source, at, end) - 1;
        } else if (taken && gbi_token_is(token, "(")) {
            at = gbi_skip_pair(source, at, end) - 1;
        }
    }
    return count;
}

static bool mentions(const gb_source *source, uint32_t at, uint32_t end, const char *word)
{
    for (; at < end; at++)
        if (source->tokens.at[at].kind == GB_TOKEN_NAME &&
            gbi_token_is(&source->tokens.at[at], word))
            return true;
    return false;
}

static void add_globals(maker *m, const gbi_chunk *chunk)
{
    gb_source *source = m->source;
    const gb_token *tokens = source->tokens.at;
    bool device = false, outside = false;
    for (uint32_t i = chunk->first; i < chunk->last; i++) {
        if (gbi_token_is(&tokens[i], "=") || gbi_token_is(&tokens[i], "{")) break;
        if (gbi_token_is(&tokens[i], "__device__") || gbi_token_is(&tokens[i], "__constant__"))
            device = true;
        if (gbi_token_is(&tokens[i], "extern")) outside = true;
    }
    if (!device || outside || chunk->is_template || chunk->name == NONE) return;
    if (chunk->name && gbi_token_is(&tokens[chunk->name - 1], "::")) return;
    const gbi_space *space = &source->spaces.at[chunk->space];
    const char *names[64];
    int count = declared_names(m, chunk->first, chunk->last, names, 64);
    for (int i = 0; i < count && m->rc == 0; i++) {
        gb_source_name name = {space->scope, space->open, space->close, names[i]};
        if (GBI_PUSH(source, source->globals, name) < 0) m->rc = GB_ENOMEM;
    }
}

static const char *const not_plain[] = {"private",  "protected", "virtual", "union", ":",
                                        "template", "friend",    "class",   "enum",  NULL};
static const char *const no_field[] = {"static", "using", "typedef", "constexpr", NULL};

/* The fields of a class body, or -1 when it is no plain struct. */
static int struct_fields(maker *m, uint32_t at, uint32_t end, const char **out, int room)
{
    const gb_source *source = m->source;
    const gb_token *tokens = source->tokens.at;
    int count = 0;
    while (at < end) {
        uint32_t first = at;
        bool method = false;
        for (; at < end && !gbi_token_is(&tokens[at], ";"); at++) {
            if (!method && gbi_token_in(&tokens[at], not_plain)) return -1;
            if (gbi_token_is(&tokens[at], "alignas") || gbi_token_is(&tokens[at], "__align__"))
                at = gbi_skip_pair(source, at + 1, end) - 1;
            else if (gbi_token_is(&tokens[at], "("))
                method = true, at = gbi_skip_pair(source, at, end) - 1;
            else if (gbi_token_is(&tokens[at], "{")) {
                at = gbi_skip_pair(source, at, end) - 1;
                if (method && !gbi_token_is(&tokens[at + 1], ";")) break;
            }
        }
        if (!method && !gbi_token_in(&tokens[first], no_field) && first < at) {
            if (gbi_token_is(&tokens[first], "struct") && tokens[first + 2].text[0] == '{')
                return -1;
            count +=
                declared_names(m, first, at + 1 <= end ? at + 1 : end, out + count, room - count);
        }
        at++;
    }
    return count;
}

static bool struct_used(const gb_source *source, uint32_t index, const char *name)
{
    for (uint32_t i = 0; i < source->kernels.count; i++) {
        const gb_source_kernel *kernel = &source->kernels.at[i];
        const gbi_chunk *chunk = &source->chunks.at[kernel->chunk];
        uint32_t close = gbi_skip_pair(source, chunk->params, chunk->last);
        if (kernel->is_template || mentions(source, chunk->params, close, name)) return true;
    }
    for (uint32_t i = 0; i < source->chunks.count; i++) {
        const gbi_chunk *chunk = &source->chunks.at[i];
        if (i == index || chunk->kind == GBI_CHUNK_FUNCTION) continue;
        if (mentions(source, chunk->first, chunk->last, name)) return true;
    }
    return false;
}

static void add_struct(maker *m, uint32_t index)
{
    gb_source *source = m->source;
    const gb_token *tokens = source->tokens.at;
    const gbi_chunk *chunk = &source->chunks.at[index];
    uint32_t body = chunk->params;
    if (!chunk->has_body || chunk->is_template || chunk->name == NONE || body == NONE) return;
    for (uint32_t i = chunk->first; i < body; i++)
        if (gbi_token_is(&tokens[i], ":") || gbi_token_is(&tokens[i], "<") ||
            gbi_token_is(&tokens[i], "class") || gbi_token_is(&tokens[i], "enum") ||
            gbi_token_is(&tokens[i], "union"))
            return;
    const char *name = copy_token(m, &tokens[chunk->name]), *fields[256];
    if (m->rc < 0 || !struct_used(source, index, name)) return;
    uint32_t close = gbi_skip_pair(source, body, chunk->last) - 1;
    int count = struct_fields(m, body + 1, close, fields, 256);
    if (count < 0 || m->rc < 0) return;
    const char **list = gbi_source_alloc(source, sizeof *list * (size_t)(count + 1));
    if (!list) return (void)(m->rc = GB_ENOMEM);
    memcpy(list, fields, sizeof *list * (size_t)count);
    const gbi_space *space = &source->spaces.at[chunk->space];
    gb_source_struct entry = {{space->scope, space->open, space->close, name}, list, count};
    if (GBI_PUSH(source, source->structs, entry) < 0) m->rc = GB_ENOMEM;
}

int gbi_source_declare(gb_source *source)
{
    maker m = {source, 0};
    for (uint32_t i = 0; i < source->chunks.count && m.rc == 0; i++) {
        gbi_chunk *chunk = &source->chunks.at[i];
        if (chunk->is_kernel && chunk->kind == GBI_CHUNK_FUNCTION) add_kernel(&m, i);
        if (chunk->kind == GBI_CHUNK_OTHER) add_globals(&m, chunk);
    }
    for (uint32_t i = 0; i < source->chunks.count && m.rc == 0; i++) {
        gbi_kind kind = source->chunks.at[i].kind;
        if (kind == GBI_CHUNK_CLASS || kind == GBI_CHUNK_TYPEDEF) add_struct(&m, i);
    }
    return m.rc;
}
