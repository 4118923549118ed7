/* A host with one script: it runs until the script has ended, os.exit or a signal; then it is
 * drained and closed. And how any host is closed within a bound. */
#include "gbrun/gbrun.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTICE_MS = 2000, SLICE_MS = 100, UNHEARD_S = 5, CLOSE_S = 10 };

/* tidy: allowed because signal handlers have no argument */
static _Atomic(gbrun_session *) current;
/* tidy: allowed because signal handlers have no argument */
static volatile sig_atomic_t got;

/* ---- closing ---- */

static void on_more(int number)
{
    static const char text[] = "gbrun: what it runs does not end; it ends without that\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)number, (void)written;
    _exit(GBRUN_FAILED);
}

void gbrun_close(gb_host *host, const sigset_t *signals, double drain_ms)
{
    struct sigaction action = {.sa_handler = on_more};
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigprocmask(SIG_UNBLOCK, signals, NULL);
    alarm((unsigned)(drain_ms / 1000) + CLOSE_S);
    gb_close(host, (int)drain_ms);
    alarm(0);
}

/* ---- one script ---- */

static void stop(gbrun_session *session)
{
    atomic_store(&session->stop, true);
    gb_host *host = session->host;
    if (host && !gb_sys_is_sim(host->sys))
        gb_loop_wake(host->silo->workers[0]->loop); /* a write to an eventfd */
}

/* The first signal drains, the second ends at once; so does one that nobody hears (a turn that
 * never ends). */
static void on_signal(int number)
{
    int error = errno;
    gbrun_session *session = atomic_load(&current);
    if (got || !session) _exit(128 + number);
    got = number;
    if (!session->closing) stop(session);
    alarm(UNHEARD_S);
    errno = error;
}

static void on_alarm(int number)
{
    static const char text[] = "gbrun: a turn does not end; the program ends without it\n";
    (void)number;
    gbrun_session *session = atomic_load(&current);
    if (got || !session) _exit(128 + (int)got);
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(GBRUN_FAILED);
    _exit(session->result);
}

static void catch_signals(gbrun_session *session)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    atomic_store(&current, session);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
}

static void release_signals(void)
{
    alarm(0);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    atomic_store(&current, NULL);
}

/* os.exit, on any worker's thread; the first one counts. */
static void exit_asked(void *user, int code)
{
    gbrun_session *session = user;
    if (atomic_exchange(&session->exited, true)) return;
    session->code = code;
    stop(session);
}

void gbrun_script_ended(void *user, int rc, const char *message, const char *traceback)
{
    gbrun_session *session = user;
    if (session->closing) return; /* it was ended */
    session->ended = true;
    session->rc = rc;
    session->message = message ? strdup(message) : NULL;
    session->traceback = traceback ? strdup(traceback) : NULL;
    atomic_store(&session->stop, true);
}

int gbrun_session_open(gbrun_session *session, const gb_config *given)
{
    gb_config config = *given;
    memset(session, 0, sizeof *session);
    config.exit = exit_asked;
    config.exit_user = session;
    int rc = gbi_host_open(&session->host, &config, 1);
    if (rc < 0) {
        fprintf(stderr, "gbrun: %s (%s)\n", gb_err_detail(), gb_err_name(rc));
        return GBRUN_FAILED;
    }
    catch_signals(session);
    return 0;
}

static int report(const gbrun_session *session)
{
    if (session->rc >= 0) return 0;
    fprintf(stderr, "gbrun: %s\n", session->message ? session->message : gb_err_text(session->rc));
    if (session->traceback) fprintf(stderr, "%s\n", session->traceback);
    return GBRUN_FAILED;
}

/* What the script has spawned and queued goes on, for a while. Returns what is left of the time; a
 * quarter of it stays for the hooks of the grains. */
static double wait_quiet(gbrun_session *session, double drain_ms)
{
    double most = drain_ms * 3 / 4, waited = 0;
    while (waited < most && !got && !atomic_load(&session->exited)) {
        double slice = most - waited < SLICE_MS ? most - waited : SLICE_MS;
        if (gbi_host_settle(session->host, slice < 1 ? 1 : (int)slice)) break;
        if (waited == NOTICE_MS)
            fprintf(stderr,
                    "gbrun: the script has ended; what it started still runs, for %.0f s at most\n",
                    drain_ms / 1000);
        waited += slice;
    }
    return drain_ms - waited;
}

int gbrun_session_finish(gbrun_session *session, int started, double drain_ms)
{
    gb_host *host = session->host;
    int code = 0;
    if (started < 0) {
        fprintf(stderr, "gbrun: %s\n", gb_err_detail());
        code = GBRUN_FAILED;
    } else if (!gbi_host_run(host, &session->stop)) {
        fprintf(stderr,
                "gbrun: the script waits for something that can never happen (EDEADLOCK)\n");
        code = GBRUN_FAILED;
    }
    alarm(0);
    if (session->ended) code = report(session);
    fflush(stdout);
    if (session->ended && !host->config.virtual_time) drain_ms = wait_quiet(session, drain_ms);
    session->result = got                             ? 128 + (int)got
                      : atomic_load(&session->exited) ? session->code & 0xff
                                                      : code;
    session->closing = true;
    gbl_script_end(host->states[0]);
    alarm((unsigned)(drain_ms / 1000) + CLOSE_S); /* a worker in an endless turn never joins */
    gb_close(host, started < 0 ? 0 : (int)drain_ms);
    release_signals();
    free(session->message);
    free(session->traceback);
    fflush(stdout);
    return got ? 128 + (int)got : atomic_load(&session->exited) ? session->code & 0xff : code;
}
