/* What the files of the hostile test share: hostile.c (strangers, and how silos are started and
 * asked), hostile_slow.c (who reads too little, or asks for too much). One thread; what fails ends
 * the test and all it has started. */
#ifndef GB_TESTS_CLUSTER_HOSTILE_ROOM_H
#define GB_TESTS_CLUSTER_HOSTILE_ROOM_H

#include "chaos_room.h"
#include "cluster/hello.h"
#include "cluster/link.h"
#include "seed.h"

enum { PATIENCE_S = 60 };
/* Longer than a silo counts lines before it says how many more there were: a line that is not said
 * in that time was one of them, and may be tried for again. */
enum { COUNTED_S = 12, TRIES = 4 };

typedef struct scene {
    town town;
    gb_mem mem;
    seed random;
    int programs;
} scene;

/* ---- hostile.c ---- */

/* A program to its end, after it has said this (or NULL): its exit status. */
int run(scene *s, const char *const *words, const char *text);
void must_serve(scene *s, const char *when);

/* To the first silo. */
int dial(const scene *s);
void say(int fd, const gb_buf *bytes); /* it may close before all is said */
void put_hello(gb_buf *out, gb_link_role role, uint64_t silo);
void put_frame(gb_buf *out, uint8_t kind, const void *body, size_t size);

/* ---- hostile_slow.c ---- */

void slow_readers(scene *s);

#endif
