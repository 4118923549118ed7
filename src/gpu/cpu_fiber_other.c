/* Fiber switching where no assembly is written for the machine: ucontext, which saves more than it
 * must (and the signal mask, a system call): correct, slow. GBI_FIBER_UCONTEXT forces it, to test.
 */
#include "gpu/cpu_fiber.h"

#if !defined(__x86_64__) || defined(GBI_FIBER_UCONTEXT)

#include <ucontext.h>

/* A suspended fiber's context lies on its own stack; `sp` is its address. */
void gbi_fiber_switch(void **save, void *to)
{
    ucontext_t self;
    *save = &self;
    swapcontext(&self, to);
}

static void first(unsigned int low, unsigned int high)
{
    gbi_fiber_main((gbi_fibers *)(uintptr_t)((uint64_t)high << 32 | low));
}

void *gbi_fiber_fresh(void *top, gbi_fibers *fibers)
{
    enum { ROOM = (sizeof(ucontext_t) + 63) & ~63, FLOOR = GBI_FIBER_STACK / 2 };
    ucontext_t *context = (ucontext_t *)((char *)top - ROOM);
    uint64_t address = (uint64_t)(uintptr_t)fibers;
    getcontext(context);
    context->uc_stack.ss_sp = (char *)context - FLOOR; /* only its end matters */
    context->uc_stack.ss_size = FLOOR;
    context->uc_link = NULL;
    makecontext(context, (void (*)(void))first, 2, (unsigned int)address,
                (unsigned int)(address >> 32));
    return context;
}

#endif
