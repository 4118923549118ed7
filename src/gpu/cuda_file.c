/* GPUDirect Storage: the driver's cuFile moves bytes between a file and device memory without the
 * host's. It is not part of every toolkit, and refuses many file systems; whoever asks has another
 * way (storage.c). On threads that may block. */
#include "gpu/cuda_engine.h"

#include "base/err.h"
#include "gpu/front.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As cufile.h has them. A result is a code of cuFile and, where that says so, one of the driver. */
typedef struct cufile_result {
    int code, driver;
} cufile_result;

typedef void *cufile_handle;

typedef struct cufile_description {
    int type; /* OPAQUE_FD */
    union {
        int fd;
        void *handle;
    } of;
    const void *operations;
} cufile_description;

enum { OPAQUE_FD = 1, SLICE_BYTES = 16 << 20 };

#define CUFILE_TABLE(ROW)                                                                          \
    ROW(cuFileDriverOpen, cufile_result, (void))                                                   \
    ROW(cuFileDriverClose, cufile_result, (void))                                                  \
    ROW(cuFileHandleRegister, cufile_result, (cufile_handle * out, cufile_description * what))     \
    ROW(cuFileHandleDeregister, void, (cufile_handle handle))                                      \
    ROW(cuFileBufRegister, cufile_result, (const void *at, size_t bytes, int flags))               \
    ROW(cuFileBufDeregister, cufile_result, (const void *at))                                      \
    ROW(cuFileRead, ssize_t,                                                                       \
        (cufile_handle handle, void *at, size_t bytes, off_t file_offset, off_t offset))           \
    ROW(cuFileWrite, ssize_t,                                                                      \
        (cufile_handle handle, const void *at, size_t bytes, off_t file_offset, off_t offset))

struct gbi_cufile {
    void *library;
    char text[256]; /* why there is none */
#define MEMBER(name, type, parameters) type(*name) parameters;
    CUFILE_TABLE(MEMBER)
#undef MEMBER
};

static bool load(gbi_cufile *files, const char *path)
{
    struct {
        const char *name;
        size_t at;
    } rows[] = {
#define ROW(name, type, parameters) {#name, offsetof(gbi_cufile, name)},
        CUFILE_TABLE(ROW)
#undef ROW
    };
    files->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!files->library) {
        snprintf(files->text, sizeof files->text, "cuFile: %s", dlerror());
        return false;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        void *symbol = dlsym(files->library, rows[i].name);
        memcpy((char *)files + rows[i].at, &symbol, sizeof symbol);
        if (symbol) continue;
        snprintf(files->text, sizeof files->text, "cuFile: %s has no %s", path, rows[i].name);
        return false;
    }
    cufile_result rc = files->cuFileDriverOpen();
    if (rc.code == 0) return true;
    snprintf(files->text, sizeof files->text, "cuFile: it does not start: error %d", rc.code);
    return false;
}

static void drop(gbi_cufile *files)
{
    if (files->library) dlclose(files->library);
    files->library = NULL;
}

/* Once for the host. GB_ENOGPU: there is none, the detail says why. */
static int open_library(gbi_cuda *cuda, bool software, gbi_cufile **out)
{
    const char *named = getenv("GB_CUFILE_LIBRARY");
    if (!named || !*named) named = software ? NULL : "libcufile.so.0";
    if (!named) return gb_err_set(GB_ENOGPU, "cuFile: not for a software driver");
    int rc = 0;
    pthread_mutex_lock(&cuda->lock);
    if (!cuda->files) {
        cuda->files = gb_mem_zalloc(cuda->mem, sizeof *cuda->files);
        if (!cuda->files)
            rc = GB_ENOMEM;
        else if (!load(cuda->files, named))
            drop(cuda->files);
    }
    if (rc == 0 && !cuda->files->library) rc = gb_err_set(GB_ENOGPU, "%s", cuda->files->text);
    *out = cuda->files;
    pthread_mutex_unlock(&cuda->lock);
    return rc;
}

void gbi_cuda_files_close(gbi_cuda *cuda)
{
    if (!cuda->files) return;
    if (cuda->files->library) cuda->files->cuFileDriverClose();
    drop(cuda->files);
    gb_mem_free(cuda->mem, cuda->files, sizeof *cuda->files);
    cuda->files = NULL;
}

static int failed(ssize_t n, bool write)
{
    const char *what = write ? "write" : "read";
    if (n == -1) return gb_err_set(GB_EDEVICE, "cuFile: cannot %s: %s", what, strerror(errno));
    return gb_err_set(GB_EDEVICE, "cuFile: cannot %s: error %zd", what, -n);
}

static int move_bytes(gbi_cufile *files, cufile_handle handle, void *at, const gbi_file *file)
{
    for (size_t done = 0; done < file->bytes;) {
        size_t want = file->bytes - done < SLICE_BYTES ? file->bytes - done : SLICE_BYTES;
        off_t there = (off_t)(file->offset + done);
        if (atomic_load(file->cancelled)) return gb_err_set(GB_ECANCELED, "cancelled");
        ssize_t n = file->write ? files->cuFileWrite(handle, at, want, there, (off_t)done)
                                : files->cuFileRead(handle, at, want, there, (off_t)done);
        if (n < 0) return failed(n, file->write);
        if (n == 0) return gb_err_set(GB_ECONFLICT, "the file ends at byte %lld", (long long)there);
        done += (size_t)n;
    }
    return 0;
}

int gbi_cuda_buffer_file(void *self, const gb_buffer *buffer, size_t offset, const gbi_file *file)
{
    gbi_cuda_device *device = self;
    gbi_cufile *files = NULL;
    if (buffer->kind != GB_BUFFER_DEVICE || buffer->wrapped || buffer->owner)
        return gb_err_set(GB_ENOGPU, "cuFile: no device memory of ours");
    int rc = open_library(device->cuda, device->software, &files);
    if (rc == 0) rc = gbi_cuda_enter(device);
    if (rc < 0) return rc;
    if (gbi_cuda_buffer_lost(device, buffer)) {
        gbi_cuda_leave(device);
        return gbi_cuda_stale(device);
    }
    gb_cu_result clean = gbi_cuda_await_clean(device, buffer);
    if (clean != GB_CU_SUCCESS) {
        rc = gbi_cuda_failed(device, clean, "clearing a buffer");
        gbi_cuda_leave(device);
        return rc;
    }
    void *at = (void *)(uintptr_t)(buffer->memory.address + offset);
    cufile_description what = {.type = OPAQUE_FD, .of.fd = file->fd};
    cufile_handle handle = NULL;
    cufile_result result = files->cuFileHandleRegister(&handle, &what);
    if (result.code != 0)
        rc = gb_err_set(GB_EDEVICE, "cuFile: it does not take the file: error %d", result.code);
    if (rc == 0) {
        /* without it the library copies through memory of its own */
        bool registered = files->cuFileBufRegister(at, file->bytes, 0).code == 0;
        rc = move_bytes(files, handle, at, file);
        if (registered) files->cuFileBufDeregister(at);
        files->cuFileHandleDeregister(handle);
    }
    gbi_cuda_leave(device);
    return rc;
}
