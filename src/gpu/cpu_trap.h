/* Faults inside kernels: SIGSEGV, SIGBUS, SIGFPE and SIGILL raised while a thread runs a kernel end
 * that run instead of the process. A fault elsewhere goes to whoever handled the signal before us.
 *
 * A kernel that overstays is ended in the same way: another thread sends the one that runs it a
 * SIGBUS of ours (gbi_trap_stop). It takes effect only where the thread is in the kernel's own
 * code, which holds no lock and owns no memory; elsewhere it does nothing, and is sent again.
 *
 * The handlers are the process's: they are installed by the first launch and stay. Any thread; the
 * guard belongs to the thread that runs it. Nothing is allocated while a fault is handled.
 */
#ifndef GB_GPU_CPU_TRAP_H
#define GB_GPU_CPU_TRAP_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gbi_trap {
    sigjmp_buf jump;
    int signal, code; /* 0: ended by gbi_trap_raise */
    void *address;
    void (*leaving)(void *arg); /* optional: called on the faulting stack before it is left */
    void *arg;
    const void *home; /* an address in the object whose code may be left anywhere; NULL: none */
    bool stopped;     /* the body was ended by gbi_trap_stop */
    _Atomic int32_t thread;
    _Atomic uint64_t until_ns, ending_ns;
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

/* The runs of this thread under the trap have to end by then (gbi_now_ns), for whoever looks after
 * that, until it is taken back; 0: any time. The time also names those runs. Cheap. */
void gbi_trap_limit(gbi_trap *trap, uint64_t until_ns);
static inline void gbi_trap_unlimit(gbi_trap *trap)
{
    atomic_store_explicit(&trap->until_ns, 0, memory_order_relaxed);
}

/* Another thread: asks a body with that limit to end. It may have ended already, or be where it
 * cannot be left: then nothing happens. A few system calls; the trap stays in place meanwhile. */
void gbi_trap_stop(gbi_trap *trap, uint64_t until_ns);

_Noreturn void gbi_trap_leave(gbi_trap *trap);

/* In a body, where it may be left: ends it if it was asked to end. For services that a kernel may
 * call for ever: it is hardly ever in its own code then. */
static inline void gbi_trap_check(gbi_trap *trap)
{
    uint64_t until = atomic_load_explicit(&trap->until_ns, memory_order_relaxed);
    if (until && atomic_load_explicit(&trap->ending_ns, memory_order_relaxed) == until)
        gbi_trap_leave(trap);
}

/* Ends the innermost guarded body of this thread as if it had faulted. */
_Noreturn void gbi_trap_raise(gbi_trap *trap);

/* "invalid memory access", "integer division by zero", ... */
const char *gbi_trap_text(const gbi_trap *trap);

#endif
