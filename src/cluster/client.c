#include "cluster/client.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

/* To the door every gateway is one silo: which, is decided when a link is made. */
enum { GATEWAY = 1, GATEWAYS_MAX = 16, BYTES_MAX = 64 << 20 };
enum { CONNECT_MS = 2000, RETRY_MS = 100, QUIET_MS = 1000 };

struct gb_client {
    gb_mem *mem;
    gb_silo *silo;
    gb_carry *carry;
    gb_tls *tls;
    gb_secret token;
    char cluster[GB_CLUSTER_NAME_BYTES];
    int count;
    _Atomic uint32_t turn; /* the next link goes to the next one */
    char gateways[GATEWAYS_MAX][GB_MEMBER_ADDRESS_BYTES];
};

static uint64_t client_self(void *user)
{
    (void)user;
    return 0;
}

static bool client_serves(void *user)
{
    (void)user;
    return false;
}

/* Also grains of types that a module defines here: the cluster hosts them. */
static void client_find(void *user, uint64_t token, const char *id, uint32_t size,
                        uint64_t deadline)
{
    (void)id, (void)size, (void)deadline;
    gb_carry_answered(((gb_client *)user)->carry, token, 0, GATEWAY);
}

static void client_release(void *user, const char *id, uint32_t size)
{
    (void)user, (void)id, (void)size;
}

static int client_choose(void *user, const gb_type *type, gb_key key, uint64_t *silo)
{
    (void)user, (void)type, (void)key;
    *silo = 0;
    return 0;
}

static bool client_address(void *user, uint64_t silo, char out[GB_MEMBER_ADDRESS_BYTES])
{
    gb_client *client = user;
    (void)silo;
    uint32_t at = atomic_fetch_add(&client->turn, 1) % (uint32_t)client->count;
    memcpy(out, client->gateways[at], GB_MEMBER_ADDRESS_BYTES);
    return true;
}

/* The token itself is never sent, but whoever is in the middle could go on in its name. */
static int check_open(const gb_client_config *config, const char *host)
{
    if (!config->token_file || config->tls.ca_file || config->open || gb_address_is_loopback(host))
        return 0;
    return gb_err_set(GB_EDENIED,
                      "a token for %s without TLS: name the CA of its certificates (tls_ca), or "
                      "set `cluster_open = true` when the network is yours alone",
                      host);
}

static int read_gateways(gb_client *client, const gb_client_config *config)
{
    const char *list = config->gateways;
    while (*list) {
        size_t size = strcspn(list, ",");
        char host[256];
        uint16_t port;
        if (client->count == GATEWAYS_MAX)
            return gb_err_set(GB_EINVAL, "more than %d addresses to connect to", GATEWAYS_MAX);
        char *to = client->gateways[client->count++];
        if (size >= GB_MEMBER_ADDRESS_BYTES)
            return gb_err_set(GB_EINVAL, "'%.*s' is too long for an address", (int)size, list);
        memcpy(to, list, size);
        to[size] = 0;
        int rc = gb_address_split(to, false, host, sizeof host, &port);
        if (rc == 0) rc = check_open(config, host);
        if (rc < 0) return rc;
        list += size;
        if (*list == ',') list++;
    }
    return client->count ? 0 : gb_err_set(GB_EINVAL, "no address to connect to");
}

int gb_client_open(gb_client **out, const gb_client_config *config)
{
    gb_client *client = gb_mem_zalloc(config->mem, sizeof *client);
    if (!client) return GB_ENOMEM;
    client->mem = config->mem;
    client->silo = config->silo;
    snprintf(client->cluster, sizeof client->cluster, "%s", config->cluster);
    gb_carry_config carry = {.mem = config->mem,
                             .silo = config->silo,
                             .cluster = client->cluster,
                             .bytes_max = config->bytes_max ? config->bytes_max : BYTES_MAX,
                             .connect_ns = CONNECT_MS * GB_MS,
                             .retry_ns = RETRY_MS * GB_MS,
                             .quiet_ns = QUIET_MS * GB_MS,
                             .attempts_max = 2,
                             .user = client,
                             .self = client_self,
                             .serves = client_serves,
                             .find = client_find,
                             .claim = client_find,
                             .release = client_release,
                             .choose = client_choose,
                             .address = client_address};
    int rc = read_gateways(client, config);
    if (rc == 0 && config->token_file)
        rc = gb_secret_read(&client->token, config->token_file, true);
    carry.secret = config->token_file ? &client->token : NULL;
    carry.attempts_max *= (uint32_t)client->count; /* each gateway twice */
    if (rc == 0 && config->tls.ca_file) rc = gb_tls_open(&client->tls, &config->tls);
    carry.tls = client->tls;
    if (rc == 0) rc = gb_carry_open(&client->carry, &carry);
    if (rc < 0) {
        if (client->tls) gb_tls_close(client->tls);
        gb_mem_free(config->mem, client, sizeof *client);
        return rc;
    }
    gb_far *far = gb_carry_far(client->carry);
    far->any_type = true;
    gb_silo_set_far(config->silo, far, config->silo->hash_seed);
    *out = client;
    return 0;
}

void gb_client_stop_worker(gb_client *client, gb_worker *worker)
{
    gb_carry_stop(client->carry, worker);
}

void gb_client_close(gb_client *client)
{
    client->silo->far = NULL;
    gb_carry_close(client->carry);
    if (client->tls) gb_tls_close(client->tls);
    explicit_bzero(&client->token, sizeof client->token);
    gb_mem_free(client->mem, client, sizeof *client);
}
