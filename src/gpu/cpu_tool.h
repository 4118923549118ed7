/* The C++ compiler of the cpu backend as a program: which one, and running it. Room private. Any
 * thread; both functions block. */
#ifndef GB_GPU_CPU_TOOL_H
#define GB_GPU_CPU_TOOL_H

#include "base/buf.h"

#include <stdbool.h>

typedef struct gbi_tool {
    char path[4096];
    char version[256]; /* first line of --version */
    bool clang;
} gbi_tool;

/* configured, else $GB_CXX, else clang++, the newest clang++-NN, g++ of $PATH. The version is kept
 * in the cache folder under path, size and time of the program, so that it runs once only.
 * GB_ECOMPILE: there is none, with a remedy. */
int gbi_tool_find(gbi_tool *tool, gb_mem *mem, const char *configured, const char *folder);

/* Starts argv[0] with a small environment and no input, appends up to 256 KB of what it prints to
 * out, waits. Returns its exit status, or GB_ECOMPILE when it cannot be started, is killed by a
 * signal, or takes longer than timeout_ms (it is killed then). */
int gbi_tool_run(const char *const *argv, gb_buf *out, int timeout_ms);

#endif
