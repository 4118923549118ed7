/* Errors: one closed list of codes, the same in C (GB_ETIMEDOUT) and in Lua ("ETIMEDOUT").
 *
 * A function that can fail returns an int: 0 or a count, or a negative GB_E... code. The text that
 * explains the last failure is kept per thread (gb_err_detail) until the next gb_err_set on it.
 * Foreign codes (errno, compiler, driver) become ours in the file that called.
 */
#ifndef GB_BASE_ERR_H
#define GB_BASE_ERR_H

#define GB_ERRORS(X)                                                                               \
    X(ERAISED, 1, "the method raised an error")                                                    \
    X(ETIMEDOUT, 2, "the deadline passed")                                                         \
    X(ECANCELED, 3, "cancelled")                                                                   \
    X(EDEADLOCK, 4, "the call would wait for itself")                                              \
    X(EBUSY, 5, "full")                                                                            \
    X(ENOTYPE, 6, "no such grain type")                                                            \
    X(ENOMETHOD, 7, "no such method")                                                              \
    X(EINVAL, 8, "invalid argument")                                                               \
    X(ENOENT, 9, "not found")                                                                      \
    X(ENOMEM, 10, "out of memory")                                                                 \
    X(EQUOTA, 11, "over the quota")                                                                \
    X(EDENIED, 12, "not allowed")                                                                  \
    X(ECONFLICT, 13, "changed by someone else")                                                    \
    X(ECLOSED, 14, "closed")                                                                       \
    X(ELOST, 15, "connection or device lost: the call may have run")                               \
    X(ESTUCK, 16, "the worker is stuck in a turn")                                                 \
    X(ECOMPILE, 17, "the kernel source does not compile")                                          \
    X(ENOGPU, 18, "no GPU")                                                                        \
    X(EDEVICE, 19, "wrong device")                                                                 \
    X(ETRAP, 20, "the kernel trapped")                                                             \
    X(ENOTYET, 21, "not in this version yet")

enum {
#define GB_ERRORS_ENUM(name, number, text) GB_##name = -(number),
    GB_ERRORS(GB_ERRORS_ENUM)
#undef GB_ERRORS_ENUM
};
#define GB_ERRORS_DEFINED 1

/* Part of the public header too. */
#define GB_EXPORTED __attribute__((visibility("default")))

/* "ETIMEDOUT" for GB_ETIMEDOUT, "OK" for 0 or more, "EUNKNOWN" for anything else. Never NULL. */
GB_EXPORTED const char *gb_err_name(int rc);

/* The one-line meaning of a code. Never NULL. */
GB_EXPORTED const char *gb_err_text(int rc);

/* The code of a name ("ETIMEDOUT"), or 0 when the name is none of the list. */
int gb_err_code(const char *name);

/* Keeps a text for this thread and returns rc, so that `return gb_err_set(GB_EINVAL, "...")` works.
 */
int gb_err_set(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* This thread's last text, or "" when there is none. Borrowed until the next gb_err_set here. */
GB_EXPORTED const char *gb_err_detail(void);

#endif
