#include "base/buf.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void gb_buf_init(gb_buf *buf, gb_mem *mem)
{
    *buf = (gb_buf){.mem = mem};
}

void gb_buf_fini(gb_buf *buf)
{
    gb_mem_free(buf->mem, buf->data, buf->room);
    *buf = (gb_buf){.mem = buf->mem};
}

int gb_buf_grow(gb_buf *buf, size_t more)
{
    if (more > SIZE_MAX / 4 - buf->size)
        return gb_err_set(GB_ENOMEM, "out of memory: a buffer of %zu bytes", more);
    size_t need = buf->size + more, room = buf->room ? buf->room : 64;
    while (room < need) room *= 2;
    uint8_t *data = gb_mem_realloc(buf->mem, buf->data, buf->room, room);
    if (!data) return GB_ENOMEM;
    buf->data = data;
    buf->room = room;
    return 0;
}

int gb_buf_put(gb_buf *buf, const void *bytes, size_t size)
{
    int rc = gb_buf_reserve(buf, size);
    if (rc < 0) return rc;
    if (size) memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
    return 0;
}

int gb_buf_printf(gb_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0) return gb_err_set(GB_EINVAL, "a format that cannot be printed: %s", format);
    int rc = gb_buf_reserve(buf, (size_t)size + 1);
    if (rc < 0) return rc;
    va_start(args, format);
    vsnprintf((char *)buf->data + buf->size, (size_t)size + 1, format, args);
    va_end(args);
    buf->size += (size_t)size;
    return 0;
}

const char *gb_buf_text(gb_buf *buf)
{
    if (gb_buf_reserve(buf, 1) < 0) return "";
    buf->data[buf->size] = 0;
    return (const char *)buf->data;
}
