/* How fast are the tokens of src/wire/cbor? Encode and decode of a small table (four short keys,
 * three integers, one short string) and of a typed array of 1 MiB, against memcpy of as much. One
 * line per number; the median of 9 rounds. */
#include "base/buf.h"
#include "wire/cbor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 9, TABLES = 200000, ARRAYS = 200, ARRAY_COUNT = 131072 };

typedef struct {
    gb_buf out;
    double *array, *copy;
    uint64_t sum; /* keeps the work from being thrown away */
} bench;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void encode_table(bench *b, int i)
{
    gb_buf *out = &b->out;
    out->size = 0;
    gb_cbor_put_map(out, 4);
    gb_cbor_put_text(out, "id", 2);
    gb_cbor_put_int(out, i);
    gb_cbor_put_text(out, "qty", 3);
    gb_cbor_put_int(out, 7);
    gb_cbor_put_text(out, "price", 5);
    gb_cbor_put_int(out, 129900);
    gb_cbor_put_text(out, "name", 4);
    gb_cbor_put_text(out, "grain-42", 8);
}

static void decode_table(bench *b)
{
    gb_cbor in;
    gb_cbor_token token;
    gb_cbor_init(&in, b->out.data, b->out.size);
    if (gb_cbor_next(&in, &token) < 0) abort();
    for (uint64_t items = token.natural * 2; items > 0; items--) {
        if (gb_cbor_next(&in, &token) < 0) abort();
        b->sum += token.kind == GB_CBOR_INT ? (uint64_t)token.integer : token.bytes[0];
    }
}

static void encode_array(bench *b)
{
    b->out.size = 0;
    if (gb_cbor_put_array(&b->out, GB_CBOR_FLOAT64, ARRAY_COUNT) < 0) abort();
    if (gb_buf_put(&b->out, b->array, ARRAY_COUNT * sizeof *b->array) < 0) abort();
}

static void decode_array(bench *b)
{
    gb_cbor in;
    gb_cbor_token token;
    const void *bytes;
    size_t count;
    gb_cbor_init(&in, b->out.data, b->out.size);
    if (gb_cbor_next(&in, &token) < 0) abort();
    if (gb_cbor_read_array(&in, token.natural, &bytes, &count) < 0) abort();
    memcpy(b->copy, bytes, count * sizeof *b->copy);
    b->sum += (uint64_t)b->copy[count - 1];
}

static void plain_copy(bench *b)
{
    memcpy(b->copy, b->array, ARRAY_COUNT * sizeof *b->array);
    b->array[0] = b->copy[ARRAY_COUNT - 1] + 1;
}

static void run(bench *b, int what)
{
    int times = what < 3 ? TABLES : ARRAYS;
    for (int i = 0; i < times; i++) {
        if (what == 0 || what == 2) encode_table(b, i);
        if (what == 1 || what == 2) decode_table(b);
        if (what == 3) encode_array(b);
        if (what == 4) decode_array(b);
        if (what == 5) plain_copy(b);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    static const char *const names[] = {"table encode",       "table decode",       "table both",
                                        "1 MiB array encode", "1 MiB array decode", "1 MiB memcpy"};
    gb_mem mem;
    bench b = {0};
    gb_mem_init(&mem, "bench", NULL, 0);
    gb_buf_init(&b.out, &mem);
    b.array = calloc(ARRAY_COUNT, sizeof *b.array);
    b.copy = calloc(ARRAY_COUNT, sizeof *b.copy);
    if (!b.array || !b.copy) return 1;
    double took[6][ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int what = 0; what < 6; what++) {
            if (what == 1) encode_table(&b, round); /* something to decode */
            if (what == 4) encode_array(&b);
            double start = now_ns();
            run(&b, what);
            took[what][round] = (now_ns() - start) / (what < 3 ? TABLES : ARRAYS);
        }
    }
    for (int what = 0; what < 6; what++) qsort(took[what], ROUNDS, sizeof took[0][0], by_value);
    for (int what = 0; what < 3; what++)
        printf("codec: %s %.1f ns\n", names[what], took[what][ROUNDS / 2]);
    for (int what = 3; what < 6; what++)
        printf("codec: %s %.2f GB/s, %.2f of memcpy\n", names[what],
               ARRAY_COUNT * sizeof(double) / took[what][ROUNDS / 2],
               took[5][ROUNDS / 2] / took[what][ROUNDS / 2]);
    encode_table(&b, 42);
    printf("codec: table size %zu bytes\n", b.out.size);
    gb_buf_fini(&b.out);
    gb_mem_fini(&mem);
    free(b.array);
    free(b.copy);
    return b.sum == 0;
}
