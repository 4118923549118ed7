/* A line of text that a person edits on a terminal, and those of before. One thread.
 *
 * Keys: the arrows, Home, End, Delete; Ctrl-A, E, B, F, P, N, D, H, K, U, W, L as in a shell. Text
 * is UTF-8; a character takes one column.
 */
#ifndef GB_GBRUN_LINE_H
#define GB_GBRUN_LINE_H

#include <stdbool.h>
#include <stddef.h>

enum { GBRUN_LINE_BYTES = 4096, GBRUN_HISTORY_MAX = 1000 };

typedef struct gbrun_line {
    char text[GBRUN_LINE_BYTES]; /* ends with NUL */
    size_t size, at;             /* at: the cursor */
    const char *prompt;
    char kept[GBRUN_LINE_BYTES]; /* what was being typed, while an older line is shown */
    char *history[GBRUN_HISTORY_MAX];
    int history_count, shown; /* shown == history_count: none of them */
    char *file;               /* NULL: it is not kept */
    char escape[8];           /* of a key that has not come as a whole yet */
    size_t escape_size;
} gbrun_line;

/* file: where the history is; it is read, appended to, and shortened when it is twice as long as
 * what is kept. NULL: nowhere. */
void gbrun_line_init(gbrun_line *line, const char *file);
void gbrun_line_fini(gbrun_line *line);

/* Begins a new one, and shows the prompt. */
void gbrun_line_begin(gbrun_line *line, const char *prompt);

/* What a key has done. */
typedef enum { GBRUN_LINE_OPEN, GBRUN_LINE_DONE, GBRUN_LINE_END, GBRUN_LINE_BREAK } gbrun_line_key;

/* One byte from the terminal. END: Ctrl-D on an empty line; BREAK: Ctrl-C. */
gbrun_line_key gbrun_line_put(gbrun_line *line, unsigned char byte);

void gbrun_line_show(const gbrun_line *line); /* anew, where the cursor is */

/* Adds it to the history, unless it is empty or the same as the last one. */
void gbrun_line_remember(gbrun_line *line, const char *text);

#endif
