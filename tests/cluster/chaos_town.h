/* What the people of the chaos test do, and what is done to them. Each of the faults below ends
 * when all is well again; what is not in time ends the test. One thread. */
#ifndef GB_TESTS_CLUSTER_CHAOS_TOWN_H
#define GB_TESTS_CLUSTER_CHAOS_TOWN_H

#include "chaos_room.h"

void address_of(const town *t, int silo, char out[32]);

/* What is started next is a silo or a client at this place. */
void become(town *t, proc *p, const char *who, int place);

void start_silo(town *t, int i);
void await_ready(town *t, int i);
/* Nobody has said of a clock what is not so. all: waits until the silos whose clocks are right have
 * said whose are not, if any are. */
void check_clocks(town *t, bool all);
void start_client(town *t, int i);
int deadline_of(const town *t); /* of the clients' calls, in seconds */
/* A client's program that has an end, connected to a silo. */
proc *start_program(town *t, int silo, const char *file, const char *word);

/* So many lines of both clients say that they got results. */
void await_works(town *t, int lines);

void do_kill(town *t, int i);
void do_freeze(town *t, int i);
void do_drain(town *t, int i);
void do_outage(town *t);
void take_copy(town *t);                    /* of the table, for */
void do_loss(town *t, bool restore, int i); /* ... it back, or none; silo i ends and starts */
void do_full(town *t, int i);               /* sqlite on a disk of its own (net_disk) */

enum { CUTS = 4, NETWORK_FAULTS = CUTS + 4 }; /* of one silo; all */
void break_network(town *t, int what, int i);

#endif
