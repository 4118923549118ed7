/* gbrun token NAME: a token of a client: the file for the client, and a line of the silos' file. */
#include "gbrun/gbrun.h"

#include "base/err.h"
#include "cluster/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DAY_S = 86400 };

static int fail(const char *what)
{
    fprintf(stderr, "gbrun token: %s\n", what);
    return GBRUN_FAILED;
}

/* A whole line in one call, so that two of these never mix theirs. */
static bool put_line(int fd, const char *line)
{
    char text[GB_TOKEN_LINE_BYTES + 1];
    int size = snprintf(text, sizeof text, "%s\n", line);
    bool fine = write(fd, text, (size_t)size) == size;
    explicit_bzero(text, sizeof text);
    return close(fd) == 0 && fine;
}

static int check_new(const char *path, const char *name)
{
    gb_tokens all;
    gb_mem mem;
    if (access(path, F_OK) != 0 && errno == ENOENT) return 0;
    gb_mem_init(&mem, "token", NULL, 0);
    int rc = gb_tokens_read(&all, &mem, path);
    if (rc == 0 && gb_tokens_find(&all, name))
        rc = gb_err_set(GB_EBUSY, "%s has a token of the name '%s' already", path, name);
    gb_tokens_fini(&all, &mem);
    gb_mem_fini(&mem);
    return rc;
}

static int write_both(const char *tokens, const char *out, const char *text, const char *line)
{
    int mine = open(out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (mine < 0) {
        fprintf(stderr, "gbrun token: %s: %s\n", out, strerror(errno));
        return GBRUN_FAILED;
    }
    int theirs = open(tokens, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (theirs < 0 || !put_line(theirs, line)) {
        fprintf(stderr, "gbrun token: %s: %s\n", tokens, strerror(errno));
        close(mine);
        unlink(out);
        return GBRUN_FAILED;
    }
    if (put_line(mine, text)) return 0;
    fprintf(stderr, "gbrun token: %s: %s\n", out, strerror(errno));
    return GBRUN_FAILED;
}

int gbrun_token(gbrun_options *options)
{
    const char *name = options->file, *tokens = options->config.tokens;
    const char *role = gbrun_given(options, "--role");
    const char *out = gbrun_given(options, "--out");
    char text[GB_TOKEN_TEXT_BYTES], line[GB_TOKEN_LINE_BYTES], path[GB_TOKEN_NAME_BYTES + 8];
    int days = gbrun_days(options, 0);
    if (days < 0) return GBRUN_USAGE;
    if (!tokens) {
        fprintf(stderr, "gbrun token: --tokens FILE (or GB_TOKENS) names the silos' file\n");
        return GBRUN_USAGE;
    }
    int rc = gb_token_make(text, line, name, role ? role : "client",
                           days ? (int64_t)time(NULL) + (int64_t)days * DAY_S : 0);
    if (rc == 0) rc = check_new(tokens, name);
    if (rc < 0) return fail(gb_err_detail());
    snprintf(path, sizeof path, "%s.token", name);
    int code = write_both(tokens, out ? out : path, text, line);
    explicit_bzero(text, sizeof text);
    if (code == 0)
        printf("%s: for the client (--token-file), and nobody else; %s: its line, without the "
               "secret\n",
               out ? out : path, tokens);
    return code;
}
