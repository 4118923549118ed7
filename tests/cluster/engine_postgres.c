#include "engine.h"

#include <glob.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The newest of them that is installed. */
static bool find(const char *program, char out[256])
{
    char pattern[128];
    glob_t found;
    snprintf(pattern, sizeof pattern, "/usr/lib/postgresql/*/bin/%s", program);
    bool there = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
    if (there) snprintf(out, 256, "%s", found.gl_pathv[found.gl_pathc - 1]);
    if (there) globfree(&found);
    return there;
}

static void make_data(engine *e, const char *data)
{
    char initdb[256], word[300], option[320];
    if (!find("initdb", initdb)) abort();
    snprintf(word, sizeof word, "%s/word", e->folder);
    snprintf(option, sizeof option, "--pwfile=%s", word);
    FILE *file = fopen(word, "wb");
    if (!file || fputs(ENGINE_PASSWORD "\n", file) < 0 || fclose(file) != 0) abort();
    if (chmod(word, 0644) != 0) abort();
    if (engine_run(e, (const char *[]){initdb, "-D", data, "-U", "gb", "-A", "scram-sha-256",
                                       "--no-sync", "-E", "UTF8", option, NULL}) != 0)
        abort();
}

/* Without it only the loopback may come. */
static void let_in(const char *data)
{
    char path[320];
    snprintf(path, sizeof path, "%s/pg_hba.conf", data);
    FILE *file = fopen(path, "ab");
    if (!file || fputs("host all all 10.77.0.0/16 scram-sha-256\n", file) < 0 || fclose(file) != 0)
        abort();
}

static bool start(engine *e)
{
    char program[256], port[16], data[300], listen[64];
    if (!find("postgres", program)) return false;
    engine_folder(e);
    snprintf(data, sizeof data, "%s/data", e->folder);
    if (!e->port) {
        e->port = engine_port();
        make_data(e, data);
        if (e->host) let_in(data);
    }
    snprintf(listen, sizeof listen, "listen_addresses=%s", engine_host(e));
    snprintf(port, sizeof port, "%d", e->port);
    engine_launch(e,
                  (const char *[]){program, "-D", data, "-p", port, "-c", listen, "-c",
                                   "unix_socket_directories=", "-c", "max_connections=40", NULL},
                  "ready to accept connections");
    snprintf(e->url, sizeof e->url, "postgres://gb:%s@%s:%d/postgres", ENGINE_PASSWORD_IN_URL,
             engine_host(e), e->port);
    snprintf(e->wrong_url, sizeof e->wrong_url, "postgres://gb:wr0ng-w0rd@127.0.0.1:%d/postgres",
             e->port);
    snprintf(e->silent_url, sizeof e->silent_url, "postgres://gb:pass@127.0.0.1:%%d/postgres");
    return true;
}

/* At once, without a checkpoint; SIGKILL would leave its children behind for a while. */
static void stop(engine *e)
{
    engine_kill(e, SIGQUIT);
}

static void run(engine *e, const char *sql, int count, const char *const *values, const int *sizes)
{
    static const int formats[3] = {0, 0, 1};
    PGconn *link = PQconnectdb(e->url);
    PGresult *result = PQexecParams(link, sql, count, NULL, values, sizes, formats, 0);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        fprintf(stderr, "postgres: %s\n", PQerrorMessage(link));
        abort();
    }
    PQclear(result);
    PQfinish(link);
}

static void wipe(engine *e, const char *cluster)
{
    run(e, "DELETE FROM gpubridge_cluster WHERE cluster = $1", 1, &cluster, NULL);
}

static void put(engine *e, const char *cluster, const char *field, const void *bytes, size_t size)
{
    const char *values[3] = {cluster, field, bytes};
    const int sizes[3] = {0, 0, (int)size};
    run(e,
        "INSERT INTO gpubridge_cluster VALUES ($1, $2, $3) ON CONFLICT (cluster, name) DO UPDATE "
        "SET value = excluded.value",
        3, values, sizes);
}

static void foreign(engine *e, const char *cluster)
{
    (void)cluster;
    run(e, "ALTER TABLE gpubridge_cluster RENAME COLUMN value TO something", 0, NULL, NULL);
}

const engine engine_postgres = {.name = "postgres",
                                .is_server = true,
                                .is_lasting = true,
                                .start = start,
                                .stop = stop,
                                .wipe = wipe,
                                .put = put,
                                .foreign = foreign};
