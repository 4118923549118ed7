#include "sys/cores.h"

#include <sched.h>
#include <unistd.h>

int gb_cores(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
    long cores = sysconf(_SC_NPROCESSORS_ONLN); /* more of them than the set has room for */
    return cores > 0 ? (int)cores : 1;
}
