/* Launches and device buffers of C programs. */
#include "host/embed_kernel.h"
#include "host/front.h"

#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 64, BLOCK_THREADS = 256 };

gb_shape gb_shape_threads(uint32_t n)
{
    uint32_t blocks = n / BLOCK_THREADS + (n % BLOCK_THREADS != 0);
    return (gb_shape){.grid = {blocks ? blocks : 1, 1, 1}, .block = {BLOCK_THREADS, 1, 1}};
}

/* ---- launches ---- */

typedef struct launching {
    gb_op op;
    gb_node node;
    gb_host *host;
    gb_module *module; /* stays while it runs */
    gb_done_fn *fn;
    void *user;
    int rc;
} launching;

static int refuse(const gb_kernel *kernel, int at, const char *why)
{
    const char *name = at < gb_kernel_param_count(kernel) ? gb_kernel_params(kernel)[at].name : "?";
    return gb_err_set(GB_EINVAL, "%s: argument %d '%s': %s", gb_kernel_name(kernel), at + 1, name,
                      why);
}

/* What the queue is to get: host memory gets a buffer of its own. */
static int make_arg(gb_kernels *kernels, gb_kernel *kernel, const gb_kernel_arg *given, int at,
                    gb_arg *out, gb_buffer **temp)
{
    int kinds = (given->buffer != NULL) + (given->host != NULL) + (given->value != NULL);
    if (kinds != 1) return refuse(kernel, at, "one of buffer, host and value");
    const gb_param *param =
        at < gb_kernel_param_count(kernel) ? &gb_kernel_params(kernel)[at] : NULL;
    if (given->value) {
        if (param && param->pointer) return refuse(kernel, at, "a pointer takes a buffer or host");
        if (given->bytes > UINT32_MAX) return refuse(kernel, at, "too large");
        *out = (gb_arg){.value = given->value, .size = (uint32_t)given->bytes};
        return 0;
    }
    if (param && !param->pointer) return refuse(kernel, at, "it is no pointer: give its value");
    if (given->buffer) {
        if (!given->buffer->inner) return gb_err_set(GB_ECLOSED, "a buffer of a closed host");
        *out = (gb_arg){.buffer = given->buffer->inner, .offset = given->offset};
        return 0;
    }
    gb_buffer_spec spec = {.bytes = given->bytes, .raw = true}; /* host is copied over all of it */
    int rc = gb_buffer_rent(temp, gb_module_device(kernels->module), &spec);
    if (rc >= 0) *out = (gb_arg){.buffer = *temp};
    return rc;
}

/* Queues uploads, the launch and downloads, in this order. */
static int enqueue(gb_kernels *kernels, gb_kernel *kernel, const gb_shape *shape,
                   const gb_kernel_arg *given, int count, gb_buffer **temps)
{
    gb_arg args[ARGS_MAX];
    int rc = 0;
    for (int i = 0; i < count && rc >= 0; i++)
        rc = make_arg(kernels, kernel, &given[i], i, &args[i], &temps[i]);
    for (int i = 0; i < count && rc >= 0; i++)
        if (temps[i] && given[i].bytes)
            rc = gb_queue_upload(kernels->queue, temps[i], 0, given[i].host, given[i].bytes);
    gb_launch launch = {.grid = {shape->grid[0], shape->grid[1], shape->grid[2]},
                        .block = {shape->block[0], shape->block[1], shape->block[2]},
                        .shared_bytes = shape->shared_bytes};
    if (rc >= 0) rc = gb_queue_launch(kernels->queue, kernel, &launch, args, count);
    for (int i = 0; i < count && rc >= 0; i++)
        if (temps[i] && given[i].bytes && !gb_kernel_params(kernel)[i].is_const)
            rc = gb_queue_download(kernels->queue, given[i].host, temps[i], 0, given[i].bytes);
    return rc;
}

/* What the queue's signal answered; the operation's memory must stay while that is pending. */
static int launch(gb_kernels *kernels, const char *name, const gb_shape *shape,
                  const gb_kernel_arg *args, int count, gb_op *op)
{
    gb_buffer *temps[ARGS_MAX] = {0};
    if (!name || !shape) return gb_err_set(GB_EINVAL, "gb_launch: kernel or shape is NULL");
    if (count < 0 || count > ARGS_MAX || (count && !args))
        return gb_err_set(GB_EINVAL, "gb_launch: %d arguments (at most %d)", count, ARGS_MAX);
    gb_kernel *kernel = gb_module_kernel(kernels->module, name);
    if (!kernel) return GB_ENOENT;
    pthread_mutex_lock(&kernels->lock);
    int rc = enqueue(kernels, kernel, shape, args, count, temps);
    if (rc >= 0) rc = gb_queue_signal(kernels->queue, op);
    if (rc < 0) { /* what is queued uses the caller's memory: it ends before this does */
        char text[1024];
        size_t size = strnlen(gb_err_detail(), sizeof text - 1);
        memcpy(text, gb_err_detail(), size);
        text[size] = 0;
        gbi_queue_finish(kernels->queue);
        gb_err_set(rc, "%s", text);
    }
    pthread_mutex_unlock(&kernels->lock);
    for (int i = 0; i < count; i++) gb_buffer_unref(temps[i]);
    return rc;
}

int gbi_front_launch(gb_kernels *kernels, const char *kernel, const gb_shape *shape,
                     const gb_kernel_arg *args, int arg_count)
{
    gbi_sync sync;
    if (!kernels) return gb_err_set(GB_EINVAL, "gb_launch: kernels is NULL");
    int rc = gbi_enter(kernels->host, "gb_launch");
    if (rc < 0) return rc;
    rc = gbi_may_block(kernels->host, "gb_launch");
    if (rc >= 0) {
        gbi_sync_init(&sync);
        rc = gbi_sync_wait(&sync, launch(kernels, kernel, shape, args, arg_count, &sync.op));
    }
    gbi_leave(kernels->host);
    return rc;
}

static void launched(gb_node *node, void *reader)
{
    launching *l = GB_CONTAINER(node, launching, node);
    gb_host *host = l->host;
    (void)reader;
    const char *message = "";
    if (l->rc < 0) {
        message = l->op.detail ? l->op.detail : gb_err_text(l->rc);
        gb_err_set(l->rc, "%s", message);
    }
    l->fn(host, l->rc < 0 ? l->rc : 0, message, l->user);
    gbi_count_delivery(host);
    gb_module_unref(l->module);
    gb_op_fini(&l->op);
    gb_mem_free(&host->mem, l, sizeof *l);
}

static void launch_done(gb_op *op, int rc)
{
    launching *l = GB_CONTAINER(op, launching, op);
    gb_host *host = l->host;
    l->rc = rc;
    l->node.run = launched;
    gbi_embed_owe(host, &l->node);
    atomic_fetch_sub(&host->embed->ops, 1);
}

int gb_launch_start(gb_kernels *kernels, const char *kernel, const gb_shape *shape,
                    const gb_kernel_arg *args, int arg_count, gb_done_fn *fn, void *user)
{
    if (!kernels || !fn)
        return gb_err_set(GB_EINVAL, "gb_launch_start: %s is NULL", kernels ? "fn" : "kernels");
    gb_host *host = kernels->host;
    int rc = gbi_enter(host, "gb_launch_start");
    if (rc < 0) return rc;
    launching *l = gb_mem_zalloc(&host->mem, sizeof *l);
    if (!l) {
        gbi_leave(host);
        return GB_ENOMEM;
    }
    gb_op_init(&l->op, launch_done);
    l->host = host;
    l->fn = fn;
    l->user = user;
    l->module = gb_module_ref(kernels->module);
    atomic_fetch_add(&host->embed->ops, 1);
    rc = launch(kernels, kernel, shape, args, arg_count, &l->op);
    if (rc == GB_OP_READY) {
        launch_done(&l->op, 0);
    } else if (rc < 0) {
        atomic_fetch_sub(&host->embed->ops, 1);
        if (l->op.detail) gb_err_set(rc, "%s", l->op.detail);
        gb_module_unref(l->module);
        gb_op_fini(&l->op);
        gb_mem_free(&host->mem, l, sizeof *l);
    }
    gbi_leave(host);
    return rc < 0 ? rc : 0;
}

/* ---- buffers ---- */

static void buffer_drop(gb_public_buffer *buffer)
{
    if (buffer->queue) gb_queue_close(buffer->queue);
    gb_buffer_unref(buffer->inner);
    buffer->queue = NULL;
    buffer->inner = NULL;
}

/* What a buffer is made with: of its own memory, or on the program's. */
typedef struct making {
    size_t bytes;
    uint64_t address; /* 0: of its own */
    gb_release_fn *release;
    void *user;
} making;

static int make(gb_public_buffer **out, gb_host *host, int index, const making *with)
{
    gb_device *device;
    gb_public_buffer *buffer = gb_mem_zalloc(&host->mem, sizeof *buffer);
    if (!buffer) return GB_ENOMEM;
    int rc = gbi_device(&device, host, index);
    /* the queue first: release must not run when anything fails */
    if (rc >= 0) rc = gb_queue_open(&buffer->queue, device);
    if (rc >= 0)
        rc = with->address ? gb_buffer_borrow(&buffer->inner, device, with->address, with->bytes,
                                              with->release, with->user)
                           : gb_buffer_open(&buffer->inner, device, with->bytes, GB_BUFFER_DEVICE);
    if (rc < 0) {
        buffer_drop(buffer);
        gb_mem_free(&host->mem, buffer, sizeof *buffer);
        return rc;
    }
    buffer->host = host;
    buffer->bytes = with->bytes;
    pthread_mutex_init(&buffer->lock, NULL);
    gbi_handle_add(host, &host->embed->buffers, &buffer->link);
    *out = buffer;
    return 0;
}

int gb_buffer_create(gb_public_buffer **out, gb_host *host, size_t bytes, int device)
{
    if (!out || bytes == 0)
        return gb_err_set(GB_EINVAL, "gb_buffer_create: %s", out ? "0 bytes" : "out is NULL");
    int rc = gbi_enter(host, "gb_buffer_create");
    if (rc < 0) return rc;
    rc = make(out, host, device, &(making){.bytes = bytes});
    gbi_leave(host);
    return rc;
}

int gb_buffer_wrap(gb_public_buffer **out, gb_host *host, uint64_t address, size_t bytes,
                   int device, gb_release_fn *release, void *user)
{
    if (!out || !address || bytes == 0)
        return gb_err_set(GB_EINVAL, "gb_buffer_wrap: %s",
                          !out      ? "out is NULL"
                          : address ? "0 bytes"
                                    : "the address is 0");
    int rc = gbi_enter(host, "gb_buffer_wrap");
    if (rc < 0) return rc;
    rc = make(out, host, device, &(making){bytes, address, release, user});
    gbi_leave(host);
    return rc;
}

void gb_buffer_free(gb_public_buffer *buffer)
{
    if (!buffer) return;
    gb_host *host = buffer->host;
    pthread_mutex_lock(&host->handles_lock);
    gb_list_unlink(&buffer->link);
    buffer_drop(buffer);
    pthread_mutex_unlock(&host->handles_lock);
    pthread_mutex_destroy(&buffer->lock);
    gb_mem_free(&host->mem, buffer, sizeof *buffer);
    gbi_host_unref(host);
}

void gbi_buffers_close_all(gb_host *host)
{
    pthread_mutex_lock(&host->handles_lock);
    for (gb_list *link; (link = gb_list_shift(&host->embed->buffers));)
        buffer_drop(GB_CONTAINER(link, gb_public_buffer, link));
    pthread_mutex_unlock(&host->handles_lock);
}

size_t gb_buffer_size(const gb_public_buffer *buffer)
{
    return buffer ? buffer->bytes : 0;
}

static int copy(gb_public_buffer *buffer, size_t offset, const void *from, void *to, size_t bytes,
                const char *what)
{
    if (!buffer || (!from && !to))
        return gb_err_set(GB_EINVAL, "%s: %s is NULL", what, buffer ? "data" : "buffer");
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return gb_err_set(GB_EINVAL, "%s: %zu bytes at %zu do not fit a buffer of %zu", what, bytes,
                          offset, buffer->bytes);
    int rc = gbi_enter(buffer->host, what);
    if (rc < 0) return rc;
    rc = gbi_may_block(buffer->host, what);
    if (rc >= 0 && bytes) {
        pthread_mutex_lock(&buffer->lock);
        rc = from ? gb_queue_upload(buffer->queue, buffer->inner, offset, from, bytes)
                  : gb_queue_download(buffer->queue, to, buffer->inner, offset, bytes);
        if (rc >= 0) rc = gbi_queue_finish(buffer->queue);
        pthread_mutex_unlock(&buffer->lock);
    }
    gbi_leave(buffer->host);
    return rc;
}

int gb_buffer_upload(gb_public_buffer *buffer, size_t offset, const void *data, size_t bytes)
{
    return copy(buffer, offset, data, NULL, bytes, "gb_buffer_upload");
}

int gb_buffer_download(gb_public_buffer *buffer, size_t offset, void *data, size_t bytes)
{
    return copy(buffer, offset, NULL, data, bytes, "gb_buffer_download");
}

/* ---- not yet ---- */

static int not_yet(gb_host *host, const char *name, int index, const char *needs, const char *mend)
{
    gb_device *device;
    gb_device_info info;
    int rc = gbi_enter(host, name);
    if (rc < 0) return rc;
    rc = gbi_device(&device, host, index);
    if (rc >= 0) {
        gb_device_get_info(device, &info);
        bool cpu = strcmp(info.backend, "cpu") == 0;
        rc = gb_err_set(GB_ENOTYET, "%s: device %d is a %s device; %s%s", name, info.index,
                        info.backend, cpu ? mend : "this needs ", cpu ? "" : needs);
    }
    gbi_leave(host);
    return rc;
}

int gb_buffer_import_fd(gb_public_buffer **out, gb_host *host, int fd, size_t bytes, int device)
{
    (void)out, (void)fd, (void)bytes;
    return not_yet(host, "gb_buffer_import_fd", device,
                   "the driver's cuImportExternalMemory, which this version does not call yet",
                   "no other API shares memory with it: map the descriptor (mmap) and give the "
                   "address to gb_buffer_wrap");
}

int gb_semaphore_import_fd(gb_semaphore **out, gb_host *host, int fd, int device)
{
    (void)out, (void)fd;
    return not_yet(host, "gb_semaphore_import_fd", device,
                   "the driver's cuImportExternalSemaphore, which this version does not call yet",
                   "no other API shares semaphores with it: wait for the other API, then launch");
}
