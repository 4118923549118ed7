/* src/base/log: every line is one JSON object, whatever the text; levels; the clock is the
 * caller's.
 */
#include "base/log.h"

#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

typedef struct {
    char line[10000];
    int lines;
    gb_log_level level;
} sink;

static void keep(void *user, gb_log_level level, const char *line)
{
    sink *s = user;
    assert_true(strlen(line) < sizeof s->line);
    memcpy(s->line, line, strlen(line) + 1);
    s->lines++;
    s->level = level;
}

/* A strict reader of flat JSON objects of strings and numbers: the end of the value, or NULL. */
static const char *json_string(const char *at)
{
    if (*at++ != '"') return NULL;
    while (*at != '"') {
        unsigned char c = (unsigned char)*at++;
        if (c < 0x20) return NULL; /* the final NUL too */
        if (c >= 0x80) {
            int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc2 ? 1 : -1;
            if (more < 0) return NULL;
            for (; more > 0; more--)
                if (((unsigned char)*at++ & 0xc0) != 0x80) return NULL;
        }
        if (c != '\\') continue;
        if (*at == 'u') {
            if (strspn(at + 1, "0123456789abcdef") < 4) return NULL;
            at += 5;
        } else if (!*at || !strchr("\"\\/bfnrt", *at++)) {
            return NULL;
        }
    }
    return at + 1;
}

static int json_object(const char *at)
{
    if (*at++ != '{') return 0;
    do {
        at = json_string(at);
        if (!at || *at++ != ':') return 0;
        size_t digits = strspn(at, "-0123456789.");
        at = digits ? at + digits : json_string(at);
        if (!at) return 0;
    } while (*at++ == ',');
    return at[-1] == '}' && *at == 0;
}

static void test_line(void **unused)
{
    sink s = {.lines = 0};
    gb_log log = {GB_LOG_INFO, keep, &s};
    gb_log_put(&log, GB_LOG_WARN, 1700000000123456789, "\"silo\":\"a\",\"n\":3", "it is %d", 42);
    assert_string_equal(s.line, "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warn\","
                                "\"text\":\"it is 42\",\"silo\":\"a\",\"n\":3}");
    assert_int_equal(s.level, GB_LOG_WARN);
    gb_log_put(&log, GB_LOG_DEBUG, 0, NULL, "dropped");
    assert_int_equal(s.lines, 1);
    gb_log_put(&log, GB_LOG_ERROR, 0, "", "no fields");
    assert_string_equal(s.line, "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"error\","
                                "\"text\":\"no fields\"}");
}

static void test_always_json(void **unused)
{
    seed r = seed_start("base.log");
    sink s = {.lines = 0};
    gb_log log = {GB_LOG_DEBUG, keep, &s};
    char text[6000], fields[6000];
    for (int round = 0; round < 3000; round++) {
        size_t size = seed_below(&r, round % 10 ? 40 : sizeof text);
        int kind = (int)seed_below(&r, 3);
        for (size_t i = 0; i < size; i++)
            text[i] = (char)(kind == 0 ? 1 + seed_below(&r, 255) : kind == 1 ? '"' : 1);
        text[size] = 0;
        size = seed_below(&r, round % 10 ? 40 : 5000);
        snprintf(fields, sizeof fields, "\"f\":\"%0*d\"", (int)size, 1);
        gb_log_put(&log, GB_LOG_INFO, (int64_t)(seed_next(&r) >> 2), fields, "%s", text);
        assert_int_equal(s.lines, round + 1);
        assert_true(json_object(s.line));
    }
}

static void test_escape(void **unused)
{
    static const struct {
        const char *text, *escaped;
    } rows[] = {
        {"", ""},
        {"a\"b\\c\n\t\x01", "a\\\"b\\\\c\\n\\u0009\\u0001"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff", "\\ufffd"},
        {"\xc3", "\\ufffd"},                       /* cut short */
        {"\xc0\x80", "\\ufffd\\ufffd"},            /* overlong */
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"}, /* a surrogate */
        {"\xf5\x80", "\\ufffd\\ufffd"},            /* beyond U+10FFFF */
        {"\x7f", "\x7f"},
    };
    char out[200];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(gb_log_escape(out, sizeof out, rows[i].text), strlen(rows[i].escaped));
        assert_string_equal(out, rows[i].escaped);
    }
    for (int room = 1; room < 60; room++) { /* never behind its room, never half an escape */
        char *small = malloc((size_t)room + 2), line[100];
        int size = gb_log_escape(small, room, "\x01\"\xe2\x82\xac\x02\\\x03 and more text");
        assert_true(size < room);
        assert_int_equal(strlen(small), size);
        snprintf(line, sizeof line, "{\"a\":\"%s\"}", small);
        assert_true(json_object(line));
        free(small);
    }
}

static void test_levels(void **unused)
{
    assert_int_equal(gb_log_parse("debug"), GB_LOG_DEBUG);
    assert_int_equal(gb_log_parse("warn"), GB_LOG_WARN);
    assert_int_equal(gb_log_parse("off"), GB_LOG_OFF);
    assert_int_equal(gb_log_parse("loud"), -1);
    assert_int_equal(gb_log_parse(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_always_json),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
