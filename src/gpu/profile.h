/* What launches take, by kernel, when the room was told to note it (config.profiling).
 *
 * A row is of a device and a kernel's name. It is made by the first launch that ends and outlives
 * the kernel's modules, so that a reload loses no count; without memory for it a launch is not
 * noted. Rows are only ever added. Any thread; reading and noting take one lock of the row.
 */
#ifndef GB_GPU_PROFILE_H
#define GB_GPU_PROFILE_H

#include "gpu/backend.h"

#include <pthread.h>

typedef struct gbi_profile_row gbi_profile_row;

typedef struct gbi_profile {
    bool on;
    gb_mem *mem;
    pthread_mutex_t lock; /* of the list */
    gbi_profile_row *rows;
} gbi_profile;

void gbi_profile_init(gbi_profile *profile, gb_mem *mem, bool on);
void gbi_profile_fini(gbi_profile *profile); /* no kernel is left */

/* A launch is queued, of a profile that is on; it ended. It is noted when it was also started
 * (backend.h). */
void gbi_profile_queue(gbi_command *launch);
void gbi_profile_end(const gbi_command *launch, int rc);

static inline void gbi_profile_ended(const gbi_command *launch, int rc)
{
    if (__builtin_expect(launch->u.launch.started_ns != 0, 0)) gbi_profile_end(launch, rc);
}

#endif
