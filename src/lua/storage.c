/* Files to and from device buffers: the C half of buffer:load and buffer:save. */
#include "lua/device.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/state.h"

/* buffer_file(buffer, save, path, offset, bytes, file offset, async): waits. */
static int buffer_file(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    GB_CHECK(handle && handle->buffer);
    bool save = lua_toboolean(L, 2);
    const char *path = luaL_checkstring(L, 3);
    size_t offset = (size_t)lua_tonumber(L, 4), bytes = (size_t)lua_tonumber(L, 5);
    uint64_t file_offset = (uint64_t)lua_tonumber(L, 6);
    bool async = lua_toboolean(L, 7);
    gbl_wait *wait = gbl_wait_new(L);
    if (!wait) return gbl_push_error(L, GB_ENOMEM, gb_err_detail());
    int started = save
                      ? gb_buffer_save(handle->buffer, offset, bytes, path, &wait->op)
                      : gb_buffer_load(handle->buffer, offset, bytes, path, file_offset, &wait->op);
    return async ? gbl_wait_future(L, wait, started) : gbl_wait_finish(L, wait, started);
}

/* buffer_settle(buffer): waits until the caller's own commands on its device have ended. */
static int buffer_settle(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    GB_CHECK(handle && handle->buffer);
    gbl_devices *room = gbl_devices_of(L);
    gbl_device *device = &room->at[gb_device_index(gb_buffer_device(handle->buffer))];
    gbl_job *job;
    int rc = gbl_job_new(&job, L, room, device, NULL);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
    return gbl_job_finish(L, job, false);
}

void gbl_open_storage(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"buffer_file", buffer_file},
        {"buffer_settle", buffer_settle},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
