#include "gpu/source_room.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct {
    gb_source *source;
    int rc;
} walker;

static const char *joined(walker *w, const char *a, const char *b, const char *text, uint32_t size)
{
    size_t head = strlen(a), middle = strlen(b);
    char *out = gbi_source_alloc(w->source, head + middle + size + 1);
    if (!out) return w->rc = GB_ENOMEM, "";
    memcpy(out, a, head);
    memcpy(out + head, b, middle);
    memcpy(out + head + middle, text, size);
    out[head + middle + size] = 0;
    return out;
}

static uint32_t enter(walker *w, uint32_t parent, const gb_token *name, bool is_inline)
{
    gbi_space at = w->source->spaces.at[parent], space = at;
    const char *word = name ? name->text : "";
    uint32_t size = name ? name->size : 0;
    if (name) space.scope = joined(w, at.scope, *at.scope ? "::" : "", word, size);
    space.open = joined(w, at.open, is_inline ? "inline namespace " : "namespace ", word, size);
    space.open = joined(w, space.open, " ", "{ ", 2);
    space.close = joined(w, at.close, "", "} ", 2);
    if (GBI_PUSH(w->source, w->source->spaces, space) < 0) w->rc = GB_ENOMEM;
    return w->source->spaces.count - 1;
}

static void walk_scope(walker *w, uint32_t at, uint32_t end, uint32_t space);

/* `at` is behind the word namespace. Returns the token behind the whole of it. */
static uint32_t walk_namespace(walker *w, uint32_t at, uint32_t end, uint32_t space, bool is_inline)
{
    const gb_token *tokens = w->source->tokens.at;
    bool named = false;
    for (; at < end && !gbi_token_is(&tokens[at], "{"); at++) {
        if (gbi_token_is(&tokens[at], "[")) {
            at = gbi_skip_pair(w->source, at, end) - 1;
        } else if (gbi_token_is(&tokens[at], "=") || gbi_token_is(&tokens[at], ";")) {
            while (at < end && !gbi_token_is(&tokens[at], ";")) at++; /* an alias */
            return at;
        } else if (tokens[at].kind == GB_TOKEN_NAME && !gbi_token_is(&tokens[at], "inline")) {
            space = enter(w, space, &tokens[at], is_inline);
            named = true;
        }
    }
    if (!named) space = enter(w, space, NULL, is_inline);
    uint32_t close = gbi_skip_pair(w->source, at, end);
    if (w->rc == 0 && at + 1 < close) walk_scope(w, at + 1, close - 1, space);
    return close;
}

static const char *const with_parens[] = {
    "__attribute__", "__launch_bounds__", "alignas",    "decltype", "noexcept",
    "__align__",     "__declspec",        "requires",   "explicit", "__cluster_dims__",
    "throw",         "__maxnreg__",       "__typeof__", NULL};
static const char *const class_keys[] = {"struct", "class", "union", "enum", NULL};

/* The state of one declaration while its tokens go by. */
typedef struct {
    gbi_chunk chunk;
    uint32_t last_name, class_key;
    bool equals, in_initialisers, done;
} declaration;

static uint32_t take_brace(walker *w, declaration *d, uint32_t at, uint32_t end)
{
    const gb_token *before = &w->source->tokens.at[at ? at - 1 : 0];
    uint32_t next = gbi_skip_pair(w->source, at, end);
    gbi_chunk *chunk = &d->chunk;
    if (d->equals) return next;
    if (d->class_key != NONE && chunk->params == NONE) {
        if (chunk->kind != GBI_CHUNK_TYPEDEF) chunk->kind = GBI_CHUNK_CLASS;
        chunk->params = at;
        chunk->has_body = true;
        return next;
    }
    if (chunk->kind != GBI_CHUNK_FUNCTION) {
        if (chunk->name == NONE) chunk->name = d->last_name;
        return next;
    }
    bool member = before->kind == GB_TOKEN_NAME || gbi_token_is(before, ">");
    if (d->in_initialisers && member) return next;
    chunk->has_body = true;
    d->done = true;
    return next;
}

static uint32_t take_paren(walker *w, declaration *d, uint32_t at, uint32_t end)
{
    const gb_token *tokens = w->source->tokens.at;
    gbi_chunk *chunk = &d->chunk;
    if (chunk->kind == GBI_CHUNK_OTHER && !d->equals && d->last_name != NONE) {
        chunk->kind = GBI_CHUNK_FUNCTION;
        chunk->name = d->last_name;
        if (gbi_token_is(&tokens[chunk->name], "operator") && at == chunk->name + 1)
            at = gbi_skip_pair(w->source, at, end); /* operator()(...) */
        chunk->params = at;
    }
    return gbi_skip_pair(w->source, at, end);
}

static uint32_t take_name(walker *w, declaration *d, uint32_t at, uint32_t end)
{
    const gb_token *tokens = w->source->tokens.at, *token = &tokens[at];
    gbi_chunk *chunk = &d->chunk;
    bool head = chunk->kind == GBI_CHUNK_OTHER && !d->equals;
    if (gbi_token_is(token, "template")) {
        bool list = gbi_token_is(&tokens[at + 1], "<");
        if (list && !gbi_token_is(&tokens[at + 2], ">")) chunk->is_template = true;
        return list ? gbi_skip_angles(w->source, at + 1, end) : at + 1;
    }
    if (gbi_token_in(token, with_parens))
        return gbi_token_is(&tokens[at + 1], "(") ? gbi_skip_pair(w->source, at + 1, end) : at + 1;
    if (head && gbi_token_is(token, "__global__")) chunk->is_kernel = true;
    if (head && (gbi_token_is(token, "typedef") || gbi_token_is(token, "using"))) {
        chunk->kind = GBI_CHUNK_TYPEDEF;
        return at + 1;
    }
    if (head && gbi_token_is(token, "operator")) {
        d->last_name = at++;
        while (at < end && !gbi_token_is(&tokens[at], "(") && !gbi_token_is(&tokens[at], ";")) at++;
        return at;
    }
    if (gbi_token_in(token, class_keys) && d->class_key == NONE && !d->equals &&
        chunk->kind != GBI_CHUNK_FUNCTION) {
        d->class_key = at;
        return at + 1;
    }
    if (d->class_key != NONE && chunk->params == NONE && chunk->name == NONE) chunk->name = at;
    d->last_name = at;
    return at + 1;
}

static uint32_t walk_declaration(walker *w, uint32_t at, uint32_t end, uint32_t space)
{
    const gb_token *tokens = w->source->tokens.at;
    declaration d = {.last_name = NONE, .class_key = NONE};
    d.chunk = (gbi_chunk){.first = at, .name = NONE, .params = NONE, .space = space};
    while (at < end && !d.done) {
        const gb_token *token = &tokens[at];
        bool head = d.chunk.kind != GBI_CHUNK_FUNCTION && !d.equals;
        if (token->kind == GB_TOKEN_NAME) {
            at = take_name(w, &d, at, end);
        } else if (gbi_token_is(token, ";")) {
            at++;
            d.done = true;
        } else if (gbi_token_is(token, "(")) {
            at = take_paren(w, &d, at, end);
        } else if (gbi_token_is(token, "{")) {
            at = take_brace(w, &d, at, end);
        } else if (gbi_token_is(token, "[")) {
            if (head && d.class_key == NONE && d.chunk.name == NONE) d.chunk.name = d.last_name;
            at = gbi_skip_pair(w->source, at, end);
        } else if (gbi_token_is(token, "<") && head && at && tokens[at - 1].kind == GB_TOKEN_NAME) {
            at = gbi_skip_angles(w->source, at, end);
        } else {
            if (gbi_token_is(token, "=") && head) d.equals = true;
            if (gbi_token_is(token, ":") && !head) d.in_initialisers = true;
            if (head && d.class_key == NONE && d.chunk.name == NONE &&
                (gbi_token_is(token, "=") || gbi_token_is(token, ",")))
                d.chunk.name = d.last_name;
            at++;
        }
    }
    d.chunk.last = at;
    if (d.chunk.name == NONE || d.chunk.kind == GBI_CHUNK_TYPEDEF) {
        if (!(d.chunk.kind == GBI_CHUNK_TYPEDEF && d.equals)) d.chunk.name = d.last_name;
    }
    if (GBI_PUSH(w->source, w->source->chunks, d.chunk) < 0) w->rc = GB_ENOMEM;
    return at;
}

static void walk_scope(walker *w, uint32_t at, uint32_t end, uint32_t space)
{
    const gb_token *tokens = w->source->tokens.at;
    while (at < end && w->rc == 0) {
        const gb_token *token = &tokens[at];
        bool is_inline =
            gbi_token_is(token, "inline") && gbi_token_is(&tokens[at + 1], "namespace");
        if (token->kind == GB_TOKEN_PRAGMA || gbi_token_is(token, ";") ||
            gbi_token_is(token, "}")) {
            at++;
        } else if (is_inline || gbi_token_is(token, "namespace")) {
            at = walk_namespace(w, at + 1 + is_inline, end, space, is_inline);
        } else if (gbi_token_is(token, "extern") && tokens[at + 1].kind == GB_TOKEN_STRING &&
                   gbi_token_is(&tokens[at + 2], "{")) {
            uint32_t close = gbi_skip_pair(w->source, at + 2, end);
            walk_scope(w, at + 3, close - 1, space);
            at = close;
        } else {
            at = walk_declaration(w, at, end, space);
        }
    }
}

int gbi_source_walk(gb_source *source)
{
    walker w = {source, 0};
    if (GBI_PUSH(source, source->spaces, ((gbi_space){"", "", ""})) < 0) return GB_ENOMEM;
    walk_scope(&w, 0, source->tokens.count - GBI_END_TOKENS, 0);
    return w.rc;
}
