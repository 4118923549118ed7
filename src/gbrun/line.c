#include "gbrun/line.h"

#include "gbrun/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ESCAPE = 0x1b, DELETE = 0x7f };

/* ---- characters ---- */

static bool continues(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

static size_t before(const gbrun_line *line, size_t at)
{
    if (at) at--;
    while (at && continues(line->text[at])) at--;
    return at;
}

static size_t behind(const gbrun_line *line, size_t at)
{
    if (at < line->size) at++;
    while (at < line->size && continues(line->text[at])) at++;
    return at;
}

static int columns_of(const char *text, size_t size)
{
    int columns = 0;
    for (size_t i = 0; i < size; i++) columns += !continues(text[i]);
    return columns;
}

/* ---- showing ---- */

/* One row of the terminal: of a line that is too long, the part around the cursor. */
void gbrun_line_show(const gbrun_line *line)
{
    int columns, rows, prompt = columns_of(line->prompt, strlen(line->prompt));
    gbrun_terminal_size(&columns, &rows);
    int room = columns - prompt - 1;
    if (room < 1) room = 1;
    size_t from = 0;
    while (columns_of(line->text + from, line->at - from) > room) from = behind(line, from);
    size_t to = from;
    while (to < line->size && columns_of(line->text + from, to - from) < room)
        to = behind(line, to);
    printf("\r%s%.*s\x1b[K\r\x1b[%dC", line->prompt, (int)(to - from), line->text + from,
           prompt + columns_of(line->text + from, line->at - from));
    fflush(stdout);
}

void gbrun_line_begin(gbrun_line *line, const char *prompt)
{
    line->prompt = prompt;
    line->size = line->at = line->escape_size = 0;
    line->text[0] = line->kept[0] = 0;
    line->shown = line->history_count;
    gbrun_line_show(line);
}

/* ---- changing ---- */

static void insert(gbrun_line *line, char byte)
{
    if (line->size + 1 >= sizeof line->text) return;
    memmove(line->text + line->at + 1, line->text + line->at, line->size - line->at + 1);
    line->text[line->at++] = byte;
    line->size++;
}

static void cut(gbrun_line *line, size_t from, size_t to)
{
    memmove(line->text + from, line->text + to, line->size - to + 1);
    line->size -= to - from;
    line->at = from;
}

static void cut_word(gbrun_line *line)
{
    size_t from = line->at;
    while (from && line->text[from - 1] == ' ') from--;
    while (from && line->text[from - 1] != ' ') from--;
    cut(line, from, line->at);
}

static void show_older(gbrun_line *line, int step)
{
    int shown = line->shown + step;
    if (shown < 0 || shown > line->history_count) return;
    if (line->shown == line->history_count) memcpy(line->kept, line->text, line->size + 1);
    line->shown = shown;
    snprintf(line->text, sizeof line->text, "%s",
             shown < line->history_count ? line->history[shown] : line->kept);
    line->size = line->at = strlen(line->text);
}

/* ---- keys ---- */

static void control(gbrun_line *line, unsigned char key)
{
    switch (key) {
    case CTRL('A'):
        line->at = 0;
        break;
    case CTRL('E'):
        line->at = line->size;
        break;
    case CTRL('B'):
        line->at = before(line, line->at);
        break;
    case CTRL('F'):
        line->at = behind(line, line->at);
        break;
    case CTRL('P'):
        show_older(line, -1);
        break;
    case CTRL('N'):
        show_older(line, 1);
        break;
    case CTRL('D'):
        cut(line, line->at, behind(line, line->at));
        break;
    case CTRL('H'):
    case DELETE:
        cut(line, before(line, line->at), line->at);
        break;
    case CTRL('K'):
        cut(line, line->at, line->size);
        break;
    case CTRL('U'):
        cut(line, 0, line->at);
        break;
    case CTRL('W'):
        cut_word(line);
        break;
    case CTRL('L'):
        printf("\x1b[H\x1b[2J");
        break;
    default:
        break;
    }
}

/* ESC [ and then parameters and a letter, or ESC O and a letter. What is unknown does nothing. */
static void escaped(gbrun_line *line, char byte)
{
    static const struct {
        const char *sequence;
        unsigned char key;
    } keys[] = {{"[A", CTRL('P')},  {"[B", CTRL('N')},  {"[C", CTRL('F')},  {"[D", CTRL('B')},
                {"OA", CTRL('P')},  {"OB", CTRL('N')},  {"OC", CTRL('F')},  {"OD", CTRL('B')},
                {"[H", CTRL('A')},  {"[F", CTRL('E')},  {"OH", CTRL('A')},  {"OF", CTRL('E')},
                {"[1~", CTRL('A')}, {"[4~", CTRL('E')}, {"[3~", CTRL('D')}, {"[7~", CTRL('A')},
                {"[8~", CTRL('E')}};
    if (line->escape_size < sizeof line->escape - 1) line->escape[line->escape_size++] = byte;
    line->escape[line->escape_size] = 0;
    const char *sequence = line->escape + 1;
    bool whole = line->escape_size == 2 ? byte != '[' && byte != 'O' : byte >= '@' && byte <= '~';
    if (!whole) return;
    line->escape_size = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        bool deletes = keys[i].key == CTRL('D'); /* on an empty line the key is no end */
        if (strcmp(keys[i].sequence, sequence) == 0 && !(deletes && !line->size))
            control(line, keys[i].key);
    }
}

gbrun_line_key gbrun_line_put(gbrun_line *line, unsigned char byte)
{
    gbrun_line_key done = GBRUN_LINE_OPEN;
    if (line->escape_size) {
        escaped(line, (char)byte);
    } else if (byte == ESCAPE) {
        line->escape[line->escape_size++] = ESCAPE;
    } else if (byte == '\r' || byte == '\n') {
        done = GBRUN_LINE_DONE;
    } else if (byte == CTRL('C')) {
        done = GBRUN_LINE_BREAK;
    } else if (byte == CTRL('D') && !line->size) {
        done = GBRUN_LINE_END;
    } else if (byte == '\t') {
        insert(line, ' ');
    } else if (byte < 0x20 || byte == DELETE) {
        control(line, byte);
    } else {
        insert(line, (char)byte);
    }
    if (done != GBRUN_LINE_OPEN) line->at = line->size;
    if (!line->escape_size) gbrun_line_show(line);
    if (done == GBRUN_LINE_BREAK) printf("^C");
    if (done != GBRUN_LINE_OPEN) printf("\r\n");
    fflush(stdout);
    return done;
}

/* ---- history ---- */

static void keep(gbrun_line *line, const char *text)
{
    if (line->history_count == GBRUN_HISTORY_MAX) {
        free(line->history[0]);
        memmove(line->history, line->history + 1, (GBRUN_HISTORY_MAX - 1) * sizeof *line->history);
        line->history_count--;
    }
    char *copy = strdup(text);
    if (copy) line->history[line->history_count++] = copy;
}

/* What people type is theirs alone: lines may hold secrets. */
static void append(const gbrun_line *line, const char *text)
{
    int fd = line->file ? open(line->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0) return;
    dprintf(fd, "%s\n", text);
    close(fd);
}

void gbrun_line_remember(gbrun_line *line, const char *text)
{
    int count = line->history_count;
    if (!text[strspn(text, " ")] || (count && strcmp(line->history[count - 1], text) == 0)) return;
    keep(line, text);
    append(line, text);
}

/* What is kept is all that the file has then, or the file is as it was. */
static void shorten(const gbrun_line *line)
{
    char path[GBRUN_LINE_BYTES];
    if (snprintf(path, sizeof path, "%s.new", line->file) >= (int)sizeof path) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out) return;
    for (int i = 0; i < line->history_count; i++) fprintf(out, "%s\n", line->history[i]);
    bool fine = !ferror(out);
    if (fclose(out) != 0 || !fine || rename(path, line->file) != 0) unlink(path);
}

void gbrun_line_init(gbrun_line *line, const char *file)
{
    int count = 0;
    memset(line, 0, sizeof *line);
    line->prompt = "";
    line->file = file ? strdup(file) : NULL;
    FILE *in = line->file ? fopen(line->file, "re") : NULL;
    for (; in && fgets(line->text, sizeof line->text, in); count++) {
        line->text[strcspn(line->text, "\n")] = 0;
        if (line->text[0]) keep(line, line->text);
    }
    if (in) fclose(in);
    if (count > 2 * GBRUN_HISTORY_MAX) shorten(line);
    line->text[0] = 0;
}

void gbrun_line_fini(gbrun_line *line)
{
    for (int i = 0; i < line->history_count; i++) free(line->history[i]);
    free(line->file);
}
