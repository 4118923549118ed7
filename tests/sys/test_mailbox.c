/* src/sys/mailbox.h: many real writers, one reader that sleeps whenever it may. */
#include "sys/mailbox.h"

#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WRITERS = 4, POSTS = 30000, LIMIT_S = 60 };

typedef struct letter {
    gb_node node;
    int writer, number;
} letter;

typedef struct office {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_mailbox box;
    int next[WRITERS]; /* reader: the number expected from each */
    int taken, sleeps;
    bool order;
    letter *letters;
    atomic_int go;
} office;

typedef struct writer {
    office *office;
    int index;
    uint64_t seed;
} writer;

static void read_one(gb_node *node, void *reader)
{
    office *o = reader;
    letter *l = (letter *)node;
    if (o->next[l->writer]++ != l->number) o->order = false;
    o->taken++;
}

static void *write_all(void *user)
{
    writer *w = user;
    office *o = w->office;
    seed s = {w->seed};
    while (!atomic_load(&o->go)) continue;
    for (int i = 0; i < POSTS; i++) {
        letter *l = &o->letters[w->index * POSTS + i];
        l->writer = w->index;
        l->number = i;
        l->node.run = read_one;
        gb_mailbox_push(&o->box, &l->node);
        for (uint64_t pause = seed_below(&s, 50) ? 0 : seed_below(&s, 20000); pause > 0; pause--)
            __asm__ __volatile__("" ::: "memory"); /* now and then the reader gets to sleep */
    }
    return NULL;
}

static bool read_some(office *o)
{
    gb_node *node = gb_mailbox_take(&o->box);
    if (!node) return false;
    node->run(node, o);
    return true;
}

static void test_writers(void **unused)
{
    office *o = aligned_alloc(64, (sizeof *o + 63) / 64 * 64);
    memset(o, 0, sizeof *o);
    seed s = seed_start("sys.mailbox writers");
    pthread_t threads[WRITERS];
    writer writers[WRITERS];
    gb_mem_init(&o->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&o->sys, &o->mem), 0);
    assert_int_equal(o->sys->door->loop_open(&o->loop, o->sys), 0);
    gb_mailbox_init(&o->box, o->loop);
    o->order = true;
    o->letters = calloc(WRITERS * POSTS, sizeof *o->letters);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){o, i, seed_next(&s)};
        assert_int_equal(pthread_create(&threads[i], NULL, write_all, &writers[i]), 0);
    }
    atomic_store(&o->go, 1);
    uint64_t limit = gb_now(o->sys) + LIMIT_S * GB_SEC; /* a lost wake would sleep until then */
    bool lost = false;
    while (o->taken < WRITERS * POSTS && !lost) {
        if (read_some(o)) continue;
        if (!gb_mailbox_doze(&o->box)) continue;
        o->sleeps++;
        gb_loop_wait(o->loop, LIMIT_S * GB_SEC);
        gb_mailbox_awake(&o->box);
        lost = gb_now(o->sys) >= limit;
    }
    for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    assert_false(lost);
    assert_true(o->order);
    assert_int_equal(o->taken, WRITERS * POSTS);
    assert_true(gb_mailbox_empty(&o->box));
    printf("# slept %d times\n", o->sleeps);
    o->sys->door->loop_close(o->loop);
    gb_sys_close(o->sys);
    gb_mem_fini(&o->mem);
    free(o->letters);
    free(o);
}

/* One thread: what is empty, what comes out, in any mixture of pushes and takes. */
static void test_single(void **unused)
{
    office *o = aligned_alloc(64, (sizeof *o + 63) / 64 * 64);
    memset(o, 0, sizeof *o);
    seed s = seed_start("sys.mailbox single");
    letter letters[100];
    int pushed = 0, taken = 0;
    gb_mailbox_init(&o->box, NULL);
    o->order = true;
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(gb_mailbox_empty(&o->box), pushed == taken);
        if (pushed - taken < 100 && seed_below(&s, 2)) {
            letter *l = &letters[pushed % 100];
            *l = (letter){.number = pushed++, .node.run = read_one};
            gb_mailbox_push(&o->box, &l->node);
        } else {
            assert_int_equal(read_some(o), taken < pushed);
            if (taken < pushed) taken++;
        }
        if (gb_mailbox_doze(&o->box)) assert_true(pushed == taken);
        gb_mailbox_awake(&o->box);
    }
    assert_true(o->order);
    free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
