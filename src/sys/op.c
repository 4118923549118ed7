#include "sys/op.h"

#include <stdio.h>
#include <stdlib.h>

void gb_op_init(gb_op *op, void (*done)(gb_op *op, int rc))
{
    op->done = done;
    op->detail = NULL;
    atomic_init(&op->cancelled, 0);
}

void gb_op_fini(gb_op *op)
{
    free(op->detail);
    op->detail = NULL;
}

int gb_op_fail(gb_op *op, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    free(op->detail);
    op->detail = text;
    return rc;
}
