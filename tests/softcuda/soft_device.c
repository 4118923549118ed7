/* Finding the driver's functions, its devices, and their primary contexts. */
#include "soft.h"

#include <stdio.h>
#include <string.h>

enum { NOT_FOUND = 1, TOO_NEW = 2 /* CUdriverProcAddressQueryResult */ };

/* ---- functions ---- */

typedef struct entry {
    const char *name;
    void (*function)(void);
    int level;
} entry;

#define ENTRY(name, need, level, type, parameters) {#name, (void (*)(void))soft_##name, level},
static const entry entries[] = {GB_CUDA_ROOTS(ENTRY) GB_CUDA_TABLE(ENTRY)};

gb_cu_result soft_cuGetProcAddress_v2(const char *name, void **out, int level, uint64_t flags,
                                      gb_cu_query_result *status)
{
    gb_cu_result rc = soft_injected(ROW_cuGetProcAddress_v2);
    *out = NULL;
    if (rc) return rc;
    gb_cu_query_result found = NOT_FOUND;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        if (strcmp(entries[i].name, name) != 0 || soft_is_missing(name)) continue;
        found = entries[i].level > soft.version || entries[i].level > level ? TOO_NEW
                                                                            : GB_CU_QUERY_FOUND;
        if (found == GB_CU_QUERY_FOUND)
            memcpy(out, &entries[i].function, sizeof entries[i].function);
    }
    if (status) *status = found;
    return found == GB_CU_QUERY_FOUND ? GB_CU_SUCCESS : GB_CU_NOT_FOUND;
}

gb_cu_result cuGetProcAddress_v2(const char *name, void **out, int level, uint64_t flags,
                                 gb_cu_query_result *status)
{
    return soft_cuGetProcAddress_v2(name, out, level, flags, status);
}

gb_cu_result soft_cuDriverGetVersion(int *out)
{
    gb_cu_result rc = soft_injected(ROW_cuDriverGetVersion);
    if (rc == 0) *out = soft.version;
    return rc;
}

gb_cu_result cuDriverGetVersion(int *out)
{
    return soft_cuDriverGetVersion(out);
}

/* ---- errors ---- */

static const struct {
    gb_cu_result code;
    const char *name;
} numbers[] = {
#define NUMBER(ours, theirs, value) {value, #theirs},
    GB_CU_NUMBERS(NUMBER)
#undef NUMBER
};

static const char *error_name(gb_cu_result rc)
{
    if (rc == SOFT_NOT_PERMITTED) return "CUDA_ERROR_NOT_PERMITTED";
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].code == rc && strncmp(numbers[i].name, "CUDA_", 5) == 0)
            return numbers[i].name;
    return NULL;
}

gb_cu_result soft_cuGetErrorName(gb_cu_result rc, const char **out)
{
    gb_cu_result failed = soft_injected(ROW_cuGetErrorName);
    *out = failed ? NULL : error_name(rc);
    return failed ? failed : *out ? GB_CU_SUCCESS : GB_CU_INVALID_VALUE;
}

/* The text is the name in other words: tests shall not depend on NVIDIA's. */
gb_cu_result soft_cuGetErrorString(gb_cu_result rc, const char **out)
{
    gb_cu_result failed = soft_injected(ROW_cuGetErrorString);
    bool known = !failed && error_name(rc);
    *out = !known ? NULL : rc == 0 ? "no error" : "an error of the software driver";
    return failed ? failed : *out ? GB_CU_SUCCESS : GB_CU_INVALID_VALUE;
}

/* ---- devices ---- */

gb_cu_result soft_cuInit(unsigned int flags)
{
    gb_cu_result rc = soft_enter(ROW_cuInit);
    if (rc == 0 && flags != 0) rc = GB_CU_INVALID_VALUE;
    if (rc == 0 && soft.device_count <= 0) rc = GB_CU_NO_DEVICE;
    if (rc == 0) soft.initialised = true;
    return soft_leave(rc);
}

gb_cu_result soft_cuDeviceGetCount(int *out)
{
    gb_cu_result rc = soft_enter(ROW_cuDeviceGetCount);
    if (rc == 0) *out = soft.device_count;
    return soft_leave(rc);
}

static gb_cu_result enter_device(int row, gb_cu_device device)
{
    gb_cu_result rc = soft_enter(row);
    if (rc) return rc;
    return device >= 0 && device < soft.device_count ? GB_CU_SUCCESS : GB_CU_INVALID_DEVICE;
}

gb_cu_result soft_cuDeviceGet(gb_cu_device *out, int ordinal)
{
    gb_cu_result rc = enter_device(ROW_cuDeviceGet, ordinal);
    if (rc == 0) *out = ordinal;
    return soft_leave(rc);
}

gb_cu_result soft_cuDeviceGetName(char *out, int size, gb_cu_device device)
{
    gb_cu_result rc = enter_device(ROW_cuDeviceGetName, device);
    if (rc == 0 && size > 0) snprintf(out, (size_t)size, "software device %d", device);
    return soft_leave(rc);
}

gb_cu_result soft_cuDeviceTotalMem(size_t *out, gb_cu_device device)
{
    gb_cu_result rc = enter_device(ROW_cuDeviceTotalMem, device);
    if (rc == 0) *out = soft.devices[device].total;
    return soft_leave(rc);
}

gb_cu_result soft_cuDeviceGetPCIBusId(char *out, int size, gb_cu_device device)
{
    gb_cu_result rc = enter_device(ROW_cuDeviceGetPCIBusId, device);
    if (rc == 0 && size < 13) rc = GB_CU_INVALID_VALUE;
    if (rc == 0) snprintf(out, (size_t)size, "50f7:%02x:00.0", device);
    return soft_leave(rc);
}

gb_cu_result soft_cuDeviceGetAttribute(int *out, gb_cu_device_attribute which, gb_cu_device device)
{
    const struct {
        gb_cu_device_attribute which;
        int value;
    } rows[] = {
        {GB_CU_DEVICE_THREADS_MAX, GBI_FIBERS_MAX},
        {GB_CU_DEVICE_SHARED_MAX, 48 << 10},
        {GB_CU_DEVICE_WARP, GBI_WARP},
        {GB_CU_DEVICE_UNITS, 4},
        {GB_CU_DEVICE_COMPUTE_MODE, 0},
        {GB_CU_DEVICE_UNIFIED, 1},
        {GB_CU_DEVICE_MAJOR, soft.arch / 10},
        {GB_CU_DEVICE_MINOR, soft.arch % 10},
        {GB_CU_DEVICE_MANAGED, 1},
        {GB_CU_DEVICE_CONCURRENT, 1},
        {GB_CU_DEVICE_POOLS, 1},
        {GB_CU_DEVICE_SHARED_OPTIN, 227 << 10},
    };
    gb_cu_result rc = enter_device(ROW_cuDeviceGetAttribute, device);
    if (rc) return soft_leave(rc);
    rc = GB_CU_INVALID_VALUE;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].which == which) {
            *out = rows[i].value;
            rc = GB_CU_SUCCESS;
        }
    return soft_leave(rc);
}

/* ---- primary contexts ---- */

static soft_object *first_of(soft_context *context, soft_kind kind)
{
    for (gb_list *at = context->objects.next; at != &context->objects; at = at->next) {
        soft_object *object = GB_CONTAINER(at, soft_object, link);
        if (object->kind == kind) return object;
    }
    return NULL;
}

/* Everything of the context ends with it. */
static void destroy_context(soft_device *device, bool released)
{
    soft_context *context = device->primary;
    device->primary = NULL;
    if (released && context->error == 0) soft_note_lost(context);
    gb_cu_result error = context->error;
    context->error = error ? error : GB_CU_CONTEXT_DESTROYED; /* queues run dry */
    soft_streams_end(context);
    for (soft_object *at; (at = first_of(context, SOFT_MEMORY));)
        soft_memory_retire((soft_memory *)at);
    for (soft_object *at; (at = first_of(context, SOFT_MODULE));)
        soft_module_retire((soft_module *)at);
    while (!gb_list_empty(&context->objects))
        soft_retire(GB_CONTAINER(context->objects.next, soft_object, link));
    soft_retire(&context->object);
}

gb_cu_result soft_cuDevicePrimaryCtxRetain(gb_cu_context *out, gb_cu_device number)
{
    gb_cu_result rc = enter_device(ROW_cuDevicePrimaryCtxRetain, number);
    if (rc) return soft_leave(rc);
    soft_device *device = &soft.devices[number];
    if (!device->primary) {
        soft_context *context = soft_new(sizeof *context, SOFT_CONTEXT, NULL, NULL);
        if (!context) return soft_leave(GB_CU_OUT_OF_MEMORY);
        soft_hold(&context->object); /* for ever: threads may have it as their current one */
        context->device = number;
        gb_list_init(&context->objects);
        device->primary = context;
    }
    device->retained++;
    *out = soft_handle(&device->primary->object);
    return soft_leave(0);
}

gb_cu_result soft_cuDevicePrimaryCtxRelease(gb_cu_device number)
{
    gb_cu_result rc = enter_device(ROW_cuDevicePrimaryCtxRelease, number);
    bool known = number >= 0 && number < soft.device_count;
    if (rc && known && soft.devices[number].primary)
        soft.devices[number].primary->object.freed = true;
    if (rc) return soft_leave(rc);
    soft_device *device = &soft.devices[number];
    if (device->retained == 0)
        return soft_leave(soft_misuse(ROW_cuDevicePrimaryCtxRelease, GB_CU_INVALID_CONTEXT,
                                      "device %d is not retained", number));
    if (--device->retained == 0 && device->primary) destroy_context(device, true);
    return soft_leave(0);
}

gb_cu_result soft_cuDevicePrimaryCtxReset(gb_cu_device number)
{
    gb_cu_result rc = enter_device(ROW_cuDevicePrimaryCtxReset, number);
    if (rc == 0 && soft.devices[number].primary) destroy_context(&soft.devices[number], false);
    return soft_leave(rc);
}

gb_cu_result soft_cuCtxSetCurrent(gb_cu_context handle)
{
    gb_cu_result rc = soft_enter_about(ROW_cuCtxSetCurrent, handle);
    if (rc) return soft_leave(rc);
    soft_object *object = NULL;
    if (handle) {
        object = soft_find(ROW_cuCtxSetCurrent, handle, SOFT_CONTEXT);
        if (!object) return soft_leave(GB_CU_INVALID_CONTEXT);
    }
    soft_set_current((soft_context *)object);
    return soft_leave(0);
}

gb_cu_result soft_cuCtxGetCurrent(gb_cu_context *out)
{
    gb_cu_result rc = soft_enter(ROW_cuCtxGetCurrent);
    soft_context *context = soft_current();
    if (rc == 0) *out = context ? soft_handle(&context->object) : NULL;
    return soft_leave(rc);
}

/* ---- peers ---- */

gb_cu_result soft_cuDeviceCanAccessPeer(int *out, gb_cu_device device, gb_cu_device peer)
{
    gb_cu_result rc = enter_device(ROW_cuDeviceCanAccessPeer, device);
    if (rc == 0 && (peer < 0 || peer >= soft.device_count)) rc = GB_CU_INVALID_DEVICE;
    if (rc == 0) *out = soft.peers && device != peer;
    return soft_leave(rc);
}

gb_cu_result soft_cuCtxEnablePeerAccess(gb_cu_context handle, unsigned int flags)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuCtxEnablePeerAccess, &context);
    if (rc) return soft_leave(rc);
    soft_context *peer = soft_find(ROW_cuCtxEnablePeerAccess, handle, SOFT_CONTEXT);
    if (!peer || peer == context) return soft_leave(GB_CU_INVALID_CONTEXT);
    if (flags != 0) return soft_leave(GB_CU_INVALID_VALUE);
    if (!soft.peers) return soft_leave(SOFT_PEER_UNSUPPORTED);
    if (context->peers >> peer->device & 1) return soft_leave(GB_CU_PEER_ALREADY);
    context->peers |= 1u << peer->device;
    return soft_leave(0);
}
