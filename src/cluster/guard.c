#include "cluster/guard.h"

#include "base/err.h"
#include "base/hash.h"
#include "cluster/tokens.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct gb_guard {
    gb_mem *mem;
    bool has_key;
    gb_secret key;
    uint8_t seed[GB_MAC_BYTES]; /* made of it; zeros without one */
    gb_verifier nobody;         /* what an unknown token has to prove: nobody can */
    const char *file;           /* NULL: no tokens */
    struct stat seen;           /* the file when it was read */
    pthread_mutex_t lock;
    gb_tokens tokens;
    int64_t looked_ns; /* wall clock of the last tick */
};

static const struct {
    const char *name;
    unsigned rights;
} roles[] = {{"viewer", GB_MAY_LOOK},
             {"client", GB_MAY_LOOK | GB_MAY_CALL},
             {"operator", GB_MAY_ALL},
             {NULL, 0}};

unsigned gb_role_rights(const char *role)
{
    int at = 0;
    while (roles[at].name && strcmp(roles[at].name, role) != 0) at++;
    return roles[at].rights;
}

/* ---- opening ---- */

static int read_tokens(gb_guard *guard, gb_tokens *out, struct stat *seen)
{
    if (stat(guard->file, seen) != 0) memset(seen, 0, sizeof *seen);
    return gb_tokens_read(out, guard->mem, guard->file);
}

static int open_parts(gb_guard *guard, const gb_guard_config *config)
{
    int rc = 0;
    if (config->key && config->key_file)
        return gb_err_set(GB_EINVAL, "cluster_key and cluster_key_file: one of them is enough");
    guard->has_key = config->key || config->key_file;
    if (config->key && (rc = gb_secret_make(&guard->key, config->key)) == GB_EINVAL)
        return gb_err_set(rc, "cluster_key has %d to %d characters", GB_SECRET_BYTES_MIN,
                          GB_SECRET_BYTES_MAX);
    if (config->key_file) rc = gb_secret_read(&guard->key, config->key_file, false);
    if (rc == 0 && guard->has_key &&
        !guard->key.verifier.mac(guard->seed, guard->key.client, GB_MAC_BYTES, "seed", 4))
        rc = gb_err_set(GB_ENOMEM, "no memory for a MAC");
    if (rc < 0 || !guard->file) return rc;
    rc = gb_tls_mac(&guard->nobody.mac);
    if (rc == 0) rc = gb_nonce(guard->nobody.stored);
    if (rc == 0) rc = gb_nonce(guard->nobody.server);
    return rc < 0 ? rc : read_tokens(guard, &guard->tokens, &guard->seen);
}

int gb_guard_open(gb_guard **out, const gb_guard_config *config)
{
    gb_guard *guard = gb_mem_zalloc(config->mem, sizeof *guard);
    if (!guard) return GB_ENOMEM;
    guard->mem = config->mem;
    guard->file = config->tokens_file;
    pthread_mutex_init(&guard->lock, NULL);
    int rc = open_parts(guard, config);
    if (rc < 0)
        gb_guard_close(guard);
    else
        *out = guard;
    return rc;
}

void gb_guard_close(gb_guard *guard)
{
    gb_tokens_fini(&guard->tokens, guard->mem);
    pthread_mutex_destroy(&guard->lock);
    explicit_bzero(&guard->key, sizeof guard->key);
    gb_mem_free(guard->mem, guard, sizeof *guard);
}

const gb_secret *gb_guard_key(const gb_guard *guard)
{
    return guard->has_key ? &guard->key : NULL;
}

uint64_t gb_guard_seed(const gb_guard *guard, const char *cluster)
{
    uint64_t seed;
    memcpy(&seed, guard->seed, sizeof seed);
    return gb_hash_bytes(cluster, strlen(cluster), seed);
}

/* ---- who comes ---- */

static int judge_silo(const gb_guard *guard, gb_grant *grant, const gb_hello *hello,
                      const gb_tls_peer *cert)
{
    if (cert && strcmp(cert->role, "silo") != 0)
        return gb_err_set(GB_EDENIED,
                          "its certificate ('%s', OU=%s) is not that of a silo (OU=silo)",
                          cert->name, cert->role);
    if (guard->has_key && !hello->proves)
        return gb_err_set(GB_EDENIED, "this cluster has a key, and that silo has none "
                                      "(cluster_key)");
    if (!guard->has_key && hello->proves)
        return gb_err_set(GB_EDENIED, "that silo has a key, and this cluster has none "
                                      "(cluster_key)");
    grant->verifier = guard->key.verifier;
    grant->rights = cert || hello->proves ? GB_MAY_ALL : GB_MAY_ALL & ~GB_MAY_RUN;
    return hello->proves;
}

static void name_grant(gb_grant *grant, const char *what, const char *name, const char *role)
{
    grant->rights = gb_role_rights(role);
    snprintf(grant->who, sizeof grant->who, "the %s '%.40s' (%.20s)", what, name, role);
}

static int judge_token(gb_guard *guard, gb_grant *grant, const gb_hello *hello)
{
    if (!guard->file)
        return gb_err_set(GB_EDENIED, "this silo knows no tokens (tokens), connect without one "
                                      "(token_file)");
    memcpy(grant->name, hello->name, sizeof grant->name);
    pthread_mutex_lock(&guard->lock);
    const gb_token *token = gb_tokens_find(&guard->tokens, hello->name);
    grant->verifier = token ? token->verifier : guard->nobody;
    if (token) name_grant(grant, "token", token->name, token->role);
    pthread_mutex_unlock(&guard->lock);
    return 1;
}

int gb_guard_judge(gb_guard *guard, gb_grant *grant, const gb_hello *hello, const gb_tls_peer *cert,
                   bool is_near)
{
    memset(grant, 0, sizeof *grant);
    if (hello->role == GB_LINK_PROBE) return 0; /* all that it hears is that we are alive */
    if (hello->silo || hello->role == GB_LINK_CONTROL) return judge_silo(guard, grant, hello, cert);
    if (hello->proves) return judge_token(guard, grant, hello);
    if (cert && *cert->name) {
        bool is_silo = strcmp(cert->role, "silo") == 0; /* who has that may do all */
        name_grant(grant, "certificate", cert->name, is_silo ? "operator" : cert->role);
        if (!grant->rights)
            return gb_err_set(GB_EDENIED, "the role of its certificate ('%s', OU=%s) is none",
                              cert->name, cert->role);
        if (is_near && !guard->file) grant->rights |= GB_MAY_ALL & ~GB_MAY_RUN;
        return 0;
    }
    if (guard->file)
        return gb_err_set(GB_EDENIED, "this silo wants a token (token_file)%s",
                          cert ? " or a certificate (tls_cert)" : "");
    if (cert) return gb_err_set(GB_EDENIED, "it shows no certificate");
    grant->rights = is_near ? GB_MAY_ALL & ~GB_MAY_RUN : GB_MAY_CALL;
    return 0;
}

int gb_guard_holds(gb_guard *guard, const gb_grant *grant, int64_t wall_ns)
{
    if (!*grant->name) return 0;
    pthread_mutex_lock(&guard->lock);
    const gb_token *token = gb_tokens_find(&guard->tokens, grant->name);
    bool same = token && gb_role_rights(token->role) == grant->rights &&
                gb_same_bytes(token->verifier.stored, grant->verifier.stored, GB_MAC_BYTES);
    bool over = same && token->until_s && token->until_s <= wall_ns / 1000000000;
    pthread_mutex_unlock(&guard->lock);
    if (over) return gb_err_set(GB_EDENIED, "the token '%s' is over", grant->name);
    if (same) return 0;
    return gb_err_set(GB_EDENIED, "the token '%s' is not known here, or its secret is another",
                      grant->name);
}

void gb_grant_welcome(const gb_grant *grant, gb_hello *welcome)
{
    welcome->proves = grant->proves;
    memcpy(welcome->word, grant->answer, sizeof welcome->word);
}

int gb_grant_check(const gb_grant *grant, unsigned rights)
{
    if ((grant->rights & rights) == rights) return 0;
    const char *what = rights & GB_MAY_RUN       ? "run code here"
                       : rights & GB_MAY_OPERATE ? "operate silos"
                       : rights & GB_MAY_LOOK    ? "look at the cluster"
                                                 : "call grains";
    if (*grant->who) return gb_err_set(GB_EDENIED, "%s may not %s", grant->who, what);
    if (rights & GB_MAY_RUN)
        return gb_err_set(GB_EDENIED, "code is run here only for the token of an operator "
                                      "(token_file; gbrun token makes one)");
    return gb_err_set(GB_EDENIED, "silos are operated by clients on their own machine alone, or "
                                  "with a token (token_file)");
}

/* ---- the file ---- */

int gb_guard_tick(gb_guard *guard, int64_t wall_ns)
{
    struct stat now;
    if (!guard->file) return 0;
    int64_t since_s = guard->looked_ns / 1000000000, now_s = wall_ns / 1000000000;
    guard->looked_ns = wall_ns;
    if (stat(guard->file, &now) != 0) memset(&now, 0, sizeof now);
    if (now.st_ino == guard->seen.st_ino && now.st_size == guard->seen.st_size &&
        now.st_mtim.tv_sec == guard->seen.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == guard->seen.st_mtim.tv_nsec && now.st_mode == guard->seen.st_mode)
        return gb_tokens_end_between(&guard->tokens, since_s, now_s);
    gb_tokens fresh = {0};
    int rc = read_tokens(guard, &fresh, &guard->seen);
    if (rc < 0) return rc;
    pthread_mutex_lock(&guard->lock);
    gb_tokens old = guard->tokens;
    guard->tokens = fresh;
    pthread_mutex_unlock(&guard->lock);
    gb_tokens_fini(&old, guard->mem);
    return 1;
}
