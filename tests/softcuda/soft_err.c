/* base/err.h without a thread-local text: a library that is loaded late has little room for those,
 * and the one of src/base is larger than that. */
#include "base/err.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { DETAIL_BYTES = 4096 };

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    if (pthread_key_create(&key, free) != 0) abort();
}

static char *detail(void)
{
    pthread_once(&once, make_key);
    char *text = pthread_getspecific(key);
    if (text) return text;
    text = calloc(1, DETAIL_BYTES);
    if (!text || pthread_setspecific(key, text) != 0) abort();
    return text;
}

const char *gb_err_name(int rc)
{
    switch (rc) {
#define NAME(name, number, text)                                                                   \
    case -(number):                                                                                \
        return #name;
        GB_ERRORS(NAME)
#undef NAME
    default:
        return rc >= 0 ? "OK" : "EUNKNOWN";
    }
}

const char *gb_err_text(int rc)
{
    return gb_err_name(rc);
}

int gb_err_code(const char *name)
{
    return 0;
}

int gb_err_set(int rc, const char *format, ...)
{
    va_list list;
    char text[DETAIL_BYTES]; /* the format may take the old text as an argument */
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    snprintf(detail(), DETAIL_BYTES, "%s", text);
    return rc;
}

const char *gb_err_detail(void)
{
    return detail();
}
