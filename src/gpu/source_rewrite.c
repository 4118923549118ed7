/* The text that is compiled: the preprocessed input without its #define lines, with dynamic shared
 * memory as pointers and macros in #pragma unroll resolved. Newlines stay, so lines stay. */
#include "gpu/source_write.h"

#include "base/err.h"

#include <ctype.h>
#include <string.h>

void gbi_write(gbi_writer *w, const char *text, size_t size)
{
    if (w->rc == 0) w->rc = gb_buf_put(w->out, text, size);
}

void gbi_write_text(gbi_writer *w, const char *text)
{
    gbi_write(w, text, strlen(text));
}

void gbi_write_until(gbi_writer *w, const char *to)
{
    while (w->done < to) {
        const char *end = memchr(w->done, '\n', (size_t)(to - w->done));
        end = end ? end + 1 : to;
        bool whole = w->done == w->source->text || w->done[-1] == '\n';
        bool macro =
            whole && (strncmp(w->done, "#define", 7) == 0 || strncmp(w->done, "#undef", 6) == 0);
        if (macro)
            gbi_write_text(w, "\n");
        else
            gbi_write(w, w->done, (size_t)(end - w->done));
        w->done = end;
    }
}

void gbi_write_lines(gbi_writer *w, const char *to)
{
    for (; w->done < to; w->done++)
        if (*w->done == '\n') gbi_write_text(w, "\n");
}

static void put_tokens(gbi_writer *w, uint32_t at, uint32_t end)
{
    for (; at < end; at++) {
        gbi_write(w, w->source->tokens.at[at].text, w->source->tokens.at[at].size);
        gbi_write_text(w, " ");
    }
}

/* extern __shared__ float name[]; with `at` at extern. Returns the token behind it, or `at` when it
 * is something else. */
uint32_t gbi_write_shared(gbi_writer *w, uint32_t at, bool inside, const gbi_space *space)
{
    gb_source *source = w->source;
    const gb_token *tokens = source->tokens.at;
    uint32_t end = at, open = 0;
    bool shared = false;
    while (tokens[end].kind != GB_TOKEN_END && !gbi_token_is(&tokens[end], ";") &&
           !gbi_token_is(&tokens[end], "{")) {
        if (gbi_token_is(&tokens[end], "__shared__")) shared = true;
        if (gbi_token_is(&tokens[end], "[") && !open) open = end;
        end++;
    }
    if (!shared || !open || !gbi_token_is(&tokens[open + 1], "]")) return at;
    uint32_t name = open - 1;
    gbi_write_until(w, tokens[at].text);
    if (!inside) gbi_write_text(w, "static thread_local ");
    for (uint32_t i = at; i < name; i++) {
        if (gbi_token_is(&tokens[i], "__shared__") || gbi_token_is(&tokens[i], "extern")) continue;
        if (gbi_token_is(&tokens[i], "__align__") || gbi_token_is(&tokens[i], "alignas") ||
            gbi_token_is(&tokens[i], "__attribute__")) {
            i = gbi_skip_pair(source, i + 1, name) - 1; /* the memory is aligned to 128 */
            continue;
        }
        put_tokens(w, i, i + 1);
    }
    gbi_write_text(w, inside ? "(*const " : "(*");
    put_tokens(w, name, name + 1);
    gbi_write_text(w, ") ");
    put_tokens(w, open + 2, end);
    if (inside) gbi_write_text(w, "= (decltype(");
    if (inside) put_tokens(w, name, name + 1);
    if (inside) gbi_write_text(w, ")) __gb_shared");
    gbi_write_lines(w, tokens[end].text);
    if (inside) return end;
    gb_source_name entry = {space->scope, space->open, space->close, NULL};
    entry.name = gbi_source_copy(source, tokens[name].text, tokens[name].size);
    if (!entry.name || GBI_PUSH(source, source->shared, entry) < 0) w->rc = GB_ENOMEM;
    return end;
}

static const gbi_macro *macro_at(const gb_source *source, const char *name, size_t size,
                                 size_t offset)
{
    const gbi_macro *found = NULL;
    for (uint32_t i = 0; i < source->macros.count; i++) {
        const gbi_macro *macro = &source->macros.at[i];
        if (macro->offset > offset) break;
        if (macro->name_size == size && memcmp(macro->name, name, size) == 0) found = macro;
    }
    return found && found->value ? found : NULL;
}

static void expand(gbi_writer *w, const char *at, const char *end, size_t offset, int depth)
{
    while (at < end) {
        const char *from = at;
        if (!isalpha((unsigned char)*at) && *at != '_') {
            gbi_write(w, at++, 1);
            continue;
        }
        while (at < end && (isalnum((unsigned char)*at) || *at == '_')) at++;
        const gbi_macro *macro = macro_at(w->source, from, (size_t)(at - from), offset);
        if (macro && depth < 16)
            expand(w, macro->value, macro->value + macro->value_size, offset, depth + 1);
        else
            gbi_write(w, from, (size_t)(at - from));
    }
}

/* The preprocessor leaves #pragma unroll N as it is, and N is gone when the text is compiled. */
void gbi_write_pragma(gbi_writer *w, const gb_token *token)
{
    const char *end = token->text + token->size;
    const char *word = memmem(token->text, token->size, "unroll", 6);
    if (!word) return;
    gbi_write_until(w, word + 6);
    expand(w, word + 6, end, (size_t)(token->text - w->source->text), 0);
    w->done = end;
}

/* for (int i = E; C; i += S) of a grid-stride loop becomes one round of it per call:
 * for (int i = (E) + __gb_round * (S), __gb_once = 1; __gb_once && __gb_note(C); __gb_once = 0) */
static uint32_t grid_stride(gbi_writer *w, uint32_t at)
{
    const gb_token *tokens = w->source->tokens.at;
    uint32_t equals = at, test, step, close;
    close = gbi_skip_pair(w->source, at + 1, w->source->tokens.count) - 1;
    while (!gbi_token_is(&tokens[equals], "=")) equals++;
    for (test = equals; !gbi_token_is(&tokens[test], ";"); test++) {
    }
    for (step = test + 1; !gbi_token_is(&tokens[step], ";"); step++) {
    }
    gbi_write_until(w, tokens[equals + 1].text);
    gbi_write_text(w, "(");
    put_tokens(w, equals + 1, test);
    gbi_write_text(w, ") + __gb_round * (");
    put_tokens(w, step + 4, close);
    gbi_write_text(w, "), __gb_once = 1; __gb_once && __gb_note(");
    put_tokens(w, test + 1, step);
    gbi_write_text(w, "); __gb_once = 0");
    gbi_write_lines(w, tokens[close].text);
    return close;
}

/* if (i >= n) return;  becomes  if (__gb_outside(i >= n)) return;  and  if (i < n) ...  becomes
 * if (!__gb_outside(!(i < n))) ... */
static uint32_t guard(gbi_writer *w, uint32_t at)
{
    const gb_token *tokens = w->source->tokens.at;
    uint32_t close = gbi_skip_pair(w->source, at + 1, w->source->tokens.count) - 1;
    uint32_t body = close + 1 + gbi_token_is(&tokens[close + 1], "{");
    bool leaves = gbi_token_is(&tokens[body], "return") && gbi_token_is(&tokens[body + 1], ";");
    gbi_write_until(w, tokens[at + 2].text);
    gbi_write_text(w, leaves ? "__gb_outside(" : "!__gb_outside(!(");
    gbi_write_until(w, tokens[close].text);
    gbi_write_text(w, leaves ? ")" : "))");
    return close;
}

int gb_source_rewrite(gb_source *source, gb_buf *out)
{
    gbi_writer w = {source, out, source->text, 0};
    uint32_t chunk = 0;
    for (uint32_t at = 0; at < source->tokens.count && w.rc == 0; at++) {
        const gb_token *token = &source->tokens.at[at];
        for (; chunk < source->chunks.count && source->chunks.at[chunk].last <= at; chunk++)
            if (source->chunks.at[chunk].plan) gbi_write_loops(&w, &source->chunks.at[chunk]);
        if (token->kind == GB_TOKEN_PRAGMA) gbi_write_pragma(&w, token);
        if (at && chunk < source->chunks.count && source->chunks.at[chunk].loop == at)
            at = grid_stride(&w, at);
        if (at && chunk < source->chunks.count && source->chunks.at[chunk].guard == at)
            at = guard(&w, at);
        if (token->kind != GB_TOKEN_NAME || !gbi_token_is(token, "extern")) continue;
        const gbi_chunk *within = chunk < source->chunks.count ? &source->chunks.at[chunk] : NULL;
        bool inside = within && within->has_body && within->first < at;
        const gbi_space *space = &source->spaces.at[within ? within->space : 0];
        uint32_t next = gbi_write_shared(&w, at, inside, space);
        if (next > at) at = next - 1;
    }
    gbi_write_until(&w, source->text + source->bytes);
    if (w.rc == 0) w.rc = gb_buf_put(out, "\n", 1);
    return w.rc;
}
