/* Calls as the program makes them: by name, by reference, waiting. */
#include "host/embed.h"
#include "host/front.h"

#include <string.h>

struct gb_ref {
    gb_host *host;
    gb_type *type; /* once it is known */
    gb_key key;    /* text behind the type's name */
    size_t size;   /* of this */
    char type_name[];
};

static int start(gb_host *host, const char *type, const char *key, gbi_spec *spec)
{
    int rc = gbi_check_type(type);
    if (rc < 0 || (rc = gbi_check_key(key, key ? strlen(key) : 0, &spec->to.key)) < 0) return rc;
    spec->to.type_name = type;
    return gbi_request_start(host, spec);
}

int gbi_front_call(gb_host *host, const char *type, const char *key, const char *method,
                   gb_value *args, int64_t timeout_ms, gb_result_fn *fn, void *user)
{
    if (!fn) return gb_err_set(GB_EINVAL, "gb_call: fn is NULL (gb_tell needs none)");
    int rc = gbi_enter(host, "gb_call");
    if (rc < 0) return rc;
    gbi_spec spec = {
        .method = method, .args = args, .timeout_ms = timeout_ms, .fn = fn, .user = user};
    rc = start(host, type, key, &spec);
    gbi_leave(host);
    return rc;
}

int gb_tell(gb_host *host, const char *type, const char *key, const char *method, gb_value *args,
            int64_t timeout_ms, gb_result_fn *fn, void *user)
{
    int rc = gbi_enter(host, "gb_tell");
    if (rc < 0) return rc;
    gbi_spec spec = {.method = method,
                     .args = args,
                     .timeout_ms = timeout_ms,
                     .tell = true,
                     .fn = fn,
                     .user = user};
    rc = start(host, type, key, &spec);
    gbi_leave(host);
    return rc;
}

/* ---- references ---- */

static int open_ref(gb_ref **out, gb_host *host, const char *type, const char *key, int64_t number)
{
    gb_key as = gb_key_number(number);
    if (!out) return gb_err_set(GB_EINVAL, "gb_ref_open: out is NULL");
    int rc = gbi_check_type(type);
    if (rc < 0) return rc;
    rc = key ? gbi_check_key(key, strlen(key), &as) : gbi_check_key_int(number);
    if (rc < 0) return rc;
    size_t name = strlen(type) + 1, text = as.text ? as.size : 0;
    gb_ref *ref = gb_mem_alloc(&host->mem, sizeof *ref + name + text);
    if (!ref) return GB_ENOMEM;
    *ref = (gb_ref){.host = host, .key = as, .size = sizeof *ref + name + text};
    memcpy(ref->type_name, type, name);
    if (as.text) ref->key.text = memcpy(ref->type_name + name, as.text, text);
    gbi_host_ref(host);
    *out = ref;
    return 0;
}

int gb_ref_open(gb_ref **out, gb_host *host, const char *type, const char *key)
{
    if (!key) return gb_err_set(GB_EINVAL, "the key of a grain is NULL");
    int rc = gbi_enter(host, "gb_ref_open");
    if (rc < 0) return rc;
    rc = open_ref(out, host, type, key, 0);
    gbi_leave(host);
    return rc;
}

int gb_ref_open_int(gb_ref **out, gb_host *host, const char *type, int64_t key)
{
    int rc = gbi_enter(host, "gb_ref_open_int");
    if (rc < 0) return rc;
    rc = open_ref(out, host, type, NULL, key);
    gbi_leave(host);
    return rc;
}

void gb_ref_close(gb_ref *ref)
{
    if (!ref) return;
    gb_host *host = ref->host;
    gb_mem_free(&host->mem, ref, ref->size);
    gbi_host_unref(host);
}

/* A type once known stays what it is until the host closes. */
static void aim(gb_ref *ref, gbi_spec *spec)
{
    if (!ref->type) ref->type = gbi_type_known(ref->host, ref->type_name);
    spec->to = (gbi_target){ref->type_name, ref->type, ref->key};
}

static int ref_start(gb_ref *ref, gbi_spec *spec, const char *what)
{
    if (!ref) return gb_err_set(GB_EINVAL, "%s: ref is NULL", what);
    int rc = gbi_enter(ref->host, what);
    if (rc < 0) return rc;
    aim(ref, spec);
    rc = gbi_request_start(ref->host, spec);
    gbi_leave(ref->host);
    return rc;
}

int gb_ref_call(gb_ref *ref, const char *method, gb_value *args, int64_t timeout_ms,
                gb_result_fn *fn, void *user)
{
    if (!fn) return gb_err_set(GB_EINVAL, "gb_ref_call: fn is NULL (gb_ref_tell needs none)");
    gbi_spec spec = {
        .method = method, .args = args, .timeout_ms = timeout_ms, .fn = fn, .user = user};
    return ref_start(ref, &spec, "gb_ref_call");
}

int gb_ref_tell(gb_ref *ref, const char *method, gb_value *args, int64_t timeout_ms,
                gb_result_fn *fn, void *user)
{
    gbi_spec spec = {.method = method,
                     .args = args,
                     .timeout_ms = timeout_ms,
                     .tell = true,
                     .fn = fn,
                     .user = user};
    return ref_start(ref, &spec, "gb_ref_tell");
}

/* ---- waiting ---- */

int gb_call_wait(gb_host *host, const char *type, const char *key, const char *method,
                 gb_value *args, int64_t timeout_ms, gb_value **out)
{
    gbi_spec spec = {.method = method, .args = args, .timeout_ms = timeout_ms};
    int rc = gbi_enter(host, "gb_call_wait");
    if (rc >= 0) {
        rc = gbi_check_type(type);
        if (rc >= 0) rc = gbi_check_key(key, key ? strlen(key) : 0, &spec.to.key);
        spec.to.type_name = type;
        if (rc >= 0)
            rc = gbi_call_wait(host, &spec, out);
        else
            gbi_leave(host);
    }
    if (rc < 0) gb_value_free(spec.args);
    return rc;
}

/* Worker 0's own grain asks all workers (lua/gb/reload.lua). */
int gb_reload(gb_host *host, const char *module)
{
    gbi_spec spec = {.to = {.type_name = "$worker0"}, .method = "reload", .timeout_ms = -1};
    gb_value *out = NULL;
    int64_t count = 0;
    int rc = gbi_enter(host, "gb_reload");
    if (rc < 0) return rc;
    spec.to.type = gb_type_find(host->silo, spec.to.type_name); /* made when the host opened */
    if (module) {
        spec.args = gb_value_new(host);
        rc = spec.args ? gb_put_text(spec.args, module) : GB_ENOMEM;
    }
    if (rc >= 0)
        rc = gbi_call_wait(host, &spec, &out); /* leaves */
    else
        gbi_leave(host);
    if (rc < 0)
        gb_value_free(spec.args);
    else
        gb_as_int(gb_value_at(out, 0), &count);
    gb_value_free(out);
    return rc < 0 ? rc : (int)count;
}

int gb_ref_call_wait(gb_ref *ref, const char *method, gb_value *args, int64_t timeout_ms,
                     gb_value **out)
{
    gbi_spec spec = {.method = method, .args = args, .timeout_ms = timeout_ms};
    int rc = ref ? gbi_enter(ref->host, "gb_ref_call_wait")
                 : gb_err_set(GB_EINVAL, "gb_ref_call_wait: ref is NULL");
    if (rc >= 0) {
        aim(ref, &spec);
        rc = gbi_call_wait(ref->host, &spec, out);
    }
    if (rc < 0) gb_value_free(spec.args);
    return rc;
}
