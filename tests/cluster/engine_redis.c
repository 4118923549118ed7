#include "engine.h"

#include "cluster/tls.h"

#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool start(engine *e)
{
    static const char program[] = "/usr/bin/redis-server";
    if (access(program, X_OK) != 0) return false;
    char port[16];
    if (!e->port) e->port = engine_port();
    engine_folder(e);
    snprintf(port, sizeof port, "%d", e->port);
    engine_launch(e,
                  (const char *[]){program, "--port", port, "--bind", engine_host(e), "--dir",
                                   e->folder, "--requirepass", ENGINE_PASSWORD, "--appendonly",
                                   "yes", "--appendfsync", "always", "--save", "", NULL},
                  "Ready to accept connections");
    snprintf(e->url, sizeof e->url, "redis://:%s@%s:%d/1", ENGINE_PASSWORD_IN_URL, engine_host(e),
             e->port);
    snprintf(e->wrong_url, sizeof e->wrong_url, "redis://:wr0ng-w0rd@127.0.0.1:%d/1", e->port);
    snprintf(e->silent_url, sizeof e->silent_url, "redis://:pass@127.0.0.1:%%d/1");
    return true;
}

#ifdef GB_WITH_TLS
/* The same server, reached over TLS; its own port stays for the damage by hand. */
static bool start_tls(engine *e)
{
    static const char program[] = "/usr/bin/redis-server";
    static const char *const files[] = {"keys", "keys/ca.crt", "keys/silo.crt", "keys/silo.key"};
    if (access(program, X_OK) != 0) return false;
    char port[16], tls_port[16], path[300], query[400];
    struct stat owner;
    bool is_first = !e->port;
    if (is_first) {
        e->port = engine_port();
        e->peer_port = engine_port();
    }
    engine_folder(e);
    snprintf(path, sizeof path, "%s/keys", e->folder);
    gb_tls_certs certs = {.folder = path, .days = 2};
    if (is_first && gb_tls_make_certs(&certs) < 0) abort();
    if (stat(e->folder, &owner) != 0) abort();
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", e->folder, files[i]);
        if (chown(path, owner.st_uid, owner.st_gid) != 0) abort();
    }
    snprintf(port, sizeof port, "%d", e->port);
    snprintf(tls_port, sizeof tls_port, "%d", e->peer_port);
    engine_launch(e,
                  (const char *[]){program,
                                   "--port",
                                   port,
                                   "--tls-port",
                                   tls_port,
                                   "--bind",
                                   "127.0.0.1",
                                   "--tls-cert-file",
                                   "keys/silo.crt",
                                   "--tls-key-file",
                                   "keys/silo.key",
                                   "--tls-ca-cert-file",
                                   "keys/ca.crt",
                                   "--tls-auth-clients",
                                   "no",
                                   "--requirepass",
                                   ENGINE_PASSWORD,
                                   "--appendonly",
                                   "yes",
                                   "--appendfsync",
                                   "always",
                                   "--save",
                                   "",
                                   NULL},
                  "Ready to accept connections");
    snprintf(query, sizeof query, "?cacert=%s/keys/ca.crt", e->folder);
    snprintf(e->url, sizeof e->url, "rediss://:%s@127.0.0.1:%d/1%s", ENGINE_PASSWORD_IN_URL,
             e->peer_port, query);
    /* a server that nobody we know has signed for */
    snprintf(e->wrong_url, sizeof e->wrong_url, "rediss://:wr0ng-w0rd@127.0.0.1:%d/1",
             e->peer_port);
    snprintf(e->silent_url, sizeof e->silent_url, "rediss://:pass@127.0.0.1:%%d/1");
    return true;
}
#endif

static void stop(engine *e)
{
    engine_kill(e, SIGKILL);
}

static redisReply *reply_of(redisContext *link, int count, const char **args, const size_t *sizes)
{
    redisReply *reply = redisCommandArgv(link, count, args, sizes);
    if (!reply || reply->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "redis: %s\n", reply ? reply->str : link->errstr);
        abort();
    }
    return reply;
}

static void command(engine *e, int count, const char **args, const size_t *sizes)
{
    redisContext *link = redisConnect(engine_host(e), e->port);
    freeReplyObject(reply_of(link, 2, (const char *[]){"AUTH", ENGINE_PASSWORD}, NULL));
    freeReplyObject(reply_of(link, 2, (const char *[]){"SELECT", "1"}, NULL));
    freeReplyObject(reply_of(link, count, args, sizes));
    redisFree(link);
}

static const char *key_of(const char *cluster, char out[100])
{
    snprintf(out, 100, "gpubridge:%s", cluster);
    return out;
}

static void wipe(engine *e, const char *cluster)
{
    char key[100];
    command(e, 2, (const char *[]){"DEL", key_of(cluster, key)}, NULL);
}

static void put(engine *e, const char *cluster, const char *field, const void *bytes, size_t size)
{
    char key[100];
    const char *args[4] = {"HSET", key_of(cluster, key), field, bytes};
    command(e, 4, args, (size_t[]){4, strlen(key), strlen(field), size});
}

static void foreign(engine *e, const char *cluster)
{
    char key[100];
    command(e, 3, (const char *[]){"SET", key_of(cluster, key), "a text"}, NULL);
}

const engine engine_redis = {.name = "redis",
                             .is_server = true,
                             .is_lasting = true,
                             .start = start,
                             .stop = stop,
                             .wipe = wipe,
                             .put = put,
                             .foreign = foreign};

#ifdef GB_WITH_TLS
const engine engine_rediss = {.name = "rediss",
                              .is_server = true,
                              .is_lasting = true,
                              .start = start_tls,
                              .stop = stop,
                              .wipe = wipe,
                              .put = put,
                              .foreign = foreign};
#endif
