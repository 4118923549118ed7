/* Files to and from buffers, on threads of their own. Two pieces of pinned memory take turns: while
 * one is read or written the other is copied. The kernel's page cache is left out (O_DIRECT) where
 * the file system allows it.
 *
 * A file is saved beside its place and renamed at the end, so a reader sees the old or the new one.
 */
#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SECTOR = 4096, /* what O_DIRECT wants of addresses, offsets and sizes */
    PIECE_BYTES = 8 << 20,
    PIECE_BYTES_MIN = 64 << 10,
    PATH_BYTES = 4096,
    TEXT_BYTES = 512
};

typedef struct piece {
    gb_buffer *pinned;
    size_t skip;         /* to the first sector boundary */
    unsigned char *host; /* that boundary */
    gb_op copied;        /* of the copy under way */
    bool busy, ended;
    int rc;
    struct transfer *transfer;
} piece;

typedef struct transfer {
    gbi_job job;
    gb_buffer *buffer;
    size_t offset, bytes;
    uint64_t file_offset;
    char *path;
    gb_op *op;
    bool save;
    pthread_mutex_t lock; /* of the ends of pieces */
    pthread_cond_t wake;
    gb_queue *queue;
    piece pieces[2];
    size_t piece_bytes;
    int fd;
    bool direct;
    char part[PATH_BYTES]; /* of a file that is written; "": none */
} transfer;

/* ---- errors ---- */

static int failed(const transfer *t, const char *what)
{
    int error = errno, rc;
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        rc = GB_ENOENT;
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        rc = GB_EDENIED;
        break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        rc = GB_EQUOTA;
        break;
    case ENOMEM:
        rc = GB_ENOMEM;
        break;
    default:
        rc = GB_EDEVICE;
    }
    return gb_err_set(rc, "cannot %s %s: %s", what, t->path, strerror(error));
}

/* Is a file in a folder or below it? Both as the system resolves them. */
static bool below(const char *path, const char *folder)
{
    char *file = realpath(path, NULL), *dir = realpath(folder, NULL);
    size_t size = dir ? strlen(dir) : 0;
    bool is = file && dir && strncmp(file, dir, size) == 0 && (file[size] == '/' || size == 1);
    free(file);
    free(dir);
    return is;
}

/* ---- pieces ---- */

static void copy_done(gb_op *op, int rc)
{
    piece *own = GB_CONTAINER(op, piece, copied);
    transfer *t = own->transfer;
    pthread_mutex_lock(&t->lock);
    own->rc = rc;
    own->ended = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

/* Until its copy has ended: 0 or what that failed with. */
static int piece_wait(transfer *t, piece *own)
{
    if (!own->busy) return 0;
    pthread_mutex_lock(&t->lock);
    while (!own->ended) pthread_cond_wait(&t->wake, &t->lock);
    pthread_mutex_unlock(&t->lock);
    own->busy = false;
    int rc = own->rc;
    if (rc < 0) gb_err_set(rc, "%s", own->copied.detail ? own->copied.detail : gb_err_text(rc));
    gb_op_fini(&own->copied);
    return rc;
}

/* Begins to copy bytes between the piece (from a byte of it on) and the buffer. */
static int piece_copy(transfer *t, piece *own, size_t from, size_t at, size_t bytes)
{
    size_t there = own->skip + from, here = t->offset + at;
    int rc = t->save ? gb_queue_copy(t->queue, own->pinned, there, t->buffer, here, bytes)
                     : gb_queue_copy(t->queue, t->buffer, here, own->pinned, there, bytes);
    if (rc < 0) return rc;
    gb_op_init(&own->copied, copy_done);
    own->ended = false;
    rc = gb_queue_signal(t->queue, &own->copied);
    own->busy = rc == GB_OP_PENDING;
    if (!own->busy) gb_op_fini(&own->copied);
    return rc < 0 ? rc : 0;
}

static int pieces_open(transfer *t)
{
    gb_device *device = t->buffer->device;
    int64_t most = device->gpu->config.storage_bytes / 2;
    size_t bytes = most > 0 ? (size_t)most : PIECE_BYTES;
    if (bytes > t->bytes + 2 * SECTOR) bytes = t->bytes + 2 * SECTOR;
    if (bytes < PIECE_BYTES_MIN) bytes = PIECE_BYTES_MIN;
    t->piece_bytes = bytes / SECTOR * SECTOR;
    int rc = gb_queue_open(&t->queue, device);
    for (int i = 0; i < 2 && rc >= 0; i++) {
        piece *own = &t->pieces[i];
        own->transfer = t;
        rc = gb_buffer_open(&own->pinned, device, t->piece_bytes + SECTOR, GB_BUFFER_PINNED);
        if (rc < 0) break;
        unsigned char *host = gb_buffer_host(own->pinned);
        own->skip = (SECTOR - (uintptr_t)host % SECTOR) % SECTOR;
        own->host = host + own->skip;
    }
    return rc;
}

/* Copies that are under way end first: they use the pieces. */
static void pieces_close(transfer *t)
{
    for (int i = 0; i < 2; i++) {
        piece_wait(t, &t->pieces[i]);
        gb_buffer_unref(t->pieces[i].pinned);
    }
    if (t->queue) gb_queue_close(t->queue);
}

/* ---- the file ---- */

static int open_direct(transfer *t, const char *path, int flags)
{
    t->fd = open(path, flags | O_CLOEXEC | O_DIRECT, 0666);
    t->direct = t->fd >= 0;
    if (t->fd < 0 && errno == EINVAL) t->fd = open(path, flags | O_CLOEXEC, 0666);
    return t->fd;
}

/* The file system has refused: from here on through the page cache. */
static bool leave_direct(transfer *t)
{
    if (!t->direct) return false;
    t->direct = false;
    int flags = fcntl(t->fd, F_GETFL);
    return flags >= 0 && fcntl(t->fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

/* Reads `bytes` at a sector boundary, fewer at the end of the file: how many, or negative. */
static int64_t read_piece(transfer *t, unsigned char *to, uint64_t at, size_t bytes)
{
    size_t got = 0;
    while (got < bytes) {
        if (got % SECTOR) leave_direct(t); /* the end, or a file system that gives less */
        ssize_t n = pread(t->fd, to + got, bytes - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EINVAL && leave_direct(t)) continue;
        if (n < 0) return failed(t, "read");
        if (n == 0) break;
        got += (size_t)n;
    }
    return (int64_t)got;
}

static int write_piece(transfer *t, const unsigned char *from, uint64_t at, size_t bytes)
{
    size_t put = 0;
    while (put < bytes) {
        size_t want = bytes - put;
        if (t->direct && want > SECTOR) want -= want % SECTOR; /* the last bytes go alone */
        if (want % SECTOR || put % SECTOR) leave_direct(t);
        ssize_t n = pwrite(t->fd, from + put, want, (off_t)(at + put));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EINVAL && leave_direct(t)) continue;
        if (n < 0) return failed(t, "write");
        put += (size_t)n;
    }
    return 0;
}

static int check_cancelled(const transfer *t)
{
    if (!atomic_load(&t->op->cancelled)) return 0;
    return gb_err_set(GB_ECANCELED, "%s: cancelled", t->path);
}

/* Straight to or from the device, where its driver can. False: it did not, for whatever reason but
 * those that end the transfer (*rc). What it has moved is moved again. */
static bool move_direct(transfer *t, int *rc)
{
    gb_device *device = t->buffer->device;
    const gb_gpu_config *config = &device->gpu->config;
    const char *mount = config->storage_mount;
    if (config->storage_staged || !device->backend->buffer_file || !t->direct) return false;
    if (mount && *mount && !below(t->save ? t->part : t->path, mount)) return false;
    gbi_file file = {t->fd, t->save, t->file_offset, t->bytes, &t->op->cancelled};
    *rc = device->backend->buffer_file(device->impl, t->buffer, t->offset, &file);
    if (*rc == 0) gbi_device_count(device, t, GBI_COUNT_FILES_DIRECT, 1);
    return *rc == 0 || *rc == GB_ELOST || *rc == GB_ECANCELED;
}

/* ---- loading ---- */

static int changed(const transfer *t)
{
    return gb_err_set(GB_ECONFLICT, "%s changed while it was read", t->path);
}

static int load_pieces(transfer *t)
{
    uint64_t at = t->file_offset / SECTOR * SECTOR, end = t->file_offset + t->bytes;
    int rc = 0;
    for (int i = 0; rc >= 0 && at < end; i ^= 1, at += t->piece_bytes) {
        piece *own = &t->pieces[i];
        rc = check_cancelled(t);
        if (rc == 0) rc = piece_wait(t, own);
        if (rc < 0) break;
        uint64_t first = at < t->file_offset ? t->file_offset : at;
        uint64_t last = end < at + t->piece_bytes ? end : at + t->piece_bytes;
        int64_t got = read_piece(t, own->host, at, t->piece_bytes);
        if (got < 0) return (int)got;
        if ((uint64_t)got < last - at) return changed(t);
        rc = piece_copy(t, own, (size_t)(first - at), (size_t)(first - t->file_offset),
                        (size_t)(last - first));
    }
    for (int i = 0; rc >= 0 && i < 2; i++) rc = piece_wait(t, &t->pieces[i]);
    return rc;
}

static int load(transfer *t)
{
    struct stat before, after;
    if (open_direct(t, t->path, O_RDONLY) < 0) return failed(t, "open");
    if (fstat(t->fd, &before) != 0) return failed(t, "look at");
    if (!S_ISREG(before.st_mode))
        return gb_err_set(GB_EINVAL, "cannot load %s: it is no regular file", t->path);
    uint64_t size = (uint64_t)before.st_size;
    if (t->file_offset > size || t->bytes > size - t->file_offset)
        return gb_err_set(GB_EINVAL, "%s is too short: it has %llu bytes, %llu .. %llu are wanted",
                          t->path, (unsigned long long)size, (unsigned long long)t->file_offset,
                          (unsigned long long)(t->file_offset + t->bytes));
    if (t->bytes == 0) return 0;
    int rc = 0;
    if (!move_direct(t, &rc)) {
        rc = pieces_open(t);
        if (rc >= 0) rc = load_pieces(t);
    }
    if (rc < 0) return rc;
    if (fstat(t->fd, &after) != 0) return failed(t, "look at");
    if (after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
        return changed(t);
    return 0;
}

/* ---- saving ---- */

/* The folders above the file. Others may make them at the same time. */
static int make_folders(transfer *t)
{
    char above[PATH_BYTES];
    snprintf(above, sizeof above, "%s", t->path);
    for (char *at = above + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        if (mkdir(above, 0777) != 0 && errno != EEXIST) return failed(t, "make the folder of");
        *at = '/';
    }
    return 0;
}

static int open_part(transfer *t)
{
    struct stat there;
    if (stat(t->path, &there) == 0 && !S_ISREG(there.st_mode))
        return gb_err_set(GB_EINVAL, "cannot save to %s: it is no regular file", t->path);
    for (int folders = 0; folders < 2; folders++) {
        snprintf(t->part, sizeof t->part, "%s.%d-%llx.part", t->path, (int)getpid(),
                 (unsigned long long)(uintptr_t)t); /* no other one under way has it */
        if (open_direct(t, t->part, O_WRONLY | O_CREAT | O_EXCL) >= 0) return 0;
        t->part[0] = 0;
        if (errno != ENOENT) break;
        if (folders == 0 && make_folders(t) < 0) return GB_ENOENT;
        errno = ENOENT;
    }
    return failed(t, "make");
}

static size_t piece_of(const transfer *t, size_t at)
{
    return t->bytes - at < t->piece_bytes ? t->bytes - at : t->piece_bytes;
}

static int save_pieces(transfer *t)
{
    int rc = piece_copy(t, &t->pieces[0], 0, 0, piece_of(t, 0));
    for (size_t at = 0, i = 0; rc >= 0 && at < t->bytes; at += t->piece_bytes, i ^= 1) {
        piece *own = &t->pieces[i];
        size_t next = at + t->piece_bytes, bytes = piece_of(t, at);
        rc = check_cancelled(t);
        if (rc == 0) rc = piece_wait(t, own);
        if (rc == 0 && next < t->bytes)
            rc = piece_copy(t, &t->pieces[i ^ 1], 0, next, piece_of(t, next));
        if (rc == 0) rc = write_piece(t, own->host, at, bytes);
    }
    return rc;
}

static int save(transfer *t)
{
    int rc = open_part(t);
    if (rc == 0 && t->bytes > 0 && !move_direct(t, &rc)) {
        rc = pieces_open(t);
        if (rc >= 0) rc = save_pieces(t);
    }
    if (rc >= 0 && fdatasync(t->fd) != 0) rc = failed(t, "write");
    if (t->fd >= 0 && close(t->fd) != 0 && rc >= 0) rc = failed(t, "write");
    t->fd = -1;
    if (rc >= 0 && rename(t->part, t->path) != 0) rc = failed(t, "put in place");
    if (rc < 0 && t->part[0]) {
        char detail[TEXT_BYTES];
        snprintf(detail, sizeof detail, "%s", gb_err_detail());
        unlink(t->part);
        gb_err_set(rc, "%s", detail);
    }
    return rc < 0 ? rc : 0;
}

/* ---- the job ---- */

static void transfer_free(transfer *t)
{
    gb_gpu *gpu = t->buffer->device->gpu;
    gb_buffer_unref(t->buffer);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->wake);
    gb_mem_strfree(&gpu->room, t->path);
    gb_mem_free(&gpu->room, t, sizeof *t);
}

static void run(gbi_job *job)
{
    transfer *t = GB_CONTAINER(job, transfer, job);
    gb_op *op = t->op;
    int rc = t->save ? save(t) : load(t);
    if (rc < 0) gb_op_fail(op, rc, "%s", gb_err_detail());
    if (rc >= 0) gbi_device_count(t->buffer->device, t, GBI_COUNT_FILES, 1);
    pieces_close(t);
    if (t->fd >= 0) close(t->fd);
    transfer_free(t);
    op->done(op, rc);
}

static int start(gb_buffer *buffer, size_t offset, size_t bytes, const char *path,
                 uint64_t file_offset, bool save, gb_op *op)
{
    gb_gpu *gpu = buffer->device->gpu;
    if (!path || !*path || strlen(path) >= PATH_BYTES - 40)
        return gb_err_set(GB_EINVAL, "the path of a file is not empty and at most %d bytes",
                          PATH_BYTES - 40);
    if (file_offset > INT64_MAX - PIECE_BYTES)
        return gb_err_set(GB_EINVAL, "no file has a byte %llu", (unsigned long long)file_offset);
    int rc = gbi_check_range(buffer->device, buffer, offset, bytes, false);
    if (rc < 0) return rc;
    transfer *t = gb_mem_zalloc(&gpu->room, sizeof *t);
    if (!t) return GB_ENOMEM;
    t->path = gb_mem_strdup(&gpu->room, path);
    if (!t->path) {
        gb_mem_free(&gpu->room, t, sizeof *t);
        return GB_ENOMEM;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    t->buffer = gb_buffer_ref(buffer);
    t->offset = offset;
    t->bytes = bytes;
    t->file_offset = file_offset;
    t->op = op;
    t->save = save;
    t->fd = -1;
    t->job.run = run;
    rc = gbi_jobs_add(&gpu->files, &gpu->room, &t->job);
    if (rc < 0) transfer_free(t);
    return rc < 0 ? rc : GB_OP_PENDING;
}

int gb_buffer_load(gb_buffer *to, size_t offset, size_t bytes, const char *path,
                   uint64_t file_offset, gb_op *op)
{
    return start(to, offset, bytes, path, file_offset, false, op);
}

int gb_buffer_save(gb_buffer *from, size_t offset, size_t bytes, const char *path, gb_op *op)
{
    return start(from, offset, bytes, path, 0, true, op);
}
