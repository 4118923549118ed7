/* Folders of a test: $TMPDIR/gb-NAME-PID-XXXXXX (else in /tmp), removed when the process ends. What
 * a test that was killed has left is removed by the next one that makes a folder; scripts that name
 * theirs in the same way (mktemp -d "gb-NAME-$$-XXXXXX") are swept too. Of the process that made
 * them: a forked child removes nothing.
 */
#ifndef GB_TESTS_FOLDER_H
#define GB_TESTS_FOLDER_H

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDERS_MAX = 8, FOLDER_BYTES = 256 };

static struct {
    pid_t owner;
    int count;
    char paths[FOLDERS_MAX][FOLDER_BYTES];
} folder_list;

static inline int folder_remove_one(const char *path, const struct stat *st, int kind,
                                    struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    remove(path);
    return 0;
}

static inline void folder_remove(const char *path)
{
    nftw(path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void folders_end(void)
{
    if (folder_list.owner != getpid()) return;
    while (folder_list.count > 0) folder_remove(folder_list.paths[--folder_list.count]);
}

/* "gb-NAME-PID-XXXXXX" of a process that is gone. */
static inline bool folder_is_left(const char *name)
{
    const char *last = strrchr(name, '-'), *digits = last;
    if (strncmp(name, "gb-", 3) != 0 || !last || strlen(last) != 7) return false;
    while (digits > name && digits[-1] >= '0' && digits[-1] <= '9') digits--;
    if (digits == last || digits[-1] != '-') return false;
    long pid = strtol(digits, NULL, 10);
    return pid > 1 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

static inline void folders_sweep(const char *in)
{
    DIR *dir = opendir(in);
    for (struct dirent *at; dir && (at = readdir(dir));) {
        char path[FOLDER_BYTES + 300];
        struct stat st;
        if (!folder_is_left(at->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", in, at->d_name);
        bool ours = lstat(path, &st) == 0 && (st.st_uid == geteuid() || geteuid() == 0);
        if (ours && S_ISDIR(st.st_mode)) folder_remove(path);
    }
    if (dir) closedir(dir);
}

/* False: it cannot be made. out has FOLDER_BYTES. */
static inline bool folder_make(char *out, const char *name)
{
    const char *tmp = getenv("TMPDIR");
    if (!tmp || !*tmp) tmp = "/tmp";
    if (folder_list.count == FOLDERS_MAX) return false;
    if (folder_list.owner != getpid()) {
        folders_sweep(tmp);
        folder_list.owner = getpid();
        folder_list.count = 0;
        atexit(folders_end);
    }
    int size = snprintf(out, FOLDER_BYTES, "%s/gb-%s-%d-XXXXXX", tmp, name, (int)getpid());
    if (size >= FOLDER_BYTES || !mkdtemp(out)) return false;
    memcpy(folder_list.paths[folder_list.count++], out, FOLDER_BYTES);
    return true;
}

#endif
