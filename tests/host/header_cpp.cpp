/* The public header alone, as C++17. See test_header_c.c. */
#include <gpubridge.h>

#include <stdio.h>
#include <string.h>

#define CHECK(code)                                                                                \
    if (strcmp(gb_err_name(GB_##code), #code) != 0) {                                              \
        fprintf(stderr, "GB_" #code " is %s\n", gb_err_name(GB_##code));                           \
        failed = 1;                                                                                \
    }

int main()
{
    int failed = 0;
    CHECK(ERAISED)
    CHECK(ETIMEDOUT)
    CHECK(ECANCELED)
    CHECK(EDEADLOCK)
    CHECK(EBUSY)
    CHECK(ENOTYPE)
    CHECK(ENOMETHOD)
    CHECK(EINVAL)
    CHECK(ENOENT)
    CHECK(ENOMEM)
    CHECK(EQUOTA)
    CHECK(EDENIED)
    CHECK(ECONFLICT)
    CHECK(ECLOSED)
    CHECK(ELOST)
    CHECK(ESTUCK)
    CHECK(ECOMPILE)
    CHECK(ENOGPU)
    CHECK(EDEVICE)
    CHECK(ETRAP)
    CHECK(ENOTYET)
    gb_config config;
    gb_config_init(&config, sizeof config);
    gb_host *host = nullptr;
    config.workers = -2;
    if (gb_open(&host, &config) != GB_EINVAL || !strstr(gb_err_detail(), "config.workers"))
        failed = 1;
    if (strcmp(gb_err_name(0), "OK") != 0 || gb_err_text(GB_EBUSY)[0] == 0) failed = 1;
    return failed;
}
