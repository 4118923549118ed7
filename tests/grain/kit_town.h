/* Several silos of the kit in one test, with doors between them (grain/far.h). What goes from one
 * to another waits on a line, in order, until the test lets it pass. A grain lives on the silo that
 * the town names for its key. */
#ifndef GB_TESTS_KIT_TOWN_H
#define GB_TESTS_KIT_TOWN_H

#include "base/list.h"
#include "grain/far.h"
#include "kit_kind.h"
#include "seed.h"

enum { TOWN_SILOS = 3 };

typedef struct town town;

typedef struct town_door {
    gb_far far;
    town *town;
    int index;
    int asked, ended, questions; /* how often; questions: that left */
    int here[KIT_KEYS];          /* that place said yes to, less those that ended */
    bool late;                   /* also what is to be here is said later */
    bool dead;
} town_door;

struct town {
    int count;
    kit kit[TOWN_SILOS];
    town_door door[TOWN_SILOS];
    int owner[KIT_KEYS];                   /* -1: refused */
    gb_list lines[TOWN_SILOS][TOWN_SILOS]; /* from, to */
    gb_list sent;                          /* calls that are at another silo */
};

void town_open(town *t, int count, int workers, uint64_t seed);
void town_close(town *t); /* nothing may be under way, but at the dead */
void town_define(town *t, int type, const gb_type_options *options);

bool town_pass(town *t, int from, int to); /* one thing of a line; false: there is none */
void town_run(town *t);                    /* all silos, until they wait for lines */
void town_settle(town *t);                 /* all, until nothing is left */
void town_stir(town *t, seed *s);          /* some of it, in any order */
void town_advance(town *t, uint64_t ns);
void town_kill(town *t, int silo); /* its calls are lost */

#endif
