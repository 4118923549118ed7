/* src/base/buf: growth, printing, and what failure leaves behind. */
#include "base/buf.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static void test_grows(void **unused)
{
    gb_mem mem;
    gb_buf buf;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&buf, &mem);
    assert_string_equal(gb_buf_text(&buf), "");
    for (int i = 0; i < 100000; i++) {
        uint8_t byte = (uint8_t)(i * 31);
        assert_int_equal(gb_buf_put(&buf, &byte, 1), 0);
    }
    assert_int_equal(buf.size, 100000);
    assert_true(buf.room >= buf.size && buf.room < 3 * buf.size);
    assert_int_equal(mem.bytes, buf.room);
    for (int i = 0; i < 100000; i++) assert_int_equal(buf.data[i], (uint8_t)(i * 31));
    assert_int_equal(gb_buf_put(&buf, NULL, 0), 0);
    gb_buf_fini(&buf);
    assert_int_equal(buf.size, 0);
    assert_int_equal(gb_buf_put(&buf, "again", 5), 0); /* empty, and usable */
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
}

static void test_printf_and_text(void **unused)
{
    gb_mem mem;
    gb_buf buf;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&buf, &mem);
    for (int i = 0; i < 300; i++) assert_int_equal(gb_buf_printf(&buf, "%d,", i), 0);
    assert_int_equal(buf.size, 10 * 2 + 90 * 3 + 200 * 4);
    const char *text = gb_buf_text(&buf);
    assert_int_equal(strlen(text), buf.size);
    assert_memory_equal(text, "0,1,2,", 6);
    assert_string_equal(text + buf.size - 8, "298,299,");
    assert_int_equal(gb_buf_printf(&buf, "%s", ""), 0);
    /* Text that fills the buffer exactly still gets its NUL behind. */
    buf.size = 0;
    while (buf.size < buf.room) gb_buf_put(&buf, "x", 1);
    size_t size = buf.size;
    assert_int_equal(strlen(gb_buf_text(&buf)), size);
    assert_int_equal(buf.size, size);
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
}

static void test_failures(void **unused)
{
    gb_mem mem;
    gb_buf buf;
    gb_mem_init(&mem, "test", NULL, 100);
    gb_buf_init(&buf, &mem);
    assert_int_equal(gb_buf_put(&buf, "0123456789", 10), 0);
    char large[200] = {0};
    assert_int_equal(gb_buf_put(&buf, large, sizeof large), GB_ENOMEM);
    assert_int_equal(gb_buf_printf(&buf, "%0200d", 1), GB_ENOMEM);
    assert_int_equal(gb_buf_grow(&buf, SIZE_MAX), GB_ENOMEM);
    assert_int_equal(gb_buf_grow(&buf, SIZE_MAX - 10), GB_ENOMEM);
    assert_int_equal(buf.size, 10);
    assert_string_equal(gb_buf_text(&buf), "0123456789"); /* what was there is there */
    buf.size = buf.room;
    assert_string_equal(gb_buf_text(&buf), ""); /* no room for the NUL */
    assert_int_equal(buf.size, buf.room);
    gb_buf_fini(&buf);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_printf_and_text),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
