#include "cluster/modules/redis_tls.h"

int gbm_redis_tls_open(gbm_redis_tls **out, const gb_provider_host *host, const char *query)
{
    (void)out;
    (void)query;
    return host->error(GB_ENOTYET, "this module was built without OpenSSL");
}

/* The rest is never called. */
void gbm_redis_tls_close(gbm_redis_tls *tls)
{
    (void)tls;
}

int gbm_redis_tls_begin(gbm_redis_tls *tls, int fd, const char *name, uint64_t deadline_ns,
                        char *why, size_t room)
{
    (void)tls, (void)fd, (void)name, (void)deadline_ns, (void)why, (void)room;
    return GB_ENOTYET;
}

void gbm_redis_tls_end(gbm_redis_tls *tls)
{
    (void)tls;
}

ssize_t gbm_redis_tls_move(gbm_redis_tls *tls, void *bytes, size_t size, bool is_out, short *events,
                           char *why, size_t room)
{
    (void)tls, (void)bytes, (void)size, (void)is_out, (void)events, (void)why, (void)room;
    return -1;
}
