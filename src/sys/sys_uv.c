/* The real world: libuv. */
#include "sys/sys_uv.h"

#include "base/check.h"
#include "base/err.h"

#include <stdlib.h>
#include <time.h>

typedef struct uv_sys {
    gb_sys sys;
    gb_mem *mem;
} uv_sys;

static uint64_t sys_now(gb_sys *sys)
{
    (void)sys;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * GB_SEC + (uint64_t)t.tv_nsec;
}

static int64_t sys_wall(gb_sys *sys)
{
    (void)sys;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * (int64_t)GB_SEC + t.tv_nsec;
}

static uint64_t sys_random(gb_sys *sys)
{
    (void)sys;
    uint64_t value = 0;
    GB_CHECK(uv_random(NULL, NULL, &value, sizeof value, 0, NULL) == 0);
    return value;
}

static void on_wake(uv_async_t *async)
{
    (void)async; /* the wait ends; the loop's owner looks at its mailbox */
}

/* The timer may run before uv_run polls (its clock goes by milliseconds); without the stop the poll
 * would then wait for ever. */
static void on_time(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void on_before(uv_prepare_t *before)
{
    gbi_uv_flush(GB_CONTAINER(before, gbi_uv_loop, before));
}

static int loop_open(gb_loop **out, gb_sys *sys)
{
    uv_sys *world = (uv_sys *)sys;
    gbi_uv_loop *loop = gb_mem_zalloc(world->mem, sizeof *loop);
    if (!loop) return GB_ENOMEM;
    loop->loop.sys = sys;
    loop->mem = world->mem;
    gb_list_init(&loop->dirty);
    int rc = uv_loop_init(&loop->uv);
    if (rc < 0) {
        gb_mem_free(world->mem, loop, sizeof *loop);
        return gb_err_set(GB_ENOMEM, "no event loop: %s", uv_strerror(rc));
    }
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (rc < 0) { /* no descriptors left */
        uv_loop_close(&loop->uv);
        gb_mem_free(world->mem, loop, sizeof *loop);
        return gb_err_set(GB_ENOMEM, "no event loop: %s", uv_strerror(rc));
    }
    GB_CHECK(uv_timer_init(&loop->uv, &loop->timer) == 0);
    GB_CHECK(uv_prepare_init(&loop->uv, &loop->before) == 0);
    GB_CHECK(uv_prepare_start(&loop->before, on_before) == 0);
    uv_unref((uv_handle_t *)&loop->before);
    *out = &loop->loop;
    return 0;
}

static void loop_close(gb_loop *base)
{
    gbi_uv_loop *loop = (gbi_uv_loop *)base;
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->before, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    GB_CHECK(uv_loop_close(&loop->uv) == 0);
    gb_mem_free(((uv_sys *)base->sys)->mem, loop, sizeof *loop);
}

static void loop_wait(gb_loop *base, uint64_t timeout_ns)
{
    gbi_uv_loop *loop = (gbi_uv_loop *)base;
    if (timeout_ns == 0) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        return;
    }
    if (timeout_ns != GB_FOREVER) {
        uv_update_time(&loop->uv);
        uv_timer_start(&loop->timer, on_time, timeout_ns / GB_MS + (timeout_ns % GB_MS != 0), 0);
    }
    uv_run(&loop->uv, UV_RUN_ONCE);
    if (timeout_ns != GB_FOREVER) uv_timer_stop(&loop->timer);
}

static void loop_wake(gb_loop *base)
{
    uv_async_send(&((gbi_uv_loop *)base)->wake);
}

static int loop_fd(gb_loop *base)
{
    return uv_backend_fd(&((gbi_uv_loop *)base)->uv);
}

static void sys_close(gb_sys *sys)
{
    gb_mem_free(((uv_sys *)sys)->mem, sys, sizeof(uv_sys));
}

static const gb_sys_door door = {
    .name = "uv",
    .now = sys_now,
    .wall = sys_wall,
    .random = sys_random,
    .loop_open = loop_open,
    .loop_close = loop_close,
    .loop_wait = loop_wait,
    .loop_wake = loop_wake,
    .loop_fd = loop_fd,
    .close = sys_close,
};

int gb_sys_open(gb_sys **out, gb_mem *mem)
{
    uv_sys *world = gb_mem_zalloc(mem, sizeof *world);
    if (!world) return GB_ENOMEM;
    world->sys.door = &door;
    world->mem = mem;
    *out = &world->sys;
    return 0;
}
