#include "gbrun/gbrun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    gbrun_options options = {0};
    gb_config_init(&options.config, sizeof options.config);
    int at = 1;
    const char *workers = getenv("GB_WORKERS");
    if (workers) options.config.workers = (int)strtol(workers, NULL, 10);
    if (at >= argc) {
        fprintf(stderr, "usage: gbrun FILE.lua [ARG...]\n");
        return 2;
    }
    options.file = argv[at];
    options.argc = argc - at - 1;
    options.argv = argv + at + 1;
    return gbrun_script(&options);
}
