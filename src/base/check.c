#include "base/check.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic(gb_panic_fn *)
    hook; /* one process dies once: the hook belongs to it, not to a host */

gb_panic_fn *gb_panic_hook(gb_panic_fn *next)
{
    return atomic_exchange(&hook, next);
}

_Noreturn void gb_panic(const char *file, int line, const char *format, ...)
{
    char text[1024];
    int at = snprintf(text, sizeof text, "gpubridge: %s:%d: ", file, line);
    if (at < 0 || at >= (int)sizeof text) at = 0; /* a path that long says nothing */
    va_list args;
    va_start(args, format);
    vsnprintf(text + at, sizeof text - (size_t)at, format, args);
    va_end(args);
    gb_panic_fn *report = atomic_load(&hook);
    if (report) report(text);
    fprintf(stderr, "%s\n", text);
    abort();
}
