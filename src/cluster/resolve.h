/* Host names to numeric addresses, bounded in time: the system's resolver has no deadline, so it
 * runs on a thread of its own, which is left behind when it is too late. Any thread but those that
 * may not block.
 */
#ifndef GB_CLUSTER_RESOLVE_H
#define GB_CLUSTER_RESOLVE_H

#include <stddef.h>
#include <stdint.h>

/* gb_provider_host.resolve. */
int gbi_resolve(char *out, size_t room, const char *host, uint64_t deadline_ns);

#endif
