/* Stream-ordered memory. It is there only once its stream has come to the allocation, and gone as
 * soon as that comes to the free: whoever is in no order with those breaks the context. The pool
 * keeps nothing, so what comes out of it holds the pattern like all new memory. */
#include "soft.h"

#include <stdlib.h>

enum { POOL_HANDLES = 0x70000000 };

static gb_cu_pool pool_of(int device)
{
    return (gb_cu_pool)(uintptr_t)(POOL_HANDLES + device);
}

static bool is_pool(int row, gb_cu_pool pool)
{
    if ((uintptr_t)pool - POOL_HANDLES < (uintptr_t)soft.device_count) return true;
    soft_misuse(row, GB_CU_INVALID_VALUE, "%p is no pool", (void *)pool);
    return false;
}

gb_cu_result soft_cuDeviceGetDefaultMemPool(gb_cu_pool *out, gb_cu_device device)
{
    gb_cu_result rc = soft_enter(ROW_cuDeviceGetDefaultMemPool);
    if (rc == 0 && (device < 0 || device >= soft.device_count)) rc = GB_CU_INVALID_DEVICE;
    if (rc == 0) *out = pool_of(device);
    return soft_leave(rc);
}

gb_cu_result soft_cuMemPoolSetAttribute(gb_cu_pool pool, gb_cu_pool_attribute which, void *value)
{
    gb_cu_result rc = soft_enter(ROW_cuMemPoolSetAttribute);
    if (rc == 0 && !is_pool(ROW_cuMemPoolSetAttribute, pool)) rc = GB_CU_INVALID_VALUE;
    if (rc == 0 && which != GB_CU_POOL_RELEASE_THRESHOLD) rc = GB_CU_INVALID_VALUE;
    if (rc == 0 && !value) rc = GB_CU_INVALID_VALUE;
    return soft_leave(rc);
}

gb_cu_result soft_cuMemPoolTrimTo(gb_cu_pool pool, size_t bytes)
{
    gb_cu_result rc = soft_enter(ROW_cuMemPoolTrimTo);
    if (rc == 0 && !is_pool(ROW_cuMemPoolTrimTo, pool)) rc = GB_CU_INVALID_VALUE;
    return soft_leave(rc);
}

static gb_cu_result submit(int row, soft_context *context, gb_cu_stream stream, soft_memory *memory,
                           soft_command_kind kind)
{
    soft_command command = {.kind = kind, .held = &memory->object};
    soft_hold(&memory->object);
    return soft_submit(row, context, stream, &command);
}

gb_cu_result soft_cuMemAllocAsync(gb_cu_memory *out, size_t bytes, gb_cu_stream stream)
{
    soft_context *context;
    soft_memory *memory = NULL;
    gb_cu_result rc = soft_enter_context(ROW_cuMemAllocAsync, &context);
    if (rc == 0) rc = soft_memory_make(&memory, context, bytes, SOFT_DEVICE_MEMORY, false);
    if (rc == 0) rc = submit(ROW_cuMemAllocAsync, context, stream, memory, SOFT_BEGIN);
    if (rc == 0) {
        memory->pooled = true;
        *out = memory->address;
    } else if (memory) {
        soft_memory_retire(memory);
    }
    return soft_leave(rc);
}

gb_cu_result soft_cuMemFreeAsync(gb_cu_memory address, gb_cu_stream stream)
{
    soft_context *context;
    gb_cu_result rc = soft_enter_context(ROW_cuMemFreeAsync, &context);
    soft_memory *memory = soft_memory_at(address, 1);
    if (rc) {
        if (memory) memory->object.freed = true;
        return soft_leave(rc);
    }
    if (!memory || memory->address != address || memory->leaving || !memory->pooled)
        return soft_leave(soft_misuse(ROW_cuMemFreeAsync, GB_CU_INVALID_VALUE,
                                      "0x%llx is the address of no block of a pool",
                                      (unsigned long long)address));
    rc = submit(ROW_cuMemFreeAsync, context, stream, memory, SOFT_END);
    memory->leaving = memory->object.freed = rc == 0;
    return soft_leave(rc);
}

/* Under the lock, in the order of the stream. */
void soft_pool_run(const soft_command *command)
{
    soft_memory *memory = (soft_memory *)command->held;
    if (!memory->object.live) return;
    if (command->kind == SOFT_BEGIN) {
        soft_memory_appear(memory);
        return;
    }
    soft_memory_retire(memory);
}
