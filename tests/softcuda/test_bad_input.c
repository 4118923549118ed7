/* What users and machines get wrong, through the cuda backend over the software driver: each ends
 * with an error that names what it is about, leaves nothing behind, and leaves the rest working.
 * Each case is a process of its own, for it has its own driver. (Driver calls that fail:
 * test_walk.c; libraries that are none: tests/gpu/test_cuda_api.c.) */
#include "kit_case.h"
#include "kit_engine.h"

#include "base/err.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NOWHERE "/nowhere/lib.so.1"

typedef struct host {
    gb_mem mem;
    gb_gpu *gpu;
    gb_device *device;    /* the first software one, or NULL */
    gb_queue *queue;      /* of it */
    gb_gpu_config config; /* owns_devices and bound_ns may be set before it is opened */
    gb_alloc_fn *alloc;   /* too */
    char cache[256];
} host;

/* ---- in the process of a case: what happens is printed ---- */

static int failures;

#define expect(what)                                                                               \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            printf("line %d: not so: %s\n", __LINE__, #what);                                      \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

static void said(const char *what, int rc, const char *text)
{
    printf("%s: %s: %s\n", what, rc < 0 ? gb_err_name(rc) : "worked", rc < 0 ? text : "");
}

static void open_host(host *h, const char *cache)
{
    gb_gpu_config config = h->config;
    gb_alloc_fn *alloc = h->alloc;
    memset(h, 0, sizeof *h);
    snprintf(h->cache, sizeof h->cache, "%s", cache ? cache : GB_BINARY_DIR "/bad-XXXXXX");
    if (!cache && !mkdtemp(h->cache)) exit(3);
    gb_mem_init(&h->mem, "bad input", NULL, 0);
    if (alloc) gb_mem_set_alloc(&h->mem, alloc, NULL);
    config.mem = &h->mem;
    config.cache_dir = h->cache;
    config.threads = 1;
    if (gb_gpu_open(&h->gpu, &config) < 0) exit(3);
    int count = gb_gpu_device_count(h->gpu);
    printf("%d devices\n", count);
    if (count == 1) printf("%s\n", gb_err_detail()); /* why only the cpu */
    for (int i = 0; i < count && !h->device; i++) {
        gb_device_info info;
        gb_device_get_info(gb_gpu_device(h->gpu, i), &info);
        if (strcmp(info.backend, "software") == 0) h->device = gb_gpu_device(h->gpu, i);
    }
    if (h->device) expect(gb_queue_open(&h->queue, h->device) == 0);
}

static void close_host(host *h, bool cache_too)
{
    char path[600];
    if (h->queue) gb_queue_close(h->queue);
    gb_gpu_close(h->gpu);
    gb_mem_fini(&h->mem);
    DIR *dir = cache_too ? opendir(h->cache) : NULL;
    for (struct dirent *at; dir && (at = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", h->cache, at->d_name);
        unlink(path);
    }
    if (dir) closedir(dir);
    if (cache_too) rmdir(h->cache);
}

static gb_module *compile(host *h, const char *source)
{
    gb_module_spec spec = {.name = "bad.cu", .source = source, .source_bytes = strlen(source)};
    gb_module *module = NULL;
    kit_op op;
    kit_op_init(&op);
    int rc = gb_module_open(&module, h->device, &spec, &op.op);
    expect(rc == GB_OP_PENDING);
    rc = kit_op_wait(&op);
    said("compiling", rc, op.op.detail ? op.op.detail : "");
    kit_op_fini(&op);
    if (rc == 0) return module;
    gb_module_unref(module);
    return NULL;
}

static int finish(host *h, gb_queue *queue, const char *what)
{
    char text[1024] = "";
    int rc = kit_finish(queue, text, sizeof text);
    said(what, rc, text);
    return rc;
}

static const char set_source[] = "extern \"C\" __global__ void set(int *x, int to) { *x = to; }\n";

/* The device does what it should: a kernel, or a fill where there is no module. */
static void works(host *h, gb_module *module)
{
    int to = 7, got = 0;
    unsigned char zero = 0;
    gb_buffer *x = NULL;
    expect(gb_buffer_open(&x, h->device, sizeof to, GB_BUFFER_DEVICE) == 0);
    gb_arg args[] = {KIT_BUFFER(x), KIT_VALUE(to)};
    int rc = module ? kit_launch(h->queue, gb_module_kernel(module, "set"), 1, 1, args, 2)
                    : gb_queue_fill(h->queue, x, 0, &zero, 1, sizeof to);
    expect(rc == 0);
    expect(gb_queue_download(h->queue, &got, x, 0, sizeof got) == 0);
    expect(finish(h, h->queue, "the rest") == 0);
    expect(got == (module ? 7 : 0));
    gb_buffer_unref(x);
}

static void only_look(void)
{
    host h = {0};
    open_host(&h, NULL);
    expect(!h.device);
    close_host(&h, true);
}

static void compile_only(const char *source)
{
    host h = {0};
    open_host(&h, NULL);
    gb_module *module = compile(&h, source);
    works(&h, module);
    if (module) gb_module_unref(module);
    close_host(&h, true);
}

static void set(void)
{
    compile_only(set_source);
}

static void half(void)
{
    compile_only("#include <cuda_fp16.h>\nextern \"C\" __global__ void f(__half *x) { }\n");
}

static void device_index(void)
{
    host h = {0};
    open_host(&h, NULL);
    expect(!gb_gpu_device(h.gpu, 99));
    printf("%s\n", gb_err_detail());
    expect(!gb_gpu_device(h.gpu, -1));
    printf("%s\n", gb_err_detail());
    works(&h, NULL);
    close_host(&h, true);
}

/* 1 MiB of device memory. What was given back just now counts. */
static void memory(void)
{
    static const gb_buffer_kind kinds[] = {GB_BUFFER_DEVICE, GB_BUFFER_UNIFIED};
    host h = {0};
    open_host(&h, NULL);
    for (int i = 0; i < 20; i++) {
        gb_buffer *first = NULL, *second = NULL;
        expect(gb_buffer_open(&first, h.device, 600 << 10, kinds[i % 2]) == 0);
        int rc = gb_buffer_open(&second, h.device, 600 << 10, kinds[i % 2]);
        expect(rc == GB_ENOMEM);
        if (i == 0) said("too much", rc, gb_err_detail());
        gb_buffer_unref(first);
    }
    gb_buffer *all = NULL;
    int rc = gb_buffer_open(&all, h.device, SIZE_MAX, GB_BUFFER_DEVICE);
    said("everything", rc, gb_err_detail());
    works(&h, NULL);
    close_host(&h, true);
}

static void shapes(void)
{
    static const gb_launch all[] = {
        {.grid = {0, 1, 1}, .block = {1, 1, 1}},
        {.grid = {1, 1, 1}, .block = {0, 1, 1}},
        {.grid = {1, 1, 1}, .block = {4096, 1, 1}},
        {.grid = {1, 1, 1}, .block = {1u << 16, 1u << 16, 64}}, /* 2^38 threads */
        {.grid = {1, 1, 1}, .block = {1, 1, 65}},
        {.grid = {UINT32_MAX, 1, 1}, .block = {1, 1, 1}},
        {.grid = {1, 65536, 1}, .block = {1, 1, 1}},
        {.grid = {1, 1, 65536}, .block = {1, 1, 1}},
        {.grid = {1, 1, 1}, .block = {1, 1, 1}, .shared_bytes = 1u << 20},
    };
    host h = {0};
    int to = 1;
    gb_buffer *x = NULL;
    open_host(&h, NULL);
    gb_module *module = compile(&h, set_source);
    expect(gb_buffer_open(&x, h.device, 4, GB_BUFFER_DEVICE) == 0);
    gb_arg args[] = {KIT_BUFFER(x), KIT_VALUE(to)};
    gb_kernel *kernel = gb_module_kernel(module, "set");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int rc = gb_queue_launch(h.queue, kernel, &all[i], args, 2);
        expect(rc == GB_EINVAL && strstr(gb_err_detail(), "kernel 'set'"));
        said("shape", rc, gb_err_detail());
    }
    works(&h, module);
    gb_buffer_unref(x);
    gb_module_unref(module);
    close_host(&h, true);
}

static const char fatal_source[] = "extern \"C\" __global__ void fatal(volatile int *x)\n"
                                   "{\n"
                                   "    if (*x == 1) __trap();\n"
                                   "    while (*x == 2) { }\n"
                                   "}\n";

/* The launch and what waits on another queue of the device, for it and for nothing of it: all end;
 * what comes later is refused, and the other device is not concerned. */
static void lose(host *h, int how, int want)
{
    gb_buffer *x = NULL, *none = NULL;
    gb_event *event = NULL;
    gb_queue *other = NULL, *third = NULL, *fourth = NULL;
    int got = -1;
    gb_module *module = compile(h, fatal_source);
    expect(gb_buffer_open(&x, h->device, 4, GB_BUFFER_DEVICE) == 0);
    expect(gb_queue_open(&other, h->device) == 0 && gb_queue_open(&third, h->device) == 0);
    expect(gb_event_open(&event, h->device) == 0);
    expect(gb_queue_upload(h->queue, x, 0, &how, 4) == 0);
    expect(finish(h, h->queue, "uploading") == 0);
    gb_arg args[] = {KIT_BUFFER(x)};
    gb_kernel *kernel = gb_module_kernel(module, "fatal");
    expect(kit_launch(h->queue, kernel, 1, 1, args, 1) == 0);
    expect(gb_queue_record(h->queue, event) == 0);
    expect(gb_queue_wait_event(other, event) == 0);
    expect(gb_queue_download(other, &got, x, 0, 4) == 0);
    expect(finish(h, other, "who waits") == GB_ELOST);
    expect(finish(h, h->queue, "the launch") == want);
    expect(gb_event_query(event) == 1);
    expect(got == -1);
    expect(kit_launch(h->queue, kernel, 1, 1, args, 1) == 0);
    expect(finish(h, h->queue, "later") == GB_ELOST);
    expect(gb_queue_download(third, &got, x, 0, 4) == 0);
    expect(finish(h, third, "another queue") == GB_ELOST);
    expect(gb_buffer_open(&none, h->device, 4, GB_BUFFER_DEVICE) == GB_ELOST);
    expect(gb_queue_open(&fourth, h->device) == GB_ELOST);
    gb_event_close(event);
    gb_queue_close(other);
    gb_queue_close(third);
    gb_queue_close(h->queue);
    gb_buffer_unref(x);
    gb_module_unref(module);
    h->device = gb_gpu_device(h->gpu, 1);
    expect(gb_queue_open(&h->queue, h->device) == 0);
    works(h, NULL);
}

static void trap(void)
{
    host h = {0};
    open_host(&h, NULL);
    lose(&h, 1, GB_ELOST);
    close_host(&h, true);
}

static _Atomic bool is_short;

static void *shortly(void *user, void *block, size_t size_old, size_t size_new)
{
    if (size_new && atomic_load(&is_short)) return NULL;
    if (size_new) return realloc(block, size_new);
    free(block);
    return NULL;
}

/* A command that was taken ends with an error, though there is no memory to keep account of it. */
static void no_memory(void)
{
    unsigned char zero = 0;
    gb_buffer *x = NULL;
    host h = {.alloc = shortly};
    open_host(&h, NULL);
    works(&h, NULL); /* the blocks of its commands are kept for others */
    expect(gb_buffer_open(&x, h.device, 4, GB_BUFFER_DEVICE) == 0);
    atomic_store(&is_short, true);
    expect(gb_queue_fill(h.queue, x, 0, &zero, 1, 4) == 0);
    expect(finish(&h, h.queue, "without memory") == GB_ENOMEM);
    atomic_store(&is_short, false);
    works(&h, NULL);
    gb_buffer_unref(x);
    close_host(&h, true);
}

static void inject(const char *what)
{
    void *library = dlopen(GB_SOFTCUDA, RTLD_NOW | RTLD_NOLOAD);
    void *symbol = library ? dlsym(library, "softcuda_fail") : NULL;
    void (*tell)(const char *) = NULL;
    memcpy(&tell, &symbol, sizeof symbol);
    expect(tell != NULL);
    if (tell) tell(what);
}

/* The first question whether something has ended gets no answer. The waiter hears of it at once;
 * the copies, which dawdle, still find their memory: freeing that too early is a misuse of the
 * driver. */
static void doubt(void)
{
    enum { COPIES = 16, BYTES = 4096 };
    host h = {0};
    gb_buffer *x = NULL, *y = NULL;
    open_host(&h, NULL);
    expect(gb_buffer_open(&x, h.device, BYTES, GB_BUFFER_DEVICE) == 0);
    expect(gb_buffer_open(&y, h.device, BYTES, GB_BUFFER_PINNED) == 0);
    for (int i = 0; i < 2; i++) { /* then nobody asks any more whether x is clear */
        expect(gb_queue_copy(h.queue, x, 0, y, 0, BYTES) == 0);
        expect(finish(&h, h.queue, "clear") == 0);
    }
    inject("cuEventQuery@1=2");
    for (int i = 0; i < COPIES; i++)
        expect(gb_queue_copy(h.queue, i % 2 ? x : y, 0, i % 2 ? y : x, 0, BYTES) == 0);
    expect(finish(&h, h.queue, "copies") == GB_ELOST);
    gb_buffer_unref(x);
    gb_buffer_unref(y);
    gb_queue_close(h.queue);
    h.device = gb_gpu_device(h.gpu, 1);
    expect(gb_queue_open(&h.queue, h.device) == 0);
    works(&h, NULL);
    close_host(&h, true);
}

/* Traps until the device is lost, and waits until it is back. */
static void lose_and_wait(host *h, gb_module *module, gb_buffer *pinned)
{
    int how = 1, rc;
    gb_buffer *x = NULL, *fresh = NULL;
    expect(gb_buffer_open(&x, h->device, 4, GB_BUFFER_DEVICE) == 0);
    expect(gb_queue_upload(h->queue, x, 0, &how, 4) == 0);
    gb_arg args[] = {KIT_BUFFER(x)};
    expect(kit_launch(h->queue, gb_module_kernel(module, "fatal"), 1, 1, args, 1) == 0);
    expect(finish(h, h->queue, "the launch") == GB_ELOST);
    for (int i = 0; i < 1000 && pinned; i++) { /* memory that the host sees holds it off */
        expect(gb_buffer_open(&fresh, h->device, 4, GB_BUFFER_DEVICE) == GB_ELOST);
        expect(((int *)gb_buffer_host(pinned))[0] == 0);
    }
    gb_buffer_unref(pinned);
    while ((rc = gb_buffer_open(&fresh, h->device, 4, GB_BUFFER_DEVICE)) == GB_ELOST) sched_yield();
    expect(rc == 0);
    /* what is older than the reset */
    gb_queue *old = h->queue;
    expect(gb_queue_download(old, &how, fresh, 0, 4) == 0);
    expect(finish(h, old, "an old queue") == GB_ELOST);
    expect(gb_queue_open(&h->queue, h->device) == 0);
    expect(gb_queue_download(h->queue, &how, x, 0, 4) == 0);
    expect(finish(h, h->queue, "an old buffer") == GB_ELOST);
    args[0] = KIT_BUFFER(fresh);
    expect(kit_launch(h->queue, gb_module_kernel(module, "fatal"), 1, 1, args, 1) == 0);
    expect(finish(h, h->queue, "an old kernel") == GB_ELOST);
    gb_queue_close(old);
    gb_buffer_unref(x);
    gb_buffer_unref(fresh);
}

static void reset(void)
{
    host h = {.config.owns_devices = true};
    gb_buffer *pinned = NULL;
    gb_event *event = NULL;
    uint64_t ns;
    open_host(&h, NULL);
    gb_module *old = NULL;
    expect(gb_event_open(&event, h.device) == 0);
    for (int round = 0; round < 2; round++) {
        gb_module *module = compile(&h, fatal_source);
        expect(module != old);
        if (old) gb_module_unref(old);
        old = module;
        expect(gb_queue_record(h.queue, event) == 0 && finish(&h, h.queue, "recording") == 0);
        if (round == 0) expect(gb_buffer_open(&pinned, h.device, 4, GB_BUFFER_PINNED) == 0);
        lose_and_wait(&h, module, round == 0 ? pinned : NULL);
        expect(gb_event_elapsed(event, event, &ns) == GB_ELOST);
    }
    gb_module *module = compile(&h, set_source);
    works(&h, module);
    gb_module_unref(module);
    gb_module_unref(old);
    gb_event_close(event);
    close_host(&h, true);
}

/* Nothing can end the kernel: what it uses is left to it, and the host closes all the same. */
static void endless(void)
{
    host h = {.config.bound_ns = 50000000};
    open_host(&h, NULL);
    lose(&h, 2, GB_ETIMEDOUT);
    close_host(&h, true);
    printf("closed\n");
    fflush(stdout);
    _exit(failures ? 4 : 0); /* with the memory that is left in place */
}

static int damage_all(const char *folder)
{
    char path[600];
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *at; dir && (at = readdir(dir));) {
        const char *end = strrchr(at->d_name, '.');
        if (!end || strcmp(end, ".cuda") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, at->d_name);
        FILE *file = fopen(path, "r+b");
        fseek(file, -100, SEEK_END);
        int byte = fgetc(file);
        fseek(file, -100, SEEK_END);
        fputc(byte ^ 1, file);
        fclose(file);
        count++;
    }
    if (dir) closedir(dir);
    return count;
}

static void damaged_cache(void)
{
    host h = {0};
    char cache[256];
    for (int round = 0; round < 3; round++) { /* made; damaged and made again; found */
        open_host(&h, round ? cache : NULL);
        snprintf(cache, sizeof cache, "%s", h.cache);
        gb_module *module = compile(&h, set_source);
        works(&h, module);
        printf("round %d: %s\n", round, gb_module_log(module));
        gb_module_unref(module);
        close_host(&h, round == 2);
        if (round == 0) expect(damage_all(cache) == 1);
    }
}

/* ---- the cases ---- */

static const struct row {
    const char *name, *set[2][2]; /* variables of its environment */
    void (*run)(void);
    const char *want[4];
} rows[] = {
    {"no driver",
     {{"GB_CUDA_LIBRARY", NOWHERE}},
     only_look,
     {"1 devices", "no CUDA driver: GB_CUDA_LIBRARY: " NOWHERE}},
    {"old driver",
     {{"GB_SOFTCUDA_VERSION", "11080"}},
     only_look,
     {"1 devices", "is for CUDA 11.8; the oldest that works is for 12.0 (driver 525.60"}},
    {"no device",
     {{"GB_SOFTCUDA_DEVICES", "0"}},
     only_look,
     {"1 devices", "the CUDA driver", "does not start", "NO_DEVICE"}},
    {"no compiler",
     {{"GB_NVRTC_LIBRARY", NOWHERE}},
     set,
     {"compiling: ECOMPILE: no compiler for the GPU: NVRTC: GB_NVRTC_LIBRARY: " NOWHERE,
      "the rest: worked"}},
    {"refused image",
     {{"GB_SOFTCUDA_FAIL", "cuModuleLoadDataEx@1=200"}},
     set,
     {"compiling: ECOMPILE: cuda device 0: loading a module: ", "the rest: worked"}},
    {"newer PTX than the driver",
     {{"GB_SOFTCUDA_FAIL", "cuModuleLoadDataEx@1=222"}},
     set,
     {"compiling: ECOMPILE: cuda device 0: loading a module: ",
      "this driver is older than the NVRTC that made the PTX", "the rest: worked"}},
    {"old architecture",
     {{"GB_SOFTCUDA_ARCH", "61"}},
     set,
     {"compiling: ECOMPILE: NVRTC ", "does not compile for sm_61: its oldest architecture is sm_75",
      "the rest: worked"}},
    {"new architecture",
     {{"GB_SOFTCUDA_ARCH", "125"}},
     set,
     {"compiling: worked", "the rest: worked"}},
    {"toolkit header",
     {{NULL}},
     half,
     {"compiling: ECOMPILE: bad.cu:1", "cuda_fp16.h", "comes with the CUDA toolkit: install that",
      "the rest: worked"}},
    {"device index",
     {{NULL}},
     device_index,
     {"no device 99: there are 3 (0 .. 2)", "no device -1: there are 3 (0 .. 2)"}},
    {"memory",
     {{"GB_SOFTCUDA_MEMORY", "1M"}},
     memory,
     {"too much: ENOMEM: device memory: 614400 bytes asked, 434176 of 1048576 bytes free on "
      "device 0",
      "everything: ENOMEM: a buffer of 18446744073709551615 bytes cannot exist",
      "the rest: worked"}},
    {"no memory", {{NULL}}, no_memory, {"without memory: ENOMEM: ", "the rest: worked"}},
    {"shapes",
     {{NULL}},
     shapes,
     {"a block of 65536 x 65536 x 64 is over 1024 threads", "block.z is over 64",
      "a grid of 1 x 65536 x 1 is over", "1048576 bytes of shared memory are over"}},
    {"trap",
     {{NULL}},
     trap,
     {"the launch: ELOST: cuda device 0", "under way: kernel 'fatal'", "the rest: worked"}},
    {"doubt",
     {{"GB_SOFTCUDA_DELAY_US", "20000"}},
     doubt,
     {"copies: ELOST: cuda device 0: running a queue", "the rest: worked"}},
    {"reset",
     {{NULL}},
     reset,
     {"an old queue: ELOST: cuda device 0", "it was reset since then: open anew",
      "an old kernel: ELOST", "the rest: worked"}},
    {"endless kernel",
     {{"GB_SOFTCUDA_LEAKS", "0"}},
     endless,
     {"the launch: ETIMEDOUT: cuda device 0: kernel 'fatal' passed its bound of 50 ms",
      "who waits: ELOST", "the rest: worked", "closed"}},
    {"damaged cache",
     {{NULL}},
     damaged_cache,
     {"round 1: warning: compiled again: the cache entry", "is corrupt (checksum)", "round 2: \n"}},
};

enum { ROWS = sizeof rows / sizeof *rows };

static void run_row(void **state)
{
    static kit_outcome out;
    const struct row *row = *state;
    char name[64];
    for (int i = 0; i < 2 && row->set[i][0]; i++) setenv(row->set[i][0], row->set[i][1], 1);
    snprintf(name, sizeof name, "case %s", row->name);
    kit_case_run(name, &out);
    for (int i = 0; i < 2 && row->set[i][0]; i++) unsetenv(row->set[i][0]);
    kit_case_use_softcuda();
    const char *wrong = kit_case_verdict(&out);
    if (wrong) fail_msg("%s (status 0x%x)\n%s", wrong, out.status, out.output);
    for (int i = 0; i < 4 && row->want[i]; i++)
        if (!strstr(out.output, row->want[i]))
            fail_msg("'%s' is not in\n%s", row->want[i], out.output);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[ROWS];
    for (int i = 0; i < ROWS; i++) {
        if (strncmp(argv[0], "case ", 5) == 0 && strcmp(argv[0] + 5, rows[i].name) == 0) {
            rows[i].run();
            return failures ? 4 : 0;
        }
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    }
    kit_case_use_softcuda();
    return cmocka_run_group_tests_name("bad input", tests, NULL, NULL);
}
