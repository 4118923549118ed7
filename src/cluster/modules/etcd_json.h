/* The requests and answers of etcd's JSON gateway, over jansson. Bodies are malloc'ed text, NULL
 * without memory. Nothing of an answer is believed: GBM_ETCD_STRANGE. Pure; any thread.
 */
#ifndef GB_CLUSTER_MODULES_ETCD_JSON_H
#define GB_CLUSTER_MODULES_ETCD_JSON_H

#include "cluster/provider.h"

enum { GBM_ETCD_STRANGE = -1000 };

/* A read in pages. */
typedef struct gbm_etcd_page {
    const char *cluster;
    int limit;
    char *next; /* the key to go on from, in base64, owned by who reads; NULL: from the start */
    int64_t revision;
    bool has_more;
} gbm_etcd_page;

char *gbm_etcd_range(const gbm_etcd_page *page);
int gbm_etcd_fields(gbm_etcd_page *page, const char *answer, size_t size, gb_fields_out *out);

char *gbm_etcd_change(const char *cluster, const char *expected, const gb_field *fields,
                      uint32_t count);
char *gbm_etcd_clear(const char *cluster); /* if there is no version */
char *gbm_etcd_touch(const char *cluster, const gb_field *field);
int gbm_etcd_succeeded(const char *answer, size_t size); /* 0, 1 */

char *gbm_etcd_login(const char *user, const char *password);
int gbm_etcd_token(const char *answer, size_t size, char *out, size_t room);

/* The gRPC code of a refusal and its text; 0 and "" when there is none. */
int gbm_etcd_error(const char *answer, size_t size, char *text, size_t room);

#endif
