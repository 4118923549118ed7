/* This test program again as a process of its own: the software driver reads its settings when it
 * is loaded, and what it says of leaks and misuse comes at the end of the process. */
#ifndef GB_TESTS_KIT_CASE_H
#define GB_TESTS_KIT_CASE_H

#include <stdbool.h>

enum { KIT_CASE_MS = 200000, KIT_CASE_BYTES = 64 << 10 };

typedef struct kit_outcome {
    int status; /* of waitpid */
    bool hung;  /* nothing was heard of it for KIT_CASE_MS, and it was ended */
    char output[KIT_CASE_BYTES];
} kit_outcome;

/* Both are the libraries of this process and of its cases; leaks are looked for. */
void kit_case_use_softcuda(void);
/* main() sees the name as argv[0]; the environment is that of now. */
void kit_case_run(const char *name, kit_outcome *out);
/* What is wrong with the process (its exit status 4: it says so itself), or NULL. */
const char *kit_case_verdict(const kit_outcome *out);

#endif
