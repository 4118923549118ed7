/* Programs of turns, written word by word. */
#include "kit_room.h"

#include "base/check.h"

static void put(kit_prog *prog, int64_t word)
{
    GB_CHECK(prog->count < KIT_WORDS);
    prog->word[prog->count++] = word;
}

static void put_inner(kit_prog *prog, const kit_prog *inner)
{
    put(prog, inner ? inner->count : 0);
    for (int i = 0; inner && i < inner->count; i++) put(prog, inner->word[i]);
}

static void put_to(kit_prog *prog, kit_to to)
{
    put(prog, to.type);
    put(prog, to.key);
    put(prog, to.timeout_ns);
    put(prog, to.priority);
}

#define OP0(name, op)                                                                              \
    void kit_##name(kit_prog *prog)                                                                \
    {                                                                                              \
        put(prog, op);                                                                             \
    }
#define OP1(name, op, type)                                                                        \
    void kit_##name(kit_prog *prog, type n)                                                        \
    {                                                                                              \
        put(prog, op);                                                                             \
        put(prog, n);                                                                              \
    }
OP0(get, OP_GET)
OP0(must, OP_MUST)
OP0(yield, OP_YIELD)
OP0(stop, OP_STOP)
OP0(seen, OP_SEEN)
OP0(timer_stop, OP_TIMER_STOP)
OP1(add, OP_ADD, int64_t)
OP1(fail, OP_FAIL, int64_t)
OP1(await, OP_AWAIT, int)
OP1(cancel, OP_CANCEL, int)
OP1(park, OP_PARK, int)
OP1(sleep, OP_SLEEP, int64_t)
OP1(note, OP_NOTE, int64_t)

void kit_call(kit_prog *prog, kit_to to, const kit_prog *inner)
{
    put(prog, OP_CALL);
    put_to(prog, to);
    put_inner(prog, inner);
}

void kit_tell(kit_prog *prog, kit_to to, const kit_prog *inner)
{
    put(prog, OP_TELL);
    put_to(prog, to);
    put_inner(prog, inner);
}

void kit_async(kit_prog *prog, int slot, kit_to to, const kit_prog *inner)
{
    put(prog, OP_ASYNC);
    put(prog, slot);
    put_to(prog, to);
    put_inner(prog, inner);
}

void kit_spawn(kit_prog *prog, const kit_prog *inner)
{
    put(prog, OP_SPAWN);
    put_inner(prog, inner);
}

void kit_timer(kit_prog *prog, int64_t after_ns, int64_t every_ns, const kit_prog *tick)
{
    put(prog, OP_TIMER);
    put(prog, after_ns);
    put(prog, every_ns);
    put_inner(prog, tick);
}
