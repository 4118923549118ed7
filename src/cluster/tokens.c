#include "cluster/tokens.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIELDS = 5 };

/* ---- a line ---- */

static bool read_time(const char *text, int64_t *out)
{
    struct tm t = {0};
    *out = 0;
    if (strcmp(text, "never") == 0) return true;
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &t);
    *out = (int64_t)timegm(&t);
    return end && !*end && *out > 0;
}

static bool read_hex(const char *text, uint8_t out[GB_MAC_BYTES])
{
    if (strlen(text) != 2 * GB_MAC_BYTES || strspn(text, "0123456789abcdef") != 2 * GB_MAC_BYTES)
        return false;
    for (int i = 0; i < GB_MAC_BYTES; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

static void put_hex(char out[2 * GB_MAC_BYTES + 1], const uint8_t bytes[GB_MAC_BYTES])
{
    for (int i = 0; i < GB_MAC_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* What is wrong with it; NULL: nothing. */
static const char *read_line(char *line, gb_token *out)
{
    char *fields[FIELDS], *rest = line;
    for (int i = 0; i < FIELDS; i++) fields[i] = strtok_r(rest, " \t\r", &rest);
    if (!fields[FIELDS - 1] || strtok_r(rest, " \t\r", &rest))
        return "a token's line is NAME ROLE UNTIL STORED SERVER";
    if (!gb_token_name_fits(fields[0])) return "its name is none";
    if (!gb_role_rights(fields[1])) return "its role is not viewer, client or operator";
    if (!read_time(fields[2], &out->until_s)) return "its end is not never or 2027-01-31T12:00:00Z";
    if (!read_hex(fields[3], out->verifier.stored) || !read_hex(fields[4], out->verifier.server))
        return "its last two fields are not 64 hex digits each";
    memcpy(out->name, fields[0], strlen(fields[0]) + 1);
    memcpy(out->role, fields[1], strlen(fields[1]) + 1);
    return NULL;
}

/* ---- the file ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const gb_token *)a)->name, ((const gb_token *)b)->name);
}

static gb_token *add(gb_tokens *tokens, gb_mem *mem)
{
    if (tokens->count == tokens->room) {
        gb_token *all = gb_mem_grow(mem, tokens->all, &tokens->room, 16, sizeof *all);
        if (!all) return NULL;
        tokens->all = all;
    }
    gb_token *token = &tokens->all[tokens->count++];
    memset(token, 0, sizeof *token);
    return token;
}

static int read_all(gb_tokens *out, gb_mem *mem, gb_mac *mac, char *text, const char *path)
{
    int number = 0;
    for (char *line; (line = strsep(&text, "\n"));) {
        number++;
        line[strcspn(line, "#")] = 0;
        line += strspn(line, " \t\r");
        if (!*line) continue;
        if (out->count == GB_TOKENS_MAX)
            return gb_err_set(GB_EINVAL, "%s: more than %d tokens", path, GB_TOKENS_MAX);
        gb_token *token = add(out, mem);
        if (!token) return GB_ENOMEM;
        token->verifier.mac = mac;
        const char *wrong = read_line(line, token);
        if (wrong) return gb_err_set(GB_EINVAL, "%s:%d: %s", path, number, wrong);
    }
    if (out->count) qsort(out->all, out->count, sizeof *out->all, by_name);
    for (uint32_t i = 1; i < out->count; i++)
        if (by_name(&out->all[i - 1], &out->all[i]) == 0)
            return gb_err_set(GB_EINVAL, "%s: two tokens have the name '%s'", path,
                              out->all[i].name);
    return 0;
}

int gb_tokens_read(gb_tokens *out, gb_mem *mem, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    gb_mac *mac = NULL;
    *out = (gb_tokens){0};
    int rc = gb_tls_mac(&mac);
    if (rc == 0) rc = gb_secret_text(&text, &size, mem, path);
    if (rc < 0) return rc;
    rc = read_all(out, mem, mac, text, path);
    gb_mem_free(mem, text, size + 1);
    if (rc < 0) gb_tokens_fini(out, mem);
    return rc;
}

void gb_tokens_fini(gb_tokens *tokens, gb_mem *mem)
{
    gb_mem_free(mem, tokens->all, tokens->room * sizeof *tokens->all);
    *tokens = (gb_tokens){0};
}

const gb_token *gb_tokens_find(const gb_tokens *tokens, const char *name)
{
    gb_token wanted;
    snprintf(wanted.name, sizeof wanted.name, "%s", name);
    return tokens->count ? bsearch(&wanted, tokens->all, tokens->count, sizeof wanted, by_name)
                         : NULL;
}

bool gb_tokens_end_between(const gb_tokens *tokens, int64_t after_s, int64_t until_s)
{
    for (uint32_t i = 0; i < tokens->count; i++) {
        int64_t end = tokens->all[i].until_s;
        if (end > after_s && end <= until_s) return true;
    }
    return false;
}

/* ---- a new one ---- */

int gb_token_make(char text[GB_TOKEN_TEXT_BYTES], char line[GB_TOKEN_LINE_BYTES], const char *name,
                  const char *role, int64_t until_s)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[GB_MAC_BYTES];
    char secret[GB_MAC_BYTES + 1] = "", until[32] = "never";
    char stored[2 * GB_MAC_BYTES + 1], server[2 * GB_MAC_BYTES + 1];
    gb_secret made;
    struct tm t;
    time_t end = (time_t)until_s;
    if (!gb_token_name_fits(name))
        return gb_err_set(GB_EINVAL,
                          "a token's name is of letters, digits and . _ - (at most %d), not '%s'",
                          GB_TOKEN_NAME_BYTES - 1, name);
    if (!gb_role_rights(role))
        return gb_err_set(GB_EINVAL, "a token's role is viewer, client or operator, not '%s'",
                          role);
    int rc = gb_nonce(random);
    for (int i = 0; i < GB_MAC_BYTES; i++) secret[i] = letters[random[i] % 64]; /* 192 bits */
    if (rc == 0) rc = gb_secret_make(&made, secret);
    if (rc < 0) return rc;
    if (until_s && gmtime_r(&end, &t)) strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &t);
    put_hex(stored, made.verifier.stored);
    put_hex(server, made.verifier.server);
    snprintf(text, GB_TOKEN_TEXT_BYTES, "%s:%s", name, secret);
    snprintf(line, GB_TOKEN_LINE_BYTES, "%s %s %s %s %s", name, role, until, stored, server);
    return 0;
}
