/* The end of a root: an activation without a key that holds the turns of scripts (gb_worker_root).
 */
#ifndef GB_GRAIN_ROOT_H
#define GB_GRAIN_ROOT_H

#include "grain/grain.h"

/* Kills every turn of it (GB_ECANCELED), parked or ready; their done runs in a later pass. The root
 * itself stays. On the thread of its worker, outside of turns. How many were killed. */
int gb_root_end(gb_act *root);

#endif
