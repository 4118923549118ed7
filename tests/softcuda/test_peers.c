/* Several devices: whose memory each reaches, copies between them with and without that, urgent
 * queues, whose fault a lost device is, and what the machine says of its place. */
#include "kit_case.h"
#include "kit_engine.h"

#include "base/err.h"
#include "gpu/cuda_engine.h"

#include <dlfcn.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { COUNT = 100000, DEVICES = 3 };

static unsigned calls(const char *row)
{
    void *library = dlopen(GB_SOFTCUDA, RTLD_NOW | RTLD_NOLOAD);
    unsigned (*count)(const char *) = NULL;
    void *symbol = library ? dlsym(library, "softcuda_calls") : NULL;
    memcpy(&count, &symbol, sizeof symbol);
    unsigned calls = count ? count(row) : 0;
    if (library) dlclose(library);
    return calls;
}

static int data[COUNT], back[COUNT];

/* Up to device 0, over to 1, back over to 0 into another place, twice; down. */
static int copy_around(gb_gpu *gpu, bool urgent)
{
    gb_device *first = gb_gpu_device(gpu, 0), *second = gb_gpu_device(gpu, 1);
    gb_queue *here = NULL, *there = NULL;
    gb_buffer *a = NULL, *b = NULL;
    int rc = gb_queue_open_urgent(&here, first, urgent);
    if (rc == 0) rc = gb_queue_open_urgent(&there, second, false);
    if (rc == 0) rc = gb_buffer_open(&a, first, sizeof data, GB_BUFFER_DEVICE);
    if (rc == 0) rc = gb_buffer_open(&b, second, sizeof data, GB_BUFFER_DEVICE);
    if (rc == 0) rc = gb_queue_upload(here, a, 0, data, sizeof data);
    if (rc == 0) rc = kit_finish(here, NULL, 0);
    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = gb_queue_copy(there, b, 0, a, 0, sizeof data);
        if (rc == 0) rc = kit_finish(there, NULL, 0);
        if (rc == 0) rc = gb_queue_copy(here, a, sizeof data / 2, b, 0, sizeof data / 2);
        if (rc == 0) rc = gb_queue_copy(here, a, 0, b, sizeof data / 2, sizeof data / 2);
        if (rc == 0) rc = kit_finish(here, NULL, 0);
    }
    if (rc == 0) rc = gb_queue_download(here, back, a, 0, sizeof back);
    if (rc == 0) rc = kit_finish(here, NULL, 0);
    if (a) gb_buffer_unref(a);
    if (b) gb_buffer_unref(b);
    gb_queue_close(here);
    gb_queue_close(there);
    return rc;
}

/* One case: prints what came of it. */
static int around(void)
{
    gb_mem mem;
    gb_gpu *gpu;
    gb_device_info info;
    gb_mem_init(&mem, "peers", NULL, 0);
    const char *most = getenv("GB_TEST_MOST");
    gb_gpu_config config = {.mem = &mem, .devices_max = most ? (int)strtol(most, NULL, 10) : 0};
    config.prefer_cpu = getenv("GB_TEST_PREFER_CPU") != NULL;
    if (gb_gpu_open(&gpu, &config) < 0) return 4;
    int count = gb_gpu_device_count(gpu);
    if (gb_gpu_home(gpu) != (config.prefer_cpu ? count - 1 : 0)) printf("home WRONG ");
    printf("%d devices, peers", count);
    for (int i = 0; i < count; i++) {
        gb_device_get_info(gb_gpu_device(gpu, i), &info);
        printf(" %llx", (unsigned long long)info.peers);
        if (info.lost != GB_LOST_NOT) return 4;
    }
    for (int i = 0; i < COUNT; i++) data[i] = i * 7;
    int rc = count > 2 ? copy_around(gpu, true) : 0;
    gb_lost lost = GB_LOST_NOT; /* of whichever device it was */
    for (int i = 0; i < count; i++) {
        gb_device_get_info(gb_gpu_device(gpu, i), &info);
        if (info.lost) lost = info.lost;
    }
    bool same = memcmp(data, back, sizeof data) == 0;
    printf("; %s%s, opened %u, urgent %u, lost %d\n", rc < 0 ? gb_err_name(rc) : "copied",
           rc == 0 && count > 2 && !same ? " WRONG" : "", calls("cuCtxEnablePeerAccess"),
           calls("cuStreamCreateWithPriority"), lost);
    gb_gpu_close(gpu);
    gb_mem_fini(&mem);
    return 0;
}

static const struct row {
    const char *name, *variable, *value, *want;
} rows[] = {
    {"peers", NULL, NULL, "4 devices, peers 6 5 3 0; copied, opened 2, urgent 1, lost 0\n"},
    {"none", "GB_SOFTCUDA_PEERS", "0",
     "4 devices, peers 0 0 0 0; copied, opened 0, urgent 1, lost 0\n"},
    {"no rows", "GB_SOFTCUDA_MISSING", "cuCtxEnablePeerAccess,cuStreamCreateWithPriority",
     "4 devices, peers 0 0 0 0; copied, opened 0, urgent 0, lost 0\n"},
    {"refused", "GB_SOFTCUDA_FAIL", "cuCtxEnablePeerAccess@*=217",
     "4 devices, peers 6 5 3 0; copied, opened 2, urgent 1, lost 0\n"},
    {"not told", "GB_SOFTCUDA_FAIL", "cuDeviceCanAccessPeer@*=801",
     "4 devices, peers 0 0 0 0; copied, opened 0, urgent 1, lost 0\n"},
    {"no range", "GB_SOFTCUDA_FAIL", "cuCtxGetStreamPriorityRange@*=801",
     "4 devices, peers 6 5 3 0; copied, opened 2, urgent 0, lost 0\n"},
    {"at home on the CPU", "GB_TEST_PREFER_CPU", "1",
     "4 devices, peers 6 5 3 0; copied, opened 2, urgent 1, lost 0\n"},
    {"only two", "GB_TEST_MOST", "1", "2 devices, peers 0 0; copied, opened 0, urgent 0, lost 0\n"},
    {"a kernel's fault", "GB_SOFTCUDA_FAIL", "execute@1=700,execute@2=700",
     "4 devices, peers 6 5 3 0; ELOST, opened 0, urgent 1, lost 1\n"},
    {"one that ran too long", "GB_SOFTCUDA_FAIL", "execute@1=702,execute@2=702",
     "4 devices, peers 6 5 3 0; ELOST, opened 0, urgent 1, lost 2\n"},
    {"the device's", "GB_SOFTCUDA_FAIL", "execute@1=214,execute@2=214",
     "4 devices, peers 6 5 3 0; ELOST, opened 0, urgent 1, lost 3\n"},
};

static void run_row(void **state)
{
    static kit_outcome out;
    const struct row *row = *state;
    kit_case_use_softcuda();
    setenv("GB_SOFTCUDA_DEVICES", "3", 1);
    if (row->variable) setenv(row->variable, row->value, 1);
    kit_case_run("around", &out);
    if (row->variable) unsetenv(row->variable);
    const char *wrong = kit_case_verdict(&out);
    if (wrong) fail_msg("%s (status 0x%x)\n%s", wrong, out.status, out.output);
    assert_string_equal(out.output, row->want);
}

/* ---- what the machine says ---- */

static void put(const char *root, const char *id, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, id);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", root, id, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int remove_one(const char *path, const struct stat *state, int kind, struct FTW *at)
{
    return remove(path);
}

static void check(const char *root, const char *id, int node, const char *cpus)
{
    gb_device_info facts;
    gbi_cuda_near(root, id, &facts);
    assert_int_equal(facts.numa_node, node);
    assert_string_equal(facts.cpus, cpus);
}

static void surroundings(void **state)
{
    char root[] = GB_BINARY_DIR "/numa-XXXXXX";
    assert_non_null(mkdtemp(root));
    put(root, "0000:3b:00.0", "numa_node", "1\n");
    put(root, "0000:3b:00.0", "local_cpulist", "16-31,48-63\n");
    put(root, "0000:3c:00.0", "numa_node", "-1\n");
    put(root, "0000:3c:00.0", "local_cpulist", "0-3\n");
    put(root, "0000:3d:00.0", "numa_node", "one\n");
    put(root, "0000:3d:00.0", "local_cpulist",
        "0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38,40,42,44,46,48\n");
    check(root, "0000:3B:00.0", 1, "16-31,48-63");
    check(root, "0000:3c:00.0", -1, "0-3");
    check(root, "0000:3d:00.0", -1, "");
    check(root, "0000:99:00.0", -1, "");
    check(root, "../etc", -1, "");
    check(root, "", -1, "");
    assert_int_equal(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int main(int argc, char **argv)
{
    enum { ROWS = sizeof rows / sizeof *rows };
    struct CMUnitTest tests[ROWS + 1];
    if (strcmp(argv[0], "around") == 0) return around();
    for (int i = 0; i < ROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[ROWS] = (struct CMUnitTest){"surroundings", surroundings, NULL, NULL, NULL};
    return cmocka_run_group_tests_name("peers", tests, NULL, NULL);
}
