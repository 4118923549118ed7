/* A growing run of bytes, counted to an account. One thread. Starts empty with all fields zero but
 * mem. */
#ifndef GB_BASE_BUF_H
#define GB_BASE_BUF_H

#include "base/mem.h"

typedef struct gb_buf {
    gb_mem *mem;
    uint8_t *data;
    size_t size; /* bytes used */
    size_t room; /* bytes allocated */
} gb_buf;

void gb_buf_init(gb_buf *buf, gb_mem *mem);
void gb_buf_fini(gb_buf *buf);

/* Makes room for more bytes behind size: 0 or GB_ENOMEM (nothing changes then). */
int gb_buf_grow(gb_buf *buf, size_t more);

static inline int gb_buf_reserve(gb_buf *buf, size_t more)
{
    return buf->room - buf->size >= more ? 0 : gb_buf_grow(buf, more);
}

int gb_buf_put(gb_buf *buf, const void *bytes, size_t size);
int gb_buf_printf(gb_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The text with a final NUL that size does not count; "" when out of memory. */
const char *gb_buf_text(gb_buf *buf);

#endif
