/* Compiling and running kernels without the engine: a cache folder that is removed at the end, and
 * a run of every block on this thread, barrier kernels with one ucontext per thread. */
#ifndef TESTS_GPU_KIT_COMPILE_H
#define TESTS_GPU_KIT_COMPILE_H

#include "gpu/cpu_compile.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct kit_compile {
    gb_mem mem;
    char folder[256];
    gb_cpu_compile_config config;
    char printed[4096]; /* what kernels printed */
    char trap[512];     /* "" or the text of a trap, which ended the last run */
    char *detail;
    uint32_t piece;    /* of the blocks of kernels without barriers; 0: they are whole */
    bool one_by_one;   /* kernels without barriers too run thread by thread */
    sigjmp_buf *ended; /* while a kernel runs: a signal handler may end the run by a jump here */
} kit_compile;

void kit_compile_open(kit_compile *kit);
void kit_compile_close(kit_compile *kit); /* checks that no memory is left */

/* 0 or the error, with kit->detail. instances and options may be NULL. */
int kit_compile_text(kit_compile *kit, const char *source, const char *const *options,
                     const char *const *instances, gb_cpu_object **out);

/* Fails the test with the detail when it does not compile. */
gb_cpu_object *kit_compile_must(kit_compile *kit, const char *source);

const gb_cpu_kernel *kit_kernel(const gb_cpu_object *object, const char *name);
const gb_cpu_global *kit_global(const gb_cpu_object *object, const char *name);
const gb_cpu_struct *kit_struct(const gb_cpu_object *object, const char *name);

typedef struct kit_shape {
    gb_cpu_dim grid, block;
    uint32_t shared_bytes;
} kit_shape;

#define KIT_SHAPE(g, b, s) ((kit_shape){{(g), 1, 1}, {(b), 1, 1}, (s)})

/* Runs the whole grid. params: one pointer per parameter. */
void kit_run(kit_compile *kit, const gb_cpu_kernel *kernel, kit_shape shape, void **params);
#define KIT_RUN(kit, kernel, shape, ...) kit_run(kit, kernel, shape, (void *[]){__VA_ARGS__, NULL})

char *kit_read_file(const char *path); /* malloc; NULL when there is none */

#endif
