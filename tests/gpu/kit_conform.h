/* The conformance suite: cases that every backend must pass. A map case is a kernel y[i] = f(x, i)
 * with the same function in double precision; a free case is a function over gpu.h.
 * test_conformance.c runs both tables against every backend that is present. */
#ifndef GB_TESTS_KIT_CONFORM_H
#define GB_TESTS_KIT_CONFORM_H

#include "kit_engine.h"

enum { CONFORM_FILES = 5 };

typedef struct conform {
    gb_mem mem;
    gb_gpu *gpu;
    gb_device *device; /* the first of the backend */
    gb_queue *queue;
    gb_module *modules[CONFORM_FILES];
    uint64_t seed;
    const char *backend;
} conform;

typedef enum { CONFORM_FLOAT, CONFORM_DOUBLE, CONFORM_UINT } conform_type;

typedef struct conform_map {
    const char *name, *file;
    gb_dim grid, block;
    int n;
    conform_type type;
    uint32_t shared_bytes;
    double tolerance; /* relative to 1 + |want|; 0: exact */
    /* Of all n inputs, as doubles; unsigned results wrap to 32 bits. */
    double (*want)(const double *x, int i, int n);
} conform_map;

typedef struct conform_case {
    const char *name;
    void (*run)(conform *c);
} conform_case;

extern const conform_map conform_maps[];   /* ends with a NULL name */
extern const conform_case conform_cases[]; /* too */

void conform_graphs(conform *c);
void conform_pool_isolation(conform *c);
void conform_pool_own_memory(conform *c);
void conform_pool_queues(conform *c);
void conform_pool_unused(conform *c);
void conform_pool_pressure(conform *c);
void conform_pool_quota(conform *c);
void conform_pool_no_memory(conform *c);
bool conform_replays(const conform *c); /* the backend hands graphs to its driver */
/* kit_conform_replay.c */
void conform_graph_parts(conform *c);
void conform_graph_aliases(conform *c);
void conform_graph_order(conform *c);
void conform_graph_memory(conform *c);
void conform_graph_lifetimes(conform *c);

/* kit_conform_files.c */
void conform_files(conform *c);
void conform_files_wrong(conform *c);
void conform_files_changing(conform *c);
void conform_files_at_once(conform *c);

/* The device of a backend, NULL where it has none. */
void conform_open(conform *c, const char *backend);
void conform_close(conform *c);
void conform_reopen(conform *c); /* after a device was lost; nothing of the test is open */

/* Loads a file of conformance/ once per backend; fails the test with the compiler's text. */
gb_module *conform_module(conform *c, const char *file);
gb_kernel *conform_kernel(conform *c, const char *file, const char *kernel);

/* A device buffer with these bytes (NULL: poisoned with 0xEE). */
gb_buffer *conform_buffer(conform *c, const void *bytes, size_t size);
void conform_read(conform *c, gb_buffer *buffer, void *out, size_t size);

/* rc of opening a module from text; text takes the failure. NULL options: none. */
int conform_compile(conform *c, const char *name, const char *source, const char *const *options,
                    const char *const *instances, gb_module **out, char *text, size_t room);

char *conform_source(const char *file); /* malloc'd */

void conform_run_map(conform *c, const conform_map *map);

#endif
