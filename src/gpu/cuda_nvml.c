/* The management library: figures of devices that need no context, and work on lost ones. It is
 * never needed: where it is missing, too old or fails, the figures are unknown. */
#include "gpu/cuda_engine.h"

#include "gpu/front.h"

#include <limits.h>

void gbi_cuda_nvml_open(gbi_cuda *cuda)
{
    cuda->nvml = gb_mem_zalloc(cuda->mem, sizeof *cuda->nvml);
    if (!cuda->nvml) return;
    bool there = gbi_nvml_load(cuda->nvml) == 0;
    if (there && cuda->nvml->nvmlInit_v2() == GB_NVML_SUCCESS) return;
    if (there) gbi_nvml_unload(cuda->nvml);
    gb_mem_free(cuda->mem, cuda->nvml, sizeof *cuda->nvml);
    cuda->nvml = NULL;
}

void gbi_cuda_nvml_close(gbi_cuda *cuda)
{
    if (!cuda->nvml) return;
    cuda->nvml->nvmlShutdown();
    gbi_nvml_unload(cuda->nvml);
    gb_mem_free(cuda->mem, cuda->nvml, sizeof *cuda->nvml);
    cuda->nvml = NULL;
}

void gbi_cuda_nvml_find(gbi_cuda_device *device)
{
    char id[32];
    const gb_cuda_api *api = device->cuda->api;
    const gb_nvml_api *nvml = device->cuda->nvml;
    device->nvml = NULL;
    if (!nvml || !api->cuDeviceGetPCIBusId ||
        api->cuDeviceGetPCIBusId(id, sizeof id, device->handle) != GB_CU_SUCCESS)
        return;
    if (nvml->nvmlDeviceGetHandleByPciBusId_v2(id, &device->nvml) != GB_NVML_SUCCESS)
        device->nvml = NULL;
}

bool gbi_cuda_nvml_memory(gbi_cuda_device *device, gb_nvml_memory *out)
{
    const gb_nvml_api *nvml = device->cuda->nvml;
    return device->nvml && nvml->nvmlDeviceGetMemoryInfo &&
           nvml->nvmlDeviceGetMemoryInfo(device->nvml, out) == GB_NVML_SUCCESS;
}

void gbi_cuda_figures(void *self, gb_device_figures *out)
{
    gbi_cuda_device *device = self;
    const gb_nvml_api *nvml = device->cuda->nvml;
    gb_nvml_memory memory;
    gb_nvml_use use;
    unsigned value;
    if (!device->nvml) return;
    if (gbi_cuda_nvml_memory(device, &memory)) out->memory_used = (int64_t)memory.used;
    if (nvml->nvmlDeviceGetUtilizationRates &&
        nvml->nvmlDeviceGetUtilizationRates(device->nvml, &use) == GB_NVML_SUCCESS &&
        use.gpu <= 100)
        out->utilization = (int)use.gpu;
    if (nvml->nvmlDeviceGetTemperature &&
        nvml->nvmlDeviceGetTemperature(device->nvml, GB_NVML_SENSOR_GPU, &value) ==
            GB_NVML_SUCCESS &&
        value <= INT_MAX)
        out->temperature = (int)value;
    if (nvml->nvmlDeviceGetPowerUsage &&
        nvml->nvmlDeviceGetPowerUsage(device->nvml, &value) == GB_NVML_SUCCESS && value <= INT_MAX)
        out->power_mw = (int)value;
}
