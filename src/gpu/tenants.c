#include "gpu/tenants.h"

#include "base/check.h"
#include "base/err.h"
#include "base/nearest.h"
#include "base/unit.h"
#include "gpu/front.h"

#include <ctype.h>
#include <string.h>

/* ---- names ---- */

int gb_tenant_check(const char *name)
{
    size_t size = strlen(name);
    bool good = isalpha((unsigned char)name[0]) && size <= GB_TENANT_NAME_MAX;
    for (size_t i = 0; i < size && good; i++)
        good = isalnum((unsigned char)name[i]) || strchr("_.-", name[i]);
    if (!good)
        return gb_err_set(GB_EINVAL,
                          "the name of a tenant is of letters, digits and _ . -, begins with a "
                          "letter and has at most %d, not '%.80s'",
                          GB_TENANT_NAME_MAX, name);
    if (strcmp(name, GB_TENANT_NONE) == 0)
        return gb_err_set(GB_EINVAL, "no tenant can be called '%s': that is what belongs to none",
                          GB_TENANT_NONE);
    return 0;
}

static const char *name_at(const void *list, int index)
{
    return ((const gbi_tenants *)list)->at[index]->name;
}

/* Its index; -1: there is none. Under the lock. */
static int find(const gbi_tenants *tenants, const char *name)
{
    for (int i = 0; i < tenants->count; i++)
        if (strcmp(tenants->at[i]->name, name) == 0) return i;
    return -1;
}

static int add(gbi_tenants *tenants, const char *name, int64_t bytes_max)
{
    if (tenants->count == GB_TENANTS_MAX)
        return gb_err_set(GB_EQUOTA, "tenant '%s': there are %d already, and no more can be", name,
                          GB_TENANTS_MAX);
    gbi_tenant *made = gb_mem_zalloc(tenants->mem, sizeof *made);
    if (!made) return GB_ENOMEM;
    memcpy(made->name, name, strlen(name) + 1);
    made->bytes_max = bytes_max;
    tenants->at[tenants->count++] = made;
    return 0;
}

/* ---- the setting ---- */

/* "acme=2GB" or "acme". */
static int add_entry(gbi_tenants *tenants, char *entry)
{
    char *size = strchr(entry, '=');
    if (size) *size++ = 0;
    int rc = gb_tenant_check(entry);
    if (rc < 0) return rc;
    int64_t bytes_max = 0;
    if (size && (!gb_size_parse(size, &bytes_max) || bytes_max < 1))
        return gb_err_set(GB_EINVAL,
                          "tenant '%s': a size (bytes, or \"512MB\") is wanted, not '%s'", entry,
                          size);
    if (find(tenants, entry) >= 0)
        return gb_err_set(GB_EINVAL, "tenant '%s' is named twice", entry);
    return add(tenants, entry, bytes_max);
}

static int add_list(gbi_tenants *tenants, const char *list)
{
    int rc = 0;
    size_t room = strlen(list) + 1;
    char *copy = gb_mem_alloc(tenants->mem, room);
    if (!copy) return GB_ENOMEM;
    memcpy(copy, list, room);
    for (char *at = copy, *end; at && rc == 0; at = end) {
        at += strspn(at, " ");
        if ((end = strchr(at, ','))) *end++ = 0;
        rc = add_entry(tenants, at);
    }
    gb_mem_free(tenants->mem, copy, room);
    return rc;
}

int gbi_tenants_init(gbi_tenants *tenants, gb_mem *mem, const char *list)
{
    memset(tenants, 0, sizeof *tenants);
    pthread_mutex_init(&tenants->lock, NULL);
    tenants->mem = mem;
    tenants->closed = list != NULL;
    return list ? add_list(tenants, list) : 0;
}

void gbi_tenants_fini(gbi_tenants *tenants)
{
    for (int i = 0; i < tenants->count; i++)
        gb_mem_free(tenants->mem, tenants->at[i], sizeof *tenants->at[i]);
    pthread_mutex_destroy(&tenants->lock);
}

int gb_tenants_check(const char *list)
{
    gb_mem mem;
    gbi_tenants tenants;
    gb_mem_init(&mem, "tenants", NULL, 0);
    int rc = gbi_tenants_init(&tenants, &mem, list);
    gbi_tenants_fini(&tenants);
    gb_mem_fini(&mem);
    return rc;
}

int gbi_tenants_cap(gbi_tenants *tenants, gb_ledger *ledger)
{
    int rc = 0;
    pthread_mutex_lock(&tenants->lock);
    for (int i = 0; i < tenants->count && rc == 0; i++)
        rc = gb_ledger_cap(ledger, (uint64_t)i + 1, tenants->at[i]->name, tenants->at[i]->bytes_max,
                           0);
    pthread_mutex_unlock(&tenants->lock);
    return rc;
}

/* ---- what others ask ---- */

static int find_or_add(gbi_tenants *tenants, const char *name)
{
    int at = find(tenants, name);
    if (at >= 0) return at;
    if (tenants->closed) {
        const char *near = gb_nearest(name, name_at, tenants, tenants->count);
        return gb_err_set(GB_ENOENT, "the setting tenants names no '%s'%s%s%s", name,
                          near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    int rc = add(tenants, name, 0);
    return rc < 0 ? rc : tenants->count - 1;
}

int gb_gpu_tenant(gb_gpu *gpu, const char *name, uint64_t *out)
{
    gbi_tenants *tenants = &gpu->tenants;
    int rc = gb_tenant_check(name);
    if (rc < 0) return rc;
    pthread_mutex_lock(&tenants->lock);
    rc = find_or_add(tenants, name);
    pthread_mutex_unlock(&tenants->lock);
    if (rc < 0) return rc;
    *out = (uint64_t)rc + 1;
    return 0;
}

int gb_gpu_tenant_count(gb_gpu *gpu)
{
    pthread_mutex_lock(&gpu->tenants.lock);
    int count = gpu->tenants.count;
    pthread_mutex_unlock(&gpu->tenants.lock);
    return count;
}

void gb_gpu_tenant_memory(gb_gpu *gpu, uint64_t tenant, gb_tenant_memory *out)
{
    *out = (gb_tenant_memory){.name = GB_TENANT_NONE};
    pthread_mutex_lock(&gpu->tenants.lock);
    GB_CHECK(tenant <= (uint64_t)gpu->tenants.count);
    if (tenant) {
        out->name = gpu->tenants.at[tenant - 1]->name;
        out->bytes_max = gpu->tenants.at[tenant - 1]->bytes_max;
    }
    pthread_mutex_unlock(&gpu->tenants.lock);
    if (gb_gpu_devices_open(gpu) > 0) out->bytes = gb_ledger_tenant(gpu->ledger, tenant).bytes;
}
