/* etcd://[user:password@]host[:port][,host...] or etcds:// (TLS; ?cacert=FILE&cert=FILE&key=FILE):
 * the membership table in etcd, through the JSON gateway of its version 3. Keys are
 * gpubridge/CLUSTER/FIELD; a change is one transaction that compares the field version.
 *
 * Endpoints are tried in turn, from the one that answered last. A change goes to another endpoint
 * only where no connection came about, so it never happens twice.
 */
#include "cluster/modules/etcd_json.h"
#include "cluster/modules/wait.h"

#include <curl/curl.h>
#include <pthread.h>

enum { PORT = 2379, ENDPOINTS_MAX = 9, ENDPOINT_BYTES = 300, PAGE = 500, TOKEN_BYTES = 1024 };
enum { ANSWER_BYTES_MAX = 256 << 20, FILE_BYTES = 512, HTTP_OK = 200, HTTP_UNAUTHORIZED = 401 };

typedef struct state {
    const gb_provider_host *host;
    const gb_provider_target *target;
    CURL *link;
    char names[ENDPOINTS_MAX][GB_HOST_BYTES];
    int ports[ENDPOINTS_MAX];
    int count, last; /* the endpoint that answered */
    char cacert[FILE_BYTES], cert[FILE_BYTES], key[FILE_BYTES];
    char token[TOKEN_BYTES]; /* of a login; "": none */
} state;

typedef struct answer {
    char *data;
    size_t size;
    bool is_too_long;
} answer;

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t take(char *data, size_t one, size_t size, void *user)
{
    answer *a = user;
    size *= one;
    if (a->size + size > ANSWER_BYTES_MAX) {
        a->is_too_long = true;
        return 0;
    }
    char *grown = realloc(a->data, a->size + size + 1);
    if (!grown) return 0;
    memcpy(grown + a->size, data, size);
    a->data = grown;
    a->size += size;
    return size;
}

/* ---- one request ---- */

static int code_of_curl(CURLcode code)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return GB_ETIMEDOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
        return GB_EDENIED;
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return GB_EINVAL;
    case CURLE_OUT_OF_MEMORY:
        return GB_ENOMEM;
    default:
        return GB_ELOST;
    }
}

static void set_options(state *s, const char *url, const char *body, answer *out, long ms)
{
    CURL *c = s->link;
    curl_easy_reset(c); /* connections stay */
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, ms > 0 ? ms : 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, ""); /* etcd is near; http_proxy is for the world */
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    if (*s->cacert) curl_easy_setopt(c, CURLOPT_CAINFO, s->cacert);
    if (*s->cert) curl_easy_setopt(c, CURLOPT_SSLCERT, s->cert);
    if (*s->key) curl_easy_setopt(c, CURLOPT_SSLKEY, s->key);
}

/* One endpoint: 0 and the answer with its HTTP status, or an error. *tried: it may have arrived. */
static int post_to(state *s, int endpoint, const char *path, const char *body, uint64_t deadline_ns,
                   answer *out, long *status, bool *tried)
{
    char url[ENDPOINT_BYTES + 64], pin[GB_HOST_BYTES + GB_ADDRESSES_BYTES + 16];
    char addresses[GB_ADDRESSES_BYTES], why[CURL_ERROR_SIZE] = "";
    const char *name = s->names[endpoint];
    bool is_v6 = strchr(name, ':') != NULL, is_tls = strcmp(s->target->scheme, "etcds") == 0;
    int rc = s->host->resolve(addresses, sizeof addresses, name, deadline_ns);
    *tried = false;
    if (rc < 0) return rc;
    snprintf(url, sizeof url, "%s://%s%s%s:%d/v3/%s", is_tls ? "https" : "http", is_v6 ? "[" : "",
             name, is_v6 ? "]" : "", s->ports[endpoint], path);
    snprintf(pin, sizeof pin, "%s:%d:%s", name, s->ports[endpoint], addresses);
    struct curl_slist *pins = is_v6 ? NULL : curl_slist_append(NULL, pin), *headers = NULL;
    set_options(s, url, body, out, gbm_left_ms(deadline_ns));
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    if (*s->token) {
        char line[TOKEN_BYTES + 32];
        snprintf(line, sizeof line, "Authorization: %s", s->token);
        headers = curl_slist_append(headers, line);
    }
    curl_easy_setopt(s->link, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(s->link, CURLOPT_RESOLVE, pins);
    curl_easy_setopt(s->link, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(s->link);
    curl_easy_getinfo(s->link, CURLINFO_RESPONSE_CODE, status);
    curl_easy_setopt(s->link, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(pins);
    curl_slist_free_all(headers);
    *tried = code != CURLE_COULDNT_CONNECT;
    if (code == CURLE_OK) return 0;
    if (out->is_too_long) return s->host->error(GB_EINVAL, "an answer that is too long");
    return s->host->error(code_of_curl(code), "%s", *why ? why : curl_easy_strerror(code));
}

/* What etcd answers when it says no. */
static int refusal(state *s, const answer *a, long status)
{
    char text[256];
    int code = gbm_etcd_error(a->data, a->size, text, sizeof text), rc = GB_ELOST;
    bool is_login = strstr(text, "authentication") || strstr(text, "user name is empty") ||
                    strstr(text, "permission denied") || strstr(text, "auth token");
    if (status == HTTP_UNAUTHORIZED || code == 7 || code == 16 || is_login)
        rc = GB_EDENIED;
    else if (code == 4)
        rc = GB_ETIMEDOUT;
    else if (status == 404)
        rc = GB_EINVAL;
    return s->host->error(rc, "%s (HTTP %ld)", *text ? text : "no answer of etcd", status);
}

/* A POST to the first endpoint that takes it: 0 and *out (the caller frees data), or an error. */
static int post(state *s, const char *path, const char *body, uint64_t deadline_ns, answer *out)
{
    int rc = GB_ELOST;
    for (int i = 0; i < s->count; i++) {
        int endpoint = (s->last + i) % s->count;
        long status = 0;
        bool tried = false;
        *out = (answer){0};
        rc = post_to(s, endpoint, path, body, deadline_ns, out, &status, &tried);
        if (rc >= 0) {
            s->last = endpoint;
            if (status == HTTP_OK) return 0;
            rc = refusal(s, out, status);
            tried = true;
        }
        free(out->data);
        *out = (answer){0};
        if (tried) s->last = (endpoint + 1) % s->count; /* the next step asks another */
        if (tried || rc == GB_ETIMEDOUT) return rc;
    }
    return rc;
}

/* ---- the login ---- */

static int login(state *s, uint64_t deadline_ns)
{
    answer a;
    char *body = gbm_etcd_login(s->target->user, s->target->password);
    if (!body) return s->host->error(GB_ENOMEM, "no memory for a request");
    s->token[0] = 0;
    int rc = post(s, "auth/authenticate", body, deadline_ns, &a);
    explicit_bzero(body, strlen(body));
    free(body);
    if (rc < 0) return rc;
    if (gbm_etcd_token(a.data, a.size, s->token, sizeof s->token) < 0)
        rc = s->host->error(GB_EINVAL, "an answer to a login that has no token");
    free(a.data);
    return rc;
}

static int ask(state *s, const char *path, char *body, uint64_t deadline_ns, answer *out)
{
    if (!body) return s->host->error(GB_ENOMEM, "no memory for a request");
    bool has_login = *s->target->user, was_in = *s->token;
    int rc = has_login && !was_in ? login(s, deadline_ns) : 0;
    if (rc >= 0) rc = post(s, path, body, deadline_ns, out);
    if (rc == GB_EDENIED && has_login && was_in) { /* tokens run out */
        rc = login(s, deadline_ns);
        if (rc >= 0) rc = post(s, path, body, deadline_ns, out);
    }
    if (rc == GB_EDENIED) s->token[0] = 0;
    free(body);
    return rc;
}

/* ---- the provider ---- */

static int etcd_open(void *instance, const gb_provider_host *host, const gb_provider_target *target)
{
    /* tidy: allowed because curl is started once in a process */
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    state *s = instance;
    s->host = host;
    s->target = target;
    const char *rest = target->hosts;
    do {
        if (s->count == ENDPOINTS_MAX)
            return host->error(GB_EINVAL, "more than %d endpoints", ENDPOINTS_MAX);
        rest = gbm_next_host(rest, s->names[s->count], &s->ports[s->count], PORT);
        if (!rest) return host->error(GB_EINVAL, "it is etcd://host:port,host:port");
        s->count++;
    } while (*rest);
    if (*target->path) return host->error(GB_EINVAL, "nothing follows the hosts");
    if (!gbm_option(target->query, "cacert", s->cacert, FILE_BYTES) ||
        !gbm_option(target->query, "cert", s->cert, FILE_BYTES) ||
        !gbm_option(target->query, "key", s->key, FILE_BYTES))
        return host->error(GB_EINVAL, "a file's name that is too long");
    pthread_once(&once, start_curl);
    s->link = curl_easy_init();
    return s->link ? 0 : host->error(GB_ENOMEM, "no memory for curl");
}

static void etcd_close(void *instance)
{
    state *s = instance;
    curl_easy_cleanup(s->link);
    explicit_bzero(s->token, sizeof s->token);
}

static int etcd_read(void *instance, uint64_t deadline_ns, gb_fields_out *out)
{
    state *s = instance;
    gbm_etcd_page page = {.cluster = s->target->cluster, .limit = PAGE};
    int rc = 0;
    /* The pages after the first are of the same revision: all of it is one moment. */
    do {
        answer a;
        rc = ask(s, "kv/range", gbm_etcd_range(&page), deadline_ns, &a);
        if (rc < 0) break;
        rc = gbm_etcd_fields(&page, a.data, a.size, out);
        if (rc == GBM_ETCD_STRANGE)
            rc = s->host->error(GB_EINVAL, "an answer to a read that is not one of etcd");
        free(a.data);
    } while (rc >= 0 && page.has_more);
    free(page.next);
    return rc < 0 ? rc : 0;
}

/* A transaction: 1 it was done, 0 its condition did not hold, or an error. */
static int transact(state *s, uint64_t deadline_ns, char *body)
{
    answer a;
    int rc = ask(s, "kv/txn", body, deadline_ns, &a);
    if (rc < 0) return rc;
    rc = gbm_etcd_succeeded(a.data, a.size);
    if (rc == GBM_ETCD_STRANGE)
        rc = s->host->error(GB_EINVAL, "an answer to a change that is not one of etcd");
    free(a.data);
    return rc;
}

static int etcd_change(void *instance, uint64_t deadline_ns, const char *expected,
                       const gb_field *fields, uint32_t count)
{
    state *s = instance;
    const char *cluster = s->target->cluster;
    /* What is left of a cluster without a version; etcd takes no second touch of a key in one
     * transaction. */
    int rc = *expected ? 1 : transact(s, deadline_ns, gbm_etcd_clear(cluster));
    if (rc == 1) rc = transact(s, deadline_ns, gbm_etcd_change(cluster, expected, fields, count));
    return rc == 0 ? s->host->error(GB_ECONFLICT, "the version moved on") : rc < 0 ? rc : 0;
}

static int etcd_touch(void *instance, uint64_t deadline_ns, const gb_field *field)
{
    state *s = instance;
    int rc = transact(s, deadline_ns, gbm_etcd_touch(s->target->cluster, field));
    return rc == 0 ? s->host->error(GB_ENOENT, "no such row") : rc < 0 ? rc : 0;
}

static const gb_provider provider = {
    .abi = GB_PROVIDER_ABI,
    .state_size = sizeof(state),
    .engine = "etcd",
    .open = etcd_open,
    .close = etcd_close,
    .read = etcd_read,
    .change = etcd_change,
    .touch = etcd_touch,
};

GB_EXPORTED const gb_provider *gb_table_module(void);
const gb_provider *gb_table_module(void)
{
    return &provider;
}
