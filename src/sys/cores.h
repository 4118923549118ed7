/* How many cores there are for this process: what "one per core" means everywhere. Any thread. */
#ifndef GB_SYS_CORES_H
#define GB_SYS_CORES_H

/* Those that the calling thread may run on (taskset, a container's set of cores), at least 1. */
int gb_cores(void);

#endif
