/* What a kernel may reach: the closure of names over declarations. A name stands for everything
 * that declares it, whatever its scope, so the answer errs to "yes". */
#include "gpu/source_room.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

static const char *const sync_prefixes[] = {"__sync",    "__shfl",   "__any",     "__all",
                                            "__ballot",  "__match_", "__reduce_", "__activemask",
                                            "__barrier", NULL};

static bool starts(const gb_token *token, const char *const *prefixes)
{
    for (; *prefixes; prefixes++) {
        size_t size = strlen(*prefixes);
        if (token->size >= size && memcmp(token->text, *prefixes, size) == 0) return true;
    }
    return false;
}

/* ---- addressable locals ----
 * The loop over threads is declared free of dependences. A local array that stays in memory would
 * be one piece of memory for all lanes, so a kernel that has one, or takes an address, is not
 * declared so. */

static const char *const no_declaration[] = {"return", "else",   "case",    "goto",
                                             "delete", "new",    "throw",   "sizeof",
                                             "using",  "public", "default", NULL};

/* Statement [at, end): "float v[4]", "const float a = x[0], v[4]", "Pair<int> v[2]". */
static bool declares_array(const gb_source *source, uint32_t at, uint32_t end)
{
    const gb_token *tokens = source->tokens.at;
    uint32_t units = 0, i = at;
    bool initialiser = false;
    if (at < end && gbi_token_in(&tokens[at], no_declaration)) return false;
    for (; i < end; i++) {
        const gb_token *token = &tokens[i];
        if (gbi_token_is(token, "__shared__")) return false;
        if (gbi_token_is(token, "static") || gbi_token_is(token, "extern")) return false;
        if (token->kind == GB_TOKEN_NAME) {
            bool scoped = i > at && gbi_token_is(&tokens[i - 1], "::");
            units += !scoped;
        } else if (gbi_token_is(token, "[")) {
            if (units >= 2 && !initialiser && i > at && tokens[i - 1].kind == GB_TOKEN_NAME)
                return true;
            if (units < 2) return false;
            i = gbi_skip_pair(source, i, end) - 1;
        } else if (gbi_token_is(token, "<")) {
            if (units != 1) return false;
            i = gbi_skip_angles(source, i, end) - 1;
        } else if (gbi_token_is(token, "=")) {
            if (units < 2) return false;
            initialiser = true;
        } else if (gbi_token_is(token, ",")) {
            initialiser = false;
        } else if (gbi_token_is(token, "(") || gbi_token_is(token, "{")) {
            if (units < 2 && !gbi_token_is(&tokens[i + 1], "&")) return false;
            i = gbi_skip_pair(source, i, end) - 1;
        } else if (!initialiser && !gbi_token_is(token, "*") && !gbi_token_is(token, "&") &&
                   !gbi_token_is(token, "::")) {
            return false;
        }
    }
    return false;
}

static bool takes_address(const gb_source *source, uint32_t at)
{
    const gb_token *before = &source->tokens.at[at - 1], *after = &source->tokens.at[at + 1];
    if (after->kind != GB_TOKEN_NAME && !gbi_token_is(after, "(")) return false;
    if (before->kind == GB_TOKEN_NAME) return gbi_token_is(before, "return");
    if (before->kind != GB_TOKEN_PUNCT) return false;
    return !gbi_token_is(before, ")") && !gbi_token_is(before, "]") && !gbi_token_is(before, ">") &&
           !gbi_token_is(before, "*");
}

static bool addressable(const gb_source *source, const gbi_chunk *chunk)
{
    static const char *const prefixes[] = {"volatile",      "atomic", "alloca",
                                           "__threadfence", "asm",    NULL};
    const gb_token *tokens = source->tokens.at;
    uint32_t body = chunk->params == NONE ? chunk->first : chunk->params, statement;
    if (chunk->kind == GBI_CHUNK_FUNCTION) body = gbi_skip_pair(source, body, chunk->last);
    statement = body;
    for (uint32_t i = body; i < chunk->last; i++) {
        const gb_token *token = &tokens[i];
        if (token->kind == GB_TOKEN_NAME && starts(token, prefixes)) return true;
        if (gbi_token_is(token, "&") && i && takes_address(source, i)) return true;
        if (gbi_token_is(token, "[") && i && gbi_token_is(&tokens[i - 1], ")")) return true;
        /* a reference that may be bound to one of two locals */
        if (gbi_token_is(token, "?"))
            for (uint32_t k = statement; k < i; k++)
                if (gbi_token_is(&tokens[k], "&") && gbi_token_is(&tokens[k + 2], "=")) return true;
        bool end = token->kind == GB_TOKEN_PRAGMA || gbi_token_is(token, ";") ||
                   gbi_token_is(token, "{") || gbi_token_is(token, "}");
        if (end || (gbi_token_is(token, "(") && i && gbi_token_is(&tokens[i - 1], "for"))) {
            if (declares_array(source, statement, i)) return true;
            /* the braces of "float v[4] = {" belong to the statement, which was just judged */
            statement = i + 1;
        }
    }
    return false;
}

/* ---- names ---- */

static int compare_names(const void *a, const void *b)
{
    const gbi_name *x = a, *y = b;
    uint32_t size = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->text, y->text, size);
    if (order) return order;
    return x->size < y->size ? -1 : x->size > y->size;
}

static int add_name(gb_source *source, uint32_t token, uint32_t chunk)
{
    const gb_token *at = &source->tokens.at[token];
    return GBI_PUSH(source, source->names, ((gbi_name){at->text, at->size, chunk}));
}

static int add_names(gb_source *source, uint32_t index)
{
    const gbi_chunk *chunk = &source->chunks.at[index];
    const gb_token *tokens = source->tokens.at;
    int rc = chunk->name == NONE ? 0 : add_name(source, chunk->name, index);
    bool is_class = chunk->params != NONE && chunk->kind != GBI_CHUNK_FUNCTION;
    if (!is_class || rc < 0) return rc;
    uint32_t end = gbi_skip_pair(source, chunk->params, chunk->last);
    for (uint32_t i = chunk->params + 1; i < end && rc == 0; i++) {
        bool method = tokens[i].kind == GB_TOKEN_NAME && gbi_token_is(&tokens[i + 1], "(");
        if (method) rc = add_name(source, i, index);
        if (method) i++;
        if (gbi_token_is(&tokens[i], "(") || gbi_token_is(&tokens[i], "{"))
            i = gbi_skip_pair(source, i, end) - 1;
    }
    return rc;
}

/* The first entry of a name in the sorted list, or NULL. */
static const gbi_name *find(const gb_source *source, const gb_token *token)
{
    gbi_name key = {token->text, token->size, 0};
    uint32_t low = 0, high = source->names.count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (compare_names(&source->names.at[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == source->names.count || compare_names(&source->names.at[low], &key)) return NULL;
    return &source->names.at[low];
}

/* A function that asks where it is, or block memory, which a block must have for itself. */
static bool mentions_place(const gb_source *source, const gbi_chunk *chunk)
{
    static const char *const words[] = {"threadIdx", "blockIdx", "__shared__", NULL};
    for (uint32_t i = chunk->first; i < chunk->last; i++)
        if (gbi_token_in(&source->tokens.at[i], words)) return true;
    return false;
}

/* Pulls what a chunk mentions into it; true when it changed. */
static bool pull(gb_source *source, uint32_t index)
{
    gbi_chunk *chunk = &source->chunks.at[index];
    const gbi_name *end = source->names.at + source->names.count;
    bool before_sync = chunk->sync, before_plain = chunk->plain, before_index = chunk->indexed;
    for (uint32_t i = chunk->first; i < chunk->last; i++) {
        const gb_token *token = &source->tokens.at[i];
        if (token->kind != GB_TOKEN_NAME) continue;
        const gbi_name *name = find(source, token), *first = name;
        for (; name && name < end && compare_names(name, first) == 0; name++) {
            const gbi_chunk *other = &source->chunks.at[name->chunk];
            chunk->sync |= other->sync;
            chunk->plain &= other->plain;
            chunk->indexed |= other->indexed && other != chunk;
        }
    }
    return chunk->sync != before_sync || chunk->plain != before_plain ||
           chunk->indexed != before_index;
}

int gbi_source_close_over(gb_source *source)
{
    bool hidden_sync = false, hidden_unplain = false, hidden_index = false, changed = true;
    for (uint32_t i = 0; i < source->chunks.count; i++) {
        gbi_chunk *chunk = &source->chunks.at[i];
        if (add_names(source, i) < 0) return GB_ENOMEM;
        chunk->plain = !addressable(source, chunk);
        for (uint32_t k = chunk->first; k < chunk->last && !chunk->sync; k++)
            chunk->sync = source->tokens.at[k].kind == GB_TOKEN_NAME &&
                          starts(&source->tokens.at[k], sync_prefixes);
        chunk->indexed =
            chunk->is_kernel ? !gbi_kernel_linear(source, chunk) : mentions_place(source, chunk);
    }
    if (source->names.count)
        qsort(source->names.at, source->names.count, sizeof *source->names.at, compare_names);
    while (changed) {
        changed = false;
        for (uint32_t i = 0; i < source->chunks.count; i++) changed |= pull(source, i);
    }
    for (uint32_t i = 0; i < source->chunks.count; i++) {
        const gbi_chunk *chunk = &source->chunks.at[i];
        bool hidden =
            chunk->name == NONE || gbi_token_is(&source->tokens.at[chunk->name], "operator");
        if (!hidden) continue; /* an operator is called without its name */
        hidden_sync |= chunk->sync;
        hidden_unplain |= !chunk->plain;
        hidden_index |= chunk->indexed;
    }
    source->hidden_sync = hidden_sync;
    for (uint32_t i = 0; i < source->kernels.count; i++) {
        gb_source_kernel *kernel = &source->kernels.at[i];
        kernel->sync = hidden_sync || source->chunks.at[kernel->chunk].sync;
        gbi_chunk *chunk = &source->chunks.at[kernel->chunk];
        kernel->plain = !hidden_unplain && chunk->plain;
        kernel->linear = !hidden_index && !chunk->indexed;
        chunk->loop = kernel->plain && !kernel->sync && !kernel->is_template
                          ? gbi_kernel_loop(source, chunk)
                          : 0;
        kernel->strided = chunk->loop != 0;
        bool whole = kernel->plain && !kernel->sync && !kernel->is_template && !chunk->loop;
        chunk->guard = whole ? gbi_kernel_guard(source, chunk) : 0;
        kernel->guarded = chunk->guard != 0;
    }
    return 0;
}

bool gbi_source_declares(const gb_source *source, uint32_t token)
{
    return find(source, &source->tokens.at[token]) != NULL;
}

static bool named_waits(const gb_source *source, const gb_token *token, uint32_t own)
{
    const gbi_name *name = find(source, token), *first = name;
    const gbi_name *end = source->names.at + source->names.count;
    for (; name && name < end && compare_names(name, first) == 0; name++)
        if (name->chunk != own && source->chunks.at[name->chunk].sync) return true;
    return false;
}

bool gbi_source_waits(const gb_source *source, uint32_t token, uint32_t own)
{
    const gb_token *at = &source->tokens.at[token];
    return starts(at, sync_prefixes) || named_waits(source, at, own);
}

static bool instance_waits(const gb_source *source, const char *instance, uint32_t own)
{
    gb_source reader = {.mem = source->mem, .text = instance, .bytes = strlen(instance)};
    bool sync = gbi_source_tokens(&reader) < 0;
    for (uint32_t i = 0; i < reader.tokens.count && !sync; i++)
        sync = named_waits(source, &reader.tokens.at[i], own);
    while (reader.arena) {
        gbi_arena_block *next = reader.arena->next;
        gb_mem_free(reader.mem, reader.arena, reader.arena->size);
        reader.arena = next;
    }
    return sync;
}

bool gb_source_instance_sync(const gb_source *source, const gb_source_kernel *kernel,
                             const char *instance)
{
    return kernel->sync || instance_waits(source, instance, NONE);
}

bool gb_source_instance_loops(const gb_source *source, const gb_source_kernel *kernel,
                              const char *instance)
{
    return kernel->loops && !instance_waits(source, instance, kernel->chunk);
}
