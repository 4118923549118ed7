/* Runs a program on a terminal of its own, as a person would: what is to be typed and what is to
 * appear stand in lines on standard input. It waits for what appears, never for time.
 *
 *   terminal COLUMNS ROWS PROGRAM ARG... <<END
 *   see TEXT     TEXT appears, behind what was seen before
 *   type TEXT    \r \e \xHH and \\ are written so
 *   size COLUMNS ROWS
 *   signal NUMBER
 *   kill PID     another process
 *   end CODE     the program ends with this code, and the terminal is as it was
 *   END
 */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

enum { PATIENCE_MS = 100000, SEEN_BYTES = 1 << 20 };

typedef struct scene {
    pid_t child;
    int master, line;
    int64_t until_ms; /* this step may take */
    struct termios before;
    char seen[SEEN_BYTES]; /* all that has appeared */
    size_t size, at;       /* at: behind what was asked for last */
} scene;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

static int fail(const scene *s, const char *what, const char *text)
{
    fprintf(stderr, "line %d: %s: %s\nwhat has appeared since:\n%s\n", s->line, what, text,
            s->seen + s->at);
    kill(s->child, SIGKILL);
    exit(1);
}

/* False: the program has closed its side. */
static bool read_more(scene *s, const char *what, const char *text)
{
    struct pollfd fd = {.fd = s->master, .events = POLLIN};
    int64_t left = s->until_ms - now_ms();
    if (left <= 0 || poll(&fd, 1, (int)left) == 0) fail(s, what, text);
    ssize_t size = read(s->master, s->seen + s->size, sizeof s->seen - 1 - s->size);
    if (size <= 0) return size < 0 && errno == EINTR;
    for (ssize_t i = 0; i < size; i++) /* texts end with NUL here */
        if (!s->seen[s->size + (size_t)i]) s->seen[s->size + (size_t)i] = '?';
    s->size += (size_t)size;
    s->seen[s->size] = 0;
    if (s->size >= sizeof s->seen - 1) fail(s, "too much has appeared", text);
    return true;
}

static size_t unescape(char *text)
{
    char *to = text;
    for (char *from = text; *from; from++) {
        if (*from != '\\' || !from[1]) {
            *to++ = *from;
            continue;
        }
        switch (*++from) {
        case 'r':
            *to++ = '\r';
            break;
        case 'e':
            *to++ = 0x1b;
            break;
        case 'x':
            *to++ = (char)strtol((char[]){from[1], from[2], 0}, NULL, 16);
            from += 2;
            break;
        default:
            *to++ = *from;
        }
    }
    *to = 0;
    return (size_t)(to - text);
}

static void see(scene *s, char *text)
{
    unescape(text);
    for (char *found; !(found = strstr(s->seen + s->at, text));)
        if (!read_more(s, "did not appear", text)) fail(s, "the program has ended before", text);
    s->at = (size_t)(strstr(s->seen + s->at, text) - s->seen) + strlen(text);
}

static void end(scene *s, const char *code)
{
    struct termios after;
    int status, wanted = number(code);
    while (read_more(s, "it does not end", "")) continue;
    if (waitpid(s->child, &status, 0) != s->child) fail(s, "waitpid", strerror(errno));
    int got = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    char text[64];
    snprintf(text, sizeof text, "%d, not %d", got, wanted);
    if (got != wanted) fail(s, "the exit code is", text);
    if (tcgetattr(s->master, &after) != 0) return;
    if (after.c_lflag != s->before.c_lflag || after.c_iflag != s->before.c_iflag)
        fail(s, "the terminal", "is not as it was");
}

static void resize(scene *s, const char *text)
{
    struct winsize size = {0};
    if (sscanf(text, "%hu %hu", &size.ws_col, &size.ws_row) != 2) fail(s, "no size", text);
    ioctl(s->master, TIOCSWINSZ, &size);
}

static bool step(scene *s, char *line)
{
    char *text = strchr(line, ' ');
    if (!text) return false;
    *text++ = 0;
    s->until_ms = now_ms() + PATIENCE_MS;
    if (strcmp(line, "see") == 0)
        see(s, text);
    else if (strcmp(line, "type") == 0)
        return write(s->master, text, unescape(text)) >= 0;
    else if (strcmp(line, "size") == 0)
        resize(s, text);
    else if (strcmp(line, "signal") == 0)
        kill(s->child, number(text));
    else if (strcmp(line, "kill") == 0)
        kill(number(text), SIGKILL);
    else if (strcmp(line, "end") == 0)
        end(s, text);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static scene s;
    char line[4096];
    if (argc < 4) return 2;
    struct winsize size = {.ws_col = (unsigned short)number(argv[1]),
                           .ws_row = (unsigned short)number(argv[2])};
    int slave; /* kept open here, so that the terminal's settings can be read after the program */
    if (openpty(&s.master, &slave, NULL, NULL, &size) != 0) {
        perror("openpty");
        return 1;
    }
    tcgetattr(s.master, &s.before);
    s.child = fork();
    if (s.child == 0) {
        close(s.master);
        login_tty(slave);
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    close(slave);
    while (fgets(line, sizeof line, stdin)) {
        s.line++;
        line[strcspn(line, "\n")] = 0;
        if (*line && !step(&s, line)) fail(&s, "cannot do", line);
    }
    return 0;
}
