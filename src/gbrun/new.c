/* gbrun new DIR: a starter app: the files of examples/starter, which the build puts into the
 * program. */
#include "gbrun/gbrun.h"

#include "base/embed.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

extern const gb_embedded gbrun_starter[];

enum { PATH_BYTES = 4096 };

static int fail(const char *path)
{
    fprintf(stderr, "gbrun: cannot write %s: %s\n", path, strerror(errno));
    return GBRUN_FAILED;
}

/* Makes the folders above a file, below the app's own. */
static int make_folders(char *path, size_t from)
{
    for (char *slash = strchr(path + from, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int failed = mkdir(path, 0777) != 0 && errno != EEXIST ? fail(path) : 0;
        *slash = '/';
        if (failed) return failed;
    }
    return 0;
}

static int write_file(const char *dir, const gb_embedded *file)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, file->name);
    int code = make_folders(path, strlen(dir) + 1);
    if (code) return code;
    FILE *out = fopen(path, "wb");
    if (!out) return fail(path);
    size_t written = fwrite(file->bytes, 1, file->size, out);
    if (fclose(out) != 0 || written != file->size) return fail(path);
    printf("%s\n", path);
    return 0;
}

int gbrun_new(gbrun_options *options)
{
    const char *dir = options->file;
    if (mkdir(dir, 0777) != 0) {
        if (errno != EEXIST) return fail(dir);
        fprintf(stderr, "gbrun: %s is there already; nothing was written\n", dir);
        return GBRUN_FAILED;
    }
    for (const gb_embedded *file = gbrun_starter; file->name; file++) {
        int code = write_file(dir, file);
        if (code) return code;
    }
    printf("next: cd %s && gbrun main.lua && gbrun test .\n", dir);
    return 0;
}
