#include "cluster/hello.h"

#include "base/err.h"
#include "wire/cbor.h"

#include <string.h>

enum { FIELDS = 8 };

int gb_hello_encode(gb_buf *out, const gb_hello *hello)
{
    int rc = gb_cbor_put_list(out, FIELDS);
    if (rc == 0) rc = gb_cbor_put_uint(out, GB_LINK_VERSION);
    if (rc == 0) rc = gb_cbor_put_uint(out, hello->role);
    if (rc == 0) rc = gb_cbor_put_uint(out, hello->silo);
    if (rc == 0) rc = gb_cbor_put_uint(out, hello->to);
    if (rc == 0) rc = gb_cbor_put_uint(out, hello->worker);
    if (rc == 0) rc = gb_cbor_put_text(out, hello->cluster, strlen(hello->cluster));
    if (rc == 0) rc = gb_cbor_put_text(out, hello->name, strlen(hello->name));
    if (rc == 0) rc = gb_cbor_put_bytes(out, hello->word, hello->proves ? sizeof hello->word : 0);
    return rc;
}

static bool natural(gb_cbor *in, uint64_t max, uint64_t *out)
{
    gb_cbor_token t;
    return gb_cbor_next(in, &t) == 0 && gb_cbor_natural(&t, out) && *out <= max;
}

static bool text(gb_cbor *in, char *out, size_t room)
{
    gb_cbor_token t;
    if (gb_cbor_next(in, &t) < 0 || t.kind != GB_CBOR_TEXT || t.size >= room) return false;
    if (t.size) memcpy(out, t.bytes, t.size);
    out[t.size] = 0;
    return strlen(out) == t.size;
}

static bool word(gb_cbor *in, gb_hello *out)
{
    gb_cbor_token t;
    if (gb_cbor_next(in, &t) < 0 || t.kind != GB_CBOR_BYTES) return false;
    out->proves = t.size == sizeof out->word;
    if (out->proves) memcpy(out->word, t.bytes, t.size);
    return out->proves || t.size == 0;
}

int gb_hello_decode(gb_hello *out, const void *bytes, size_t size)
{
    gb_cbor in;
    gb_cbor_token t;
    uint64_t version, role, worker;
    memset(out, 0, sizeof *out);
    gb_cbor_init(&in, bytes, size);
    if (gb_cbor_next(&in, &t) < 0 || t.kind != GB_CBOR_LIST || t.natural < 1 ||
        !natural(&in, UINT32_MAX, &version))
        return gb_err_set(GB_EINVAL, "a greeting that is none");
    if (version != GB_LINK_VERSION)
        return gb_err_set(
            GB_EDENIED,
            "the versions of the protocol differ: %llu of who connects, %d of who is asked",
            (unsigned long long)version, GB_LINK_VERSION);
    if (t.natural != FIELDS || !natural(&in, GB_LINK_PROBE, &role) || role < GB_LINK_CONTROL ||
        !natural(&in, UINT64_MAX, &out->silo) || !natural(&in, UINT64_MAX, &out->to) ||
        !natural(&in, UINT16_MAX, &worker) || !text(&in, out->cluster, sizeof out->cluster) ||
        !*out->cluster || !text(&in, out->name, sizeof out->name) ||
        (*out->name && !gb_token_name_fits(out->name)) || !word(&in, out) || in.at != in.end)
        return gb_err_set(GB_EINVAL, "a greeting that is broken");
    out->role = (gb_link_role)role;
    out->worker = (uint32_t)worker;
    return 0;
}
