/* postgres://[user:password@]host[:port]/database[?sslmode=...]: the membership table in
 * PostgreSQL. The URL is libpq's, with all that it takes.
 *
 *     CREATE TABLE gpubridge_cluster (cluster text, name text, value bytea,
 *                                     PRIMARY KEY (cluster, name))
 *
 * It is created when it is not there; a user that may not do that needs it made beforehand. A
 * change is one statement, so a silo that is stopped in the middle of it holds no lock.
 */
#include "cluster/modules/wait.h"

#include <libpq-fe.h>

enum { SQL_BYTES = 8192, LIST_BYTES = 4096, OPTIONS_MAX = 64 };

typedef struct state {
    const gb_provider_host *host;
    const gb_provider_target *target;
    PGconn *link;
} state;

static void drop(state *s)
{
    PQfinish(s->link);
    s->link = NULL;
}

static int code_of_sqlstate(const char *code)
{
    static const struct {
        const char *start;
        int rc;
    } codes[] = {
        {"28", GB_EDENIED},      {"42501", GB_EDENIED}, {"40", GB_ECONFLICT},
        {"57014", GB_ETIMEDOUT}, {"42", GB_EINVAL},     {"22", GB_EINVAL},
        {"3D", GB_EINVAL},       {"3F", GB_EINVAL},     {"55P03", GB_ETIMEDOUT},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (strncmp(code, codes[i].start, strlen(codes[i].start)) == 0) return codes[i].rc;
    }
    return GB_ELOST; /* shutting down, too many connections, out of space, read only */
}

/* What libpq says, on one line. */
static int say(state *s, int rc, const char *text)
{
    char line[512];
    size_t used = 0;
    for (; *text && used + 1 < sizeof line; text++) {
        bool is_blank = *text == '\n' || *text == '\t' || *text == ' ';
        if (!is_blank)
            line[used++] = *text;
        else if (used && line[used - 1] != ' ')
            line[used++] = ' ';
    }
    if (used && line[used - 1] == ' ') used--;
    line[used] = 0;
    return s->host->error(rc, "%s", used ? line : "the connection ended");
}

static int late(state *s)
{
    drop(s);
    return s->host->error(GB_ETIMEDOUT, "no answer in time");
}

/* Why a connection did not come about. libpq tells the code only inside of a text; the text is in
 * the server's language, the code is not: "FATAL:  28P01: ...". */
static int refused(state *s)
{
    const char *text = PQerrorMessage(s->link);
    int rc = PQconnectionNeedsPassword(s->link) ? GB_EDENIED : GB_ELOST;
    for (const char *at = strstr(text, ":  "); at && rc == GB_ELOST; at = strstr(at + 1, ":  ")) {
        if (strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && at[8] == ':')
            rc = code_of_sqlstate(at + 3);
    }
    say(s, rc, text);
    drop(s);
    return rc;
}

/* ---- connecting ---- */

typedef struct places {
    char hosts[LIST_BYTES], addresses[LIST_BYTES], ports[LIST_BYTES];
} places;

static bool append(char list[LIST_BYTES], const char *item, size_t size)
{
    size_t used = strlen(list);
    return snprintf(list + used, LIST_BYTES - used, "%s%.*s", used ? "," : "", (int)size, item) <
           (int)(LIST_BYTES - used);
}

/* One host with its port: once for each of its addresses. */
static int find_place(state *s, places *p, const char *name, size_t size, const char *port,
                      size_t port_size, uint64_t deadline_ns)
{
    char host[GB_HOST_BYTES], found[GB_ADDRESSES_BYTES];
    if (size >= sizeof host) return s->host->error(GB_EINVAL, "a host name that is too long");
    snprintf(host, sizeof host, "%.*s", (int)size, name);
    int rc = s->host->resolve(found, sizeof found, host, deadline_ns);
    if (rc < 0) return rc;
    for (const char *at = found; *at;) {
        size_t one = strcspn(at, ",");
        if (!append(p->hosts, host, size) || !append(p->addresses, at, one) ||
            !append(p->ports, port, port_size))
            return s->host->error(GB_EINVAL, "too many hosts");
        at += one + (at[one] == ',');
    }
    return 0;
}

/* libpq looks names up without a deadline, so it gets the addresses. */
static int find_places(state *s, places *p, const char *hosts, const char *ports,
                       uint64_t deadline_ns)
{
    bool one_port = !strchr(ports, ',');
    p->hosts[0] = p->addresses[0] = p->ports[0] = 0;
    while (*hosts) {
        size_t size = strcspn(hosts, ","), port = strcspn(ports, ",");
        bool given = port > 0;
        int rc =
            find_place(s, p, hosts, size, given ? ports : "5432", given ? port : 4, deadline_ns);
        if (rc < 0) return rc;
        hosts += size + (hosts[size] == ',');
        if (!one_port) ports += port + (ports[port] == ',');
    }
    return 0;
}

static const char *option(PQconninfoOption *options, const char *name)
{
    for (; options->keyword; options++) {
        if (strcmp(options->keyword, name) == 0) return options->val ? options->val : "";
    }
    return "";
}

/* What the server tells by the way is not for our standard error; errors come as errors. */
static void ignore(void *user, const char *text)
{
    (void)user, (void)text;
}

static int start(state *s, PQconninfoOption *options, uint64_t deadline_ns)
{
    const char *names[OPTIONS_MAX + 4], *values[OPTIONS_MAX + 4];
    const char *host = option(options, "host");
    places p;
    int count = 0, rc = 0;
    bool look_up = *host && host[0] != '/' && !strstr(host, ",/") && !*option(options, "hostaddr");
    if (look_up) rc = find_places(s, &p, host, option(options, "port"), deadline_ns);
    if (rc < 0) return rc;
    for (PQconninfoOption *o = options; o->keyword && count < OPTIONS_MAX; o++) {
        bool ours = look_up && (!strcmp(o->keyword, "host") || !strcmp(o->keyword, "hostaddr") ||
                                !strcmp(o->keyword, "port"));
        if (ours || !o->val || !*o->val) continue;
        names[count] = o->keyword;
        values[count++] = o->val;
    }
    if (look_up) {
        names[count] = "host", values[count++] = p.hosts;
        names[count] = "hostaddr", values[count++] = p.addresses;
        names[count] = "port", values[count++] = p.ports;
    }
    names[count] = "fallback_application_name", values[count++] = "gpubridge";
    names[count] = values[count] = NULL;
    s->link = PQconnectStartParams(names, values, 0);
    if (!s->link) return s->host->error(GB_ENOMEM, "no memory for a connection");
    PQsetNoticeProcessor(s->link, ignore, NULL);
    return 0;
}

static int enter(state *s, uint64_t deadline_ns)
{
    if (s->link) return 0;
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(s->target->url, &why);
    PQfreemem(why); /* it repeats pieces of the URL; open() has told */
    if (!options) return s->host->error(GB_EINVAL, "libpq does not read its URL");
    int rc = start(s, options, deadline_ns);
    PQconninfoFree(options);
    if (rc < 0) return rc;
    PQsetErrorVerbosity(s->link, PQERRORS_VERBOSE);
    PostgresPollingStatusType wish = PGRES_POLLING_WRITING;
    while (wish != PGRES_POLLING_OK) {
        if (wish == PGRES_POLLING_FAILED || PQstatus(s->link) == CONNECTION_BAD) return refused(s);
        short events = wish == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!gbm_wait(PQsocket(s->link), events, deadline_ns)) return late(s);
        wish = PQconnectPoll(s->link);
    }
    PQsetErrorVerbosity(s->link, PQERRORS_DEFAULT);
    if (PQsetnonblocking(s->link, 1) == 0) return 0;
    return refused(s);
}

/* ---- statements ---- */

typedef struct statement {
    char sql[SQL_BYTES];
    size_t used;
    int count;
    const char *values[2 * GB_FIELDS_MAX + 8];
    int sizes[2 * GB_FIELDS_MAX + 8];
    int formats[2 * GB_FIELDS_MAX + 8]; /* 1: bytes */
} statement;

static void put(statement *t, const char *sql)
{
    size_t size = strlen(sql);
    if (t->used + size >= SQL_BYTES) size = SQL_BYTES - 1 - t->used; /* cut: a syntax error */
    memcpy(t->sql + t->used, sql, size);
    t->used += size;
    t->sql[t->used] = 0;
}

/* A parameter: its number goes into the text. */
static void bind(statement *t, const void *value, size_t size, bool is_bytes)
{
    char name[24];
    t->values[t->count] = value;
    t->sizes[t->count] = (int)size;
    t->formats[t->count++] = is_bytes;
    snprintf(name, sizeof name, "$%d%s", t->count, is_bytes ? "::bytea" : "::text");
    put(t, name);
}

static int finish(state *s, uint64_t deadline_ns, PGresult **out)
{
    *out = NULL;
    for (;;) {
        while (PQisBusy(s->link)) {
            if (!gbm_wait(PQsocket(s->link), POLLIN, deadline_ns)) return late(s);
            if (!PQconsumeInput(s->link)) return refused(s);
        }
        PGresult *next = PQgetResult(s->link);
        if (!next) break;
        PQclear(*out); /* of several statements the last counts, or the first that failed */
        *out = next;
    }
    if (!*out) return refused(s);
    ExecStatusType status = PQresultStatus(*out);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return 0;
    const char *code = PQresultErrorField(*out, PG_DIAG_SQLSTATE);
    int rc = code ? code_of_sqlstate(code) : GB_ELOST;
    say(s, rc, PQresultErrorMessage(*out));
    return rc;
}

/* Runs it: PGRES_... result in *out (to be cleared when the answer is 0). *absent: the error is
 * that the table is not there. */
static int run_once(state *s, uint64_t deadline_ns, const statement *t, PGresult **out,
                    bool *absent)
{
    *absent = false;
    if (!PQsendQueryParams(s->link, t->sql, t->count, NULL, t->values, t->sizes, t->formats, 1))
        return refused(s);
    for (int left = 1; left;) {
        left = PQflush(s->link);
        if (left < 0) return refused(s);
        if (left && !gbm_wait(PQsocket(s->link), POLLOUT | POLLIN, deadline_ns)) return late(s);
        if (left && !PQconsumeInput(s->link)) return refused(s);
    }
    int rc = finish(s, deadline_ns, out);
    if (rc >= 0) return 0;
    const char *code = *out ? PQresultErrorField(*out, PG_DIAG_SQLSTATE) : NULL;
    *absent = code && strcmp(code, "42P01") == 0;
    PQclear(*out);
    if (rc != GB_ECONFLICT && !*absent) drop(s);
    return rc;
}

/* Two silos that create it at once would trip over each other: the lock is held until the commit.
 */
static int create(state *s, uint64_t deadline_ns)
{
    PGresult *result = NULL;
    if (!PQsendQuery(s->link,
                     "SELECT pg_advisory_xact_lock(hashtext('gpubridge_cluster'));"
                     "CREATE TABLE IF NOT EXISTS gpubridge_cluster (cluster text NOT NULL, "
                     "name text NOT NULL, value bytea NOT NULL, PRIMARY KEY (cluster, name))"))
        return refused(s);
    while (PQflush(s->link) > 0) {
        if (!gbm_wait(PQsocket(s->link), POLLOUT, deadline_ns)) return late(s);
    }
    int rc = finish(s, deadline_ns, &result);
    PQclear(result);
    if (rc < 0) drop(s);
    return rc;
}

static int run(state *s, uint64_t deadline_ns, const statement *t, PGresult **out)
{
    bool absent = false;
    int rc = enter(s, deadline_ns);
    if (rc < 0) return rc;
    rc = run_once(s, deadline_ns, t, out, &absent);
    if (!absent) return rc;
    rc = create(s, deadline_ns);
    return rc < 0 ? rc : run_once(s, deadline_ns, t, out, &absent);
}

/* ---- the provider ---- */

static int pg_open(void *instance, const gb_provider_host *host, const gb_provider_target *target)
{
    state *s = instance;
    char *why = NULL;
    s->host = host;
    s->target = target;
    PQconninfoOption *options = PQconninfoParse(target->url, &why);
    PQfreemem(why);
    if (!options)
        return host->error(GB_EINVAL, "libpq does not read it: postgres://user:password@host:port/"
                                      "database?sslmode=require");
    PQconninfoFree(options);
    return 0;
}

static void pg_close(void *instance)
{
    drop(instance);
}

static int pg_read(void *instance, uint64_t deadline_ns, gb_fields_out *out)
{
    state *s = instance;
    statement t = {0};
    PGresult *result = NULL;
    put(&t, "SELECT name, value FROM gpubridge_cluster WHERE cluster = ");
    bind(&t, s->target->cluster, 0, false);
    int rc = run(s, deadline_ns, &t, &result);
    if (rc < 0) return rc;
    if (PQnfields(result) != 2) rc = s->host->error(GB_EINVAL, "an answer without two columns");
    for (int i = 0; rc >= 0 && i < PQntuples(result); i++)
        rc = out->put(out, PQgetvalue(result, i, 0), (size_t)PQgetlength(result, i, 0),
                      PQgetvalue(result, i, 1), (size_t)PQgetlength(result, i, 1));
    PQclear(result);
    return rc < 0 ? rc : 0;
}

/* The step that decides, under the name "moved": a row if the version was the expected one. */
static void put_version(statement *t, const char *cluster, const char *expected,
                        const gb_field *version)
{
    if (*expected) {
        put(t, "WITH moved AS (UPDATE gpubridge_cluster SET value = ");
        bind(t, version->value, version->size, true);
        put(t, " WHERE name = 'version' AND cluster = ");
        bind(t, cluster, 0, false);
        put(t, " AND value = ");
        bind(t, expected, strlen(expected), true);
    } else {
        put(t, "WITH moved AS (INSERT INTO gpubridge_cluster VALUES (");
        bind(t, cluster, 0, false);
        put(t, ", 'version', ");
        bind(t, version->value, version->size, true);
        put(t, ") ON CONFLICT DO NOTHING");
    }
    put(t, " RETURNING 1)");
}

static void put_fields(statement *t, const char *cluster, const gb_field *fields, uint32_t count)
{
    int n = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (!fields[i].value) continue;
        if (n++ == 0) {
            put(t, ", written AS (INSERT INTO gpubridge_cluster SELECT ");
            bind(t, cluster, 0, false);
            put(t, ", f.name, f.value FROM moved, (VALUES (");
        } else {
            put(t, "), (");
        }
        bind(t, fields[i].name, 0, false);
        put(t, ", ");
        bind(t, fields[i].value, fields[i].size, true);
    }
    if (n)
        put(t,
            ")) f(name, value) ON CONFLICT (cluster, name) DO UPDATE SET value = excluded.value)");
    n = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (fields[i].value) continue;
        if (n++ == 0) {
            put(t, ", gone AS (DELETE FROM gpubridge_cluster USING moved WHERE cluster = ");
            bind(t, cluster, 0, false);
            put(t, " AND name IN (");
        } else {
            put(t, ", ");
        }
        bind(t, fields[i].name, 0, false);
    }
    if (n) put(t, "))");
}

/* What was left of a cluster whose version somebody took away. */
static int clear(state *s, uint64_t deadline_ns)
{
    statement t = {0};
    PGresult *result = NULL;
    put(&t, "DELETE FROM gpubridge_cluster WHERE cluster = ");
    bind(&t, s->target->cluster, 0, false);
    put(&t, " AND NOT EXISTS (SELECT FROM gpubridge_cluster v WHERE v.name = 'version' AND "
            "v.cluster = $1)");
    int rc = run(s, deadline_ns, &t, &result);
    if (rc >= 0) PQclear(result);
    return rc;
}

static int pg_change(void *instance, uint64_t deadline_ns, const char *expected,
                     const gb_field *fields, uint32_t count)
{
    state *s = instance;
    statement t = {0};
    PGresult *result = NULL;
    if (count > GB_FIELDS_MAX || !count)
        return s->host->error(GB_EINVAL, "too many fields at once");
    int rc = *expected ? 0 : clear(s, deadline_ns);
    if (rc < 0) return rc;
    put_version(&t, s->target->cluster, expected, &fields[0]);
    put_fields(&t, s->target->cluster, fields, count);
    put(&t, " SELECT 1 FROM moved");
    rc = run(s, deadline_ns, &t, &result);
    if (rc < 0) return rc;
    int moved = PQntuples(result);
    PQclear(result);
    return moved ? 0 : s->host->error(GB_ECONFLICT, "the version moved on");
}

static int pg_touch(void *instance, uint64_t deadline_ns, const gb_field *field)
{
    state *s = instance;
    statement t = {0};
    PGresult *result = NULL;
    put(&t, "UPDATE gpubridge_cluster SET value = ");
    bind(&t, field->value, field->size, true);
    put(&t, " WHERE name = ");
    bind(&t, field->name, 0, false);
    put(&t, " AND cluster = ");
    bind(&t, s->target->cluster, 0, false);
    put(&t, " RETURNING 1");
    int rc = run(s, deadline_ns, &t, &result);
    if (rc < 0) return rc;
    int touched = PQntuples(result);
    PQclear(result);
    return touched ? 0 : s->host->error(GB_ENOENT, "no such row");
}

static const gb_provider provider = {
    .abi = GB_PROVIDER_ABI,
    .state_size = sizeof(state),
    .engine = "PostgreSQL",
    .open = pg_open,
    .close = pg_close,
    .read = pg_read,
    .change = pg_change,
    .touch = pg_touch,
};

GB_EXPORTED const gb_provider *gb_table_module(void);
const gb_provider *gb_table_module(void)
{
    return &provider;
}
