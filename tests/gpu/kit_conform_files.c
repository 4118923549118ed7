/* Files into buffers and back: what is in them, and what goes wrong with them. */
#include "kit_conform.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_ROOM = 256, AT_ONCE = 6 };

typedef struct files {
    conform *c;
    char dir[PATH_ROOM];
    char path[2 * PATH_ROOM];
} files;

static void files_open(files *f, conform *c)
{
    f->c = c;
    snprintf(f->dir, sizeof f->dir, "%s/filesXXXXXX", GB_BINARY_DIR);
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/one", f->dir);
}

/* How many files the folder has; they are removed. */
static int files_sweep(const files *f)
{
    DIR *dir = opendir(f->dir);
    int count = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[2 * PATH_ROOM + 16];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", f->dir, entry->d_name);
        assert_int_equal(unlink(path), 0);
        count++;
    }
    closedir(dir);
    return count;
}

static void files_close(const files *f)
{
    files_sweep(f);
    assert_int_equal(rmdir(f->dir), 0);
}

static unsigned char *noise(conform *c, size_t bytes)
{
    unsigned char *out = malloc(bytes + 8);
    assert_non_null(out);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = kit_random(&c->seed);
        memcpy(out + i, &word, 8);
    }
    return out;
}

static int end(kit_op *op, int started, char *text, size_t room)
{
    int rc = started == GB_OP_PENDING ? kit_op_wait(op) : started;
    if (rc < 0 && text) snprintf(text, room, "%s", started < 0 ? gb_err_detail() : op->op.detail);
    kit_op_fini(op);
    return rc;
}

static int load(gb_buffer *to, size_t offset, size_t bytes, const char *path, uint64_t from,
                char *text, size_t room)
{
    kit_op op;
    kit_op_init(&op);
    return end(&op, gb_buffer_load(to, offset, bytes, path, from, &op.op), text, room);
}

static int save(gb_buffer *from, size_t offset, size_t bytes, const char *path, char *text,
                size_t room)
{
    kit_op op;
    kit_op_init(&op);
    return end(&op, gb_buffer_save(from, offset, bytes, path, &op.op), text, room);
}

/* Every size around sectors and pieces; ranges that begin and end anywhere. */
void conform_files(conform *c)
{
    static const size_t sizes[] = {0,       1,       511,     4095,     4096,    4097,
                                   1000003, 8388608, 8388609, 16777215, 20000001};
    files f;
    files_open(&f, c);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t bytes = sizes[i];
        unsigned char *in = noise(c, bytes), *out = malloc(bytes + 8);
        gb_buffer *x = conform_buffer(c, in, bytes + 8), *y = conform_buffer(c, NULL, bytes + 8);
        assert_int_equal(save(x, 0, bytes, f.path, NULL, 0), 0);
        struct stat there;
        assert_int_equal(stat(f.path, &there), 0);
        assert_int_equal((size_t)there.st_size, bytes);
        assert_int_equal(load(y, 0, bytes, f.path, 0, NULL, 0), 0);
        conform_read(c, y, out, bytes + 8);
        assert_memory_equal(out, in, bytes);
        assert_int_equal(out[bytes], 0xEE);
        for (int k = 0; k < 4 && bytes > 16; k++) {
            size_t first = kit_random(&c->seed) % bytes;
            size_t count = kit_random(&c->seed) % (bytes - first);
            size_t at = kit_random(&c->seed) % (bytes - count);
            assert_int_equal(load(y, at, count, f.path, first, NULL, 0), 0);
            conform_read(c, y, out, bytes);
            assert_memory_equal(out + at, in + first, count);
            assert_int_equal(save(x, first, count, f.path, NULL, 0), 0);
            assert_int_equal(load(y, at, count, f.path, 0, NULL, 0), 0);
            conform_read(c, y, out, bytes);
            assert_memory_equal(out + at, in + first, count);
            assert_int_equal(save(x, 0, bytes, f.path, NULL, 0), 0);
        }
        gb_buffer_unref(x);
        gb_buffer_unref(y);
        free(in);
        free(out);
    }
    for (int i = 0; i < 20; i++) { /* a buffer that may still be being cleared */
        unsigned char *in = noise(c, 4096), out[4096];
        gb_buffer *x = conform_buffer(c, in, 4096), *y;
        assert_int_equal(save(x, 0, 4096, f.path, NULL, 0), 0);
        assert_int_equal(gb_buffer_open(&y, c->device, 4096 + (size_t)i * 4096, GB_BUFFER_DEVICE),
                         0);
        assert_int_equal(load(y, 0, 4096, f.path, 0, NULL, 0), 0);
        conform_read(c, y, out, 4096);
        assert_memory_equal(out, in, 4096);
        gb_buffer_unref(x);
        gb_buffer_unref(y);
        free(in);
    }
    assert_int_equal(files_sweep(&f), 1);
    files_close(&f);
    gb_device_counts counts; /* where the test says so, no byte went through the host */
    gb_device_get_counts(c->device, &counts);
    assert_true(counts.files > 0 && counts.files_direct <= counts.files);
    bool direct = getenv("GB_CONFORM_DIRECT") && strcmp(c->backend, "software") == 0;
    if (direct) assert_true(counts.files_direct >= counts.files - 3); /* but for empty ones */
}

static void expect(int rc, int want, const char *text, const char *part)
{
    if (rc != want) fail_msg("%s, not %s: %s", gb_err_name(rc), gb_err_name(want), text);
    if (!strstr(text, part)) fail_msg("not in the text: %s: %s", part, text);
}

void conform_files_wrong(conform *c)
{
    enum { BYTES = 4 << 20 };
    files f;
    files_open(&f, c);
    char text[600], other[4 * PATH_ROOM];
    unsigned char *in = noise(c, BYTES), *out = malloc(BYTES);
    gb_buffer *x = conform_buffer(c, in, BYTES);
    expect(load(x, 0, 10, f.path, 0, text, sizeof text), GB_ENOENT, text, "cannot open");
    expect(load(x, 0, 10, f.dir, 0, text, sizeof text), GB_EINVAL, text, "no regular file");
    expect(save(x, 0, 10, f.dir, text, sizeof text), GB_EINVAL, text, "no regular file");
    expect(save(x, 0, 10, "/dev/full", text, sizeof text), GB_EINVAL, text, "no regular file");
    expect(load(x, 0, 10, "", 0, text, sizeof text), GB_EINVAL, text, "not empty");
    expect(load(x, 0, BYTES + 1, f.path, 0, text, sizeof text), GB_EINVAL, text, "of a buffer of");
    assert_int_equal(save(x, 0, 1000, f.path, NULL, 0), 0);
    expect(load(x, 0, 1001, f.path, 0, text, sizeof text), GB_EINVAL, text,
           "is too short: it has 1000 bytes, 0 .. 1001 are wanted");
    expect(load(x, 0, 1, f.path, 1000, text, sizeof text), GB_EINVAL, text, "is too short");
    snprintf(other, sizeof other, "%s/below", f.path);
    expect(save(x, 0, 10, other, text, sizeof text), GB_ENOENT, text, "Not a directory");
    /* a file whose size is a lie, as one that others cut meanwhile */
    if (access("/sys/devices/system/cpu/online", R_OK) == 0)
        expect(load(x, 0, 4096, "/sys/devices/system/cpu/online", 0, text, sizeof text),
               GB_ECONFLICT, text, "changed while it was read");
    /* a full disk leaves what was there, and nothing else */
    struct rlimit old, small = {1 << 20, 1 << 20};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = save(x, 0, BYTES, f.path, text, sizeof text);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    expect(rc, GB_EQUOTA, text, "cannot write");
    gb_buffer *y = conform_buffer(c, NULL, 1000);
    assert_int_equal(load(y, 0, 1000, f.path, 0, NULL, 0), 0);
    conform_read(c, y, out, 1000);
    assert_memory_equal(out, in, 1000);
    /* one that was given up before it began */
    kit_op op;
    kit_op_init(&op);
    atomic_store(&op.op.cancelled, 1);
    assert_int_equal(end(&op, gb_buffer_save(x, 0, BYTES, f.path, &op.op), NULL, 0), GB_ECANCELED);
    assert_int_equal(files_sweep(&f), 1);
    gb_buffer_unref(x);
    gb_buffer_unref(y);
    free(in);
    free(out);
    files_close(&f);
}

typedef struct writer {
    char path[2 * PATH_ROOM];
    atomic_bool stop, ended;
} writer;

static void *append(void *arg)
{
    writer *w = arg;
    int fd = open(w->path, O_WRONLY | O_APPEND);
    while (fd >= 0 && !atomic_load(&w->stop) && write(fd, "more", 4) == 4) sched_yield();
    if (fd >= 0) close(fd);
    atomic_store(&w->ended, true);
    return NULL;
}

/* Somebody writes the file while it is read, unless the scheduler keeps him from it: a read without
 * a write is a good one. */
void conform_files_changing(conform *c)
{
    enum { BYTES = 64 << 20 };
    files f;
    files_open(&f, c);
    char text[600];
    gb_buffer *x = conform_buffer(c, NULL, BYTES);
    assert_int_equal(save(x, 0, BYTES, f.path, NULL, 0), 0);
    writer w;
    memcpy(w.path, f.path, sizeof w.path);
    atomic_init(&w.stop, false);
    atomic_init(&w.ended, false);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, append, &w), 0);
    int rc;
    do rc = load(x, 0, BYTES, f.path, 0, text, sizeof text);
    while (rc == 0 && !atomic_load(&w.ended));
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    expect(rc, GB_ECONFLICT, text, "changed while it was read");
    gb_buffer_unref(x);
    files_close(&f);
}

void conform_files_at_once(conform *c)
{
    enum { BYTES = 9 << 20 };
    files f;
    files_open(&f, c);
    unsigned char *in = noise(c, BYTES), *out = malloc(BYTES);
    gb_buffer *x = conform_buffer(c, in, BYTES), *to[AT_ONCE];
    kit_op ops[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++) {
        kit_op_init(&ops[i]);
        assert_int_equal(gb_buffer_save(x, 0, BYTES, f.path, &ops[i].op), GB_OP_PENDING);
    }
    for (int i = 0; i < AT_ONCE; i++) assert_int_equal(end(&ops[i], GB_OP_PENDING, NULL, 0), 0);
    for (int i = 0; i < AT_ONCE; i++) {
        kit_op_init(&ops[i]);
        to[i] = conform_buffer(c, NULL, BYTES);
        assert_int_equal(gb_buffer_load(to[i], 0, BYTES, f.path, 0, &ops[i].op), GB_OP_PENDING);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        assert_int_equal(end(&ops[i], GB_OP_PENDING, NULL, 0), 0);
        conform_read(c, to[i], out, BYTES);
        assert_memory_equal(out, in, BYTES);
        gb_buffer_unref(to[i]);
    }
    assert_int_equal(files_sweep(&f), 1);
    gb_buffer_unref(x);
    free(in);
    free(out);
    files_close(&f);
}
