#include "cluster/tls.h"

#include "base/err.h"
#include "cluster/tls_door.h"
#include "sys/module.h"

#include <string.h>

struct gb_tls {
    gb_mem *mem;
    const gbi_tls_door *door;
    void *state;
};

struct gb_tls_session {
    gb_tls *tls;
    void *state;
};

static int find(const gbi_tls_door **out)
{
    void *symbol = NULL;
    int rc = gb_module_find(&symbol, "tls", "gb_tls_module");
    if (rc < 0) return rc;
    gb_tls_module_fn *get = NULL;
    memcpy(&get, &symbol, sizeof get);
    *out = get();
    if ((*out)->abi == GB_TLS_ABI) return 0;
    return gb_err_set(GB_EINVAL, "the module tls is of another version of gpubridge");
}

int gb_tls_open(gb_tls **out, const gb_tls_config *config)
{
    const gbi_tls_door *door = NULL;
    int rc = find(&door);
    if (rc < 0) return rc;
    gb_tls *tls = gb_mem_zalloc(config->mem, sizeof *tls);
    if (!tls) return GB_ENOMEM;
    tls->mem = config->mem;
    tls->door = door;
    rc = door->open(&tls->state, gb_err_set, config);
    if (rc < 0) {
        gb_mem_free(config->mem, tls, sizeof *tls);
        return rc;
    }
    *out = tls;
    return 0;
}

void gb_tls_close(gb_tls *tls)
{
    tls->door->close(tls->state);
    gb_mem_free(tls->mem, tls, sizeof *tls);
}

int64_t gb_tls_expires_s(const gb_tls *tls)
{
    return tls->door->expires_s(tls->state);
}

int gb_tls_session_open(gb_tls_session **out, gb_tls *tls, gb_tls_side side, const char *host)
{
    gb_tls_session *session = gb_mem_zalloc(tls->mem, sizeof *session);
    if (!session) return GB_ENOMEM;
    session->tls = tls;
    int rc = tls->door->session_open(&session->state, tls->state, side, host);
    if (rc < 0) {
        gb_mem_free(tls->mem, session, sizeof *session);
        return rc;
    }
    *out = session;
    return 0;
}

void gb_tls_session_close(gb_tls_session *session)
{
    gb_tls *tls = session->tls;
    tls->door->session_close(session->state);
    gb_mem_free(tls->mem, session, sizeof *session);
}

int gb_tls_take(gb_tls_session *session, const void *bytes, size_t size)
{
    return session->tls->door->take(session->state, bytes, size);
}

int64_t gb_tls_read(gb_tls_session *session, void *at, size_t room)
{
    return session->tls->door->read(session->state, at, room);
}

bool gb_tls_is_up(const gb_tls_session *session)
{
    return session->tls->door->is_up(session->state);
}

void gb_tls_get_peer(const gb_tls_session *session, gb_tls_peer *out)
{
    session->tls->door->get_peer(session->state, out);
}

int gb_tls_write(gb_tls_session *session, const void *bytes, size_t size)
{
    return session->tls->door->write(session->state, bytes, size);
}

void gb_tls_finish(gb_tls_session *session)
{
    session->tls->door->finish(session->state);
}

int gb_tls_out(gb_tls_session *session, gb_buf *out)
{
    const void *bytes = NULL;
    size_t size = session->tls->door->pending(session->state, &bytes);
    int rc = size ? gb_buf_put(out, bytes, size) : 0;
    if (size && rc >= 0) session->tls->door->sent(session->state);
    return rc < 0 ? rc : 0;
}

int gb_tls_bind(gb_tls_session *session, uint8_t out[GB_MAC_BYTES])
{
    return session->tls->door->bind(session->state, out);
}

int gb_tls_mac(gb_mac **out)
{
    const gbi_tls_door *door = NULL;
    int rc = find(&door);
    if (rc == 0) *out = door->mac;
    return rc;
}

int gb_tls_make_certs(const gb_tls_certs *certs)
{
    const gbi_tls_door *door = NULL;
    int rc = find(&door);
    return rc < 0 ? rc : door->make_certs(gb_err_set, certs);
}
