/* Management libraries that are older than what we ask for: this one knows memory and nothing else;
 * with FAKE_FIRST it is of the first interface, which had no nvmlInit_v2. Its devices are whatever
 * it is asked for. */
#include <stddef.h>

#define EXPORTED __attribute__((visibility("default")))

typedef struct memory {
    unsigned long long total, free, used;
} memory;

unsigned nvmlInit(void);
unsigned nvmlInit_v2(void);
unsigned nvmlShutdown(void);
const char *nvmlErrorString(unsigned rc);
unsigned nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **out);
unsigned nvmlDeviceGetMemoryInfo(void *device, memory *out);

#ifdef FAKE_FIRST
EXPORTED unsigned nvmlInit(void)
{
    return 0;
}
#else
EXPORTED unsigned nvmlInit_v2(void)
{
    return 0;
}
#endif

EXPORTED unsigned nvmlShutdown(void)
{
    return 0;
}

EXPORTED const char *nvmlErrorString(unsigned rc)
{
    return rc ? "an error" : "none";
}

EXPORTED unsigned nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **out)
{
    static int device;
    if (id[0] == 0) return 6;
    *out = &device;
    return 0;
}

EXPORTED unsigned nvmlDeviceGetMemoryInfo(void *device, memory *out)
{
    if (!device) return 2;
    *out = (memory){1000, 400, 600};
    return 0;
}
