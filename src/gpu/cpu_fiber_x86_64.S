/* Fiber switching on x86-64, System V calling convention. Only callee-saved registers are kept: the
 * switch is a call for the compiler. It does not end in ret: the next fiber mostly waits at another
 * barrier than the one this fiber came from (the one before it in a loop), so the return predictor
 * would be wrong at nearly every switch, while the indirect jump is predicted by history. */
#if defined(__x86_64__) && !defined(GBI_FIBER_UCONTEXT)
        .text

/* void gbi_fiber_switch(void **save, void *to) */
        .globl  gbi_fiber_switch
        .hidden gbi_fiber_switch
        .type   gbi_fiber_switch, @function
        .p2align 6
gbi_fiber_switch:
        endbr64
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        popq    %rcx
        notrack jmp *%rcx
        .size   gbi_fiber_switch, .-gbi_fiber_switch

/* void gbi_fiber_barrier(void *self): __syncthreads, the whole of it in the common case. self is a
 * gbi_fibers: current 0, generation 8, arrived 12, live 16; a gbi_fiber: sp 0, next 8, wait 24. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        .globl  gbi_fiber_barrier
        .hidden gbi_fiber_barrier
        .type   gbi_fiber_barrier, @function
        .p2align 6
gbi_fiber_barrier:
        endbr64
        movl    12(%rdi), %eax
        incl    %eax
        cmpl    16(%rdi), %eax
        je      gbi_fiber_release       /* the last one lets all go on, and goes on itself */
        movl    %eax, 12(%rdi)
        movq    (%rdi), %rcx
        movl    8(%rdi), %edx
        movl    %edx, 24(%rcx)
        movq    8(%rcx), %rsi
        cmpl    24(%rsi), %edx
        je      gbi_fiber_wait          /* the next one waits too: look further */
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rcx)
        movq    8(%rsi), %rax
        movq    %rsi, (%rdi)
        movq    (%rsi), %rsp
        movq    (%rax), %rax
        prefetcht0 (%rax)
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        popq    %rcx
        notrack jmp *%rcx
        .size   gbi_fiber_barrier, .-gbi_fiber_barrier
#endif

/* The first frame of a fiber: gbi_fiber_fresh left the block in rbx. */
        .globl  gbi_fiber_first
        .hidden gbi_fiber_first
        .type   gbi_fiber_first, @function
gbi_fiber_first:
        .cfi_startproc
        .cfi_undefined rip
        endbr64
        xorl    %ebp, %ebp
        movq    %rbx, %rdi
        call    gbi_fiber_main
        ud2
        .cfi_endproc
        .size   gbi_fiber_first, .-gbi_fiber_first

/* void *gbi_fiber_fresh(void *top, gbi_fibers *fibers): top is aligned to 16 */
        .globl  gbi_fiber_fresh
        .hidden gbi_fiber_fresh
        .type   gbi_fiber_fresh, @function
gbi_fiber_fresh:
        endbr64
        leaq    gbi_fiber_first(%rip), %rax
        movq    $0, -16(%rdi)           /* gbi_fiber_first calls with an aligned stack */
        movq    %rax, -24(%rdi)
        movq    $0, -32(%rdi)           /* rbp */
        movq    %rsi, -40(%rdi)         /* rbx */
        movq    $0, -48(%rdi)
        movq    $0, -56(%rdi)
        movq    $0, -64(%rdi)
        movq    $0, -72(%rdi)
        leaq    -72(%rdi), %rax
        ret
        .size   gbi_fiber_fresh, .-gbi_fiber_fresh
#endif
        .section .note.GNU-stack,"",@progbits
