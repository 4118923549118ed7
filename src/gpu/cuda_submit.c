/* One submission thread per device: it owns the retained context, runs blocking calls for others,
 * and goes on with queues whose owners could not. It starts with the first call. */
#include "gpu/cuda_engine.h"

#include "base/check.h"
#include "base/cond.h"
#include "base/err.h"
#include "gpu/front.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BACKING_NS = 100000000 };

bool gbi_cuda_settled(gbi_cuda_device *device)
{
    return atomic_load(&device->dead) ||
           (atomic_load(&device->steps) == 0 && atomic_load(&device->callbacks) == 0);
}

int gbi_cuda_retain(gbi_cuda_device *device)
{
    const gb_cuda_api *api = device->cuda->api;
    if (atomic_load(&device->ready)) return 0;
    gb_cu_result rc = api->cuDevicePrimaryCtxRetain(&device->context, device->handle);
    if (rc != GB_CU_SUCCESS) return gbi_cuda_failed(device, rc, "retaining the context");
    rc = api->cuCtxSetCurrent(device->context);
    if (rc == GB_CU_SUCCESS) rc = api->cuEventCreate(&device->probe, GB_CU_EVENT_NO_TIMING);
    bool event = rc == GB_CU_SUCCESS;
    if (event) rc = gbi_cuda_pool_open(device);
    if (rc == GB_CU_SUCCESS) rc = api->cuStreamCreate(&device->stream, GB_CU_STREAM_NON_BLOCKING);
    if (rc != GB_CU_SUCCESS) {
        if (event) api->cuEventDestroy(device->probe);
        api->cuDevicePrimaryCtxRelease(device->handle);
        return gbi_cuda_failed(device, rc, "making the first stream");
    }
    atomic_store_explicit(&device->ready, true, memory_order_release);
    return 0;
}

/* Under the lock, which is given up meanwhile. */
static void run_job(gbi_cuda_device *device, gbi_cuda_job *job)
{
    pthread_mutex_unlock(&device->lock);
    int rc = atomic_load(&device->lost) ? gbi_cuda_lost(device) : gbi_cuda_retain(device);
    if (rc == 0 && job->run) rc = job->run(device, job->arg);
    if (rc < 0) snprintf(job->text, sizeof job->text, "%s", gb_err_detail());
    pthread_mutex_lock(&device->lock);
    job->rc = rc;
    job->done = true;
    pthread_cond_broadcast(&device->finished);
}

/* Under the lock, which is given up meanwhile. False: there is none, or it has to wait. */
static bool run_return(gbi_cuda_device *device)
{
    bool stuck = atomic_load(&device->stuck);
    if (atomic_load(&device->lost) && !stuck && !gbi_cuda_settled(device)) return false;
    gb_list *node = gb_list_shift(&device->returns);
    if (!node) return false;
    gbi_cuda_job *job = GB_CONTAINER(node, gbi_cuda_job, link);
    pthread_mutex_unlock(&device->lock);
    if (!stuck && job->epoch == atomic_load(&device->epoch)) job->run(device, job->arg);
    job->after(device, job); /* may free the job */
    pthread_mutex_lock(&device->lock);
    return true;
}

/* Under the lock: tries each deferred queue once. */
static void pump_queues(gbi_cuda_device *device)
{
    gb_list tried;
    gb_list_init(&tried);
    device->pump = false;
    for (gb_list *node; (node = gb_list_shift(&device->deferred));) {
        gbi_cuda_queue *queue = GB_CONTAINER(node, gbi_cuda_queue, deferred);
        pthread_mutex_unlock(&device->lock);
        bool empty = gbi_cuda_queue_pump(queue);
        if (empty) gbi_cuda_queue_unref(queue); /* the reference of the deferral */
        pthread_mutex_lock(&device->lock);
        if (!empty) gb_list_push(&tried, node);
    }
    for (gb_list *node; (node = gb_list_shift(&tried));) gb_list_push(&device->deferred, node);
}

static void *submission(void *arg)
{
    gbi_cuda_device *device = arg;
    pthread_mutex_lock(&device->lock);
    for (;;) {
        if (run_return(device)) continue; /* first: what it gives back may be asked for */
        if (!device->stopping && gbi_cuda_may_recover(device)) {
            pthread_mutex_unlock(&device->lock);
            gbi_cuda_recover(device);
            pthread_mutex_lock(&device->lock);
            continue;
        }
        gb_list *node = gb_list_shift(&device->jobs);
        if (node) {
            run_job(device, GB_CONTAINER(node, gbi_cuda_job, link));
            continue;
        }
        if (device->pump && !gb_list_empty(&device->deferred)) {
            pump_queues(device);
            continue;
        }
        device->pump = false;
        if (device->stopping) break;
        bool hopes = atomic_load(&device->lost) && device->cuda->gpu->config.owns_devices;
        bool patient = gb_list_empty(&device->deferred) && !hopes;
        if (patient) {
            pthread_cond_wait(&device->wake, &device->lock);
            continue;
        }
        struct timespec until = gb_cond_end(BACKING_NS); /* what they wait for wakes us */
        if (pthread_cond_timedwait(&device->wake, &device->lock, &until) != 0) device->pump = true;
    }
    pthread_mutex_unlock(&device->lock);
    bool stuck = atomic_load(&device->stuck);
    if (!stuck) gbi_cuda_memory_fini(device);
    if (!stuck && atomic_load(&device->ready)) {
        const gb_cuda_api *api = device->cuda->api;
        api->cuEventDestroy(device->probe);
        api->cuStreamDestroy(device->stream);
        api->cuCtxSetCurrent(NULL);
        api->cuDevicePrimaryCtxRelease(device->handle);
    }
    return NULL;
}

/* Under the lock. */
static int start(gbi_cuda_device *device)
{
    sigset_t all, old;
    if (device->started) return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&device->thread, NULL, submission, device);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) return gb_err_set(GB_ENOMEM, "no thread for device %d", device->ordinal);
    device->started = true;
    return 0;
}

int gbi_cuda_call(gbi_cuda_device *device, int (*run)(gbi_cuda_device *device, void *arg),
                  void *arg)
{
    gbi_cuda_job job = {.run = run, .arg = arg};
    pthread_mutex_lock(&device->lock);
    int rc = start(device);
    if (rc == 0) {
        gb_list_push(&device->jobs, &job.link);
        pthread_cond_signal(&device->wake);
        while (!job.done) pthread_cond_wait(&device->finished, &device->lock);
        rc = job.rc;
    }
    pthread_mutex_unlock(&device->lock);
    return rc < 0 && *job.text ? gb_err_set(rc, "%s", job.text) : rc;
}

void gbi_cuda_post(gbi_cuda_device *device, gbi_cuda_job *job)
{
    GB_CHECK(job->after);
    pthread_mutex_lock(&device->lock);
    GB_CHECK(device->started); /* whatever is given back was made there */
    gb_list_push(&device->returns, &job->link);
    pthread_cond_signal(&device->wake);
    pthread_mutex_unlock(&device->lock);
}

void gbi_cuda_defer(gbi_cuda_queue *queue)
{
    gbi_cuda_device *device = queue->device;
    if (queue->is_deferred) return;
    queue->is_deferred = true;
    gbi_cuda_queue_ref(queue);
    pthread_mutex_lock(&device->lock);
    gb_list_push(&device->deferred, &queue->deferred);
    device->pump = true;
    pthread_cond_signal(&device->wake);
    pthread_mutex_unlock(&device->lock);
}

void gbi_cuda_pump(gbi_cuda_device *device)
{
    pthread_mutex_lock(&device->lock);
    device->pump = true;
    pthread_cond_signal(&device->wake);
    pthread_mutex_unlock(&device->lock);
}

void gbi_cuda_submit_stop(gbi_cuda_device *device)
{
    pthread_mutex_lock(&device->lock);
    device->stopping = true;
    device->pump = true; /* a deferred queue may have run dry since it was tried: its reference */
    pthread_cond_signal(&device->wake);
    bool started = device->started && !device->joined;
    device->joined = true;
    pthread_mutex_unlock(&device->lock);
    if (started) pthread_join(device->thread, NULL);
}
