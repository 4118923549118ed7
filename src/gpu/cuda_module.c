/* Modules of the cuda backend: an image that the driver has loaded, described in the terms of
 * gpu.h. */
#include "gpu/cuda_compile.h"
#include "gpu/cuda_engine.h"

#include "base/err.h"
#include "gpu/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_BYTES = 8192 };

typedef char type_text[sizeof((gbi_cuda_row *)0)->type];

typedef struct cuda_module {
    gbi_cuda_job close;
    gbi_cuda_device *device;
    gb_mem *mem;
    gbi_cuda_image image;
    gb_buf rows;
    gb_cu_module handle;
    int row_count, kernel_room, name_room;
    int kernel_count, global_count, struct_count;
    gbi_kernel_desc *kernels; /* at most twice the names: short names too */
    gbi_cuda_kernel *states;
    gbi_global_desc *globals;
    gb_struct_type *structs;
    gb_param *params;        /* by row */
    gb_struct_field *fields; /* by row */
    type_text *types;        /* by row */
    gb_cu_memory table;      /* of the rows on the device, where the image hides them */
    size_t table_bytes;
} cuda_module;

static void release(cuda_module *module)
{
    gb_mem *mem = module->mem;
    size_t names = (size_t)module->name_room, rows = (size_t)module->row_count;
    gb_mem_free(mem, module->kernels, 2 * names * sizeof module->kernels[0]);
    gb_mem_free(mem, module->states, names * sizeof module->states[0]);
    gb_mem_free(mem, module->globals, names * sizeof module->globals[0]);
    gb_mem_free(mem, module->structs, names * sizeof module->structs[0]);
    gb_mem_free(mem, module->params, rows * sizeof module->params[0]);
    gb_mem_free(mem, module->fields, rows * sizeof module->fields[0]);
    gb_mem_free(mem, module->types, rows * sizeof module->types[0]);
    gb_buf_fini(&module->rows);
    gbi_cuda_image_fini(&module->image);
    gb_mem_free(mem, module, sizeof *module);
}

/* ---- describing ---- */

static const gbi_cuda_row *row_at(const cuda_module *module, int index)
{
    return (const gbi_cuda_row *)module->rows.data + index;
}

static int find_row(const cuda_module *module, int kind, int id)
{
    for (int i = 0; i < module->row_count; i++)
        if (row_at(module, i)->kind == kind && row_at(module, i)->id == id) return i;
    return -1;
}

static int allocate(cuda_module *module)
{
    gb_mem *mem = module->mem;
    size_t names = (size_t)module->image.names.count, rows = (size_t)module->row_count;
    module->name_room = module->image.names.count;
    module->kernels = gb_mem_zalloc(mem, 2 * names * sizeof module->kernels[0]);
    module->states = gb_mem_zalloc(mem, names * sizeof module->states[0]);
    module->globals = gb_mem_zalloc(mem, names * sizeof module->globals[0]);
    module->structs = gb_mem_zalloc(mem, names * sizeof module->structs[0]);
    module->params = gb_mem_zalloc(mem, rows * sizeof module->params[0]);
    module->fields = gb_mem_zalloc(mem, rows * sizeof module->fields[0]);
    module->types = gb_mem_zalloc(mem, rows * sizeof module->types[0]);
    bool all = module->kernels && module->states && module->globals && module->structs &&
               module->params && module->fields && module->types;
    return all ? 0 : GB_ENOMEM;
}

static gb_param param_of(cuda_module *module, int row, const char *name)
{
    const gbi_cuda_row *from = row_at(module, row);
    gbi_cuda_row_type(from, module->types[row]);
    return (gb_param){
        .name = name,
        .type = module->types[row],
        .code = (gb_type_code)from->code,
        .lanes = (uint16_t)from->lanes,
        .pointer = from->pointer != 0,
        .is_const = from->is_const != 0,
        .size = from->size,
        .element = from->element,
    };
}

static int disagree(const gbi_cuda_name *name)
{
    return gb_err_set(GB_ECOMPILE,
                      "kernel '%s': the driver's parameters are not those of its declaration",
                      name->shown);
}

/* The driver's word on the parameters' sizes, where it gives one (since 12.4). */
static int check_sizes(const cuda_module *module, gb_cu_function function,
                       const gbi_cuda_name *name, const gb_param *params)
{
    const gb_cuda_api *api = module->device->cuda->api;
    size_t offset, size;
    if (!api->cuFuncGetParamInfo) return 0;
    for (int i = 0; i < name->part_count; i++)
        if (api->cuFuncGetParamInfo(function, (size_t)i, &offset, &size) != GB_CU_SUCCESS ||
            size != params[i].size)
            return disagree(name);
    if (api->cuFuncGetParamInfo(function, (size_t)name->part_count, &offset, &size) ==
        GB_CU_SUCCESS)
        return disagree(name);
    return 0;
}

static int figure(const gb_cuda_api *api, gb_cu_function function, gb_cu_function_attribute which)
{
    int value = -1;
    return api->cuFuncGetAttribute(&value, which, function) == GB_CU_SUCCESS ? value : -1;
}

static int describe_kernel(cuda_module *module, int id)
{
    const gb_cuda_api *api = module->device->cuda->api;
    const gbi_cuda_name *name = &module->image.names.at[id];
    int row = find_row(module, GBI_ROW_KERNEL, id);
    if (row < 0 || (int)row_at(module, row)->count != name->part_count ||
        row + name->part_count >= module->row_count)
        return disagree(name);
    gb_cu_function function;
    gb_cu_result rc = api->cuModuleGetFunction(&function, module->handle, name->lowered);
    if (rc != GB_CU_SUCCESS) return gbi_cuda_failed(module->device, rc, name->shown);
    gb_param *params = &module->params[row + 1]; /* the rows of the parameters follow */
    for (int i = 0; i < name->part_count; i++) {
        const gbi_cuda_row *own = row_at(module, row + 1 + i);
        if (own->kind != GBI_ROW_PARAM || own->id != id || own->sub != i) return disagree(name);
        params[i] = param_of(module, row + 1 + i, name->parts[i]);
    }
    int checked = check_sizes(module, function, name, params);
    if (checked < 0) return checked;
    gbi_cuda_kernel *state = &module->states[module->kernel_room++];
    state->function = function;
    state->epoch = module->close.epoch;
    module->kernels[module->kernel_count++] = (gbi_kernel_desc){
        .name = name->shown,
        .param_count = name->part_count,
        .params = params,
        .impl = state,
        .info = {.registers = figure(api, function, GB_CU_FUNC_REGISTERS),
                 .shared_bytes = figure(api, function, GB_CU_FUNC_SHARED),
                 .spill_bytes = figure(api, function, GB_CU_FUNC_LOCAL),
                 .threads_max = figure(api, function, GB_CU_FUNC_THREADS_MAX),
                 .barriers = name->sync},
    };
    return 0;
}

static int describe_global(cuda_module *module, int id)
{
    const gbi_cuda_name *name = &module->image.names.at[id];
    int row = find_row(module, GBI_ROW_GLOBAL, id);
    gb_cu_memory address;
    size_t bytes;
    if (row < 0) return 0;
    gb_cu_result rc = module->device->cuda->api->cuModuleGetGlobal(&address, &bytes, module->handle,
                                                                   name->lowered);
    if (rc == GB_CU_NOT_FOUND) return 0; /* nothing uses it, and the compiler left it out */
    if (rc != GB_CU_SUCCESS) return gbi_cuda_failed(module->device, rc, name->shown);
    module->globals[module->global_count++] =
        (gbi_global_desc){name->shown, address, bytes, param_of(module, row, name->shown)};
    return 0;
}

static void describe_struct(cuda_module *module, int id)
{
    const gbi_cuda_name *name = &module->image.names.at[id];
    int row = find_row(module, GBI_ROW_STRUCT, id);
    if (row < 0 || row + name->part_count >= module->row_count) return;
    const gbi_cuda_row *whole = row_at(module, row);
    gb_struct_field *fields = &module->fields[row + 1];
    for (int i = 0; i < name->part_count; i++) {
        const gbi_cuda_row *from = row_at(module, row + 1 + i);
        gb_param own = param_of(module, row + 1 + i, name->parts[i]);
        fields[i] = (gb_struct_field){
            .name = own.name,
            .type = own.type,
            .code = own.pointer ? GB_TYPE_UINT64 : own.code, /* a pointer reads as an address */
            .lanes = own.pointer ? 1 : own.lanes,
            .offset = from->offset,
            .count = from->count,
        };
    }
    module->structs[module->struct_count++] =
        (gb_struct_type){name->shown, whole->size, whole->offset, name->part_count, fields};
}

/* Behind them, the short name of each kernel of a namespace that has it alone. */
static void add_short_names(cuda_module *module)
{
    int count = module->kernel_count;
    for (int i = 0; i < count; i++) {
        const char *name = module->kernels[i].name, *tail = name;
        if (strpbrk(name, "<(")) continue;
        for (const char *at = name; (at = strstr(at, "::")); at += 2) tail = at + 2;
        bool alone = tail != name;
        for (int k = 0; k < count && alone; k++) {
            const char *other = module->kernels[k].name, *end = other;
            for (const char *at = other; (at = strstr(at, "::")); at += 2) end = at + 2;
            alone = k == i || strcmp(end, tail) != 0;
        }
        if (!alone) continue;
        module->kernels[module->kernel_count] = module->kernels[i];
        module->kernels[module->kernel_count++].name = tail;
    }
}

static int describe(cuda_module *module)
{
    const gbi_cuda_names *names = &module->image.names;
    int rc = allocate(module);
    for (int i = 0; i < names->count && rc == 0; i++) {
        if (names->at[i].dropped) continue;
        if (names->at[i].kind == GBI_NAME_KERNEL) rc = describe_kernel(module, i);
        if (names->at[i].kind == GBI_NAME_GLOBAL) rc = describe_global(module, i);
        if (names->at[i].kind == GBI_NAME_STRUCT) describe_struct(module, i);
    }
    if (rc == 0) add_short_names(module);
    return rc;
}

/* ---- loading ---- */

/* Submission thread: the rows of an image of an unknown kind, as its kernels would see them. */
static int read_table(gbi_cuda_device *device, void *arg)
{
    cuda_module *module = arg;
    const gb_cuda_api *api = device->cuda->api;
    bool never;
    size_t at = 0;
    gbi_cuda_stage *stage = gbi_cuda_stage_take(device, false, true, &never);
    if (!stage) return gb_err_set(GB_ENOMEM, "no pinned memory for the table of a module");
    gb_cu_result rc = GB_CU_SUCCESS;
    int put = gb_buf_reserve(&module->rows, module->table_bytes);
    for (; at < module->table_bytes && rc == GB_CU_SUCCESS && put == 0;) {
        size_t piece = module->table_bytes - at;
        if (piece > GBI_STAGE_SMALL) piece = GBI_STAGE_SMALL;
        rc = api->cuMemcpyAsync((gb_cu_memory)(uintptr_t)stage->host, module->table + at, piece,
                                device->stream);
        if (rc == GB_CU_SUCCESS) rc = api->cuStreamSynchronize(device->stream);
        if (rc == GB_CU_SUCCESS) put = gb_buf_put(&module->rows, stage->host, piece);
        at += piece;
    }
    bool through = rc == GB_CU_SUCCESS || api->cuStreamSynchronize(device->stream) == GB_CU_SUCCESS;
    if (through)
        gbi_cuda_stage_give(device, stage);
    else
        gbi_cuda_stage_doubt(device, stage);
    return rc == GB_CU_SUCCESS ? put : gbi_cuda_failed(device, rc, "reading a module's table");
}

static int read_rows(cuda_module *module)
{
    int count = gbi_cuda_rows(module->image.bytes.data, module->image.bytes.size, &module->rows);
    if (count == 0) {
        module->rows.size = 0;
        gb_cu_result rc = module->device->cuda->api->cuModuleGetGlobal(
            &module->table, &module->table_bytes, module->handle, "__gbr_rows");
        if (rc != GB_CU_SUCCESS)
            return gbi_cuda_failed(module->device, rc, "finding a module's table");
        count = gbi_cuda_call(module->device, read_table, module);
        if (count == 0) count = (int)(module->rows.size / sizeof(gbi_cuda_row));
    }
    if (count < 0) return count;
    module->row_count = count;
    return 0;
}

/* What to do about an image that the driver does not take. */
static const char *load_remedy(gb_cu_result rc)
{
    if (rc == GB_CU_UNSUPPORTED_PTX)
        return "; this driver is older than the NVRTC that made the PTX: install a newer driver, "
               "or "
               "name an older NVRTC in GB_NVRTC_LIBRARY";
    return rc == GB_CU_NO_BINARY ? "; the image is for another architecture" : "";
}

/* It is the image that cannot be loaded, on any device of its kind. With other errors another
 * device may do. */
static bool blames_image(gb_cu_result rc, const char *log)
{
    return *log || rc == GB_CU_INVALID_VALUE || rc == GB_CU_INVALID_IMAGE ||
           rc == GB_CU_NO_BINARY || rc == GB_CU_INVALID_PTX || rc == GB_CU_UNSUPPORTED_PTX;
}

/* Submission thread. */
static int load_image(gbi_cuda_device *device, void *arg)
{
    cuda_module *module = arg;
    char *log = gb_mem_zalloc(module->mem, LOG_BYTES);
    if (!log) return GB_ENOMEM;
    gb_cu_jit_option options[] = {GB_CU_JIT_ERROR_LOG, GB_CU_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(LOG_BYTES - 1)};
    module->close.epoch = atomic_load(&device->epoch);
    gb_cu_result rc = device->cuda->api->cuModuleLoadDataEx(
        &module->handle, module->image.bytes.data, 2, options, values);
    int answer = 0;
    if (rc != GB_CU_SUCCESS) {
        answer = gbi_cuda_failed(device, rc, "loading a module");
        if ((answer == GB_EDEVICE || answer == GB_EINVAL) && blames_image(rc, log)) {
            char text[400];
            strncpy(text, gb_err_detail(), sizeof text - 1);
            text[sizeof text - 1] = 0;
            answer = gb_err_set(GB_ECOMPILE, "%s%s%s%.3000s", text, load_remedy(rc),
                                *log ? "\n" : "", log);
        }
    }
    gb_mem_free(module->mem, log, LOG_BYTES);
    return answer;
}

static int unload_image(gbi_cuda_device *device, void *arg)
{
    gb_cu_result rc = device->cuda->api->cuModuleUnload(((cuda_module *)arg)->handle);
    if (rc != GB_CU_SUCCESS) gbi_cuda_failed(device, rc, "unloading a module");
    return 0;
}

static void after_unload(gbi_cuda_device *device, gbi_cuda_job *job)
{
    release(GB_CONTAINER(job, cuda_module, close));
}

/* Nobody waits: on a device that is lost this may take long. */
static void close_module(cuda_module *module)
{
    gb_list_init(&module->close.link);
    module->close.run = unload_image;
    module->close.after = after_unload;
    module->close.arg = module;
    gbi_cuda_post(module->device, &module->close);
}

/* The compiler, loaded by the first module that is not in the cache or has to be looked up in it:
 * the cache's key holds its version. */
static const gb_nvrtc_api *compiler(gbi_cuda *cuda)
{
    pthread_mutex_lock(&cuda->lock);
    if (!cuda->nvrtc) {
        gb_nvrtc_api *nvrtc = gb_mem_zalloc(cuda->mem, sizeof *nvrtc);
        if (nvrtc && gbi_nvrtc_load(nvrtc) == 0) {
            cuda->nvrtc = nvrtc;
        } else if (nvrtc) {
            gb_mem_free(cuda->mem, nvrtc, sizeof *nvrtc);
        }
    }
    const gb_nvrtc_api *nvrtc = cuda->nvrtc;
    pthread_mutex_unlock(&cuda->lock);
    return nvrtc;
}

static int open_module(cuda_module *module, const gb_module_spec *spec)
{
    gbi_cuda_device *device = module->device;
    const gb_nvrtc_api *nvrtc = compiler(device->cuda);
    char missing[600] = "";
    if (!nvrtc) snprintf(missing, sizeof missing, "%s", gb_err_detail());
    int rc = gbi_cuda_compile(&module->image, nvrtc, device->cuda->gpu->config.cache_dir, spec,
                              device->facts.arch);
    if (rc == GB_ENOENT && !nvrtc)
        return gb_err_set(GB_ECOMPILE, "no compiler for the GPU: %s", missing);
    if (rc == 0) rc = gbi_cuda_enter(device);
    if (rc < 0) return rc;
    rc = gbi_cuda_call(device, load_image, module);
    if (rc == 0) rc = read_rows(module);
    if (rc == 0) rc = describe(module);
    gbi_cuda_leave(device);
    return rc;
}

int gbi_cuda_module_open(gbi_module_desc *out, void *self, const gb_module_spec *spec,
                         char **detail)
{
    gbi_cuda_device *device = self;
    cuda_module *module = gb_mem_zalloc(device->cuda->mem, sizeof *module);
    if (!module) return GB_ENOMEM;
    module->device = device;
    module->mem = device->cuda->mem;
    gb_buf_init(&module->rows, module->mem);
    gbi_cuda_image_init(&module->image, module->mem);
    int rc = open_module(module, spec);
    if (rc < 0) {
        const char *why = gb_err_detail(), *log = gb_buf_text(&module->image.log);
        bool cut = *why && strncmp(why, log, strnlen(why, 200)) == 0; /* the log is all of it */
        *detail = strdup(cut ? log : why);
        if (module->handle)
            close_module(module);
        else
            release(module);
        return rc;
    }
    *out = (gbi_module_desc){
        .impl = module,
        .kernel_count = module->kernel_count,
        .struct_count = module->struct_count,
        .global_count = module->global_count,
        .kernels = module->kernels,
        .structs = module->structs,
        .globals = module->globals,
        .log = gb_buf_text(&module->image.log),
    };
    return 0;
}

uint32_t gbi_cuda_module_epoch(const gbi_module_desc *desc)
{
    return ((const cuda_module *)desc->impl)->close.epoch;
}

bool gbi_cuda_module_stale(void *device, const gbi_module_desc *desc)
{
    return gbi_cuda_module_epoch(desc) != atomic_load(&((gbi_cuda_device *)device)->epoch);
}

void gbi_cuda_module_close(void *device, gbi_module_desc *desc)
{
    close_module(desc->impl);
}
