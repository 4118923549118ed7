/* The container that the software NVRTC makes and the software driver loads: lines of text
 *     software image 1
 *     .global .align 16 .b8 NAME[SIZE] = {1, 2, ...};     the variables as PTX has them
 *     KEY SIZE
 *     BYTES
 * with the keys arch, name, source, option, include, instance, lowered ("NAME EXPRESSION"), end.
 */
#ifndef GB_TESTS_SOFT_IMAGE_H
#define GB_TESTS_SOFT_IMAGE_H

#include "base/buf.h"
#include "gpu/gpu.h"

#include <stdbool.h>

#define SOFT_IMAGE_MAGIC "software image 1\n"

enum { SOFT_LIST_MAX = 256 };

/* What is compiled, as lists that end with NULL; the texts are malloc'd. */
typedef struct soft_unit {
    char *arch, *name, *source;
    char *options[SOFT_LIST_MAX], *includes[SOFT_LIST_MAX], *instances[SOFT_LIST_MAX];
    char *lowered[SOFT_LIST_MAX];
} soft_unit;

void soft_unit_fini(soft_unit *unit);
bool soft_unit_add(char **list, const char *text, size_t size); /* false: full */
int soft_unit_put(const soft_unit *unit, gb_buf *out);
/* false: no container. */
bool soft_unit_read(soft_unit *unit, const char *bytes);

/* Compiles and loads with the cpu backend's compiler. Negative GB_E..., and *text (malloc'd). */
struct gb_cpu_object;
int soft_unit_compile(const soft_unit *unit, struct gb_cpu_object **out, char **text);

#endif
