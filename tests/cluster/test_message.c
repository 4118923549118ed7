/* src/cluster/message: each kind there and back, cut short at every byte, and without memory. */
#include "base/err.h"
#include "kit_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static void encode(gb_buf *out, gb_mem *mem, const gb_message *message)
{
    gb_buf_init(out, mem);
    assert_int_equal(gb_message_encode(out, message), 0);
}

static void test_round(void **unused)
{
    seed s = seed_start("message");
    gb_mem mem;
    gb_mem_init(&mem, "test", NULL, 0);
    for (int i = 0; i < 3000; i++) {
        static kit_message made;
        gb_message back;
        gb_buf bytes;
        gb_message_kind kind = (gb_message_kind)(1 + i % (GB_MSG_KINDS - 1));
        kit_message_make(&made, &mem, &s, kind);
        encode(&bytes, &mem, &made.message);
        assert_int_equal(gb_message_decode(&back, &mem, bytes.data, bytes.size), 0);
        assert_int_equal(back.kind, kind);
        assert_true(kit_message_same(&made.message, &back));
        assert_int_equal(gb_view_id_order(back.view, made.message.view), 0);
        gb_message_fini(&back);
        if (i < 60) {
            for (size_t cut = 0; cut < bytes.size; cut++)
                assert_int_equal(gb_message_decode(&back, &mem, bytes.data, cut), GB_EINVAL);
        }
        gb_buf_fini(&bytes);
        kit_message_free(&made);
    }
    gb_mem_fini(&mem);
}

static void test_fields(void **unused)
{
    gb_mem mem;
    gb_buf bytes;
    gb_message back;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_message claim = {.kind = GB_MSG_CLAIM,
                        .view = {3, 70, 9},
                        .seq = 5,
                        .act = 6,
                        .id = "Counter/7",
                        .id_size = 9};
    encode(&bytes, &mem, &claim);
    assert_int_equal(gb_message_decode(&back, &mem, bytes.data, bytes.size), 0);
    assert_true(back.seq == 5 && back.act == 6 && back.id_size == 9);
    assert_memory_equal(back.id, "Counter/7", 9);
    assert_true(back.view.generation == 3 && back.view.version == 70 && back.view.digest == 9);
    gb_buf_fini(&bytes);
    static const uint8_t unknown[] = {0x84, 0x18, 0x63, 0, 0, 0}, none[] = {0x84, 0, 0, 0, 0};
    assert_int_equal(gb_message_decode(&back, &mem, unknown, sizeof unknown), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "unknown kind 99"));
    assert_int_equal(gb_message_decode(&back, &mem, none, sizeof none), GB_EINVAL);
    assert_int_equal(gb_message_decode(&back, &mem, "", 0), GB_EINVAL);
    assert_string_equal(gb_message_kind_name(GB_MSG_SYNC_ASK), "sync-ask");
    assert_string_equal(gb_message_kind_name(GB_MSG_KINDS), "unknown");
    gb_mem_fini(&mem);
}

/* Every allocation of a decode fails in turn. */
static void test_no_memory(void **unused)
{
    seed s = seed_start("no memory");
    gb_mem mem, other;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_mem_init(&other, "decode", NULL, 0);
    for (int kind = 1; kind < GB_MSG_KINDS; kind++) {
        static kit_message made;
        gb_message back;
        gb_buf bytes;
        kit_message_make(&made, &mem, &s, (gb_message_kind)kind);
        encode(&bytes, &mem, &made.message);
        int rc = GB_ENOMEM;
        for (int64_t at = 1; rc == GB_ENOMEM; at++) {
            atomic_store(&other.fail_at, at);
            rc = gb_message_decode(&back, &other, bytes.data, bytes.size);
            atomic_store(&other.fail_at, 0);
            if (rc == 0) gb_message_fini(&back);
            assert_true(atomic_load(&other.bytes) == 0);
        }
        assert_int_equal(rc, 0);
        gb_buf_fini(&bytes);
        kit_message_free(&made);
    }
    gb_mem_fini(&other);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
