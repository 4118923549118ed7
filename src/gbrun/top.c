/* gbrun top: what a cluster does, drawn anew every so often (lua/gb/top.lua makes the frames). */
#include "gbrun/console.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_MS = 1000, EVERY_MIN_MS = 100, CTRL_C = 3, CTRL_L = 12 };

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void draw(gbrun_console *console)
{
    int columns, rows;
    char width[16], height[16];
    const char *size[] = {width, height};
    gbrun_terminal_size(&columns, &rows);
    snprintf(width, sizeof width, "%d", columns);
    snprintf(height, sizeof height, "%d", rows);
    gbrun_console_start(console, "top_draw", 2, size);
}

static void put(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

/* True: the person wants to go. */
static bool read_keys(bool *redraw)
{
    char keys[64];
    ssize_t size = read(STDIN_FILENO, keys, sizeof keys);
    if (size == 0 || (size < 0 && errno != EINTR && errno != EAGAIN)) return true;
    for (ssize_t i = 0; i < size; i++) {
        if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == CTRL_C) return true;
        if (keys[i] == ' ' || keys[i] == CTRL_L) *redraw = true;
    }
    return false;
}

/* Until the person ends it: 0; or the first frame fails: the code and text stay in the console. */
static int live(gbrun_console *console, double every_ms)
{
    double next = now_ms();
    for (bool leave = false; !leave;) {
        double left = next - now_ms();
        if (!console->under_way && left <= 0) {
            draw(console);
            next = now_ms() + every_ms;
            continue;
        }
        bool redraw = false;
        int got = gbrun_console_wait(console, true, console->under_way ? -1 : (int)ceil(left));
        if (got & GBRUN_TURN_ENDED && console->rc < 0) return console->rc;
        if (got & GBRUN_KEY) leave = read_keys(&redraw);
        if (got & GBRUN_RESIZED) redraw = true;
        if (redraw) next = now_ms();
        leave |= (got & (GBRUN_TO_END | GBRUN_INTERRUPT)) != 0;
    }
    return 0;
}

static int once(gbrun_console *console, double every_ms)
{
    char seconds[32];
    const char *argument = seconds;
    snprintf(seconds, sizeof seconds, "%g", every_ms / 1000);
    gbrun_console_start(console, "top_once", 1, &argument);
    for (;;) {
        int got = gbrun_console_wait(console, false, -1);
        if (got & GBRUN_TURN_ENDED) return console->rc;
        if (got & GBRUN_INTERRUPT) console->signal = SIGINT;
        if (got & (GBRUN_TO_END | GBRUN_INTERRUPT)) return 0;
    }
}

static int show(gbrun_console *console, bool terminal, double every_ms)
{
    int rc;
    if (terminal) {
        gbrun_console_raw(console);
        put("\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"); /* the other screen, no cursor */
        rc = live(console, every_ms);
        put("\x1b[?25h\x1b[?1049l");
        gbrun_console_cooked(console);
    } else {
        rc = once(console, every_ms);
    }
    if (rc < 0) fprintf(stderr, "%s\n", console->message ? console->message : gb_err_text(rc));
    return gbrun_console_close(console, rc < 0 ? GBRUN_FAILED : 0, 0);
}

int gbrun_top(gbrun_options *options)
{
    gb_config config;
    double every_ms = EVERY_MS;
    const char *every = gbrun_given(options, "--every");
    if (every && (!gbrun_duration(every, &every_ms) || every_ms < EVERY_MIN_MS)) {
        fprintf(stderr, "gbrun top: --every takes a duration of 100ms or more, not '%s'\n", every);
        return GBRUN_USAGE;
    }
    int code = gbrun_client_config(options, &config, false);
    if (code) return code;
    gbrun_console console;
    code = gbrun_console_open(&console, &config);
    if (code) return code;
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    return show(&console, terminal && !gbrun_given(options, "--once"), every_ms);
}
