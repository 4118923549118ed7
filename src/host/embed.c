/* What the embedding API shares: who is inside, who drives, where callbacks run. */
#include "host/embed.h"

#include "base/pages.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOMENT_NS = 50000, INSIDE_WAIT_MS = 5000 };

static void moment(void)
{
    struct timespec t = {0, MOMENT_NS};
    nanosleep(&t, NULL);
}

int gb_fail(int rc, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return gb_err_set(rc, "%s", text);
}

/* ---- the rest of a host that values and handles hold ---- */

void gbi_host_ref(gb_host *host)
{
    atomic_fetch_add_explicit(&host->refs, 1, memory_order_relaxed);
}

void gbi_host_unref(gb_host *host)
{
    if (atomic_fetch_sub_explicit(&host->refs, 1, memory_order_acq_rel) != 1) return;
    gb_config config = host->config;
    gb_mem_fini(&host->mem);
    gb_pages_close(host->mem.pages);
    pthread_mutex_destroy(&host->handles_lock);
    if (config.alloc)
        config.alloc(config.alloc_user, host, sizeof *host, 0);
    else
        free(host);
}

/* ---- inside ---- */

int gbi_enter(gb_host *host, const char *what)
{
    if (!host) return gb_err_set(GB_EINVAL, "%s: host is NULL", what);
    atomic_fetch_add(&host->inside, 1);
    if (!atomic_load(&host->closing)) return 0;
    atomic_fetch_sub(&host->inside, 1);
    return gb_err_set(GB_ECLOSED, "%s: the host is closing", what);
}

void gbi_leave(gb_host *host)
{
    atomic_fetch_sub(&host->inside, 1);
}

static uintptr_t self(void)
{
    return (uintptr_t)pthread_self();
}

static bool on_worker(gb_host *host)
{
    for (int i = 0; i < host->thread_count; i++)
        if (pthread_equal(host->threads[host->thread_first + i], pthread_self())) return true;
    return false;
}

int gbi_may_block(gb_host *host, const char *what)
{
    if (atomic_load(&host->driver) == self())
        return gb_err_set(GB_EBUSY, "%s would block inside a callback of its own host", what);
    if (on_worker(host))
        return gb_err_set(GB_EBUSY, "%s would block a worker of its own host", what);
    return 0;
}

/* ---- driving ---- */

int gbi_drive_begin(gb_host *host)
{
    uintptr_t none = 0;
    if (!atomic_compare_exchange_strong(&host->driver, &none, self()))
        return none == self()
                   ? gb_err_set(GB_EBUSY, "gb_poll inside a callback of its own host")
                   : gb_err_set(GB_EBUSY, "another thread is inside gb_poll of this host");
    if (!atomic_load(&host->closing)) return 0;
    gbi_drive_end(host);
    return gb_err_set(GB_ECLOSED, "gb_poll: the host is closing");
}

void gbi_drive_end(gb_host *host)
{
    atomic_store(&host->driver, 0);
}

/* ---- open and close ---- */

int gbi_embed_open(gb_host *host)
{
    gbi_embed *embed = gb_mem_zalloc_lines(&host->mem, sizeof *embed);
    if (!embed) return GB_ENOMEM;
    host->embed = embed;
    embed->host = host;
    embed->finding_end = &embed->finding;
    gb_list_init(&embed->buffers);
    gb_list_init(&embed->kernels);
    pthread_mutex_init(&embed->lock, NULL);
    size_t syms = (size_t)host->silo->worker_count * GBI_SYM_CACHE;
    embed->cells = gb_mem_zalloc(&host->mem, GBI_CELLS * sizeof *embed->cells);
    embed->syms = gb_mem_zalloc(&host->mem, syms * sizeof *embed->syms);
    if (!embed->cells || !embed->syms) return GB_ENOMEM;
    if (host->config.deliver == GB_DELIVER_POLL && host->config.workers > 0 &&
        !host->config.virtual_time) {
        int rc = host->sys->door->loop_open(&embed->loop, host->sys);
        if (rc < 0) return rc;
    }
    gb_mailbox_init(&embed->deliveries, embed->loop);
    host->silo->workers[0]->strict = host->config.workers == 0 && !host->config.virtual_time;
    return 0;
}

void gbi_embed_begin_close(gb_host *host)
{
    if (atomic_load(&host->driver) == self() || on_worker(host))
        gb_panic(__FILE__, __LINE__, "gb_close inside a callback of its own host");
    atomic_store(&host->closing, true);
    uintptr_t none = 0;
    while (!atomic_compare_exchange_strong(&host->driver, &none, self())) {
        none = 0; /* it looks at the flag when its wait or work ends */
        if (host->embed && host->embed->loop) gb_loop_wake(host->embed->loop);
        if (host->silo && host->thread_first > 0) gb_loop_wake(host->silo->workers[0]->loop);
        moment();
    }
    for (int i = 0; atomic_load(&host->inside) > 0 && i < INSIDE_WAIT_MS * 20; i++) moment();
}

void gbi_count_delivery(gb_host *host)
{
    if (host->embed->loop || host->thread_count == 0) host->embed->delivered++; /* the driver's */
}

bool gbi_embed_quiet(gb_host *host)
{
    if (!host->embed) return true;
    unsigned used = atomic_load(&host->embed->numbers);
    if (used > GBI_CELLS) used = GBI_CELLS;
    for (unsigned i = 0; i < used; i++)
        if (atomic_load_explicit(&host->embed->cells[(i + 1) % GBI_CELLS].tag,
                                 memory_order_acquire) != 0)
            return false;
    return true;
}

void gbi_embed_owe(gb_host *host, gb_node *node)
{
    if (host->embed->loop)
        gb_mailbox_push(&host->embed->deliveries, node);
    else
        gb_worker_post(host->silo->workers[0], node);
}

void gbi_embed_deliver(gb_host *host, uint64_t until)
{
    gbi_embed *embed = host->embed;
    if (!embed || !embed->loop) return;
    for (gb_node *node; (node = gb_mailbox_take(&embed->deliveries));) {
        node->run(node, host);
        if (gb_now(host->sys) >= until) return;
    }
}

void gbi_embed_abandon(gb_host *host)
{
    gbi_embed_deliver(host, GB_FOREVER);
    for (unsigned i = 0; host->embed->cells && i < GBI_CELLS; i++)
        if (atomic_load(&host->embed->cells[i].tag) != 0)
            gbi_request_close(host->embed->cells[i].request);
    gbi_embed_deliver(host, GB_FOREVER);
}

void gbi_embed_close(gb_host *host)
{
    gbi_embed *embed = host->embed;
    if (!embed) return;
    gbi_kernels_close_all(host);
    gbi_buffers_close_all(host);
    gbi_exports_free(host);
    if (embed->loop) host->sys->door->loop_close(embed->loop);
    size_t syms = (size_t)host->silo->worker_count * GBI_SYM_CACHE;
    gb_mem_free(&host->mem, embed->cells, GBI_CELLS * sizeof *embed->cells);
    gb_mem_free(&host->mem, embed->syms, syms * sizeof *embed->syms);
    pthread_mutex_destroy(&embed->lock);
    gb_mem_free_lines(&host->mem, embed, sizeof *embed);
    host->embed = NULL;
}

/* ---- gb_poll ---- */

static bool loop_has_work(gb_host *host)
{
    gb_worker *worker = host->silo->workers[0];
    return worker->run_head || worker->next_call;
}

/* From here until the next gb_poll a post makes the descriptor readable; work that is left does so
 * now. */
static void rest(gb_mailbox *box, bool more)
{
    if (more || !gb_mailbox_doze(box)) gb_loop_wake(box->loop);
}

static void rise(gb_mailbox *box)
{
    gb_mailbox_awake(box);
    gb_loop_wait(box->loop, 0);
}

static void drive_worker(gb_host *host, uint64_t work_ns, uint64_t wait_ns)
{
    gb_worker *worker = host->silo->workers[0];
    uint64_t now = gb_now(host->sys), until = now + work_ns;
    bool any = false, wanted = atomic_load(&host->embed->fd_wanted);
    if (wanted)
        rise(&worker->mailbox);
    else if (++host->embed->polls % 16 == 0) /* who never waits serves sockets too */
        gb_loop_wait(worker->loop, 0);
    do {
        if (!gb_worker_pass(worker, until > now ? until - now : 0)) break;
        any = true;
    } while ((now = gb_now(host->sys)) < until);
    if (!any && wait_ns > 0) {
        gb_worker_wait(worker, gb_now(host->sys) + wait_ns);
        gb_worker_pass(worker, work_ns);
    }
    if (wanted) rest(&worker->mailbox, loop_has_work(host));
}

static void drive_deliveries(gb_host *host, uint64_t work_ns, uint64_t wait_ns)
{
    gbi_embed *embed = host->embed;
    gb_mailbox *box = &embed->deliveries;
    bool wanted = atomic_load(&embed->fd_wanted);
    int before = embed->delivered;
    if (wanted) rise(box);
    gbi_embed_deliver(host, gb_now(host->sys) + work_ns);
    if (embed->delivered == before && wait_ns > 0 && gb_mailbox_doze(box)) {
        if (!atomic_load(&host->closing)) gb_loop_wait(embed->loop, wait_ns);
        gb_mailbox_awake(box);
        gbi_embed_deliver(host, gb_now(host->sys) + work_ns);
    }
    if (wanted) rest(box, false);
}

void gbi_drive(gb_host *host, uint64_t work_ns, uint64_t wait_ns)
{
    if (host->config.virtual_time) {
        int before = host->embed->delivered;
        gb_silo_settle(host->silo);
        if (wait_ns > 0 && host->embed->delivered == before && gbi_host_move_time(host))
            gb_silo_settle(host->silo);
    } else if (host->thread_first > 0) {
        drive_worker(host, work_ns, wait_ns);
    } else if (host->embed->loop) {
        drive_deliveries(host, work_ns, wait_ns);
    }
}

static uint64_t to_ns(int64_t us)
{
    return us > INT64_MAX / 2000 ? INT64_MAX / 2 : (uint64_t)us * 1000;
}

int gb_poll(gb_host *host, int64_t work_us, int64_t wait_us)
{
    if (!host) return gb_err_set(GB_EINVAL, "gb_poll: host is NULL");
    if (work_us < 0 || wait_us < 0)
        return gb_err_set(GB_EINVAL, "gb_poll: work_us and wait_us must not be negative");
    if (host->thread_first == 0 && host->config.deliver == GB_DELIVER_WORKER) return 0;
    int rc = gbi_drive_begin(host);
    if (rc < 0) return rc;
    host->embed->delivered = 0;
    gbi_drive(host, to_ns(work_us), to_ns(wait_us));
    int count = host->embed->delivered;
    gbi_drive_end(host);
    return count;
}

int gb_poll_fd(gb_host *host)
{
    int rc = gbi_enter(host, "gb_poll_fd"), fd = -1;
    if (rc < 0) return rc;
    gb_loop *loop = host->thread_first > 0 && !host->config.virtual_time
                        ? host->silo->workers[0]->loop
                        : host->embed->loop;
    if (loop) {
        fd = host->sys->door->loop_fd(loop);
        if (!atomic_exchange(&host->embed->fd_wanted, true)) gb_loop_wake(loop);
    }
    gbi_leave(host);
    return fd;
}

int gb_poll_timeout(gb_host *host)
{
    int rc = gbi_enter(host, "gb_poll_timeout"), ms = -1;
    if (rc < 0) return rc;
    if (host->thread_first > 0) {
        uint64_t next = gb_worker_next(host->silo->workers[0]), now = gb_now(host->sys);
        if (loop_has_work(host) || next <= now)
            ms = 0;
        else if (next != GB_FOREVER)
            ms = next - now > INT32_MAX * GB_MS ? INT32_MAX
                                                : (int)((next - now + GB_MS - 1) / GB_MS);
    }
    gbi_leave(host);
    return ms;
}
