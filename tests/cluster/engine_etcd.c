#include "engine.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t collect(char *data, size_t one, size_t size, void *user)
{
    char *answer = user;
    size_t used = strlen(answer), more = one * size;
    if (used + more >= 1024) more = 1023 - used;
    memcpy(answer + used, data, more);
    answer[used + more] = 0;
    return one * size;
}

static void post(engine *e, const char *path, const char *token, const char *body,
                 char answer[1024])
{
    char url[128], line[512];
    long status = 0;
    CURL *c = curl_easy_init();
    snprintf(url, sizeof url, "http://%s:%d/v3/%s", engine_host(e), e->port, path);
    snprintf(line, sizeof line, "Authorization: %s", token);
    struct curl_slist *headers = *token ? curl_slist_append(NULL, line) : NULL;
    answer[0] = 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, answer);
    CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    if (code == CURLE_OK && status == 200) return;
    fprintf(stderr, "etcd: %s: %s, %ld, %s\n", path, curl_easy_strerror(code), status, answer);
    abort();
}

static bool start(engine *e)
{
    static const char program[] = "/usr/bin/etcd";
    if (access(program, X_OK) != 0) return false;
    bool is_first = !e->port;
    char clients[64], peers[64], cluster[96], answer[1024];
    if (is_first) {
        e->port = engine_port();
        e->peer_port = engine_port();
    }
    engine_folder(e);
    snprintf(clients, sizeof clients, "http://%s:%d", engine_host(e), e->port);
    snprintf(peers, sizeof peers, "http://127.0.0.1:%d", e->peer_port);
    snprintf(cluster, sizeof cluster, "one=%s", peers);
    engine_launch(e,
                  (const char *[]){program, "--name", "one", "--data-dir", "data",
                                   "--listen-client-urls", clients, "--advertise-client-urls",
                                   clients, "--listen-peer-urls", peers,
                                   "--initial-advertise-peer-urls", peers, "--initial-cluster",
                                   cluster, "--log-outputs", "stderr", NULL},
                  "serving insecure client requests on");
    if (is_first) {
        post(e, "auth/user/add", "", "{\"name\":\"root\",\"password\":\"" ENGINE_PASSWORD "\"}",
             answer);
        post(e, "auth/role/add", "", "{\"name\":\"root\"}", answer);
        post(e, "auth/user/grant", "", "{\"user\":\"root\",\"role\":\"root\"}", answer);
        post(e, "auth/enable", "", "{}", answer);
    }
    snprintf(e->url, sizeof e->url, "etcd://root:%s@%s:%d", ENGINE_PASSWORD_IN_URL, engine_host(e),
             e->port);
    snprintf(e->wrong_url, sizeof e->wrong_url, "etcd://root:wr0ng-w0rd@127.0.0.1:%d", e->port);
    snprintf(e->silent_url, sizeof e->silent_url, "etcd://root:pass@127.0.0.1:%%d");
    return true;
}

static void stop(engine *e)
{
    engine_kill(e, SIGKILL);
}

static void command(engine *e, const char *path, const char *body)
{
    char answer[1024], token[256] = "";
    post(e, "auth/authenticate", "", "{\"name\":\"root\",\"password\":\"" ENGINE_PASSWORD "\"}",
         answer);
    const char *at = strstr(answer, "\"token\":\"");
    if (!at || sscanf(at + 9, "%255[^\"]", token) != 1) abort();
    post(e, path, token, body, answer);
}

static char *base64(const void *bytes, size_t size)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *b = bytes;
    char *text = calloc(1, size * 2 + 8), *to = text;
    for (size_t i = 0; i < size; i += 3) {
        uint8_t x[3] = {b[i], i + 1 < size ? b[i + 1] : 0, i + 2 < size ? b[i + 2] : 0};
        *to++ = letters[x[0] >> 2];
        *to++ = letters[(x[0] & 3) << 4 | x[1] >> 4];
        *to++ = i + 1 < size ? letters[(x[1] & 15) << 2 | x[2] >> 6] : '=';
        *to++ = i + 2 < size ? letters[x[2] & 63] : '=';
    }
    return text;
}

static void wipe(engine *e, const char *cluster)
{
    char start_key[128], end_key[128], body[512];
    int size = snprintf(start_key, sizeof start_key, "gpubridge/%s/", cluster);
    snprintf(end_key, sizeof end_key, "gpubridge/%s0", cluster);
    char *from = base64(start_key, (size_t)size), *to = base64(end_key, (size_t)size);
    snprintf(body, sizeof body, "{\"key\":\"%s\",\"range_end\":\"%s\"}", from, to);
    command(e, "kv/deleterange", body);
    free(from);
    free(to);
}

static void put(engine *e, const char *cluster, const char *field, const void *bytes, size_t size)
{
    char key[192];
    int key_size = snprintf(key, sizeof key, "gpubridge/%s/%s", cluster, field);
    char *name = base64(key, (size_t)key_size), *value = base64(bytes, size);
    size_t room = strlen(name) + strlen(value) + 64;
    char *body = malloc(room);
    snprintf(body, room, "{\"key\":\"%s\",\"value\":\"%s\"}", name, value);
    command(e, "kv/put", body);
    free(name);
    free(value);
    free(body);
}

const engine engine_etcd = {.name = "etcd",
                            .is_server = true,
                            .is_lasting = true,
                            .start = start,
                            .stop = stop,
                            .wipe = wipe,
                            .put = put};
