/* gbrun certs DIR: certificates for development: a CA, a silo's, a client's. */
#include "gbrun/gbrun.h"

#include "base/err.h"
#include "cluster/tls.h"

#include <stdlib.h>
#include <string.h>

enum { DAYS_DEFAULT = 365, DAYS_MAX = 36500 };

int gbrun_days(const gbrun_options *options, int fallback)
{
    const char *text = gbrun_given(options, "--days");
    char *end = NULL;
    long days = text ? strtol(text, &end, 10) : fallback;
    if (!text || (*text && !*end && days >= 1 && days <= DAYS_MAX)) return (int)days;
    fprintf(stderr, "gbrun %s: --days is a number from 1 to %d\n", options->command->name,
            DAYS_MAX);
    return -1;
}

int gbrun_certs(gbrun_options *options)
{
    const char *hosts[GBRUN_GIVEN_MAX];
    gb_tls_certs certs = {.folder = options->file, .hosts = hosts};
    for (int i = 0; i < options->given_count; i++) {
        if (strcmp(options->given[i].flag, "--host") == 0)
            hosts[certs.host_count++] = options->given[i].value;
    }
    int days = gbrun_days(options, DAYS_DEFAULT);
    if (days < 0) return GBRUN_USAGE;
    certs.days = (uint32_t)days;
    int rc = gb_tls_make_certs(&certs);
    if (rc < 0) {
        fprintf(stderr, "gbrun: no certificates: %s (%s)\n", gb_err_detail(), gb_err_name(rc));
        return GBRUN_FAILED;
    }
    printf("%s: ca.crt ca.key silo.crt silo.key client.crt client.key, for %d days\n"
           "Silos get ca.crt, silo.crt and silo.key, clients ca.crt, client.crt and client.key; "
           "ca.key stays here.\n",
           options->file, days);
    return 0;
}
