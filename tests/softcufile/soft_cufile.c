/* cuFile over a software driver ($GB_CUDA_LIBRARY), for tests: it moves bytes through memory of its
 * own, in the context that is current, and wants what the real one wants: the driver opened, a file
 * handle of its own, a file descriptor without the page cache, a balance of all it gave.
 *
 *   GB_SOFTCUFILE_FAIL=NAME@N    the Nth call of NAME fails (N "*": every one); a read or write
 * that fails has moved half of its bytes At the end of the process it prints what is still open, or
 * how many calls of each there were (GB_SOFTCUFILE_COUNTS), and a leak ends the process with 85.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct result {
    int code, driver;
} result;

typedef struct description {
    int type;
    union {
        int fd;
        void *handle;
    } of;
    const void *operations;
} description;

typedef struct handle {
    int fd;
} handle;

enum { FAILED = 5001, CALLS = 8, NAME_BYTES = 40 };

static const char *const names[CALLS] = {
    "cuFileDriverOpen",  "cuFileDriverClose",   "cuFileHandleRegister", "cuFileHandleDeregister",
    "cuFileBufRegister", "cuFileBufDeregister", "cuFileRead",           "cuFileWrite"};

static struct {
    pthread_mutex_t lock;
    unsigned calls[CALLS];
    int open, handles, buffers, misuses;
} soft = {.lock = PTHREAD_MUTEX_INITIALIZER};

typedef int copy_fn(uint64_t to, uint64_t from, size_t bytes, void *stream);
typedef int wait_fn(void *stream);
typedef int find_fn(const char *name, void **out, int level, uint64_t flags, void *status);

static void *driver_call(const char *name)
{
    void *library = dlopen(getenv("GB_CUDA_LIBRARY"), RTLD_NOW | RTLD_NOLOAD);
    void *symbol = library ? dlsym(library, "cuGetProcAddress_v2") : NULL, *out = NULL;
    find_fn *find;
    memcpy(&find, &symbol, sizeof find);
    if (find) find(name, &out, 12000, 0, NULL);
    if (library) dlclose(library);
    return out;
}

/* Does this call fail on purpose. */
static int enter(int call)
{
    const char *rule = getenv("GB_SOFTCUFILE_FAIL");
    size_t size = strlen(names[call]);
    pthread_mutex_lock(&soft.lock);
    unsigned count = ++soft.calls[call];
    pthread_mutex_unlock(&soft.lock);
    if (!rule || strncmp(rule, names[call], size) != 0 || rule[size] != '@') return 0;
    return rule[size + 1] == '*' || strtoul(rule + size + 1, NULL, 10) == count;
}

static void count(int *what, int more)
{
    pthread_mutex_lock(&soft.lock);
    *what += more;
    if (*what < 0) soft.misuses++;
    pthread_mutex_unlock(&soft.lock);
}

EXPORT result cuFileDriverOpen(void);
EXPORT result cuFileDriverClose(void);
EXPORT result cuFileHandleRegister(void **out, description *what);
EXPORT void cuFileHandleDeregister(void *gone);
EXPORT result cuFileBufRegister(const void *at, size_t bytes, int flags);
EXPORT result cuFileBufDeregister(const void *at);
EXPORT ssize_t cuFileRead(void *file, void *at, size_t bytes, off_t file_offset, off_t offset);
EXPORT ssize_t cuFileWrite(void *file, const void *at, size_t bytes, off_t file_offset,
                           off_t offset);

result cuFileDriverOpen(void)
{
    if (enter(0)) return (result){FAILED, 0};
    count(&soft.open, 1);
    return (result){0, 0};
}

result cuFileDriverClose(void)
{
    enter(1);
    count(&soft.open, -1);
    return (result){0, 0};
}

result cuFileHandleRegister(void **out, description *what)
{
    if (enter(2) || soft.open == 0) return (result){FAILED, 0};
    if (what->type != 1 || !(fcntl(what->of.fd, F_GETFL) & O_DIRECT)) return (result){FAILED, 0};
    handle *made = malloc(sizeof *made);
    if (!made) return (result){FAILED, 0};
    made->fd = what->of.fd;
    count(&soft.handles, 1);
    *out = made;
    return (result){0, 0};
}

void cuFileHandleDeregister(void *gone)
{
    enter(3);
    count(&soft.handles, -1);
    free(gone);
}

result cuFileBufRegister(const void *at, size_t bytes, int flags)
{
    if (enter(4)) return (result){FAILED, 0};
    count(&soft.buffers, 1);
    return (result){0, 0};
}

result cuFileBufDeregister(const void *at)
{
    enter(5);
    count(&soft.buffers, -1);
    return (result){0, 0};
}

static int copy(uint64_t to, uint64_t from, size_t bytes)
{
    copy_fn *move;
    wait_fn *wait;
    void *symbols[] = {driver_call("cuMemcpyAsync"), driver_call("cuStreamSynchronize")};
    memcpy(&move, &symbols[0], sizeof move);
    memcpy(&wait, &symbols[1], sizeof wait);
    if (!move || !wait || move(to, from, bytes, NULL) != 0 || wait(NULL) != 0) return -FAILED;
    return 0;
}

/* A descriptor of its own, with the page cache: no alignment to think of. */
static int plain(const handle *file, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
    return open(path, flags | O_CLOEXEC);
}

ssize_t cuFileRead(void *file, void *at, size_t bytes, off_t file_offset, off_t offset)
{
    int fails = enter(6);
    size_t wanted = fails ? bytes / 2 : bytes;
    char *host = malloc(wanted + 1);
    int fd = plain(file, O_RDONLY);
    ssize_t n = host && fd >= 0 ? pread(fd, host, wanted, file_offset) : -1;
    if (n > 0 &&
        copy((uint64_t)(uintptr_t)at + (uint64_t)offset, (uint64_t)(uintptr_t)host, (size_t)n) < 0)
        n = -FAILED;
    if (fd >= 0) close(fd);
    free(host);
    if (fails) errno = EIO;
    return fails ? -1 : n;
}

ssize_t cuFileWrite(void *file, const void *at, size_t bytes, off_t file_offset, off_t offset)
{
    int fails = enter(7);
    size_t wanted = fails ? bytes / 2 : bytes;
    char *host = malloc(wanted + 1);
    int fd = plain(file, O_WRONLY);
    ssize_t n = host && fd >= 0 ? 0 : -1;
    if (n == 0 &&
        copy((uint64_t)(uintptr_t)host, (uint64_t)(uintptr_t)at + (uint64_t)offset, wanted) < 0)
        n = -FAILED;
    if (n == 0) n = pwrite(fd, host, wanted, file_offset);
    if (fd >= 0) close(fd);
    free(host);
    return fails ? -FAILED : n;
}

__attribute__((destructor)) static void end(void)
{
    if (getenv("GB_SOFTCUFILE_COUNTS"))
        for (int i = 0; i < CALLS; i++) printf("%s %u\n", names[i], soft.calls[i]);
    if (soft.open == 0 && soft.handles == 0 && soft.buffers == 0 && soft.misuses == 0) return;
    fprintf(stderr, "softcufile: %d opened, %d handles, %d buffers left, %d misuses\n", soft.open,
            soft.handles, soft.buffers, soft.misuses);
    fflush(NULL);
    _exit(85);
}
