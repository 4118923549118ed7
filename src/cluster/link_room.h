/* What link.c and greet.c share. */
#ifndef GB_CLUSTER_LINK_ROOM_H
#define GB_CLUSTER_LINK_ROOM_H

#include "cluster/link.h"
#include "wire/cbor.h"
#include "wire/frame.h"

/* May these two talk? 0 or GB_EDENIED. */
int gbi_link_judge(const gb_hello *ours, const gb_hello *theirs);

#endif
