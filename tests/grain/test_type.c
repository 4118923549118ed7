/* src/grain/type.c, sym.c: definitions, lazy loading on each worker, interned names. */
#include "kit_kind.h"

#include "base/err.h"
#include "grain/far.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static kit_to to(int type, int64_t key)
{
    return (kit_to){type, key, -1, 0};
}

static kit_prog adds(int64_t n)
{
    kit_prog prog = {0};
    kit_add(&prog, n);
    return prog;
}

static void finish(kit *k)
{
    kit_settle(k);
    assert_int_equal(k->wrong, 0);
    assert_int_equal(kit_calls(k), 0);
    kit_close(k);
    assert_int_equal(k->wrong, 0);
}

static void test_define(void **unused)
{
    kit k;
    gb_type *first, *again;
    gb_type_options options;
    kit_open(&k, 2, 1);
    kit_options(&options);
    assert_null(gb_type_find(k.silo, "Cart"));
    assert_null(gb_type_at(k.silo, 0));
    assert_int_equal(gb_type_define(&first, k.silo, "Cart", "cart.lua", &kit_kind, -1, &options),
                     0);
    assert_ptr_equal(gb_type_find(k.silo, "Cart"), first);
    assert_ptr_equal(gb_type_at(k.silo, first->id), first);
    options.queue_max = 7;
    options.idle_ns = 5;
    options.placement = GB_PLACE_LOCAL;
    assert_int_equal(gb_type_define(&again, k.silo, "Cart", "cart.lua", &kit_kind, -1, &options),
                     0);
    assert_ptr_equal(again, first);
    assert_int_equal(first->options.queue_max, 7);
    assert_int_equal(first->options.idle_ns, 5);
    assert_int_equal(first->options.placement,
                     GB_PLACE_RANDOM); /* where it lives does not change */
    assert_int_equal(gb_type_define(&again, k.silo, "Cart", "other.lua", &kit_kind, -1, &options),
                     GB_ECONFLICT);
    assert_non_null(strstr(gb_err_detail(), "cart.lua"));
    assert_non_null(strstr(gb_err_detail(), "other.lua"));
    assert_int_equal(gb_type_define(&again, k.silo, "Cart", "", &kit_kind, 0, &options),
                     GB_ECONFLICT);
    assert_non_null(strstr(gb_err_detail(), "the main script"));
    assert_int_equal(gb_type_count(k.silo), 1);
    options.queue_max = 0;
    assert_int_equal(gb_type_define(&again, k.silo, "Till", "t", &kit_kind, -1, &options),
                     GB_EINVAL);
    options.queue_max = 1;
    options.stateless_max = 0;
    assert_int_equal(gb_type_define(&again, k.silo, "Till", "t", &kit_kind, -1, &options),
                     GB_EINVAL);
    assert_int_equal(gb_type_count(k.silo), 1);
    finish(&k);
}

/* Loaded once on each worker where it is called, and calls wait for that, in their order. */
static void test_pending(void **unused)
{
    kit k;
    kit_ask asks[40], tells[10];
    kit_open(&k, 3, 1);
    kit_define(&k, 0, NULL);
    k.conf[0].load = KIT_LOAD_PENDING;
    kit_prog one = adds(1);
    for (int i = 0; i < 40; i++) kit_ask_at(&k, &asks[i], i % 3, to(0, i % 10), &one);
    for (int i = 0; i < 10; i++) kit_tell_at(&k, &tells[i], i % 3, to(0, i), &one);
    kit_settle(&k);
    assert_int_equal(k.conf[0].loads, 3);
    assert_int_equal(k.instances, 0);
    for (int i = 0; i < 3; i++) gb_type_loaded(k.conf[0].loading[i], k.types[0], 0, NULL);
    kit_settle(&k);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(asks[i].done, 1);
        assert_int_equal(asks[i].rc, 0);
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(tells[i].done, tells[i].sent == GB_OP_PENDING);
        assert_int_equal(tells[i].rc, 0);
        assert_int_equal(kit_number(&k, 0, i), 5);
    }
    assert_int_equal(k.conf[0].loads, 3);
    finish(&k);
}

static void test_fails(void **unused)
{
    kit k;
    kit_ask asks[9];
    kit_open(&k, 3, 1);
    kit_define(&k, 0, NULL);
    kit_prog one = adds(1);
    k.conf[0].load = KIT_LOAD_FAILS; /* at once: where the target is here, the send says so */
    for (int i = 0; i < 9; i++) {
        if (i % 2)
            kit_ask_at(&k, &asks[i], i % 3, to(0, i), &one);
        else
            kit_tell_at(&k, &asks[i], i % 3, to(0, i), &one);
        kit_settle(&k);
        if (asks[i].sent < 0) {
            assert_int_equal(asks[i].done, 0);
            assert_int_equal(asks[i].sent, GB_ENOENT);
        } else {
            assert_int_equal(asks[i].done, 1);
            assert_int_equal(asks[i].rc, GB_ENOENT);
        }
        assert_string_equal(asks[i].message, "the module is not there");
    }
    k.conf[0].load = KIT_LOAD_PENDING; /* later */
    for (int i = 0; i < 9; i++)
        if (i % 2)
            kit_ask_at(&k, &asks[i], i % 3, to(0, i), &one);
        else
            kit_tell_at(&k, &asks[i], i % 3, to(0, i), &one);
    kit_settle(&k);
    for (int i = 0; i < k.conf[0].loading_count; i++)
        gb_type_loaded(k.conf[0].loading[i], k.types[0], GB_EINVAL, i ? "line 7: no" : NULL);
    kit_settle(&k);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(asks[i].done, 1);
        assert_int_equal(asks[i].rc, GB_EINVAL);
        assert_true(strlen(asks[i].message) > 5);
    }
    k.conf[0].load = KIT_LOAD_READY; /* the next call tries again */
    kit_ask_at(&k, &asks[0], 0, to(0, 0), &one);
    kit_settle(&k);
    assert_int_equal(asks[0].value, 1);
    /* a reload that fails leaves what is there */
    gb_worker *home = gb_worker_of_key(k.types[0], gb_key_number(0));
    gb_type_loaded(home, k.types[0], GB_EINVAL, "no");
    kit_ask_at(&k, &asks[0], 0, to(0, 0), &one);
    kit_settle(&k);
    assert_int_equal(asks[0].value, 2);
    finish(&k);
}

static void test_names(void **unused)
{
    kit k;
    seed s = seed_start("grain.type names");
    kit_open(&k, 1, 1);
    const gb_sym *syms[3000];
    char text[32];
    for (int i = 0; i < 3000; i++) {
        int size = snprintf(text, sizeof text, "name-%d", i);
        syms[i] = gb_sym_get(k.silo, text, (size_t)size);
        assert_non_null(syms[i]);
        assert_string_equal(syms[i]->text, text);
        if (i) assert_int_equal(syms[i]->id, syms[i - 1]->id + 1);
    }
    for (int i = 0; i < 10000; i++) {
        int which = (int)seed_below(&s, 3000);
        int size = snprintf(text, sizeof text, "name-%d", which);
        assert_ptr_equal(gb_sym_get(k.silo, text, (size_t)size), syms[which]);
    }
    assert_int_equal(gb_sym_get(k.silo, "a\0b", 3)->size, 3);
    assert_ptr_not_equal(gb_sym_get(k.silo, "a\0b", 3), gb_sym_get(k.silo, "a", 1));
    finish(&k);
}

typedef struct definer {
    kit *kit;
    int conflicts;
} definer;

static void *define_many(void *user)
{
    definer *d = user;
    gb_type_options options;
    gb_type *type;
    kit_options(&options);
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "N%d", i);
        if (gb_type_define(&type, d->kit->silo, name, "one", &kit_kind, -1, &options) < 0 ||
            type != gb_type_find(d->kit->silo, name) ||
            gb_sym_get(d->kit->silo, name, strlen(name)) != type->name)
            d->conflicts++;
    }
    return NULL;
}

/* Workers define the same types at the same time. */
static void test_threads(void **unused)
{
    kit k;
    pthread_t threads[4];
    definer definers[4];
    kit_open(&k, 2, 1);
    for (int i = 0; i < 4; i++) {
        definers[i] = (definer){&k, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, define_many, &definers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(definers[i].conflicts, 0);
    }
    assert_int_equal(gb_type_count(k.silo), 500);
    finish(&k);
}

/* Two silos of a cluster know the worker that a grain has on the other one, though that has defined
 * other types before. */
static void test_homes(void **unused)
{
    kit k[2];
    gb_type *type[2], *more;
    gb_type_options options;
    kit_options(&options);
    for (int i = 0; i < 2; i++) {
        kit_open(&k[i], 4, 1);
        gb_silo_set_far(k[i].silo, NULL, 99);
        if (i) gb_type_define(&more, k[i].silo, "More", "m.lua", &kit_kind, -1, &options);
        assert_int_equal(
            gb_type_define(&type[i], k[i].silo, "Cart", "cart.lua", &kit_kind, -1, &options), 0);
    }
    for (int64_t n = 0; n < 100; n++) {
        gb_key key = n % 2 ? gb_key_number(n) : gb_key_text("a text", (uint32_t)n % 7);
        uint64_t hash = gb_key_hash(type[0], key);
        assert_true(hash == gb_key_hash(type[1], key));
        assert_int_equal(gb_worker_of_key(type[1], key)->index, gb_hash_worker(hash, 4));
    }
    for (int i = 0; i < 2; i++) finish(&k[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_define), cmocka_unit_test(test_pending), cmocka_unit_test(test_fails),
        cmocka_unit_test(test_names),  cmocka_unit_test(test_threads), cmocka_unit_test(test_homes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
