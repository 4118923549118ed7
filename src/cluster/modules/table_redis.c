/* redis://[user:password@]host[:port][/database] or rediss:// (TLS;
 * ?cacert=FILE&cert=FILE&key=FILE, else the system's CAs): the membership table as one hash of
 * Redis, with the key gpubridge:CLUSTER. A change is a script, which Redis runs as one step. The
 * commands need a user that may HGETALL and EVAL on that key.
 *
 * hiredis makes and reads the protocol and connects; the bytes move here, so that a deadline holds
 * whatever the server does, and so that TLS needs no newer hiredis.
 */
#include "cluster/modules/redis_tls.h"
#include "cluster/modules/wait.h"

#include <hiredis/hiredis.h>
#include <sys/socket.h>

enum { PORT = 6379, KEY_BYTES = 96, ARGS_MAX = 8 + 2 * GB_FIELDS_MAX };

typedef struct state {
    const gb_provider_host *host;
    const gb_provider_target *target;
    char name[GB_HOST_BYTES];
    char key[KEY_BYTES];
    int port;
    redisContext *link;
    gbm_redis_tls *tls; /* of the scheme rediss */
} state;

/* ARGV: the expected version, how many fields are written, their names and values, the names of
 * those that go. */
static const char change_script[] =
    "if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end "
    "if ARGV[1] == '' then redis.call('DEL', KEYS[1]) end "
    "local last = 2 + 2 * tonumber(ARGV[2]) "
    "for i = 3, last, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end "
    "for i = last + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end "
    "return 1";
static const char touch_script[] =
    "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end "
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return 1";

static void drop(state *s)
{
    if (s->tls) gbm_redis_tls_end(s->tls);
    if (s->link) redisFree(s->link);
    s->link = NULL;
}

static int late(state *s)
{
    drop(s);
    return s->host->error(GB_ETIMEDOUT, "no answer in time");
}

static int lost(state *s, const char *text)
{
    int rc = s->host->error(GB_ELOST, "%s", text && *text ? text : "the connection ended");
    drop(s);
    return rc;
}

/* What Redis answers when it says no, as one of our codes. */
static int refusal(state *s, const char *text)
{
    static const struct {
        const char *word;
        int rc;
    } words[] = {
        {"NOAUTH", GB_EDENIED},           {"WRONGPASS", GB_EDENIED},   {"NOPERM", GB_EDENIED},
        {"invalid password", GB_EDENIED}, {"no password", GB_EDENIED}, {"WRONGTYPE", GB_EINVAL},
        {"DB index", GB_EINVAL},
    };
    int rc = GB_ELOST; /* LOADING, READONLY, MASTERDOWN, OOM: it cannot now */
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(text, words[i].word)) {
            rc = words[i].rc;
            break;
        }
    }
    if (strstr(text, "WRONGTYPE"))
        return s->host->error(rc, "the key %s holds something else", s->key);
    s->host->error(rc, "%s", text);
    if (rc == GB_EDENIED || rc == GB_ELOST) drop(s);
    return rc;
}

/* How many bytes moved; 0: wait for *events first; negative: the connection is lost, which was
 * told.
 */
static ssize_t move(state *s, void *bytes, size_t size, bool is_out, short *events)
{
    char why[256];
    ssize_t n = 0;
    *events = is_out ? POLLOUT : POLLIN;
    if (s->tls) {
        n = gbm_redis_tls_move(s->tls, bytes, size, is_out, events, why, sizeof why);
        return n < 0 ? lost(s, why) : n;
    }
    n = is_out ? send(s->link->fd, bytes, size, MSG_NOSIGNAL) : recv(s->link->fd, bytes, size, 0);
    if (n > 0) return n;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
    return lost(s, n < 0 ? strerror(errno) : NULL);
}

static int send_all(state *s, uint64_t deadline_ns, char *bytes, size_t size)
{
    short events = 0;
    for (size_t at = 0; at < size;) {
        ssize_t n = move(s, bytes + at, size - at, true, &events);
        if (n < 0) return (int)n;
        if (n == 0 && !gbm_wait(s->link->fd, events, deadline_ns)) return late(s);
        at += (size_t)n;
    }
    return 0;
}

static int receive(state *s, uint64_t deadline_ns, redisReply **out)
{
    char bytes[16384];
    short events = 0;
    void *reply = NULL;
    for (;;) {
        if (redisReaderGetReply(s->link->reader, &reply) != REDIS_OK)
            return lost(s, s->link->reader->errstr);
        if (reply) break;
        ssize_t n = move(s, bytes, sizeof bytes, false, &events);
        if (n < 0) return (int)n;
        if (n == 0 && !gbm_wait(s->link->fd, events, deadline_ns)) return late(s);
        if (n > 0 && redisReaderFeed(s->link->reader, bytes, (size_t)n) != REDIS_OK)
            return lost(s, s->link->reader->errstr);
    }
    *out = reply;
    if ((*out)->type != REDIS_REPLY_ERROR) return 0;
    int rc = refusal(s, (*out)->str);
    freeReplyObject(*out);
    return rc;
}

static int command(state *s, uint64_t deadline_ns, redisReply **out, int count, const char **args,
                   const size_t *sizes)
{
    char *bytes = NULL;
    long long size = redisFormatCommandArgv(&bytes, count, args, sizes);
    if (size < 0) return s->host->error(GB_ENOMEM, "no memory for a command");
    int rc = send_all(s, deadline_ns, bytes, (size_t)size);
    explicit_bzero(bytes, (size_t)size); /* one of them has the password */
    redisFreeCommand(bytes);
    return rc < 0 ? rc : receive(s, deadline_ns, out);
}

/* A command without an answer of interest. */
static int tell(state *s, uint64_t deadline_ns, int count, const char **args)
{
    redisReply *reply = NULL;
    int rc = command(s, deadline_ns, &reply, count, args, NULL);
    if (rc >= 0) freeReplyObject(reply);
    return rc;
}

static int connect_one(state *s, const char *address, uint64_t deadline_ns)
{
    s->link = redisConnectNonBlock(address, s->port);
    if (!s->link) return s->host->error(GB_ENOMEM, "no memory for a connection");
    if (s->link->err) return lost(s, s->link->errstr);
    if (!gbm_wait(s->link->fd, POLLOUT, deadline_ns)) return late(s);
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(s->link->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
    if (error) return lost(s, strerror(error));
    if (!s->tls) return 0;
    char why[512];
    int rc = gbm_redis_tls_begin(s->tls, s->link->fd, s->name, deadline_ns, why, sizeof why);
    if (rc >= 0) return 0;
    drop(s);
    return s->host->error(rc, "%s", why);
}

static int greet(state *s, uint64_t deadline_ns)
{
    const gb_provider_target *t = s->target;
    int rc = 0;
    if (*t->password) {
        const char *args[3] = {"AUTH", t->user, t->password};
        if (!*t->user) args[1] = t->password;
        rc = tell(s, deadline_ns, *t->user ? 3 : 2, args);
    }
    if (rc >= 0 && *t->path) rc = tell(s, deadline_ns, 2, (const char *[]){"SELECT", t->path});
    return rc;
}

/* A connection that is ready. */
static int enter(state *s, uint64_t deadline_ns)
{
    if (s->link) return 0;
    char addresses[GB_ADDRESSES_BYTES], *rest = addresses;
    int rc = s->host->resolve(addresses, sizeof addresses, s->name, deadline_ns);
    if (rc < 0) return rc;
    do {
        char *comma = strchr(rest, ',');
        if (comma) *comma = 0;
        rc = connect_one(s, rest, deadline_ns);
        rest = comma ? comma + 1 : NULL;
    } while (rc == GB_ELOST && rest);
    return rc < 0 ? rc : greet(s, deadline_ns);
}

static int redis_open(void *instance, const gb_provider_host *host,
                      const gb_provider_target *target)
{
    state *s = instance;
    s->host = host;
    s->target = target;
    const char *rest = gbm_next_host(target->hosts, s->name, &s->port, PORT);
    if (!rest || *rest) return host->error(GB_EINVAL, "it is redis://host:port, one of them");
    if (target->path[strspn(target->path, "0123456789")])
        return host->error(GB_EINVAL, "what follows the host is the number of a database");
    if (*target->user && !*target->password)
        return host->error(GB_EINVAL, "a user name without a password");
    snprintf(s->key, sizeof s->key, "gpubridge:%s", target->cluster);
    if (strcmp(target->scheme, "rediss") != 0) return 0;
    return gbm_redis_tls_open(&s->tls, host, target->query);
}

static void redis_close(void *instance)
{
    state *s = instance;
    drop(s);
    if (s->tls) gbm_redis_tls_close(s->tls);
}

static int redis_read(void *instance, uint64_t deadline_ns, gb_fields_out *out)
{
    state *s = instance;
    redisReply *reply = NULL;
    int rc = enter(s, deadline_ns);
    if (rc >= 0) rc = command(s, deadline_ns, &reply, 2, (const char *[]){"HGETALL", s->key}, NULL);
    if (rc < 0) return rc;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 2)
        rc = s->host->error(GB_EINVAL, "an answer to HGETALL that is no list of pairs");
    for (size_t i = 0; rc >= 0 && i < reply->elements; i += 2) {
        const redisReply *name = reply->element[i], *value = reply->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING)
            rc = s->host->error(GB_EINVAL, "an answer to HGETALL that is no list of pairs");
        else
            rc = out->put(out, name->str, (size_t)name->len, value->str, (size_t)value->len);
    }
    freeReplyObject(reply);
    return rc < 0 ? rc : 0;
}

/* Runs a script that answers 0 or 1: that, or an error. */
static int script(state *s, uint64_t deadline_ns, int count, const char **args, const size_t *sizes)
{
    redisReply *reply = NULL;
    int rc = command(s, deadline_ns, &reply, count, args, sizes);
    if (rc < 0) return rc;
    rc = reply->type == REDIS_REPLY_INTEGER
             ? reply->integer != 0
             : s->host->error(GB_EINVAL, "an answer to EVAL that is no number");
    freeReplyObject(reply);
    return rc;
}

typedef struct arguments {
    int count;
    const char *args[ARGS_MAX];
    size_t sizes[ARGS_MAX];
} arguments;

static void add(arguments *a, const void *bytes, size_t size)
{
    a->args[a->count] = bytes;
    a->sizes[a->count++] = size;
}

static void add_script(arguments *a, state *s, const char *text)
{
    a->count = 0;
    add(a, "EVAL", 4);
    add(a, text, strlen(text));
    add(a, "1", 1);
    add(a, s->key, strlen(s->key));
}

static int redis_change(void *instance, uint64_t deadline_ns, const char *expected,
                        const gb_field *fields, uint32_t count)
{
    state *s = instance;
    arguments a;
    char number[16];
    int written = 0, rc = enter(s, deadline_ns);
    if (rc < 0) return rc;
    if (count > GB_FIELDS_MAX) return s->host->error(GB_EINVAL, "too many fields at once");
    for (uint32_t i = 0; i < count; i++) written += fields[i].value != NULL;
    add_script(&a, s, change_script);
    add(&a, expected, strlen(expected));
    add(&a, number, (size_t)snprintf(number, sizeof number, "%d", written));
    for (uint32_t i = 0; i < count; i++) {
        if (!fields[i].value) continue;
        add(&a, fields[i].name, strlen(fields[i].name));
        add(&a, fields[i].value, fields[i].size);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!fields[i].value) add(&a, fields[i].name, strlen(fields[i].name));
    }
    rc = script(s, deadline_ns, a.count, a.args, a.sizes);
    return rc == 0 ? s->host->error(GB_ECONFLICT, "the version moved on") : rc < 0 ? rc : 0;
}

static int redis_touch(void *instance, uint64_t deadline_ns, const gb_field *field)
{
    state *s = instance;
    arguments a;
    int rc = enter(s, deadline_ns);
    if (rc < 0) return rc;
    add_script(&a, s, touch_script);
    add(&a, field->name, strlen(field->name));
    add(&a, field->value, field->size);
    rc = script(s, deadline_ns, a.count, a.args, a.sizes);
    return rc == 0 ? s->host->error(GB_ENOENT, "no such row") : rc < 0 ? rc : 0;
}

static const gb_provider provider = {
    .abi = GB_PROVIDER_ABI,
    .state_size = sizeof(state),
    .engine = "Redis",
    .open = redis_open,
    .close = redis_close,
    .read = redis_read,
    .change = redis_change,
    .touch = redis_touch,
};

GB_EXPORTED const gb_provider *gb_table_module(void);
const gb_provider *gb_table_module(void)
{
    return &provider;
}
