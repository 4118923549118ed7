#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
    int rc;
} errors[] = {
#define ROW(name, number, text) {#name, text, -(number)},
    GB_ERRORS(ROW)
#undef ROW
};

enum { ERRORS = sizeof errors / sizeof errors[0], DETAIL_BYTES = 4096 };

static _Thread_local char detail[DETAIL_BYTES];

const char *gb_err_name(int rc)
{
    if (rc >= 0) return "OK";
    for (int i = 0; i < ERRORS; i++)
        if (errors[i].rc == rc) return errors[i].name;
    return "EUNKNOWN";
}

const char *gb_err_text(int rc)
{
    if (rc >= 0) return "no error";
    for (int i = 0; i < ERRORS; i++)
        if (errors[i].rc == rc) return errors[i].text;
    return "unknown error";
}

int gb_err_code(const char *name)
{
    for (int i = 0; i < ERRORS; i++)
        if (strcmp(errors[i].name, name) == 0) return errors[i].rc;
    return 0;
}

int gb_err_set(int rc, const char *format, ...)
{
    char text[DETAIL_BYTES]; /* an argument may be the old detail */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(detail, text, strlen(text) + 1);
    return rc;
}

const char *gb_err_detail(void)
{
    return detail;
}
