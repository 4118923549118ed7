/* Memory that is kept between buffers: nobody sees what another owner left in it, on any queue. */
#include "kit_conform.h"

#include "base/err.h"
#include "gpu/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 5000, SECRET = 0x5e, TURNS = 40 };

static gb_buffer *rent(conform *c, size_t bytes, gb_buffer_kind kind, uint64_t tenant,
                       uint64_t owner, bool raw)
{
    gb_buffer *buffer = NULL;
    gb_buffer_spec spec = {
        .bytes = bytes, .kind = kind, .tenant = tenant, .owner = owner, .raw = raw};
    assert_int_equal(gb_buffer_rent(&buffer, c->device, &spec), 0);
    return buffer;
}

static gb_pool_stats stats_of(conform *c, int kind)
{
    gb_pool_stats stats;
    gb_device_pool_stats(c->device, kind, &stats);
    return stats;
}

static bool driver_keeps(conform *c, int kind)
{
    const gb_backend *backend = c->device->backend;
    return backend->buffer_pooled && backend->buffer_pooled(c->device->impl, (gb_buffer_kind)kind);
}

/* A secret all over a block, which goes back to the pool. */
static void leave_secret(conform *c, gb_buffer_kind kind, uint64_t tenant, uint64_t owner)
{
    unsigned char secret = SECRET;
    gb_buffer *buffer = rent(c, BYTES, kind, tenant, owner, false);
    assert_int_equal(gb_queue_fill(c->queue, buffer, 0, &secret, 1, BYTES), 0);
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
    gb_buffer_unref(buffer);
}

static void assert_all(conform *c, gb_buffer *buffer, unsigned char want)
{
    size_t bytes = gb_buffer_bytes(buffer);
    unsigned char *got = malloc(bytes);
    const unsigned char *host = gb_buffer_host(buffer);
    for (size_t i = 0; host && i < bytes; i++) assert_int_equal(host[i], want);
    conform_read(c, buffer, got, bytes);
    for (size_t i = 0; i < bytes; i++) assert_int_equal(got[i], want);
    free(got);
}

void conform_pool_isolation(conform *c)
{
    static const struct {
        uint64_t tenant, owner;
    } others[] = {{1, 2}, {2, 1}, {0, 0}};
    for (int kind = GB_BUFFER_DEVICE; kind <= GB_BUFFER_UNIFIED; kind++)
        for (int i = 0; i < 3; i++)
            for (int raw = 0; raw < 2; raw++) {
                leave_secret(c, (gb_buffer_kind)kind, 1, 1);
                int64_t hits = stats_of(c, kind).hits;
                /* of the same class: the block of the secret */
                gb_buffer *other = rent(c, BYTES - 100 * (size_t)i, (gb_buffer_kind)kind,
                                        others[i].tenant, others[i].owner, raw);
                if (!driver_keeps(c, kind)) assert_int_equal(stats_of(c, kind).hits, hits + 1);
                assert_all(c, other, 0);
                gb_buffer_unref(other);
            }
}

/* An owner gets zeros too; the inner hand of the house may ask for the bytes as they are. */
void conform_pool_own_memory(conform *c)
{
    leave_secret(c, GB_BUFFER_DEVICE, 1, 1);
    gb_buffer *again = rent(c, BYTES, GB_BUFFER_DEVICE, 1, 1, true);
    assert_all(c, again, driver_keeps(c, GB_BUFFER_DEVICE) ? 0 : SECRET);
    gb_buffer_unref(again);
    again = rent(c, BYTES, GB_BUFFER_DEVICE, 1, 1, false);
    assert_all(c, again, 0);
    gb_buffer_unref(again);
    gb_buffer *small = rent(c, BYTES - 50, GB_BUFFER_DEVICE, 1, 1, false);
    assert_all(c, small, 0);
    gb_buffer_unref(small);
}

/* Whatever queue comes first finds it clear, and what that writes stays. */
void conform_pool_queues(conform *c)
{
    gb_queue *queues[3] = {c->queue};
    for (int i = 1; i < 3; i++) assert_int_equal(gb_queue_open(&queues[i], c->device), 0);
    for (int turn = 0; turn < TURNS; turn++) {
        unsigned char got[3][BYTES], secret = SECRET, one = (unsigned char)(turn + 1);
        gb_queue *first = queues[turn % 3], *second = queues[(turn + 1) % 3];
        leave_secret(c, GB_BUFFER_DEVICE, 1, (uint64_t)turn);
        leave_secret(c, GB_BUFFER_DEVICE, 1, (uint64_t)turn);
        gb_buffer *x = rent(c, BYTES, GB_BUFFER_DEVICE, 7, 7, false);
        gb_buffer *y = rent(c, BYTES, GB_BUFFER_DEVICE, 7, 8, false);
        assert_int_equal(gb_queue_download(first, got[0], x, 0, BYTES), 0);
        assert_int_equal(gb_queue_fill(second, y, 0, &one, 1, BYTES), 0);
        assert_int_equal(gb_queue_download(second, got[1], y, 0, BYTES), 0);
        assert_int_equal(gb_queue_download(second, got[2], x, 0, BYTES), 0);
        assert_int_equal(kit_finish(first, NULL, 0), 0);
        assert_int_equal(kit_finish(second, NULL, 0), 0);
        for (int i = 0; i < BYTES; i++) {
            assert_int_equal(got[0][i], 0);
            assert_int_equal(got[1][i], one);
            assert_int_equal(got[2][i], 0);
        }
        assert_int_equal(gb_queue_fill(first, x, 0, &secret, 1, BYTES), 0);
        gb_buffer_unref(x); /* the command holds it: it is nobody's until that has ended */
        gb_buffer_unref(y);
        assert_int_equal(kit_finish(first, NULL, 0), 0);
    }
    for (int i = 1; i < 3; i++) gb_queue_close(queues[i]);
}

/* A buffer that is let go unused, or used by nobody before its clearing came to an end. */
void conform_pool_unused(conform *c)
{
    for (int i = 0; i < TURNS; i++) {
        size_t bytes = 300 + 4000 * (size_t)i;
        gb_buffer *a = rent(c, bytes, GB_BUFFER_DEVICE, 3, (uint64_t)i, false);
        gb_buffer *b = rent(c, bytes, GB_BUFFER_UNIFIED, 3, (uint64_t)i, false);
        gb_buffer_unref(a);
        gb_buffer_unref(b);
        a = rent(c, bytes, GB_BUFFER_DEVICE, 3, (uint64_t)i + 1, false);
        assert_all(c, a, 0);
        gb_buffer_unref(a);
    }
}

/* What is kept counts against the account, and is given back where that lacks it. */
void conform_pool_pressure(conform *c)
{
    gbi_device_drop_idle(c->device);
    gb_buffer *big = rent(c, 4 << 20, GB_BUFFER_PINNED, 1, 1, false), *small = NULL;
    gb_buffer_unref(big);
    gb_pool_stats before = stats_of(c, GB_POOL_ALL);
    assert_true(before.bytes_held >= 4 << 20);
    c->mem.bytes_max = atomic_load(&c->mem.bytes) + 4096;
    int rc = gb_buffer_open(&small, c->device, 3 << 20, GB_BUFFER_PINNED);
    c->mem.bytes_max = 0;
    assert_int_equal(rc, 0);
    gb_pool_stats after = stats_of(c, GB_POOL_ALL);
    assert_int_equal(after.bytes_held, 0);
    assert_true(after.trimmed > before.trimmed);
    assert_int_equal(after.failures, before.failures);
    gb_buffer_unref(small);
    c->mem.bytes_max = atomic_load(&c->mem.bytes) + 4096;
    rc = gb_buffer_open(&small, c->device, 16 << 20, GB_BUFFER_PINNED);
    c->mem.bytes_max = 0;
    assert_int_equal(rc, GB_ENOMEM); /* not even then */
    assert_int_equal(stats_of(c, GB_POOL_ALL).failures, before.failures + 1);
}

void conform_pool_quota(conform *c)
{
    gb_ledger *ledger = gb_gpu_ledger(c->gpu);
    gb_buffer *first = NULL, *none = NULL;
    gb_buffer_spec spec = {.bytes = 6000, .tenant = 9, .owner = 1};
    assert_int_equal(gb_ledger_cap(ledger, 9, "nine", 10000, 0), 0);
    assert_int_equal(gb_buffer_rent(&first, c->device, &spec), 0);
    assert_int_equal(gb_ledger_owner(ledger, 9, 1).bytes, 6000);
    spec.owner = 2;
    spec.bytes = 4001;
    assert_int_equal(gb_buffer_rent(&none, c->device, &spec), GB_ENOMEM);
    assert_null(none);
    assert_non_null(
        strstr(gb_err_detail(), "tenant 'nine': 4001 bytes wanted, and 6000 of the 10000 "));
    spec.kind = GB_BUFFER_PINNED; /* the host's, and the tenant's all the same */
    int64_t left = gb_ledger_left(ledger, gb_device_index(c->device));
    assert_int_equal(gb_buffer_rent(&none, c->device, &spec), GB_ENOMEM);
    spec.bytes = 4000;
    assert_int_equal(gb_buffer_rent(&none, c->device, &spec), 0);
    assert_int_equal(gb_ledger_owner(ledger, 9, 2).bytes, 4000);
    assert_int_equal(gb_ledger_left(ledger, gb_device_index(c->device)), left);
    gb_buffer_unref(none);
    assert_int_equal(gb_ledger_owner(ledger, 9, 2).bytes, 0);
    spec.kind = GB_BUFFER_DEVICE;
    spec.bytes = 4001;
    gb_buffer_unref(first); /* what the pool keeps is nobody's */
    assert_int_equal(gb_ledger_tenant(ledger, 9).bytes, 0);
    assert_int_equal(gb_buffer_rent(&first, c->device, &spec), 0);
    gb_buffer_unref(first);
    assert_int_equal(gb_ledger_cap(ledger, 9, "nine", 0, 0), 0);
}

/* Every allocation of the room fails in turn, with new memory and with kept. */
void conform_pool_no_memory(conform *c)
{
    int failed = 0;
    for (int kind = GB_BUFFER_DEVICE; kind <= GB_BUFFER_UNIFIED; kind++)
        for (int64_t at = 1; at < 10; at++) {
            gb_buffer *buffer = NULL;
            gb_buffer_spec spec = {.bytes = BYTES, .kind = (gb_buffer_kind)kind, .owner = 5};
            gbi_device_drop_idle(c->device);
            if (at % 2) leave_secret(c, (gb_buffer_kind)kind, 1, 1);
            atomic_store(&c->gpu->room.fail_at, at);
            int rc = gb_buffer_rent(&buffer, c->device, &spec);
            atomic_store(&c->gpu->room.fail_at, 0);
            assert_true(rc == 0 || rc == GB_ENOMEM);
            failed += rc < 0;
            if (rc == 0) assert_all(c, buffer, 0);
            gb_buffer_unref(buffer);
            assert_int_equal(gb_ledger_owner(gb_gpu_ledger(c->gpu), 0, 5).bytes, 0);
        }
    assert_true(failed > 0);
}
