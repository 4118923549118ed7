/* What those who operate a cluster ask of a silo, and what it tells the others of its devices.
 *
 * Each member has two grain types of the house (lua/gb/silo.lua): "$silo", whose key is the name of
 * a silo and whose one activation is there, and "$cluster", which whoever is asked answers. Their
 * methods call the functions that are added here to those of the program (gb.host).
 */
#ifndef GB_HOST_OPERATE_H
#define GB_HOST_OPERATE_H

#include "host/host.h"

/* Of a member, before its workers run. GB_ENOMEM. */
int gbi_operate_open(gb_host *host);
void gbi_operate_close(gb_host *host);

/* Opens the devices and tells what they have for the first time. Blocks. */
int gbi_operate_begin(gb_host *host);

/* The system thread, every so often. */
void gbi_operate_tick(gb_host *host);

#endif
