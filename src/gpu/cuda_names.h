/* What a module of the cuda backend declares: names from our reading of the source, types from the
 * compiler.
 *
 * NVRTC does not preprocess, so the source is read as it is: conditions are not evaluated and
 * macros not expanded. What is found are candidates. Each becomes one line of text behind the
 * source; a line that does not compile is a candidate that is not there, and is dropped. The types
 * come back in rows, a table in the image (device/cuda.rows.h).
 *
 * Any thread; pure but for reading included files. Memory is counted to the account given.
 */
#ifndef GB_GPU_CUDA_NAMES_H
#define GB_GPU_CUDA_NAMES_H

#include "base/buf.h"
#include "gpu/gpu.h"

typedef enum { GBI_NAME_KERNEL, GBI_NAME_GLOBAL, GBI_NAME_STRUCT } gbi_name_kind;

typedef struct gbi_cuda_name {
    gbi_name_kind kind;
    bool sync, instance, dropped;
    char *shown;      /* "ns::sum<float, 256>" */
    char *declare;    /* the line that names its type */
    char *type;       /* as an expression at global scope */
    char *expression; /* for NVRTC's lowered names; "" for structs */
    char *lowered;    /* "" until it is known */
    char **parts;     /* names of parameters or fields */
    int part_count;
} gbi_cuda_name;

typedef struct gbi_cuda_names {
    gb_mem *mem;
    gbi_cuda_name *at;
    int count, room;
} gbi_cuda_names;

/* Same layout as __gbr_row. */
typedef struct gbi_cuda_row {
    int32_t kind, id, sub, code, lanes, pointer, is_const;
    uint32_t size, element, offset, count;
    char type[128];
} gbi_cuda_row;

enum { GBI_ROW_KERNEL, GBI_ROW_PARAM, GBI_ROW_GLOBAL, GBI_ROW_STRUCT, GBI_ROW_FIELD };

void gbi_cuda_names_init(gbi_cuda_names *names, gb_mem *mem);
void gbi_cuda_names_fini(gbi_cuda_names *names);

/* The candidates of a source. GB_ECOMPILE: an instance that names no template kernel. */
int gbi_cuda_names_read(gbi_cuda_names *names, const gb_module_spec *spec);
/* Appends what is to stand behind the source. */
int gbi_cuda_names_text(const gbi_cuda_names *names, gb_buf *out);
/* Drops the candidates that the compiler's log complains of: how many. */
int gbi_cuda_names_drop(gbi_cuda_names *names, const char *log);
/* The compiler knows how many parameters a kernel has: where that is not how many names were found,
 * they become arg1, arg2, ...: how many kernels changed. */
int gbi_cuda_names_settle(gbi_cuda_names *names, const gbi_cuda_row *rows, int count);
/* Adds the kernels with C linkage that an image has and the names have not: how many. */
int gbi_cuda_names_missed(gbi_cuda_names *names, const void *image, size_t size);
int gbi_cuda_name_set(gbi_cuda_names *names, char **where, const char *text);

/* For the image cache: what is not dropped. */
int gbi_cuda_names_store(const gbi_cuda_names *names, gb_buf *out);
int gbi_cuda_names_load(gbi_cuda_names *names, const uint8_t *bytes, size_t size);

/* ---- cuda_rows.c ---- */

/* The rows of an image, ELF or PTX, into out: their count, 0 where the image has none that can be
 * read without a device, or GB_ENOMEM. */
int gbi_cuda_rows(const void *image, size_t size, gb_buf *out);
/* The spelling of a row's type; out has the room of gbi_cuda_row.type. */
void gbi_cuda_row_type(const gbi_cuda_row *row, char *out);

#endif
