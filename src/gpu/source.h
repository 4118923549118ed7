/* Reads CUDA C++ that a compiler's preprocessor has already expanded (-E -dD, with line markers):
 * tokens, and what a module declares: kernels with the names of their parameters, variables in
 * device memory, plain structs. Types are left to the compiler; see cpu_wrap.h. Also the text that
 * is compiled: the input with the few constructs replaced that C++ cannot express.
 *
 * Not a C++ parser: it walks declarations at namespace scope, balances brackets, and is
 * conservative where it is unsure (a kernel that may reach a barrier counts as one that does).
 *
 * Pure functions of their input, any thread. All memory is the gb_source's, counted to its account.
 */
#ifndef GB_GPU_SOURCE_H
#define GB_GPU_SOURCE_H

#include "base/buf.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    GB_TOKEN_END,
    GB_TOKEN_NAME, /* identifiers and keywords */
    GB_TOKEN_NUMBER,
    GB_TOKEN_STRING, /* also raw strings, with their prefix */
    GB_TOKEN_CHAR,
    GB_TOKEN_PUNCT, /* one character, but "::", "->", "<<", ">>", "<<<" and "..." are one token */
    GB_TOKEN_PRAGMA /* a whole #pragma line */
} gb_token_kind;

typedef struct gb_token {
    const char *text; /* into the input */
    uint32_t size;
    uint32_t line; /* by the line markers */
    uint16_t file; /* index into files */
    uint16_t kind;
} gb_token;

typedef struct gb_source_kernel {
    const char *scope; /* "", "ns", "ns::inner"; an unnamed namespace is "" within its parents */
    const char *open;  /* text that reopens the namespaces: "namespace ns { namespace {" */
    const char *close; /* "} }" */
    const char *name;  /* unqualified */
    const char *types; /* parameter types as written, "float *, int": chooses an overload */
    const char *const *params;
    int param_count;
    bool is_template, overloaded;
    bool sync;    /* reaches a barrier, shuffle or vote, or may */
    bool plain;   /* touches no addressable locals: its threads may run in SIMD lanes */
    bool linear;  /* sees x only as blockIdx.x * blockDim.x + threadIdx.x */
    bool strided; /* ends in a grid-stride loop, which is rewritten to one round per call */
    bool
        guarded; /* begins with a test of its place that holds for all of a row when for its ends */
    bool loops; /* has barriers, and gb_source_split found how to do without fibers */
    uint32_t chunk; /* room private */
} gb_source_kernel;

typedef struct gb_source_name {
    const char *scope, *open, *close, *name;
} gb_source_name;

typedef struct gb_source_struct {
    gb_source_name at;
    const char *const *fields;
    int field_count;
} gb_source_struct;

typedef struct gb_source gb_source;

/* Reads a copy of text. GB_ECOMPILE: a construct that the cpu backend does
 * not have, as a compiler-like line "file:line: error: ..." in gb_err_detail; GB_ENOMEM. */
int gb_source_open(gb_source **out, gb_mem *mem, const char *text, size_t bytes);
/* Refuses nothing: for backends that have all of CUDA C++. */
int gb_source_open_all(gb_source **out, gb_mem *mem, const char *text, size_t bytes);
void gb_source_close(gb_source *source);

int gb_source_kernel_count(const gb_source *source);
const gb_source_kernel *gb_source_kernel_at(const gb_source *source, int index);
int gb_source_global_count(const gb_source *source);
const gb_source_name *gb_source_global_at(const gb_source *source, int index);
int gb_source_struct_count(const gb_source *source);
const gb_source_struct *gb_source_struct_at(const gb_source *source, int index);

/* Names of files that line markers mention, once each. */
int gb_source_file_count(const gb_source *source);
const char *gb_source_file_at(const gb_source *source, int index);

/* Whether a kernel that is instantiated with this text ("sum<Op, 256>") reaches a barrier. */
bool gb_source_instance_sync(const gb_source *source, const gb_source_kernel *kernel,
                             const char *instance);

/* Finds which kernels with barriers can run as loops over the threads of a block. The rewritten
 * text then has a second form of each, `bool __gb_loops_NAME(parameters)`, which runs one block. */
int gb_source_split(gb_source *source);
/* Whether that form is right for a kernel that is instantiated with this text. */
bool gb_source_instance_loops(const gb_source *source, const gb_source_kernel *kernel,
                              const char *instance);

/* Appends the text to compile to out. Line numbers stay. Pointers at dynamic shared memory that
 * live at namespace scope are listed for the wrapper to set. */
int gb_source_rewrite(gb_source *source, gb_buf *out);
int gb_source_shared_count(const gb_source *source);
const gb_source_name *gb_source_shared_at(const gb_source *source, int index);

#endif
