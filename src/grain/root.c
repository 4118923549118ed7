#include "grain/root.h"

#include "base/check.h"
#include "base/err.h"
#include "grain/room.h"

int gb_root_end(gb_act *root)
{
    GB_CHECK(root->root);
    int count = 0;
    while (root->turns) {
        gbi_turn_kill(atomic_load_explicit(&root->turns->at, memory_order_relaxed), root->turns,
                      GB_ECANCELED);
        count++;
    }
    return count;
}
