/* Modules of the cpu backend: an image described in the terms of gpu.h. */
#include "base/err.h"
#include "gpu/cpu_compile.h"
#include "gpu/cpu_engine.h"
#include "gpu/front.h"

#include <stdlib.h>
#include <string.h>

typedef struct cpu_module {
    gb_mem *mem;
    gb_cpu_object *object; /* NULL: the image is somebody else's */
    const gb_cpu_image *image;
    int param_count, field_count;
    gbi_kernel_desc *kernels;
    gbi_cpu_kernel *states;
    gb_param *params;
    gb_struct_type *structs;
    gb_struct_field *fields;
    gbi_global_desc *globals;
} cpu_module;

static gb_param param_of(const gb_cpu_param *from)
{
    return (gb_param){
        .name = from->name,
        .type = from->type,
        .code = (gb_type_code)from->code,
        .lanes = (uint16_t)from->lanes,
        .pointer = from->pointer != 0,
        .is_const = from->is_const != 0,
        .size = from->size,
        .element = from->element,
    };
}

static int allocate(cpu_module *module)
{
    const gb_cpu_image *image = module->image;
    for (int i = 0; i < image->kernel_count; i++)
        module->param_count += image->kernels[i].param_count;
    for (int i = 0; i < image->struct_count; i++)
        module->field_count += image->structs[i].field_count;
    gb_mem *mem = module->mem;
    size_t kernels = (size_t)image->kernel_count, structs = (size_t)image->struct_count;
    module->kernels = gb_mem_zalloc(mem, kernels * sizeof module->kernels[0]);
    module->states = gb_mem_zalloc(mem, kernels * sizeof module->states[0]);
    module->params = gb_mem_zalloc(mem, (size_t)module->param_count * sizeof module->params[0]);
    module->structs = gb_mem_zalloc(mem, structs * sizeof module->structs[0]);
    module->fields = gb_mem_zalloc(mem, (size_t)module->field_count * sizeof module->fields[0]);
    module->globals = gb_mem_zalloc(mem, (size_t)image->global_count * sizeof module->globals[0]);
    bool all = module->kernels && module->states && module->params && module->structs &&
               module->fields && module->globals;
    return all ? 0 : GB_ENOMEM;
}

static void release(cpu_module *module)
{
    gb_mem *mem = module->mem;
    const gb_cpu_image *image = module->image;
    size_t kernels = (size_t)image->kernel_count, structs = (size_t)image->struct_count;
    gb_mem_free(mem, module->kernels, kernels * sizeof module->kernels[0]);
    gb_mem_free(mem, module->states, kernels * sizeof module->states[0]);
    gb_mem_free(mem, module->params, (size_t)module->param_count * sizeof module->params[0]);
    gb_mem_free(mem, module->structs, structs * sizeof module->structs[0]);
    gb_mem_free(mem, module->fields, (size_t)module->field_count * sizeof module->fields[0]);
    gb_mem_free(mem, module->globals, (size_t)image->global_count * sizeof module->globals[0]);
    if (module->object) gb_cpu_object_close(module->object);
    gb_mem_free(mem, module, sizeof *module);
}

static void describe_kernels(cpu_module *module)
{
    gb_param *param = module->params;
    for (int i = 0; i < module->image->kernel_count; i++) {
        const gb_cpu_kernel *from = &module->image->kernels[i];
        module->states[i].image = from;
        module->kernels[i] = (gbi_kernel_desc){
            .name = from->name,
            .param_count = from->param_count,
            .params = param,
            .impl = &module->states[i],
            .info = {.registers = -1,
                     .shared_bytes = /* an image that does not know says 0 */
                     from->static_shared_bytes ? (int)from->static_shared_bytes : -1,
                     .spill_bytes = -1,
                     .threads_max = GBI_FIBERS_MAX,
                     .barriers = (from->flags & GB_CPU_SYNC) != 0},
        };
        for (int k = 0; k < from->param_count; k++) *param++ = param_of(&from->params[k]);
    }
}

static void describe_types(cpu_module *module)
{
    gb_struct_field *field = module->fields;
    for (int i = 0; i < module->image->struct_count; i++) {
        const gb_cpu_struct *from = &module->image->structs[i];
        module->structs[i] =
            (gb_struct_type){from->name, from->size, from->align, from->field_count, field};
        for (int k = 0; k < from->field_count; k++) {
            const gb_cpu_field *f = &from->fields[k];
            *field++ = (gb_struct_field){
                f->name, f->type, (gb_type_code)f->code, (uint16_t)f->lanes, f->offset, f->count};
        }
    }
    for (int i = 0; i < module->image->global_count; i++) {
        const gb_cpu_global *from = &module->image->globals[i];
        module->globals[i] = (gbi_global_desc){from->name, (uint64_t)(uintptr_t)from->address,
                                               (size_t)from->bytes, param_of(&from->type)};
    }
}

static int describe(gbi_module_desc *out, cpu_module *module)
{
    int rc = allocate(module);
    if (rc < 0) {
        release(module);
        return rc;
    }
    describe_kernels(module);
    describe_types(module);
    *out = (gbi_module_desc){
        .impl = module,
        .kernel_count = module->image->kernel_count,
        .struct_count = module->image->struct_count,
        .global_count = module->image->global_count,
        .kernels = module->kernels,
        .structs = module->structs,
        .globals = module->globals,
        .log = module->object ? gb_cpu_object_log(module->object) : "",
    };
    return 0;
}

int gbi_cpu_module_wrap(gbi_module_desc *out, gbi_cpu *cpu, const gb_cpu_image *image)
{
    cpu_module *module = gb_mem_zalloc(cpu->mem, sizeof *module);
    if (!module) return GB_ENOMEM;
    module->mem = cpu->mem;
    module->image = image;
    return describe(out, module);
}

int gbi_cpu_module_open(gbi_module_desc *out, void *device, const gb_module_spec *spec,
                        char **detail)
{
    gbi_cpu *cpu = ((gbi_cpu_device *)device)->cpu;
    const gb_gpu_config *from = &cpu->gpu->config;
    gb_cpu_compile_config config = {.mem = cpu->mem,
                                    .cache_dir = from->cache_dir,
                                    .compiler = from->compiler,
                                    .sanitize = from->sanitize};
    cpu_module *module = gb_mem_zalloc(cpu->mem, sizeof *module);
    if (!module) return GB_ENOMEM;
    module->mem = cpu->mem;
    int rc = gb_cpu_compile(&config, spec, &module->object, detail);
    if (rc < 0) {
        gb_mem_free(cpu->mem, module, sizeof *module);
        return rc;
    }
    module->image = gb_cpu_object_image(module->object);
    return describe(out, module);
}

void gbi_cpu_module_close(void *device, gbi_module_desc *desc)
{
    release(desc->impl);
}
