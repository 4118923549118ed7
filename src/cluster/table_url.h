/* The URL of a membership table, taken apart. Pure; one thread.
 *
 *     memory:NAME   sqlite:PATH   SCHEME://[user[:password]@]host[:port][,host...][/path][?a=b]
 *
 * User, password and path may have %XX. No error shows more of a URL than its scheme.
 */
#ifndef GB_CLUSTER_TABLE_URL_H
#define GB_CLUSTER_TABLE_URL_H

#include "base/mem.h"
#include "cluster/provider.h"

typedef struct gbi_table_url {
    gb_provider_target target; /* all but cluster; points into text */
    const char *module;        /* "table_redis"; NULL: built in */
    char *text;                /* everything of it, owned */
    size_t text_bytes;
    char shown[256]; /* for people: without user, password and query */
} gbi_table_url;

/* GB_EINVAL: not such a URL, or a scheme that is not known (the detail names those there are). */
int gbi_table_url_parse(gbi_table_url *out, gb_mem *mem, const char *url);
void gbi_table_url_fini(gbi_table_url *url, gb_mem *mem);

#endif
