#include "gpu/profile.h"

#include "gpu/cpu_pool.h"
#include "gpu/front.h"

#include <string.h>

struct gbi_profile_row {
    gbi_profile_row *next;
    char *kernel;
    int device;
    pthread_mutex_t lock; /* of what follows */
    gb_hist ran, failed;  /* ns */
    uint64_t wait_ns, wait_ns_max;
};

void gbi_profile_init(gbi_profile *profile, gb_mem *mem, bool on)
{
    profile->on = on;
    profile->mem = mem;
    pthread_mutex_init(&profile->lock, NULL);
}

void gbi_profile_fini(gbi_profile *profile)
{
    for (gbi_profile_row *row = profile->rows, *next; row; row = next) {
        next = row->next;
        gb_mem_strfree(profile->mem, row->kernel);
        pthread_mutex_destroy(&row->lock);
        gb_mem_free(profile->mem, row, sizeof *row);
    }
    pthread_mutex_destroy(&profile->lock);
}

static gbi_profile_row *make(gbi_profile *profile, const char *kernel, int device)
{
    gbi_profile_row *row = gb_mem_zalloc(profile->mem, sizeof *row);
    if (!row) return NULL;
    row->kernel = gb_mem_strdup(profile->mem, kernel);
    if (!row->kernel) {
        gb_mem_free(profile->mem, row, sizeof *row);
        return NULL;
    }
    row->device = device;
    pthread_mutex_init(&row->lock, NULL);
    row->next = profile->rows;
    profile->rows = row;
    return row;
}

static gbi_profile_row *row_of(gbi_profile *profile, gb_kernel *kernel)
{
    gbi_profile_row *row = atomic_load_explicit(&kernel->times, memory_order_acquire);
    if (row) return row;
    const char *name = kernel->desc->name;
    int device = kernel->module->device->index;
    pthread_mutex_lock(&profile->lock);
    for (row = profile->rows; row; row = row->next)
        if (row->device == device && strcmp(row->kernel, name) == 0) break;
    if (!row) row = make(profile, name, device);
    pthread_mutex_unlock(&profile->lock);
    atomic_store_explicit(&kernel->times, row, memory_order_release);
    return row;
}

static gbi_profile *profile_of(const gbi_command *launch)
{
    return &launch->queue->device->gpu->profile;
}

void gbi_profile_queue(gbi_command *launch)
{
    launch->u.launch.queued_ns = gbi_now_ns();
    launch->u.launch.started_ns = 0; /* of the run before: a plan's commands are used again */
}

void gbi_profile_start(gbi_command *launch)
{
    launch->u.launch.started_ns = gbi_now_ns();
}

void gbi_profile_end(const gbi_command *launch, int rc)
{
    uint64_t started = launch->u.launch.started_ns, ran = gbi_now_ns() - started;
    uint64_t waited = started - launch->u.launch.queued_ns;
    gbi_profile_row *row = row_of(profile_of(launch), launch->u.launch.kernel);
    if (!row) return;
    pthread_mutex_lock(&row->lock);
    gb_hist_add(rc < 0 ? &row->failed : &row->ran, ran);
    row->wait_ns += waited;
    if (waited > row->wait_ns_max) row->wait_ns_max = waited;
    pthread_mutex_unlock(&row->lock);
}

bool gb_gpu_each_times(gb_gpu *gpu, void (*each)(void *user, const gb_kernel_times *times),
                       void *user)
{
    gbi_profile *profile = &gpu->profile;
    pthread_mutex_lock(&profile->lock);
    gbi_profile_row *first = profile->rows; /* what is in front of it later is not told */
    pthread_mutex_unlock(&profile->lock);
    for (gbi_profile_row *row = first; row; row = row->next) {
        pthread_mutex_lock(&row->lock);
        gb_kernel_times times = {.kernel = row->kernel,
                                 .device = row->device,
                                 .ran = &row->ran,
                                 .failed = &row->failed,
                                 .wait_ns = row->wait_ns,
                                 .wait_ns_max = row->wait_ns_max};
        each(user, &times);
        pthread_mutex_unlock(&row->lock);
    }
    return profile->on;
}
