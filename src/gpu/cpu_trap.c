/* A fortified longjmp refuses to leave one stack for another, which is what ends a fiber's fault.
 */
#undef _FORTIFY_SOURCE
#include "gpu/cpu_trap.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    STACK_BYTES = 64 << 10,
#if defined(__SANITIZE_THREAD__)
    SAVE_MASK = 1 /* TSan's own handler, which calls ours, blocks all signals */
#else
    SAVE_MASK = 0
#endif
};

/* Signal handlers belong to the process and can be reached through nothing but file-level state:
 * the actions that were there before us, and what this thread runs. initial-exec: a handler must
 * not allocate a thread's copy on its first touch. */
static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { SIGNALS = sizeof signals / sizeof signals[0] };
/* tidy: allowed because signal handlers are reached through nothing else (all of these) */
static struct sigaction previous[SIGNALS];
/* tidy: allowed because the handlers belong to the process: one installer at a time */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* tidy: allowed because the stacks for handlers are freed with their threads */
static bool has_key;
/* tidy: allowed because the stacks for handlers are freed with their threads */
static pthread_key_t stack_key;
/* tidy: allowed because a handler has to know what its thread runs */
static _Thread_local gbi_trap *current __attribute__((tls_model("initial-exec")));
/* tidy: allowed because a thread's handler stack is set up once */
static _Thread_local bool prepared __attribute__((tls_model("initial-exec")));
/* tidy: allowed because two handlers that pass on to each other must end */
static _Thread_local bool chaining __attribute__((tls_model("initial-exec")));
/* tidy: allowed because asking the system for it on every launch would cost more than the launch */
static _Thread_local int32_t own_thread __attribute__((tls_model("initial-exec")));
/* Its address marks the signals that gbi_trap_stop sends. */
static const char stop_mark;

/* Somebody who came after us may pass on to us what we pass on to him: the second time around the
 * default action ends it. */
static void chain(int signal, siginfo_t *info, void *context)
{
    static const struct sigaction none = {.sa_handler = SIG_DFL};
    for (int i = 0; i < SIGNALS; i++) {
        if (signals[i] != signal) continue;
        const struct sigaction *old = chaining ? &none : &previous[i];
        chaining = true;
        if (old->sa_flags & SA_SIGINFO) {
            old->sa_sigaction(signal, info, context);
        } else if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
            sigaction(signal, &none, NULL); /* the instruction runs again and ends the process */
        } else {
            old->sa_handler(signal);
        }
        chaining = false;
        return;
    }
}

static void *address_of(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (void *)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (void *)context->uc_mcontext.pc;
#else
    return NULL; /* nothing is ever at home: who overstays is given up */
#endif
}

/* A fiber may be interrupted while TSan is told of its switch: to TSan another thread reads this.
 */
#define NO_TSAN __attribute__((no_sanitize("thread")))

NO_TSAN static bool at_home(const gbi_trap *trap, const void *context)
{
    struct dl_find_object here, home;
    return _dl_find_object(address_of(context), &here) == 0 &&
           _dl_find_object((void *)trap->home, &home) == 0 &&
           here.dlfo_link_map == home.dlfo_link_map;
}

static _Noreturn void leave(gbi_trap *trap)
{
    if (trap->leaving) trap->leaving(trap->arg);
    siglongjmp(trap->jump, 1);
}

void gbi_trap_leave(gbi_trap *trap)
{
    trap->stopped = true;
    leave(trap);
}

NO_TSAN static void on_fault(int signal, siginfo_t *info, void *context)
{
    gbi_trap *trap = current;
    if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &stop_mark) {
        if (trap && at_home(trap, context)) gbi_trap_check(trap);
        return;
    }
    /* si_code > 0: raised by the instruction itself, not sent by somebody with kill */
    if (!trap || chaining || info->si_code <= 0) {
        chain(signal, info, context);
        return;
    }
    trap->signal = signal;
    trap->code = info->si_code;
    trap->address = info->si_addr;
    leave(trap);
}

static void free_stack(void *stack)
{
    stack_t off = {.ss_flags = SS_DISABLE};
    sigaltstack(&off, NULL);
    munmap(stack, STACK_BYTES);
}

void gbi_trap_install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault}, now;
    /* NODEFER: the signal is not blocked after the jump, so no mask has to be saved per launch */
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART;
    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&lock);
    if (!has_key) has_key = pthread_key_create(&stack_key, free_stack) == 0;
    for (int i = 0; i < SIGNALS; i++) {
        sigaction(signals[i], NULL, &now);
        if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault) continue;
        previous[i] = now;
        sigaction(signals[i], &action, NULL);
    }
    pthread_mutex_unlock(&lock);
}

void gbi_trap_prepare(void)
{
    if (prepared) return;
    prepared = true;
    gbi_trap_install();
    stack_t now;
    if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE)) return;
    void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) return; /* faults are still caught, stack overflows are not */
    stack_t own = {.ss_sp = stack, .ss_size = STACK_BYTES};
    sigaltstack(&own, NULL);
    if (has_key) pthread_setspecific(stack_key, stack);
}

bool gbi_trap_run(gbi_trap *trap, void (*body)(void *arg), void *arg)
{
    gbi_trap *volatile outer = current;
    trap->signal = trap->code = 0;
    trap->address = NULL;
    trap->stopped = false;
    if (sigsetjmp(trap->jump, SAVE_MASK) == 0) {
        current = trap;
        body(arg);
        current = outer;
        return true;
    }
    current = outer;
    return false;
}

void gbi_trap_raise(gbi_trap *trap)
{
    trap->signal = trap->code = 0;
    leave(trap);
}

void gbi_trap_limit(gbi_trap *trap, uint64_t until_ns)
{
    if (!own_thread) own_thread = (int32_t)gettid();
    atomic_store_explicit(&trap->thread, own_thread, memory_order_relaxed);
    atomic_store_explicit(&trap->until_ns, until_ns, memory_order_release);
}

void gbi_trap_stop(gbi_trap *trap, uint64_t until_ns)
{
    siginfo_t info;
    gbi_trap_install();
    memset(&info, 0, sizeof info);
    info.si_signo = SIGBUS;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = (void *)&stop_mark;
    atomic_store(&trap->ending_ns, until_ns);
    syscall(SYS_rt_tgsigqueueinfo, info.si_pid, atomic_load(&trap->thread), SIGBUS, &info);
}

const char *gbi_trap_text(const gbi_trap *trap)
{
    switch (trap->signal) {
    case SIGSEGV:
        return "invalid memory access";
    case SIGBUS:
        return "misaligned or missing memory";
    case SIGFPE:
        return trap->code == FPE_INTDIV ? "integer division by zero" : "arithmetic fault";
    case SIGILL:
        return "illegal instruction";
    default:
        return "trap";
    }
}
