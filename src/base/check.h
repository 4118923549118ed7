/* Checks: a caller's bug stops the program, in release builds too. The text names file and line.
 * The hook lets an embedder report it first; it must not return (a return is followed by abort).
 */
#ifndef GB_BASE_CHECK_H
#define GB_BASE_CHECK_H

typedef void gb_panic_fn(const char *text);

/* Sets the hook for the process and returns the old one; NULL is the default: print and abort. */
__attribute__((visibility("default"))) gb_panic_fn *gb_panic_hook(gb_panic_fn *hook);

_Noreturn void gb_panic(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define GB_CHECK(condition)                                                                        \
    (__builtin_expect(!!(condition), 1)                                                            \
         ? (void)0                                                                                 \
         : gb_panic(__FILE__, __LINE__, "check failed: %s", #condition))

#define GB_UNREACHABLE() gb_panic(__FILE__, __LINE__, "unreachable")

#endif
