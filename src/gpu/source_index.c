/* How a kernel uses its place in the grid, by patterns of tokens that are strict on purpose: what
 * does not match runs as it is written, only slower.
 *
 * Linear: blockIdx.x and threadIdx.x occur in blockIdx.x * blockDim.x + threadIdx.x alone, so the
 * threads of neighbouring blocks are one long row.
 *
 * Strided: the last statement is for (int i = ...; i < n; i += stride) over the grid, nothing is
 * carried from one round to the next, so rounds can be the outer loop and threads the inner one:
 * neighbouring threads touch neighbouring memory, which is what a GPU does too. */
#include "gpu/source_room.h"

#include <string.h>

#define NONE UINT32_MAX

static const char *const whole_types[] = {"int",       "unsigned", "long",     "size_t", "int32_t",
                                          "uint32_t",  "int64_t",  "uint64_t", "uint",   "ulong",
                                          "ptrdiff_t", "__gb_t",   NULL};

/* ---- linear ---- */

/* Matches one word of a pattern; a cast in front of it is passed. Returns the token behind, or
 * NONE. */
static uint32_t match_word(const gb_source *source, uint32_t at, const char *word)
{
    const gb_token *tokens = source->tokens.at;
    if (gbi_token_is(&tokens[at], "(") && gbi_token_in(&tokens[at + 1], whole_types)) {
        uint32_t i = at + 1;
        while (gbi_token_in(&tokens[i], whole_types)) i++;
        if (gbi_token_is(&tokens[i], ")")) at = i + 1;
    }
    bool call = gbi_token_in(&tokens[at], whole_types) && gbi_token_is(&tokens[at + 1], "(");
    if (call) at += 2; /* size_t(blockIdx.x) */
    if (gbi_token_is(&tokens[at], "static_cast") && gbi_token_is(&tokens[at + 1], "<")) {
        uint32_t i = at + 2;
        while (gbi_token_in(&tokens[i], whole_types)) i++;
        if (!gbi_token_is(&tokens[i], ">") || !gbi_token_is(&tokens[i + 1], "(")) return NONE;
        at = i + 2;
        call = true;
    }
    if (!gbi_token_is(&tokens[at], word)) return NONE;
    bool member = tokens[at].kind == GB_TOKEN_NAME;
    if (member && (!gbi_token_is(&tokens[at + 1], ".") || !gbi_token_is(&tokens[at + 2], "x")))
        return NONE;
    at += member ? 3 : 1;
    if (call && !gbi_token_is(&tokens[at], ")")) return NONE;
    return call ? at + 1 : at;
}

static uint32_t match_all(const gb_source *source, uint32_t at, const char *const *words)
{
    for (; *words && at != NONE; words++) at = match_word(source, at, *words);
    return at;
}

/* Behind the whole expression, when one begins at `at`. */
uint32_t gbi_match_place(const gb_source *source, uint32_t at)
{
    static const char *const patterns[][8] = {
        {"blockIdx", "*", "blockDim", "+", "threadIdx"},
        {"blockDim", "*", "blockIdx", "+", "threadIdx"},
        {"(", "blockIdx", "*", "blockDim", ")", "+", "threadIdx"},
        {"(", "blockDim", "*", "blockIdx", ")", "+", "threadIdx"},
        {"threadIdx", "+", "blockIdx", "*", "blockDim"},
        {"threadIdx", "+", "blockDim", "*", "blockIdx"},
        {"threadIdx", "+", "(", "blockIdx", "*", "blockDim", ")"},
        {"threadIdx", "+", "(", "blockDim", "*", "blockIdx", ")"},
    };
    static const char *const before[] = {"=", "(", ",", "+", "[", "return", "<", "{", NULL};
    static const char *const after[] = {"*", "/", "%", ".", NULL};
    if (!at || !gbi_token_in(&source->tokens.at[at - 1], before)) return NONE;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        uint32_t end = match_all(source, at, patterns[i]);
        if (end != NONE && !gbi_token_in(&source->tokens.at[end], after)) return end;
    }
    return NONE;
}

bool gbi_kernel_linear(const gb_source *source, const gbi_chunk *chunk)
{
    const gb_token *tokens = source->tokens.at;
    for (uint32_t i = chunk->first; i < chunk->last; i++) {
        uint32_t end = gbi_match_place(source, i);
        if (end != NONE) {
            i = end - 1;
            continue;
        }
        if (gbi_token_is(&tokens[i], "__shared__")) return false;
        if (!gbi_token_is(&tokens[i], "threadIdx") && !gbi_token_is(&tokens[i], "blockIdx"))
            continue;
        bool other = gbi_token_is(&tokens[i + 1], ".") &&
                     (gbi_token_is(&tokens[i + 2], "y") || gbi_token_is(&tokens[i + 2], "z"));
        if (!other) return false;
    }
    return true;
}

/* ---- strided ---- */

enum { NAMES_MAX = 32 };

typedef struct {
    const gb_source *source;
    const gb_token *names[NAMES_MAX]; /* declared in front of the loop, and its variable */
    bool places[NAMES_MAX];           /* it is the place in x, and nothing else */
    int count;
} scope;

static bool same(const gb_token *a, const gb_token *b)
{
    return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

static int find(const scope *s, const gb_token *token)
{
    for (int i = 0; i < s->count; i++)
        if (same(s->names[i], token)) return i;
    return -1;
}

static bool known(const scope *s, const gb_token *token)
{
    return find(s, token) >= 0;
}

/* Tokens of plain arithmetic: nothing that could be a call, a store or a load. */
static bool arithmetic(const gb_source *source, uint32_t at, uint32_t end)
{
    const gb_token *tokens = source->tokens.at;
    for (; at < end; at++) {
        const gb_token *token = &tokens[at];
        if (token->kind == GB_TOKEN_NAME) {
            bool call = gbi_token_is(&tokens[at + 1], "(") && !gbi_token_in(token, whole_types);
            if (call) return false;
        } else if (token->kind == GB_TOKEN_PUNCT) {
            if (token->size != 1 || !strchr("+-*/.()", *token->text)) return false;
            bool twice =
                at + 1 < end && strchr("+-", *token->text) &&
                gbi_token_is(&tokens[at + 1], token->size == 1 && *token->text == '+' ? "+" : "-");
            if (twice) return false;
        } else if (token->kind != GB_TOKEN_NUMBER) {
            return false;
        }
    }
    return true;
}

/* "const int stride = blockDim.x * gridDim.x;" at `at`: behind it, or NONE. A bare number could be
 * the start of something that the loop accumulates, so it is refused. */
static uint32_t take_declaration(scope *s, uint32_t at, uint32_t end)
{
    const gb_token *tokens = s->source->tokens.at;
    uint32_t name = at, stop;
    while (name < end && tokens[name].kind == GB_TOKEN_NAME) name++;
    if (name - at < 2 || !gbi_token_is(&tokens[name], "=") || s->count == NAMES_MAX) return NONE;
    for (stop = name + 1; stop < end && !gbi_token_is(&tokens[stop], ";"); stop++) {
    }
    bool words = false;
    for (uint32_t i = name + 1; i < stop; i++) words |= tokens[i].kind == GB_TOKEN_NAME;
    if (!words || !arithmetic(s->source, name + 1, stop)) return NONE;
    int other = find(s, &tokens[name + 1]);
    s->places[s->count] = gbi_match_place(s->source, name + 1) == stop ||
                          (stop == name + 2 && other >= 0 && s->places[other]);
    s->names[s->count++] = &tokens[name - 1];
    return stop + 1;
}

/* The loop's body leaves what lives across rounds alone, and does not end the thread. */
static bool carries_nothing(const scope *s, uint32_t at, uint32_t end)
{
    static const char *const leaves[] = {"return", "break", "goto", "asm", "static", NULL};
    const gb_token *tokens = s->source->tokens.at;
    for (; at < end; at++) {
        const gb_token *token = &tokens[at], *before = token - 1, *after = token + 1;
        if (gbi_token_in(token, leaves)) return false;
        if (token->kind != GB_TOKEN_NAME || !known(s, token)) continue;
        if (gbi_token_is(before, ".") || gbi_token_is(before, "->")) continue; /* a member */
        bool step = (gbi_token_is(before, "+") && gbi_token_is(before - 1, "+")) ||
                    (gbi_token_is(before, "-") && gbi_token_is(before - 1, "-"));
        bool set = gbi_token_is(after, "=") && !gbi_token_is(after + 1, "=");
        bool update = after->kind == GB_TOKEN_PUNCT && after->size <= 2 &&
                      strchr("+-*/%&|^<>", *after->text) &&
                      ((gbi_token_is(after + 1, "=") && !strchr("<>", after->text[0])) ||
                       (after->size == 2 && gbi_token_is(after + 1, "=")) ||
                       (after->size == 1 && strchr("+-", *after->text) && same(after, after + 1)));
        bool passed = (gbi_token_is(before, "(") || gbi_token_is(before, ",")) &&
                      (gbi_token_is(after, ")") || gbi_token_is(after, ",")) &&
                      !same(token, s->names[s->count - 1]);
        if (step || set || update || passed || gbi_token_is(before, "&")) return false;
    }
    return true;
}

uint32_t gbi_kernel_loop(const gb_source *source, const gbi_chunk *chunk)
{
    const gb_token *tokens = source->tokens.at;
    scope s = {.source = source};
    uint32_t at = gbi_skip_pair(source, chunk->params, chunk->last), end = chunk->last - 1;
    while (at < end && !gbi_token_is(&tokens[at], "{")) at++;
    for (at++; at < end && !gbi_token_is(&tokens[at], "for");) {
        at = take_declaration(&s, at, end);
        if (at == NONE) return 0;
    }
    if (at >= end) return 0;
    uint32_t open = at + 1, close = gbi_skip_pair(source, open, end) - 1, first = open + 1;
    if (take_declaration(&s, first, close) == NONE) return 0;
    /* it grows along the row: when the first thread is past the end, so are all */
    if (!s.places[s.count - 1]) return 0;
    const gb_token *name = s.names[s.count - 1];
    uint32_t test = first, step;
    while (!gbi_token_is(&tokens[test], ";")) test++;
    if (!same(&tokens[test + 1], name) || !gbi_token_is(&tokens[test + 2], "<")) return 0;
    for (step = test + 3; step < close && !gbi_token_is(&tokens[step], ";"); step++) {
    }
    if (!arithmetic(source, test + 3, step) || !same(&tokens[step + 1], name) ||
        !gbi_token_is(&tokens[step + 2], "+") || !gbi_token_is(&tokens[step + 3], "=") ||
        !arithmetic(source, step + 4, close))
        return 0;
    /* the stride must be one over the grid: it mentions gridDim, itself or by its one name */
    bool grid = false;
    for (uint32_t i = step + 4; i < close; i++) grid |= gbi_token_is(&tokens[i], "gridDim");
    for (uint32_t i = gbi_skip_pair(source, chunk->params, chunk->last); i < at && !grid; i++)
        grid = gbi_token_is(&tokens[i], "gridDim") && known(&s, &tokens[step + 4]);
    if (!grid) return 0;
    uint32_t body = close + 1, last = end;
    if (gbi_token_is(&tokens[body], "{")) {
        if (gbi_skip_pair(source, body, end) != end) return 0; /* something follows */
    } else {
        for (last = body; last < end && !gbi_token_is(&tokens[last], ";"); last++)
            if (gbi_token_is(&tokens[last], "{")) return 0;
        if (last + 1 != end) return 0;
    }
    return carries_nothing(&s, body, last) ? at : 0;
}
