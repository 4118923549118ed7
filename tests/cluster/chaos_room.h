/* Processes of the chaos test: started, heard, ended. Each line that one prints, on either of its
 * outputs, comes once, with the time when it came. One thread; a wait that fails ends the test and
 * all it has started. */
#ifndef GB_TESTS_CLUSTER_CHAOS_ROOM_H
#define GB_TESTS_CLUSTER_CHAOS_ROOM_H

#include "chaos_net.h"
#include "cluster/table.h"
#include "cluster/table_seal.h"
#include "engine.h"

#include <stdint.h>
#include <sys/types.h>

enum { SILOS = 5, CLIENTS = 2, KEYS = 60, CALLERS = 16, LINE_BYTES = 512 };

/* Lines of silos' logs that are counted. */
enum {
    JOINS_AGAIN,
    LOST_ROWS,
    WHOLE_AGAIN,
    NOT_READING,
    TOO_MANY,
    HEARD_AGAIN,
    MORE_SLOW,
    MORE_REFUSED,
    NOT_TAKING,
    TAKES_AGAIN,
    SAYINGS
};

typedef struct proc {
    pid_t pid;         /* 0: not running */
    int fd, space;     /* the network namespace it lives in; 0: ours */
    int said[SAYINGS]; /* how often so far */
    int clocks[SILOS]; /* whose clock it has found ahead (1) or behind (-1) */
    char name[8];
    size_t have;
    char bytes[4096];
    char mark[LINE_BYTES]; /* its last line that says "ready" or "end" */
} proc;

typedef struct line {
    proc *from;
    double at;
    char text[LINE_BYTES]; /* empty: nothing came in time */
} line;

typedef struct town {
    engine engine;
    net net;
    const char *gbrun, *wall; /* wall: the library that sets a process's clock; NULL: none */
    gb_mem mem;
    gb_table_view copy; /* of the table, from long ago */
    gb_secret key;
    gb_seal seal; /* of the table's rows */
    proc silos[SILOS], clients[CLIENTS];
    int ports[SILOS];
    int homes[CLIENTS][KEYS]; /* the silo of each key, as each client saw it last */
    double patience, slowest_back;
    char folder[256], stop[300], keys[300], where[KEYS][LINE_BYTES];
} town;

double now_s(void);
void need(bool fine, const char *what);

void proc_start(proc *p, const char *name, const char *const *args);
void proc_end(proc *p, int signal);              /* and waits for it */
int proc_wait(town *t, proc *p, double seconds); /* its exit status; 128 and more: a signal */

/* The next line of anybody until then. Lines that look like a broken program end the test. */
line next_line(town *t, double until);
/* The next line of p that has the text; without a text where there is none in time. */
line find_line(town *t, const proc *p, const char *text, double seconds);
/* The same, and it must come. */
line wait_line(town *t, const proc *p, const char *text, double seconds);
/* Until it has said this more often than so. */
void wait_said(town *t, const proc *p, int what, int before);
/* Until it has said "ready" or "end", perhaps before. */
void wait_mark(town *t, proc *p, double seconds);

#endif
