/* Which kernels with barriers can run as loops over threads, and how: see source_loops.h. What is
 * not certain is refused, and such a kernel runs its threads as fibers. */
#include "gpu/source_loops.h"

#include "base/err.h"

#include <string.h>

#define NONE UINT32_MAX

enum { DEPTH_MAX = 32 };

typedef struct {
    gb_source *source;
    const gb_source_kernel *kernel;
    const gbi_chunk *chunk;
    gbi_loops *plan;
    uint32_t region;   /* where the open region begins; NONE */
    uint32_t finished; /* behind the last statement of the body that has a barrier */
    uint32_t returns;  /* the first return; NONE */
    int rc;
} planner;

#define KEEP(p, list, value) ((p)->rc < 0 ? 0 : ((p)->rc = GBI_PUSH((p)->source, list, value)))

static const gb_token *token_at(const planner *p, uint32_t at)
{
    return &p->source->tokens.at[at];
}

static bool is(const planner *p, uint32_t at, const char *text)
{
    return gbi_token_is(token_at(p, at), text);
}

static bool has(const planner *p, uint32_t at, uint32_t end, const char *word)
{
    for (; at < end; at++)
        if (is(p, at, word)) return true;
    return false;
}

/* ---- statements ---- */

/* Behind the statement at `at`; NONE: a form that is not read. */
static uint32_t statement_end(const planner *p, uint32_t at, uint32_t end)
{
    static const char *const heads[] = {"for", "while", "switch", "if", NULL};
    static const char *const strange[] = {"case", "default", "goto",     "try", "asm",
                                          "else", "__asm__", "co_await", NULL};
    while (at < end && token_at(p, at)->kind == GB_TOKEN_PRAGMA) at++;
    if (at >= end || gbi_token_in(token_at(p, at), strange)) return NONE;
    if (is(p, at, "{")) return gbi_skip_pair(p->source, at, end);
    if (is(p, at, "do")) {
        at = statement_end(p, at + 1, end);
        if (at == NONE || !is(p, at, "while")) return NONE;
        at = gbi_skip_pair(p->source, at + 1, end);
        return is(p, at, ";") ? at + 1 : NONE;
    }
    if (gbi_token_in(token_at(p, at), heads)) {
        bool branch = is(p, at, "if");
        uint32_t open = at + 1 + (branch && is(p, at + 1, "constexpr"));
        if (!is(p, open, "(")) return NONE;
        at = statement_end(p, gbi_skip_pair(p->source, open, end), end);
        if (branch && at != NONE && at < end && is(p, at, "else"))
            at = statement_end(p, at + 1, end);
        return at;
    }
    bool label = token_at(p, at)->kind == GB_TOKEN_NAME && is(p, at + 1, ":");
    if (label) return NONE;
    while (at < end && !is(p, at, ";")) {
        bool open = is(p, at, "(") || is(p, at, "[") || is(p, at, "{");
        at = open ? gbi_skip_pair(p->source, at, end) : at + 1;
    }
    return at < end ? at + 1 : NONE;
}

/* A break or continue of tokens [at, end) that belongs to a loop around them. */
static bool leaves_loop(const planner *p, uint32_t at, uint32_t end)
{
    static const char *const loops[] = {"for", "while", "do", NULL};
    while (at < end) {
        if (is(p, at, "break") || is(p, at, "continue")) return true;
        bool loop = gbi_token_in(token_at(p, at), loops), choice = is(p, at, "switch");
        if (!loop && !choice) {
            at++;
            continue;
        }
        uint32_t last = statement_end(p, at, end);
        if (last == NONE || (choice && has(p, at, last, "continue"))) return true;
        at = last;
    }
    return false;
}

/* ---- pieces ---- */

static void close_region(planner *p, uint32_t at)
{
    if (p->region != NONE && p->region < at)
        KEEP(p, p->plan->pieces, ((gbi_piece){GBI_PIECE_REGION, p->region, at, NONE}));
    p->region = NONE;
}

static void open_region(planner *p, uint32_t at)
{
    if (p->region == NONE) p->region = at;
}

/* To the block: in front of the open region, which skips it. */
static void hoist(planner *p, uint32_t at, uint32_t end)
{
    KEEP(p, p->plan->pieces, ((gbi_piece){GBI_PIECE_TEXT, at, end, NONE}));
    KEEP(p, p->plan->edits, ((gbi_edit){at, end, 0, 0}));
}

/* ---- declarations ---- */

static const char *const base_words[] = {"int",   "unsigned", "signed", "long", "short", "char",
                                         "float", "double",   "bool",   "auto", NULL};
static const char *const cv_words[] = {"const", "constexpr", "volatile", "register", NULL};

/* Behind the specifiers at `at`, or `at` when there are none. */
static uint32_t type_end(const planner *p, uint32_t at, uint32_t end)
{
    uint32_t from = at;
    bool base = false;
    while (at < end && token_at(p, at)->kind == GB_TOKEN_NAME) {
        if (gbi_token_in(token_at(p, at), cv_words)) {
            at++;
        } else if (gbi_token_in(token_at(p, at), base_words)) {
            base = true;
            at++;
        } else if (!base) {
            if (is(p, at, "typename") || is(p, at, "struct")) at++;
            if (is(p, at, "::")) at++;
            base = true;
            at++;
            while (is(p, at, "::") || is(p, at, "<"))
                at = is(p, at, "::") ? at + 2 : gbi_skip_angles(p->source, at, end);
        } else {
            break;
        }
    }
    return base ? at : from;
}

/* Is there a declarator at `at`, behind specifiers that may be just a name? */
static bool declarator(const planner *p, uint32_t at)
{
    while (is(p, at, "*") || is(p, at, "&") || is(p, at, "&&") || is(p, at, "const") ||
           is(p, at, "__restrict__"))
        at++;
    static const char *const behind[] = {"=", ";", ",", "[", "(", "{", ":", NULL};
    return token_at(p, at)->kind == GB_TOKEN_NAME && gbi_token_in(token_at(p, at + 1), behind);
}

/* The end of an initialiser or a bound: its "," or ";". */
static uint32_t item_end(const planner *p, uint32_t at, uint32_t end)
{
    while (at < end && !is(p, at, ",") && !is(p, at, ";")) {
        bool open = is(p, at, "(") || is(p, at, "[") || is(p, at, "{");
        bool angle = is(p, at, "<") && is(p, at - 1, "static_cast");
        at = open    ? gbi_skip_pair(p->source, at, end)
             : angle ? gbi_skip_angles(p->source, at, end)
                     : at + 1;
    }
    return at;
}

/* One declarator at `at` into *var; behind it. */
static uint32_t read_declarator(const planner *p, uint32_t at, uint32_t end, gbi_var *var)
{
    var->from = at;
    var->kind = GBI_VAR_CARRIED;
    var->init = var->init_last = NONE;
    for (;
         token_at(p, at)->kind != GB_TOKEN_NAME || is(p, at, "const") || is(p, at, "__restrict__");
         at++)
        if (is(p, at, "&") || is(p, at, "&&")) var->kind = GBI_VAR_OPAQUE;
    var->name = at++;
    while (is(p, at, "[")) at = gbi_skip_pair(p->source, at, end);
    var->last = at;
    if (is(p, at, "=")) {
        var->init = at + 1;
        var->init_last = at = item_end(p, at + 1, end);
    } else if (!is(p, at, ",") && !is(p, at, ";")) {
        var->kind = GBI_VAR_OPAQUE; /* (1), {1}, : 3 */
        at = item_end(p, at, end);
    }
    var->item_last = at;
    return at;
}

/* The same name twice at a time would need scopes that regions do not have. */
static bool fresh_name(const planner *p, uint32_t name)
{
    return gbi_loops_find(p->source, p->plan, name) == NULL;
}

static void judge(planner *p, gbi_var *var)
{
    bool place;
    bool fixed = var->kind == GBI_VAR_CARRIED && var->init != NONE && var->last == var->name + 1 &&
                 !has(p, var->type, var->type_last, "volatile") &&
                 gbi_loops_pure(p->source, p->plan, p->chunk, var->init, var->init_last, &place) &&
                 !gbi_loops_changed(p->source, p->plan, var->name, var->init_last, var->scope_last);
    if (fixed)
        var->kind = place ? GBI_VAR_PLACE : GBI_VAR_UNIFORM;
    else if (has(p, var->type, var->type_last, "auto") ||
             has(p, var->type, var->type_last, "constexpr"))
        var->kind = GBI_VAR_OPAQUE;
}

/* A declaration of variables, at..end with its ";". */
static bool declare(planner *p, uint32_t at, uint32_t type_last, uint32_t end, uint32_t scope_last)
{
    gbi_edit edit = {at, end, p->plan->vars.count, 0};
    uint32_t next = type_last;
    while (p->rc == 0) {
        gbi_var var = {.type = at, .type_last = type_last, .scope_last = scope_last};
        if (!declarator(p, next)) return false;
        next = read_declarator(p, next, end, &var);
        if (!fresh_name(p, var.name)) return false;
        var.scope = next;
        judge(p, &var);
        if (var.kind == GBI_VAR_UNIFORM)
            KEEP(p, p->plan->pieces,
                 ((gbi_piece){GBI_PIECE_VAR, p->plan->vars.count, 0, p->plan->vars.count}));
        if (var.kind == GBI_VAR_CARRIED || var.kind == GBI_VAR_OPAQUE) open_region(p, at);
        KEEP(p, p->plan->vars, var);
        edit.vars++;
        if (!is(p, next, ",")) break;
        next++;
    }
    KEEP(p, p->plan->edits, edit);
    return is(p, next, ";") && next + 1 == end;
}

/* ---- what is run once per block ---- */

static bool statements(planner *p, uint32_t at, uint32_t end, int depth);

static bool pure_uniform(const planner *p, uint32_t at, uint32_t end)
{
    bool place;
    return gbi_loops_pure(p->source, p->plan, p->chunk, at, end, &place) && !place;
}

/* { ... } with barriers in it, its braces too. */
static bool block(planner *p, uint32_t at, uint32_t end, int depth)
{
    if (!is(p, at, "{") || depth >= DEPTH_MAX) return false;
    KEEP(p, p->plan->pieces, ((gbi_piece){GBI_PIECE_OPEN, at, at + 1, NONE}));
    if (!statements(p, at + 1, end - 1, depth + 1)) return false;
    KEEP(p, p->plan->pieces, ((gbi_piece){GBI_PIECE_CLOSE, end - 1, end, NONE}));
    return true;
}

/* i++, --i, i += 2, i >>= 1, i = i * 2 */
static bool step_of(const planner *p, uint32_t at, uint32_t end, uint32_t name)
{
    const gb_token *counter = token_at(p, name);
    bool front = (is(p, at, "+") && is(p, at + 1, "+")) || (is(p, at, "-") && is(p, at + 1, "-"));
    uint32_t own = front ? at + 2 : at;
    const gb_token *token = token_at(p, own);
    if (token->size != counter->size || memcmp(token->text, counter->text, token->size))
        return false;
    if (front) return own + 1 == end;
    bool back =
        (is(p, at + 1, "+") && is(p, at + 2, "+")) || (is(p, at + 1, "-") && is(p, at + 2, "-"));
    if (back) return at + 3 == end;
    uint32_t equals = is(p, at + 1, "=") ? at + 1 : at + 2;
    return is(p, equals, "=") && equals < end && pure_uniform(p, equals + 1, end);
}

static bool uniform_for(planner *p, uint32_t at, uint32_t end, int depth)
{
    uint32_t close = gbi_skip_pair(p->source, at + 1, end) - 1;
    gbi_var var = {.type = at + 2, .scope_last = end, .counter = true};
    var.type_last = type_end(p, at + 2, close);
    if (var.type_last == at + 2 || !declarator(p, var.type_last) ||
        has(p, at + 2, var.type_last, "const"))
        return false;
    uint32_t test = read_declarator(p, var.type_last, close, &var);
    if (var.kind != GBI_VAR_CARRIED || var.init == NONE || var.last != var.name + 1 ||
        var.from != var.name || !is(p, test, ";") || !fresh_name(p, var.name) ||
        !pure_uniform(p, var.init, var.init_last))
        return false;
    uint32_t step = test + 1;
    while (step < close && !is(p, step, ";")) step++;
    var.kind = GBI_VAR_UNIFORM;
    var.scope = test;
    KEEP(p, p->plan->vars, var);
    if (step >= close || !pure_uniform(p, test + 1, step) ||
        !step_of(p, step + 1, close, var.name) ||
        gbi_loops_changed(p->source, p->plan, var.name, close + 1, end))
        return false;
    KEEP(p, p->plan->pieces, ((gbi_piece){GBI_PIECE_FOR, at, close + 1, p->plan->vars.count - 1}));
    return block(p, close + 1, end, depth);
}

static bool uniform_if(planner *p, uint32_t at, uint32_t end, int depth)
{
    uint32_t close = gbi_skip_pair(p->source, at + 1, end) - 1, body = close + 1;
    if (!is(p, at + 1, "(") || !pure_uniform(p, at + 2, close)) return false;
    KEEP(p, p->plan->pieces, ((gbi_piece){GBI_PIECE_IF, at, body, NONE}));
    uint32_t last = statement_end(p, body, end);
    if (last == NONE || !block(p, body, last, depth)) return false;
    if (last == end) return true;
    KEEP(p, p->plan->pieces, ((gbi_piece){GBI_PIECE_ELSE, last, last + 1, NONE}));
    return is(p, last + 1, "if") ? uniform_if(p, last + 1, end, depth)
                                 : block(p, last + 1, end, depth);
}

/* A statement that has a barrier in it, but is none. */
static bool around_barrier(planner *p, uint32_t at, uint32_t end, int depth)
{
    close_region(p, at);
    while (token_at(p, at)->kind == GB_TOKEN_PRAGMA) at++; /* of a loop over regions: no use */
    bool ok = is(p, at, "for")  ? uniform_for(p, at, end, depth)
              : is(p, at, "if") ? uniform_if(p, at, end, depth)
                                : block(p, at, end, depth);
    if (depth == 0) p->finished = end;
    return ok;
}

/* ---- the body ---- */

static bool ordinary(planner *p, uint32_t at, uint32_t end, uint32_t scope_last, int depth)
{
    static const char *const to_block[] = {"__shared__",    "extern",    "using", "typedef",
                                           "static_assert", "constexpr", NULL};
    static const char *const never[] = {"static", "struct", "class", "union", "enum", NULL};
    if (gbi_token_in(token_at(p, at), never)) return false;
    if (gbi_token_in(token_at(p, at), to_block) && !is(p, at, "constexpr")) {
        if (is(p, at, "extern") && !has(p, at, end, "__shared__")) return false;
        hoist(p, at, end);
        return true;
    }
    if (depth > 0 && leaves_loop(p, at, end)) return false;
    for (uint32_t i = at; i < end; i++) {
        if (!is(p, i, "return")) continue;
        if (!is(p, i + 1, ";")) return false; /* of a lambda */
        if (p->returns == NONE) p->returns = i;
    }
    uint32_t type_last = type_end(p, at, end);
    if (type_last == at || !declarator(p, type_last)) {
        open_region(p, at);
        bool typed =
            gbi_token_in(token_at(p, at), base_words) || gbi_token_in(token_at(p, at), cv_words);
        return !typed; /* a declaration of a form that is not read */
    }
    return declare(p, at, type_last, end, scope_last);
}

static bool statements(planner *p, uint32_t at, uint32_t end, int depth)
{
    while (at < end && p->rc == 0) {
        uint32_t next = statement_end(p, at, end);
        if (next == NONE) return false;
        bool barrier = is(p, at, "__syncthreads") && is(p, at + 1, "(") && is(p, at + 2, ")");
        if (barrier) {
            if (next != at + 4) return false;
            close_region(p, at);
            if (depth == 0) p->finished = next;
        } else if (has(p, at, next, "__syncthreads")) {
            if (!around_barrier(p, at, next, depth)) return false;
        } else if (token_at(p, at)->kind == GB_TOKEN_PRAGMA || is(p, at, ";")) {
            if (depth > 0 && leaves_loop(p, at, next)) return false;
            if (has(p, at, next, "return")) return false;
            open_region(p, at);
        } else if (!ordinary(p, at, next, end, depth)) {
            return false;
        }
        at = next;
    }
    close_region(p, end);
    return p->rc == 0;
}

/* ---- parameters ---- */

static bool parameters(planner *p, uint32_t body, uint32_t end)
{
    uint32_t at = p->chunk->params + 1, close = body;
    close = gbi_skip_pair(p->source, p->chunk->params, p->chunk->last) - 1;
    if (has(p, at, close, "...")) return false;
    while (at < close && p->rc == 0) {
        uint32_t equals, last = gbi_source_param_end(p->source, at, close, &equals);
        uint32_t name = gbi_source_param_name(p->source, at, equals);
        if (name != NONE) {
            gbi_var var = {.kind = GBI_VAR_UNIFORM,
                           .name = name,
                           .type = at,
                           .type_last = equals,
                           .init = NONE,
                           .scope = body,
                           .scope_last = end,
                           .param = true};
            bool strange = has(p, at, equals, "&") || has(p, at, equals, "[") ||
                           has(p, at, equals, "(") || has(p, at, equals, "volatile");
            bool pointer_volatile = has(p, at, equals, "volatile") && has(p, at, equals, "*");
            if (gbi_loops_changed(p->source, p->plan, name, body, end)) var.kind = GBI_VAR_CARRIED;
            if (strange && !pointer_volatile) var.kind = GBI_VAR_OPAQUE;
            KEEP(p, p->plan->vars, var);
        }
        at = last + 1;
    }
    return p->rc == 0;
}

/* ---- which variables live on ---- */

static bool mentioned(const planner *p, const gbi_var *var, uint32_t at, uint32_t end)
{
    const gb_token *name = token_at(p, var->name);
    for (; at < end; at++) {
        const gb_token *token = token_at(p, at);
        if (token->kind != GB_TOKEN_NAME || token->size != name->size ||
            memcmp(token->text, name->text, name->size) != 0)
            continue;
        if (!is(p, at - 1, ".") && !is(p, at - 1, "->")) return true;
    }
    return false;
}

/* The region where a variable is declared, or a parameter's NULL. */
static const gbi_piece *region_of(const planner *p, const gbi_var *var)
{
    for (uint32_t i = 0; i < p->plan->pieces.count; i++) {
        const gbi_piece *piece = &p->plan->pieces.at[i];
        if (piece->kind == GBI_PIECE_REGION && piece->first <= var->name && var->name < piece->last)
            return piece;
    }
    return NULL;
}

static bool settle_slots(planner *p)
{
    for (uint32_t i = 0; i < p->plan->vars.count; i++) {
        gbi_var *var = &p->plan->vars.at[i];
        const gbi_piece *region = region_of(p, var);
        bool carried = var->kind == GBI_VAR_CARRIED, opaque = var->kind == GBI_VAR_OPAQUE;
        if (!carried && !opaque) continue;
        if (var->param) {
            if (opaque) return false;
            var->slot = true;
        } else if (!region) {
            return false;
        } else if (mentioned(p, var, region->last, var->scope_last)) {
            if (opaque) return false;
            var->slot = true;
        }
    }
    return true;
}

/* ---- the door ---- */

/* The only thing of this kernel that waits is the plain barrier, in its own text. */
static bool only_barriers(const planner *p)
{
    const gbi_chunk *chunk = p->chunk;
    static const char *const never[] = {"printf", "goto", "asm", "__gb_services", "setjmp", NULL};
    bool barrier = false;
    for (uint32_t i = chunk->first; i < chunk->last; i++) {
        const gb_token *token = token_at(p, i);
        if (token->kind != GB_TOKEN_NAME) continue;
        if (gbi_token_in(token, never)) return false;
        if (gbi_token_is(token, "__syncthreads"))
            barrier = true;
        else if (gbi_source_waits(p->source, i, p->kernel->chunk))
            return false;
    }
    return barrier && !p->source->hidden_sync;
}

/* Another kernel of that name: an overload, or a case of the template of its own. */
static bool alone(const planner *p)
{
    const gb_token *name = token_at(p, p->chunk->name);
    for (uint32_t i = 0; i < p->source->chunks.count; i++) {
        const gbi_chunk *other = &p->source->chunks.at[i];
        if (other == p->chunk || other->name == NONE || !other->is_kernel || !other->has_body)
            continue;
        const gb_token *own = token_at(p, other->name);
        if (own->size == name->size && memcmp(own->text, name->text, own->size) == 0) return false;
    }
    return !p->kernel->overloaded;
}

static gbi_loops *plan_kernel(gb_source *source, const gb_source_kernel *kernel, int *rc)
{
    const gbi_chunk *chunk = &source->chunks.at[kernel->chunk];
    planner p = {.source = source, .kernel = kernel, .chunk = chunk, .region = NONE};
    p.returns = NONE;
    uint32_t body = gbi_skip_pair(source, chunk->params, chunk->last);
    while (body < chunk->last && !is(&p, body, "{")) body++;
    bool readable = kernel->sync && chunk->has_body && chunk->name + 1 == chunk->params &&
                    !is(&p, chunk->name - 1, "::") && alone(&p) && only_barriers(&p) &&
                    body + 1 < chunk->last;
    if (!readable) return NULL;
    p.plan = gbi_source_alloc(source, sizeof *p.plan);
    if (!p.plan) return *rc = GB_ENOMEM, NULL;
    memset(p.plan, 0, sizeof *p.plan);
    p.plan->lanes = kernel->plain;
    uint32_t end = chunk->last - 1;
    bool ok = parameters(&p, body + 1, end) && statements(&p, body + 1, end, 0) && settle_slots(&p);
    if (p.returns != NONE && p.returns < p.finished) ok = false;
    *rc = p.rc;
    return ok && p.rc == 0 ? p.plan : NULL;
}

int gb_source_split(gb_source *source)
{
    int rc = 0;
    for (uint32_t i = 0; i < source->kernels.count && rc == 0; i++) {
        gb_source_kernel *kernel = &source->kernels.at[i];
        gbi_loops *plan = plan_kernel(source, kernel, &rc);
        source->chunks.at[kernel->chunk].plan = plan;
        kernel->loops = plan != NULL;
    }
    return rc;
}
