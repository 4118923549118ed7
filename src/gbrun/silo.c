/* gbrun silo: a silo of a cluster, until SIGTERM drains it. */
#include "gbrun/gbrun.h"

#include "cluster/cluster.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

enum { JOIN_MS = 30000, LOOK_MS = 500, TWIN_MS = 50 };

static int fail(int rc)
{
    fprintf(stderr, "gbrun silo: %s (%s)\n", gb_err_detail(), gb_err_name(rc));
    return GBRUN_FAILED;
}

/* Waits for a signal of the set; 0 when the silo is a member no more. */
static int wait_for(const sigset_t *set, gb_host *host)
{
    for (;;) {
        struct timespec moment = {0, LOOK_MS * 1000000L};
        int got = sigtimedwait(set, NULL, &moment);
        if (got > 0) return got;
        if (errno != EAGAIN && errno != EINTR) return SIGTERM;
        if (gb_cluster_wait(host->cluster, 0) == GB_ECLOSED) return 0;
    }
}

static int serve(gb_host *host, const sigset_t *set, double wait_ms, double drain_ms)
{
    int rc = gb_join(host, (int)wait_ms);
    if (rc < 0) {
        fail(rc);
        gb_close(host, 0);
        return GBRUN_FAILED;
    }
    printf("ready %s\n", gb_address(host));
    fflush(stdout);
    int got = wait_for(set, host);
    struct timespec moment = {0, TWIN_MS * 1000000L};
    if (got) sigtimedwait(set, NULL, &moment); /* timeout(1) says it to the group once more */
    gbrun_close(host, set, got ? drain_ms : 0);
    return got ? 0 : GBRUN_FAILED;
}

int gbrun_silo(gbrun_options *options)
{
    gb_config config = options->config;
    double wait_ms = JOIN_MS;
    const char *wait = gbrun_given(options, "--wait");
    if (wait && !gbrun_duration(wait, &wait_ms)) {
        fprintf(stderr, "gbrun silo: --wait takes a duration, \"30s\", not '%s'\n", wait);
        return GBRUN_USAGE;
    }
    if (!config.cluster) {
        fprintf(stderr, "gbrun silo: --cluster names the membership table; on one machine "
                        "sqlite:./cluster.db needs nothing else\n");
        return GBRUN_USAGE;
    }
    if (gbrun_find_app(&config, "app")) return GBRUN_FAILED;
    if (config.workers == 0) config.workers = -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL); /* threads inherit it: signals are this thread's */
    gb_host *host;
    int rc = gb_open(&host, &config);
    if (rc < 0) return fail(rc);
    return serve(host, &set, wait_ms, options->drain_ms);
}
