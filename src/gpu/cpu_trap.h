/* Faults inside kernels: SIGSEGV, SIGBUS, SIGFPE and SIGILL raised while a thread runs a kernel end
 * that run instead of the process. A fault elsewhere goes to whoever handled the signal before us.
 *
 * The handlers are the process's: they are installed by the first launch and stay. Any thread; the
 * guard belongs to the thread that runs it. Nothing is allocated while a fault is handled.
 */
#ifndef GB_GPU_CPU_TRAP_H
#define GB_GPU_CPU_TRAP_H

#include <setjmp.h>
#include <stdbool.h>

typedef struct gbi_trap {
    sigjmp_buf jump;
    int signal, code; /* 0: ended by gbi_trap_raise */
    void *address;
    void (*leaving)(void *arg); /* optional: called on the faulting stack before it is left */
    void *arg;
} gbi_trap;

/* Makes sure that the handlers are ours, also when somebody has set others since (those are called
 * for faults that are not ours). A few system calls: before launches on the pool. */
void gbi_trap_install(void);

/* Once per thread that runs kernels: handlers, and a stack for them unless the thread has one (it
 * is freed with the thread). Cheap when done already. */
void gbi_trap_prepare(void);

/* Runs body(arg): true, or false when a fault or gbi_trap_raise ended it. Then nothing of body's
 * frames is left, also when it had moved to other stacks. Guards nest. */
bool gbi_trap_run(gbi_trap *trap, void (*body)(void *arg), void *arg);

/* Ends the innermost guarded body of this thread as if it had faulted. */
_Noreturn void gbi_trap_raise(gbi_trap *trap);

/* "invalid memory access", "integer division by zero", ... */
const char *gbi_trap_text(const gbi_trap *trap);

#endif
