/* Random good messages, and whether two say the same. */
#ifndef GB_TESTS_KIT_MESSAGE_H
#define GB_TESTS_KIT_MESSAGE_H

#include "cluster/message.h"
#include "seed.h"

/* A message with all that it points to; one thread, no allocation but the rows'. */
typedef struct kit_message {
    gb_message message;
    gb_mem *mem;
    uint8_t id[GB_GRAIN_ID_BYTES];
    uint64_t ids[8];
    gb_arc arcs[8];
    gb_sync_item items[8];
    gb_row *rows[4];
    uint32_t row_count;
    gb_member row;
} kit_message;

void kit_message_make(kit_message *out, gb_mem *mem, seed *s, gb_message_kind kind);
void kit_message_free(kit_message *made);
bool kit_message_same(const gb_message *a, const gb_message *b);

#endif
