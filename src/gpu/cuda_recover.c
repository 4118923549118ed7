/* A lost device comes back: its context is destroyed with all that is in it, and made anew. Only
 * where the host is configured as the owner of the devices: others in the process may use the same
 * context. */
#include "gpu/cuda_engine.h"

#include "gpu/front.h"

#include <time.h>

static const uint64_t retry_ns = 1000000000;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The driver works on nothing of it, nobody is inside a call, and no memory would vanish under the
 * host's hands. */
static bool is_quiet(gbi_cuda_device *device)
{
    return atomic_load(&device->steps) == 0 && atomic_load(&device->mapped) == 0 &&
           (atomic_load(&device->dead) || atomic_load(&device->callbacks) == 0);
}

bool gbi_cuda_may_recover(gbi_cuda_device *device)
{
    return device->cuda->gpu->config.owns_devices && atomic_load(&device->lost) &&
           !atomic_load(&device->stuck) && is_quiet(device) && now_ns() >= device->retry_ns;
}

static void destroy_context(gbi_cuda_device *device)
{
    const gb_cuda_api *api = device->cuda->api;
    api->cuCtxSetCurrent(NULL);
    if (!atomic_load(&device->ready)) return;
    if (api->cuDevicePrimaryCtxReset) api->cuDevicePrimaryCtxReset(device->handle);
    api->cuDevicePrimaryCtxRelease(device->handle);
    atomic_store(&device->ready, false);
}

/* Whoever raises `steps` from here on finds the device lost, or of a newer epoch. */
void gbi_cuda_recover(gbi_cuda_device *device)
{
    device->retry_ns = now_ns() + retry_ns;
    atomic_store(&device->resetting, true);
    if (is_quiet(device)) {
        destroy_context(device);
        atomic_fetch_add(&device->epoch, 1);
        gbi_cuda_memory_forget(device);
        gbi_cuda_peers_forget(device);
        gbi_device_drop_idle(device->front); /* it went with the context */
        atomic_store(&device->callbacks, 0); /* a broken context calls nobody */
        atomic_store(&device->dead, false);
        if (gbi_cuda_retain(device) == 0) atomic_store(&device->lost, false);
    }
    atomic_store(&device->resetting, false);
}
