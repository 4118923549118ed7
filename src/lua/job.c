/* Operations under way on devices: what they keep alive, the queues they run on, the device buffers
 * that stand for host arrays. */
#include "lua/device.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FREE_JOBS_MAX = 256,
    LAST_LOOKS = 10000, /* every 100 us */
    STAGING_OWNER = 2   /* even: no grain's, see gbl_payer_of */
};

/* ---- the room ---- */

gbl_devices *gbl_devices_new(lua_State *L)
{
    gb_gpu *gpu = gbl_gpu(L);
    int count = gb_gpu_device_count(gpu);
    gb_mem *mem = gbl_of(L)->config.mem; /* jobs may outlive the Lua state */
    gbl_devices *room = gb_mem_zalloc(mem, sizeof *room + (size_t)count * sizeof *room->at);
    if (!room) return NULL;
    room->refs = 1;
    room->mem = mem;
    room->gpu = gpu;
    room->state = gbl_of(L);
    room->force = -1;
    room->count = count;
    room->home = gb_gpu_home(gpu);
    for (int i = 0; i < count; i++) {
        gb_device_info info;
        room->at[i].device = gb_gpu_device(gpu, i);
        gb_device_get_info(room->at[i].device, &info);
        room->at[i].threads_max = info.threads_per_block_max;
        room->at[i].shared_max = info.shared_bytes_max;
        room->at[i].is_cpu = room->at[i].in_place = strcmp(info.backend, "cpu") == 0;
    }
    return room;
}

static void free_device(gbl_devices *room, gbl_device *device)
{
    for (int i = 0; i < device->lane_count; i++)
        if (device->lanes[i].queue) gb_queue_close(device->lanes[i].queue);
}

static void release_job(gbl_job *job);

void gbl_devices_unref(gbl_devices *room)
{
    if (--room->refs) return;
    gbl_job *next;
    for (gbl_job *job = room->stranded; job; job = next) {
        next = job->next;
        release_job(job);
        gb_mem_free(room->mem, job, sizeof *job);
    }
    for (gbl_job *job = room->free; job; job = next) {
        next = job->next;
        gb_mem_free(room->mem, job, sizeof *job);
    }
    for (int i = 0; i < room->count; i++) free_device(room, &room->at[i]);
    gb_mem_free(room->mem, room->kernels, room->kernel_room * sizeof *room->kernels);
    gb_mem_free(room->mem, room, sizeof *room + (size_t)room->count * sizeof *room->at);
}

/* ---- lanes ----
 * Commands of one grain run in order; those of different grains need not. A lane belongs to a grain
 * while a job of it is under way. Only when all are taken do grains share. */
static int open_lane(gbl_lane *lane, gbl_device *device)
{
    if (lane->queue) gb_queue_close(lane->queue);
    lane->queue = NULL;
    lane->epoch = gb_device_epoch(device->device);
    int rc = gb_queue_open(&lane->queue, device->device);
    if (rc == 0) gb_queue_attend(lane->queue);
    return rc;
}

static int lane_for(gbl_lane **out, lua_State *L, gbl_device *device)
{
    gb_call *turn = gbl_turn(gbl_of(L));
    uint64_t owner =
        turn && turn->act ? (uint64_t)turn->act->slot << 32 | turn->act->generation : UINT64_MAX;
    uint32_t epoch = gb_device_epoch(device->device);
    gbl_lane *idle = NULL;
    for (int i = 0; i < device->lane_count && (!idle || idle->owner != owner); i++) {
        gbl_lane *lane = &device->lanes[i];
        bool fresh = lane->queue && lane->epoch == epoch;
        if (fresh && lane->owner == owner) return *out = lane, 0;
        if (lane->jobs == 0 && !idle) idle = lane; /* one with jobs of before a reset waits */
    }
    if (!idle && device->lane_count < GBL_LANES) {
        idle = &device->lanes[device->lane_count];
        int rc = open_lane(idle, device);
        if (rc < 0) return rc;
        device->lane_count++;
    }
    if (!idle) return *out = &device->lanes[owner % GBL_LANES], 0;
    if (!idle->queue || idle->epoch != epoch) {
        int rc = open_lane(idle, device);
        if (rc < 0) return rc;
    }
    idle->owner = owner;
    *out = idle;
    return 0;
}

/* ---- jobs ---- */

/* A launch that holds this thread is of no use to anybody once the turn's deadline has passed. */
void gbl_job_set_patience(gbl_job *job, uint64_t limit_ns)
{
    const gb_worker *worker = job->room->state->worker;
    const gb_call *turn = worker->current;
    uint64_t ns = limit_ns;
    if (turn && turn->deadline != GB_FOREVER) {
        uint64_t left = turn->deadline > worker->now ? turn->deadline - worker->now : 1;
        if (!ns || left < ns) ns = left;
    }
    gb_queue_set_patience(job->queue, ns);
}

int gbl_job_new(gbl_job **out, lua_State *L, gbl_devices *room, gbl_device *device, gb_queue *queue)
{
    gbl_lane *lane = NULL;
    int rc = queue ? 0 : lane_for(&lane, L, device);
    if (rc < 0) return rc;
    gbl_job *job = room->free;
    if (job) {
        room->free = job->next;
        room->free_count--;
    } else {
        job = gb_mem_alloc(room->mem, sizeof *job);
        if (!job) return GB_ENOMEM;
    }
    job->room = room;
    room->refs++;
    job->device = device;
    job->lane = lane;
    job->queue = queue ? queue : lane->queue;
    if (lane) lane->jobs++;
    gbl_job_set_patience(job, 0);
    job->next = NULL;
    job->module = NULL;
    job->rc = 0;
    job->kernel = 0;
    job->launch = job->report = false;
    job->span = NULL;
    job->message = NULL;
    job->block_count = job->buffer_count = 0;
    *out = job;
    return 0;
}

static void release_job(gbl_job *job)
{
    for (int i = 0; i < job->block_count; i++) gb_block_unref(job->blocks[i]);
    for (int i = 0; i < job->buffer_count; i++) gb_buffer_unref(job->buffers[i]);
    if (job->module) gb_module_unref(job->module);
    if (job->lane) job->lane->jobs--;
    if (job->launch) job->room->launches--;
    free(job->message);
}

void gbl_job_free(gbl_job *job)
{
    gbl_devices *room = job->room;
    release_job(job);
    if (room->free_count < FREE_JOBS_MAX) {
        job->next = room->free;
        room->free = job;
        room->free_count++;
    } else {
        gb_mem_free(room->mem, job, sizeof *job);
    }
    gbl_devices_unref(room);
}

void gbl_job_keep_block(gbl_job *job, gb_block *block)
{
    GB_CHECK(job->block_count < GBL_ARGS_MAX);
    job->blocks[job->block_count++] = gb_block_ref(block);
}

void gbl_job_keep_buffer(gbl_job *job, gb_buffer *buffer)
{
    GB_CHECK(job->buffer_count < GBL_ARGS_MAX);
    job->buffers[job->buffer_count++] = gb_buffer_ref(buffer);
}

/* Host arrays are copied over all of it before anything reads it, so what an earlier launch left
 * there need not be cleared; nobody but launches has memory of this owner, those of each tenant
 * their own. */
int gbl_job_temp(gbl_job *job, size_t bytes, gb_buffer **out)
{
    GB_CHECK(job->buffer_count < GBL_ARGS_MAX);
    gb_buffer_spec spec = {.bytes = bytes,
                           .tenant = gbl_tenant_here(job->room->state),
                           .owner = STAGING_OWNER,
                           .raw = true,
                           .capped = &job->room->lacking_capped};
    int rc = gb_buffer_rent(out, job->device->device, &spec);
    if (rc == 0) job->buffers[job->buffer_count++] = *out;
    return rc;
}

int gbl_job_lane(const gbl_job *job)
{
    return job->lane ? (int)(job->lane - job->device->lanes) : -1;
}

void gbl_job_fail(gbl_job *job, int rc)
{
    if (job->rc < 0) return;
    job->rc = rc;
    job->message = strdup(gb_err_detail());
}

static bool job_is_done(void *user)
{
    return gb_queue_is_idle(user);
}

void gbl_job_help(gbl_job *job)
{
    if (!job_is_done(job->queue)) gb_worker_help(job->room->state->worker, job_is_done, job->queue);
}

static int job_results(lua_State *L, gbl_wait *wait, int rc)
{
    gbl_job *job = wait->user;
    if (job->rc < 0) return gbl_push_error(L, job->rc, job->message);
    if (rc < 0) return gbl_push_error(L, rc, wait->op.detail);
    lua_pushboolean(L, 1);
    return 1;
}

static void job_drop(gbl_wait *wait)
{
    const gbl_job *job = wait->user;
    gbl_span_end(job->room->state, job->span, job->rc < 0 ? job->rc : wait->rc);
    if (job->rc < 0)
        gbl_fault_ended(job, job->rc, job->message);
    else if (wait->rc < 0 || job->report)
        gbl_fault_ended(job, wait->rc, wait->op.detail);
    gbl_job_free(wait->user);
}

/* The host is out of memory, and nobody can be told of the end: so it is waited for here. Who gets
 * ENOMEM may try again with the same arrays, and nothing may write to them then. */
static bool job_ends_here(const gbl_job *job)
{
    const struct timespec moment = {.tv_nsec = 100000};
    for (int i = 0; i < LAST_LOOKS && !gb_queue_is_idle(job->queue); i++) nanosleep(&moment, NULL);
    return gb_queue_is_idle(job->queue);
}

/* It does not end soon: what it uses stays until the state closes. */
static void job_strand(gbl_job *job)
{
    job->next = job->room->stranded;
    job->room->stranded = job;
    if (job->lane) job->lane->jobs--;
    job->lane = NULL;
    gbl_devices_unref(job->room); /* the list is the room's own */
}

/* The wait for a job's end, and how that began; NULL: an error was pushed. */
static gbl_wait *job_wait(lua_State *L, gbl_job *job, int *started)
{
    gbl_wait *wait = gbl_wait_new(L);
    if (!wait) {
        gbl_push_error(L, GB_ENOMEM, gb_err_detail());
        if (job_ends_here(job)) {
            gbl_span_end(job->room->state, job->span, GB_ENOMEM);
            gbl_job_free(job);
        } else {
            job_strand(job);
        }
        return NULL;
    }
    *started = gb_queue_signal(job->queue, &wait->op);
    if (*started == GB_ENOMEM && !job_ends_here(job)) {
        job_strand(job);
    } else {
        wait->user = job;
        wait->results = job_results;
        wait->drop = job_drop;
    }
    return wait;
}

/* Under way: a future, or ENOMEM and its end was waited for. */
static int job_future(lua_State *L, gbl_job *job, gbl_wait *wait, int started)
{
    int count = gbl_wait_future(L, wait, started);
    if (started == GB_OP_PENDING && count > 1) job_ends_here(job);
    return count;
}

int gbl_job_finish(lua_State *L, gbl_job *job, bool future)
{
    int started;
    gbl_wait *wait = job_wait(L, job, &started);
    if (!wait) return GBL_ERROR_VALUES;
    return future ? job_future(L, job, wait, started) : gbl_wait_finish(L, wait, started);
}

int gbl_job_start(lua_State *L, gbl_job *job)
{
    int started;
    gbl_wait *wait = job_wait(L, job, &started);
    if (!wait) return GBL_ERROR_VALUES;
    return started == GB_OP_PENDING ? job_future(L, job, wait, started)
                                    : gbl_wait_finish(L, wait, started);
}
