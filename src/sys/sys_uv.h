/* What the files over libuv share. */
#ifndef GB_SYS_SYS_UV_H
#define GB_SYS_SYS_UV_H

#include "base/list.h"
#include "sys/sys.h"

#include <uv.h>

typedef struct gbi_uv_loop {
    gb_loop loop;
    gb_mem *mem;
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t timer;
    uv_prepare_t before; /* a wait begins */
    gb_list dirty;       /* sockets with bytes to write */
} gbi_uv_loop;

/* sys_uv_net.c */
void gbi_uv_flush(gbi_uv_loop *loop);

/* sys_uv_listen.c */
struct sockaddr;
gbi_uv_loop *gbi_uv_loop_of(gb_loop *loop); /* NULL: simulated, GB_ENOTYET is the detail */
void gbi_address_print(char *out, const struct sockaddr *address); /* GB_ADDRESS_BYTES */
int gbi_errno_rc(int error);

#endif
