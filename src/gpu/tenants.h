/* The tenants of a host: names, their numbers and caps. The setting says which there are; without
 * it a name becomes a tenant when it is first asked for. None ever goes, so names stay where they
 * are and what a number means never changes. Any thread.
 */
#ifndef GB_GPU_TENANTS_H
#define GB_GPU_TENANTS_H

#include "gpu/gpu.h"

#include <pthread.h>

typedef struct gbi_tenant {
    char name[GB_TENANT_NAME_MAX + 1];
    int64_t bytes_max; /* 0: no cap */
} gbi_tenant;

typedef struct gbi_tenants {
    pthread_mutex_t lock;
    gb_mem *mem;
    bool closed; /* the setting named all of them */
    int count;
    gbi_tenant *at[GB_TENANTS_MAX]; /* number 1 first */
} gbi_tenants;

/* list: the setting, see gb_gpu_config. 0, GB_EINVAL, GB_ENOMEM; then it is to be ended too. */
int gbi_tenants_init(gbi_tenants *tenants, gb_mem *mem, const char *list);
void gbi_tenants_fini(gbi_tenants *tenants);

/* Tells the caps to a ledger that is new. */
int gbi_tenants_cap(gbi_tenants *tenants, gb_ledger *ledger);

#endif
