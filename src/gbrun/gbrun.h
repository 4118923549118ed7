/* gbrun: subcommands. Each is a function of its own file that returns the exit code: 0, 1 for a failure that it has
 * printed on standard error, 2 for wrong usage. */
#ifndef GB_GBRUN_GBRUN_H
#define GB_GBRUN_GBRUN_H

#include "host/host.h"

typedef struct gbrun_options {
    gb_config config;
    const char *file;  /* the script, or the argument of a subcommand */
    int argc;          /* what stands behind it */
    char **argv;
} gbrun_options;

int gbrun_script(const gbrun_options *options);

#endif
