/* A library that looks like a driver with something wrong: FAKE_VERSION is what it says it is for,
 * FAKE_MISSING the function it lacks, FAKE_ANSWER what every call returns; FAKE_NO_ROOT: it cannot
 * be asked for functions. Built once per test row by extra_gpu.cmake. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

unsigned cuDriverGetVersion(int *out);
unsigned cuGetProcAddress_v2(const char *name, void **out, int level, uint64_t flags,
                             unsigned *status);

EXPORTED unsigned cuDriverGetVersion(int *out)
{
    *out = FAKE_VERSION;
    return 0;
}

static unsigned answer(void)
{
    return FAKE_ANSWER;
}

static unsigned text_of(unsigned rc, const char **out)
{
    (void)rc;
    *out = "FAKE_TEXT";
    return 0;
}

#ifndef FAKE_NO_ROOT
EXPORTED unsigned cuGetProcAddress_v2(const char *name, void **out, int level, uint64_t flags,
                                      unsigned *status)
{
    (void)flags;
    *out = NULL;
    *status = strcmp(name, FAKE_MISSING) == 0 ? 1 : level > FAKE_VERSION ? 2 : 0;
    if (*status) return 500;
    *out = strncmp(name, "cuGetError", 10) == 0 ? (void *)text_of : (void *)answer;
    return 0;
}
#endif
