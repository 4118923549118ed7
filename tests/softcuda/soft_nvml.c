/* The management library: the devices of the driver by their bus ids, with figures that are made up
 * but for their memory. */
#include "soft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_FOUND = 6 };

/* NVML counts its users for the process. */
static int users;

static gb_nvml_rc enter(int row)
{
    gb_nvml_rc rc = soft_injected(row);
    pthread_mutex_lock(&soft.lock);
    if (rc == 0 && users == 0 && row != ROW_nvmlInit_v2) rc = UNINITIALIZED;
    return rc;
}

static gb_nvml_rc leave(gb_nvml_rc rc)
{
    pthread_mutex_unlock(&soft.lock);
    return rc;
}

gb_nvml_rc nvmlInit_v2(void)
{
    gb_nvml_rc rc = enter(ROW_nvmlInit_v2);
    if (rc == 0) users++;
    return leave(rc);
}

gb_nvml_rc nvmlShutdown(void)
{
    gb_nvml_rc rc = enter(ROW_nvmlShutdown);
    if (rc == 0) users--;
    return leave(rc);
}

const char *nvmlErrorString(gb_nvml_rc rc)
{
    soft_injected(ROW_nvmlErrorString);
    return rc == GB_NVML_SUCCESS ? "Success" : "An error of the software driver";
}

gb_nvml_rc nvmlSystemGetDriverVersion(char *out, unsigned int size)
{
    gb_nvml_rc rc = enter(ROW_nvmlSystemGetDriverVersion);
    if (rc == 0) snprintf(out, size, "software");
    return leave(rc);
}

/* A handle is the number of its device, plus one. */
gb_nvml_rc nvmlDeviceGetHandleByPciBusId_v2(const char *id, gb_nvml_device *out)
{
    gb_nvml_rc rc = enter(ROW_nvmlDeviceGetHandleByPciBusId_v2);
    uintptr_t number = strncmp(id, "50f7:", 5) == 0 ? strtoul(id + 5, NULL, 16) + 1 : 0;
    if (rc == 0 && (number == 0 || number > (uintptr_t)soft.device_count)) rc = NOT_FOUND;
    if (rc == 0) memcpy(out, &number, sizeof *out);
    return leave(rc);
}

static gb_nvml_rc enter_device(int row, gb_nvml_device device)
{
    gb_nvml_rc rc = enter(row);
    uintptr_t number = (uintptr_t)device;
    if (rc == 0 && (number == 0 || number > (uintptr_t)soft.device_count)) rc = INVALID_ARGUMENT;
    return rc;
}

gb_nvml_rc nvmlDeviceGetMemoryInfo(gb_nvml_device device, gb_nvml_memory *out)
{
    gb_nvml_rc rc = enter_device(ROW_nvmlDeviceGetMemoryInfo, device);
    if (rc == 0) {
        const soft_device *of = &soft.devices[(uintptr_t)device - 1];
        *out = (gb_nvml_memory){of->total, of->total - of->used, of->used};
    }
    return leave(rc);
}

gb_nvml_rc nvmlDeviceGetUtilizationRates(gb_nvml_device device, gb_nvml_use *out)
{
    gb_nvml_rc rc = enter_device(ROW_nvmlDeviceGetUtilizationRates, device);
    if (rc == 0) *out = (gb_nvml_use){50, 25};
    return leave(rc);
}

gb_nvml_rc nvmlDeviceGetTemperature(gb_nvml_device device, gb_nvml_sensor sensor,
                                    unsigned int *celsius)
{
    gb_nvml_rc rc = enter_device(ROW_nvmlDeviceGetTemperature, device);
    if (rc == 0 && sensor != GB_NVML_SENSOR_GPU) rc = INVALID_ARGUMENT;
    if (rc == 0) *celsius = 40;
    return leave(rc);
}

gb_nvml_rc nvmlDeviceGetPowerUsage(gb_nvml_device device, unsigned int *milliwatts)
{
    gb_nvml_rc rc = enter_device(ROW_nvmlDeviceGetPowerUsage, device);
    if (rc == 0) *milliwatts = 100000;
    return leave(rc);
}
