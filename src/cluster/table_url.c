#include "cluster/table_url.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

enum { URL_BYTES_MAX = 2048 };

static const struct {
    const char *scheme, *module;
    bool is_local; /* what follows the colon is a name or a path */
} schemes[] = {
    {"memory", NULL, true},
    {"sqlite", "table_sqlite", true},
    {"redis", "table_redis", false},
    {"rediss", "table_redis", false},
    {"postgres", "table_postgres", false},
    {"postgresql", "table_postgres", false},
    {"etcd", "table_etcd", false},
    {"etcds", "table_etcd", false},
};
enum { SCHEMES = sizeof schemes / sizeof schemes[0] };

static int bad(const gbi_table_url *url, const char *what)
{
    return gb_err_set(GB_EINVAL, "the cluster's URL (%s:...) has %s", url->target.scheme, what);
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* In place: it only gets shorter. */
static int decode(const gbi_table_url *url, char *text, const char *where)
{
    char *to = text;
    for (const char *at = text; *at; at++) {
        if (*at != '%') {
            *to++ = *at;
            continue;
        }
        int high = digit(at[1]), low = high < 0 ? -1 : digit(at[2]);
        if (low < 0 || high * 16 + low == 0) return bad(url, where);
        *to++ = (char)(high * 16 + low);
        at += 2;
    }
    *to = 0;
    return 0;
}

static int parse_authority(gbi_table_url *url, char *authority)
{
    gb_provider_target *target = &url->target;
    char *at = strrchr(authority, '@');
    target->hosts = at ? at + 1 : authority;
    if (at) {
        *at = 0;
        char *colon = strchr(authority, ':');
        if (colon) *colon = 0;
        char *user = authority, *password = colon ? colon + 1 : at;
        int rc = decode(url, user, "a bad %XX in its user name");
        if (rc >= 0 && colon) rc = decode(url, password, "a bad %XX in its password");
        if (rc < 0) return rc;
        target->user = user;
        target->password = password;
    }
    for (const char *c = target->hosts; *c; c++) {
        bool fine = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    (*c >= '0' && *c <= '9') || strchr(".-_:[],", *c);
        if (!fine) return bad(url, "a host name with a character that none has");
    }
    return 0;
}

/* rest: what follows "SCHEME://", which may be written to. */
static int parse_network(gbi_table_url *url, char *rest)
{
    gb_provider_target *target = &url->target;
    char *query = strchr(rest, '?');
    if (query) {
        *query = 0;
        target->query = query + 1;
    }
    char *slash = strchr(rest, '/');
    if (slash) {
        *slash = 0;
        target->path = slash + 1;
        int rc = decode(url, slash + 1, "a bad %XX in its path");
        if (rc < 0) return rc;
    }
    int rc = parse_authority(url, rest);
    if (rc < 0) return rc;
    snprintf(url->shown, sizeof url->shown, "%s://%s%s%.64s", target->scheme, target->hosts,
             *target->path ? "/" : "", target->path);
    return 0;
}

static int parse_local(gbi_table_url *url, char *rest)
{
    if (strncmp(rest, "//", 2) == 0) rest += 2;
    if (!*rest) return bad(url, "nothing behind the colon");
    url->target.path = rest;
    snprintf(url->shown, sizeof url->shown, "%s:%s", url->target.scheme, rest);
    return 0;
}

static int unknown(const char *url, size_t scheme_size)
{
    return gb_err_set(GB_EINVAL,
                      "the cluster's URL begins with %.*s: it is memory:NAME, sqlite:FILE, "
                      "redis://, rediss://, postgres://, etcd:// or etcds://",
                      (int)(scheme_size < 24 ? scheme_size : 24), url);
}

int gbi_table_url_parse(gbi_table_url *out, gb_mem *mem, const char *url)
{
    *out = (gbi_table_url){
        .target = {"", "", "", "", "", "", "", ""},
    };
    size_t size = url ? strnlen(url, URL_BYTES_MAX + 1) : 0, scheme_size = 0, i = 0;
    if (!size) return gb_err_set(GB_EINVAL, "no URL for the cluster's table");
    if (size > URL_BYTES_MAX)
        return gb_err_set(GB_EINVAL, "the cluster's URL is over %d bytes", (int)URL_BYTES_MAX);
    const char *colon = strchr(url, ':');
    if (!colon) return gb_err_set(GB_EINVAL, "the cluster's URL has no scheme, as in sqlite:FILE");
    scheme_size = (size_t)(colon - url);
    while (i < SCHEMES && (strlen(schemes[i].scheme) != scheme_size ||
                           memcmp(schemes[i].scheme, url, scheme_size) != 0))
        i++;
    if (i == SCHEMES) return unknown(url, scheme_size);
    /* Once as it came, once to be cut into pieces. */
    out->text_bytes = 2 * (size + 1);
    out->text = gb_mem_alloc(mem, out->text_bytes);
    if (!out->text) return GB_ENOMEM;
    memcpy(out->text, url, size + 1);
    memcpy(out->text + size + 1, url, size + 1);
    char *rest = out->text + size + 1 + scheme_size + 1;
    out->target.url = out->text;
    out->target.scheme = schemes[i].scheme;
    out->module = schemes[i].module;
    int rc = 0;
    if (schemes[i].is_local)
        rc = parse_local(out, rest);
    else if (strncmp(rest, "//", 2) != 0)
        rc = bad(out, "no // behind its scheme");
    else
        rc = parse_network(out, rest + 2);
    if (rc < 0) gbi_table_url_fini(out, mem);
    return rc;
}

void gbi_table_url_fini(gbi_table_url *url, gb_mem *mem)
{
    if (!url->text) return;
    explicit_bzero(url->text, url->text_bytes); /* there may be a password in it */
    gb_mem_free(mem, url->text, url->text_bytes);
    url->text = NULL;
}
