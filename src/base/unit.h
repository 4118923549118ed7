/* Numbers with a unit, as people write them in settings: "250ms", "512MB". Pure; any thread. */
#ifndef GB_BASE_UNIT_H
#define GB_BASE_UNIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct gb_unit {
    const char *name; /* "" in a list: what a bare number is in */
    double factor;
} gb_unit;

/* A finite number from 0 with one of the units (the list ends with a NULL name); false, and *out as
 * it was, when the text is none. */
bool gb_unit_parse(const char *text, const gb_unit *units, double *out);

/* A size: bytes, or with B, KB, MB or GB, which are powers of 1024. At most 1e18. */
bool gb_size_parse(const char *text, int64_t *out);

#endif
