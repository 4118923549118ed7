/* Lines of the log that others cause. Who means no good, or is broken, causes many: some are said,
 * and then how many more there were. */
#include "cluster/cluster_room.h"

#include <stdio.h>

enum { LINES_MAX = 10, COUNTED_SECONDS = 10 };

static const char *const what_more[GBI_NOISES] = {
    [GBI_NOISE_REFUSED] = "connections were refused",
    [GBI_NOISE_SLOW] = "times somebody was slow, or was so no more",
};

/* A time of counting is over. Under the lock. */
static void end_noise(gb_cluster *cluster, gbi_noise_kind kind, uint64_t now)
{
    gbi_noise *noise = &cluster->noise[kind];
    if (now < noise->until) return;
    if (noise->count > LINES_MAX)
        gbi_cluster_say(cluster, GB_LOG_WARN, "%u more %s", noise->count - LINES_MAX,
                        what_more[kind]);
    noise->count = 0;
}

void gbi_noise_tick(gb_cluster *cluster, uint64_t now)
{
    pthread_mutex_lock(&cluster->state_lock);
    for (int i = 0; i < GBI_NOISES; i++) end_noise(cluster, (gbi_noise_kind)i, now);
    pthread_mutex_unlock(&cluster->state_lock);
}

static void make_noise(gb_cluster *cluster, gbi_noise_kind kind, gb_log_level level,
                       const char *text)
{
    gbi_noise *noise = &cluster->noise[kind];
    uint64_t now = gb_now(cluster->sys);
    pthread_mutex_lock(&cluster->state_lock);
    end_noise(cluster, kind, now);
    if (noise->count++ == 0) noise->until = now + COUNTED_SECONDS * GB_SEC;
    if (noise->count <= LINES_MAX) gbi_cluster_say(cluster, level, "%s", text);
    pthread_mutex_unlock(&cluster->state_lock);
}

void gbi_cluster_refused(void *user, const char *peer, const char *why)
{
    char text[480];
    snprintf(text, sizeof text, "a connection from %s was refused: %s", peer, why);
    make_noise(user, GBI_NOISE_REFUSED, GB_LOG_WARN, text);
}

void gbi_cluster_slow(void *user, uint64_t silo, const char *peer, const gb_grant *grant, bool on,
                      const char *what)
{
    char text[480];
    gb_view *view = silo ? gb_cluster_view(user) : NULL;
    const gb_member *row = view ? gb_view_find(view, silo) : NULL;
    if (row)
        snprintf(text, sizeof text, "the silo '%s' at %s %s", row->name, peer, what);
    else if (grant && *grant->who)
        snprintf(text, sizeof text, "the client at %s (%s) %s", peer, grant->who, what);
    else
        snprintf(text, sizeof text, "the %s at %s %s", silo ? "silo" : "client", peer, what);
    gb_view_unref(view);
    make_noise(user, GBI_NOISE_SLOW, on ? GB_LOG_INFO : GB_LOG_WARN, text);
}
