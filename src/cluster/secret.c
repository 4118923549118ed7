#include "cluster/secret.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 4 << 20 };

bool gb_same_bytes(const void *a, const void *b, size_t size)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;
    for (size_t i = 0; i < size; i++) differ |= x[i] ^ y[i];
    return differ == 0;
}

bool gb_token_name_fits(const char *name)
{
    size_t size = strnlen(name, GB_TOKEN_NAME_BYTES);
    return size > 0 && size < GB_TOKEN_NAME_BYTES &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               size;
}

int gb_nonce(uint8_t out[GB_MAC_BYTES])
{
    if (getrandom(out, GB_MAC_BYTES, 0) == GB_MAC_BYTES) return 0;
    return gb_err_set(GB_ENOMEM, "the system gives no random numbers");
}

/* ---- files ---- */

int gb_secret_text(char **out, size_t *size, gb_mem *mem, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return gb_err_set(GB_ENOENT, "%s cannot be read: %s", path, strerror(errno));
    int rc = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_BYTES_MAX
                 ? 0
                 : gb_err_set(GB_EINVAL, "%s is no file of a sensible size", path);
    if (rc == 0 && (st.st_mode & 077 || (st.st_uid != geteuid() && st.st_uid != 0)))
        rc = gb_err_set(GB_EDENIED, "others may read or change %s: chmod 600 it, as its owner",
                        path);
    char *text = rc == 0 ? gb_mem_alloc(mem, (size_t)st.st_size + 1) : NULL;
    if (rc == 0 && !text) rc = GB_ENOMEM;
    if (rc == 0 && read(fd, text, (size_t)st.st_size) != st.st_size)
        rc = gb_err_set(GB_ELOST, "%s changed while it was read", path);
    close(fd);
    if (rc < 0) {
        if (text) gb_mem_free(mem, text, (size_t)st.st_size + 1);
        return rc;
    }
    *size = (size_t)st.st_size;
    text[*size] = 0;
    *out = text;
    return 0;
}

static int read_line(gb_secret *out, char *text, const char *path, bool has_name)
{
    text[strcspn(text, "\r\n")] = 0;
    char *secret = text, *colon = has_name ? strchr(text, ':') : NULL;
    if (has_name) {
        if (colon) *colon = 0;
        if (!colon || !gb_token_name_fits(text))
            return gb_err_set(GB_EINVAL, "%s holds no token, NAME:SECRET (gbrun token makes one)",
                              path);
        secret = colon + 1;
    }
    int rc = gb_secret_make(out, secret);
    if (rc == GB_EINVAL)
        return gb_err_set(rc, "%s: a secret is a line of %d to %d characters", path,
                          GB_SECRET_BYTES_MIN, GB_SECRET_BYTES_MAX);
    if (rc == 0 && has_name) memcpy(out->name, text, strlen(text) + 1);
    return rc;
}

int gb_secret_read(gb_secret *out, const char *path, bool has_name)
{
    gb_mem mem;
    char *text = NULL;
    size_t size = 0;
    gb_mem_init(&mem, "secret", NULL, 0);
    int rc = gb_secret_text(&text, &size, &mem, path);
    if (rc == 0) {
        rc = read_line(out, text, path, has_name);
        explicit_bzero(text, size);
        gb_mem_free(&mem, text, size + 1);
    }
    gb_mem_fini(&mem);
    return rc;
}

/* ---- proofs ---- */

static int mac_text(uint8_t out[GB_MAC_BYTES], gb_mac *mac, const void *key, size_t size,
                    const char *text)
{
    if (mac(out, key, size, text, strlen(text))) return 0;
    return gb_err_set(GB_ENOMEM, "no memory for a MAC");
}

int gb_secret_make(gb_secret *out, const char *text)
{
    size_t size = strnlen(text, GB_SECRET_BYTES_MAX + 1);
    memset(out, 0, sizeof *out);
    if (size < GB_SECRET_BYTES_MIN || size > GB_SECRET_BYTES_MAX)
        return gb_err_set(GB_EINVAL, "a secret has %d to %d characters, not %zu",
                          GB_SECRET_BYTES_MIN, GB_SECRET_BYTES_MAX, size);
    gb_verifier *v = &out->verifier;
    int rc = gb_tls_mac(&v->mac);
    if (rc == 0) rc = mac_text(out->client, v->mac, text, size, "client");
    if (rc == 0) rc = mac_text(v->stored, v->mac, out->client, GB_MAC_BYTES, "stored");
    if (rc == 0) rc = mac_text(v->server, v->mac, text, size, "server");
    return rc;
}

int gb_talk(uint8_t out[GB_MAC_BYTES], gb_mac *mac, const void *hello, size_t hello_size,
            const uint8_t nonce[GB_MAC_BYTES], const uint8_t bound[GB_MAC_BYTES])
{
    uint8_t parts[3 * GB_MAC_BYTES];
    int rc = mac(parts, "gpubridge talk", 14, hello, hello_size)
                 ? 0
                 : gb_err_set(GB_ENOMEM, "no memory for a MAC");
    memcpy(parts + GB_MAC_BYTES, nonce, GB_MAC_BYTES);
    memcpy(parts + 2 * GB_MAC_BYTES, bound, GB_MAC_BYTES);
    if (rc == 0 && !mac(out, "gpubridge talk", 14, parts, sizeof parts))
        rc = gb_err_set(GB_ENOMEM, "no memory for a MAC");
    return rc;
}

static int mac_talk(uint8_t out[GB_MAC_BYTES], gb_mac *mac, const uint8_t key[GB_MAC_BYTES],
                    const uint8_t talk[GB_MAC_BYTES])
{
    if (mac(out, key, GB_MAC_BYTES, talk, GB_MAC_BYTES)) return 0;
    return gb_err_set(GB_ENOMEM, "no memory for a MAC");
}

int gb_secret_prove(uint8_t out[GB_MAC_BYTES], const gb_secret *secret,
                    const uint8_t talk[GB_MAC_BYTES])
{
    int rc = mac_talk(out, secret->verifier.mac, secret->verifier.stored, talk);
    for (int i = 0; i < GB_MAC_BYTES; i++) out[i] ^= secret->client[i];
    return rc;
}

int gb_secret_judge(const gb_verifier *v, const uint8_t talk[GB_MAC_BYTES],
                    const uint8_t proof[GB_MAC_BYTES])
{
    uint8_t client[GB_MAC_BYTES], stored[GB_MAC_BYTES];
    int rc = mac_talk(client, v->mac, v->stored, talk);
    if (rc < 0) return rc;
    for (int i = 0; i < GB_MAC_BYTES; i++) client[i] ^= proof[i];
    rc = mac_text(stored, v->mac, client, sizeof client, "stored");
    if (rc < 0 || gb_same_bytes(stored, v->stored, sizeof stored)) return rc;
    return gb_err_set(GB_EDENIED, "it does not prove that it knows the secret");
}

int gb_secret_answer(uint8_t out[GB_MAC_BYTES], const gb_verifier *verifier,
                     const uint8_t talk[GB_MAC_BYTES])
{
    return mac_talk(out, verifier->mac, verifier->server, talk);
}
