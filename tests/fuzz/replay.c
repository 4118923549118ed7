/* replay_NAME [COUNT | FILE...]: see fuzz.h. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_BYTES_MAX = 4096, COUNT_DEFAULT = 200000 };

/* Bytes that lengths and heads are made of. */
static const uint8_t hostile[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x1b, 0x5b, 0x9b,
                                  0xbb, 0xdb, 0xd8, 0x40, 0x81, 0xb6, 0x5f, 0xfb};

static size_t mutate(seed *s, uint8_t *data, size_t size)
{
    for (uint64_t times = seed_below(s, 6); times > 0; times--) {
        size_t at = size ? seed_below(s, size) : 0;
        switch (size ? seed_below(s, 6) : 4) {
        case 0: /* a bit */
            data[at] ^= (uint8_t)(1u << seed_below(s, 8));
            break;
        case 1: /* a byte */
            data[at] = (uint8_t)seed_next(s);
            break;
        case 2: /* a byte that hurts */
            data[at] = hostile[seed_below(s, sizeof hostile)];
            break;
        case 3: /* the end */
            size = at;
            break;
        case 4: /* a byte more */
            if (size == INPUT_BYTES_MAX) break;
            memmove(data + at + 1, data + at, size - at);
            data[at] = hostile[seed_below(s, sizeof hostile)];
            size++;
            break;
        default: { /* a piece over another */
            size_t from = seed_below(s, size), most = size - (from > at ? from : at);
            memmove(data + at, data + from, seed_below(s, most + 1));
        }
        }
    }
    return size;
}

/* Each input in a block of its own size, so that the address sanitizer sees a read too far. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int feed_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    uint8_t *data = malloc(1 << 20);
    if (!data) abort();
    size_t size = fread(data, 1, 1 << 20, file);
    fclose(file);
    feed(data, size);
    free(data);
    printf("replayed %s: %zu bytes\n", path, size);
    return 1;
}

int main(int argc, char **argv)
{
    long count = COUNT_DEFAULT;
    for (int i = 1; i < argc; i++) {
        if (feed_file(argv[i])) {
            count = 0;
        } else if ((count = strtol(argv[i], NULL, 10)) <= 0) {
            fprintf(stderr, "usage: %s [COUNT | FILE...]: no such file: %s\n", argv[0], argv[i]);
            return 2;
        }
    }
    if (count == 0) return 0;
    seed s = seed_start(argv[0]);
    uint8_t data[INPUT_BYTES_MAX];
    for (long i = 0; i < count; i++)
        feed(data, mutate(&s, data, fuzz_sample(&s, data, sizeof data)));
    printf("%ld inputs\n", count);
    return 0;
}
