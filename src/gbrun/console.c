#include "gbrun/console.h"

#include "grain/root.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* ---- the terminal ---- */

void gbrun_console_raw(gbrun_console *console)
{
    if (console->raw || tcgetattr(STDIN_FILENO, &console->before) != 0) return;
    struct termios raw = console->before;
    raw.c_iflag &= ~(tcflag_t)(ICRNL | IXON | ISTRIP | INLCR);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    console->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void gbrun_console_cooked(gbrun_console *console)
{
    if (console->raw) tcsetattr(STDIN_FILENO, TCSADRAIN, &console->before);
    console->raw = false;
}

void gbrun_terminal_size(int *columns, int *rows)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;
    *columns = known ? size.ws_col : 80;
    *rows = known ? size.ws_row : 24;
}

/* ---- turns ---- */

static void wake(gbrun_console *console)
{
    uint64_t one = 1;
    while (write(console->wake, &one, sizeof one) < 0 && errno == EINTR) continue;
}

static void turn_ended(void *user, int rc, const char *message, const char *traceback)
{
    gbrun_console *console = user;
    (void)traceback;
    console->rc = rc;
    console->message = message ? strdup(message) : NULL;
    atomic_store(&console->ended, true);
    wake(console);
}

typedef struct order {
    gb_node node;
    gbrun_console *console;
    const char *name; /* NULL: cancel */
    int argc;
    const char *argv[];
} order;

static void run_order(gb_node *node, void *reader)
{
    order *o = GB_CONTAINER(node, order, node);
    gbl_state *state = o->console->host->states[0];
    (void)reader;
    if (!o->name) {
        gbl_script_end(state);
    } else {
        int rc = gbl_call_core(state, o->name, o->argc, o->argv, turn_ended, o->console);
        if (rc < 0) turn_ended(o->console, rc, gb_err_detail(), NULL);
    }
    for (int i = 0; i < o->argc; i++) free((char *)o->argv[i]);
    free(o);
}

static void put_order(gbrun_console *console, const char *name, int argc, const char **argv)
{
    order *o = malloc(sizeof *o + (size_t)argc * sizeof *argv);
    if (!o) abort(); /* a few bytes, once for each thing that a person does */
    *o = (order){.console = console, .name = name, .argc = argc};
    o->node.run = run_order;
    for (int i = 0; i < argc; i++) o->argv[i] = strdup(argv[i]);
    gb_worker_post(console->host->silo->workers[0], &o->node);
}

void gbrun_console_start(gbrun_console *console, const char *name, int argc, const char **argv)
{
    free(console->message);
    console->message = NULL;
    console->rc = 0;
    console->under_way = true;
    put_order(console, name, argc, argv);
}

void gbrun_console_cancel(gbrun_console *console)
{
    put_order(console, NULL, 0, NULL);
}

/* ---- waiting ---- */

static int read_signals(gbrun_console *console)
{
    struct signalfd_siginfo info;
    int got = 0;
    while (read(console->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGINT)
            got |= GBRUN_INTERRUPT;
        else if (info.ssi_signo == SIGWINCH)
            got |= GBRUN_RESIZED;
        else
            console->signal = (int)info.ssi_signo;
    }
    return got;
}

static int read_wake(gbrun_console *console)
{
    uint64_t count;
    if (read(console->wake, &count, sizeof count) < 0) return 0;
    if (!console->under_way || !atomic_exchange(&console->ended, false)) return 0;
    console->under_way = false;
    return GBRUN_TURN_ENDED;
}

int gbrun_console_wait(gbrun_console *console, bool keys, int ms)
{
    struct pollfd fds[] = {{.fd = console->wake, .events = POLLIN},
                           {.fd = console->signals, .events = POLLIN},
                           {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN}};
    int got = 0, count = poll(fds, 3, ms);
    if (count < 0) return 0;
    if (fds[0].revents) got |= read_wake(console);
    if (fds[1].revents) got |= read_signals(console);
    if (fds[2].revents) got |= GBRUN_KEY; /* also when nobody is there any more */
    if (console->signal || atomic_load(&console->exited)) got |= GBRUN_TO_END;
    return got;
}

/* ---- open and close ---- */

static void exit_asked(void *user, int code)
{
    gbrun_console *console = user;
    if (atomic_exchange(&console->exited, true)) return;
    console->code = code;
    wake(console);
}

static void our_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGWINCH);
}

int gbrun_console_open(gbrun_console *console, const gb_config *given)
{
    gb_config config = *given;
    sigset_t set;
    memset(console, 0, sizeof *console);
    our_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL); /* threads inherit it */
    console->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    console->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (console->signals < 0 || console->wake < 0) {
        fprintf(stderr, "gbrun: no descriptors: %s\n", strerror(errno));
        return GBRUN_FAILED;
    }
    if (config.workers <= 0) config.workers = config.connect ? 1 : -1;
    config.exit = exit_asked;
    config.exit_user = console;
    int rc = gb_open(&console->host, &config);
    if (rc == 0) return 0;
    fprintf(stderr, "gbrun: %s (%s)\n", gb_err_detail(), gb_err_name(rc));
    close(console->signals);
    close(console->wake);
    return GBRUN_FAILED;
}

int gbrun_console_close(gbrun_console *console, int code, double drain_ms)
{
    sigset_t set;
    gbrun_console_cooked(console);
    gbrun_console_cancel(console);
    our_signals(&set);
    sigdelset(&set, SIGWINCH);
    gbrun_close(console->host, &set, drain_ms);
    fflush(stdout);
    close(console->signals);
    close(console->wake);
    free(console->message);
    if (console->signal) return 128 + console->signal;
    return atomic_load(&console->exited) ? console->code & 0xff : code;
}
