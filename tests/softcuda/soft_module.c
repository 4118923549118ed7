/* Modules, their functions and variables. */
#include "soft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARED_OPTIN = 227 << 10, REGISTERS = 32 };

static const gb_cpu_image *image_of(const soft_module *module)
{
    return gb_cpu_object_image(module->image->code);
}

static void free_image(soft_image *image)
{
    gb_cpu_object_close(image->code);
    free(image->names);
    free(image);
}

static void destroy_module(soft_object *object)
{
    free_image(((soft_module *)object)->image);
}

static void destroy_function(soft_object *object)
{
    soft_drop(&((soft_function *)object)->module->object);
}

void soft_module_retire(soft_module *module)
{
    for (gb_list *node; (node = gb_list_shift(&module->functions));)
        soft_retire(&GB_CONTAINER(node, soft_function, link)->object);
    soft_retire(&module->object);
}

/* ---- loading ---- */

/* The buffers that the caller named for messages. */
static void give_log(unsigned count, const gb_cu_jit_option *options, void **values,
                     gb_cu_jit_option buffer, gb_cu_jit_option bytes, const char *text)
{
    char *to = NULL;
    void **room = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == buffer) to = values[i];
        if (options[i] == bytes) room = &values[i];
    }
    if (!room) return;
    size_t size = (size_t)(uintptr_t)*room;
    if (to && size) snprintf(to, size, "%s", text);
    size_t written = strlen(text) + 1 < size ? strlen(text) + 1 : size;
    memset(room, 0, sizeof *room);
    memcpy(room, &written, sizeof written);
}

/* The context may have ended while the image was made. */
static gb_cu_result adopt(gb_cu_module *out, soft_context *context, soft_image *image)
{
    gb_cu_result rc = context->object.live ? context->error : GB_CU_CONTEXT_DESTROYED;
    soft_module *module =
        rc ? NULL : soft_new(sizeof *module, SOFT_MODULE, context, destroy_module);
    if (!rc && !module) rc = GB_CU_OUT_OF_MEMORY;
    if (rc) {
        free_image(image);
        return rc;
    }
    module->image = image;
    gb_list_init(&module->functions);
    *out = soft_handle(&module->object);
    return 0;
}

gb_cu_result soft_cuModuleLoadDataEx(gb_cu_module *out, const void *bytes, unsigned int count,
                                     gb_cu_jit_option *options, void **values)
{
    soft_context *context;
    char *text = NULL;
    gb_cu_result rc = soft_enter_context(ROW_cuModuleLoadDataEx, &context);
    soft_leave(rc);
    if (rc) return rc;
    if (!bytes) return GB_CU_INVALID_VALUE;
    soft_image *image = calloc(1, sizeof *image);
    if (!image) return GB_CU_OUT_OF_MEMORY;
    rc = soft_image_load(image, bytes, &text);
    give_log(count, options, values, GB_CU_JIT_ERROR_LOG, GB_CU_JIT_ERROR_LOG_BYTES,
             text ? text : "");
    give_log(count, options, values, GB_CU_JIT_INFO_LOG, GB_CU_JIT_INFO_LOG_BYTES, "");
    free(text);
    if (rc) {
        free_image(image);
        return rc;
    }
    pthread_mutex_lock(&soft.lock);
    return soft_leave(adopt(out, context, image));
}

gb_cu_result soft_cuModuleUnload(gb_cu_module handle)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuModuleUnload, &context);
    soft_module *module = NULL;
    if (rc)
        soft_given_up(handle, SOFT_MODULE);
    else if (!(module = soft_find(ROW_cuModuleUnload, handle, SOFT_MODULE)))
        rc = GB_CU_INVALID_HANDLE;
    if (module) soft_module_retire(module);
    return soft_leave(rc);
}

/* ---- names ---- */

/* What a name of the driver is in the image: lowered ones are translated, others are as the source
 * has them. Not found: "". */
static void name_in_image(const soft_module *module, const char *name, char *out, size_t room)
{
    size_t size = strlen(name);
    snprintf(out, room, "%s", module->image->plain_names && !strchr(name, ':') ? name : "");
    for (const char *at = module->image->names; at && *at; at = strchr(at, '\n') + 1) {
        if (strncmp(at, name, size) != 0 || at[size] != ' ') continue;
        const char *expression = at + size + 1;
        while (*expression == '&' || *expression == ' ') expression++;
        if (strncmp(expression, "::", 2) == 0) expression += 2;
        snprintf(out, room, "%.*s", (int)strcspn(expression, "\n"), expression);
    }
}

static soft_function *new_function(soft_module *module, const gb_cpu_kernel *kernel)
{
    for (gb_list *at = module->functions.next; at != &module->functions; at = at->next)
        if (GB_CONTAINER(at, soft_function, link)->kernel == kernel)
            return GB_CONTAINER(at, soft_function, link);
    soft_function *function =
        soft_new(sizeof *function, SOFT_FUNCTION, module->object.context, destroy_function);
    if (!function) return NULL;
    soft_hold(&module->object);
    function->module = module;
    function->kernel = kernel;
    gb_list_push(&module->functions, &function->link);
    return function;
}

gb_cu_result soft_cuModuleGetFunction(gb_cu_function *out, gb_cu_module handle, const char *name)
{
    soft_context *context;
    char inside[1024];
    gb_cu_result rc = soft_enter_context(ROW_cuModuleGetFunction, &context);
    if (rc) return soft_leave(rc);
    soft_module *module = soft_find(ROW_cuModuleGetFunction, handle, SOFT_MODULE);
    if (!module) return soft_leave(GB_CU_INVALID_HANDLE);
    name_in_image(module, name, inside, sizeof inside);
    const gb_cpu_image *image = image_of(module);
    for (int i = 0; i < image->kernel_count; i++) {
        if (!*inside || strcmp(image->kernels[i].name, inside) != 0) continue;
        soft_function *function = new_function(module, &image->kernels[i]);
        if (!function) return soft_leave(GB_CU_OUT_OF_MEMORY);
        *out = soft_handle(&function->object);
        return soft_leave(0);
    }
    return soft_leave(GB_CU_NOT_FOUND);
}

gb_cu_result soft_cuModuleGetGlobal(gb_cu_memory *out, size_t *bytes, gb_cu_module handle,
                                    const char *name)
{
    soft_context *context;
    char inside[1024];
    gb_cu_result rc = soft_enter_context(ROW_cuModuleGetGlobal, &context);
    if (rc) return soft_leave(rc);
    soft_module *module = soft_find(ROW_cuModuleGetGlobal, handle, SOFT_MODULE);
    if (!module) return soft_leave(GB_CU_INVALID_HANDLE);
    name_in_image(module, name, inside, sizeof inside);
    /* variables at namespace scope keep their plain name without extern "C" */
    if (!*inside && !strchr(name, ':')) snprintf(inside, sizeof inside, "%s", name);
    const gb_cpu_image *image = image_of(module);
    for (int i = 0; i < image->global_count; i++) {
        const gb_cpu_global *global = &image->globals[i];
        if (strcmp(global->name, inside) != 0) continue;
        if (out) *out = (uint64_t)(uintptr_t)global->address;
        if (bytes) *bytes = (size_t)global->bytes;
        return soft_leave(0);
    }
    return soft_leave(GB_CU_NOT_FOUND);
}

bool soft_is_global(soft_context *context, uint64_t address, size_t bytes)
{
    for (gb_list *at = context->objects.next; at != &context->objects; at = at->next) {
        const soft_object *object = GB_CONTAINER(at, soft_object, link);
        if (object->kind != SOFT_MODULE) continue;
        const gb_cpu_image *image = image_of((const soft_module *)object);
        for (int i = 0; i < image->global_count; i++) {
            uint64_t first = (uint64_t)(uintptr_t)image->globals[i].address;
            if (address >= first && address - first < image->globals[i].bytes &&
                bytes <= image->globals[i].bytes - (address - first))
                return true;
        }
    }
    return false;
}

/* ---- functions ---- */

size_t soft_param_align(const soft_function *function, const gb_cpu_param *param)
{
    const gb_cpu_image *image = image_of(function->module);
    if (param->pointer) return 8;
    for (int i = 0; i < image->struct_count && param->code == GB_TYPE_STRUCT; i++)
        if (strcmp(image->structs[i].name, param->type) == 0) return image->structs[i].align;
    if (param->code == GB_TYPE_STRUCT) return param->size % 8 == 0 ? 8 : param->size % 4 ? 1 : 4;
    if (param->lanes == 3) return param->size / 3; /* float3 */
    return param->size < 16 ? param->size : 16;
}

static gb_cu_result enter_function(int row, gb_cu_function handle, soft_function **out)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(row, &context);
    if (rc) return rc;
    *out = soft_find(row, handle, SOFT_FUNCTION);
    return *out ? GB_CU_SUCCESS : GB_CU_INVALID_HANDLE;
}

gb_cu_result soft_cuFuncGetAttribute(int *out, gb_cu_function_attribute which,
                                     gb_cu_function handle)
{
    soft_function *function;
    gb_cu_result rc = enter_function(ROW_cuFuncGetAttribute, handle, &function);
    if (rc) return soft_leave(rc);
    switch (which) {
    case GB_CU_FUNC_THREADS_MAX:
        *out = GBI_FIBERS_MAX;
        break;
    case GB_CU_FUNC_SHARED: /* the cpu's compiler does not know it of every kernel and says 0 */
        *out = (int)function->kernel->static_shared_bytes;
        if (*out == 0) rc = GB_CU_NOT_SUPPORTED;
        break;
    case GB_CU_FUNC_LOCAL:
        *out = 0;
        break;
    case GB_CU_FUNC_REGISTERS:
        *out = REGISTERS;
        break;
    case GB_CU_FUNC_DYNAMIC_MAX:
        *out = (int)function->dynamic_max;
        break;
    default:
        rc = GB_CU_INVALID_VALUE;
    }
    return soft_leave(rc);
}

gb_cu_result soft_cuFuncSetAttribute(gb_cu_function handle, gb_cu_function_attribute which,
                                     int value)
{
    soft_function *function;
    gb_cu_result rc = enter_function(ROW_cuFuncSetAttribute, handle, &function);
    if (rc) return soft_leave(rc);
    int most = SHARED_OPTIN - (int)function->kernel->static_shared_bytes;
    if (which != GB_CU_FUNC_DYNAMIC_MAX || value < 0 || value > most)
        return soft_leave(GB_CU_INVALID_VALUE);
    function->dynamic_max = (uint32_t)value;
    return soft_leave(0);
}

gb_cu_result soft_cuFuncGetParamInfo(gb_cu_function handle, size_t index, size_t *offset,
                                     size_t *size)
{
    soft_function *function;
    gb_cu_result rc = enter_function(ROW_cuFuncGetParamInfo, handle, &function);
    if (rc) return soft_leave(rc);
    if (index >= (size_t)function->kernel->param_count) return soft_leave(GB_CU_INVALID_VALUE);
    size_t at = 0;
    for (size_t i = 0; i <= index; i++) {
        const gb_cpu_param *param = &function->kernel->params[i];
        size_t align = soft_param_align(function, param);
        *offset = (at + align - 1) / align * align;
        at = *offset + param->size;
    }
    if (size) *size = function->kernel->params[index].size;
    return soft_leave(0);
}
