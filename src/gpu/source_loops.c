/* The second form of a kernel with barriers: one block of it, as loops over its threads. */
#include "gpu/source_loops.h"

#include "gpu/source_write.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct {
    gbi_writer *w;
    const gbi_chunk *chunk;
    const gbi_loops *plan;
    uint32_t body;    /* token of its "{" */
    uint32_t counter; /* of the loop that was opened last; NONE */
} emitter;

#define SAY(e, ...) say((e)->w, __VA_ARGS__)

static void say(gbi_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(gbi_writer *w, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gbi_write_text(w, text);
}

static const gb_token *token_at(const emitter *e, uint32_t at)
{
    return &e->w->source->tokens.at[at];
}

static const char *behind(const emitter *e, uint32_t at)
{
    return token_at(e, at)->text + token_at(e, at)->size;
}

/* Tokens [at, end) as they are written, with a space behind. */
static void raw(emitter *e, uint32_t at, uint32_t end)
{
    if (at >= end) return;
    e->w->done = token_at(e, at)->text;
    gbi_write_until(e->w, behind(e, end - 1));
    gbi_write_text(e->w, " ");
}

/* What follows is at the line of a token. system: the compiler keeps its warnings, which the first
 * form has given. */
static void line(emitter *e, uint32_t at, bool system)
{
    const gb_token *token = token_at(e, at);
    SAY(e, "\n# %u \"", token->line);
    for (const char *name = e->w->source->files.at[token->file]; *name; name++) {
        if (*name == '"' || *name == '\\') gbi_write(e->w, "\\", 1);
        gbi_write(e->w, name, 1);
    }
    gbi_write_text(e->w, system ? "\" 3\n" : "\"\n");
}

static void put_name(emitter *e, const gbi_var *var)
{
    gbi_write(e->w, token_at(e, var->name)->text, token_at(e, var->name)->size);
}

static bool has(const emitter *e, uint32_t at, uint32_t end, const char *word)
{
    for (; at < end; at++)
        if (gbi_token_is(token_at(e, at), word)) return true;
    return false;
}

/* Declarator [from, last) of a name that must not change: "* p" as "* const p". */
static void constant(emitter *e, const gbi_var *var, uint32_t specifiers, uint32_t from)
{
    bool pointer = has(e, from, var->name, "*");
    bool already = pointer
                       ? gbi_token_is(token_at(e, var->name - 1), "const")
                       : has(e, specifiers, from, "const") || has(e, specifiers, from, "constexpr");
    raw(e, from, var->name);
    if (!already) gbi_write_text(e->w, "const ");
    put_name(e, var);
}

static void put_fixed(emitter *e, const gbi_var *var)
{
    raw(e, var->type, var->type_last);
    constant(e, var, var->type, var->from);
    gbi_write_text(e->w, " = ");
    raw(e, var->init, var->init_last);
    gbi_write_text(e->w, "; ");
}

/* ---- variables that live on behind a barrier ---- */

static void slot_type(emitter *e, const gbi_var *var, uint32_t n)
{
    if (var->param) {
        gbi_write_text(e->w, "typedef decltype(");
        put_name(e, var);
        SAY(e, ") __gb_r_%u; ", n);
    } else {
        gbi_write_text(e->w, "typedef ");
        raw(e, var->type, var->type_last);
        raw(e, var->from, var->name);
        SAY(e, "__gb_r_%u ", n);
        raw(e, var->name + 1, var->last);
        gbi_write_text(e->w, "; ");
    }
    SAY(e, "typedef typename __gb_plain<__gb_r_%u>::type __gb_t_%u; ", n, n);
    bool given = var->param || var->init != NONE;
    SAY(e, "static_assert(%s(__gb_t_%u), \"\"); ",
        given ? "__is_trivially_copyable" : "__is_trivial", n);
}

/* In front of the first thing that runs: false when they would be too large for a stack. */
static void slots(emitter *e)
{
    const gbi_loops *plan = e->plan;
    bool params = false;
    for (uint32_t i = 0; i < plan->vars.count; i++)
        if (plan->vars.at[i].slot) slot_type(e, &plan->vars.at[i], i);
    gbi_write_text(e->w, "if (__gb_threads * (0");
    for (uint32_t i = 0; i < plan->vars.count; i++)
        if (plan->vars.at[i].slot) SAY(e, " + sizeof(__gb_t_%u)", i);
    gbi_write_text(e->w, ") > __gb_slots_max) return false;\n");
    for (uint32_t i = 0; i < plan->vars.count; i++) {
        if (!plan->vars.at[i].slot) continue;
        SAY(e,
            "__gb_t_%u *const __gb_s_%u = (__gb_t_%u *)__builtin_alloca_with_align(__gb_threads * "
            "sizeof(__gb_t_%u), 512);\n",
            i, i, i, i);
        params |= plan->vars.at[i].param;
    }
    if (!params) return;
    gbi_write_text(e->w, "__GB_EACH_THREAD {");
    for (uint32_t i = 0; i < plan->vars.count; i++) {
        if (!plan->vars.at[i].slot || !plan->vars.at[i].param) continue;
        SAY(e, " __gb_s_%u[__gb_i] = ", i);
        put_name(e, &plan->vars.at[i]);
        gbi_write_text(e->w, ";");
    }
    gbi_write_text(e->w, " } __GB_END\n");
}

static void put_slot(emitter *e, const gbi_var *var, uint32_t n, bool begins)
{
    SAY(e, "__gb_t_%u &", n);
    put_name(e, var);
    SAY(e, " = __gb_s_%u[__gb_i]; ", n);
    if (!begins || var->init == NONE) return;
    if (var->last == var->name + 1) {
        put_name(e, var);
        gbi_write_text(e->w, " = ");
        raw(e, var->init, var->init_last);
        gbi_write_text(e->w, "; ");
        return;
    }
    gbi_write_text(e->w, "{ "); /* an array begins as a copy of one */
    raw(e, var->type, var->type_last);
    raw(e, var->from, var->last);
    gbi_write_text(e->w, "= ");
    raw(e, var->init, var->init_last);
    SAY(e, "; __builtin_memcpy((void *)&__gb_s_%u[__gb_i], &", n);
    put_name(e, var);
    gbi_write_text(e->w, ", sizeof ");
    put_name(e, var);
    gbi_write_text(e->w, "); } ");
}

/* ---- regions ---- */

static const gbi_edit *edit_at(const emitter *e, uint32_t at)
{
    for (uint32_t i = 0; i < e->plan->edits.count; i++)
        if (e->plan->edits.at[i].first == at) return &e->plan->edits.at[i];
    return NULL;
}

static bool as_written(const emitter *e, const gbi_edit *edit)
{
    for (uint32_t i = edit->var; i < edit->var + edit->vars; i++) {
        const gbi_var *var = &e->plan->vars.at[i];
        if (var->slot || var->kind == GBI_VAR_UNIFORM || var->kind == GBI_VAR_PLACE) return false;
    }
    return edit->vars > 0;
}

/* The statement of an edit: the variables of it that belong here. */
static void put_edit(emitter *e, const gbi_edit *edit)
{
    gbi_write_until(e->w, token_at(e, edit->first)->text);
    for (uint32_t i = edit->var; i < edit->var + edit->vars; i++) {
        const gbi_var *var = &e->plan->vars.at[i];
        if (var->kind == GBI_VAR_UNIFORM || var->kind == GBI_VAR_PLACE) continue;
        if (var->slot) {
            put_slot(e, var, i, true);
            continue;
        }
        raw(e, var->type, var->type_last);
        raw(e, var->from, var->item_last);
        gbi_write_text(e->w, "; ");
    }
    line(e, edit->last - 1, true);
    e->w->done = behind(e, edit->last - 1);
}

static void prologue(emitter *e, const gbi_piece *piece)
{
    for (uint32_t i = 0; i < e->plan->vars.count; i++) {
        const gbi_var *var = &e->plan->vars.at[i];
        if (piece->first >= var->scope_last || var->scope >= piece->last) continue;
        if (var->kind == GBI_VAR_PLACE) put_fixed(e, var);
        if (var->slot && (var->param || var->scope <= piece->first)) put_slot(e, var, i, false);
    }
}

static void region(emitter *e, const gbi_piece *piece, uint32_t index)
{
    bool returns = false;
    gbi_write_text(e->w, e->plan->lanes ? "\n__GB_EACH_LANE { " : "\n__GB_EACH_THREAD { ");
    prologue(e, piece);
    line(e, piece->first, true);
    e->w->done = token_at(e, piece->first)->text;
    for (uint32_t at = piece->first; at < piece->last && e->w->rc == 0; at++) {
        const gbi_edit *edit = edit_at(e, at);
        if (edit && !as_written(e, edit)) {
            put_edit(e, edit);
            at = edit->last - 1;
            continue;
        }
        if (token_at(e, at)->kind == GB_TOKEN_PRAGMA) gbi_write_pragma(e->w, token_at(e, at));
        if (!gbi_token_is(token_at(e, at), "return")) continue;
        gbi_write_until(e->w, token_at(e, at)->text);
        SAY(e, "goto __gb_over_%u", index);
        e->w->done = behind(e, at);
        returns = true;
    }
    gbi_write_until(e->w, behind(e, piece->last - 1));
    gbi_write_text(e->w, "\n} ");
    if (returns) SAY(e, "__gb_over_%u:; ", index);
    gbi_write_text(e->w, "__GB_END\n");
}

/* ---- what is run once per block ---- */

static void loop_head(emitter *e, const gbi_piece *piece)
{
    const gb_token *name = token_at(e, e->plan->vars.at[piece->var].name);
    line(e, piece->first, true);
    e->w->done = token_at(e, piece->first)->text;
    for (uint32_t at = piece->first; at < piece->last; at++) {
        const gb_token *token = token_at(e, at);
        if (token->kind != GB_TOKEN_NAME || token->size != name->size ||
            memcmp(token->text, name->text, name->size) != 0 || gbi_token_is(token - 1, "."))
            continue;
        gbi_write_until(e->w, token->text);
        SAY(e, "__gb_u_%u", piece->var);
        e->w->done = behind(e, at);
    }
    gbi_write_until(e->w, behind(e, piece->last - 1));
    gbi_write_text(e->w, " ");
    e->counter = piece->var;
}

static void block_text(emitter *e, const gbi_piece *piece)
{
    line(e, piece->first, true);
    e->w->done = token_at(e, piece->first)->text;
    uint32_t next = piece->first;
    const gbi_space *space = &e->w->source->spaces.at[e->chunk->space];
    if (gbi_token_is(token_at(e, next), "extern")) next = gbi_write_shared(e->w, next, true, space);
    gbi_write_until(e->w, behind(e, piece->last - 1));
    gbi_write_text(e->w, "\n");
}

static void open_block(emitter *e)
{
    gbi_write_text(e->w, "{ ");
    if (e->counter == NONE) return;
    gbi_write_text(e->w, "const auto ");
    put_name(e, &e->plan->vars.at[e->counter]);
    SAY(e, " = __gb_u_%u;\n", e->counter);
    e->counter = NONE;
}

static void pieces(emitter *e)
{
    bool started = false;
    for (uint32_t i = 0; i < e->plan->pieces.count && e->w->rc == 0; i++) {
        const gbi_piece *piece = &e->plan->pieces.at[i];
        bool fixed = piece->kind == GBI_PIECE_TEXT || piece->kind == GBI_PIECE_VAR;
        if (!fixed && !started) {
            slots(e);
            started = true;
        }
        switch (piece->kind) {
        case GBI_PIECE_TEXT:
            block_text(e, piece);
            break;
        case GBI_PIECE_VAR:
            put_fixed(e, &e->plan->vars.at[piece->var]);
            break;
        case GBI_PIECE_REGION:
            region(e, piece, i);
            break;
        case GBI_PIECE_FOR:
            loop_head(e, piece);
            break;
        case GBI_PIECE_IF:
        case GBI_PIECE_ELSE:
            raw(e, piece->first, piece->last);
            break;
        case GBI_PIECE_OPEN:
            open_block(e);
            break;
        case GBI_PIECE_CLOSE:
            gbi_write_text(e->w, "}\n");
            break;
        }
    }
}

/* ---- the function ---- */

static void put_params(emitter *e, uint32_t open, uint32_t close)
{
    e->w->done = token_at(e, open)->text;
    for (uint32_t i = 0; i < e->plan->vars.count; i++) {
        const gbi_var *var = &e->plan->vars.at[i];
        if (!var->param || var->kind != GBI_VAR_UNIFORM) continue;
        bool pointer = has(e, var->type, var->name, "*");
        bool already = pointer ? gbi_token_is(token_at(e, var->name - 1), "const")
                               : has(e, var->type, var->name, "const");
        if (already) continue;
        gbi_write_until(e->w, token_at(e, var->name)->text);
        gbi_write_text(e->w, " const ");
    }
    gbi_write_until(e->w, behind(e, close));
}

void gbi_write_loops(gbi_writer *w, const gbi_chunk *chunk)
{
    emitter e = {.w = w, .chunk = chunk, .plan = chunk->plan, .counter = NONE};
    gb_source *source = w->source;
    uint32_t behind_params = gbi_skip_pair(source, chunk->params, chunk->last);
    for (e.body = behind_params; !gbi_token_is(token_at(&e, e.body), "{"); e.body++) {
    }
    gbi_write_until(w, behind(&e, chunk->last - 1));
    line(&e, chunk->first, true);
    if (chunk->is_template)
        raw(&e, chunk->first, gbi_skip_angles(source, chunk->first + 1, chunk->last));
    gbi_write_text(w, "static __attribute__((noinline, unused)) bool __gb_loops_");
    gbi_write(w, token_at(&e, chunk->name)->text, token_at(&e, chunk->name)->size);
    put_params(&e, chunk->params, behind_params - 1);
    gbi_write_text(w, " ");
    raw(&e, behind_params, e.body);
    gbi_write_text(w, "{ __GB_BLOCK\n");
    pieces(&e);
    gbi_write_text(w, "return true; }");
    line(&e, chunk->last - 1, false);
    w->done = behind(&e, chunk->last - 1);
}
