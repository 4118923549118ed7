/* gbrun repl: a prompt for Lua, in a silo of its own or as a client of a cluster (lua/gb/repl.lua
 * runs the lines). From a file or a pipe: the same without a prompt. */
#include "gbrun/console.h"
#include "gbrun/line.h"
#include "host/embed.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, INPUT_BYTES = 4096 };

typedef struct repl {
    gbrun_console console;
    gbrun_line line;
    bool terminal;
    atomic_bool more; /* the line that was run is not all of it yet */
    bool over, failed;
    unsigned char input[INPUT_BYTES];
    size_t at, size; /* of input */
    gb_buf text;     /* a line of a file; it may be long */
} repl;

/* ---- running a line ---- */

static int say_more(gb_host *host, const gb_value *args, gb_value *out, void *user)
{
    (void)host, (void)args, (void)out;
    atomic_store(&((repl *)user)->more, true);
    return 0;
}

static void wait_for_turn(repl *r)
{
    for (bool asked = false;;) {
        int got = gbrun_console_wait(&r->console, false, -1);
        if (got & GBRUN_TURN_ENDED) return;
        if (got & GBRUN_TO_END) {
            r->over = true;
            return;
        }
        if (!(got & GBRUN_INTERRUPT)) continue;
        if (asked) { /* it waits for nothing */
            fprintf(stderr, "gbrun: the line does not end; the program ends without it\n");
            _exit(128 + SIGINT);
        }
        asked = true;
        gbrun_console_cancel(&r->console);
    }
}

static void run(repl *r, const char *name, const char *text)
{
    atomic_store(&r->more, false);
    gbrun_console_start(&r->console, name, text ? 1 : 0, &text);
    wait_for_turn(r);
    fflush(stdout);
    if (r->over || r->console.rc >= 0) return;
    r->failed = true;
    fprintf(stderr, "%s\n",
            r->console.rc == GB_ECANCELED ? "interrupted"
            : r->console.message          ? r->console.message
                                          : gb_err_text(r->console.rc));
}

/* ---- reading ---- */

enum { AT_END = -1, STOPPED = -2 };

/* The next byte, AT_END, or STOPPED: by a signal. */
static int next_byte(repl *r)
{
    while (r->at == r->size) {
        int got = gbrun_console_wait(&r->console, true, -1);
        if (got & (GBRUN_TO_END | GBRUN_INTERRUPT)) {
            if (got & GBRUN_INTERRUPT) r->console.signal = SIGINT;
            return STOPPED;
        }
        if (got & GBRUN_RESIZED && r->terminal) gbrun_line_show(&r->line);
        if (!(got & GBRUN_KEY)) continue;
        ssize_t size = read(STDIN_FILENO, r->input, sizeof r->input);
        if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (size <= 0) return AT_END;
        r->at = 0;
        r->size = (size_t)size;
    }
    return r->input[r->at++];
}

/* False: there are no more. */
static bool typed_line(repl *r)
{
    gbrun_console_raw(&r->console);
    gbrun_line_begin(&r->line, atomic_load(&r->more) ? ">> " : "> ");
    for (int byte; (byte = next_byte(r)) >= 0;) {
        gbrun_line_key key = gbrun_line_put(&r->line, (unsigned char)byte);
        if (key == GBRUN_LINE_OPEN) continue;
        gbrun_console_cooked(&r->console);
        if (key == GBRUN_LINE_BREAK) run(r, "repl_drop", NULL);
        if (key == GBRUN_LINE_BREAK) r->line.text[0] = 0;
        return key != GBRUN_LINE_END;
    }
    gbrun_console_cooked(&r->console);
    printf("\n");
    return false;
}

static bool file_line(repl *r)
{
    int byte;
    r->text.size = 0;
    while ((byte = next_byte(r)) >= 0 && byte != '\n') {
        char letter = (char)byte;
        if (gb_buf_put(&r->text, &letter, 1) < 0) return false;
    }
    return byte == '\n' || (byte == AT_END && r->text.size);
}

static int read_lines(repl *r)
{
    while (!r->over && (r->terminal ? typed_line(r) : file_line(r))) {
        const char *text = r->terminal ? r->line.text : gb_buf_text(&r->text);
        if (r->terminal) gbrun_line_remember(&r->line, text);
        run(r, "repl", text);
        if (r->failed && !r->terminal) return GBRUN_FAILED;
    }
    if (!r->over && atomic_load(&r->more) && !r->terminal) {
        fprintf(stderr, "gbrun repl: the last line is not whole\n");
        return GBRUN_FAILED;
    }
    return 0;
}

/* ---- around it ---- */

/* ~/.local/state/gpubridge/repl_history; the folders above it are made. NULL: nobody's home. */
static const char *history_file(char *path, size_t room)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int size = 0;
    if (state && *state)
        size = snprintf(path, room, "%s/gpubridge/repl_history", state);
    else if (home && *home)
        size = snprintf(path, room, "%s/.local/state/gpubridge/repl_history", home);
    if (size <= 0 || (size_t)size >= room) return NULL;
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        int rc = mkdir(path, 0700);
        *slash = '/';
        if (rc != 0 && errno != EEXIST) return NULL;
    }
    return path;
}

static int converse(repl *r, double drain_ms)
{
    int code = GBRUN_FAILED;
    int rc = gbi_export_add(r->console.host, "$repl_more", say_more, r);
    if (rc == 0) {
        run(r, "repl_begin", r->terminal ? "terminal" : "file");
        if (!r->failed) code = r->over ? 0 : read_lines(r);
    } else {
        fprintf(stderr, "gbrun repl: %s\n", gb_err_detail());
    }
    return gbrun_console_close(&r->console, code, drain_ms);
}

int gbrun_repl(gbrun_options *options)
{
    gb_config config = options->config;
    char path[PATH_BYTES];
    config.cluster = NULL;
    config.script_dir = ".";
    if (config.log_level < 0) config.log_level = GB_LOG_WARN;
    if (gbrun_find_app(&config, config.connect ? "" : "app")) return GBRUN_FAILED;
    repl *r = calloc(1, sizeof *r);
    if (!r) return GBRUN_FAILED;
    r->terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    gbrun_line_init(&r->line, r->terminal ? history_file(path, sizeof path) : NULL);
    gb_buf_init(&r->text, &options->mem);
    int code = gbrun_console_open(&r->console, &config);
    if (code == 0) code = converse(r, options->drain_ms);
    gbrun_line_fini(&r->line);
    gb_buf_fini(&r->text);
    free(r);
    return code;
}
