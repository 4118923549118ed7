/* Compiled images on disk, for every backend: one file per key in one folder that only this user
 * can write. What is loaded from it is code, so the folder's owner and mode are checked on every
 * use, and an entry's checksum before its bytes are handed out. Entries appear by rename: several
 * threads and processes may share a folder.
 *
 * Any thread; every function blocks on the disk and belongs on a pool thread.
 */
#ifndef GB_GPU_IMAGE_CACHE_H
#define GB_GPU_IMAGE_CACHE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GB_IMAGE_PATH_MAX = 4096 };

typedef struct gb_image_key {
    uint64_t high, low;
} gb_image_key;

/* Hashes everything the image depends on, which the caller has put together. */
gb_image_key gb_image_key_of(const void *bytes, size_t size);

/* Finds, makes (0700) and checks the folder; NULL: $XDG_CACHE_HOME/gpubridge, else
 * ~/.cache/gpubridge. GB_EDENIED: it is another user's, or others may write it. GB_ENOENT: there is
 * no home, or it cannot be made. out: GB_IMAGE_PATH_MAX bytes. */
int gb_image_cache_folder(const char *configured, char *out);

/* Images made elsewhere, for a machine without a compiler: the folder that $GB_IMAGES_MAKE (make)
 * or $GB_IMAGES names, checked like the cache's. Its entries are those of a cache, under keys that
 * hold the text of the source and what it was made for, and nothing of a machine. 1, or 0 when the
 * variable is not set, or as gb_image_cache_folder. */
int gb_image_made_folder(bool make, char *out);

/* Reads an entry: payload and note (both emptied first). GB_ENOENT: there is none. GB_ECONFLICT: it
 * is damaged or not ours, and is to be made again; the detail says how. kind is a short word that
 * ends the file's name. */
int gb_image_cache_load(const char *folder, gb_image_key key, const char *kind, gb_buf *payload,
                        gb_buf *note);

int gb_image_cache_store(const char *folder, gb_image_key key, const char *kind,
                         const void *payload, size_t payload_size, const void *note,
                         size_t note_size);

/* Removes what a crashed process left (older than an hour), and the entries used longest ago while
 * all take more than bytes_max. Errors are ignored: the next one cleans up. */
void gb_image_cache_trim(const char *folder, int64_t bytes_max);

/* The whole file at path behind what buf holds: 0, GB_ENOENT or GB_ENOMEM. */
int gb_image_file_read(const char *path, gb_buf *buf);
int gb_image_fd_write(int fd, const void *bytes, size_t size); /* 0, or -1 and errno */
int gb_image_file_write(const char *path, const void *bytes, size_t size);

#endif
