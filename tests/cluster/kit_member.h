/* One membership machine ("a"), the table that it is shown, and the time, which only the test
 * moves. One thread; what fails ends the test. */
#ifndef GB_TESTS_KIT_MEMBER_H
#define GB_TESTS_KIT_MEMBER_H

#include "cluster/member.h"

enum { KIT_MEMBER_ROWS = 8 };

typedef struct kit_member {
    gb_mem mem;
    gb_membership *m;
    gb_member_actions out; /* what it asks for */
    gb_times at;
    uint64_t version;
    gb_member rows[KIT_MEMBER_ROWS];
    uint32_t count;
} kit_member;

void kit_member_begin(kit_member *t);
void kit_member_end(kit_member *t);

/* Puts a row, in place of one with this id: the table is one version further. */
gb_member *kit_member_row(kit_member *t, uint64_t id, const char *name, uint64_t epoch,
                          gb_silo_state state);

/* What it asks for; NULL: it does not. */
const gb_member_action *kit_member_find(kit_member *t, gb_member_action_kind kind);
uint32_t kit_member_sent(kit_member *t, gb_message_kind kind, uint64_t *silo);
void kit_member_clear(kit_member *t);

/* The read, the write or the sign of life that it asks for happens. */
void kit_member_read(kit_member *t);
gb_silo_state kit_member_write(kit_member *t);
void kit_member_touched(kit_member *t);

void kit_member_tick(kit_member *t, uint64_t ns);
void kit_member_ack(kit_member *t);    /* all answer its probes */
void kit_member_join(kit_member *t);   /* to active, among who is there */
void kit_member_reread(kit_member *t); /* time passes until it reads, and it reads */

#endif
