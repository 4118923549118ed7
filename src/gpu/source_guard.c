/* The guard that most kernels begin with: int i = blockIdx.x * blockDim.x + threadIdx.x, then
 * if (i < n) ... or if (i >= n) return. Such a test holds for an interval of x: when it holds at
 * one end of a row, halving finds where it ends, and that part runs without it, while the rest does
 * nothing: no masks in the vector loop. (Masked lanes of a page without access cost microseconds.)
 * The patterns are strict on purpose; what does not match keeps its test. */
#include "gpu/source_room.h"

#include <string.h>

#define NONE UINT32_MAX

enum { NAMES_MAX = 32 };

typedef struct {
    const gb_token *token;
    bool along_x;   /* it is the place in x; else it does not depend on x */
    bool is_signed; /* it is known to be */
} name;

typedef struct {
    const gb_source *source;
    name names[NAMES_MAX];
    int count;
} prefix;

/* One side of a comparison. */
typedef struct {
    bool x;         /* the place in x is in it */
    bool moved;     /* with + or - around it */
    bool is_signed; /* all that is in it is known to be */
} side;

/* Types that do not wrap around at 0, and words that say nothing of that. */
static const char *const signed_types[] = {"int",     "long",    "short",     "signed", "float",
                                           "int32_t", "int64_t", "ptrdiff_t", "double", NULL};
static const char *const qualifiers[] = {"const", "constexpr", NULL};

static const gb_token *token_at(const prefix *p, uint32_t at)
{
    return &p->source->tokens.at[at];
}

static const name *find_name(const prefix *p, const gb_token *token)
{
    for (int i = 0; i < p->count; i++)
        if (p->names[i].token->size == token->size &&
            memcmp(p->names[i].token->text, token->text, token->size) == 0)
            return &p->names[i];
    return NULL;
}

/* Tokens [at, end) are a signed type and its qualifiers, and nothing else. */
static bool is_signed_type(const prefix *p, uint32_t at, uint32_t end)
{
    bool found = false;
    for (; at < end; at++) {
        if (gbi_token_in(token_at(p, at), signed_types))
            found = true;
        else if (!gbi_token_in(token_at(p, at), qualifiers))
            return false;
    }
    return found;
}

static bool is_call(const prefix *p, uint32_t at)
{
    static const char *const casts[] = {"int", "unsigned", "size_t", "long", NULL};
    return token_at(p, at)->kind == GB_TOKEN_NAME && gbi_token_is(token_at(p, at + 1), "(") &&
           !gbi_token_in(token_at(p, at), casts);
}

static bool is_unsigned_number(const gb_token *token)
{
    return memchr(token->text, 'u', token->size) || memchr(token->text, 'U', token->size);
}

/* Tokens [at, end) of plain arithmetic; where the place in x is in it, with + and - only. */
static bool expression(const prefix *p, uint32_t at, uint32_t end, side *out)
{
    bool scaled = false, moved = false;
    *out = (side){.is_signed = true};
    if (at == end) return false;
    for (uint32_t i = at; i < end; i++) {
        const gb_token *token = token_at(p, i);
        if (token->kind == GB_TOKEN_NAME) {
            const name *own = find_name(p, token);
            bool member = gbi_token_is(token_at(p, i - 1), ".");
            if (is_call(p, i)) return false;
            if (own && !member) out->x |= own->along_x;
            out->is_signed &= own && !member && own->is_signed;
            bool place = gbi_token_is(token, "threadIdx") || gbi_token_is(token, "blockIdx");
            if (place && gbi_token_is(token_at(p, i + 2), "x")) return false;
            if (place && !gbi_token_is(token_at(p, i + 1), ".")) return false;
        } else if (token->kind == GB_TOKEN_PUNCT) {
            if (token->size != 1 || !strchr("+-*/.()", *token->text)) return false;
            if (strchr("+-", *token->text) && gbi_token_is(token_at(p, i + 1), "+")) return false;
            if (strchr("+-", *token->text) && gbi_token_is(token_at(p, i + 1), "-")) return false;
            scaled |= strchr("*/(", *token->text) != NULL;
            moved |= strchr("+-", *token->text) != NULL;
        } else if (token->kind != GB_TOKEN_NUMBER) {
            return false;
        } else {
            out->is_signed &= !is_unsigned_number(token);
        }
    }
    out->moved = out->x && moved;
    return !out->x || !scaled;
}

/* The parameters of [at, end), without their parentheses: those whose type is certain. */
static void parameters(prefix *p, uint32_t at, uint32_t end)
{
    for (uint32_t stop = at; at < end && p->count < NAMES_MAX; at = stop + 1) {
        for (stop = at; stop < end && !gbi_token_is(token_at(p, stop), ",");) stop++;
        if (stop - at < 2 || !is_signed_type(p, at, stop - 1)) continue;
        p->names[p->count++] = (name){.token = token_at(p, stop - 1), .is_signed = true};
    }
}

/* "const int x = ..., y = ...;": behind it, or NONE. */
static uint32_t declaration(prefix *p, uint32_t at, uint32_t end)
{
    static const char *const types[] = {"int",     "unsigned",  "long",      "size_t",   "const",
                                        "int32_t", "uint32_t",  "int64_t",   "uint64_t", "uint",
                                        "auto",    "constexpr", "ptrdiff_t", NULL};
    uint32_t own = at;
    while (own < end && gbi_token_in(token_at(p, own), types)) own++;
    if (own == at) return NONE;
    bool is_signed = is_signed_type(p, at, own);
    for (;;) {
        side value = {.x = false};
        if (token_at(p, own)->kind != GB_TOKEN_NAME || p->count == NAMES_MAX ||
            !gbi_token_is(token_at(p, own + 1), "="))
            return NONE;
        uint32_t from = own + 2, stop = from, place = gbi_match_place(p->source, from);
        int depth = 0;
        for (; stop < end; stop++) {
            const gb_token *token = token_at(p, stop);
            depth += gbi_token_is(token, "(") - gbi_token_is(token, ")");
            if (gbi_token_is(token, ";") || (!depth && gbi_token_is(token, ","))) break;
        }
        if (place == stop)
            value.x = true;
        else if (!expression(p, from, stop, &value) || value.x)
            return NONE;
        p->names[p->count++] =
            (name){.token = token_at(p, own), .along_x = value.x, .is_signed = is_signed};
        if (stop >= end) return NONE;
        if (gbi_token_is(token_at(p, stop), ";")) return stop + 1;
        own = stop + 1;
    }
}

/* One comparison [at, end), perhaps in parentheses: a < b, a >= b and so on. Unsigned numbers wrap
 * around: i - 100u > 50u holds for i = 0, not for 120, and for 200 again. So the place is moved by
 * signed ones only. */
static bool comparison(const prefix *p, uint32_t at, uint32_t end)
{
    side left, right;
    if (gbi_token_is(token_at(p, at), "(") && gbi_skip_pair(p->source, at, end) == end) at++, end--;
    for (uint32_t i = at; i < end; i++) {
        const gb_token *token = token_at(p, i);
        if (!gbi_token_is(token, "<") && !gbi_token_is(token, ">")) continue;
        uint32_t from = i + 1 + gbi_token_is(token_at(p, i + 1), "=");
        if (!expression(p, at, i, &left) || !expression(p, from, end, &right)) return false;
        return (!left.moved && !right.moved) || (left.is_signed && right.is_signed);
    }
    return false;
}

/* Comparisons joined by `word` alone. */
static bool joined(const prefix *p, uint32_t at, uint32_t end, const char *word)
{
    uint32_t from = at;
    int depth = 0;
    for (uint32_t i = at; i <= end; i++) {
        const gb_token *token = token_at(p, i);
        if (i < end) depth += gbi_token_is(token, "(") - gbi_token_is(token, ")");
        if (i < end && (depth || !gbi_token_is(token, word))) continue;
        if (!comparison(p, from, i)) return false;
        from = i + 1;
    }
    return true;
}

uint32_t gbi_kernel_guard(const gb_source *source, const gbi_chunk *chunk)
{
    prefix p = {.source = source};
    uint32_t at = gbi_skip_pair(source, chunk->params, chunk->last), end = chunk->last - 1;
    parameters(&p, chunk->params + 1, at - 1);
    while (at < end && !gbi_token_is(token_at(&p, at), "{")) at++;
    for (at++; at < end && !gbi_token_is(token_at(&p, at), "if");) {
        at = declaration(&p, at, end);
        if (at == NONE) return 0;
    }
    if (at + 2 >= end || !gbi_token_is(token_at(&p, at + 1), "(")) return 0;
    uint32_t close = gbi_skip_pair(source, at + 1, end) - 1, body = close + 1;
    bool braces = gbi_token_is(token_at(&p, body), "{");
    if (gbi_token_is(token_at(&p, body + braces), "return") &&
        gbi_token_is(token_at(&p, body + braces + 1), ";"))
        return joined(&p, at + 2, close, "||") &&
                       (!braces || gbi_token_is(token_at(&p, body + 3), "}"))
                   ? at
                   : 0;
    uint32_t last = body; /* otherwise the statement is the kernel's last */
    if (braces)
        last = gbi_skip_pair(source, body, end);
    else
        while (last < end && !gbi_token_is(token_at(&p, last), ";") &&
               !gbi_token_is(token_at(&p, last), "{"))
            last++;
    if (last + !braces != end) return 0;
    return joined(&p, at + 2, close, "&&") ? at : 0;
}
