#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

int gb_event_open(gb_event **out, gb_device *device)
{
    gb_event *event = gb_mem_zalloc(&device->gpu->room, sizeof *event);
    if (!event) return GB_ENOMEM;
    atomic_init(&event->count, 1);
    event->device = device;
    int rc = device->backend->event_open(&event->impl, device->impl);
    if (rc < 0) {
        gb_mem_free(&device->gpu->room, event, sizeof *event);
        return rc;
    }
    atomic_fetch_add(&device->gpu->events, 1);
    *out = event;
    return 0;
}

void gbi_event_unref(gb_event *event)
{
    int32_t before = atomic_fetch_sub_explicit(&event->count, 1, memory_order_acq_rel);
    GB_CHECK(before > 0);
    if (before > 1) return;
    gb_gpu *gpu = event->device->gpu;
    event->device->backend->event_close(event->impl);
    gb_mem_free(&gpu->room, event, sizeof *event);
    atomic_fetch_sub(&gpu->events, 1);
}

void gb_event_close(gb_event *event)
{
    if (event) gbi_event_unref(event);
}

int gb_event_query(gb_event *event)
{
    uint64_t recorded = atomic_load_explicit(&event->recorded, memory_order_acquire);
    if (recorded == 0) return 0;
    return event->device->backend->event_query(event->impl) >= recorded;
}

int gb_event_elapsed(gb_event *start, gb_event *end, uint64_t *out_ns)
{
    if (start->device->backend != end->device->backend)
        return gb_err_set(GB_EDEVICE, "the events belong to different backends");
    if (gb_event_query(start) != 1) return gb_err_set(GB_EINVAL, "the start event is not finished");
    if (gb_event_query(end) != 1) return gb_err_set(GB_EINVAL, "the end event is not finished");
    return start->device->backend->event_elapsed(start->impl, end->impl, out_ns);
}
