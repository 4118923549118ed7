/* src/base/block: zeroed and aligned at every size, counted exactly, shared across threads, foreign
 * memory released once, caps and failing allocations leave nothing behind. */
#include "base/block.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

static void test_sizes(void **unused)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 262143, 262144, 262145, 5000001};
    gb_mem mem;
    gb_mem_init(&mem, "arrays", NULL, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        gb_block *block = gb_block_new(&mem, sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block->data % GB_BLOCK_ALIGN, 0);
        assert_int_equal(block->bytes, sizes[i]);
        for (size_t at = 0; at < sizes[i]; at++)
            if (((char *)block->data)[at]) fail_msg("byte %zu of %zu is not zero", at, sizes[i]);
        memset(block->data, 1, sizes[i]);
        assert_int_equal(mem.bytes, sizes[i] + sizeof *block);
        gb_block_unref(block);
        assert_int_equal(mem.bytes, 0);
    }
    gb_block_unref(NULL);
    gb_mem_fini(&mem);
}

static void test_copy(void **unused)
{
    gb_mem mem;
    gb_mem_init(&mem, "arrays", NULL, 0);
    gb_block *block = gb_block_new(&mem, 300000);
    for (int i = 0; i < 300000; i++) ((char *)block->data)[i] = (char)i;
    gb_block_freeze(block);
    assert_true(gb_block_frozen(block));
    assert_true(gb_block_alone(block));
    gb_block *part = gb_block_copy(&mem, block, 7, 299993);
    assert_memory_equal(part->data, (char *)block->data + 7, 299993);
    assert_false(gb_block_frozen(part));
    gb_block *none = gb_block_copy(&mem, block, 300000, 0);
    assert_non_null(none);
    assert_ptr_equal(gb_block_ref(block), block);
    assert_false(gb_block_alone(block));
    gb_block_unref(block);
    gb_block_unref(block);
    gb_block_unref(part);
    gb_block_unref(none);
    gb_mem_fini(&mem);
}

static void test_refused(void **unused)
{
    gb_mem mem;
    gb_mem_init(&mem, "tenant", NULL, 1000000);
    assert_null(gb_block_new(&mem, 1000000)); /* the header does not fit any more */
    assert_non_null(strstr(gb_err_detail(), "cap of 'tenant' (1000000 bytes)"));
    assert_int_equal(mem.bytes, 0);
    assert_null(gb_block_new(&mem, SIZE_MAX));
    assert_non_null(strstr(gb_err_detail(), "out of memory"));
    gb_block *block = gb_block_new(&mem, 600000);
    assert_null(gb_block_copy(&mem, block, 0, 600000));
    gb_block_unref(block);
    mem.fail_at = 1;
    assert_null(gb_block_new_raw(&mem, 10));
    mem.fail_at = 1;
    assert_null(gb_block_wrap(&mem, &mem, 10, NULL, NULL));
    gb_mem_fini(&mem);
    gb_mem_init(&mem, "all", NULL, 0);
    assert_null(gb_block_new(&mem, (size_t)1 << 60)); /* the system says no */
    gb_mem_fini(&mem);
}

static void count_release(void *user, void *data, size_t bytes)
{
    *(int *)user += (int)bytes;
}

static void test_foreign(void **unused)
{
    gb_mem mem;
    gb_mem_init(&mem, "arrays", NULL, 0);
    char engine[100];
    int released = 0;
    gb_block *block = gb_block_wrap(&mem, engine, sizeof engine, count_release, &released);
    assert_ptr_equal(block->data, engine);
    assert_int_equal(mem.bytes, sizeof *block); /* the bytes have another owner */
    gb_block_ref(block);
    gb_block_unref(block);
    assert_int_equal(released, 0);
    gb_block_unref(block);
    assert_int_equal(released, 100);
    gb_block_unref(gb_block_wrap(&mem, engine, 1, NULL, NULL));
    gb_mem_fini(&mem);
}

static void *hold_and_drop(void *arg)
{
    for (int i = 0; i < 20000; i++) gb_block_unref(gb_block_ref(arg));
    gb_block_unref(arg);
    return NULL;
}

static void test_threads(void **unused)
{
    gb_mem mem;
    gb_mem_init(&mem, "arrays", NULL, 0);
    gb_block *block = gb_block_new(&mem, 1 << 20);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_drop, gb_block_ref(block)), 0);
    gb_block_unref(block);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    gb_mem_fini(&mem);
}

/* To a buffer and back without a copy, where the block is held once; counted exactly throughout. */
static void test_buffers(void **unused)
{
    static const size_t sizes[] = {1, 5000, 262143, 262144, 1048590, 20000001};
    gb_mem mem;
    gb_mem_init(&mem, "messages", NULL, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        gb_buf buf;
        gb_buf_init(&buf, &mem);
        gb_block *block = gb_block_new_raw(&mem, size);
        void *data = block->data;
        memset(data, 3, size);
        gb_block_ref(block); /* somebody reads it still: a copy */
        assert_int_equal(gb_block_into_buf(block, &buf), 0);
        assert_ptr_not_equal(buf.data, data);
        assert_memory_equal(buf.data, data, size);
        assert_int_equal(gb_block_into_buf(block, &buf), 0);
        assert_ptr_equal(buf.data, data);
        assert_int_equal(buf.size, size);
        assert_true(buf.room >= size);
        assert_int_equal(mem.bytes, buf.room);
        memset(buf.data, 4, buf.room); /* all of it is there */
        assert_int_equal(gb_buf_put(&buf, "more", 4), 0);
        assert_memory_equal(buf.data + size, "more", 4);
        block = gb_block_of_buf(&buf);
        assert_int_equal(block->bytes, size + 4);
        assert_null(buf.data);
        gb_block_unref(block);
        assert_int_equal(mem.bytes, 0);
    }
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_copy),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
