#include "base/err.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

enum { ERRORS = sizeof errors / sizeof errors[0], DETAIL_BYTES = 4096, BRIEF_BYTES = 256 };

/* Thread-local memory of a library that is loaded late comes from a small reserve of the loader's:
 * a long text gets a block of its own. */
static _Thread_local struct {
    char brief[BRIEF_BYTES];
    char *whole; /* DETAIL_BYTES, or NULL */
    bool is_long;
} detail;

/* tidy: allowed because a thread's end is told of by a key of the process */
static struct {
    pthread_once_t once;
    pthread_key_t key; /* frees detail.whole */
    bool made;
} at_end = {.once = PTHREAD_ONCE_INIT};

static void free_whole(void *text)
{
    free(text);
    detail.whole = NULL;
    detail.is_long = false;
}

static void make_key(void)
{
    at_end.made = pthread_key_create(&at_end.key, free_whole) == 0;
}

/* Room for a long text; NULL: it is cut. */
static char *room(void)
{
    pthread_once(&at_end.once, make_key);
    if (detail.whole || !at_end.made) return detail.whole;
    char *text = malloc(DETAIL_BYTES);
    if (text && pthread_setspecific(at_end.key, text) != 0) {
        free(text);
        text = NULL;
    }
    return detail.whole = text;
}

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
    size_t size = strlen(text);
    detail.is_long = size >= BRIEF_BYTES && room();
    if (!detail.is_long && size >= BRIEF_BYTES) size = BRIEF_BYTES - 1;
    char *kept = detail.is_long ? detail.whole : detail.brief;
    memcpy(kept, text, size);
    kept[size] = 0;
    return rc;
}

const char *gb_err_detail(void)
{
    return detail.is_long ? detail.whole : detail.brief;
}
