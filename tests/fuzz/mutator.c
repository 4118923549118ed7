/* libFuzzer begins with nothing and would take hours to guess a tag: now and then an input is begun
 * again from a good one. */
#include "fuzz.h"

enum { AGAIN_ONE_IN = 16 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned number);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned number)
{
    seed s = {number};
    if (seed_below(&s, AGAIN_ONE_IN) == 0) size = fuzz_sample(&s, data, room);
    return LLVMFuzzerMutate(data, size, room);
}
