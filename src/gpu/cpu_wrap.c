#include "gpu/cpu_wrap.h"

#include "base/err.h"
#include "gpu/cpu_abi.h"

#include <ctype.h>
#include <string.h>

/* Every identifier here is reserved (__gb_) or the user's own, spelled with its namespace, so that
 * nothing a user declares can be in the way. The macros of the user are expanded already. */

typedef struct {
    const gb_source *source;
    gb_buf *out;
    gb_buf table; /* rows of the kernel table */
    gb_buf fill;  /* the constructor's body */
    int kernels, globals, structs;
    int rc;
} wrapper;

#define PUT(w, ...) ((w)->rc < 0 ? 0 : ((w)->rc = gb_buf_printf((w)->out, __VA_ARGS__)))
#define ROW(w, ...) ((w)->rc < 0 ? 0 : ((w)->rc = gb_buf_printf(&(w)->table, __VA_ARGS__)))
#define FILL(w, ...) ((w)->rc < 0 ? 0 : ((w)->rc = gb_buf_printf(&(w)->fill, __VA_ARGS__)))

int gbi_put_escaped(gb_buf *out, const char *text)
{
    int rc = 0;
    for (; *text && rc == 0; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            rc = gb_buf_printf(out, "\\%c", c);
        else if (c < 32 || c == '?')
            rc = gb_buf_printf(out, "\\%03o", c);
        else
            rc = gb_buf_put(out, &c, 1);
    }
    return rc;
}

/* One kernel under one name. The typedef sits inside its namespaces, where instance arguments mean
 * what the user means. */
static void put_kernel(wrapper *w, const gb_source_kernel *kernel, const char *expression,
                       const char *shown, bool sync, bool loops)
{
    int n = w->kernels;
    PUT(w, "# 1 \"<gpubridge>\"\nstatic const char *const __gb_names_%d[] = {", n);
    for (int i = 0; i < kernel->param_count; i++) PUT(w, "\"%s\", ", kernel->params[i]);
    PUT(w, "0};\nstatic gb_cpu_param __gb_params_%d[%d];\n", n, kernel->param_count + 1);
    if (kernel->is_template) {
        PUT(w, "# 1 \"instance ");
        if (w->rc == 0) w->rc = gbi_put_escaped(w->out, shown);
        PUT(w, "\"\n");
    }
    if (!kernel->is_template && !kernel->overloaded)
        PUT(w, "# 1 \"kernel %s\"\n%s __GB_CHECK_KERNEL(decltype(&%s)) %s\n# 1 \"<gpubridge>\"\n",
            shown, kernel->open, expression, kernel->close);
    PUT(w, "%s typedef __gb_entry<", kernel->open);
    if (kernel->overloaded)
        PUT(w, "void (*)(%s), &%s", kernel->types, expression);
    else
        PUT(w, "decltype(&%s), &%s", expression, expression);
    PUT(w, ", %d> __gb_entry_%d; %s\n",
        (kernel->plain && !sync) | kernel->linear << 1 | kernel->strided << 2 |
            kernel->guarded << 3,
        n, kernel->close);
    if (loops)
        PUT(w,
            "%s typedef __gb_blocks<decltype(&__gb_loops_%s), &__gb_loops_%s> __gb_blocks_%d; "
            "%s\n",
            kernel->open, expression, expression, n, kernel->close);
    FILL(w, "::%s%s__gb_entry_%d::fill(__gb_params_%d, __gb_names_%d);\n", kernel->scope,
         *kernel->scope ? "::" : "", n, n, n);
    w->kernels++;
}

static void put_row(wrapper *w, const gb_source_kernel *kernel, const char *shown, bool sync,
                    bool loops, int n)
{
    const char *colons = *kernel->scope ? "::" : "";
    ROW(w, "{\"");
    if (w->rc == 0) w->rc = gbi_put_escaped(&w->table, shown);
    ROW(w, "\", %d, %d, __gb_params_%d, 0, ", sync ? GB_CPU_SYNC : GB_CPU_PIECES,
        kernel->param_count, n);
    /* begin_block and thread are there for every kernel: one thread at a time is how the engine can
     * find the thread of a fault, which a row of vectors does not tell */
    if (sync)
        ROW(w, "0, ");
    else
        ROW(w, "&::%s%s__gb_entry_%d::run, ", kernel->scope, colons, n);
    ROW(w, "&::%s%s__gb_entry_%d::begin_block, &::%s%s__gb_entry_%d::thread, ", kernel->scope,
        colons, n, kernel->scope, colons, n);
    if (loops)
        ROW(w, "&__gb_where, &::%s%s__gb_blocks_%d::loops},\n", kernel->scope, colons, n);
    else
        ROW(w, "&__gb_where, 0},\n");
}

static bool unique(const gb_source *source, const gb_source_kernel *kernel)
{
    for (int i = 0; i < gb_source_kernel_count(source); i++) {
        const gb_source_kernel *other = gb_source_kernel_at(source, i);
        if (other != kernel && strcmp(other->name, kernel->name) == 0) return false;
    }
    return true;
}

static void put_plain_kernels(wrapper *w)
{
    int rows = 0;
    for (int i = 0; i < gb_source_kernel_count(w->source) && w->rc == 0; i++) {
        const gb_source_kernel *kernel = gb_source_kernel_at(w->source, i);
        if (kernel->is_template) continue;
        gb_buf shown;
        gb_buf_init(&shown, w->out->mem);
        gb_buf_printf(&shown, "%s%s%s", kernel->scope, *kernel->scope ? "::" : "", kernel->name);
        if (kernel->overloaded) gb_buf_printf(&shown, "(%s)", kernel->types);
        put_kernel(w, kernel, kernel->name, gb_buf_text(&shown), kernel->sync, kernel->loops);
        put_row(w, kernel, gb_buf_text(&shown), kernel->sync, kernel->loops, rows);
        gb_buf_fini(&shown);
        rows++;
    }
    /* behind them, the short name of each kernel of a namespace that has it alone */
    for (int i = 0, n = 0; i < gb_source_kernel_count(w->source) && w->rc == 0; i++) {
        const gb_source_kernel *kernel = gb_source_kernel_at(w->source, i);
        if (kernel->is_template) continue;
        if (*kernel->scope && !kernel->overloaded && unique(w->source, kernel)) {
            put_row(w, kernel, kernel->name, kernel->sync, kernel->loops, n);
            rows++;
        }
        n++;
    }
}

/* The template kernel that "ns::sum<float, 256>" names: its name is the text before the "<". */
static const gb_source_kernel *find_template(const gb_source *source, const char *instance)
{
    size_t size = strcspn(instance, "<");
    while (size && isspace((unsigned char)instance[size - 1])) size--;
    const char *name = instance + size;
    while (name > instance && (isalnum((unsigned char)name[-1]) || name[-1] == '_')) name--;
    const gb_source_kernel *found = NULL;
    for (int i = 0; i < gb_source_kernel_count(source); i++) {
        const gb_source_kernel *kernel = gb_source_kernel_at(source, i);
        size_t own = strlen(kernel->name), scope = strlen(kernel->scope);
        if (!kernel->is_template || own != (size_t)(instance + size - name) ||
            memcmp(kernel->name, name, own) != 0)
            continue;
        size_t given = name - instance >= 2 ? (size_t)(name - instance) - 2 : 0;
        const char *written = strncmp(instance, "::", 2) == 0 ? instance + 2 : instance;
        if (written > instance) given = given >= 2 ? given - 2 : 0;
        if (given == scope && memcmp(written, kernel->scope, scope) == 0) return kernel;
        if (given == 0) found = kernel;
    }
    return found;
}

static void put_instances(wrapper *w, const gb_module_spec *spec)
{
    for (int i = 0; spec->instances && spec->instances[i] && w->rc == 0; i++) {
        const char *instance = spec->instances[i], *angle = strchr(instance, '<');
        const gb_source_kernel *kernel = angle ? find_template(w->source, instance) : NULL;
        if (!kernel || strchr(instance, '\n')) {
            w->rc = gb_err_set(GB_ECOMPILE,
                               "%s: error: the instance '%s' names no template kernel "
                               "of this source (expected: name<arguments>)",
                               spec->name ? spec->name : "kernel", instance);
            return;
        }
        gb_buf expression;
        gb_buf_init(&expression, w->out->mem);
        gb_buf_printf(&expression, "%s%s", kernel->name, angle);
        bool sync = gb_source_instance_sync(w->source, kernel, instance);
        bool loops = gb_source_instance_loops(w->source, kernel, instance);
        int n = w->kernels;
        put_kernel(w, kernel, gb_buf_text(&expression), instance, sync, loops);
        put_row(w, kernel, instance, sync, loops, n);
        gb_buf_fini(&expression);
    }
}

static void put_globals(wrapper *w)
{
    for (int i = 0; i < gb_source_global_count(w->source); i++) {
        const gb_source_name *name = gb_source_global_at(w->source, i);
        const char *colons = *name->scope ? "::" : "";
        FILL(w, "__gb_global(&__gb_globals[%d], \"%s%s%s\", ::%s%s%s);\n", w->globals++,
             name->scope, colons, name->name, name->scope, colons, name->name);
    }
    PUT(w, "# 1 \"<gpubridge>\"\nstatic gb_cpu_global __gb_globals[%d];\n", w->globals + 1);
}

static void put_structs(wrapper *w)
{
    gb_buf rows;
    gb_buf_init(&rows, w->out->mem);
    for (int i = 0; i < gb_source_struct_count(w->source); i++) {
        const gb_source_struct *type = gb_source_struct_at(w->source, i);
        const char *scope = type->at.scope, *colons = *scope ? "::" : "", *name = type->at.name;
        PUT(w, "static gb_cpu_field __gb_fields_%d[%d];\n", i, type->field_count + 1);
        for (int k = 0; k < type->field_count; k++)
            FILL(w,
                 "__gb_member<decltype(::%s%s%s::%s)>(&__gb_fields_%d[%d], \"%s\", "
                 "__builtin_offsetof(::%s%s%s, %s));\n",
                 scope, colons, name, type->fields[k], i, k, type->fields[k], scope, colons, name,
                 type->fields[k]);
        gb_buf_printf(
            &rows, "{\"%s%s%s\", sizeof(::%s%s%s), alignof(::%s%s%s), %d, __gb_fields_%d},\n",
            scope, colons, name, scope, colons, name, scope, colons, name, type->field_count, i);
        w->structs++;
    }
    PUT(w, "static const gb_cpu_struct __gb_structs[] = {\n%s{0, 0, 0, 0, 0}};\n",
        gb_buf_text(&rows));
    gb_buf_fini(&rows);
}

static int count_rows(const char *text)
{
    int rows = 0;
    for (; *text; text++) rows += *text == '\n';
    return rows;
}

int gbi_wrap(const gb_source *source, const gb_module_spec *spec, gb_buf *out)
{
    wrapper w = {.source = source, .out = out};
    gb_buf_init(&w.table, out->mem);
    gb_buf_init(&w.fill, out->mem);
    PUT(&w, "\n# 1 \"<gpubridge>\"\n");
    put_plain_kernels(&w);
    put_instances(&w, spec);
    put_globals(&w);
    put_structs(&w);
    PUT(&w, "static void __gb_bind_shared() {\n");
    for (int i = 0; i < gb_source_shared_count(source); i++) {
        const gb_source_name *name = gb_source_shared_at(source, i);
        const char *colons = *name->scope ? "::" : "";
        PUT(&w, "::%s%s%s = (decltype(::%s%s%s))__gb_shared;\n", name->scope, colons, name->name,
            name->scope, colons, name->name);
    }
    const char *rows = gb_buf_text(&w.table);
    PUT(&w, "}\n__attribute__((constructor)) static void __gb_fill() {\n%s}\n",
        gb_buf_text(&w.fill));
    PUT(&w, "static const gb_cpu_kernel __gb_kernels[] = {\n%s{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};\n",
        rows);
    PUT(&w,
        "extern \"C\" __attribute__((visibility(\"default\"), used)) const gb_cpu_image "
        "__gb_image __asm__(\"gb_cpu_image\");\nconst gb_cpu_image __gb_image = {%d, %d, %d, %d, "
        "__gb_kernels, __gb_globals, __gb_structs};\n",
        GB_CPU_ABI, count_rows(rows), w.globals, w.structs);
    gb_buf_fini(&w.table);
    gb_buf_fini(&w.fill);
    return w.rc;
}
