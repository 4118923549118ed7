#include "gpu/image_cache.h"

#include "base/err.h"
#include "base/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A file: this header, the note, the payload. All numbers are the machine's own: the cache never
 * leaves it. */
typedef struct {
    char magic[8];
    gb_image_key key;
    uint64_t note_size, payload_size;
    uint64_t checksum[2]; /* of the header with zeros here, the note and the payload */
} entry_header;

static const char entry_magic[8] = {'g', 'b', 'i', 'm', 'a', 'g', 'e', '1'};
enum { STALE_S = 3600 };

gb_image_key gb_image_key_of(const void *bytes, size_t size)
{
    return (gb_image_key){gb_hash_bytes(bytes, size, 0x67706269u),
                          gb_hash_bytes(bytes, size, 0x6d616765u)};
}

/* ---- files ---- */

static int read_all(int fd, gb_buf *buf)
{
    struct stat st;
    int rc =
        fstat(fd, &st) == 0 && st.st_size > 0 ? gb_buf_reserve(buf, (size_t)st.st_size + 1) : 0;
    while (rc == 0) {
        rc = gb_buf_reserve(buf, 4096);
        if (rc < 0) break;
        ssize_t n = read(fd, buf->data + buf->size, buf->room - buf->size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = gb_err_set(GB_ENOENT, "read: %s", strerror(errno));
        if (n <= 0) break;
        buf->size += (size_t)n;
    }
    return rc;
}

int gb_image_file_read(const char *path, gb_buf *buf)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return gb_err_set(GB_ENOENT, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return gb_err_set(GB_ENOENT, "%s: no regular file", path);
    }
    int rc = read_all(fd, buf);
    close(fd);
    return rc;
}

int gb_image_fd_write(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

int gb_image_file_write(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return gb_err_set(GB_EDENIED, "%s: %s", path, strerror(errno));
    int rc = gb_image_fd_write(fd, bytes, size);
    if (close(fd) < 0 || rc < 0)
        return gb_err_set(GB_EDENIED, "%s: cannot be written: %s", path, strerror(errno));
    return 0;
}

/* ---- the folder ---- */

static int make_folders(char *path)
{
    for (char *at = path + 1;; at++) {
        if (*at && *at != '/') continue;
        char kept = *at;
        *at = 0;
        int failed = mkdir(path, 0700) < 0 && errno != EEXIST;
        int error = errno;
        *at = kept;
        /* a parent that exists and may not be written is fine as long as the last one can be */
        if (failed && (!kept || (error != EACCES && error != EROFS && error != EPERM)))
            return gb_err_set(GB_ENOENT, "the cache folder %s cannot be made: %s", path,
                              strerror(error));
        if (!kept) return 0;
    }
}

int gb_image_cache_folder(const char *configured, char *out)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int size;
    if (configured && *configured)
        size = snprintf(out, GB_IMAGE_PATH_MAX, "%s", configured);
    else if (xdg && *xdg == '/')
        size = snprintf(out, GB_IMAGE_PATH_MAX, "%s/gpubridge", xdg);
    else if (home && *home == '/')
        size = snprintf(out, GB_IMAGE_PATH_MAX, "%s/.cache/gpubridge", home);
    else
        return gb_err_set(GB_ENOENT, "there is no place for compiled kernels: neither "
                                     "$XDG_CACHE_HOME nor $HOME is set; configure a cache folder");
    if (size >= GB_IMAGE_PATH_MAX - 128)
        return gb_err_set(GB_EINVAL, "the path of the cache folder is too long");
    while (size > 1 && out[size - 1] == '/') out[--size] = 0;
    int rc = make_folders(out);
    if (rc < 0) return rc;
    struct stat st;
    if (stat(out, &st) < 0 || !S_ISDIR(st.st_mode))
        return gb_err_set(GB_ENOENT, "the cache folder %s is no folder", out);
    if (st.st_uid != geteuid())
        return gb_err_set(GB_EDENIED,
                          "the cache folder %s belongs to user %u, not to this one (%u): code is "
                          "loaded from it, so it must be your own",
                          out, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 022)
        return gb_err_set(GB_EDENIED,
                          "the cache folder %s can be written by others (mode %03o): code is "
                          "loaded from it; chmod 700 it",
                          out, (unsigned)st.st_mode & 0777u);
    return 0;
}

int gb_image_made_folder(bool make, char *out)
{
    const char *folder = getenv(make ? "GB_IMAGES_MAKE" : "GB_IMAGES");
    if (!folder || !*folder) return 0;
    int rc = gb_image_cache_folder(folder, out);
    return rc < 0 ? rc : 1;
}

/* ---- entries ---- */

static void entry_path(char *out, const char *folder, gb_image_key key, const char *kind)
{
    snprintf(out, GB_IMAGE_PATH_MAX, "%s/%016llx%016llx.%s", folder, (unsigned long long)key.high,
             (unsigned long long)key.low, kind);
}

static void checksum(const entry_header *header, const void *note, const void *payload,
                     uint64_t out[2])
{
    entry_header bare = *header;
    memset(bare.checksum, 0, sizeof bare.checksum);
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t sum = gb_hash_bytes(&bare, sizeof bare, i);
        sum = gb_hash_bytes(note, header->note_size, sum);
        out[i] = gb_hash_bytes(payload, header->payload_size, sum);
    }
}

static int check_entry(const gb_buf *file, gb_image_key key, const char *path)
{
    entry_header header;
    uint64_t sum[2];
    if (file->size < sizeof header)
        return gb_err_set(GB_ECONFLICT, "the cache entry %s is truncated", path);
    memcpy(&header, file->data, sizeof header);
    if (memcmp(header.magic, entry_magic, sizeof entry_magic) != 0 ||
        memcmp(&header.key, &key, sizeof key) != 0)
        return gb_err_set(GB_ECONFLICT, "the cache entry %s is not what its name says", path);
    uint64_t rest = file->size - sizeof header;
    if (header.note_size > rest || header.payload_size != rest - header.note_size)
        return gb_err_set(GB_ECONFLICT, "the cache entry %s is truncated", path);
    const uint8_t *note = file->data + sizeof header;
    checksum(&header, note, note + header.note_size, sum);
    if (memcmp(sum, header.checksum, sizeof sum) != 0)
        return gb_err_set(GB_ECONFLICT, "the cache entry %s is corrupt (checksum)", path);
    return 0;
}

int gb_image_cache_load(const char *folder, gb_image_key key, const char *kind, gb_buf *payload,
                        gb_buf *note)
{
    char path[GB_IMAGE_PATH_MAX];
    struct stat st;
    gb_buf file;
    payload->size = note->size = 0;
    entry_path(path, folder, key, kind);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return gb_err_set(GB_ENOENT, "no entry");
    if (fd < 0) return gb_err_set(GB_ECONFLICT, "the cache entry %s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022)) {
        close(fd);
        return gb_err_set(GB_ECONFLICT, "the cache entry %s is another user's or open to others",
                          path);
    }
    gb_buf_init(&file, payload->mem);
    int rc = read_all(fd, &file);
    if (rc == 0) rc = check_entry(&file, key, path);
    if (rc == 0) {
        entry_header header;
        memcpy(&header, file.data, sizeof header);
        const uint8_t *at = file.data + sizeof header;
        rc = gb_buf_put(note, at, header.note_size);
        if (rc == 0) rc = gb_buf_put(payload, at + header.note_size, header.payload_size);
        /* the time of use, for trimming */
        struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
        (void)!futimens(fd, times);
    }
    close(fd);
    gb_buf_fini(&file);
    return rc;
}

int gb_image_cache_store(const char *folder, gb_image_key key, const char *kind,
                         const void *payload, size_t payload_size, const void *note,
                         size_t note_size)
{
    char path[GB_IMAGE_PATH_MAX], fresh[GB_IMAGE_PATH_MAX];
    entry_header header = {.key = key, .note_size = note_size, .payload_size = payload_size};
    memcpy(header.magic, entry_magic, sizeof entry_magic);
    checksum(&header, note, payload, header.checksum);
    entry_path(path, folder, key, kind);
    snprintf(fresh, sizeof fresh, "%.3900s/fresh-XXXXXX", folder);
    int fd = mkostemp(fresh, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) return gb_err_set(GB_EDENIED, "%s: %s", fresh, strerror(errno));
    bool ok = gb_image_fd_write(fd, &header, sizeof header) == 0 &&
              gb_image_fd_write(fd, note, note_size) == 0 &&
              gb_image_fd_write(fd, payload, payload_size) == 0;
    ok = close(fd) == 0 && ok;
    if (ok && rename(fresh, path) == 0) return 0;
    int error = errno;
    unlink(fresh);
    return gb_err_set(GB_EDENIED, "the cache entry %s cannot be written: %s", path,
                      strerror(error));
}

/* ---- trimming ---- */

static void remove_folder(const char *path)
{
    char inner[GB_IMAGE_PATH_MAX];
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *row = readdir(dir); row; row = readdir(dir)) {
        if (row->d_name[0] == '.') continue;
        snprintf(inner, sizeof inner, "%.3800s/%.255s", path, row->d_name);
        unlink(inner);
    }
    closedir(dir);
    rmdir(path);
}

/* One pass: sums the entries' bytes and finds the one used longest ago. */
static int64_t survey(const char *folder, char *oldest)
{
    char path[GB_IMAGE_PATH_MAX];
    struct stat st;
    int64_t bytes = 0, oldest_s = INT64_MAX, now = (int64_t)time(NULL);
    DIR *dir = opendir(folder);
    *oldest = 0;
    if (!dir) return 0;
    for (struct dirent *row = readdir(dir); row; row = readdir(dir)) {
        if (row->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%.3800s/%.255s", folder, row->d_name);
        if (lstat(path, &st) < 0) continue;
        bool stale = now - (int64_t)st.st_mtime > STALE_S;
        if (strncmp(row->d_name, "work-", 5) == 0) {
            if (stale && S_ISDIR(st.st_mode)) remove_folder(path);
        } else if (strncmp(row->d_name, "fresh-", 6) == 0) {
            if (stale) unlink(path);
        } else if (S_ISREG(st.st_mode)) {
            int64_t used = st.st_atime > st.st_mtime ? st.st_atime : st.st_mtime;
            bytes += (int64_t)st.st_size;
            if (used >= oldest_s) continue;
            oldest_s = used;
            snprintf(oldest, GB_IMAGE_PATH_MAX, "%s", path);
        }
    }
    closedir(dir);
    return bytes;
}

void gb_image_cache_trim(const char *folder, int64_t bytes_max)
{
    char oldest[GB_IMAGE_PATH_MAX];
    for (int i = 0; i < 64 && survey(folder, oldest) > bytes_max && *oldest; i++) unlink(oldest);
}
