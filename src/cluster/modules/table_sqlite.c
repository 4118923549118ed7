/* sqlite:FILE: the membership table of the silos of one machine, in a file that they share.
 *
 *     CREATE TABLE gpubridge_cluster (cluster TEXT, name TEXT, value BLOB,
 *                                     PRIMARY KEY (cluster, name))
 *
 * A write-ahead log, so a silo that is stopped in the middle of a write keeps nobody from reading;
 * every commit is on the disk before it counts. A file that was replaced is opened anew.
 */
#include "cluster/modules/wait.h"

#include <sqlite3.h>
#include <sys/stat.h>

typedef struct state {
    const gb_provider_host *host;
    char *path, *cluster;
    sqlite3 *db;
    dev_t device;
    ino_t file;
} state;

static int bad(state *s, int code, const char *text)
{
    int rc = GB_ELOST;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        return s->host->error(GB_ETIMEDOUT, "somebody else kept it locked for too long");
    case SQLITE_NOMEM:
        rc = GB_ENOMEM;
        break;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        rc = GB_EDENIED;
        break;
    case SQLITE_CANTOPEN:
        rc = errno == EACCES ? GB_EDENIED : GB_EINVAL;
        break;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_ERROR: /* a table of that name with other columns */
    case SQLITE_MISMATCH:
        rc = GB_EINVAL;
        break;
    default:
        break;
    }
    return s->host->error(rc, "%s", text);
}

static void drop(state *s)
{
    sqlite3_close_v2(s->db);
    s->db = NULL;
}

/* The error that the database tells; the next step opens it anew. */
static int fail(state *s, int code)
{
    int rc = bad(s, code, s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code));
    drop(s);
    return rc;
}

static int run(state *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

static bool is_same_file(const state *s)
{
    struct stat now;
    return stat(s->path, &now) == 0 && now.st_dev == s->device && now.st_ino == s->file;
}

/* A database that is ready within the deadline. */
static int enter(state *s, uint64_t deadline_ns)
{
    if (s->db && !is_same_file(s)) drop(s);
    bool is_new = !s->db;
    if (is_new) {
        errno = 0;
        int code =
            sqlite3_open_v2(s->path, &s->db,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        if (code != SQLITE_OK) return fail(s, code);
    }
    int ms = gbm_left_ms(deadline_ns);
    sqlite3_busy_timeout(s->db, ms > 0 ? ms : 1);
    if (!is_new) return 0;
    int code = run(s, "PRAGMA journal_mode=WAL");
    if (code == SQLITE_OK) code = run(s, "PRAGMA synchronous=FULL");
    if (code == SQLITE_OK)
        code = run(s, "CREATE TABLE IF NOT EXISTS gpubridge_cluster (cluster TEXT NOT NULL, name "
                      "TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (cluster, name))");
    if (code != SQLITE_OK) return fail(s, code);
    struct stat made;
    if (stat(s->path, &made) < 0) return fail(s, SQLITE_CANTOPEN);
    s->device = made.st_dev;
    s->file = made.st_ino;
    return 0;
}

/* One statement with the cluster as ?1, and up to two more. The code that ended it. */
static int step(state *s, const char *sql, const char *name, const gb_field *value,
                gb_fields_out *out, int *rc)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) code = sqlite3_bind_text(statement, 1, s->cluster, -1, SQLITE_STATIC);
    if (code == SQLITE_OK && name) code = sqlite3_bind_text(statement, 2, name, -1, SQLITE_STATIC);
    if (code == SQLITE_OK && value)
        code = sqlite3_bind_blob64(statement, 3, value->size ? value->value : "", value->size,
                                   SQLITE_STATIC);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code != SQLITE_ROW || !out) continue;
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        const void *bytes = sqlite3_column_blob(statement, 1);
        *rc = out->put(out, text ? text : "", (size_t)sqlite3_column_bytes(statement, 0),
                       bytes ? bytes : "", (size_t)sqlite3_column_bytes(statement, 1));
        if (*rc < 0) code = SQLITE_DONE;
    }
    int end = sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : end != SQLITE_OK ? end : code;
}

static int lite_open(void *instance, const gb_provider_host *host, const gb_provider_target *target)
{
    state *s = instance;
    s->host = host;
    s->path = strdup(target->path);
    s->cluster = strdup(target->cluster);
    if (s->path && s->cluster) return 0;
    free(s->path);
    free(s->cluster);
    return host->error(GB_ENOMEM, "no memory for a name");
}

static void lite_close(void *instance)
{
    state *s = instance;
    drop(s);
    free(s->path);
    free(s->cluster);
}

static int lite_read(void *instance, uint64_t deadline_ns, gb_fields_out *out)
{
    state *s = instance;
    int rc = enter(s, deadline_ns);
    if (rc < 0) return rc;
    int code = step(s, "SELECT name, value FROM gpubridge_cluster WHERE cluster = ?1", NULL, NULL,
                    out, &rc);
    if (code != SQLITE_OK) return fail(s, code);
    return rc;
}

typedef struct found {
    gb_fields_out out;
    const char *expected;
    bool is_there, is_same;
} found;

static int compare(gb_fields_out *out, const char *name, size_t name_size, const void *value,
                   size_t size)
{
    found *f = (found *)out;
    (void)name;
    (void)name_size;
    f->is_there = true;
    f->is_same = size == strlen(f->expected) && memcmp(value, f->expected, size) == 0;
    return 0;
}

static int write_fields(state *s, const char *expected, const gb_field *fields, uint32_t count)
{
    int code = SQLITE_OK, rc = 0;
    if (!*expected)
        code = step(s, "DELETE FROM gpubridge_cluster WHERE cluster = ?1", NULL, NULL, NULL, &rc);
    for (uint32_t i = 0; i < count && code == SQLITE_OK; i++) {
        if (fields[i].value)
            code = step(s, "INSERT OR REPLACE INTO gpubridge_cluster VALUES (?1, ?2, ?3)",
                        fields[i].name, &fields[i], NULL, &rc);
        else
            code = step(s, "DELETE FROM gpubridge_cluster WHERE cluster = ?1 AND name = ?2",
                        fields[i].name, NULL, NULL, &rc);
    }
    return code;
}

static int lite_change(void *instance, uint64_t deadline_ns, const char *expected,
                       const gb_field *fields, uint32_t count)
{
    state *s = instance;
    found f = {.out = {compare}, .expected = expected};
    int rc = enter(s, deadline_ns);
    if (rc < 0) return rc;
    int code = run(s, "BEGIN IMMEDIATE");
    if (code == SQLITE_OK)
        code = step(s,
                    "SELECT name, value FROM gpubridge_cluster WHERE cluster = ?1 AND "
                    "name = 'version'",
                    NULL, NULL, &f.out, &rc);
    bool fits = f.is_there ? f.is_same : !*expected;
    if (code == SQLITE_OK && fits) code = write_fields(s, expected, fields, count);
    if (code == SQLITE_OK) code = run(s, fits ? "COMMIT" : "ROLLBACK");
    if (code != SQLITE_OK) return fail(s, code); /* closing it takes the rest back */
    return fits ? 0 : s->host->error(GB_ECONFLICT, "the version moved on");
}

static int lite_touch(void *instance, uint64_t deadline_ns, const gb_field *field)
{
    state *s = instance;
    int rc = enter(s, deadline_ns);
    if (rc < 0) return rc;
    int code = step(s, "UPDATE gpubridge_cluster SET value = ?3 WHERE cluster = ?1 AND name = ?2",
                    field->name, field, NULL, &rc);
    if (code != SQLITE_OK) return fail(s, code);
    return sqlite3_changes(s->db) ? 0 : s->host->error(GB_ENOENT, "no such row");
}

static const gb_provider provider = {
    .abi = GB_PROVIDER_ABI,
    .state_size = sizeof(state),
    .engine = "SQLite",
    .open = lite_open,
    .close = lite_close,
    .read = lite_read,
    .change = lite_change,
    .touch = lite_touch,
};

GB_EXPORTED const gb_provider *gb_table_module(void);
const gb_provider *gb_table_module(void)
{
    return &provider;
}
