/* src/base/check: a failed check names file, line and condition, calls the hook, and never returns:
 * looked at from a parent process. */
#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs body in a child with its standard error kept: the wait status. */
static int in_child(void (*body)(void), char *text, size_t room)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(pipes[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    close(pipes[1]);
    size_t size = 0;
    ssize_t came;
    while ((came = read(pipes[0], text + size, room - 1 - size)) > 0) size += (size_t)came;
    text[size] = 0;
    close(pipes[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void body_passes(void)
{
    int evaluated = 0;
    GB_CHECK(++evaluated == 1);
    _exit(evaluated == 1 ? 5 : 6);
}

static void body_fails(void)
{
    int two = 2;
    GB_CHECK(two == 3);
}

static void body_unreachable(void)
{
    GB_UNREACHABLE();
}

static void write_hooked(const char *text)
{
    if (write(STDERR_FILENO, "hook: ", 6) == 6 && write(STDERR_FILENO, text, strlen(text)) > 0)
        return; /* a hook that returns is followed by abort */
}

static void body_hooked(void)
{
    gb_panic_hook(write_hooked);
    gb_panic("some.c", 12, "value %d", 7);
}

static void exit_hooked(const char *text)
{
    _exit(strstr(text, "two == 3") ? 9 : 8);
}

static void body_hook_exits(void)
{
    gb_panic_hook(exit_hooked);
    body_fails();
}

static void test_checks(void **unused)
{
    char text[2000];
    int status = in_child(body_passes, text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);

    status = in_child(body_fails, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "test_check.c:"));
    assert_non_null(strstr(text, "check failed: two == 3"));

    status = in_child(body_unreachable, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "unreachable"));
}

static void test_hook(void **unused)
{
    char text[2000];
    int status = in_child(body_hooked, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "hook: gpubridge: some.c:12: value 7"));

    status = in_child(body_hook_exits, text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);

    assert_null(gb_panic_hook(write_hooked)); /* the old hook comes back */
    assert_ptr_equal(gb_panic_hook(NULL), write_hooked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
