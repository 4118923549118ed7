/* src/base/list: first in, first out; unlink anywhere; a second unlink does nothing. */
#include "base/list.h"

#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

typedef struct {
    int before; /* so that the node is not at offset 0 */
    gb_list node;
    int number;
} item;

static void test_order(void **unused)
{
    gb_list head;
    item items[10];
    gb_list_init(&head);
    assert_true(gb_list_empty(&head));
    assert_null(gb_list_shift(&head));
    for (int i = 0; i < 10; i++) {
        items[i].number = i;
        gb_list_push(&head, &items[i].node);
    }
    assert_false(gb_list_empty(&head));
    gb_list_unlink(&items[0].node);
    gb_list_unlink(&items[5].node);
    gb_list_unlink(&items[4].node);
    gb_list_unlink(&items[5].node); /* again: its old neighbours are not touched */
    gb_list_unlink(&items[6].node);
    gb_list_unlink(&items[9].node);
    static const int left[] = {1, 2, 3, 7, 8};
    for (int i = 0; i < 5; i++)
        assert_int_equal(GB_CONTAINER(gb_list_shift(&head), item, node)->number, left[i]);
    assert_true(gb_list_empty(&head));
    gb_list_push(&head, &items[5].node); /* an unlinked node can go in again */
    assert_ptr_equal(gb_list_shift(&head), &items[5].node);
}

static void test_random(void **unused)
{
    seed s = seed_start("base.list");
    enum { ITEMS = 50 };
    gb_list head, nodes[ITEMS];
    int model[ITEMS], count = 0;
    gb_list_init(&head);
    for (int i = 0; i < ITEMS; i++) gb_list_init(&nodes[i]);
    for (int step = 0; step < 20000; step++) {
        int i = (int)seed_below(&s, ITEMS), at = 0;
        while (at < count && model[at] != i) at++;
        if (at == count) {
            gb_list_push(&head, &nodes[i]);
            model[count++] = i;
        } else {
            gb_list_unlink(&nodes[i]);
            memmove(model + at, model + at + 1, (size_t)(--count - at) * sizeof model[0]);
        }
        gb_list *node = head.next;
        for (int k = 0; k < count; k++, node = node->next) {
            assert_ptr_equal(node, &nodes[model[k]]);
            assert_ptr_equal(node->next->prev, node);
        }
        assert_ptr_equal(node, &head);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
