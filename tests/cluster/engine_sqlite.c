#include "engine.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void path_of(engine *e, char out[300])
{
    snprintf(out, 300, "%s/cluster.db", e->folder);
}

static bool start(engine *e)
{
    char path[300];
    engine_folder(e);
    path_of(e, path);
    snprintf(e->url, sizeof e->url, "sqlite:%s", path);
    return true;
}

static void stop(engine *e)
{
    engine_remove_folder(e);
}

static void run(engine *e, const char *sql, const char *cluster, const char *field,
                const void *bytes, size_t size)
{
    char path[300];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    path_of(e, path);
    int rc = sqlite3_open(path, &db);
    sqlite3_busy_timeout(db, 20000);
    if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(statement, 1, cluster, -1, SQLITE_STATIC);
    if (field) sqlite3_bind_text(statement, 2, field, -1, SQLITE_STATIC);
    if (field) sqlite3_bind_blob(statement, 3, bytes, (int)size, SQLITE_STATIC);
    if (rc != SQLITE_OK || sqlite3_step(statement) != SQLITE_DONE) {
        fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
        abort();
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

static void wipe(engine *e, const char *cluster)
{
    run(e, "DELETE FROM gpubridge_cluster WHERE cluster = ?1", cluster, NULL, NULL, 0);
}

static void put(engine *e, const char *cluster, const char *field, const void *bytes, size_t size)
{
    run(e, "INSERT OR REPLACE INTO gpubridge_cluster VALUES (?1, ?2, ?3)", cluster, field, bytes,
        size);
}

/* The file is replaced by one that is no database. */
static void foreign(engine *e, const char *cluster)
{
    char path[300], other[310];
    (void)cluster;
    path_of(e, path);
    snprintf(other, sizeof other, "%s-new", path);
    FILE *file = fopen(other, "wb");
    for (int i = 0; file && i < 1000; i++) fputs("not a database. ", file);
    if (!file || fclose(file) != 0 || rename(other, path) != 0) abort();
}

const engine engine_sqlite = {.name = "sqlite",
                              .is_lasting = true,
                              .start = start,
                              .stop = stop,
                              .wipe = wipe,
                              .put = put,
                              .foreign = foreign};
