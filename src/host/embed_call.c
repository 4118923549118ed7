/* Requests: from the post to the callback. */
#include "base/hash.h"
#include "host/embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gbi_request {
    gb_node node;
    gb_host *host;
    gbi_request *next; /* waits for its type */
    uint32_t number;
    bool tell, passing; /* passing: through worker 0 */
    bool cancelled;     /* while it waited for its type */
    gb_type *type;      /* or NULL: by name */
    gb_call *call;      /* under way, on its worker */
    uint32_t call_serial;
    gb_key key;
    uint64_t deadline;
    gb_value *args; /* until it is sent */
    gb_result_fn *fn;
    void *user;
    gbi_waiter *waiter;
    int rc; /* the outcome */
    gb_value *value;
    char *message, *detail;
    const char *type_name, *method;
    size_t size; /* of this, with the names */
    char names[];
};

/* ---- names and keys ---- */

int gbi_check_type(const char *type)
{
    if (!type || !*type)
        return gb_err_set(GB_EINVAL, "the type of a grain is %s", type ? "empty" : "NULL");
    if (strlen(type) > GBI_NAME_MAX)
        return gb_err_set(GB_EINVAL, "the type of a grain has more than %d bytes", GBI_NAME_MAX);
    return 0;
}

int gbi_check_key_int(int64_t key)
{
    if (key >= (int64_t)1 << 53 || key <= -((int64_t)1 << 53))
        return gb_err_set(GB_EINVAL, "a grain's integer key is below 2^53, not %lld",
                          (long long)key);
    return 0;
}

int gbi_check_key(const char *text, size_t size, gb_key *out)
{
    if (!text || size == 0)
        return gb_err_set(GB_EINVAL, "the key of a grain is %s", text ? "empty" : "NULL");
    if (size > GBI_KEY_MAX)
        return gb_err_set(GB_EINVAL, "a grain's key is at most %d bytes, not %zu", GBI_KEY_MAX,
                          size);
    *out = gb_key_text(text, size);
    return 0;
}

static int check_method(const gbi_spec *spec)
{
    const char *method = spec->method;
    if (!method || !*method)
        return gb_err_set(GB_EINVAL, "the method is %s", method ? "empty" : "NULL");
    if (strlen(method) > GBI_NAME_MAX)
        return gb_err_set(GB_EINVAL, "a method's name has more than %d bytes", GBI_NAME_MAX);
    if (method[0] == '_' || strncmp(method, "on_", 3) == 0)
        return gb_err_set(GB_ENOMETHOD,
                          "%s:%s is private (names with _ or on_ cannot be called from outside)",
                          spec->to.type_name, method);
    return 0;
}

/* ---- types and symbols that are known ---- */

static uint64_t hash_of(const char *name)
{
    return gb_hash_bytes(name, strlen(name), 0);
}

gb_type *gbi_type_known(gb_host *host, const char *name)
{
    gb_type *type = atomic_load_explicit(&host->embed->types[hash_of(name) % GBI_TYPE_CACHE],
                                         memory_order_acquire);
    return type && strcmp(type->name->text, name) == 0 ? type : NULL;
}

static void know_type(gbi_embed *embed, gb_type *type)
{
    atomic_store_explicit(&embed->types[hash_of(type->name->text) % GBI_TYPE_CACHE], type,
                          memory_order_release);
}

/* Interned names behind a small table of this worker's own: no lock for the usual ones. */
static const gb_sym *sym_of(gbi_embed *embed, gb_worker *worker, const char *name)
{
    size_t size = strlen(name), at = hash_of(name) % GBI_SYM_CACHE;
    const gb_sym **place = &embed->syms[(size_t)worker->index * GBI_SYM_CACHE + at];
    if (*place && (*place)->size == size && memcmp((*place)->text, name, size) == 0) return *place;
    const gb_sym *sym = gb_sym_get(worker->silo, name, size);
    if (sym) *place = sym;
    return sym;
}

/* ---- the end ---- */

static void request_free(gbi_request *r)
{
    gb_mem *mem = &r->host->mem;
    gb_value_free(r->args);
    gb_value_free(r->value);
    gb_mem_strfree(mem, r->message);
    gb_mem_strfree(mem, r->detail);
    gb_mem_free(mem, r, r->size);
}

static gbi_cell *cell_of(gbi_request *r)
{
    return &r->host->embed->cells[r->number % GBI_CELLS];
}

static void deliver(gb_node *node, void *reader)
{
    gbi_request *r = GB_CONTAINER(node, gbi_request, node);
    (void)reader;
    atomic_store_explicit(&cell_of(r)->tag, 0, memory_order_release);
    if (r->rc < 0) {
        const char *message = r->message ? r->message : gb_err_text(r->rc);
        gb_err_set(r->rc, "%s", r->detail ? r->detail : message);
        r->fn(r->host, r->rc, NULL, message, r->user);
    } else {
        r->fn(r->host, 0, r->value, "", r->user);
    }
    gbi_count_delivery(r->host);
    request_free(r);
}

static void nobody_waits(gbi_request *r)
{
    if (r->rc >= 0 || r->rc == GB_ECLOSED) return;
    gb_log_put(&r->host->log, GB_LOG_WARN, gb_wall(r->host->sys), NULL,
               "gb_tell to %s:%s was refused and nobody waits for it: %s (%s)", r->type_name,
               r->method, r->message ? r->message : gb_err_text(r->rc), gb_err_name(r->rc));
}

/* The outcome is set. From here on no cancel finds it. */
static void finish(gbi_request *r)
{
    gb_host *host = r->host;
    gb_value_free(r->args);
    r->args = NULL;
    r->call = NULL;
    if (r->fn) {
        atomic_store_explicit(&cell_of(r)->tag, GBI_OWED, memory_order_relaxed);
        r->node.run = deliver;
        if (host->embed->loop)
            gb_mailbox_push(&host->embed->deliveries, &r->node);
        else
            deliver(&r->node, host);
        return;
    }
    if (r->waiter) {
        if (r->value && gbi_value_keep(r->value) < 0) {
            gb_value_free(r->value);
            r->value = NULL;
            r->rc = GB_ENOMEM;
        }
        gb_value *value = r->value;
        r->value = NULL;
        gbi_waiter_end(r->waiter, r->rc, value, r->detail ? r->detail : r->message);
    } else {
        nobody_waits(r);
    }
    atomic_store_explicit(&cell_of(r)->tag, 0, memory_order_release);
    request_free(r);
}

static void finish_with(gbi_request *r, int rc, const char *message)
{
    r->rc = rc;
    if (message && *message) r->message = gb_mem_strdup(&r->host->mem, message);
    finish(r);
}

void gbi_request_close(gbi_request *r)
{
    finish_with(r, GB_ECLOSED, "the host is closing");
}

/* ---- results ---- */

static void set_failure(gbi_request *r, int rc, const char *message, const char *traceback)
{
    gb_mem *mem = &r->host->mem;
    r->rc = rc;
    r->message = gb_mem_strdup(mem, message);
    if (!traceback) return;
    gb_buf text;
    gb_buf_init(&text, mem);
    gb_buf_printf(&text, "%s\n%s", message, traceback);
    r->detail = gb_mem_strdup(mem, gb_buf_text(&text));
    gb_buf_fini(&text);
}

/* The values of an ended call; a failure that travels as values becomes one of the request. */
static void take_results(gbi_request *r, gb_call *call)
{
    int rc = call->body ? call->type->kind->pack(call) : 0;
    if (rc < 0) {
        set_failure(r, rc, gb_err_detail(), NULL);
        return;
    }
    r->value = gbi_value_results(r->host, &call->bytes, call->blocks, call->block_count);
    if (!r->value) {
        set_failure(r, GB_ENOMEM, gb_err_detail(), NULL);
        return;
    }
    call->blocks = NULL;
    call->block_count = 0;
    const char *message, *traceback;
    rc = gbi_value_failure(r->value, &message, &traceback);
    if (rc == 0) return;
    set_failure(r, rc, message, traceback);
    gb_value_free(r->value);
    r->value = NULL;
}

static void call_done(gb_call *call)
{
    gbi_request *r = call->user;
    if (call->rc < 0)
        set_failure(r, call->rc, call->message ? call->message : gb_err_text(call->rc), NULL);
    else if (!r->tell)
        take_results(r, call);
    finish(r);
}

/* ---- the way there ---- */

/* Values go over by changing places: their bytes are counted to the host, whoever frees them. */
static void give_args(gb_call *call, gb_value *args)
{
    gb_buf bytes = call->bytes;
    call->bytes = args->bytes;
    args->bytes = bytes;
    call->blocks = args->blocks;
    call->block_count = args->block_count;
    args->blocks = NULL;
    args->block_count = 0;
}

static int send(gb_worker *worker, gbi_request *r, gb_type *type)
{
    const gb_sym *method = sym_of(r->host->embed, worker, r->method);
    if (!method) return GB_ENOMEM;
    gb_call *call = gb_call_new(worker);
    if (!call) return GB_EBUSY;
    call->type = type;
    call->method = method;
    call->flags = r->tell ? GB_CALL_ONEWAY : 0;
    call->deadline = r->deadline;
    call->done = call_done;
    call->user = r;
    int rc = gb_call_set_key(call, r->key);
    if (rc >= 0) {
        if (r->args) give_args(call, r->args);
        rc = gb_call_send(call);
    }
    if (rc < 0) {
        gb_call_drop(call);
        return rc;
    }
    if (rc == GB_OP_READY) {
        finish(r);
        return 0;
    }
    r->call = call;
    r->call_serial = call->serial;
    gb_value_free(r->args);
    r->args = NULL;
    return 0;
}

static void send_or_fail(gb_worker *worker, gbi_request *r, gb_type *type)
{
    int rc = send(worker, r, type);
    if (rc < 0) finish_with(r, rc, gb_err_detail());
}

/* ---- through worker 0: types that are not known ---- */

static gb_type *find_type(gb_host *host, const char *name)
{
    return name[0] == '$' ? NULL : gb_type_find(host->silo, name); /* $...: the house's own */
}

/* The first of the queue goes on, with its type or with a failure. */
static void pass_first(gbi_embed *embed, gb_type *type, int rc, const char *message)
{
    gb_worker *worker = embed->host->silo->workers[0];
    gbi_request *r = embed->finding;
    embed->finding = r->next;
    if (!embed->finding) embed->finding_end = &embed->finding;
    if (r->cancelled)
        finish_with(r, GB_ECANCELED, "cancelled");
    else if (type)
        send_or_fail(worker, r, type);
    else
        finish_with(r, rc, message);
    if (type) know_type(embed, type);
    atomic_fetch_sub_explicit(&embed->passing, 1, memory_order_release);
}

static void find_next(gbi_embed *embed);

static void found(void *user, int rc, const char *message, const char *traceback)
{
    gbi_embed *embed = user;
    (void)traceback;
    embed->find_runs = false;
    gb_type *type = rc < 0 ? NULL : find_type(embed->host, embed->finding->type_name);
    pass_first(embed, type, rc < 0 ? rc : GB_ENOTYPE, message);
    find_next(embed);
}

/* Worker 0: as many as can go on at once; where the app must be loaded first, found goes on. */
static void find_next(gbi_embed *embed)
{
    while (embed->finding && !embed->find_runs) {
        const char *name = embed->finding->type_name;
        if (atomic_load_explicit(&embed->host->silo->closing, memory_order_relaxed)) {
            pass_first(embed, NULL, GB_ECLOSED, "the host is closing");
            continue;
        }
        gb_type *type = find_type(embed->host, name);
        if (type) {
            pass_first(embed, type, 0, NULL);
            continue;
        }
        embed->find_runs = true;
        int rc = gbl_call_core(embed->host->states[0], "find_type", 1, &name, found, embed);
        if (rc >= 0) return;
        embed->find_runs = false;
        pass_first(embed, NULL, rc, gb_err_detail());
    }
}

/* On its worker. */
static void arrive(gb_node *node, void *reader)
{
    gb_worker *worker = reader;
    gbi_request *r = GB_CONTAINER(node, gbi_request, node);
    gbi_embed *embed = r->host->embed;
    if (atomic_load_explicit(&worker->silo->ended, memory_order_relaxed)) {
        gbi_request_close(r);
        return;
    }
    if (!r->passing) {
        send_or_fail(worker, r, r->type);
        return;
    }
    r->next = NULL;
    *embed->finding_end = r;
    embed->finding_end = &r->next;
    find_next(embed);
}

/* ---- the post ---- */

/* A cell and with it a number: 0, or GB_EBUSY. */
static int claim(gbi_embed *embed, gbi_request *r, int worker)
{
    for (int i = 0; i < GBI_CELLS; i++) {
        uint32_t number =
            (atomic_fetch_add_explicit(&embed->numbers, 1, memory_order_relaxed) + 1) & INT32_MAX;
        gbi_cell *cell = &embed->cells[number % GBI_CELLS];
        uint64_t none = 0, tag = (uint64_t)number << 16 | (uint64_t)worker;
        if (number == 0 || atomic_load_explicit(&cell->tag, memory_order_relaxed) != 0) continue;
        r->number = number;
        if (!atomic_compare_exchange_strong_explicit(&cell->tag, &none, tag, memory_order_acq_rel,
                                                     memory_order_relaxed))
            continue;
        cell->request = r;
        return 0;
    }
    return gb_err_set(GB_EBUSY, "%d calls from C are under way", GBI_CELLS);
}

static gbi_request *request_new(gb_host *host, const gbi_spec *spec)
{
    size_t type_size = strlen(spec->to.type_name) + 1, method_size = strlen(spec->method) + 1;
    gb_key key = spec->to.key;
    size_t key_size = key.text ? key.size : 0;
    size_t size = sizeof(gbi_request) + type_size + method_size + key_size;
    gbi_request *r = gb_mem_alloc(&host->mem, size);
    if (!r) return NULL;
    memset(r, 0, sizeof *r);
    r->host = host;
    r->size = size;
    r->type_name = memcpy(r->names, spec->to.type_name, type_size);
    r->method = memcpy(r->names + type_size, spec->method, method_size);
    r->key = key;
    if (key.text) r->key.text = memcpy(r->names + type_size + method_size, key.text, key_size);
    r->tell = spec->tell;
    r->fn = spec->fn;
    r->user = spec->user;
    r->waiter = spec->waiter;
    uint64_t timeout_ns =
        spec->timeout_ms ? (uint64_t)spec->timeout_ms * GB_MS : host->silo->config.call_timeout_ns;
    if (spec->timeout_ms < 0 || spec->timeout_ms > INT64_MAX / (int64_t)GB_MS / 2)
        r->deadline = GB_FOREVER;
    else
        r->deadline = gb_now(host->sys) + timeout_ns;
    return r;
}

/* Where it goes: the worker of its key, or worker 0. */
static gb_worker *choose(gb_host *host, gbi_request *r, gb_type *type)
{
    gbi_embed *embed = host->embed;
    gb_silo *silo = host->silo;
    if (!type || atomic_load_explicit(&embed->passing, memory_order_acquire) > 0) {
        r->passing = true;
        return silo->workers[0];
    }
    r->type = type;
    if (type->options.placement == GB_PLACE_STATELESS && type->pinned < 0)
        return silo->workers[atomic_fetch_add_explicit(&embed->spread, 1, memory_order_relaxed) %
                             (unsigned)silo->worker_count];
    return gb_worker_of_key(type, r->key);
}

int gbi_request_start(gb_host *host, const gbi_spec *spec)
{
    int rc = check_method(spec);
    if (rc < 0 || (spec->args && (rc = gbi_value_check(spec->args)) < 0)) return rc;
    if (spec->args && spec->args->host != host)
        return gb_err_set(GB_EINVAL, "the arguments belong to another host");
    gbi_request *r = request_new(host, spec);
    if (!r) return GB_ENOMEM;
    gb_type *type = spec->to.type ? spec->to.type : gbi_type_known(host, spec->to.type_name);
    gb_worker *worker = choose(host, r, type);
    if (atomic_load_explicit(&worker->stuck, memory_order_relaxed))
        rc = gb_err_set(GB_ESTUCK, "worker %d, which holds the grain, is stuck in a turn",
                        worker->index);
    if (rc < 0 || (rc = claim(host->embed, r, worker->index)) < 0) {
        request_free(r);
        return rc;
    }
    r->args = spec->args;
    r->node.run = arrive;
    int number = (int)r->number; /* the request may end as soon as it is posted */
    if (r->passing) atomic_fetch_add_explicit(&host->embed->passing, 1, memory_order_relaxed);
    gb_worker_post(worker, &r->node);
    return number;
}

/* ---- cancel ---- */

typedef struct cancel {
    gb_node node;
    gb_host *host;
    uint64_t tag;
} cancel;

static void cancel_run(gb_node *node, void *reader)
{
    cancel c = *(cancel *)node;
    gb_mem_free(&c.host->mem, node, sizeof(cancel));
    (void)reader;
    gbi_cell *cell = &c.host->embed->cells[(uint32_t)(c.tag >> 16) % GBI_CELLS];
    if (atomic_load_explicit(&cell->tag, memory_order_acquire) != c.tag) return; /* answered */
    gbi_request *r = cell->request;
    if (r->call && r->call->serial == r->call_serial) {
        gb_call_abandon(r->call, GB_ECANCELED, "cancelled");
    } else {
        r->cancelled = true; /* it waits for its type */
    }
}

int gb_cancel(gb_host *host, int number)
{
    int rc = gbi_enter(host, "gb_cancel");
    if (rc < 0) return rc;
    gbi_cell *cell = &host->embed->cells[(uint32_t)number % GBI_CELLS];
    uint64_t tag = atomic_load_explicit(&cell->tag, memory_order_acquire);
    cancel *c = NULL;
    if (number <= 0 || tag == GBI_OWED || tag >> 16 != (uint64_t)number)
        rc = gb_err_set(GB_ENOENT, "no call %d is under way", number);
    else if (!(c = gb_mem_alloc(&host->mem, sizeof *c)))
        rc = GB_ENOMEM;
    if (c) {
        *c = (cancel){.host = host, .tag = tag};
        c->node.run = cancel_run;
        gb_worker_post(host->silo->workers[tag & 0xffff], &c->node);
    }
    gbi_leave(host);
    return rc;
}
