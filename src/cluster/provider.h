/* What stands behind the membership table: one provider per engine. A provider knows nothing of
 * silos. To it a cluster is a small set of named fields, one of them the version, which it reads as
 * a whole and changes only while the version is the expected text. What the fields mean, and what
 * of them can be trusted, is decided in table.c alone.
 *
 * Providers but memory are shared modules, loaded when their URL is used: a module includes this
 * header and its engine's, and calls back only through gb_provider_host. It exports one name,
 * gb_table_module.
 *
 * Threads. All calls on one instance come from one thread at a time; instances know nothing of each
 * other. A call may block until its deadline (CLOCK_MONOTONIC, ns), never longer.
 * Errors. GB_E... through host->error, with what the engine said and nothing secret; who calls adds
 * the engine's address. GB_EDENIED: refused; GB_ETIMEDOUT, GB_ELOST: out of reach; GB_EINVAL: what
 * is there is not ours, or the URL cannot be. After an error the instance connects anew.
 */
#ifndef GB_CLUSTER_PROVIDER_H
#define GB_CLUSTER_PROVIDER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GB_PROVIDER_ABI = 1, GB_FIELD_NAME_BYTES = 32, GB_FIELDS_MAX = 2 * 60 + 1 };

/* The name of the field that guards all others. */
#define GB_FIELD_VERSION "version"

/* What the core lends. */
typedef struct gb_provider_host {
    int (*error)(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));
    /* The numeric addresses of a host, at most eight, separated by commas: 0, GB_ETIMEDOUT, or
     * GB_ELOST for a name that is not known. It never waits longer than the deadline. */
    int (*resolve)(char *out, size_t room, const char *host, uint64_t deadline_ns);
} gb_provider_host;

/* Where the engine is: the parts of the URL, decoded. All borrowed until close; "" where absent. */
typedef struct gb_provider_target {
    const char *url; /* as it was given: it may hold a password */
    const char *scheme, *user, *password;
    const char *hosts;   /* "host", "host:port", "[::1]:port", several with commas */
    const char *path;    /* behind the host, without its slash; of sqlite: and memory: all of it */
    const char *query;   /* "a=b&c=d", not decoded */
    const char *cluster; /* 1 to 64 letters, digits, '.', '_', '-' */
} gb_provider_target;

/* A name has less than GB_FIELD_NAME_BYTES bytes: lower case letters, digits and '/'. */
typedef struct gb_field {
    const char *name;
    const void *value; /* NULL: the field goes */
    size_t size;
} gb_field;

typedef struct gb_fields_out {
    /* Called once for each field, in any order; the bytes are borrowed. An error ends the read and
     * is what the read returns. */
    int (*put)(struct gb_fields_out *out, const char *name, size_t name_size, const void *value,
               size_t size);
} gb_fields_out;

typedef struct gb_provider {
    uint32_t abi;        /* GB_PROVIDER_ABI */
    uint32_t state_size; /* bytes of an instance; zeroed before open */
    const char *engine;  /* "redis", for errors */

    /* Judges the target; connects nothing. */
    int (*open)(void *state, const gb_provider_host *host, const gb_provider_target *target);
    void (*close)(void *state);

    /* Every field, all of one moment. No fields is no error. */
    int (*read)(void *state, uint64_t deadline_ns, gb_fields_out *out);

    /* As one step, if the version is `expected`: writes the fields (the version is the first of
     * them, a name comes once). "": there is no version; what else is left of the cluster goes
     * first. GB_ECONFLICT: it is another, nothing was changed. */
    int (*change)(void *state, uint64_t deadline_ns, const char *expected, const gb_field *fields,
                  uint32_t count);

    /* Writes one field that is there already, whatever the version. GB_ENOENT: it is not there. */
    int (*touch)(void *state, uint64_t deadline_ns, const gb_field *field);
} gb_provider;

extern const gb_provider gbi_table_memory;

/* "gb_table_module" of a module is one of these. */
typedef const gb_provider *gb_table_module_fn(void);

#endif
