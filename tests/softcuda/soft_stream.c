/* Streams and events. Every stream has a thread, which takes its commands in order and dawdles
 * before each as its seed says; nothing but an event orders two streams.
 *
 * The threads are detached: a destroyed stream still runs what it was given. A context counts them
 * and ends when they have.
 */
#include "soft.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { END_WAIT_S = 20 }; /* for kernels that do not end */

/* ---- commands ---- */

void soft_command_fini(soft_command *command)
{
    if (command->held) soft_drop(command->held);
    command->held = NULL;
    if (command->kind != SOFT_LAUNCH) return;
    free(command->u.launch.blob);
    free(command->u.launch.params);
    command->u.launch.blob = NULL;
    command->u.launch.params = NULL;
}

void soft_break(soft_context *context, gb_cu_result error)
{
    if (!context->error) context->error = error;
    atomic_store(&context->stop, 1);
    pthread_cond_broadcast(&soft.moved);
}

/* False: it lasts too long. */
static bool wait_for_none(const int *count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_WAIT_S;
    while (*count > 0)
        if (pthread_cond_timedwait(&soft.moved, &soft.lock, &until) != 0) return false;
    return true;
}

void soft_stand_still(soft_context *context)
{
    wait_for_none(&context->running);
}

static void dawdle(soft_stream *stream)
{
    uint64_t random = soft_random(&stream->random);
    if (soft.delay_us <= 0 || stream->hurry || (random & 1)) return;
    struct timespec time = {0, (long)((random >> 1) % (uint64_t)soft.delay_us) * 1000};
    /* tidy: allowed because a driver's timing is not its caller's */
    nanosleep(&time, NULL);
}

/* Under the lock. An event of a context that broke never comes: its waiters go on and find out. */
static void await(soft_stream *stream, const soft_command *command)
{
    const soft_event *event = (const soft_event *)command->held;
    const soft_context *own = stream->object.context, *other = event->object.context;
    while (event->finished < command->u.generation && !own->error && !other->error)
        pthread_cond_wait(&soft.moved, &soft.lock);
}

static void run_call(const soft_command *command)
{
    pthread_mutex_unlock(&soft.lock);
    soft_set_in_callback(true);
    command->u.call.function(command->u.call.data);
    soft_set_in_callback(false);
    pthread_mutex_lock(&soft.lock);
}

static void finish_event(const soft_command *command)
{
    soft_event *event = (soft_event *)command->held;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (command->u.generation <= event->finished) return;
    event->finished = command->u.generation;
    event->at_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Under the lock, which is given up meanwhile. */
static void run_first(soft_stream *stream)
{
    soft_context *context = stream->object.context;
    soft_command *command = GB_CONTAINER(stream->commands.next, soft_command, link);
    if (!context->error) {
        pthread_mutex_unlock(&soft.lock);
        dawdle(stream);
        pthread_mutex_lock(&soft.lock);
    }
    if (!context->error) {
        gb_cu_result rc = 0;
        if (command->kind == SOFT_WAIT) {
            await(stream, command);
        } else if (command->kind == SOFT_RECORD) {
            finish_event(command);
        } else if (command->kind == SOFT_CALL) {
            run_call(command);
        } else if (command->kind == SOFT_BEGIN || command->kind == SOFT_END) {
            soft_pool_run(command);
        } else {
            context->running++;
            pthread_mutex_unlock(&soft.lock);
            rc = soft_run(stream, command);
            pthread_mutex_lock(&soft.lock);
            context->running--;
        }
        if (rc) soft_break(context, rc);
    }
    gb_list_unlink(&command->link);
    soft_command_fini(command);
    free(command);
    pthread_cond_broadcast(&soft.moved);
}

static void *stream_main(void *arg)
{
    soft_stream *stream = arg;
    soft_context *context = stream->object.context;
    pthread_mutex_lock(&soft.lock);
    for (;;) {
        if (!gb_list_empty(&stream->commands))
            run_first(stream);
        else if (stream->object.live)
            pthread_cond_wait(&soft.moved, &soft.lock);
        else
            break;
    }
    gbi_runner *runner = stream->runner;
    soft_drop(&stream->object);
    pthread_mutex_unlock(&soft.lock);
    gbi_runner_close(runner);
    pthread_mutex_lock(&soft.lock);
    context->threads--;
    pthread_cond_broadcast(&soft.moved);
    pthread_mutex_unlock(&soft.lock);
    return NULL;
}

/* Signals of the process are other threads' business; faults of kernels are ours. */
static int start(soft_stream *stream)
{
    sigset_t others, old;
    pthread_t thread;
    sigfillset(&others);
    sigdelset(&others, SIGSEGV);
    sigdelset(&others, SIGBUS);
    sigdelset(&others, SIGFPE);
    sigdelset(&others, SIGILL);
    pthread_sigmask(SIG_SETMASK, &others, &old);
    int failed = pthread_create(&thread, NULL, stream_main, stream);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!failed) pthread_detach(thread);
    return failed;
}

static soft_stream *open_stream(soft_context *context)
{
    soft_stream *stream = soft_new(sizeof *stream, SOFT_STREAM, context, NULL);
    if (!stream) return NULL;
    gb_list_init(&stream->commands);
    stream->random = soft.seed * 1000003 + stream->object.number;
    if (gbi_runner_open(&stream->runner, &soft.mem) < 0) {
        soft_retire(&stream->object);
        return NULL;
    }
    soft_hold(&stream->object); /* the thread's */
    context->threads++;
    if (start(stream) == 0) return stream;
    context->threads--;
    gbi_runner_close(stream->runner);
    soft_drop(&stream->object);
    soft_retire(&stream->object);
    return NULL;
}

void soft_streams_end(soft_context *context)
{
    atomic_store(&context->stop, 1);
    for (gb_list *at = context->objects.next, *next; at != &context->objects; at = next) {
        next = at->next;
        soft_object *object = GB_CONTAINER(at, soft_object, link);
        if (object->kind == SOFT_STREAM) soft_retire(object);
    }
    context->null_stream = NULL;
    pthread_cond_broadcast(&soft.moved);
    if (!wait_for_none(&context->threads))
        fprintf(stderr, "softcuda: a kernel that does not end is left behind\n");
}

/* NULL: the context's own, made by its first use; it orders nothing but itself. */
static soft_stream *stream_of(int row, soft_context *context, gb_cu_stream handle)
{
    if (handle) return soft_find(row, handle, SOFT_STREAM);
    if (!context->null_stream) {
        context->null_stream = open_stream(context);
        if (context->null_stream) context->null_stream->object.freed = true; /* nobody can */
    }
    return context->null_stream;
}

gb_cu_result soft_submit(int row, soft_context *context, gb_cu_stream handle, soft_command *command)
{
    soft_stream *stream = stream_of(row, context, handle);
    gb_cu_result rc = stream ? GB_CU_SUCCESS : GB_CU_INVALID_HANDLE;
    if (stream && stream->object.context != context)
        rc = soft_misuse(row, GB_CU_INVALID_HANDLE, "a stream of another context");
    soft_command *kept = rc ? NULL : malloc(sizeof *kept);
    if (!rc && !kept) rc = GB_CU_OUT_OF_MEMORY;
    if (rc) {
        soft_command_fini(command);
        return rc;
    }
    *kept = *command;
    gb_list_push(&stream->commands, &kept->link);
    pthread_cond_broadcast(&soft.moved);
    return 0;
}

/* ---- entry points: streams ---- */

gb_cu_result soft_cuStreamCreate(gb_cu_stream *out, unsigned int flags)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuStreamCreate, &context);
    if (rc == 0 && flags > GB_CU_STREAM_NON_BLOCKING) rc = GB_CU_INVALID_VALUE;
    soft_stream *stream = rc ? NULL : open_stream(context);
    if (rc == 0 && !stream) rc = GB_CU_OUT_OF_MEMORY;
    if (rc == 0) *out = soft_handle(&stream->object);
    return soft_leave(rc);
}

gb_cu_result soft_cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuCtxGetStreamPriorityRange, &context);
    if (rc == 0) *least = 0, *greatest = -5;
    return soft_leave(rc);
}

/* Streams have threads of their own: a higher one does not dawdle. */
gb_cu_result soft_cuStreamCreateWithPriority(gb_cu_stream *out, unsigned int flags, int priority)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuStreamCreateWithPriority, &context);
    if (rc == 0 && flags > GB_CU_STREAM_NON_BLOCKING) rc = GB_CU_INVALID_VALUE;
    soft_stream *stream = rc ? NULL : open_stream(context);
    if (rc == 0 && !stream) rc = GB_CU_OUT_OF_MEMORY;
    if (stream) stream->hurry = priority < 0;
    if (rc == 0) *out = soft_handle(&stream->object);
    return soft_leave(rc);
}

gb_cu_result soft_cuStreamDestroy(gb_cu_stream handle)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuStreamDestroy, &context);
    soft_stream *stream = NULL;
    if (rc)
        soft_given_up(handle, SOFT_STREAM);
    else if (!(stream = soft_find(ROW_cuStreamDestroy, handle, SOFT_STREAM)))
        rc = GB_CU_INVALID_HANDLE;
    if (stream) {
        soft_retire(&stream->object);
        pthread_cond_broadcast(&soft.moved);
    }
    return soft_leave(rc);
}

gb_cu_result soft_cuStreamSynchronize(gb_cu_stream handle)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuStreamSynchronize, &context);
    if (rc) return soft_leave(rc);
    soft_stream *stream = stream_of(ROW_cuStreamSynchronize, context, handle);
    if (!stream) return soft_leave(GB_CU_INVALID_HANDLE);
    soft_hold(&stream->object);
    soft_context *own = stream->object.context;
    while (!gb_list_empty(&stream->commands) && !own->error)
        pthread_cond_wait(&soft.moved, &soft.lock);
    soft_drop(&stream->object);
    return soft_leave(own->error);
}

gb_cu_result soft_cuLaunchHostFunc(gb_cu_stream stream, gb_cu_host_function function, void *data)
{
    soft_context *context;
    soft_command command = {.kind = SOFT_CALL, .u.call = {function, data}};
    gb_cu_result rc = soft_enter_context(ROW_cuLaunchHostFunc, &context);
    if (rc == 0 && !function) rc = GB_CU_INVALID_VALUE;
    if (rc == 0) rc = soft_submit(ROW_cuLaunchHostFunc, context, stream, &command);
    return soft_leave(rc);
}

/* ---- entry points: events ---- */

gb_cu_result soft_cuEventCreate(gb_cu_event *out, unsigned int flags)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuEventCreate, &context);
    if (rc) return soft_leave(rc);
    soft_event *event = soft_new(sizeof *event, SOFT_EVENT, context, NULL);
    if (!event) return soft_leave(GB_CU_OUT_OF_MEMORY);
    event->timed = !(flags & GB_CU_EVENT_NO_TIMING);
    *out = soft_handle(&event->object);
    return soft_leave(0);
}

gb_cu_result soft_cuEventDestroy(gb_cu_event handle)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuEventDestroy, &context);
    soft_object *event = NULL;
    if (rc)
        soft_given_up(handle, SOFT_EVENT);
    else if (!(event = soft_find(ROW_cuEventDestroy, handle, SOFT_EVENT)))
        rc = GB_CU_INVALID_HANDLE;
    if (event) soft_retire(event);
    return soft_leave(rc);
}

gb_cu_result soft_cuEventRecord(gb_cu_event handle, gb_cu_stream stream)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuEventRecord, &context);
    if (rc) return soft_leave(rc);
    soft_event *event = soft_find(ROW_cuEventRecord, handle, SOFT_EVENT);
    if (!event || event->object.context != context) return soft_leave(GB_CU_INVALID_HANDLE);
    soft_command command = {.kind = SOFT_RECORD, .held = &event->object};
    command.u.generation = event->recorded + 1;
    soft_hold(&event->object);
    rc = soft_submit(ROW_cuEventRecord, context, stream, &command);
    if (rc == 0) event->recorded++;
    return soft_leave(rc);
}

gb_cu_result soft_cuStreamWaitEvent(gb_cu_stream stream, gb_cu_event handle, unsigned int flags)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuStreamWaitEvent, &context);
    if (rc) return soft_leave(rc);
    soft_event *event = soft_find(ROW_cuStreamWaitEvent, handle, SOFT_EVENT);
    if (!event) return soft_leave(GB_CU_INVALID_HANDLE);
    if (flags != 0) return soft_leave(GB_CU_INVALID_VALUE);
    soft_command command = {.kind = SOFT_WAIT, .held = &event->object};
    command.u.generation = event->recorded;
    soft_hold(&event->object);
    return soft_leave(soft_submit(ROW_cuStreamWaitEvent, context, stream, &command));
}

gb_cu_result soft_cuEventQuery(gb_cu_event handle)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuEventQuery, &context);
    if (rc) return soft_leave(rc);
    const soft_event *event = soft_find(ROW_cuEventQuery, handle, SOFT_EVENT);
    if (!event) return soft_leave(GB_CU_INVALID_HANDLE);
    rc = event->object.context->error;
    if (rc == 0 && event->finished < event->recorded) rc = GB_CU_NOT_READY;
    return soft_leave(rc);
}

gb_cu_result soft_cuEventElapsedTime(float *ms, gb_cu_event start_handle, gb_cu_event end_handle)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuEventElapsedTime, &context);
    if (rc) return soft_leave(rc);
    const soft_event *first = soft_find(ROW_cuEventElapsedTime, start_handle, SOFT_EVENT);
    const soft_event *last = soft_find(ROW_cuEventElapsedTime, end_handle, SOFT_EVENT);
    bool valid = first && last && first->timed && last->timed && first->recorded && last->recorded;
    if (!valid) return soft_leave(GB_CU_INVALID_HANDLE);
    if (first->finished < first->recorded || last->finished < last->recorded)
        return soft_leave(GB_CU_NOT_READY);
    *ms = (float)((double)(int64_t)(last->at_ns - first->at_ns) / 1e6);
    return soft_leave(0);
}
