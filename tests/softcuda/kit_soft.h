/* The software driver in this process, by the tables of cuda_api.h; and short ways to use it. */
#ifndef GB_TESTS_KIT_SOFT_H
#define GB_TESTS_KIT_SOFT_H

#include "gpu/cuda_api.h"

#include <stdbool.h>

typedef struct kit_soft {
    gb_cuda_api api;
    gb_nvrtc_api nvrtc;
    gb_nvml_api nvml;
    gb_cu_context context;
    void (*inject)(const char *text);
    int (*leaks)(void);
    int (*misuses)(void);
    unsigned (*calls)(const char *row);
} kit_soft;

/* Loads it once per process; cuInit was called, the context of device 0 is retained and current. */
void kit_soft_open(kit_soft *kit);
void kit_soft_close(kit_soft *kit); /* nothing is left, or the test fails */

/* The image of a source, malloc'd; fails the test when it does not compile. names may be NULL. The
 * lowered names replace the expressions. */
char *kit_soft_compile(kit_soft *kit, const char *source, const char **names, int count);
gb_cu_module kit_soft_module(kit_soft *kit, const char *source);
gb_cu_function kit_soft_function(kit_soft *kit, gb_cu_module module, const char *name);

gb_cu_memory kit_soft_alloc(kit_soft *kit, size_t bytes);
void kit_soft_write(kit_soft *kit, gb_cu_memory to, const void *from, size_t bytes);
void kit_soft_read(kit_soft *kit, void *to, gb_cu_memory from, size_t bytes);
gb_cu_result kit_soft_launch(kit_soft *kit, gb_cu_function function, unsigned grid, unsigned block,
                             gb_cu_stream stream, void **params);
gb_cu_memory kit_soft_host(const void *host); /* an address of the host for copies */

#endif
