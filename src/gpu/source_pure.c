/* What the tokens of an expression say: is it arithmetic on values that stay, is a variable
 * changed. Both answers err to the slow side: not pure, changed. */
#include "gpu/source_loops.h"

#include <string.h>

#define NONE UINT32_MAX

static const char *const type_words[] = {"int",     "unsigned", "signed",  "long",      "short",
                                         "char",    "float",    "double",  "bool",      "size_t",
                                         "const",   "int8_t",   "uint8_t", "int16_t",   "uint16_t",
                                         "int32_t", "uint32_t", "int64_t", "uint64_t",  "uint",
                                         "ulong",   "uchar",    "ushort",  "ptrdiff_t", NULL};
static const char *const block_words[] = {"blockIdx", "blockDim", "gridDim", "warpSize", NULL};
static const char *const plain_words[] = {"true", "false", "static_cast", "min", "max", NULL};

static bool same(const gb_token *a, const gb_token *b)
{
    return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

/* The second stands right behind the first: "+" "=" is += */
static bool adjacent(const gb_token *a, const gb_token *b)
{
    return a->text + a->size == b->text;
}

static bool member(const gb_token *token)
{
    return gbi_token_is(token - 1, ".") || gbi_token_is(token - 1, "->") ||
           gbi_token_is(token - 1, "::");
}

const gbi_var *gbi_loops_find(const gb_source *source, const gbi_loops *plan, uint32_t token)
{
    const gb_token *tokens = source->tokens.at;
    for (uint32_t i = plan->vars.count; i-- > 0;) {
        const gbi_var *var = &plan->vars.at[i];
        if (token < var->scope || token >= var->scope_last) continue;
        if (same(&tokens[var->name], &tokens[token])) return var;
    }
    return NULL;
}

/* ---- purity ---- */

static bool mentions(const gb_source *source, uint32_t at, uint32_t end, const gb_token *word)
{
    for (; at < end; at++)
        if (source->tokens.at[at].kind == GB_TOKEN_NAME && same(&source->tokens.at[at], word))
            return true;
    return false;
}

/* A name of the module that stands for a value that never changes, or for a type. */
static bool constant(const gb_source *source, const gbi_chunk *kernel, const gb_token *token)
{
    const gb_token *tokens = source->tokens.at;
    if (kernel->is_template) {
        uint32_t close = gbi_skip_angles(source, kernel->first + 1, kernel->last);
        if (mentions(source, kernel->first + 1, close, token)) return true;
    }
    for (uint32_t i = 0; i < source->chunks.count; i++) {
        const gbi_chunk *chunk = &source->chunks.at[i];
        bool named = chunk->name != NONE && same(&tokens[chunk->name], token);
        bool is_enum = gbi_token_is(&tokens[chunk->first], "enum");
        if (is_enum && mentions(source, chunk->first, chunk->last, token)) return true;
        if (!named) continue;
        if (chunk->kind == GBI_CHUNK_TYPEDEF || chunk->kind == GBI_CHUNK_CLASS) return true;
        if (chunk->kind != GBI_CHUNK_OTHER) return false;
        bool is_const = false, pointer = false;
        for (uint32_t k = chunk->first; k < chunk->last; k++) {
            if (gbi_token_is(&tokens[k], "constexpr")) return true;
            if (gbi_token_is(&tokens[k], "=")) break;
            is_const |=
                gbi_token_is(&tokens[k], "const") || gbi_token_is(&tokens[k], "__constant__");
            pointer |= gbi_token_is(&tokens[k], "*") || gbi_token_is(&tokens[k], "&");
        }
        return is_const && !pointer;
    }
    return false;
}

static bool pure_name(const gb_source *source, const gbi_loops *plan, const gbi_chunk *chunk,
                      uint32_t at, bool *place)
{
    const gb_token *tokens = source->tokens.at, *token = &tokens[at];
    bool call = gbi_token_is(&tokens[at + 1], "(");
    if (gbi_token_is(token - 1, "->") || gbi_token_is(token - 1, "::")) return false;
    if (gbi_token_is(token - 1, ".")) return !call; /* a member of what was judged */
    const gbi_var *var = gbi_loops_find(source, plan, at);
    if (var) {
        *place |= var->kind == GBI_VAR_PLACE;
        return !call && (var->kind == GBI_VAR_UNIFORM || var->kind == GBI_VAR_PLACE);
    }
    if (gbi_token_is(token, "threadIdx")) return *place = true, true;
    if (gbi_token_in(token, type_words) || gbi_token_in(token, plain_words)) return true;
    if (call) return false;
    return gbi_token_in(token, block_words) || constant(source, chunk, token);
}

/* "* p" that loads rather than multiplies: no value in front of it. A cast is no value. */
static bool unary(const gb_source *source, const gbi_loops *plan, uint32_t at)
{
    const gb_token *tokens = source->tokens.at, *before = &tokens[at - 1];
    if (before->kind == GB_TOKEN_NAME)
        return gbi_token_is(before, "return") || gbi_token_in(before, type_words);
    if (before->kind == GB_TOKEN_NUMBER || gbi_token_is(before, "]")) return false;
    if (!gbi_token_is(before, ")")) return true;
    uint32_t open = at - 1;
    for (int depth = 0; open > 0; open--) {
        depth += gbi_token_is(&tokens[open], ")") - gbi_token_is(&tokens[open], "(");
        if (depth == 0) break;
    }
    for (uint32_t i = open + 1; i < at - 1; i++) {
        bool value = tokens[i].kind == GB_TOKEN_NUMBER || gbi_loops_find(source, plan, i) ||
                     gbi_token_is(&tokens[i], "threadIdx") || gbi_token_in(&tokens[i], block_words);
        if (value) return false;
    }
    return true;
}

static bool pure_punct(const gb_source *source, const gbi_loops *plan, uint32_t at)
{
    const gb_token *token = &source->tokens.at[at], *before = token - 1, *after = token + 1;
    static const char *const longer[] = {"<<", ">>", "&&", "||", NULL};
    if (token->size > 1) return gbi_token_in(token, longer);
    if (!strchr("+-*/%<>=!?:&|^~().,", *token->text)) return false;
    if (strchr("+-", *token->text) && same(token, after) && adjacent(token, after)) return false;
    if (strchr("*&", *token->text) && unary(source, plan, at)) return false;
    if (*token->text != '=') return true;
    bool first = gbi_token_is(after, "=") && adjacent(token, after); /* == */
    bool second = before->size == 1 && strchr("=<>!", *before->text) && adjacent(before, token);
    return first || second;
}

bool gbi_loops_pure(const gb_source *source, const gbi_loops *plan, const gbi_chunk *chunk,
                    uint32_t at, uint32_t end, bool *place)
{
    *place = false;
    if (at >= end) return false;
    for (; at < end; at++) {
        const gb_token *token = &source->tokens.at[at];
        if (token->kind == GB_TOKEN_NAME) {
            if (!pure_name(source, plan, chunk, at, place)) return false;
        } else if (token->kind == GB_TOKEN_PUNCT) {
            if (!pure_punct(source, plan, at)) return false;
        } else if (token->kind != GB_TOKEN_NUMBER && token->kind != GB_TOKEN_CHAR) {
            return false;
        }
    }
    return true;
}

/* ---- changes ---- */

/* The name in front of the "(" that is open at `at`, NONE: it is in no call. */
static uint32_t call_around(const gb_source *source, uint32_t at, uint32_t floor)
{
    const gb_token *tokens = source->tokens.at;
    int depth = 0;
    for (uint32_t i = at; i-- > floor;) {
        if (gbi_token_is(&tokens[i], ";") || gbi_token_is(&tokens[i], "{")) return NONE;
        depth += gbi_token_is(&tokens[i], ")") - gbi_token_is(&tokens[i], "(");
        if (depth < 0) return tokens[i - 1].kind == GB_TOKEN_NAME ? i - 1 : NONE;
    }
    return NONE;
}

/* f(x): a function of the module may take it by reference; CUDA's own take values. */
static bool handed_out(const gb_source *source, const gbi_loops *plan, uint32_t at, uint32_t floor)
{
    const gb_token *token = &source->tokens.at[at], *before = token - 1, *after = token + 1;
    bool bare = (gbi_token_is(before, "(") || gbi_token_is(before, ",")) &&
                (gbi_token_is(after, ")") || gbi_token_is(after, ","));
    if (!bare) return false;
    uint32_t call = call_around(source, at, floor);
    if (call == NONE) return gbi_token_is(before, "(") && gbi_token_is(before - 1, ")");
    return gbi_loops_find(source, plan, call) || gbi_source_declares(source, call);
}

static bool assigned(const gb_token *token)
{
    const gb_token *after = token + 1, *before = token - 1;
    while (gbi_token_is(after, ".")) after += 2;
    bool twice = same(after, after + 1) && adjacent(after, after + 1);
    if (gbi_token_is(after, "=")) return !twice;
    if ((gbi_token_is(after, "+") || gbi_token_is(after, "-")) && twice) return true;
    if (after->kind == GB_TOKEN_PUNCT && gbi_token_is(after + 1, "=") &&
        adjacent(after, after + 1) && !gbi_token_is(after, "<") && !gbi_token_is(after, ">") &&
        !gbi_token_is(after, "!"))
        return true;
    bool sign = gbi_token_is(before, "+") || gbi_token_is(before, "-");
    if (sign && same(before, before - 1) && adjacent(before - 1, before)) return true;
    if (gbi_token_is(before, "&")) { /* its address */
        const gb_token *left = before - 1;
        return left->kind != GB_TOKEN_NAME && left->kind != GB_TOKEN_NUMBER &&
               !gbi_token_is(left, ")") && !gbi_token_is(left, "]");
    }
    /* int &r = x */
    return gbi_token_is(before, "=") && (before - 1)->kind == GB_TOKEN_NAME &&
           (gbi_token_is(before - 2, "&") || gbi_token_is(before - 2, "&&"));
}

bool gbi_loops_changed(const gb_source *source, const gbi_loops *plan, uint32_t name, uint32_t at,
                       uint32_t end)
{
    const gb_token *tokens = source->tokens.at;
    uint32_t floor = at;
    for (; at < end; at++) {
        const gb_token *token = &tokens[at];
        if (token->kind != GB_TOKEN_NAME || !same(token, &tokens[name]) || member(token)) continue;
        if (assigned(token) || handed_out(source, plan, at, floor)) return true;
    }
    return false;
}
