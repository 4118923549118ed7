/* What commands share that stay with a person: gbrun repl and gbrun top.
 *
 * The host has threads for all its workers; this thread waits for keys, for signals, and for the
 * turn that it has asked for. Lua prints; this thread prints only while no turn is under way.
 */
#ifndef GB_GBRUN_CONSOLE_H
#define GB_GBRUN_CONSOLE_H

#include "gbrun/gbrun.h"

#include <termios.h>

/* What a wait has ended for; several may be true. */
enum {
    GBRUN_TURN_ENDED = 1,
    GBRUN_KEY = 2,       /* standard input can be read */
    GBRUN_INTERRUPT = 4, /* SIGINT */
    GBRUN_RESIZED = 8,   /* the terminal */
    GBRUN_TO_END = 16    /* SIGTERM or SIGHUP, or os.exit was called */
};

typedef struct gbrun_console {
    gb_host *host;
    int signals, wake; /* descriptors */
    bool under_way;    /* a turn */
    atomic_bool ended; /* it has ended; then: */
    int rc;            /* ... how */
    char *message;
    atomic_bool exited; /* os.exit */
    int code;           /* ... with this */
    int signal;         /* that ends the program; 0: none */
    bool raw;           /* the terminal is */
    struct termios before;
} gbrun_console;

/* Opens the host, and takes SIGINT, SIGTERM, SIGHUP and SIGWINCH from the program. GBRUN_FAILED
 * with the error printed. */
int gbrun_console_open(gbrun_console *console, const gb_config *config);

/* Ends what still runs, and restores the terminal. The exit code, which is `code` unless a signal
 * or os.exit says otherwise. */
int gbrun_console_close(gbrun_console *console, int code, double drain_ms);

/* core.NAME(arguments...) as a turn of a script, on the first worker: none is under way. */
void gbrun_console_start(gbrun_console *console, const char *name, int argc, const char **argv);

/* Kills the turn under way, and what it and earlier ones have spawned. A turn that waits for
 * nothing cannot be killed. */
void gbrun_console_cancel(gbrun_console *console);

/* Waits for any of it; keys: also for those. 0: the time is up; negative ms: no time is. */
int gbrun_console_wait(gbrun_console *console, bool keys, int ms);

/* The terminal gives key by key, prints nothing of itself, and Ctrl-C is a key; and back. Both are
 * nothing when it is so already. */
void gbrun_console_raw(gbrun_console *console);
void gbrun_console_cooked(gbrun_console *console);

void gbrun_terminal_size(int *columns, int *rows); /* 80 by 24 when nobody knows */

#endif
