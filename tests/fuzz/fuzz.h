/* A fuzzer is one file with two functions. Built with GB_FUZZ=ON (clang) it is a libFuzzer program,
 * fuzz_NAME; always it is also a program without libFuzzer, replay_NAME, that ctest runs: it feeds
 * mutated samples from a printed seed, or the files that it is given (a crash that was found).
 */
#ifndef GB_TESTS_FUZZ_H
#define GB_TESTS_FUZZ_H

#include "seed.h"

#include <stddef.h>
#include <stdint.h>

/* Looks at one input. Aborts (GB_CHECK) when something that must hold does not. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes a good input of at most room bytes for the replay to mutate; returns its size. */
size_t fuzz_sample(seed *s, uint8_t *out, size_t room);

#endif
