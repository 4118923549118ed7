/* Placement: on which silo a grain that is active nowhere is to be activated. Chosen among the
 * compatible silos only: active, and hosting the type (its row lists it), and carrying the label
 * when one is asked for.
 *
 * The GPU strategies look at fresh records alone, the caller's own silo's too. A choice is counted
 * in the book until the silo tells its capacity anew, so that a burst within 30 s does not all go
 * to the silo that was best when it began.
 *
 * One thread. Errors: GB_ENOTYPE: no active silo hosts the type; GB_ENOENT: none that does has the
 * label; GB_ENOGPU: no GPU has that much free and a GPU is demanded; GB_ENOMEM.
 */
#ifndef GB_CLUSTER_PLACE_H
#define GB_CLUSTER_PLACE_H

#include "cluster/capacity_book.h"

typedef enum gb_place_strategy {
    GB_SILO_RANDOM,
    GB_SILO_LOCAL,   /* the caller's, else random */
    GB_SILO_HASH,    /* by the key: the same silo while the compatible ones are the same */
    GB_SILO_LEAST,   /* fewest activations */
    GB_SILO_GPU,     /* highest score, then shortest queue */
    GB_SILO_AFFINE,  /* one device for all that name one group */
    GB_SILO_BALANCED /* of two GPU silos drawn at random the one with less to do */
} gb_place_strategy;

typedef struct gb_place_query {
    const char *type;
    gb_place_strategy strategy;
    const char *label;  /* "role=gpu,zone=a": all of them; or NULL */
    uint64_t here;      /* the caller's silo */
    bool prefer_local;  /* GPU strategies: here, if its fresh record has the memory */
    bool demand_gpu;    /* else a random compatible silo is the fallback */
    int64_t minimum_mb; /* on one device */
    uint64_t hash;      /* of the key; for AFFINE of the group */
    uint64_t random;    /* any number: the choice follows from it */
} gb_place_query;

typedef struct gb_place_answer {
    uint64_t silo;
    int32_t device; /* for AFFINE, else -1 */
    bool fallback;  /* a GPU was wanted and there is none */
} gb_place_answer;

/* The compatible silos of each type, kept from one choice to the next. */
typedef struct gb_place {
    gb_mem *mem;
    gb_book *book;
    struct gb_place_type **types;
    uint32_t count, room;
} gb_place;

void gb_place_init(gb_place *place, gb_mem *mem, gb_book *book); /* borrows the book */
void gb_place_fini(gb_place *place);

int gb_place_choose(gb_place *place, const gb_place_query *query, int64_t now,
                    gb_place_answer *out);

/* Does a sorted list ("Basket,Counter") hold a word? The empty list holds none. */
bool gb_place_lists(const char *list, const char *word);

#endif
