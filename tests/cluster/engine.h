/* Real engines for the tests of the membership table: each is started on a free port with data that
 * is thrown away, and can be damaged by hand, past the door. Nothing of the machine's own services
 * is touched. A test's only thread.
 */
#ifndef GB_TESTS_CLUSTER_ENGINE_H
#define GB_TESTS_CLUSTER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ENGINE_PASSWORD "s3cret!word"          /* as the engine knows it */
#define ENGINE_PASSWORD_IN_URL "s3cret%21word" /* as a URL has it */

typedef struct engine {
    const char *name;
    bool is_server, is_lasting; /* its data outlives the processes that use it */
    /* False: it is not installed. The second time: the same data, the same port. */
    bool (*start)(struct engine *e);
    void (*stop)(struct engine *e); /* as a crash would */
    void (*wipe)(struct engine *e, const char *cluster);
    /* Writes a field of a cluster. */
    void (*put)(struct engine *e, const char *cluster, const char *field, const void *bytes,
                size_t size);
    /* Something else is where the cluster's data belongs. NULL: it cannot be. */
    void (*foreign)(struct engine *e, const char *cluster);
    char url[512], wrong_url[512];
    char silent_url[128]; /* with %d for a port */
    char folder[256];
    const char *host; /* where it listens; NULL: 127.0.0.1 */
    int port, peer_port;
    pid_t pid;
    struct server_log *log;
} engine;

extern const engine engine_memory, engine_sqlite;
#ifdef GB_WITH_REDIS
extern const engine engine_redis;
#ifdef GB_WITH_TLS
extern const engine engine_rediss;
#endif
#endif
#ifdef GB_WITH_POSTGRES
extern const engine engine_postgres;
#endif
#ifdef GB_WITH_ETCD
extern const engine engine_etcd;
#endif

/* ---- for engines ---- */

/* A port of 127.0.0.1 that nobody has now, and that the system gives to nobody who connects. */
int engine_port(void);

const char *engine_host(const engine *e);

/* Makes e->folder if there is none; it belongs to the user that engine_launch runs as. */
void engine_folder(engine *e);
void engine_remove_folder(engine *e);

/* Starts a program as another user where this one is root, and waits until it prints `ready`. */
void engine_launch(engine *e, const char *const *args, const char *ready);

/* Runs a program to its end: its exit status. */
int engine_run(engine *e, const char *const *args);

/* Ends the engine's process and waits for it. */
void engine_kill(engine *e, int signal);

#endif
