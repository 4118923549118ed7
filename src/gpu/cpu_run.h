/* A runner: what one thread needs to run blocks of kernels: fibers, dynamic shared memory, printed
 * text, the guard against faults. Used by one thread at a time; it may pass from thread to thread
 * between runs.
 */
#ifndef GB_GPU_CPU_RUN_H
#define GB_GPU_CPU_RUN_H

#include "base/buf.h"
#include "base/list.h"
#include "gpu/cpu_abi.h"
#include "gpu/cpu_fiber.h"
#include "gpu/cpu_trap.h"

#include <stdatomic.h>

typedef struct gbi_runner gbi_runner;

enum { GBI_SHARED_MAX = 256 << 10, GBI_TRAP_TEXT = 512 };

struct gbi_runner {
    gbi_fibers fibers; /* first: services' self points at it and at the runner */
    gb_list guest;     /* the pool's, of a runner that no thread of it has */
    gbi_trap trap;
    gb_cpu_services services;
    gb_mem *mem;
    unsigned char *shared; /* GBI_SHARED_MAX bytes up to a page without access, or NULL */
    gb_buf print;
    uint64_t progress;
    uint32_t piece; /* of the run that is on */
    const gb_cpu_kernel *kernel;
    gb_cpu_range range;
    bool fibers_only; /* $GB_CPU_FIBERS: no kernel with barriers runs as loops; for tests */
    bool ran_loops;   /* the run that is on */
    char trap_text[GBI_TRAP_TEXT]; /* of the trap service; "" when it was a fault */
};

typedef struct gbi_run {
    const gb_cpu_kernel *kernel;
    gb_cpu_dim grid, block;
    uint32_t shared_bytes;
    uint32_t piece; /* blocks are cut along x into pieces of so many threads; 0: they are whole */
    void *const *params;
    const _Atomic int32_t *stop;
} gbi_run;

/* Of a row of so many threads. */
static inline uint32_t gbi_pieces(uint32_t threads, uint32_t piece)
{
    return piece ? (threads + piece - 1) / piece : 1;
}

int gbi_runner_open(gbi_runner **out, gb_mem *mem);
void gbi_runner_close(gbi_runner *runner);

/* Runs blocks (or pieces, counted through all blocks) first .. first + count - 1: 0, GB_ENOMEM,
 * GB_ETRAP, or GB_ETIMEDOUT when it was ended at the limit of runner->trap (without a message);
 * text takes the message. What was printed stays in runner->print. */
int gbi_runner_run(gbi_runner *runner, const gbi_run *run, uint64_t first, uint64_t count,
                   char *text, size_t text_room);

/* Writes what was printed to standard output up to the last whole line (all: also a rest without an
 * end), and empties the buffer. */
void gbi_print_flush(gb_buf *print, bool all);

#endif
