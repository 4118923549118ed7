/* Where a device hangs in the machine, and which others it reaches without the host. */
#include "gpu/cuda_engine.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- peers ---- */

static int place_of(const gbi_cuda_device *device)
{
    for (int i = 0; i < device->cuda->device_count; i++)
        if (device->cuda->devices[i] == device) return i;
    return 0;
}

static uint64_t bit_of(const gbi_cuda_device *device)
{
    return (uint64_t)1 << place_of(device);
}

void gbi_cuda_peers_find(gbi_cuda *cuda)
{
    const gb_cuda_api *api = cuda->api;
    if (!api->cuDeviceCanAccessPeer || !api->cuCtxEnablePeerAccess) return;
    for (int i = 0; i < cuda->device_count; i++) {
        gbi_cuda_device *device = cuda->devices[i];
        for (int k = 0; k < cuda->device_count; k++) {
            int can = 0;
            if (k == i) continue;
            gb_cu_result rc =
                api->cuDeviceCanAccessPeer(&can, device->handle, cuda->devices[k]->handle);
            if (rc == GB_CU_SUCCESS && can) device->peers |= (uint64_t)1 << k;
        }
    }
}

bool gbi_cuda_peer_open(gbi_cuda_device *device, gbi_cuda_device *other, bool here)
{
    uint64_t bit = bit_of(other);
    if (!(device->peers & bit) || (atomic_load(&device->peers_open) & bit)) return true;
    if (here) return false;
    atomic_fetch_or(&device->peers_open, bit);
    gb_cu_result rc = device->cuda->api->cuCtxEnablePeerAccess(other->context, 0);
    if (rc != GB_CU_SUCCESS && rc != GB_CU_PEER_ALREADY)
        gbi_cuda_failed(device, rc, "opening a peer"); /* a sticky error; else copies do without */
    return true;
}

void gbi_cuda_peers_forget(gbi_cuda_device *device)
{
    gbi_cuda *cuda = device->cuda;
    uint64_t bit = bit_of(device);
    atomic_store(&device->peers_open, 0);
    for (int i = 0; i < cuda->device_count; i++)
        if (cuda->devices[i]) atomic_fetch_and(&cuda->devices[i]->peers_open, ~bit);
}

/* ---- NUMA ---- */

static bool read_line(const char *root, const char *id, const char *name, char *out, size_t room)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s/%s", root, id, name);
    FILE *file = fopen(path, "re");
    bool got = file && fgets(out, (int)room, file);
    if (file) fclose(file);
    if (got) out[strcspn(out, "\n")] = 0;
    return got;
}

void gbi_cuda_near(const char *root, const char *id, gb_device_info *facts)
{
    char name[32], line[64], *end;
    size_t size = 0;
    facts->numa_node = -1;
    facts->cpus[0] = 0;
    for (; id[size] && size < sizeof name - 1; size++) name[size] = (char)tolower(id[size]);
    name[size] = 0;
    if (!size || strchr(name, '/')) return;
    if (read_line(root, name, "numa_node", line, sizeof line)) {
        long node = strtol(line, &end, 10);
        if (end != line && *end == 0 && node >= 0 && node < 4096) facts->numa_node = (int)node;
    }
    /* Half of a list that is too long says something wrong. */
    bool whole = read_line(root, name, "local_cpulist", line, sizeof line) &&
                 strlen(line) < sizeof line - 1 && strspn(line, "0123456789,-") == strlen(line);
    if (whole) snprintf(facts->cpus, sizeof facts->cpus, "%s", line);
}
