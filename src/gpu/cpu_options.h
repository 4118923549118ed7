/* Options of a compilation, and what the machine is. Room private; any thread. */
#ifndef GB_GPU_CPU_OPTIONS_H
#define GB_GPU_CPU_OPTIONS_H

#include "base/buf.h"
#include "gpu/gpu.h"

/* Every option is on the list: 0, or GB_EINVAL naming it and the list. */
int gbi_options_check(const gb_module_spec *spec);

/* -std=... of the options, or "-std=c++17". Borrowed. */
const char *gbi_options_standard(const gb_module_spec *spec);
bool gbi_options_fast_math(const gb_module_spec *spec);

/* Appends what -march=native depends on: vendor, family, model and features of this processor. */
int gbi_machine(gb_buf *key);

/* The level of the x86-64 psABI that this processor has, 1 to 4, or 0 for another processor. */
enum { GBI_CPU_LEVELS = 5 };
int gbi_cpu_level(void);
const char *gbi_cpu_level_name(int level); /* "x86-64-v3"; the compilers' name of it */

#endif
