#include "kit_scene.h"

#include "kit_engine.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 1000, LARGE = 700000, QUEUES = 2, BUFFERS = 6 };

static const char source[] = "__device__ int added = 1;\n"
                             "struct Shift { int by; };\n"
                             "extern \"C\" __global__ void shift(const int *x, int *y, Shift s, "
                             "int n)\n"
                             "{\n"
                             "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                             "    if (i < n) y[i] = x[i] + s.by + added;\n"
                             "}\n"
                             "extern \"C\" __global__ void turn(int *x)\n"
                             "{\n"
                             "    extern __shared__ int all[];\n"
                             "    all[threadIdx.x] = x[threadIdx.x];\n"
                             "    __syncthreads();\n"
                             "    x[threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];\n"
                             "}\n"
                             "template <typename T> __global__ void twice(T *x) { *x *= 2; }\n";

typedef struct stage {
    kit_scene *scene;
    gb_mem mem;
    gb_gpu *gpu;
    gb_device *device;
    gb_queue *queues[QUEUES];
    gb_buffer *buffers[BUFFERS];
    gb_event *events[2];
    gb_module *module;
    int *in, *out;
} stage;

static void complain(stage *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void complain(stage *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "scene: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    va_end(list);
    s->scene->complaints++;
}

/* Notes what a step said: true when it worked. */
static bool step(stage *s, int rc, const char *text, const char *what)
{
    s->scene->steps++;
    if (rc >= 0) return true;
    if (!text || !*text) complain(s, "%s: %s without a text", what, gb_err_name(rc));
    if (strcmp(gb_err_name(rc), "EUNKNOWN") == 0) complain(s, "%s: no such error: %d", what, rc);
    if (s->scene->failures++ == 0)
        snprintf(s->scene->first, sizeof s->scene->first, "%s: %s: %s", what, gb_err_name(rc),
                 text ? text : "");
    return false;
}

static bool tried(stage *s, int rc, const char *what)
{
    return step(s, rc, rc < 0 ? gb_err_detail() : "", what);
}

static bool finish(stage *s, gb_queue *queue, const char *what)
{
    char text[1024] = "";
    int rc = kit_finish(queue, text, sizeof text);
    return step(s, rc, text, what);
}

/* ---- acts ---- */

static bool find_device(stage *s)
{
    for (int i = 0; i < gb_gpu_device_count(s->gpu) && !s->device; i++) {
        gb_device_info info;
        gb_device_get_info(gb_gpu_device(s->gpu, i), &info);
        if (strcmp(info.backend, "cuda") == 0) complain(s, "the software driver counts as a GPU");
        if (strcmp(info.backend, "software") == 0) s->device = gb_gpu_device(s->gpu, i);
    }
    return step(s, s->device ? 0 : GB_ENOGPU, "no device", "finding a device");
}

static bool open_all(stage *s)
{
    static const gb_buffer_kind kinds[BUFFERS] = {GB_BUFFER_DEVICE, GB_BUFFER_DEVICE,
                                                  GB_BUFFER_PINNED, GB_BUFFER_UNIFIED,
                                                  GB_BUFFER_DEVICE, GB_BUFFER_DEVICE};
    bool all = true;
    for (int i = 0; i < QUEUES; i++)
        all = tried(s, gb_queue_open(&s->queues[i], s->device), "opening a queue") && all;
    for (int i = 0; i < BUFFERS; i++) {
        size_t bytes = (i < 4 ? SMALL : LARGE) * sizeof(int);
        all = tried(s, gb_buffer_open(&s->buffers[i], s->device, bytes, kinds[i]),
                    "opening a buffer") &&
              all;
    }
    for (int i = 0; i < 2; i++)
        all = tried(s, gb_event_open(&s->events[i], s->device), "opening an event") && all;
    return all;
}

static bool compile(stage *s)
{
    static const char *const instances[] = {"twice<int>", NULL};
    gb_module_spec spec = {.name = "scene.cu",
                           .source = source,
                           .source_bytes = sizeof source - 1,
                           .instances = instances};
    kit_op op;
    kit_op_init(&op);
    int rc = gb_module_open(&s->module, s->device, &spec, &op.op);
    bool pending = rc == GB_OP_PENDING;
    if (pending) rc = kit_op_wait(&op);
    const char *text = pending ? op.op.detail : gb_err_detail();
    bool worked = step(s, rc < 0 ? rc : 0, text, "compiling");
    kit_op_fini(&op);
    return worked;
}

static void check(stage *s, const int *got, int n, int (*want)(int i), const char *what)
{
    for (int i = 0; i < n; i++)
        if (got[i] != want(i)) {
            complain(s, "%s: [%d] is %d, not %d", what, i, got[i], want(i));
            return;
        }
}

static int shifted(int i)
{
    return i + 8;
}

static int same(int i)
{
    return i;
}

static int turned(int i)
{
    return i == 0 ? 2 * 63 : 63 - i;
}

/* Upload, launch on one queue, an event, and back on the other one. */
static void two_queues(stage *s, int n, gb_buffer *x, gb_buffer *y)
{
    int by = 7;
    gb_arg args[] = {KIT_BUFFER(x), KIT_BUFFER(y), KIT_VALUE(by), KIT_VALUE(n)};
    gb_kernel *kernel = gb_module_kernel(s->module, "shift");
    size_t bytes = (size_t)n * sizeof(int);
    uint32_t grid = ((uint32_t)n + 255) / 256;
    if (!step(s, kernel ? 0 : GB_ENOENT, gb_err_detail(), "finding a kernel")) return;
    memset(s->out, 0, bytes);
    bool all = tried(s, gb_queue_record(s->queues[0], s->events[0]), "recording");
    all = tried(s, gb_queue_upload(s->queues[0], x, 0, s->in, bytes), "uploading") && all;
    all = tried(s, kit_launch(s->queues[0], kernel, grid, 256, args, 4), "launching") && all;
    all = tried(s, gb_queue_record(s->queues[0], s->events[1]), "recording") && all;
    if (all) all = tried(s, gb_queue_wait_event(s->queues[1], s->events[1]), "waiting");
    if (all) tried(s, gb_queue_download(s->queues[1], s->out, y, 0, bytes), "downloading");
    bool back = finish(s, s->queues[1], "the second queue");
    bool there = finish(s, s->queues[0], "the first queue");
    if (!all || !back || !there || s->scene->failures) return;
    check(s, s->out, n, shifted, "shifted");
    uint64_t ns;
    tried(s, gb_event_elapsed(s->events[0], s->events[1], &ns), "measuring");
}

static void kinds_of_memory(stage *s)
{
    gb_queue *queue = s->queues[0];
    int *pinned = gb_buffer_host(s->buffers[2]), *unified = gb_buffer_host(s->buffers[3]);
    unsigned char pattern[6] = {1, 2, 3, 4, 5, 6};
    size_t bytes = SMALL * sizeof(int);
    for (int i = 0; i < SMALL; i++)
        if (pinned[i] != 0 || unified[i] != 0) {
            complain(s, "new memory is not zero");
            break;
        }
    for (int i = 0; i < SMALL; i++) pinned[i] = i;
    bool all = tried(s, gb_queue_copy(queue, s->buffers[0], 0, s->buffers[2], 0, bytes), "copying");
    all =
        tried(s, gb_queue_copy(queue, s->buffers[3], 0, s->buffers[0], 0, bytes), "copying") && all;
    all = tried(s, gb_queue_fill(queue, s->buffers[1], 0, pattern, 6, 50), "filling by six") && all;
    for (size_t size = 1; size <= 4; size *= 2)
        all =
            tried(s, gb_queue_fill(queue, s->buffers[1], 400, pattern, size, 50), "filling") && all;
    all = tried(s, gb_queue_download(queue, s->out, s->buffers[1], 0, 600), "downloading") && all;
    if (!finish(s, queue, "copies") || !all || s->scene->failures) return;
    check(s, unified, SMALL, same, "unified");
    const unsigned char *got = (const unsigned char *)s->out;
    if (memcmp(got + 6 * 49, pattern, 6) != 0) complain(s, "a fill by six");
    if (memcmp(got + 400 + 4 * 49, pattern, 4) != 0) complain(s, "a fill by four");
}

static void shared_memory(stage *s)
{
    gb_launch shape = {.grid = {1, 1, 1}, .block = {64, 1, 1}, .shared_bytes = 60000};
    gb_arg args[] = {KIT_BUFFER(s->buffers[0])};
    gb_kernel *turn = gb_module_kernel(s->module, "turn");
    gb_kernel *twice = gb_module_kernel(s->module, "twice<int>");
    bool found = step(s, turn && twice ? 0 : GB_ENOENT, gb_err_detail(), "finding kernels");
    if (!found) return;
    gb_queue *queue = s->queues[1];
    bool all = tried(s, gb_queue_upload(queue, s->buffers[0], 0, s->in, 256), "uploading");
    all = tried(s, gb_queue_launch(queue, turn, &shape, args, 1), "launching") && all;
    all = tried(s, kit_launch(queue, twice, 1, 1, args, 1), "launching an instance") && all;
    all = tried(s, gb_queue_download(queue, s->out, s->buffers[0], 0, 256), "downloading") && all;
    if (finish(s, queue, "shared memory") && all && !s->scene->failures)
        check(s, s->out, 64, turned, "turned");
}

/* upload, fill, shift, turn on its own, and back through pinned memory. */
static bool fill_graph(stage *s, gb_graph *graph, int *by)
{
    int n = SMALL, seven = 7;
    gb_launch shape = {.grid = {(SMALL + 255) / 256, 1, 1}, .block = {256, 1, 1}};
    gb_launch turned_shape = {.grid = {1, 1, 1}, .block = {64, 1, 1}, .shared_bytes = 60000};
    gb_kernel *shift = gb_module_kernel(s->module, "shift");
    gb_kernel *turn = gb_module_kernel(s->module, "turn");
    gb_arg number = KIT_VALUE(n), add = KIT_VALUE(*by), x = KIT_BUFFER(s->buffers[0]);
    gb_arg y = KIT_BUFFER(s->buffers[1]), u = KIT_BUFFER(s->buffers[3]);
    gb_place in = {NULL, 0, s->in}, out = {NULL, 0, s->out};
    gb_place at_x = {s->buffers[0], 0, NULL}, at_y = {s->buffers[1], 0, NULL};
    gb_place at_pinned = {s->buffers[2], 0, NULL};
    bool all = tried(s, gb_graph_add_copy(graph, SMALL * sizeof(int)), "adding a copy");
    all = tried(s, gb_graph_add_fill(graph, &seven, 4, SMALL), "adding a fill") && all;
    all = tried(s, gb_graph_add_launch(graph, shift, &shape), "adding a launch") && all;
    all = tried(s, gb_graph_add_launch(graph, turn, &turned_shape), "adding a launch") && all;
    all = tried(s, gb_graph_add_copy(graph, SMALL * sizeof(int)), "adding a copy") && all;
    all = tried(s, gb_graph_add_copy(graph, SMALL * sizeof(int)), "adding a copy") && all;
    if (!all) return false;
    int rcs[] = {gb_graph_set_from(graph, 0, &in),         gb_graph_set_to(graph, 0, &at_x),
                 gb_graph_set_to(graph, 1, &at_y),         gb_graph_set_param(graph, 2, 0, &x),
                 gb_graph_set_param(graph, 2, 1, &y),      gb_graph_set_param(graph, 2, 2, &add),
                 gb_graph_set_param(graph, 2, 3, &number), gb_graph_set_param(graph, 3, 0, &u),
                 gb_graph_set_from(graph, 4, &at_y),       gb_graph_set_to(graph, 4, &at_pinned),
                 gb_graph_set_from(graph, 5, &at_pinned),  gb_graph_set_to(graph, 5, &out)};
    for (size_t i = 0; i < sizeof rcs / sizeof *rcs; i++) all = tried(s, rcs[i], "setting") && all;
    return all;
}

/* One by one, built, as it was, with another number, with other memory. */
static void replays(stage *s)
{
    int by = 7;
    gb_graph *graph = NULL;
    if (!tried(s, gb_graph_open(&graph, s->device), "opening a graph")) return;
    bool all = fill_graph(s, graph, &by);
    for (int run = 0; run < 6 && all; run++) {
        gb_arg add = KIT_VALUE(by), y = KIT_BUFFER(s->buffers[run < 4 ? 1 : 4]);
        gb_place at_y = {y.buffer, 0, NULL};
        by = run < 3 ? 7 : 8;
        memset(s->out, 0, SMALL * sizeof(int));
        all = tried(s, gb_graph_set_param(graph, 2, 2, &add), "setting");
        all = tried(s, gb_graph_set_param(graph, 2, 1, &y), "setting") && all;
        all = tried(s, gb_graph_set_from(graph, 4, &at_y), "setting") && all;
        all = tried(s, gb_graph_set_to(graph, 1, &at_y), "setting") && all;
        all = tried(s, gb_queue_run(s->queues[run % 2], graph), "running a graph") && all;
        bool ended = finish(s, s->queues[run % 2], "a graph");
        for (int i = 0; i < SMALL && all && ended && !s->scene->failures; i++)
            if (s->out[i] != i + by + 1) {
                complain(s, "run %d: [%d] is %d, not %d", run, i, s->out[i], i + by + 1);
                break;
            }
    }
    gb_graph_stats stats;
    gb_graph_get_stats(graph, &stats);
    s->scene->fallbacks = (int)stats.fallbacks;
    s->scene->replays = (int)stats.replays;
    if (stats.fallbacks && !*stats.why) complain(s, "a fallback without a reason");
    gb_graph_close(graph);
}

static int nothing(int i)
{
    return 0;
}

/* Memory of one owner goes to others: cleared, and used on another queue before it can be clear. */
static void change_of_hands(stage *s)
{
    static const gb_buffer_kind kinds[] = {GB_BUFFER_DEVICE, GB_BUFFER_PINNED, GB_BUFFER_UNIFIED};
    const int seven = 7;
    for (int i = 0; i < 6; i++) {
        gb_buffer *first = NULL, *next = NULL;
        size_t bytes = SMALL * sizeof(int);
        gb_buffer_spec spec = {.bytes = bytes, .kind = kinds[i % 3], .owner = (uint64_t)i};
        bool all = tried(s, gb_buffer_rent(&first, s->device, &spec), "renting");
        if (first)
            all = tried(s, gb_queue_fill(s->queues[0], first, 0, &seven, 4, SMALL), "filling");
        gb_buffer_unref(first);
        all = finish(s, s->queues[0], "a fill") && all;
        spec.owner += 100;
        all = tried(s, gb_buffer_rent(&next, s->device, &spec), "renting") && all;
        memset(s->out, 1, bytes);
        if (next)
            all =
                tried(s, gb_queue_download(s->queues[1], s->out, next, 0, bytes), "downloading") &&
                all;
        gb_buffer_unref(next);
        all = finish(s, s->queues[1], "rented memory") && all;
        if (all && !s->scene->failures) check(s, s->out, SMALL, nothing, "memory of another owner");
    }
}

static void globals(stage *s)
{
    gb_buffer *added = NULL;
    int value = 0;
    bool all = tried(s, gb_module_global(s->module, "added", &added, NULL), "finding a global");
    if (all) all = tried(s, gb_queue_download(s->queues[0], &value, added, 0, 4), "downloading");
    if (finish(s, s->queues[0], "a global") && all && value != 1) complain(s, "added is %d", value);
}

/* Whatever fails: as the software library makes them up, or unknown. */
static void look_at_figures(stage *s, const gb_device_info *info)
{
    gb_device_figures now;
    gb_device_get_figures(s->device, &now);
    bool possible = now.memory_used >= -1 && now.memory_used <= info->memory_total;
    if (!possible || (now.utilization != -1 && now.utilization != 50) ||
        (now.temperature != -1 && now.temperature != 40) ||
        (now.power_mw != -1 && now.power_mw != 100000))
        complain(s, "figures: %lld bytes, %d %%, %d C, %d mW", (long long)now.memory_used,
                 now.utilization, now.temperature, now.power_mw);
}

static void play(stage *s)
{
    gb_device_info info;
    if (!find_device(s)) return;
    bool all = open_all(s);
    all = compile(s) && all;
    gb_device_get_info(s->device, &info);
    look_at_figures(s, &info);
    if (!all) return;
    two_queues(s, SMALL, s->buffers[0], s->buffers[1]);
    two_queues(s, LARGE, s->buffers[4], s->buffers[5]);
    kinds_of_memory(s);
    shared_memory(s);
    globals(s);
    change_of_hands(s);
    replays(s);
}

static void take_down(stage *s)
{
    for (int i = 0; i < 2; i++)
        if (s->events[i]) gb_event_close(s->events[i]);
    for (int i = 0; i < QUEUES; i++)
        if (s->queues[i]) gb_queue_close(s->queues[i]);
    for (int i = 0; i < BUFFERS; i++)
        if (s->buffers[i]) gb_buffer_unref(s->buffers[i]);
    if (s->module) gb_module_unref(s->module);
    gb_gpu_close(s->gpu);
}

void kit_scene_run(kit_scene *scene, const char *cache)
{
    stage s = {.scene = scene};
    memset(scene, 0, sizeof *scene);
    gb_mem_init(&s.mem, "scene", NULL, 0);
    s.in = malloc(LARGE * sizeof(int));
    s.out = malloc(LARGE * sizeof(int));
    for (int i = 0; i < LARGE; i++) s.in[i] = i;
    bool owns = getenv("GB_SCENE_OWNS") != NULL;
    bool pool = getenv("GB_SCENE_DRIVER_POOL") != NULL;
    gb_gpu_config config = {.mem = &s.mem,
                            .cache_dir = cache,
                            .threads = 1,
                            .owns_devices = owns,
                            .memory_pool_bytes = pool ? GB_POOL_DRIVER : 0};
    if (tried(&s, gb_gpu_open(&s.gpu, &config), "opening")) {
        play(&s);
        take_down(&s);
    }
    free(s.in);
    free(s.out);
    gb_mem_fini(&s.mem);
}
