/* Kernels without grains: opening them. */
#include "host/embed_kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SOURCE_MAX = 64 << 20, FINISH_MOMENT_NS = 50000 };

/* ---- waiting for one operation ---- */

static void sync_done(gb_op *op, int rc)
{
    gbi_sync *sync = GB_CONTAINER(op, gbi_sync, op);
    pthread_mutex_lock(&sync->lock);
    sync->rc = rc;
    sync->done = true;
    pthread_cond_signal(&sync->ended);
    pthread_mutex_unlock(&sync->lock);
}

void gbi_sync_init(gbi_sync *sync)
{
    memset(sync, 0, sizeof *sync);
    gb_op_init(&sync->op, sync_done);
    pthread_mutex_init(&sync->lock, NULL);
    pthread_cond_init(&sync->ended, NULL);
}

int gbi_sync_wait(gbi_sync *sync, int started)
{
    int rc = started;
    if (started == GB_OP_PENDING) {
        pthread_mutex_lock(&sync->lock);
        while (!sync->done) pthread_cond_wait(&sync->ended, &sync->lock);
        pthread_mutex_unlock(&sync->lock);
        rc = sync->rc;
    }
    if (rc < 0 && sync->op.detail) gb_err_set(rc, "%s", sync->op.detail);
    gb_op_fini(&sync->op);
    pthread_cond_destroy(&sync->ended);
    pthread_mutex_destroy(&sync->lock);
    return rc < 0 ? rc : 0;
}

/* What is queued works on memory of the program, so this must not fail for lack of memory: a
 * command that ends leaves its block for the signal, and an idle queue needs none. */
int gbi_queue_finish(gb_queue *queue)
{
    gbi_sync sync;
    int rc;
    gbi_sync_init(&sync);
    while ((rc = gb_queue_signal(queue, &sync.op)) == GB_ENOMEM && !sync.op.detail) {
        struct timespec moment = {0, FINISH_MOMENT_NS};
        nanosleep(&moment, NULL);
    }
    return gbi_sync_wait(&sync, rc);
}

/* ---- handles ---- */

int gbi_device(gb_device **out, gb_host *host, int index)
{
    int count = gb_gpu_device_count(host->gpu); /* the first use asks drivers, and may fail */
    if (count < 0) return count;
    *out = gb_gpu_device(host->gpu, index < 0 ? gb_gpu_home(host->gpu) : index);
    return *out ? 0 : GB_EDEVICE;
}

void gbi_handle_add(gb_host *host, gb_list *list, gb_list *link)
{
    gbi_host_ref(host);
    pthread_mutex_lock(&host->handles_lock);
    gb_list_push(list, link);
    pthread_mutex_unlock(&host->handles_lock);
}

/* ---- opening ---- */

void gb_kernels_options_init(gb_kernels_options *options, size_t size)
{
    gb_kernels_options fresh = {.size = size, .device = -1};
    memset(options, 0, size);
    memcpy(options, &fresh, size < sizeof fresh ? size : sizeof fresh);
}

static int read_file(const char *path, char **out)
{
    FILE *file = fopen(path, "rb");
    if (!file) return gb_err_set(GB_ENOENT, "cannot open %s: %s", path, strerror(errno));
    char *text = NULL;
    size_t size = 0, room = 0;
    int rc = 0;
    while (rc == 0 && !feof(file) && !ferror(file)) {
        if (room - size < 4097) {
            char *grown = realloc(text, room = room * 2 + 16384);
            if (!grown) rc = gb_err_set(GB_ENOMEM, "out of memory: %s", path);
            if (grown) text = grown;
        }
        if (rc == 0) size += fread(text + size, 1, 4096, file);
        if (size > SOURCE_MAX) rc = gb_err_set(GB_EINVAL, "%s has more than 64 MiB", path);
    }
    if (rc == 0 && ferror(file)) rc = gb_err_set(GB_ENOENT, "cannot read %s", path);
    fclose(file);
    if (rc < 0) {
        free(text);
        return rc;
    }
    text[size] = 0;
    *out = text;
    return 0;
}

typedef struct opening {
    gb_op op;
    gb_node node;
    gb_host *host;
    gb_kernels *kernels;
    gb_kernels_fn *fn;
    void *user;
    int rc;
} opening;

static void kernels_drop(gb_kernels *kernels)
{
    if (kernels->queue) gb_queue_close(kernels->queue);
    if (kernels->module) gb_module_unref(kernels->module);
    kernels->queue = NULL;
    kernels->module = NULL;
}

static void kernels_free(gb_kernels *kernels)
{
    kernels_drop(kernels);
    pthread_mutex_destroy(&kernels->lock);
    gb_mem_free(&kernels->host->mem, kernels, sizeof *kernels);
}

/* Starts the compiler: what gb_module_open returned, with a handle in *out; or negative. */
static int start(gb_host *host, const gb_kernels_options *given, gb_op *op, gb_kernels **out)
{
    gb_kernels_options options;
    if (!given || given->size == 0 || given->size > 4096)
        return gb_err_set(GB_EINVAL, "options.size: call gb_kernels_options_init first");
    gb_kernels_options_init(&options, sizeof options);
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    if (!options.file == !options.source)
        return gb_err_set(GB_EINVAL, "options: either file or source");
    gb_device *device;
    char *text = NULL;
    int rc = gbi_device(&device, host, options.device);
    if (rc >= 0 && options.file) rc = read_file(options.file, &text);
    if (rc < 0) return rc;
    const char *source = text ? text : options.source;
    gb_module_spec spec = {
        .name = options.name   ? options.name
                : options.file ? options.file
                               : "kernels",
        .source = source,
        .source_bytes = strlen(source),
        .options = options.flags,
        .includes = options.includes,
        .instances = options.instances,
    };
    gb_kernels *kernels = gb_mem_zalloc(&host->mem, sizeof *kernels);
    if (kernels) {
        pthread_mutex_init(&kernels->lock, NULL);
        kernels->host = host;
        rc = gb_queue_open(&kernels->queue, device);
        if (rc >= 0) rc = gb_module_open(&kernels->module, device, &spec, op);
        if (rc < 0) kernels_free(kernels);
    } else {
        rc = GB_ENOMEM;
    }
    free(text);
    *out = kernels;
    return rc;
}

int gb_kernels_open(gb_kernels **out, gb_host *host, const gb_kernels_options *options)
{
    gbi_sync sync;
    gb_kernels *kernels = NULL;
    if (!out) return gb_err_set(GB_EINVAL, "gb_kernels_open: out is NULL");
    int rc = gbi_enter(host, "gb_kernels_open");
    if (rc < 0) return rc;
    rc = gbi_may_block(host, "gb_kernels_open");
    if (rc >= 0) {
        gbi_sync_init(&sync);
        int started = start(host, options, &sync.op, &kernels);
        rc = gbi_sync_wait(&sync, started);
        if (rc >= 0) {
            gbi_handle_add(host, &host->embed->kernels, &kernels->link);
            *out = kernels;
        } else if (started >= 0) {
            kernels_free(kernels);
        }
    }
    gbi_leave(host);
    return rc;
}

/* Where callbacks run. */
static void opened(gb_node *node, void *reader)
{
    opening *o = GB_CONTAINER(node, opening, node);
    gb_host *host = o->host;
    (void)reader;
    if (o->rc < 0) {
        const char *message = o->op.detail ? o->op.detail : gb_err_text(o->rc);
        kernels_free(o->kernels);
        gb_err_set(o->rc, "%s", message);
        o->fn(host, o->rc, NULL, message, o->user);
    } else {
        gbi_handle_add(host, &host->embed->kernels, &o->kernels->link);
        o->fn(host, 0, o->kernels, "", o->user);
    }
    gbi_count_delivery(host);
    gb_op_fini(&o->op);
    gb_mem_free(&host->mem, o, sizeof *o);
}

static void opening_done(gb_op *op, int rc)
{
    opening *o = GB_CONTAINER(op, opening, op);
    gb_host *host = o->host;
    o->rc = rc;
    o->node.run = opened;
    gbi_embed_owe(host, &o->node);
    atomic_fetch_sub(&host->embed->ops, 1);
}

int gb_kernels_start(gb_host *host, const gb_kernels_options *options, gb_kernels_fn *fn,
                     void *user)
{
    if (!fn) return gb_err_set(GB_EINVAL, "gb_kernels_start: fn is NULL");
    int rc = gbi_enter(host, "gb_kernels_start");
    if (rc < 0) return rc;
    opening *o = gb_mem_zalloc(&host->mem, sizeof *o);
    if (!o) {
        rc = GB_ENOMEM;
    } else {
        gb_op_init(&o->op, opening_done);
        o->host = host;
        o->fn = fn;
        o->user = user;
        atomic_fetch_add(&host->embed->ops, 1);
        rc = start(host, options, &o->op, &o->kernels);
        if (rc < 0) {
            atomic_fetch_sub(&host->embed->ops, 1);
            if (o->op.detail) gb_err_set(rc, "%s", o->op.detail);
            gb_op_fini(&o->op);
            gb_mem_free(&host->mem, o, sizeof *o);
        }
    }
    gbi_leave(host);
    return rc < 0 ? rc : 0;
}

void gb_kernels_close(gb_kernels *kernels)
{
    if (!kernels) return;
    gb_host *host = kernels->host;
    pthread_mutex_lock(&host->handles_lock); /* gb_close lets go of them at the same time, maybe */
    gb_list_unlink(&kernels->link);
    kernels_drop(kernels);
    pthread_mutex_unlock(&host->handles_lock);
    kernels_free(kernels);
    gbi_host_unref(host);
}

void gbi_kernels_close_all(gb_host *host)
{
    pthread_mutex_lock(&host->handles_lock);
    for (gb_list *link; (link = gb_list_shift(&host->embed->kernels));)
        kernels_drop(GB_CONTAINER(link, gb_kernels, link));
    pthread_mutex_unlock(&host->handles_lock);
}
