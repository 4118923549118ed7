/* Modules: one object per device and equal spec, compiled and loaded on the compile pool. */
#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/nearest.h"
#include "gpu/cpu_compile.h"
#include "gpu/cuda_compile.h"
#include "gpu/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct waiter {
    gb_list link;
    gb_op *op;
} waiter;

/* ---- the spec: copied into one block, compared, hashed ---- */

static size_t list_bytes(const char *const *list, int *count)
{
    size_t bytes = 0;
    *count = 0;
    for (; list && *list; list++, ++*count) bytes += strlen(*list) + 1;
    return bytes;
}

static char *put(char *at, const void *bytes, size_t size, const char **out)
{
    memcpy(at, bytes, size);
    *out = at;
    return at + size;
}

static int copy_spec(gb_module *module, gb_mem *mem, const gb_module_spec *spec)
{
    const char *const *lists[3] = {spec->options, spec->includes, spec->instances};
    const char *const **outs[3] = {&module->spec.options, &module->spec.includes,
                                   &module->spec.instances};
    int counts[3];
    size_t name_bytes = strlen(spec->name) + 1;
    size_t bytes = name_bytes + spec->source_bytes + 1, pointers = 0;
    for (int i = 0; i < 3; i++) {
        bytes += list_bytes(lists[i], &counts[i]);
        pointers += (size_t)counts[i] + 1;
    }
    module->spec_bytes = pointers * sizeof(char *) + bytes;
    const char **pointer = gb_mem_alloc(mem, module->spec_bytes);
    if (!pointer) return GB_ENOMEM;
    char *at = (char *)(pointer + pointers);
    for (int i = 0; i < 3; i++) {
        *outs[i] = pointer; /* options come first: their list is the block's address */
        for (int k = 0; k < counts[i]; k++)
            at = put(at, lists[i][k], strlen(lists[i][k]) + 1, pointer++);
        *pointer++ = NULL;
    }
    at = put(at, spec->name, name_bytes, &module->spec.name);
    at = put(at, spec->source, spec->source_bytes, &module->spec.source);
    *at = 0;
    module->spec.source_bytes = spec->source_bytes;
    return 0;
}

static uint64_t hash_list(const char *const *list, uint64_t hash)
{
    for (; list && *list; list++) hash = gb_hash_bytes(*list, strlen(*list), hash + 1);
    return gb_hash_mix(hash + 7);
}

static uint64_t hash_spec(const gb_module_spec *spec)
{
    uint64_t hash = gb_hash_bytes(spec->source, spec->source_bytes, 0);
    hash = gb_hash_bytes(spec->name, strlen(spec->name), hash);
    return hash_list(spec->instances, hash_list(spec->includes, hash_list(spec->options, hash)));
}

static bool equal_lists(const char *const *a, const char *const *b)
{
    static const char *const none[] = {NULL};
    if (!a) a = none;
    if (!b) b = none;
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0) return false;
    return !*a && !*b;
}

static bool equal_specs(const gb_module_spec *a, const gb_module_spec *b)
{
    return a->source_bytes == b->source_bytes &&
           memcmp(a->source, b->source, a->source_bytes) == 0 && strcmp(a->name, b->name) == 0 &&
           equal_lists(a->options, b->options) && equal_lists(a->includes, b->includes) &&
           equal_lists(a->instances, b->instances);
}

/* ---- loading ---- */

static uint32_t blob_bytes(const gbi_kernel_desc *desc)
{
    uint32_t bytes = 0;
    for (int i = 0; i < desc->param_count; i++) bytes += (desc->params[i].size + 15u) & ~15u;
    return bytes;
}

static void drop_contents(gb_module *module)
{
    gb_mem *mem = &module->device->gpu->room;
    const gbi_module_desc *desc = &module->desc;
    gb_mem_free(mem, module->kernels, (size_t)desc->kernel_count * sizeof module->kernels[0]);
    gb_mem_free(mem, module->globals, (size_t)desc->global_count * sizeof module->globals[0]);
    module->kernels = NULL;
    module->globals = NULL;
    if (module->desc.impl)
        module->device->backend->module_close(module->device->impl, &module->desc);
    memset(&module->desc, 0, sizeof module->desc);
}

static int wrap_contents(gb_module *module)
{
    gb_mem *mem = &module->device->gpu->room;
    const gbi_module_desc *desc = &module->desc;
    size_t kernels = (size_t)desc->kernel_count, globals = (size_t)desc->global_count;
    module->kernels = gb_mem_zalloc(mem, kernels * sizeof module->kernels[0]);
    module->globals = gb_mem_zalloc(mem, globals * sizeof module->globals[0]);
    if (!module->kernels || !module->globals) return GB_ENOMEM;
    for (size_t i = 0; i < kernels; i++) {
        module->kernels[i].module = module;
        module->kernels[i].desc = &desc->kernels[i];
        module->kernels[i].blob_bytes = blob_bytes(&desc->kernels[i]);
    }
    for (size_t i = 0; i < globals; i++) {
        module->globals[i].device = module->device;
        module->globals[i].bytes = desc->globals[i].bytes;
        module->globals[i].memory.address = desc->globals[i].address;
        module->globals[i].owner = module;
    }
    return 0;
}

/* Under gpu->lock: nobody finds the module any more. */
static void unlink_module(gb_module *module)
{
    if (module->linked) gb_list_unlink(&module->link);
    module->linked = false;
}

static void finish_waiters(gb_module *module)
{
    gb_gpu *gpu = module->device->gpu;
    for (;;) {
        pthread_mutex_lock(&gpu->lock);
        gb_list *node = gb_list_shift(&module->waiters);
        pthread_mutex_unlock(&gpu->lock);
        if (!node) return;
        waiter *wait = GB_CONTAINER(node, waiter, link);
        gb_op *op = wait->op;
        gb_mem_free(&gpu->room, wait, sizeof *wait);
        if (module->rc < 0) gb_op_fail(op, module->rc, "%s", module->detail ? module->detail : "");
        op->done(op, module->rc);
    }
}

/* What runs on a cpu device here is to run elsewhere without a compiler: see gb_image_made_folder.
 */
static void make_images(const gb_module *module)
{
    gb_gpu *gpu = module->device->gpu;
    const gb_gpu_config *config = &gpu->config;
    if (strcmp(module->device->limits.backend, "cpu") != 0 || config->sanitize) return;
    int rc = gb_cpu_images_make(&(gb_cpu_compile_config){.mem = &gpu->room,
                                                         .cache_dir = config->cache_dir,
                                                         .compiler = config->compiler},
                                &module->spec);
    if (rc < 0)
        fprintf(stderr, "gpubridge: no image of %s: %s\n", module->spec.name, gb_err_detail());
    rc = gbi_cuda_images_make(&gpu->room, config->cache_dir, &module->spec);
    if (rc < 0)
        fprintf(stderr, "gpubridge: no image for GPUs of %s: %s\n", module->spec.name,
                gb_err_detail());
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void load_job(gbi_job *job)
{
    gb_module *module = GB_CONTAINER(job, gb_module, job);
    gb_device *device = module->device;
    if (atomic_load(&module->state) == GBI_MODULE_COMPILING) {
        char *detail = NULL;
        uint64_t start = clock_ns();
        int rc = device->backend->module_open(&module->desc, device->impl, &module->spec, &detail);
        gbi_device_count(device, module, GBI_COUNT_MODULE_NS, clock_ns() - start);
        gbi_device_count(device, module, rc < 0 ? GBI_COUNT_MODULES_FAILED : GBI_COUNT_MODULES, 1);
        if (rc == 0 && (rc = wrap_contents(module)) < 0) drop_contents(module);
        if (rc == 0) make_images(module);
        pthread_mutex_lock(&device->gpu->lock);
        if (rc < 0) {
            unlink_module(module); /* the next open tries again */
            module->rc = rc;
            module->detail = detail ? detail : strdup(gb_err_detail());
        } else {
            free(detail);
        }
        atomic_store(&module->state, rc < 0 ? GBI_MODULE_FAILED : GBI_MODULE_READY);
        pthread_mutex_unlock(&device->gpu->lock);
    }
    finish_waiters(module);
    gb_module_unref(module); /* the job's own */
}

/* ---- the public side ---- */

static gb_module *find_module(gb_device *device, const gb_module_spec *spec, uint64_t hash)
{
    for (gb_list *at = device->modules.next; at != &device->modules; at = at->next) {
        gb_module *module = GB_CONTAINER(at, gb_module, link);
        if (module->hash == hash && equal_specs(&module->spec, spec)) return module;
    }
    return NULL;
}

static void free_module(gb_module *module)
{
    gb_gpu *gpu = module->device->gpu;
    gb_mem_free(&gpu->room, (void *)module->spec.options, module->spec_bytes);
    free(module->detail);
    gb_mem_free(&gpu->room, module, sizeof *module);
    atomic_fetch_sub(&gpu->modules, 1);
}

static gb_module *new_module(gb_device *device, const gb_module_spec *spec, uint64_t hash)
{
    gb_mem *mem = &device->gpu->room;
    gb_module *module = gb_mem_zalloc(mem, sizeof *module);
    if (!module) return NULL;
    if (copy_spec(module, mem, spec) < 0) {
        gb_mem_free(mem, module, sizeof *module);
        return NULL;
    }
    module->device = device;
    module->hash = hash;
    atomic_init(&module->state, GBI_MODULE_COMPILING);
    gb_list_init(&module->waiters);
    gb_list_init(&module->link);
    gb_list_init(&module->job.link);
    atomic_fetch_add(&device->gpu->modules, 1);
    return module;
}

/* A module that is there already: its job, or a short one of its own, finishes the op. */
typedef struct ready_job {
    gbi_job job;
    gb_module *module;
} ready_job;

static void run_ready(gbi_job *job)
{
    ready_job *ready = GB_CONTAINER(job, ready_job, job);
    gb_module *module = ready->module;
    gb_mem_free(&module->device->gpu->room, ready, sizeof *ready);
    finish_waiters(module);
    gb_module_unref(module);
}

static int post_ready(gb_module *module)
{
    gb_gpu *gpu = module->device->gpu;
    ready_job *ready = gb_mem_zalloc(&gpu->room, sizeof *ready);
    if (!ready) return GB_ENOMEM;
    ready->job.run = run_ready;
    ready->module = gb_module_ref(module);
    int rc = gbi_jobs_add(&gpu->jobs, &gpu->room, &ready->job);
    if (rc < 0) {
        gb_mem_free(&gpu->room, ready, sizeof *ready);
        atomic_fetch_sub(&module->count, 1);
    }
    return rc;
}

bool gb_module_lost(gb_module *module)
{
    const gb_backend *backend = module->device->backend;
    return backend->module_stale && atomic_load(&module->state) == GBI_MODULE_READY &&
           backend->module_stale(module->device->impl, &module->desc);
}

/* Under gpu->lock. Starts what will finish the waiter of this call. */
static int start_module(gb_module **out, gb_device *device, const gb_module_spec *spec)
{
    uint64_t hash = hash_spec(spec);
    gb_module *module = find_module(device, spec, hash);
    if (module && gb_module_lost(module)) {
        unlink_module(module); /* for those who have it still */
        module = NULL;
    }
    if (module) {
        if (atomic_load(&module->state) == GBI_MODULE_READY) {
            int rc = post_ready(module);
            if (rc < 0) return rc;
        }
        *out = gb_module_ref(module);
        return 0;
    }
    module = new_module(device, spec, hash);
    if (!module) return GB_ENOMEM;
    atomic_init(&module->count, 2); /* the caller's and the job's */
    module->job.run = load_job;
    int rc = gbi_jobs_add(&device->gpu->jobs, &device->gpu->room, &module->job);
    if (rc < 0) {
        free_module(module);
        return rc;
    }
    gb_list_push(&device->modules, &module->link);
    module->linked = true;
    *out = module;
    return 0;
}

int gb_module_open(gb_module **out, gb_device *device, const gb_module_spec *spec, gb_op *op)
{
    GB_CHECK(spec->name && spec->source);
    *out = NULL;
    gb_gpu *gpu = device->gpu;
    waiter *wait = gb_mem_alloc(&gpu->room, sizeof *wait);
    if (!wait) return GB_ENOMEM;
    wait->op = op;
    pthread_mutex_lock(&gpu->lock);
    int rc = start_module(out, device, spec);
    if (rc == 0) gb_list_push(&(*out)->waiters, &wait->link);
    pthread_mutex_unlock(&gpu->lock);
    if (rc < 0) {
        gb_mem_free(&gpu->room, wait, sizeof *wait);
        return rc;
    }
    return GB_OP_PENDING;
}

int gbi_module_adopt(gb_module **out, gb_device *device, const char *name,
                     const gbi_module_desc *desc)
{
    gb_module_spec spec = {.name = name, .source = ""};
    gb_module *module = new_module(device, &spec, 0);
    if (!module) return GB_ENOMEM;
    atomic_init(&module->count, 1);
    module->desc = *desc;
    int rc = wrap_contents(module);
    if (rc < 0) {
        drop_contents(module);
        free_module(module);
        return rc;
    }
    atomic_store(&module->state, GBI_MODULE_READY);
    *out = module;
    return 0;
}

gb_module *gb_module_ref(gb_module *module)
{
    atomic_fetch_add_explicit(&module->count, 1, memory_order_relaxed);
    return module;
}

static void unload_job(gbi_job *job)
{
    gb_module *module = GB_CONTAINER(job, gb_module, job);
    drop_contents(module);
    free_module(module);
}

/* The last reference may fall on a worker or on a kernel thread; unloading may block, so it goes to
 * the pool. The count can rise from 0 again only under the lock, by a lookup. */
void gb_module_unref(gb_module *module)
{
    if (!module) return;
    int32_t now = atomic_load_explicit(&module->count, memory_order_relaxed);
    while (now > 1)
        if (atomic_compare_exchange_weak(&module->count, &now, now - 1)) return;
    gb_gpu *gpu = module->device->gpu;
    pthread_mutex_lock(&gpu->lock);
    int32_t before = atomic_fetch_sub(&module->count, 1);
    GB_CHECK(before > 0);
    if (before == 1) unlink_module(module);
    pthread_mutex_unlock(&gpu->lock);
    if (before > 1) return;
    module->job.run = unload_job;
    if (module->desc.impl == NULL || gbi_jobs_add(&gpu->jobs, &gpu->room, &module->job) < 0)
        unload_job(&module->job);
}

gb_device *gb_module_device(const gb_module *module)
{
    return module->device;
}

/* ---- looking inside ---- */

static bool ready(const gb_module *module)
{
    if (atomic_load_explicit(&((gb_module *)module)->state, memory_order_acquire) ==
        GBI_MODULE_READY)
        return true;
    gb_err_set(GB_EINVAL, "module '%s' is not loaded", module->spec.name);
    return false;
}

int gb_module_kernel_count(const gb_module *module)
{
    return ready(module) ? module->desc.kernel_count : 0;
}

gb_kernel *gb_module_kernel_at(const gb_module *module, int index)
{
    if (!ready(module) || index < 0 || index >= module->desc.kernel_count) return NULL;
    return &module->kernels[index];
}

static const char *kernel_name_at(const void *list, int index)
{
    return ((const gbi_kernel_desc *)list)[index].name;
}

static const char *global_name_at(const void *list, int index)
{
    return ((const gbi_global_desc *)list)[index].name;
}

gb_kernel *gb_module_kernel(const gb_module *module, const char *name)
{
    if (!ready(module)) return NULL;
    const gbi_module_desc *desc = &module->desc;
    for (int i = 0; i < desc->kernel_count; i++)
        if (strcmp(desc->kernels[i].name, name) == 0) return &module->kernels[i];
    const char *near = gb_nearest(name, kernel_name_at, desc->kernels, desc->kernel_count);
    gb_err_set(GB_ENOENT, "module '%s' has no kernel '%s'%s%s%s", module->spec.name, name,
               near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

int gb_module_struct_count(const gb_module *module)
{
    return ready(module) ? module->desc.struct_count : 0;
}

const gb_struct_type *gb_module_struct_at(const gb_module *module, int index)
{
    if (!ready(module) || index < 0 || index >= module->desc.struct_count) return NULL;
    return &module->desc.structs[index];
}

const char *gb_module_log(const gb_module *module)
{
    return ready(module) && module->desc.log ? module->desc.log : "";
}

const char *gb_kernel_name(const gb_kernel *kernel)
{
    return kernel->desc->name;
}

int gb_kernel_param_count(const gb_kernel *kernel)
{
    return kernel->desc->param_count;
}

const gb_param *gb_kernel_params(const gb_kernel *kernel)
{
    return kernel->desc->params;
}

void gb_kernel_get_info(const gb_kernel *kernel, gb_kernel_info *out)
{
    *out = kernel->desc->info;
}

int gb_module_global(gb_module *module, const char *name, gb_buffer **out, gb_param *type)
{
    *out = NULL;
    if (!ready(module)) return GB_EINVAL;
    const gbi_module_desc *desc = &module->desc;
    for (int i = 0; i < desc->global_count; i++) {
        if (strcmp(desc->globals[i].name, name) != 0) continue;
        *out = &module->globals[i];
        if (type) *type = desc->globals[i].type;
        return 0;
    }
    const char *near = gb_nearest(name, global_name_at, desc->globals, desc->global_count);
    return gb_err_set(GB_ENOENT, "module '%s' has no variable '%s'%s%s%s", module->spec.name, name,
                      near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
