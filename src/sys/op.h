/* The op: one asynchronous operation. It finishes exactly once, with 0 (or a count) or a negative
 * GB_E...
 *
 * Who starts it sets `done` and owns the memory until done has run. A function that takes an op
 * says how it starts:  GB_OP_PENDING (0): done runs later, once, on a thread that the function
 * names (any thread unless it says more).  GB_OP_READY (1): it is finished already and done will
 * not run.  Negative: it did not start and done will not run. `detail` is text for the failure; it
 * belongs to the op (malloc) and gb_op_fini frees it.
 */
#ifndef GB_SYS_OP_H
#define GB_SYS_OP_H

#include <stdarg.h>
#include <stdatomic.h>

enum { GB_OP_PENDING = 0, GB_OP_READY = 1 };

typedef struct gb_op {
    void (*done)(struct gb_op *op, int rc);
    char *detail;
    atomic_int cancelled; /* a wish: the operation may look at it and end early with GB_ECANCELED */
} gb_op;

void gb_op_init(gb_op *op, void (*done)(gb_op *op, int rc));
void gb_op_fini(gb_op *op);

/* Keeps a text for the failure and returns rc. Replaces an older text. */
int gb_op_fail(gb_op *op, int rc, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
